/* What the tests of ggml's blocks share: the recorded blocks, random fields, and what fields mean. */
#ifndef GGML_UTIL_H
#define GGML_UTIL_H

#include "wcz_util.h"

/* One record of tests/data/ggml/blocks.bin, see scripts/record_ggml_fixtures.py. */
typedef struct golden_blocks {
    const wc_ggml_type *type;
    uint32_t bytes, weights;
    const uint8_t *block; /* [bytes] */
    const float *value;   /* [weights] */
} golden_blocks;

/* The record at *at, which moves behind it; false at the end. */
static inline bool next_golden(const uint8_t *file, uint64_t size, uint64_t *at, golden_blocks *out)
{
    uint32_t head[3];
    if (*at >= size) return false;
    memcpy(head, file + *at, 12);
    out->type = wc_ggml_type_by_id(head[0]);
    out->bytes = head[1], out->weights = head[2];
    out->block = file + *at + 12;
    out->value = (const float *)(const void *)(file + *at + 12 + head[1]);
    assert_non_null(out->type);
    *at += 12 + head[1] + 4 * (uint64_t)head[2];
    return true;
}

static inline uint32_t ggml_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static inline wc_part ggml_plan(size_t rows, size_t cols, const wc_ggml_type *t)
{
    wc_part p = {.kind = WC_PART_GGML};
    p.ggml.rows = rows, p.ggml.cols = cols, p.ggml.type = t;
    return p;
}

/* Random fields of the whole range. */
static inline wc_part ggml_fill(wc_part p, uint64_t seed)
{
    wc_ggml *g = &p.ggml;
    const wc_ggml_type *t = g->type;
    size_t all = g->rows * g->cols;
    assert_int_equal(wc_ggml_alloc(NULL, g), WC_OK);
    for (size_t i = 0; i < all / t->dim; i++)
        g->code[i] = (uint16_t)(ggml_random(&seed) % t->codes);
    for (size_t i = 0; i < all / 8 && g->sign; i++) {
        g->sign[i] = (uint8_t)ggml_random(&seed);
        if (t->sign_bits == 7 && __builtin_parity(g->sign[i])) g->sign[i] ^= 0x80;
    }
    for (size_t i = 0; i < all / t->sub; i++) {
        if (g->scale) g->scale[i] = (uint8_t)(ggml_random(&seed) & ((1u << t->scale_bits) - 1));
        if (g->min) g->min[i] = (uint8_t)(ggml_random(&seed) & ((1u << t->min_bits) - 1));
    }
    for (size_t i = 0; i < all / t->block; i++) {
        g->d[i] = formula_scale(i);
        if (g->m) g->m[i] = formula_scale(i + 7);
    }
    return p;
}

/* w = S v - M, each step rounded to f32. */
static inline float ggml_value(const wc_ggml *g, size_t r, size_t c)
{
    static float values[1024 * 8];
    static const wc_ggml_type *of;
    const wc_ggml_type *t = g->type;
    size_t i = r * g->cols + c;
    if (of != t) {
        if (t->dim == 1) wc_ggml_levels(t, values);
        if (t->dim > 1) wc_ggml_entries(t, values);
        of = t;
    }
    double d = f16_value(g->d[i / t->block]), m = t->has_m ? f16_value(g->m[i / t->block]) : 0;
    float s = (float)(d * ((double)t->mul * (g->scale ? g->scale[i / t->sub] : 0) + (double)t->add));
    float least = (float)(m * (g->min ? g->min[i / t->sub] : 1));
    float v = values[g->code[i / t->dim] * t->dim + i % t->dim];
    if (g->sign && g->sign[i / 8] >> i % 8 & 1) v = -v;
    float w = s * v;
    return t->has_m ? w - least : w;
}

#endif
