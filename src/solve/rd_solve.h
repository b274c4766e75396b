/* rd_solve.h - a whole matrix at a requested number of bytes, near the rate-distortion function of its layer.
 *
 * Minimise tr((W - W^) H (W - W^)^T) at a rate. With H = R R^T (hessian.h) the columns are decided one after the other,
 * each on its target t_j = w_j + sum_{k<j} (w_k - w^_k) R_kj / R_jj (feedback.h), and the error is sum_j |(t_j - w^_j)
 * R_jj|^2. So every column has the same worth of error per square of t R_jj, and the optimum at a high rate is the same
 * distortion in each: one step c for t_j R_jj, that is c / R_jj for w_j, whatever its entropy then is. This is reverse
 * water-filling on the pivots; the product of the R_jj is that of the eigenvalues' roots, so that nothing is lost
 * against the eigenbasis as long as all of them are above the water.
 *
 * Below the water (weak directions at low rates) they are not: noise of c^2 / 4 per direction that the steps imply is
 * more than the direction holds. The caller damps H by kappa c^2 / (4 s^2), s^2 the mean square of W, which limits
 * steps to 2 s / sqrt(kappa), and aims at what solve/wiener.h makes of W.
 *
 * Down a column the rows are a sequence for the trellis (trellis.h), tile by tile of the format; tiles share nothing
 * but laws of probability, and are what threads divide. Rate and law depend on each other and on c, so passes
 * alternate: quantize everything; sort rows and columns into classes by the spread of their targets; fit laws and the
 * means of points; count the bytes; correct c. Every number of bytes below the request by less than 0.002 bits per
 * weight ends it, after at least `passes'.
 *
 * What was tried and is not here: coordinate descent over columns after a pass (a path is best for its column given the
 * others: 0.1 % of the error at 3 bits), alternating least squares for scales of rows and columns (0.5 to 1 %, which is
 * 0.004 to 0.01 bits, less than the scales cost). */
#ifndef WC_SOLVE_RD_SOLVE_H
#define WC_SOLVE_RD_SOLVE_H

#include "base/part.h"
#include "solve/hessian.h"

typedef struct wc_rd_problem {
    const char *tensor;  /* for messages */
    const float *w;      /* [rows, cols] the target */
    const wc_hessian *h; /* of width 1 */
    double lambda;       /* price of a bit, in squares of a step */
    int passes;          /* at least */
    size_t block;        /* columns per gemm of the feedback */
} wc_rd_problem;

/* A point of the rate-distortion curve of a tensor. step: c in the units of W and of H as it came (stats->h), so that
 * equal steps in two tensors are equal slopes of their errors against bits. */
typedef struct wc_rd_point {
    double step, bits, loss; /* bits per weight, all included; loss: tr(E H' E^T) of the damped H, in the same units */
    int passes;
} wc_rd_point;

/* c at which the entropy of all columns will be about `bits' per weight. */
double wc_rd_first_step(const wc_ctx *ctx, const wc_hessian *h, const float *w, size_t rows, size_t cols, double bits);

/* *out holds geometry (rows, cols, tile, bytes, memory) on entry; its arrays are made, and left NULL on failure. Fits
 * out->bytes. WC_BADFILE: W is not finite; WC_BUDGET: even zeros do not fit. Deterministic for any number of threads.
 */
wc_status wc_rd_solve(wc_ctx *ctx, const wc_rd_problem *p, wc_coded *out, wc_rd_point *result);

/* The curve instead of a target: passes at result->step, which stays; fills bits and loss. geometry as above, bytes
 * ignored. */
wc_status wc_rd_measure(wc_ctx *ctx, const wc_rd_problem *p, const wc_coded *geometry, wc_rd_point *result);

/* Bytes that no choice of c changes: steps, classes, places and states of streams. */
uint64_t wc_rd_side_bytes(const wc_coded *geometry);

/* Bytes of memory that either takes at most, beside W, H and the part. */
uint64_t wc_rd_scratch(const wc_ctx *ctx, const wc_coded *geometry);

#endif
