#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "kernels/convert.h"

/* IEEE 754 binary16 from its definition, sharing nothing with half.h: (-1)^s 2^(e-25) (1024 [e > 0] + m). */
static double f16_value(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double x = e == 31 ? (m ? NAN : INFINITY) : ldexp(e ? 1024 + m : m, (e ? e : 1) - 25);
    return h >> 15 ? -x : x;
}

static void every_f16_and_bf16_converts_exactly_at_every_level(void **state)
{
    (void)state;
    enum { N = 65536 };
    uint8_t *src = malloc(2 * N + 1);
    float *dst = malloc(N * sizeof *dst);
    for (wck_level l = WCK_C; l <= wck_level_supported(); l++)
        for (size_t odd = 0; odd < 2; odd++) {
            for (uint32_t i = 0; i < N; i++)
                memcpy(src + odd + 2 * i, &(uint16_t){(uint16_t)i}, 2);
            wck_convert_at(l)->f16_f32(dst, src + odd, N);
            for (uint32_t i = 0; i < N; i++) {
                double want = f16_value((uint16_t)i);
                if (isnan(want) ? !isnan(dst[i]) : dst[i] != want || !signbit(dst[i]) != !(i >> 15))
                    fail_msg("%s: f16 %04x gives %g, expected %g", wck_level_name(l), i, dst[i], want);
                /* NaNs too must be the same bits at every level: the payload in the top mantissa bits. */
                if (isnan(want))
                    assert_int_equal(wc_f32_bits(dst[i]), (i >> 15) << 31 | 0x7f800000u | (i & 1023) << 13);
            }
            wck_convert_at(l)->bf16_f32(dst, src + odd, N);
            for (uint32_t i = 0; i < N; i++)
                assert_int_equal(wc_f32_bits(dst[i]), i << 16);
        }
    free(src);
    free(dst);
}

/* Every length around the vector widths: the right elements, and not one beyond. */
static void every_short_length_is_converted_and_no_more(void **state)
{
    (void)state;
    enum { MAX = 150 };
    for (wck_level l = WCK_C; l <= wck_level_supported(); l++)
        for (size_t n = 0; n <= MAX; n++) {
            uint8_t *src = malloc(2 * n + 1); /* exact: a sanitizer sees reads beyond */
            float dst[MAX + 1];
            for (size_t i = 0; i < n; i++)
                memcpy(src + 1 + 2 * i, &(uint16_t){(uint16_t)(0x3c00 + i)}, 2);
            dst[n] = 77;
            wck_convert_at(l)->f16_f32(dst, src + 1, n);
            for (size_t i = 0; i < n; i++)
                assert_true(dst[i] == 1 + (float)i / 1024);
            assert_true(dst[n] == 77);
            wck_convert_at(l)->bf16_f32(dst, src + 1, n);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(wc_f32_bits(dst[i]), (0x3c00 + i) << 16);
            assert_true(dst[n] == 77);
            free(src);
        }
}

static void a_single_nonfinite_element_is_seen_wherever_it_is(void **state)
{
    (void)state;
    enum { MAX = 150 };
    static const struct {
        uint16_t exponent, finite, bad[3];
    } cases16[] = {{0x7f80, 0xff7f, {0x7f80, 0xff80, 0x7f81}}, {0x7c00, 0xfbff, {0x7c00, 0xfc00, 0xfe00}}};
    static const uint32_t finite32 = 0xff7fffff, bad32[] = {0x7f800000, 0xff800000, 0x7f800001};
    uint16_t a16[MAX];
    uint32_t a32[MAX];
    for (wck_level l = WCK_C; l <= wck_level_supported(); l++)
        for (size_t at = 0; at < MAX; at++)
            for (size_t b = 0; b < 3; b++) {
                const wck_convert *k = wck_convert_at(l);
                for (size_t t = 0; t < 2; t++) {
                    for (size_t i = 0; i < MAX; i++)
                        a16[i] = cases16[t].finite;
                    assert_false(k->any16((uint8_t *)a16, MAX, cases16[t].exponent));
                    a16[at] = cases16[t].bad[b];
                    assert_true(k->any16((uint8_t *)a16, MAX, cases16[t].exponent));
                    assert_false(k->any16((uint8_t *)a16, at, cases16[t].exponent));
                }
                for (size_t i = 0; i < MAX; i++)
                    a32[i] = finite32;
                assert_false(k->any32((uint8_t *)a32, MAX, 0x7f800000));
                a32[at] = bad32[b];
                assert_true(k->any32((uint8_t *)a32, MAX, 0x7f800000));
                assert_false(k->any32((uint8_t *)a32, at, 0x7f800000));
            }
}

static void the_speed_of_each_level(void **state)
{
    (void)state;
    enum { N = 1 << 20, REPEATS = 8 };
    uint8_t *src = calloc(N, 2);
    float *dst = calloc(N, sizeof *dst);
    for (wck_level l = WCK_C; l <= wck_level_supported(); l++) {
        const wck_convert *k = wck_convert_at(l);
        double f16 = 1e9, bf16 = 1e9; /* the best of several: the machine may be busy */
        for (int i = 0; i < REPEATS; i++) {
            double t0 = wc_now();
            k->f16_f32(dst, src, N);
            double t1 = wc_now();
            k->bf16_f32(dst, src, N);
            double t2 = wc_now();
            f16 = t1 - t0 < f16 ? t1 - t0 : f16;
            bf16 = t2 - t1 < bf16 ? t2 - t1 : bf16;
        }
        print_message("%-6s f16 %.2f, bf16 %.2f Gelement/s\n", wck_level_name(l), 1e-9 * N / f16, 1e-9 * N / bf16);
    }
    free(src);
    free(dst);
}

/* Must come before anything that asks for the level: the variable is read once. */
static void the_environment_lowers_the_level(void **state)
{
    (void)state;
    setenv("WC_CPU", "c", 1);
    assert_int_equal(wck_level_used(), WCK_C);
    setenv("WC_CPU", "avx512", 1);
    assert_int_equal(wck_level_used(), WCK_C);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_lowers_the_level),
        cmocka_unit_test(every_f16_and_bf16_converts_exactly_at_every_level),
        cmocka_unit_test(every_short_length_is_converted_and_no_more),
        cmocka_unit_test(a_single_nonfinite_element_is_seen_wherever_it_is),
        cmocka_unit_test(the_speed_of_each_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
