#include "methods/leaf.h"

#include <math.h>

#include "base/half.h"
#include "solve/grid_solve.h"

enum { GROUP = 32, ORDER_MAX = 32766 };

/* ---- the rank --------------------------------------------------------------------------------------------------- */

size_t wc_rank_chosen(const wc_rank_options *o, const wc_place *at, const void *opt, size_t most, wc_rank_bits *bits)
{
    size_t low = 0, high = most;
    double room = o->ratio * WC_LEAF_F16 * (double)at->rows * (double)at->cols;
    if (o->rank) return (size_t)o->rank;
    while (low < high) {
        size_t r = low + (high - low + 1) / 2;
        if (bits(at, opt, r) <= room)
            low = r;
        else
            high = r - 1;
    }
    size_t floor = wc_min((size_t)o->floor, most);
    return low > floor ? low : floor;
}

const char *wc_rank_refusal(const wc_rank_options *o, size_t order, size_t most, size_t chosen)
{
    if (o->factor_bits > 8 && o->factor_bits != WC_LEAF_F16) return "factor_bits is 4 to 8, or 16";
    if (order > ORDER_MAX) return "min(rows, cols) exceeds 32766, the largest order of an eigendecomposition";
    if ((size_t)o->rank > most) return "the rank exceeds min(rows, cols)";
    if (!o->rank && !o->floor && o->ratio == 0) return "neither a rank nor a ratio is given";
    if (!chosen) return "the ratio has no room for rank 1";
    return NULL;
}

/* ---- one factor ------------------------------------------------------------------------------------------------- */

wc_part wc_leaf_plan(size_t rows, size_t cols, int bits)
{
    wc_part p = {.kind = WC_PART_FLOAT, .floats = {.rows = rows, .cols = cols, .dtype = WC_F16}};
    if (bits != WC_LEAF_F16) {
        p = (wc_part){.kind = WC_PART_GRID};
        wc_grid_options o = {.bits = bits, .group = GROUP, .sym = true, .scale_bits = cols > GROUP ? 4 : 0};
        wc_grid_plan(rows, cols, &o, &p.grid);
    }
    return p;
}

double wc_leaf_bits(size_t rows, size_t cols, int bits)
{
    double scales = bits == WC_LEAF_F16 ? 0 : WC_LEAF_F16 + (cols > GROUP ? 4.0 * (double)wc_ceil_div(cols, GROUP) : 0);
    return (double)rows * ((double)cols * bits + scales);
}

double wc_sparse_bits(size_t rows, size_t cols, uint64_t nnz)
{
    double columns = (cols > 65536 ? 32 : 16) * (double)nnz, mask = 8 * (double)rows * (double)wc_ceil_div(cols, 8);
    return 32 * (double)rows + fmin(columns, mask) + WC_LEAF_F16 * (double)nnz;
}

static wc_status store_f16(wc_ctx *ctx, const char *tensor, const float *x, wc_float *out)
{
    size_t count = out->rows * out->cols;
    WC_TRY(wc_float_alloc(ctx, out));
    for (size_t i = 0; i < count; i++) {
        uint16_t v = wc_f32_f16(x[i]);
        if ((v & 0x7c00) == 0x7c00)
            return wc_fail(ctx, WC_NUMERIC, "%s: %g in a low-rank factor exceeds 65504, the largest f16", tensor,
                           (double)x[i]);
        out->owned[2 * i] = (uint8_t)v;
        out->owned[2 * i + 1] = (uint8_t)(v >> 8);
    }
    return WC_OK;
}

wc_status wc_leaf_store(wc_ctx *ctx, const char *tensor, const float *x, const float *weight, wc_part *part)
{
    if (part->kind == WC_PART_FLOAT) return store_f16(ctx, tensor, x, &part->floats);
    wc_grid_problem problem = {.tensor = tensor, .w = x, .weight = weight, .search = WC_SEARCH_MSE};
    return wc_grid_solve(ctx, &problem, &part->grid, NULL);
}

void wc_leaf_load(const wc_part *part, float *x)
{
    if (part->kind == WC_PART_FLOAT) {
        const uint8_t *src = part->floats.data;
        for (size_t i = 0; i < part->floats.rows * part->floats.cols; i++)
            x[i] = wc_f16_f32((uint16_t)(src[2 * i] | src[2 * i + 1] << 8));
        return;
    }
    const wc_grid *g = &part->grid;
    size_t groups = wc_grid_groups(g);
    for (size_t i = 0; i < g->rows; i++)
        for (size_t j = 0; j < g->cols; j++) {
            size_t at = i * groups + j / g->group;
            float s = ldexpf(wc_f16_f32(g->scale[g->scale_bits ? i : at]), g->scale_exp);
            if (g->scale_bits) s *= (float)g->scale_code[at];
            x[i * g->cols + j] = s * ((float)g->code[i * g->cols + j] - g->zero_fixed);
        }
}
