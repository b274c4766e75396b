#include "solve/vq_solve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "linalg/linalg.h"
#include "solve/grid_fit.h"
#include "solve/panel.h"
#include "solve/vq_books.h"

static const double enough = 1e-3; /* a round that gains less of the error is the last */

/* ---- scales ----------------------------------------------------------------------------------------------------- */

static float f16_value(float x)
{
    return wc_f16_f32(wc_f32_f16(x));
}

/* The root mean square of a group: entries are then of the order of 1. */
static float spread(const wc_vq_solver *s, size_t r, size_t g)
{
    const wc_vq *o = s->out;
    size_t first = g * o->group, end = wc_min(first + o->group, o->cols);
    const float *w = s->p->w + r * o->cols;
    double sum = 0;
    for (size_t j = first; j < end; j++)
        sum += (double)w[j] * (double)w[j];
    return (float)ldexp(sqrt(sum / (double)(end - first)), -o->scale_exp);
}

static void fit_row_scales(const wc_vq_solver *s, size_t r)
{
    wc_vq *o = s->out;
    float *scale = s->scale + r * s->groups, top = 0;
    for (size_t g = 0; g < s->groups; g++) {
        scale[g] = o->scaled ? f16_value(spread(s, r, g)) : 1;
        top = fmaxf(top, scale[g]);
    }
    if (!o->scale_bits) return;
    float most = (float)((1u << o->scale_bits) - 1), unit = f16_value(top / most);
    for (size_t g = 0; g < s->groups; g++) {
        float code = unit > 0 ? fmaxf(1, fminf(most, rintf(scale[g] / unit))) : 0;
        o->scale_code[r * s->groups + g] = (uint8_t)code;
        scale[g] = unit * code;
    }
    o->scale[r] = wc_f32_f16(unit);
}

/* ---- metrics ---------------------------------------------------------------------------------------------------- */

/* A_B of what feedback pays for an error in block B: |e R_BB|^2. */
static void pivot_metric(const wc_hessian *h, size_t position, size_t count, float *a)
{
    size_t d = h->width;
    const float *pivot = h->pivot + position * d;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++) {
            float sum = 0;
            for (size_t k = i > j ? i : j; k < count; k++)
                sum += pivot[i * d + k] * pivot[j * d + k];
            a[i * d + j] = sum;
        }
}

static void set_metric(const wc_vq_solver *s, bool feedback)
{
    const wc_hessian *h = s->p->h;
    size_t d = s->d, n = s->out->cols;
    memset(s->metric, 0, s->vectors * d * d * sizeof *s->metric);
    for (size_t b = 0; b < s->vectors; b++) {
        size_t position = b * d, first = feedback && h->order ? h->order[position] : position;
        size_t count = wc_min(d, n - first);
        float *a = s->metric + first * d;
        if (feedback) {
            pivot_metric(h, position, count, a);
            continue;
        }
        for (size_t i = 0; i < count; i++)
            for (size_t j = 0; j < count; j++)
                a[i * d + j] = h ? h->h[(first + i) * n + first + j] : i == j;
    }
}

/* ---- codes ------------------------------------------------------------------------------------------------------ */

static void round_block(void *self, size_t pos, size_t count, size_t nr, const float *t, const float *pivot, float *q)
{
    wc_vq_work *w = self;
    const wc_vq_solver *s = w->s;
    const uint32_t *order = s->p->h->order;
    size_t v = (order ? order[pos] : pos) / s->d;
    const float *metric = s->metric + v * s->d * s->d;
    (void)count, (void)nr, (void)pivot; /* in the metric already */
    wc_vq_targets(w, v, t, metric);
    wc_vq_choose(w, &(wc_vq_choice){v, 0, s->books, s->p->beam, metric, false}, q);
}

static void feedback_panel(wc_vq_work *w, void *arg)
{
    const wc_vq_solver *s = w->s;
    (void)arg;
    wc_panel_load(s->p->w, s->out->cols, w->r0, w->nr, s->out->scale_exp, w->e);
    wc_vq_panel_load(w, false);
    wc_rounder rounder = {.self = w, .width = s->d, .round = round_block};
    wc_feedback f = {.h = s->p->h,
                     .kernel = s->grid,
                     .nr = w->nr,
                     .block = s->p->block,
                     .e = w->e,
                     .t = w->t,
                     .q = w->q,
                     .loss = w->loss};
    (void)wc_panel_feedback(&f, &rounder, w->x);
    wc_vq_panel_store_codes(w);
}

static void nearest_panel(wc_vq_work *w, void *arg)
{
    const wc_vq_solver *s = w->s;
    (void)arg;
    wc_panel_load(s->p->w, s->out->cols, w->r0, w->nr, s->out->scale_exp, w->e);
    wc_vq_panel_load(w, false);
    for (size_t v = 0; v < s->vectors; v++) {
        const float *metric = s->metric + v * s->d * s->d;
        wc_vq_targets(w, v, w->e + v * s->d * w->nr, metric);
        wc_vq_choose(w, &(wc_vq_choice){v, 0, s->books, s->p->beam, metric, false}, w->t + v * s->d * w->nr);
    }
    wc_vq_panel_store_codes(w);
}

/* ---- descent ---------------------------------------------------------------------------------------------------- */

/* Scales of whole rows: W^ changes by c W^, the objective by -2 c num + c^2 den, num = W^ D^T, den = W^ H W^T. */
static void refit_scales(wc_vq_work *w)
{
    const wc_vq_solver *s = w->s;
    const wc_hessian *h = s->p->h;
    size_t nr = w->nr, n = s->out->cols;
    wc_gemm1(WC_N, WC_N, n, nr, n, 1, h->h, n, w->q, nr, 0, w->x, nr);
    for (size_t r = 0; r < nr; r++) {
        double num = 0, den = 0;
        for (size_t j = 0; j < n; j++) {
            num += (double)(w->q[j * nr + r] * w->t[j * nr + r]);
            den += (double)(w->q[j * nr + r] * w->x[j * nr + r]);
        }
        if (!(den > 0)) continue;
        float old = w->scale[r], new = f16_value(old * (float)(1 + num / den)), c = new / old - 1;
        if (!(new > 0) || !isfinite(new) || !(2 * (double)c * num > (double)c * (double)c * den)) continue;
        for (size_t j = 0; j < n; j++) {
            size_t at = j * nr + r;
            w->e[at] -= c * w->q[at];
            w->t[at] -= c * w->x[at];
            w->q[at] += c * w->q[at];
        }
        w->scale[r] = s->scale[w->r0 + r] = new;
        w->inv[r] = 1 / new;
    }
}

/* The block's columns of t are D; x A x^T - 2 x . g with g = (A w^ + D) / s is what W^ = s x would cost. */
static void descend_block(void *self, size_t i, size_t count)
{
    wc_vq_work *w = self;
    const wc_vq_solver *s = w->s;
    size_t nr = w->nr, d = s->d, v = i / d;
    const float *metric = s->metric + v * d * d, *inv = w->inv + i / s->out->group * nr, *gradient = w->t + i * nr;
    float *value = w->q + i * nr, *x = w->x + i * nr, *e = w->e + i * nr;
    memset(w->g, 0, d * nr * sizeof *w->g);
    memcpy(w->g, gradient, count * nr * sizeof *w->g);
    for (size_t j = 0; j < count; j++) {
        s->grid->combine(count, nr, metric + j, d, value, w->g + j * nr);
        for (size_t r = 0; r < nr; r++) {
            w->g[j * nr + r] *= inv[r];
            w->u[j * nr + r] = value[j * nr + r] + gradient[j * nr + r] / metric[j * (d + 1)];
        }
    }
    wc_vq_choose(w, &(wc_vq_choice){v, 0, s->books, s->p->beam, metric, true}, x);
    for (size_t k = 0; k < count * nr; k++) {
        float chosen = x[k];
        x[k] = value[k] - chosen;
        value[k] = chosen;
        e[k] += x[k];
    }
}

static void descend_panel(wc_vq_work *w, void *arg)
{
    const wc_vq_solver *s = w->s;
    const wc_hessian *h = s->p->h;
    size_t nr = w->nr, n = s->out->cols;
    (void)arg;
    wc_panel_load(s->p->w, n, w->r0, nr, s->out->scale_exp, w->e);
    wc_vq_panel_load(w, true);
    wc_vq_expand(w, s->now.value, s->books, w->q);
    for (size_t i = 0; i < n * nr; i++)
        w->e[i] -= w->q[i];
    wc_gemm1(WC_N, WC_N, n, nr, n, 1, h->h, n, w->e, nr, 0, w->t, nr);
    if (s->p->refit && s->out->scaled && s->groups == 1 && !s->out->scale_bits) refit_scales(w);
    wc_sweep sweep = {.kernel = s->grid,
                      .m = h->h,
                      .n = n,
                      .ldm = n,
                      .nr = nr,
                      .width = s->d,
                      .block = s->p->block,
                      .x = w->x,
                      .y = w->t,
                      .self = w,
                      .step = descend_block};
    wc_sweep_run(&sweep);
    wc_vq_panel_store_codes(w);
}

/* ---- the matrix ------------------------------------------------------------------------------------------------- */

/* Cuts rows into panels: parts of a row block, or whole ones. */
static void cut(wc_vq_solver *s)
{
    const wc_vq *o = s->out;
    size_t rows = wc_panel_rows(o->rows);
    s->strips = wc_ceil_div(o->rows, o->block_rows);
    if (o->block_rows >= rows) {
        s->per_strip = wc_ceil_div(o->block_rows, rows);
        s->rows = wc_round_up(wc_ceil_div(o->block_rows, s->per_strip), 16);
        s->panels = s->strips * s->per_strip;
    } else {
        s->rows = rows / o->block_rows * o->block_rows;
        s->panels = wc_ceil_div(o->rows, s->rows);
    }
}

static wc_vq_solver solver_of(wc_ctx *ctx, const wc_vq_problem *p, wc_vq *out)
{
    wc_vq_solver s = {.ctx = ctx,
                      .p = p,
                      .out = out,
                      .kernel = wck_vq_at(wck_level_used()),
                      .grid = wck_grid_at(wck_level_used()),
                      .d = out->dim,
                      .k = (size_t)1 << out->bits,
                      .books = out->books,
                      .vectors = wc_vq_vectors(out),
                      .groups = wc_vq_groups(out),
                      .col_blocks = wc_ceil_div(out->cols, out->block_cols)};
    cut(&s);
    return s;
}

static void store_books(const wc_vq_solver *s)
{
    wc_vq *o = s->out;
    size_t size = s->k * s->d, books = s->strips * s->col_blocks * s->books;
    for (size_t b = 0; b < books; b++) {
        float step = s->now.step[b], inv = step > 0 ? 1 / step : 0;
        if (o->step) o->step[b] = wc_f32_f16(step);
        for (size_t i = b * size; i < (b + 1) * size; i++) {
            if (o->entry)
                o->entry[i] = wc_f32_f16(s->now.value[i]);
            else
                o->small_entry[i] = (int8_t)rintf(s->now.value[i] * inv);
        }
    }
    for (size_t i = 0; i < o->rows * s->groups && o->scaled && !o->scale_bits; i++)
        o->scale[i] = wc_f32_f16(s->scale[i]);
}

static wc_status improve(wc_vq_solver *s, wc_vq_work *work, wc_vq_sums *sums, double *objective)
{
    set_metric(s, false);
    WC_TRY(wc_vq_refit(s, work, sums, objective));
    for (int round = 0; round < s->p->rounds; round++) {
        double last = *objective;
        wc_vq_for_panels(s, work, descend_panel, NULL);
        WC_TRY(wc_vq_refit(s, work, sums, objective));
        if (*objective > last * (1 - enough)) break;
    }
    return WC_OK;
}

static wc_status stages(wc_vq_solver *s, wc_vq_work *work, wc_vq_sums *sums, double *loss)
{
    const wc_vq_problem *p = s->p;
    bool feedback = p->h && p->feedback;
    double objective = 0;
    set_metric(s, feedback);
    for (size_t m = 0; m < s->books; m++)
        WC_TRY(wc_vq_kmeans(s, work, sums, m));
    wc_vq_for_panels(s, work, feedback ? feedback_panel : nearest_panel, NULL);
    if (p->h && p->rounds)
        WC_TRY(improve(s, work, sums, &objective));
    else if (p->h && loss)
        objective = wc_vq_objective(s, work);
    if (loss) *loss = p->h ? ldexp(objective, 2 * s->out->scale_exp) / p->h->scale : 0;
    return WC_OK;
}

wc_status wc_vq_solve(wc_ctx *ctx, const wc_vq_problem *p, wc_vq *out, double *loss)
{
    wc_status status = WC_OK;
    wc_vq made = *out;
    wc_vq_solver s = solver_of(ctx, p, &made);
    wc_vq_sums sums = {0};
    wc_vq_work *work = NULL;
    size_t threads = wc_min(wc_min((size_t)ctx->threads, WC_VQ_SHARES), s.panels);
    float top = 0;
    WC_TRY(wc_panel_largest(ctx, p->tensor, p->w, out->rows, out->cols, &top));
    WC_TRY(wc_vq_alloc(ctx, &made));
    made.scale_exp = wc_grid_scale_exp(top);
    WC_TRY_OUT(wc_vq_books_alloc(&s, &s.now));
    WC_TRY_OUT(wc_vq_sums_alloc(&s, &sums));
    WC_TRY_OUT(WC_ALLOC(ctx, s.metric, s.vectors * s.d * s.d, "metrics of vectors"));
    WC_TRY_OUT(WC_ALLOC(ctx, s.scale, out->rows * s.groups, "vector scales"));
    WC_TRY_OUT(WC_ALLOC(ctx, s.loss, s.panels, "panel losses"));
    WC_TRY_OUT(WC_ALLOC(ctx, work, threads, "workspaces"));
    for (size_t t = 0; t < threads; t++)
        WC_TRY_OUT(wc_vq_work_alloc(&s, work + t));
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t r = 0; r < out->rows; r++)
        fit_row_scales(&s, r);
    WC_TRY_OUT(stages(&s, work, &sums, loss));
    store_books(&s);
    *out = made;
out:
    for (size_t t = 0; work && t < threads; t++)
        wc_vq_work_free(work + t);
    wc_vq_sums_free(&sums);
    wc_vq_books_free(&s.now);
    free(work), free(s.metric), free(s.scale), free(s.loss);
    if (status != WC_OK) {
        wc_part part = {.kind = WC_PART_VQ, .vq = made};
        wc_part_free(&part);
    }
    return status;
}

/* Panels of as many threads as there may be, codes, codebooks with their sums and gradients. */
uint64_t wc_vq_scratch(const wc_vq *plan)
{
    wc_vq out = *plan;
    wc_vq_problem p = {.beam = WC_VQ_MAX_BEAM};
    wc_vq_solver s = solver_of(NULL, &p, &out);
    uint64_t matrix = (uint64_t)out.rows * out.cols, in_work = wc_min(WC_VQ_SHARES * s.rows, out.rows);
    uint64_t codes = 2 * (uint64_t)s.books * s.vectors, shares = s.per_strip <= 1 ? 1 : WC_VQ_SHARES;
    uint64_t entries = (uint64_t)wc_vq_blocks(&out) * s.books << out.bits, seeds = 16 * s.k < 8192 ? 8192 : 16 * s.k;
    uint64_t per_entry = 8 * shares * (s.d * s.d + s.d + 1) + s.d * (8 * 4 + 4 * 4) + 1;
    return in_work * (16 * (uint64_t)out.cols + codes) + codes * out.rows + (out.signs ? 2 * matrix : 0) +
           entries * per_entry + WC_VQ_SHARES * (seeds * (4 * s.d + 8) + (400u << 10)) + 4 * out.rows * s.groups;
}
