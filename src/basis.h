/* basis.h - a transform C of a linear's inputs, x' = C x, applied to all that is known of them.
 *
 *     W x = (W C^-1) (C x):  W' = W C^-1,  H' = E[x' x'^T] = C H C^T,  E[(x - x~)' x~'^T] = C E[(x - x~) x~^T] C^T,
 *     R' = E[(y - y~) x~'^T] = R C^T,  E[x'] = C E[x]
 *
 * So methods after a transform need not know of it. C is the transform as it was encoded and opened again. */
#ifndef WC_BASIS_H
#define WC_BASIS_H

#include "calib/stats.h"
#include "decode/decoder.h"

/* w [rows, c->cols] = w C^-1. */
wc_status wc_basis_weights(wc_ctx *ctx, const wcd_view *c, float *w, size_t rows);

/* *out: the statistics of C x from those of x, in memory of its own (wc_stats_free). residual_rows: of in->r. E|x'| is
 * exact for a diagonal and a permutation; a Hadamard transform mixes many channels, and it is then taken to be that of
 * a normal variable with the mean and the second moment of x'. */
wc_status wc_basis_stats(wc_ctx *ctx, const wcd_view *c, const wc_stats *in, size_t residual_rows, wc_stats *out);

#endif
