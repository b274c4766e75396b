#include "solve/grid_fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "solve/grid_tile.h"
#include "solve/panel.h"

enum { L = WCK_LANES };

/* ---- geometry --------------------------------------------------------------------------------------------------- */

const char *wc_grid_refusal(const wc_grid_options *opt)
{
    bool line = opt->zero_bits && opt->zero_bits != 16;
    if (opt->scale_bits == 1) return "scale_bits is 1: integer scales need 2..8 bits (0: f16 scales)";
    if (opt->zero_bits && opt->sym) return "zero_bits needs sym=no";
    if (line && (opt->zero_bits == 1 || opt->zero_bits > 8)) return "zero_bits is 0, 2 to 8, or 16";
    if (line && !opt->tile) return "zero_bits of 2 to 8 needs tile";
    if (opt->tile && !opt->scale_bits) return "tile needs scale_bits";
    if (opt->tile == 1 || (opt->tile & (opt->tile - 1))) return "tile is 2, 4, 8 or 16 rows";
    if (opt->search == WC_SEARCH_SLIM && (!opt->sym || opt->scale_bits))
        return "search=slim needs sym=yes, scale_bits=0";
    if (opt->search == WC_SEARCH_HQQ && opt->sym) return "zeros are what hqq chooses: it needs sym=no";
    return NULL;
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
        .tile = (size_t)opt->tile,
        .zero_kind = opt->sym               ? WC_ZERO_FIXED
                     : !opt->zero_bits      ? WC_ZERO_INT
                     : opt->zero_bits == 16 ? WC_ZERO_F16
                                            : WC_ZERO_LINE,
        .zero_bits = opt->zero_bits < 16 ? (unsigned)opt->zero_bits : 0,
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
    size_t lines = grid->tile ? 2 * wc_grid_groups(grid) * wc_ceil_div(rows, grid->tile) : 0;
    *p = (wc_grid_panel){.grid = grid, .kernel = kernel, .nr = rows};
    WC_TRY(WC_ALLOC(ctx, p->s, per_group, "a panel's steps"));
    WC_TRY(WC_ALLOC(ctx, p->inv, per_group, "a panel's steps"));
    WC_TRY(WC_ALLOC(ctx, p->z, per_group, "a panel's zeros"));
    WC_TRY(WC_ALLOC(ctx, p->row_scale, rows, "a panel's row scales"));
    WC_TRY(WC_ALLOC(ctx, p->scale_code, per_group, "a panel's scale codes"));
    if (grid->tile) WC_TRY(WC_ALLOC(ctx, p->scale_line, lines, "a panel's tiles"));
    if (grid->zero_kind == WC_ZERO_LINE) {
        WC_TRY(WC_ALLOC(ctx, p->zero_line, lines, "a panel's tiles"));
        WC_TRY(WC_ALLOC(ctx, p->zero_code, per_group, "a panel's zero codes"));
    }
    WC_TRY(WC_ALLOC(ctx, p->code, grid->cols * rows, "a panel's codes"));
    if (grid->holes) WC_TRY(WC_ALLOC(ctx, p->mask, grid->cols * rows, "a panel's mask"));
    if (grid->holes) WC_TRY(WC_ALLOC(ctx, p->held, rows, "a panel's steps"));
    return WC_ALLOC(ctx, p->scratch, scratch_size(grid), "a panel's search tile");
}

void wc_grid_panel_free(wc_grid_panel *p)
{
    if (!p) return;
    free(p->s), free(p->inv), free(p->z), free(p->row_scale), free(p->scale_code), free(p->code), free(p->mask);
    free(p->scale_line), free(p->zero_line), free(p->zero_code), free(p->held), free(p->scratch);
    memset(p, 0, sizeof *p);
}

static inline float scale_code_for(float s, float d, float max)
{
    if (d == 0 || s == 0) return 0;
    float c = rintf(s / d);
    return c < 1 ? 1 : c > max ? max : c;
}

float wc_line_code(const float line[2], float x, float max)
{
    float c = line[1] > 0 ? rintf((x - line[0]) / line[1]) : 0;
    return c > 0 ? c < max ? c : max : 0;
}

/* The code of the step nearest to s; its value. Only with scale_bits. */
static float step_code(const wc_grid_panel *p, size_t g, size_t r, float s, float *value)
{
    float max = (float)((1u << p->grid->scale_bits) - 1), code;
    if (p->grid->tile) {
        const float *line = wc_panel_line(p, p->scale_line, g, r);
        code = wc_line_code(line, s, max);
        *value = wc_line_value(line, code);
    } else {
        code = scale_code_for(s, p->row_scale[r], max);
        *value = p->row_scale[r] * code;
    }
    return code;
}

float wc_grid_near_step(const wc_grid_panel *p, size_t g, size_t r, float s)
{
    float value;
    if (!p->grid->scale_bits) return wc_f16_near(s);
    step_code(p, g, r, s, &value);
    return value;
}

void wc_grid_set_step(wc_grid_panel *p, size_t g, size_t r, float s)
{
    size_t i = g * p->nr + r;
    if (p->grid->scale_bits)
        p->scale_code[i] = (uint8_t)step_code(p, g, r, s, &s);
    else
        s = wc_f16_near(s);
    p->s[i] = s;
    p->inv[i] = wc_reciprocal(s);
}

static float zero_code(const wc_grid_panel *p, size_t g, size_t r, float z)
{
    return wc_line_code(wc_panel_line(p, p->zero_line, g, r), z, (float)((1u << p->grid->zero_bits) - 1));
}

float wc_grid_near_zero(const wc_grid_panel *p, size_t g, size_t r, float z)
{
    float qmax = (float)((1u << p->grid->bits) - 1);
    switch (p->grid->zero_kind) {
    case WC_ZERO_FIXED: return p->grid->zero_fixed;
    case WC_ZERO_INT: z = rintf(z); return z < 0 ? 0 : z > qmax ? qmax : z;
    case WC_ZERO_F16: return wc_f16_near(z);
    case WC_ZERO_LINE: break;
    }
    return wc_line_value(wc_panel_line(p, p->zero_line, g, r), zero_code(p, g, r, z));
}

void wc_grid_set_zero(wc_grid_panel *p, size_t g, size_t r, float z)
{
    if (p->grid->zero_kind == WC_ZERO_LINE) p->zero_code[g * p->nr + r] = (uint8_t)zero_code(p, g, r, z);
    p->z[g * p->nr + r] = wc_grid_near_zero(p, g, r, z);
}

/* The panel's lines [groups, tiles, 2] into those of the part, [tiles of rows, groups, 2]; rows r0 on. */
static void store_lines(const wc_grid_panel *p, const float *lines, size_t r0, uint16_t *out)
{
    size_t groups = wc_grid_groups(p->grid), tiles = wc_ceil_div(p->nr, p->grid->tile), first = r0 / p->grid->tile;
    for (size_t t = 0; t < tiles; t++)
        for (size_t g = 0; g < groups; g++)
            for (size_t k = 0; k < 2; k++)
                out[2 * ((first + t) * groups + g) + k] = wc_f32_f16(lines[2 * (g * tiles + t) + k]);
}

void wc_grid_panel_store(const wc_grid_panel *p, size_t r0, wc_grid *out)
{
    size_t groups = wc_grid_groups(out), nr = p->nr;
    wc_panel_store_codes(p->code, out->cols, r0, nr, out->code);
    for (size_t i = r0 * out->cols; out->holes && i < (r0 + nr) * out->cols; i++)
        if (!out->mask[i]) out->code[i] = 0;
    if (out->tile) store_lines(p, p->scale_line, r0, out->scale);
    if (out->zero_kind == WC_ZERO_LINE) store_lines(p, p->zero_line, r0, out->zero_f16);
    for (size_t r = 0; r < nr; r++) {
        if (out->scale_bits && !out->tile) out->scale[r0 + r] = wc_f32_f16(p->row_scale[r]);
        for (size_t g = 0; g < groups; g++) {
            size_t to = (r0 + r) * groups + g, from = g * nr + r;
            if (out->scale_bits)
                out->scale_code[to] = p->scale_code[from];
            else
                out->scale[to] = wc_f32_f16(p->s[from]);
            if (out->zero_kind == WC_ZERO_INT) out->zero[to] = (uint8_t)p->z[from];
            if (out->zero_kind == WC_ZERO_LINE) out->zero[to] = p->zero_code[from];
            if (out->zero_kind == WC_ZERO_F16) out->zero_f16[to] = wc_f32_f16(p->z[from]);
        }
    }
}

/* ---- search ------------------------------------------------------------------------------------------------------ */

void wc_tile_reset(wc_tile *t)
{
    for (size_t r = 0; r < L; r++)
        t->s[r] = t->z[r] = 0, t->err[r] = INFINITY;
}

void wc_tile_keep(wc_tile *t, const float *s, const float *z, const float *err)
{
    for (size_t r = 0; r < L; r++)
        if (err[r] < t->err[r]) t->s[r] = s[r], t->z[r] = z[r], t->err[r] = err[r];
}

void wc_tile_try(wc_tile *t, const float *s, const float *z)
{
    float inv[L], err[L];
    for (size_t r = 0; r < L; r++)
        inv[r] = wc_reciprocal(s[r]);
    (t->p->mask ? t->p->kernel->error_each : t->p->kernel->error)(t->g, t->w, t->h, s, inv, z, t->qmax, err);
    wc_tile_keep(t, s, z, err);
}

void wc_tile_weights(const wc_tile *t, double *sum)
{
    for (size_t r = 0; r < L; r++)
        sum[r] = 0;
    for (size_t j = 0; j < t->g; j++)
        for (size_t r = 0; r < L; r++)
            sum[r] += (double)(t->p->mask ? t->h[j * L + r] : t->h[j]);
}

void wc_tile_affine(const wc_tile *t, const float *s, const float *inv, const float *z, float sum[WCK_N_SUMS][L])
{
    (t->p->mask ? t->p->kernel->affine_each : t->p->kernel->affine)(t->g, t->w, t->h, s, inv, z, t->qmax, sum);
}

/* How far a grid whose step covers the range may shrink: the optimal step of a normal law over 128..4096 columns is at
 * 0.9 (4 bits) .. 0.3 (1 bit) of the range; heavier tails want less. The least-squares steps that follow bridge the
 * gaps between candidates. */
float wc_tile_shrink(unsigned bits, int i)
{
    static const float least[9] = {0, 0.15f, 0.22f, 0.35f, 0.45f, 0.6f, 0.7f, 0.8f, 0.9f};
    return 1.04f + (least[bits] - 1.04f) * (float)i / (WC_CANDIDATES - 1);
}

/* Tries the zero z with the steps cover, shrunk; with both signs if asked. */
static void try_steps(wc_tile *t, const float *cover, const float *z, bool both_signs, wc_search search)
{
    bool once = wc_covers_range(search);
    for (int i = 0; i < (once ? 1 : WC_CANDIDATES); i++) {
        float s[L], p = once ? 1 : wc_tile_shrink(t->p->grid->bits, i);
        for (size_t r = 0; r < L; r++)
            s[r] = wc_tile_step(t, p * cover[r]);
        wc_tile_try(t, s, z);
        if (!both_signs) continue;
        for (size_t r = 0; r < L; r++)
            s[r] = -s[r];
        wc_tile_try(t, s, z);
    }
}

/* The largest magnitude meets the end of the longer side, z levels below 0; a negative step puts that side above 0.
 * With as many levels on both sides the sign changes nothing. */
static void search_symmetric(wc_tile *t, const float *lo, const float *hi, wc_search search)
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
static void search_asymmetric(wc_tile *t, const float *lo, const float *hi, wc_search search)
{
    int zeros = wc_covers_range(search) ? 1 : 3;
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
static void least_squares(wc_tile *t, int rounds)
{
    float s[L], z[L], inv[L], err[L], wq[L], qq[L];
    memcpy(s, t->s, sizeof s);
    memcpy(z, t->z, sizeof z);
    for (int i = 0; i <= rounds; i++) {
        for (size_t r = 0; r < L; r++)
            inv[r] = wc_reciprocal(s[r]);
        (t->p->mask ? t->p->kernel->normal_each : t->p->kernel->normal)(t->g, t->w, t->h, s, inv, z, t->qmax, err, wq,
                                                                        qq);
        wc_tile_keep(t, s, z, err);
        for (size_t r = 0; r < L; r++) {
            t->qq[r] = qq[r];
            s[r] = qq[r] > 0 ? wc_tile_step(t, wq[r] / qq[r]) : s[r];
        }
    }
}

static void fit_tile(wc_tile *t, wc_search search)
{
    float lo[L], hi[L];
    bool real = t->p->grid->zero_kind == WC_ZERO_F16 || t->p->grid->zero_kind == WC_ZERO_LINE;
    t->p->kernel->range(t->g, t->w, lo, hi);
    wc_tile_reset(t);
    if (search == WC_SEARCH_SLIM) {
        for (size_t r = 0; r < L; r++)
            t->s[r] = t->p->step, t->z[r] = t->p->grid->zero_fixed;
        return;
    }
    if (real) {
        wc_tile_real(t, lo, hi, search);
        return;
    }
    if (t->p->grid->zero_kind == WC_ZERO_FIXED)
        search_symmetric(t, lo, hi, search);
    else
        search_asymmetric(t, lo, hi, search);
    least_squares(t, wc_covers_range(search) ? 0 : 3);
    if (search == WC_SEARCH_HQQ) wc_tile_fit_zeros(t, search);
}

/* Rows r0 .. r0 + nr of the group's columns, zeros beyond nr. */
static void load_tile(size_t g, size_t ld, const float *wt, size_t nr, float *tile)
{
    for (size_t j = 0; j < g; j++) {
        memcpy(tile + j * L, wt + j * ld, nr * sizeof *tile);
        memset(tile + j * L + nr, 0, (L - nr) * sizeof *tile);
    }
}

/* The same with holes, keep [g, ld], and the weights of all elements. */
static void load_masked_tile(size_t g, size_t ld, const float *wt, const uint8_t *keep, const float *h, size_t nr,
                             float *tile, float *weight)
{
    float any[L] = {0};
    load_tile(g, ld, wt, nr, tile);
    for (size_t j = g; j-- > 0;)
        for (size_t r = 0; r < nr; r++)
            if (keep[j * ld + r]) any[r] = tile[j * L + r];
    for (size_t j = 0; j < g; j++)
        for (size_t r = 0; r < L; r++) {
            bool kept = r < nr && keep[j * ld + r];
            tile[j * L + r] = kept ? tile[j * L + r] : any[r];
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
        float d = wc_f16_near(top / max * (1.02f - 0.02f * (float)i));
        double cost = 0;
        for (size_t g = 0; g < groups && d > 0; g++) {
            double miss = (double)s[g * L + r] - (double)d * (double)scale_code_for(s[g * L + r], d, max);
            cost += (double)qq[g * L + r] * miss * miss;
        }
        if (d > 0 && cost < least) least = cost, best = d;
    }
    return best;
}

/* The zero for a step that was moved, which keeps the offset s z. */
static inline float moved_zero(float real_z, float real_s, float s)
{
    return s != 0 ? real_z * (real_s / s) : 0;
}

/* Chooses the group's scale code and zero again, now that d is fixed: the nearest code and its neighbours; the nearest
 * alone for HQQ, whose objective is not the squared error. */
static void fit_code(wc_tile *t, const float *d, const float *real_s, const float *real_z, wc_search search)
{
    float max = (float)((1u << t->p->grid->scale_bits) - 1), s[L], z[L];
    bool hqq = search == WC_SEARCH_HQQ, real = t->p->grid->zero_kind == WC_ZERO_F16;
    int zeros = t->p->grid->zero_kind == WC_ZERO_INT && !hqq ? 3 : 1;
    wc_tile_reset(t);
    for (int dz = 0; dz < zeros; dz++)
        for (int dc = 0; dc < (hqq ? 1 : 3); dc++) {
            for (size_t r = 0; r < L; r++) {
                float c = scale_code_for(real_s[r], d[r], max) + (float)(dc == 2 ? -1 : dc);
                c = real_s[r] == 0 ? 0 : c < 1 ? 1 : c > max ? max : c;
                s[r] = d[r] * c;
                float want = real ? moved_zero(real_z[r], real_s[r], s[r]) : real_z[r] + (float)(dz == 2 ? -1 : dz);
                z[r] = wc_tile_zero(t, want);
            }
            wc_tile_try(t, s, z);
        }
    if (real || hqq) wc_tile_fit_zeros(t, search);
}

/* ---- the panel --------------------------------------------------------------------------------------------------- */

static void publish(wc_grid_panel *p, const wc_tile *t, size_t g, size_t r0, size_t nr)
{
    for (size_t r = 0; r < nr; r++) {
        wc_grid_set_zero(p, g, r0 + r, t->z[r]);
        wc_grid_set_step(p, g, r0 + r, t->s[r]);
    }
}

static void fit_rows(wc_grid_panel *p, size_t g0, size_t g1, const float *wt, const float *h, wc_search search,
                     size_t r0)
{
    const wc_grid *grid = p->grid;
    size_t groups = g1 - g0, nr = wc_min(L, p->nr - r0), first = g0 * grid->group;
    float *s = p->scratch, *z = s + L * groups, *qq = z + L * groups, *w = qq + L * groups, d[L] = {0};
    wc_tile t = {.p = p, .w = w, .qmax = (float)((1u << grid->bits) - 1)};
    for (int level = 0; level <= (grid->scale_bits && !grid->tile); level++) {
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
                fit_code(&t, d, s + at, z + at, search);
            else
                fit_tile(&t, search);
            if (grid->tile) wc_tile_fit_lines(p, &t, g, r0, nr, search);
            if (level || !grid->scale_bits || grid->tile) {
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
