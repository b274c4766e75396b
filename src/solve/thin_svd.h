/* thin_svd.h - the first few singular triples of a matrix, by subspace iteration. */
#ifndef WC_SOLVE_THIN_SVD_H
#define WC_SOLVE_THIN_SVD_H

#include "base/mem.h"

/* U V = the best approximation of rank `rank' to A [rows, cols], U [rows, rank] = (u_1 sqrt(s_1), ...), V [rank, cols]
 * = (sqrt(s_1) v_1; ...): both factors carry half of each singular value, largest first. 1 <= rank <= min(rows, cols).
 * Columns beyond the rank of A are 0.
 *
 * Randomised subspace iteration (Halko, Martinsson, Tropp, arXiv 0909.4061, algorithm 4.4) with 8 spare directions and
 * `passes' passes over A and its transpose: a direction of singular value s is known up to (s_k / s)^(2 passes + 1), k
 * the first that is left out; all of them when rank + 8 >= min(rows, cols). Products are f32 gemm, bases are made
 * orthonormal in f64. The start is fixed, so results are deterministic, for any number of threads too. A finite, below
 * 1e18 in magnitude. Memory: about 20 (rank + 8) (rows + cols) bytes. */
wc_status wc_thin_svd(wc_ctx *ctx, const float *a, size_t rows, size_t cols, size_t rank, int passes, float *u,
                      float *v);

/* Its multiply-adds times two, and its memory. */
double wc_thin_svd_flops(size_t rows, size_t cols, size_t rank, int passes);
uint64_t wc_thin_svd_scratch(size_t rows, size_t cols, size_t rank);

#endif
