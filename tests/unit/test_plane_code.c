/* Lossless parts: code lengths against an exhaustive search and the entropy, survey -> encoder -> decoder against the
 * bytes that went in, for every element type; rounding of mantissas against arithmetic on the values; hostile bytes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/planes.h"
#include "decode/decoder.h"
#include "decode/float_bytes.h"
#include "formats/format.h"
#include "solve/plane_code.h"

static uint64_t state = 88172645463325252u;
static uint64_t random64(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

static double gauss(void)
{
    double s = 0;
    for (int i = 0; i < 12; i++)
        s += (double)(random64() >> 11) / 0x1p53;
    return s - 6;
}

/* The cheapest complete code of n symbols with lengths up to `limit', by trying all sorted lists of lengths. */
static uint64_t cheapest(const uint64_t *count, int n, int limit, int at, int last, double room)
{
    if (at == n) return room >= 0 ? 0 : UINT64_MAX / 2;
    uint64_t best = UINT64_MAX / 2;
    for (int len = last; len <= limit; len++) {
        double left = room - ldexp(1, -len);
        if (left < 0) continue;
        uint64_t rest = cheapest(count, n, limit, at + 1, len, left);
        if (rest < UINT64_MAX / 2 && rest + count[at] * (uint64_t)len < best) best = rest + count[at] * (uint64_t)len;
    }
    return best;
}

static void few_symbols_get_the_cheapest_code(void **unused)
{
    (void)unused;
    for (int trial = 0; trial < 60; trial++) {
        uint64_t count[256] = {0}, sorted[8];
        uint8_t length[256];
        int n = 2 + trial % 6;
        for (int i = 0; i < n; i++)
            sorted[i] = count[(37 * i + trial) % 256] = 1 + (random64() >> (random64() % 60)) % 100000;
        for (int i = 1; i < n; i++) /* descending, as lengths ascend */
            for (int k = i; k && sorted[k] > sorted[k - 1]; k--) {
                uint64_t t = sorted[k];
                sorted[k] = sorted[k - 1], sorted[k - 1] = t;
            }
        wc_code_lengths(count, length);
        uint64_t cost = 0;
        for (int s = 0; s < 256; s++)
            cost += count[s] * length[s];
        assert_int_equal(cost, cheapest(sorted, n, WC_CODE_BITS, 0, 1, 1));
    }
}

/* Fibonacci counts want a code of length n - 1: the limit must bind, and the code stay complete. */
static void long_codes_are_limited_and_complete(void **unused)
{
    uint64_t count[256] = {1, 1};
    uint8_t length[256];
    (void)unused;
    for (int n = 2; n <= 256; n++) {
        count[n - 1] = n < 3 ? 1 : n < 60 ? count[n - 2] + count[n - 3] : count[n - 60];
        wc_code_lengths(count, length);
        double kraft = 0;
        for (int s = 0; s < 256; s++) {
            assert_int_equal(length[s] != 0, s < n);
            assert_true(length[s] <= WC_CODE_BITS);
            kraft += length[s] ? ldexp(1, -length[s]) : 0;
        }
        assert_true(kraft == 1);
    }
}

/* ---- a part through its bytes ----------------------------------------------------------------------------------- */

typedef struct coded {
    wc_part part;
    uint8_t *blob, params[WC_PARAMS_SIZE];
    uint64_t size;
    wcd_view view;
} coded;

static void coded_open(const uint8_t *data, size_t rows, size_t cols, wc_dtype t, unsigned keep, coded *c)
{
    wc_ctx ctx;
    wc_ctx_init(&ctx, 2);
    memset(c, 0, sizeof *c);
    c->part = (wc_part){.kind = WC_PART_FLOAT, .floats = {.rows = rows, .cols = cols, .dtype = t, .data = data}};
    if (wc_float_survey(&ctx, t, data, (uint64_t)rows * cols, keep, &c->part.floats.code) != WC_OK)
        fail_msg("%s", ctx.error);
    const wc_encoder *e = wc_encoder_for(WC_PART_FLOAT);
    assert_int_equal(e->size(&ctx, &c->part, &c->size), WC_OK);
    c->blob = malloc(c->size ? c->size : 1);
    assert_non_null(c->blob);
    if (e->encode(&ctx, &c->part, c->blob, c->params) != WC_OK) fail_msg("%s", ctx.error);
    assert_int_equal(wcd_view_open(1, 1, c->params, c->blob, c->size, rows, cols, &c->view), WCD_OK);
}

static void coded_close(coded *c)
{
    free(c->blob);
    wc_part_free(&c->part);
}

/* Values like trained weights, and every kind of odd one. */
static void fill(uint8_t *data, size_t n, wc_dtype t, int kind)
{
    unsigned width = wc_plane_count(t);
    for (size_t i = 0; i < n; i++) {
        float w = (float)(0.02 * gauss());
        uint64_t x = t == WC_F32    ? wc_f32_bits(w)
                     : t == WC_F16  ? wc_f32_f16(w)
                     : t == WC_BF16 ? wc_f32_bf16(w)
                                    : (random64() % 7) * (random64() % 5);
        if (kind == 1) x = random64();                                         /* nothing to win */
        if (kind == 2) x = i % 1000 ? 0 : random64();                          /* nearly constant, NaN payloads */
        if (kind == 3) x = 0x3c003c003c003c00u;                                /* constant */
        if (kind == 4) x = (uint64_t)1 << random64() % 64 << (random64() % 3); /* denormals, infinities, powers */
        for (unsigned p = 0; p < width; p++)
            data[i * width + p] = (uint8_t)(x >> 8 * p);
    }
}

static void every_type_comes_back_bit_for_bit(void **unused)
{
    static const wc_dtype types[] = {WC_F32, WC_F16, WC_BF16, WC_F64,     WC_I64,
                                     WC_I32, WC_U16, WC_I8,   WC_F8_E4M3, WC_BOOL};
    static const struct {
        size_t rows, cols;
    } shapes[] = {{1, 1}, {1, 4095}, {3, 1366}, {17, 1025}, {64, 300}, {1, 40000}};
    size_t coded_parts = 0;
    (void)unused;
    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int kind = 0; kind < 5; kind++) {
                size_t n = shapes[s].rows * shapes[s].cols, bytes = n * wc_plane_count(types[k]);
                uint8_t *data = malloc(bytes), *back = malloc(bytes);
                coded c;
                assert_true(data && back);
                fill(data, n, types[k], kind);
                coded_open(data, shapes[s].rows, shapes[s].cols, types[k], 23, &c);
                assert_true(c.size <= bytes);
                if (c.view.u.f.coded) {
                    coded_parts++;
                    wcd_float_bytes(&c.view, 0, n, back);
                    assert_memory_equal(back, data, bytes);
                    size_t from = n / 3, to = n - n / 5;
                    wcd_float_bytes(&c.view, from, to, back);
                    assert_memory_equal(back, data + from * wc_plane_count(types[k]),
                                        (to - from) * wc_plane_count(types[k]));
                }
                free(data), free(back);
                coded_close(&c);
            }
    assert_true(coded_parts > 100);
}

/* Rows at once, rows by spans, and added: the same bits as the values that went in. */
static void values_are_the_same_on_every_way(void **unused)
{
    static const wc_dtype types[] = {WC_F32, WC_F16, WC_BF16};
    enum { ROWS = 13, COLS = 1500 };
    (void)unused;
    for (size_t k = 0; k < 3; k++) {
        uint8_t data[ROWS * COLS * 4];
        static float rows[ROWS * COLS], plain[ROWS * COLS];
        coded c;
        wcd_view raw;
        uint8_t params[WC_PARAMS_SIZE] = {(uint8_t)types[k]};
        unsigned width = wc_plane_count(types[k]);
        fill(data, ROWS * COLS, types[k], 0);
        coded_open(data, ROWS, COLS, types[k], 23, &c);
        assert_true(c.view.u.f.coded);
        assert_int_equal(wcd_view_open(1, 1, params, data, ROWS * COLS * width, ROWS, COLS, &raw), WCD_OK);
        assert_int_equal(wcd_view_set_rows(&raw, 0, ROWS, plain, COLS), WCD_OK);
        assert_int_equal(wcd_view_set_rows(&c.view, 0, ROWS, rows, COLS), WCD_OK);
        assert_memory_equal(rows, plain, sizeof rows);
        assert_int_equal(wcd_view_set_rows(&c.view, 5, 3, rows, COLS), WCD_OK);
        assert_memory_equal(rows, plain + 5 * COLS, 3 * COLS * sizeof *rows);
        for (size_t r = 0; r < ROWS; r++) {
            float span[WCD_SPAN];
            for (size_t col = 0; col < COLS; col += WCD_SPAN) {
                unsigned n = wcd_span_at(&c.view, col);
                c.view.d->span(&c.view, r, col, n, span);
                assert_memory_equal(span, plain + r * COLS + col, n * sizeof *span);
            }
        }
        coded_close(&c);
    }
}

/* Rows and products of coded values, for one input and for some, in few values and in many, with rows that end inside
 * chunks and between them: at every level the bits of products of plain spans. */
static void products_are_those_of_spans(void **unused)
{
    static const wc_dtype types[] = {WC_F32, WC_F16, WC_BF16};
    static const size_t shapes[][2] = {{1, 20000}, {5000, 1}, {61, 777}, {40, 1024}, {3, 4096}, {9, 15}, {300, 300}};
    enum { INPUTS = 3, MOST = 90000, LONGEST = 20000 };
    uint8_t *data = malloc(4 * MOST);
    float *x = malloc(INPUTS * LONGEST * sizeof *x), *y = malloc(2 * INPUTS * LONGEST * sizeof *y);
    float *plain = malloc(2 * MOST * sizeof *plain), *want = y + INPUTS * LONGEST, *rows = plain + MOST;
    (void)unused;
    for (size_t i = 0; i < INPUTS * LONGEST; i++)
        x[i] = (float)gauss();
    for (size_t k = 0; k < 3 * sizeof shapes / sizeof *shapes; k++) {
        size_t nr = shapes[k / 3][0], cols = shapes[k / 3][1], from = nr / 3;
        uint8_t params[WC_PARAMS_SIZE] = {(uint8_t)types[k % 3]};
        wcd_vectors some = {x, cols, INPUTS};
        coded c;
        wcd_view raw;
        fill(data, nr * cols, types[k % 3], 0);
        coded_open(data, nr, cols, types[k % 3], 23, &c);
        bool is_coded = c.view.u.f.coded; /* not when values are too few to repay a table */
        uint64_t size = nr * cols * wc_plane_count(types[k % 3]);
        assert_true(is_coded || nr * cols < 1000);
        assert_int_equal(wcd_view_open(1, 1, params, data, size, nr, cols, &raw), WCD_OK);
        for (int level = WCD_C; is_coded && level <= (int)wcd_cpu_best(); level++) {
            wcd_cpu_use((wcd_level)level);
            assert_int_equal(wcd_view_set_rows(&raw, 0, nr, plain, cols), WCD_OK);
            assert_int_equal(wcd_view_set_rows(&c.view, 0, nr, rows, cols), WCD_OK);
            assert_memory_equal(rows, plain, nr * cols * sizeof *rows);
            for (int add = 0; add < 2; add++) {
                wcd_span_products(&raw, from, nr - from, &some, want, nr, add);
                wcd_view_products(&c.view, from, nr - from, &some, y, nr, add);
                for (size_t b = 0; b < INPUTS; b++)
                    assert_memory_equal(y + b * nr, want + b * nr, (nr - from) * sizeof *y);
                wcd_view_product(&c.view, from, nr - from, x, y, add);
                wcd_span_product(&raw, from, nr - from, x, want, add);
                assert_memory_equal(y, want, (nr - from) * sizeof *y);
            }
        }
        coded_close(&c);
    }
    wcd_cpu_use(wcd_cpu_best());
    free(data), free(x), free(y), free(plain);
}

/* All bits that an F16 can have, among zeros that make the part a coded one: as plain C converts them, NaN made quiet.
 */
static void every_half_is_the_same_at_every_level(void **unused)
{
    enum { ROWS = 525, COLS = 500, N = ROWS * COLS }; /* more than 4 << 16 */
    static uint16_t data[N];
    static float plain[N], rows[N];
    volatile float one = 1; /* what a conversion multiplies by, so that no compiler leaves it out */
    coded c;
    (void)unused;
    for (size_t i = 0; i < N; i++) {
        data[i] = (uint16_t)(i % 4 ? 0 : i / 4);
        plain[i] = wc_f16_f32(data[i]) * one;
    }
    coded_open((const uint8_t *)data, ROWS, COLS, WC_F16, 23, &c);
    assert_true(c.view.u.f.coded);
    for (int level = WCD_C; level <= (int)wcd_cpu_best(); level++) {
        wcd_cpu_use((wcd_level)level);
        assert_int_equal(wcd_view_set_rows(&c.view, 0, ROWS, rows, COLS), WCD_OK);
        assert_memory_equal(rows, plain, sizeof rows);
    }
    wcd_cpu_use(wcd_cpu_best());
    coded_close(&c);
}

/* Trained weights look Gaussian: entropy of a BF16 exponent is 2.543 bits at any scale (dossier, section 0), Huffman's
 * code 2.591, and the directories cost 0.02: 10.61 bits in all. A fault in a table or a size shows at once. */
static void the_size_is_near_the_entropy(void **unused)
{
    enum { N = 1 << 20 };
    uint8_t *data = malloc(2 * N);
    coded c;
    double count[256] = {0}, entropy = 0;
    (void)unused;
    assert_non_null(data);
    fill(data, N, WC_BF16, 0);
    for (size_t i = 0; i < N; i++)
        count[(uint8_t)(data[2 * i + 1] << 1 | data[2 * i] >> 7)]++;
    for (int v = 0; v < 256; v++)
        if (count[v] > 0) entropy -= count[v] / N * log2(count[v] / N);
    coded_open(data, 1024, N / 1024, WC_BF16, 23, &c);
    double bits = 8.0 * (double)c.size / N;
    assert_true(fabs(entropy - 2.543) < 0.01);
    assert_true(bits > 8 + entropy && bits < 1.01 * (8 + entropy));
    coded_close(&c);
    free(data);
}

/* Keeping f mantissa bits: to nearest even, checked on the values; infinities and NaN stay; nothing becomes infinite.
 */
static void mantissas_are_rounded_to_nearest_even(void **unused)
{
    enum { N = 1 << 16 };
    static uint8_t data[2 * N], back[2 * N];
    (void)unused;
    for (unsigned keep = 0; keep < 7; keep++) {
        coded c;
        for (size_t i = 0; i < N; i++)
            data[2 * i] = (uint8_t)i, data[2 * i + 1] = (uint8_t)(i >> 8);
        coded_open(data, 256, N / 256, WC_BF16, keep, &c);
        assert_true(c.view.u.f.coded);
        wcd_float_bytes(&c.view, 0, N, back);
        for (size_t i = 0; i < N; i++) {
            uint16_t x = (uint16_t)i, y = (uint16_t)(back[2 * i] | back[2 * i + 1] << 8);
            float w = wc_bf16_f32(x), v = wc_bf16_f32(y);
            if (!isfinite(w)) {
                assert_int_equal(x, y);
                continue;
            }
            assert_true(isfinite(v) && !(y & ((1u << (7 - keep)) - 1)));
            float step = wc_bf16_f32((uint16_t)((y & 0x7fff) + (1u << (7 - keep)))) - fabsf(v);
            if (isfinite(step)) assert_true(fabsf(w - v) <= step / 2);
        }
        coded_close(&c);
    }
}

/* Any byte of the blob and of the parameters changed: refused, or values that are wrong, but never a crash (the blob is
 * a block of its own for the sanitizer). */
static void damaged_bytes_never_crash(void **unused)
{
    enum { ROWS = 40, COLS = 300, N = ROWS * COLS };
    static uint8_t data[2 * N], back[2 * N];
    static float rows[N];
    coded c;
    (void)unused;
    fill(data, N, WC_BF16, 0);
    coded_open(data, ROWS, COLS, WC_BF16, 23, &c);
    for (int trial = 0; trial < 3000; trial++) {
        uint8_t params[WC_PARAMS_SIZE];
        uint64_t at = trial < 1000 ? (uint64_t)trial % 700 : random64() % c.size;
        uint8_t old = c.blob[at];
        wcd_view v;
        memcpy(params, c.params, sizeof params);
        c.blob[at] = (uint8_t)random64();
        if (trial % 3 == 0) params[random64() % sizeof params] = (uint8_t)random64();
        if (wcd_view_open(1, 1, params, c.blob, c.size, ROWS, COLS, &v) == WCD_OK) {
            if (v.numeric) assert_int_equal(wcd_view_set_rows(&v, 0, ROWS, rows, COLS), WCD_OK);
            if (v.numeric) v.d->span(&v, random64() % ROWS, 256, COLS - 256, rows);
            if (v.u.f.coded && v.u.f.width <= 2) wcd_float_bytes(&v, 0, N, back);
        }
        c.blob[at] = old;
    }
    coded_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_symbols_get_the_cheapest_code), cmocka_unit_test(long_codes_are_limited_and_complete),
        cmocka_unit_test(every_type_comes_back_bit_for_bit), cmocka_unit_test(values_are_the_same_on_every_way),
        cmocka_unit_test(products_are_those_of_spans),       cmocka_unit_test(every_half_is_the_same_at_every_level),
        cmocka_unit_test(the_size_is_near_the_entropy),      cmocka_unit_test(mantissas_are_rounded_to_nearest_even),
        cmocka_unit_test(damaged_bytes_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
