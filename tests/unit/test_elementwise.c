#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "kernels/elementwise.h"

static uint64_t state = 88172645463325252u;
static float uniform(float lo, float hi)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return lo + (hi - lo) * (float)((double)(state >> 11) / (double)(1ull << 53));
}

static const size_t sizes[] = {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 100, 257, 1024, 4099};
enum { N_SIZES = sizeof sizes / sizeof *sizes, MOST = 4099, PAD = 16 };

/* Relative error against double exp over the whole range that is not clamped, 2e6 points: 1.2e-7 is usual; a wrong
 * coefficient or a missing piece of ln 2 gives 1e-6 and more. */
static void exp_is_accurate(void **unused)
{
    (void)unused;
    enum { N = 2000000 };
    const wck_elementwise *k = wck_elementwise_at(WCK_C);
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    for (size_t i = 0; i < N; i++)
        x[i] = i % 2 ? -87.3f + (float)i * (175.6f / N) : uniform(-2, 2);
    k->exp(x, N, y);
    double worst = 0;
    for (size_t i = 0; i < N; i++)
        worst = fmax(worst, fabs((double)y[i] / exp((double)x[i]) - 1));
    print_message("exp: largest relative error %.2e\n", worst);
    assert_true(worst < 2e-7);
    free(x);
    free(y);
}

static void exp_of_special_values(void **unused)
{
    (void)unused;
    const float x[] = {0, -0.0f, -1e30f, -INFINITY, 1e30f, INFINITY, NAN};
    float y[7];
    for (wck_level l = WCK_C; l <= wck_level_supported(); l++) {
        wck_elementwise_at(l)->exp(x, 7, y);
        assert_true(y[0] == 1 && y[1] == 1);
        assert_true(y[2] > 0 && y[2] < 2e-38f && y[3] == y[2]);
        assert_true(y[4] > 2e38f && isfinite(y[4]) && y[5] == y[4]);
        assert_true(isnan(y[6]));
    }
}

/* x, y and w of n entries each, guarded by PAD sentinels behind. */
static void fill(float *x, size_t n, float lo, float hi)
{
    for (size_t i = 0; i < n; i++)
        x[i] = uniform(lo, hi);
    for (size_t i = n; i < n + PAD; i++)
        x[i] = 12345;
}

static void assert_guarded(const float *x, size_t n)
{
    for (size_t i = n; i < n + PAD; i++)
        assert_true(x[i] == 12345);
}

/* 3e-7 per entry is usual (a few roundings); a wrong lane, size or scale gives 1e-3. */
static void softmax_equals_the_definition(void **unused)
{
    (void)unused;
    static float x[MOST + PAD], y[MOST + PAD];
    for (size_t s = 0; s < N_SIZES; s++) {
        size_t n = sizes[s];
        fill(x, n, -40, 40);
        memcpy(y, x, sizeof x);
        wck_elementwise_at(wck_level_used())->softmax(y, n, 0.3f);
        double top = -INFINITY, sum = 0;
        for (size_t i = 0; i < n; i++)
            top = fmax(top, (double)x[i] * (double)0.3f);
        for (size_t i = 0; i < n; i++)
            sum += exp((double)x[i] * (double)0.3f - top);
        for (size_t i = 0; i < n; i++) {
            double want = exp((double)x[i] * (double)0.3f - top) / sum;
            assert_true(fabs((double)y[i] - want) <= 4e-6 * want + 1e-30);
        }
        assert_guarded(y, n);
    }
}

static void rmsnorm_and_silu_equal_their_definitions(void **unused)
{
    (void)unused;
    static float x[MOST + PAD], w[MOST + PAD], y[MOST + PAD];
    const wck_elementwise *k = wck_elementwise_at(wck_level_used());
    for (size_t s = 0; s < N_SIZES; s++) {
        size_t n = sizes[s];
        double squares = 0;
        fill(x, n, -3, 3), fill(w, n, 0, 2), fill(y, n, 0, 0);
        for (size_t i = 0; i < n; i++)
            squares += (double)x[i] * (double)x[i];
        k->rmsnorm(x, w, n, 0.25f, y);
        for (size_t i = 0; i < n; i++) {
            double want = (double)x[i] / sqrt(squares / (double)n + 0.25) * (double)w[i];
            assert_true(fabs((double)y[i] - want) <= 1e-6 * fabs(want)); /* usual 2e-7 */
        }
        assert_guarded(y, n);
        fill(x, n, -20, 20), memcpy(y, x, sizeof x);
        k->silu_mul(y, w, n);
        for (size_t i = 0; i < n; i++) {
            double want = (double)x[i] / (1 + exp(-(double)x[i])) * (double)w[i];
            assert_true(fabs((double)y[i] - want) <= 1e-6 * fabs(want));
        }
        assert_guarded(y, n);
    }
}

static void finite_sees_every_position(void **unused)
{
    (void)unused;
    static float x[300];
    for (wck_level l = WCK_C; l <= wck_level_supported(); l++)
        for (size_t i = 0; i < 300; i++) {
            const wck_elementwise *k = wck_elementwise_at(l);
            fill(x, 300 - PAD, -1, 1);
            assert_true(k->finite(x, 300));
            x[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -INFINITY;
            assert_false(k->finite(x, 300));
            assert_true(k->finite(x, i));
        }
}

static void levels_give_the_same_bytes(void **unused)
{
    (void)unused;
    static float x[MOST + PAD], w[MOST + PAD], y[MOST + PAD], z[MOST + PAD];
    const wck_elementwise *c = wck_elementwise_at(WCK_C);
    for (wck_level l = WCK_AVX2; l <= wck_level_supported(); l++)
        for (size_t s = 0; s < N_SIZES; s++) {
            const wck_elementwise *k = wck_elementwise_at(l);
            size_t n = sizes[s], bytes = (n + PAD) * sizeof *x;
            fill(x, n, -30, 30), fill(w, n, -1, 1), fill(y, n, 0, 0), fill(z, n, 0, 0);
            c->exp(x, n, y), k->exp(x, n, z);
            assert_memory_equal(y, z, bytes);
            c->rmsnorm(x, w, n, 1e-5f, y), k->rmsnorm(x, w, n, 1e-5f, z);
            assert_memory_equal(y, z, bytes);
            memcpy(y, x, bytes), memcpy(z, x, bytes);
            c->silu_mul(y, w, n), k->silu_mul(z, w, n);
            assert_memory_equal(y, z, bytes);
            memcpy(y, x, bytes), memcpy(z, x, bytes);
            c->softmax(y, n, 0.1f), k->softmax(z, n, 0.1f);
            assert_memory_equal(y, z, bytes);
        }
}

/* Not a test: what each level costs, per entry, in cache. */
static void print_timing(void **unused)
{
    (void)unused;
    enum { ROUNDS = 4000, N = 2048 };
    static float x[N], w[N], y[N];
    for (wck_level l = WCK_C; l <= wck_level_supported(); l++) {
        const wck_elementwise *k = wck_elementwise_at(l);
        double ns[3];
        for (int what = 0; what < 3; what++) {
            for (size_t i = 0; i < N; i++)
                x[i] = uniform(-1, 1), w[i] = 1;
            double start = wc_now();
            for (int i = 0; i < ROUNDS; i++) {
                memcpy(y, x, sizeof x);
                if (what == 0) k->softmax(y, N, 0.1f);
                if (what == 1) k->rmsnorm(y, w, N, 1e-5f, y);
                if (what == 2) k->silu_mul(y, w, N);
            }
            ns[what] = (wc_now() - start) * 1e9 / ROUNDS / N;
        }
        print_message("%-6s ns per entry: softmax %.3f rmsnorm %.3f silu %.3f\n", wck_level_name(l), ns[0], ns[1],
                      ns[2]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_accurate),
        cmocka_unit_test(exp_of_special_values),
        cmocka_unit_test(softmax_equals_the_definition),
        cmocka_unit_test(rmsnorm_and_silu_equal_their_definitions),
        cmocka_unit_test(finite_sees_every_position),
        cmocka_unit_test(levels_give_the_same_bytes),
        cmocka_unit_test(print_timing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
