/* The kinds lut, sparse and lowrank in memory: encoder -> decoder against values computed one by one from the numbers,
 * the choice of a sparse layout, hostile bytes, and what encoders and decoders refuse. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "decode/decoder.h"
#include "decode/packed.h"
#include "parts_util.h"

/* A part and its children as bytes, each in a block of its own of exactly its size, and opened. */
typedef struct encoded {
    uint8_t *data[WCD_VIEWS], params[WCD_VIEWS][WC_PARAMS_SIZE];
    uint64_t size[WCD_VIEWS];
    wcd_view view[WCD_VIEWS];
} encoded;

static void encode_one(const wc_part *p, encoded *e, size_t i)
{
    const wc_encoder *enc = wc_encoder_for(p->kind);
    assert_int_equal(enc->size(NULL, p, &e->size[i]), WC_OK);
    e->data[i] = malloc(e->size[i] + 1);
    assert_non_null(e->data[i]);
    memset(e->data[i], 0xa5, e->size[i] + 1);
    assert_int_equal(enc->encode(NULL, p, e->data[i], e->params[i]), WC_OK);
    assert_int_equal(e->data[i][e->size[i]], 0xa5);
    uint8_t *exact = realloc(e->data[i], e->size[i] ? e->size[i] : 1);
    if (exact) e->data[i] = exact;
}

static encoded encode(const wc_part *p)
{
    encoded e = {0};
    const wc_part *child[WC_PART_CHILDREN];
    size_t rows, cols, n = wc_part_children(p, child);
    wc_part_shape(p, &rows, &cols);
    encode_one(p, &e, 0);
    assert_int_equal(wcd_view_open((uint16_t)p->kind, 1, e.params[0], e.data[0], e.size[0], rows, cols, e.view),
                     WCD_OK);
    assert_int_equal(e.view->n_children, n);
    uint64_t bytes = e.size[0], all;
    for (unsigned k = 0; k < n; k++) {
        encode_one(child[k], &e, 1 + k);
        assert_int_equal(
            wcd_view_child(e.view, k, (uint16_t)child[k]->kind, 1, e.params[1 + k], e.data[1 + k], e.size[1 + k]),
            WCD_OK);
        bytes += e.size[1 + k];
    }
    assert_int_equal(wc_part_bytes(NULL, p, &all), WC_OK);
    assert_int_equal(all, bytes);
    return e;
}

static void drop(encoded *e)
{
    for (int i = 0; i < WCD_VIEWS; i++)
        free(e->data[i]);
}

/* Rows as a whole, rows from the middle, and added: the same bits as part_value. Frees the part. */
static void compare(wc_part *p, const char *what)
{
    size_t rows, cols;
    wc_part_shape(p, &rows, &cols);
    encoded e = encode(p);
    size_t ld = cols + 3, half = rows / 2;
    float *dst = calloc(rows * ld, sizeof *dst), *sum = calloc(rows * ld, sizeof *sum);
    assert_true(dst && sum);
    assert_int_equal(wcd_view_set_rows(e.view, 0, rows, dst, ld), WCD_OK);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            float want = part_value(p, r, c), got = dst[r * ld + c];
            if (wc_f32_bits(want) != wc_f32_bits(got))
                fail_msg("%s, %zu x %zu at %zu, %zu: %a, not %a", what, rows, cols, r, c, (double)got, (double)want);
            sum[r * ld + c] = -2 * want;
        }
    assert_int_equal(wcd_view_add_rows(e.view, half, rows - half, sum + half * ld, ld), WCD_OK);
    assert_int_equal(wcd_view_add_rows(e.view, 0, half, sum, ld), WCD_OK);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            assert_true(sum[r * ld + c] == -dst[r * ld + c]);
    free(dst), free(sum);
    drop(&e);
    wc_part_free(p);
    assert_int_equal(p->kind, 0);
}

static void every_lut_decodes_to_the_exact_value(void **state)
{
    static const struct {
        size_t rows, cols, group;
    } shapes[] = {{1, 1, 1}, {3, 65, 1}, {2, 127, 16}, {3, 256, 32}, {2, 600, 13}, {1, 700, 700}};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (unsigned bits = 1; bits <= 8; bits++)
            for (wc_lut_scope scope = WC_LUT_TENSOR; scope <= WC_LUT_GROUP; scope++)
                for (int scaled = 0; scaled < 2; scaled++) {
                    wc_part p =
                        lut_fill(lut_plan(shapes[i].rows, shapes[i].cols, bits, shapes[i].group, scope, scaled));
                    p.lut.scale_exp = 20 - 7 * (int)bits;
                    compare(&p, "lut");
                }
}

static void every_vq_decodes_to_the_exact_value(void **state)
{
    static const struct {
        size_t rows, cols, block_rows, block_cols, group;
        unsigned dim, books, bits;
    } shapes[] = {{1, 1, 1, 1, 1, 1, 1, 1},        {3, 600, 3, 600, 600, 1, 2, 9}, {5, 531, 2, 531, 100, 3, 1, 16},
                  {4, 513, 4, 256, 64, 8, 2, 8},   {2, 300, 1, 300, 299, 7, 8, 2}, {3, 17, 3, 17, 5, 16, 3, 12},
                  {7, 1025, 3, 510, 33, 15, 1, 5}, {2, 3, 2, 3, 3, 16, 1, 10},     {6, 777, 4, 40, 7, 5, 4, 4}};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int scale_bits = -1; scale_bits <= 8; scale_bits += scale_bits == 0 ? 2 : 1)
            for (int how = 0; how < 4; how++) {
                wc_part p = vq_plan(shapes[i].rows, shapes[i].cols, shapes[i].dim, shapes[i].books, shapes[i].bits,
                                    how % 2 ? 8 : 16, scale_bits, shapes[i].group);
                p.vq.signs = how / 2;
                p = vq_fill(vq_blocks(p, shapes[i].block_rows, shapes[i].block_cols));
                p.vq.scale_exp = 3 * scale_bits - 5;
                compare(&p, "vq");
            }
}

/* Section 20: 2 x 16-bit vectors of one row, codes 0x203 and 0x1FF: the plane of the low 8 bits, then that of the high
 * two. */
static void wide_codes_are_two_planes(void **state)
{
    (void)state;
    wc_part p = vq_fill(vq_plan(1, 2, 1, 1, 10, 16, -1, 2));
    p.vq.code[0] = 0x203, p.vq.code[1] = 0x1ff;
    encoded e = encode(&p);
    static const uint8_t want[16] = {0x03, 0xff, [8] = 2, [9] = 1};
    assert_memory_equal(e.data[0], want, 10);
    assert_int_equal(e.size[0], 16 + 2048);
    drop(&e), wc_part_free(&p);
}

static void every_sparse_layout_decodes_to_the_stored_values(void **state)
{
    /* layout: the one that is smallest by the formulas of the card, the first of equals */
    static const struct {
        size_t rows, cols, step;
        int layout;
    } cases[] = {
        {1, 1, 1, 0},       {1, 1, 0, 0},       {4, 40, 0, 0},        {7, 300, 37, 0},
        {7, 300, 3, 2},     {7, 301, 1, 2},     {9, 1031, 8, 2},      {6, 700, 200, 0},
        {1, 65536, 999, 0}, {1, 65537, 999, 1}, {2, 70000, 10000, 1}, {2, 70000, 7, 2},
    };
    static const wc_dtype dtypes[] = {WC_F16, WC_BF16, WC_F32};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int t = 0; t < 3; t++) {
            wc_part p = sparse_fill(sparse_plan(cases[i].rows, cases[i].cols, cases[i].step, dtypes[t]), cases[i].step);
            p.sparse.scale_exp = dtypes[t] == WC_F16 ? -9 : 0;
            encoded e = encode(&p);
            if (e.params[0][1] != cases[i].layout) fail_msg("case %zu has layout %u", i, e.params[0][1]);
            drop(&e);
            compare(&p, "sparse");
        }
}

static void every_n_of_m_decodes_to_the_stored_values(void **state)
{
    (void)state;
    for (unsigned m = 2; m <= 16; m++)
        for (unsigned n = 1; n < m; n++) {
            if (count_masks(n, m) > 256) continue;
            wc_part p = sparse_fill(nm_plan(3, 23 * m, n, m, WC_F16), 0);
            compare(&p, "n:m");
        }
}

/* Section `positions' of the card of sparse, layout 3: the code of a block is its mask's place among the masks. */
static void patterns_count_masks_upwards(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 6; code++) {
        wc_part p = sparse_fill(nm_plan(1, 4, 2, 4, WC_F16), 0);
        unsigned mask = nth_mask(code, 2, 4), k = 0;
        for (unsigned c = 0; c < 4; c++)
            if (mask >> c & 1) p.sparse.col[k++] = c;
        encoded e = encode(&p);
        uint8_t read;
        wcd_unpack(e.data[0], 1, 3, 0, 1, &read);
        assert_int_equal(read, code);
        drop(&e);
        wc_part_free(&p);
    }
}

static void expand(const wc_part *p, float *dst)
{
    size_t rows, cols;
    wc_part_shape(p, &rows, &cols);
    for (size_t i = 0; i < rows * cols; i++)
        dst[i] = part_value(p, i / cols, i % cols);
}

/* y of the part as documented; usually 1e-7 of the sum of magnitudes from the exact product, 1e-2 with a wrong row. */
static void check_product(const wc_part *p)
{
    size_t rows = p->lowrank.rows, cols = p->lowrank.cols, rank = p->lowrank.rank;
    encoded e = encode(p);
    float *a = calloc(rows * rank, sizeof *a), *b = calloc(rank * cols, sizeof *b), *x = calloc(cols, sizeof *x);
    float *z = calloc(rank, sizeof *z), *y = calloc(2 * rows, sizeof *y);
    assert_true(a && b && x && z && y);
    expand(p->lowrank.a, a), expand(p->lowrank.b, b);
    for (size_t c = 0; c < cols; c++)
        x[c] = (float)(c % 7) - 2.5f;
    for (size_t k = 0; k < rank; k++)
        z[k] = sum_in_lanes(b + k * cols, x, cols);
    wcd_view_product(e.view, 0, rows, x, y, 0);
    memcpy(y + rows, y, rows * sizeof *y);
    wcd_view_product(e.view, 0, rows, x, y + rows, 1);
    for (size_t r = 0; r < rows; r++) {
        float want[2] = {0, y[r]};
        double exact = 0, scale = 0;
        for (size_t k = 0; k < rank; k += 256) {
            float block = sum_in_lanes(a + r * rank + k, z + k, wc_min(256, rank - k));
            want[0] = k ? want[0] + block : block;
            want[1] += block;
        }
        for (size_t c = 0; c < cols; c++)
            for (size_t k = 0; k < rank; k++) {
                double term = (double)a[r * rank + k] * (double)b[k * cols + c] * (double)x[c];
                exact += term, scale += fabs(term);
            }
        assert_true(y[r] == want[0] && y[rows + r] == want[1]);
        assert_true(fabs(y[r] - exact) <= 1e-5 * scale);
        float one;
        wcd_view_product(e.view, r, 1, x, &one, 0);
        assert_true(one == y[r]);
    }
    free(a), free(b), free(x), free(z), free(y);
    drop(&e);
}

static void lowrank_is_the_product_of_its_factors(void **state)
{
    static const struct {
        size_t rows, cols, rank;
    } shapes[] = {{1, 1, 1},    {9, 33, 1},   {17, 300, 5}, {8, 256, 16},
                  {3, 70, 255}, {3, 70, 256}, {2, 40, 257}, {9, 20, 600}};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int kind = 0; kind < 3; kind++) {
            size_t n = shapes[i].rows, m = shapes[i].cols, r = shapes[i].rank;
            wc_part a = kind == 0   ? float_plan(n, r, WC_F16)
                        : kind == 1 ? grid_plan(n, r, 4, r, 0, false)
                                    : float_plan(n, r, WC_BF16);
            wc_part b = kind == 0   ? float_plan(r, m, WC_F32)
                        : kind == 1 ? grid_plan(r, m, 3, wc_min(m, 16), 4, true)
                                    : lut_plan(r, m, 4, m, WC_LUT_ROW, true);
            wc_part p = lowrank_fill(lowrank_plan(n, m, r, a, b));
            check_product(&p);
            compare(&p, "lowrank");
        }
}

/* y of any form against the exact product with the values of the rows; all rows at once, and one by one from the
 * middle. Usually 1e-7 of the sum of magnitudes; a wrong row gives 1e-2. */
static void check_form_product(const wc_part *p)
{
    size_t rows = p->lowrank.rows, cols = p->lowrank.cols;
    encoded e = encode(p);
    float *w = calloc(rows * cols, sizeof *w), *x = calloc(cols, sizeof *x), *y = calloc(2 * rows, sizeof *y);
    assert_true(w && x && y);
    expand(p, w);
    for (size_t c = 0; c < cols; c++)
        x[c] = (float)(c % 7) - 2.5f;
    wcd_view_product(e.view, 0, rows, x, y, 0);
    for (size_t r = 0; r < rows; r++)
        y[rows + r] = 1;
    for (size_t r = 0; r < rows; r += 3)
        wcd_view_product(e.view, r, wc_min(3, rows - r), x, y + rows + r, 1);
    for (size_t r = 0; r < rows; r++) {
        double exact = 0, scale = 0;
        for (size_t c = 0; c < cols; c++) {
            double term = (double)w[r * cols + c] * (double)x[c];
            exact += term, scale += fabs(term);
        }
        scale += 30 * sqrt((double)p->lowrank.rank); /* the factors' own products cancel */
        if (fabs((double)y[r] - exact) > 1e-5 * scale || fabs((double)y[rows + r] - 1 - exact) > 1e-5 * scale)
            fail_msg("form %d, %zu x %zu rank %zu, row %zu: %g and %g, not %g of %g", (int)p->lowrank.form, rows, cols,
                     p->lowrank.rank, r, (double)y[r], (double)y[rows + r] - 1, exact, scale);
    }
    free(w), free(x), free(y);
    drop(&e);
}

static void every_form_is_what_the_card_says(void **state)
{
    static const struct {
        size_t rows, cols, rank, m2, n2;
    } shapes[] = {{2, 1, 1, 1, 1},     {9, 33, 1, 3, 11}, {17, 300, 5, 1, 20},   {16, 512, 8, 4, 256},
                  {6, 700, 3, 6, 350}, {10, 64, 9, 5, 1}, {300, 40, 257, 20, 8}, {3, 560, 2, 1, 280}};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int kind = 0; kind < 2; kind++) {
            size_t n = shapes[i].rows, m = shapes[i].cols, r = shapes[i].rank, m2 = shapes[i].m2, n2 = shapes[i].n2;
            size_t outer = n / m2 * (m / n2), inner = m2 * n2;
            wc_part b = kind ? grid_plan(r, m, 3, wc_min(m, 16), 4, true) : float_plan(r, m, WC_F16);
            wc_part core = kind ? grid_plan(r, inner, 3, wc_min(inner, 16), 4, true) : float_plan(r, inner, WC_F16);
            wc_part parts[] = {
                cur_plan(n, m, r, float_plan(n, r, WC_BF16), b, float_plan(r, r, kind ? WC_F16 : WC_F32)),
                pivot_plan(n, m, r, kind ? lut_plan(n - r, r, 4, r, WC_LUT_ROW, true) : float_plan(n - r, r, WC_F16),
                           b),
                mpo_plan(n, m, r, m2, n2, float_plan(outer, r, WC_F16), core),
            };
            for (size_t k = 0; k < 3; k++) {
                bool large = k == 0 && r > 100; /* the reference of a CUR is cubic in the rank */
                parts[k] = lowrank_fill(parts[k]);
                if (!large) {
                    check_form_product(&parts[k]);
                    compare(&parts[k], "form");
                }
                wc_part_free(&parts[k]);
            }
        }
}

/* Marks for too many pivots and for too few: rows without a source are 0, and nothing else changes. */
static void false_pivots_read_as_zero(void **state)
{
    (void)state;
    wc_part p = lowrank_fill(pivot_plan(20, 30, 6, float_plan(14, 6, WC_F16), float_plan(6, 30, WC_F16)));
    encoded e = encode(&p);
    float row[30], x[30], y;
    for (size_t c = 0; c < 30; c++)
        x[c] = 1;
    memset(e.data[0], 0xff, e.size[0]);
    for (size_t r = 0; r < 20; r++) {
        assert_int_equal(wcd_view_set_rows(e.view, r, 1, row, 30), WCD_OK);
        wcd_view_product(e.view, r, 1, x, &y, 0);
        for (size_t c = 0; c < 30; c++)
            assert_true(row[c] == (r < 6 ? part_value(p.lowrank.b, r, c) : 0));
        assert_true((y == 0) == (r >= 6));
    }
    memset(e.data[0], 0, e.size[0]);
    for (size_t r = 0; r < 20; r++) {
        assert_int_equal(wcd_view_set_rows(e.view, r, 1, row, 30), WCD_OK);
        for (size_t c = 0; c < 30; c++)
            assert_true(row[c] == (r < 14 ? times_value(p.lowrank.a, NULL, p.lowrank.b, 6, r, c) : 0));
    }
    drop(&e), wc_part_free(&p);
}

static void allocation_makes_both_factors(void **state)
{
    (void)state;
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    wc_part a = float_plan(4, 2, WC_F16), b = grid_plan(2, 6, 4, 3, 0, true), p = {.kind = WC_PART_LOWRANK};
    p.lowrank = (wc_lowrank){.rows = 4, .cols = 6, .rank = 2};
    assert_int_equal(wc_lowrank_alloc(&ctx, &p.lowrank, &a, &b), WC_OK);
    assert_true(p.lowrank.a->floats.owned && p.lowrank.a->floats.data == p.lowrank.a->floats.owned);
    assert_true(p.lowrank.b->grid.code && p.lowrank.b->grid.zero);
    wc_part_free(&p);
    b = sparse_plan(2, 6, 2, WC_F32);
    assert_int_equal(wc_part_alloc(&ctx, &b), WC_OK);
    assert_non_null(b.sparse.row_start);
    wc_part_free(&b);
    assert_int_equal(wc_part_alloc(&ctx, &p), WC_BUG);
}

static uint64_t random_state = 20260102;

static uint8_t draw(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint8_t)(random_state >> 56);
}

/* Any blob is decoded without an access outside (the blocks are exact: sanitizers and valgrind see one more byte), and
 * twice to the same bits. */
static void any_bytes_in_the_blob_are_harmless(void **state)
{
    wc_part parts[] = {
        lut_fill(lut_plan(3, 70, 3, 16, WC_LUT_GROUP, true)),
        sparse_fill(sparse_plan(4, 600, 40, WC_F16), 40),
        sparse_fill(sparse_plan(4, 600, 3, WC_BF16), 3),
        sparse_fill(sparse_plan(2, 66000, 5000, WC_F32), 5000),
        sparse_fill(nm_plan(3, 520, 2, 4, WC_F16), 0),
        sparse_fill(nm_plan(3, 272, 4, 8, WC_F32), 0),
        sparse_fill(nm_plan(3, 300, 1, 3, WC_F16), 0),
        lowrank_fill(pivot_plan(90, 40, 30, float_plan(60, 30, WC_F16), float_plan(30, 40, WC_F16))),
        vq_fill(vq_signs(vq_plan(3, 300, 3, 2, 11, 8, 4, 7))),
        vq_fill(vq_blocks(vq_plan(5, 270, 4, 1, 3, 16, 0, 270), 2, 64)),
    };
    (void)state;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t rows, cols;
        wc_part_shape(&parts[i], &rows, &cols);
        encoded e = encode(&parts[i]);
        float *dst = calloc(2 * rows * cols, sizeof *dst);
        assert_non_null(dst);
        for (int round = 0; round < 60; round++) {
            for (uint64_t k = 0; k < e.size[0]; k++)
                e.data[0][k] = round == 0 ? 0xff : round == 1 ? 0 : round % 2 || draw() < 20 ? draw() : e.data[0][k];
            assert_int_equal(wcd_view_set_rows(e.view, 0, rows, dst, cols), WCD_OK);
            assert_int_equal(wcd_view_set_rows(e.view, 0, rows, dst + rows * cols, cols), WCD_OK);
            assert_memory_equal(dst, dst + rows * cols, rows * cols * sizeof *dst);
        }
        free(dst);
        drop(&e);
        wc_part_free(&parts[i]);
    }
}

/* Rows out of order, columns outside, an end beyond all values: 0 there, nothing else moves; a code that is no pattern
 * counts as 0. */
static void damaged_positions_read_as_documented(void **state)
{
    (void)state;
    float w[12];
    wc_part p = sparse_fill(sparse_plan(1, 12, 4, WC_F16), 4); /* columns 0, 4, 8 */
    p.sparse.cols = 100;                                       /* room, so that columns are listed */
    encoded e = encode(&p);
    assert_int_equal(e.params[0][1], 0);
    float dst[100];
    e.data[0][8 + 4] = 200; /* the third column: outside */
    assert_int_equal(wcd_view_set_rows(e.view, 0, 1, dst, 100), WCD_OK);
    assert_true(dst[0] == sparse_value(&p.sparse, 0, 0) && dst[4] == sparse_value(&p.sparse, 0, 4) && dst[8] == 0);
    e.data[0][0] = 2; /* the row ends after two values */
    e.data[0][8 + 4] = 8;
    assert_int_equal(wcd_view_set_rows(e.view, 0, 1, dst, 100), WCD_OK);
    assert_true(dst[4] != 0 && dst[8] == 0);
    e.data[0][0] = e.data[0][3] = 0xff; /* far beyond: cut at all values */
    assert_int_equal(wcd_view_set_rows(e.view, 0, 1, dst, 100), WCD_OK);
    assert_true(dst[4] != 0 && dst[8] == sparse_value(&p.sparse, 0, 8));
    drop(&e);
    wc_part_free(&p);

    p = sparse_fill(nm_plan(1, 12, 2, 4, WC_F16), 0);
    e = encode(&p);
    e.data[0][0] = 0xff; /* low two bits of all codes (section 7: bytes of the 2-bit plane), codes 3 and 7 */
    e.data[0][1] = 0xff;
    e.data[0][2] = 2; /* bit 2 of the second: 3, 7, 3 */
    assert_int_equal(wcd_view_set_rows(e.view, 0, 1, w, 12), WCD_OK);
    for (int c = 0; c < 12; c++)
        assert_true((w[c] != 0) == (c % 4 == 0 || c % 4 == (c / 4 == 1 ? 1 : 3)));
    drop(&e);
    wc_part_free(&p);
}

typedef struct lie {
    unsigned at, value;
} lie;

static void refuses(const encoded *e, uint64_t rows, uint64_t cols, const lie *lies, size_t n)
{
    uint16_t kind = e->view->d->id;
    wcd_view v[WCD_VIEWS];
    for (size_t i = 0; i < n; i++) {
        uint8_t params[WCD_PARAMS];
        memcpy(params, e->params[0], sizeof params);
        params[lies[i].at] = (uint8_t)lies[i].value;
        if (wcd_view_open(kind, 1, params, e->data[0], e->size[0], rows, cols, v) != WCD_E_CORRUPT)
            fail_msg("kind %u opens with %u at %u", kind, lies[i].value, lies[i].at);
    }
    const uint8_t *params = e->params[0];
    assert_int_equal(wcd_view_open(kind, 2, params, e->data[0], e->size[0], rows, cols, v), WCD_E_VERSION);
    assert_int_equal(wcd_view_open(kind, 1, params, e->data[0], e->size[0] + 1, rows, cols, v), WCD_E_CORRUPT);
    assert_int_equal(wcd_view_open(kind, 1, params, e->data[0], e->size[0], 0, cols, v), WCD_E_CORRUPT);
    assert_int_equal(wcd_view_open(kind, 1, params, e->data[0], e->size[0], rows, 0, v), WCD_E_CORRUPT);
}

static void bad_parameters_are_refused(void **state)
{
    static const lie lut[] = {{0, 0}, {0, 9}, {1, 3},  {1, 0},  {2, 0},  {2, 2},  {3, 127}, {3, 129}, {4, 0}, {4, 71},
                              {7, 1}, {8, 1}, {11, 1}, {12, 2}, {13, 1}, {16, 1}, {24, 1},  {28, 1},  {31, 1}};
    static const lie sparse[] = {{0, 0},   {0, 4}, {1, 1}, {1, 2}, {1, 3},  {1, 4},  {2, 1},  {3, 4},
                                 {4, 127}, {5, 1}, {7, 1}, {8, 1}, {15, 1}, {16, 1}, {31, 1}, {0, 3}};
    static const lie nm[] = {{1, 0}, {2, 0}, {2, 4}, {2, 3}, {3, 0}, {3, 5}, {3, 16}, {3, 255}, {8, 1}, {0, 1}};
    static const lie vq[] = {{0, 0},  {0, 17}, {0, 5},   {0, 2},   {1, 0},   {1, 9},   {1, 3},  {2, 0},
                             {2, 17}, {2, 4},  {3, 127}, {4, 0},   {4, 16},  {4, 4},   {5, 0},  {5, 2},
                             {6, 1},  {6, 0},  {6, 9},   {7, 1},   {7, 2},   {8, 0},   {8, 71}, {11, 1},
                             {12, 4}, {12, 0}, {15, 1},  {16, 30}, {16, 71}, {16, 72}, {20, 1}, {31, 1}};
    static const lie lowrank[] = {{0, 0}, {5, 1}, {7, 1}, {8, 1}, {12, 1}, {31, 1}, {4, WC_LOWRANK_PIVOT}};
    static const lie pivot[] = {{0, 0}, {0, 4}, {1, 1}, {8, 1}, {31, 1}, {4, 0}, {4, WC_LOWRANK_MPO}};
    static const lie mpo[] = {{0, 0}, {8, 0}, {8, 3}, {11, 1}, {12, 0}, {12, 4}, {16, 1}, {31, 1}, {4, 0}, {4, 2}};
    (void)state;
    wc_part p = lut_fill(lut_plan(3, 70, 3, 16, WC_LUT_GROUP, true));
    encoded e = encode(&p);
    refuses(&e, 3, 70, lut, sizeof lut / sizeof *lut);
    drop(&e), wc_part_free(&p);
    p = sparse_fill(sparse_plan(4, 600, 40, WC_F16), 40);
    p.sparse.scale_exp = 1;
    e = encode(&p);
    refuses(&e, 4, 600, sparse, sizeof sparse / sizeof *sparse);
    drop(&e), wc_part_free(&p);
    wcd_view v;
    p = vq_fill(vq_blocks(vq_plan(3, 70, 4, 2, 3, 8, 4, 16), 2, 32));
    e = encode(&p);
    refuses(&e, 3, 70, vq, sizeof vq / sizeof *vq);
    drop(&e), wc_part_free(&p);
    uint8_t empty[WCD_PARAMS] = {WC_F32, 1};
    assert_int_equal(wcd_view_open(4, 1, empty, NULL, 8, 2, 1 << 24, &v), WCD_OK);
    assert_int_equal(wcd_view_open(4, 1, empty, NULL, 8, 2, (1 << 24) + 1, &v), WCD_E_CORRUPT);
    p = sparse_fill(nm_plan(3, 520, 2, 4, WC_F16), 0);
    e = encode(&p);
    refuses(&e, 3, 520, nm, sizeof nm / sizeof *nm);
    drop(&e), wc_part_free(&p);
    p = lowrank_fill(lowrank_plan(4, 6, 2, float_plan(4, 2, WC_F16), float_plan(2, 6, WC_F16)));
    e = encode(&p);
    refuses(&e, 4, 6, lowrank, sizeof lowrank / sizeof *lowrank);
    /* a child that is a product, has no values, or has another shape */
    uint8_t i32[WCD_PARAMS] = {WC_I32}, rank[WCD_PARAMS] = {2};
    assert_int_equal(wcd_view_child(e.view, 0, 5, 1, rank, NULL, 0), WCD_E_CORRUPT);
    assert_int_equal(wcd_view_child(e.view, 0, 1, 1, i32, e.data[1], 32), WCD_E_CORRUPT);
    assert_int_equal(wcd_view_child(e.view, 0, 1, 1, e.params[1], e.data[1], e.size[1] + 2), WCD_E_CORRUPT);
    assert_int_equal(wcd_view_child(e.view, 1, 99, 1, e.params[1], e.data[2], e.size[2]), WCD_E_VERSION);
    e.params[0][4] = 4;
    wcd_view v4[WCD_VIEWS];
    assert_int_equal(wcd_view_open(5, 1, e.params[0], e.data[0], e.size[0], 4, 6, v4), WCD_E_VERSION);
    drop(&e), wc_part_free(&p);
    p = lowrank_fill(pivot_plan(4, 6, 2, float_plan(2, 2, WC_F16), float_plan(2, 6, WC_F16)));
    e = encode(&p);
    refuses(&e, 4, 6, pivot, sizeof pivot / sizeof *pivot);
    drop(&e), wc_part_free(&p);
    p = lowrank_fill(mpo_plan(4, 6, 2, 2, 3, float_plan(4, 2, WC_F16), float_plan(2, 6, WC_F16)));
    e = encode(&p);
    refuses(&e, 4, 6, mpo, sizeof mpo / sizeof *mpo);
    drop(&e), wc_part_free(&p);
}

static void encoder_refuses(const wc_part *p, const char *why)
{
    wc_ctx ctx;
    uint64_t size;
    uint8_t params[WC_PARAMS_SIZE], dst[4096];
    wc_ctx_init(&ctx, 1);
    wc_status s = wc_encoder_for(p->kind)->size(&ctx, p, &size);
    if (s == WC_OK && size > sizeof dst) fail_msg("%llu bytes", (unsigned long long)size);
    if (s == WC_OK) s = wc_encoder_for(p->kind)->encode(&ctx, p, dst, params);
    assert_int_equal(s, WC_BUG);
    if (!strstr(ctx.error, why)) fail_msg("`%s' does not say `%s'", ctx.error, why);
}

static void encoders_check_every_number(void **state)
{
    (void)state;
    wc_part p = lut_fill(lut_plan(3, 20, 3, 16, WC_LUT_ROW, true));
    p.lut.code[22] = 8;
    encoder_refuses(&p, "code 8 at row 1, position 2 does not fit 3 bits");
    p.lut.code[22] = 7, p.lut.bits = 9;
    encoder_refuses(&p, "9 bits");
    p.lut.bits = 3, p.lut.group = 21;
    encoder_refuses(&p, "groups of 21 columns");
    p.lut.group = 16, p.lut.scale_exp = 127;
    encoder_refuses(&p, "exponent 127");
    wc_part_free(&p);

    p = vq_fill(vq_signs(vq_plan(3, 20, 4, 2, 3, 8, 4, 16)));
    p.vq.code[13] = 8;
    encoder_refuses(&p, "code 8 at row 1, position 3 does not fit 3 bits");
    p.vq.code[13] = 7, p.vq.scale_code[3] = 16;
    encoder_refuses(&p, "scale code 16 at row 1, position 1 does not fit 4 bits");
    p.vq.scale_code[3] = 15, p.vq.sign[41] = 2;
    encoder_refuses(&p, "sign 2 at row 2, position 1");
    p.vq.dim = 17;
    encoder_refuses(&p, "2 codebooks of 3 bits for vectors of 17");
    p.vq.dim = 4, p.vq.block_cols = 18;
    encoder_refuses(&p, "blocks of 3 x 18 with vectors of 4");
    p.vq.block_cols = 20, p.vq.block_rows = 4;
    encoder_refuses(&p, "blocks of 4 x 20");
    p.vq.block_rows = 3, p.vq.entry_bits = 12;
    encoder_refuses(&p, "entries of 12 bits");
    p.vq.entry_bits = 8, p.vq.scaled = false;
    encoder_refuses(&p, "4 scale bits");
    p.vq.scaled = true, p.vq.group = 21;
    encoder_refuses(&p, "groups of 21");
    p.vq.group = 16, p.vq.scale_exp = -127;
    encoder_refuses(&p, "exponent -127");
    wc_part_free(&p);

    p = sparse_fill(sparse_plan(3, 40, 4, WC_F16), 4);
    p.sparse.col[1] = p.sparse.col[0];
    encoder_refuses(&p, "out of order or of range");
    p.sparse.col[1] = 40;
    encoder_refuses(&p, "column 40 of row 0");
    p.sparse.col[1] = 1, p.sparse.row_start[3]--;
    encoder_refuses(&p, "do not hold all");
    p.sparse.row_start[1] = 1000;
    encoder_refuses(&p, "row 0 ends");
    p.sparse.nnz = 121;
    encoder_refuses(&p, "121 values in 3 x 40");
    p.sparse.nnz = 1, p.sparse.dtype = WC_BF16, p.sparse.scale_exp = 1;
    encoder_refuses(&p, "BF16 values with an exponent");
    p.sparse.dtype = WC_I32;
    encoder_refuses(&p, "values of I32");
    p.sparse.dtype = WC_F16, p.sparse.cols = (1 << 24) + 1;
    encoder_refuses(&p, "16777217 columns are too many");
    wc_part_free(&p);

    p = sparse_fill(nm_plan(2, 8, 2, 4, WC_F16), 0);
    p.sparse.col[1] = 4, p.sparse.col[2] = 5, p.sparse.col[3] = 6;
    encoder_refuses(&p, "row 0 does not have 2 in every 4");
    p.sparse.m = 3;
    encoder_refuses(&p, "are not 2 in every 3");
    p.sparse.n = 5, p.sparse.m = 12;
    encoder_refuses(&p, "have no code of 8 bits");
    wc_part_free(&p);

    p = lowrank_plan(4, 6, 2, float_plan(4, 2, WC_F16), float_plan(2, 5, WC_F16));
    encoder_refuses(&p, "B is 2 x 5, not 2 x 6");
    p.lowrank.a->floats.dtype = WC_I32;
    encoder_refuses(&p, "A cannot be of kind 1");
    p.lowrank.a->kind = WC_PART_LOWRANK;
    encoder_refuses(&p, "A cannot be of kind 5");
    p.lowrank.a->kind = WC_PART_FLOAT, p.lowrank.rank = 0;
    encoder_refuses(&p, "rank 0");
    p.lowrank.rank = 4, p.lowrank.form = WC_LOWRANK_PIVOT;
    encoder_refuses(&p, "rank 4 in form 2 of 4 rows");
    p.lowrank.rank = 2, p.lowrank.form = WC_LOWRANK_AB, p.lowrank.n2 = 1;
    encoder_refuses(&p, "inner blocks of 0 x 1 in form 0");
    wc_part_free(&p);

    p = lowrank_fill(pivot_plan(4, 6, 2, float_plan(2, 2, WC_F16), float_plan(2, 6, WC_F16)));
    p.lowrank.pivot[0] = p.lowrank.pivot[1] = p.lowrank.pivot[2] = 1;
    encoder_refuses(&p, "pivot rows for rank 2");
    p.lowrank.pivot[3] = 2;
    encoder_refuses(&p, "mark 2 at row 3");
    wc_part_free(&p);
    p = cur_plan(4, 6, 2, float_plan(4, 2, WC_F16), float_plan(2, 6, WC_F16), float_plan(2, 3, WC_F16));
    encoder_refuses(&p, "the link is 2 x 3, not 2 x 2");
    wc_part_free(&p);
    p = mpo_plan(4, 6, 2, 3, 3, float_plan(4, 2, WC_F16), float_plan(2, 6, WC_F16));
    encoder_refuses(&p, "inner blocks of 3 x 3 in form 3");
    wc_part_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_lut_decodes_to_the_exact_value),
        cmocka_unit_test(every_vq_decodes_to_the_exact_value),
        cmocka_unit_test(wide_codes_are_two_planes),
        cmocka_unit_test(every_sparse_layout_decodes_to_the_stored_values),
        cmocka_unit_test(every_n_of_m_decodes_to_the_stored_values),
        cmocka_unit_test(patterns_count_masks_upwards),
        cmocka_unit_test(lowrank_is_the_product_of_its_factors),
        cmocka_unit_test(every_form_is_what_the_card_says),
        cmocka_unit_test(false_pivots_read_as_zero),
        cmocka_unit_test(allocation_makes_both_factors),
        cmocka_unit_test(any_bytes_in_the_blob_are_harmless),
        cmocka_unit_test(damaged_positions_read_as_documented),
        cmocka_unit_test(bad_parameters_are_refused),
        cmocka_unit_test(encoders_check_every_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
