/* permute v1, encoder half. docs/FORMAT.md, card `permute'. */
#include "formats/format.h"

#include <stdlib.h>
#include <string.h>

#include "formats/pack.h"

static wc_status permute_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    size_t cols = part->permute.cols;
    WC_TRY(wc_check_shape(ctx, "permute", 1, cols));
    if (cols > (uint64_t)1 << 32) return wc_fail(ctx, WC_BUG, "permute part: %zu columns, above 2^32", cols);
    *out = (cols > 1 << 16 ? 4 : 2) * (uint64_t)cols;
    return WC_OK;
}

/* The swaps that bring column from[j] to place j, for one j after the other. column [cols]: what is at each place by
 * now; place [cols]: where each column is. What comes before j stays, so a column that is there has been asked for
 * already. */
static wc_status put_swaps(wc_ctx *ctx, const wc_permute *p, uint32_t *column, uint32_t *place, uint8_t *dst)
{
    unsigned bytes = p->cols > 1 << 16 ? 4 : 2;
    for (size_t j = 0; j < p->cols; j++)
        column[j] = place[j] = (uint32_t)j;
    for (size_t j = 0; j < p->cols; j++) {
        if (p->from[j] >= p->cols || place[p->from[j]] < j)
            return wc_fail(ctx, WC_BUG, "permute part: place %zu takes column %u of %zu, which is no column or taken",
                           j, p->from[j], p->cols);
        uint32_t t = place[p->from[j]];
        wc_put_le(dst + bytes * j, t, bytes);
        column[t] = column[j];
        place[column[t]] = t;
        column[j] = p->from[j];
        place[p->from[j]] = (uint32_t)j;
    }
    return WC_OK;
}

static wc_status permute_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    const wc_permute *p = &part->permute;
    uint32_t *column = NULL, *place = NULL;
    uint64_t size;
    wc_status status;
    WC_TRY_OUT(permute_size(ctx, part, &size));
    if (!p->from) WC_TRY_OUT(wc_fail(ctx, WC_BUG, "permute part: no numbers"));
    WC_TRY_OUT(WC_ALLOC(ctx, column, p->cols, "an order of columns"));
    WC_TRY_OUT(WC_ALLOC(ctx, place, p->cols, "an order of columns"));
    memset(params, 0, WC_PARAMS_SIZE);
    status = put_swaps(ctx, p, column, place, dst);
out:
    free(column), free(place);
    return status;
}

const wc_encoder wc_encoder_permute = {12, 1, "permute", permute_size, permute_encode};
