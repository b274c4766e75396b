/* sparse v1, encoder half. docs/FORMAT.md, card `sparse'. */
#include "formats/format.h"

#include <stdlib.h>
#include <string.h>

#include "formats/pack.h"

enum { CSR16 = 0, CSR32 = 1, MASK = 2, N_OF_M = 3, MAX_M = 16, MAX_COLS = 1 << 24 };

typedef struct layout {
    int kind;
    unsigned end_size, value_size, code_bits; /* bytes of a row end, of a value; bits of a pattern */
    uint64_t mask_size, code_size;            /* bytes of one row's mask, of one row's patterns */
    uint64_t positions, values, size;         /* offsets of sections; all */
} layout;

/* C(n, k), k <= n <= 16 */
static unsigned choose(unsigned n, unsigned k)
{
    unsigned c = 1;
    for (unsigned i = 1; i <= k; i++)
        c = c * (n - k + i) / i;
    return c;
}

static wc_status check_n_of_m(wc_ctx *ctx, const wc_sparse *s)
{
    if (s->n < 1 || s->n >= s->m || s->m > MAX_M || choose(s->m, s->n) > 256)
        return wc_fail(ctx, WC_BUG, "sparse part: %u of %u positions have no code of 8 bits", s->n, s->m);
    if (s->cols % s->m || s->nnz != (uint64_t)s->rows * (s->cols / s->m) * s->n)
        return wc_fail(ctx, WC_BUG, "sparse part: %llu values are not %u in every %u of %zu x %zu",
                       (unsigned long long)s->nnz, s->n, s->m, s->rows, s->cols);
    return WC_OK;
}

static wc_status check_geometry(wc_ctx *ctx, const wc_sparse *s)
{
    WC_TRY(wc_check_shape(ctx, "sparse", s->rows, s->cols));
    if (s->cols > MAX_COLS) return wc_fail(ctx, WC_BUG, "sparse part: %zu columns are too many", s->cols);
    if (s->nnz > (uint64_t)s->rows * s->cols)
        return wc_fail(ctx, WC_BUG, "sparse part: %llu values in %zu x %zu", (unsigned long long)s->nnz, s->rows,
                       s->cols);
    if (!wc_dtype_is_float(s->dtype)) return wc_fail(ctx, WC_BUG, "sparse part: values of %s", wc_dtype_name(s->dtype));
    if (s->dtype != WC_F16 && s->scale_exp)
        return wc_fail(ctx, WC_BUG, "sparse part: %s values with an exponent", wc_dtype_name(s->dtype));
    WC_TRY(wc_check_exp(ctx, "sparse", s->scale_exp));
    return s->n || s->m ? check_n_of_m(ctx, s) : WC_OK;
}

static void place(const wc_sparse *s, int kind, layout *out)
{
    layout l = {.kind = kind, .end_size = s->nnz >> 32 ? 8 : 4, .value_size = wc_dtype_bits(s->dtype) / 8};
    uint64_t bytes = kind == CSR32 ? 4 * s->nnz : 2 * s->nnz;
    if (kind == MASK) {
        l.mask_size = wc_ceil_div(s->cols, 8);
        bytes = s->rows * l.mask_size;
    }
    if (kind == N_OF_M) {
        while (1u << l.code_bits < choose(s->m, s->n))
            l.code_bits++;
        l.code_size = wc_packed_size(s->cols / s->m, l.code_bits);
        bytes = s->rows * l.code_size;
        l.end_size = 0;
    }
    l.size = l.end_size * (uint64_t)s->rows;
    l.positions = wc_place(&l.size, bytes);
    l.values = wc_place(&l.size, l.value_size * s->nnz);
    *out = l;
}

/* The smallest layout, the first in the order of their numbers when two are equal. */
static wc_status lay_out(wc_ctx *ctx, const wc_sparse *s, layout *out)
{
    WC_TRY(check_geometry(ctx, s));
    place(s, s->m ? N_OF_M : s->cols <= 65536 ? CSR16 : CSR32, out);
    layout mask;
    place(s, MASK, &mask);
    if (!s->m && mask.size < out->size) *out = mask;
    return WC_OK;
}

static wc_status sparse_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    layout l;
    WC_TRY(lay_out(ctx, &part->sparse, &l));
    *out = l.size;
    return WC_OK;
}

static wc_status check_row(wc_ctx *ctx, const wc_sparse *s, size_t r)
{
    for (uint64_t k = s->row_start[r]; k < s->row_start[r + 1]; k++)
        if (s->col[k] >= s->cols || (k > s->row_start[r] && s->col[k] <= s->col[k - 1]))
            return wc_fail(ctx, WC_BUG, "sparse part: column %u of row %zu is out of order or of range", s->col[k], r);
    if (!s->m) return WC_OK;
    size_t blocks = s->cols / s->m;
    const uint32_t *col = s->col + s->row_start[r];
    for (size_t b = 0; b < blocks; b++, col += s->n)
        if (s->row_start[r + 1] - s->row_start[r] != blocks * s->n || col[0] / s->m != b || col[s->n - 1] / s->m != b)
            return wc_fail(ctx, WC_BUG, "sparse part: row %zu does not have %u in every %u columns", r, s->n, s->m);
    return WC_OK;
}

static wc_status check_numbers(wc_ctx *ctx, const wc_sparse *s)
{
    if (!s->row_start || (s->nnz && (!s->col || !s->value))) return wc_fail(ctx, WC_BUG, "sparse part: no numbers");
    for (size_t r = 0; r < s->rows; r++)
        if (s->row_start[r] > s->row_start[r + 1] || s->row_start[r + 1] > s->nnz)
            return wc_fail(ctx, WC_BUG, "sparse part: row %zu ends before it starts, or after all values", r);
    if (s->row_start[0] || s->row_start[s->rows] != s->nnz)
        return wc_fail(ctx, WC_BUG, "sparse part: the rows do not hold all %llu values", (unsigned long long)s->nnz);
    for (size_t r = 0; r < s->rows; r++)
        WC_TRY(check_row(ctx, s, r));
    return WC_OK;
}

/* The number of the set of columns col [n] of one block, among all sets of n in the order of their masks as binary
 * numbers: sum over i of C(col_i, i + 1), the combinatorial number system. */
static uint8_t pattern_code(const uint32_t *col, unsigned n, unsigned m)
{
    unsigned code = 0;
    for (unsigned i = 0; i < n; i++)
        if (col[i] % m > i) code += choose(col[i] % m, i + 1);
    return (uint8_t)code;
}

static wc_status put_patterns(wc_ctx *ctx, const wc_sparse *s, const layout *l, uint8_t *dst)
{
    size_t blocks = s->cols / s->m;
    uint8_t *code;
    WC_TRY(WC_ALLOC(ctx, code, blocks, "patterns of a row"));
    for (size_t r = 0; r < s->rows; r++) {
        for (size_t b = 0; b < blocks; b++)
            code[b] = pattern_code(s->col + s->row_start[r] + b * s->n, s->n, s->m);
        wc_pack(code, blocks, l->code_bits, dst + r * l->code_size);
    }
    free(code);
    return WC_OK;
}

static wc_status put_positions(wc_ctx *ctx, const wc_sparse *s, const layout *l, uint8_t *dst)
{
    if (l->kind == N_OF_M) return put_patterns(ctx, s, l, dst);
    unsigned width = l->kind == CSR16 ? 2 : 4;
    for (size_t r = 0; r < s->rows; r++)
        for (uint64_t k = s->row_start[r]; k < s->row_start[r + 1]; k++)
            if (l->kind == MASK)
                dst[r * l->mask_size + s->col[k] / 8] |= (uint8_t)(1u << s->col[k] % 8);
            else
                wc_put_le(dst + width * k, s->col[k], width);
    return WC_OK;
}

static wc_status sparse_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    const wc_sparse *s = &part->sparse;
    layout l;
    WC_TRY(lay_out(ctx, s, &l));
    WC_TRY(check_numbers(ctx, s));
    memset(dst, 0, l.size);
    for (size_t r = 0; r < s->rows; r++)
        wc_put_le(dst + r * l.end_size, s->row_start[r + 1], l.end_size);
    WC_TRY(put_positions(ctx, s, &l, dst + l.positions));
    const uint16_t *half = s->value;
    const uint32_t *wide = s->value;
    for (uint64_t k = 0; k < s->nnz; k++)
        wc_put_le(dst + l.values + l.value_size * k, l.value_size == 2 ? half[k] : wide[k], l.value_size);
    memset(params, 0, WC_PARAMS_SIZE);
    params[0] = (uint8_t)s->dtype;
    params[1] = (uint8_t)l.kind;
    params[2] = (uint8_t)s->n;
    params[3] = (uint8_t)s->m;
    params[4] = (uint8_t)s->scale_exp;
    wc_put_le(params + 8, s->nnz, 8);
    return WC_OK;
}

const wc_encoder wc_encoder_sparse = {4, 1, "sparse", sparse_size, sparse_encode};
