#include "solve/grid_solve.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "solve/panel.h"
#include "solve/refine.h"
#include "solve/slim.h"

/* What one thread needs. */
struct workspace {
    wc_grid_panel panel;
    float *e, *ordered, *t; /* [cols, nr] */
    float *d, *x;           /* [span, nr] */
    float *c, *hc;          /* [group, nr] */
    float *q, *num, *den;   /* [nr] */
    double *loss;           /* [nr] */
};

struct solver {
    const wc_grid_problem *p;
    wc_grid *out;
    const wck_grid *kernel;
    size_t rows; /* per panel */
    float step;  /* WC_SEARCH_SLIM */
};

static wc_status workspace_alloc(wc_ctx *ctx, const struct solver *s, struct workspace *w)
{
    const wc_hessian *h = s->p->h;
    size_t all = s->out->cols * s->rows, group = s->out->group * s->rows;
    memset(w, 0, sizeof *w);
    WC_TRY(wc_grid_panel_alloc(ctx, s->out, s->kernel, s->rows, &w->panel));
    w->panel.hqq = s->p->hqq, w->panel.step = s->step;
    WC_TRY(WC_ALLOC(ctx, w->e, all, "a panel"));
    WC_TRY(WC_ALLOC(ctx, w->q, s->rows, "a panel's column"));
    if (!h) return WC_OK;
    WC_TRY(WC_ALLOC(ctx, w->t, all, "a panel's targets"));
    WC_TRY(WC_ALLOC(ctx, w->loss, s->rows, "a panel's losses"));
    if (h->order) WC_TRY(WC_ALLOC(ctx, w->ordered, all, "a permuted panel"));
    if (!s->p->passes) return WC_OK;
    WC_TRY(WC_ALLOC(ctx, w->x, wc_refine_span(s->out) * s->rows, "a panel's changes"));
    WC_TRY(WC_ALLOC(ctx, w->d, wc_refine_span(s->out) * s->rows, "a panel's gradients"));
    WC_TRY(WC_ALLOC(ctx, w->hc, group, "a panel's products"));
    WC_TRY(WC_ALLOC(ctx, w->c, group, "a panel's centred codes"));
    WC_TRY(WC_ALLOC(ctx, w->num, s->rows, "a panel's numerators"));
    return WC_ALLOC(ctx, w->den, s->rows, "a panel's denominators");
}

static void workspace_free(struct workspace *w)
{
    wc_grid_panel_free(&w->panel);
    free(w->e), free(w->ordered), free(w->t), free(w->d), free(w->x), free(w->c), free(w->hc);
    free(w->q), free(w->num), free(w->den), free(w->loss);
}

static void round_column(wc_grid_panel *p, size_t column, const float *t, float *q)
{
    size_t at = column / p->grid->group * p->nr;
    p->kernel->round(p->nr, t, wc_grid_steps(p, column), p->inv + at, p->z + at, (float)((1u << p->grid->bits) - 1),
                     p->code + column * p->nr, q);
}

static void round_panel(struct workspace *w)
{
    size_t nr = w->panel.nr;
    for (size_t j = 0; j < w->panel.grid->cols; j++) {
        float *e = w->e + j * nr;
        round_column(&w->panel, j, e, w->q);
        for (size_t r = 0; r < nr; r++)
            e[r] -= w->q[r];
    }
}

/* ---- the rounder that feedback calls -------------------------------------------------------------------------- */

struct grid_rounder {
    const struct solver *s;
    wc_grid_panel *panel;
};

static void begin_group(void *self, size_t pos, size_t count, size_t nr, const float *t)
{
    const struct grid_rounder *g = self;
    size_t index = pos / g->panel->grid->group;
    (void)count, (void)nr; /* the panel knows both */
    wc_grid_fit(g->panel, index, index + 1, t, g->s->p->weight + pos, g->s->p->search);
}

static void round_step(void *self, size_t pos, size_t count, size_t nr, const float *t, const float *pivot, float *q)
{
    const struct grid_rounder *g = self;
    const uint32_t *order = g->s->p->h->order;
    (void)count, (void)nr, (void)pivot; /* one column: nearest in any metric */
    round_column(g->panel, order ? order[pos] : pos, t, q);
}

static double feed_back(const struct solver *s, struct workspace *w)
{
    struct grid_rounder self = {s, &w->panel};
    wc_rounder rounder = {.self = &self, .width = 1, .round = round_step};
    wc_feedback f = {.h = s->p->h,
                     .kernel = s->kernel,
                     .nr = w->panel.nr,
                     .block = s->p->block,
                     .e = w->e,
                     .t = w->t,
                     .q = w->q,
                     .loss = w->loss};
    if (!s->p->static_groups) rounder.group = s->out->group, rounder.begin_group = begin_group;
    return wc_panel_feedback(&f, &rounder, w->ordered);
}

static double solve_panel(const struct solver *s, struct workspace *w, size_t r0, size_t nr)
{
    const wc_grid_problem *p = s->p;
    double loss = 0;
    w->panel.nr = nr;
    wc_panel_load(p->w, s->out->cols, r0, nr, s->out->scale_exp, w->e);
    if (s->out->holes) wc_panel_load_mask(s->out->mask, s->out->cols, r0, nr, w->panel.mask);
    if (!p->h || p->static_groups) wc_grid_fit(&w->panel, 0, wc_grid_groups(s->out), w->e, p->weight, p->search);
    if (p->h)
        loss = feed_back(s, w);
    else
        round_panel(w);
    wc_refine refine = {.h = p->h,
                        .panel = &w->panel,
                        .block = p->block,
                        .steps = p->refit,
                        .e = w->e,
                        .d = w->d,
                        .x = w->x,
                        .c = w->c,
                        .hc = w->hc,
                        .num = w->num,
                        .den = w->den};
    for (int pass = 0; p->h && pass < p->passes; pass++)
        wc_refine_pass(&refine);
    wc_grid_panel_store(&w->panel, r0, s->out);
    if (p->left) wc_panel_store(w->e, s->out->cols, r0, nr, s->out->scale_exp, p->left);
    return loss;
}

/* ---- the matrix -------------------------------------------------------------------------------------------------- */

wc_status wc_grid_solve(wc_ctx *ctx, const wc_grid_problem *p, wc_grid *out, double *loss)
{
    wc_status status = WC_OK;
    wc_grid made = *out;
    struct solver s = {.p = p, .out = &made, .rows = wc_panel_rows(out->rows)};
    size_t panels = wc_ceil_div(out->rows, s.rows);
    int threads = (int)wc_min((size_t)ctx->threads, panels);
    struct workspace *work = NULL;
    double *losses = NULL, sum = 0;
    float top = 0;
    s.kernel = wck_grid_at(wck_level_used());
    WC_TRY(wc_panel_largest(ctx, p->tensor, p->w, out->rows, out->cols, &top));
    WC_TRY(wc_grid_alloc(ctx, &made));
    made.scale_exp = wc_grid_scale_exp(top);
    if (p->search == WC_SEARCH_SLIM) WC_TRY_OUT(wc_slim_step(ctx, &made, p->w, ldexpf(top, -made.scale_exp), &s.step));
    WC_TRY_OUT(WC_ALLOC(ctx, work, (size_t)threads, "workspaces"));
    WC_TRY_OUT(WC_ALLOC(ctx, losses, panels, "panel losses"));
    for (int t = 0; t < threads; t++)
        WC_TRY_OUT(workspace_alloc(ctx, &s, work + t));
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t i = 0; i < panels; i++)
        losses[i] = solve_panel(&s, work + omp_get_thread_num(), i * s.rows, wc_min(s.rows, out->rows - i * s.rows));
    for (size_t i = 0; i < panels; i++)
        sum += losses[i];
    if (loss) *loss = p->h ? ldexp(sum, 2 * made.scale_exp) / p->h->scale : 0;
    *out = made;
out:
    for (int t = 0; work && t < threads; t++)
        workspace_free(work + t);
    free(work), free(losses);
    if (status != WC_OK) {
        wc_part part = {.kind = WC_PART_GRID, .grid = made};
        wc_part_free(&part);
    }
    return status;
}
