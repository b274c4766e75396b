#include "solve/masked_ls.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "solve/feedback.h"
#include "solve/panel.h"

enum { ROWS = 256 }; /* of a panel: enough for gemm, few enough to share out */

/* A panel: nr rows of W, their mask, and room for four matrices like it, of which each way uses what it needs. */
struct panel {
    const wc_masked_problem *p;
    const wc_hessian *scaled; /* admm: of A + rho I */
    size_t nr;
    float *w; /* [nr, n] */
    const uint8_t *mask;
    float *a, *b, *c, *d; /* [nr, n] scratch */
};

/* y = x H with y = 0 at the pruned. */
static void times_h(const struct panel *q, const float *x, float *y)
{
    size_t n = q->p->h->n;
    wc_gemm1(WC_N, WC_N, q->nr, n, n, 1, x, n, q->p->h->h, n, 0, y, n);
    for (size_t i = 0; i < q->nr * n; i++)
        y[i] = q->mask[i] ? y[i] : 0;
}

/* ---- conjugate gradients ---------------------------------------------------------------------------------------- */

/* Row `row' of the panel: z = r / diag(H); the sum of r z. */
static double precondition(const struct panel *q, size_t row, const float *r, float *z)
{
    size_t n = q->p->h->n;
    const float *h = q->p->h->h;
    double sum = 0;
    for (size_t j = row * n, k = 0; k < n; j++, k++) {
        z[j] = r[j] / h[k * n + k];
        sum += (double)r[j] * (double)z[j];
    }
    return sum;
}

/* One row's step along p, whose product with H is y: *rz falls to that of the new residual. Returns by how much the
 * objective fell: rz^2 / p y. */
static double step_row(const struct panel *q, size_t row, float *r, float *p, float *y, double *rz)
{
    size_t n = q->p->h->n, begin = row * n;
    double py = 0, old = *rz;
    for (size_t j = begin; j < begin + n; j++)
        py += (double)p[j] * (double)y[j];
    if (!(old > 0 && py > 0)) return 0;
    float alpha = (float)(old / py);
    for (size_t j = begin; j < begin + n; j++) {
        q->w[j] += alpha * p[j];
        r[j] -= alpha * y[j];
    }
    *rz = precondition(q, row, r, y); /* y becomes z */
    float beta = (float)(*rz / old);
    for (size_t j = begin; j < begin + n; j++)
        p[j] = y[j] + beta * p[j];
    return old * old / py;
}

/* a: residual, b: direction, c: product. Ends when a step gains less than `enough' of all gains. */
static void conjugate_gradients(const struct panel *q)
{
    static const double enough = 1e-6;
    size_t n = q->p->h->n;
    double rz[ROWS], total = 0;
    for (size_t i = 0; i < q->nr * n; i++) {
        q->b[i] = q->mask[i] ? 0 : q->w[i];
        q->w[i] -= q->b[i];
    }
    times_h(q, q->b, q->a);
    for (size_t r = 0; r < q->nr; r++)
        rz[r] = precondition(q, r, q->a, q->b);
    for (int step = 0; step < q->p->steps; step++) {
        double gain = 0;
        times_h(q, q->b, q->c);
        for (size_t r = 0; r < q->nr; r++)
            gain += step_row(q, r, q->a, q->b, q->c, &rz[r]);
        total += gain;
        if (!(gain > enough * total)) break;
    }
}

/* ---- alternating directions ------------------------------------------------------------------------------------- */

static const double rho = 1; /* of the unit diagonal */

/* The problem in units of 1/sqrt(diag H), where the diagonal of A is 1. a: B = W_0 A, b: U, c: Z, d: W. */
static void alternate(const struct panel *q)
{
    const wc_hessian *h = q->p->h;
    size_t n = h->n, count = q->nr * n;
    float scale = (float)q->scaled->scale; /* of the factor's matrix, in units of A + rho I */
    for (size_t i = 0; i < count; i++)
        q->d[i] = q->w[i] * sqrtf(h->h[i % n * (n + 1)]);
    wc_gemm1(WC_N, WC_N, q->nr, n, n, 1, q->w, n, h->h, n, 0, q->a, n);
    for (size_t i = 0; i < count; i++)
        q->a[i] /= sqrtf(h->h[i % n * (n + 1)]);
    memset(q->b, 0, count * sizeof *q->b);
    for (int step = 0;; step++) {
        for (size_t i = 0; i < count; i++)
            q->c[i] = q->mask[i] ? q->d[i] + q->b[i] : 0;
        if (step == q->p->steps) break;
        for (size_t i = 0; i < count; i++) {
            q->b[i] += q->d[i] - q->c[i];
            q->d[i] = scale * (q->a[i] + (float)rho * (q->c[i] - q->b[i]));
        }
        wc_cholesky_solve_right(NULL, q->scaled->u, q->scaled->pivot, n, q->d, q->nr);
    }
    for (size_t i = 0; i < count; i++)
        q->w[i] = q->c[i] / sqrtf(h->h[i % n * (n + 1)]);
}

/* The factor of A + rho I, A = H scaled to a unit diagonal. */
static wc_status factor_scaled(wc_ctx *ctx, const wc_masked_problem *p, wc_hessian *out)
{
    size_t n = p->h->n;
    float *a;
    WC_TRY(WC_ALLOC(ctx, a, n * n, "scaled second moments"));
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            a[i * n + j] = p->h->h[i * n + j] / (sqrtf(p->h->h[i * n + i]) * sqrtf(p->h->h[j * n + j]));
    wc_status status = wc_hessian_make(ctx, p->tensor, a, n, rho, WC_ORDER_NATURAL, 1, out);
    free(a);
    return status;
}

/* ---- the sweep -------------------------------------------------------------------------------------------------- */

struct holder {
    const uint8_t *keep; /* [n, nr] natural order */
    const uint32_t *order;
};

static void hold_step(void *self, size_t pos, size_t count, size_t nr, const float *t, const float *pivot, float *q)
{
    const struct holder *h = self;
    const uint8_t *keep = h->keep + (h->order ? h->order[pos] : pos) * nr;
    (void)count, (void)pivot;
    for (size_t r = 0; r < nr; r++)
        q[r] = keep[r] ? t[r] : 0;
}

/* a: W - W^ transposed, b: targets, c: permuted, d: the mask transposed, then losses and a column. */
static void sweep(const struct panel *q)
{
    const wc_hessian *h = q->p->h;
    size_t n = h->n, nr = q->nr;
    double loss[ROWS];
    float column[ROWS];
    uint8_t *keep = (uint8_t *)q->d;
    struct holder self = {keep, h->order};
    wc_rounder rounder = {.self = &self, .width = 1, .round = hold_step};
    wc_feedback f = {.h = h,
                     .kernel = wck_grid_at(wck_level_used()),
                     .nr = nr,
                     .block = 256,
                     .e = q->a,
                     .t = q->b,
                     .q = column,
                     .loss = loss};
    wc_panel_load(q->w, n, 0, nr, 0, q->a);
    wc_panel_load_mask(q->mask, n, 0, nr, keep);
    wc_panel_feedback(&f, &rounder, q->c);
    for (size_t r = 0; r < nr; r++)
        for (size_t j = 0; j < n; j++) {
            float *w = q->w + r * n + j;
            *w = q->mask[r * n + j] ? *w - q->a[j * nr + r] : 0;
        }
}

/* ---- the matrix ------------------------------------------------------------------------------------------------- */

static wc_status check_finite(wc_ctx *ctx, const wc_masked_problem *p, const float *w)
{
    size_t n = p->h->n;
    for (size_t i = 0; i < p->rows * n; i++)
        if (!isfinite(w[i]))
            return wc_fail(ctx, WC_NUMERIC, "%s: the updated survivor in row %zu, column %zu is not finite", p->tensor,
                           i / n, i % n);
    return WC_OK;
}

wc_status wc_masked_update(wc_ctx *ctx, const wc_masked_problem *p, wc_masked_way way, float *w)
{
    wc_status status = WC_OK;
    size_t n = p->h->n, panels = wc_ceil_div(p->rows, ROWS), size = wc_min(ROWS, p->rows) * n;
    int threads = (int)wc_min((size_t)ctx->threads, panels);
    wc_hessian scaled = {0};
    float *scratch = NULL;
    if (p->h->width != 1) return wc_fail(ctx, WC_BUG, "%s: survivors need a factor of width 1", p->tensor);
    if (way == WC_MASKED_ADMM) WC_TRY_OUT(factor_scaled(ctx, p, &scaled));
    WC_TRY_OUT(WC_ALLOC(ctx, scratch, (size_t)threads * 4 * size, "panels of survivors"));
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t i = 0; i < panels; i++) {
        float *own = scratch + (size_t)omp_get_thread_num() * 4 * size;
        struct panel q = {.p = p, .scaled = &scaled, .nr = wc_min(ROWS, p->rows - i * ROWS)};
        q.w = w + i * ROWS * n;
        q.mask = p->mask + i * ROWS * n;
        q.a = own, q.b = own + size, q.c = own + 2 * size, q.d = own + 3 * size;
        (way == WC_MASKED_LS ? conjugate_gradients : way == WC_MASKED_ADMM ? alternate : sweep)(&q);
    }
    WC_TRY_OUT(check_finite(ctx, p, w));
out:
    free(scratch);
    wc_hessian_free(&scaled);
    return status;
}

uint64_t wc_masked_scratch(size_t rows, size_t n, wc_masked_way way)
{
    uint64_t squares = way == WC_MASKED_ADMM ? 3 * (uint64_t)n * n * sizeof(float) : 0;
    return 4 * (uint64_t)wc_round_up(rows, ROWS) * n * sizeof(float) + squares;
}
