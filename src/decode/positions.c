#include "decode/positions.h"

#include <string.h>

#include "decode/bytes.h"
#include "decode/packed.h"

enum { SPAN = 256, MAX_M = 16, MAX_PATTERNS = 256, MAX_COLS = 1 << 24 };

/* C(n, k), k <= n <= 16 */
static unsigned choose(unsigned n, unsigned k)
{
    unsigned c = 1;
    for (unsigned i = 1; i <= k; i++)
        c = c * (n - k + i) / i;
    return c;
}

static int open_patterns(wcd_positions *p, uint64_t rows)
{
    if (p->n < 1 || p->n >= p->m || p->m > MAX_M || choose(p->m, p->n) > MAX_PATTERNS || p->units % p->m) return 0;
    while (1u << p->code_bits < choose(p->m, p->n))
        p->code_bits++;
    p->row_size = wcd_packed_size(p->units / p->m, p->code_bits);
    p->end_size = 0;
    return p->count == rows * (p->units / p->m) * p->n;
}

int wcd_positions_open(wcd_positions *p, unsigned layout, unsigned n, unsigned m, uint32_t block, uint64_t nnz,
                       uint64_t rows, uint64_t cols)
{
    wcd_positions q = {.layout = layout, .n = n, .m = m, .block = block ? block : 1, .nnz = nnz};
    if (layout > WCD_N_OF_M || block == 1 || cols > MAX_COLS || nnz > rows * cols) return 0;
    if (cols % q.block || nnz % q.block) return 0;
    q.units = cols / q.block;
    q.count = nnz / q.block;
    q.end_size = q.count >> 32 ? 8 : 4;
    if (layout == WCD_MASK) q.row_size = (q.units + 7) / 8;
    if (layout == WCD_N_OF_M ? !open_patterns(&q, rows) : n || m) return 0;
    if (layout == WCD_LIST16 && q.units > 65536) return 0;
    *p = q;
    return 1;
}

int wcd_positions_parse(wcd_positions *p, const uint8_t *params, uint64_t rows, uint64_t cols)
{
    if (params[12] < WCD_MASK || params[15]) return 0;
    return wcd_positions_open(p, params[12], params[13], params[14], wcd_u32(params + 24), wcd_u64(params + 16), rows,
                              cols);
}

/* At most 2^56 numbers of 8 bytes in a section, so nothing wraps. */
void wcd_positions_place(wcd_positions *p, uint64_t rows, uint64_t *end)
{
    uint64_t bytes = p->layout == WCD_LIST32 ? 4 * p->count : 2 * p->count;
    if (p->layout >= WCD_MASK) bytes = rows * p->row_size;
    p->ends = wcd_place(end, rows * p->end_size);
    p->at = wcd_place(end, bytes);
}

/* Positions in the rows before `row', at most all. */
static uint64_t row_begin(const wcd_positions *p, const uint8_t *blob, uint64_t row)
{
    if (!row) return 0;
    const uint8_t *ends = blob + p->ends;
    uint64_t end = p->end_size == 4 ? wcd_u32(ends + 4 * (row - 1)) : wcd_u64(ends + 8 * (row - 1));
    return end < p->count ? end : p->count;
}

static uint32_t listed(const wcd_positions *p, const uint8_t *list, uint64_t k)
{
    return p->layout == WCD_LIST16 ? wcd_u16(list + 2 * k) : wcd_u32(list + 4 * k);
}

const uint8_t *wcd_positions_list(const wcd_positions *p, const uint8_t *blob, uint64_t row, uint64_t *first,
                                  uint64_t *end)
{
    if (p->layout > WCD_LIST32 || p->block > 1) return NULL;
    *first = row_begin(p, blob, row);
    *end = row_begin(p, blob, row + 1);
    if (*end < *first) *end = *first;
    return blob + p->at + *first * (p->layout == WCD_LIST16 ? 2 : 4);
}

/* The first that is not left of the span by bisection, then as many as the span can hold. */
static unsigned span_list(const wcd_positions *p, const uint8_t *blob, uint64_t row, uint64_t u0, unsigned n,
                          uint8_t *unit, uint64_t *first)
{
    const uint8_t *list = blob + p->at;
    uint64_t lo = row_begin(p, blob, row), end = row_begin(p, blob, row + 1), hi = end;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (listed(p, list, mid) < u0)
            lo = mid + 1;
        else
            hi = mid;
    }
    unsigned count = 0;
    for (*first = lo; count < n && lo < end; lo++) {
        uint64_t at = listed(p, list, lo) - u0; /* left of the span, in a list out of order: wraps to a large number */
        if (at >= n) break;
        unit[count++] = (uint8_t)at;
    }
    return count;
}

/* Ones in the first `bits' bits: in words by pairs, fours, bytes, and the sum of the bytes; the rest one by one. */
static uint64_t count_ones(const uint8_t *mask, uint64_t bits)
{
    uint64_t ones = 0;
    for (; bits >= 64; bits -= 64, mask += 8) {
        uint64_t x = wcd_u64(mask);
        x -= x >> 1 & 0x5555555555555555u;
        x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
        ones += ((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u >> 56;
    }
    for (unsigned i = 0; i < bits; i++)
        ones += mask[i / 8] >> i % 8 & 1;
    return ones;
}

static unsigned span_mask(const wcd_positions *p, const uint8_t *blob, uint64_t row, uint64_t u0, unsigned n,
                          uint8_t *unit, uint64_t *first)
{
    const uint8_t *mask = blob + p->at + row * p->row_size;
    unsigned count = 0;
    *first = row_begin(p, blob, row) + count_ones(mask, u0);
    for (unsigned i = 0; i < n; i++)
        if (mask[(u0 + i) / 8] >> (u0 + i) % 8 & 1) unit[count++] = (uint8_t)i;
    return count;
}

/* The columns of pattern `code' of n of m, ascending: the greatest column whose number of sets fits what is left, from
 * the last position down. A code that is no pattern counts as 0. */
static void pattern(unsigned code, unsigned n, unsigned m, uint8_t *column)
{
    unsigned c = m;
    if (code >= choose(m, n)) code = 0;
    for (unsigned i = n; i-- > 0;) {
        unsigned sets;
        do
            sets = --c > i ? choose(c, i + 1) : 0;
        while (sets > code);
        code -= sets;
        column[i] = (uint8_t)c;
    }
}

/* All runs of m places that touch the span; those at its ends may stick out. */
static unsigned span_n_of_m(const wcd_positions *p, const uint8_t *blob, uint64_t row, uint64_t u0, unsigned n,
                            uint8_t *unit, uint64_t *first)
{
    uint64_t runs = p->units / p->m, begin = u0 / p->m, last = (u0 + n - 1) / p->m;
    unsigned count = 0;
    uint8_t code[SPAN], column[MAX_M];
    wcd_unpack(blob + p->at + row * p->row_size, runs, p->code_bits, begin, (unsigned)(last - begin) + 1, code);
    *first = (row * runs + begin) * p->n;
    for (uint64_t run = begin; run <= last; run++) {
        pattern(code[run - begin], p->n, p->m, column);
        for (unsigned i = 0; i < p->n; i++) {
            uint64_t at = run * p->m + column[i];
            if (at < u0) ++*first;
            if (at >= u0 && at - u0 < n) unit[count++] = (uint8_t)(at - u0);
        }
    }
    return count;
}

static unsigned span_units(const wcd_positions *p, const uint8_t *blob, uint64_t row, uint64_t u0, unsigned n,
                           uint8_t *unit, uint64_t *first)
{
    if (p->layout == WCD_MASK) return span_mask(p, blob, row, u0, n, unit, first);
    if (p->layout == WCD_N_OF_M) return span_n_of_m(p, blob, row, u0, n, unit, first);
    return span_list(p, blob, row, u0, n, unit, first);
}

/* Blocks into columns; the first block may begin left of the span and the last end right of it. Blocks of a list that
 * is out of order may come twice: no more than n columns in any case. */
static unsigned widen(const wcd_positions *p, const uint8_t *unit, unsigned count, uint64_t skip, unsigned n,
                      uint8_t *at, uint64_t *first)
{
    unsigned columns = 0;
    *first *= p->block;
    if (count && !unit[0]) *first += skip;
    for (unsigned k = 0; k < count; k++) {
        uint64_t begin = unit[k] * p->block, end = begin + p->block; /* from where the first block begins */
        for (uint64_t j = begin < skip ? skip : begin; j < end && j - skip < n && columns < n; j++)
            at[columns++] = (uint8_t)(j - skip);
    }
    return columns;
}

unsigned wcd_positions_span(const wcd_positions *p, const uint8_t *blob, uint64_t row, uint64_t col, unsigned n,
                            uint8_t *at, uint64_t *first)
{
    unsigned count;
    if (p->block == 1) {
        count = span_units(p, blob, row, col, n, at, first);
    } else {
        uint8_t unit[SPAN];
        uint64_t u0 = col / p->block;
        count = span_units(p, blob, row, u0, (unsigned)((col + n - 1) / p->block - u0) + 1, unit, first);
        count = widen(p, unit, count, col - u0 * p->block, n, at, first);
    }
    if (*first >= p->nnz) return 0;
    return count < p->nnz - *first ? count : (unsigned)(p->nnz - *first);
}

void wcd_positions_codes(const wcd_positions *p, const uint8_t *blob, const uint8_t *seq, unsigned bits, uint64_t row,
                         uint64_t col, unsigned n, uint8_t *q, uint8_t *has)
{
    uint8_t at[SPAN], code[SPAN];
    uint64_t first;
    unsigned count = wcd_positions_span(p, blob, row, col, n, at, &first);
    memset(q, 0, n);
    memset(has, 0, n);
    if (count) wcd_unpack(seq, p->nnz, bits, first, count, code);
    for (unsigned k = 0; k < count; k++) {
        q[at[k]] = code[k];
        has[at[k]] = 1;
    }
}
