#include "solve/planes.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "linalg/linalg.h"
#include "solve/grid_fit.h"
#include "solve/panel.h"

enum { CHOICE = 0x80, MAX_LEVELS = 7, MAX_SCALES = 8 }; /* of a code: bit l is the sign of level l; which scale */

/* The columns that share levels: those outside the subset (or all), and those in it. */
struct share {
    uint32_t *col;                  /* [n] ascending */
    size_t n, groups, at;           /* at: the first of them when both shares stand in a row */
    unsigned first, levels, scales; /* its levels in the part; scales per row and group */
    bool split;
};

struct solver {
    const wc_planes_problem *p;
    wc_signs *out;
    const wck_grid *kernel;
    size_t rows; /* per panel */
    struct share share[2];
    uint32_t *place; /* [cols] of a column in its share; the highest bit: in the second */
    float *sorted;   /* [cols, cols] the rows of H, those of the first share first; NULL when that is H itself */
    const float *h;  /* sorted, or H */
};
#define SECOND 0x80000000u

struct pair {
    float magnitude, weight;
};

struct panel {
    const struct solver *s;
    size_t nr;
    float *e, *ordered, *t, *d, *hb; /* [cols, nr] */
    float *q, *best;                 /* [nr] */
    double *loss;                    /* [nr] */
    uint8_t *code;                   /* [cols, nr] */
    float *scale[2];                 /* per share [groups, scales, nr] */
    float *b;                        /* [group, nr] the +-1 of a scale */
    struct pair *pair;               /* [group] */
};

/* ---- scales ----------------------------------------------------------------------------------------------------- */

static int smaller_first(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    return x->magnitude < y->magnitude ? -1 : x->magnitude > y->magnitude;
}

static float mean_of(const struct pair *p, size_t n)
{
    double sum = 0, weight = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)p[i].weight * (double)p[i].magnitude, weight += (double)p[i].weight;
    return weight > 0 ? wc_f16_near(sum / weight) : 0;
}

/* The two means that leave least: sum h (m - a)^2 over a run of sorted magnitudes is sum h m^2 - (sum h m)^2 / sum h,
 * so the best cut has the largest sum of (sum h m)^2 / sum h over both sides. */
static void two_means(struct pair *p, size_t n, float a[2])
{
    double sum = 0, weight = 0, left = 0, left_weight = 0, best = -1;
    size_t cut = n;
    qsort(p, n, sizeof *p, smaller_first);
    for (size_t i = 0; i < n; i++)
        sum += (double)p[i].weight * (double)p[i].magnitude, weight += (double)p[i].weight;
    for (size_t i = 0; i + 1 < n; i++) {
        left += (double)p[i].weight * (double)p[i].magnitude, left_weight += (double)p[i].weight;
        double rest = sum - left, rest_weight = weight - left_weight;
        double gain = left_weight > 0 && rest_weight > 0 ? left * left / left_weight + rest * rest / rest_weight : 0;
        if (gain > best) best = gain, cut = i + 1;
    }
    a[0] = mean_of(p, cut);
    a[1] = cut < n ? mean_of(p + cut, n - cut) : a[0];
}

/* s [scales] of one row and group from its magnitudes, which become what is left of them. */
static void fit_group(const struct share *c, struct pair *p, size_t n, float *s)
{
    if (c->split)
        two_means(p, n, s);
    else
        s[0] = mean_of(p, n);
    for (unsigned k = 1u + c->split; k < c->scales; k++) {
        for (size_t i = 0; i < n; i++) {
            float m = p[i].magnitude, near = fabsf(m - s[k - 1]);
            p[i].magnitude = c->split && k == 2 ? fminf(fabsf(m - s[0]), near) : near;
        }
        s[k] = mean_of(p, n);
    }
}

static size_t group_size(const struct panel *p, const struct share *c, size_t g)
{
    size_t group = p->s->out->group;
    return wc_min(group, c->n - g * group);
}

static void fit_scales(struct panel *p, int which)
{
    const struct share *c = &p->s->share[which];
    for (size_t g = 0; g < c->groups; g++)
        for (size_t r = 0; r < p->nr; r++) {
            size_t n = group_size(p, c, g);
            float s[MAX_SCALES];
            for (size_t i = 0; i < n; i++) {
                size_t j = c->col[g * p->s->out->group + i];
                p->pair[i] = (struct pair){fabsf(p->e[j * p->nr + r]), p->s->p->weight[j]};
            }
            fit_group(c, p->pair, n, s);
            for (unsigned k = 0; k < c->scales; k++)
                p->scale[which][(g * c->scales + k) * p->nr + r] = s[k];
        }
}

/* ---- signs and choices ------------------------------------------------------------------------------------------ */

/* The value of a code as decoders add it up; scale: [scales, nr] at the row. */
static float value_of(const struct share *c, unsigned code, const float *scale, size_t nr)
{
    float v = 0;
    for (unsigned l = 0; l < c->levels; l++) {
        unsigned k = l ? l + c->split : code & CHOICE ? 1 : 0;
        v += code >> l & 1 ? -scale[k * nr] : scale[k * nr];
    }
    return v;
}

/* code [nr], q [nr] = the nearest of all values to t [nr]; of equally near ones the first in the order of codes. */
static void round_column(struct panel *p, size_t column, const float *t, float *q)
{
    uint32_t place = p->s->place[column];
    int which = place & SECOND ? 1 : 0;
    const struct share *c = &p->s->share[which];
    const float *scale = p->scale[which] + (place & ~SECOND) / p->s->out->group * c->scales * p->nr;
    uint8_t *code = p->code + column * p->nr;
    for (size_t r = 0; r < p->nr; r++)
        p->best[r] = INFINITY;
    for (unsigned choice = 0; choice <= (c->split ? CHOICE : 0u); choice += CHOICE)
        for (unsigned signs = 0; signs < 1u << c->levels; signs++)
            for (size_t r = 0; r < p->nr; r++) {
                float v = value_of(c, choice | signs, scale + r, p->nr), far = fabsf(t[r] - v);
                if (far >= p->best[r]) continue;
                p->best[r] = far;
                q[r] = v;
                code[r] = (uint8_t)(choice | signs);
            }
}

static void round_step(void *self, size_t pos, size_t count, size_t nr, const float *t, const float *pivot, float *q)
{
    struct panel *p = self;
    const uint32_t *order = p->s->p->h->order;
    (void)count, (void)nr, (void)pivot; /* one column: nearest in any metric */
    round_column(p, order ? order[pos] : pos, t, q);
}

/* Codes, and e = W - W^. Returns the error. */
static double find_codes(struct panel *p)
{
    const wc_planes_problem *o = p->s->p;
    double loss = 0;
    if (o->h) {
        wc_rounder rounder = {.self = p, .width = 1, .round = round_step};
        wc_feedback f = {.h = o->h,
                         .kernel = p->s->kernel,
                         .nr = p->nr,
                         .block = o->block,
                         .e = p->e,
                         .t = p->t,
                         .q = p->q,
                         .loss = p->loss};
        return wc_panel_feedback(&f, &rounder, p->ordered);
    }
    for (size_t j = 0; j < p->s->out->cols; j++) {
        float *e = p->e + j * p->nr;
        round_column(p, j, e, p->q);
        for (size_t r = 0; r < p->nr; r++) {
            e[r] -= p->q[r];
            loss += (double)o->weight[j] * (double)e[r] * (double)e[r];
        }
    }
    return loss;
}

/* ---- refitting scales ------------------------------------------------------------------------------------------- */

/* b [n, nr] = the +-1 with which scale k of a share enters the n columns of a group, 0 where the other one is chosen.
 */
static void signs_of(const struct panel *p, const struct share *c, const uint32_t *col, size_t n, unsigned k, float *b)
{
    unsigned level = k > c->split ? k - c->split : 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *code = p->code + (size_t)col[i] * p->nr;
        for (size_t r = 0; r < p->nr; r++) {
            bool in = level || !c->split || (code[r] & CHOICE ? 1u : 0u) == k;
            b[i * p->nr + r] = !in ? 0 : code[r] >> level & 1 ? -1 : 1;
        }
    }
}

/* The error falls by step (2 num - step den), num = b D and den = b H b, so step = num / den is best; what is stored is
 * an f16, so the step taken is to that, if it helps. step [nr] in p->q. */
static bool choose_steps(struct panel *p, const uint32_t *col, size_t n, float *scale)
{
    bool any = false;
    for (size_t r = 0; r < p->nr; r++) {
        double num = 0, den = 0;
        for (size_t i = 0; i < n; i++) {
            double b = (double)p->b[i * p->nr + r];
            num += b * (double)p->d[(size_t)col[i] * p->nr + r];
            den += b * (double)p->hb[(size_t)col[i] * p->nr + r];
        }
        double to = den > 0 ? (double)wc_f16_near((double)scale[r] + num / den) : (double)scale[r];
        double step = to - (double)scale[r];
        if (!(step * (2 * num - step * den) > 0)) step = 0;
        any = any || step != 0;
        p->q[r] = (float)step;
        scale[r] += p->q[r];
    }
    return any;
}

/* D = (W - W^) H and e = W - W^ follow: D -= step H b, e -= step b. */
static void refit_group(struct panel *p, int which, size_t g)
{
    const struct share *c = &p->s->share[which];
    size_t first = g * p->s->out->group, n = group_size(p, c, g), nr = p->nr, all = p->s->out->cols;
    const uint32_t *col = c->col + first;
    const float *rows = p->s->h + (c->at + first) * all;
    for (unsigned k = 0; k < c->scales; k++) {
        signs_of(p, c, col, n, k, p->b);
        wc_gemm1(WC_T, WC_N, all, nr, n, 1, rows, all, p->b, nr, 0, p->hb, nr);
        if (!choose_steps(p, col, n, p->scale[which] + (g * c->scales + k) * nr)) continue;
        for (size_t j = 0; j < all; j++)
            for (size_t r = 0; r < nr; r++)
                p->d[j * nr + r] -= p->q[r] * p->hb[j * nr + r];
        for (size_t i = 0; i < n; i++)
            for (size_t r = 0; r < nr; r++)
                p->e[(size_t)col[i] * nr + r] -= p->q[r] * p->b[i * nr + r];
    }
}

/* One sweep over all scales. Returns the error: e D. */
static double refit(struct panel *p)
{
    const wc_hessian *h = p->s->p->h;
    double loss = 0;
    wc_gemm1(WC_N, WC_N, h->n, p->nr, h->n, 1, h->h, h->n, p->e, p->nr, 0, p->d, p->nr);
    for (int which = 0; which < 2; which++)
        for (size_t g = 0; g < p->s->share[which].groups; g++)
            refit_group(p, which, g);
    for (size_t i = 0; i < h->n * p->nr; i++)
        loss += (double)p->e[i] * (double)p->d[i];
    return loss;
}

/* ---- the matrix ------------------------------------------------------------------------------------------------- */

static void store_levels(const struct panel *p, int which, size_t r0)
{
    const struct share *c = &p->s->share[which];
    wc_signs *out = p->s->out;
    size_t stride = wc_ceil_div(c->n, 8);
    for (unsigned l = 0; l < c->levels; l++) {
        uint8_t *sign = out->sign + wc_signs_sign_at(out, c->first + l) + r0 * stride;
        uint8_t *choice = l || !c->split ? NULL : out->choice + wc_signs_choice_at(out, c->first) + r0 * stride;
        for (size_t k = 0; k < c->n; k++)
            for (size_t r = 0; r < p->nr; r++) {
                unsigned code = p->code[(size_t)c->col[k] * p->nr + r];
                sign[r * stride + k / 8] |= (uint8_t)((code >> l & 1) << k % 8);
                if (choice && code & CHOICE) choice[r * stride + k / 8] |= (uint8_t)(1u << k % 8);
            }
        unsigned width = l || !c->split ? 1 : 2, first = l ? l + c->split : 0;
        uint16_t *u = out->u + wc_signs_scales_at(out, c->first + l) + r0 * c->groups * width;
        for (size_t r = 0; r < p->nr; r++)
            for (size_t g = 0; g < c->groups; g++)
                for (unsigned k = 0; k < width; k++)
                    *u++ = wc_f32_f16(p->scale[which][(g * c->scales + first + k) * p->nr + r]);
    }
}

static double solve_panel(struct panel *p, size_t r0, size_t nr)
{
    const struct solver *s = p->s;
    const wc_planes_problem *o = s->p;
    p->nr = nr;
    wc_panel_load(o->w, s->out->cols, r0, nr, s->out->scale_exp, p->e);
    for (int which = 0; which < 2; which++)
        fit_scales(p, which);
    double loss = find_codes(p);
    for (int pass = 0; o->h && pass < o->passes; pass++) {
        if (pass) {
            wc_panel_load(o->w, s->out->cols, r0, nr, s->out->scale_exp, p->e);
            find_codes(p);
        }
        loss = refit(p);
    }
    for (int which = 0; which < 2; which++)
        store_levels(p, which, r0);
    return loss;
}

static wc_status panel_alloc(wc_ctx *ctx, const struct solver *s, struct panel *p)
{
    size_t all = s->out->cols * s->rows, group = s->out->group;
    memset(p, 0, sizeof *p);
    p->s = s;
    WC_TRY(WC_ALLOC(ctx, p->e, all, "a panel"));
    WC_TRY(WC_ALLOC(ctx, p->code, all, "a panel's codes"));
    WC_TRY(WC_ALLOC(ctx, p->q, s->rows, "a panel's column"));
    WC_TRY(WC_ALLOC(ctx, p->best, s->rows, "a panel's column"));
    WC_TRY(WC_ALLOC(ctx, p->pair, group, "a group"));
    for (int which = 0; which < 2; which++) {
        const struct share *c = &s->share[which];
        WC_TRY(WC_ALLOC(ctx, p->scale[which], c->groups * c->scales * s->rows, "a panel's scales"));
    }
    if (!s->p->h) return WC_OK;
    WC_TRY(WC_ALLOC(ctx, p->t, all, "a panel's targets"));
    WC_TRY(WC_ALLOC(ctx, p->loss, s->rows, "a panel's losses"));
    if (s->p->h->order) WC_TRY(WC_ALLOC(ctx, p->ordered, all, "a permuted panel"));
    if (!s->p->passes) return WC_OK;
    WC_TRY(WC_ALLOC(ctx, p->d, all, "a panel's gradients"));
    WC_TRY(WC_ALLOC(ctx, p->hb, all, "a panel's products"));
    return WC_ALLOC(ctx, p->b, group * s->rows, "a panel's signs");
}

static void panel_free(struct panel *p)
{
    free(p->e), free(p->ordered), free(p->t), free(p->d), free(p->q), free(p->best), free(p->loss), free(p->code);
    free(p->scale[0]), free(p->scale[1]), free(p->b), free(p->hb), free(p->pair);
}

/* The rows of H that belong to a group of columns, side by side. */
static wc_status sort_moments(wc_ctx *ctx, struct solver *s)
{
    size_t n = s->out->cols;
    s->share[1].at = s->share[0].n;
    s->h = s->p->h ? s->p->h->h : NULL;
    if (!s->h || !s->share[1].n || !s->p->passes) return WC_OK;
    WC_TRY(WC_ALLOC(ctx, s->sorted, n * n, "sorted second moments"));
    for (int which = 0; which < 2; which++)
        for (size_t k = 0; k < s->share[which].n; k++)
            memcpy(s->sorted + (s->share[which].at + k) * n, s->h + s->share[which].col[k] * n, n * sizeof *s->sorted);
    s->h = s->sorted;
    return WC_OK;
}

/* Which columns and levels belong together. */
static wc_status divide(wc_ctx *ctx, struct solver *s)
{
    const wc_signs *out = s->out;
    WC_TRY(WC_ALLOC(ctx, s->place, out->cols, "places of columns"));
    for (int which = 0; which < 2; which++)
        WC_TRY(WC_ALLOC(ctx, s->share[which].col, out->cols, "places of columns"));
    for (size_t j = 0; j < out->cols; j++) {
        int which = s->p->subset && s->p->subset[j];
        struct share *c = &s->share[which];
        s->place[j] = (uint32_t)c->n | (which ? SECOND : 0);
        c->col[c->n++] = (uint32_t)j;
    }
    for (unsigned l = 0; l < out->levels; l++) {
        struct share *c = &s->share[(out->which[l] & WC_SIGNS_COLUMNS) == WC_SIGNS_SUBSET];
        if (!c->levels++) c->first = l, c->split = out->which[l] & WC_SIGNS_SPLIT;
    }
    for (int which = 0; which < 2; which++) {
        struct share *c = &s->share[which];
        c->scales = c->levels + c->split;
        c->groups = wc_ceil_div(c->n, out->group);
        if (c->levels > MAX_LEVELS || (c->n && !c->levels))
            return wc_fail(ctx, WC_BUG, "%s: %u levels for %zu columns", s->p->tensor, c->levels, c->n);
    }
    return s->share[1].n == out->subset ? WC_OK : wc_fail(ctx, WC_BUG, "%s: another subset is planned", s->p->tensor);
}

static wc_status solve(wc_ctx *ctx, const struct solver *s, double *loss)
{
    size_t rows = s->out->rows, panels = wc_ceil_div(rows, s->rows);
    int threads = (int)wc_min((size_t)ctx->threads, panels);
    struct panel *work = NULL;
    double *losses = NULL;
    wc_status status = WC_OK;
    *loss = 0;
    WC_TRY_OUT(WC_ALLOC(ctx, losses, panels, "panel losses"));
    WC_TRY_OUT(WC_ALLOC(ctx, work, (size_t)threads, "workspaces"));
    for (int t = 0; t < threads; t++)
        WC_TRY_OUT(panel_alloc(ctx, s, work + t));
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t i = 0; i < panels; i++)
        losses[i] = solve_panel(work + omp_get_thread_num(), i * s->rows, wc_min(s->rows, rows - i * s->rows));
    for (size_t i = 0; i < panels; i++)
        *loss += losses[i];
out:
    for (int t = 0; work && t < threads; t++)
        panel_free(work + t);
    free(work), free(losses);
    return status;
}

wc_status wc_planes_solve(wc_ctx *ctx, const wc_planes_problem *p, wc_signs *out, double *loss)
{
    wc_part made = {.kind = WC_PART_SIGNS, .signs = *out};
    struct solver s = {.p = p, .out = &made.signs, .rows = wc_panel_rows(out->rows)};
    wc_status status = WC_OK;
    double sum;
    float top;
    s.kernel = wck_grid_at(wck_level_used());
    WC_TRY(wc_panel_largest(ctx, p->tensor, p->w, out->rows, out->cols, &top));
    WC_TRY(wc_signs_alloc(ctx, s.out));
    s.out->scale_exp = wc_grid_scale_exp(top);
    if (out->subset && p->subset) memcpy(s.out->column, p->subset, out->cols);
    WC_TRY_OUT(divide(ctx, &s));
    WC_TRY_OUT(sort_moments(ctx, &s));
    WC_TRY_OUT(solve(ctx, &s, &sum));
    if (loss) *loss = ldexp(sum, 2 * s.out->scale_exp) / (p->h ? p->h->scale : 1);
    *out = made.signs;
out:
    free(s.place), free(s.sorted), free(s.share[0].col), free(s.share[1].col);
    if (status != WC_OK) wc_part_free(&made);
    return status;
}
