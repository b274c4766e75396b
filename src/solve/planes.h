/* planes.h - a whole matrix onto planes of signs with scales (base/part.h, WC_SIGNS_SCALES), panel by panel of rows. */
#ifndef WC_SOLVE_PLANES_H
#define WC_SOLVE_PLANES_H

#include "base/part.h"
#include "solve/hessian.h"

typedef struct wc_planes_problem {
    const char *tensor;    /* for messages */
    const float *w;        /* [rows, cols] the target */
    const float *weight;   /* [cols] of squared errors, where scales are fitted */
    const uint8_t *subset; /* [cols] 1: in the subset; NULL without one */
    const wc_hessian *h;   /* NULL: nearest values, the fields below unused */
    size_t block;          /* columns per gemm of the feedback */
    int passes;            /* how often feedback is followed by a refit of the scales */
} wc_planes_problem;

/* *out holds the geometry on entry: first the levels of all columns, or of those outside the subset, of which only the
 * first may be split; then those of the subset; 7 each at most. Its scale_exp and arrays are made, and left NULL on
 * failure.
 *
 * 1. Scales, per row and group: the weighted mean of what is left of the magnitudes, level by level, which is best for
 *    one level; of a split level the two means of the best of all thresholds (exact, by sorting).
 * 2. Signs and choices by error feedback (feedback.h): of all 2^levels (times 2) sums of plus or minus scales the one
 *    nearest to the up-to-date target.
 * 3. Each scale in turn moves to its least-squares value in the metric H, if the error falls with the f16 that is
 *    stored: alpha += b D / b H b, b the +-1 of its weights, D = (W - W^) H. Then 2 again.
 * *loss (may be NULL): tr((W - W^) H (W - W^)^T) of the damped H; without h that of diag(weight). WC_BADFILE: W is not
 * finite. Deterministic for any number of threads. Memory: 4 cols^2 bytes for a subset, and at most 24 for each weight
 * of the panels in work. */
wc_status wc_planes_solve(wc_ctx *ctx, const wc_planes_problem *p, wc_signs *out, double *loss);

#endif
