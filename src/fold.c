#include "fold.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"

/* ---- which diagonal --------------------------------------------------------------------------------------------- */

static wc_status add_costs(wc_ctx *ctx, const wc_fold_linear *l, const wc_stats *stats, double *cost)
{
    size_t rows = l->weight->rows, cols = l->weight->cols;
    float *w;
    WC_TRY(WC_ALLOC(ctx, w, rows * cols, "a weight matrix"));
    wc_status status = l->weight->read(ctx, l->weight, 0, rows, w);
    wc_job job = {.ctx = ctx,
                  .tensor = l->weight->name,
                  .at = {.rows = rows, .cols = cols, .kept = (uint64_t)rows * cols},
                  .w = w,
                  .stats = stats};
    if (status == WC_OK) status = l->step->method->folding->cost(&job, l->step->opt, cost);
    free(w);
    return status;
}

wc_status wc_fold_choose(wc_ctx *ctx, const wc_fold_linear *linear, size_t n_linears, const wc_stats *stats, float *c)
{
    const wc_folding *f = linear->step->method->folding;
    size_t n = f->choices(linear->step->opt), best = 0;
    double *cost;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, cost, n, "the errors of diagonals"));
    for (size_t k = 0; k < n_linears; k++)
        WC_TRY_OUT(add_costs(ctx, &linear[k], stats, cost));
    for (size_t k = 1; k < n; k++)
        if (cost[k] < cost[best]) best = k;
    wc_job job = {.ctx = ctx, .tensor = linear->weight->name, .at = {.cols = linear->weight->cols}, .stats = stats};
    WC_TRY_OUT(f->diagonal(&job, linear->step->opt, best, c));
out:
    free(cost);
    return status;
}

/* ---- the norm --------------------------------------------------------------------------------------------------- */

/* Bits of v in the type, and in *back the value that they have. */
static uint32_t round_to(wc_dtype dtype, float v, float *back)
{
    uint32_t bits = dtype == WC_F16 ? wc_f32_f16(v) : dtype == WC_BF16 ? wc_f32_bf16(v) : wc_f32_bits(v);
    *back = dtype == WC_F16 ? wc_f16_f32((uint16_t)bits) : dtype == WC_BF16 ? wc_bf16_f32((uint16_t)bits) : v;
    return bits;
}

void wc_fold_norm(const float *g, const float *c, size_t n, wc_dtype dtype, uint8_t *stored)
{
    float least = dtype == WC_F16 ? 0x1p-14f : 0x1p-126f, back;
    size_t width = wc_dtype_bits(dtype) / 8;
    for (size_t j = 0; j < n; j++) {
        uint32_t bits = round_to(dtype, g[j] * c[j], &back);
        if (!(fabsf(back) >= least && isfinite(back))) bits = round_to(dtype, g[j], &back);
        for (size_t b = 0; b < width; b++)
            stored[j * width + b] = (uint8_t)(bits >> 8 * b);
    }
}

void wc_fold_diagonal(const float *g, const float *stored, size_t n, float *c)
{
    for (size_t j = 0; j < n; j++)
        c[j] = g[j] == 0 ? 1 : stored[j] / g[j];
}

/* ---- what is behind it ------------------------------------------------------------------------------------------ */

/* m [rows, n] = m diag(c), times c of its row as well for a square of moments. */
static void scale_moments(const wc_ctx *ctx, const float *m, size_t rows, size_t n, const float *c, bool both)
{
    float *own = (float *)(uintptr_t)m;
    if (!m) return;
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            own[i * n + j] *= both ? c[i] * c[j] : c[j];
}

void wc_fold_stats(const wc_ctx *ctx, wc_stats *s, size_t residual_rows, const float *c)
{
    float *abs_mean = (float *)(uintptr_t)s->abs_mean;
    scale_moments(ctx, s->h, s->n, s->n, c, true);
    scale_moments(ctx, s->c, s->n, s->n, c, true);
    scale_moments(ctx, s->r, residual_rows, s->n, c, false);
    scale_moments(ctx, s->mean, 1, s->n, c, false);
    for (size_t j = 0; abs_mean && j < s->n; j++)
        abs_mean[j] *= fabsf(c[j]);
}

static wc_status read_scaled(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    const wc_fold_scaled *s = w->source;
    WC_TRY(s->base.read(ctx, &s->base, r0, nr, dst));
    for (size_t i = 0; i < nr; i++)
        for (size_t j = 0; j < w->cols; j++)
            dst[i * w->cols + j] = s->divide ? dst[i * w->cols + j] / s->c[j] : dst[i * w->cols + j] * s->c[j];
    return WC_OK;
}

wc_weight wc_fold_weight(const wc_fold_scaled *s)
{
    return (wc_weight){
        .rows = s->base.rows, .cols = s->base.cols, .name = s->base.name, .read = read_scaled, .source = s};
}
