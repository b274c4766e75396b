#include "linalg/linalg.h"
#include "linalg/threads.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* OpenBLAS must never thread by itself: how it splits a product depends on the thread count, and so would the last
 * bits. */
__attribute__((constructor)) static void one_blas_thread(void)
{
    openblas_set_num_threads(1);
}

const char *wc_blas_config(void)
{
    return openblas_get_config();
}

int wc_linalg_threads(const wc_ctx *ctx, size_t tasks)
{
    int t = ctx && !omp_in_parallel() ? ctx->threads : 1;
    return tasks < (size_t)t ? (int)(tasks ? tasks : 1) : t;
}

/* ---- gemm ------------------------------------------------------------------------------------------------------- */

void wc_gemm1(wc_op op_a, wc_op op_b, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
              const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    if (!m || !n) return;
    cblas_sgemm(CblasRowMajor, op_a == WC_T ? CblasTrans : CblasNoTrans, op_b == WC_T ? CblasTrans : CblasNoTrans,
                (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

/* A tile's two operands are packed by BLAS once per tile, so tiles should be large; but there must be enough of them to
 * share out. 1024 loses under 5 % to packing; halve until there are at least 16 tiles. Depends on the shape only. */
static void tile_shape(size_t m, size_t n, size_t *tm, size_t *tn)
{
    *tm = *tn = 1024;
    while (*tm > 64 && *tn > 64 && wc_ceil_div(m, *tm) * wc_ceil_div(n, *tn) < 16) {
        if (wc_min(*tm, m) >= wc_min(*tn, n))
            *tm /= 2;
        else
            *tn /= 2;
    }
}

void wc_gemm(wc_ctx *ctx, wc_op op_a, wc_op op_b, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
             const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    size_t tm, tn;
    tile_shape(m, n, &tm, &tn);
    size_t across = wc_ceil_div(n, tn), tiles = wc_ceil_div(m, tm) * across;
#pragma omp parallel for schedule(dynamic) num_threads(wc_linalg_threads(ctx, tiles))
    for (size_t t = 0; t < tiles; t++) {
        size_t i = t / across * tm, j = t % across * tn;
        wc_gemm1(op_a, op_b, wc_min(tm, m - i), wc_min(tn, n - j), k, alpha, a + (op_a == WC_T ? i : i * lda), lda,
                 b + (op_b == WC_T ? j * ldb : j), ldb, beta, c + i * ldc + j, ldc);
    }
}

/* ---- Cholesky --------------------------------------------------------------------------------------------------- */

enum { CHOL_BLOCK = 256, CHOL_ROWS = 512 };

/* Left-looking by block columns. With J the columns before the block column K, and rows k.. of it:
 *     A[k.., K] -= L[k.., J] L[K, J]^T        one gemm with a long inner dimension: nearly all flops
 *     L[K, K]    = chol(A[K, K])              LAPACK, block^3/3
 *     L[>K, K]   = A[>K, K] L[K, K]^{-T}      trsm
 * The gemm and trsm are shared out over fixed panels of rows. LAPACK's column-major upper is our row-major lower. */
size_t wc_cholesky(wc_ctx *ctx, float *a, size_t n)
{
    for (size_t k = 0; k < n; k += CHOL_BLOCK) {
        size_t nb = wc_min(CHOL_BLOCK, n - k), below = n - k;
        size_t panels = wc_ceil_div(below, CHOL_ROWS);
        float *col = a + k * n + k;
#pragma omp parallel for schedule(dynamic) num_threads(wc_linalg_threads(ctx, panels))
        for (size_t p = 0; p < panels; p++) {
            size_t i = p * CHOL_ROWS, rows = wc_min(CHOL_ROWS, below - i);
            if (k) wc_gemm1(WC_N, WC_T, rows, nb, k, -1, a + (k + i) * n, n, a + k * n, n, 1, col + i * n, n);
        }
        int info = LAPACKE_spotrf_work(LAPACK_COL_MAJOR, 'U', (int)nb, col, (int)n);
        if (info) return k + (size_t)(info > 0 ? info : 1);
        size_t rest = below - nb;
        panels = wc_ceil_div(rest, CHOL_ROWS);
#pragma omp parallel for schedule(dynamic) num_threads(wc_linalg_threads(ctx, panels))
        for (size_t p = 0; p < panels; p++) {
            size_t i = p * CHOL_ROWS, rows = wc_min(CHOL_ROWS, rest - i);
            cblas_strsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)rows, (int)nb, 1, col,
                        (int)n, col + (nb + i) * n, (int)n);
        }
    }
    return 0;
}

/* Reversing the order of rows and of columns of a matrix is reversing its n*n elements. So: R = rev(chol(rev(H))). Rows
 * i and n-1-i change places, each backwards. */
static void reverse(wc_ctx *ctx, float *a, size_t n)
{
#pragma omp parallel for schedule(static) num_threads(wc_linalg_threads(ctx, n))
    for (size_t i = 0; i < (n + 1) / 2; i++) {
        float *up = a + i * n, *down = a + (n - 1 - i) * n;
        for (size_t j = 0; j < (up == down ? n / 2 : n); j++) {
            float t = up[j];
            up[j] = down[n - 1 - j];
            down[n - 1 - j] = t;
        }
    }
}

size_t wc_cholesky_upper(wc_ctx *ctx, float *r, size_t n)
{
    reverse(ctx, r, n);
    size_t info = wc_cholesky(ctx, r, n);
    if (info) return info;
    for (size_t i = 0; i < n; i++)
        memset(r + i * n + i + 1, 0, (n - i - 1) * sizeof *r);
    reverse(ctx, r, n);
    return 0;
}

/* A = U D U^T with D = pivot^2: X = B U^{-T} D^{-1} U^{-1}. */
/* pivot NULL: only the second solution. */
static void solve_right(wc_ctx *ctx, const float *u, const float *pivot, size_t n, float *b, size_t m)
{
    enum { ROWS = 256 };
    size_t panels = wc_ceil_div(m, ROWS);
#pragma omp parallel for schedule(dynamic) num_threads(wc_linalg_threads(ctx, panels))
    for (size_t p = 0; p < panels; p++) {
        float *x = b + p * ROWS * n;
        size_t rows = wc_min(ROWS, m - p * ROWS);
        if (pivot)
            cblas_strsm(CblasRowMajor, CblasRight, CblasUpper, CblasTrans, CblasUnit, (int)rows, (int)n, 1, u, (int)n,
                        x, (int)n);
        for (size_t i = 0; pivot && i < rows; i++)
            for (size_t j = 0; j < n; j++)
                x[i * n + j] /= pivot[j] * pivot[j];
        cblas_strsm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasUnit, (int)rows, (int)n, 1, u, (int)n, x,
                    (int)n);
    }
}

void wc_cholesky_solve_right(wc_ctx *ctx, const float *u, const float *pivot, size_t n, float *b, size_t m)
{
    solve_right(ctx, u, pivot, n, b, m);
}

void wc_upper_solve_right(wc_ctx *ctx, const float *u, size_t n, float *b, size_t m)
{
    solve_right(ctx, u, NULL, n, b, m);
}

/* ---- second moments --------------------------------------------------------------------------------------------- */

/* Large tiles, because BLAS packs both operands of each product anew; but enough of them to share out. Of a tile on the
 * diagonal only the lower half is computed. Depends on the shape only. */
enum { SYRK_TILE = 1024, SYRK_SMALL_TILE = 512 };

/* One tile's square of the second moments. */
typedef struct syrk_tile {
    const float *x; /* [t, n] */
    size_t t, n, i0, ni, j0, nj;
    float *product; /* scratch [ni, nj] */
} syrk_tile;

/* acc tile (i0.., j0..) of the packed lower triangle += X_i^T X_j. */
static void add_product(const syrk_tile *s, double *acc)
{
    if (s->i0 == s->j0)
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, (int)s->ni, (int)s->t, 1, s->x + s->i0, (int)s->n, 0,
                    s->product, (int)s->nj);
    else
        wc_gemm1(WC_T, WC_N, s->ni, s->nj, s->t, 1, s->x + s->i0, s->n, s->x + s->j0, s->n, 0, s->product, s->nj);
    for (size_t i = 0; i < s->ni; i++) {
        size_t row = s->i0 + i, end = wc_min(s->nj, row + 1 > s->j0 ? row + 1 - s->j0 : 0);
        double *dst = acc + row * (row + 1) / 2 + s->j0;
        for (size_t j = 0; j < end; j++)
            dst[j] += (double)s->product[i * s->nj + j];
    }
}

wc_status wc_syrk_accumulate(wc_ctx *ctx, const float *x, size_t t, size_t n, double *acc)
{
    size_t size = n < 2 * SYRK_TILE ? SYRK_SMALL_TILE : SYRK_TILE;
    size_t blocks = wc_ceil_div(n, size), tiles = blocks * (blocks + 1) / 2;
    int threads = wc_linalg_threads(ctx, tiles);
    float *scratch;
    WC_TRY(WC_ALLOC(ctx, scratch, (size_t)threads * size * size, "second-moment tiles"));
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t tile = 0; tile < tiles; tile++) {
        size_t bi = 0, bj = tile; /* row bi of the triangle of tiles, tile bj in it */
        while (bj > bi)
            bj -= ++bi;
        syrk_tile s = {x,
                       t,
                       n,
                       bi * size,
                       wc_min(size, n - bi * size),
                       bj * size,
                       wc_min(size, n - bj * size),
                       scratch + (size_t)omp_get_thread_num() * size * size};
        add_product(&s, acc);
    }
    free(scratch);
    return WC_OK;
}

/* Tile by tile, so that the mirrored writes stay in cache; a tile and its mirror image belong to one task. */
void wc_syrk_finish(wc_ctx *ctx, const double *acc, size_t n, double scale, float *h)
{
    enum { TILE = 64 };
    size_t blocks = wc_ceil_div(n, TILE);
#pragma omp parallel for schedule(dynamic) num_threads(wc_linalg_threads(ctx, blocks))
    for (size_t b = 0; b < blocks; b++)
        for (size_t j0 = 0; j0 <= b * TILE; j0 += TILE)
            for (size_t i = b * TILE; i < wc_min(n, (b + 1) * TILE); i++) {
                const double *row = acc + i * (i + 1) / 2;
                for (size_t j = j0; j < wc_min(j0 + TILE, i + 1); j++)
                    h[i * n + j] = h[j * n + i] = (float)(row[j] * scale);
            }
}

/* H is symmetric, so by column blocks J, with > J the columns after it,
 *     tr(D H D^T) = sum_J <D_J, D_J H_JJ + 2 D_{>J} H_{>J,J}>
 * which takes m n^2 flops where the product D H takes 2 m n^2. */
double wc_quadratic_form(wc_ctx *ctx, const float *d, size_t m, const float *h, size_t n)
{
    enum { ROWS = 256, COLS = 512 };
    size_t panels = wc_ceil_div(m, ROWS);
    int threads = wc_linalg_threads(ctx, panels);
    float *y = malloc((size_t)threads * ROWS * COLS * sizeof *y);
    double *sum = malloc((panels + 1) * sizeof *sum), total = y && sum ? 0 : NAN;
    if (!isnan(total)) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
        for (size_t p = 0; p < panels; p++) {
            size_t rows = wc_min(ROWS, m - p * ROWS);
            const float *dp = d + p * ROWS * n;
            float *yp = y + (size_t)omp_get_thread_num() * ROWS * COLS;
            double s = 0;
            for (size_t j = 0; j < n; j += COLS) {
                size_t nj = wc_min(COLS, n - j), after = j + nj;
                wc_gemm1(WC_N, WC_N, rows, nj, nj, 1, dp + j, n, h + j * n + j, n, 0, yp, nj);
                if (after < n)
                    wc_gemm1(WC_N, WC_N, rows, nj, n - after, 2, dp + after, n, h + after * n + j, n, 1, yp, nj);
                for (size_t i = 0; i < rows; i++)
                    for (size_t k = 0; k < nj; k++)
                        s += (double)yp[i * nj + k] * (double)dp[i * n + j + k];
            }
            sum[p] = s;
        }
        for (size_t p = 0; p < panels; p++)
            total += sum[p];
    }
    free(y);
    free(sum);
    return total;
}
