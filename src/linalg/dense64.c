#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "linalg/threads.h"

enum { TILE = 512, PANEL = 256 };

/* C = alpha op(A) op(B) + beta C, in tiles whose shape does not depend on the number of threads. */
static void gemm(wc_ctx *ctx, wc_op op_a, wc_op op_b, size_t m, size_t n, size_t k, double alpha, const double *a,
                 size_t lda, const double *b, size_t ldb, double beta, double *c, size_t ldc)
{
    size_t across = wc_ceil_div(n, TILE), tiles = wc_ceil_div(m, TILE) * across;
#pragma omp parallel for schedule(dynamic) num_threads(wc_linalg_threads(ctx, tiles))
    for (size_t t = 0; t < tiles; t++) {
        size_t i = t / across * TILE, j = t % across * TILE;
        cblas_dgemm(CblasRowMajor, op_a == WC_T ? CblasTrans : CblasNoTrans, op_b == WC_T ? CblasTrans : CblasNoTrans,
                    (int)wc_min(TILE, m - i), (int)wc_min(TILE, n - j), (int)k, alpha, a + (op_a == WC_T ? i : i * lda),
                    (int)lda, b + (op_b == WC_T ? j * ldb : j), (int)ldb, beta, c + i * ldc + j, (int)ldc);
    }
}

void wc_gemm64(wc_ctx *ctx, wc_op op_a, wc_op op_b, size_t m, size_t n, size_t k, const double *a, size_t lda,
               const double *b, size_t ldb, double beta, double *c, size_t ldc)
{
    gemm(ctx, op_a, op_b, m, n, k, 1, a, lda, b, ldb, beta, c, ldc);
}

/* Left-looking by block columns, as wc_cholesky. */
size_t wc_cholesky64(wc_ctx *ctx, double *a, size_t n)
{
    for (size_t k = 0; k < n; k += PANEL) {
        size_t nb = wc_min(PANEL, n - k), rest = n - k - nb, panels = wc_ceil_div(rest, PANEL);
        double *block = a + k * n + k, *below = block + nb * n;
        if (k) gemm(ctx, WC_N, WC_T, n - k, nb, k, -1, a + k * n, n, a + k * n, n, 1, block, n);
        int info = LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', (int)nb, block, (int)n);
        if (info) return k + (size_t)(info > 0 ? info : 1);
#pragma omp parallel for schedule(dynamic) num_threads(wc_linalg_threads(ctx, panels))
        for (size_t p = 0; p < panels; p++)
            cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit,
                        (int)wc_min(PANEL, rest - p * PANEL), (int)nb, 1, block, (int)n, below + p * PANEL * n, (int)n);
    }
    return 0;
}

void wc_times_lower64(wc_ctx *ctx, const double *l, size_t n, double *x, size_t m)
{
    size_t panels = wc_ceil_div(m, PANEL);
#pragma omp parallel for schedule(dynamic) num_threads(wc_linalg_threads(ctx, panels))
    for (size_t p = 0; p < panels; p++)
        cblas_dtrmm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit,
                    (int)wc_min(PANEL, m - p * PANEL), (int)n, 1, l, (int)n, x + p * PANEL * n, (int)n);
}

void wc_cholesky_solve_left64(wc_ctx *ctx, const double *l, size_t n, double *b, size_t m)
{
    size_t panels = wc_ceil_div(m, PANEL);
#pragma omp parallel for schedule(dynamic) num_threads(wc_linalg_threads(ctx, panels))
    for (size_t p = 0; p < panels; p++) {
        int cols = (int)wc_min(PANEL, m - p * PANEL);
        double *x = b + p * PANEL;
        cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, cols, 1, l, (int)n, x,
                    (int)m);
        cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, (int)n, cols, 1, l, (int)n, x,
                    (int)m);
    }
}

/* ---- eigenvectors ----------------------------------------------------------------------------------------------- */

static wc_status check_finite(wc_ctx *ctx, const double *a, size_t rows, size_t n)
{
    for (size_t i = 0; i < rows * n; i++)
        if (!isfinite(a[i]))
            return wc_fail(ctx, WC_NUMERIC, "element %zu, %zu of a matrix to factorise is not finite", i / n, i % n);
    return WC_OK;
}

/* LAPACK sorts ascending: values [count], vectors [count, n] = the last `count' of w and z, backwards. */
static void largest_first(const double *w, const double *z, size_t found, size_t n, size_t count, double *values,
                          double *vectors)
{
    for (size_t i = 0; i < count; i++) {
        values[i] = w[found - 1 - i];
        if (vectors) memcpy(vectors + i * n, z + (found - 1 - i) * n, n * sizeof *z);
    }
}

/* A vector is a column of LAPACK's column-major Z and so a row of ours. For some of the vectors dsyevr takes inverse
 * iteration, whose cost grows as n count^2 and at 3/4 of n is twice that of all vectors by another algorithm: from n/2
 * on all are computed. The values need room for n. */
wc_status wc_eigh_top(wc_ctx *ctx, double *a, size_t n, size_t count, double *values, double *vectors)
{
    wc_status status = WC_OK;
    double *work = NULL, *w = NULL, *z = NULL, size = 0;
    lapack_int *iwork = NULL, *support = NULL, isize = 0, found = 0, info;
    size_t take = count > n / 2 || !vectors ? n : count;
    char job = vectors ? 'V' : 'N';
    lapack_int order = (lapack_int)n, first = (lapack_int)(n - take + 1);
    if (!count || count > n || n > WC_EIGH_MAX)
        return wc_fail(ctx, WC_BUG, "%zu eigenvectors of order %zu were asked for, at most %d", count, n, WC_EIGH_MAX);
    WC_TRY(check_finite(ctx, a, n, n));
    info = LAPACKE_dsyevr_work(LAPACK_COL_MAJOR, job, 'I', 'L', order, a, order, 0, 0, first, order, 0, &found, NULL,
                               NULL, order, NULL, &size, -1, &isize, -1);
    if (info) return wc_fail(ctx, WC_BUG, "dsyevr's workspace query failed: %d", (int)info);
    WC_TRY_OUT(WC_ALLOC(ctx, work, (size_t)size, "eigenvectors"));
    WC_TRY_OUT(WC_ALLOC(ctx, iwork, (size_t)isize, "eigenvectors"));
    WC_TRY_OUT(WC_ALLOC(ctx, support, 2 * n, "eigenvectors"));
    WC_TRY_OUT(WC_ALLOC(ctx, w, n, "eigenvalues"));
    WC_TRY_OUT(WC_ALLOC(ctx, z, vectors ? take * n : 0, "eigenvectors"));
    info = LAPACKE_dsyevr_work(LAPACK_COL_MAJOR, job, 'I', 'L', order, a, order, 0, 0, first, order, 0, &found, w, z,
                               order, support, work, (lapack_int)size, iwork, isize);
    if (info || (size_t)found != take)
        WC_TRY_OUT(wc_fail(ctx, WC_NUMERIC, "eigenvectors of order %zu did not converge: %d of %zu, code %d", n,
                           (int)found, take, (int)info));
    largest_first(w, z, take, n, count, values, vectors);
out:
    free(work), free(iwork), free(support), free(w), free(z);
    return status;
}

/* ---- pivots ----------------------------------------------------------------------------------------------------- */

/* How many diagonal elements of the R [k, m] of a pivoted QR, column-major, stand out from rounding. */
static size_t rank_of(const double *r, size_t k)
{
    size_t rank = 0;
    while (rank < k && fabs(r[rank * k + rank]) > 1e-10 * fabs(r[0]))
        rank++;
    return rank;
}

/* Row-major X is LAPACK's column-major X^T. X^T P = Q [R11 R12]: the pivots are the columns of R11, and the
 * coefficients of the others solve R11 C = R12. */
wc_status wc_pivot_rows64(wc_ctx *ctx, double *x, size_t m, size_t k, size_t *order)
{
    wc_status status = WC_OK;
    double *work = NULL, *tau = NULL, size = 0;
    lapack_int *pivot = NULL, info;
    WC_TRY(check_finite(ctx, x, m, k));
    info = LAPACKE_dgeqp3_work(LAPACK_COL_MAJOR, (lapack_int)k, (lapack_int)m, x, (lapack_int)k, NULL, NULL, &size, -1);
    if (info) return wc_fail(ctx, WC_BUG, "dgeqp3's workspace query failed: %d", (int)info);
    WC_TRY_OUT(WC_ALLOC(ctx, work, (size_t)size, "pivots"));
    WC_TRY_OUT(WC_ALLOC(ctx, tau, k, "pivots"));
    WC_TRY_OUT(WC_ALLOC(ctx, pivot, m, "pivots"));
    info = LAPACKE_dgeqp3_work(LAPACK_COL_MAJOR, (lapack_int)k, (lapack_int)m, x, (lapack_int)k, pivot, tau, work,
                               (lapack_int)size);
    if (info) WC_TRY_OUT(wc_fail(ctx, WC_BUG, "dgeqp3 refuses its argument %d", -(int)info));
    for (size_t i = 0; i < m; i++)
        order[i] = (size_t)pivot[i] - 1;
    size_t rank = rank_of(x, k), panels = wc_ceil_div(m - k, PANEL);
#pragma omp parallel for schedule(dynamic) num_threads(wc_linalg_threads(ctx, panels))
    for (size_t p = 0; p < panels; p++) {
        size_t first = k + p * PANEL, count = wc_min(PANEL, m - first);
        cblas_dtrsm(CblasColMajor, CblasLeft, CblasUpper, CblasNoTrans, CblasNonUnit, (int)rank, (int)count, 1, x,
                    (int)k, x + first * k, (int)k);
        for (size_t i = first; i < first + count; i++)
            memset(x + i * k + rank, 0, (k - rank) * sizeof *x);
    }
out:
    free(work), free(tau), free(pivot);
    return status;
}

wc_status wc_lu_rows64(wc_ctx *ctx, double *x, size_t m, size_t k, size_t *order)
{
    wc_status status = WC_OK;
    lapack_int *swap = NULL;
    size_t *row = NULL;
    WC_TRY(check_finite(ctx, x, k, m));
    WC_TRY_OUT(WC_ALLOC(ctx, swap, k, "pivots"));
    WC_TRY_OUT(WC_ALLOC(ctx, row, m, "pivots"));
    lapack_int info = LAPACKE_dgetrf_work(LAPACK_COL_MAJOR, (lapack_int)m, (lapack_int)k, x, (lapack_int)m, swap);
    if (info < 0) WC_TRY_OUT(wc_fail(ctx, WC_BUG, "dgetrf refuses its argument %d", -(int)info));
    for (size_t i = 0; i < m; i++)
        row[i] = i;
    for (size_t i = 0; i < k; i++) {
        size_t other = (size_t)swap[i] - 1;
        order[i] = row[other];
        row[other] = row[i];
    }
out:
    free(swap), free(row);
    return status;
}

/* ---- least squares ---------------------------------------------------------------------------------------------- */

/* Rows of A and B are LAPACK's columns; the solution comes in the first k elements of the columns of B. */
wc_status wc_least_squares64(wc_ctx *ctx, double *a, size_t k, size_t n, double *b, size_t m, double *x)
{
    wc_status status = WC_OK;
    const double least = 1e-7;
    double *work = NULL, size = 0;
    lapack_int *pivot = NULL, rank = 0, rows = (lapack_int)n, cols = (lapack_int)k, sides = (lapack_int)m, info;
    WC_TRY(check_finite(ctx, a, k, n));
    WC_TRY(check_finite(ctx, b, m, n));
    info = LAPACKE_dgelsy_work(LAPACK_COL_MAJOR, rows, cols, sides, a, rows, b, rows, NULL, least, &rank, &size, -1);
    if (info) return wc_fail(ctx, WC_BUG, "dgelsy's workspace query failed: %d", (int)info);
    WC_TRY_OUT(WC_ALLOC(ctx, work, (size_t)size, "least squares"));
    WC_TRY_OUT(WC_ALLOC(ctx, pivot, k, "least squares"));
    info = LAPACKE_dgelsy_work(LAPACK_COL_MAJOR, rows, cols, sides, a, rows, b, rows, pivot, least, &rank, work,
                               (lapack_int)size);
    if (info) WC_TRY_OUT(wc_fail(ctx, WC_BUG, "dgelsy refuses its argument %d", -(int)info));
    for (size_t i = 0; i < m; i++)
        memcpy(x + i * k, b + i * n, k * sizeof *x);
out:
    free(work), free(pivot);
    return status;
}
