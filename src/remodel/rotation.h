/* rotation.h - orthogonal matrices that spread every vector evenly, for any size, in n log n.
 *
 *     Q = (T x H) D / sqrt(n),    n = q 2^k, q odd
 *
 * D: random signs. H: the Hadamard matrix of Sylvester, order 2^k. T: the Hartley matrix of order q,
 * T[a, b] = cos(2 pi a b / q) + sin(2 pi a b / q), which is real, symmetric, T^2 = q I, and needs no table for any q:
 * Hadamard matrices exist for few orders, and tables of them are what others ship (172, 116, ..). All entries of Q are
 * at most sqrt(2 / n), against sqrt(1 / n) of a Hadamard matrix; for q = 1 it is one. x is the Kronecker product.
 * Rotations are folded into weights and never stored, so they are in double. */
#ifndef WC_ROTATION_H
#define WC_ROTATION_H

#include "base/mem.h"

typedef struct wc_rotation {
    size_t n, power, odd; /* n = odd * power */
    double *hartley;      /* [odd, odd] T / sqrt(n); NULL for odd == 1 */
    double *sign;         /* [n] the diagonal of D */
} wc_rotation;

/* The signs follow from the seed alone. n >= 1. */
wc_status wc_rotation_make(wc_ctx *ctx, size_t n, uint64_t seed, wc_rotation *out);
void wc_rotation_free(wc_rotation *q); /* NULL and zeroed are fine */

/* x [n] = Q x; scratch [n]. */
void wc_rotation_apply(const wc_rotation *q, double *x, double *scratch);

/* m [q->n, cols] = Q m: every column. */
wc_status wc_rotation_columns(wc_ctx *ctx, const wc_rotation *q, float *m, size_t cols);

/* The q->n numbers at w, times gamma first (NULL: 1), become Q w; x, scratch [n]. */
void wc_rotation_floats(const wc_rotation *q, float *w, const float *gamma, double *x, double *scratch);

#endif
