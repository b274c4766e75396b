/* What the tests of lut, sparse and low-rank parts share: plans, numbers by formula (the formulas of
 * tests/data/golden/make_golden.py), and what a part means at (r, c), written without the encoders' arithmetic. */
#ifndef PARTS_UTIL_H
#define PARTS_UTIL_H

#include <math.h>

#include "base/coded.h"
#include "base/half.h"
#include "lanes_util.h"
#include "wcz_util.h"

static inline wc_part float_plan(size_t rows, size_t cols, wc_dtype dtype)
{
    return (wc_part){.kind = WC_PART_FLOAT, .floats = {.rows = rows, .cols = cols, .dtype = dtype}};
}

static inline wc_part lut_plan(size_t rows, size_t cols, unsigned bits, size_t group, wc_lut_scope scope, bool scaled)
{
    wc_part p = {.kind = WC_PART_LUT};
    p.lut.rows = rows, p.lut.cols = cols, p.lut.group = group;
    p.lut.bits = bits, p.lut.scope = scope, p.lut.scaled = scaled;
    return p;
}

/* entry_bits 16 or 8; scale_bits -1: no scales, 0: one level. */
static inline wc_part vq_plan(size_t rows, size_t cols, unsigned dim, unsigned books, unsigned bits,
                              unsigned entry_bits, int scale_bits, size_t group)
{
    wc_part p = {.kind = WC_PART_VQ};
    p.vq = (wc_vq){.rows = rows, .cols = cols, .dim = dim, .books = books, .bits = bits, .entry_bits = entry_bits};
    p.vq.scaled = scale_bits >= 0, p.vq.scale_bits = scale_bits > 0 ? (unsigned)scale_bits : 0, p.vq.group = group;
    p.vq.block_rows = rows, p.vq.block_cols = cols;
    return p;
}

static inline wc_part vq_blocks(wc_part p, size_t block_rows, size_t block_cols)
{
    p.vq.block_rows = block_rows, p.vq.block_cols = block_cols;
    return p;
}

static inline wc_part vq_signs(wc_part p)
{
    p.vq.signs = true;
    return p;
}

static inline wc_part lowrank_plan(size_t rows, size_t cols, size_t rank, wc_part a, wc_part b)
{
    wc_part p = {.kind = WC_PART_LOWRANK, .lowrank = {.rows = rows, .cols = cols, .rank = rank}};
    wc_lowrank_plan(&p.lowrank, &a, &b);
    return p;
}

static inline wc_part cur_plan(size_t rows, size_t cols, size_t rank, wc_part c, wc_part r, wc_part u)
{
    wc_part p = lowrank_plan(rows, cols, rank, c, r);
    p.lowrank.form = WC_LOWRANK_CUR;
    wc_lowrank_link(&p.lowrank, &u);
    return p;
}

static inline wc_part pivot_plan(size_t rows, size_t cols, size_t rank, wc_part others, wc_part pivots)
{
    wc_part p = lowrank_plan(rows, cols, rank, others, pivots);
    p.lowrank.form = WC_LOWRANK_PIVOT;
    return p;
}

static inline wc_part mpo_plan(size_t rows, size_t cols, size_t rank, size_t m2, size_t n2, wc_part a, wc_part b)
{
    wc_part p = lowrank_plan(rows, cols, rank, a, b);
    p.lowrank.form = WC_LOWRANK_MPO;
    p.lowrank.m2 = m2, p.lowrank.n2 = n2;
    return p;
}

/* Every step-th position, with every third row empty; step 0: none. */
static inline bool sparse_has(size_t r, size_t c, size_t cols, size_t step)
{
    return step && r % 3 != 1 && (r * cols + c + r * r) % step == 0;
}

static inline wc_part sparse_plan(size_t rows, size_t cols, size_t step, wc_dtype dtype)
{
    wc_part p = {.kind = WC_PART_SPARSE};
    p.sparse.rows = rows, p.sparse.cols = cols, p.sparse.dtype = dtype;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            p.sparse.nnz += sparse_has(r, c, cols, step);
    return p;
}

static inline wc_part nm_plan(size_t rows, size_t cols, unsigned n, unsigned m, wc_dtype dtype)
{
    wc_part p = {.kind = WC_PART_SPARSE};
    p.sparse = (wc_sparse){.rows = rows, .cols = cols, .dtype = dtype, .n = n, .m = m, .nnz = rows * (cols / m) * n};
    return p;
}

/* How many masks of m bits have n ones. */
static inline unsigned count_masks(unsigned n, unsigned m)
{
    unsigned count = 0;
    for (unsigned mask = 0; mask < 1u << m; mask++)
        count += (unsigned)__builtin_popcount(mask) == n;
    return count;
}

/* The mask number `code' among those of m bits with n ones, by counting. */
static inline unsigned nth_mask(unsigned code, unsigned n, unsigned m)
{
    for (unsigned mask = 0; mask < 1u << m; mask++)
        if ((unsigned)__builtin_popcount(mask) == n && !code--) return mask;
    fail_msg("no mask %u of %u", n, m);
    return 0;
}

static inline void fill_positions(wc_sparse *s, size_t step)
{
    uint64_t k = 0;
    unsigned masks = s->m ? count_masks(s->n, s->m) : 0;
    for (size_t r = 0; r < s->rows; r++) {
        for (size_t c = 0; c < s->cols; c++) {
            bool has = s->m ? nth_mask((unsigned)((r * 5 + c / s->m * 3 + 1) % masks), s->n, s->m) >> c % s->m & 1
                            : sparse_has(r, c, s->cols, step);
            if (has) s->col[k++] = (uint32_t)c;
        }
        s->row_start[r + 1] = k;
    }
    assert_int_equal(k, s->nnz);
}

static inline wc_part sparse_fill(wc_part p, size_t step)
{
    wc_sparse *s = &p.sparse;
    assert_int_equal(wc_sparse_alloc(NULL, s), WC_OK);
    fill_positions(s, step);
    for (uint64_t k = 0; k < s->nnz; k++)
        if (s->dtype == WC_F32)
            ((uint32_t *)s->value)[k] = (uint32_t)formula_scale(k + 3) << 16 | (uint32_t)(k * 77 % 65536);
        else
            ((uint16_t *)s->value)[k] = formula_scale(k + 3);
    return p;
}

/* A mask [rows, cols] by the formulas of fill_positions, for places of p->block columns; counts p->nnz. free() it. */
static inline uint8_t *formula_mask(size_t rows, size_t cols, size_t step, wc_positions *p)
{
    size_t block = p->block ? p->block : 1, units = cols / block;
    uint8_t *mask = calloc(rows * cols, 1);
    unsigned masks = p->m ? count_masks(p->n, p->m) : 0;
    assert_non_null(mask);
    p->nnz = 0;
    for (size_t i = 0; i < rows * cols; i++) {
        size_t r = i / cols, u = i % cols / block;
        mask[i] = p->m ? nth_mask((unsigned)((r * 5 + u / p->m * 3 + 1) % masks), p->n, p->m) >> u % p->m & 1
                       : sparse_has(r, u, units, step);
        p->nnz += mask[i];
    }
    return mask;
}

/* A filled grid with such holes; drop_mask() before wc_part_free. */
static inline wc_part holes_fill(wc_part p, size_t step, wc_positions at)
{
    p = grid_fill(p);
    p.grid.mask = formula_mask(p.grid.rows, p.grid.cols, step, &at);
    p.grid.at = at;
    p.grid.holes = true;
    return p;
}

static inline void drop_mask(wc_part *p)
{
    if (p->kind == WC_PART_GRID) free((void *)(uintptr_t)p->grid.mask);
    if (p->kind == WC_PART_LUT) free((void *)(uintptr_t)p->lut.mask);
}

/* Sparse values at such positions. */
static inline wc_part blocks_fill(wc_part p, size_t step, wc_positions at)
{
    wc_sparse *s = &p.sparse;
    uint64_t k = 0;
    uint8_t *mask = formula_mask(s->rows, s->cols, step, &at);
    s->nnz = at.nnz, s->n = at.n, s->m = at.m, s->block = at.block;
    assert_int_equal(wc_sparse_alloc(NULL, s), WC_OK);
    for (size_t i = 0; i < s->rows * s->cols; i++) {
        if (mask[i]) s->col[k] = (uint32_t)(i % s->cols), ((uint16_t *)s->value)[k] = formula_scale(k + 3), k++;
        s->row_start[i / s->cols + 1] = k;
    }
    free(mask);
    return p;
}

static inline wc_part lut_fill(wc_part p)
{
    wc_lut *l = &p.lut;
    assert_int_equal(wc_lut_alloc(NULL, l), WC_OK);
    for (size_t i = 0; i < l->rows * l->cols; i++)
        l->code[i] = formula_code(i, l->bits);
    for (size_t i = 0; i < wc_lut_tables(l) << l->bits; i++)
        l->table[i] = formula_scale(i + 1);
    for (size_t i = 0; i < l->rows * wc_lut_groups(l) && l->scaled; i++)
        l->scale[i] = formula_scale(i + 2);
    return p;
}

/* A filled lut with such holes; drop_mask() before wc_part_free. */
static inline wc_part lut_holes_fill(wc_part p, size_t step, wc_positions at)
{
    p = lut_fill(p);
    p.lut.mask = formula_mask(p.lut.rows, p.lut.cols, step, &at);
    p.lut.at = at;
    p.lut.holes = true;
    return p;
}

static inline wc_part vq_fill(wc_part p)
{
    wc_vq *v = &p.vq;
    assert_int_equal(wc_vq_alloc(NULL, v), WC_OK);
    size_t books = wc_vq_blocks(v) * v->books, entries = (books << v->bits) * v->dim,
           groups = v->rows * wc_vq_groups(v);
    for (size_t i = 0; i < v->rows * v->books * wc_vq_vectors(v); i++)
        v->code[i] = (uint16_t)((i * 7 + i / 5 + 3) % (1u << v->bits));
    for (size_t i = 0; i < entries && v->entry; i++)
        v->entry[i] = formula_scale(i + 1);
    for (size_t i = 0; i < entries && v->small_entry; i++)
        v->small_entry[i] = (int8_t)formula_code(i + 4, 8);
    for (size_t i = 0; i < books && v->step; i++)
        v->step[i] = formula_scale(i + 6);
    for (size_t i = 0; i < (v->scale_bits ? v->rows : groups) && v->scale; i++)
        v->scale[i] = formula_scale(i + 2);
    for (size_t i = 0; i < groups && v->scale_code; i++)
        v->scale_code[i] = formula_code(i + 1, v->scale_bits);
    for (size_t i = 0; i < v->rows * v->cols && v->sign; i++)
        v->sign[i] = formula_code(i + 2, 1);
    return p;
}

/* F16, BF16: formula_scale; F32: the same in the upper half. */
static inline wc_part float_fill(wc_part p)
{
    wc_float *f = &p.floats;
    assert_int_equal(wc_float_alloc(NULL, f), WC_OK);
    unsigned bytes = wc_dtype_bits(f->dtype) / 8;
    for (size_t i = 0; i < f->rows * f->cols; i++) {
        uint16_t half = formula_scale(i + 5);
        f->owned[i * bytes + bytes - 2] = (uint8_t)half;
        f->owned[i * bytes + bytes - 1] = (uint8_t)(half >> 8);
    }
    return p;
}

static inline wc_part diagonal_make(size_t cols, int scale_exp)
{
    wc_part p = {.kind = WC_PART_DIAGONAL, .diagonal = {.cols = cols, .scale_exp = scale_exp}};
    assert_int_equal(wc_diagonal_alloc(NULL, &p.diagonal), WC_OK);
    for (size_t j = 0; j < cols; j++)
        p.diagonal.scale[j] = formula_scale(j + 4);
    return p;
}

static inline wc_part hadamard_make(size_t cols, size_t order)
{
    wc_part p = {.kind = WC_PART_HADAMARD, .hadamard = {.cols = cols, .order = order}};
    assert_int_equal(wc_hadamard_alloc(NULL, &p.hadamard), WC_OK);
    for (size_t j = 0; j < cols; j++)
        p.hadamard.negative[j] = formula_code(j, 1);
    return p;
}

/* Numbers of make_golden.py's order_of(); step and cols have no common divisor. */
static inline wc_part permute_make(size_t cols, size_t step)
{
    wc_part p = {.kind = WC_PART_PERMUTE, .permute = {.cols = cols}};
    assert_int_equal(wc_permute_alloc(NULL, &p.permute), WC_OK);
    for (size_t j = 0; j < cols; j++)
        p.permute.from[j] = (uint32_t)((j * step + 3) % cols);
    return p;
}

/* Entry (i, j) of a transform, from its definition. */
static inline double transform_entry(const wc_part *p, size_t i, size_t j)
{
    if (p->kind == WC_PART_DIAGONAL) return i == j ? ldexp(f16_value(p->diagonal.scale[j]), p->diagonal.scale_exp) : 0;
    if (p->kind == WC_PART_PERMUTE) return p->permute.from[i] == j;
    size_t n = p->hadamard.order;
    if (i / n != j / n) return 0;
    bool minus = (unsigned)__builtin_popcountll((i % n) & (j % n)) % 2 != p->hadamard.negative[j];
    return (minus ? -1 : 1) / sqrt((double)n);
}

static inline wc_part leaf_fill(wc_part p)
{
    if (p.kind == WC_PART_VQ) return vq_fill(p);
    return p.kind == WC_PART_GRID ? grid_fill(p) : p.kind == WC_PART_LUT ? lut_fill(p) : float_fill(p);
}

/* Fills the plans of the factors, which are p's. Pivots: the rows i with i rank div rows above that of i - 1, so that
 * they are spread out. */
static inline wc_part lowrank_fill(wc_part p)
{
    wc_lowrank *l = &p.lowrank;
    *l->a = leaf_fill(*l->a);
    *l->b = leaf_fill(*l->b);
    if (l->link) *l->link = leaf_fill(*l->link);
    if (l->form != WC_LOWRANK_PIVOT) return p;
    l->pivot = calloc(l->rows, 1);
    assert_non_null(l->pivot);
    for (size_t i = 0; i < l->rows; i++)
        l->pivot[i] = (i + 1) * l->rank / l->rows > i * l->rank / l->rows;
    return p;
}

/* The product of two f16 is exact in double: the cast is the one rounding. */
static inline float lut_value(const wc_lut *l, size_t r, size_t c)
{
    size_t g = r * wc_lut_groups(l) + c / l->group, table = l->scope == WC_LUT_TENSOR ? 0
                                                            : l->scope == WC_LUT_ROW  ? r
                                                                                      : g;
    double s = ldexp(l->scaled ? f16_value(l->scale[g]) : 1, l->scale_exp);
    if (l->holes && !l->mask[r * l->cols + c]) return 0;
    return (float)(s * f16_value(l->table[(table << l->bits) + l->code[r * l->cols + c]]));
}

/* Entries, steps times entries and scales are exact in double; the sum and the product are rounded by the casts. */
static inline float vq_value(const wc_vq *v, size_t r, size_t c)
{
    size_t across = (v->cols + v->block_cols - 1) / v->block_cols,
           block = r / v->block_rows * across + c / v->block_cols;
    size_t groups = (v->cols + v->group - 1) / v->group, vectors = (v->cols + v->dim - 1) / v->dim;
    float t = 0;
    for (unsigned m = 0; m < v->books; m++) {
        size_t book = block * v->books + m, q = v->code[(r * v->books + m) * vectors + c / v->dim];
        size_t at = ((book << v->bits) + q) * v->dim + c % v->dim;
        double x = v->entry ? f16_value(v->entry[at]) : f16_value(v->step[book]) * v->small_entry[at];
        t = m ? t + (float)x : (float)x;
    }
    double s = ldexp(1, v->scale_exp);
    if (v->scaled) s *= f16_value(v->scale[v->scale_bits ? r : r * groups + c / v->group]);
    if (v->scale_bits) s *= v->scale_code[r * groups + c / v->group];
    float w = (float)s * t;
    return v->signs && v->sign[r * v->cols + c] ? -w : w;
}

static inline float sparse_value(const wc_sparse *s, size_t r, size_t c)
{
    for (uint64_t k = s->row_start[r]; k < s->row_start[r + 1]; k++) {
        if (s->col[k] != c) continue;
        if (s->dtype == WC_F32) return wc_bits_f32(((uint32_t *)s->value)[k]);
        uint16_t half = ((uint16_t *)s->value)[k];
        return s->dtype == WC_F16 ? (float)ldexp(f16_value(half), s->scale_exp) : wc_bits_f32((uint32_t)half << 16);
    }
    return 0;
}

static inline float float_value(const wc_float *f, size_t r, size_t c)
{
    size_t i = r * f->cols + c;
    if (f->dtype == WC_F32)
        return wc_bits_f32((uint32_t)f->data[4 * i] | (uint32_t)f->data[4 * i + 1] << 8 |
                           (uint32_t)f->data[4 * i + 2] << 16 | (uint32_t)f->data[4 * i + 3] << 24);
    uint16_t half = (uint16_t)(f->data[2 * i] | f->data[2 * i + 1] << 8);
    return f->dtype == WC_F16 ? (float)f16_value(half) : wc_bits_f32((uint32_t)half << 16);
}

/* The k-th bit of plane `level' of a row: what a method sets and the file packs. */
static inline unsigned plane_bit(const uint8_t *planes, const wc_signs *s, size_t at, unsigned level, size_t r,
                                 size_t k)
{
    size_t stride = (wc_signs_cols(s, level) + 7) / 8;
    return planes[at + r * stride + k / 8] >> k % 8 & 1;
}

/* The place of column c among those of a level, or SIZE_MAX. */
static inline size_t level_place(const wc_signs *s, unsigned level, size_t c)
{
    unsigned which = s->form == WC_SIGNS_SCALES ? s->which[level] & WC_SIGNS_COLUMNS : WC_SIGNS_ALL;
    size_t k = 0;
    if (which == WC_SIGNS_ALL) return c;
    if (s->column[c] != (which == WC_SIGNS_SUBSET)) return SIZE_MAX;
    for (size_t j = 0; j < c; j++)
        k += s->column[j] == (which == WC_SIGNS_SUBSET);
    return k;
}

static inline float signs_magnitude(const wc_signs *s, unsigned level, size_t r, size_t c, size_t k)
{
    float unit = ldexpf(1, s->scale_exp);
    if (s->form == WC_SIGNS_SCALES) {
        bool split = s->which[level] & WC_SIGNS_SPLIT;
        size_t groups = (wc_signs_cols(s, level) + s->group - 1) / s->group, at = r * groups + k / s->group;
        if (split) at = 2 * at + plane_bit(s->choice, s, wc_signs_choice_at(s, level), level, r, k);
        return (float)f16_value(s->u[wc_signs_scales_at(s, level) + at]) * unit;
    }
    float m = 0, a = 0, b = 0;
    for (size_t i = 0; i < s->rank && s->form == WC_SIGNS_PRODUCT; i++) {
        float product = (float)f16_value(s->u[(level * s->rows + r) * s->rank + i]) *
                        (float)f16_value(s->v[(level * s->rank + i) * s->cols + c]);
        m = i ? m + product : product;
    }
    if (s->form == WC_SIGNS_PRODUCT) return m * unit;
    for (size_t e = 0; e < s->rank; e++) {
        float x = (float)f16_value(s->u[e * s->rows + r]), y = (float)f16_value(s->v[e * s->cols + c]);
        a = e ? a + x : x, b = e ? b + y : y;
    }
    a /= (float)s->rank, b /= (float)s->rank;
    m = a * b;
    return m * unit;
}

static inline float signs_value(const wc_signs *s, size_t r, size_t c)
{
    float w = 0;
    for (unsigned l = 0; l < s->levels; l++) {
        size_t k = level_place(s, l, c);
        if (k == SIZE_MAX) continue;
        float m = signs_magnitude(s, l, r, c, k);
        w = plane_bit(s->sign, s, wc_signs_sign_at(s, l), l, r, k) ? w - m : w + m;
    }
    return w;
}

/* which: one digit per level of form 1, as in docs/FORMAT.md; "" in other forms. */
static inline wc_part signs_plan(size_t rows, size_t cols, wc_signs_form form, unsigned levels, size_t n, size_t subset,
                                 const char *which)
{
    wc_part p = {.kind = WC_PART_SIGNS};
    p.signs = (wc_signs){.rows = rows, .cols = cols, .form = form, .levels = levels, .subset = subset};
    *(form == WC_SIGNS_SCALES ? &p.signs.group : &p.signs.rank) = n;
    for (unsigned l = 0; which[l]; l++)
        p.signs.which[l] = (uint8_t)(which[l] - '0');
    return p;
}

static inline void fill_plane(const wc_signs *s, uint8_t *plane, unsigned level, unsigned shift)
{
    size_t cols = wc_signs_cols(s, level), stride = (cols + 7) / 8;
    for (size_t r = 0; r < s->rows; r++)
        for (size_t k = 0; k < cols; k++)
            plane[r * stride + k / 8] |= (uint8_t)(formula_code(r * cols + k + level + shift, 1) << k % 8);
}

/* The subset: columns j with (7 j + 3) mod cols < subset; 7 must not divide cols. */
static inline wc_part signs_fill(wc_part p)
{
    wc_signs *s = &p.signs;
    assert_int_equal(wc_signs_alloc(NULL, s), WC_OK);
    for (size_t j = 0; j < s->cols && s->subset; j++)
        s->column[j] = (7 * j + 3) % s->cols < s->subset;
    for (unsigned l = 0; l < s->levels; l++) {
        fill_plane(s, s->sign + wc_signs_sign_at(s, l), l, 0);
        if (s->form == WC_SIGNS_SCALES && s->which[l] & WC_SIGNS_SPLIT)
            fill_plane(s, s->choice + wc_signs_choice_at(s, l), l, 5);
    }
    size_t planes = s->form == WC_SIGNS_PRODUCT ? s->levels : 1;
    size_t u = s->form == WC_SIGNS_SCALES ? wc_signs_scales_at(s, s->levels) : planes * s->rows * s->rank;
    for (size_t i = 0; i < u; i++)
        s->u[i] = formula_scale(i + 1);
    for (size_t i = 0; i < planes * s->cols * s->rank && s->v; i++)
        s->v[i] = formula_scale(i + 2);
    for (size_t i = 0; i < s->cols * s->rank && s->router; i++)
        s->router[i] = formula_scale(i + 4);
    return p;
}

/* Geometry and side numbers; bytes: `spare' more than the streams need. */
static inline wc_part coded_fill(size_t rows, size_t cols, size_t tile, unsigned memory, unsigned classes,
                                 bool row_classes, unsigned spare)
{
    wc_part part = {.kind = WC_PART_CODED};
    wc_coded *p = &part.coded;
    p->rows = rows, p->cols = cols, p->tile = tile, p->memory = memory;
    p->classes = classes, p->row_classes = row_classes, p->step = 0.375f;
    assert_int_equal(wc_coded_alloc(NULL, p), WC_OK);
    for (unsigned n = 0; n < classes; n++) {
        wc_coded_class *c = &p->law[n];
        c->shift = (uint8_t)(n % 4), c->shrink[0] = (int8_t)n, c->shrink[1] = (int8_t)(2 * n), c->shrink[2] = -3;
        for (int q = 0; q < 2; q++)
            c->law[q] = (wc_coded_law){(int8_t)(8 + 4 * n - 10 * (unsigned)q), (int8_t)(10 + 2 * n), (uint8_t)(30 - n)};
    }
    for (size_t r = 0; r < rows; r++)
        p->row_class[r] = (uint8_t)((r * 5 + 2) % 16);
    for (size_t c = 0; c < cols; c++) {
        unsigned s = 0;
        p->col_step[c] = (uint8_t)((c * 5 + 3) % 97), p->col_class[c] = (uint8_t)((c * 3 + 1) % 16);
        for (size_t r = 0; r < rows; r++) {
            size_t i = r * cols + c;
            int k = (int)((i * i * 7 + i * 3 + r) % 7) - 3;
            k = i % 97 == 0 ? 300 * k - 1 : i % 11 == 0 ? 5 * k : k;
            if (r % tile == 0) s = 0;
            p->point[i] = (int16_t)(2 * k + (int)(s & 1));
            s = wc_coded_next(memory, s, p->point[i]);
        }
    }
    uint64_t streams;
    assert_int_equal(wc_coded_measure(NULL, p, NULL, &streams), WC_OK);
    p->bytes = wc_coded_lay_out(p).stream + streams + spare;
    return part;
}

/* d = step * 2^(-code / 16) is rounded once, d / 64 is exact, and the product is in double: the cast is one rounding.
 */
static inline float coded_value(const wc_coded *p, size_t r, size_t c)
{
    int j = p->point[r * p->cols + c], most = abs(j) > 3 ? 3 : abs(j);
    int shrink = most ? p->law[wc_coded_class_at(p, r, c)].shrink[most - 1] : 0;
    float root = (float)pow(2, -(p->col_step[c] % 16) / 16.0), d = p->step * ldexpf(root, -(p->col_step[c] / 16));
    return (float)((double)d / 64 * (64 * j - (j < 0 ? -shrink : shrink)));
}

static inline float part_value(const wc_part *p, size_t r, size_t c);

/* Element (r, c) of a times b, summed in order. */
static inline float times_value(const wc_part *a, const wc_part *link, const wc_part *b, size_t rank, size_t r,
                                size_t c)
{
    float sum = 0;
    for (size_t k = 0; k < rank; k++) {
        float left = link ? times_value(a, NULL, link, rank, r, k) : part_value(a, r, k);
        float product = left * part_value(b, k, c);
        sum = k ? sum + product : product;
    }
    return sum;
}

static inline float lowrank_value(const wc_lowrank *l, size_t r, size_t c)
{
    size_t before = 0;
    if (l->form == WC_LOWRANK_MPO)
        return times_value(l->a, NULL, l->b, l->rank, r / l->m2 * (l->cols / l->n2) + c / l->n2,
                           r % l->m2 * l->n2 + c % l->n2);
    for (size_t i = 0; i < r && l->pivot; i++)
        before += l->pivot[i];
    if (l->pivot && l->pivot[r]) return part_value(l->b, before, c);
    return times_value(l->a, l->link, l->b, l->rank, r - before, c);
}

static inline float part_value(const wc_part *p, size_t r, size_t c)
{
    switch (p->kind) {
    case WC_PART_SIGNS: return signs_value(&p->signs, r, c);
    case WC_PART_FLOAT: return float_value(&p->floats, r, c);
    case WC_PART_GRID: return grid_value(&p->grid, r, c);
    case WC_PART_LUT: return lut_value(&p->lut, r, c);
    case WC_PART_VQ: return vq_value(&p->vq, r, c);
    case WC_PART_SPARSE: return sparse_value(&p->sparse, r, c);
    case WC_PART_CODED: return coded_value(&p->coded, r, c);
    case WC_PART_LOWRANK:
    case WC_PART_GGML: break; /* ggml_util.h */
    case WC_PART_DIAGONAL:
    case WC_PART_HADAMARD:
    case WC_PART_PERMUTE: fail_msg("a transform has no values");
    }
    return lowrank_value(&p->lowrank, r, c);
}

#endif
