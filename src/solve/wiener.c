#include "solve/wiener.h"

#include <math.h>
#include <stdlib.h>

#include "linalg/linalg.h"

static size_t column(const wc_hessian *h, size_t position)
{
    return h->order ? h->order[position] : position;
}

wc_status wc_wiener_target(wc_ctx *ctx, const wc_hessian *h, double mu, size_t rows, const float *w, float *target)
{
    size_t n = h->n;
    wc_status status = WC_OK;
    float *v = NULL;
    WC_TRY_OUT(WC_ALLOC_RAW(ctx, v, rows * n, "a target"));
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            target[i * n + j] = w[i * n + column(h, j)];
    wc_cholesky_solve_right(ctx, h->u, h->pivot, n, target, rows);
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++) {
            float p = h->pivot[j];
            v[i * n + j] = w[i * n + column(h, j)] - (float)mu * target[i * n + j];
            target[i * n + j] = (float)mu * v[i * n + j] / fmaxf(p * p - (float)mu, 0.05f * p * p);
        }
    wc_upper_solve_right(ctx, h->u, n, target, rows);
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < n; j++)
            v[i * n + j] += target[i * n + j];
        for (size_t j = 0; j < n; j++)
            target[i * n + column(h, j)] = v[i * n + j];
    }
out:
    free(v);
    return status;
}
