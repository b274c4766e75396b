/* fold.h - a diagonal of a linear's inputs in what is in front of it, where it costs nothing: a norm, or the rows of
 * another linear.
 *
 * The inputs of q, k, v, and of gate, up, are u = g n, n the normalised stream and g [n] the weights of a norm. With a
 * diagonal c and all linears that read u,
 *
 *     W u = (W diag(1/c)) (diag(c) u) = W' (g' n),    g' = g c,    W' = W diag(1/c):
 *
 * the same function with other numbers. g' is stored in the type that g has, so c is *defined* by what was stored, c =
 * g'/g: then nothing is lost but a rounding of f32. Where g is 0, c is 1.
 *
 * The inputs of o are mixtures of what v makes, those of down products with what up makes: both are linear in it, row
 * by row. With rows r [rows of v] a row of v is stored times r, its bias too, and c is r again, once for every query
 * head that reads the row:
 *
 *     W_o mix(W_v u + b) = (W_o diag(1/c)) mix(diag(r) (W_v u + b)).
 *
 * A bias that is not 0 defines its r as a norm does. Between the two there must be nothing else: a model with a norm
 * there (BitNet) has the diagonal in that.
 *
 * Which c: every candidate of the linears' method (wc_folding), by the sum of their errors. The linears are then
 * compressed as W', with the statistics of diag(c) u; the passes of both streams go on with u, so that a compressed W'
 * runs there as W' diag(c), and one with rows as diag(1/r) W'. What is known of the inputs of o and down when v and up
 * are compressed is what the original v and up make of their inputs (wc_pass_peek). */
#ifndef WC_FOLD_H
#define WC_FOLD_H

#include "calib/stats.h"
#include "io/wcz.h"
#include "model/model.h"
#include "recipe.h"

/* ---- where it goes ---------------------------------------------------------------------------------------------- */

/* The name of the norm that a diagonal of this stage's inputs goes into; false: there is none in front of it. */
bool wc_fold_norm_name(const wc_config *c, size_t layer, wc_stage stage, char name[WC_NAME_SIZE]);

/* The linear whose rows such a diagonal goes into: v for o, up for down; SIZE_MAX: the stage is behind a norm. */
size_t wc_fold_rows_of(const wc_config *c, wc_stage stage);

/* The row of that linear which input j of the stage is made of. */
size_t wc_fold_row(const wc_config *c, wc_stage stage, size_t j);

/* ---- which diagonal --------------------------------------------------------------------------------------------- */

/* Inputs of the same row get the same s->abs_mean, the root of the mean of squares, and so the same c; s must be the
 * caller's own. */
void wc_fold_tie(const wc_config *c, wc_stage stage, wc_stats *s);

/* One of the linears with these inputs: its W, and the first step of its recipe, which has a folding. */
typedef struct wc_fold_linear {
    const wc_weight *weight;
    const wc_recipe_step *step;
} wc_fold_linear;

/* *best: the candidate with the least sum of errors over the linears, of equal ones the first; one matrix in memory at
 * a time. */
wc_status wc_fold_choose(wc_ctx *ctx, const wc_fold_linear *linear, size_t n_linears, const wc_stats *stats,
                         size_t *best);
/* c [n] of that candidate. */
wc_status wc_fold_candidate(wc_ctx *ctx, const wc_fold_linear *linear, const wc_stats *stats, size_t k, float *c);

/* ---- as stored -------------------------------------------------------------------------------------------------- */

/* stored [n] of dtype (F32, F16 or BF16; little-endian) = g c rounded; g where g c is not a normal number of that type.
 */
void wc_fold_norm(const float *g, const float *c, size_t n, wc_dtype dtype, uint8_t *stored);

/* c [n] = g' / g, 1 where g is 0: the diagonal that a stored norm stands for. */
void wc_fold_diagonal(const float *g, const float *stored, size_t n, float *c);

/* rows [n] as wanted become those that a stored bias stands for: b' / b where b is not 0. */
void wc_fold_bias(const float *b, const float *stored, size_t n, float *rows);

/* The statistics of diag(c) u from those of u, in place: they must be the caller's own. residual_rows: of s->r. */
void wc_fold_stats(const wc_ctx *ctx, wc_stats *s, size_t residual_rows, const float *c);

/* As the streams see a stored W': diag(1/rows) W' diag(c). With divide W' itself, from W: diag(rows) W diag(1/c). */
typedef struct wc_fold_scaled {
    wc_weight base;
    const float *c, *rows; /* [cols], [rows] borrowed; NULL: 1 */
    bool divide;
} wc_fold_scaled;
/* Reads from s, which must outlive it. */
wc_weight wc_fold_weight(const wc_fold_scaled *s);

#endif
