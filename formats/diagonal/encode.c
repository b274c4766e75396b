/* diagonal v1, encoder half. docs/FORMAT.md, card `diagonal'. */
#include "formats/format.h"

#include <string.h>

#include "formats/pack.h"

static wc_status diagonal_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    WC_TRY(wc_check_shape(ctx, "diagonal", 1, part->diagonal.cols));
    WC_TRY(wc_check_exp(ctx, "diagonal", part->diagonal.scale_exp));
    *out = 2 * (uint64_t)part->diagonal.cols;
    return WC_OK;
}

static wc_status diagonal_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    const wc_diagonal *d = &part->diagonal;
    uint64_t size;
    WC_TRY(diagonal_size(ctx, part, &size));
    if (!d->scale) return wc_fail(ctx, WC_BUG, "diagonal part: no numbers");
    for (size_t j = 0; j < d->cols; j++) {
        unsigned magnitude = d->scale[j] & 0x7fff;
        if (!magnitude || magnitude >= 0x7c00)
            return wc_fail(ctx, WC_BUG, "diagonal part: the scale %04x of column %zu is not finite, or 0", d->scale[j],
                           j);
        wc_put_le(dst + 2 * j, d->scale[j], 2);
    }
    memset(params, 0, WC_PARAMS_SIZE);
    params[0] = (uint8_t)d->scale_exp;
    return WC_OK;
}

const wc_encoder wc_encoder_diagonal = {9, 1, "diagonal", diagonal_size, diagonal_encode};
