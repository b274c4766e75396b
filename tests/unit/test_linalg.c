#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "linalg/linalg.h"

static uint64_t state = 88172645463325252u;
static float uniform(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (float)((double)(state >> 11) / (double)(1ull << 53) * 2 - 1);
}

static float *random_matrix(size_t m, size_t n)
{
    float *a = malloc((m * n + 1) * sizeof *a);
    for (size_t i = 0; i < m * n; i++)
        a[i] = uniform();
    return a;
}

/* H = X^T X / t + 0.01 I, by three plain loops in double. */
static float *random_spd(size_t n, size_t t)
{
    float *x = random_matrix(t, n), *h = malloc(n * n * sizeof *h);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double s = i == j ? 0.01 : 0;
            for (size_t k = 0; k < t; k++)
                s += (double)x[k * n + i] * (double)x[k * n + j] / (double)t;
            h[i * n + j] = (float)s;
        }
    free(x);
    return h;
}

/* max |C - naive| / k: f32 sums of k products of numbers in [-1, 1] stay below 1e-7; a wrong tile or stride gives 1e-2.
 */
static void gemm_equals_three_loops(void **unused)
{
    (void)unused;
    static const size_t shapes[][3] = {{1, 1, 1}, {3, 5, 7}, {64, 65, 33}, {130, 1, 70}, {1, 300, 9}, {257, 190, 40}};
    wc_ctx ctx;
    wc_ctx_init(&ctx, 2);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int ops = 0; ops < 4; ops++) {
            size_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
            wc_op oa = ops & 1 ? WC_T : WC_N, ob = ops & 2 ? WC_T : WC_N;
            float *a = random_matrix(m, k), *b = random_matrix(k, n), *c = random_matrix(m, n),
                  *c0 = random_matrix(m, n);
            memcpy(c0, c, m * n * sizeof *c);
            wc_gemm(&ctx, oa, ob, m, n, k, 2, a, oa == WC_T ? m : k, b, ob == WC_T ? k : n, 0.5f, c, n);
            for (size_t i = 0; i < m; i++)
                for (size_t j = 0; j < n; j++) {
                    double sum = 0.5 * (double)c0[i * n + j];
                    for (size_t p = 0; p < k; p++)
                        sum += 2.0 * (double)a[oa == WC_T ? p * m + i : i * k + p] *
                               (double)b[ob == WC_T ? j * k + p : p * n + j];
                    assert_true(fabs(sum - (double)c[i * n + j]) < 1e-6 * (double)(k + 1));
                }
            free(a), free(b), free(c), free(c0);
        }
}

static double residual(const float *f, const float *h, size_t n, bool upper)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double s = 0;
            for (size_t k = upper ? (i > j ? i : j) : 0; k < (upper ? n : (i < j ? i : j) + 1); k++)
                s += (double)f[i * n + k] * (double)f[j * n + k];
            worst = fmax(worst, fabs(s - (double)h[i * n + j]));
        }
    return worst;
}

/* L L^T = H and R R^T = H to f32 rounding: usually 1e-7 * ||H||, a wrong block gives 1e-2. */
static void cholesky_reproduces_the_matrix(void **unused)
{
    (void)unused;
    wc_ctx ctx;
    wc_ctx_init(&ctx, 2);
    static const size_t sizes[] = {1, 2, 31, 256, 257, 600};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s];
        float *h = random_spd(n, n / 2 + 3), *l = malloc(n * n * sizeof *l), *r = malloc(n * n * sizeof *r);
        memcpy(l, h, n * n * sizeof *l);
        assert_int_equal(wc_cholesky(&ctx, l, n), 0);
        assert_true(residual(l, h, n, false) < 3e-6);
        memcpy(r, h, n * n * sizeof *r);
        assert_int_equal(wc_cholesky_upper(&ctx, r, n), 0);
        assert_true(residual(r, h, n, true) < 3e-6);
        for (size_t i = 1; i < n; i++)
            assert_true(r[i * n] == 0);
        free(h), free(l), free(r);
    }
}

static void cholesky_names_the_minor_that_fails(void **unused)
{
    (void)unused;
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    size_t n = 300;
    float *a = calloc(n * n, sizeof *a);
    for (size_t i = 0; i < n; i++)
        a[i * n + i] = i == 280 ? -1.0f : 1.0f;
    assert_int_equal(wc_cholesky(&ctx, a, n), 281);
    free(a);
}

static void solve_right_inverts(void **unused)
{
    (void)unused;
    wc_ctx ctx;
    wc_ctx_init(&ctx, 2);
    size_t n = 90, m = 300;
    float *h = random_spd(n, 200), *u = malloc(n * n * sizeof *u), *x = random_matrix(m, n),
          *b = malloc(m * n * sizeof *b), *pivot = malloc(n * sizeof *pivot);
    wc_gemm(&ctx, WC_N, WC_N, m, n, n, 1, x, n, h, n, 0, b, n);
    memcpy(u, h, n * n * sizeof *u);
    assert_int_equal(wc_cholesky_upper(&ctx, u, n), 0);
    for (size_t j = 0; j < n; j++) {
        pivot[j] = u[j * n + j];
        for (size_t i = 0; i <= j; i++)
            u[i * n + j] = i == j ? NAN : u[i * n + j] / pivot[j]; /* the diagonal must not be read */
    }
    wc_cholesky_solve_right(&ctx, u, pivot, n, b, m);
    for (size_t i = 0; i < m * n; i++)
        assert_true(fabsf(b[i] - x[i]) < 1e-3f); /* condition about 1e2: usually 1e-5 */
    free(h), free(u), free(x), free(b), free(pivot);
}

static void second_moments_and_quadratic_form(void **unused)
{
    (void)unused;
    wc_ctx ctx;
    wc_ctx_init(&ctx, 2);
    size_t n = 700, t = 50, m = 300;
    float *x = random_matrix(2 * t, n), *h = malloc(n * n * sizeof *h), *d = random_matrix(m, n);
    double *acc = calloc(n * (n + 1) / 2, sizeof *acc);
    assert_int_equal(wc_syrk_accumulate(&ctx, x, t, n, acc), WC_OK);
    assert_int_equal(wc_syrk_accumulate(&ctx, x + t * n, t, n, acc), WC_OK);
    wc_syrk_finish(&ctx, acc, n, 1.0 / (double)(2 * t), h);
    double form = 0; /* tr(D H D^T) = mean over tokens of ||D x||^2: shares no code with the gemm path */
    for (size_t k = 0; k < 2 * t; k++)
        for (size_t i = 0; i < m; i++) {
            double y = 0;
            for (size_t j = 0; j < n; j++)
                y += (double)d[i * n + j] * (double)x[k * n + j];
            form += y * y / (double)(2 * t);
        }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            assert_true(h[i * n + j] == h[j * n + i]);
    assert_true(fabs(wc_quadratic_form(&ctx, d, m, h, n) / form - 1) < 1e-5);
    free(x), free(h), free(d), free(acc);
}

static void one_and_three_threads_give_the_same_bytes(void **unused)
{
    (void)unused;
    size_t n = 530;
    float *h = random_spd(n, 40), *r[2], *c[2], *a = random_matrix(n, n);
    for (int i = 0; i < 2; i++) {
        wc_ctx ctx;
        wc_ctx_init(&ctx, i ? 3 : 1);
        r[i] = malloc(n * n * sizeof *h), c[i] = calloc(n * n, sizeof *h);
        memcpy(r[i], h, n * n * sizeof *h);
        assert_int_equal(wc_cholesky_upper(&ctx, r[i], n), 0);
        wc_gemm(&ctx, WC_N, WC_T, n, n, n, 1, a, n, h, n, 0, c[i], n);
    }
    assert_memory_equal(r[0], r[1], n * n * sizeof *h);
    assert_memory_equal(c[0], c[1], n * n * sizeof *h);
    free(h), free(a);
    for (int i = 0; i < 2; i++)
        free(r[i]), free(c[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_equals_three_loops),
        cmocka_unit_test(cholesky_reproduces_the_matrix),
        cmocka_unit_test(cholesky_names_the_minor_that_fails),
        cmocka_unit_test(solve_right_inverts),
        cmocka_unit_test(second_moments_and_quadratic_form),
        cmocka_unit_test(one_and_three_threads_give_the_same_bytes),
    };
    return cmocka_run_group_tests_name("linalg", tests, NULL, NULL);
}
