/* The trellis quantizer: Viterbi against the definition, CPU levels against each other, and the gap to R(D). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "solve/trellis.h"

enum { MOST = 300 }; /* samples */

static uint64_t random_state = 1;

static double uniform(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(random_state >> 11) + 0.5) / 9007199254740992.0;
}

static float gaussian(void)
{
    double r = sqrt(-2 * log(uniform()));
    return (float)(r * cos(6.283185307179586 * uniform()));
}

/* Classes of different widths with and without shifts: -log2 of two-sided geometric laws. */
static void make_rates(wck_trellis_rates *rates)
{
    for (int c = 0; c < WCK_TRELLIS_CLASSES; c++) {
        rates->shift[c] = c % 5;
        for (int q = 0; q < 2; q++)
            for (int s = 0; s < WCK_TRELLIS_SYMBOLS; s++)
                rates->bits[(2 * c + q) * WCK_TRELLIS_SYMBOLS + s] =
                    s ? 0.3f + 0.17f * (float)(c + 1) * fabsf((float)(s - 32) + 0.4f * (float)q) : 25;
    }
}

/* The cost of a path from the definition; fails when the machine does not allow it. */
static double path_cost(const wc_trellis *t, const wck_trellis_rates *r, float lambda, size_t n, const float *u,
                        const uint8_t *class_of, const int16_t *j)
{
    double sum = 0;
    unsigned s = 0;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned)(j[i] & 1) != (t->memory ? s & 1 : 0)) fail_msg("point %d in state %u", j[i], s);
        int q = j[i] & 1, symbol = ((j[i] - q) / 2 >> r->shift[class_of[i]]) + 32;
        symbol = symbol < 0 || symbol > 63 ? 0 : symbol;
        sum += pow((double)u[i] - j[i], 2) + (double)(lambda * r->bits[(2 * class_of[i] + q) * 64 + symbol]);
        s = wc_coded_next(t->memory, s, j[i]);
    }
    return sum;
}

static void viterbi_finds_the_cheapest_path(void **state)
{
    static const size_t lengths[] = {1, 2, 3, 17, 300};
    wck_trellis_rates rates;
    (void)state;
    make_rates(&rates);
    for (unsigned memory = 0; memory <= WC_CODED_MEMORY; memory++) {
        wc_trellis t;
        wc_trellis_work work;
        if (!wc_trellis_make(memory, &t)) {
            assert_int_equal(memory, 1);
            continue;
        }
        assert_int_equal(wc_trellis_work_make(NULL, &t, 300, &work), WC_OK);
        for (size_t l = 0; l < 5; l++) {
            float u[300];
            uint8_t class_of[300];
            int16_t want[300], got[300], other[300];
            size_t n = lengths[l];
            for (size_t i = 0; i < n; i++)
                u[i] = i % 50 == 49 ? 900 * gaussian() : 5 * gaussian(), class_of[i] = (uint8_t)(16 * uniform());
            double best = wc_trellis_reference(&t, &rates, 0.2f, n, u, class_of, &work, want);
            double cost = wc_trellis_run(&t, wck_trellis_at(WCK_C), &rates, 0.2f, n, u, class_of, &work, got);
            /* rounding of sums in f32: 1e-6; a path that is not the best, or not allowed, differs by 1e-2 and more */
            assert_true(fabs(path_cost(&t, &rates, 0.2f, n, u, class_of, want) - best) <= 1e-5 * best);
            assert_true(fabs(path_cost(&t, &rates, 0.2f, n, u, class_of, got) - cost) <= 1e-5 * best);
            if (fabs(cost - best) > 1e-5 * best) fail_msg("memory %u, %zu samples: %g, not %g", memory, n, cost, best);
            for (wck_level level = WCK_AVX2; level <= wck_level_supported(); level++) {
                float again = wc_trellis_run(&t, wck_trellis_at(level), &rates, 0.2f, n, u, class_of, &work, other);
                assert_true(again == (float)cost);
                assert_memory_equal(other, got, n * sizeof *got);
            }
        }
        wc_trellis_work_free(&work);
    }
}

/* The samples of a column as kernels/trellis.h says; some rows in the same class as all. */
static void take_samples(const wck_trellis *k, size_t n, bool one_class, float *u, uint8_t *class_of, int16_t *j)
{
    float t[MOST];
    uint8_t row[MOST];
    random_state = 77 + n;
    for (size_t i = 0; i < n; i++) {
        t[i] = i % 8 == 6 ? 1e30f * gaussian() : gaussian();
        row[i] = one_class ? 7 : (uint8_t)(16 * uniform());
        j[i] = (int16_t)(i % 50 == 3 ? 30000 * gaussian() / 5 : 12 * uniform() - 6);
    }
    k->samples(n, t, 0.5f, row, -4, 9, u, class_of);
    for (size_t i = 0; i < n; i++) {
        assert_true(u[i] == fmaxf(fminf(0.5f * t[i], 1e9f), -1e9f));
        assert_int_equal(class_of[i], row[i] < 4 ? 0 : row[i] > 13 ? 9 : row[i] - 4);
    }
}

/* Values and sums of the points, one by one. The sums are exact: not a bit may differ. */
static void points_are_taken(const wck_trellis *k, size_t n, const float *u, const uint8_t *class_of, const int16_t *j)
{
    float q[MOST], shrink[WCK_TRELLIS_SLOTS];
    wck_trellis_sum got[WCK_TRELLIS_SLOTS], want[WCK_TRELLIS_SLOTS];
    for (int i = 0; i < WCK_TRELLIS_SLOTS; i++) {
        shrink[i] = i % WCK_TRELLIS_SIZES ? (float)(i * 37 % 128 - 64) : 0;
        got[i] = want[i] = (wck_trellis_sum){i, 0.5 * i};
    }
    k->take(n, j, u, class_of, shrink, 0.37f, q, got);
    for (size_t i = n; i--;) {
        int size = abs(j[i]) > 3 ? 3 : abs(j[i]), slot = WCK_TRELLIS_SIZES * class_of[i] + size;
        float away = fmaxf(fminf((float)abs(j[i]) - (j[i] < 0 ? -u[i] : u[i]), 32768), -32768);
        assert_true(q[i] == 0.37f * ((float)(64 * j[i]) - (j[i] < 0 ? -shrink[slot] : shrink[slot])));
        want[slot].count++, want[slot].away += size ? (double)away : 0;
    }
    for (int i = 0; i < WCK_TRELLIS_SLOTS; i++)
        assert_true(got[i].count == want[i].count && got[i].away == want[i].away);
}

/* What surrounds the search, at every level. */
static void columns_are_measured(void **state)
{
    static const size_t lengths[] = {1, 7, 8, 33, 64, MOST};
    (void)state;
    for (size_t l = 0; l < 12; l++)
        for (wck_level level = WCK_C; level <= wck_level_supported(); level++) {
            const wck_trellis *k = wck_trellis_at(level);
            size_t n = lengths[l / 2];
            float u[MOST];
            uint8_t class_of[MOST];
            int16_t j[MOST];
            double squares[MOST], sum = 0;
            take_samples(k, n, l % 2, u, class_of, j);
            points_are_taken(k, n, u, class_of, j);
            for (size_t i = 0; i < n; i++)
                sum += (double)(u[i] * u[i]), squares[i] = (double)i;
            double got = k->squares(n, u, 0.25f, squares);
            assert_true(fabs(got - sum) <= 1e-12 * sum); /* order of a sum in f64: 1e-15; a sample left out: 1e-3 */
            assert_true(got == wck_trellis_at(WCK_C)->squares(n, u, 1, (double[MOST]){0}));
            for (size_t i = 0; i < n; i++)
                assert_true(squares[i] == (double)i + (double)(0.25f * u[i] * (0.25f * u[i])));
        }
}

/* Costs and points of candidates, from the definition: bits of the class, the lower point where both cost the same. */
static void candidates_are_the_cheaper_points(const wck_trellis *k, const wck_trellis_rates *rates, size_t n,
                                              const float *u, const uint8_t *class_of)
{
    float cost[4 * MOST];
    int32_t point[4 * MOST];
    k->candidates(n, u, class_of, rates, 0.2f, cost, point);
    for (size_t i = 0; i < 4 * n; i++) {
        int r = (int)(i / n), c = class_of[i % n];
        float a = fmaxf(fminf(floorf((u[i % n] - (float)r) * 0.25f), 7999), -8000), best = INFINITY,
              d = u[i % n] - (float)r;
        int at = 0;
        for (int j = 4 * (int)a + r, upper = 0; upper < 2; j += 4, upper++) {
            int symbol = ((j - (j & 1)) / 2 >> rates->shift[c]) + 32;
            float x = upper ? d - 4 * a - 4 : d - 4 * a;
            float sum = x * x + 0.2f * rates->bits[(2 * c + (j & 1)) * 64 + (symbol < 0 || symbol > 63 ? 0 : symbol)];
            if (sum < best) best = sum, at = j;
        }
        assert_true(cost[i] == best);
        assert_int_equal(point[i], at);
    }
}

static void every_level_has_the_same_candidates(void **state)
{
    wck_trellis_rates rates;
    float u[MOST];
    uint8_t class_of[MOST];
    (void)state;
    make_rates(&rates);
    for (size_t n = 1; n <= MOST; n += 1 + n / 3)
        for (int c = 0; c <= WCK_TRELLIS_CLASSES; c++) { /* the last: samples of many classes */
            for (size_t i = 0; i < n; i++) {
                u[i] = i % 5 == 4 ? 1e5f * gaussian() : (float)(i % 3 ? 20 : 2) * gaussian();
                class_of[i] = (uint8_t)(c < WCK_TRELLIS_CLASSES ? c : WCK_TRELLIS_CLASSES * uniform());
            }
            for (wck_level level = WCK_C; level <= wck_level_supported(); level++)
                candidates_are_the_cheaper_points(wck_trellis_at(level), &rates, n, u, class_of);
        }
}

static void every_path_of_three_steps_is_tried(void **state)
{
    wck_trellis_rates rates;
    wc_trellis t;
    wc_trellis_work work;
    (void)state;
    make_rates(&rates);
    assert_true(wc_trellis_make(2, &t));
    assert_int_equal(wc_trellis_work_make(NULL, &t, 3, &work), WC_OK);
    for (int round = 0; round < 200; round++) {
        float u[3] = {3 * gaussian(), 3 * gaussian(), 3 * gaussian()};
        uint8_t class_of[3] = {1, 4, 9};
        int16_t j[3], got[3];
        double best = INFINITY;
        for (int a = -20; a <= 20; a += 2)
            for (int b = -20; b <= 20; b++)
                for (int c = -20; c <= 20; c++) {
                    unsigned s = wc_coded_next(2, 0, a);
                    if ((b ^ (int)s) & 1 || (c ^ (int)wc_coded_next(2, s, b)) & 1) continue;
                    j[0] = (int16_t)a, j[1] = (int16_t)b, j[2] = (int16_t)c;
                    best = fmin(best, path_cost(&t, &rates, 0.1f, 3, u, class_of, j));
                }
        double cost = wc_trellis_run(&t, wck_trellis_at(WCK_C), &rates, 0.1f, 3, u, class_of, &work, got);
        assert_true(fabs(cost - best) <= 1e-5 * best);
    }
    wc_trellis_work_free(&work);
}

/* ---- the gap to R(D) ----------------------------------------------------------------------------------------------
 */

enum { N = 16384, TILE = 1024, ROUNDS = 7 };

/* Entropy per sample given the parity, and the squared error with every point at the mean of its cell. Probabilities
 * are counted with a little of the symmetric law, which keeps unseen points possible. */
typedef struct tally {
    double count[2][64], sum[2][64], square;
} tally;

static double rate_of(const tally *y, wck_trellis_rates *rates)
{
    double bits = 0;
    for (int q = 0; q < 2; q++) {
        double all = 0;
        for (int s = 0; s < 64; s++)
            all += y->count[q][s];
        for (int s = 1; s < 64; s++) {
            int mirror = q ? 63 - s : 64 - s;
            double n = y->count[q][s], m = mirror < 64 && mirror > 0 ? y->count[q][mirror] : 0;
            if (n > 0) bits -= n * log2(n / all);
            rates->bits[q * 64 + s] = (float)-log2(((n + m) / 2 + 1e-3) / (all + 0.1));
        }
        rates->bits[q * 64] = 40;
    }
    return bits / N;
}

static double distortion(const tally *y)
{
    double d = y->square;
    for (int q = 0; q < 2; q++)
        for (int s = 0; s < 64; s++)
            if (y->count[q][s] > 0) d -= y->sum[q][s] * y->sum[q][s] / y->count[q][s];
    return d / N;
}

static double gap(const wc_trellis *t, double bits, const float *x, double variance, wc_trellis_work *work)
{
    wck_trellis_rates rates = {{0}, {0}};
    static const uint8_t class_of[TILE];
    double d = 2 * pow(2, -bits), result = 0;
    for (int q = 0; q < 2; q++)
        for (int s = 0; s < 64; s++)
            rates.bits[q * 64 + s] = (float)(pow((2 * (s - 32) + q) * d, 2) * 0.7 + 1);
    for (int round = 0; round < ROUNDS; round++) {
        tally y = {.square = 0};
        for (size_t at = 0; at < N; at += TILE) {
            float u[TILE];
            int16_t j[TILE];
            for (size_t i = 0; i < TILE; i++)
                u[i] = x[at + i] / (float)d;
            wc_trellis_run(t, wck_trellis_at(wck_level_used()), &rates, 0.15f, TILE, u, class_of, work, j);
            for (size_t i = 0; i < TILE; i++) {
                int q = j[i] & 1, s = (j[i] - q) / 2 + 32;
                y.count[q][s]++, y.sum[q][s] += (double)x[at + i], y.square += (double)(x[at + i] * x[at + i]);
            }
        }
        double rate = rate_of(&y, &rates);
        result = rate - 0.5 * log2(variance / distortion(&y));
        d *= pow(2, rate - bits);
    }
    return result;
}

/* Upper bounds: what a dependent quantizer with zero in both sets reached in an earlier experiment; `usual' is what
 * this code gives with many samples. The limits are 0.01 above the usual values, of which sampling takes half; a wrong
 * trellis (any other b, or labels swapped) costs 0.03 and more, no trellis gives 0.25. */
static void gaussian_gaps_to_the_rate_distortion_function(void **state)
{
    static const struct {
        unsigned memory;
        double usual[4], earlier[4];
    } table[] = {
        {0, {0.237, 0.250, 0.254, 0.253}, {0.237, 0.254, 0.256, 0.253}},
        {2, {0.088, 0.089, 0.090, 0.088}, {0.151, 0.113, 0.101, 0.101}},
        {3, {0.073, 0.076, 0.076, 0.074}, {1, 1, 1, 1}},
        {6, {0.047, 0.046, 0.047, 0.045}, {0.077, 0.064, 0.058, 0.051}},
        {8, {0.035, 0.034, 0.034, 0.033}, {0.055, 0.049, 0.042, 0.037}},
    };
    static float x[N];
    double variance = 0;
    (void)state;
    random_state = 7;
    for (size_t i = 0; i < N; i++)
        x[i] = gaussian(), variance += (double)(x[i] * x[i]) / N;
    for (size_t m = 0; m < sizeof table / sizeof *table; m++) {
        wc_trellis t;
        wc_trellis_work work;
        assert_true(wc_trellis_make(table[m].memory, &t));
        assert_int_equal(wc_trellis_work_make(NULL, &t, TILE, &work), WC_OK);
        for (int bits = 1; bits <= 4; bits++) {
            double g = gap(&t, bits, x, variance, &work), usual = table[m].usual[bits - 1];
            print_message("%3zu states, %d bits: %.3f\n", t.states, bits, g);
            if (fabs(g - usual) > 0.012) fail_msg("%zu states, %d bits: gap %.4f, not %.3f", t.states, bits, g, usual);
            assert_true(g <= table[m].earlier[bits - 1] + 0.01);
        }
        wc_trellis_work_free(&work);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(viterbi_finds_the_cheapest_path),
        cmocka_unit_test(columns_are_measured),
        cmocka_unit_test(every_level_has_the_same_candidates),
        cmocka_unit_test(every_path_of_three_steps_is_tried),
        cmocka_unit_test(gaussian_gaps_to_the_rate_distortion_function),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
