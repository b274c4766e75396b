#include "solve/ggml_fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"

enum { LANES = WCK_GGML_LANES };
static const float largest_f16 = 65504;

/* ---- panels ------------------------------------------------------------------------------------------------------ */

wc_status wc_ggml_panel_alloc(wc_ctx *ctx, const wc_ggml_type *t, size_t cols, size_t rows, wc_ggml_panel *p)
{
    size_t blocks = cols / t->block * rows, subs = cols / t->sub * rows;
    *p = (wc_ggml_panel){.type = t, .cols = cols, .kernel = wck_ggml_at(wck_level_used())};
    p->qmin = t->id == WC_GGML_Q8_0;
    WC_TRY(WC_ALLOC(ctx, p->level, (size_t)t->codes * t->dim, "levels"));
    WC_TRY(WC_ALLOC(ctx, p->d, blocks, "a panel's scales"));
    WC_TRY(WC_ALLOC(ctx, p->m, blocks, "a panel's scales"));
    WC_TRY(WC_ALLOC(ctx, p->scale, subs, "a panel's scales"));
    WC_TRY(WC_ALLOC(ctx, p->min, subs, "a panel's scales"));
    WC_TRY(WC_ALLOC(ctx, p->s, subs, "a panel's scales"));
    WC_TRY(WC_ALLOC(ctx, p->inv, subs, "a panel's scales"));
    WC_TRY(WC_ALLOC(ctx, p->least, subs, "a panel's scales"));
    WC_TRY(WC_ALLOC(ctx, p->code, cols / t->dim * rows, "a panel's codes"));
    WC_TRY(WC_ALLOC(ctx, p->sign, cols / 8 * rows, "a panel's signs"));
    WC_TRY(WC_ALLOC(ctx, p->weight, t->block * rows, "a panel's weights"));
    if (t->dim == 1)
        wc_ggml_levels(t, p->level);
    else
        wc_ggml_entries(t, p->level);
    return WC_OK;
}

void wc_ggml_panel_free(wc_ggml_panel *p)
{
    free(p->level), free(p->d), free(p->m), free(p->scale), free(p->min), free(p->s), free(p->inv), free(p->least);
    free(p->code), free(p->sign), free(p->weight);
}

static void store_bytes(const uint8_t *from, size_t n, size_t nr, size_t r0, uint8_t *to)
{
    for (size_t r = 0; to && r < nr; r++)
        for (size_t i = 0; i < n; i++)
            to[(r0 + r) * n + i] = from[i * nr + r];
}

void wc_ggml_panel_store(const wc_ggml_panel *p, size_t r0, wc_ggml *g)
{
    const wc_ggml_type *t = p->type;
    size_t codes = p->cols / t->dim, blocks = p->cols / t->block, nr = p->nr;
    for (size_t r = 0; r < nr; r++) {
        for (size_t i = 0; i < codes; i++)
            g->code[(r0 + r) * codes + i] = p->code[i * nr + r];
        for (size_t i = 0; i < blocks; i++) {
            g->d[(r0 + r) * blocks + i] = wc_f32_f16(p->d[i * nr + r]);
            if (g->m) g->m[(r0 + r) * blocks + i] = wc_f32_f16(p->m[i * nr + r]);
        }
    }
    store_bytes(p->sign, p->cols / 8, nr, r0, g->sign);
    store_bytes(p->scale, p->cols / t->sub, nr, r0, g->scale);
    store_bytes(p->min, p->cols / t->sub, nr, r0, g->min);
}

void wc_ggml_scale(wc_ggml_panel *p, size_t sub, size_t r)
{
    const wc_ggml_type *t = p->type;
    size_t at = sub * p->nr + r, block = sub * t->sub / t->block * p->nr + r;
    p->s[at] = p->d[block] * (t->mul * (float)p->scale[at] + t->add);
    p->inv[at] = p->s[at] != 0 ? 1 / p->s[at] : 0;
    p->least[at] = t->min_bits ? p->m[block] * (float)p->min[at] : t->has_m ? p->m[block] : 0;
}

void wc_ggml_scales(wc_ggml_panel *p, size_t block)
{
    size_t subs = p->type->block / p->type->sub;
    for (size_t i = block * subs; i < (block + 1) * subs; i++)
        for (size_t r = 0; r < p->nr; r++)
            wc_ggml_scale(p, i, r);
}

void wc_ggml_round(wc_ggml_panel *p, size_t column, const float *t, float *value)
{
    const wc_ggml_type *type = p->type;
    size_t at = column / type->sub * p->nr;
    uint16_t *code = p->code + column * p->nr;
    if (type->lo == 0 && !type->has_m)
        p->kernel->round_table(p->nr, p->level, t, p->s + at, p->inv + at, code, value);
    else
        p->kernel->round(p->nr, t, p->s + at, p->inv + at, p->least + at, (float)type->lo, (float)p->qmin,
                         (float)(type->codes - 1), code, value);
}

void wc_ggml_expand(const wc_ggml_panel *p, size_t sub, float *value)
{
    const wc_ggml_type *t = p->type;
    size_t nr = p->nr;
    const float *s = p->s + sub * nr, *least = p->least + sub * nr;
    for (size_t j = sub * t->sub; j < (sub + 1) * t->sub; j++, value += nr)
        for (size_t r = 0; r < nr; r++) {
            float v = p->level[p->code[j / t->dim * nr + r] * t->dim + j % t->dim];
            if (t->sign_bits && p->sign[j / 8 * nr + r] >> j % 8 & 1) v = -v;
            value[r] = s[r] * v - least[r];
        }
}

/* ---- the two levels of scales ------------------------------------------------------------------------------------ */

static float f16_near(float x, bool *over)
{
    if (!(fabsf(x) <= largest_f16)) *over = true;
    return wc_f16_f32(wc_f32_f16(fminf(fmaxf(x, -largest_f16), largest_f16)));
}

/* n ideal scales and what errors in them cost, to be written as d (mul c + add), 0 <= c <= top. */
typedef struct levels {
    size_t n;
    float ideal[WC_GGML_SUBS], cost[WC_GGML_SUBS];
    float mul, add;
    unsigned top;
} levels;

static uint8_t level_code(const levels *l, float d, float ideal)
{
    float c = d != 0 ? (ideal / d - l->add) / l->mul : 0;
    return (uint8_t)rintf(fminf(fmaxf(c, 0), (float)l->top));
}

static float assign(const levels *l, float d, uint8_t *code, float *refit)
{
    float err = 0, num = 0, den = 0;
    for (size_t i = 0; i < l->n; i++) {
        code[i] = level_code(l, d, l->ideal[i]);
        float f = l->mul * code[i] + l->add, e = l->ideal[i] - d * f;
        err += l->cost[i] * e * e;
        num += l->cost[i] * l->ideal[i] * f;
        den += l->cost[i] * f * f;
    }
    *refit = den > 0 ? num / den : 0;
    return err;
}

/* Which d is best jumps about, because every scale rounds for itself: many are tried, from those that put the largest
 * scale well inside the range of codes to those that clip it, and each is refitted once. Much larger d are tried as
 * well: f16 runs out of bits for weights below 1e-5. */
static float fit_levels(const levels *l, uint8_t *code, bool *over)
{
    float peak = 0, best = 0, least = INFINITY, ends[2] = {l->mul * (float)l->top + l->add, l->add};
    for (size_t i = 0; i < l->n; i++)
        if (fabsf(l->ideal[i]) > fabsf(peak)) peak = l->ideal[i];
    memset(code, 0, l->n);
    if (peak == 0) return 0;
    for (int end = 0; end < 2; end++)
        for (int k = -33; k <= 8 && fabsf(ends[end]) >= 1; k++) {
            float f = k < -30 ? ldexpf(1, 2 * (k + 30)) : 1 + 0.01f * (float)k, refit;
            float d = f16_near(peak / (ends[end] * f), over);
            uint8_t tried[WC_GGML_SUBS];
            for (int round = 0; round < 2; round++) {
                float err = assign(l, d, tried, &refit);
                if (err < least) {
                    least = err, best = d;
                    memcpy(code, tried, l->n);
                }
                d = f16_near(refit, over);
            }
        }
    return best;
}

/* ---- one run of a type with levels: x [n], weights q [n] -----------------------------------------------------------
 */

typedef struct run {
    const wc_ggml_panel *p;
    const float *x, *q;
    size_t n;
} run;

static float nearest_level(const wc_ggml_panel *p, float x)
{
    const wc_ggml_type *t = p->type;
    if (t->lo == 0 && !t->has_m) {
        float v = p->level[0];
        for (unsigned i = 1; i < t->codes; i++)
            if (x > (p->level[i - 1] + p->level[i]) * 0.5f) v = p->level[i];
        return v;
    }
    float q = fminf(fmaxf(x - (float)t->lo, (float)p->qmin), (float)(t->codes - 1));
    return q + 12582912 - 12582912 + (float)t->lo;
}

/* The sums of the normal equations of (S, M) for the codes nearest at (s, m), and the error there. */
typedef struct sums {
    double q, v, vv, x, xv, err;
} sums;

static sums measure(const run *u, float s, float m)
{
    sums a = {0};
    float inv = s != 0 ? 1 / s : 0;
    for (size_t j = 0; j < u->n; j++) {
        float v = nearest_level(u->p, (u->x[j] + m) * inv), e = s * v - m - u->x[j];
        double q = (double)u->q[j];
        a.q += q, a.v += q * (double)v, a.vv += q * (double)(v * v);
        a.x += q * (double)u->x[j], a.xv += q * (double)(u->x[j] * v);
        a.err += q * (double)(e * e);
    }
    return a;
}

/* Least squares of x ~ s v - m; m is not negative unless the type has it directly. */
static void solve(const wc_ggml_type *t, const sums *a, float *s, float *m)
{
    double det = a->vv * a->q - a->v * a->v;
    *m = 0;
    if (t->has_m && det > 1e-12 * a->vv * a->q) {
        *s = (float)((a->xv * a->q - a->x * a->v) / det);
        *m = (float)((a->v * a->xv - a->vv * a->x) / det);
        if (*m >= 0 || !t->min_bits) return;
        *m = 0;
    }
    *s = a->vv > 0 ? (float)(a->xv / a->vv) : 0;
}

typedef struct ideal {
    float s, m, cost; /* cost of a squared error in s */
    double err;
} ideal;

static void try_ideal(const run *u, float s, float m, ideal *best)
{
    for (int round = 0; round < 2; round++) {
        sums a = measure(u, s, m);
        if (a.err < best->err) *best = (ideal){s, m, (float)a.vv, a.err};
        solve(u->p->type, &a, &s, &m);
    }
}

/* Scales around the one that covers the range. Clipping the extreme pays where levels are few: with h levels on a side
 * the scan goes from 0.9 / h wider to 2 / h narrower. */
static ideal fit_run(const run *u)
{
    enum { STEPS = 24 };
    const wc_ggml_type *t = u->p->type;
    float lo = u->x[0], hi = lo, top, half = (float)t->codes / 2;
    ideal best = {0, 0, 0, INFINITY};
    for (size_t j = 1; j < u->n; j++)
        lo = fminf(lo, u->x[j]), hi = fmaxf(hi, u->x[j]);
    top = -lo > hi ? lo : hi;
    if (t->has_m) {
        if (t->min_bits) lo = fminf(lo, 0);
        for (int i = 0; i <= STEPS && hi > lo; i++) {
            float range = (float)(t->codes - 1) * (1 - 0.9f / half + 2.4f / half * (float)i / STEPS);
            try_ideal(u, (hi - lo) / range, -lo, &best);
        }
        if (!(hi > lo)) try_ideal(u, 0, -lo, &best);
        return best;
    }
    for (int end = 0; end < 2 && top != 0; end++)
        for (int i = 0; i <= STEPS; i++) {
            float reach =
                u->p->level[end ? t->codes - 1 : u->p->qmin] * (1 - 0.9f / half + 2.9f / half * (float)i / STEPS);
            try_ideal(u, top / reach, 0, &best);
        }
    if (top == 0) best.err = 0;
    return best;
}

/* ---- one block of one row ------------------------------------------------------------------------------------------
 */

static void load_run(const wc_ggml_panel *p, const float *e, size_t sub, size_t r, float *x, float *q)
{
    size_t n = p->type->sub, first = sub * n, in_block = first % p->type->block;
    for (size_t j = 0; j < n; j++) {
        x[j] = e[(first + j) * p->nr + r];
        q[j] = p->weight[(in_block + j) * p->nr + r];
    }
}

/* Neighbouring codes of the run's scale and min, with real rounding. */
static void polish(wc_ggml_panel *p, const run *u, size_t sub, size_t r)
{
    const wc_ggml_type *t = p->type;
    size_t at = sub * p->nr + r;
    int s0 = p->scale[at], m0 = p->min[at], reach = t->min_bits ? 1 : 0;
    double least = INFINITY;
    uint8_t best_s = p->scale[at], best_m = p->min[at];
    for (int ds = -1; ds <= 1; ds++)
        for (int dm = -reach; dm <= reach; dm++) {
            int s = s0 + ds, m = m0 + dm;
            if (s < 0 || s >= 1 << t->scale_bits || m < 0 || (m && m >= 1 << t->min_bits)) continue;
            p->scale[at] = (uint8_t)s, p->min[at] = (uint8_t)m;
            wc_ggml_scale(p, sub, r);
            double err = measure(u, p->s[at], p->least[at]).err;
            if (err < least) least = err, best_s = (uint8_t)s, best_m = (uint8_t)m;
        }
    p->scale[at] = best_s, p->min[at] = best_m;
    wc_ggml_scale(p, sub, r);
}

/* The best M for the codes at the ideal S, once S is what can be stored. */
static float fit_min(const run *u, const ideal *a, float s)
{
    float inv = a->s != 0 ? 1 / a->s : 0;
    double num = 0, den = 0;
    for (size_t j = 0; j < u->n; j++) {
        float v = nearest_level(u->p, (u->x[j] + a->m) * inv);
        num += (double)u->q[j] * (double)(s * v - u->x[j]);
        den += (double)u->q[j];
    }
    float m = den > 0 ? (float)(num / den) : 0;
    return u->p->type->min_bits ? fmaxf(m, 0) : m;
}

static void fit_row(wc_ggml_panel *p, const float *e, size_t block, size_t r, bool *over)
{
    const wc_ggml_type *t = p->type;
    size_t n = t->block / t->sub, first = block * n, at = block * p->nr + r;
    levels s = {.n = n, .mul = t->mul, .add = t->add, .top = (1u << t->scale_bits) - 1}, m = s;
    float x[WC_GGML_BLOCK], q[WC_GGML_BLOCK];
    ideal best[WC_GGML_SUBS];
    uint8_t code[WC_GGML_SUBS];
    for (size_t i = 0; i < n; i++) {
        load_run(p, e, first + i, r, x + i * t->sub, q + i * t->sub);
        best[i] = fit_run(&(run){p, x + i * t->sub, q + i * t->sub, t->sub});
        s.ideal[i] = best[i].s, s.cost[i] = best[i].cost;
    }
    p->d[at] = t->scale_bits ? fit_levels(&s, code, over) : f16_near(s.ideal[0], over);
    for (size_t i = 0; i < n; i++) {
        if (t->scale_bits) p->scale[(first + i) * p->nr + r] = code[i];
        wc_ggml_scale(p, first + i, r);
        m.ideal[i] = m.cost[i] = 0;
        for (size_t j = 0; t->has_m && j < t->sub; j++)
            m.cost[i] += q[i * t->sub + j];
        if (t->has_m)
            m.ideal[i] =
                fit_min(&(run){p, x + i * t->sub, q + i * t->sub, t->sub}, &best[i], p->s[(first + i) * p->nr + r]);
    }
    m.mul = 1, m.add = 0, m.top = (1u << t->min_bits) - 1;
    if (t->has_m) p->m[at] = t->min_bits ? fit_levels(&m, code, over) : f16_near(m.ideal[0], over);
    for (size_t i = 0; i < n; i++) {
        if (t->min_bits) p->min[(first + i) * p->nr + r] = code[i];
        wc_ggml_scale(p, first + i, r);
        if (t->scale_bits) polish(p, &(run){p, x + i * t->sub, q + i * t->sub, t->sub}, first + i, r);
    }
}

/* ---- types with a grid ----------------------------------------------------------------------------------------------
 */

/* A tile of rows in one group of 8 weights: signs first, then the entries nearest to the magnitudes. With an odd number
 * of minuses where it must be even, the weight for which it is cheapest changes its sign, and then wants to be small.
 */
typedef struct octet {
    float x[8][LANES], root[8][LANES]; /* magnitudes, and roots of their weights */
    uint8_t sign[LANES];
    uint16_t best[2][LANES];
} octet;

static void load_octet(const wc_ggml_panel *p, const float *e, size_t first, size_t r0, size_t n, octet *o)
{
    memset(o, 0, sizeof *o);
    for (size_t l = 0; l < n; l++) {
        size_t cheapest = 0;
        float least = INFINITY;
        for (size_t j = 0; j < 8; j++) {
            float x = e[(first + j) * p->nr + r0 + l], q = p->weight[((first + j) % p->type->block) * p->nr + r0 + l];
            o->x[j][l] = fabsf(x);
            o->root[j][l] = sqrtf(q);
            o->sign[l] |= (uint8_t)((x < 0) << j);
            if (q * x * x < least) least = q * x * x, cheapest = j;
        }
        if (p->type->sign_bits == 7 && __builtin_parity(o->sign[l])) {
            o->sign[l] ^= (uint8_t)(1 << cheapest);
            o->x[cheapest][l] = -o->x[cheapest][l];
        }
    }
}

/* The nearest entries of a run at scales s [nr]; error, and the sums of the refit, per row. Codes are kept. */
static void lattice_run(wc_ggml_panel *p, const float *e, size_t sub, const float *s, float *err, float *num,
                        float *den)
{
    const wc_ggml_type *t = p->type;
    size_t nr = p->nr;
    memset(err, 0, nr * sizeof *err), memset(num, 0, nr * sizeof *num), memset(den, 0, nr * sizeof *den);
    for (size_t r0 = 0; r0 < nr; r0 += LANES)
        for (size_t first = sub * t->sub; first < (sub + 1) * t->sub; first += 8) {
            size_t n = wc_min(LANES, nr - r0);
            octet o;
            float base[8][LANES], u[8][LANES] = {{0}}, score[LANES];
            load_octet(p, e, first, r0, n, &o);
            for (size_t j = 0; j < 8; j++)
                for (size_t l = 0; l < LANES; l++) {
                    base[j][l] = o.x[j][l] * o.root[j][l];
                    u[j][l] = l < n ? s[r0 + l] * o.root[j][l] : 0;
                }
            for (size_t g = 0; g < 8; g += t->dim) {
                uint16_t *code = p->code + (first + g) / t->dim * nr + r0;
                p->kernel->nearest_plain(p->level, t->codes, t->dim, base[g], u[g], o.best[g / t->dim], score);
                for (size_t l = 0; l < n; l++) {
                    const float *v = p->level + o.best[g / t->dim][l] * t->dim;
                    code[l] = o.best[g / t->dim][l];
                    err[r0 + l] += score[l];
                    for (size_t j = 0; j < t->dim; j++) {
                        float q = o.root[g + j][l] * o.root[g + j][l];
                        num[r0 + l] += q * o.x[g + j][l] * v[j];
                        den[r0 + l] += q * v[j] * v[j];
                    }
                }
            }
            memcpy(p->sign + first / 8 * nr + r0, o.sign, n);
        }
}

/* What a panel needs to fit a grid type: [nr] each, ideal and cost for every run of a block. */
typedef struct lattice {
    float *rms, *s, *err, *num, *den, *least, *ideal, *cost, *memory;
} lattice;

enum { MOST_ROWS = 512 };

/* The ideal scale of a run: a scan around equal energies of weights and entries, then least squares. */
static void lattice_ideal(wc_ggml_panel *p, const float *e, size_t sub, float entry_rms, lattice *w, float *best,
                          float *cost)
{
    enum { STEPS = 10, ROUNDS = 2 };
    const wc_ggml_type *t = p->type;
    size_t nr = p->nr, first = sub * t->sub;
    for (size_t r = 0; r < nr; r++) {
        float xx = 0, qq = 0;
        for (size_t j = first; j < first + t->sub; j++) {
            float q = p->weight[j % t->block * nr + r];
            xx += q * e[j * nr + r] * e[j * nr + r], qq += q;
        }
        w->rms[r] = qq > 0 ? sqrtf(xx / qq) / entry_rms : 0;
        w->least[r] = INFINITY, best[r] = 0, cost[r] = 0;
    }
    for (int i = 0; i < STEPS + ROUNDS; i++) {
        for (size_t r = 0; r < nr; r++)
            w->s[r] = i < STEPS ? w->rms[r] * (0.6f + 0.09f * (float)i) : best[r];
        lattice_run(p, e, sub, w->s, w->err, w->num, w->den);
        for (size_t r = 0; r < nr; r++) {
            float s = w->den[r] > 0 ? w->num[r] / w->den[r] : 0;
            if (w->err[r] >= w->least[r]) continue;
            w->least[r] = w->err[r], best[r] = s, cost[r] = w->den[r]; /* the refit loses less still */
        }
    }
}

/* Neighbouring scale codes with real rounding; leaves the codes of the last try, so the best is tried once more. */
static void lattice_polish(wc_ggml_panel *p, const float *e, size_t sub, lattice *w, uint8_t *start, uint8_t *best)
{
    size_t nr = p->nr, at = sub * nr;
    memcpy(start, p->scale + at, nr);
    memcpy(best, start, nr);
    for (int step = 0; step <= 3; step++) {
        static const int delta[] = {0, -1, 1};
        for (size_t r = 0; r < nr; r++) {
            int c = step < 3 ? start[r] + delta[step] : best[r];
            p->scale[at + r] = (uint8_t)(c < 0 ? 0 : c >= 1 << p->type->scale_bits ? start[r] : c);
            wc_ggml_scale(p, sub, r);
        }
        lattice_run(p, e, sub, p->s + at, w->err, w->num, w->den);
        for (size_t r = 0; r < nr && step < 3; r++)
            if (!step || w->err[r] < w->least[r]) w->least[r] = w->err[r], best[r] = p->scale[at + r];
    }
}

static float rms_of(const float *v, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += v[i] * v[i];
    return sqrtf(sum / (float)n);
}

static size_t fit_lattice(wc_ggml_panel *p, const float *e, size_t block)
{
    const wc_ggml_type *t = p->type;
    size_t n = t->block / t->sub, nr = p->nr, first = block * n, saturated = 0;
    float memory[6][MOST_ROWS], ideals[WC_GGML_SUBS][MOST_ROWS], costs[WC_GGML_SUBS][MOST_ROWS];
    lattice w = {memory[0], memory[1], memory[2], memory[3], memory[4], memory[5], NULL, NULL, NULL};
    float entry_rms = rms_of(p->level, (size_t)t->codes * t->dim);
    for (size_t i = 0; i < n; i++)
        lattice_ideal(p, e, first + i, entry_rms, &w, ideals[i], costs[i]);
    for (size_t r = 0; r < nr; r++) {
        levels l = {.n = n, .mul = t->mul, .add = t->add, .top = (1u << t->scale_bits) - 1};
        uint8_t code[WC_GGML_SUBS];
        bool over = false;
        for (size_t i = 0; i < n; i++)
            l.ideal[i] = ideals[i][r], l.cost[i] = costs[i][r];
        p->d[block * nr + r] = fit_levels(&l, code, &over);
        saturated += over;
        for (size_t i = 0; i < n; i++)
            p->scale[(first + i) * nr + r] = code[i];
    }
    uint8_t start[MOST_ROWS], best[MOST_ROWS];
    for (size_t i = 0; i < n; i++)
        lattice_polish(p, e, first + i, &w, start, best);
    return saturated;
}

/* ---- panels ---------------------------------------------------------------------------------------------------------
 */

static void make_weights(wc_ggml_panel *p, const float *e, size_t block, const float *weight, wc_ggml_weigh weigh)
{
    size_t n = p->type->block, nr = p->nr, first = block * n;
    for (size_t r = 0; r < nr; r++) {
        float mean = 0;
        for (size_t j = first; j < first + n; j++)
            mean += e[j * nr + r] * e[j * nr + r] / (float)n;
        for (size_t j = 0; j < n; j++) {
            float x = e[(first + j) * nr + r], h = weight[first + j];
            p->weight[j * nr + r] = weigh == WC_GGML_COLUMN    ? h
                                    : weigh == WC_GGML_IMATRIX ? h * sqrtf(mean + x * x)
                                                               : x * x + 0.01f * mean;
        }
    }
}

void wc_ggml_fit(wc_ggml_panel *p, const float *e, const float *weight, wc_ggml_weigh weigh, size_t *saturated)
{
    for (size_t b = 0; b < p->cols / p->type->block; b++) {
        make_weights(p, e, b, weight, weigh);
        if (p->type->dim > 1) {
            *saturated += fit_lattice(p, e, b);
            continue;
        }
        for (size_t r = 0; r < p->nr; r++) {
            bool over = false;
            fit_row(p, e, b, r, &over);
            *saturated += over;
        }
    }
}
