/* trellis.h - the inner loops of the trellis quantizer (src/solve/trellis.h has the mathematics and the names).
 *
 * All loops are independent over their vector index, states in advance and samples in the others, and reduce nothing,
 * or in lanes that do not depend on the level, or exactly: every level gives the same bits. */
#ifndef WC_KERNELS_TRELLIS_H
#define WC_KERNELS_TRELLIS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

enum {
    WCK_TRELLIS_STATES = 256,
    WCK_TRELLIS_CLASSES = 16,
    WCK_TRELLIS_SYMBOLS = 64, /* of the law of a class; symbol 0 is the escape */
    WCK_TRELLIS_LIMIT = 8000, /* points are at most 4 times that, and 3 */
    WCK_TRELLIS_SIZES = 4,    /* of points for their means: |j| = 0, 1, 2, 3 and above */
    WCK_TRELLIS_SLOTS = WCK_TRELLIS_CLASSES * WCK_TRELLIS_SIZES
};

/* Of the points of a slot, class * WCK_TRELLIS_SIZES + size: how many, and how far inside them the samples were. */
typedef struct wck_trellis_sum {
    double count, away;
} wck_trellis_sum;

/* What a point costs: class c, set q = j mod 2, k = (j - q) / 2: symbol (k >> shift[c]) + 32, or 0 when there is none,
 * and bits[c][q][symbol]. */
typedef struct wck_trellis_rates {
    int32_t shift[WCK_TRELLIS_CLASSES];
    float bits[WCK_TRELLIS_CLASSES * 2 * WCK_TRELLIS_SYMBOLS];
} wck_trellis_rates;

typedef struct wck_trellis {
    /* For each of n samples u and each residue r: point[r * n + i] = the cheaper of the two points j = r mod 4 beside
     * u_i, and cost[r * n + i] = (u_i - j)^2 + lambda * bits. */
    void (*candidates)(size_t n, const float *u, const uint8_t *class_of, const wck_trellis_rates *rates, float lambda,
                       float *cost, int32_t *point);
    /* n steps of the Viterbi recursion over 4, 8, .. or 256 states in shift-register form: state p goes to 2 p and 2 p
     * + 1 mod states. z, f: 0 or -1 for each state. total [states] is updated; from[t * states + s] = 1 when the better
     * way into s comes from p >= states / 2. */
    void (*advance)(size_t n, size_t states, const int32_t *z, const int32_t *f, const float *cost, float *total,
                    uint8_t *from);
    /* The samples of a column: u [n] = t [n] * inverse, at most 1e9 in size; class_of [n] = row [n] + base, within 0 ..
     * top. */
    void (*samples)(size_t n, const float *t, float inverse, const uint8_t *row, int32_t base, int32_t top, float *u,
                    uint8_t *class_of);
    /* q [n] = unit (64 |j| - shrink[slot]) with the sign of j. sum[slot] += 1 and |j| - u towards j, at most 2^15 in
     * size, for j other than 0; n <= 2^13. These are multiples of 2^-24: below 1/2 what is subtracted rounds to that,
     * and above it is one itself. So the sums over a call are exact in any order. */
    void (*take)(size_t n, const int16_t *j, const float *u, const uint8_t *class_of,
                 const float shrink[WCK_TRELLIS_SLOTS], float unit, float *q, wck_trellis_sum sum[WCK_TRELLIS_SLOTS]);
    /* row [n] += (u inverse)^2; returns the sum of u^2, in 8 lanes. */
    double (*squares)(size_t n, const float *u, float inverse, double *row);
} wck_trellis;

const wck_trellis *wck_trellis_at(
    wck_level level); /* level <= wck_level_supported(); every level gives the same bits */

#endif
