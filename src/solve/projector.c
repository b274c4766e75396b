#include "solve/projector.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"

enum { ATTEMPTS = 8, PANEL_ROWS = 256 };
static const double least_raise = 1e-7; /* damping that the first failure raises tenfold */
static const double negligible = 1e-24; /* of |F v_0|^2: below this F v_j is rounding noise */

/* ---- F = E S ---------------------------------------------------------------------------------------------------- */

/* l [n, n] = H + damping * mean(diag H) I, lower triangle. */
static wc_status damped(wc_ctx *ctx, const char *tensor, const float *h, size_t n, double damping, double *l)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)h[i * n + i];
        if (!(d >= 0) || !isfinite(d))
            return wc_fail(ctx, WC_NUMERIC, "%s: second moment of input %zu is %g", tensor, i, d);
        sum += d;
    }
    double add = sum > 0 ? damping * sum / (double)n : 1;
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++)
            l[i * n + j] = (double)h[i * n + j] + (i == j ? add : 0);
    return WC_OK;
}

/* f := f L, L L^T = damped H. */
static wc_status times_root(wc_ctx *ctx, const char *tensor, const wc_metric *metric, size_t rows, size_t n, double *f,
                            wc_projector *out)
{
    wc_status status = WC_OK;
    double *l = NULL;
    size_t info = 1;
    WC_TRY_OUT(WC_ALLOC(ctx, l, n * n, "the root of the second moments"));
    for (int attempt = 0; info && attempt < ATTEMPTS; attempt++) {
        out->damping = attempt ? fmax(metric->damping, least_raise) * pow(10, attempt) : metric->damping;
        out->escalations = attempt;
        if (attempt)
            wc_log(ctx, WC_LOG_WARN, "%s: second moments not positive at input %zu, damping is raised to %g", tensor,
                   info - 1, out->damping);
        WC_TRY_OUT(damped(ctx, tensor, metric->h, n, out->damping, l));
        info = wc_cholesky64(ctx, l, n);
    }
    if (info)
        WC_TRY_OUT(wc_fail(ctx, WC_NUMERIC, "%s: second moments not positive at input %zu of %zu, even with damping %g",
                           tensor, info - 1, n, out->damping));
    wc_times_lower64(ctx, l, n, f, rows);
out:
    free(l);
    return status;
}

/* f [rows, cols] = E, times the root of a diagonal metric. */
static void to_f64(wc_ctx *ctx, const float *e, size_t rows, size_t cols, const wc_metric *metric, double *f)
{
    const float *scale = metric->h ? NULL : metric->scale;
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            f[i * cols + j] = (double)e[i * cols + j] * (scale ? (double)scale[j] : 1);
}

wc_status wc_whiten(wc_ctx *ctx, const char *tensor, const float *const *e, const size_t *rows, size_t count,
                    size_t cols, const wc_metric *metric, double *f, wc_projector *used)
{
    wc_projector info = {0};
    size_t all = 0;
    for (size_t i = 0; i < count; all += rows[i++])
        to_f64(ctx, e[i], rows[i], cols, metric, f + all * cols);
    if (metric->h) WC_TRY(times_root(ctx, tensor, metric, all, cols, f, &info));
    if (used) *used = info;
    return WC_OK;
}

double wc_metric_mean(const wc_metric *metric, size_t n)
{
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += metric->h       ? (double)metric->h[j * n + j]
               : metric->scale ? (double)metric->scale[j] * (double)metric->scale[j]
                               : 1;
    return sum > 0 ? sum / (double)n : 1;
}

/* ---- eigenvectors ----------------------------------------------------------------------------------------------- */

/* u [rank, rows] = V F^T, each row scaled to length 1. F v_j of different j are orthogonal. */
static void left_vectors(wc_ctx *ctx, const double *f, size_t cols, const double *v, wc_projector *p)
{
    double first = 0;
    wc_gemm64(ctx, WC_N, WC_T, p->rank, p->rows, cols, v, cols, f, cols, 0, p->u, p->rows);
    for (size_t j = 0; j < p->rank; j++) {
        double *u = p->u + j * p->rows, sum = 0;
        for (size_t i = 0; i < p->rows; i++)
            sum += u[i] * u[i];
        if (!j) first = sum;
        double unit = sum > negligible * first ? 1 / sqrt(sum) : 0;
        for (size_t i = 0; i < p->rows; i++)
            u[i] *= unit;
    }
}

/* g = F F^T, or the smaller F^T F: [k, k], k = min(rows, cols). */
static void gram(wc_ctx *ctx, const double *f, size_t rows, size_t cols, double *g)
{
    if (rows > cols)
        wc_gemm64(ctx, WC_T, WC_N, cols, cols, rows, f, cols, f, cols, 0, g, cols);
    else
        wc_gemm64(ctx, WC_N, WC_T, rows, rows, cols, f, cols, f, cols, 0, g, rows);
}

/* Frees *f as soon as it can: it is the largest array. */
static wc_status decompose(wc_ctx *ctx, double **f, size_t cols, wc_projector *p)
{
    wc_status status = WC_OK;
    bool tall = p->rows > cols;
    size_t k = tall ? cols : p->rows;
    double *g = NULL, *v = NULL;
    WC_TRY_OUT(WC_ALLOC(ctx, g, k * k, "the Gram matrix"));
    gram(ctx, *f, p->rows, cols, g);
    for (size_t i = 0; i < k; i++)
        p->total += g[i * k + i];
    if (tall) {
        WC_TRY_OUT(WC_ALLOC(ctx, v, p->rank * cols, "eigenvectors"));
        WC_TRY_OUT(wc_eigh_top(ctx, g, k, p->rank, p->lambda, v));
        left_vectors(ctx, *f, cols, v, p);
    } else {
        free(*f);
        *f = NULL;
        WC_TRY_OUT(wc_eigh_top(ctx, g, k, p->rank, p->lambda, p->u));
    }
    for (size_t j = 0; j < p->rank; j++)
        p->lambda[j] = fmax(p->lambda[j], 0);
out:
    free(g), free(v);
    return status;
}

wc_status wc_projector_make(wc_ctx *ctx, const char *tensor, const float *e, size_t rows, size_t cols,
                            const wc_metric *metric, size_t rank, wc_projector *out)
{
    wc_status status = WC_OK;
    wc_projector made = {.rows = rows, .rank = rank}, used;
    double *f = NULL;
    *out = (wc_projector){0};
    WC_TRY_OUT(WC_ALLOC(ctx, f, rows * cols, "the whitened matrix"));
    WC_TRY_OUT(WC_ALLOC(ctx, made.lambda, rank, "eigenvalues"));
    WC_TRY_OUT(WC_ALLOC(ctx, made.u, rank * rows, "eigenvectors"));
    WC_TRY_OUT(wc_whiten(ctx, tensor, &e, &rows, 1, cols, metric, f, &used));
    made.damping = used.damping;
    made.escalations = used.escalations;
    WC_TRY_OUT(decompose(ctx, &f, cols, &made));
    *out = made;
    made = (wc_projector){0};
out:
    free(f);
    wc_projector_free(&made);
    return status;
}

wc_status wc_spectrum(wc_ctx *ctx, const char *tensor, const float *e, size_t rows, size_t cols,
                      const wc_metric *metric, double *lambda)
{
    size_t k = wc_min(rows, cols);
    double *f = NULL, *g = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, f, rows * cols, "the whitened matrix"));
    WC_TRY_OUT(wc_whiten(ctx, tensor, &e, &rows, 1, cols, metric, f, NULL));
    WC_TRY_OUT(WC_ALLOC(ctx, g, k * k, "the Gram matrix"));
    gram(ctx, f, rows, cols, g);
    WC_TRY_OUT(wc_eigh_top(ctx, g, k, k, lambda, NULL));
    for (size_t j = 0; j < k; j++)
        lambda[j] = fmax(lambda[j], 0);
out:
    free(f), free(g);
    return status;
}

void wc_projector_free(wc_projector *p)
{
    if (!p) return;
    free(p->lambda), free(p->u);
    memset(p, 0, sizeof *p);
}

/* ---- one factor for a given other ------------------------------------------------------------------------------- */

/* s [rank, rank] += A_p^T A_p and x [rank, cols] += A_p^T E_p over panels of rows. ad, ed: one panel in f64. */
static void normal_equations(wc_ctx *ctx, const float *a, const float *e, size_t rows, size_t cols, size_t rank,
                             double *ad, double *ed, double *s, double *x)
{
    for (size_t i = 0; i < rows; i += PANEL_ROWS) {
        size_t nr = wc_min(PANEL_ROWS, rows - i);
        for (size_t k = 0; k < nr * rank; k++)
            ad[k] = (double)a[i * rank + k];
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
        for (size_t k = 0; k < nr * cols; k++)
            ed[k] = (double)e[i * cols + k];
        wc_gemm64(ctx, WC_T, WC_N, rank, rank, nr, ad, rank, ad, rank, 1, s, rank);
        wc_gemm64(ctx, WC_T, WC_N, rank, cols, nr, ad, rank, ed, cols, 1, x, cols);
    }
}

/* s := D s D with D = diag(s)^{-1/2}, d [rank] its diagonal: the vectors may differ in length by decades. Only the
 * strict upper triangle is meant from then on. */
static void equilibrate(double *s, size_t rank, double *d)
{
    for (size_t j = 0; j < rank; j++)
        d[j] = s[j * rank + j] > 0 ? 1 / sqrt(s[j * rank + j]) : 0;
    for (size_t i = 0; i < rank; i++)
        for (size_t j = i + 1; j < rank; j++)
            s[i * rank + j] *= d[i] * d[j];
}

/* x [rank, cols] = s^{-1} x for s [rank, rank] symmetric and not negative, which is used up. The ridge decides where
 * vectors are parallel up to rounding: it begins far below what matters and is raised, with a warning, when rounding
 * has made s indefinite. */
static wc_status solve_normal(wc_ctx *ctx, const char *tensor, double *s, size_t rank, double *x, size_t cols)
{
    wc_status status = WC_OK;
    double *d = NULL, ridge = 1e-13;
    size_t info = 1;
    WC_TRY_OUT(WC_ALLOC(ctx, d, rank, "lengths"));
    equilibrate(s, rank, d);
    for (; info && ridge < 1e-5; ridge *= 100) {
        for (size_t i = 0; i < rank; i++)
            for (size_t j = 0; j <= i; j++)
                s[i * rank + j] = i == j ? 1 + ridge : s[j * rank + i];
        info = wc_cholesky64(ctx, s, rank);
        if (info)
            wc_log(ctx, WC_LOG_WARN, "%s: vector %zu of a factor depends on the others, its ridge is raised to %g",
                   tensor, info - 1, 100 * ridge);
    }
    if (info)
        WC_TRY_OUT(wc_fail(ctx, WC_NUMERIC, "%s: vector %zu of a factor depends on the others", tensor, info - 1));
    for (size_t j = 0; j < rank; j++)
        for (size_t c = 0; c < cols; c++)
            x[j * cols + c] *= d[j];
    wc_cholesky_solve_left64(ctx, s, rank, x, cols);
    for (size_t j = 0; j < rank; j++)
        for (size_t c = 0; c < cols; c++)
            x[j * cols + c] *= d[j];
out:
    free(d);
    return status;
}

wc_status wc_right_factor(wc_ctx *ctx, const float *a, const float *e, size_t rows, size_t cols, size_t rank, float *b)
{
    wc_status status = WC_OK;
    double *s = NULL, *x = NULL, *ad = NULL, *ed = NULL;
    WC_TRY_OUT(WC_ALLOC(ctx, s, rank * rank, "the normal equations"));
    WC_TRY_OUT(WC_ALLOC(ctx, x, rank * cols, "the right factor"));
    WC_TRY_OUT(WC_ALLOC(ctx, ad, PANEL_ROWS * rank, "a panel"));
    WC_TRY_OUT(WC_ALLOC(ctx, ed, PANEL_ROWS * cols, "a panel"));
    normal_equations(ctx, a, e, rows, cols, rank, ad, ed, s, x);
    WC_TRY_OUT(solve_normal(ctx, "the right factor", s, rank, x, cols));
    for (size_t i = 0; i < rank * cols; i++)
        b[i] = (float)x[i];
out:
    free(s), free(x), free(ad), free(ed);
    return status;
}

wc_status wc_left_factor(wc_ctx *ctx, const char *tensor, const float *e, const float *b, size_t rows, size_t cols,
                         size_t rank, const wc_metric *metric, float *a, wc_projector *used)
{
    wc_status status = WC_OK;
    const float *both[2] = {e, b};
    const size_t counts[2] = {rows, rank};
    double *f = NULL, *x = NULL;
    WC_TRY_OUT(WC_ALLOC(ctx, f, (rows + rank) * cols, "the whitened matrices"));
    WC_TRY_OUT(WC_ALLOC(ctx, x, rows * rank, "the left factor"));
    WC_TRY_OUT(wc_whiten(ctx, tensor, both, counts, 2, cols, metric, f, used));
    WC_TRY_OUT(wc_least_squares64(ctx, f + rows * cols, rank, cols, f, rows, x));
    for (size_t i = 0; i < rows * rank; i++)
        a[i] = (float)x[i];
out:
    free(f), free(x);
    return status;
}
