#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gptq_util.h"
#include "kernels/grid.h"
#include "solve/grid_solve.h"

/* Runs rtn with the options; returns the part. */
static wc_grid round_matrix(const char *options, const float *w, size_t rows, size_t cols, const wc_stats *stats)
{
    wc_ctx ctx;
    wc_ctx_init(&ctx, 2);
    const wc_method *rtn = wc_method_find("rtn");
    void *opt = util_options(rtn, options);
    float *copy = malloc((rows * cols + 1) * sizeof *copy);
    memcpy(copy, w, rows * cols * sizeof *copy);
    wc_job job = {.ctx = &ctx, .tensor = "t", .at = {.rows = rows, .cols = cols}, .w = copy, .stats = stats};
    wc_part part = {0};
    assert_int_equal(rtn->run(&job, opt, &part), WC_OK);
    assert_int_equal(part.kind, WC_PART_GRID);
    free(opt), free(copy);
    return part.grid;
}

static void free_grid(wc_grid *g)
{
    wc_part part = {.kind = WC_PART_GRID, .grid = *g};
    wc_part_free(&part);
}

static double relative_mse(const char *options, const float *w, size_t rows, size_t cols)
{
    wc_grid g = round_matrix(options, w, rows, cols, NULL);
    float *q = util_dequantize(&g), *zero = calloc(rows * cols, sizeof *zero);
    double e = util_error(w, q, rows, cols, NULL) / util_error(w, zero, rows, cols, NULL);
    free(q), free(zero), free_grid(&g);
    return e;
}

/* The reference table of the literature for N(0,1) data. `atmost': our search may be better than the published scan.
 * 1.3e5 samples scatter by 0.5 %; a wrong convention (range, zero, tie of the long side) is 5 % off or more. */
static void gaussian_reference_table(void **unused)
{
    (void)unused;
    static const struct {
        const char *options;
        double mse;
        bool atmost;
    } table[] = {
        {"bits=4,group=32,sym=1,scale_bits=0,search=0", .00735, false},
        {"bits=4,group=128,sym=0,scale_bits=0,search=0", .01006, false},
        {"bits=3,group=128,sym=0,scale_bits=0,search=0", .0461, false},
        {"bits=3,group=64,sym=0,scale_bits=0,search=0", .0379, false},
        {"bits=2,group=128,sym=0,scale_bits=0,search=0", .252, false},
        {"bits=2,group=64,sym=0,scale_bits=0,search=0", .208, false},
        {"bits=4,group=128,sym=1,scale_bits=0,search=1", .01006, true},
        {"bits=3,group=128,sym=1,scale_bits=0,search=1", .0378, true},
        {"bits=2,group=128,sym=1,scale_bits=0,search=1", .117, true}, /* Lloyd-Max: the group adapts to its sample */
        {"bits=1,group=128,sym=1,scale_bits=0,search=1", .362, true}, /* one sign plane with the optimal scalar */
    };
    size_t rows = 512, cols = 256;
    float *w = util_normals(rows * cols);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        double mse = relative_mse(table[i].options, w, rows, cols);
        print_message("%-45s %.5f reference %.5f\n", table[i].options, mse, table[i].mse);
        assert_true(mse < 1.02 * table[i].mse);
        assert_true(table[i].atmost || mse > 0.98 * table[i].mse);
    }
    free(w);
}

/* A dense scan over 4000 steps and all zeros, in double. Ours is usually within 0.3 %; without the least-squares rounds
 * it is 1 % off, with a wrong candidate range 10 %. */
static double scan(const float *w, const float *h, size_t n, unsigned bits, bool sym, float fixed)
{
    double best = INFINITY, top = (1 << bits) - 1, a = 0;
    for (size_t j = 0; j < n; j++)
        a = fmax(a, fabs((double)w[j]));
    for (int z = 0; z <= (sym ? 0 : (int)top); z++)
        for (int i = -2000; i <= 2000; i++) {
            double s = a * 2 * i / 2000.0, zero = sym ? (double)fixed : z, e = 0;
            for (size_t j = 0; i && j < n; j++) {
                double q = fmin(fmax(nearbyint((double)w[j] / s + zero), 0), top), d = s * (q - zero) - (double)w[j];
                e += (double)h[j] * d * d;
            }
            if (i && e < best) best = e;
        }
    return best;
}

static void search_is_close_to_a_dense_scan(void **unused)
{
    (void)unused;
    size_t rows = 12, cols = 40;
    float *w = util_normals(rows * cols), *h = calloc(cols * cols, sizeof *h), weight[40];
    for (size_t i = 0; i < rows * cols; i++)
        w[i] *= fabsf(w[i]); /* heavier tails than normal */
    for (size_t j = 0; j < cols; j++)
        h[j * cols + j] = (float)(0.1 + util_uniform() * 3);
    wc_hessian_weights(h, cols, weight);
    wc_stats stats = {.n = cols, .h = h};
    for (int bits = 1; bits <= 5; bits++)
        for (int sym = 0; sym < 2; sym++) {
            char options[64];
            snprintf(options, sizeof options, "bits=%d,group=0,sym=%d,scale_bits=0,search=2", bits, sym);
            wc_grid g = round_matrix(options, w, rows, cols, &stats);
            float *q = util_dequantize(&g);
            double ours = 0, best = 0;
            for (size_t i = 0; i < rows; i++) {
                for (size_t j = 0; j < cols; j++)
                    ours += (double)weight[j] * pow((double)q[i * cols + j] - (double)w[i * cols + j], 2);
                best += scan(w + i * cols, weight, cols, (unsigned)bits, sym, g.zero_fixed);
            }
            print_message("bits %d sym %d: error / dense scan %.4f\n", bits, sym, ours / best);
            assert_true(ours < 1.03 * best);
            free(q), free_grid(&g);
        }
    free(w), free(h);
}

/* Stored scales and zeros are what the contract says, and two-level scales cost little against f16 ones. */
static void two_level_scales(void **unused)
{
    (void)unused;
    size_t rows = 70, cols = 300;
    float *w = util_normals(rows * cols);
    for (int sym = 0; sym < 2; sym++) {
        char one[64], two[64];
        snprintf(one, sizeof one, "bits=3,group=32,scale_bits=0,sym=%d,search=1", sym);
        snprintf(two, sizeof two, "bits=3,group=32,scale_bits=6,sym=%d,search=1", sym);
        double a = relative_mse(one, w, rows, cols), b = relative_mse(two, w, rows, cols);
        print_message("sym %d: one level %.5f two levels %.5f\n", sym, a, b);
        assert_true(b < (sym ? 1.16 : 1.03) * a); /* symmetric: an f16 step also brings a sign per group */
    }
    wc_grid g = round_matrix("bits=3,group=32,scale_bits=4,sym=0,search=1", w, rows, cols, NULL);
    for (size_t i = 0; i < rows * wc_grid_groups(&g); i++)
        assert_in_range(g.scale_code[i], 1, 15);
    free_grid(&g);
    free(w);
}

/* Zeros that are real numbers. The references are measured figures of the literature (one-level, min-max). A search may
 * only gain, and lines of tiles may cost little: 3 bits for each of two statistics against 32. */
static void real_zeros_and_tiles(void **unused)
{
    (void)unused;
    static const struct {
        const char *options;
        double low, high;
    } table[] = {
        {"bits=4,group=128,sym=0,scale_bits=0,zero_bits=16,search=0", .98 * .00993, 1.02 * .00993},
        {"bits=2,group=64,sym=0,scale_bits=0,zero_bits=16,search=0", .98 * .201, 1.02 * .201},
        {"bits=4,group=128,sym=0,scale_bits=0,zero_bits=16,search=1", 0, .0092},
        {"bits=2,group=64,sym=0,scale_bits=0,zero_bits=16,search=1", 0, .117},
        {"bits=3,group=16,sym=0,scale_bits=0,zero_bits=16,search=1", 0, .0170},
        {"bits=3,group=16,sym=0,scale_bits=3,zero_bits=16,tile=16,search=1", 0, .0205},
        {"bits=3,group=16,sym=0,scale_bits=3,zero_bits=3,tile=16,search=1", 0, .0220},
        {"bits=3,group=16,sym=0,scale_bits=3,tile=16,search=1", 0, .0230},
        {"bits=3,group=32,sym=0,scale_bits=4,zero_bits=16,search=1", 0, .0245},
        {"bits=3,group=16,sym=1,scale_bits=3,tile=4,search=1", 0, .0285},
        {"bits=4,group=0,sym=1,scale_bits=0,search=3", .0116, .0122}, /* slim: the Gaussian optimum of one step */
    };
    size_t rows = 512, cols = 256;
    float *w = util_normals(rows * cols);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        double mse = relative_mse(table[i].options, w, rows, cols);
        print_message("%-66s %.5f in %.5f .. %.5f\n", table[i].options, mse, table[i].low, table[i].high);
        assert_true(mse > table[i].low && mse < table[i].high);
    }
    free(w);
}

/* The one step of search=slim against a scan of 400 in double, with the deployed rounding. The histogram's bins and the
 * coarse grid cost less than 0.3 %; the published code's other step is 3 % off. */
static void slim_finds_the_tensor_step(void **unused)
{
    (void)unused;
    static const char *const options[] = {
        "bits=4,group=0,scale_bits=0,search=3", "bits=3,group=16,scale_bits=0,search=3",
        "bits=2,group=0,scale_bits=0,search=3", "bits=8,group=0,scale_bits=0,search=3"};
    size_t rows = 60, cols = 200;
    float *w = util_normals(rows * cols);
    for (size_t i = 0; i < rows * cols; i++)
        w[i] *= fabsf(w[i]) * 0.01f;
    for (size_t o = 0; o < sizeof options / sizeof *options; o++) {
        wc_grid g = round_matrix(options[o], w, rows, cols, NULL);
        float *q = util_dequantize(&g), top = 0;
        double ours = util_error(w, q, rows, cols, NULL), best = INFINITY, max = (1 << g.bits) - 1;
        for (size_t i = 0; i < rows * cols; i++)
            top = fmaxf(top, fabsf(w[i]));
        for (int k = 1; k <= 400; k++) {
            double s = (double)top / (double)g.zero_fixed * k / 400, e = 0;
            for (size_t i = 0; i < rows * cols; i++) {
                double z = (double)g.zero_fixed, x = (double)w[i];
                e += pow(x - s * (fmin(fmax(nearbyint(x / s + z), 0), max) - z), 2);
            }
            best = fmin(best, e);
        }
        for (size_t i = 1; i < rows * wc_grid_groups(&g); i++)
            assert_int_equal(g.scale[i], g.scale[0]);
        print_message("%s: error / scan %.4f\n", options[o], ours / best);
        assert_true(ours < 1.01 * best);
        free(q), free_grid(&g);
    }
    free(w);
}

/* Groups without information, and magnitudes at the ends of f32. */
static void degenerate_groups(void **unused)
{
    (void)unused;
    static const float values[] = {0, 1, -1, 0.37f, 1e30f, -3e38f, 1e-30f, 1e-37f};
    float w[3 * 20];
    for (size_t v = 0; v < sizeof values / sizeof *values; v++)
        for (int sym = 0; sym < 2; sym++)
            for (int scale_bits = 0; scale_bits < 8; scale_bits += 6)
                for (int search = 0; search < 3; search++) {
                    char options[80];
                    snprintf(options, sizeof options, "bits=3,group=8,sym=%d,scale_bits=%d,search=%d", sym, scale_bits,
                             search);
                    for (size_t i = 0; i < 60; i++)
                        w[i] = i < 40 ? values[v] : 0;
                    wc_grid g = round_matrix(options, w, 3, 20, NULL);
                    float *q = util_dequantize(&g);
                    for (size_t i = 0; i < 60; i++) /* a level can meet a constant to f16 precision; min-max cannot
                                                       reach it with a fixed zero and two-level scales */
                        assert_true(fabsf(q[i] - w[i]) <= (search ? 0.002f : 0.15f) * fabsf(w[i]));
                    free(q), free_grid(&g);
                }
}

/* Each kernel at each level against the C level: the same bits. */
static void levels_agree(void **unused)
{
    (void)unused;
    enum { NR = 77, G = 33 };
    float *x = util_normals(NR * G), *m = util_normals(G * NR), s[NR], inv[NR], z[NR], same[G * WCK_LANES];
    for (size_t i = 0; i < G * WCK_LANES; i++)
        same[i] = m[i / WCK_LANES];
    for (size_t r = 0; r < NR; r++)
        s[r] = r % 9 ? (float)(0.1 + util_uniform()) : 0, inv[r] = s[r] != 0 ? 1 / s[r] : 0, z[r] = (float)(r % 4);
    x[3] = 1e38f, x[4] = -1e38f, x[5] = 0.5f, x[6] = 1e-40f;
    float value[3][NR * G], e[3][NR * G], tile[3][11][WCK_LANES], sums[3][3][WCK_N_SUMS][WCK_LANES];
    uint8_t code[3][NR * G];
    double loss[3][NR];
    memset(value, 0, sizeof value), memset(e, 0, sizeof e), memset(loss, 0, sizeof loss);
    for (int level = WCK_C; level <= (int)wck_level_used(); level++) {
        const wck_grid *k = wck_grid_at((wck_level)level);
        for (size_t j = 0; j < G; j++)
            k->round(NR, x + j * NR, s, inv, z, 7, code[level] + j * NR, value[level] + j * NR);
        k->combine(G, NR, m, G, x, e[level]);
        k->descend(NR, x, 0.7f, s, inv, z, 7, code[level], value[level], e[level] + NR);
        k->centre(NR, code[level], z, e[level] + 2 * NR);
        k->muladd(NR, x, s, e[level] + 3 * NR);
        k->loss(NR, x + NR, s, 0.3, loss[level]);
        k->range(G, x, tile[level][0], tile[level][1]);
        k->error(G, x, m, s, inv, z, 7, tile[level][2]);
        k->normal(G, x, m, s, inv, z, 7, tile[level][2], tile[level][3], tile[level][4]);
        k->affine(G, x, m, s, inv, z, 7, sums[level][0]);
        k->affine_each(G, x, m, s, inv, z, 7, sums[level][1]);
        k->affine_each(G, x, same, s, inv, z, 7, sums[level][2]);
        assert_memory_equal(sums[level][2], sums[level][0], sizeof sums[0][0]);
        k->error_each(G, x, m, s, inv, z, 7, tile[level][5]);
        k->normal_each(G, x, m, s, inv, z, 7, tile[level][5], tile[level][6], tile[level][7]);
        k->normal_each(G, x, same, s, inv, z, 7, tile[level][8], tile[level][9], tile[level][10]);
        assert_memory_equal(tile[level][8], tile[level][2], 3 * sizeof tile[0][0]);
        assert_memory_equal(code[level], code[0], sizeof code[0]);
        assert_memory_equal(value[level], value[0], sizeof value[0]);
        assert_memory_equal(e[level], e[0], sizeof e[0]);
        assert_memory_equal(loss[level], loss[0], sizeof loss[0]);
        assert_memory_equal(tile[level], tile[0], sizeof tile[0]);
        assert_memory_equal(sums[level], sums[0], sizeof sums[0]);
    }
    assert_int_equal(code[0][5 * NR] <= 7, 1);
    free(x), free(m);
}

static void rounding_is_to_nearest_even_and_clamps(void **unused)
{
    (void)unused;
    static const float t[] = {0.5f, 1.5f, 2.5f, -0.5f, 6.5f, 7.5f, 1e30f, -1e30f, 3.49f, NAN};
    static const uint8_t want[] = {0, 2, 2, 0, 6, 7, 7, 0, 3, 0};
    float one[10], zero[10] = {0}, value[10];
    uint8_t code[10];
    const wck_grid *k = wck_grid_at(wck_level_used());
    for (int i = 0; i < 10; i++)
        one[i] = 1;
    k->round(10, t, one, one, zero, 7, code, value);
    assert_memory_equal(code, want, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gaussian_reference_table),
        cmocka_unit_test(search_is_close_to_a_dense_scan),
        cmocka_unit_test(two_level_scales),
        cmocka_unit_test(real_zeros_and_tiles),
        cmocka_unit_test(slim_finds_the_tensor_step),
        cmocka_unit_test(degenerate_groups),
        cmocka_unit_test(levels_agree),
        cmocka_unit_test(rounding_is_to_nearest_even_and_clamps),
    };
    return cmocka_run_group_tests_name("grid_fit", tests, NULL, NULL);
}
