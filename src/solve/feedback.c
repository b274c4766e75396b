#include "solve/feedback.h"

#include <string.h>

#include "linalg/linalg.h"

enum { LEAF = 32 }; /* columns per leaf: 32 columns of a 256-row panel are 32 KiB, the L1 cache */

/* y_i += sum_{a <= k < i} m_ki x_k and the step, column by column. */
static void leaf(const wc_sweep *s, size_t a, size_t b)
{
    for (size_t i = a; i < b; i += s->width) {
        size_t count = wc_min(s->width, b - i);
        for (size_t c = i; c < i + count; c++)
            s->kernel->combine(i - a, s->nr, s->m + a * s->ldm + c, s->ldm, s->x + a * s->nr, s->y + c * s->nr);
        s->step(s->self, i, count);
    }
}

/* Runs of *chunk columns; before each, one gemm brings in everything from a to the run. opens: which level of chunks
 * begins with s->open. */
static void level(const wc_sweep *s, const size_t *chunk, const size_t *opens, size_t a, size_t b)
{
    for (size_t c = a; c < b; c += *chunk) {
        size_t count = wc_min(*chunk, b - c);
        if (c > a)
            wc_gemm1(WC_T, WC_N, count, s->nr, c - a, 1, s->m + a * s->ldm + c, s->ldm, s->x + a * s->nr, s->nr, 1,
                     s->y + c * s->nr, s->nr);
        if (chunk == opens) s->open(s->self, c, count);
        if (chunk[1])
            level(s, chunk + 1, opens, c, c + count);
        else
            leaf(s, c, c + count);
    }
}

/* BLAS packs both operands of a product anew each time, so the far columns come in by wide products: a panel of 16
 * blocks costs a sixteenth of the packing that 16 products would. Wide chunks hold whole runs. */
void wc_sweep_run(const wc_sweep *s)
{
    size_t small = wc_round_up(LEAF, s->width), block = wc_round_up(s->block, small);
    size_t unit = s->outer ? s->outer : block;
    size_t chunk[6] = {wc_round_up(16 * block, unit), wc_round_up(4 * block, unit)}, n = 2;
    if (s->outer) chunk[n++] = s->outer;
    chunk[n++] = block;
    chunk[n] = small;
    level(s, chunk, s->outer ? chunk + 2 : NULL, 0, s->n);
}

struct run {
    const wc_feedback *f;
    const wc_rounder *rounder;
    size_t first; /* where the sweep's columns begin */
};

static void open_group(void *self, size_t i, size_t count)
{
    const struct run *run = self;
    const wc_rounder *rd = run->rounder;
    i += run->first;
    rd->begin_group(rd->self, i, count, run->f->nr, run->f->t + i * run->f->nr);
}

/* |(t_B - q_B) R_BB|^2 per row. For one column that is (t - q)^2 R_ii^2; for more, the products are formed in t. */
static void add_loss(const wc_feedback *f, size_t i, size_t count)
{
    size_t nr = f->nr, w = f->h->width;
    const float *pivot = f->h->pivot + i * w;
    float *t = f->t + i * nr;
    if (count == 1) {
        f->kernel->loss(nr, t, f->q, (double)pivot[0] * (double)pivot[0], f->loss);
        return;
    }
    for (size_t c = count; c-- > 0;) /* right to left: column c needs only columns up to c */
        for (size_t r = 0; r < nr; r++) {
            float sum = 0;
            for (size_t k = 0; k <= c; k++)
                sum += (t[k * nr + r] - f->q[k * nr + r]) * pivot[k * w + c];
            f->loss[r] += (double)(sum * sum);
        }
}

static void round_step(void *self, size_t i, size_t count)
{
    const struct run *run = self;
    const wc_feedback *f = run->f;
    const wc_rounder *rd = run->rounder;
    i += run->first;
    float *e = f->e + i * f->nr;
    rd->round(rd->self, i, count, f->nr, f->t + i * f->nr, f->h->pivot + i * f->h->width, f->q);
    add_loss(f, i, count);
    for (size_t k = 0; k < count * f->nr; k++)
        e[k] -= f->q[k];
}

void wc_feedback_open(const wc_feedback *f, size_t first, size_t count)
{
    size_t nr = f->nr, n = f->h->n;
    float *t = f->t + first * nr;
    memcpy(t, f->e + first * nr, count * nr * sizeof *t);
    if (first) wc_gemm1(WC_T, WC_N, count, nr, first, 1, f->h->u + first, n, f->e, nr, 1, t, nr);
}

double wc_feedback_sweep(const wc_feedback *f, const wc_rounder *rounder, size_t first, size_t count)
{
    struct run run = {f, rounder, first};
    wc_sweep sweep = {
        .kernel = f->kernel,
        .m = f->h->u + first * (f->h->n + 1),
        .n = count,
        .ldm = f->h->n,
        .nr = f->nr,
        .width = f->h->width,
        .outer = rounder->group,
        .block = f->block,
        .x = f->e + first * f->nr,
        .y = f->t + first * f->nr,
        .self = &run,
        .open = open_group,
        .step = round_step,
    };
    memset(f->loss, 0, f->nr * sizeof *f->loss);
    wc_sweep_run(&sweep);
    double total = 0;
    for (size_t r = 0; r < f->nr; r++)
        total += f->loss[r];
    return total;
}

double wc_feedback_run(const wc_feedback *f, const wc_rounder *rounder)
{
    wc_feedback_open(f, 0, f->h->n);
    return wc_feedback_sweep(f, rounder, 0, f->h->n);
}
