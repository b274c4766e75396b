#include "calib/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "linalg/linalg.h"

wc_status wc_stats_begin(wc_ctx *ctx, size_t n, bool drift, size_t residual, wc_stats_sum *out)
{
    wc_stats_sum s = {.n = n, .residual = drift ? residual : 0};
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, s.h, n * (n + 1) / 2, "second moments"));
    if (drift) WC_TRY_OUT(WC_ALLOC(ctx, s.c, n * n, "cross moments"));
    if (s.residual) WC_TRY_OUT(WC_ALLOC(ctx, s.r, s.residual * n, "residual moments"));
    WC_TRY_OUT(WC_ALLOC(ctx, s.mean, n, "means"));
    WC_TRY_OUT(WC_ALLOC(ctx, s.abs_mean, n, "means"));
    *out = s;
    return WC_OK;
out:
    wc_stats_drop(&s);
    return status;
}

enum { CHANNELS = 256 }; /* per task: a channel's sums are one thread's, so their order is that of the tokens */

static void add_means(wc_ctx *ctx, wc_stats_sum *s, size_t t, const float *x)
{
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t j0 = 0; j0 < s->n; j0 += CHANNELS)
        for (size_t i = 0; i < t; i++)
            for (size_t j = j0; j < wc_min(j0 + CHANNELS, s->n); j++) {
                s->mean[j] += (double)x[i * s->n + j];
                s->abs_mean[j] += fabs((double)x[i * s->n + j]);
            }
}

static wc_status check_finite(wc_ctx *ctx, const wc_stats_sum *s)
{
    for (size_t j = 0; j < s->n; j++)
        if (!isfinite(s->abs_mean[j]))
            return wc_fail(ctx, WC_NUMERIC, "input channel %zu of %zu is not finite within the first %llu tokens", j,
                           s->n, (unsigned long long)s->tokens);
    return WC_OK;
}

/* sum [width, n] += (original - compressed)^T x over t tokens. */
static wc_status add_cross(wc_ctx *ctx, size_t t, size_t width, const float *compressed, const float *original,
                           size_t n, const float *x, float *sum)
{
    float *difference;
    WC_TRY(WC_ALLOC(ctx, difference, t * width, "activation differences"));
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < t * width; i++)
        difference[i] = original[i] - compressed[i];
    wc_gemm(ctx, WC_T, WC_N, width, n, t, 1, difference, width, x, n, 1, sum, n);
    free(difference);
    return WC_OK;
}

wc_status wc_stats_add(wc_ctx *ctx, wc_stats_sum *s, const wc_stats_chunk *k)
{
    add_means(ctx, s, k->t, k->x);
    s->tokens += k->t;
    WC_TRY(check_finite(ctx, s));
    if (s->c) WC_TRY(add_cross(ctx, k->t, s->n, k->x, k->x_original, s->n, k->x, s->c));
    if (s->r) WC_TRY(add_cross(ctx, k->t, s->residual, k->y, k->y_original, s->n, k->x, s->r));
    return wc_syrk_accumulate(ctx, k->x, k->t, s->n, s->h);
}

static void scale_all(const wc_ctx *ctx, float *x, size_t n, float by)
{
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < n; i++)
        x[i] *= by;
}

wc_status wc_stats_finish(wc_ctx *ctx, wc_stats_sum *s, wc_stats *out)
{
    float *h = NULL, *mean = NULL, *abs_mean = NULL;
    double scale = s->tokens ? 1.0 / (double)s->tokens : 0;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, mean, s->n, "means"));
    WC_TRY_OUT(WC_ALLOC(ctx, abs_mean, s->n, "means"));
    WC_TRY_OUT(WC_ALLOC(ctx, h, s->n * s->n, "second moments"));
    wc_syrk_finish(ctx, s->h, s->n, scale, h);
    for (size_t j = 0; j < s->n; j++) {
        mean[j] = (float)(s->mean[j] * scale);
        abs_mean[j] = (float)(s->abs_mean[j] * scale);
    }
    if (s->c) scale_all(ctx, s->c, s->n * s->n, (float)scale);
    if (s->r) scale_all(ctx, s->r, s->residual * s->n, (float)scale);
    *out = (wc_stats){.n = s->n, .tokens = s->tokens, .h = h, .c = s->c, .r = s->r, .mean = mean, .abs_mean = abs_mean};
    s->c = s->r = NULL;
    h = mean = abs_mean = NULL;
out:
    free(h);
    free(mean);
    free(abs_mean);
    wc_stats_drop(s);
    return status;
}

void wc_stats_drop(wc_stats_sum *s)
{
    if (!s) return;
    free(s->h);
    free(s->c);
    free(s->r);
    free(s->mean);
    free(s->abs_mean);
    memset(s, 0, sizeof *s);
}

void wc_stats_free(wc_stats *s)
{
    if (!s) return;
    free((void *)s->h);
    free((void *)s->c);
    free((void *)s->r);
    free((void *)s->mean);
    free((void *)s->abs_mean);
    memset(s, 0, sizeof *s);
}
