/* drift.h - a target that makes up for the drift of the inputs (hessian dossier section 5; Qronos, arXiv 2505.11695).
 *
 * The original layer sees x, the compressed model's layer x~. W' = argmin |W' x~ - W x|^2 + lambda |W' - W|^2, damped
 * towards W: W' = W + W C (H + lambda I)^{-1}, C = E[(x - x~) x~^T]. beta takes a part of the way.
 *
 * A layer that writes to the residual stream y can make up for that stream's drift as well: what counts is y + W x, so
 * the target becomes argmin |y~ + W' x~ - (y + W x)|^2, which adds R (H + lambda I)^{-1}, R = E[(y - y~) x~^T]. */
#ifndef WC_SOLVE_DRIFT_H
#define WC_SOLVE_DRIFT_H

#include "solve/hessian.h"

/* w [rows, n] += beta (W C + R) (H + lambda I)^{-1} with whole = W [rows, n] (w itself, or what w was before parts were
 * taken from it), c [n, n], r [rows, n] or NULL, and the damped H, of width 1, in h. WC_NUMERIC when the result is not
 * finite; w is then unchanged. */
typedef struct wc_drift {
    const float *whole, *c, *r;
    double beta;          /* part of the way, for C */
    double beta_residual; /* and for R */
} wc_drift;
wc_status wc_drift_correct(wc_ctx *ctx, const char *tensor, const wc_hessian *h, const wc_drift *drift, size_t rows,
                           float *w);

#endif
