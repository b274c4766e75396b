#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gptq_util.h"
#include "solve/levels.h"

/* ---- published tables -------------------------------------------------------------------------------------------- */

static void fixed(wc_levels kind, unsigned bits, double shape, float *level)
{
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    assert_int_equal(wc_levels_fixed(&ctx, kind, bits, shape, level), WC_OK);
}

static void assert_table(const float *level, size_t k)
{
    float top = 0;
    for (size_t i = 0; i < k; i++) {
        if (i) assert_true(level[i] >= level[i - 1]);
        top = fmaxf(top, fabsf(level[i]));
    }
    assert_true(top == 1);
}

static size_t distinct(const float *level, size_t k)
{
    size_t n = 1;
    for (size_t i = 1; i < k; i++)
        n += level[i] != level[i - 1];
    return n;
}

static void published_tables(void **unused)
{
    (void)unused;
    static const struct {
        wc_levels kind;
        unsigned bits;
        size_t distinct;
    } table[] = {{WC_LEVELS_NF4, 4, 16},      {WC_LEVELS_FP4, 4, 15},       {WC_LEVELS_APOT, 3, 7},
                 {WC_LEVELS_APOT, 4, 15},     {WC_LEVELS_APOT, 5, 31},      {WC_LEVELS_APOT, 6, 63},
                 {WC_LEVELS_APOT, 7, 127},    {WC_LEVELS_GAUSSIAN, 1, 2},   {WC_LEVELS_GAUSSIAN, 2, 4},
                 {WC_LEVELS_GAUSSIAN, 5, 32}, {WC_LEVELS_GAUSSIAN, 8, 256}, {WC_LEVELS_TWINLOG, 3, 8},
                 {WC_LEVELS_TWINLOG, 8, 256}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        float level[256];
        assert_null(wc_levels_refusal(table[i].kind, table[i].bits));
        fixed(table[i].kind, table[i].bits, 2, level);
        assert_table(level, (size_t)1 << table[i].bits);
        assert_int_equal(distinct(level, (size_t)1 << table[i].bits), table[i].distinct);
    }
    assert_non_null(wc_levels_refusal(WC_LEVELS_NF4, 3));
    assert_non_null(wc_levels_refusal(WC_LEVELS_FP4, 5));
    assert_non_null(wc_levels_refusal(WC_LEVELS_APOT, 2));
    assert_non_null(wc_levels_refusal(WC_LEVELS_APOT, 8));
    assert_non_null(wc_levels_refusal(WC_LEVELS_TWINLOG, 2));
}

/* 3 bits: {0, 1/8, 1/4, 1/2}; 4 bits: {0, 1, 4, 8} / 16 + {0, 2} / 16. */
static void apot_by_hand(void **unused)
{
    (void)unused;
    static const float three[4] = {0, 1, 2, 4}, four[8] = {0, 1, 2, 3, 4, 6, 8, 10};
    float level[16];
    fixed(WC_LEVELS_APOT, 3, 2, level);
    for (size_t i = 0; i < 4; i++)
        assert_true(level[4 + i] == three[i] / 4 && level[3 - i] == -three[i] / 4);
    fixed(WC_LEVELS_APOT, 4, 2, level);
    for (size_t i = 0; i < 8; i++)
        assert_true(level[8 + i] == four[i] / 10 && level[7 - i] == -four[i] / 10);
}

/* Integral of (x - nearest level)^2 phi(x) by the midpoint rule, the best scale by a scan. */
static double gaussian_error(const float *level, size_t k, double scale)
{
    double sum = 0, step = 1e-3;
    size_t i = 0; /* the nearest: levels ascend, and so does x */
    for (double x = -8 + step / 2; x < 8; x += step) {
        while (i + 1 < k && fabs(x - scale * (double)level[i + 1]) <= fabs(x - scale * (double)level[i]))
            i++;
        double d = x - scale * (double)level[i];
        sum += d * d * exp(-x * x / 2) / sqrt(2 * M_PI) * step;
    }
    return sum;
}

/* Truth: Lloyd's own iteration, 6000 rounds in double (J. Max's table of 1960 differs in the fourth digit); usually
 * equal to 1e-5. */
static void lloyd_max_errors(void **unused)
{
    (void)unused;
    static const double truth[] = {0.363380, 0.117482, 0.0345478, 0.00950101, 0.00250467};
    for (unsigned bits = 1; bits <= 5; bits++) {
        float level[256];
        fixed(WC_LEVELS_GAUSSIAN, bits, 2, level);
        double least = 1e9;
        for (double s = 0.5; s < 5.5; s += 0.005)
            if (bits < 5 || s > 3) least = fmin(least, gaussian_error(level, (size_t)1 << bits, s));
        printf("gaussian %u bits: %.6f, truth %.6f\n", bits, least, truth[bits - 1]);
        assert_true(fabs(least / truth[bits - 1] - 1) < 2e-4);
    }
}

/* Laplace's density: the optimal quantizers of Paez and Glisson (1972), variance 1, four digits. */
static void laplace_levels_are_the_published_ones(void **unused)
{
    (void)unused;
    static const float four[] = {0.4198f, 1.8340f}, eight[] = {0.2334f, 0.8330f, 1.6725f, 3.0867f};
    float level[256];
    fixed(WC_LEVELS_GAUSSIAN, 2, 1, level);
    for (size_t i = 0; i < 2; i++)
        assert_true(fabsf(level[2 + i] - four[i] / four[1]) < 5e-4f);
    fixed(WC_LEVELS_GAUSSIAN, 3, 1, level);
    for (size_t i = 0; i < 4; i++)
        assert_true(fabsf(level[4 + i] - eight[i] / eight[3]) < 5e-4f);
}

/* Shape 2 by two ways: on cells and by Newton's method; usually equal to a twentieth of the distance of two levels. Any
 * shape is a table. */
static void shapes_meet(void **unused)
{
    (void)unused;
    for (unsigned bits = 2; bits <= 6; bits++) { /* of more levels, Lloyd's rounds leave a little undone */
        float a[256], b[256];
        fixed(WC_LEVELS_GAUSSIAN, bits, 2, a);
        fixed(WC_LEVELS_GAUSSIAN, bits, 2.000001, b);
        for (size_t i = 1; i < (size_t)1 << bits; i++)
            if (!(fabsf(a[i] - b[i]) < 0.1f * (a[i] - a[i - 1])))
                fail_msg("%u bits: level %zu is %g and %g", bits, i, (double)a[i], (double)b[i]);
    }
    static const double odd[] = {0.25, 0.4, 0.7, 1.3, 4, 8};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        float level[256];
        fixed(WC_LEVELS_GAUSSIAN, 8, odd[i], level);
        assert_table(level, 256);
    }
    assert_true(fabs(wc_levels_shape(M_PI / 2) - 2) < 1e-9 && fabs(wc_levels_shape(2) - 1) < 1e-9);
    assert_true(wc_levels_shape(INFINITY) == 2 && wc_levels_shape(NAN) == 2);
    assert_true(wc_levels_shape(1e9) < 0.2501 && wc_levels_shape(1) > 7.99);
}

/* Never below the optimum, far below a grid with one ratio (0.0428, 0.0141, 0.0045 at its best). */
static void two_ratios_beat_one(void **unused)
{
    (void)unused;
    static const double optimum_of[] = {0.0345478, 0.00950101, 0.00250467}, one_ratio[] = {0.0428, 0.0141, 0.0045};
    for (unsigned bits = 3; bits <= 5; bits++) {
        float level[256];
        double least = 1e9;
        fixed(WC_LEVELS_TWINLOG, bits, 2, level);
        for (double s = 2; s < 3.4; s += 0.05)
            least = fmin(least, gaussian_error(level, (size_t)1 << bits, s));
        printf("twinlog %u bits: %.6f\n", bits, least);
        assert_true(least > optimum_of[bits - 3] && least < 0.85 * one_ratio[bits - 3]);
    }
}

/* ---- k-means ----------------------------------------------------------------------------------------------------- */

static int by_x(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The optimum by the plain quadratic program over all cell borders; pairs (x, h) sorted by x. */
static double optimum(const double *xh, size_t n, size_t k)
{
    double *cost = malloc((k + 1) * (n + 1) * sizeof *cost);
    for (size_t i = 0; i < (k + 1) * (n + 1); i++)
        cost[i] = i ? INFINITY : 0;
    for (size_t c = 1; c <= k; c++) {
        cost[c * (n + 1)] = 0;
        for (size_t end = 1; end <= n; end++) {
            double w = 0, mean = 0, ss = 0; /* Welford, backwards from end */
            for (size_t a = end; a-- > 0;) {
                double h = xh[2 * a + 1], d = xh[2 * a] - mean;
                w += h;
                if (h > 0) mean += d * h / w, ss += h * d * (xh[2 * a] - mean);
                cost[c * (n + 1) + end] = fmin(cost[c * (n + 1) + end], cost[(c - 1) * (n + 1) + a] + ss);
            }
        }
    }
    double best = cost[k * (n + 1) + n];
    free(cost);
    return best;
}

/* sum h (x - nearest level)^2 */
static double objective(const double *xh, size_t n, const float *level, size_t k)
{
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        double best = INFINITY;
        for (size_t i = 0; i < k; i++)
            best = fmin(best, fabs(xh[2 * j] - (double)level[i]));
        sum += xh[2 * j + 1] * best * best;
    }
    return sum;
}

/* xh [n] random pairs, heavy tails, weights over three decades; a part of them equal. */
static double *random_pairs(size_t n)
{
    double *xh = malloc(2 * n * sizeof *xh);
    for (size_t j = 0; j < n; j++) {
        float v = util_normal();
        xh[2 * j] = (double)(util_uniform() < 0.05 ? 4 * v : j % 7 ? v : 0.5f);
        xh[2 * j + 1] = (double)(float)pow(10, 3 * util_uniform() - 1.5);
    }
    qsort(xh, n, 2 * sizeof *xh, by_x);
    return xh;
}

static double fit(const double *xh, size_t n, size_t k, int rounds, float *level)
{
    wc_kmeans m;
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    assert_int_equal(wc_kmeans_alloc(&ctx, n, k, &m), WC_OK);
    for (size_t j = 0; j < n; j++) { /* in another order */
        size_t from = (j * 7919) % n;
        m.sample[j] = (wc_sample){(float)xh[2 * from], (float)xh[2 * from + 1]};
    }
    double total = wc_kmeans_fit(&m, n, rounds, level);
    wc_kmeans_free(&m);
    return total;
}

/* Up to 512 samples the optimum (1e-6: levels are f32); longer rows usually within 0.3 %, a plain quantile start is off
 * by 5 % and more. */
static void kmeans_against_the_optimum(void **unused)
{
    (void)unused;
    static const struct {
        size_t n, k;
        double slack;
    } table[] = {{1, 4, 1e-6},    {5, 8, 1e-6},    {64, 4, 1e-6},    {301, 8, 1e-6},  {512, 16, 1e-6},
                 {1531, 4, 0.01}, {1531, 8, 0.01}, {2003, 16, 0.01}, {1201, 32, 0.01}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t n = table[i].n, k = table[i].k;
        float level[256];
        double *xh = random_pairs(n), best = optimum(xh, n, k), total = fit(xh, n, k, 100, level),
               real = objective(xh, n, level, k);
        printf("k-means %zu samples, %zu levels: %.6g, optimum %.6g (%+.3f %%)\n", n, k, real, best,
               best > 0 ? 100 * (real / best - 1) : 0);
        assert_true(real <= best * (1 + table[i].slack) + 1e-9);
        assert_true(fabs(total - real) <= 1e-5 * total + 1e-9);
        for (size_t c = 1; c < k; c++)
            assert_true(level[c] >= level[c - 1]);
        free(xh);
    }
}

static void lloyd_never_rises(void **unused)
{
    (void)unused;
    double *xh = random_pairs(4001), last = INFINITY, first = 0;
    float level[16];
    for (int rounds = 0; rounds < 30; rounds++) {
        double total = fit(xh, 4001, 16, rounds, level);
        assert_true(total <= last * (1 + 1e-12));
        if (!rounds) first = total;
        last = total;
    }
    assert_true(last < first);
    free(xh);
}

/* No weight at all, one value, two values: levels are values that occur. */
static void kmeans_of_degenerate_rows(void **unused)
{
    (void)unused;
    double same[2 * 9], two[2 * 9], none[2 * 9];
    float level[8];
    for (size_t j = 0; j < 9; j++) {
        same[2 * j] = -3, two[2 * j] = j < 4 ? -1 : 2, none[2 * j] = (double)j;
        same[2 * j + 1] = two[2 * j + 1] = 1, none[2 * j + 1] = 0;
    }
    fit(same, 9, 8, 10, level);
    for (size_t i = 0; i < 8; i++)
        assert_true(level[i] == -3);
    assert_true(fit(two, 9, 8, 10, level) == 0);
    assert_true(objective(two, 9, level, 8) == 0);
    assert_true(fit(none, 9, 8, 10, level) == 0);
    for (size_t i = 0; i < 8; i++)
        assert_true(isfinite(level[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_tables),
        cmocka_unit_test(apot_by_hand),
        cmocka_unit_test(lloyd_max_errors),
        cmocka_unit_test(laplace_levels_are_the_published_ones),
        cmocka_unit_test(shapes_meet),
        cmocka_unit_test(two_ratios_beat_one),
        cmocka_unit_test(kmeans_against_the_optimum),
        cmocka_unit_test(lloyd_never_rises),
        cmocka_unit_test(kmeans_of_degenerate_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
