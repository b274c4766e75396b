#include "solve/ggml_octet.h"

#include <math.h>
#include <string.h>

enum { LANES = WCK_GGML_LANES, ROUNDS = 2, FLIPS = 4 };

/* ---- the metric ----------------------------------------------------------------------------------------------------
 */

/* R upper with R R^T = the n x n block at g (ld 8), from the last column back. G is a block of a damped matrix; a pivot
 * that rounding makes negative becomes tiny. */
static void upper_factor(const float *g, size_t n, float *r)
{
    memset(r, 0, n * n * sizeof *r);
    for (size_t c = n; c-- > 0;) {
        for (size_t i = 0; i <= c; i++) {
            float x = g[i * 8 + c];
            for (size_t k = c + 1; k < n; k++)
                x -= r[i * n + k] * r[c * n + k];
            r[i * n + c] = x;
        }
        float pivot = sqrtf(fmaxf(r[c * n + c], 1e-12f * g[c * 8 + c] + 1e-37f));
        for (size_t i = 0; i < c; i++)
            r[i * n + c] /= pivot;
        r[c * n + c] = pivot;
    }
}

/* x [n] := x R^{-1}, R upper: left to right. */
static void divide_upper(const float *r, size_t ld, size_t n, float *x)
{
    for (size_t c = 0; c < n; c++) {
        for (size_t k = 0; k < c; k++)
            x[c] -= x[k] * r[k * ld + c];
        x[c] /= r[c * ld + c];
    }
}

/* x [n] := x R^{-T}: right to left. */
static void divide_lower(const float *r, size_t ld, size_t n, float *x)
{
    for (size_t c = n; c-- > 0;) {
        for (size_t k = c + 1; k < n; k++)
            x[c] -= x[k] * r[c * ld + k];
        x[c] /= r[c * ld + c];
    }
}

void wc_octet_metric_make(const float g[64], wc_octet_metric *m)
{
    memcpy(m->g, g, sizeof m->g);
    upper_factor(g, 8, m->r);
    memset(m->inverse, 0, sizeof m->inverse);
    for (size_t i = 0; i < 8; i++) {
        m->inverse[9 * i] = 1;
        divide_lower(m->r, 8, 8, m->inverse + 8 * i);
        divide_upper(m->r, 8, 8, m->inverse + 8 * i);
    }
    for (size_t b = 0; b < 2; b++) {
        upper_factor(g + 36 * b, 4, m->own[b]);
        for (size_t k = 0; k < 4; k++) {
            float *x = m->shift[b] + 4 * k;
            memcpy(x, g + (4 - 4 * b + k) * 8 + 4 * b, 4 * sizeof *x);
            divide_lower(m->own[b], 4, 4, x);
            divide_upper(m->own[b], 4, 4, x);
        }
    }
    for (size_t k = 0; k < 4; k++) {
        memcpy(m->chain + 4 * k, m->r + 8 * k + 4, 4 * sizeof *m->chain);
        divide_upper(m->r + 36, 8, 4, m->chain + 4 * k);
    }
}

/* ---- a tile of rows ------------------------------------------------------------------------------------------------
 */

typedef struct tile {
    wc_ggml_panel *p;
    const wc_octet_metric *m;
    float t[8][LANES], x[8][LANES]; /* targets, values */
    float s[LANES];
    uint8_t sign[LANES];
    uint16_t code[2][LANES];
} tile;

static float value_of(const tile *o, size_t k, size_t l)
{
    size_t dim = o->p->type->dim;
    float v = o->s[l] * o->p->level[o->code[k / dim][l] * dim + k % dim];
    return o->sign[l] >> k & 1 ? -v : v;
}

static void expand(tile *o)
{
    for (size_t k = 0; k < 8; k++)
        for (size_t l = 0; l < LANES; l++)
            o->x[k][l] = value_of(o, k, l);
}

/* |(t - x) R|^2 of lane l for the values x [8], `ld' apart. */
static float error_of(const tile *o, size_t l, const float *x, size_t ld)
{
    float sum = 0;
    for (size_t c = 0; c < 8; c++) {
        float y = 0;
        for (size_t k = 0; k <= c; k++)
            y += (o->t[k][l] - x[k * ld]) * o->m->r[8 * k + c];
        sum += y * y;
    }
    return sum;
}

/* The signs of S times the targets; the cheapest by its own weight changes where their number must be even. */
static void choose_signs(tile *o)
{
    for (size_t l = 0; l < LANES; l++) {
        size_t cheapest = 0;
        float least = INFINITY;
        o->sign[l] = 0;
        for (size_t k = 0; k < 8; k++) {
            float cost = o->t[k][l] * o->t[k][l] * o->m->g[9 * k];
            o->sign[l] |= (uint8_t)((o->t[k][l] * o->s[l] < 0) << k);
            if (cost < least) least = cost, cheapest = k;
        }
        if (o->p->type->sign_bits == 7 && __builtin_parity(o->sign[l])) o->sign[l] ^= (uint8_t)(1 << cheapest);
    }
}

/* The entry of group b for the target [dim][LANES] in the metric of the factor r [dim, dim]. */
static void search(tile *o, size_t b, const float *r, float target[8][LANES])
{
    const wc_ggml_type *type = o->p->type;
    size_t dim = type->dim;
    float base[8][LANES], u[8][LANES], score[LANES];
    for (size_t c = 0; c < dim; c++)
        for (size_t l = 0; l < LANES; l++) {
            base[c][l] = 0;
            for (size_t k = 0; k <= c; k++)
                base[c][l] += target[k][l] * r[k * dim + c];
            u[c][l] = o->sign[l] >> (b * dim + c) & 1 ? -o->s[l] : o->s[l];
        }
    o->p->kernel->nearest(o->p->level, type->codes, type->dim, r, base[0], u[0], o->code[b], score);
}

/* What group b has to come near to: its targets, moved by the errors of the other four times `shift' [4, 4]. */
static void shifted(const tile *o, size_t b, const float *shift, float target[8][LANES])
{
    for (size_t c = 0; c < 4; c++)
        for (size_t l = 0; l < LANES; l++) {
            target[c][l] = o->t[4 * b + c][l];
            for (size_t k = 0; k < 4; k++)
                target[c][l] += (o->t[4 - 4 * b + k][l] - o->x[4 - 4 * b + k][l]) * shift[4 * k + c];
        }
}

static void first_entries(tile *o)
{
    float target[8][LANES], r[2][16];
    memcpy(target, o->t, sizeof target);
    if (o->p->type->dim == 8) {
        search(o, 0, o->m->r, target);
        return;
    }
    for (size_t b = 0; b < 2; b++)
        for (size_t k = 0; k < 4; k++)
            memcpy(r[b] + 4 * k, o->m->r + 36 * b + 8 * k, 4 * sizeof *r[b]);
    search(o, 0, r[0], target);
    expand(o);
    shifted(o, 1, o->m->chain, target);
    search(o, 1, r[1], target);
}

static void better_entries(tile *o)
{
    float target[8][LANES];
    memcpy(target, o->t, sizeof target);
    if (o->p->type->dim == 8) {
        search(o, 0, o->m->r, target);
        return;
    }
    for (size_t b = 0; b < 2; b++) {
        expand(o);
        shifted(o, b, o->m->shift[b], target);
        search(o, b, o->m->own[b], target);
    }
}

/* Changing the sign of x_k adds 2 x_k to the error e: the objective changes by 4 x_k (G e)_k + 4 x_k^2 G_kk; two
 * together by the sum and 8 x_k x_j G_kj. */
static bool flip(tile *o, size_t l)
{
    float ge[8], one[8], best = 0, x[8];
    unsigned change = 0;
    for (size_t k = 0; k < 8; k++) {
        x[k] = o->x[k][l];
        ge[k] = 0;
        for (size_t j = 0; j < 8; j++)
            ge[k] += o->m->g[8 * k + j] * (o->t[j][l] - o->x[j][l]);
        one[k] = 4 * x[k] * (ge[k] + x[k] * o->m->g[9 * k]);
        if (o->p->type->sign_bits == 8 && one[k] < best) best = one[k], change = 1u << k;
    }
    for (size_t k = 0; k < 8 && o->p->type->sign_bits == 7; k++)
        for (size_t j = 0; j < k; j++) {
            float two = one[k] + one[j] + 8 * x[k] * x[j] * o->m->g[8 * k + j];
            if (two < best) best = two, change = 1u << k | 1u << j;
        }
    o->sign[l] ^= (uint8_t)change;
    for (size_t k = 0; k < 8; k++)
        if (change >> k & 1) o->x[k][l] = -x[k];
    return change;
}

static void round_tile(tile *o)
{
    choose_signs(o);
    first_entries(o);
    for (int round = 0; round < ROUNDS; round++) {
        expand(o);
        for (size_t l = 0; l < LANES; l++)
            for (int i = 0; i < FLIPS && flip(o, l); i++)
                ;
        better_entries(o);
    }
    expand(o);
}

static void load(tile *o, size_t first, const float *t, size_t r0, size_t n)
{
    size_t nr = o->p->nr, sub = first / o->p->type->sub;
    for (size_t l = 0; l < LANES; l++)
        o->s[l] = l < n ? o->p->s[sub * nr + r0 + l] : 0;
    for (size_t k = 0; k < 8; k++)
        for (size_t l = 0; l < LANES; l++)
            o->t[k][l] = l < n ? t[k * nr + r0 + l] : 0;
}

static void store(const tile *o, size_t first, size_t r, size_t l, float *value)
{
    size_t nr = o->p->nr, dim = o->p->type->dim;
    for (size_t b = 0; b < 8 / dim; b++)
        o->p->code[(first / dim + b) * nr + r] = o->code[b][l];
    o->p->sign[first / 8 * nr + r] = o->sign[l];
    for (size_t k = 0; k < 8; k++)
        value[k * nr + r] = o->x[k][l];
}

void wc_octet_round(wc_ggml_panel *p, size_t first, const wc_octet_metric *m, const float *t, bool keep, float *value)
{
    tile o = {.p = p, .m = m};
    for (size_t r0 = 0; r0 < p->nr; r0 += LANES) {
        size_t n = wc_min(LANES, p->nr - r0);
        load(&o, first, t, r0, n);
        round_tile(&o);
        for (size_t l = 0; l < n; l++) {
            float *old = value + r0 + l;
            if (!keep || error_of(&o, l, &o.x[0][l], LANES) < error_of(&o, l, old, p->nr))
                store(&o, first, r0 + l, l, value);
        }
    }
}
