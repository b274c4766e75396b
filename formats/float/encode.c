/* float v1, encoder half: the values as they are. docs/FORMAT.md, card `float'. */
#include "formats/format.h"

#include <string.h>

static wc_status float_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    const wc_float *f = &part->floats;
    uint64_t n, bits;
    if (!wc_dtype_bits(f->dtype)) return wc_fail(ctx, WC_BUG, "float part: element type %d is unknown", (int)f->dtype);
    if (!wc_mul(f->rows, f->cols, &n) || !wc_mul(n, wc_dtype_bits(f->dtype), &bits))
        return wc_fail(ctx, WC_BUG, "float part: %zu x %zu elements overflow", f->rows, f->cols);
    if (bits % 8)
        return wc_fail(ctx, WC_BUG, "float part: %llu elements of %s do not fill whole bytes", (unsigned long long)n,
                       wc_dtype_name(f->dtype));
    *out = bits / 8;
    return WC_OK;
}

static wc_status float_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    uint64_t size;
    WC_TRY(float_size(ctx, part, &size));
    if (!part->floats.data && size) return wc_fail(ctx, WC_BUG, "float part: no values");
    memset(params, 0, WC_PARAMS_SIZE);
    params[0] = (uint8_t)part->floats.dtype;
    if (size) memcpy(dst, part->floats.data, size);
    return WC_OK;
}

const wc_encoder wc_encoder_float = {1, 1, "float", float_size, float_encode};
