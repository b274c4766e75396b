#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "lut_util.h"

/* phi [rows, groups] = sum |w - w^|^p of each group. */
static double *objectives(const wc_grid *g, const float *w, double power)
{
    size_t groups = wc_grid_groups(g);
    double *phi = calloc(g->rows * groups, sizeof *phi);
    float *q = util_dequantize(g);
    for (size_t i = 0; i < g->rows * g->cols; i++)
        phi[i / g->cols * groups + i % g->cols / g->group] += pow(fabs((double)w[i] - (double)q[i]), power);
    free(q);
    return phi;
}

static void write_weights(const char *folder, const float *w, size_t count)
{
    char path[64];
    snprintf(path, sizeof path, "%s/w.bin", folder);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(w, sizeof *w, count, f), count);
    fclose(f);
}

/* [rows, groups, 2] of the oracle. */
static double *oracle(const float *w, size_t rows, size_t cols, size_t count, const char *arguments)
{
    char folder[] = "/tmp/wc_hqq_XXXXXX", command[256], path[64];
    double *phi = malloc(count * sizeof *phi);
    assert_non_null(mkdtemp(folder));
    write_weights(folder, w, rows * cols);
    snprintf(command, sizeof command, "/usr/bin/python3 tests/oracle/hqq.py %s %zu %zu %s", folder, rows, cols,
             arguments);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/phi.bin", folder);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(phi, sizeof *phi, count, f), count);
    fclose(f);
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
    return phi;
}

/* Group by group the objective of the published loop. f32 against f64 turns a rounding now and then, and the two paths
 * then part: 1 % of the groups differ by more than 1e-3, the sum by 1e-4; another shrinkage or a missing iteration is
 * off by 1e-2 in half of them. Both the regime of language models, where nothing is shrunk (README.md), and the other.
 */
static void the_published_loop(void **unused)
{
    (void)unused;
    static const struct {
        const char *options, *arguments;
        double spread, power;
    } table[] = {
        {"bits=4", "4 64 0.7 10 1.01 20", 0.02, 0.7},
        {"bits=3,group=32", "3 32 0.7 10 1.01 20", 1, 0.7},
        {"bits=2,group=50,beta=5,kappa=1.1,power=0.5,iterations=10", "2 50 0.5 5 1.1 10", 1, 0.5},
    };
    size_t rows = 70, cols = 300;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        float *w = util_normals(rows * cols);
        for (size_t k = 0; k < rows * cols; k++)
            w[k] *= (float)table[i].spread * (k % 97 ? 1 : 4);
        struct made r = make_part("hqq", table[i].options, w, rows, cols, NULL, 0, 2);
        assert_int_equal(r.status, WC_OK);
        const wc_grid *g = &r.part.grid;
        size_t count = rows * wc_grid_groups(g), differ = 0;
        double *ours = objectives(g, w, table[i].power), *his = oracle(w, rows, cols, 2 * count, table[i].arguments);
        double sum[3] = {0};
        for (size_t k = 0; k < count; k++) {
            sum[0] += ours[k], sum[1] += his[2 * k + 1], sum[2] += his[2 * k];
            differ += fabs(ours[k] / his[2 * k + 1] - 1) > 1e-3;
            assert_true(ours[k] <= his[2 * k] * (1 + 1e-3)); /* never above the range's own zero */
        }
        print_message("%-60s %.5g oracle %.5g, range's zeros %.5g; %zu of %zu groups differ\n", table[i].options,
                      sum[0], sum[1], sum[2], differ, count);
        assert_true(fabs(sum[0] / sum[1] - 1) < 1e-3 && differ * 20 < count && sum[0] < 0.99 * sum[2]);
        free(ours), free(his), free(w);
        wc_part_free(&r.part);
    }
}

/* No worse than rtn's min-max grid of the same storage, in hqq's own objective, whatever the storage of the zeros. */
static void never_worse_than_rounding(void **unused)
{
    (void)unused;
    static const char *const options[] = {"bits=4,group=64,sym=0,scale_bits=0,zero_bits=16,search=0",
                                          "bits=3,group=16,sym=0,scale_bits=0,zero_bits=0,search=0",
                                          "bits=2,group=0,sym=0,scale_bits=0,zero_bits=16,search=0",
                                          "bits=1,group=10,sym=0,scale_bits=0,zero_bits=16,search=0"};
    size_t rows = 40, cols = 200;
    float *w = util_normals(rows * cols);
    for (size_t k = 0; k < rows * cols; k++)
        w[k] *= fabsf(w[k]);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        struct made a = make_part("hqq", options[i], w, rows, cols, NULL, 0, 1),
                    b = make_part("rtn", options[i], w, rows, cols, NULL, 0, 1);
        double *x = objectives(&a.part.grid, w, 0.7), *y = objectives(&b.part.grid, w, 0.7), sum[2] = {0};
        for (size_t k = 0; k < rows * wc_grid_groups(&a.part.grid); k++) {
            assert_true(x[k] <= y[k] * (1 + 1e-5));
            sum[0] += x[k], sum[1] += y[k];
        }
        print_message("%-58s %.4f of rtn's\n", options[i], sum[0] / sum[1]);
        assert_true(strstr(options[i], "zero_bits=0") || sum[0] < 0.99 * sum[1]); /* integers have no room to move */
        free(x), free(y);
        wc_part_free(&a.part), wc_part_free(&b.part);
    }
    free(w);
}

/* Every storage of scales and zeros, odd shapes and magnitudes: finite, and within two steps of the weight. */
static void every_storage_and_shape(void **unused)
{
    (void)unused;
    static const char *const options[] = {"",
                                          "zero_bits=0",
                                          "scale_bits=4",
                                          "scale_bits=4,zero_bits=0",
                                          "group=16,scale_bits=3,zero_bits=3,tile=16",
                                          "group=16,scale_bits=3,tile=4",
                                          "group=16,scale_bits=3,zero_bits=0,tile=4",
                                          "bits=8,group=0"};
    static const size_t shapes[][2] = {{1, 1}, {1, 70}, {70, 1}, {33, 65}};
    static const float magnitudes[] = {1, 0, 1e-40f, 1e-4f, 1e30f, 3e37f};
    for (size_t o = 0; o < sizeof options / sizeof *options; o++)
        for (size_t s = 0; s < 4; s++)
            for (size_t m = 0; m < 6; m++) {
                size_t count = shapes[s][0] * shapes[s][1];
                float *w = util_normals(count), top = 0;
                for (size_t k = 0; k < count; k++)
                    w[k] = (w[k] + 0.5f) * magnitudes[m], top = fmaxf(top, fabsf(w[k]));
                struct made r = make_part("hqq", options[o], w, shapes[s][0], shapes[s][1], NULL, 0, 3);
                assert_int_equal(r.status, WC_OK);
                float *q = util_dequantize(&r.part.grid);
                for (size_t k = 0; k < count; k++)
                    assert_true(isfinite(q[k]) && fabsf(q[k] - w[k]) <= 0.6f * top + 1e-44f);
                free(q), free(w);
                wc_part_free(&r.part);
            }
}

static void refusals(void **unused)
{
    (void)unused;
    const wc_method *m = wc_method_find("hqq");
    static const char *const bad[] = {"sym=1,zero_bits=0", "sym=1", "zero_bits=4", "scale_bits=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        void *opt = util_options(m, bad[i]);
        assert_non_null(m->applies(&(wc_place){.rows = 10, .cols = 10}, opt));
        free(opt);
    }
    float w[8] = {1, 2, 3, NAN, 5, 6, 7, 8};
    struct made r = make_part("hqq", "", w, 2, 4, NULL, 0, 1);
    assert_int_equal(r.status, WC_BADFILE);
    assert_non_null(strstr(r.error, "row 0, column 3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_loop),
        cmocka_unit_test(never_worse_than_rounding),
        cmocka_unit_test(every_storage_and_shape),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("hqq", tests, NULL, NULL);
}
