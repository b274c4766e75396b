/* stats.h - what calibration knows about the inputs of a group of linears. */
#ifndef WC_CALIB_STATS_H
#define WC_CALIB_STATS_H

#include "base/status.h"

/* x: an input of the original model, x~: the same token's input in the model compressed so far (equal to x in fixed
 * mode). All matrices are row-major and owned by whoever made the struct. */
typedef struct wc_stats {
    size_t n;              /* width of the inputs = columns of W */
    uint64_t tokens;       /* how many inputs were averaged */
    const float *h;        /* [n, n] E[x~ x~^T], symmetric, both halves filled. NULL: no calibration */
    const float *c;        /* [n, n] E[(x - x~) x~^T], or NULL when there is no drift (first block, fixed mode) */
    const float *mean;     /* [n] E[x~] */
    const float *abs_mean; /* [n] E|x~| */
} wc_stats;

#endif
