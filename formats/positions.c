#include "formats/positions.h"

#include <string.h>

#include "formats/pack.h"

enum { MAX_M = 16, MAX_PATTERNS = 256, MAX_COLS = 1 << 24 };

/* C(n, k), k <= n <= 16 */
static unsigned choose(unsigned n, unsigned k)
{
    unsigned c = 1;
    for (unsigned i = 1; i <= k; i++)
        c = c * (n - k + i) / i;
    return c;
}

static size_t block_of(const wc_positions *p)
{
    return p->block ? p->block : 1;
}

static wc_status check_n_of_m(wc_ctx *ctx, const wc_positions_layout *l)
{
    const wc_positions *p = &l->p;
    size_t block = block_of(p), units = l->cols / block;
    if (p->n < 1 || p->n >= p->m || p->m > MAX_M || choose(p->m, p->n) > MAX_PATTERNS)
        return wc_fail(ctx, WC_BUG, "%s part: %u of %u positions have no code of 8 bits", l->kind, p->n, p->m);
    if (units % p->m || p->nnz != (uint64_t)l->rows * (units / p->m) * p->n * block)
        return wc_fail(ctx, WC_BUG, "%s part: %llu values are not %u in every %u of %zu x %zu", l->kind,
                       (unsigned long long)p->nnz, p->n, p->m, l->rows, l->cols);
    return WC_OK;
}

static wc_status check(wc_ctx *ctx, const wc_positions_layout *l)
{
    const wc_positions *p = &l->p;
    size_t block = block_of(p);
    if (l->cols > MAX_COLS) return wc_fail(ctx, WC_BUG, "%s part: %zu columns are too many", l->kind, l->cols);
    if (p->nnz > (uint64_t)l->rows * l->cols)
        return wc_fail(ctx, WC_BUG, "%s part: %llu values in %zu x %zu", l->kind, (unsigned long long)p->nnz, l->rows,
                       l->cols);
    if (l->cols % block || p->nnz % block)
        return wc_fail(ctx, WC_BUG, "%s part: %llu values in %zu columns are not blocks of %zu", l->kind,
                       (unsigned long long)p->nnz, l->cols, block);
    return p->n || p->m ? check_n_of_m(ctx, l) : WC_OK;
}

wc_status wc_positions_lay_out(wc_ctx *ctx, const char *kind, size_t rows, size_t cols, const wc_positions *p,
                               int layout, wc_positions_layout *out)
{
    wc_positions_layout l = {.kind = kind, .rows = rows, .cols = cols, .p = *p, .layout = p->m ? WC_N_OF_M : layout};
    WC_TRY(check(ctx, &l));
    size_t units = cols / block_of(p);
    l.end_size = p->nnz / block_of(p) >> 32 ? 8 : 4;
    if (l.layout == WC_MASK) l.row_size = wc_ceil_div(units, 8);
    if (l.layout == WC_N_OF_M) {
        while (1u << l.code_bits < choose(p->m, p->n))
            l.code_bits++;
        l.row_size = wc_packed_size(units / p->m, l.code_bits);
        l.end_size = 0;
    }
    *out = l;
    return WC_OK;
}

void wc_positions_place(wc_positions_layout *l, uint64_t *end)
{
    uint64_t count = l->p.nnz / block_of(&l->p), bytes = l->layout == WC_LIST32 ? 4 * count : 2 * count;
    if (l->layout >= WC_MASK) bytes = l->rows * l->row_size;
    l->ends = wc_place(end, l->rows * (uint64_t)l->end_size);
    l->at = wc_place(end, bytes);
}

/* The number of the set of columns with has [m] = 1 among all sets of n in the order of their masks as binary numbers:
 * sum over i of C(column_i, i + 1), the combinatorial number system. */
static wc_status pattern_code(wc_ctx *ctx, const wc_positions_layout *l, size_t r, const uint8_t *has, size_t stride,
                              uint8_t *code)
{
    unsigned sum = 0, count = 0;
    for (unsigned c = 0; c < l->p.m; c++)
        if (has[c * stride]) {
            if (c > count) sum += choose(c, count + 1);
            count++;
        }
    if (count != l->p.n)
        return wc_fail(ctx, WC_BUG, "%s part: row %zu does not have %u in every %u columns", l->kind, r, l->p.n,
                       l->p.m);
    *code = (uint8_t)sum;
    return WC_OK;
}

/* A row's patterns, in blocks of the 64 that packed sequences are made of. */
static wc_status put_patterns(wc_ctx *ctx, const wc_positions_layout *l, size_t r, const uint8_t *has, uint8_t *dst)
{
    enum { AT_ONCE = 64 };
    size_t stride = block_of(&l->p), runs = l->cols / stride / l->p.m;
    uint8_t code[AT_ONCE];
    for (size_t b = 0; b < runs; b += AT_ONCE) {
        size_t n = wc_min(AT_ONCE, runs - b);
        for (size_t i = 0; i < n; i++)
            WC_TRY(pattern_code(ctx, l, r, has + (b + i) * l->p.m * stride, stride, code + i));
        wc_pack(code, n, l->code_bits, dst + wc_packed_size(b, l->code_bits));
    }
    return WC_OK;
}

wc_status wc_positions_put(wc_ctx *ctx, const wc_positions_layout *l, size_t r, const uint8_t *has, uint64_t *count,
                           uint8_t *dst)
{
    size_t block = block_of(&l->p), units = l->cols / block;
    uint8_t *row = dst + l->at + r * l->row_size;
    unsigned width = l->layout == WC_LIST16 ? 2 : 4;
    if (block > 1)
        for (size_t j = 0; j < l->cols; j++)
            if (!has[j] != !has[j / block * block])
                return wc_fail(ctx, WC_BUG, "%s part: row %zu, column %zu: a block of %zu has values and holes",
                               l->kind, r, j, block);
    for (size_t u = 0; u < units; u++) {
        if (!has[u * block]) continue;
        if (*count == l->p.nnz)
            return wc_fail(ctx, WC_BUG, "%s part: more than %llu values", l->kind, (unsigned long long)l->p.nnz);
        if (l->layout == WC_MASK) row[u / 8] |= (uint8_t)(1u << u % 8);
        if (l->layout < WC_MASK) wc_put_le(dst + l->at + width * (*count / block), u, width);
        *count += block;
    }
    if (r + 1 == l->rows && *count != l->p.nnz)
        return wc_fail(ctx, WC_BUG, "%s part: %llu values, not %llu", l->kind, (unsigned long long)*count,
                       (unsigned long long)l->p.nnz);
    if (l->layout == WC_N_OF_M) return put_patterns(ctx, l, r, has, row);
    wc_put_le(dst + l->ends + r * (uint64_t)l->end_size, *count / block, l->end_size);
    return WC_OK;
}

/* Packed by the 64, of which blocks are made. */
wc_status wc_positions_put_codes(wc_ctx *ctx, const wc_positions_layout *l, const uint8_t *mask, const uint8_t *code,
                                 unsigned bits, uint8_t *dst)
{
    enum { AT_ONCE = 64 };
    uint8_t next[AT_ONCE];
    uint64_t count = 0, written = 0;
    for (size_t r = 0; r < l->rows; r++) {
        const uint8_t *has = mask + r * l->cols;
        WC_TRY(wc_positions_put(ctx, l, r, has, &count, dst));
        for (size_t j = 0; j < l->cols; j++) {
            if (!has[j]) continue;
            next[written++ % AT_ONCE] = code[r * l->cols + j];
            if (written % AT_ONCE == 0) wc_pack(next, AT_ONCE, bits, dst + wc_packed_size(written - AT_ONCE, bits));
        }
    }
    uint64_t rest = written % AT_ONCE;
    wc_pack(next, rest, bits, dst + wc_packed_size(written - rest, bits));
    return WC_OK;
}

void wc_positions_params(const wc_positions_layout *l, uint8_t *params)
{
    params[12] = (uint8_t)l->layout;
    params[13] = (uint8_t)l->p.n;
    params[14] = (uint8_t)l->p.m;
    wc_put_le(params + 16, l->p.nnz, 8);
    wc_put_le(params + 24, l->p.block > 1 ? l->p.block : 0, 4);
}
