/* The kind `coded' in memory: laws, encoder -> decoder, size against entropy, hostile bytes, refusals. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "decode/decoder.h"
#include "decode/level.h"
#include "parts_util.h"

typedef struct encoded {
    uint8_t *data, params[WC_PARAMS_SIZE];
    uint64_t size;
    wcd_view view;
} encoded;

/* The blob in a block of exactly its size, opened. */
static encoded encode(const wc_part *p)
{
    encoded e = {0};
    const wc_encoder *enc = wc_encoder_for(p->kind);
    assert_int_equal(enc->size(NULL, p, &e.size), WC_OK);
    e.data = malloc(e.size);
    assert_non_null(e.data);
    memset(e.data, 0xa5, e.size);
    assert_int_equal(enc->encode(NULL, p, e.data, e.params), WC_OK);
    assert_int_equal(wcd_view_open(8, 1, e.params, e.data, e.size, p->coded.rows, p->coded.cols, &e.view), WCD_OK);
    return e;
}

static uint64_t random_state = 20260202;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % below);
}

static void every_law_gives_frequencies(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        wc_coded_class c = {.shift = (uint8_t)draw(3)};
        uint16_t freq[WC_CODED_SYMBOLS];
        for (int q = 0; q < 2; q++) {
            c.law[q] = (wc_coded_law){(int8_t)(draw(256) - 128), (int8_t)(draw(256) - 128), (uint8_t)draw(256)};
            if (round < 8)
                c.law[q] = (wc_coded_law){round & 1 ? 127 : -128, round & 2 ? 127 : -128, round & 4 ? 255 : 0};
            wc_coded_frequencies(&c, (unsigned)q, freq);
            unsigned sum = 0;
            for (int s = 0; s < WC_CODED_SYMBOLS; s++) {
                assert_true(freq[s] < 4096);
                sum += freq[s];
            }
            assert_int_equal(sum, 4096);
            assert_true(freq[0] >= 1);
        }
    }
}

/* Rows as a whole, from the middle, added, as spans, and times a vector. Frees the part. */
static void compare(wc_part *p, const char *what)
{
    size_t rows = p->coded.rows, cols = p->coded.cols, ld = cols + 3, half = rows / 2;
    encoded e = encode(p);
    float *dst = calloc(rows * ld, sizeof *dst), *sum = calloc(rows * ld, sizeof *sum), *y = calloc(rows, sizeof *y);
    float *x = calloc(cols, sizeof *x);
    assert_true(dst && sum && y && x);
    for (size_t c = 0; c < cols; c++)
        x[c] = (float)(c % 7) - 2.5f;
    assert_int_equal(wcd_view_set_rows(&e.view, 0, rows, dst, ld), WCD_OK);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            float want = part_value(p, r, c), got = dst[r * ld + c];
            if (wc_f32_bits(want) != wc_f32_bits(got))
                fail_msg("%s, %zu x %zu at %zu, %zu: %a, not %a", what, rows, cols, r, c, (double)got, (double)want);
            sum[r * ld + c] = -2 * want;
        }
    assert_int_equal(wcd_view_add_rows(&e.view, half, rows - half, sum + half * ld, ld), WCD_OK);
    assert_int_equal(wcd_view_add_rows(&e.view, 0, half, sum, ld), WCD_OK);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            assert_true(sum[r * ld + c] == -dst[r * ld + c]);
    for (uint64_t c = 0; c < cols; c += WCD_SPAN) {
        float w[WCD_SPAN];
        unsigned n = wcd_span_at(&e.view, c);
        e.view.d->span(&e.view, half, c, n, w);
        assert_memory_equal(w, dst + half * ld + c, n * sizeof *w);
    }
    wcd_view_product(&e.view, half, rows - half, x, y, 0);
    wcd_view_product(&e.view, half, rows - half, x, y, 1);
    for (size_t r = half; r < rows; r++) {
        double exact = 0, scale = 0;
        for (size_t c = 0; c < cols; c++) {
            double term = (double)dst[r * ld + c] * (double)x[c];
            exact += term, scale += fabs(term);
        }
        assert_true(fabs(y[r - half] - 2 * exact) <= 1e-5 * scale);
    }
    free(dst), free(sum), free(y), free(x), free(e.data);
    wc_part_free(p);
    assert_int_equal(p->kind, 0);
}

/* Every CPU level gives the bits of plain C, which the other tests check, and reads as many words. Widths on both sides
 * of whole groups; streams that end in the middle of a row. */
static void every_level_gives_the_same_bits(void **state)
{
    static const size_t cols[] = {16, 31, 96, 256, 300};
    (void)state;
    for (unsigned n = 0; n < 40; n++) {
        size_t rows = 30 + n, c = cols[n % 5];
        wc_part p = coded_fill(rows, c, 1 + n * 7 % 40, n % 9 == 1 ? 8 : n % 9, 1 + n * 5 % 16, n % 2, n % 3);
        encoded e = encode(&p);
        float *dst[WCD_N_LEVELS];
        if (n >= 20) /* any bytes in the streams */
            for (uint64_t i = (uint64_t)(e.view.u.c.stream - e.data); i < e.size; i++)
                e.data[i] = (uint8_t)draw(n % 4 ? 256 : 3);
        for (int l = 0; l < WCD_N_LEVELS; l++) {
            dst[l] = calloc(rows * c, sizeof(float));
            assert_non_null(dst[l]);
            wcd_cpu_use((wcd_level)l);
            assert_int_equal(wcd_view_set_rows(&e.view, 0, rows, dst[l], c), WCD_OK);
            if (memcmp(dst[0], dst[l], rows * c * sizeof(float)))
                fail_msg("%s differs, case %u", wcd_level_name((wcd_level)l), n);
        }
        for (int l = 0; l < WCD_N_LEVELS; l++)
            free(dst[l]);
        wcd_cpu_use(wcd_cpu_best());
        free(e.data);
        wc_part_free(&p);
    }
}

static void every_part_decodes_to_the_exact_value(void **state)
{
    static const size_t shapes[][2] = {{1, 1}, {3, 5}, {1, 700}, {70, 9}, {40, 300}, {65, 257}};
    static const size_t tiles[] = {1, 7, 64, 4096};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (unsigned memory = 0; memory <= WC_CODED_MEMORY; memory += memory ? 1 : 2)
            for (size_t t = 0; t < 4; t++) {
                unsigned n = (unsigned)(i + memory + t);
                wc_part p = coded_fill(shapes[i][0], shapes[i][1], tiles[t], memory, 1 + n * 5 % 16, n % 2, n % 9);
                compare(&p, "coded");
            }
}

/* The ends of what an int16 holds, and nothing but zeros. */
static void extremes_survive(void **state)
{
    (void)state;
    wc_part p = coded_fill(20, 3, 8, 0, 3, false, 0);
    for (size_t i = 0; i < 60; i++)
        p.coded.point[i] = (int16_t)(i % 3 == 0 ? 0 : i % 2 ? 32766 : -32768);
    p.coded.bytes += 500;
    compare(&p, "extremes");
    p = coded_fill(20, 3, 8, 8, 3, true, 500);
    memset(p.coded.point, 0, 60 * sizeof *p.coded.point);
    compare(&p, "zeros");
}

/* Bits of the streams against -log2 of the frequencies: rANS adds 16 bits per lane of a unit, and 1e-4. */
static void streams_are_as_long_as_the_entropy(void **state)
{
    (void)state;
    wc_part part = coded_fill(512, 256, 512, 3, 7, true, 0);
    wc_coded *p = &part.coded;
    uint64_t bytes;
    double all = 0;
    static float cost[16][2][64];
    for (unsigned n = 0; n < p->classes; n++)
        for (unsigned q = 0; q < 2; q++) {
            uint16_t freq[WC_CODED_SYMBOLS];
            wc_coded_frequencies(&p->law[n], q, freq);
            for (int s = 0; s < 64; s++)
                cost[n][q][s] = freq[s] ? (float)(12 - log2(freq[s]) + (s ? p->law[n].shift : 16)) : 0;
        }
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < p->cols; c++) {
            unsigned n = wc_coded_class_at(p, r, c);
            int j = p->point[r * p->cols + c], q = j & 1, s = ((j - q) / 2 >> p->law[n].shift) + 32;
            s = s < 1 || s > 63 || cost[n][q][s] == 0 ? 0 : s;
            all += (double)cost[n][q][s];
        }
    assert_int_equal(wc_coded_measure(NULL, p, NULL, &bytes), WC_OK);
    print_message("%.0f bits of entropy, %.0f coded\n", all, 8 * (double)bytes);
    assert_true(8 * (double)bytes >= all && 8 * (double)bytes <= 1.0005 * all + 32 * 8);
    wc_part_free(&part);
}

static void any_bytes_in_the_blob_are_harmless(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        wc_part p = coded_fill(33, 300, 16, round % 9 == 1 ? 2 : round % 9, 16, round % 2, 0);
        encoded e = encode(&p);
        float *dst = malloc(33 * 300 * sizeof *dst);
        assert_non_null(dst);
        uint64_t from = round % 3 ? draw((uint32_t)e.size) : 0;
        for (uint64_t i = from; i < e.size; i++)
            if (round % 3 == 0 || !draw(20)) e.data[i] = round % 5 ? (uint8_t)draw(256) : 0xff;
        assert_int_equal(wcd_view_set_rows(&e.view, 0, 33, dst, 300), WCD_OK);
        assert_int_equal(wcd_view_add_rows(&e.view, 17, 5, dst, 300), WCD_OK);
        e.view.d->span(&e.view, 32, 256, 44, dst);
        free(dst), free(e.data);
        wc_part_free(&p);
    }
}

static void bad_parameters_are_refused(void **state)
{
    static const struct {
        unsigned at, value;
    } lies[] = {{0, 1},     {0, 9},  {1, 0},  {1, 17}, {2, 2},  {3, 1},  {4, 0},  {6, 2},  {7, 1}, {4, 3}, {11, 0x7f},
                {11, 0xbe}, {11, 0}, {12, 1}, {15, 1}, {16, 1}, {23, 1}, {24, 1}, {31, 1}, {2, 0}, {1, 3}};
    (void)state;
    wc_part p = coded_fill(40, 30, 8, 3, 4, true, 0);
    encoded e = encode(&p);
    wcd_view v;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint8_t params[WCD_PARAMS];
        memcpy(params, e.params, sizeof params);
        params[lies[i].at] = (uint8_t)lies[i].value;
        if (lies[i].at == 11 && !lies[i].value) memset(params + 8, 0, 4);
        if (lies[i].at == 11 && lies[i].value == 0x7f) params[10] = 0x80;
        if (wcd_view_open(8, 1, params, e.data, e.size, 40, 30, &v) != WCD_E_CORRUPT)
            fail_msg("opens with %u at %u", lies[i].value, lies[i].at);
    }
    assert_int_equal(wcd_view_open(8, 2, e.params, e.data, e.size, 40, 30, &v), WCD_E_VERSION);
    assert_int_equal(wcd_view_open(8, 1, e.params, e.data, e.size + 1, 40, 30, &v), WCD_E_CORRUPT);
    assert_int_equal(wcd_view_open(8, 1, e.params, e.data, e.size, 0, 30, &v), WCD_E_CORRUPT);
    assert_int_equal(wcd_view_open(8, 1, e.params, e.data, e.size, 40, 0, &v), WCD_E_CORRUPT);
    free(e.data);
    wc_part_free(&p);
}

static void encoder_refuses(const wc_part *p, const char *why)
{
    wc_ctx ctx;
    uint64_t size;
    uint8_t params[WC_PARAMS_SIZE], dst[8192];
    wc_ctx_init(&ctx, 1);
    wc_status s = wc_encoder_for(p->kind)->size(&ctx, p, &size);
    if (s == WC_OK && size > sizeof dst) fail_msg("%llu bytes", (unsigned long long)size);
    if (s == WC_OK) s = wc_encoder_for(p->kind)->encode(&ctx, p, dst, params);
    assert_int_equal(s, WC_BUG);
    if (!strstr(ctx.error, why)) fail_msg("`%s' does not say `%s'", ctx.error, why);
}

static void the_encoder_checks_every_number(void **state)
{
    (void)state;
    wc_part p = coded_fill(20, 10, 8, 3, 4, true, 0);
    wc_coded *c = &p.coded;
    c->bytes--;
    encoder_refuses(&p, "do not fit");
    c->bytes++, c->point[35]++;
    encoder_refuses(&p, "at row 3, column 5 in state");
    c->point[35]--, c->col_class[2] = 16;
    encoder_refuses(&p, "class 16 at row 0, position 2");
    c->col_class[2] = 0, c->law[1].shift = 13;
    encoder_refuses(&p, "shift 13");
    c->law[1].shift = 0, c->step = 0;
    encoder_refuses(&p, "step 0");
    c->step = 1, c->classes = 17;
    encoder_refuses(&p, "17 classes");
    c->classes = 4, c->memory = 1;
    encoder_refuses(&p, "a memory of 1 bits");
    c->memory = 3, c->tile = 4097;
    encoder_refuses(&p, "tiles of 4097 rows");
    wc_part_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_law_gives_frequencies),        cmocka_unit_test(every_part_decodes_to_the_exact_value),
        cmocka_unit_test(every_level_gives_the_same_bits),    cmocka_unit_test(extremes_survive),
        cmocka_unit_test(streams_are_as_long_as_the_entropy), cmocka_unit_test(any_bytes_in_the_blob_are_harmless),
        cmocka_unit_test(bad_parameters_are_refused),         cmocka_unit_test(the_encoder_checks_every_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
