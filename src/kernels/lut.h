/* lut.h - the element-wise loops of solvers for tables of levels; layout as in grid.h, one run of `nr' rows a column.
 *
 * Every row has its own table: level [k, nr] ascending in k, mid [k - 1, nr] the middles between neighbours, and a
 * scale s with its reciprocal inv (0 when s is 0). A target t goes to the nearest level, the lower one at a tie: q =
 * #{i : t * inv > mid_i},   w^ = s * level_q */
#ifndef WC_KERNELS_LUT_H
#define WC_KERNELS_LUT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

typedef struct wck_lut_table {
    size_t k; /* 1..256 levels */
    const float *level, *mid;
} wck_lut_table;

typedef struct wck_lut {
    /* code[r], value[r] = the nearest level to t[r]. */
    void (*round)(size_t nr, const wck_lut_table *table, const float *t, const float *s, const float *inv,
                  uint8_t *code, float *value);
    /* err[r] += h (w^ - t)^2, and the sums of the normal equation of s: tl += h t level_q, ll += h level_q^2. */
    void (*normal)(size_t nr, const wck_lut_table *table, const float *t, float h, const float *s, const float *inv,
                   float *err, float *tl, float *ll);
} wck_lut;

const wck_lut *wck_lut_at(wck_level level); /* level <= wck_level_supported(); every level gives the same bits */

#endif
