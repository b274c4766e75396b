/* lut v1, encoder half. docs/FORMAT.md, card `lut'. */
#include "formats/format.h"

#include <string.h>

#include "formats/pack.h"
#include "formats/positions.h"

typedef struct layout {
    uint64_t row_size, tables, scales, size; /* bytes of one row's codes; offsets of sections; all */
    uint64_t levels, n_scales;               /* numbers in all tables; scales */
    wc_positions_layout p;                   /* with holes */
} layout;

static wc_status check_geometry(wc_ctx *ctx, const wc_lut *l)
{
    WC_TRY(wc_check_shape(ctx, "lut", l->rows, l->cols));
    if (l->group < 1 || l->group > l->cols || l->group > UINT32_MAX)
        return wc_fail(ctx, WC_BUG, "lut part: groups of %zu columns in %zu x %zu", l->group, l->rows, l->cols);
    if (l->bits < 1 || l->bits > 8) return wc_fail(ctx, WC_BUG, "lut part: %u bits", l->bits);
    if ((unsigned)l->scope > WC_LUT_GROUP)
        return wc_fail(ctx, WC_BUG, "lut part: table scope %d is unknown", (int)l->scope);
    return wc_check_exp(ctx, "lut", l->scale_exp);
}

/* 2^56 elements at most, of which each may have a table of 512 bytes: more than 2^62 bytes are refused. */
static wc_status lay_out(wc_ctx *ctx, const wc_lut *lut, layout *out)
{
    WC_TRY(check_geometry(ctx, lut));
    uint64_t tables = wc_lut_tables(lut), table_bytes;
    if (!wc_mul(tables, (uint64_t)2 << lut->bits, &table_bytes) || table_bytes > (uint64_t)1 << 62)
        return wc_fail(ctx, WC_BUG, "lut part: %llu tables are too many", (unsigned long long)tables);
    layout l = {.row_size = wc_packed_size(lut->cols, lut->bits), .levels = table_bytes / 2};
    l.n_scales = lut->scaled ? lut->rows * wc_lut_groups(lut) : 0;
    if (lut->holes) WC_TRY(wc_positions_lay_out(ctx, "lut", lut->rows, lut->cols, &lut->at, WC_MASK, &l.p));
    l.size = lut->holes ? wc_packed_size(lut->at.nnz, lut->bits) : lut->rows * l.row_size;
    l.tables = wc_place(&l.size, table_bytes);
    if (lut->scaled) l.scales = wc_place(&l.size, 2 * l.n_scales);
    if (lut->holes) wc_positions_place(&l.p, &l.size);
    *out = l;
    return WC_OK;
}

static wc_status lut_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    layout l;
    WC_TRY(lay_out(ctx, &part->lut, &l));
    *out = l.size;
    return WC_OK;
}

static wc_status lut_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    const wc_lut *lut = &part->lut;
    layout l;
    WC_TRY(lay_out(ctx, lut, &l));
    if (!lut->code || !lut->table || (lut->scaled && !lut->scale) || (lut->holes && !lut->mask))
        return wc_fail(ctx, WC_BUG, "lut part: no numbers");
    WC_TRY(wc_check_codes(ctx, "lut part: code", lut->code, lut->rows * lut->cols, lut->cols, lut->bits));
    memset(dst, 0, l.size);
    if (lut->holes) WC_TRY(wc_positions_put_codes(ctx, &l.p, lut->mask, lut->code, lut->bits, dst));
    for (uint64_t r = 0; !lut->holes && r < lut->rows; r++)
        wc_pack(lut->code + r * lut->cols, lut->cols, lut->bits, dst + r * l.row_size);
    for (uint64_t i = 0; i < l.levels; i++)
        wc_put_le(dst + l.tables + 2 * i, lut->table[i], 2);
    for (uint64_t i = 0; i < l.n_scales; i++)
        wc_put_le(dst + l.scales + 2 * i, lut->scale[i], 2);
    memset(params, 0, WC_PARAMS_SIZE);
    params[0] = (uint8_t)lut->bits;
    params[1] = (uint8_t)lut->scope;
    params[2] = lut->scaled;
    params[3] = (uint8_t)lut->scale_exp;
    wc_put_le(params + 4, lut->group, 4);
    if (lut->holes) wc_positions_params(&l.p, params);
    return WC_OK;
}

const wc_encoder wc_encoder_lut = {3, 1, "lut", lut_size, lut_encode};
