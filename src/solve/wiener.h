/* wiener.h - what to aim at when a rate is too low for weak directions of the inputs.
 *
 * Bits are spent on the spread of W^, so the error is minimised with a price on it: tr((W - W^) H (W - W^)^T) + mu
 * |W^|^2, which is the error in H' = H + mu I, but for a constant, from V = W H H'^-1: direction by direction W is
 * scaled by lambda / (lambda + mu), the Wiener filter for noise that H' shapes. (Damping alone aims at W in H', and
 * pays for weak directions of W that nobody hears.)
 *
 * Error feedback with means as values shrinks, too: where e = t - w^ holds a part 1 - a_j of its target t_j, w^ = t A +
 * n with A = diag(a), and t = w + e (U - I) (solve/feedback.h, H' = U P^2 U^T) give, for what it aims at, w,
 *
 *     w^ = w U A (I - A + U A)^-1 + noise.
 *
 * Noise of variance mu m / p_j^2, m the spread of w^, is what the price mu means, and what is left of a target whose
 * mean was taken: a_j = 1 - mu / p_j^2. So w^ becomes V + noise when the aim is
 *
 *     T = V (I + (I - A) A^-1 U^-1) = V + V diag(mu / (p_j^2 - mu)) U^-1.
 *
 * For H = h I both cancel, and T = W. p_j^2 is above mu, which is in H'; a_j is kept from falling below 1/20. */
#ifndef WC_SOLVE_WIENER_H
#define WC_SOLVE_WIENER_H

#include "solve/hessian.h"

/* target [rows, n] = T of w [rows, n]. h: H' of width 1, of whose damping the part mu (in units of h->h) is that price.
 */
wc_status wc_wiener_target(wc_ctx *ctx, const wc_hessian *h, double mu, size_t rows, const float *w, float *target);

#endif
