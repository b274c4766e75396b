/* Tables of levels under a mask (lut, squeezellm, nf4), and hqq: what lies in holes has no say, k-means against all
 * partitions of the survivors, feedback and descent as one problem with the mask. test_masks.c has the grids. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "masks_util.h"
#include "solve/lut_solve.h"

static const struct table {
    wc_levels levels;
    unsigned bits;
    size_t group; /* 0: the row */
    bool minmax;
} tables[] = {{WC_LEVELS_KMEANS, 3, 0, false},  {WC_LEVELS_KMEANS, 2, 16, false}, {WC_LEVELS_NF4, 4, 16, true},
              {WC_LEVELS_NF4, 4, 32, false},    {WC_LEVELS_APOT, 3, 16, false},   {WC_LEVELS_GAUSSIAN, 2, 0, false},
              {WC_LEVELS_GAUSSIAN, 3, 8, false}};
enum { TABLES = sizeof tables / sizeof *tables };

static wc_part solve_table(const struct table *t, const float *w, size_t rows, size_t cols, const float *h,
                           const uint8_t *mask, int passes, int threads, double *loss)
{
    wc_ctx ctx;
    wc_hessian hessian = {0};
    size_t group = t->group ? t->group : cols;
    bool fitted = t->levels == WC_LEVELS_KMEANS;
    wc_part p = {.kind = WC_PART_LUT,
                 .lut = {.rows = rows,
                         .cols = cols,
                         .group = group,
                         .bits = t->bits,
                         .scope = !fitted        ? WC_LUT_TENSOR
                                  : group < cols ? WC_LUT_GROUP
                                                 : WC_LUT_ROW,
                         .scaled = !fitted,
                         .holes = mask != NULL,
                         .mask = mask}};
    float *weight = malloc(cols * sizeof *weight);
    wc_ctx_init(&ctx, threads);
    for (size_t i = 0; mask && i < rows * cols; i++)
        p.lut.at.nnz += mask[i];
    if (h) assert_int_equal(wc_hessian_make(&ctx, "t", h, cols, 0.01, WC_ORDER_ACT, 1, &hessian), WC_OK);
    wc_hessian_weights(h, cols, weight);
    wc_lut_problem problem = {.tensor = "t",
                              .shape = 2,
                              .w = w,
                              .weight = weight,
                              .levels = t->levels,
                              .minmax = t->minmax,
                              .h = h ? &hessian : NULL,
                              .block = 64,
                              .passes = passes,
                              .refit = true};
    assert_int_equal(wc_lut_solve(&ctx, &problem, &p.lut, loss), WC_OK);
    wc_hessian_free(&hessian);
    free(weight);
    return p;
}

static wc_part solve(size_t c, const float *w, size_t rows, size_t cols, const float *h, const uint8_t *mask,
                     int passes, int threads, double *loss)
{
    return solve_table(&tables[c], w, rows, cols, h, mask, passes, threads, loss);
}

static double error_of(const wc_part *p, const float *w, const float *h)
{
    float *q = lut_dense(&p->lut);
    double e = util_error(w, q, p->lut.rows, p->lut.cols, h);
    free(q);
    return e;
}

static void assert_same(const wc_part *a, const wc_part *b)
{
    const wc_lut *x = &a->lut, *y = &b->lut;
    assert_int_equal(x->scale_exp, y->scale_exp);
    assert_memory_equal(x->code, y->code, x->rows * x->cols);
    assert_memory_equal(x->table, y->table, (wc_lut_tables(x) << x->bits) * sizeof *x->table);
    if (x->scaled) assert_memory_equal(x->scale, y->scale, x->rows * wc_lut_groups(x) * sizeof *x->scale);
}

static const uint8_t *codes(const wc_part *p)
{
    return p->lut.code;
}

static const masked quantizer = {TABLES, solve, codes, assert_same, error_of};

/* A mask that keeps everything is no mask: the same bits. */
static void a_full_mask_changes_nothing(void **unused)
{
    (void)unused;
    size_t rows = 40, cols = 100;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 200, 1, 0);
    uint8_t *mask = random_mask(rows * cols, 2);
    for (size_t t = 0; t < TABLES; t++)
        for (int i = 0; i < 2; i++) {
            wc_part a = solve(t, w, rows, cols, i ? h : NULL, NULL, 2, 2, NULL),
                    b = solve(t, w, rows, cols, i ? h : NULL, mask, 2, 2, NULL);
            assert_same(&a, &b);
            wc_part_free(&a), wc_part_free(&b);
        }
    free(w), free(h), free(mask);
}

/* A row of holes only has levels and scales of 0. */
static void an_empty_row_is_zero(const wc_part *p)
{
    const wc_lut *l = &p->lut;
    const uint16_t *level = l->table + ((size_t)3 << l->bits);
    for (size_t i = 0; i < (size_t)1 << l->bits && l->scope == WC_LUT_ROW; i++)
        assert_int_equal(level[i], 0);
    if (l->scaled) assert_int_equal(l->scale[3 * wc_lut_groups(l)], 0);
}

static void holes(void **unused)
{
    (void)unused;
    holes_have_no_say(&quantizer, an_empty_row_is_zero);
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The least squared error of x [n], ascending, from at most k levels, by trying every first cell. */
static double best_partition(const float *x, size_t n, size_t k)
{
    double best = INFINITY, sum = 0, square = 0;
    if (!n) return 0;
    for (size_t i = 1; i <= n; i++) {
        sum += (double)x[i - 1], square += (double)x[i - 1] * (double)x[i - 1];
        double here = square - sum * sum / (double)i, rest = k > 1 ? best_partition(x + i, n - i, k - 1) : 0;
        if (k > 1 || i == n) best = fmin(best, here + rest);
    }
    return best;
}

/* Rows of up to 12 survivors onto 4 levels: the optimum but for the levels' f16, whose error is below 2^-11 of them. */
static void levels_are_the_best_of_the_survivors(void **unused)
{
    (void)unused;
    static const struct table two_bits = {WC_LEVELS_KMEANS, 2, 0, false};
    enum { ROWS = 40, COLS = 16 };
    float *w = util_normals(ROWS * COLS);
    uint8_t *mask = random_mask(ROWS * COLS, 0.5);
    wc_part p = solve_table(&two_bits, w, ROWS, COLS, NULL, mask, 0, 2, NULL);
    float *q = lut_dense(&p.lut);
    double most = 0;
    for (size_t i = 0; i < ROWS; i++) {
        float x[COLS];
        size_t n = 0;
        double e = 0, scale = 0;
        for (size_t j = 0; j < COLS; j++) {
            size_t at = i * COLS + j;
            if (!mask[at]) continue;
            double d = (double)w[at] - (double)q[at];
            x[n++] = w[at], e += d * d, scale += (double)w[at] * (double)w[at];
        }
        qsort(x, n, sizeof *x, ascending);
        double least = best_partition(x, n, 4);
        assert_true(e <= least + 1e-6 * scale && e >= least - 1e-6 * scale);
        most = fmax(most, least);
    }
    assert_true(most > 0.05); /* rows with more survivors than levels were among them */
    free(q), free(w), free(mask), wc_part_free(&p);
}

static void loss(void **unused)
{
    (void)unused;
    loss_identity_and_descent(&quantizer);
}

static void same_bytes(void **unused)
{
    (void)unused;
    same_bytes_for_any_threads_and_level(&quantizer);
}

/* ---- recipes ---------------------------------------------------------------------------------------------------- */

/* A quantizer under a mask against the survivors alone: the second is a bound from below, and more bits come closer. */
static void quantizers_keep_to_the_survivors(void **unused)
{
    (void)unused;
    static const struct {
        const char *coarse, *fine;
    } table[] = {
        {"wanda(50%) | squeezellm(bits=2)", "wanda(50%) | squeezellm(bits=4)"},
        {"wanda(50%) | squeezellm(bits=3)", "wanda(50%) | lut(bits=3)"},
        {"wanda(50%) | nf4(group=0)", "wanda(50%) | nf4(group=16)"},
        {"wanda(50%) | lut(bits=3,levels=apot,group=16,feedback=no)", "wanda(50%) | lut(bits=3,levels=apot,group=16)"},
        {"wanda(50%) | hqq(bits=2)", "wanda(50%) | hqq(bits=4)"},
        {"wanda(50%) | hqq(bits=2) | rtn(bits=2)", "wanda(50%) | hqq(bits=2) | squeezellm(bits=4)"}};
    size_t rows = 64, cols = 128;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 400, 1, 0);
    double bound = recipe_error("wanda(50%) | gptq(bits=8)", w, rows, cols, h);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        double coarse = recipe_error(table[i].coarse, w, rows, cols, h),
               fine = recipe_error(table[i].fine, w, rows, cols, h);
        print_message("%-60s %.3f of the other\n", table[i].fine, fine / coarse);
        assert_true(fine < 0.95 * coarse && fine > 0.98 * bound);
    }
    recipe_error("wanda(2:4) | squeezellm(bits=3)", w, rows, cols, h);
    recipe_error("gqsa(30%,group=8) | nf4", w, rows, cols, h);
    recipe_error("magnitude(1) | squeezellm", w, rows, cols, h);
    recipe_error("magnitude(1) | hqq", w, rows, cols, NULL);
    free(w), free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_mask_changes_nothing),
        cmocka_unit_test(holes),
        cmocka_unit_test(levels_are_the_best_of_the_survivors),
        cmocka_unit_test(loss),
        cmocka_unit_test(same_bytes),
        cmocka_unit_test(quantizers_keep_to_the_survivors),
    };
    return cmocka_run_group_tests_name("lut_masks", tests, NULL, NULL);
}
