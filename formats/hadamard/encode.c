/* hadamard v1, encoder half. docs/FORMAT.md, card `hadamard'. */
#include "formats/format.h"

#include <string.h>

#include "formats/pack.h"

static wc_status hadamard_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    const wc_hadamard *h = &part->hadamard;
    WC_TRY(wc_check_shape(ctx, "hadamard", 1, h->cols));
    if (h->order < 2 || h->order > (size_t)1 << 30 || h->order & (h->order - 1) || h->cols % h->order)
        return wc_fail(ctx, WC_BUG, "hadamard part: order %zu for %zu columns", h->order, h->cols);
    *out = wc_ceil_div(h->cols, 8);
    return WC_OK;
}

static wc_status hadamard_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    const wc_hadamard *h = &part->hadamard;
    uint64_t size;
    WC_TRY(hadamard_size(ctx, part, &size));
    if (!h->negative) return wc_fail(ctx, WC_BUG, "hadamard part: no signs");
    WC_TRY(wc_check_codes(ctx, "hadamard part: sign", h->negative, h->cols, h->cols, 1));
    memset(dst, 0, size);
    for (size_t j = 0; j < h->cols; j++)
        dst[j / 8] |= (uint8_t)(h->negative[j] << j % 8);
    memset(params, 0, WC_PARAMS_SIZE);
    while (h->order >> params[0] > 1)
        params[0]++;
    return WC_OK;
}

const wc_encoder wc_encoder_hadamard = {10, 1, "hadamard", hadamard_size, hadamard_encode};
