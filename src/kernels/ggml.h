/* ggml.h - the loops of rounding to ggml's types; columns of `nr' rows as in grid.h.
 *
 * A weight is s v - m: v = q + lo for uniform levels, a level of a table of 16, or an entry of a grid with signs. */
#ifndef WC_KERNELS_GGML_H
#define WC_KERNELS_GGML_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

enum { WCK_GGML_LANES = 16 }; /* rows that look for their grid entry together */

typedef struct wck_ggml {
    /* q = rne(clamp((t + m) inv - lo, qmin, qmax)), value = s (q + lo) - m; inv is 1/s, or 0 when s is 0. */
    void (*round)(size_t nr, const float *t, const float *s, const float *inv, const float *m, float lo, float qmin,
                  float qmax, uint16_t *code, float *value);
    /* The nearest of 16 ascending levels to t inv, the lower one at a tie. */
    void (*round_table)(size_t nr, const float level[16], const float *t, const float *s, const float *inv,
                        uint16_t *code, float *value);
    /* For every lane the entry x of entry [codes, dim] that minimises sum_c (base_c - sum_{k<=c} u_k x_k r_kc)^2, the
     * first of equals, and that sum. base, u [dim][WCK_GGML_LANES]; r [dim, dim] upper triangular. dim is 4 or 8. */
    void (*nearest)(const float *entry, unsigned codes, unsigned dim, const float *r, const float *base, const float *u,
                    uint16_t *best, float *score);
    /* The same for r = 1. */
    void (*nearest_plain)(const float *entry, unsigned codes, unsigned dim, const float *base, const float *u,
                          uint16_t *best, float *score);
} wck_ggml;

const wck_ggml *wck_ggml_at(wck_level level); /* level <= wck_level_supported(); every level gives the same bits */

#endif
