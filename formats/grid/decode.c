/* grid v1: w = s (q - z), codes q of 1..8 bits, one s and z per row and group of columns.
 *
 *     params  0 u8 bits   1 u8 scale_bits   2 u8 zero kind   3 i8 scale_exp   4 u32 group
 *             8 f32 zero_fixed   12 u8 holes: 0 none, else a layout of positions   13 u8 n   14 u8 m
 *             16 u64 nnz   24 u32 block   28 u8 tile   29 u8 zero_bits
 *     blob    codes: rows packed sequences of cols values; with holes one packed sequence [nnz]
 *             scales: f16 [rows, groups], or [rows] when scale_bits != 0, or [tiles of rows, groups, 2] with tiles
 *             scale codes: one packed sequence [rows * groups], when scale_bits != 0
 *             zeros: f16 [rows, groups] for zero kind 2, [tiles of rows, groups, 2] for 3
 *             zero codes: one packed sequence [rows * groups] for zero kinds 1 and 3
 *             ends, positions: with holes, decode/positions.h
 *             sections start at multiples of 8 bytes
 *
 * Without tiles and f16 zeros, s = (f16 * 2^scale_exp) * scale code and q - z are exact in f32 (11 + 8 mantissa bits;
 * half steps below 2^9), so a value is rounded once; else each written operation rounds. Nothing here depends on the
 * bits of the blob: any f16, also NaN, is only arithmetic. */
#include "base/half.h"
#include "decode/bytes.h"
#include "decode/decoder.h"
#include "decode/packed.h"
#include "decode/tiles.h"

enum { ZERO_FIXED = 0, ZERO_INT = 1, ZERO_F16 = 2, ZERO_LINE = 3 };

static int parse_zero(const uint8_t params[WCD_PARAMS], wcd_grid_view *g)
{
    uint32_t zero = wcd_u32(params + 8);
    g->zero_kind = params[2];
    g->zero_fixed = wc_bits_f32(zero);
    g->zero_bits = g->zero_kind == ZERO_INT ? g->bits : params[29];
    if (g->zero_kind > ZERO_LINE || (g->zero_kind != ZERO_FIXED && zero)) return 0;
    if (g->zero_kind == ZERO_LINE ? !g->tile || params[29] < 2 || params[29] > 8 : params[29] != 0) return 0;
    /* The sign bit goes first: -0 has one writing only; then NaN fails both comparisons. */
    if (zero >> 31 || !(g->zero_fixed <= (float)((1 << g->bits) - 1))) return 0;
    return (float)(int)(2 * g->zero_fixed) == 2 * g->zero_fixed;
}

static int parse(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_grid_view *g = &v->u.g;
    g->bits = params[0];
    g->scale_bits = params[1];
    g->group = wcd_u32(params + 4);
    g->tile = params[28];
    g->holes = params[12];
    for (int i = 12; i < WCD_PARAMS; i++)
        if (params[i] && i != 28 && i != 29 && (!g->holes || i > 29)) return 0;
    if (g->holes && !wcd_positions_parse(&g->p, params, v->rows, v->cols)) return 0;
    if (g->bits < 1 || g->bits > 8 || g->scale_bits == 1 || g->scale_bits > 8) return 0;
    if (g->tile && !g->scale_bits) return 0;
    if (!wcd_exp2(params[3], &g->exp2) || g->group < 1 || g->group > v->cols) return 0;
    g->groups = (v->cols - 1) / g->group + 1;
    return parse_zero(params, g);
}

static wcd_status open_grid(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_grid_view *g = &v->u.g;
    if (!v->rows || !v->cols || !parse(params, v)) return WCD_E_CORRUPT;
    g->row_size = wcd_packed_size(v->cols, g->bits);
    uint64_t all_groups = v->rows * g->groups;
    uint64_t end = g->holes ? wcd_packed_size(g->p.nnz, g->bits) : v->rows * g->row_size;
    uint64_t lines = g->tile ? 2 * ((v->rows - 1) / g->tile + 1) * g->groups : 0;
    uint64_t n_zeros = g->zero_kind == ZERO_F16 ? all_groups : g->zero_kind == ZERO_LINE ? lines : 0;
    uint64_t scales = wcd_place(&end, 2 * (g->tile ? lines : g->scale_bits ? v->rows : all_groups));
    uint64_t scale_codes = g->scale_bits ? wcd_place(&end, wcd_packed_size(all_groups, g->scale_bits)) : 0;
    uint64_t zeros = n_zeros ? wcd_place(&end, 2 * n_zeros) : 0;
    uint64_t zero_codes = g->zero_bits ? wcd_place(&end, wcd_packed_size(all_groups, g->zero_bits)) : 0;
    if (g->holes) wcd_positions_place(&g->p, v->rows, &end);
    if (end != v->size) return WCD_E_CORRUPT;
    v->numeric = 1;
    if (!v->blob) return WCD_OK;
    g->scales = v->blob + scales;
    g->scale_codes = v->blob + scale_codes;
    g->zeros = v->blob + zeros;
    g->zero_codes = v->blob + zero_codes;
    return WCD_OK;
}

static float f16_at(const uint8_t *p, uint64_t i)
{
    return wc_f16_f32(wcd_u16(p + 2 * i));
}

/* offset + step * code, line i of `lines'. */
static float on_line(const uint8_t *lines, uint64_t i, uint8_t code)
{
    float product = f16_at(lines, 2 * i + 1) * (float)code;
    return f16_at(lines, 2 * i) + product;
}

/* s [n] of a row and the groups from group0 on; n <= WCD_SPAN. */
static void scales(const wcd_view *v, uint64_t row, uint64_t group0, unsigned n, float *s)
{
    const wcd_grid_view *g = &v->u.g;
    uint64_t first = row * g->groups + group0, line = g->tile ? row / g->tile * g->groups + group0 : 0;
    uint8_t code[WCD_SPAN];
    if (!g->scale_bits) {
        wcd_inner_loops()->halves(g->scales + 2 * first, n, g->exp2, s);
        return;
    }
    wcd_unpack(g->scale_codes, v->rows * g->groups, g->scale_bits, first, n, code);
    for (unsigned k = 0; k < n; k++)
        s[k] = g->tile ? on_line(g->scales, line + k, code[k]) * g->exp2
                       : f16_at(g->scales, row) * g->exp2 * (float)code[k];
}

/* By sixteens: see dequantize. */
static void fill(float *z, unsigned n, float value)
{
    for (; n >= 16; n -= 16, z += 16)
        for (int j = 0; j < 16; j++)
            z[j] = value;
    for (; n; n--)
        *z++ = value;
}

/* z [n], in the same way. */
static void zeros(const wcd_view *v, uint64_t row, uint64_t group0, unsigned n, float *z)
{
    const wcd_grid_view *g = &v->u.g;
    uint64_t first = row * g->groups + group0, line = g->tile ? row / g->tile * g->groups + group0 : 0;
    uint8_t code[WCD_SPAN];
    if (g->zero_kind == ZERO_F16) wcd_inner_loops()->halves(g->zeros + 2 * first, n, 1, z);
    if (g->zero_bits) wcd_unpack(g->zero_codes, v->rows * g->groups, g->zero_bits, first, n, code);
    if (g->zero_kind == ZERO_FIXED) fill(z, n, g->zero_fixed);
    for (unsigned k = 0; k < n && g->zero_bits; k++)
        z[k] = g->zero_kind == ZERO_INT ? (float)code[k] : on_line(g->zeros, line + k, code[k]);
}

void wcd_grid_steps(const wcd_view *v, uint64_t row, uint64_t group0, unsigned n, float *s, float *z)
{
    scales(v, row, group0, n, s);
    zeros(v, row, group0, n, z);
}

/* w = s (q - z) for n codes. By sixteens, with pointers and a constant trip count: the form that compilers vectorise at
 * -O2, several times faster than one loop. */
static void dequantize(float *w, const uint8_t *q, unsigned n, float s, float z)
{
    for (; n >= 16; n -= 16, w += 16, q += 16)
        for (int j = 0; j < 16; j++)
            w[j] = s * ((float)q[j] - z);
    for (; n; n--)
        *w++ = s * ((float)*q++ - z);
}

/* Packed codes of nr rows and n_groups groups from column col on. */
static void codes_grid(const wcd_view *v, uint64_t row, unsigned nr, uint64_t col, unsigned n_groups,
                       wcd_code_rows *out)
{
    const wcd_grid_view *g = &v->u.g;
    for (unsigned i = 0; i < nr; i++) {
        unsigned at = i * WCD_CODE_GROUPS;
        wcd_grid_steps(v, row + i, col / g->group, n_groups, out->s + at, out->z + at);
    }
    out->codes = (wcd_codes){.at = v->blob + row * g->row_size + col / 8 * g->bits,
                             .stride = g->row_size,
                             .bits = g->bits,
                             .group = g->group,
                             .s = out->s,
                             .z = out->z,
                             .ld = WCD_CODE_GROUPS};
}

static void product_grid(const wcd_view *v, uint64_t r0, uint64_t nr, const float *x, float *y, int add)
{
    if (v->u.g.holes || !wcd_codes_group(v->u.g.group))
        wcd_span_product(v, r0, nr, x, y, add);
    else
        wcd_codes_product(v, codes_grid, v->u.g.group, r0, nr, x, y, add);
}

static void products8_grid(const wcd_view *v, uint64_t r0, uint64_t nr, const wcd_int8 *x, float *y, size_t ldy,
                           int add)
{
    if (v->u.g.holes || !wcd_codes_group(v->u.g.group))
        wcd_span_products(v, r0, nr, &x->x, y, ldy, add);
    else
        wcd_codes_products8(v, codes_grid, v->u.g.group, r0, nr, x, y, ldy, add);
}

static int tiles_grid(const wcd_view *v, wcd_tiles *out)
{
    const wcd_grid_view *g = &v->u.g;
    const unsigned z_size[] = {0, 1, 2, 4};
    out->bits = g->bits, out->group = g->group;
    out->s_size = g->scale_bits ? 4 : 2, out->z_size = z_size[g->zero_kind];
    out->exp2 = g->exp2, out->z = g->zero_fixed;
    out->codes = v->blob, out->row_size = g->row_size;
    out->scales = g->scales, out->zeros = g->zeros;
    return !g->holes;
}

static void span_grid(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    const wcd_grid_view *g = &v->u.g;
    uint64_t group0 = col / g->group;
    unsigned n_groups = (unsigned)((col + n - 1) / g->group - group0) + 1, i = 0;
    uint8_t q[WCD_SPAN], has[WCD_SPAN];
    float s[WCD_SPAN], z[WCD_SPAN];
    wcd_grid_steps(v, row, group0, n_groups, s, z);
    if (!g->holes && n == WCD_SPAN && wcd_codes_spans(g->group)) {
        const wcd_codes c = {v->blob + row * g->row_size + col / 8 * g->bits,
                             0,
                             g->bits,
                             g->group < WCD_SPAN ? g->group : WCD_SPAN,
                             s,
                             z,
                             0,
                             NULL};
        wcd_inner_loops()->values(&c, n, dst);
        return;
    }
    if (g->holes)
        wcd_positions_codes(&g->p, v->blob, v->blob, g->bits, row, col, n, q, has);
    else
        wcd_unpack(v->blob + row * g->row_size, v->cols, g->bits, col, n, q);
    for (unsigned k = 0; k < n_groups; k++) {
        uint64_t stop = (group0 + k + 1) * g->group - col;
        unsigned end = stop < n ? (unsigned)stop : n;
        dequantize(dst + i, q + i, end - i, s[k], z[k]);
        i = end;
    }
    for (i = 0; g->holes && i < n; i++)
        if (!has[i]) dst[i] = 0;
}

const wcd_decoder wcd_decoder_grid = {.id = 2,
                                      .version = 1,
                                      .name = "grid",
                                      .open = open_grid,
                                      .span = span_grid,
                                      .product = product_grid,
                                      .products8 = products8_grid,
                                      .tiles = tiles_grid,
                                      .steps = wcd_grid_steps};
