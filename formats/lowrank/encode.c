/* lowrank v1, encoder half: rank and form, the marks of pivot rows; the numbers are in the factors, parts of their own.
 * docs/FORMAT.md, card `lowrank'. */
#include "formats/format.h"

#include <string.h>

#include "formats/pack.h"

static const char *const factor_names[WC_PART_CHILDREN] = {"A", "B", "the link"};

static wc_status check_factor(wc_ctx *ctx, const wc_part *f, const char *name, size_t rows, size_t cols)
{
    size_t r, c;
    if (!f) return wc_fail(ctx, WC_NOMEM, "low-rank part: no memory for the plan of %s", name);
    if (f->kind == WC_PART_LOWRANK || (f->kind == WC_PART_FLOAT && !wc_dtype_is_float(f->floats.dtype)))
        return wc_fail(ctx, WC_BUG, "low-rank part: %s cannot be of kind %d", name, (int)f->kind);
    wc_part_shape(f, &r, &c);
    if (r == rows && c == cols) return WC_OK;
    return wc_fail(ctx, WC_BUG, "low-rank part: %s is %zu x %zu, not %zu x %zu", name, r, c, rows, cols);
}

static wc_status check_form(wc_ctx *ctx, const wc_lowrank *l)
{
    bool mpo = l->form == WC_LOWRANK_MPO;
    if (l->rank < 1 || l->rank > UINT32_MAX || (l->form == WC_LOWRANK_PIVOT && l->rank >= l->rows))
        return wc_fail(ctx, WC_BUG, "low-rank part: rank %zu in form %d of %zu rows", l->rank, (int)l->form, l->rows);
    if (mpo ? !l->m2 || !l->n2 || l->m2 > UINT32_MAX || l->n2 > UINT32_MAX || l->rows % l->m2 || l->cols % l->n2
            : l->m2 || l->n2)
        return wc_fail(ctx, WC_BUG, "low-rank part: inner blocks of %zu x %zu in form %d", l->m2, l->n2, (int)l->form);
    return WC_OK;
}

static wc_status lowrank_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    const wc_lowrank *l = &part->lowrank;
    const wc_part *child[WC_PART_CHILDREN];
    WC_TRY(wc_check_shape(ctx, "low-rank", l->rows, l->cols));
    WC_TRY(check_form(ctx, l));
    size_t n = wc_part_children(part, child);
    for (size_t k = 0; k < n; k++) {
        size_t rows, cols;
        wc_lowrank_child_shape(l, k, &rows, &cols);
        WC_TRY(check_factor(ctx, child[k], factor_names[k], rows, cols));
    }
    *out = l->form == WC_LOWRANK_PIVOT ? wc_ceil_div(l->rows, 8) : 0;
    return WC_OK;
}

static wc_status put_pivots(wc_ctx *ctx, const wc_lowrank *l, uint8_t *dst)
{
    size_t pivots = 0;
    memset(dst, 0, wc_ceil_div(l->rows, 8));
    for (size_t i = 0; i < l->rows; i++) {
        if (l->pivot[i] > 1) return wc_fail(ctx, WC_BUG, "low-rank part: mark %d at row %zu", l->pivot[i], i);
        dst[i / 8] |= (uint8_t)(l->pivot[i] << i % 8);
        pivots += l->pivot[i];
    }
    if (pivots == l->rank) return WC_OK;
    return wc_fail(ctx, WC_BUG, "low-rank part: %zu pivot rows for rank %zu", pivots, l->rank);
}

static wc_status lowrank_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    const wc_lowrank *l = &part->lowrank;
    uint64_t size;
    WC_TRY(lowrank_size(ctx, part, &size));
    memset(params, 0, WC_PARAMS_SIZE);
    wc_put_le(params, l->rank, 4);
    params[4] = (uint8_t)l->form;
    wc_put_le(params + 8, l->m2, 4);
    wc_put_le(params + 12, l->n2, 4);
    return l->form == WC_LOWRANK_PIVOT ? put_pivots(ctx, l, dst) : WC_OK;
}

const wc_encoder wc_encoder_lowrank = {5, 1, "lowrank", lowrank_size, lowrank_encode};
