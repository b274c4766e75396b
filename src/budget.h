/* budget.h - the memory and disk that a calibrated run will take, worked out before it starts. */
#ifndef WC_BUDGET_H
#define WC_BUDGET_H

#include "calib/pass.h"
#include "plan.h"

typedef struct wc_budget {
    uint64_t limit;      /* bytes of resident memory allowed */
    uint64_t memory;     /* predicted peak, an upper bound */
    uint64_t disk;       /* scratch files, the output not included */
    size_t chunk_tokens; /* tokens in flight */
    bool spill;          /* activations between the stages of a block are on disk, not in memory */
} wc_budget;

/* 80 % of the machine's memory. */
uint64_t wc_default_memory(void);

/* Without calibration (windows NULL) only the largest tensor counts. With it: lets tokens in flight shrink and
 * activations spill until the peak fits limit; WC_BUDGET, naming the smallest memory that would do, when nothing helps.
 */
wc_status wc_budget_make(wc_ctx *ctx, const wc_plan *plan, const wc_config *config, const wc_windows *windows,
                         size_t n_streams, uint64_t limit, wc_budget *out);

#endif
