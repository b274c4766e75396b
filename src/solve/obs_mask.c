#include "solve/obs_mask.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "solve/feedback.h"
#include "solve/panel.h"

/* All panels at once: panel i has the rows i * rows .. of W, transposed to [cols, nr]. */
struct pruner {
    const wc_hessian *h;
    const wc_mask_rule *rule;
    const wck_grid *kernel;
    uint8_t *mask;      /* [rows, cols] */
    size_t rows;        /* per panel */
    float *e, *t;       /* [panels][cols, nr] errors and targets */
    float *q;           /* [rows] */
    double *loss;       /* [rows] */
    float *now, *moved; /* [panels][columns of a tile, nr] */
    float *score;       /* [rows, places of a tile] */
    uint8_t *mask_tile; /* [rows, columns of a tile] */
};

struct rows {
    const struct pruner *p;
    size_t r0, nr;
};

static wc_feedback feedback_of(const struct rows *w)
{
    const struct pruner *p = w->p;
    size_t at = w->r0 * p->rule->cols;
    return (wc_feedback){.h = p->h,
                         .kernel = p->kernel,
                         .nr = w->nr,
                         .block = 128,
                         .e = p->e + at,
                         .t = p->t + at,
                         .q = p->q + w->r0,
                         .loss = p->loss + w->r0};
}

/* What current_weights hands to its sweep. */
struct moving {
    const float *w; /* [count, nr] as they were */
    size_t nr;
    float *now, *moved;
};

static void move_step(void *self, size_t i, size_t count)
{
    const struct moving *m = self;
    size_t at = i * m->nr;
    (void)count; /* always 1 */
    for (size_t r = at; r < at + m->nr; r++)
        m->moved[r] = m->w[r] - m->now[r];
}

/* now [count, nr] = the columns first .. first + count as the errors before them have moved them, none of them pruned
 * yet: t_i with q_k = t_k for the columns k of the tile before i. t: the targets as far as columns before `first' have
 * a say. */
static float *current_weights(const struct rows *w, size_t first, size_t count, const float *t)
{
    const struct pruner *p = w->p;
    size_t n = p->h->n, nr = w->nr;
    struct moving m = {p->e + w->r0 * n + first * nr, nr, p->now + w->r0 * count, p->moved + w->r0 * count};
    wc_sweep sweep = {.kernel = p->kernel,
                      .m = p->h->u + first * (n + 1),
                      .n = count,
                      .ldm = n,
                      .nr = nr,
                      .width = 1,
                      .block = 128,
                      .x = m.moved,
                      .y = m.now,
                      .self = &m,
                      .step = move_step};
    memcpy(m.now, t, count * nr * sizeof *t);
    wc_sweep_run(&sweep);
    return m.now;
}

/* score [nr] with stride ld = the cost |w_B R_BB|^2 = sum_i R_ii^2 (w_i + sum_{j<=k<i} w_k u_ki)^2 of removing the
 * columns B = j .. j + b; now [b, nr] are they. */
static void score_place(const struct rows *w, size_t j, const float *now, float *score, size_t ld)
{
    const struct pruner *p = w->p;
    size_t n = p->h->n, nr = w->nr, b = p->rule->block;
    for (size_t r = 0; r < nr; r++) {
        float sum = 0;
        for (size_t i = 0; i < b; i++) {
            float part = now[i * nr + r];
            for (size_t k = 0; k < i; k++)
                part += now[k * nr + r] * p->h->u[(j + k) * n + j + i];
            part *= p->h->pivot[j + i];
            sum += part * part;
        }
        score[r * ld] = sum;
    }
}

/* score [nr, places] of all places of the tile. */
static void score_tile(const struct rows *w, size_t first, size_t count, const float *t, float *score)
{
    size_t b = w->p->rule->block, places = count / b;
    const float *now = current_weights(w, first, count, t);
    for (size_t k = 0; k < places; k++)
        score_place(w, first + k * b, now + k * b * w->nr, score + k, places);
}

/* ---- the sweep under the mask chosen so far ---------------------------------------------------------------------- */

static void hold_step(void *self, size_t pos, size_t count, size_t nr, const float *t, const float *pivot, float *q)
{
    const struct rows *w = self;
    const uint8_t *keep = w->p->mask + w->r0 * w->p->rule->cols + pos;
    (void)count, (void)pivot;
    for (size_t r = 0; r < nr; r++)
        q[r] = keep[r * w->p->rule->cols] ? t[r] : 0;
}

/* n of m: the run that begins at pos, in every row of the panel. The targets of the run are up to date. */
static void begin_run(void *self, size_t pos, size_t count, size_t nr, const float *t)
{
    const struct rows *w = self;
    const struct pruner *p = w->p;
    size_t places = count / p->rule->block, cols = p->rule->cols;
    float *score = p->score + w->r0 * places;
    uint8_t *tile = p->mask_tile + w->r0 * count;
    wc_mask_rule run = *p->rule;
    run.rows = nr, run.cols = count;
    score_tile(w, pos, count, t, score);
    wc_mask_select(&(wc_ctx){.threads = 1}, &run, score, tile);
    for (size_t r = 0; r < nr; r++)
        memcpy(p->mask + (w->r0 + r) * cols + pos, tile + r * count, count);
}

static void sweep(const struct pruner *p, wc_ctx *ctx, size_t first, size_t count)
{
    size_t panels = wc_ceil_div(p->rule->rows, p->rows);
#pragma omp parallel for schedule(dynamic) num_threads(ctx->threads)
    for (size_t i = 0; i < panels; i++) {
        struct rows w = {p, i * p->rows, wc_min(p->rows, p->rule->rows - i * p->rows)};
        wc_feedback f = feedback_of(&w);
        wc_rounder rounder = {.self = &w, .width = 1, .round = hold_step};
        if (p->rule->m) rounder.group = p->rule->m * p->rule->block, rounder.begin_group = begin_run;
        if (p->rule->m) wc_feedback_open(&f, first, count);
        wc_feedback_sweep(&f, &rounder, first, count);
    }
}

/* Unstructured: the columns first .. first + count of all rows compete. */
static void choose(const struct pruner *p, wc_ctx *ctx, size_t first, size_t count)
{
    size_t cols = p->rule->cols, places = count / p->rule->block, panels = wc_ceil_div(p->rule->rows, p->rows);
#pragma omp parallel for schedule(dynamic) num_threads(ctx->threads)
    for (size_t i = 0; i < panels; i++) {
        struct rows w = {p, i * p->rows, wc_min(p->rows, p->rule->rows - i * p->rows)};
        wc_feedback f = feedback_of(&w);
        wc_feedback_open(&f, first, count);
        score_tile(&w, first, count, f.t + first * w.nr, p->score + w.r0 * places);
    }
    wc_mask_rule tile = *p->rule;
    tile.cols = count;
    tile.tile_rows = tile.tile_cols = 0;
    wc_mask_select(ctx, &tile, p->score, p->mask_tile);
    for (size_t r = 0; r < tile.rows; r++)
        memcpy(p->mask + r * cols + first, p->mask_tile + r * count, count);
}

/* ---- the matrix -------------------------------------------------------------------------------------------------- */

/* Columns of a comparison group. */
static size_t tile_columns(const wc_mask_rule *r)
{
    if (r->m) return r->m * r->block;
    return r->tile_cols ? wc_min(r->tile_cols * r->block, r->cols) : r->cols;
}

static wc_status alloc(wc_ctx *ctx, struct pruner *p)
{
    const wc_mask_rule *r = p->rule;
    size_t all = r->rows * r->cols, tile = r->rows * tile_columns(r);
    WC_TRY(WC_ALLOC(ctx, p->e, all, "errors of pruned weights"));
    WC_TRY(WC_ALLOC(ctx, p->t, all, "targets of pruned weights"));
    WC_TRY(WC_ALLOC(ctx, p->q, r->rows, "a column"));
    WC_TRY(WC_ALLOC(ctx, p->loss, r->rows, "losses"));
    WC_TRY(WC_ALLOC(ctx, p->now, tile, "current weights"));
    WC_TRY(WC_ALLOC(ctx, p->moved, tile, "current weights"));
    WC_TRY(WC_ALLOC(ctx, p->score, tile / r->block, "scores"));
    return WC_ALLOC(ctx, p->mask_tile, tile, "a mask");
}

wc_status wc_obs_mask(wc_ctx *ctx, const wc_hessian *h, const wc_mask_rule *rule, const float *w, uint8_t *mask)
{
    wc_status status = WC_OK;
    struct pruner p = {.h = h, .rule = rule, .mask = mask, .kernel = wck_grid_at(wck_level_used())};
    size_t cols = rule->cols, step = rule->m ? cols : tile_columns(rule);
    p.rows = wc_panel_rows(rule->rows);
    if (h->width != 1 || h->order) WC_TRY_OUT(wc_fail(ctx, WC_BUG, "a mask needs a factor in natural order"));
    WC_TRY_OUT(alloc(ctx, &p));
    for (size_t r0 = 0; r0 < rule->rows; r0 += p.rows)
        wc_panel_load(w, cols, r0, wc_min(p.rows, rule->rows - r0), 0, p.e + r0 * cols);
    for (size_t first = 0; first < cols; first += step) {
        size_t count = wc_min(step, cols - first);
        if (!rule->m) choose(&p, ctx, first, count);
        sweep(&p, ctx, first, count);
    }
out:
    free(p.e), free(p.t), free(p.q), free(p.loss), free(p.now), free(p.moved), free(p.score);
    free(p.mask_tile);
    return status;
}

uint64_t wc_obs_mask_scratch(size_t rows, size_t cols, size_t span)
{
    uint64_t tile = (uint64_t)rows * (span ? wc_min(span, cols) : cols);
    return 8 * (uint64_t)rows * cols + 12 * (uint64_t)rows + 13 * tile;
}
