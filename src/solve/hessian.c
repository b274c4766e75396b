#include "solve/hessian.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"

enum { ATTEMPTS = 3 };
static const double dead_below = 1e-12; /* of the largest diagonal element */

/* Of those above least. */
static double mean_above(const float *x, size_t stride, size_t n, float least)
{
    double sum = 0;
    size_t live = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i * stride] > least) sum += (double)x[i * stride], live++;
    return live ? sum / (double)live : 1;
}

static double mean_diagonal(const float *h, size_t n, float least)
{
    return mean_above(h, n + 1, n, least);
}

void wc_diagonal_weights(const float *diag, size_t stride, size_t n, float *weight)
{
    double mean = diag ? mean_above(diag, stride, n, 0) : 1;
    for (size_t i = 0; i < n; i++)
        weight[i] = diag ? (float)(((double)diag[i * stride] + 0.01 * mean) / mean) : 1;
}

void wc_hessian_weights(const float *h, size_t n, float *weight)
{
    wc_diagonal_weights(h, n + 1, n, weight);
}

/* The sentence for moments that condition() cannot use. */
static wc_status refuse(wc_ctx *ctx, const char *tensor, const float *h, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++)
            if (!isfinite(h[i * n + j]))
                return wc_fail(ctx, WC_NUMERIC, "%s: second moment of inputs %zu and %zu is not finite", tensor, i, j);
        if (h[i * n + i] < 0)
            return wc_fail(ctx, WC_NUMERIC, "%s: second moment of input %zu is negative (%g)", tensor, i,
                           (double)h[i * n + i]);
    }
    return wc_fail(ctx, WC_NUMERIC, "%s: second moments off the diagonal exceed the diagonal beyond f32", tensor);
}

/* out->h = scale * H with dead columns cut off, not yet damped; diag [n] is its diagonal. */
static wc_status condition(wc_ctx *ctx, const char *tensor, const float *h, size_t n, wc_hessian *out, float *diag)
{
    float top = 0, least;
    bool good = true;
    for (size_t i = 0; i < n; i++) {
        diag[i] = h[i * n + i];
        good = good && diag[i] >= 0 && isfinite(diag[i]);
        top = fmaxf(top, diag[i]);
    }
    if (!good) return refuse(ctx, tensor, h, n);
    least = (float)(dead_below * (double)top);
    int e = ilogb(mean_diagonal(h, n, least));
    out->scale = ldexp(1, e < -126 ? 126 : e > 126 ? -126 : -e);
    float scale = (float)out->scale;
#pragma omp parallel for schedule(static) num_threads(ctx->threads) reduction(&& : good)
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            float v = h[i * n + j] * scale;
            good = good && fabsf(v) <= FLT_MAX;
            out->h[i * n + j] = diag[i] > least && diag[j] > least ? v : 0;
        }
    if (!good) return refuse(ctx, tensor, h, n);
    for (size_t i = 0; i < n; i++) {
        if (!(diag[i] > least)) out->h[i * n + i] = 1, out->dead++;
        diag[i] = out->h[i * n + i];
    }
    return WC_OK;
}

struct ranked {
    float diag;
    uint32_t column;
};

static int larger_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->diag != y->diag) return x->diag > y->diag ? -1 : 1;
    return x->column < y->column ? -1 : 1;
}

wc_status wc_hessian_rank(wc_ctx *ctx, const float *diag, size_t n, size_t width, uint32_t **order)
{
    struct ranked *list;
    size_t runs = wc_ceil_div(n, width);
    WC_TRY(WC_ALLOC(ctx, list, runs, "the column order"));
    for (size_t b = 0; b < runs; b++) {
        list[b] = (struct ranked){0, (uint32_t)(b * width)};
        for (size_t i = b * width; i < wc_min((b + 1) * width, n); i++)
            list[b].diag += diag[i];
        if ((b + 1) * width > n) list[b].diag = -1;
    }
    qsort(list, runs, sizeof *list, larger_first);
    wc_status status = WC_ALLOC(ctx, *order, n, "the column order");
    for (size_t i = 0; status == WC_OK && i < n; i++)
        (*order)[i] = list[i / width].column + (uint32_t)(i % width);
    free(list);
    return status;
}

/* u = H' in processing order. */
static void order_columns(wc_ctx *ctx, wc_hessian *h)
{
    size_t n = h->n;
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            h->u[i * n + j] = h->order ? h->h[(size_t)h->order[i] * n + h->order[j]] : h->h[i * n + j];
}

/* Divides the block of columns b .. b + width of R from the right by R_BB: per row, X R_BB = R_kB solved left to right.
 */
static void unit_blocks(wc_ctx *ctx, wc_hessian *h)
{
    size_t n = h->n, w = h->width;
    for (size_t i = 0; i < n; i++)
        for (size_t j = i / w * w; j < wc_min(i / w * w + w, n); j++)
            h->pivot[i * w + j % w] = h->u[i * n + j];
#pragma omp parallel for schedule(dynamic, 64) num_threads(ctx->threads)
    for (size_t k = 0; k < n; k++)
        for (size_t b = (k / w + 1) * w; b < n; b += w)
            for (size_t j = b; j < wc_min(b + w, n); j++) {
                float x = h->u[k * n + j];
                for (size_t i = b; i < j; i++)
                    x -= h->u[k * n + i] * h->pivot[i * w + (j - b)];
                h->u[k * n + j] = x / h->pivot[j * w + (j - b)];
            }
}

/* Cholesky without pivoting commutes with scaling rows and columns by powers of two, so a Jacobi scaling would not
 * change one bit of the result; f32 is enough with any useful damping (test_gptq: cond 1e6). */
static wc_status factorise(wc_ctx *ctx, const char *tensor, double damping, const float *diag, wc_hessian *out)
{
    size_t n = out->n, info = 0;
    double mean = mean_diagonal(out->h, n, 0);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        out->damping = attempt ? fmax(damping, 1e-3) * pow(10, attempt) : damping;
        for (size_t i = 0; i < n; i++)
            out->h[i * n + i] = (float)(diag[i] + out->damping * mean);
        order_columns(ctx, out);
        info = wc_cholesky_upper(ctx, out->u, n);
        if (!info) return WC_OK;
        out->escalations = attempt + 1;
        size_t position = n - info;
        wc_log(ctx, WC_LOG_WARN, "%s: second moments not positive at input %zu with damping %g", tensor,
               out->order ? (size_t)out->order[position] : position, out->damping);
    }
    size_t position = n - info;
    return wc_fail(ctx, WC_NUMERIC, "%s: second moments not positive at input %zu of %zu, even with damping %g", tensor,
                   out->order ? (size_t)out->order[position] : position, n, out->damping);
}

wc_status wc_hessian_make(wc_ctx *ctx, const char *tensor, const float *h, size_t n, double damping, wc_order order,
                          size_t width, wc_hessian *out)
{
    wc_status status = WC_OK;
    wc_hessian made = {.n = n, .width = width};
    float *diag = NULL;
    WC_TRY_OUT(WC_ALLOC(ctx, diag, n, "a diagonal"));
    WC_TRY_OUT(WC_ALLOC(ctx, made.h, n * n, "damped second moments"));
    WC_TRY_OUT(WC_ALLOC(ctx, made.u, n * n, "the Cholesky factor"));
    WC_TRY_OUT(WC_ALLOC(ctx, made.pivot, n * width, "the Cholesky pivots"));
    WC_TRY_OUT(condition(ctx, tensor, h, n, &made, diag));
    if (order == WC_ORDER_ACT) WC_TRY_OUT(wc_hessian_rank(ctx, diag, n, width, &made.order));
    WC_TRY_OUT(factorise(ctx, tensor, damping, diag, &made));
    unit_blocks(ctx, &made);
out:
    free(diag);
    if (status == WC_OK) {
        *out = made;
    } else {
        *out = (wc_hessian){.damping = made.damping, .escalations = made.escalations};
        wc_hessian_free(&made);
    }
    return status;
}

void wc_hessian_free(wc_hessian *h)
{
    if (!h) return;
    free(h->h), free(h->u), free(h->pivot), free(h->order);
    memset(h, 0, sizeof *h);
}
