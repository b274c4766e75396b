/* The best low-rank part, against Jacobi rotations and plain loops in double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gptq_util.h"
#include "linalg/linalg.h"
#include "solve/projector.h"

static const size_t shapes[][2] = {{12, 20}, {20, 12}, {33, 33}, {1, 7}, {7, 1}, {300, 40}, {40, 300}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

/* Eigenvalues of the symmetric a [n, n], largest first, by cyclic Jacobi rotations. */
static void jacobi(double *a, size_t n, double *values)
{
    for (int sweep = 0; sweep < 30; sweep++)
        for (size_t p = 0; p < n; p++)
            for (size_t q = p + 1; q < n; q++) {
                double apq = a[p * n + q];
                if (apq == 0) continue;
                double theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
                double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
                double c = 1 / sqrt(t * t + 1), s = t * c;
                for (size_t k = 0; k < n; k++) {
                    double x = a[k * n + p], y = a[k * n + q];
                    a[k * n + p] = c * x - s * y, a[k * n + q] = s * x + c * y;
                }
                for (size_t k = 0; k < n; k++) {
                    double x = a[p * n + k], y = a[q * n + k];
                    a[p * n + k] = c * x - s * y, a[q * n + k] = s * x + c * y;
                }
            }
    for (size_t i = 0; i < n; i++)
        values[i] = a[i * n + i];
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j && values[j] > values[j - 1]; j--) {
            double v = values[j];
            values[j] = values[j - 1], values[j - 1] = v;
        }
}

/* Eigenvalues of E H E^T by plain loops and Jacobi; h NULL: identity. [m] */
static double *spectrum(const float *e, size_t m, size_t n, const float *h)
{
    double *p = calloc(m * n, sizeof *p), *g = calloc(m * m, sizeof *g), *values = malloc(m * sizeof *values);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            for (size_t k = 0; k < n; k++)
                p[i * n + j] += (double)e[i * n + k] * (h ? (double)h[k * n + j] : k == j);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < m; j++)
            for (size_t k = 0; k < n; k++)
                g[i * m + j] += p[i * n + k] * (double)e[j * n + k];
    jacobi(g, m, values);
    free(p), free(g);
    return values;
}

/* tr(D H D^T) of D = E - U_r U_r^T E in double. */
static double projection_error(const wc_projector *p, size_t r, const float *e, size_t n, const float *h)
{
    size_t m = p->rows;
    double *d = malloc(m * n * sizeof *d), total = 0;
    for (size_t i = 0; i < m * n; i++)
        d[i] = (double)e[i];
    for (size_t k = 0; k < r; k++)
        for (size_t j = 0; j < n; j++) {
            double dot = 0;
            for (size_t i = 0; i < m; i++)
                dot += p->u[k * m + i] * (double)e[i * n + j];
            for (size_t i = 0; i < m; i++)
                d[i * n + j] -= p->u[k * m + i] * dot;
        }
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            for (size_t k = 0; k < n; k++)
                total += d[i * n + j] * d[i * n + k] * (h ? (double)h[j * n + k] : j == k);
    free(d);
    return total;
}

/* Orthonormal to 1e-12 and A v = lambda v to 1e-12 of the largest; a wrong order or stride gives 0.1 and more. */
static void eigenvectors_satisfy_their_equation(void **unused)
{
    (void)unused;
    static const size_t cases[][2] = {{1, 1}, {2, 1}, {5, 5}, {33, 7}, {100, 100}, {100, 30}, {100, 80}};
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    for (size_t t = 0; t < sizeof cases / sizeof *cases; t++)
        for (int kind = 0; kind < 3; kind++) { /* random, identity, zero: the last two are one cluster */
            size_t n = cases[t][0], count = cases[t][1];
            double *a = calloc(n * n, sizeof *a), *copy = malloc(n * n * sizeof *copy), *w = malloc(n * sizeof *w),
                   *v = malloc(count * n * sizeof *v), *truth = malloc(n * sizeof *truth);
            for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j <= i; j++)
                    a[i * n + j] = a[j * n + i] = kind == 0 ? (double)util_normal() : kind == 1 && i == j;
            memcpy(copy, a, n * n * sizeof *a);
            assert_int_equal(wc_eigh_top(&ctx, a, n, count, w, v), WC_OK);
            for (size_t k = 0; k < count; k++) {
                assert_true(!k || w[k] <= w[k - 1]);
                for (size_t i = 0; i < n; i++) {
                    double y = -w[k] * v[k * n + i];
                    for (size_t j = 0; j < n; j++)
                        y += copy[i * n + j] * v[k * n + j];
                    assert_true(fabs(y) < 1e-12 * (double)(n + 10));
                }
                for (size_t l = 0; l <= k; l++) {
                    double dot = 0;
                    for (size_t i = 0; i < n; i++)
                        dot += v[k * n + i] * v[l * n + i];
                    assert_true(fabs(dot - (k == l)) < 1e-12);
                }
            }
            jacobi(copy, n, truth);
            for (size_t k = 0; k < count; k++)
                assert_true(fabs(w[k] - truth[k]) < 1e-11 * (double)(n + 10));
            free(a), free(copy), free(w), free(v), free(truth);
        }
    double bad[4] = {1, NAN, NAN, 1}, w[2], v[4];
    assert_int_equal(wc_eigh_top(&ctx, bad, 2, 2, w, v), WC_NUMERIC);
    assert_int_equal(wc_eigh_top(&ctx, bad, 2, 3, w, v), WC_BUG);
}

/* L L^T X = B solved, and X L, at sizes on both sides of the panels of 256: residuals in double are below 1e-11. */
static void cholesky_in_f64_solves(void **unused)
{
    (void)unused;
    static const size_t sizes[] = {1, 3, 256, 257, 530};
    wc_ctx ctx;
    wc_ctx_init(&ctx, 2);
    for (size_t t = 0; t < sizeof sizes / sizeof *sizes; t++) {
        size_t n = sizes[t], m = 300;
        double *a = calloc(n * n, sizeof *a), *l = malloc(n * n * sizeof *l), *b = malloc(n * m * sizeof *b),
               *x = malloc(n * m * sizeof *x), *y = malloc(n * m * sizeof *y), worst = 0;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                a[i * n + j] = i == j ? 3 : pow(0.7, fabs((double)i - (double)j));
        for (size_t i = 0; i < n * m; i++)
            b[i] = x[i] = y[i] = util_uniform();
        memcpy(l, a, n * n * sizeof *a);
        assert_int_equal(wc_cholesky64(&ctx, l, n), 0);
        wc_cholesky_solve_left64(&ctx, l, n, x, m);
        wc_times_lower64(&ctx, l, n, y, m); /* y [m, n] here */
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < m; j += 37) {
                double sum = -b[i * m + j], product = -y[j * n + i];
                for (size_t k = 0; k < n; k++)
                    sum += a[i * n + k] * x[k * m + j];
                for (size_t k = i; k < n; k++)
                    product += b[j * n + k] * l[k * n + i];
                worst = fmax(worst, fmax(fabs(sum), fabs(product)));
            }
        assert_true(worst < 1e-11);
        a[0] = -1;
        assert_int_equal(wc_cholesky64(&ctx, a, n), 1);
        free(a), free(l), free(b), free(x), free(y);
    }
}

/* The theorem: the error is the sum of the eigenvalues left out, for every rank; full rank leaves nothing. Agreement is
 * to 1e-10 of tr(G); a factor wrongly oriented gives percents. */
static void error_is_the_sum_of_discarded_eigenvalues(void **unused)
{
    (void)unused;
    wc_ctx ctx;
    wc_ctx_init(&ctx, 2);
    for (size_t t = 0; t < N_SHAPES; t++)
        for (int metric = 0; metric < 2; metric++) {
            size_t m = shapes[t][0], n = shapes[t][1], full = wc_min(m, n);
            float *e = util_normals(m * n), *h = metric ? util_moments(n, 2 * n + 8, 2, 1e-3) : NULL;
            double *truth = spectrum(e, m, n, h), left = 0;
            wc_projector p;
            assert_int_equal(wc_projector_make(&ctx, "t", e, m, n, &(wc_metric){.h = h}, full, &p), WC_OK);
            assert_int_equal(p.escalations, 0);
            for (size_t i = 0; i < m; i++)
                left += truth[i];
            assert_true(fabs(p.total - left) < 1e-10 * p.total);
            for (size_t r = 0; r <= full; r++) {
                if (r) left -= truth[r - 1];
                if (r < full) assert_true(fabs(p.lambda[r] - truth[r]) < 1e-10 * p.total);
                if (r % 7 && r != full) continue;
                assert_true(fabs(projection_error(&p, r, e, n, h) - left) < 1e-10 * p.total);
            }
            assert_true(projection_error(&p, full, e, n, NULL) < 1e-9 * (double)(m * n)); /* the very matrix */
            wc_projector_free(&p), free(e), free(h), free(truth);
        }
}

/* In the norm of H the full metric is at most the diagonal one, and that usually below none; a diagonal H as a matrix
 * and as scales is the same projector. */
static void full_metric_is_optimal(void **unused)
{
    (void)unused;
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    size_t m = 48, n = 64;
    for (int seed = 0; seed < 5; seed++) {
        float *e = util_normals(m * n), *h = util_moments(n, 200, 2, 1e-3), *s = malloc(n * sizeof *s),
              *diagonal = calloc(n * n, sizeof *diagonal);
        for (size_t j = 0; j < n; j++)
            s[j] = sqrtf(h[j * n + j]), diagonal[j * n + j] = s[j] * s[j];
        wc_projector exact, diag, none, same;
        assert_int_equal(wc_projector_make(&ctx, "t", e, m, n, &(wc_metric){.h = h}, 8, &exact), WC_OK);
        assert_int_equal(wc_projector_make(&ctx, "t", e, m, n, &(wc_metric){.scale = s}, 8, &diag), WC_OK);
        assert_int_equal(wc_projector_make(&ctx, "t", e, m, n, &(wc_metric){.h = diagonal}, 8, &same), WC_OK);
        assert_int_equal(wc_projector_make(&ctx, "t", e, m, n, &(wc_metric){0}, 8, &none), WC_OK);
        double best = projection_error(&exact, 8, e, n, h), second = projection_error(&diag, 8, e, n, h);
        assert_true(best < second);
        assert_true(second < projection_error(&none, 8, e, n, h)); /* by a third here; no theorem, but spread 100 */
        assert_true(projection_error(&none, 8, e, n, NULL) < projection_error(&exact, 8, e, n, NULL));
        for (size_t j = 0; j < 8; j++)
            assert_true(fabs(diag.lambda[j] / same.lambda[j] - 1) < 1e-6); /* s^2 is rounded to f32 */
        assert_true(fabs(projection_error(&same, 8, e, n, h) / second - 1) < 1e-5);
        wc_projector_free(&exact), wc_projector_free(&diag), wc_projector_free(&none), wc_projector_free(&same);
        free(e), free(h), free(s), free(diagonal);
    }
}

static void odd_moments_are_met(void **unused)
{
    (void)unused;
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    enum { M = 10, N = 16 };
    float *e = util_normals(M * N), *h = util_moments(N, 4, 1, 0); /* rank 4 at most */
    wc_projector p;
    for (size_t j = 0; j < N; j++)
        h[3 * N + j] = h[j * N + 3] = 0; /* and a dead input */
    assert_int_equal(wc_projector_make(&ctx, "t", e, M, N, &(wc_metric){.h = h}, M, &p), WC_OK);
    assert_true(p.escalations > 0 && p.damping < 1e-3);
    assert_true(projection_error(&p, 4, e, N, h) < 1e-3 * p.total);
    assert_true(projection_error(&p, M, e, N, NULL) < 1e-9);
    wc_projector_free(&p);
    memset(h, 0, N * N * sizeof *h); /* nothing is known: the plain metric */
    assert_int_equal(wc_projector_make(&ctx, "t", e, M, N, &(wc_metric){.h = h}, 2, &p), WC_OK);
    wc_projector_free(&p);
    h[0] = NAN;
    assert_int_equal(wc_projector_make(&ctx, "t", e, M, N, &(wc_metric){.h = h}, 2, &p), WC_NUMERIC);
    assert_non_null(strstr(ctx.error, "input 0"));
    assert_null(p.u);
    wc_clear_error(&ctx);
    for (size_t j = 0; j < N; j++)
        h[j * N + j] = 1, h[j] = h[j * N] = j ? 10 : 1; /* far from positive */
    assert_int_equal(wc_projector_make(&ctx, "t", e, M, N, &(wc_metric){.h = h}, 2, &p), WC_NUMERIC);
    assert_non_null(strstr(ctx.error, "even with damping"));
    memset(e, 0, M * N * sizeof *e);
    for (int tall = 0; tall < 2; tall++) { /* nothing to explain */
        size_t m = tall ? N : M, n = tall ? M : N;
        assert_int_equal(wc_projector_make(&ctx, "t", e, m, n, &(wc_metric){0}, M, &p), WC_OK);
        assert_true(p.total == 0 && p.lambda[0] == 0);
        wc_projector_free(&p);
    }
    free(e), free(h);
}

/* With A = U it is U^T E; with any A the residual is orthogonal to A, column lengths spread over six decades. */
static void right_factor_solves_the_normal_equations(void **unused)
{
    (void)unused;
    wc_ctx ctx;
    wc_ctx_init(&ctx, 2);
    size_t m = 300, n = 70, r = 9;
    float *e = util_normals(m * n), *a = util_normals(m * r), *b = malloc(r * n * sizeof *b);
    for (size_t i = 0; i < m; i++)
        for (size_t k = 0; k < r; k++)
            a[i * r + k] = k == 4 ? 0 : a[i * r + k] * powf(10, (float)k - 6);
    assert_int_equal(wc_right_factor(&ctx, a, e, m, n, r, b), WC_OK);
    for (size_t k = 0; k < r; k++)
        for (size_t j = 0; j < n; j++) {
            double dot = 0, scale = 0;
            for (size_t i = 0; i < m; i++) {
                double left = (double)e[i * n + j];
                for (size_t l = 0; l < r; l++)
                    left -= (double)a[i * r + l] * (double)b[l * n + j];
                dot += (double)a[i * r + k] * left;
                scale += fabs((double)a[i * r + k]);
            }
            assert_true(fabs(dot) <= 1e-6 * scale); /* b is rounded to f32: about 1e-7; A^T E itself is 0.06 */
            if (k == 4) assert_true(b[k * n + j] == 0);
        }
    for (size_t i = 0; i < m; i++)
        a[i * r + 1] = a[i * r]; /* two equal columns share what one of them explains */
    assert_int_equal(wc_right_factor(&ctx, a, e, m, n, r, b), WC_OK);
    for (size_t j = 0; j < n; j++)
        assert_true(isfinite(b[j]) && isfinite(b[n + j]));
    free(e), free(a), free(b);
}

static void threads_do_not_change_a_bit(void **unused)
{
    (void)unused;
    size_t m = 700, n = 300, r = 40;
    float *e = util_normals(m * n), *h = util_moments(n, 400, 2, 1e-3);
    wc_projector p[2];
    for (int t = 0; t < 2; t++) {
        wc_ctx ctx;
        wc_ctx_init(&ctx, 1 + 2 * t);
        assert_int_equal(wc_projector_make(&ctx, "t", e, m, n, &(wc_metric){.h = h, .damping = 1e-6}, r, &p[t]), WC_OK);
    }
    assert_memory_equal(p[0].u, p[1].u, r * m * sizeof *p->u);
    assert_memory_equal(p[0].lambda, p[1].lambda, r * sizeof *p->lambda);
    wc_projector_free(&p[0]), wc_projector_free(&p[1]);
    free(e), free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eigenvectors_satisfy_their_equation),
        cmocka_unit_test(cholesky_in_f64_solves),
        cmocka_unit_test(error_is_the_sum_of_discarded_eigenvalues),
        cmocka_unit_test(full_metric_is_optimal),
        cmocka_unit_test(odd_moments_are_met),
        cmocka_unit_test(right_factor_solves_the_normal_equations),
        cmocka_unit_test(threads_do_not_change_a_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
