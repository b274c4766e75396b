/* eval.h - perplexity, and the distance to the original model, without either model ever being whole in memory. */
#ifndef WC_EVAL_H
#define WC_EVAL_H

#include "calib/tokens.h"
#include "report.h"

/* Which predictions count (evaluation dossier section 1). Both cut the token stream into non-overlapping windows and
 * drop the tail. DASLAB    all seqlen - 1 predictions of every window; BOS only at the very start of the stream
 *   LLAMACPP  only those made at positions seqlen/2 .. seqlen-2; the first token of every window is overwritten by BOS
 * if the tokenizer adds one */
typedef enum wc_protocol { WC_DASLAB, WC_LLAMACPP, WC_N_PROTOCOLS } wc_protocol;
const char *wc_protocol_name(wc_protocol p); /* "daslab", "llamacpp" */

typedef struct wc_eval_options {
    const char *model, *against; /* against NULL: no comparison */
    wc_text_options text;
    bool want[WC_N_PROTOCOLS];
    bool table; /* print the scores (they are always among the report's facts) */
    uint64_t memory;
    const char *work_dir; /* where activations spill; NULL: a fresh folder below TMPDIR */
    double max_kl;        /* above it (first protocol): WC_VERIFY; 0: no gate */
} wc_eval_options;

/* What one protocol found. Natural logs; q: the model, p: the one it is held against. NaN where there is nothing to
 * compare. */
typedef struct wc_score {
    size_t windows, seqlen, tokens; /* tokens scored */
    bool bos;
    double nll, nll_se;             /* mean -ln q(x), and its standard error (token-wise Gaussian) */
    double against_nll;             /* mean -ln p(x) */
    double log_ratio, log_ratio_se; /* ln(PPL_q / PPL_p), paired */
    double bits_per_byte, against_bits_per_byte;
    double kl, kl_se, kl_quantile[5], kl_max; /* mean KL(p || q); quantiles 0.5, 0.9, 0.95, 0.99, 0.999 */
    double agree, agree_se;                   /* share of positions with equal argmax */
    double rms_dp;                            /* root mean square of q(x) - p(x) */
} wc_score;

/* Prints a table if asked, fills report->facts; scores (may be NULL) gets the results. */
wc_status wc_eval(wc_ctx *ctx, const wc_eval_options *opt, wc_report *report, wc_score scores[WC_N_PROTOCOLS]);

#endif
