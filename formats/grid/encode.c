/* grid v1, encoder half. docs/FORMAT.md, section "Packed integers" and card `grid'. */
#include "formats/format.h"

#include <string.h>

#include "base/half.h"
#include "formats/pack.h"
#include "formats/positions.h"

typedef struct layout {
    /* bytes of one row's codes; offsets of sections; all */
    uint64_t row_size, scales, scale_codes, zeros_f16, zero_codes, size;
    wc_positions_layout p; /* with holes */
} layout;

static wc_status check_tiles(wc_ctx *ctx, const wc_grid *g)
{
    bool line = g->zero_kind == WC_ZERO_LINE;
    if (g->tile > 255 || (g->tile && !g->scale_bits))
        return wc_fail(ctx, WC_BUG, "grid part: tiles of %zu rows, %u scale bits", g->tile, g->scale_bits);
    if (line ? !g->tile || g->zero_bits < 2 || g->zero_bits > 8 : g->zero_bits != 0)
        return wc_fail(ctx, WC_BUG, "grid part: %u zero bits, zero kind %d, tiles of %zu rows", g->zero_bits,
                       (int)g->zero_kind, g->tile);
    return WC_OK;
}

static wc_status check_geometry(wc_ctx *ctx, const wc_grid *g)
{
    if (g->rows < 1 || g->cols < 1 || g->group < 1 || g->group > g->cols || g->group > UINT32_MAX)
        return wc_fail(ctx, WC_BUG, "grid part: groups of %zu columns in %zu x %zu", g->group, g->rows, g->cols);
    if (g->bits < 1 || g->bits > 8 || g->scale_bits == 1 || g->scale_bits > 8)
        return wc_fail(ctx, WC_BUG, "grid part: %u bits, %u scale bits", g->bits, g->scale_bits);
    WC_TRY(wc_check_exp(ctx, "grid", g->scale_exp));
    if (g->zero_kind > WC_ZERO_LINE)
        return wc_fail(ctx, WC_BUG, "grid part: zero kind %d is unknown", (int)g->zero_kind);
    WC_TRY(check_tiles(ctx, g));
    if (g->zero_kind != WC_ZERO_FIXED) return WC_OK;
    float z = g->zero_fixed;
    if (!(z >= 0 && z <= (float)((1 << g->bits) - 1)) || (float)(int)(2 * z) != 2 * z)
        return wc_fail(ctx, WC_BUG, "grid part: the fixed zero %g is not a half step within %u bits", z, g->bits);
    return WC_OK;
}

static wc_status lay_out(wc_ctx *ctx, const wc_grid *g, layout *out)
{
    WC_TRY(check_geometry(ctx, g));
    WC_TRY(wc_check_shape(ctx, "grid", g->rows, g->cols));
    uint64_t all_groups = g->rows * wc_grid_groups(g);
    unsigned zero_bits = wc_grid_zero_code_bits(g);
    layout l = {.row_size = wc_packed_size(g->cols, g->bits)};
    if (g->holes) WC_TRY(wc_positions_lay_out(ctx, "grid", g->rows, g->cols, &g->at, WC_MASK, &l.p));
    l.size = g->holes ? wc_packed_size(g->at.nnz, g->bits) : g->rows * l.row_size;
    l.scales = wc_place(&l.size, 2 * wc_grid_scales(g));
    if (g->scale_bits) l.scale_codes = wc_place(&l.size, wc_packed_size(all_groups, g->scale_bits));
    if (wc_grid_zero_f16s(g)) l.zeros_f16 = wc_place(&l.size, 2 * wc_grid_zero_f16s(g));
    if (zero_bits) l.zero_codes = wc_place(&l.size, wc_packed_size(all_groups, zero_bits));
    if (g->holes) wc_positions_place(&l.p, &l.size);
    *out = l;
    return WC_OK;
}

static wc_status grid_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    layout l;
    WC_TRY(lay_out(ctx, &part->grid, &l));
    *out = l.size;
    return WC_OK;
}

static void put_params(const wc_grid *g, const layout *l, uint8_t params[WC_PARAMS_SIZE])
{
    /* + 0: a fixed zero of -0 is written as +0, the only form that readers take. */
    uint32_t zero = g->zero_kind == WC_ZERO_FIXED ? wc_f32_bits(g->zero_fixed + 0.0f) : 0;
    memset(params, 0, WC_PARAMS_SIZE);
    params[0] = (uint8_t)g->bits;
    params[1] = (uint8_t)g->scale_bits;
    params[2] = (uint8_t)g->zero_kind;
    params[3] = (uint8_t)g->scale_exp;
    wc_put_le(params + 4, g->group, 4);
    wc_put_le(params + 8, zero, 4);
    params[28] = (uint8_t)g->tile;
    params[29] = (uint8_t)g->zero_bits;
    if (g->holes) wc_positions_params(&l->p, params);
}

static wc_status check_numbers(wc_ctx *ctx, const wc_grid *g)
{
    uint64_t groups = wc_grid_groups(g), all_groups = g->rows * groups;
    unsigned zero_bits = wc_grid_zero_code_bits(g);
    if (!g->code || !g->scale || (g->scale_bits && !g->scale_code) || (zero_bits && !g->zero) ||
        (wc_grid_zero_f16s(g) && !g->zero_f16) || (g->holes && !g->mask))
        return wc_fail(ctx, WC_BUG, "grid part: no numbers");
    WC_TRY(wc_check_codes(ctx, "grid part: code", g->code, g->rows * g->cols, g->cols, g->bits));
    if (g->scale_bits)
        WC_TRY(wc_check_codes(ctx, "grid part: scale code", g->scale_code, all_groups, groups, g->scale_bits));
    if (zero_bits) WC_TRY(wc_check_codes(ctx, "grid part: zero", g->zero, all_groups, groups, zero_bits));
    return WC_OK;
}

static void put_f16(const uint16_t *src, uint64_t count, uint8_t *dst)
{
    for (uint64_t i = 0; i < count; i++)
        wc_put_le(dst + 2 * i, src[i], 2);
}

static wc_status grid_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    const wc_grid *g = &part->grid;
    layout l;
    WC_TRY(lay_out(ctx, g, &l));
    WC_TRY(check_numbers(ctx, g));
    uint64_t all_groups = g->rows * wc_grid_groups(g);
    unsigned zero_bits = wc_grid_zero_code_bits(g);
    memset(dst, 0, l.size);
    if (g->holes) WC_TRY(wc_positions_put_codes(ctx, &l.p, g->mask, g->code, g->bits, dst));
    for (uint64_t r = 0; !g->holes && r < g->rows; r++)
        wc_pack(g->code + r * g->cols, g->cols, g->bits, dst + r * l.row_size);
    put_f16(g->scale, wc_grid_scales(g), dst + l.scales);
    if (g->scale_bits) wc_pack(g->scale_code, all_groups, g->scale_bits, dst + l.scale_codes);
    put_f16(g->zero_f16, wc_grid_zero_f16s(g), dst + l.zeros_f16);
    if (zero_bits) wc_pack(g->zero, all_groups, zero_bits, dst + l.zero_codes);
    put_params(g, &l, params);
    return WC_OK;
}

const wc_encoder wc_encoder_grid = {2, 1, "grid", grid_size, grid_encode};
