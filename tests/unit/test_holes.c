/* Positions: grids and luts with holes and sparse parts of blocks, encoder -> decoder against values computed one by
 * one; what hostile bytes do; what encoders and decoders refuse. test_parts_format.c has the sparse parts of single
 * columns. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "decode/decoder.h"
#include "parts_util.h"

typedef struct encoded {
    uint8_t *data, params[WC_PARAMS_SIZE];
    uint64_t size;
    wcd_view view;
} encoded;

static encoded encode(const wc_part *p)
{
    encoded e;
    size_t rows, cols;
    const wc_encoder *enc = wc_encoder_for(p->kind);
    wc_part_shape(p, &rows, &cols);
    assert_int_equal(enc->size(NULL, p, &e.size), WC_OK);
    e.data = malloc(e.size + 1);
    assert_non_null(e.data);
    memset(e.data, 0xa5, e.size + 1);
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    if (enc->encode(&ctx, p, e.data, e.params) != WC_OK) fail_msg("%s", ctx.error);
    assert_int_equal(e.data[e.size], 0xa5);
    uint8_t *exact = realloc(e.data, e.size ? e.size : 1);
    if (exact) e.data = exact;
    assert_int_equal(wcd_view_open((uint16_t)p->kind, 1, e.params, e.data, e.size, rows, cols, &e.view), WCD_OK);
    return e;
}

static void drop(wc_part *p, encoded *e)
{
    free(e->data);
    drop_mask(p);
    wc_part_free(p);
}

/* All rows: the same bits as part_value, +0 where nothing is. */
static void compare(wc_part *p)
{
    size_t rows, cols;
    wc_part_shape(p, &rows, &cols);
    encoded e = encode(p);
    float *dst = malloc(rows * cols * sizeof *dst);
    assert_non_null(dst);
    assert_int_equal(wcd_view_set_rows(&e.view, 0, rows, dst, cols), WCD_OK);
    for (size_t i = 0; i < rows * cols; i++) {
        float want = part_value(p, i / cols, i % cols);
        if (wc_f32_bits(want) != wc_f32_bits(dst[i]))
            fail_msg("%zu x %zu at %zu, %zu: %a, not %a", rows, cols, i / cols, i % cols, (double)dst[i], (double)want);
    }
    free(dst);
    drop(p, &e);
}

static const struct shape {
    size_t rows, cols, step;
    wc_positions at;
} shapes[] = {
    {1, 1, 1, {0}},
    {1, 1, 0, {0}},
    {4, 70, 0, {0}},
    {7, 300, 2, {0}},
    {7, 301, 1, {0}},
    {5, 1031, 9, {0}},
    {3, 600, 5, {.block = 1}},
    {3, 600, 2, {.block = 3}},
    {4, 1040, 3, {.block = 16}},
    {4, 1000, 2, {.block = 500}},
    {3, 777, 1, {.block = 777}},
    {4, 512, 2, {.block = 256}},
    {3, 260, 0, {.n = 2, .m = 4}},
    {3, 69, 0, {.n = 1, .m = 3}},
    {2, 2048, 0, {.n = 4, .m = 8, .block = 16}},
    {2, 350, 0, {.n = 3, .m = 5, .block = 7}},
    {2, 1200, 0, {.n = 1, .m = 2, .block = 300}},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void every_grid_with_holes_decodes_to_the_exact_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++)
        for (unsigned bits = 1; bits <= 8; bits++)
            for (int two = 0; two < 2; two++) {
                const struct shape *s = &shapes[i];
                wc_part p = grid_plan(s->rows, s->cols, bits, wc_min(s->cols, 32), two ? 4 : 0, bits % 2);
                p.grid.scale_exp = (int)bits - 4;
                p = holes_fill(p, s->step, s->at);
                compare(&p);
            }
}

static void every_lut_with_holes_decodes_to_the_exact_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++)
        for (unsigned bits = 1; bits <= 8; bits++)
            for (wc_lut_scope scope = WC_LUT_TENSOR; scope <= WC_LUT_GROUP; scope++) {
                const struct shape *s = &shapes[i];
                wc_part p = lut_plan(s->rows, s->cols, bits, wc_min(s->cols, 32), scope, bits % 2);
                p.lut.scale_exp = (int)bits - 4;
                p = lut_holes_fill(p, s->step, s->at);
                compare(&p);
            }
}

static void sparse_blocks_decode_to_the_stored_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        const struct shape *s = &shapes[i];
        wc_part p = {.kind = WC_PART_SPARSE, .sparse = {.rows = s->rows, .cols = s->cols, .dtype = WC_F16}};
        p = blocks_fill(p, s->step, s->at);
        p.sparse.scale_exp = -3;
        compare(&p);
    }
}

/* The sizes of the card: an n of m grid of 4 bits is 4 n / m + 0.75 bits a weight, a mask 1 bit beside its codes. */
static void sizes_are_those_of_the_card(void **state)
{
    static const struct {
        wc_positions at;
        uint64_t bytes;
    } cases[] = {
        {{.nnz = 64 * 512}, 64 * 512 / 2 + 64 * 2 + 64 * 4 + 64 * 128},
        {{.nnz = 64 * 512, .n = 2, .m = 4}, 64 * 512 / 2 + 64 * 2 + 64 * 256 * 3 / 8},
        {{.nnz = 64 * 512, .block = 16}, 64 * 512 / 2 + 64 * 2 + 64 * 4 + 64 * 8},
        {{.nnz = 0}, 64 * 2 + 64 * 4 + 64 * 128},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_part p = grid_plan(64, 1024, 4, 1024, 0, false);
        uint64_t bytes;
        p.grid.holes = true;
        p.grid.at = cases[i].at;
        assert_int_equal(wc_part_bytes(NULL, &p, &bytes), WC_OK);
        assert_int_equal(bytes, cases[i].bytes);
        p = lut_plan(64, 1024, 4, 1024, WC_LUT_ROW, false); /* 32 bytes a row instead of a scale of 2 */
        p.lut.holes = true;
        p.lut.at = cases[i].at;
        assert_int_equal(wc_part_bytes(NULL, &p, &bytes), WC_OK);
        assert_int_equal(bytes, cases[i].bytes + 64 * 30);
    }
}

static uint64_t random_state = 20260103;

static uint8_t draw(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint8_t)(random_state >> 56);
}

static void any_bytes_in_the_blob_are_harmless(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3 * SHAPES; i++) {
        const struct shape *s = &shapes[i / 3];
        wc_part p = grid_plan(s->rows, s->cols, 3, wc_min(s->cols, 16), 3, true);
        if (i % 3 == 2) {
            p = lut_plan(s->rows, s->cols, 3, wc_min(s->cols, 16), WC_LUT_GROUP, true);
            p = lut_holes_fill(p, s->step, s->at);
        } else if (i % 3) {
            p = (wc_part){.kind = WC_PART_SPARSE, .sparse = {.rows = s->rows, .cols = s->cols, .dtype = WC_F16}};
            p = blocks_fill(p, s->step, s->at);
        } else {
            p = holes_fill(p, s->step, s->at);
        }
        encoded e = encode(&p);
        float *dst = calloc(2 * s->rows * s->cols, sizeof *dst), *again = dst + s->rows * s->cols;
        assert_non_null(dst);
        for (int round = 0; round < 40; round++) {
            for (uint64_t k = 0; k < e.size; k++)
                e.data[k] = round == 0 ? 0xff : round == 1 ? 0 : round % 2 || draw() < 20 ? draw() : e.data[k];
            assert_int_equal(wcd_view_set_rows(&e.view, 0, s->rows, dst, s->cols), WCD_OK);
            assert_int_equal(wcd_view_set_rows(&e.view, 0, s->rows, again, s->cols), WCD_OK);
            assert_memory_equal(dst, again, s->rows * s->cols * sizeof *dst);
        }
        free(dst);
        drop(&p, &e);
    }
}

typedef struct lie {
    unsigned at, value;
} lie;

static void refuses(wc_part p, const lie *lies, size_t n)
{
    size_t rows, cols;
    encoded e = encode(&p);
    wcd_view v;
    wc_part_shape(&p, &rows, &cols);
    for (size_t i = 0; i < n; i++) {
        uint8_t params[WCD_PARAMS];
        memcpy(params, e.params, sizeof params);
        params[lies[i].at] = (uint8_t)lies[i].value;
        if (wcd_view_open((uint16_t)p.kind, 1, params, e.data, e.size, rows, cols, &v) != WCD_E_CORRUPT)
            fail_msg("kind %d opens with %u at %u", (int)p.kind, lies[i].value, lies[i].at);
    }
    drop(&p, &e);
}

static void bad_parameters_are_refused(void **state)
{
    static const lie mask[] = {{12, 0}, {12, 1}, {12, 3}, {12, 4},  {13, 1}, {14, 4}, {15, 1}, {16, 1},
                               {23, 1}, {24, 1}, {24, 2}, {24, 41}, {27, 1}, {28, 1}, {31, 1}};
    static const lie nm[] = {{12, 2}, {13, 0}, {13, 1},   {13, 4}, {14, 3},
                             {14, 0}, {14, 8}, {14, 255}, {16, 1}, {24, 2}};
    static const lie block[] = {{24, 0}, {24, 1}, {24, 4}, {24, 16}, {27, 1}, {16, 1}, {12, 3}};
    static const lie sparse[] = {{16, 0}, {16, 1}, {16, 16}, {19, 1}, {20, 1}, {8, 1}};
    (void)state;
    wc_part p = grid_plan(3, 40, 4, 8, 0, false);
    refuses(holes_fill(p, 2, (wc_positions){0}), mask, sizeof mask / sizeof *mask);
    refuses(holes_fill(p, 0, (wc_positions){.n = 2, .m = 4}), nm, sizeof nm / sizeof *nm);
    refuses(holes_fill(p, 2, (wc_positions){.block = 8}), block, sizeof block / sizeof *block);
    wc_part t = lut_plan(3, 40, 4, 8, WC_LUT_ROW, true);
    refuses(lut_holes_fill(t, 2, (wc_positions){0}), mask, sizeof mask / sizeof *mask);
    refuses(lut_holes_fill(t, 0, (wc_positions){.n = 2, .m = 4}), nm, sizeof nm / sizeof *nm);
    refuses(lut_holes_fill(t, 2, (wc_positions){.block = 8}), block, sizeof block / sizeof *block);
    wc_part s = {.kind = WC_PART_SPARSE, .sparse = {.rows = 3, .cols = 40, .dtype = WC_F16}};
    refuses(blocks_fill(s, 2, (wc_positions){.block = 8}), sparse, sizeof sparse / sizeof *sparse);
}

/* Rows cost a few bytes whatever their width: the limit of the columns is that of sparse parts. */
static void a_reader_need_not_hold_endless_rows(void **state)
{
    uint8_t params[WCD_PARAMS] = {1, [12] = 2};
    const uint32_t cols = 1 << 24;
    wcd_view v;
    (void)state;
    for (int i = 0; i < 2; i++) {
        uint32_t c = cols + (uint32_t)i;
        for (int b = 0; b < 4; b++)
            params[4 + b] = params[24 + b] = (uint8_t)(c >> 8 * b);
        assert_int_equal(wcd_view_open(2, 1, params, NULL, 8 + 8 + 1, 1, c, &v), i ? WCD_E_CORRUPT : WCD_OK);
    }
}

static void encoder_refuses(const wc_part *p, const char *why)
{
    uint8_t params[WC_PARAMS_SIZE], dst[4096];
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    assert_int_equal(wc_encoder_for(p->kind)->encode(&ctx, p, dst, params), WC_BUG);
    if (!strstr(ctx.error, why)) fail_msg("`%s' does not say `%s'", ctx.error, why);
}

static void encoders_check_every_mask(void **state)
{
    (void)state;
    wc_part p = holes_fill(grid_plan(3, 40, 4, 8, 0, false), 2, (wc_positions){.block = 4});
    uint8_t *mask = (uint8_t *)(uintptr_t)p.grid.mask;
    mask[5] ^= 1;
    encoder_refuses(&p, "row 0, column 5: a block of 4 has values and holes");
    memset(mask + 4, !mask[4], 4);
    encoder_refuses(&p, mask[4] ? "more than" : "values, not");
    p.grid.at.nnz += 1;
    encoder_refuses(&p, "are not blocks of 4");
    p.grid.at.nnz = 4000;
    encoder_refuses(&p, "4000 values in 3 x 40");
    p.grid.at.nnz = 40, p.grid.mask = NULL;
    encoder_refuses(&p, "no numbers");
    p.grid.mask = mask;
    drop_mask(&p), wc_part_free(&p);

    p = holes_fill(grid_plan(3, 40, 4, 8, 0, false), 0, (wc_positions){.n = 2, .m = 4});
    mask = (uint8_t *)(uintptr_t)p.grid.mask;
    for (int j = 44; j < 52; j++) /* 1 of 4, then 3 of 4: the number is right */
        mask[j] = j == 45 || j > 48;
    encoder_refuses(&p, "row 1 does not have 2 in every 4");
    p.grid.at.m = 3;
    encoder_refuses(&p, "are not 2 in every 3");
    p.grid.at.n = 8, p.grid.at.m = 20;
    encoder_refuses(&p, "have no code of 8 bits");
    drop_mask(&p), wc_part_free(&p);

    p = lut_holes_fill(lut_plan(3, 40, 4, 8, WC_LUT_ROW, false), 2, (wc_positions){.block = 4});
    mask = (uint8_t *)(uintptr_t)p.lut.mask;
    mask[5] ^= 1;
    encoder_refuses(&p, "lut part: row 0, column 5: a block of 4 has values and holes");
    p.lut.mask = NULL;
    encoder_refuses(&p, "lut part: no numbers");
    p.lut.mask = mask;
    drop_mask(&p), wc_part_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_grid_with_holes_decodes_to_the_exact_value),
        cmocka_unit_test(every_lut_with_holes_decodes_to_the_exact_value),
        cmocka_unit_test(sparse_blocks_decode_to_the_stored_values),
        cmocka_unit_test(sizes_are_those_of_the_card),
        cmocka_unit_test(any_bytes_in_the_blob_are_harmless),
        cmocka_unit_test(bad_parameters_are_refused),
        cmocka_unit_test(a_reader_need_not_hold_endless_rows),
        cmocka_unit_test(encoders_check_every_mask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
