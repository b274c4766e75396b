#include "basis.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/part.h"

/* m [rows, n]: every row x becomes C x, which is m C^T. */
static void transform_rows(const wc_ctx *ctx, const wcd_view *c, float *m, size_t rows)
{
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < rows; i++)
        c->d->input(c, m + i * c->cols);
}

/* The diagonal of a diagonal C is C 1. */
static wc_status diagonal_of(wc_ctx *ctx, const wcd_view *c, float **out)
{
    WC_TRY(WC_ALLOC(ctx, *out, c->cols, "column scales"));
    for (size_t j = 0; j < c->cols; j++)
        (*out)[j] = 1;
    c->d->input(c, *out);
    return WC_OK;
}

wc_status wc_basis_weights(wc_ctx *ctx, const wcd_view *c, float *w, size_t rows)
{
    if (c->d->id != WC_PART_DIAGONAL) { /* orthogonal: C^-1 = C^T */
        transform_rows(ctx, c, w, rows);
        return WC_OK;
    }
    float *scale;
    WC_TRY(diagonal_of(ctx, c, &scale));
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < c->cols; j++)
            w[i * c->cols + j] /= scale[j];
    free(scale);
    return WC_OK;
}

enum { TILE = 32 };

/* m [n, n] = m^T. */
static void transpose(const wc_ctx *ctx, float *m, size_t n)
{
#pragma omp parallel for schedule(dynamic) num_threads(ctx->threads)
    for (size_t i0 = 0; i0 < n; i0 += TILE)
        for (size_t j0 = 0; j0 <= i0; j0 += TILE)
            for (size_t i = i0; i < wc_min(i0 + TILE, n); i++)
                for (size_t j = j0; j < wc_min(j0 + TILE, i); j++) {
                    float x = m[i * n + j];
                    m[i * n + j] = m[j * n + i];
                    m[j * n + i] = x;
                }
}

/* A copy of m [rows, n] with C on its right side, and for a square of moments on its left too; NULL of NULL. */
static wc_status moments(wc_ctx *ctx, const wcd_view *c, const float *m, size_t rows, bool both, const float **out)
{
    size_t n = c->cols;
    float *copy;
    if (!m) return WC_OK;
    WC_TRY(WC_ALLOC(ctx, copy, rows * n, "transformed moments"));
    memcpy(copy, m, rows * n * sizeof *copy);
    *out = copy;
    transform_rows(ctx, c, copy, rows); /* M C^T */
    if (!both) return WC_OK;
    transpose(ctx, copy, n);
    transform_rows(ctx, c, copy, n); /* (M C^T)^T C^T = (C M C^T)^T */
    transpose(ctx, copy, n);
    return WC_OK;
}

/* Rounding has left the two halves a little different. */
static void make_symmetric(const wc_ctx *ctx, float *h, size_t n)
{
#pragma omp parallel for schedule(dynamic) num_threads(ctx->threads)
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            h[i * n + j] = h[j * n + i] = (h[i * n + j] + h[j * n + i]) / 2;
}

/* E|x| of a normal variable with that mean and second moment. */
static double normal_abs(double mean, double second)
{
    double variance = second - mean * mean;
    if (!(variance > 0)) return fabs(mean);
    return sqrt(2 * variance / M_PI) * exp(-mean * mean / (2 * variance)) + mean * erf(mean / sqrt(2 * variance));
}

static wc_status means(wc_ctx *ctx, const wcd_view *c, const wc_stats *in, wc_stats *out)
{
    size_t n = c->cols;
    if (in->mean) WC_TRY(moments(ctx, c, in->mean, 1, false, &out->mean));
    if (!in->abs_mean) return WC_OK;
    WC_TRY(moments(ctx, c, in->abs_mean, 1, false, &out->abs_mean));
    float *a = (float *)out->abs_mean;
    bool mixes = c->d->id == WC_PART_HADAMARD;
    for (size_t j = 0; j < n; j++)
        a[j] = mixes ? (float)normal_abs((double)out->mean[j], (double)out->h[j * n + j]) : fabsf(a[j]);
    return WC_OK;
}

wc_status wc_basis_stats(wc_ctx *ctx, const wcd_view *c, const wc_stats *in, size_t residual_rows, wc_stats *out)
{
    wc_stats s = {.n = in->n, .tokens = in->tokens};
    wc_status status;
    WC_TRY_OUT(moments(ctx, c, in->h, in->n, true, &s.h));
    if (s.h) make_symmetric(ctx, (float *)s.h, in->n);
    WC_TRY_OUT(moments(ctx, c, in->c, in->n, true, &s.c));
    WC_TRY_OUT(moments(ctx, c, in->r, residual_rows, false, &s.r));
    WC_TRY_OUT(means(ctx, c, in, &s));
    *out = s;
    return WC_OK;
out:
    wc_stats_free(&s);
    return status;
}
