/* projector.h - the best low-rank part of a matrix in a metric: one theorem behind svd, asvd, svdllm, eora, qera, lqer.
 *
 * Theorem (reduced-rank projection). For E [m, n] and H = S S^T, S any square root, the minimum of
 * tr((E - E^) H (E - E^)^T) over all E^ of rank r is attained by
 *
 *     E^ = U_r U_r^T E,      U_r the first r eigenvectors of G = E H E^T,
 *
 * and is the sum of the other eigenvalues of G. (Eckart-Young for F = E S: its best approximation is U_r U_r^T F =
 * (U_r U_r^T E) S.) The theorem names no inverse of S, so an ill-conditioned H does no harm. E = W gives SVD (H = I),
 * ASVD (diagonal H) and SVD-LLM; E = W - Q, what a quantizer left, gives LoRC, LQER/QERA-approx and
 * EoRA/QERA-exact/CLoQ.
 *
 * G is never formed from H: with F = E S in f64, S the Cholesky factor of H, G = F F^T for m <= n; for m > n the
 * smaller F^T F = V diag(lambda) V^T is taken, whose eigenvalues are the same, and u_j = F v_j / |F v_j|. */
#ifndef WC_SOLVE_PROJECTOR_H
#define WC_SOLVE_PROJECTOR_H

#include "base/mem.h"

/* H as far as it is known: the full matrix, or a diagonal, or the identity when both are NULL. */
typedef struct wc_metric {
    const float *h;     /* [n, n] symmetric, both halves filled */
    const float *scale; /* [n] H = diag(scale^2); only if h is NULL */
    double damping;     /* of h: added to its diagonal, relative to the mean */
} wc_metric;

/* Mean of the diagonal of H [n, n], without damping; 1 if that is 0. */
double wc_metric_mean(const wc_metric *metric, size_t n);

typedef struct wc_projector {
    size_t rows, rank;
    double *lambda;  /* [rank] eigenvalues of G, largest first, >= 0 */
    double *u;       /* [rank, rows] u_j as rows; orthonormal, or 0 where lambda_j is 0 against lambda_0 */
    double total;    /* tr(G): the error at rank r is total - sum of the first r lambda */
    double damping;  /* that succeeded; 0 without h */
    int escalations; /* how often it had to be raised */
} wc_projector;

/* One eigendecomposition of order min(rows, cols); every r <= rank is served by its first r vectors. 1 <= rank <=
 * min(rows, cols) <= WC_EIGH_MAX. e [rows, cols] finite, not changed. Damping is raised tenfold (from at least 1e-7) as
 * long as H is not positive definite, each time with a warning, up to 1; WC_NUMERIC after that and for what is not
 * finite. Deterministic for any number of threads. Memory: 8 bytes for each element of E and, one after the other, of H
 * and of G. Free with wc_projector_free. */
wc_status wc_projector_make(wc_ctx *ctx, const char *tensor, const float *e, size_t rows, size_t cols,
                            const wc_metric *metric, size_t rank, wc_projector *out);
void wc_projector_free(wc_projector *p);

/* lambda [min(rows, cols)] = all eigenvalues of G, largest first, >= 0, without vectors: the error at every rank. As
 * wc_projector_make in everything else. */
wc_status wc_spectrum(wc_ctx *ctx, const char *tensor, const float *e, size_t rows, size_t cols,
                      const wc_metric *metric, double *lambda);

/* f [sum of rows, cols] = the `count' matrices e[i] [rows[i], cols] under each other, times S: one root of H for all of
 * them. *used as in wc_left_factor. */
wc_status wc_whiten(wc_ctx *ctx, const char *tensor, const float *const *e, const size_t *rows, size_t count,
                    size_t cols, const wc_metric *metric, double *f, wc_projector *used);

/* b [rank, cols] = (A^T A)^{-1} A^T E, the best right factor for a given left one in every metric at once. A [rows,
 * rank] as it will be decoded: with A = U_r this is U_r^T E, with a rounded A it makes up for part of the rounding.
 * Columns of A that are 0 give rows that are 0. */
wc_status wc_right_factor(wc_ctx *ctx, const float *a, const float *e, size_t rows, size_t cols, size_t rank, float *b);

/* a [rows, rank] = E H B^T (B H B^T)^{-1}, the best left factor in the metric for a given right one, B [rank, cols],
 * rank <= cols: the least squares of E S by B S, without the normal equations (wc_least_squares64), since B may be any
 * rows. Directions of B S below 1e-7 of the largest are not used. *used (may be NULL) gets only damping and
 * escalations; see wc_projector_make for both. */
wc_status wc_left_factor(wc_ctx *ctx, const char *tensor, const float *e, const float *b, size_t rows, size_t cols,
                         size_t rank, const wc_metric *metric, float *a, wc_projector *used);

#endif
