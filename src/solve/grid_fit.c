#include "solve/grid_fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "solve/panel.h"

enum { L = WCK_LANES };

/* ---- geometry --------------------------------------------------------------------------------------------------- */

const char *wc_grid_refusal(const wc_grid_options *opt)
{
    return opt->scale_bits == 1 ? "scale_bits is 1: integer scales need 2..8 bits (0: f16 scales)" : NULL;
}

/* Symmetric zeros. With 2^b levels either the levels are symmetric and none is 0 (mid-rise, z = (2^b - 1)/2) or 0 is a
 * level and one side has one level more (z = 2^(b-1); a signed step lets each group choose the side).
 * Relative squared error of N(0,1), groups of 64, best steps:
 *     bits                  1       2       3       4
 *     0 is a level      0.518   0.123  0.0311  0.0081
 *     mid-rise          0.358   0.113  0.0330  0.0087
 * So mid-rise up to 2 bits, where one more level on one side is a large part of all levels; and always with two-level
 * scales, whose steps have no sign, so that groups could not choose the side. */
static float symmetric_zero(const wc_grid_options *opt)
{
    float levels = (float)(1 << opt->bits);
    return opt->bits <= 2 || opt->scale_bits ? (levels - 1) / 2 : levels / 2;
}

void wc_grid_plan(size_t rows, size_t cols, const wc_grid_options *opt, wc_grid *out)
{
    *out = (wc_grid){
        .rows = rows,
        .cols = cols,
        .group = opt->group ? wc_min((size_t)opt->group, cols) : cols,
        .bits = (unsigned)opt->bits,
        .scale_bits = (unsigned)opt->scale_bits,
        .zero_kind = opt->sym ? WC_ZERO_FIXED : WC_ZERO_INT,
        .zero_fixed = opt->sym ? symmetric_zero(opt) : 0,
    };
}

int wc_grid_scale_exp(float max_abs)
{
    if (!(max_abs > 0)) return 0;
    int e = ilogbf(max_abs) - 8;
    return e < -125 ? -125 : e > 111 ? 111 : e;
}

/* ---- panels ----------------------------------------------------------------------------------------------------- */

/* Scratch of wc_grid_fit: s, z, qq of a tile for all groups, a tile of one group, with holes its weights. */
static size_t scratch_size(const wc_grid *g)
{
    return L * (3 * wc_grid_groups(g) + (g->holes ? 2 : 1) * g->group);
}

wc_status wc_grid_panel_alloc(wc_ctx *ctx, const wc_grid *grid, const wck_grid *kernel, size_t rows, wc_grid_panel *p)
{
    size_t per_group = wc_grid_groups(grid) * rows;
    *p = (wc_grid_panel){.grid = grid, .kernel = kernel, .nr = rows};
    WC_TRY(WC_ALLOC(ctx, p->s, per_group, "a panel's steps"));
    WC_TRY(WC_ALLOC(ctx, p->inv, per_group, "a panel's steps"));
    WC_TRY(WC_ALLOC(ctx, p->z, per_group, "a panel's zeros"));
    WC_TRY(WC_ALLOC(ctx, p->row_scale, rows, "a panel's row scales"));
    WC_TRY(WC_ALLOC(ctx, p->scale_code, per_group, "a panel's scale codes"));
    WC_TRY(WC_ALLOC(ctx, p->code, grid->cols * rows, "a panel's codes"));
    if (grid->holes) WC_TRY(WC_ALLOC(ctx, p->mask, grid->cols * rows, "a panel's mask"));
    if (grid->holes) WC_TRY(WC_ALLOC(ctx, p->held, rows, "a panel's steps"));
    return WC_ALLOC(ctx, p->scratch, scratch_size(grid), "a panel's search tile");
}

void wc_grid_panel_free(wc_grid_panel *p)
{
    if (!p) return;
    free(p->s), free(p->inv), free(p->z), free(p->row_scale), free(p->scale_code), free(p->code), free(p->mask);
    free(p->held), free(p->scratch);
    memset(p, 0, sizeof *p);
}

static inline float f16_value(float s)
{
    s = s > 65504 ? 65504 : s < -65504 ? -65504 : s;
    return wc_f16_f32(wc_f32_f16(s));
}

/* Reciprocals of f16 steps are finite: the smallest is 2^-24. */
static inline float reciprocal(float s)
{
    return s != 0 ? 1 / s : 0;
}

static inline float scale_code_for(float s, float d, float max)
{
    if (d == 0 || s == 0) return 0;
    float c = rintf(s / d);
    return c < 1 ? 1 : c > max ? max : c;
}

float wc_grid_near_step(const wc_grid_panel *p, size_t r, float s)
{
    if (!p->grid->scale_bits) return f16_value(s);
    float d = p->row_scale[r];
    return d * scale_code_for(s, d, (float)((1u << p->grid->scale_bits) - 1));
}

void wc_grid_set_step(wc_grid_panel *p, size_t g, size_t r, float s)
{
    size_t i = g * p->nr + r;
    if (p->grid->scale_bits) {
        float d = p->row_scale[r];
        p->scale_code[i] = (uint8_t)scale_code_for(s, d, (float)((1u << p->grid->scale_bits) - 1));
        s = d * (float)p->scale_code[i];
    } else {
        s = f16_value(s);
    }
    p->s[i] = s;
    p->inv[i] = reciprocal(s);
}

void wc_grid_panel_store(const wc_grid_panel *p, size_t r0, wc_grid *out)
{
    size_t groups = wc_grid_groups(out), nr = p->nr;
    wc_panel_store_codes(p->code, out->cols, r0, nr, out->code);
    for (size_t i = r0 * out->cols; out->holes && i < (r0 + nr) * out->cols; i++)
        if (!out->mask[i]) out->code[i] = 0;
    for (size_t r = 0; r < nr; r++) {
        if (out->scale_bits) out->scale[r0 + r] = wc_f32_f16(p->row_scale[r]);
        for (size_t g = 0; g < groups; g++) {
            size_t to = (r0 + r) * groups + g, from = g * nr + r;
            if (out->scale_bits)
                out->scale_code[to] = p->scale_code[from];
            else
                out->scale[to] = wc_f32_f16(p->s[from]);
            if (out->zero) out->zero[to] = (uint8_t)p->z[from];
        }
    }
}

/* ---- search ------------------------------------------------------------------------------------------------------ */

/* The best grid so far of one group for WCK_LANES rows. */
struct tile {
    const wc_grid_panel *p;
    size_t g;           /* columns */
    const float *w, *h; /* h: a weight per column, with holes one per element */
    float qmax;
    float s[L], z[L], err[L], qq[L];
};

static void keep_better(struct tile *t, const float *s, const float *z, const float *err)
{
    for (size_t r = 0; r < L; r++)
        if (err[r] < t->err[r]) t->s[r] = s[r], t->z[r] = z[r], t->err[r] = err[r];
}

static void try_grid(struct tile *t, const float *s, const float *z)
{
    float inv[L], err[L];
    for (size_t r = 0; r < L; r++)
        inv[r] = reciprocal(s[r]);
    (t->p->mask ? t->p->kernel->error_each : t->p->kernel->error)(t->g, t->w, t->h, s, inv, z, t->qmax, err);
    keep_better(t, s, z, err);
}

/* How far a grid whose step covers the range may shrink: the optimal step of a normal law over 128..4096 columns is at
 * 0.9 (4 bits) .. 0.3 (1 bit) of the range; heavier tails want less. The least-squares steps that follow bridge the
 * gaps between candidates. */
enum { CANDIDATES = 12 };
static float shrink(unsigned bits, int i)
{
    static const float least[9] = {0, 0.15f, 0.22f, 0.35f, 0.45f, 0.6f, 0.7f, 0.8f, 0.9f};
    return 1.04f + (least[bits] - 1.04f) * (float)i / (CANDIDATES - 1);
}

/* Steps are tried as they will be stored, so that no later rounding can undo the choice; two-level steps stay real
 * numbers until the row's scale is known. */
static inline float candidate(const struct tile *t, float s)
{
    return t->p->grid->scale_bits ? s : f16_value(s);
}

/* Tries the zero z with the steps cover, shrunk; with both signs if asked. */
static void try_steps(struct tile *t, const float *cover, const float *z, bool both_signs, wc_search search)
{
    int candidates = search == WC_SEARCH_MINMAX ? 1 : CANDIDATES;
    for (int i = 0; i < candidates; i++) {
        float s[L], p = search == WC_SEARCH_MINMAX ? 1 : shrink(t->p->grid->bits, i);
        for (size_t r = 0; r < L; r++)
            s[r] = candidate(t, p * cover[r]);
        try_grid(t, s, z);
        if (!both_signs) continue;
        for (size_t r = 0; r < L; r++)
            s[r] = -s[r];
        try_grid(t, s, z);
    }
}

/* The largest magnitude meets the end of the longer side, z levels below 0; a negative step puts that side above 0.
 * With as many levels on both sides the sign changes nothing. */
static void search_symmetric(struct tile *t, const float *lo, const float *hi, wc_search search)
{
    float z[L], cover[L], below = t->p->grid->zero_fixed;
    bool even = below == t->qmax - below;
    for (size_t r = 0; r < L; r++) {
        float extreme = -lo[r] >= hi[r] ? -lo[r] : even ? hi[r] : -hi[r];
        z[r] = below;
        cover[r] = extreme / below;
    }
    try_steps(t, cover, z, !even && search != WC_SEARCH_MINMAX, search);
}

/* The smallest step with zero z that covers lo <= 0 <= hi. */
static inline float covering_step(float lo, float hi, float z, float qmax)
{
    float up = z < qmax ? hi / (qmax - z) : 0, down = z > 0 ? -lo / z : 0;
    return up > down ? up : down;
}

/* Zeros are integers on the grid, so 0 is always a level and the range must include it. */
static void search_asymmetric(struct tile *t, const float *lo, const float *hi, wc_search search)
{
    int zeros = search == WC_SEARCH_MINMAX ? 1 : 3;
    for (int dz = 0; dz < zeros; dz++) {
        float z[L], cover[L];
        for (size_t r = 0; r < L; r++) {
            float l = lo[r] < 0 ? lo[r] : 0, h = hi[r] > 0 ? hi[r] : 0;
            float want = (h > l ? rintf(-l * (t->qmax / (h - l))) : 0) + (float)(dz == 2 ? -1 : dz);
            z[r] = want < 0 ? 0 : want > t->qmax ? t->qmax : want;
            cover[r] = zeros == 1 ? (h - l) / t->qmax : covering_step(l, h, z[r], t->qmax);
        }
        try_steps(t, cover, z, false, search);
    }
}

/* Lloyd's alternation: for fixed codes the best step is sum h w (q - z) / sum h (q - z)^2; three rounds are enough
 * (grid dossier section 2). Leaves the curvature qq of the step found. */
static void least_squares(struct tile *t, int rounds)
{
    float s[L], z[L], inv[L], err[L], wq[L], qq[L];
    memcpy(s, t->s, sizeof s);
    memcpy(z, t->z, sizeof z);
    for (int i = 0; i <= rounds; i++) {
        for (size_t r = 0; r < L; r++)
            inv[r] = reciprocal(s[r]);
        (t->p->mask ? t->p->kernel->normal_each : t->p->kernel->normal)(t->g, t->w, t->h, s, inv, z, t->qmax, err, wq,
                                                                        qq);
        keep_better(t, s, z, err);
        for (size_t r = 0; r < L; r++) {
            t->qq[r] = qq[r];
            s[r] = qq[r] > 0 ? candidate(t, wq[r] / qq[r]) : s[r];
        }
    }
}

static void fit_tile(struct tile *t, wc_search search)
{
    float lo[L], hi[L];
    t->p->kernel->range(t->g, t->w, lo, hi);
    for (size_t r = 0; r < L; r++)
        t->s[r] = t->z[r] = 0, t->err[r] = INFINITY;
    if (t->p->grid->zero_kind == WC_ZERO_FIXED)
        search_symmetric(t, lo, hi, search);
    else
        search_asymmetric(t, lo, hi, search);
    least_squares(t, search == WC_SEARCH_MINMAX ? 0 : 3);
}

/* Rows r0 .. r0 + nr of the group's columns, zeros beyond nr. */
static void load_tile(size_t g, size_t ld, const float *wt, size_t nr, float *tile)
{
    for (size_t j = 0; j < g; j++) {
        memcpy(tile + j * L, wt + j * ld, nr * sizeof *tile);
        memset(tile + j * L + nr, 0, (L - nr) * sizeof *tile);
    }
}

/* The same with holes, keep [g, ld]: they are 0, which no range minds, with weight 0. */
static void load_masked_tile(size_t g, size_t ld, const float *wt, const uint8_t *keep, const float *h, size_t nr,
                             float *tile, float *weight)
{
    load_tile(g, ld, wt, nr, tile);
    for (size_t j = 0; j < g; j++)
        for (size_t r = 0; r < L; r++) {
            bool kept = r < nr && keep[j * ld + r];
            tile[j * L + r] = kept ? tile[j * L + r] : 0;
            weight[j * L + r] = kept ? h[j] : 0;
        }
}

/* ---- two levels -------------------------------------------------------------------------------------------------- */

/* The row scale d for the steps s [groups, L] of row r: near max s / (2^b - 1) the one that loses least, to second
 * order sum qq (s - d c)^2. Smaller d round small steps better and clip the largest. */
static float row_scale(const wc_grid_panel *p, const float *s, const float *qq, size_t groups, size_t r)
{
    enum { TRIES = 12 };
    float max = (float)((1u << p->grid->scale_bits) - 1), top = 0, best = 0;
    double least = INFINITY;
    for (size_t g = 0; g < groups; g++)
        top = fmaxf(top, s[g * L + r]);
    for (int i = 0; i < TRIES && top > 0; i++) {
        float d = f16_value(top / max * (1.02f - 0.02f * (float)i));
        double cost = 0;
        for (size_t g = 0; g < groups && d > 0; g++) {
            double miss = (double)s[g * L + r] - (double)d * (double)scale_code_for(s[g * L + r], d, max);
            cost += (double)qq[g * L + r] * miss * miss;
        }
        if (d > 0 && cost < least) least = cost, best = d;
    }
    return best;
}

/* Chooses the group's scale code and zero again, now that d is fixed: the nearest code and its neighbours. */
static void fit_code(struct tile *t, const float *d, const float *real_s, const float *real_z)
{
    float max = (float)((1u << t->p->grid->scale_bits) - 1), s[L], z[L];
    int zeros = t->p->grid->zero_kind == WC_ZERO_INT ? 3 : 1;
    for (size_t r = 0; r < L; r++)
        t->s[r] = t->z[r] = 0, t->err[r] = INFINITY;
    for (int dz = 0; dz < zeros; dz++)
        for (int dc = 0; dc < 3; dc++) {
            for (size_t r = 0; r < L; r++) {
                float c = scale_code_for(real_s[r], d[r], max) + (float)(dc == 2 ? -1 : dc);
                float want = real_z[r] + (float)(dz == 2 ? -1 : dz);
                c = real_s[r] == 0 ? 0 : c < 1 ? 1 : c > max ? max : c;
                s[r] = d[r] * c;
                z[r] = want < 0 ? 0 : zeros > 1 && want > t->qmax ? t->qmax : want;
            }
            try_grid(t, s, z);
        }
}

/* ---- the panel --------------------------------------------------------------------------------------------------- */

static void publish(wc_grid_panel *p, const struct tile *t, size_t g, size_t r0, size_t nr)
{
    for (size_t r = 0; r < nr; r++) {
        p->z[g * p->nr + r0 + r] = t->z[r];
        wc_grid_set_step(p, g, r0 + r, t->s[r]);
    }
}

static void fit_rows(wc_grid_panel *p, size_t g0, size_t g1, const float *wt, const float *h, wc_search search,
                     size_t r0)
{
    const wc_grid *grid = p->grid;
    size_t groups = g1 - g0, nr = wc_min(L, p->nr - r0), first = g0 * grid->group;
    float *s = p->scratch, *z = s + L * groups, *qq = z + L * groups, *w = qq + L * groups, d[L] = {0};
    struct tile t = {.p = p, .w = w, .qmax = (float)((1u << grid->bits) - 1)};
    for (int level = 0; level <= (grid->scale_bits != 0); level++) {
        for (size_t r = 0; level && r < nr; r++)
            p->row_scale[r0 + r] = d[r] = row_scale(p, s, qq, groups, r);
        for (size_t g = g0; g < g1; g++) {
            size_t at = (g - g0) * L, j = g * grid->group - first;
            t.g = wc_min(grid->group, grid->cols - g * grid->group);
            t.h = h + j;
            if (p->mask) {
                t.h = w + L * grid->group;
                load_masked_tile(t.g, p->nr, wt + j * p->nr + r0, p->mask + (first + j) * p->nr + r0, h + j, nr, w,
                                 w + L * grid->group);
            } else {
                load_tile(t.g, p->nr, wt + j * p->nr + r0, nr, w);
            }
            if (level)
                fit_code(&t, d, s + at, z + at);
            else
                fit_tile(&t, search);
            if (level || !grid->scale_bits) {
                publish(p, &t, g, r0, nr);
                continue;
            }
            memcpy(s + at, t.s, sizeof t.s);
            memcpy(z + at, t.z, sizeof t.z);
            memcpy(qq + at, t.qq, sizeof t.qq);
        }
    }
}

void wc_grid_fit(wc_grid_panel *p, size_t g0, size_t g1, const float *wt, const float *h, wc_search search)
{
    for (size_t r0 = 0; r0 < p->nr; r0 += L)
        fit_rows(p, g0, g1, wt, h, search, r0);
}
