/* ggml v1, encoder half: fields of a block to bytes. docs/FORMAT.md, card `ggml'. */
#include "formats/format.h"

#include <string.h>

#include "formats/pack.h"

/* The fields of one block, as in wc_ggml. */
typedef struct fields {
    uint16_t d, m;
    const uint16_t *code;
    const uint8_t *sign, *scale, *min;
} fields;

/* ---- what several layouts share: the inverses of those in decode.c, onto zeros ------------------------------------
 */

static void nibbles(uint8_t *p, unsigned chunks, unsigned h, const uint16_t *code)
{
    for (unsigned c = 0; c < chunks; c++, p += h, code += 2 * h)
        for (unsigned l = 0; l < h; l++)
            p[l] = (uint8_t)((code[l] & 15) | (code[h + l] & 15) << 4);
}

static void crumbs(uint8_t *p, unsigned shift, const uint16_t *code)
{
    for (unsigned i = 0; i < 256; i++)
        p[i / 128 * 32 + i % 32] |= (uint8_t)((code[i] >> shift & 3) << i % 128 / 32 * 2);
}

static void plane(uint8_t *p, unsigned shift, const uint16_t *code)
{
    for (unsigned i = 0; i < 256; i++)
        p[i % 32] |= (uint8_t)((code[i] >> shift & 1) << i / 32);
}

static void fifth_bits(uint8_t *p, const uint16_t *code)
{
    for (unsigned i = 0; i < 32; i++)
        p[i / 8] |= (uint8_t)((code[i] >> 4 & 1) << i % 8);
}

static void scale_nibbles(uint8_t *p, unsigned n, const uint8_t *scale)
{
    for (unsigned i = 0; i < n; i++)
        p[i / 2] |= (uint8_t)((scale[i] & 15) << i % 2 * 4);
}

static void six_bits(uint8_t *p, const fields *f)
{
    for (unsigned j = 0; j < 4; j++) {
        p[j] = (uint8_t)(f->scale[j] | f->scale[j + 4] >> 4 << 6);
        p[j + 4] = (uint8_t)(f->min[j] | f->min[j + 4] >> 4 << 6);
        p[j + 8] = (uint8_t)((f->scale[j + 4] & 15) | (f->min[j + 4] & 15) << 4);
    }
}

static void signs_and_scale(uint8_t *p, unsigned ib, const fields *f)
{
    uint32_t a = (uint32_t)f->scale[ib] << 28;
    for (unsigned l = 0; l < 4; l++)
        a |= (uint32_t)(f->sign[4 * ib + l] & 127) << 7 * l;
    wc_put_le(p, a, 4);
}

static void put_d(uint8_t *p, const fields *f)
{
    wc_put_le(p, f->d, 2);
}

/* Added where others subtract. */
static void put_added_m(uint8_t *p, const fields *f)
{
    wc_put_le(p, f->m ^ 0x8000u, 2);
}

/* ---- layouts ------------------------------------------------------------------------------------------------------
 */

static void pack_Q4_0(const fields *f, uint8_t *b)
{
    put_d(b, f);
    nibbles(b + 2, 1, 16, f->code);
}

static void pack_Q4_1(const fields *f, uint8_t *b)
{
    put_d(b, f);
    put_added_m(b + 2, f);
    nibbles(b + 4, 1, 16, f->code);
}

static void pack_Q5_0(const fields *f, uint8_t *b)
{
    put_d(b, f);
    fifth_bits(b + 2, f->code);
    nibbles(b + 6, 1, 16, f->code);
}

static void pack_Q5_1(const fields *f, uint8_t *b)
{
    put_d(b, f);
    put_added_m(b + 2, f);
    fifth_bits(b + 4, f->code);
    nibbles(b + 8, 1, 16, f->code);
}

static void pack_Q8_0(const fields *f, uint8_t *b)
{
    put_d(b, f);
    for (unsigned i = 0; i < 32; i++)
        b[2 + i] = (uint8_t)(f->code[i] ^ 0x80);
}

static void pack_Q2_K(const fields *f, uint8_t *b)
{
    for (unsigned i = 0; i < 16; i++)
        b[i] = (uint8_t)(f->scale[i] | f->min[i] << 4);
    crumbs(b + 16, 0, f->code);
    put_d(b + 80, f);
    wc_put_le(b + 82, f->m, 2);
}

static void pack_Q3_K(const fields *f, uint8_t *b)
{
    plane(b, 2, f->code);
    crumbs(b + 32, 0, f->code);
    for (unsigned i = 0; i < 16; i++) {
        b[96 + i % 8] |= (uint8_t)((f->scale[i] & 15) << i / 8 * 4);
        b[104 + i % 4] |= (uint8_t)(f->scale[i] >> 4 << i / 4 * 2);
    }
    put_d(b + 108, f);
}

static void pack_Q4_K(const fields *f, uint8_t *b)
{
    put_d(b, f);
    wc_put_le(b + 2, f->m, 2);
    six_bits(b + 4, f);
    nibbles(b + 16, 4, 32, f->code);
}

static void pack_Q5_K(const fields *f, uint8_t *b)
{
    put_d(b, f);
    wc_put_le(b + 2, f->m, 2);
    six_bits(b + 4, f);
    plane(b + 16, 4, f->code);
    nibbles(b + 48, 4, 32, f->code);
}

static void pack_Q6_K(const fields *f, uint8_t *b)
{
    nibbles(b, 2, 64, f->code);
    crumbs(b + 128, 4, f->code);
    for (unsigned i = 0; i < 16; i++)
        b[192 + i] = f->scale[i] ^ 0x80;
    put_d(b + 208, f);
}

static void pack_IQ2_XXS(const fields *f, uint8_t *b)
{
    put_d(b, f);
    for (unsigned ib = 0; ib < 8; ib++) {
        for (unsigned l = 0; l < 4; l++)
            b[2 + 8 * ib + l] = (uint8_t)f->code[4 * ib + l];
        signs_and_scale(b + 6 + 8 * ib, ib, f);
    }
}

static void pack_IQ2_XS(const fields *f, uint8_t *b)
{
    put_d(b, f);
    for (unsigned i = 0; i < 32; i++)
        wc_put_le(b + 2 + 2 * i, f->code[i] | (uint64_t)(f->sign[i] & 127) << 9, 2);
    scale_nibbles(b + 66, 16, f->scale);
}

static void pack_IQ2_S(const fields *f, uint8_t *b)
{
    put_d(b, f);
    for (unsigned i = 0; i < 32; i++) {
        b[2 + i] = (uint8_t)f->code[i];
        b[34 + i] = f->sign[i];
        b[66 + i / 4] |= (uint8_t)(f->code[i] >> 8 << i % 4 * 2);
    }
    scale_nibbles(b + 74, 16, f->scale);
}

static void pack_IQ3_XXS(const fields *f, uint8_t *b)
{
    put_d(b, f);
    for (unsigned i = 0; i < 64; i++)
        b[2 + i] = (uint8_t)f->code[i];
    for (unsigned ib = 0; ib < 8; ib++)
        signs_and_scale(b + 66 + 4 * ib, ib, f);
}

static void pack_IQ3_S(const fields *f, uint8_t *b)
{
    put_d(b, f);
    for (unsigned i = 0; i < 64; i++) {
        b[2 + i] = (uint8_t)f->code[i];
        b[66 + i / 8] |= (uint8_t)(f->code[i] >> 8 << i % 8);
    }
    memcpy(b + 74, f->sign, 32);
    scale_nibbles(b + 106, 8, f->scale);
}

static void pack_IQ4_NL(const fields *f, uint8_t *b)
{
    pack_Q4_0(f, b);
}

static void pack_IQ4_XS(const fields *f, uint8_t *b)
{
    uint64_t high = 0;
    put_d(b, f);
    for (unsigned i = 0; i < 8; i++)
        high |= (uint64_t)(f->scale[i] >> 4) << 2 * i;
    wc_put_le(b + 2, high, 2);
    scale_nibbles(b + 4, 8, f->scale);
    nibbles(b + 8, 8, 16, f->code);
}

/* ceil(256 v / 243) of the number v of five base-3 digits, missing ones 0. */
static void trits(uint8_t *p, unsigned n, unsigned digits, const uint16_t *code)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned v = 0;
        for (unsigned k = 0; k < 5; k++)
            v = 3 * v + (k < digits ? code[k * n + i] : 0);
        p[i] = (uint8_t)((256 * v + 242) / 243);
    }
}

static void pack_TQ1_0(const fields *f, uint8_t *b)
{
    trits(b, 32, 5, f->code);
    trits(b + 32, 16, 5, f->code + 160);
    trits(b + 48, 4, 4, f->code + 240);
    put_d(b + 52, f);
}

static void pack_TQ2_0(const fields *f, uint8_t *b)
{
    crumbs(b, 0, f->code);
    put_d(b + 64, f);
}

static const struct {
    unsigned id;
    void (*pack)(const fields *f, uint8_t *b);
} layouts[] = {
#define X(name, id, ...) {id, pack_##name},
    WC_GGML_LIST(X)
#undef X
};

/* ---- the format ---------------------------------------------------------------------------------------------------
 */

static wc_status ggml_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    const wc_ggml *g = &part->ggml;
    WC_TRY(wc_check_shape(ctx, "ggml", g->rows, g->cols));
    if (!g->type) return wc_fail(ctx, WC_BUG, "ggml part: no type");
    if (g->cols % g->type->block)
        return wc_fail(ctx, WC_BUG, "ggml part: rows of %zu weights in blocks of %u", g->cols, g->type->block);
    *out = (uint64_t)g->rows * g->cols / g->type->block * g->type->bytes;
    return WC_OK;
}

static wc_status check_fields(wc_ctx *ctx, const wc_ggml *g)
{
    const wc_ggml_type *t = g->type;
    size_t all = g->rows * g->cols, subs = all / t->sub, blocks = all / t->block;
    if (!g->code || !g->d || (t->sign_bits && !g->sign) || (t->scale_bits && !g->scale) || (t->min_bits && !g->min) ||
        (t->has_m && !g->m))
        return wc_fail(ctx, WC_BUG, "ggml part: no numbers");
    for (size_t i = 0; i < all / t->dim; i++)
        if (g->code[i] >= t->codes)
            return wc_fail(ctx, WC_BUG, "ggml part: code %u of %s, which has %u", g->code[i], t->name, t->codes);
    if (t->scale_bits) WC_TRY(wc_check_codes(ctx, "ggml part: scale", g->scale, subs, g->cols / t->sub, t->scale_bits));
    if (t->min_bits) WC_TRY(wc_check_codes(ctx, "ggml part: min", g->min, subs, g->cols / t->sub, t->min_bits));
    for (size_t i = 0; i < blocks; i++)
        if ((g->d[i] & 0x7c00) == 0x7c00 || (t->has_m && (g->m[i] & 0x7c00) == 0x7c00))
            return wc_fail(ctx, WC_BUG, "ggml part: block %zu has a scale that is not finite", i);
    for (size_t i = 0; t->sign_bits == 7 && i < all / 8; i++)
        if (__builtin_parity(g->sign[i]))
            return wc_fail(ctx, WC_BUG, "ggml part: an odd number of minus signs in %s", t->name);
    return WC_OK;
}

static wc_status ggml_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    const wc_ggml *g = &part->ggml;
    const wc_ggml_type *t = g->type;
    uint64_t size;
    memset(params, 0, WC_PARAMS_SIZE);
    params[0] = (uint8_t)t->id;
    if (!g->rows) return WC_OK; /* only the parameters, see wc_wcz_copy */
    WC_TRY(ggml_size(ctx, part, &size));
    if (g->blocks) {
        memcpy(dst, g->blocks, size);
        return WC_OK;
    }
    WC_TRY(check_fields(ctx, g));
    memset(dst, 0, size);
    void (*pack)(const fields *, uint8_t *) = NULL;
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (layouts[i].id == t->id) pack = layouts[i].pack;
    for (size_t b = 0; b < g->rows * g->cols / t->block; b++, dst += t->bytes) {
        fields f = {.d = g->d[b], .m = t->has_m ? g->m[b] : 0, .code = g->code + b * (t->block / t->dim)};
        if (t->sign_bits) f.sign = g->sign + b * (t->block / 8);
        if (t->scale_bits) f.scale = g->scale + b * (t->block / t->sub);
        if (t->min_bits) f.min = g->min + b * (t->block / t->sub);
        pack(&f, dst);
    }
    return WC_OK;
}

const wc_encoder wc_encoder_ggml = {11, 1, "ggml", ggml_size, ggml_encode};
