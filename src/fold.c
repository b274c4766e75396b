#include "fold.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"

/* ---- where it goes ---------------------------------------------------------------------------------------------- */

enum { V = 2, UP = 5 }; /* of wc_block.linear */

bool wc_fold_norm_name(const wc_config *c, size_t layer, wc_stage stage, char name[WC_NAME_SIZE])
{
    static const wc_norm in_front[WC_N_STAGES] = {WC_NORM_ATTENTION, WC_NORM_ATTENTION_OUT, WC_NORM_MLP,
                                                  WC_NORM_MLP_INNER};
    wc_tensor_spec spec = {.role = WC_ROLE_NORM, .index = in_front[stage]};
    if (wc_fold_rows_of(c, stage) != SIZE_MAX) return false;
    wc_spec_name(&spec, layer, name);
    return true;
}

size_t wc_fold_rows_of(const wc_config *c, wc_stage stage)
{
    if (c->sub_norm) return SIZE_MAX;
    return stage == WC_STAGE_O ? V : stage == WC_STAGE_DOWN ? UP : SIZE_MAX;
}

size_t wc_fold_row(const wc_config *c, wc_stage stage, size_t j)
{
    size_t d = c->head_dim, heads_per_row = c->heads / c->kv_heads;
    return stage == WC_STAGE_O ? j / d / heads_per_row * d + j % d : j;
}

/* ---- which diagonal --------------------------------------------------------------------------------------------- */

void wc_fold_tie(const wc_config *c, wc_stage stage, wc_stats *s)
{
    float *abs_mean = (float *)(uintptr_t)s->abs_mean;
    size_t d = c->head_dim, shared = stage == WC_STAGE_O ? c->heads / c->kv_heads : 1;
    for (size_t first = 0; shared > 1 && first < s->n; first += shared * d) /* heads that read the same rows */
        for (size_t i = first; i < first + d; i++) {
            float sum = 0;
            for (size_t j = i; j < i + shared * d; j += d)
                sum += abs_mean[j] * abs_mean[j];
            for (size_t j = i; j < i + shared * d; j += d)
                abs_mean[j] = sqrtf(sum / (float)shared);
        }
}

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

wc_status wc_fold_choose(wc_ctx *ctx, const wc_fold_linear *linear, size_t n_linears, const wc_stats *stats,
                         size_t *best)
{
    size_t n = linear->step->method->folding->choices(linear->step->opt);
    double *cost;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, cost, n, "the errors of diagonals"));
    for (size_t k = 0; k < n_linears; k++)
        WC_TRY_OUT(add_costs(ctx, &linear[k], stats, cost));
    *best = 0;
    for (size_t k = 1; k < n; k++)
        if (cost[k] < cost[*best]) *best = k;
out:
    free(cost);
    return status;
}

wc_status wc_fold_candidate(wc_ctx *ctx, const wc_fold_linear *linear, const wc_stats *stats, size_t k, float *c)
{
    wc_job job = {.ctx = ctx, .tensor = linear->weight->name, .at = {.cols = linear->weight->cols}, .stats = stats};
    return linear->step->method->folding->diagonal(&job, linear->step->opt, k, c);
}

/* ---- as stored -------------------------------------------------------------------------------------------------- */

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

void wc_fold_bias(const float *b, const float *stored, size_t n, float *rows)
{
    for (size_t i = 0; i < n; i++)
        if (b[i] != 0) rows[i] = stored[i] / b[i];
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
    for (size_t i = 0; i < nr; i++, dst += w->cols) {
        float row = !s->rows ? 1 : s->divide ? s->rows[r0 + i] : 1 / s->rows[r0 + i];
        for (size_t j = 0; s->rows && j < w->cols; j++)
            dst[j] *= row;
        for (size_t j = 0; s->c && j < w->cols; j++)
            dst[j] = s->divide ? dst[j] / s->c[j] : dst[j] * s->c[j];
    }
    return WC_OK;
}

wc_weight wc_fold_weight(const wc_fold_scaled *s)
{
    return (wc_weight){
        .rows = s->base.rows, .cols = s->base.cols, .name = s->base.name, .read = read_scaled, .source = s};
}
