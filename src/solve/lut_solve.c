#include "solve/lut_solve.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "kernels/lut.h"
#include "linalg/linalg.h"
#include "solve/grid_fit.h"
#include "solve/panel.h"

enum { KMEANS_ROUNDS = 100 };

struct solver {
    const wc_lut_problem *p;
    wc_lut *out;
    const wck_lut *kernel;
    const wck_grid *grid_kernel;
    size_t rows;      /* per panel */
    size_t k;         /* levels */
    float fixed[256]; /* [k] the published table */
    bool refit;
};

/* One panel and what one thread needs for it. A panel has one table per row, or one per group and row. */
struct panel {
    const struct solver *s;
    size_t nr;
    float *level, *mid;           /* [tables, k, nr] */
    float *scale, *inv;           /* [groups, nr] as it will be decoded / 2^scale_exp, 1/s or 0 */
    uint8_t *code;                /* [cols, nr] */
    uint8_t *mask;                /* [cols, nr] with holes: 1 where there is a code, else NULL */
    float *e, *value, *t;         /* [cols, nr] W - W^, W^, targets or D */
    float *ordered, *x;           /* [cols, nr] */
    float *q, *err, *tl, *ll;     /* [nr] */
    float *try_s, *try_i, *least; /* [nr] */
    float *value_column;          /* [nr] */
    double *loss;                 /* [nr] */
    float *onehot, *product;      /* [cols, nr] refit: of one level */
    double *normal;               /* [nr, k, k + 1] refit: P^T H P | P^T D, lower triangle */
    wc_kmeans kmeans;
};

static size_t tables_of(const wc_lut *l)
{
    return l->scope == WC_LUT_GROUP ? wc_lut_groups(l) : 1;
}

static wck_lut_table table_of(const struct panel *p, size_t column)
{
    const wc_lut *l = p->s->out;
    size_t at = (l->scope == WC_LUT_GROUP ? column / l->group : 0) * p->s->k * p->nr;
    return (wck_lut_table){p->s->k, p->level + at, p->mid + at};
}

static wc_status alloc_refinement(wc_ctx *ctx, const struct solver *s, struct panel *p)
{
    size_t all = s->out->cols * s->rows;
    WC_TRY(WC_ALLOC(ctx, p->value, all, "a panel's values"));
    WC_TRY(WC_ALLOC(ctx, p->x, all, "a panel's changes"));
    if (!s->refit) return WC_OK;
    WC_TRY(WC_ALLOC(ctx, p->onehot, all, "a level's columns"));
    WC_TRY(WC_ALLOC(ctx, p->product, all, "a level's products"));
    return WC_ALLOC(ctx, p->normal, s->rows * s->k * (s->k + 1), "the normal equations of levels");
}

static wc_status panel_alloc(wc_ctx *ctx, const struct solver *s, struct panel *p)
{
    const wc_hessian *h = s->p->h;
    size_t all = s->out->cols * s->rows, tables = tables_of(s->out) * s->k * s->rows;
    float **columns[] = {&p->q, &p->err, &p->tl, &p->ll, &p->try_s, &p->try_i, &p->least, &p->value_column};
    *p = (struct panel){.s = s};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        WC_TRY(WC_ALLOC(ctx, *columns[i], s->rows, "a panel's column"));
    WC_TRY(WC_ALLOC(ctx, p->level, tables, "a panel's levels"));
    WC_TRY(WC_ALLOC(ctx, p->mid, tables, "a panel's levels"));
    WC_TRY(WC_ALLOC(ctx, p->scale, wc_lut_groups(s->out) * s->rows, "a panel's scales"));
    WC_TRY(WC_ALLOC(ctx, p->inv, wc_lut_groups(s->out) * s->rows, "a panel's scales"));
    WC_TRY(WC_ALLOC(ctx, p->code, all, "a panel's codes"));
    if (s->out->holes) WC_TRY(WC_ALLOC(ctx, p->mask, all, "a panel's mask"));
    WC_TRY(WC_ALLOC(ctx, p->e, all, "a panel"));
    if (!s->out->scaled) WC_TRY(wc_kmeans_alloc(ctx, s->out->group, s->k, &p->kmeans));
    if (!h) return WC_OK;
    WC_TRY(WC_ALLOC(ctx, p->t, all, "a panel's targets"));
    WC_TRY(WC_ALLOC(ctx, p->loss, s->rows, "a panel's losses"));
    if (h->order) WC_TRY(WC_ALLOC(ctx, p->ordered, all, "a permuted panel"));
    return s->p->passes ? alloc_refinement(ctx, s, p) : WC_OK;
}

static void panel_free(struct panel *p)
{
    free(p->level), free(p->mid), free(p->scale), free(p->inv), free(p->code), free(p->mask), free(p->e),
        free(p->value), free(p->t);
    free(p->ordered), free(p->x), free(p->q), free(p->err), free(p->tl), free(p->ll), free(p->try_s), free(p->try_i);
    free(p->least), free(p->value_column), free(p->loss), free(p->onehot), free(p->product), free(p->normal);
    wc_kmeans_free(&p->kmeans);
}

/* ---- levels ------------------------------------------------------------------------------------------------------ */

/* Levels of magnitudes up to 2^9 in units of 2^scale_exp: no overflow. */
static inline float f16_value(float s)
{
    return wc_f16_f32(wc_f32_f16(s));
}

static void set_middles(struct panel *p, size_t table, size_t r)
{
    size_t at = table * p->s->k * p->nr + r;
    for (size_t i = 0; i + 1 < p->s->k; i++)
        p->mid[at + i * p->nr] = (p->level[at + i * p->nr] + p->level[at + (i + 1) * p->nr]) / 2;
}

static inline bool kept(const struct panel *p, size_t column, size_t r)
{
    return !p->mask || p->mask[column * p->nr + r];
}

static void fit_table(struct panel *p, size_t table, size_t r)
{
    const wc_lut *l = p->s->out;
    size_t first = table * l->group, end = wc_min(first + l->group, l->cols), n = 0, nr = p->nr;
    float level[256] = {0};
    for (size_t j = first; j < end; j++)
        if (kept(p, j, r)) p->kmeans.sample[n++] = (wc_sample){p->e[j * nr + r], p->s->p->weight[j]};
    if (n) wc_kmeans_fit(&p->kmeans, n, KMEANS_ROUNDS, level);
    for (size_t i = 0; i < p->s->k; i++)
        p->level[(table * p->s->k + i) * nr + r] = f16_value(level[i]);
    set_middles(p, table, r);
}

/* kernel->normal for a column with holes, which count nothing. */
static void normal_column(struct panel *p, size_t j, const wck_lut_table *table)
{
    size_t nr = p->nr;
    const float *t = p->e + j * nr;
    float h = p->s->p->weight[j];
    uint8_t *code = p->code + j * nr;
    p->s->kernel->round(nr, table, t, p->try_s, p->try_i, code, p->value_column);
    for (size_t r = 0; r < nr; r++) {
        float level = table->level[code[r] * nr + r], d = p->value_column[r] - t[r];
        if (!kept(p, j, r)) continue;
        p->err[r] += h * (d * d);
        p->tl[r] += h * (t[r] * level);
        p->ll[r] += h * (level * level);
    }
}

/* Errors of the scales try_s for one group; those that lose less are kept. Leaves the sums of the normal equation. */
static void try_scales(struct panel *p, size_t group)
{
    const wc_lut *l = p->s->out;
    size_t nr = p->nr, first = group * l->group;
    wck_lut_table table = table_of(p, first);
    memset(p->err, 0, nr * sizeof *p->err);
    memset(p->tl, 0, nr * sizeof *p->tl);
    memset(p->ll, 0, nr * sizeof *p->ll);
    for (size_t r = 0; r < nr; r++)
        p->try_i[r] = p->try_s[r] != 0 ? 1 / p->try_s[r] : 0;
    for (size_t j = first; j < wc_min(first + l->group, l->cols); j++)
        if (p->mask)
            normal_column(p, j, &table);
        else
            p->s->kernel->normal(nr, &table, p->e + j * nr, p->s->p->weight[j], p->try_s, p->try_i, p->err, p->tl,
                                 p->ll);
    for (size_t r = 0; r < nr; r++)
        if (p->err[r] < p->least[r]) {
            p->least[r] = p->err[r];
            p->scale[group * nr + r] = p->try_s[r];
            p->inv[group * nr + r] = p->try_i[r];
        }
}

/* From the scale that covers the largest magnitude down to where tables of normal weights end: with b bits a table of
 * largest level 1 wants about 0.6 (3 bits) to 1 (8 bits) of the range. Then least squares, alternating with nearest
 * codes. */
static void fit_scales(struct panel *p, size_t group)
{
    enum { CANDIDATES = 12, ROUNDS = 3 };
    const wc_lut *l = p->s->out;
    size_t nr = p->nr, first = group * l->group;
    bool minmax = p->s->p->minmax;
    float low = 0.3f + 0.08f * (float)l->bits, *top = p->q;
    memset(top, 0, nr * sizeof *top);
    for (size_t j = first; j < wc_min(first + l->group, l->cols); j++)
        for (size_t r = 0; r < nr; r++)
            if (kept(p, j, r)) top[r] = fmaxf(top[r], fabsf(p->e[j * nr + r]));
    for (size_t r = 0; r < nr; r++)
        p->least[r] = INFINITY;
    for (int i = 0; i < (minmax ? 1 : CANDIDATES); i++) {
        float part = minmax ? 1 : 1.04f + (low - 1.04f) * (float)i / (CANDIDATES - 1);
        for (size_t r = 0; r < nr; r++)
            p->try_s[r] = f16_value(part * top[r]);
        try_scales(p, group);
    }
    memcpy(p->try_s, p->scale + group * nr, nr * sizeof *p->try_s);
    for (int i = 0; !minmax && i <= ROUNDS; i++) { /* the first round only makes the sums of the best scale */
        try_scales(p, group);
        for (size_t r = 0; r < nr; r++)
            if (p->ll[r] > 0) p->try_s[r] = f16_value(p->tl[r] / p->ll[r]);
    }
}

static void fit_levels(struct panel *p)
{
    const wc_lut *l = p->s->out;
    size_t nr = p->nr;
    if (l->scaled) {
        for (size_t r = 0; r < nr; r++) {
            for (size_t i = 0; i < p->s->k; i++)
                p->level[i * nr + r] = f16_value(p->s->fixed[i]);
            set_middles(p, 0, r);
        }
        for (size_t g = 0; g < wc_lut_groups(l); g++)
            fit_scales(p, g);
        return;
    }
    for (size_t i = 0; i < wc_lut_groups(l) * nr; i++)
        p->scale[i] = p->inv[i] = 1;
    for (size_t table = 0; table < tables_of(l); table++)
        for (size_t r = 0; r < nr; r++)
            fit_table(p, table, r);
}

/* ---- codes ------------------------------------------------------------------------------------------------------- */

static void round_column(struct panel *p, size_t column, const float *t, float *q)
{
    size_t nr = p->nr, at = column / p->s->out->group * nr;
    wck_lut_table table = table_of(p, column);
    p->s->kernel->round(nr, &table, t, p->scale + at, p->inv + at, p->code + column * nr, q);
    for (size_t r = 0; p->mask && r < nr; r++)
        if (!kept(p, column, r)) q[r] = 0, p->code[column * nr + r] = 0;
}

static void round_step(void *self, size_t pos, size_t count, size_t nr, const float *t, const float *pivot, float *q)
{
    struct panel *p = self;
    const uint32_t *order = p->s->p->h->order;
    (void)count, (void)nr, (void)pivot; /* one column: nearest in any metric */
    round_column(p, order ? order[pos] : pos, t, q);
}

static double find_codes(struct panel *p)
{
    const struct solver *s = p->s;
    if (!s->p->h) {
        for (size_t j = 0; j < s->out->cols; j++)
            round_column(p, j, p->e + j * p->nr, p->q);
        return 0;
    }
    wc_rounder rounder = {.self = p, .width = 1, .round = round_step};
    wc_feedback f = {.h = s->p->h,
                     .kernel = s->grid_kernel,
                     .nr = p->nr,
                     .block = s->p->block,
                     .e = p->e,
                     .t = p->t,
                     .q = p->q,
                     .loss = p->loss};
    return wc_panel_feedback(&f, &rounder, p->ordered);
}

/* ---- refinement -------------------------------------------------------------------------------------------------- */

/* value = W^ from levels and codes. */
static void expand(struct panel *p)
{
    size_t nr = p->nr;
    for (size_t j = 0; j < p->s->out->cols; j++) {
        const float *level = table_of(p, j).level, *scale = p->scale + j / p->s->out->group * nr;
        for (size_t r = 0; r < nr; r++)
            p->value[j * nr + r] = kept(p, j, r) ? scale[r] * level[p->code[j * nr + r] * nr + r] : 0;
    }
}

/* t = D = H E, the transpose of E H. */
static void gradients(struct panel *p)
{
    const wc_hessian *h = p->s->p->h;
    wc_gemm1(WC_N, WC_N, h->n, p->nr, h->n, 1, h->h, h->n, p->e, p->nr, 0, p->t, p->nr);
}

static void descend_step(void *self, size_t j, size_t count)
{
    struct panel *p = self;
    const wc_hessian *h = p->s->p->h;
    size_t nr = p->nr;
    float inv_h = 1 / h->h[j * h->n + j], *value = p->value + j * nr, *d = p->t + j * nr, *x = p->x + j * nr;
    (void)count; /* always 1 */
    for (size_t r = 0; r < nr; r++)
        d[r] = value[r] + d[r] * inv_h;
    round_column(p, j, d, p->q);
    for (size_t r = 0; r < nr; r++) {
        x[r] = value[r] - p->q[r];
        value[r] = p->q[r];
        p->e[j * nr + r] += x[r];
    }
}

static void descend(struct panel *p)
{
    const wc_hessian *h = p->s->p->h;
    wc_sweep sweep = {.kernel = p->s->grid_kernel,
                      .m = h->h,
                      .n = h->n,
                      .ldm = h->n,
                      .nr = p->nr,
                      .width = 1,
                      .block = p->s->p->block,
                      .x = p->x,
                      .y = p->t,
                      .self = p,
                      .step = descend_step};
    gradients(p);
    wc_sweep_run(&sweep);
}

/* normal = P^T H P | P^T D of every row: level i's columns of H summed by one gemm with the one-hot codes. */
static void level_equations(struct panel *p)
{
    const wc_hessian *h = p->s->p->h;
    size_t nr = p->nr, n = h->n, k = p->s->k, row = k * (k + 1);
    memset(p->normal, 0, nr * row * sizeof *p->normal);
    for (size_t i = 0; i < k; i++) {
        for (size_t a = 0; a < n * nr; a++)
            p->onehot[a] = p->code[a] == i && (!p->mask || p->mask[a]);
        wc_gemm1(WC_N, WC_N, n, nr, n, 1, h->h, n, p->onehot, nr, 0, p->product, nr);
        for (size_t j = 0; j < n; j++)
            for (size_t r = 0; r < nr; r++)
                if (kept(p, j, r))
                    p->normal[r * row + p->code[j * nr + r] * (k + 1) + i] += (double)p->product[j * nr + r];
    }
    for (size_t j = 0; j < n; j++)
        for (size_t r = 0; r < nr; r++)
            if (kept(p, j, r)) p->normal[r * row + p->code[j * nr + r] * (k + 1) + k] += (double)p->t[j * nr + r];
}

/* Solves A x = b, A [k, k] symmetric positive semidefinite, b the last column of a [k, k + 1], by Gauss without
 * pivoting on a copy with a ridge; a level that no weight uses has an empty row and stays where it is. */
static void solve_levels(const double *a, size_t k, double *work, double *x)
{
    size_t ld = k + 1;
    memcpy(work, a, k * ld * sizeof *work);
    for (size_t i = 0; i < k; i++)
        work[i * ld + i] += work[i * ld + i] > 0 ? 1e-7 * work[i * ld + i] : 1;
    for (size_t i = 0; i < k; i++)
        for (size_t j = i + 1; j < k; j++) {
            double f = work[j * ld + i] / work[i * ld + i];
            for (size_t c = i; c <= k && f != 0; c++)
                work[j * ld + c] -= f * work[i * ld + c];
        }
    for (size_t i = k; i-- > 0;) {
        x[i] = work[i * ld + k];
        for (size_t j = i + 1; j < k; j++)
            x[i] -= work[i * ld + j] * x[j];
        x[i] /= work[i * ld + i];
    }
}

/* Moves row r's levels; codes follow their levels, so an order that changes is only sorted, not reassigned. */
static void move_levels(struct panel *p, size_t r, double *work)
{
    size_t k = p->s->k, nr = p->nr, ld = k + 1;
    const double *a = p->normal + r * k * ld;
    double x[16], gain = 0;
    bool ascending = true;
    solve_levels(a, k, work, x);
    for (size_t i = 0; i < k; i++) {
        float old = p->level[i * nr + r], to = f16_value(old + (float)x[i]);
        x[i] = (double)to - (double)old;
        ascending = ascending && isfinite(to) && (!i || (double)p->level[(i - 1) * nr + r] + x[i - 1] <= (double)to);
    }
    for (size_t i = 0; i < k; i++) { /* E falls by P dx: the objective changes by -2 dx b + dx A dx */
        double ax = 0;
        for (size_t j = 0; j < k; j++)
            ax += a[i * ld + j] * x[j];
        gain += x[i] * (2 * a[i * ld + k] - ax);
    }
    if (!ascending || !(gain > 0)) return;
    for (size_t i = 0; i < k; i++)
        p->level[i * nr + r] += (float)x[i];
    set_middles(p, 0, r);
}

static void refit_levels(struct panel *p)
{
    double work[16 * 17];
    size_t count = p->s->out->cols * p->nr;
    gradients(p);
    level_equations(p);
    for (size_t r = 0; r < p->nr; r++)
        move_levels(p, r, work);
    for (size_t i = 0; i < count; i++)
        p->e[i] += p->value[i];
    expand(p);
    for (size_t i = 0; i < count; i++)
        p->e[i] -= p->value[i];
}

/* ---- the matrix -------------------------------------------------------------------------------------------------- */

static void store(const struct panel *p, size_t r0)
{
    wc_lut *l = p->s->out;
    size_t nr = p->nr, k = p->s->k, groups = wc_lut_groups(l), tables = tables_of(l);
    wc_panel_store_codes(p->code, l->cols, r0, nr, l->code);
    if (l->scope == WC_LUT_TENSOR) {
        for (size_t i = 0; i < k && !r0; i++) /* the same in every panel */
            l->table[i] = wc_f32_f16(p->level[i * nr]);
    } else {
        for (size_t r = 0; r < nr; r++)
            for (size_t i = 0; i < tables * k; i++)
                l->table[(r0 + r) * tables * k + i] = wc_f32_f16(p->level[i * nr + r]);
    }
    for (size_t r = 0; l->scaled && r < nr; r++)
        for (size_t g = 0; g < groups; g++)
            l->scale[(r0 + r) * groups + g] = wc_f32_f16(p->scale[g * nr + r]);
}

static double solve_panel(struct panel *p, size_t r0, size_t nr)
{
    const struct solver *s = p->s;
    p->nr = nr;
    wc_panel_load(s->p->w, s->out->cols, r0, nr, s->out->scale_exp, p->e);
    if (p->mask) wc_panel_load_mask(s->out->mask, s->out->cols, r0, nr, p->mask);
    fit_levels(p);
    double loss = find_codes(p);
    if (s->p->h && s->p->passes) expand(p);
    for (int pass = 0; s->p->h && pass < s->p->passes; pass++) {
        if (s->refit) refit_levels(p);
        descend(p);
    }
    store(p, r0);
    return loss;
}

wc_status wc_lut_solve(wc_ctx *ctx, const wc_lut_problem *p, wc_lut *out, double *loss)
{
    wc_status status = WC_OK;
    wc_lut made = *out;
    struct solver s = {.p = p, .out = &made, .rows = wc_panel_rows(out->rows), .k = (size_t)1 << out->bits};
    size_t panels = wc_ceil_div(out->rows, s.rows);
    int threads = (int)wc_min((size_t)ctx->threads, panels);
    struct panel *work = NULL;
    double *losses = NULL, sum = 0;
    float top = 0;
    s.refit = p->refit && out->scope == WC_LUT_ROW && out->bits <= 4;
    s.kernel = wck_lut_at(wck_level_used());
    s.grid_kernel = wck_grid_at(wck_level_used());
    if (out->scaled) WC_TRY(wc_levels_fixed(ctx, p->levels, out->bits, p->shape, s.fixed));
    WC_TRY(wc_panel_largest(ctx, p->tensor, p->w, out->rows, out->cols, &top));
    WC_TRY(wc_lut_alloc(ctx, &made));
    made.scale_exp = wc_grid_scale_exp(top);
    WC_TRY_OUT(WC_ALLOC(ctx, work, (size_t)threads, "workspaces"));
    WC_TRY_OUT(WC_ALLOC(ctx, losses, panels, "panel losses"));
    for (int t = 0; t < threads; t++)
        WC_TRY_OUT(panel_alloc(ctx, &s, work + t));
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t i = 0; i < panels; i++)
        losses[i] = solve_panel(work + omp_get_thread_num(), i * s.rows, wc_min(s.rows, out->rows - i * s.rows));
    for (size_t i = 0; i < panels; i++)
        sum += losses[i];
    if (loss) *loss = p->h ? ldexp(sum, 2 * made.scale_exp) / p->h->scale : 0;
    *out = made;
out:
    for (int t = 0; work && t < threads; t++)
        panel_free(work + t);
    free(work), free(losses);
    if (status != WC_OK) {
        wc_part part = {.kind = WC_PART_LUT, .lut = made};
        wc_part_free(&part);
    }
    return status;
}
