/* What the tests of .wcz share: numbers by formula (the formulas of tests/data/golden/make_golden.py), exact values in
 * double, files in memory, scratch folders. Include after cmocka.h. */
#ifndef WCZ_UTIL_H
#define WCZ_UTIL_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "io/wcz.h"

static inline uint8_t formula_code(uint64_t i, unsigned bits)
{
    return (uint8_t)((i * 7 + i / 5 + 3) % (1u << bits));
}

static inline uint16_t formula_scale(uint64_t i)
{
    return (uint16_t)(0x2C00 + i * 37 % 2048 + (i % 3 == 0 ? 0x8000 : 0));
}

/* A grid without numbers. */
static inline wc_part grid_plan(size_t rows, size_t cols, unsigned bits, size_t group, unsigned scale_bits,
                                bool zero_int)
{
    wc_part p = {.kind = WC_PART_GRID};
    p.grid.rows = rows, p.grid.cols = cols, p.grid.group = group;
    p.grid.bits = bits, p.grid.scale_bits = scale_bits;
    p.grid.zero_kind = zero_int ? WC_ZERO_INT : WC_ZERO_FIXED;
    p.grid.zero_fixed = zero_int ? 0 : (float)((1 << bits) - 1) / 2;
    return p;
}

/* The same with tiles of rows, and any kind of zero. */
static inline wc_part tile_plan(wc_part p, size_t tile, wc_zero_kind kind, unsigned zero_bits)
{
    p.grid.tile = tile, p.grid.zero_kind = kind, p.grid.zero_bits = zero_bits;
    if (kind != WC_ZERO_FIXED) p.grid.zero_fixed = 0;
    return p;
}

/* Allocates and fills the arrays of a plan. */
static inline wc_part grid_fill(wc_part p)
{
    wc_grid *g = &p.grid;
    assert_int_equal(wc_grid_alloc(NULL, g), WC_OK);
    size_t all_groups = g->rows * wc_grid_groups(g);
    for (size_t i = 0; i < g->rows * g->cols; i++)
        g->code[i] = formula_code(i, g->bits);
    for (size_t i = 0; i < wc_grid_scales(g); i++)
        g->scale[i] = formula_scale(i);
    for (size_t i = 0; i < wc_grid_zero_f16s(g); i++)
        g->zero_f16[i] = formula_scale(i + 7);
    for (size_t i = 0; i < all_groups && g->scale_bits; i++)
        g->scale_code[i] = formula_code(i + 1, g->scale_bits);
    for (size_t i = 0; i < all_groups && g->zero; i++)
        g->zero[i] = formula_code(i + 2, wc_grid_zero_code_bits(g));
    return p;
}

/* f16 to double from its definition. */
static inline double f16_value(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double v = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

/* offset + step * code of a tile's line; an f16 times a byte is exact in double, so the cast is one rounding, and the
 * operands' exponents are close enough for the sum to be exact before it. */
static inline double line_value(const uint16_t *lines, size_t line, uint8_t code)
{
    return (float)(f16_value(lines[2 * line]) + f16_value(lines[2 * line + 1]) * code);
}

/* The value of a grid at (r, c): products are exact in double (at most 48 bits), so each cast is the one rounding of
 * the format. */
static inline float grid_value(const wc_grid *g, size_t r, size_t c)
{
    size_t groups = wc_grid_groups(g), at = r * groups + c / g->group;
    size_t line = g->tile ? r / g->tile * groups + c / g->group : 0;
    double s = g->tile         ? line_value(g->scale, line, g->scale_code[at])
               : g->scale_bits ? f16_value(g->scale[r]) * g->scale_code[at]
                               : f16_value(g->scale[at]);
    double z = g->zero_kind == WC_ZERO_INT    ? g->zero[at]
               : g->zero_kind == WC_ZERO_F16  ? f16_value(g->zero_f16[at])
               : g->zero_kind == WC_ZERO_LINE ? line_value(g->zero_f16, line, g->zero[at])
                                              : (double)g->zero_fixed;
    if (g->holes && !g->mask[r * g->cols + c]) return 0;
    return (float)(ldexp(s, g->scale_exp) * (double)(float)(g->code[r * g->cols + c] - z));
}

/* A whole file, 64-byte aligned, in exactly its size. */
static inline uint8_t *load(const char *path, uint64_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s", path);
    fseek(f, 0, SEEK_END);
    *size = (uint64_t)ftell(f);
    rewind(f);
    uint8_t *p = NULL;
    if (posix_memalign((void **)&p, 64, *size ? *size : 1) || fread(p, 1, *size, f) != *size)
        fail_msg("reading %s", path);
    fclose(f);
    return p;
}

static inline int make_scratch(void **state)
{
    char dir[] = "/tmp/wcz_test_XXXXXX";
    if (!mkdtemp(dir)) return -1;
    *state = strdup(dir);
    return *state ? 0 : -1;
}

static inline int remove_scratch(void **state)
{
    char command[256];
    snprintf(command, sizeof command, "rm -r '%s'", (char *)*state);
    free(*state);
    return system(command);
}

#endif
