/* sparse v1, encoder half. docs/FORMAT.md, card `sparse'. */
#include "formats/format.h"

#include <stdlib.h>
#include <string.h>

#include "formats/pack.h"
#include "formats/positions.h"

typedef struct layout {
    wc_positions_layout p;
    unsigned value_size;   /* bytes of a value */
    uint64_t values, size; /* offset of the values; all */
} layout;

static wc_status check_geometry(wc_ctx *ctx, const wc_sparse *s)
{
    WC_TRY(wc_check_shape(ctx, "sparse", s->rows, s->cols));
    if (!wc_dtype_is_float(s->dtype)) return wc_fail(ctx, WC_BUG, "sparse part: values of %s", wc_dtype_name(s->dtype));
    if (s->dtype != WC_F16 && s->scale_exp)
        return wc_fail(ctx, WC_BUG, "sparse part: %s values with an exponent", wc_dtype_name(s->dtype));
    return wc_check_exp(ctx, "sparse", s->scale_exp);
}

static wc_status place(wc_ctx *ctx, const wc_sparse *s, int kind, layout *out)
{
    layout l = {.value_size = wc_dtype_bits(s->dtype) / 8};
    wc_positions p = {.nnz = s->nnz, .n = s->n, .m = s->m, .block = s->block};
    WC_TRY(wc_positions_lay_out(ctx, "sparse", s->rows, s->cols, &p, kind, &l.p));
    wc_positions_place(&l.p, &l.size);
    l.values = wc_place(&l.size, l.value_size * s->nnz);
    *out = l;
    return WC_OK;
}

/* The smallest layout, the first in the order of their numbers when two are equal. */
static wc_status lay_out(wc_ctx *ctx, const wc_sparse *s, layout *out)
{
    layout mask;
    WC_TRY(check_geometry(ctx, s));
    WC_TRY(place(ctx, s, s->cols / (s->block ? s->block : 1) <= 65536 ? WC_LIST16 : WC_LIST32, out));
    WC_TRY(place(ctx, s, WC_MASK, &mask));
    if (mask.size < out->size) *out = mask;
    return WC_OK;
}

static wc_status sparse_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    layout l;
    WC_TRY(lay_out(ctx, &part->sparse, &l));
    *out = l.size;
    return WC_OK;
}

static wc_status check_numbers(wc_ctx *ctx, const wc_sparse *s)
{
    if (!s->row_start || (s->nnz && (!s->col || !s->value))) return wc_fail(ctx, WC_BUG, "sparse part: no numbers");
    for (size_t r = 0; r < s->rows; r++)
        if (s->row_start[r] > s->row_start[r + 1] || s->row_start[r + 1] > s->nnz)
            return wc_fail(ctx, WC_BUG, "sparse part: row %zu ends before it starts, or after all values", r);
    if (s->row_start[0] || s->row_start[s->rows] != s->nnz)
        return wc_fail(ctx, WC_BUG, "sparse part: the rows do not hold all %llu values", (unsigned long long)s->nnz);
    for (size_t r = 0; r < s->rows; r++)
        for (uint64_t k = s->row_start[r]; k < s->row_start[r + 1]; k++)
            if (s->col[k] >= s->cols || (k > s->row_start[r] && s->col[k] <= s->col[k - 1]))
                return wc_fail(ctx, WC_BUG, "sparse part: column %u of row %zu is out of order or of range", s->col[k],
                               r);
    return WC_OK;
}

static wc_status put_positions(wc_ctx *ctx, const wc_sparse *s, const layout *l, uint8_t *dst)
{
    wc_status status = WC_OK;
    uint64_t count = 0;
    uint8_t *has;
    WC_TRY(WC_ALLOC(ctx, has, s->cols, "a row of positions"));
    for (size_t r = 0; r < s->rows && status == WC_OK; r++) {
        memset(has, 0, s->cols);
        for (uint64_t k = s->row_start[r]; k < s->row_start[r + 1]; k++)
            has[s->col[k]] = 1;
        status = wc_positions_put(ctx, &l->p, r, has, &count, dst);
    }
    free(has);
    return status;
}

static wc_status sparse_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    const wc_sparse *s = &part->sparse;
    layout l;
    WC_TRY(lay_out(ctx, s, &l));
    WC_TRY(check_numbers(ctx, s));
    memset(dst, 0, l.size);
    WC_TRY(put_positions(ctx, s, &l, dst));
    const uint16_t *half = s->value;
    const uint32_t *wide = s->value;
    for (uint64_t k = 0; k < s->nnz; k++)
        wc_put_le(dst + l.values + l.value_size * k, l.value_size == 2 ? half[k] : wide[k], l.value_size);
    memset(params, 0, WC_PARAMS_SIZE);
    params[0] = (uint8_t)s->dtype;
    params[1] = (uint8_t)l.p.layout;
    params[2] = (uint8_t)s->n;
    params[3] = (uint8_t)s->m;
    params[4] = (uint8_t)s->scale_exp;
    wc_put_le(params + 8, s->nnz, 8);
    wc_put_le(params + 16, s->block > 1 ? s->block : 0, 4);
    return WC_OK;
}

const wc_encoder wc_encoder_sparse = {4, 1, "sparse", sparse_size, sparse_encode};
