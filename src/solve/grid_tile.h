/* grid_tile.h - the search for the grid of one group: what grid_fit.c and grid_real.c share, nobody else's business.
 *
 * A search tile is one group of columns of WCK_LANES rows, w [g, WCK_LANES], zeros behind the last row. Holes hold a
 * value that the row has anyway, so that they do not change its range, and weigh nothing. (The tiles of a
 * grid part, rows whose steps lie on a line, are parts of it.) */
#ifndef WC_SOLVE_GRID_TILE_H
#define WC_SOLVE_GRID_TILE_H

#include <math.h>

#include "base/half.h"
#include "solve/grid_fit.h"

/* The best grid so far of one group for WCK_LANES rows. */
typedef struct wc_tile {
    const wc_grid_panel *p;
    size_t g;           /* columns */
    const float *w, *h; /* h: a weight per column, with holes one per element */
    float qmax;
    float s[WCK_LANES], z[WCK_LANES], err[WCK_LANES];
    float qq[WCK_LANES]; /* curvature of the error in s */
} wc_tile;

static inline float wc_f16_near(float s)
{
    s = s > 65504 ? 65504 : s < -65504 ? -65504 : s;
    return wc_f16_f32(wc_f32_f16(s));
}

/* Reciprocals of f16 steps are finite: the smallest is 2^-24. */
static inline float wc_reciprocal(float s)
{
    return s != 0 ? 1 / s : 0;
}

/* Steps are tried as they will be stored, so that no later rounding can undo the choice; steps of two levels and of
 * tiles stay real numbers until the row's scale or the tile's line is known. So do zeros. */
static inline float wc_tile_step(const wc_tile *t, float s)
{
    return t->p->grid->scale_bits ? s : wc_f16_near(s);
}

static inline float wc_tile_zero(const wc_tile *t, float z)
{
    if (t->p->grid->zero_kind != WC_ZERO_INT) return t->p->grid->zero_kind == WC_ZERO_F16 ? wc_f16_near(z) : z;
    z = rintf(z);
    return z < 0 ? 0 : z > t->qmax ? t->qmax : z;
}

/* Searches that take the range as it is. */
static inline bool wc_covers_range(wc_search search)
{
    return search == WC_SEARCH_MINMAX || search == WC_SEARCH_HQQ;
}

/* Nothing tried yet. */
void wc_tile_reset(wc_tile *t);
/* Keeps s and z where their weighted squared error is the least so far. */
void wc_tile_try(wc_tile *t, const float *s, const float *z);
void wc_tile_keep(wc_tile *t, const float *s, const float *z, const float *err);
/* sum [WCK_LANES] of the weights of every row. */
void wc_tile_weights(const wc_tile *t, double *sum);
/* The kernel `affine', with holes `affine_each'. */
void wc_tile_affine(const wc_tile *t, const float *s, const float *inv, const float *z,
                    float sum[WCK_N_SUMS][WCK_LANES]);
/* How far the i-th of WC_CANDIDATES grids shrinks a step that covers the range. */
enum { WC_CANDIDATES = 12 };
float wc_tile_shrink(unsigned bits, int i);

/* ---- zeros that are real numbers, grid_real.c ------------------------------------------------------------------- */

/* s, z and qq of rows with range lo .. hi: shrunk ranges, then least squares in both. */
void wc_tile_real(wc_tile *t, const float *lo, const float *hi, wc_search search);
/* z for the steps t->s, from t->z on: least squares, or HQQ. */
void wc_tile_fit_zeros(wc_tile *t, wc_search search);
/* The lines of the grid's tiles in the search tile's first nr rows, from what was fitted: those of group g, rows r0 on
 * of the panel; then s and z again, on the lines. */
void wc_tile_fit_lines(wc_grid_panel *p, wc_tile *t, size_t g, size_t r0, size_t nr, wc_search search);

#endif
