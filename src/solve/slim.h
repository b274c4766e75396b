/* slim.h - one step for a whole tensor, from the histogram of its weights (SLiM-Quant, arXiv 2410.09615, as in the
 * compensation dossier section 5 and appendix C). */
#ifndef WC_SOLVE_SLIM_H
#define WC_SOLVE_SLIM_H

#include "base/part.h"

/* *step, an f16 value in units of 2^scale_exp, minimises sum_k p_k (w_k - w^(w_k))^2 over the bins k of a histogram of
 * w [rows, cols], with the rounding and the fixed zero of *grid: 10 steps between a tenth of max |w| (`top', in those
 * units) at the last level and all of it, then twice 10 around the best. Holes are left out. */
wc_status wc_slim_step(wc_ctx *ctx, const wc_grid *grid, const float *w, float top, float *step);

#endif
