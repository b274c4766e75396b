#include "solve/refine.h"

#include <math.h>
#include <string.h>

#include "linalg/linalg.h"
#include "solve/feedback.h"

/* The group at hand: columns first .. first + count, inside the span that begins at column `span'. */
struct group {
    const wc_refine *r;
    size_t index, first, count, span;
    float qmax;
};

/* D of the group's columns. */
static float *d_group(const struct group *g)
{
    return g->r->d + (g->first - g->span) * g->r->panel->nr;
}

/* H of the group's columns; rows are h->n apart. */
static const float *h_group(const struct group *g)
{
    return g->r->h->h + g->first * g->r->h->n + g->first;
}

/* c_j = q_j - z, 0 in holes. */
static void centred(const struct group *g, size_t j)
{
    const wc_grid_panel *p = g->r->panel;
    float *c = g->r->c + j * p->nr;
    p->kernel->centre(p->nr, p->code + (g->first + j) * p->nr, p->z + g->index * p->nr, c);
    for (size_t i = 0; p->mask && i < p->nr; i++)
        if (!p->mask[(g->first + j) * p->nr + i]) c[i] = 0;
}

/* num = sum_j C_j D_j, den = C H_gg C^T with C = q - z; hc = C H_gg. */
static void step_equation(const struct group *g)
{
    const wc_refine *r = g->r;
    const wc_grid_panel *p = r->panel;
    size_t nr = p->nr;
    for (size_t j = 0; j < g->count; j++)
        centred(g, j);
    wc_gemm1(WC_N, WC_N, g->count, nr, g->count, 1, h_group(g), r->h->n, r->c, nr, 0, r->hc, nr);
    memset(r->num, 0, nr * sizeof *r->num);
    memset(r->den, 0, nr * sizeof *r->den);
    for (size_t j = 0; j < g->count; j++) {
        p->kernel->muladd(nr, r->c + j * nr, d_group(g) + j * nr, r->num);
        p->kernel->muladd(nr, r->c + j * nr, r->hc + j * nr, r->den);
    }
}

/* s += ds where that lowers the objective; E and D follow. */
static void refit_steps(const struct group *g)
{
    const wc_refine *r = g->r;
    wc_grid_panel *p = r->panel;
    size_t nr = p->nr;
    step_equation(g);
    for (size_t i = 0; i < nr; i++) {
        float s = p->s[g->index * nr + i], num = r->num[i], den = r->den[i];
        float ds = den > 0 ? wc_grid_near_step(p, g->index, i, s + num / den) - s : 0;
        if (ds * (2 * num - ds * den) > 0)
            wc_grid_set_step(p, g->index, i, s + ds);
        else
            ds = 0;
        r->num[i] = -ds;
    }
    for (size_t j = 0; j < g->count; j++) {
        p->kernel->muladd(nr, r->num, r->c + j * nr, r->e + (g->first + j) * nr);
        p->kernel->muladd(nr, r->num, r->hc + j * nr, d_group(g) + j * nr);
    }
}

/* A shift of all columns that are no holes by the same amount, K their indicator: num = sum_j K_j D_j,
 * den = K H_gg K^T; c = K, hc = K H_gg. */
static void shift_equation(const struct group *g)
{
    const wc_refine *r = g->r;
    const wc_grid_panel *p = r->panel;
    size_t nr = p->nr;
    for (size_t i = 0; i < g->count * nr; i++)
        r->c[i] = p->mask[g->first * nr + i];
    wc_gemm1(WC_N, WC_N, g->count, nr, g->count, 1, h_group(g), r->h->n, r->c, nr, 0, r->hc, nr);
    memset(r->num, 0, nr * sizeof *r->num);
    memset(r->den, 0, nr * sizeof *r->den);
    for (size_t j = 0; j < g->count; j++) {
        p->kernel->muladd(nr, r->c + j * nr, d_group(g) + j * nr, r->num);
        p->kernel->muladd(nr, r->c + j * nr, r->hc + j * nr, r->den);
    }
}

/* The same without holes, where K H_gg is that of every row. */
static void shift_equation_all(const struct group *g)
{
    const wc_refine *r = g->r;
    size_t nr = r->panel->nr;
    double total = 0;
    memset(r->num, 0, nr * sizeof *r->num);
    for (size_t j = 0; j < g->count; j++) {
        const float *row = h_group(g) + j * r->h->n;
        double sum = 0;
        for (size_t k = 0; k < g->count; k++)
            sum += (double)row[k];
        for (size_t i = 0; i < nr; i++) {
            r->num[i] += d_group(g)[j * nr + i];
            r->c[j * nr + i] = 1;
            r->hc[j * nr + i] = (float)sum;
        }
        total += sum;
    }
    for (size_t i = 0; i < nr; i++)
        r->den[i] = (float)total;
}

/* z += dz, to an admissible zero, where that lowers the objective; E and D follow. */
static void refit_zeros(const struct group *g)
{
    const wc_refine *r = g->r;
    wc_grid_panel *p = r->panel;
    size_t nr = p->nr;
    (p->mask ? shift_equation : shift_equation_all)(g);
    for (size_t i = 0; i < nr; i++) {
        float s = p->s[g->index * nr + i], *z = p->z + g->index * nr + i, num = r->num[i], den = r->den[i];
        float to = s != 0 && den > 0 ? wc_grid_near_zero(p, g->index, i, *z - num / (s * den)) : *z;
        float shift = s * (to - *z); /* every w^ of the group falls by this */
        if (-shift * (2 * num + shift * den) > 0)
            wc_grid_set_zero(p, g->index, i, to);
        else
            shift = 0;
        r->num[i] = shift;
    }
    for (size_t j = 0; j < g->count; j++) {
        p->kernel->muladd(nr, r->num, r->hc + j * nr, d_group(g) + j * nr);
        p->kernel->muladd(nr, r->num, r->c + j * nr, r->e + (g->first + j) * nr);
    }
}

static void descend_step(void *self, size_t i, size_t count)
{
    const struct group *g = self;
    const wc_refine *r = g->r;
    wc_grid_panel *p = r->panel;
    size_t nr = p->nr, j = g->first + i, at = g->index * nr;
    (void)count; /* always 1 */
    p->kernel->descend(nr, d_group(g) + i * nr, 1 / r->h->h[j * r->h->n + j], wc_grid_steps(p, j), p->inv + at,
                       p->z + at, g->qmax, p->code + j * nr, r->c + i * nr, r->e + j * nr);
}

static void refine_group(struct group *g)
{
    const wc_refine *r = g->r;
    size_t nr = r->panel->nr, n = r->h->n, before = g->first - g->span;
    float *x = r->x + before * nr, *e = r->e + g->first * nr;
    if (before)
        wc_gemm1(WC_T, WC_N, g->count, nr, before, 1, r->h->h + g->span * n + g->first, n, r->x, nr, 1, d_group(g), nr);
    memcpy(x, e, g->count * nr * sizeof *x);
    if (r->steps) {
        refit_steps(g);
        if (r->panel->grid->zero_kind != WC_ZERO_FIXED) refit_zeros(g);
    }
    wc_sweep sweep = {
        .kernel = r->panel->kernel,
        .m = h_group(g),
        .n = g->count,
        .ldm = n,
        .nr = nr,
        .width = 1,
        .block = r->block,
        .x = r->c,
        .y = d_group(g),
        .self = g,
        .step = descend_step,
    };
    wc_sweep_run(&sweep);
    for (size_t i = 0; i < g->count * nr; i++) /* what the later groups of the span must know */
        x[i] = e[i] - x[i];
}

size_t wc_refine_span(const wc_grid *grid)
{
    enum { SPAN = 256 };
    return grid->group < SPAN ? SPAN / grid->group * grid->group : grid->group;
}

void wc_refine_pass(const wc_refine *r)
{
    const wc_grid *grid = r->panel->grid;
    size_t nr = r->panel->nr, n = r->h->n, span = wc_refine_span(grid);
    struct group g = {.r = r, .qmax = (float)((1u << grid->bits) - 1)};
    for (g.index = 0, g.first = 0; g.first < n; g.index++, g.first += grid->group) {
        g.count = wc_min(grid->group, n - g.first);
        if (g.first % span == 0) {
            g.span = g.first;
            wc_gemm1(WC_N, WC_N, wc_min(span, n - g.first), nr, n, 1, r->h->h + g.first * n, n, r->e, nr, 0, r->d, nr);
        }
        refine_group(&g);
    }
}
