/* masked_ls.h - the best values for the survivors of a mask.
 *
 * With S the survivors of a row and P the pruned: min over w^_S of (w - w^) H (w - w^)^T, w^_P = 0, whose normal
 * equations are H_SS (w^_S - w_S) = H_SP w_P. Three ways to them, all on whole panels of rows:
 *
 *   ls    conjugate gradients on the normal equations with the diagonal as preconditioner. Every step is one product
 *         with H and lowers the objective, faster than anything else made of such products can. Ten steps leave 1e-3 to
 *         1e-5 of the gain, where an exact solution, a Cholesky factor for every row, costs m (n/2)^3 / 3 at 50 %.
 *   admm  W = argmin 1/2 |W - W_0|_A^2 + rho/2 |W - Z + U|^2, Z = mask (W + U), U += W - Z, on the problem scaled to a
 *         unit diagonal (Boza, arXiv 2401.02938), rho = 1, which serves the pruned as well as the kept directions.
 *   obs   the sweep of SparseGPT (arXiv 2301.00774): columns from left to right, the error of a pruned weight goes to
 *         the survivors right of it. Leaves about a tenth more than the others. */
#ifndef WC_SOLVE_MASKED_LS_H
#define WC_SOLVE_MASKED_LS_H

#include "solve/hessian.h"

typedef enum wc_masked_way { WC_MASKED_LS, WC_MASKED_ADMM, WC_MASKED_OBS } wc_masked_way;

typedef struct wc_masked_problem {
    const char *tensor; /* for messages */
    size_t rows;
    const wc_hessian *h; /* damped; width 1 */
    const uint8_t *mask; /* [rows, n] 1: survives */
    int steps;           /* of ls, at most, and of admm */
} wc_masked_problem;

/* w [rows, n], finite: W on entry, W^ on return, exactly 0 where the mask is 0. A row that keeps everything does not
 * change. WC_NUMERIC: the result is not finite. Deterministic for any number of threads. Cost: a step 2 m n^2 flops;
 * admm a factor of n^3 / 3 before; obs m n^2 in all. */
wc_status wc_masked_update(wc_ctx *ctx, const wc_masked_problem *p, wc_masked_way way, float *w);

/* Bytes that it takes at most, with any number of threads. */
uint64_t wc_masked_scratch(size_t rows, size_t n, wc_masked_way way);

#endif
