/* lut v1: w = s T[q], codes q of 1..8 bits, tables T of 2^bits f16 levels, scales s per row and group of columns.
 *
 *     params  0 u8 bits   1 u8 scope of a table: 0 tensor, 1 row, 2 row and group   2 u8 scaled
 *             3 i8 scale_exp   4 u32 group
 *             12 u8 holes: 0 none, else a layout of positions   13 u8 n   14 u8 m   16 u64 nnz   24 u32 block
 *     blob    codes: rows packed sequences of cols values; with holes one packed sequence [nnz]
 *             tables: f16 [1 | rows | rows, groups][2^bits]
 *             scales: f16 [rows, groups], when scaled
 *             ends, positions: with holes, decode/positions.h
 *             sections start at multiples of 8 bytes
 *
 * s = f16 * 2^scale_exp (2^scale_exp without scales) and T[q] are exact in f32, so a value is rounded once. A code
 * cannot exceed its table, whatever the bytes of the blob are. */
#include "base/half.h"
#include "decode/bytes.h"
#include "decode/decoder.h"
#include "decode/packed.h"
#include "decode/tiles.h"

enum { SCOPE_TENSOR = 0, SCOPE_ROW = 1, SCOPE_GROUP = 2, MAX_LEVELS = 256 };

static int parse(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_lut_view *l = &v->u.l;
    l->bits = params[0];
    l->scope = params[1];
    l->scaled = params[2];
    l->group = wcd_u32(params + 4);
    l->holes = params[12];
    for (int i = 8; i < WCD_PARAMS; i++)
        if (params[i] && (!l->holes || i < 12 || i > 27)) return 0;
    if (l->holes && !wcd_positions_parse(&l->p, params, v->rows, v->cols)) return 0;
    if (l->bits < 1 || l->bits > 8 || l->scope > SCOPE_GROUP || params[2] > 1) return 0;
    if (l->group < 1 || l->group > v->cols || !wcd_exp2(params[3], &l->exp2)) return 0;
    l->groups = (v->cols - 1) / l->group + 1;
    return 1;
}

static wcd_status open_lut(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_lut_view *l = &v->u.l;
    if (!v->rows || !v->cols || !parse(params, v)) return WCD_E_CORRUPT;
    uint64_t all_groups = v->rows * l->groups, table_bytes;
    uint64_t tables = l->scope == SCOPE_TENSOR ? 1 : l->scope == SCOPE_ROW ? v->rows : all_groups;
    if (!wcd_mul(tables, (uint64_t)2 << l->bits, (uint64_t)1 << 62, &table_bytes)) return WCD_E_CORRUPT;
    l->row_size = wcd_packed_size(v->cols, l->bits);
    uint64_t end = l->holes ? wcd_packed_size(l->p.nnz, l->bits) : v->rows * l->row_size,
             at_tables = wcd_place(&end, table_bytes);
    uint64_t at_scales = l->scaled ? wcd_place(&end, 2 * all_groups) : 0;
    if (l->holes) wcd_positions_place(&l->p, v->rows, &end);
    if (end != v->size) return WCD_E_CORRUPT;
    v->numeric = 1;
    if (!v->blob) return WCD_OK;
    l->tables = v->blob + at_tables;
    l->scales = v->blob + at_scales;
    return WCD_OK;
}

static void scales(const wcd_lut_view *l, uint64_t row, uint64_t group0, unsigned n, float *s)
{
    if (l->scaled) wcd_inner_loops()->halves(l->scales + 2 * (row * l->groups + group0), n, l->exp2, s);
    for (unsigned k = 0; k < n && !l->scaled; k++)
        s[k] = l->exp2;
}

/* The table of a row, repeated to fill 16 levels. */
static void levels_of_row(const wcd_lut_view *l, uint64_t row, float level[16])
{
    unsigned n = 1u << l->bits;
    wcd_inner_loops()->halves(l->tables + (l->scope == SCOPE_ROW ? 2 * row * n : 0), n, 1, level);
    for (unsigned k = n; k < 16; k++)
        level[k] = level[k - n];
}

/* Codes of all columns, tables that fit a register, and not another one for every group. */
static int in_registers(const wcd_lut_view *l)
{
    return l->bits <= 4 && l->scope != SCOPE_GROUP && !l->holes;
}

/* Without scales any group will do. */
static uint64_t code_group(const wcd_lut_view *l)
{
    return l->scaled ? l->group : WCD_BLOCK;
}

static void codes_lut(const wcd_view *v, uint64_t row, unsigned nr, uint64_t col, unsigned n_groups, wcd_code_rows *out)
{
    const wcd_lut_view *l = &v->u.l;
    for (unsigned i = 0; i < nr; i++) {
        scales(l, row + i, col / code_group(l), n_groups, out->s + i * WCD_CODE_GROUPS);
        levels_of_row(l, row + i, out->levels + 16 * i);
    }
    out->codes = (wcd_codes){.at = v->blob + row * l->row_size + col / 8 * l->bits,
                             .stride = l->row_size,
                             .bits = l->bits,
                             .group = code_group(l),
                             .s = out->s,
                             .ld = WCD_CODE_GROUPS,
                             .levels = out->levels};
}

static void product_lut(const wcd_view *v, uint64_t r0, uint64_t nr, const float *x, float *y, int add)
{
    if (in_registers(&v->u.l) && wcd_codes_group(code_group(&v->u.l)))
        wcd_codes_product(v, codes_lut, code_group(&v->u.l), r0, nr, x, y, add);
    else
        wcd_span_product(v, r0, nr, x, y, add);
}

static int tiles_lut(const wcd_view *v, wcd_tiles *out)
{
    const wcd_lut_view *l = &v->u.l;
    out->bits = l->bits, out->group = l->scaled ? l->group : v->cols < WCD_SPAN ? v->cols : WCD_SPAN;
    out->s_size = l->scaled ? 2 : 0, out->exp2 = l->exp2;
    out->lut = 1, out->levels = l->tables;
    out->codes = v->blob, out->row_size = l->row_size, out->scales = l->scales;
    out->by_row = l->scope == SCOPE_ROW && l->bits == 4 && !l->scaled;
    if (out->by_row) out->group = v->cols;
    return (l->scope == SCOPE_TENSOR || out->by_row) && !l->holes;
}

static void span_lut(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    const wcd_lut_view *l = &v->u.l;
    const unsigned levels = 1u << l->bits;
    float level[MAX_LEVELS], s[WCD_SPAN];
    uint8_t q[WCD_SPAN], has[WCD_SPAN];
    uint64_t group = code_group(l), group0 = col / group, table = l->scope == SCOPE_ROW ? row : 0;
    scales(l, row, group0, (unsigned)((col + n - 1) / group - group0) + 1, s);
    if (in_registers(l) && n == WCD_SPAN && wcd_codes_spans(group)) {
        levels_of_row(l, row, level);
        const wcd_codes c = {v->blob + row * l->row_size + col / 8 * l->bits,
                             0,
                             l->bits,
                             group < WCD_SPAN ? group : WCD_SPAN,
                             s,
                             NULL,
                             0,
                             level};
        wcd_inner_loops()->values(&c, n, dst);
        return;
    }
    if (l->holes)
        wcd_positions_codes(&l->p, v->blob, v->blob, l->bits, row, col, n, q, has);
    else
        wcd_unpack(v->blob + row * l->row_size, v->cols, l->bits, col, n, q);
    for (unsigned i = 0, end; i < n; i = end) {
        uint64_t g = (col + i) / l->group, stop = (g + 1) * l->group - col;
        end = stop < n ? (unsigned)stop : n;
        if (l->scope == SCOPE_GROUP) table = row * l->groups + g;
        if (!i || l->scope == SCOPE_GROUP) wcd_inner_loops()->halves(l->tables + 2 * table * levels, levels, 1, level);
        for (unsigned j = i; j < end; j++)
            dst[j] = s[(col + i) / group - group0] * level[q[j]];
    }
    for (unsigned i = 0; l->holes && i < n; i++)
        if (!has[i]) dst[i] = 0;
}

const wcd_decoder wcd_decoder_lut = {.id = 3,
                                     .version = 1,
                                     .name = "lut",
                                     .open = open_lut,
                                     .span = span_lut,
                                     .product = product_lut,
                                     .tiles = tiles_lut};
