/* lowrank v1: a product of thin factors, the children A, B and, in one form, a link. r = rank, m x n the part.
 *
 *     params  0 u32 rank   4 u8 form   8 u32 m2   12 u32 n2 (form 3)
 *     blob    form 2: m bits, bit i mod 8 of byte i div 8 is set when row i is a pivot; others: empty
 *
 *     form 0  w = A B                A [m, r]       B [r, n]
 *     form 1  w = (A U) B            A [m, r]       B [r, n]        link U [r, r]
 *     form 2  pivot rows are the rows of B in order, the others A B in order
 *                                    A [m - r, r]   B [r, n]
 *     form 3  w[i1 m2 + i2, j1 n2 + j2] = (A B)[i1 n1 + j1, i2 n2 + j2],  n1 = n / n2
 *                                    A [m1 n1, r]   B [r, m2 n2]
 *
 * Elements of products are sums over k = 0 .. r - 1 in this order, in f32, every product and every sum rounded. Rows
 * are made eight at a time, so that a span of B is decoded once for all of them. A product with inputs is A (B x),
 * which costs r (m + n) and not m n r, and B x is one product for all of them.
 *
 * The marks of pivots lie in the blob, which nobody has checked: a row whose number among the pivots, or among the
 * others, has no row in the factor is 0. */
#include <string.h>

#include "decode/bytes.h"
#include "decode/decoder.h"

enum { AB = 0, CUR = 1, PIVOT = 2, MPO = 3 };

static unsigned children(const uint8_t params[WCD_PARAMS])
{
    return params[4] == CUR ? 3 : 2;
}

static wcd_status open_lowrank(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_lowrank_view *l = &v->u.r;
    l->rank = wcd_u32(params);
    l->form = params[4];
    l->m2 = wcd_u32(params + 8);
    l->n2 = wcd_u32(params + 12);
    if (l->form > MPO) return WCD_E_VERSION;
    for (int i = 5; i < WCD_PARAMS; i++)
        if (params[i] && (i < 8 || i > 15 || l->form != MPO)) return WCD_E_CORRUPT;
    if (!v->rows || !v->cols || !l->rank || (l->form == PIVOT && l->rank >= v->rows)) return WCD_E_CORRUPT;
    if (l->form == MPO && (!l->m2 || !l->n2 || v->rows % l->m2 || v->cols % l->n2)) return WCD_E_CORRUPT;
    if (v->size != (l->form == PIVOT ? (v->rows + 7) / 8 : 0)) return WCD_E_CORRUPT;
    v->numeric = 1;
    return WCD_OK;
}

/* Child 0 is A, 1 is B, 2 the link. */
static void child_shape(const wcd_view *v, unsigned k, uint64_t *rows, uint64_t *cols)
{
    const wcd_lowrank_view *l = &v->u.r;
    uint64_t outer = l->form == PIVOT ? v->rows - l->rank : v->rows;
    if (l->form == MPO) outer = v->rows / l->m2 * (v->cols / l->n2);
    *rows = k ? l->rank : outer;
    *cols = k != 1 ? l->rank : l->form == MPO ? l->m2 * l->n2 : v->cols;
}

/* ---- which row of the factors is a row of the part -------------------------------------------------------------- */

enum source { NOTHING, ROW_OF_A, ROW_OF_B };

typedef struct place {
    enum source source;
    uint64_t row;
} place;

/* Pivots among the rows before `row'. */
static uint64_t pivots_before(const wcd_view *v, uint64_t row)
{
    uint64_t ones = 0;
    for (uint64_t i = 0; i < row; i += 8) {
        unsigned bits = v->blob[i / 8] & (row - i < 8 ? (1u << (row - i)) - 1 : 255);
        for (; bits; bits &= bits - 1)
            ones++;
    }
    return ones;
}

/* before: pivots before this row; moves on to the next. */
static place place_of(const wcd_view *v, uint64_t row, uint64_t *before)
{
    place p = {ROW_OF_A, row};
    if (v->u.r.form != PIVOT) return p;
    if (v->blob[row / 8] >> row % 8 & 1) {
        p.source = *before < v[2].rows ? ROW_OF_B : NOTHING;
        p.row = (*before)++;
    } else {
        p.row = row - *before;
        if (p.row >= v[1].rows) p.source = NOTHING;
    }
    return p;
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static void multiply(float *dst, float a, const float *b, unsigned n, int add)
{
    for (unsigned i = 0; i < n; i++) {
        float product = a * b[i];
        dst[i] = add ? dst[i] + product : product;
    }
}

static void copy(float *dst, const float *src, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        dst[i] = src[i];
}

/* dst [nr, n] = rows `from' of A, or with a link of A times it, times columns col .. of B; a row of B where that is the
 * source. With a link it calls itself once, without. */
static void times(const wcd_view *a, const wcd_view *link, const wcd_view *b, const place *from, unsigned nr,
                  uint64_t col, unsigned n, float *dst, size_t ld)
{
    float left[WCD_BLOCK_ROWS][WCD_SPAN], right[WCD_SPAN];
    for (unsigned i = 0; i < nr; i++)
        for (unsigned j = 0; j < n && from[i].source == NOTHING; j++)
            dst[i * ld + j] = 0;
    for (uint64_t first = 0; first < b->rows; first += WCD_SPAN) {
        unsigned count = b->rows - first < WCD_SPAN ? (unsigned)(b->rows - first) : WCD_SPAN;
        if (link) times(a, NULL, link, from, nr, first, count, left[0], WCD_SPAN);
        for (unsigned i = 0; i < nr && !link; i++)
            if (from[i].source == ROW_OF_A) a->d->span(a, from[i].row, first, count, left[i]);
        for (unsigned k = 0; k < count; k++) {
            b->d->span(b, first + k, col, n, right);
            for (unsigned i = 0; i < nr; i++)
                if (from[i].source == ROW_OF_A)
                    multiply(dst + i * ld, left[i][k], right, n, first + k > 0);
                else if (from[i].source == ROW_OF_B && from[i].row == first + k)
                    copy(dst + i * ld, right, n);
        }
    }
}

/* dst [n] = values (row, col) .. (row, col + n) from any col on; n <= WCD_SPAN. */
static void piece(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    float w[WCD_SPAN];
    for (unsigned take; n; n -= take, col += take, dst += take) {
        unsigned skip = (unsigned)(col % WCD_SPAN);
        take = n < WCD_SPAN - skip ? n : WCD_SPAN - skip;
        v->d->span(v, row, col - skip, skip + take, skip ? w : dst);
        if (skip) copy(dst, w + skip, take);
    }
}

/* Columns col .. of one row of an MPO that share their j1: a row of A times a piece of B. */
static void mpo_piece(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    const wcd_view *a = v + 1, *b = v + 2;
    const wcd_lowrank_view *l = &v->u.r;
    uint64_t outer = row / l->m2 * (v->cols / l->n2) + col / l->n2, inner = row % l->m2 * l->n2 + col % l->n2;
    float left[WCD_SPAN], right[WCD_SPAN];
    for (uint64_t first = 0; first < l->rank; first += WCD_SPAN) {
        unsigned count = wcd_span_at(a, first);
        a->d->span(a, outer, first, count, left);
        for (unsigned k = 0; k < count; k++) {
            piece(b, first + k, inner, n, right);
            multiply(dst, left[k], right, n, first + k > 0);
        }
    }
}

static void mpo_row(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    uint64_t n2 = v->u.r.n2;
    for (unsigned take; n; n -= take, col += take, dst += take) {
        take = n < n2 - col % n2 ? n : (unsigned)(n2 - col % n2);
        mpo_piece(v, row, col, take, dst);
    }
}

static void block_lowrank(const wcd_view *v, uint64_t row, unsigned nr, uint64_t col, unsigned n, float *dst, size_t ld)
{
    place from[WCD_BLOCK_ROWS];
    uint64_t before = v->u.r.form == PIVOT ? pivots_before(v, row) : 0;
    for (unsigned i = 0; i < nr; i++)
        from[i] = place_of(v, row + i, &before);
    if (v->u.r.form != MPO) {
        times(v + 1, v->u.r.form == CUR ? v + 3 : NULL, v + 2, from, nr, col, n, dst, ld);
        return;
    }
    for (unsigned i = 0; i < nr; i++)
        mpo_row(v, row + i, col, n, dst + i * ld);
}

static void span_lowrank(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    block_lowrank(v, row, 1, col, n, dst, n);
}

/* ---- products with inputs: A (B x) ------------------------------------------------------------------------------ */

/* Numbers of B x that are held at once: of all 64 inputs up to rank 64, of 16 from rank 256 on. */
enum { HELD = WCD_VECTORS * 64, ROWS = 4 };

/* y[b * ldy + i] = or += columns first .. first + count of row from[i] of a, times z, for nr <= ROWS rows; a row of B
 * is what z has of it, and 0 comes from nothing. */
static void add_rows(const wcd_view *a, const place *from, unsigned nr, uint64_t first, unsigned count,
                     const wcd_vectors *z, float *y, size_t ldy, int add)
{
    float lane[ROWS * WCD_VECTORS * WCD_LANES], w[ROWS][WCD_SPAN];
    memset(lane, 0, nr * z->n * WCD_LANES * sizeof *lane);
    for (unsigned i = 0; i < nr; i++)
        if (from[i].source == ROW_OF_A)
            a->d->span(a, from[i].row, first, count, w[i]);
        else
            memset(w[i], 0, sizeof w[i]);
    wcd_inner_loops()->lanes(w[0], WCD_SPAN, nr, z->x, z->ld, z->n, count, lane);
    for (unsigned i = 0; i < nr; i++)
        for (unsigned b = 0; b < z->n && from[i].source != ROW_OF_A; b++) {
            float *sum = lane + (i * z->n + b) * WCD_LANES;
            const int held = from[i].source == ROW_OF_B && from[i].row >= first && from[i].row - first < count;
            memset(sum, 0, WCD_LANES * sizeof *sum);
            if (held) *sum = z->x[b * z->ld + (from[i].row - first)];
        }
    wcd_lanes_put(lane, nr, z->n, y, ldy, add);
}

/* z[b * ld + k] = rows first + k of B, or of the link times B, times input b, k < count <= ld. */
static void right_products(const wcd_view *v, uint64_t first, unsigned count, const wcd_vectors *x, float *z, size_t ld)
{
    const wcd_view *b = v + 2, *link = v + 3;
    float held[HELD];
    place from[ROWS];
    if (v->u.r.form != CUR) {
        wcd_view_products(b, first, count, x, z, ld, 0);
        return;
    }
    memset(z, 0, x->n * ld * sizeof *z);
    for (uint64_t at = 0; at < b->rows; at += WCD_SPAN) {
        unsigned some = wcd_span_at(link, at);
        wcd_view_products(b, at, some, x, held, ld, 0);
        for (unsigned k = 0, nr; k < count; k += nr) {
            nr = count - k < ROWS ? count - k : ROWS;
            for (unsigned i = 0; i < nr; i++)
                from[i] = (place){ROW_OF_A, first + k + i};
            add_rows(link, from, nr, at, some, &(wcd_vectors){held, ld, x->n}, z + k, ld, 1);
        }
    }
}

static void matrix_products(const wcd_view *v, uint64_t r0, uint64_t nr, const wcd_vectors *x, float *y, size_t ldy,
                            int add)
{
    float z[HELD];
    place from[ROWS];
    const size_t ld = wcd_span_at(v + 1, 0);
    const uint64_t start = v->u.r.form == PIVOT ? pivots_before(v, r0) : 0;
    for (uint64_t first = 0; first < v->u.r.rank; first += WCD_SPAN, add = 1) {
        uint64_t before = start;
        unsigned count = wcd_span_at(v + 1, first);
        right_products(v, first, count, x, z, ld);
        for (uint64_t i = 0, n; i < nr; i += n) {
            n = nr - i < ROWS ? nr - i : ROWS;
            for (unsigned k = 0; k < n; k++)
                from[k] = place_of(v, r0 + i + k, &before);
            add_rows(v + 1, from, (unsigned)n, first, count, &(wcd_vectors){z, ld, x->n}, y + i, ldy, add);
        }
    }
}

/* t[b * ld + k] = sum over j2 of B[first + k, i2 n2 + j2] x[b * x->ld + j2], k < count */
static void mpo_inner(const wcd_view *v, uint64_t i2, uint64_t first, unsigned count, const wcd_vectors *x, float *t,
                      size_t ld)
{
    uint64_t n2 = v->u.r.n2;
    float w[WCD_SPAN], lane[WCD_VECTORS * WCD_LANES];
    for (unsigned k = 0; k < count; k++) {
        memset(lane, 0, x->n * WCD_LANES * sizeof *lane);
        for (uint64_t j = 0; j < n2; j += WCD_SPAN) {
            unsigned n = n2 - j < WCD_SPAN ? (unsigned)(n2 - j) : WCD_SPAN;
            piece(v + 2, first + k, i2 * n2 + j, n, w);
            wcd_inner_loops()->lanes(w, 0, 1, x->x + j, x->ld, x->n, n, lane);
        }
        wcd_lanes_put(lane, 1, x->n, t + k, ld, 0);
    }
}

/* For every i2 and j1: t = B[:, i2 ..] x[j1 ..], which all rows of this i2 share: m2 n r for these, m n1 r for y. */
static void mpo_products(const wcd_view *v, uint64_t r0, uint64_t nr, const wcd_vectors *x, float *y, size_t ldy,
                         int add)
{
    uint64_t m2 = v->u.r.m2, n2 = v->u.r.n2, n1 = v->cols / n2, rank = v->u.r.rank;
    const size_t ld = wcd_span_at(v + 1, 0);
    float t[HELD];
    for (unsigned b = 0; b < x->n && !add; b++)
        for (uint64_t i = 0; i < nr; i++)
            y[b * ldy + i] = 0;
    for (uint64_t i = 0; i < nr && i < m2; i++)
        for (uint64_t j1 = 0; j1 < n1; j1++)
            for (uint64_t first = 0; first < rank; first += WCD_SPAN) {
                unsigned count = wcd_span_at(v + 1, first);
                mpo_inner(v, (r0 + i) % m2, first, count, &(wcd_vectors){x->x + j1 * n2, x->ld, x->n}, t, ld);
                for (uint64_t k = i; k < nr; k += m2) {
                    place from = {ROW_OF_A, (r0 + k) / m2 * n1 + j1};
                    add_rows(v + 1, &from, 1, first, count, &(wcd_vectors){t, ld, x->n}, y + k, ldy, 1);
                }
            }
}

static void products_lowrank(const wcd_view *v, uint64_t r0, uint64_t nr, const wcd_vectors *x, float *y, size_t ldy,
                             int add)
{
    for (unsigned b = 0, n, most = HELD / wcd_span_at(v + 1, 0); b < x->n; b += n) {
        n = x->n - b < most ? x->n - b : most;
        const wcd_vectors some = {x->x + b * x->ld, x->ld, n};
        if (v->u.r.form == MPO)
            mpo_products(v, r0, nr, &some, y + b * ldy, ldy, add);
        else
            matrix_products(v, r0, nr, &some, y + b * ldy, ldy, add);
    }
}

const wcd_decoder wcd_decoder_lowrank = {.id = 5,
                                         .version = 1,
                                         .name = "lowrank",
                                         .open = open_lowrank,
                                         .span = span_lowrank,
                                         .children = children,
                                         .child_shape = child_shape,
                                         .block = block_lowrank,
                                         .products = products_lowrank};
