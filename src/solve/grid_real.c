/* Zeros that are real numbers, and steps and zeros on lines. */
#include <math.h>
#include <string.h>

#include "solve/grid_tile.h"

enum { L = WCK_LANES };

/* ---- least squares in s and z ------------------------------------------------------------------------------------ */

/* For fixed codes q the error sum h (s (q - z) - w)^2 is quadratic in s and b = -s dz; with c = q - z for the old z
 *     s sum hcc + b sum hc = sum hwc,    s sum hc + b sum h = sum hw.
 * Rounding and solving alternate: Lloyd on an affine grid (grid dossier section 2). */
static void affine_rounds(wc_tile *t, int rounds)
{
    float s[L], z[L], inv[L], sum[WCK_N_SUMS][L];
    double weights[L];
    wc_tile_weights(t, weights);
    memcpy(s, t->s, sizeof s);
    memcpy(z, t->z, sizeof z);
    for (int i = 0; i <= rounds; i++) {
        for (size_t r = 0; r < L; r++)
            inv[r] = wc_reciprocal(s[r]);
        wc_tile_affine(t, s, inv, z, sum);
        wc_tile_keep(t, s, z, sum[WCK_SUM_ERR]);
        for (size_t r = 0; r < L; r++) {
            double cc = (double)sum[WCK_SUM_CC][r], c = (double)sum[WCK_SUM_C][r], wc = (double)sum[WCK_SUM_WC][r];
            double w = (double)sum[WCK_SUM_W][r], all = weights[r], det = cc * all - c * c;
            t->qq[r] = (float)cc;
            if (!(det > 1e-6 * cc * all)) continue; /* all codes equal, or nearly: no step can be told */
            double step = (wc * all - c * w) / det, shift = (cc * w - c * wc) / det;
            if (!(step > 0)) continue;
            s[r] = wc_tile_step(t, (float)step);
            z[r] = s[r] != 0 ? wc_tile_zero(t, (float)((double)z[r] - shift / step)) : z[r];
        }
    }
}

/* The grid that meets both ends of middle -+ half; one value alone is at distance 1 from the zero. */
static void cover(const wc_tile *t, float middle, float half, float *s, float *z)
{
    *s = wc_tile_step(t, half > 0 ? 2 * half / t->qmax : fabsf(middle));
    *z = half > 0 ? *s != 0 ? (half - middle) / *s : 0 : middle > 0 ? -1 : 1;
    *z = wc_tile_zero(t, *z);
}

void wc_tile_real(wc_tile *t, const float *lo, const float *hi, wc_search search)
{
    bool once = wc_covers_range(search);
    float s[L], z[L];
    for (int i = 0; i < (once ? 1 : WC_CANDIDATES); i++) {
        float p = once ? 1 : wc_tile_shrink(t->p->grid->bits, i);
        for (size_t r = 0; r < L; r++)
            cover(t, (lo[r] + hi[r]) / 2, p * ((hi[r] - lo[r]) / 2), s + r, z + r);
        wc_tile_try(t, s, z);
    }
    /* Far from 0 an f16 zero is coarse: a range that includes 0 may then be better. */
    for (size_t r = 0; r < L; r++) {
        float l = fminf(lo[r], 0), h = fmaxf(hi[r], 0);
        cover(t, (l + h) / 2, (h - l) / 2, s + r, z + r);
    }
    wc_tile_try(t, s, z);
    affine_rounds(t, once ? 0 : 5);
    if (search == WC_SEARCH_HQQ) wc_tile_fit_zeros(t, search);
}

/* ---- zeros for given steps --------------------------------------------------------------------------------------- */

/* sum h (s (q - z) - w) = 0 for fixed codes: z += sum h (w^ - w) / (s sum h). */
static void zero_rounds(wc_tile *t, int rounds)
{
    float z[L], inv[L], sum[WCK_N_SUMS][L];
    double weights[L];
    wc_tile_weights(t, weights);
    for (size_t r = 0; r < L; r++)
        inv[r] = wc_reciprocal(t->s[r]), z[r] = wc_tile_zero(t, t->z[r]);
    for (int i = 0; i <= rounds; i++) {
        wc_tile_affine(t, t->s, inv, z, sum);
        wc_tile_keep(t, t->s, z, sum[WCK_SUM_ERR]);
        for (size_t r = 0; r < L; r++) {
            double s = (double)t->s[r], miss = s * (double)sum[WCK_SUM_C][r] - (double)sum[WCK_SUM_W][r];
            if (s != 0 && weights[r] > 0) z[r] = wc_tile_zero(t, (float)((double)z[r] + miss / (s * weights[r])));
        }
    }
}

/* HQQ (grid dossier section 4): min over z of sum phi(w - s (q - z)), phi = |.|^p, by half-quadratic splitting with
 * w_e = shrink(d), d = w - w^:  w_e = sign(d) max(0, |d| - |d|^(p-1) / beta),  z = mean(q - (w - w_e) / s),
 * beta *= kappa. beta has the unit of the weights, so d is taken out of the panel's units. The shrinkage is 0 below
 * |d|^(2-p) = 1 / beta: below that no power is needed. */
static float shrunk(float d, double beta, double power, float least)
{
    float a = fabsf(d);
    return a > least ? copysignf(a - (float)(pow((double)a, power - 1) / beta), d) : 0;
}

/* Whether a weight counts: not in a hole. */
static inline bool counts(const wc_tile *t, size_t j, size_t r)
{
    return !t->p->mask || t->h[j * L + r] > 0;
}

/* sum_j phi of the rows with the zeros z, as they would be stored. */
static void hqq_objective(const wc_tile *t, const float *z, const float *inv, double power, float unit, double *phi)
{
    float value[L];
    uint8_t code[L];
    memset(phi, 0, L * sizeof *phi);
    for (size_t j = 0; j < t->g; j++) {
        t->p->kernel->round(L, t->w + j * L, t->s, inv, z, t->qmax, code, value);
        for (size_t r = 0; r < L; r++)
            if (counts(t, j, r)) phi[r] += (double)powf(fabsf(t->w[j * L + r] - value[r]) * unit, (float)power);
    }
}

/* z [L] = mean_j (q - (w - w_e) / s). */
static void hqq_step(const wc_tile *t, float *z, const float *inv, double beta, float unit)
{
    const wc_hqq *o = t->p->hqq;
    float value[L], least = (float)pow(1 / beta, 1 / (2 - o->power)), sum[L] = {0}, n[L] = {0};
    uint8_t code[L];
    for (size_t j = 0; j < t->g; j++) {
        const float *w = t->w + j * L;
        t->p->kernel->round(L, w, t->s, inv, z, t->qmax, code, value);
        for (size_t r = 0; r < L; r++) {
            if (!counts(t, j, r)) continue;
            float kept = shrunk((w[r] - value[r]) * unit, beta, o->power, least) / unit;
            sum[r] += (float)code[r] - (w[r] - kept) * inv[r], n[r]++;
        }
    }
    for (size_t r = 0; r < L; r++)
        if (t->s[r] != 0 && n[r] > 0) z[r] = sum[r] / n[r];
}

/* The iterates differ in nothing but z, so the best of them, the start included, is kept: never worse than the range's
 * own zero. The published loop takes the last before the mean |d| of the whole tensor rises. */
static void hqq(wc_tile *t)
{
    const wc_hqq *o = t->p->hqq;
    float z[L], stored[L], inv[L], unit = ldexpf(1, t->p->grid->scale_exp);
    double phi[L], best[L], beta = o->beta;
    for (size_t r = 0; r < L; r++)
        inv[r] = wc_reciprocal(t->s[r]), z[r] = t->z[r], best[r] = INFINITY;
    for (int i = 0;; i++, beta *= o->kappa) {
        for (size_t r = 0; r < L; r++)
            stored[r] = wc_tile_zero(t, z[r]);
        hqq_objective(t, stored, inv, o->power, unit, phi);
        for (size_t r = 0; r < L; r++)
            if (phi[r] < best[r]) best[r] = phi[r], t->z[r] = stored[r];
        if (i == o->iterations) break;
        hqq_step(t, z, inv, beta, unit);
    }
}

void wc_tile_fit_zeros(wc_tile *t, wc_search search)
{
    if (search == WC_SEARCH_HQQ)
        hqq(t);
    else
        zero_rounds(t, 5);
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

/* line[0] + line[1] code, code 0 .. max, near x [n] with weights: from the range, then regression on the codes and
 * rounding alternate. through_zero: some x is exactly 0 and stays so (a group of zeros). */
static void fit_line(const float *x, const float *weight, size_t n, float max, bool through_zero, float *line)
{
    enum { ROUNDS = 8 };
    float lo = x[0], hi = x[0], base, step;
    double least = INFINITY;
    for (size_t i = 1; i < n; i++)
        lo = fminf(lo, x[i]), hi = fmaxf(hi, x[i]);
    base = through_zero ? 0 : wc_f16_near(lo);
    step = wc_f16_near((hi - base) / max);
    for (int k = 0; k <= ROUNDS; k++) {
        double cost = 0, w = 0, wc = 0, wcc = 0, wx = 0, wxc = 0;
        for (size_t i = 0; i < n; i++) {
            const float now[2] = {base, step};
            double c = (double)wc_line_code(now, x[i], max), e = (double)x[i], a = (double)weight[i];
            double miss = e - (double)(base + step * (float)c);
            cost += a * miss * miss, w += a, wc += a * c, wcc += a * c * c, wx += a * e, wxc += a * e * c;
        }
        if (cost < least) least = cost, line[0] = base, line[1] = step;
        double det = w * wcc - wc * wc, to = through_zero ? wxc / wcc : (w * wxc - wc * wx) / det;
        if (!(det > 0) || !(to > 0) || !isfinite(to)) break;
        step = wc_f16_near((float)to);
        base = through_zero ? 0 : wc_f16_near((float)((wx - to * wc) / w));
    }
}

/* The lines of x [nr] in p's tiles of group g; near [nr] = the nearest values on them. A line of steps begins at 0 or
 * above, or a code could stand for a negative step. */
static void fit_tile_lines(const wc_grid_panel *p, size_t nr, const float *x, const float *weight, float max,
                           bool steps, float *lines, float *near)
{
    for (size_t a = 0; a < nr; a += p->grid->tile, lines += 2) {
        size_t n = wc_min(p->grid->tile, nr - a);
        bool zero = false;
        for (size_t i = a; i < a + n; i++)
            zero = zero || x[i] == 0;
        fit_line(x + a, weight + a, n, max, steps && zero, lines);
        if (lines[0] < 0 && steps) fit_line(x + a, weight + a, n, max, true, lines);
        for (size_t i = a; i < a + n; i++)
            near[i] = wc_line_value(lines, wc_line_code(lines, x[i], max));
    }
}

/* The steps and zeros of neighbouring codes, dc and dz codes away. */
static void neighbour(wc_grid_panel *p, size_t g, size_t r0, size_t nr, const wc_tile *from, int dc, int dz, float *s,
                      float *z)
{
    float max_s = (float)((1u << p->grid->scale_bits) - 1), max_z = (float)((1u << p->grid->zero_bits) - 1);
    for (size_t r = 0; r < nr; r++) {
        const float *line = wc_panel_line(p, p->scale_line, g, r0 + r);
        s[r] = wc_line_value(line, fminf(fmaxf(wc_line_code(line, from->s[r], max_s) + (float)dc, 0), max_s));
        if (p->grid->zero_kind == WC_ZERO_LINE) {
            line = wc_panel_line(p, p->zero_line, g, r0 + r);
            z[r] = wc_line_value(line, fminf(fmaxf(wc_line_code(line, from->z[r], max_z) + (float)dz, 0), max_z));
        } else if (p->grid->zero_kind == WC_ZERO_FIXED) {
            z[r] = p->grid->zero_fixed;
        } else { /* the offset s z is what was fitted */
            z[r] = wc_tile_zero(from, (s[r] != 0 ? from->z[r] * (from->s[r] / s[r]) : 0) + (float)dz);
        }
    }
}

/* Steps and zeros move to their lines: the nearest codes, and but for HQQ, whose objective is another, the best of the
 * neighbours. */
static void choose_codes(wc_grid_panel *p, wc_tile *t, size_t g, size_t r0, size_t nr, wc_search search)
{
    wc_tile from = *t;
    float s[L] = {0}, z[L] = {0};
    int ds = search != WC_SEARCH_HQQ, dz = ds && p->grid->zero_kind != WC_ZERO_FIXED;
    wc_tile_reset(t);
    for (int i = -ds; i <= ds; i++)
        for (int k = -dz; k <= dz; k++) {
            neighbour(p, g, r0, nr, &from, i, k, s, z);
            wc_tile_try(t, s, z);
        }
    if (p->grid->zero_kind == WC_ZERO_INT || p->grid->zero_kind == WC_ZERO_F16) wc_tile_fit_zeros(t, search);
}

void wc_tile_fit_lines(wc_grid_panel *p, wc_tile *t, size_t g, size_t r0, size_t nr, wc_search search)
{
    float near[L] = {0}, weight[L], floor = 0;
    for (size_t r = 0; r < nr; r++)
        floor = fmaxf(floor, 1e-6f * t->qq[r]);
    for (size_t r = 0; r < nr; r++)
        weight[r] = t->qq[r] + floor + 1e-30f;
    fit_tile_lines(p, nr, t->s, weight, (float)((1u << p->grid->scale_bits) - 1), true,
                   wc_panel_line(p, p->scale_line, g, r0), near);
    if (p->grid->zero_kind == WC_ZERO_LINE) {
        for (size_t r = 0; r < L; r++) {
            t->z[r] = near[r] != 0 ? t->z[r] * (t->s[r] / near[r]) : 0;
            t->s[r] = near[r];
            t->err[r] = INFINITY;
        }
        wc_tile_fit_zeros(t, search);
        for (size_t r = 0; r < nr; r++)
            weight[r] = t->s[r] * t->s[r] + 1e-30f;
        fit_tile_lines(p, nr, t->z, weight, (float)((1u << p->grid->zero_bits) - 1), false,
                       wc_panel_line(p, p->zero_line, g, r0), near);
    }
    choose_codes(p, t, g, r0, nr, search);
}
