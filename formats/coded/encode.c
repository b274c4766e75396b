/* coded v1, encoder half. docs/FORMAT.md, card `coded'. */
#include "formats/format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/coded.h"
#include "formats/pack.h"

static wc_status check_geometry(wc_ctx *ctx, const wc_coded *p)
{
    WC_TRY(wc_check_shape(ctx, "coded", p->rows, p->cols));
    if (p->tile < 1 || p->tile > WC_CODED_TILE) return wc_fail(ctx, WC_BUG, "coded part: tiles of %zu rows", p->tile);
    if (p->memory > WC_CODED_MEMORY || p->memory == 1)
        return wc_fail(ctx, WC_BUG, "coded part: a memory of %u bits", p->memory);
    return WC_OK;
}

static wc_status coded_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    WC_TRY(check_geometry(ctx, &part->coded));
    *out = part->coded.bytes;
    return WC_OK;
}

static wc_status check_side(wc_ctx *ctx, const wc_coded *p)
{
    if (p->classes < 1 || p->classes > WC_CODED_CLASSES)
        return wc_fail(ctx, WC_BUG, "coded part: %u classes", p->classes);
    if (!(p->step > 0) || !isnormal(p->step)) return wc_fail(ctx, WC_BUG, "coded part: step %g", (double)p->step);
    for (unsigned i = 0; i < p->classes; i++)
        if (p->law[i].shift > WC_CODED_SHIFT) return wc_fail(ctx, WC_BUG, "coded part: shift %u", p->law[i].shift);
    WC_TRY(wc_check_codes(ctx, "coded part: class", p->col_class, p->cols, p->cols, 4));
    return p->row_classes ? wc_check_codes(ctx, "coded part: class", p->row_class, p->rows, 1, 4) : WC_OK;
}

/* Every point has the parity that the machine wants. state [cols] */
static wc_status check_points(wc_ctx *ctx, const wc_coded *p, uint8_t *state)
{
    for (size_t r = 0; r < p->rows; r++) {
        if (r % p->tile == 0) memset(state, 0, p->cols);
        for (size_t c = 0; c < p->cols; c++) {
            int j = p->point[r * p->cols + c];
            if ((j & 1) != (state[c] & 1))
                return wc_fail(ctx, WC_BUG, "coded part: point %d at row %zu, column %zu in state %u", j, r, c,
                               state[c]);
            state[c] = (uint8_t)wc_coded_next(p->memory, state[c], j);
        }
    }
    return WC_OK;
}

static void put_class(uint8_t *dst, const wc_coded_class *c)
{
    dst[0] = c->shift;
    for (int i = 0; i < 3; i++)
        dst[1 + i] = (uint8_t)c->shrink[i];
    for (int q = 0; q < 2; q++) {
        dst[4 + 3 * q] = (uint8_t)c->law[q].first;
        dst[5 + 3 * q] = (uint8_t)c->law[q].second;
        dst[6 + 3 * q] = c->law[q].bend;
    }
}

static void put_nibbles(uint8_t *dst, const uint8_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i / 2] |= (uint8_t)(v[i] << 4 * (i % 2));
}

static wc_status put_blob(wc_ctx *ctx, const wc_coded *p, const uint32_t *ends, uint8_t *dst)
{
    wc_coded_layout l = wc_coded_lay_out(p);
    memset(dst, 0, p->bytes);
    for (unsigned i = 0; i < p->classes; i++)
        put_class(dst + WC_CODED_CLASS_SIZE * i, &p->law[i]);
    memcpy(dst + l.col_step, p->col_step, p->cols);
    put_nibbles(dst + l.col_class, p->col_class, p->cols);
    if (p->row_classes) put_nibbles(dst + l.row_class, p->row_class, p->rows);
    for (uint64_t u = 0; u < l.units; u++)
        wc_put_le(dst + l.ends + 4 * u, ends[u], 4);
    return wc_coded_write(ctx, p, ends, dst + l.stream);
}

static wc_status coded_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    const wc_coded *p = &part->coded;
    wc_status status = WC_OK;
    uint8_t *state = NULL;
    uint32_t *ends = NULL, step;
    uint64_t bytes;
    WC_TRY(check_geometry(ctx, p));
    if (!p->point || !p->col_step || !p->col_class || !p->row_class)
        return wc_fail(ctx, WC_BUG, "coded part: no numbers");
    WC_TRY(check_side(ctx, p));
    wc_coded_layout l = wc_coded_lay_out(p);
    WC_TRY_OUT(WC_ALLOC(ctx, state, p->cols, "states"));
    WC_TRY_OUT(check_points(ctx, p, state));
    WC_TRY_OUT(WC_ALLOC(ctx, ends, l.units, "ends of streams"));
    WC_TRY_OUT(wc_coded_measure(ctx, p, ends, &bytes));
    if (l.stream + bytes > p->bytes)
        WC_TRY_OUT(wc_fail(ctx, WC_BUG, "coded part: %llu bytes do not fit %llu",
                           (unsigned long long)(l.stream + bytes), (unsigned long long)p->bytes));
    WC_TRY_OUT(put_blob(ctx, p, ends, dst));
    memset(params, 0, WC_PARAMS_SIZE);
    params[0] = (uint8_t)p->memory;
    params[1] = (uint8_t)p->classes;
    params[2] = p->row_classes;
    wc_put_le(params + 4, p->tile, 4);
    memcpy(&step, &p->step, 4);
    wc_put_le(params + 8, step, 4);
    wc_put_le(params + 16, p->bytes - l.stream, 8);
out:
    free(state), free(ends);
    return status;
}

const wc_encoder wc_encoder_coded = {8, 1, "coded", coded_size, coded_encode};
