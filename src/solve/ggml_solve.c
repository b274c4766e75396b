#include "solve/ggml_solve.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "linalg/linalg.h"
#include "solve/ggml_octet.h"
#include "solve/panel.h"

enum { RUN = 32 }; /* columns between which descent carries changes over inside a block */

struct solver {
    const wc_ggml_problem *p;
    wc_ggml *out;
    const wck_grid *grid_kernel;
    size_t rows; /* per panel */
};

/* One panel and what one thread needs for it. */
struct panel {
    const struct solver *s;
    wc_ggml_panel q;
    float *e, *value, *t;      /* [cols, nr] W - W^, W^, targets or D */
    float *ordered, *x;        /* [cols, nr] */
    float *out;                /* [8, nr] */
    float *before, *inner;     /* [block, nr] */
    float *run_before, *local; /* [RUN, nr] */
    float *u, *v, *hu, *hv;    /* [block, nr] */
    double *loss;              /* [nr] */
    size_t block;              /* the one that descends */
    size_t saturated;
};

size_t wc_ggml_width(const wc_ggml_type *t)
{
    return t->dim == 1 ? 1 : 8;
}

static size_t run_of(const wc_ggml_type *t)
{
    return wc_min(t->sub, RUN);
}

static wc_status panel_alloc(wc_ctx *ctx, const struct solver *s, struct panel *p)
{
    const wc_ggml_type *t = s->out->type;
    size_t rows = s->rows, all = s->out->cols * rows, block = t->block * rows;
    *p = (struct panel){.s = s};
    float **blocks[] = {&p->before, &p->inner, &p->u, &p->v, &p->hu, &p->hv};
    WC_TRY(wc_ggml_panel_alloc(ctx, t, s->out->cols, rows, &p->q));
    WC_TRY(WC_ALLOC(ctx, p->e, all, "a panel"));
    WC_TRY(WC_ALLOC(ctx, p->out, 8 * rows, "a panel's columns"));
    if (!s->p->h) return WC_OK;
    WC_TRY(WC_ALLOC(ctx, p->t, all, "a panel's targets"));
    WC_TRY(WC_ALLOC(ctx, p->loss, rows, "a panel's losses"));
    if (s->p->h->order) WC_TRY(WC_ALLOC(ctx, p->ordered, all, "a permuted panel"));
    if (!s->p->passes) return WC_OK;
    WC_TRY(WC_ALLOC(ctx, p->value, all, "a panel's values"));
    WC_TRY(WC_ALLOC(ctx, p->x, all, "a panel's changes"));
    WC_TRY(WC_ALLOC(ctx, p->run_before, RUN * rows, "a panel's values"));
    WC_TRY(WC_ALLOC(ctx, p->local, RUN * rows, "a panel's changes"));
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        WC_TRY(WC_ALLOC(ctx, *blocks[i], block, "a block's columns"));
    return WC_OK;
}

static void panel_free(struct panel *p)
{
    wc_ggml_panel_free(&p->q);
    free(p->e), free(p->value), free(p->t), free(p->ordered), free(p->x), free(p->out), free(p->before);
    free(p->inner), free(p->run_before), free(p->local), free(p->u), free(p->v), free(p->hu), free(p->hv);
    free(p->loss);
}

/* ---- codes ---------------------------------------------------------------------------------------------------------
 */

/* G = R_BB R_BB^T of a block of feedback. */
static void feedback_metric(const float *pivot, wc_octet_metric *m)
{
    float g[64] = {0};
    for (size_t i = 0; i < 8; i++)
        for (size_t j = 0; j < 8; j++)
            for (size_t k = i > j ? i : j; k < 8; k++)
                g[8 * i + j] += pivot[8 * i + k] * pivot[8 * j + k];
    wc_octet_metric_make(g, m);
}

static void round_step(void *self, size_t pos, size_t count, size_t nr, const float *t, const float *pivot, float *q)
{
    struct panel *p = self;
    const uint32_t *order = p->s->p->h->order;
    size_t column = order ? order[pos] : pos;
    wc_octet_metric metric;
    (void)nr;
    if (count == 1) {
        wc_ggml_round(&p->q, column, t, q);
        return;
    }
    feedback_metric(pivot, &metric);
    wc_octet_round(&p->q, column, &metric, t, false, q);
}

static double find_codes(struct panel *p)
{
    const struct solver *s = p->s;
    if (!s->p->h) {
        for (size_t j = 0; p->q.type->dim == 1 && j < s->out->cols; j++) /* else the fit has left them */
            wc_ggml_round(&p->q, j, p->e + j * p->q.nr, p->out);
        return 0;
    }
    wc_rounder rounder = {.self = p, .width = wc_ggml_width(p->q.type), .round = round_step};
    wc_feedback f = {.h = s->p->h,
                     .kernel = s->grid_kernel,
                     .nr = p->q.nr,
                     .block = s->p->block,
                     .e = p->e,
                     .t = p->t,
                     .q = p->out,
                     .loss = p->loss};
    return wc_panel_feedback(&f, &rounder, p->ordered);
}

/* ---- descent: the two levels of scales ------------------------------------------------------------------------------
 */

/* values of `runs' runs from the first on. */
static void expand(struct panel *p, size_t first_sub, size_t subs)
{
    size_t step = p->q.type->sub * p->q.nr;
    for (size_t i = first_sub; i < first_sub + subs; i++)
        wc_ggml_expand(&p->q, i, p->value + i * step);
}

/* The quadratic that a change of (d, m), or of two integer codes, makes of the objective: E falls by du U - dv V, so it
 * changes by -2 du (D U) + 2 dv (D V) + du^2 UHU + dv^2 VHV - 2 du dv UHV. */
typedef struct quadratic {
    double du, dv, uu, vv, uv;
} quadratic;

static double change(const quadratic *q, double a, double b)
{
    return -2 * a * q->du + 2 * b * q->dv + a * a * q->uu + b * b * q->vv - 2 * a * b * q->uv;
}

static void minimise(const quadratic *q, double *a, double *b)
{
    double det = q->uu * q->vv - q->uv * q->uv;
    if (det > 1e-9 * q->uu * q->vv) {
        *a = (q->du * q->vv - q->uv * q->dv) / det;
        *b = (q->uv * q->du - q->uu * q->dv) / det;
        return;
    }
    *a = q->uu > 0 ? q->du / q->uu : 0;
    *b = 0;
}

static quadratic gather(const float *d, const float *u, const float *hu, const float *v, const float *hv, size_t n,
                        size_t nr, bool has_v)
{
    quadratic q = {0};
    for (size_t j = 0; j < n; j++) {
        q.du += (double)d[j * nr] * (double)u[j * nr];
        q.uu += (double)u[j * nr] * (double)hu[j * nr];
        if (!has_v) continue;
        q.dv += (double)d[j * nr] * (double)v[j * nr];
        q.vv += (double)v[j * nr] * (double)hv[j * nr];
        q.uv += (double)v[j * nr] * (double)hu[j * nr];
    }
    return q;
}

static double f16(double x)
{
    float y = wc_f16_f32(wc_f32_f16((float)x));
    return isfinite(y) ? (double)y : x < 0 ? -65504 : 65504;
}

/* u, v [sub, nr] of a run: what one unit of d (or of the scale code), and of m (or the min code), adds to W^ and takes
 * from it. */
static void derivatives(const struct panel *p, size_t sub, bool of_codes, float *u, float *v)
{
    const wc_ggml_type *t = p->q.type;
    size_t nr = p->q.nr, block = sub * t->sub / t->block * nr;
    for (size_t j = sub * t->sub; j < (sub + 1) * t->sub; j++, u += nr, v += nr)
        for (size_t r = 0; r < nr; r++) {
            size_t at = sub * nr + r;
            float x = p->q.level[p->q.code[j / t->dim * nr + r] * t->dim + j % t->dim];
            if (t->sign_bits && p->q.sign[j / 8 * nr + r] >> j % 8 & 1) x = -x;
            u[r] = x * (of_codes ? p->q.d[block + r] * t->mul : t->mul * (float)p->q.scale[at] + t->add);
            v[r] = of_codes ? p->q.m[block + r] : t->min_bits ? (float)p->q.min[at] : (float)t->has_m;
        }
}

static void refit_block(struct panel *p)
{
    const wc_ggml_type *t = p->q.type;
    const wc_hessian *h = p->s->p->h;
    size_t n = t->block, nr = p->q.nr, first = p->block * n, subs = n / t->sub;
    const float *hb = h->h + first * h->n + first;
    for (size_t i = 0; i < subs; i++)
        derivatives(p, p->block * subs + i, false, p->u + i * t->sub * nr, p->v + i * t->sub * nr);
    wc_gemm1(WC_N, WC_N, n, nr, n, 1, hb, h->n, p->u, nr, 0, p->hu, nr);
    if (t->has_m) wc_gemm1(WC_N, WC_N, n, nr, n, 1, hb, h->n, p->v, nr, 0, p->hv, nr);
    for (size_t r = 0; r < nr; r++) {
        float *d = p->t + first * nr + r;
        quadratic q = gather(d, p->u + r, p->hu + r, p->v + r, p->hv + r, n, nr, t->has_m);
        double old_d = (double)p->q.d[p->block * nr + r], old_m = t->has_m ? (double)p->q.m[p->block * nr + r] : 0, a,
               b;
        minimise(&q, &a, &b);
        a = f16(old_d + a) - old_d;
        b = t->has_m ? f16(t->min_bits ? fmax(old_m + b, 0) : old_m + b) - old_m : 0;
        if (!(change(&q, a, b) < 0)) continue;
        p->q.d[p->block * nr + r] = (float)(old_d + a);
        if (t->has_m) p->q.m[p->block * nr + r] = (float)(old_m + b);
        for (size_t j = 0; j < n; j++)
            d[j * nr] -= (float)a * p->hu[j * nr + r] - (t->has_m ? (float)b * p->hv[j * nr + r] : 0);
    }
    wc_ggml_scales(&p->q, p->block);
    expand(p, p->block * subs, subs);
}

/* y_c = sum_k H_kc x_k over the n columns from `first' on. */
static void run_product(const struct panel *p, size_t first, size_t n, const float *x, float *y)
{
    const wc_hessian *h = p->s->p->h;
    size_t nr = p->q.nr;
    memset(y, 0, n * nr * sizeof *y);
    for (size_t c = 0; c < n; c++)
        p->s->grid_kernel->combine(n, nr, h->h + first * h->n + first + c, h->n, x, y + c * nr);
}

/* The best integers around the optimum of the quadratic. */
static bool best_codes(const quadratic *q, const wc_ggml_type *t, uint8_t *scale, uint8_t *min, double *a, double *b)
{
    double x, y, least = 0;
    int s0 = *scale, m0 = *min, top_s = (1 << t->scale_bits) - 1, top_m = (1 << t->min_bits) - 1;
    minimise(q, &x, &y);
    x = fmin(fmax(x, -s0), top_s - s0), y = fmin(fmax(y, -m0), top_m - m0);
    for (int i = 0; i < 4; i++) {
        double da = i & 1 ? ceil(x) : floor(x), db = i & 2 ? ceil(y) : floor(y), c = change(q, da, db);
        if (!(c < least)) continue;
        least = c, *a = da, *b = db;
    }
    if (!(least < 0)) return false;
    *scale = (uint8_t)(s0 + (int)*a), *min = (uint8_t)(m0 + (int)*b);
    return true;
}

static void refit_run(struct panel *p, size_t sub)
{
    const wc_ggml_type *t = p->q.type;
    size_t n = t->sub, nr = p->q.nr, first = sub * n;
    derivatives(p, sub, true, p->u, p->v);
    run_product(p, first, n, p->u, p->hu);
    if (t->min_bits) run_product(p, first, n, p->v, p->hv);
    for (size_t r = 0; r < nr; r++) {
        float *d = p->t + first * nr + r;
        double a = 0, b = 0;
        quadratic q = gather(d, p->u + r, p->hu + r, p->v + r, p->hv + r, n, nr, t->min_bits);
        if (!best_codes(&q, t, &p->q.scale[sub * nr + r], &p->q.min[sub * nr + r], &a, &b)) continue;
        wc_ggml_scale(&p->q, sub, r);
        for (size_t j = 0; j < n; j++)
            d[j * nr] -= (float)a * p->hu[j * nr + r] - (t->min_bits ? (float)b * p->hv[j * nr + r] : 0);
    }
    expand(p, sub, 1);
}

/* ---- descent: codes ---------------------------------------------------------------------------------------------- */

/* Columns first .. first + n: D is complete but for changes among themselves, which go to local [n, nr]. */
static void descend_columns(struct panel *p, size_t first, size_t n)
{
    const wc_hessian *h = p->s->p->h;
    size_t nr = p->q.nr;
    for (size_t c = 0; c < n; c++) {
        size_t j = first + c;
        float inv_h = 1 / h->h[j * h->n + j], *value = p->value + j * nr, *d = p->t + j * nr, *x = p->local + c * nr;
        p->s->grid_kernel->combine(c, nr, h->h + first * h->n + j, h->n, p->local, d);
        for (size_t r = 0; r < nr; r++)
            d[r] = value[r] + d[r] * inv_h;
        wc_ggml_round(&p->q, j, d, p->out);
        for (size_t r = 0; r < nr; r++)
            x[r] = value[r] - p->out[r], value[r] = p->out[r];
    }
}

static void descend_octets(struct panel *p, size_t first, size_t n)
{
    const wc_hessian *h = p->s->p->h;
    size_t nr = p->q.nr;
    for (size_t o = 0; o < n; o += 8) {
        float g[64], *value = p->value + (first + o) * nr, *d = p->t + (first + o) * nr, *x = p->local + o * nr;
        wc_octet_metric metric;
        for (size_t k = 0; k < 8; k++) {
            memcpy(g + 8 * k, h->h + (first + o + k) * h->n + first + o, 8 * sizeof *g);
            p->s->grid_kernel->combine(o, nr, h->h + first * h->n + first + o + k, h->n, p->local, d + k * nr);
        }
        wc_octet_metric_make(g, &metric);
        memcpy(x, value, 8 * nr * sizeof *x);
        for (size_t k = 0; k < 8; k++)
            for (size_t r = 0; r < nr; r++) {
                float target = value[k * nr + r];
                for (size_t i = 0; i < 8; i++)
                    target += d[i * nr + r] * metric.inverse[8 * i + k];
                p->out[k * nr + r] = target;
            }
        wc_octet_round(&p->q, first + o, &metric, p->out, true, value);
        for (size_t i = 0; i < 8 * nr; i++)
            x[i] -= value[i];
    }
}

static void descend_run(void *self, size_t i, size_t count)
{
    struct panel *p = self;
    const wc_ggml_type *t = p->q.type;
    size_t nr = p->q.nr, first = p->block * t->block + i;
    float *value = p->value + first * nr, *x = p->inner + i * nr;
    memcpy(p->run_before, value, count * nr * sizeof *value);
    if (t->scale_bits) refit_run(p, first / t->sub);
    if (t->dim == 1)
        descend_columns(p, first, count);
    else
        descend_octets(p, first, count);
    for (size_t k = 0; k < count * nr; k++)
        x[k] = p->run_before[k] - value[k];
}

static void descend_block(void *self, size_t first, size_t count)
{
    struct panel *p = self;
    const wc_hessian *h = p->s->p->h;
    size_t nr = p->q.nr;
    float *value = p->value + first * nr;
    p->block = first / count;
    memcpy(p->before, value, count * nr * sizeof *value);
    refit_block(p);
    wc_sweep runs = {.kernel = p->s->grid_kernel,
                     .m = h->h + first * h->n + first,
                     .n = count,
                     .ldm = h->n,
                     .nr = nr,
                     .width = run_of(p->q.type),
                     .block = RUN,
                     .x = p->inner,
                     .y = p->t + first * nr,
                     .self = p,
                     .step = descend_run};
    wc_sweep_run(&runs);
    for (size_t k = 0; k < count * nr; k++) {
        p->x[first * nr + k] = p->before[k] - value[k];
        p->e[first * nr + k] += p->x[first * nr + k];
    }
}

static void descend(struct panel *p)
{
    const wc_hessian *h = p->s->p->h;
    wc_sweep blocks = {.kernel = p->s->grid_kernel,
                       .m = h->h,
                       .n = h->n,
                       .ldm = h->n,
                       .nr = p->q.nr,
                       .width = p->q.type->block,
                       .block = p->s->p->block,
                       .x = p->x,
                       .y = p->t,
                       .self = p,
                       .step = descend_block};
    wc_gemm1(WC_N, WC_N, h->n, p->q.nr, h->n, 1, h->h, h->n, p->e, p->q.nr, 0, p->t, p->q.nr);
    wc_sweep_run(&blocks);
}

/* ---- the matrix -------------------------------------------------------------------------------------------------- */

static double solve_panel(struct panel *p, size_t r0, size_t nr)
{
    const struct solver *s = p->s;
    p->q.nr = nr;
    wc_panel_load(s->p->w, s->out->cols, r0, nr, 0, p->e);
    wc_ggml_fit(&p->q, p->e, s->p->weight, s->p->weigh, &p->saturated);
    double loss = find_codes(p);
    if (s->p->h && s->p->passes) expand(p, 0, s->out->cols / s->out->type->sub);
    for (int pass = 0; s->p->h && pass < s->p->passes; pass++)
        descend(p);
    wc_ggml_panel_store(&p->q, r0, s->out);
    return loss;
}

wc_status wc_ggml_solve(wc_ctx *ctx, const wc_ggml_problem *p, wc_ggml *out, double *loss)
{
    wc_status status = WC_OK;
    wc_ggml made = *out;
    struct solver s = {.p = p, .out = &made, .rows = wc_panel_rows(out->rows)};
    size_t panels = wc_ceil_div(out->rows, s.rows), saturated = 0;
    int threads = (int)wc_min((size_t)ctx->threads, panels);
    struct panel *work = NULL;
    double *losses = NULL, sum = 0;
    float top = 0;
    s.grid_kernel = wck_grid_at(wck_level_used());
    WC_TRY(wc_panel_largest(ctx, p->tensor, p->w, out->rows, out->cols, &top));
    WC_TRY(wc_ggml_alloc(ctx, &made));
    WC_TRY_OUT(WC_ALLOC(ctx, work, (size_t)threads, "workspaces"));
    WC_TRY_OUT(WC_ALLOC(ctx, losses, panels, "panel losses"));
    for (int t = 0; t < threads; t++)
        WC_TRY_OUT(panel_alloc(ctx, &s, work + t));
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t i = 0; i < panels; i++)
        losses[i] = solve_panel(work + omp_get_thread_num(), i * s.rows, wc_min(s.rows, out->rows - i * s.rows));
    for (size_t i = 0; i < panels; i++)
        sum += losses[i];
    for (int t = 0; t < threads; t++)
        saturated += work[t].saturated;
    if (saturated)
        wc_log(ctx, WC_LOG_WARN, "%s: %zu blocks want a scale beyond f16, the largest weight is %g: they are cut off",
               p->tensor, saturated, (double)top);
    if (loss) *loss = p->h ? sum / p->h->scale : 0;
    *out = made;
out:
    for (int t = 0; work && t < threads; t++)
        panel_free(work + t);
    free(work), free(losses);
    if (status != WC_OK) {
        wc_part part = {.kind = WC_PART_GGML, .ggml = made};
        wc_part_free(&part);
    }
    return status;
}
