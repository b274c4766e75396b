/* sparse v1: values at explicit positions, 0 elsewhere.
 *
 *     params  0 u8 dtype (F32, F16, BF16)   1 u8 layout   2 u8 n   3 u8 m   4 i8 scale_exp   8 u64 nnz
 *     blob    ends: u32 (u64 when nnz >= 2^32) [rows], values in this row and all before it; not in layout 3
 *             positions    layout 0: u16 columns [nnz]    1: u32 columns [nnz]    2: rows bit masks of cols bits
 *                          3: rows packed sequences of cols / m patterns, n of m
 *             values: [nnz] of dtype; F16 times 2^scale_exp                      sections start at multiples of 8
 *
 * Positions lie in the blob, which nobody has checked: ends and indices are cut at nnz, columns outside the span are
 * passed over, a span never walks more than its own width. So hostile bytes give wrong values, always the same ones,
 * and no access outside. */
#include "base/dtype.h"
#include "base/half.h"
#include "decode/bytes.h"
#include "decode/decoder.h"
#include "decode/packed.h"

enum {
#define X(name, bits, id) DTYPE_##name = id,
    WC_DTYPE_LIST(X)
#undef X
};
enum { CSR16 = 0, CSR32 = 1, MASK = 2, N_OF_M = 3, MAX_M = 16, MAX_PATTERNS = 256, MAX_COLS = 1 << 24 };

/* C(n, k), k <= n <= 16 */
static unsigned choose(unsigned n, unsigned k)
{
    unsigned c = 1;
    for (unsigned i = 1; i <= k; i++)
        c = c * (n - k + i) / i;
    return c;
}

static int parse(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_sparse_view *s = &v->u.s;
    s->dtype = params[0];
    s->layout = params[1];
    s->n = params[2];
    s->m = params[3];
    s->nnz = wcd_u64(params + 8);
    for (int i = 5; i < WCD_PARAMS; i++)
        if (params[i] && (i < 8 || i > 15)) return 0;
    if (s->dtype != DTYPE_F32 && s->dtype != DTYPE_F16 && s->dtype != DTYPE_BF16) return 0;
    if (!wcd_exp2(params[4], &s->exp2) || (s->dtype != DTYPE_F16 && params[4])) return 0;
    if (s->layout > N_OF_M || s->nnz > v->rows * v->cols || v->cols > MAX_COLS) return 0;
    if (s->layout != N_OF_M) return !s->n && !s->m && (s->layout != CSR16 || v->cols <= 65536);
    if (s->n < 1 || s->n >= s->m || s->m > MAX_M || choose(s->m, s->n) > MAX_PATTERNS || v->cols % s->m) return 0;
    return s->nnz == v->rows * (v->cols / s->m) * s->n;
}

/* Sizes: at most 2^56 numbers of 8 bytes in a section, so nothing wraps. */
static wcd_status open_sparse(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_sparse_view *s = &v->u.s;
    if (!v->rows || !v->cols || !parse(params, v)) return WCD_E_CORRUPT;
    uint64_t positions = s->layout == CSR32 ? 4 * s->nnz : 2 * s->nnz;
    s->end_size = s->nnz >> 32 ? 8 : 4;
    s->row_size = 0;
    s->code_bits = 0;
    if (s->layout == MASK) s->row_size = (v->cols + 7) / 8;
    if (s->layout == N_OF_M) {
        while (1u << s->code_bits < choose(s->m, s->n))
            s->code_bits++;
        s->row_size = wcd_packed_size(v->cols / s->m, s->code_bits);
        s->end_size = 0;
    }
    if (s->row_size) positions = v->rows * s->row_size;
    uint64_t end = v->rows * s->end_size, at_positions = wcd_place(&end, positions);
    uint64_t at_values = wcd_place(&end, s->nnz * (s->dtype == DTYPE_F32 ? 4 : 2));
    if (end != v->size) return WCD_E_CORRUPT;
    v->numeric = 1;
    if (!v->blob) return WCD_OK;
    s->positions = v->blob + at_positions;
    s->values = v->blob + at_values;
    return WCD_OK;
}

/* Value k, 0 when there is none. */
static float value_at(const wcd_sparse_view *s, uint64_t k)
{
    if (k >= s->nnz) return 0;
    if (s->dtype == DTYPE_F32) return wc_bits_f32(wcd_u32(s->values + 4 * k));
    uint16_t half = wcd_u16(s->values + 2 * k);
    return s->dtype == DTYPE_F16 ? wc_f16_f32(half) * s->exp2 : wc_bf16_f32(half);
}

/* Values in the rows before `row', at most nnz. */
static uint64_t row_begin(const wcd_view *v, uint64_t row)
{
    const wcd_sparse_view *s = &v->u.s;
    if (!row) return 0;
    uint64_t end = s->end_size == 4 ? wcd_u32(v->blob + 4 * (row - 1)) : wcd_u64(v->blob + 8 * (row - 1));
    return end < s->nnz ? end : s->nnz;
}

static uint32_t column_at(const wcd_sparse_view *s, uint64_t k)
{
    return s->layout == CSR16 ? wcd_u16(s->positions + 2 * k) : wcd_u32(s->positions + 4 * k);
}

/* The first column that is not left of the span by bisection, then as many as the span can hold. */
static void span_csr(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    const wcd_sparse_view *s = &v->u.s;
    uint64_t lo = row_begin(v, row), end = row_begin(v, row + 1), hi = end;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (column_at(s, mid) < col)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (unsigned steps = 0; steps < n && lo < end; steps++, lo++) {
        uint64_t at = column_at(s, lo) - col; /* left of the span: wraps to a large number */
        if (at < n) dst[at] = value_at(s, lo);
    }
}

/* Ones in `bits' bits, a multiple of 64, as the start of every span is: by pairs, fours, bytes, and the sum of the
 * bytes. */
static uint64_t count_ones(const uint8_t *mask, uint64_t bits)
{
    uint64_t ones = 0;
    for (; bits >= 64; bits -= 64, mask += 8) {
        uint64_t x = wcd_u64(mask);
        x -= x >> 1 & 0x5555555555555555u;
        x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
        ones += ((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u >> 56;
    }
    return ones;
}

static void span_mask(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    const wcd_sparse_view *s = &v->u.s;
    const uint8_t *mask = s->positions + row * s->row_size;
    uint64_t k = row_begin(v, row) + count_ones(mask, col);
    for (unsigned i = 0; i < n; i++)
        if (mask[(col + i) / 8] >> (col + i) % 8 & 1) dst[i] = value_at(s, k++);
}

/* The columns of pattern `code' of n of m, ascending: the greatest column whose number of sets fits what is left, from
 * the last position down. 0 for a code that is no pattern. */
static int pattern(unsigned code, unsigned n, unsigned m, uint8_t *column)
{
    unsigned c = m;
    if (code >= choose(m, n)) return 0;
    for (unsigned i = n; i-- > 0;) {
        unsigned sets;
        do
            sets = --c > i ? choose(c, i + 1) : 0;
        while (sets > code);
        code -= sets;
        column[i] = (uint8_t)c;
    }
    return 1;
}

/* All blocks that touch the span; those at its ends may stick out. */
static void span_n_of_m(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    const wcd_sparse_view *s = &v->u.s;
    uint64_t blocks = v->cols / s->m, first = col / s->m, last = (col + n - 1) / s->m;
    uint8_t code[WCD_SPAN], column[MAX_M];
    wcd_unpack(s->positions + row * s->row_size, blocks, s->code_bits, first, (unsigned)(last - first) + 1, code);
    for (uint64_t b = first; b <= last; b++) {
        if (!pattern(code[b - first], s->n, s->m, column)) continue;
        for (unsigned i = 0; i < s->n; i++) {
            uint64_t at = b * s->m + column[i] - col; /* left of the span: wraps to a large number */
            if (at < n) dst[at] = value_at(s, (row * blocks + b) * s->n + i);
        }
    }
}

static void span_sparse(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    for (unsigned i = 0; i < n; i++)
        dst[i] = 0;
    if (v->u.s.layout == MASK)
        span_mask(v, row, col, n, dst);
    else if (v->u.s.layout == N_OF_M)
        span_n_of_m(v, row, col, n, dst);
    else
        span_csr(v, row, col, n, dst);
}

const wcd_decoder wcd_decoder_sparse = {
    .id = 4, .version = 1, .name = "sparse", .open = open_sparse, .span = span_sparse};
