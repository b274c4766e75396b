/* Part kinds in memory: encoder -> decoder against values computed in double, and the packed layout against the formula
 * of docs/FORMAT.md section 7 applied bit by bit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/half.h"
#include "decode/decoder.h"
#include "decode/packed.h"
#include "wcz_util.h"

typedef struct encoded {
    uint8_t *data, params[WC_PARAMS_SIZE];
    uint64_t size;
    wcd_view view;
} encoded;

static encoded encode(const wc_part *p, uint64_t rows, uint64_t cols)
{
    encoded e;
    const wc_encoder *enc = wc_encoder_for(p->kind);
    assert_int_equal(enc->size(NULL, p, &e.size), WC_OK);
    /* One byte more than needed, to see that it is left alone. */
    e.data = malloc(e.size + 1);
    assert_non_null(e.data);
    memset(e.data, 0xa5, e.size + 1);
    assert_int_equal(enc->encode(NULL, p, e.data, e.params), WC_OK);
    assert_int_equal(e.data[e.size], 0xa5);
    assert_int_equal(wcd_view_open(enc->id, enc->version, e.params, e.data, e.size, rows, cols, &e.view), WCD_OK);
    return e;
}

/* Section 7, one bit at a time. */
static unsigned packed_value(const uint8_t *seq, uint64_t count, unsigned p, uint64_t i)
{
    uint64_t begin = i / 64 * 64, v = i % 64;
    unsigned w = count - begin < 64 ? (unsigned)(count - begin + 7) / 8 * 8 : 64, value = 0, low = 0;
    const uint8_t *plane = seq + i / 64 * 8 * p;
    for (unsigned k = 8; k; k /= 2) {
        if (!(p & k)) continue;
        unsigned n = w * k / 8;
        for (unsigned bit = 0; bit < k; bit++)
            value |= (unsigned)(plane[v % n] >> (k * (v / n) + bit) & 1) << (low + bit);
        plane += n;
        low += k;
    }
    return value;
}

static void packed_layout_is_the_documented_one(void **state)
{
    (void)state;
    for (unsigned bits = 1; bits <= 8; bits++)
        for (size_t count = 1; count <= 200; count++) {
            wc_part p = grid_fill(grid_plan(1, count, bits, count, 0, false));
            encoded e = encode(&p, 1, count);
            uint8_t out[200];
            for (size_t i = 0; i < count; i++)
                assert_int_equal(packed_value(e.data, count, bits, i), p.grid.code[i]);
            for (size_t i = count; i < (count + 7) / 8 * 8; i++)
                assert_int_equal(packed_value(e.data, (count + 7) / 8 * 8, bits, i), 0);
            for (size_t first = 0; first < count; first += 1 + first / 3)
                for (size_t n = 0; first + n <= count; n += 1 + n / 2) {
                    wcd_unpack(e.data, count, bits, first, (unsigned)n, out);
                    assert_memory_equal(out, p.grid.code + first, n);
                }
            free(e.data);
            wc_part_free(&p);
        }
}

static void compare_grid(wc_part *p)
{
    const wc_grid *g = &p->grid;
    encoded e = encode(p, g->rows, g->cols);
    size_t ld = g->cols + 3;
    float *dst = malloc(g->rows * ld * sizeof *dst);
    assert_non_null(dst);
    assert_int_equal(wcd_view_set_rows(&e.view, 0, g->rows, dst, ld), WCD_OK);
    for (size_t r = 0; r < g->rows; r++)
        for (size_t c = 0; c < g->cols; c++) {
            float want = grid_value(g, r, c), got = dst[r * ld + c];
            if (wc_f32_bits(want) != wc_f32_bits(got))
                fail_msg("bits %u group %zu scale_bits %u, %zu x %zu at %zu, %zu: %a, not %a", g->bits, g->group,
                         g->scale_bits, g->rows, g->cols, r, c, got, want);
        }
    free(dst);
    free(e.data);
}

static void every_grid_decodes_to_the_exact_value(void **state)
{
    static const struct {
        size_t rows, cols, group;
    } shapes[] = {{1, 1, 1},    {1, 7, 7},    {2, 64, 64},  {3, 65, 1},    {2, 127, 16}, {5, 129, 64},
                  {3, 256, 32}, {2, 257, 48}, {2, 600, 13}, {2, 513, 512}, {1, 700, 700}};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (unsigned bits = 1; bits <= 8; bits++)
            for (unsigned scale_bits = 0; scale_bits <= 8; scale_bits += scale_bits ? 1 : 2)
                for (int zero_int = 0; zero_int < 2; zero_int++) {
                    wc_part p = grid_fill(
                        grid_plan(shapes[i].rows, shapes[i].cols, bits, shapes[i].group, scale_bits, zero_int));
                    p.grid.scale_exp = (int)(bits + scale_bits) * 5 - 40;
                    compare_grid(&p);
                    wc_part_free(&p);
                }
}

/* Zeros that are real numbers, and scales and zeros on the lines of tiles: all kinds in all forms. */
static void every_statistic_decodes_to_the_exact_value(void **state)
{
    static const struct {
        size_t rows, cols, group;
    } shapes[] = {{1, 1, 1}, {3, 65, 1}, {17, 129, 64}, {33, 257, 48}, {40, 600, 13}};
    static const size_t tiles[] = {0, 1, 3, 16, 255};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t t = 0; t < sizeof tiles / sizeof *tiles; t++)
            for (unsigned scale_bits = tiles[t] ? 2 : 0; scale_bits <= 8; scale_bits += scale_bits ? 3 : 4)
                for (wc_zero_kind kind = WC_ZERO_FIXED; kind <= (tiles[t] ? WC_ZERO_LINE : WC_ZERO_F16); kind++) {
                    unsigned bits = 1 + (scale_bits + (unsigned)kind + (unsigned)t) % 8;
                    wc_part p = grid_plan(shapes[i].rows, shapes[i].cols, bits, shapes[i].group, scale_bits, false);
                    p = grid_fill(tile_plan(p, tiles[t], kind, kind == WC_ZERO_LINE ? 2 + bits % 7 : 0));
                    p.grid.scale_exp = (int)(bits + scale_bits) * 5 - 40;
                    compare_grid(&p);
                    wc_part_free(&p);
                }
}

/* Subnormal and largest f16 at the ends of the exponent's range: s stays exact where f32 can hold it. */
static void extreme_scales_are_exact(void **state)
{
    static const struct {
        uint16_t scale;
        int exp;
    } cases[] = {{0x0001, 0},  {0x8001, -100}, {0x0400, -112}, {0x7bff, 100},
                 {0xfbff, 90}, {0x0000, 126},  {0x8000, -126}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_part p = grid_fill(grid_plan(2, 20, 4, 8, 0, true));
        for (int k = 0; k < 6; k++)
            p.grid.scale[k] = cases[i].scale;
        p.grid.scale_exp = cases[i].exp;
        compare_grid(&p);
        wc_part_free(&p);
    }
}

static void any_bits_in_the_blob_are_harmless(void **state)
{
    (void)state;
    wc_part p = grid_fill(grid_plan(3, 300, 5, 7, 3, true));
    encoded e = encode(&p, 3, 300);
    float dst[900];
    memset(e.data, 0xff, e.size); /* every scale a NaN */
    assert_int_equal(wcd_view_set_rows(&e.view, 0, 3, dst, 300), WCD_OK);
    for (int i = 0; i < 900; i++)
        assert_true(isnan(dst[i]));
    free(e.data);
    wc_part_free(&p);
}

/* Bounds: |error| <= cols * eps * sum |w x|; usually under a hundredth of that, a wrong element gives about 1e5 times
 * it. */
static void dot_is_the_product_of_the_decoded_row(void **state)
{
    (void)state;
    for (size_t cols = 1; cols < 600; cols += 37) {
        wc_part p = grid_fill(grid_plan(2, cols, 3, wc_min(cols, 16), 0, true));
        encoded e = encode(&p, 2, cols);
        float x[600];
        double want = 0, size = 0;
        for (size_t c = 0; c < cols; c++) {
            x[c] = (float)((double)(c * 29 % 17) / 8 - 1);
            want += (double)grid_value(&p.grid, 1, c) * x[c];
            size += fabs((double)grid_value(&p.grid, 1, c) * x[c]);
        }
        assert_true(fabs(wcd_view_dot(&e.view, 1, x) - want) <= (double)cols * 0x1p-24 * size);
        free(e.data);
        wc_part_free(&p);
    }
}

static void floats_keep_their_bits(void **state)
{
    static const uint32_t f32[] = {0x80000000, 0x00000001, 0x7f800000, 0xff7fffff, 0x3f800001, 0x7fc12345};
    static const uint16_t halves[] = {0x8000, 0x0001, 0x7bff, 0xc000, 0x3555, 0x7c00};
    uint8_t wide[24], half[12];
    float dst[6];
    (void)state;
    for (int i = 0; i < 6; i++) {
        for (int b = 0; b < 4; b++)
            wide[4 * i + b] = (uint8_t)(f32[i] >> 8 * b);
        half[2 * i] = (uint8_t)halves[i], half[2 * i + 1] = (uint8_t)(halves[i] >> 8);
    }
    wc_part p = {.kind = WC_PART_FLOAT, .floats = {2, 3, WC_F32, wide}};
    encoded e = encode(&p, 2, 3);
    assert_int_equal(wcd_view_set_rows(&e.view, 0, 2, dst, 3), WCD_OK);
    assert_memory_equal(dst, f32, sizeof dst);
    free(e.data);

    p.floats = (wc_float){.rows = 2, .cols = 3, .dtype = WC_F16, .data = half};
    e = encode(&p, 2, 3);
    assert_int_equal(wcd_view_set_rows(&e.view, 0, 2, dst, 3), WCD_OK);
    for (int i = 0; i < 5; i++)
        assert_true(dst[i] == f16_value(halves[i]) && !!signbit(dst[i]) == halves[i] >> 15);
    assert_true(isinf(dst[5]));
    free(e.data);

    p.floats.dtype = WC_BF16;
    e = encode(&p, 2, 3);
    assert_int_equal(wcd_view_set_rows(&e.view, 0, 2, dst, 3), WCD_OK);
    for (int i = 0; i < 6; i++)
        assert_int_equal(wc_f32_bits(dst[i]), (uint32_t)halves[i] << 16);
    free(e.data);
}

static void parts_add_and_the_first_is_set(void **state)
{
    (void)state;
    float values[4] = {-0.0f, 1, 2, 3}, dst[4] = {9, 9, 9, 9};
    wc_part f = {.kind = WC_PART_FLOAT, .floats = {2, 2, WC_F32, (const uint8_t *)values}};
    wc_part g = grid_fill(grid_plan(2, 2, 4, 1, 0, false));
    encoded a = encode(&f, 2, 2), b = encode(&g, 2, 2);
    assert_int_equal(wcd_view_set_rows(&a.view, 0, 2, dst, 2), WCD_OK);
    assert_true(signbit(dst[0]));
    assert_int_equal(wcd_view_add_rows(&b.view, 1, 1, dst + 2, 2), WCD_OK);
    for (size_t c = 0; c < 2; c++) {
        assert_true(dst[c] == values[c]);
        assert_true(dst[2 + c] == values[2 + c] + grid_value(&g.grid, 1, c));
    }
    assert_int_equal(wcd_view_add_rows(&b.view, 2, 1, dst, 2), WCD_E_ARGUMENT);
    assert_int_equal(wcd_view_set_rows(&b.view, UINT64_MAX, 2, dst, 2), WCD_E_ARGUMENT);
    free(a.data), free(b.data);
    wc_part_free(&g);
}

static void integers_have_no_f32_value(void **state)
{
    (void)state;
    uint8_t bytes[16] = {0};
    float dst[2];
    wc_part p = {.kind = WC_PART_FLOAT, .floats = {1, 2, WC_I64, bytes}};
    encoded e = encode(&p, 1, 2);
    assert_int_equal(wcd_view_set_rows(&e.view, 0, 1, dst, 2), WCD_E_NOT_NUMERIC);
    free(e.data);
}

/* A good part whose scales and zeros lie on lines, with one byte of its parameters changed. */
static void tiles_are_checked(void)
{
    static const struct {
        int at, value;
        wcd_status status;
    } cases[] = {{28, 0, WCD_E_CORRUPT},  {28, 1, WCD_E_CORRUPT},  {28, 15, WCD_E_CORRUPT}, {28, 17, WCD_OK},
                 {28, 32, WCD_E_CORRUPT}, {28, 31, WCD_OK},        {29, 0, WCD_E_CORRUPT},  {29, 1, WCD_E_CORRUPT},
                 {29, 9, WCD_E_CORRUPT},  {29, 4, WCD_E_CORRUPT},  {2, 0, WCD_E_CORRUPT},   {2, 1, WCD_E_CORRUPT},
                 {2, 2, WCD_E_CORRUPT},   {1, 0, WCD_E_CORRUPT},   {1, 4, WCD_E_CORRUPT},   {11, 0x3f, WCD_E_CORRUPT},
                 {30, 1, WCD_E_CORRUPT},  {28, 255, WCD_E_CORRUPT}};
    wc_part p = grid_fill(tile_plan(grid_plan(32, 40, 4, 8, 3, false), 16, WC_ZERO_LINE, 3));
    encoded e = encode(&p, 32, 40);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t params[WCD_PARAMS];
        wcd_view v;
        memcpy(params, e.params, sizeof params);
        params[cases[i].at] = (uint8_t)cases[i].value;
        wcd_status s = wcd_view_open(2, 1, params, e.data, e.size, 32, 40, &v);
        if (s != cases[i].status) fail_msg("tile case %zu: status %d", i, (int)s);
    }
    free(e.data);
    wc_part_free(&p);
}

/* A good 3 x 40 part with one byte of its parameters changed. */
static void bad_parameters_are_refused(void **state)
{
    static const struct {
        int at, value;
        wcd_status status;
    } cases[] = {
        {0, 0, WCD_E_CORRUPT},   {0, 9, WCD_E_CORRUPT},     {0, 3, WCD_E_CORRUPT},     {1, 1, WCD_E_CORRUPT},
        {1, 9, WCD_E_CORRUPT},   {1, 4, WCD_E_CORRUPT},     {2, 1, WCD_E_CORRUPT},     {2, 2, WCD_E_CORRUPT},
        {3, 127, WCD_E_CORRUPT}, {3, 0x81, WCD_E_CORRUPT},  {3, 0x82, WCD_OK},         {3, 126, WCD_OK},
        {4, 0, WCD_E_CORRUPT},   {4, 41, WCD_E_CORRUPT},    {4, 20, WCD_E_CORRUPT},    {7, 1, WCD_E_CORRUPT},
        {8, 1, WCD_E_CORRUPT},   {11, 0x7f, WCD_E_CORRUPT}, {11, 0xc0, WCD_E_CORRUPT}, {12, 1, WCD_E_CORRUPT},
        {2, 3, WCD_E_CORRUPT},   {2, 4, WCD_E_CORRUPT},     {29, 3, WCD_E_CORRUPT},    {28, 1, WCD_E_CORRUPT},
        {31, 1, WCD_E_CORRUPT},
    };
    (void)state;
    wc_part p = grid_fill(grid_plan(3, 40, 4, 8, 0, false));
    encoded e = encode(&p, 3, 40);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t params[WCD_PARAMS];
        wcd_view v;
        memcpy(params, e.params, sizeof params);
        params[cases[i].at] = (uint8_t)cases[i].value;
        wcd_status s = wcd_view_open(2, 1, params, e.data, e.size, 3, 40, &v);
        if (s != cases[i].status) fail_msg("case %zu: status %d", i, (int)s);
    }
    tiles_are_checked();
    wcd_view v;
    assert_int_equal(wcd_view_open(99, 1, e.params, e.data, e.size, 3, 40, &v), WCD_E_VERSION);
    assert_int_equal(wcd_view_open(2, 2, e.params, e.data, e.size, 3, 40, &v), WCD_E_VERSION);
    assert_int_equal(wcd_view_open(2, 1, e.params, e.data, e.size + 8, 3, 40, &v), WCD_E_CORRUPT);
    assert_int_equal(wcd_view_open(2, 1, e.params, e.data, e.size, 0, 40, &v), WCD_E_CORRUPT);
    assert_int_equal(wcd_view_open(2, 1, e.params, e.data, e.size, UINT64_MAX / 8, 40, &v), WCD_E_CORRUPT);
    assert_int_equal(wcd_view_open(2, 1, e.params, e.data, e.size, 3, UINT64_MAX, &v), WCD_E_CORRUPT);
    free(e.data);
    wc_part_free(&p);
}

static void encoder_refuses(wc_part *p, const char *why)
{
    uint8_t params[WC_PARAMS_SIZE];
    uint8_t dst[4096];
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    assert_int_equal(wc_encoder_for(p->kind)->encode(&ctx, p, dst, params), WC_BUG);
    if (!strstr(ctx.error, why)) fail_msg("`%s' does not say `%s'", ctx.error, why);
}

static void encoder_checks_every_number(void **state)
{
    (void)state;
    wc_part p = grid_fill(grid_plan(3, 40, 3, 8, 4, true));
    wc_grid *g = &p.grid, good = p.grid;
    g->code[85] = 8;
    encoder_refuses(&p, "code 8 at row 2, position 5");
    g->code[85] = 7, g->zero[3] = 8;
    encoder_refuses(&p, "zero 8");
    g->zero[3] = 0, g->scale_code[14] = 16;
    encoder_refuses(&p, "scale code 16 at row 2, position 4");
    g->scale_code[14] = 15, g->scale_exp = 127;
    encoder_refuses(&p, "exponent 127");
    *g = good, g->bits = 9;
    encoder_refuses(&p, "9 bits");
    *g = good, g->scale_bits = 1;
    encoder_refuses(&p, "1 scale bits");
    *g = good, g->group = 41;
    encoder_refuses(&p, "41 columns");
    *g = good, g->zero_kind = WC_ZERO_FIXED, g->zero_fixed = 7.5f;
    encoder_refuses(&p, "7.5");
    g->zero_fixed = 0.25f;
    encoder_refuses(&p, "0.25");
    g->zero_fixed = NAN;
    encoder_refuses(&p, "fixed zero");
    *g = good, g->code = NULL;
    encoder_refuses(&p, "no numbers");
    *g = good, g->zero_kind = WC_ZERO_F16;
    encoder_refuses(&p, "no numbers");
    *g = good, g->zero_kind = WC_ZERO_LINE, g->zero_bits = 3;
    encoder_refuses(&p, "3 zero bits, zero kind 3, tiles of 0 rows");
    *g = good, g->tile = 256;
    encoder_refuses(&p, "tiles of 256 rows");
    *g = good, g->tile = 2, g->scale_bits = 0;
    encoder_refuses(&p, "0 scale bits");
    *g = good;
    wc_part_free(&p);
    wc_part odd = {.kind = WC_PART_FLOAT, .floats = {1, 3, WC_F4, (const uint8_t *)""}};
    encoder_refuses(&odd, "whole bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_layout_is_the_documented_one),
        cmocka_unit_test(every_grid_decodes_to_the_exact_value),
        cmocka_unit_test(every_statistic_decodes_to_the_exact_value),
        cmocka_unit_test(extreme_scales_are_exact),
        cmocka_unit_test(any_bits_in_the_blob_are_harmless),
        cmocka_unit_test(dot_is_the_product_of_the_decoded_row),
        cmocka_unit_test(floats_keep_their_bits),
        cmocka_unit_test(parts_add_and_the_first_is_set),
        cmocka_unit_test(integers_have_no_f32_value),
        cmocka_unit_test(bad_parameters_are_refused),
        cmocka_unit_test(encoder_checks_every_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
