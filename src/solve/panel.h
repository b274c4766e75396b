/* panel.h - panels of rows: how every rounding solver walks through a matrix.
 *
 * A panel is some rows of W, transposed to [cols, nr], so that the solvers' loops run over rows (kernels/grid.h).
 * Inside a solver everything is in units of 2^scale_exp. */
#ifndef WC_SOLVE_PANEL_H
#define WC_SOLVE_PANEL_H

#include "solve/feedback.h"

/* Rows per panel, from the shape alone: 512 keep gemm near its peak, fewer give a dozen threads work. */
size_t wc_panel_rows(size_t rows);

/* *out = max |w| of w [rows, cols]. WC_BADFILE names the first weight that is not finite. */
wc_status wc_panel_largest(wc_ctx *ctx, const char *tensor, const float *w, size_t rows, size_t cols, float *out);

/* e [cols, nr] = rows r0 .. r0 + nr of w [rows, cols] in units of 2^scale_exp: exact, short of underflow far below the
 * smallest step. */
void wc_panel_load(const float *w, size_t cols, size_t r0, size_t nr, int scale_exp, float *e);

/* The same in processing order of h, whose columns W has; scratch [cols, nr]. */
void wc_panel_load_ordered(const wc_hessian *h, const float *w, size_t r0, size_t nr, int scale_exp, float *scratch,
                           float *e);

/* The way back: rows r0 .. r0 + nr of w [rows, cols] = e [cols, nr]. */
void wc_panel_store(const float *e, size_t cols, size_t r0, size_t nr, int scale_exp, float *w);

/* keep [cols, nr] = rows r0 .. r0 + nr of mask [rows, cols]. */
void wc_panel_load_mask(const uint8_t *mask, size_t cols, size_t r0, size_t nr, uint8_t *keep);

/* Rows r0 .. r0 + nr of out [rows, cols] = the panel's codes [cols, nr]. */
void wc_panel_store_codes(const uint8_t *code, size_t cols, size_t r0, size_t nr, uint8_t *out);

/* wc_feedback_run for a panel in natural order: f->e is W on entry and W - Q on return. ordered [n, nr] is scratch,
 * used only when the order is not natural. */
double wc_panel_feedback(const wc_feedback *f, const wc_rounder *rounder, float *ordered);

#endif
