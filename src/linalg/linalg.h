/* linalg.h - the only door to BLAS and LAPACK.
 *
 * Row-major f32 unless it says otherwise. Every routine cuts its result into tiles whose size does not depend on the
 * number of threads, and gives each tile to one single-threaded BLAS call: the same bytes come out for 1 or 64 threads,
 * which threaded BLAS does not promise. Safe to call from inside a parallel region (it then uses the calling thread
 * only). */
#ifndef WC_LINALG_H
#define WC_LINALG_H

#include "base/mem.h"

/* C = alpha * op(A) op(B) + beta * C; C [m, n] ldc; op(A) [m, k]; op(B) [k, n]. */
typedef enum wc_op { WC_N, WC_T } wc_op;
void wc_gemm(wc_ctx *ctx, wc_op op_a, wc_op op_b, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
             const float *b, size_t ldb, float beta, float *c, size_t ldc);
/* The same, always on the calling thread in one BLAS call: for loops that are parallel outside. */
void wc_gemm1(wc_op op_a, wc_op op_b, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
              const float *b, size_t ldb, float beta, float *c, size_t ldc);

/* Lower Cholesky A = L L^T in place, A [n, n] ld n; reads and writes the lower triangle, leaves the strict upper as it
 * was. Blocked, right-looking; all but O(n * block^2) flops are gemm. Returns 0, or i+1 when the minor of order i+1 is
 * not positive (A is then partly overwritten), as LAPACK's info. */
size_t wc_cholesky(wc_ctx *ctx, float *a, size_t n);

/* The upper factor R of H = R R^T (R upper triangular) in place, from the lower Cholesky of the index-reversed H; no
 * inverse is ever formed. r [n, n]: H with both halves filled on entry, R with its strict lower zeroed on return.
 * Return as wc_cholesky, the index counted in the reversed order. Source: hessian dossier section 2 step 2 and fact 3.
 */
size_t wc_cholesky_upper(wc_ctx *ctx, float *r, size_t n);

/* Solves X A = B for X given A = R R^T from wc_cholesky_upper, with R = U diag(pivot), U unit upper triangular: only
 * the strict upper triangle of u [n, n] is read. B [m, n] is overwritten by B A^{-1}. */
void wc_cholesky_solve_right(wc_ctx *ctx, const float *u, const float *pivot, size_t n, float *b, size_t m);
/* X U = B, the same U. */
void wc_upper_solve_right(wc_ctx *ctx, const float *u, size_t n, float *b, size_t m);

/* Second-moment accumulation in double: acc is the packed lower triangle of an [n, n] matrix (n (n+1) / 2 doubles, row
 * i starts at i (i+1) / 2); acc += X^T X for X [t, n] f32. Products are formed by f32 gemm over this one chunk (at most
 * a few thousand tokens) and added in f64. */
wc_status wc_syrk_accumulate(wc_ctx *ctx, const float *x, size_t t, size_t n, double *acc);
/* h [n, n] full symmetric f32 = acc * scale. */
void wc_syrk_finish(wc_ctx *ctx, const double *acc, size_t n, double scale, float *h);

/* tr(D H D^T) in f64, D [m, n], H [n, n] symmetric. NaN when memory for the panels is lacking. */
double wc_quadratic_form(wc_ctx *ctx, const float *d, size_t m, const float *h, size_t n);

/* ---- f64, for factorisations of moments too ill-conditioned for f32 (src/linalg/dense64.c) ---- */

/* C = op(A) op(B) + beta * C, row-major f64; shapes as wc_gemm. */
void wc_gemm64(wc_ctx *ctx, wc_op op_a, wc_op op_b, size_t m, size_t n, size_t k, const double *a, size_t lda,
               const double *b, size_t ldb, double beta, double *c, size_t ldc);
/* wc_cholesky in f64. */
size_t wc_cholesky64(wc_ctx *ctx, double *a, size_t n);
/* X = X L in place; X [m, n], L [n, n] lower triangular, its strict upper triangle not read. */
void wc_times_lower64(wc_ctx *ctx, const double *l, size_t n, double *x, size_t m);
/* B = (L L^T)^{-1} B in place; L [n, n] lower triangular, B [n, m]. */
void wc_cholesky_solve_left64(wc_ctx *ctx, const double *l, size_t n, double *b, size_t m);

/* The `count' largest eigenvalues of the symmetric A [n, n] (both halves filled, overwritten), largest first:
 * values [count], vectors [count, n], one per row, orthonormal, or NULL: values only. 1 <= count <= n <= WC_EIGH_MAX.
 * LAPACK's dsyevr, on one thread: 4/3 n^3 flops, half of them bound by memory, then, for vectors, 2 n^2 count and, for
 * count <= n/2, about n count^2; they take 8 bytes times n count (n^2 for count > n/2) of memory. WC_NUMERIC: no
 * convergence, or A is not finite. */
enum { WC_EIGH_MAX = 32766 };
wc_status wc_eigh_top(wc_ctx *ctx, double *a, size_t n, size_t count, double *values, double *vectors);

/* x [m, k] = the least |X A - B|_F for A [k, n] and B [m, n], both used up, k <= n; of several the shortest. QR with
 * column pivoting of A^T, LAPACK's dgelsy, on one thread, 2 n k^2 + 4 m n k flops. Directions of A that are below 1e-7
 * of its largest count as none: x then stays of a size that f32 can hold. WC_NUMERIC: A or B is not finite. */
wc_status wc_least_squares64(wc_ctx *ctx, double *a, size_t k, size_t n, double *b, size_t m, double *x);

/* Rows of X [m, k], k <= m, from which the others follow stably: QR with column pivoting of X^T, LAPACK's dgeqp3, on
 * one thread, about 4 m k^2 flops. order [m] is a permutation of the rows. On return row i >= k of x holds the
 * coefficients of row order[i] of X in its rows order[0 .. k); the rows before are used up. When X has rank r < k the
 * rows order[r .. k) are any others, with coefficients 0. WC_NUMERIC: X is not finite. */
wc_status wc_pivot_rows64(wc_ctx *ctx, double *x, size_t m, size_t k, size_t *order);

/* order [k] = the rows of X [m, k], k <= m, that LU with row pivoting takes, in its order; x [k, m] holds X^T and is
 * overwritten. LAPACK's dgetrf. WC_NUMERIC: X is not finite. */
wc_status wc_lu_rows64(wc_ctx *ctx, double *x, size_t m, size_t k, size_t *order);

/* One line: "OpenBLAS 0.3.21 ... SkylakeX", for --version and reports. */
const char *wc_blas_config(void);

#endif
