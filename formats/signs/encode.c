/* signs v1, encoder half. docs/FORMAT.md, card `signs'. */
#include "formats/format.h"

#include <stdlib.h>
#include <string.h>

#include "formats/pack.h"

static wc_status check_scales(wc_ctx *ctx, const wc_signs *s)
{
    if (s->levels > WC_SIGNS_MAX_PLANES || s->rank || s->group < 1 || s->group > s->cols || s->group > UINT32_MAX)
        return wc_fail(ctx, WC_BUG, "signs part: %u planes in groups of %zu of %zu columns", s->levels, s->group,
                       s->cols);
    if (s->subset >= s->cols || s->subset > UINT32_MAX)
        return wc_fail(ctx, WC_BUG, "signs part: a subset of %zu of %zu columns", s->subset, s->cols);
    for (unsigned l = 0; l < WC_SIGNS_MAX_PLANES; l++) {
        unsigned which = s->which[l], most = l < s->levels ? WC_SIGNS_SPLIT | WC_SIGNS_REST : 0;
        bool part = (which & WC_SIGNS_COLUMNS) != WC_SIGNS_ALL;
        if (which > most || (which & WC_SIGNS_COLUMNS) > WC_SIGNS_REST || (part && !s->subset))
            return wc_fail(ctx, WC_BUG, "signs part: plane %u has columns of kind %u", l, which);
    }
    return WC_OK;
}

static wc_status check_geometry(wc_ctx *ctx, const wc_signs *s)
{
    static const uint8_t none[WC_SIGNS_MAX_PLANES];
    WC_TRY(wc_check_shape(ctx, "signs", s->rows, s->cols));
    WC_TRY(wc_check_exp(ctx, "signs", s->scale_exp));
    if (s->levels < 1 || (unsigned)s->form > WC_SIGNS_EXPERTS)
        return wc_fail(ctx, WC_BUG, "signs part: %u levels of form %d", s->levels, (int)s->form);
    if (s->form == WC_SIGNS_SCALES) return check_scales(ctx, s);
    bool experts = s->form == WC_SIGNS_EXPERTS;
    size_t most = experts ? WC_SIGNS_MAX_EXPERTS : wc_min(wc_min(s->rows, s->cols), UINT32_MAX);
    if (s->levels > (experts ? 1 : WC_SIGNS_MAX_LEVELS) || s->rank < 1 || s->rank > most)
        return wc_fail(ctx, WC_BUG, "signs part: %u levels of rank %zu in %zu x %zu", s->levels, s->rank, s->rows,
                       s->cols);
    if (s->group || s->subset || memcmp(s->which, none, sizeof none))
        return wc_fail(ctx, WC_BUG, "signs part: groups or a subset where magnitudes are products");
    return WC_OK;
}

/* Where the next section goes: dst NULL only adds up sizes. */
typedef struct cursor {
    uint8_t *dst;
    uint64_t end;
} cursor;

/* A plane [rows, cols] of a part, as packed sequences of one bit. line [cols] is scratch. */
static void put_plane(cursor *c, const uint8_t *plane, size_t rows, size_t cols, uint8_t *line)
{
    uint64_t row_size = wc_packed_size(cols, 1), at = wc_place(&c->end, rows * row_size);
    for (size_t r = 0; c->dst && r < rows; r++, plane += wc_ceil_div(cols, 8)) {
        for (size_t j = 0; j < cols; j++)
            line[j] = plane[j / 8] >> j % 8 & 1;
        wc_pack(line, cols, 1, c->dst + at + r * row_size);
    }
}

static void put_halves(cursor *c, const uint16_t *x, uint64_t count)
{
    uint64_t at = wc_place(&c->end, 2 * count);
    for (uint64_t i = 0; c->dst && i < count; i++)
        wc_put_le(c->dst + at + 2 * i, x[i], 2);
}

static void put_products(cursor *c, const wc_signs *s, uint8_t *line)
{
    size_t plane = wc_signs_plane(s, 0), u = s->rows * s->rank, v = s->rank * s->cols;
    bool numbers = c->dst;
    for (unsigned l = 0; l < s->levels; l++) {
        put_plane(c, numbers ? s->sign + l * plane : NULL, s->rows, s->cols, line);
        put_halves(c, numbers ? s->u + l * u : NULL, u);
        put_halves(c, numbers ? s->v + l * v : NULL, v);
        c->end = wc_round_up(c->end, 8); /* so that every level takes the same room */
    }
}

static void put_subset(cursor *c, const wc_signs *s)
{
    uint64_t at = wc_place(&c->end, wc_ceil_div(s->cols, 8));
    for (size_t j = 0; c->dst && j < s->cols; j++)
        c->dst[at + j / 8] |= (uint8_t)(s->column[j] << j % 8);
}

static void put_scales(cursor *c, const wc_signs *s, uint8_t *line)
{
    bool numbers = c->dst;
    if (s->subset) put_subset(c, s);
    for (unsigned l = 0; l < s->levels; l++) {
        size_t cols = wc_signs_cols(s, l);
        put_plane(c, numbers ? s->sign + wc_signs_sign_at(s, l) : NULL, s->rows, cols, line);
        if (s->which[l] & WC_SIGNS_SPLIT)
            put_plane(c, numbers ? s->choice + wc_signs_choice_at(s, l) : NULL, s->rows, cols, line);
        put_halves(c, numbers ? s->u + wc_signs_scales_at(s, l) : NULL, s->rows * wc_signs_scales(s, l));
    }
}

static void put_experts(cursor *c, const wc_signs *s, uint8_t *line)
{
    put_plane(c, s->sign, s->rows, s->cols, line);
    put_halves(c, s->u, s->rank * s->rows);
    put_halves(c, s->v, s->rank * s->cols);
    if (s->rank > 1) put_halves(c, s->router, s->rank * s->cols);
}

static void put_all(cursor *c, const wc_signs *s, uint8_t *line)
{
    switch (s->form) {
    case WC_SIGNS_PRODUCT: put_products(c, s, line); break;
    case WC_SIGNS_SCALES: put_scales(c, s, line); break;
    case WC_SIGNS_EXPERTS: put_experts(c, s, line); break;
    }
}

static wc_status signs_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    cursor c = {0};
    WC_TRY(check_geometry(ctx, &part->signs));
    put_all(&c, &part->signs, NULL);
    *out = c.end;
    return WC_OK;
}

static wc_status check_numbers(wc_ctx *ctx, const wc_signs *s)
{
    bool scales = s->form == WC_SIGNS_SCALES, choices = wc_signs_choice_at(s, s->levels);
    if (!s->sign || !s->u || (!scales && !s->v) || (choices && !s->choice) ||
        (s->form == WC_SIGNS_EXPERTS && s->rank > 1 && !s->router))
        return wc_fail(ctx, WC_BUG, "signs part: no numbers");
    size_t count = 0;
    for (size_t j = 0; s->subset && j < s->cols; j++) {
        if (s->column[j] > 1) return wc_fail(ctx, WC_BUG, "signs part: column %zu is marked with %u", j, s->column[j]);
        count += s->column[j];
    }
    if (count == s->subset) return WC_OK;
    return wc_fail(ctx, WC_BUG, "signs part: %zu columns in a subset of %zu", count, s->subset);
}

static wc_status signs_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    const wc_signs *s = &part->signs;
    uint8_t *line;
    uint64_t size;
    WC_TRY(signs_size(ctx, part, &size));
    WC_TRY(check_numbers(ctx, s));
    WC_TRY(WC_ALLOC(ctx, line, s->cols, "a row of signs"));
    memset(dst, 0, size);
    put_all(&(cursor){.dst = dst}, s, line);
    free(line);
    memset(params, 0, WC_PARAMS_SIZE);
    params[0] = (uint8_t)s->form;
    params[1] = (uint8_t)s->levels;
    params[3] = (uint8_t)s->scale_exp;
    wc_put_le(params + 4, s->form == WC_SIGNS_SCALES ? s->group : s->rank, 4);
    wc_put_le(params + 8, s->subset, 4);
    memcpy(params + 16, s->which, sizeof s->which);
    return WC_OK;
}

const wc_encoder wc_encoder_signs = {7, 1, "signs", signs_size, signs_encode};
