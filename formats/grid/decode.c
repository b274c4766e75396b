/* grid v1: w = s (q - z), codes q of 1..8 bits, one s and z per row and group of columns.
 *
 *     params  0 u8 bits   1 u8 scale_bits   2 u8 zero kind   3 i8 scale_exp   4 u32 group
 *             8 f32 zero_fixed   12 u8 holes: 0 none, else a layout of positions   13 u8 n   14 u8 m
 *             16 u64 nnz   24 u32 block
 *     blob    codes: rows packed sequences of cols values; with holes one packed sequence [nnz]
 *             scales: f16 [rows, groups], or [rows] when scale_bits != 0
 *             scale codes: one packed sequence [rows * groups], when scale_bits != 0
 *             zeros: one packed sequence [rows * groups]
 *             ends, positions: with holes, decode/positions.h; sections start at multiples of 8 bytes
 *
 * s = (f16 * 2^scale_exp) * scale code, and q - z, are exact in f32 (11 + 8 mantissa bits; half steps below 2^9), so a
 * value is rounded once. Nothing here depends on the bits of the blob: any f16, also NaN, is only arithmetic. */
#include "base/half.h"
#include "decode/bytes.h"
#include "decode/decoder.h"
#include "decode/packed.h"

enum { ZERO_FIXED = 0, ZERO_INT = 1 };

static int open_positions(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    return wcd_positions_open(&v->u.g.p, params[12], params[13], params[14], wcd_u32(params + 24), wcd_u64(params + 16),
                              v->rows, v->cols);
}

static int parse(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_grid_view *g = &v->u.g;
    uint32_t zero_bits = wcd_u32(params + 8);
    g->bits = params[0];
    g->scale_bits = params[1];
    g->zero_int = params[2] == ZERO_INT;
    g->group = wcd_u32(params + 4);
    g->zero_fixed = wc_bits_f32(zero_bits);
    g->holes = params[12];
    for (int i = 12; i < WCD_PARAMS; i++)
        if (params[i] && (!g->holes || i == 15 || i > 27)) return 0;
    if (g->holes && (g->holes < WCD_MASK || !open_positions(params, v))) return 0;
    if (g->bits < 1 || g->bits > 8 || g->scale_bits == 1 || g->scale_bits > 8 || params[2] > ZERO_INT) return 0;
    if (!wcd_exp2(params[3], &g->exp2) || g->group < 1 || g->group > v->cols) return 0;
    if (g->zero_int && zero_bits) return 0;
    /* The sign bit goes first: -0 has one writing only; then NaN fails both comparisons. */
    if (zero_bits >> 31 || !(g->zero_fixed <= (float)((1 << g->bits) - 1))) return 0;
    if ((float)(int)(2 * g->zero_fixed) != 2 * g->zero_fixed) return 0;
    g->groups = (v->cols - 1) / g->group + 1;
    return 1;
}

static wcd_status open_grid(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_grid_view *g = &v->u.g;
    if (!v->rows || !v->cols || !parse(params, v)) return WCD_E_CORRUPT;
    g->row_size = wcd_packed_size(v->cols, g->bits);
    uint64_t all_groups = v->rows * g->groups;
    uint64_t end = g->holes ? wcd_packed_size(g->p.nnz, g->bits) : v->rows * g->row_size;
    uint64_t scales = wcd_place(&end, 2 * (g->scale_bits ? v->rows : all_groups));
    uint64_t scale_codes = g->scale_bits ? wcd_place(&end, wcd_packed_size(all_groups, g->scale_bits)) : 0;
    uint64_t zeros = g->zero_int ? wcd_place(&end, wcd_packed_size(all_groups, g->bits)) : 0;
    if (g->holes) wcd_positions_place(&g->p, v->rows, &end);
    if (end != v->size) return WCD_E_CORRUPT;
    v->numeric = 1;
    if (!v->blob) return WCD_OK;
    g->scales = v->blob + scales;
    g->scale_codes = v->blob + scale_codes;
    g->zeros = v->blob + zeros;
    return WCD_OK;
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

static void span_grid(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    const wcd_grid_view *g = &v->u.g;
    uint64_t all_groups = v->rows * g->groups, group0 = col / g->group, first = row * g->groups + group0;
    unsigned n_groups = (unsigned)((col + n - 1) / g->group - group0) + 1;
    uint8_t q[WCD_SPAN], has[WCD_SPAN], scale_code[WCD_SPAN], zero[WCD_SPAN];
    if (g->holes)
        wcd_positions_codes(&g->p, v->blob, v->blob, g->bits, row, col, n, q, has);
    else
        wcd_unpack(v->blob + row * g->row_size, v->cols, g->bits, col, n, q);
    if (g->scale_bits) wcd_unpack(g->scale_codes, all_groups, g->scale_bits, first, n_groups, scale_code);
    if (g->zero_int) wcd_unpack(g->zeros, all_groups, g->bits, first, n_groups, zero);

    unsigned i = 0;
    for (unsigned k = 0; k < n_groups; k++) {
        float s = wc_f16_f32(wcd_u16(g->scales + 2 * (g->scale_bits ? row : first + k))) * g->exp2;
        if (g->scale_bits) s *= (float)scale_code[k];
        float z = g->zero_int ? (float)zero[k] : g->zero_fixed;
        uint64_t stop = (group0 + k + 1) * g->group - col;
        unsigned end = stop < n ? (unsigned)stop : n;
        dequantize(dst + i, q + i, end - i, s, z);
        i = end;
    }
    for (i = 0; g->holes && i < n; i++)
        if (!has[i]) dst[i] = 0;
}

const wcd_decoder wcd_decoder_grid = {.id = 2, .version = 1, .name = "grid", .open = open_grid, .span = span_grid};
