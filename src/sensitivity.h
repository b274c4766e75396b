/* sensitivity.h - what one tensor's error costs the whole model.
 *
 * k_t = mean KL(p || p_t), p the original model's next-token distribution, p_t that of the model in which one linear
 * alone is the compressed one. Errors of tensors are nearly independent, and KL is quadratic in small ones, so the KL
 * of the whole is about the sum, and each term falls as the square of its tensor's error does: by four for every bit.
 */
#ifndef WC_SENSITIVITY_H
#define WC_SENSITIVITY_H

#include "calib/tokens.h"
#include "model/model.h"
#include "report.h"

typedef struct wc_sensitivity_options {
    const wc_config *config;
    const wc_weight_source *original, *compressed;
    const wc_windows *windows; /* all of them are in memory at once */
} wc_sensitivity_options;

/* kl [layers, WC_N_LINEARS]. Costs, for every linear, the blocks from its own to the last and the head once. Memory:
 * five times [tokens, hidden], the stages of one block, and 2 x 128 rows of logits. Deterministic for any number of
 * threads.
 */
uint64_t wc_sensitivity_memory(const wc_config *config, uint64_t tokens); /* an upper bound of these bytes */
wc_status wc_sensitivity(wc_ctx *ctx, const wc_sensitivity_options *opt, wc_report *report, double *kl);

#endif
