/* The layout step: codes re-tiled for coalesced loads, positions of sparse parts as plain lists, everything else as it
 * is in the file, each section at a multiple of 128 bytes. docs/CUDA.md has the layouts; part.cuh reads them. */
#include "cuda/layout.cuh"

extern "C" {
#include "decode/decoder.h"
#include "decode/packed.h"
#include "formats/coded/kernel.h"
#include "formats/ggml/kernel.h"
#include "formats/permute/kernel.h"
}

namespace
{

/* dst NULL: only the places are wanted. */
struct writer {
    uint8_t *dst;
    uint64_t at;
};

uint64_t section(writer *w, uint64_t size)
{
    uint64_t at = (w->at + 127) / 128 * 128;
    w->at = at + size;
    return at;
}

/* A section of bytes as they are, with `pad' zeros behind them. */
uint64_t copied(writer *w, const uint8_t *src, uint64_t size, uint64_t pad)
{
    uint64_t at = section(w, size + pad);
    if (w->dst && size) memcpy(w->dst + at, src, size);
    return at;
}

template <typename T> void put(writer *w, uint64_t place, uint64_t i, T x)
{
    memcpy(w->dst + place + i * sizeof x, &x, sizeof x);
}

/* ---- codes ------------------------------------------------------------------------------------------------------ */

/* The words of one unit into their planes; see wcu_load_words. */
void put_unit(writer *w, const wcu_part *p, uint64_t at, const uint8_t *q, unsigned n)
{
    uint32_t word[9] = {0};
    unsigned from = 0;
    for (unsigned c = 0; c < n; c++) {
        unsigned bit = c * p->bits;
        uint64_t x = (uint64_t)q[c] << bit % 32;
        word[bit / 32] |= (uint32_t)x;
        word[bit / 32 + 1] |= (uint32_t)(x >> 32);
    }
    static const unsigned planes[9][3] = {{0, 0, 0}, {0, 0, 1}, {0, 2, 0}, {0, 2, 1}, {4, 0, 0},
                                          {4, 0, 1}, {4, 2, 0}, {4, 2, 1}, {4, 4, 0}};
    for (unsigned k = 0; k < 3; k++) {
        unsigned words = planes[p->bits][k];
        memcpy(w->dst + p->codes[k] + at * words * 4, word + from, words * 4);
        from += words;
    }
}

void place_codes(writer *w, wcu_part *p)
{
    uint64_t units = p->rows * p->units;
    p->codes[0] = section(w, p->bits & 12 ? 16 * units : 0);
    p->codes[1] = section(w, p->bits & 8 ? 16 * units : p->bits & 2 ? 8 * units : 0);
    p->codes[2] = section(w, p->bits & 1 ? 4 * units : 0);
}

/* Codes of the columns col .. col + n of a row; has [n]: 0 where there is none. */
void codes_at(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, uint8_t *q, uint8_t *has)
{
    bool grid = v->d->id == WCU_GRID;
    unsigned bits = grid ? v->u.g.bits : v->u.l.bits;
    memset(has, 1, n);
    if (grid ? v->u.g.holes : v->u.l.holes)
        wcd_positions_codes(grid ? &v->u.g.p : &v->u.l.p, v->blob, v->blob, bits, row, col, n, q, has);
    else
        wcd_unpack(v->blob + row * (grid ? v->u.g.row_size : v->u.l.row_size), v->cols, bits, col, n, q);
}

/* Behind the last column a grid has code 0, a lut the last code again: a level that is used, and so a number. */
void put_codes(writer *w, const wcd_view *v, const wcu_part *p)
{
    uint8_t q[WCD_SPAN], has[WCD_SPAN];
    for (uint64_t row = 0; row < v->rows && w->dst; row++)
        for (uint64_t col = 0; col < v->cols; col += WCD_SPAN) {
            unsigned n = wcd_span_at(v, col);
            codes_at(v, row, col, n, q, has);
            for (unsigned c = 0; c < n; c += WCU_UNIT) {
                uint64_t at = row * p->units + (col + c) / WCU_UNIT;
                uint32_t mask = 0;
                unsigned there = n - c < WCU_UNIT ? n - c : WCU_UNIT;
                if (p->kind == WCU_LUT) memset(q + c + there, q[c + there - 1], WCU_UNIT - there);
                put_unit(w, p, at, q + c, p->kind == WCU_LUT ? WCU_UNIT : there);
                for (unsigned k = 0; k < WCU_UNIT && c + k < n; k++)
                    mask |= (uint32_t)has[c + k] << k;
                if (p->holes) put(w, p->u.g.mask, at, mask);
            }
        }
}

/* Scales and zeros of rows behind the last one that kernels load and do not use: 8 rows where units are shared out
 * among 128 threads, else what 128 threads have, 4 rows each for every L, of at most L groups. */
uint64_t rows_behind(uint64_t groups)
{
    return 8 * groups + 512;
}

/* A packed sequence as bytes. */
uint64_t put_bytes(writer *w, const uint8_t *seq, uint64_t count, unsigned bits, uint64_t pad)
{
    uint64_t at = section(w, count + pad);
    for (uint64_t i = 0; i < count && w->dst; i += WCD_SPAN)
        wcd_unpack(seq, count, bits, i, (unsigned)(count - i < WCD_SPAN ? count - i : WCD_SPAN), w->dst + at + i);
    return at;
}

/* Shift from a unit to its group where units do not straddle groups, and groups are 32 columns times a power of two. */
uint32_t shift_of(uint64_t group, uint64_t groups)
{
    uint32_t shift = 0;
    if (groups == 1) return 31;
    while ((uint64_t)WCU_UNIT << shift < group)
        shift++;
    return (uint64_t)WCU_UNIT << shift == group ? shift : WCU_NO_SHIFT;
}

/* ---- kinds ------------------------------------------------------------------------------------------------------ */

void lay_out_grid(writer *w, const wcd_view *v, wcu_part *p)
{
    const wcd_grid_view *g = &v->u.g;
    uint64_t behind = rows_behind(g->groups), all = v->rows * g->groups,
             lines = g->tile ? 2 * ((v->rows - 1) / g->tile + 1) * g->groups : 0;
    p->bits = g->bits, p->group = g->group, p->groups = g->groups, p->tile = g->tile;
    p->group_shift = shift_of(p->group, p->groups);
    p->exp2 = g->exp2, p->zero_kind = g->zero_kind, p->zero_fixed = g->zero_fixed, p->holes = g->holes != 0;
    p->scale_kind = g->tile ? WCU_TILE_SCALES : g->scale_bits ? WCU_ROW_SCALES : WCU_GROUP_SCALES;
    place_codes(w, p);
    p->u.g.scales = copied(w, g->scales, 2 * (g->tile ? lines : g->scale_bits ? v->rows : all), 2 * behind);
    if (g->scale_bits) p->u.g.scale_codes = put_bytes(w, g->scale_codes, all, g->scale_bits, behind);
    if (g->zero_kind == WCU_ZERO_F16) p->u.g.zeros = copied(w, g->zeros, 2 * all, 2 * behind);
    if (g->zero_kind == WCU_ZERO_LINE) p->u.g.zeros = copied(w, g->zeros, 2 * lines, 0);
    if (g->zero_bits) p->u.g.zero_codes = put_bytes(w, g->zero_codes, all, g->zero_bits, behind);
    if (p->holes) p->u.g.mask = section(w, 4 * p->rows * p->units);
    put_codes(w, v, p);
}

void lay_out_lut(writer *w, const wcd_view *v, wcu_part *p)
{
    const wcd_lut_view *l = &v->u.l;
    uint64_t tables = l->scope == 0 ? 1 : l->scope == 1 ? v->rows : v->rows * l->groups;
    p->bits = l->bits, p->form = l->scope, p->group = l->group, p->groups = l->groups;
    p->group_shift = shift_of(p->group, l->scaled || l->scope == WCU_TABLE_PER_GROUP ? p->groups : 1);
    p->exp2 = l->exp2, p->scale_kind = l->scaled != 0, p->holes = l->holes != 0;
    place_codes(w, p);
    p->u.g.zeros = copied(w, l->tables, tables * 2 << l->bits, 0);
    if (l->scaled) p->u.g.scales = copied(w, l->scales, 2 * v->rows * l->groups, 0);
    if (p->holes) p->u.g.mask = section(w, 4 * p->rows * p->units);
    put_codes(w, v, p);
}

/* Row by row, as the decode library reads them: every layout of positions becomes one list. A damaged one may name more
 * values than there are; the list ends with its room. */
void put_sparse(writer *w, const wcd_view *v, const wcu_part *p, uint64_t nnz)
{
    unsigned width = p->dtype == WCD_CUDA_F32 ? 4 : 2;
    uint64_t total = 0, first;
    uint8_t at[WCD_SPAN];
    put(w, p->u.s.begins, 0, total);
    for (uint64_t row = 0; row < v->rows; row++) {
        for (uint64_t col = 0; col < v->cols; col += WCD_SPAN) {
            unsigned n = wcd_positions_span(&v->u.s.p, v->blob, row, col, wcd_span_at(v, col), at, &first);
            for (unsigned k = 0; k < n && total < nnz; k++, total++) {
                uint64_t c = col + at[k];
                if (p->wide)
                    put(w, p->u.s.columns, total, (uint32_t)c);
                else
                    put(w, p->u.s.columns, total, (uint16_t)c);
                memcpy(w->dst + p->u.s.values + total * width, v->u.s.values + (first + k) * width, width);
            }
        }
        put(w, p->u.s.begins, row + 1, total);
    }
}

void lay_out_sparse(writer *w, const wcd_view *v, wcu_part *p)
{
    uint64_t nnz = v->u.s.p.nnz;
    p->dtype = v->u.s.dtype, p->exp2 = v->u.s.exp2, p->wide = v->cols > 65536;
    p->u.s.begins = section(w, 8 * (v->rows + 1));
    p->u.s.columns = section(w, (p->wide ? 4 : 2) * nnz);
    p->u.s.values = section(w, (p->dtype == WCD_CUDA_F32 ? 4 : 2) * nnz);
    if (w->dst) put_sparse(w, v, p, nnz);
}

void lay_out_float(writer *w, const wcd_view *v, wcu_part *p)
{
    const wcd_float_view *f = &v->u.f;
    uint64_t n = v->rows * v->cols, chunks = (n + WCU_CHUNK - 1) / WCU_CHUNK;
    p->dtype = f->dtype, p->form = f->coded;
    if (!f->coded) {
        p->u.s.values = copied(w, v->blob, v->size, 0);
        return;
    }
    for (unsigned b = 0; b < f->width; b++) {
        p->u.f.mode[b] = f->mode[b], p->u.f.constant[b] = f->constant[b];
        if (f->mode[b] == WCU_RAW) p->u.f.first[b] = copied(w, v->blob + f->first[b], n, 64); /* read by runs */
        if (f->mode[b] != WCU_CODED) continue;
        p->u.f.first[b] = copied(w, v->blob + f->first[b], 32 + 256, 0);
        p->u.f.bases[b] = copied(w, v->blob + f->bases[b], (chunks + 63) / 64 * 8, 0);
        p->u.f.entries[b] = copied(w, v->blob + f->entries[b], chunks * 10, 0);
    }
    p->u.f.stream_bytes = f->stream_bytes;
    p->u.f.streams = copied(w, v->blob + f->streams, f->stream_bytes, 16);
}

/* Rows of A are numbered from 0 up, rows of B from -1 down. */
void put_pivots(writer *w, const wcd_view *v, const wcu_part *p)
{
    uint64_t pivots = 0, others = 0;
    for (uint64_t row = 0; row < v->rows && w->dst; row++) {
        int is = v->blob[row / 8] >> row % 8 & 1;
        uint64_t k = is ? pivots++ : others++;
        int32_t to = k >= (is ? p->u.r.rank : v->rows - p->u.r.rank) ? WCU_NOWHERE : is ? -1 - (int32_t)k : (int32_t)k;
        put(w, p->u.r.map, row, to);
    }
}

void lay_out_lowrank(writer *w, const wcd_view *v, wcu_part *p)
{
    p->form = v->u.r.form;
    p->u.r.rank = v->u.r.rank, p->u.r.m2 = v->u.r.m2, p->u.r.n2 = v->u.r.n2;
    if (p->form != WCU_PIVOT) return;
    p->u.r.map = section(w, 4 * v->rows);
    put_pivots(w, v, p);
}

void lay_out_signs(writer *w, const wcd_view *v, wcu_part *p)
{
    const wcd_signs_view *s = &v->u.p;
    p->form = s->form, p->levels = s->levels, p->exp2 = s->exp2;
    p->u.p.n = s->n, p->u.p.subset = s->subset, p->u.p.row_size = s->row_size;
    p->u.p.u = s->u, p->u.p.v = s->v, p->u.p.stride = s->stride;
    memcpy(p->u.p.which, s->which, sizeof p->u.p.which);
    p->u.p.blob = copied(w, v->blob, v->size, 0);
}

/* Buckets, values, shifts and shrinks of the classes. */
void put_laws(writer *w, const wcd_view *v, const wcu_part *p)
{
    wcd_coded_tables t;
    for (unsigned n = 0; n < v->u.c.classes && w->dst; n++) {
        wcd_coded_class(v->blob + 12 * n, &t, n);
        memcpy(w->dst + p->u.l.buckets + n * sizeof *t.bucket, t.bucket[n], sizeof *t.bucket);
        memcpy(w->dst + p->u.l.values + n * sizeof *t.value, t.value[n], sizeof *t.value);
        put(w, p->u.l.laws, 2 * n, (uint32_t)t.shift[n]);
        put(w, p->u.l.laws, 2 * n + 1, t.shrink[n]);
    }
}

/* Tables are made here, once, and not by every block of threads; streams are as in the file. */
void lay_out_trellis(writer *w, const wcd_view *v, wcu_part *p)
{
    const wcd_coded_view *c = &v->u.c;
    p->tile = c->tile;
    p->u.l.a = wcd_coded_machine(c)[0], p->u.l.b = wcd_coded_machine(c)[1];
    p->u.l.n_classes = (uint8_t)c->classes, p->u.l.by_row = c->row_classes != 0;
    p->u.l.blocks = c->blocks, p->u.l.words = c->stream_words;
    p->u.l.buckets = section(w, c->classes * sizeof(uint64_t) * 2 * WCU_SYMBOLS);
    p->u.l.values = section(w, c->classes * sizeof(float) * 2 * WCU_SYMBOLS);
    p->u.l.laws = section(w, c->classes * 8);
    p->u.l.steps = section(w, v->cols * sizeof(float));
    p->u.l.classes = section(w, v->cols);
    if (p->u.l.by_row) p->u.l.row_classes = copied(w, c->row_class, (v->rows + 1) / 2, 0);
    p->u.l.ends = copied(w, c->ends, 4 * c->blocks * ((v->rows - 1) / c->tile + 1), 0);
    p->u.l.streams = copied(w, c->stream, 2 * c->stream_words, 0);
    put_laws(w, v, p);
    for (uint64_t i = 0; i < v->cols && w->dst; i++) {
        put(w, p->u.l.steps, i, wcd_coded_step(c, c->col_step[i]));
        w->dst[p->u.l.classes + i] = c->col_class[i / 2] >> i % 2 * 4 & 15;
    }
}

/* Codes of a row and codebook: their low bits and what is above 8 of them, each packed, become one string of bits. */
void put_vectors(writer *w, const wcd_view *v, const wcu_part *p, uint64_t row, unsigned m)
{
    const wcd_vq_view *q = &v->u.q;
    const uint8_t *low = v->blob + row * q->row_size + m * q->plane_size;
    unsigned low_bits = q->bits < 8 ? q->bits : 8;
    const uint8_t *above = low + wcd_packed_size(q->vectors, low_bits);
    uint32_t *to = (uint32_t *)(w->dst + p->codes[0]) + (row * q->books + m) * p->u.q.words;
    for (uint64_t i = 0; i < q->vectors; i += WCD_SPAN) {
        uint8_t code[WCD_SPAN], high[WCD_SPAN] = {0};
        unsigned n = q->vectors - i < WCD_SPAN ? (unsigned)(q->vectors - i) : WCD_SPAN;
        wcd_unpack(low, q->vectors, low_bits, i, n, code);
        if (q->bits > 8) wcd_unpack(above, q->vectors, q->bits - 8, i, n, high);
        for (unsigned k = 0; k < n; k++) {
            uint64_t bit = (i + k) * q->bits;
            uint64_t x = (uint64_t)(code[k] | high[k] << 8) << bit % 32;
            to[bit / 32] |= (uint32_t)x;
            if (x >> 32) to[bit / 32 + 1] |= (uint32_t)(x >> 32);
        }
    }
}

/* A word of each unit of a row. */
void put_signs(writer *w, const wcd_view *v, const wcu_part *p, uint64_t row)
{
    const wcd_vq_view *q = &v->u.q;
    uint8_t minus[WCU_UNIT];
    for (uint64_t unit = 0; unit < p->units; unit++) {
        unsigned n = wcu_unit_size(*p, unit);
        uint32_t mask = 0;
        wcd_unpack(q->sign_plane + row * q->sign_size, v->cols, 1, unit * WCU_UNIT, n, minus);
        for (unsigned c = 0; c < n; c++)
            mask |= (uint32_t)minus[c] << c;
        put(w, p->u.q.signs, row * p->units + unit, mask);
    }
}

void lay_out_vq(writer *w, const wcd_view *v, wcu_part *p)
{
    const wcd_vq_view *q = &v->u.q;
    uint64_t blocks = (q->block_rows ? (v->rows - 1) / q->block_rows + 1 : 1) * q->col_blocks;
    uint64_t values = ((blocks * q->books) << q->bits) * q->dim, all = v->rows * q->groups;
    p->bits = q->bits, p->group = q->group, p->groups = q->groups, p->exp2 = q->exp2;
    p->u.q.dim = (uint8_t)q->dim, p->u.q.books = (uint8_t)q->books, p->u.q.entry_bits = (uint8_t)q->entry_bits;
    p->u.q.scaled = q->scaled != 0, p->u.q.two_levels = q->scale_bits != 0, p->u.q.has_signs = q->signs != 0;
    p->u.q.block_rows = q->block_rows, p->u.q.block_cols = q->block_cols, p->u.q.col_blocks = q->col_blocks;
    p->u.q.words = (q->vectors * q->bits + 31) / 32;
    p->codes[0] = section(w, 4 * v->rows * q->books * p->u.q.words);
    p->u.q.entries = copied(w, q->entries, values * (q->entry_bits / 8), 0);
    if (q->entry_bits == 8) p->u.q.steps = copied(w, q->steps, 2 * blocks * q->books, 0);
    if (q->scaled) p->u.q.scales = copied(w, q->scales, 2 * (q->scale_bits ? v->rows : all), 0);
    if (q->scale_bits) p->u.q.scale_codes = put_bytes(w, q->scale_codes, all, q->scale_bits, 0);
    if (q->signs) p->u.q.signs = section(w, 4 * v->rows * p->units);
    for (uint64_t row = 0; row < v->rows && w->dst; row++) {
        for (unsigned m = 0; m < q->books; m++)
            put_vectors(w, v, p, row, m);
        if (q->signs) put_signs(w, v, p, row);
    }
}

/* Codes and signs of unit `unit', counted over all rows: number k of a block. */
void put_entries(writer *w, const wcd_ggml_fields *f, const wcu_part *p, uint64_t unit, unsigned k)
{
    unsigned n = WCU_UNIT / p->u.b.dim;
    uint8_t high = 0;
    uint32_t minus;
    for (unsigned i = 0; i < n; i++) {
        put(w, p->codes[0], unit * n + i, (uint8_t)f->code[k * n + i]);
        high = (uint8_t)(high | f->code[k * n + i] >> 8 << (p->bits - 8) * i);
    }
    memcpy(&minus, f->sign + WCU_UNIT / 8 * k, sizeof minus);
    if (p->bits > 8) put(w, p->codes[1], unit, high);
    put(w, p->u.b.signs, unit, minus);
}

void put_levels(writer *w, const wcd_ggml_fields *f, const wcu_part *p, uint64_t unit, unsigned k)
{
    uint8_t code[WCU_UNIT];
    for (unsigned i = 0; i < WCU_UNIT; i++)
        code[i] = (uint8_t)f->code[k * WCU_UNIT + i];
    put_unit(w, p, unit, code, WCU_UNIT);
}

/* Block number `at' of the part, whose m is 0 when the type has none; mins of 4 bits go above the scales. */
void put_block(writer *w, const wcd_ggml_fields *f, const wcu_part *p, uint64_t at)
{
    unsigned runs = 1u << (p->u.b.block - p->u.b.run), units = (1u << p->u.b.block) / WCU_UNIT;
    put(w, p->u.b.d, at, wc_f32_f16(f->d));
    if (p->u.b.has_m) put(w, p->u.b.m, at, wc_f32_f16(f->m));
    for (unsigned i = 0; i < runs && p->u.b.scales; i++)
        put(w, p->u.b.scales, at * runs + i, (uint8_t)(f->scale[i] | (p->u.b.min_bits == 4 ? f->min[i] << 4 : 0)));
    for (unsigned i = 0; i < runs && p->u.b.min_bits > 4; i++)
        put(w, p->u.b.mins, at * runs + i, f->min[i]);
    for (unsigned k = 0; k < units; k++)
        (p->u.b.dim == 1 ? put_levels : put_entries)(w, f, p, at * units + k, k);
}

/* Where everything goes; what codes stand for. */
void place_blocks(writer *w, const wcd_view *v, wcu_part *p)
{
    const wcd_ggml_block *t = v->u.b.type;
    const wcd_ggml_values *x = v->u.b.values;
    uint64_t blocks = v->rows * p->groups, units = v->rows * p->units, runs = blocks * (t->block / t->sub);
    if (t->dim == 1) {
        place_codes(w, p);
    } else {
        p->codes[0] = section(w, WCU_UNIT / t->dim * units);
        if (t->bits > 8) p->codes[1] = section(w, units);
        p->u.b.signs = section(w, 4 * units);
        p->u.b.words = copied(w, (const uint8_t *)x->word, 2 * t->codes, 0);
        p->u.b.levels = copied(w, x->levels, t->dim == 8 ? 4 : 8, 0);
    }
    if (x->table) p->u.b.levels = copied(w, (const uint8_t *)x->table, t->codes, 0);
    p->u.b.d = section(w, 2 * blocks);
    if (t->has_m) p->u.b.m = section(w, 2 * blocks);
    if (t->scale_bits) p->u.b.scales = section(w, runs);
    if (t->min_bits > 4) p->u.b.mins = section(w, runs);
}

void lay_out_ggml(writer *w, const wcd_view *v, wcu_part *p)
{
    const wcd_ggml_block *t = v->u.b.type;
    p->bits = t->bits, p->groups = v->cols / t->block;
    p->u.b.mul = t->mul, p->u.b.add = t->add, p->u.b.lo = t->lo, p->u.b.dim = (uint8_t)t->dim;
    while (1u << p->u.b.block < t->block)
        p->u.b.block++;
    while (1u << p->u.b.run < t->sub)
        p->u.b.run++;
    p->u.b.table = v->u.b.values->table != NULL;
    p->u.b.has_m = t->has_m != 0, p->u.b.min_bits = (uint8_t)t->min_bits;
    place_blocks(w, v, p);
    for (uint64_t i = 0; i < v->rows * p->groups && w->dst; i++) {
        wcd_ggml_fields f;
        memset(&f, 0, sizeof f);
        t->unpack(v->blob + i * t->bytes, &f);
        put_block(w, &f, p, i);
    }
}

void lay_out_hadamard(writer *w, const wcd_view *v, wcu_part *p)
{
    while ((uint64_t)1 << p->u.t.log2 < v->u.h.order)
        p->u.t.log2++;
    p->exp2 = v->u.h.scale;
    p->u.t.values = copied(w, v->blob, v->size, 0);
}

void lay_out_diagonal(writer *w, const wcd_view *v, wcu_part *p)
{
    p->exp2 = v->u.d.exp2;
    p->u.t.values = copied(w, v->blob, v->size, 0);
}

/* from [cols]: which column comes to each place; turn [cols]: its inverse. */
void put_order(const wcd_view *v, uint32_t *from, uint32_t *turn)
{
    for (uint64_t j = 0; j < v->cols; j++)
        from[j] = (uint32_t)j;
    for (uint64_t j = 0; j < v->cols; j++) {
        uint64_t t = wcd_permute_swap(v, j);
        uint32_t moved = from[j];
        if (t >= v->cols) continue;
        from[j] = from[t];
        from[t] = moved;
    }
    for (uint64_t j = 0; j < v->cols; j++)
        turn[from[j]] = (uint32_t)j;
}

/* turn: the inverse of from becomes its reflection of every cycle (wcu_permute_step). From the first place of a cycle
 * one way forwards and one backwards; what they have passed is marked, and they end where they meet. */
void put_reflections(uint64_t cols, uint32_t *from, uint32_t *turn)
{
    const uint32_t mark = (uint32_t)1 << 31;
    for (uint64_t start = 0; start < cols; start++)
        for (uint32_t f = (uint32_t)start, b = f; !(from[f] & mark);) {
            uint32_t next = from[f], before = turn[b];
            turn[f] = b, turn[b] = f;
            from[f] |= mark, from[b] |= mark;
            f = next, b = before;
        }
    for (uint64_t j = 0; j < cols; j++)
        from[j] &= ~mark;
}

void lay_out_permute(writer *w, const wcd_view *v, wcu_part *p)
{
    p->u.t.from = section(w, 4 * v->cols);
    p->u.t.turn = section(w, 4 * v->cols);
    if (!w->dst) return;
    uint32_t *from = (uint32_t *)(w->dst + p->u.t.from), *turn = (uint32_t *)(w->dst + p->u.t.turn);
    put_order(v, from, turn);
    put_reflections(v->cols, from, turn);
}

wcd_cuda_status lay_out_part(writer *w, const wcd_view *v, wcu_part *p)
{
    static const struct {
        uint32_t kind;
        void (*lay_out)(writer *, const wcd_view *, wcu_part *);
    } kinds[] = {{WCU_FLOAT, lay_out_float},
                 {WCU_GRID, lay_out_grid},
                 {WCU_LUT, lay_out_lut},
                 {WCU_SPARSE, lay_out_sparse},
                 {WCU_LOWRANK, lay_out_lowrank},
                 {WCU_SIGNS, lay_out_signs},
                 {WCU_TRELLIS, lay_out_trellis},
                 {WCU_DIAGONAL, lay_out_diagonal},
                 {WCU_HADAMARD, lay_out_hadamard},
                 {WCU_PERMUTE, lay_out_permute},
                 {WCU_VQ, lay_out_vq},
                 {WCU_GGML, lay_out_ggml}};
    memset(p, 0, sizeof *p);
    p->kind = v->d->id, p->rows = v->rows, p->cols = v->cols, p->units = (v->cols + WCU_UNIT - 1) / WCU_UNIT;
    if (v->rows > INT32_MAX || (p->kind == WCU_PERMUTE && v->cols > INT32_MAX)) return WCD_CUDA_E_UNSUPPORTED;
    for (auto &k : kinds)
        if (k.kind == p->kind) {
            if (!v->numeric && !v->d->row) return WCD_CUDA_E_NOT_NUMERIC;
            k.lay_out(w, v, p);
            return WCD_CUDA_OK;
        }
    return WCD_CUDA_E_UNSUPPORTED;
}

wcd_status open_view(const wcd_part_info *i, wcd_view *v)
{
    return wcd_view_open(i->kind, i->version, i->params, i->blob, i->blob_size, i->rows, i->cols, v);
}

/* Part i of the tensor, and its children behind the n that there are. */
wcd_cuda_status lay_out_family(writer *w, const wcd_tensor *t, uint32_t i, wcu_part *all, uint32_t *n)
{
    wcd_part_info info, child;
    wcd_view v;
    if (wcd_part(t, i, &info) != WCD_OK || open_view(&info, &v) != WCD_OK) return WCD_CUDA_E_ARGUMENT;
    wcd_cuda_status s = lay_out_part(w, &v, all + i);
    all[i].child = *n;
    for (uint32_t k = 0; s == WCD_CUDA_OK && k < info.n_children; k++) {
        if (*n == WCD_CUDA_PARTS) return WCD_CUDA_E_UNSUPPORTED;
        if (wcd_part_child(t, &info, k, &child) != WCD_OK || open_view(&child, &v) != WCD_OK)
            return WCD_CUDA_E_ARGUMENT;
        s = lay_out_part(w, &v, all + (*n)++);
    }
    return s;
}

} // namespace

wcd_cuda_status wcu_lay_out(const wcd_tensor *t, wcu_part all[WCD_CUDA_PARTS], uint32_t *n_all, uint64_t *size,
                            uint8_t *dst)
{
    writer w = {dst, WCD_CUDA_PARTS * sizeof *all};
    if (!t->rows || !t->cols) return WCD_CUDA_E_NOT_NUMERIC;
    if (t->n_parts > WCD_CUDA_PARTS || t->n_transforms > WCD_CUDA_PARTS - t->n_parts) return WCD_CUDA_E_UNSUPPORTED;
    uint32_t n = t->n_parts + t->n_transforms;
    for (uint32_t i = 0; i < t->n_parts + t->n_transforms; i++) {
        wcd_cuda_status s = lay_out_family(&w, t, i, all, &n);
        if (s != WCD_CUDA_OK) return s;
    }
    if (dst) memcpy(dst, all, n * sizeof *all);
    *n_all = n;
    *size = (w.at + 127) / 128 * 128;
    return WCD_CUDA_OK;
}
