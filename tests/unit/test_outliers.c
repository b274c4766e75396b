#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lut_util.h"

static wc_sparse sparse_of(const char *options, const float *w, size_t rows, size_t cols, const float *h, size_t stage,
                           int threads)
{
    struct made r = make_part("outliers", options, w, rows, cols, h, stage, threads);
    const wc_method *m = wc_method_find("outliers");
    void *opt = util_options(m, options);
    wc_part plan;
    assert_int_equal(r.status, WC_OK);
    m->plan(&(wc_place){.rows = rows, .cols = cols}, opt, &plan);
    assert_int_equal(r.part.kind, WC_PART_SPARSE);
    assert_int_equal(r.part.sparse.nnz, plan.sparse.nnz);
    assert_int_equal(r.part.sparse.row_start[0], 0);
    assert_int_equal(r.part.sparse.row_start[rows], plan.sparse.nnz);
    for (size_t i = 0; i < rows; i++)
        for (uint64_t a = r.part.sparse.row_start[i]; a < r.part.sparse.row_start[i + 1]; a++) {
            assert_true(r.part.sparse.col[a] < cols);
            if (a > r.part.sparse.row_start[i]) assert_true(r.part.sparse.col[a] > r.part.sparse.col[a - 1]);
        }
    free(opt);
    return r.part.sparse;
}

static void free_sparse(wc_sparse *s)
{
    wc_part part = {.kind = WC_PART_SPARSE, .sparse = *s};
    wc_part_free(&part);
}

static bool chosen(const wc_sparse *s, size_t r, size_t c)
{
    for (uint64_t a = s->row_start[r]; a < s->row_start[r + 1]; a++)
        if (s->col[a] == c) return true;
    return false;
}

static double score(int criterion, const float *w, const float *h, size_t cols, size_t r, size_t c)
{
    double d = 0, mean = 0, x = (double)w[r * cols + c];
    if (criterion == 2) return x * x;
    for (size_t j = 0; j < cols; j++)
        d += (double)w[r * cols + j] * (double)h[j * cols + c], mean += (double)h[j * cols + j] / (double)cols;
    if (criterion == 1) return x * x * ((double)h[c * cols + c] + 0.01 * mean); /* as everywhere: wc_hessian_weights */
    return d * d / (double)h[c * cols + c];
}

/* No position left out scores more than one taken (f32 scores: 1e-4), and each criterion differs from the others. */
static void takes_the_largest(void **unused)
{
    (void)unused;
    static const char *const options[] = {"frac=0.03,criterion=1", "frac=0.03,criterion=2",
                                          "frac=0.03,criterion=3,damp=0"};
    size_t rows = 40, cols = 70;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 300, 1.5, 0.01);
    for (int criterion = 1; criterion <= 3; criterion++) {
        wc_sparse s = sparse_of(options[criterion - 1], w, rows, cols, h, 0, 2);
        double in = INFINITY, out = 0;
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < cols; c++) {
                double v = score(criterion, w, h, cols, r, c);
                if (chosen(&s, r, c))
                    in = fmin(in, v);
                else
                    out = fmax(out, v);
            }
        assert_int_equal(s.nnz, 84);
        assert_true(in >= out * (1 - 1e-4));
        free_sparse(&s);
    }
    free(w), free(h);
}

/* What the group's error, over T_jj^2, falls by when weight k is left out and the min-max grid fitted again: in double,
 * and for each k anew. T^T T = H^-1 in act order, by definition: 1 / T_ii^2 is the variance of column i given the later
 * ones, det of the trailing block over det of the next. */
static double saved(const float *w, const double *weight, size_t g, size_t k, double top)
{
    double e[2] = {0};
    for (int out = 0; out < 2; out++) {
        double lo = INFINITY, hi = -INFINITY;
        for (size_t j = 0; j < g; j++)
            if (!out || j != k) lo = fmin(lo, (double)w[j]), hi = fmax(hi, (double)w[j]);
        for (size_t j = 0; j < g; j++) {
            double s = (hi - lo) / top, d = (double)w[j] - lo - (s > 0 ? s * nearbyint(((double)w[j] - lo) / s) : 0);
            if (!out || j != k) e[out] += weight[j] * d * d;
        }
    }
    return e[0] - e[1];
}

/* log det of the moments of n columns, by elimination. */
static double log_det(const float *h, size_t cols, const size_t *list, size_t n, double ridge)
{
    double *a = malloc(n * n * sizeof *a), sum = 0;
    for (size_t i = 0; i < n * n; i++)
        a[i] = (double)h[list[i / n] * cols + list[i % n]] + (i % (n + 1) ? 0 : ridge);
    for (size_t k = 0; k < n; k++) {
        sum += log(a[k * n + k]);
        for (size_t i = k + 1; i < n; i++)
            for (size_t j = n; j-- > k;)
                a[i * n + j] -= a[i * n + k] / a[k * n + k] * a[k * n + j];
    }
    free(a);
    return sum;
}

/* weight [cols] = 1 / T_jj^2. */
static void conditional_variances(const float *h, size_t cols, double damp, double *weight)
{
    size_t order[64];
    double mean = 0;
    for (size_t j = 0; j < cols; j++) {
        size_t i = j;
        for (mean += (double)h[j * cols + j] / (double)cols; i && h[order[i - 1] * (cols + 1)] < h[j * (cols + 1)]; i--)
            order[i] = order[i - 1];
        order[i] = j;
    }
    for (size_t i = 0; i < cols; i++)
        weight[order[i]] = exp(log_det(h, cols, order + i, cols - i, damp * mean) -
                               log_det(h, cols, order + i + 1, cols - i - 1, damp * mean));
}

/* The largest savings are taken; f32 scores against double: 1e-3. A wrong weight, order or grid is off by tens of
 * percent. */
static void spqr_takes_what_saves_most(void **unused)
{
    (void)unused;
    static const struct {
        const char *options;
        size_t group;
        double top;
        bool calibrated;
    } table[] = {{"frac=0.05,criterion=4,damp=0.1", 16, 7, true},
                 {"frac=0.05,criterion=4,damp=0.1,bits=2,group=10", 10, 3, true},
                 {"frac=0.03,criterion=4,bits=4,group=60", 60, 15, false}};
    size_t rows = 30, cols = 60;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 200, 1, 0.01);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        wc_sparse s = sparse_of(table[i].options, w, rows, cols, table[i].calibrated ? h : NULL, 0, 2);
        double weight[64], in = INFINITY, out = 0;
        for (size_t j = 0; j < cols; j++)
            weight[j] = 1;
        if (table[i].calibrated) conditional_variances(h, cols, 0.1, weight);
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < cols; c++) {
                size_t a = c / table[i].group * table[i].group, g = wc_min(table[i].group, cols - a);
                double v = saved(w + r * cols + a, weight + a, g, c - a, table[i].top);
                if (chosen(&s, r, c))
                    in = fmin(in, v);
                else
                    out = fmax(out, v);
            }
        assert_true(in >= out * (1 - 1e-3));
        free_sparse(&s);
    }
    free(w), free(h);
}

/* auto: sensitivity as the first stage, gain later, magnitude without statistics. */
static void auto_depends_on_the_stage(void **unused)
{
    (void)unused;
    static const struct {
        const char *same;
        size_t stage;
        bool calibrated;
    } table[] = {
        {"criterion=1", 0, true}, {"criterion=3", 2, true}, {"criterion=2", 0, false}, {"criterion=2", 1, false}};
    size_t rows = 64, cols = 50;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 300, 1.5, 0.01);
    for (size_t i = 0; i < 4; i++) {
        const float *use = table[i].calibrated ? h : NULL;
        wc_sparse a = sparse_of("", w, rows, cols, use, table[i].stage, 1),
                  b = sparse_of(table[i].same, w, rows, cols, use, table[i].stage, 1);
        assert_memory_equal(a.col, b.col, a.nnz * sizeof *a.col);
        assert_memory_equal(a.value, b.value, a.nnz * sizeof(uint16_t));
        free_sparse(&a), free_sparse(&b);
    }
    free(w), free(h);
}

static double left(const char *options, const float *w, size_t rows, size_t cols, const float *h, const float *measure)
{
    wc_sparse s = sparse_of(options, w, rows, cols, h, 1, 2);
    float *v = sparse_dense(&s);
    double e = util_error(w, v, rows, cols, measure);
    free(v), free_sparse(&s);
    return e;
}

/* On anything: sensitivity and magnitude never raise the diagonal error, gain never the layer error; with the residual
 * of a feedback quantizer, whose errors cancel each other, only gain is sure to help the layer. */
static void errors_never_grow(void **unused)
{
    (void)unused;
    size_t rows = 48, cols = 96;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 200, 1.5, 0),
          *zero = calloc(rows * cols, sizeof *zero);
    struct made q = make_part("lut", "bits=3", w, rows, cols, h, 0, 2);
    float *dense = lut_dense(&q.part.lut), *diag = calloc(cols * cols, sizeof *diag);
    for (size_t j = 0; j < cols; j++)
        diag[j * cols + j] = h[j * cols + j];
    for (size_t a = 0; a < rows * cols; a++)
        w[a] -= dense[a];
    double all = util_error(w, zero, rows, cols, h), all_diag = util_error(w, zero, rows, cols, diag);
    double last = all;
    static const char *const fractions[] = {"0.001", "0.005", "0.02", "0.1"};
    for (size_t i = 0; i < 4; i++) {
        char options[64];
        snprintf(options, sizeof options, "frac=%s,criterion=1", fractions[i]);
        double exact = left(options, w, rows, cols, h, h);
        assert_true(left(options, w, rows, cols, h, diag) < all_diag);
        snprintf(options, sizeof options, "frac=%s,criterion=3,damp=0", fractions[i]);
        double gain = left(options, w, rows, cols, h, h);
        printf("residual of 3 bits with feedback, outliers %s: layer error %.4f by gain, %.4f by sensitivity\n",
               fractions[i], gain / all, exact / all);
        assert_true(gain < last && gain < exact);
        last = gain;
    }
    wc_part_free(&q.part);
    free(w), free(h), free(zero), free(dense), free(diag);
}

/* The values of a row are the minimum over its positions: no f16 neighbour of any value is better. */
static void gain_values_are_a_minimum(void **unused)
{
    (void)unused;
    size_t rows = 6, cols = 40;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 100, 1, 0.01);
    wc_sparse s = sparse_of("frac=0.1,criterion=3,damp=0", w, rows, cols, h, 1, 1);
    float *v = sparse_dense(&s);
    double best = util_error(w, v, rows, cols, h);
    uint16_t *value = s.value;
    for (uint64_t a = 0; a < s.nnz; a++)
        for (int d = -1; d <= 1; d += 2) {
            value[a] = (uint16_t)(value[a] + d);
            float *other = sparse_dense(&s);
            assert_true(util_error(w, other, rows, cols, h) >= best * (1 - 1e-6));
            value[a] = (uint16_t)(value[a] - d);
            free(other);
        }
    free_sparse(&s);
    free(w), free(h), free(v);
}

/* Equal scores: the first in row-major order, for any number of threads. */
static void ties_are_settled(void **unused)
{
    (void)unused;
    float w[10 * 20];
    for (size_t a = 0; a < 200; a++)
        w[a] = a == 150 ? 3 : a % 3 ? 1 : -1;
    for (int threads = 1; threads < 4; threads++) {
        wc_sparse s = sparse_of("frac=0.06", w, 10, 20, NULL, 0, threads);
        assert_int_equal(s.nnz, 12);
        for (size_t a = 0; a < 11; a++)
            assert_true(chosen(&s, 0, a));
        assert_true(chosen(&s, 7, 10));
        free_sparse(&s);
    }
}

/* The value is the weight in f16 of the tensor's exponent: 2^-11 relative, at any magnitude. */
static void every_shape_and_magnitude(void **unused)
{
    (void)unused;
    static const size_t shapes[][2] = {{1, 1}, {1, 300}, {300, 1}, {31, 47}};
    static const float magnitudes[] = {1e-42f, 1e-30f, 1, 1e30f, 3e37f};
    for (size_t i = 0; i < 4; i++)
        for (size_t m = 0; m < 5; m++)
            for (size_t stage = 0; stage < 2; stage++) {
                size_t rows = shapes[i][0], cols = shapes[i][1];
                float *w = util_normals(rows * cols), *h = util_moments(cols, 100, 1, 0.01);
                for (size_t a = 0; a < rows * cols; a++)
                    w[a] *= magnitudes[m];
                for (size_t j = 0; j < cols && cols > 5; j++)
                    h[j * cols + 3] = h[3 * cols + j] = 0;
                wc_sparse s = sparse_of("frac=0.1", w, rows, cols, h, stage, 2);
                float *v = sparse_dense(&s);
                for (size_t a = 0; a < rows * cols; a++)
                    assert_true(isfinite(v[a]) && (stage || v[a] == 0 || fabsf(v[a] - w[a]) <= fabsf(w[a]) * 0x1p-11f ||
                                                   magnitudes[m] < 1e-40f));
                free_sparse(&s);
                free(w), free(h), free(v);
            }
}

static void trouble_is_named(void **unused)
{
    (void)unused;
    float w[20], *h = util_moments(5, 100, 1, 0.01);
    for (size_t a = 0; a < 20; a++)
        w[a] = a == 7 ? INFINITY : 1;
    struct made r = make_part("outliers", "", w, 4, 5, h, 0, 1);
    assert_int_equal(r.status, WC_BADFILE);
    assert_non_null(strstr(r.error, "row 1, column 2"));
    assert_null(r.part.sparse.col);
    w[7] = 1;
    h[6] = NAN;
    r = make_part("outliers", "criterion=3", w, 4, 5, h, 0, 1);
    assert_int_equal(r.status, WC_NUMERIC);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_largest),         cmocka_unit_test(spqr_takes_what_saves_most),
        cmocka_unit_test(auto_depends_on_the_stage), cmocka_unit_test(errors_never_grow),
        cmocka_unit_test(gain_values_are_a_minimum), cmocka_unit_test(ties_are_settled),
        cmocka_unit_test(every_shape_and_magnitude), cmocka_unit_test(trouble_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
