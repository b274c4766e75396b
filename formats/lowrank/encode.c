/* lowrank v1, encoder half: a rank; the numbers are in the factors, parts of their own. docs/FORMAT.md, card `lowrank'.
 */
#include "formats/format.h"

#include <string.h>

#include "formats/pack.h"

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

static wc_status lowrank_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    const wc_lowrank *l = &part->lowrank;
    WC_TRY(wc_check_shape(ctx, "low-rank", l->rows, l->cols));
    if (l->rank < 1 || l->rank > UINT32_MAX) return wc_fail(ctx, WC_BUG, "low-rank part: rank %zu", l->rank);
    WC_TRY(check_factor(ctx, l->a, "A", l->rows, l->rank));
    WC_TRY(check_factor(ctx, l->b, "B", l->rank, l->cols));
    *out = 0;
    return WC_OK;
}

static wc_status lowrank_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    uint64_t size;
    (void)dst;
    WC_TRY(lowrank_size(ctx, part, &size));
    memset(params, 0, WC_PARAMS_SIZE);
    wc_put_le(params, part->lowrank.rank, 4);
    return WC_OK;
}

const wc_encoder wc_encoder_lowrank = {5, 1, "lowrank", lowrank_size, lowrank_encode};
