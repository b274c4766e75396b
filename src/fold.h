/* fold.h - a diagonal of a linear's inputs in the norm in front of it, where it costs nothing.
 *
 * The inputs of q, k, v, and of gate, up, are u = g n, n the normalised stream and g [n] the weights of a norm. With a
 * diagonal c and all linears that read u,
 *
 *     W u = (W diag(1/c)) (diag(c) u) = W' (g' n),    g' = g c,    W' = W diag(1/c):
 *
 * the same function with other numbers. g' is stored in the type that g has, so c is *defined* by what was stored, c =
 * g'/g: then nothing is lost but a rounding of f32. Where g is 0, c is 1.
 *
 * Which c: every candidate of the linears' method (wc_folding), by the sum of their errors. The linears are then
 * compressed as W', with the statistics of diag(c) u; the passes of both streams go on with u, so that a compressed W'
 * runs there as W' diag(c). */
#ifndef WC_FOLD_H
#define WC_FOLD_H

#include "calib/stats.h"
#include "io/wcz.h"
#include "model/weight.h"
#include "recipe.h"

/* One of the linears behind a norm: its W, and the first step of its recipe, which has a folding. */
typedef struct wc_fold_linear {
    const wc_weight *weight;
    const wc_recipe_step *step;
} wc_fold_linear;

/* c [n] = the candidate with the least sum of errors over the linears, of equal ones the first; one matrix in memory at
 * a time. */
wc_status wc_fold_choose(wc_ctx *ctx, const wc_fold_linear *linear, size_t n_linears, const wc_stats *stats, float *c);

/* stored [n] of dtype (F32, F16 or BF16; little-endian) = g c rounded; g where g c is not a normal number of that type.
 */
void wc_fold_norm(const float *g, const float *c, size_t n, wc_dtype dtype, uint8_t *stored);

/* c [n] = g' / g, 1 where g is 0: the diagonal that a stored norm stands for. */
void wc_fold_diagonal(const float *g, const float *stored, size_t n, float *c);

/* The statistics of diag(c) u from those of u, in place: they must be the caller's own. residual_rows: of s->r. */
void wc_fold_stats(const wc_ctx *ctx, wc_stats *s, size_t residual_rows, const float *c);

/* A weight times diag(c), or with divide times its inverse. */
typedef struct wc_fold_scaled {
    wc_weight base;
    const float *c; /* [cols] borrowed */
    bool divide;
} wc_fold_scaled;
/* Reads from s, which must outlive it. */
wc_weight wc_fold_weight(const wc_fold_scaled *s);

#endif
