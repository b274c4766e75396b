/* ggml v1: the blocks of one of ggml's types, exactly as in a GGUF file.
 *
 *     params  0 u8 id of the type (base/ggml.h)
 *     blob    for each row cols / block blocks of `bytes' bytes
 *
 * A block is unpacked into its fields, which mean the same for every type: w = S v - M with S = d (mul * scale + add)
 * and M = m * min, one scale and min per `sub' weights. S and M are one f32 rounding each, w one or two more: the steps
 * of ggml's own reference, so the values are the same bits. */
#include "formats/ggml/kernel.h"

#include <string.h>

#include "base/ggml.h"
#include "base/ggml_grids.h"
#include "base/half.h"
#include "decode/bytes.h"

typedef wcd_ggml_fields fields;

static float half(const uint8_t *p)
{
    return wc_f16_f32(wcd_u16(p));
}

/* ---- what several layouts share ---------------------------------------------------------------------------------- */

/* Chunks of 2 * h weights: byte l holds weight l in its low half, weight h + l in its high half. */
static void nibbles(const uint8_t *p, unsigned chunks, unsigned h, uint16_t *code)
{
    for (unsigned c = 0; c < chunks; c++, p += h, code += 2 * h)
        for (unsigned l = 0; l < h; l++) {
            code[l] = p[l] & 15;
            code[h + l] = p[l] >> 4;
        }
}

/* Halves of 128 weights: byte l holds bits of weights l, 32 + l, 64 + l, 96 + l, from its low bits up. */
static void crumbs(const uint8_t *p, unsigned shift, uint16_t *code)
{
    for (unsigned i = 0; i < 256; i++)
        code[i] = (uint16_t)(code[i] | (p[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) << shift);
}

/* Bit b of byte l belongs to weight 32 b + l. */
static void plane(const uint8_t *p, unsigned shift, uint16_t *code)
{
    for (unsigned i = 0; i < 256; i++)
        code[i] = (uint16_t)(code[i] | (p[i % 32] >> i / 32 & 1) << shift);
}

static void fifth_bits(const uint8_t *p, uint16_t *code)
{
    uint32_t high = wcd_u32(p);
    for (unsigned i = 0; i < 32; i++)
        code[i] = (uint16_t)(code[i] | (high >> i & 1) << 4);
}

/* n scale codes of 4 bits, the first in the low half of the first byte. */
static void scale_nibbles(const uint8_t *p, unsigned n, uint8_t *scale)
{
    for (unsigned i = 0; i < n; i++)
        scale[i] = p[i / 2] >> i % 2 * 4 & 15;
}

/* The eight 6-bit scales and mins of Q4_K and Q5_K in 12 bytes. */
static void six_bits(const uint8_t *p, fields *f)
{
    for (unsigned j = 0; j < 4; j++) {
        f->scale[j] = p[j] & 63;
        f->min[j] = p[j + 4] & 63;
        f->scale[j + 4] = (uint8_t)((p[j + 8] & 15) | p[j] >> 6 << 4);
        f->min[j + 4] = (uint8_t)(p[j + 8] >> 4 | p[j + 4] >> 6 << 4);
    }
}

/* Seven stored signs: the eighth makes the number of minuses even. */
static uint8_t even_signs(unsigned seven)
{
    unsigned parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    return (uint8_t)(seven | ((parity ^ parity >> 1) & 1) << 7);
}

/* u32: four times seven signs, and a scale on top. */
static void signs_and_scale(const uint8_t *p, unsigned ib, fields *f)
{
    uint32_t a = wcd_u32(p);
    for (unsigned l = 0; l < 4; l++)
        f->sign[4 * ib + l] = even_signs(a >> 7 * l & 127);
    f->scale[ib] = (uint8_t)(a >> 28);
}

/* ---- layouts ------------------------------------------------------------------------------------------------------
 */

static void unpack_Q4_0(const uint8_t *b, fields *f)
{
    f->d = half(b);
    nibbles(b + 2, 1, 16, f->code);
}

static void unpack_Q4_1(const uint8_t *b, fields *f)
{
    f->d = half(b);
    f->m = -half(b + 2);
    nibbles(b + 4, 1, 16, f->code);
}

static void unpack_Q5_0(const uint8_t *b, fields *f)
{
    f->d = half(b);
    nibbles(b + 6, 1, 16, f->code);
    fifth_bits(b + 2, f->code);
}

static void unpack_Q5_1(const uint8_t *b, fields *f)
{
    f->d = half(b);
    f->m = -half(b + 2);
    nibbles(b + 8, 1, 16, f->code);
    fifth_bits(b + 4, f->code);
}

static void unpack_Q8_0(const uint8_t *b, fields *f)
{
    f->d = half(b);
    for (unsigned i = 0; i < 32; i++)
        f->code[i] = b[2 + i] ^ 0x80; /* two's complement to 128 + q */
}

static void unpack_Q2_K(const uint8_t *b, fields *f)
{
    f->d = half(b + 80);
    f->m = half(b + 82);
    for (unsigned i = 0; i < 16; i++) {
        f->scale[i] = b[i] & 15;
        f->min[i] = b[i] >> 4;
    }
    crumbs(b + 16, 0, f->code);
}

static void unpack_Q3_K(const uint8_t *b, fields *f)
{
    f->d = half(b + 108);
    for (unsigned i = 0; i < 16; i++)
        f->scale[i] = (uint8_t)((b[96 + i % 8] >> i / 8 * 4 & 15) | (b[104 + i % 4] >> i / 4 * 2 & 3) << 4);
    crumbs(b + 32, 0, f->code);
    plane(b, 2, f->code);
}

static void unpack_Q4_K(const uint8_t *b, fields *f)
{
    f->d = half(b);
    f->m = half(b + 2);
    six_bits(b + 4, f);
    nibbles(b + 16, 4, 32, f->code);
}

static void unpack_Q5_K(const uint8_t *b, fields *f)
{
    f->d = half(b);
    f->m = half(b + 2);
    six_bits(b + 4, f);
    nibbles(b + 48, 4, 32, f->code);
    plane(b + 16, 4, f->code);
}

static void unpack_Q6_K(const uint8_t *b, fields *f)
{
    f->d = half(b + 208);
    for (unsigned i = 0; i < 16; i++)
        f->scale[i] = b[192 + i] ^ 0x80;
    nibbles(b, 2, 64, f->code);
    crumbs(b + 128, 4, f->code);
}

static void unpack_IQ2_XXS(const uint8_t *b, fields *f)
{
    f->d = half(b);
    for (unsigned ib = 0; ib < 8; ib++) {
        for (unsigned l = 0; l < 4; l++)
            f->code[4 * ib + l] = b[2 + 8 * ib + l];
        signs_and_scale(b + 6 + 8 * ib, ib, f);
    }
}

static void unpack_IQ2_XS(const uint8_t *b, fields *f)
{
    f->d = half(b);
    scale_nibbles(b + 66, 16, f->scale);
    for (unsigned i = 0; i < 32; i++) {
        f->code[i] = wcd_u16(b + 2 + 2 * i) & 511;
        f->sign[i] = even_signs(wcd_u16(b + 2 + 2 * i) >> 9);
    }
}

static void unpack_IQ2_S(const uint8_t *b, fields *f)
{
    f->d = half(b);
    scale_nibbles(b + 74, 16, f->scale);
    for (unsigned i = 0; i < 32; i++) {
        f->code[i] = (uint16_t)(b[2 + i] | (b[66 + i / 4] >> i % 4 * 2 & 3) << 8);
        f->sign[i] = b[34 + i];
    }
}

static void unpack_IQ3_XXS(const uint8_t *b, fields *f)
{
    f->d = half(b);
    for (unsigned i = 0; i < 64; i++)
        f->code[i] = b[2 + i];
    for (unsigned ib = 0; ib < 8; ib++)
        signs_and_scale(b + 66 + 4 * ib, ib, f);
}

static void unpack_IQ3_S(const uint8_t *b, fields *f)
{
    f->d = half(b);
    scale_nibbles(b + 106, 8, f->scale);
    for (unsigned i = 0; i < 64; i++)
        f->code[i] = (uint16_t)(b[2 + i] | (b[66 + i / 8] >> i % 8 & 1) << 8);
    memcpy(f->sign, b + 74, 32);
}

static void unpack_IQ4_NL(const uint8_t *b, fields *f)
{
    unpack_Q4_0(b, f);
}

static void unpack_IQ4_XS(const uint8_t *b, fields *f)
{
    f->d = half(b);
    scale_nibbles(b + 4, 8, f->scale);
    for (unsigned i = 0; i < 8; i++)
        f->scale[i] = (uint8_t)(f->scale[i] | (wcd_u16(b + 2) >> 2 * i & 3) << 4);
    nibbles(b + 8, 8, 16, f->code);
}

/* Five trits are the leading digits, in base 3, of byte / 256. */
static void trits(const uint8_t *p, unsigned n, unsigned digits, uint16_t *code)
{
    static const unsigned power[5] = {1, 3, 9, 27, 81};
    for (unsigned k = 0; k < digits; k++)
        for (unsigned i = 0; i < n; i++)
            code[k * n + i] = (uint16_t)((p[i] * power[k] & 255) * 3 >> 8);
}

static void unpack_TQ1_0(const uint8_t *b, fields *f)
{
    f->d = half(b + 52);
    trits(b, 32, 5, f->code);
    trits(b + 32, 16, 5, f->code + 160);
    trits(b + 48, 4, 4, f->code + 240);
}

static void unpack_TQ2_0(const uint8_t *b, fields *f)
{
    f->d = half(b + 64);
    crumbs(b, 0, f->code);
}

/* ---- the types ----------------------------------------------------------------------------------------------------
 */

static const struct wcd_ggml_block blocks[] = {
#define X(name, id, block, bytes, sub, dim, bits, codes, scale_bits, mul, add, min_bits, has_m, sign_bits, lo) \
    {id, block, bytes, sub, dim, bits, codes, mul, add, scale_bits, min_bits, has_m, lo, unpack_##name},
    WC_GGML_LIST(X)
#undef X
};

/* What codes stand for, where it is not code + lo. */
static const struct wcd_ggml_values values[] = {{WC_GGML_IQ4_NL, wc_ggml_iq4_levels, NULL, NULL},
                                                {WC_GGML_IQ4_XS, wc_ggml_iq4_levels, NULL, NULL},
                                                {WC_GGML_IQ2_XXS, NULL, wc_ggml_iq2xxs, wc_ggml_iq2_levels},
                                                {WC_GGML_IQ2_XS, NULL, wc_ggml_iq2xs, wc_ggml_iq2_levels},
                                                {WC_GGML_IQ2_S, NULL, wc_ggml_iq2s, wc_ggml_iq2_levels},
                                                {WC_GGML_IQ3_XXS, NULL, wc_ggml_iq3xxs, wc_ggml_iq3xxs_levels},
                                                {WC_GGML_IQ3_S, NULL, wc_ggml_iq3s, wc_ggml_iq3s_levels}},
                                    plain;

static wcd_status open_ggml(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    const struct wcd_ggml_block *t = NULL;
    for (int i = 1; i < WCD_PARAMS; i++)
        if (params[i]) return WCD_E_CORRUPT;
    for (unsigned i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i].id == params[0]) t = &blocks[i];
    if (!t) return WCD_E_VERSION;
    if (!v->rows || !v->cols || v->cols % t->block) return WCD_E_CORRUPT;
    if (v->rows * v->cols / t->block * t->bytes != v->size) return WCD_E_CORRUPT; /* below 2^56 * 34 / 32 */
    v->u.b.type = t;
    v->u.b.values = &plain;
    for (unsigned i = 0; i < sizeof values / sizeof *values; i++)
        if (values[i].id == t->id) v->u.b.values = &values[i];
    v->numeric = 1;
    return WCD_OK;
}

static void block_values(const struct wcd_ggml_block *t, const int8_t *table, const fields *f, float *w)
{
    for (unsigned i = 0; i < t->block; i += t->sub) {
        float s = f->d * (t->mul * (float)f->scale[i / t->sub] + t->add), m = f->m;
        if (t->min_bits) m *= (float)f->min[i / t->sub];
        for (unsigned j = i; j < i + t->sub; j++) {
            float v = table ? (float)table[f->code[j]] : (float)((int)f->code[j] + t->lo);
            w[j] = t->has_m ? s * v - m : s * v;
        }
    }
}

static void grid_values(const struct wcd_ggml_block *t, const struct wcd_ggml_values *x, const fields *f, float *w)
{
    unsigned bits = 16 / t->dim < 3 ? 2 : 3, mask = (1u << bits) - 1;
    for (unsigned i = 0; i < t->block; i++) {
        float s = f->d * (t->mul * (float)f->scale[i / t->sub] + t->add);
        float v = x->levels[x->word[f->code[i / t->dim]] >> bits * (i % t->dim) & mask];
        w[i] = f->sign[i / 8] >> i % 8 & 1 ? -(s * v) : s * v;
    }
}

static void span_ggml(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    const struct wcd_ggml_block *t = v->u.b.type;
    const struct wcd_ggml_values *x = v->u.b.values;
    const uint8_t *b = v->blob + (row * v->cols + col) / t->block * t->bytes;
    for (unsigned i = 0; i < n; i += t->block, b += t->bytes) {
        fields f;
        memset(&f, 0, sizeof f);
        t->unpack(b, &f);
        if (x->word)
            grid_values(t, x, &f, dst + i);
        else
            block_values(t, x->table, &f, dst + i);
    }
}

const wcd_decoder wcd_decoder_ggml = {.id = 11, .version = 1, .name = "ggml", .open = open_ggml, .span = span_ggml};
