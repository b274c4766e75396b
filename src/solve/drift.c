#include "solve/drift.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"

/* Columns of x [rows, n] from natural to processing order. */
static wc_status to_processing_order(wc_ctx *ctx, const uint32_t *order, size_t rows, size_t n, float *x)
{
    float *row;
    WC_TRY(WC_ALLOC(ctx, row, (size_t)ctx->threads * n, "rows of the drift correction"));
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < rows; i++) {
        float *copy = row + (size_t)omp_get_thread_num() * n;
        memcpy(copy, x + i * n, n * sizeof *copy);
        for (size_t j = 0; j < n; j++)
            x[i * n + j] = copy[order[j]];
    }
    free(row);
    return WC_OK;
}

/* w += shift, whose columns are in processing order; only if all of the result is finite. */
static wc_status add_shift(wc_ctx *ctx, const char *tensor, const wc_hessian *h, size_t rows, const float *shift,
                           float *w)
{
    size_t n = h->n, bad = SIZE_MAX;
#pragma omp parallel for schedule(static) num_threads(ctx->threads) reduction(min : bad)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++) {
            size_t at = i * n + (h->order ? h->order[j] : j);
            if (!isfinite(w[at] + shift[i * n + j]) && at < bad) bad = at;
        }
    if (bad != SIZE_MAX)
        return wc_fail(ctx, WC_NUMERIC, "%s: drift correction of row %zu, column %zu is not finite", tensor, bad / n,
                       bad % n);
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            w[i * n + (h->order ? h->order[j] : j)] += shift[i * n + j];
    return WC_OK;
}

/* The factor that feedback uses serves here as well: H' = R R^T in processing order, R = U diag(pivot) when columns are
 * decided one by one. */
wc_status wc_drift_correct(wc_ctx *ctx, const char *tensor, const wc_hessian *h, const wc_drift *drift, size_t rows,
                           float *w)
{
    wc_status status = WC_OK;
    size_t n = h->n;
    float *shift = NULL;
    if (h->width != 1) return wc_fail(ctx, WC_BUG, "%s: drift correction needs a factor of width 1", tensor);
    WC_TRY_OUT(WC_ALLOC(ctx, shift, rows * n, "the drift correction"));
    /* h->h is scale * (H + lambda I), so W C + R is scaled likewise. */
    float residual = (float)(drift->beta_residual * h->scale);
    for (size_t i = 0; drift->r && i < rows * n; i++)
        shift[i] = residual * drift->r[i];
    wc_gemm(ctx, WC_N, WC_N, rows, n, n, (float)(drift->beta * h->scale), drift->whole, n, drift->c, n, 1, shift, n);
    if (h->order) WC_TRY_OUT(to_processing_order(ctx, h->order, rows, n, shift));
    wc_cholesky_solve_right(ctx, h->u, h->pivot, n, shift, rows);
    WC_TRY_OUT(add_shift(ctx, tensor, h, rows, shift, w));
out:
    free(shift);
    return status;
}
