/* stats.h - what calibration knows about the inputs of a group of linears. */
#ifndef WC_CALIB_STATS_H
#define WC_CALIB_STATS_H

#include "base/status.h"

/* x: an input of the original model, x~: the same token's input in the model compressed so far (equal to x in fixed
 * mode). All matrices are row-major and owned by whoever made the struct. */
typedef struct wc_stats {
    size_t n;        /* width of the inputs = columns of W */
    uint64_t tokens; /* how many inputs were averaged */
    const float *h;  /* [n, n] E[x~ x~^T], symmetric, both halves filled. NULL: no calibration */
    const float *c;  /* [n, n] E[(x - x~) x~^T], or NULL when there is no drift (first block, fixed mode) */
    const float *r;  /* [rows, n] E[(y - y~) x~^T], y and y~ the residual streams that W x and W^ x~ are added to; NULL:
                      * W does  not write to the residual stream, or there is no drift */
    const float *mean;     /* [n] E[x~] */
    const float *abs_mean; /* [n] E|x~| */
} wc_stats;

/* The sums behind it, while tokens arrive in chunks. Second moments are summed in f64 (packed lower triangle), so that
 * chunks of any size give the same H to well below the damping. */
typedef struct wc_stats_sum {
    size_t n;
    uint64_t tokens;
    double *h; /* packed lower triangle, see wc_syrk_accumulate */
    float *c;  /* [n, n] or NULL */
    float *r;  /* [residual, n] or NULL */
    size_t residual;
    double *mean, *abs_mean;
} wc_stats_sum;

/* drift: also sum C; residual: also sum R, of that many rows (0: none). */
wc_status wc_stats_begin(wc_ctx *ctx, size_t n, bool drift, size_t residual, wc_stats_sum *out);

/* One chunk of t tokens, compressed and original; the original's fields are read only if drift was asked for, y only
 * with it and residual. */
typedef struct wc_stats_chunk {
    size_t t;
    const float *x, *x_original; /* [t, n] inputs */
    const float *y, *y_original; /* [t, residual] residual streams */
} wc_stats_chunk;
/* WC_NUMERIC names the first channel that is not finite. */
wc_status wc_stats_add(wc_ctx *ctx, wc_stats_sum *s, const wc_stats_chunk *chunk);
/* Turns the sums into means and empties s. Free *out with wc_stats_free. */
wc_status wc_stats_finish(wc_ctx *ctx, wc_stats_sum *s, wc_stats *out);
void wc_stats_drop(wc_stats_sum *s);
void wc_stats_free(wc_stats *s);

#endif
