/* linear.h - products with weights that are read as they are needed. */
#ifndef WC_MODEL_LINEAR_H
#define WC_MODEL_LINEAR_H

#include "base/mem.h"
#include "model/weight.h"

/* Rows of W that are in memory as f32 at a time. A panel is read once and multiplied with all t inputs, so its cost is
 * small from a few hundred inputs on. 4096 rows and as many inputs are 16 of wc_gemm's largest tiles: with 1024 rows
 * the tiles were a quarter of that and BLAS packed its operands twice as often. */
enum { WC_PANEL_ROWS = 4096 };

/* panel [nr, cols] = rows r0 .. r0+nr of w, by all threads. */
wc_status wc_panel_read(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *panel);

typedef enum wc_linear_mode { WC_LINEAR_SET, WC_LINEAR_ADD } wc_linear_mode;

/* Y = X W^T + b, or Y += X W^T + b. X [t, w->cols]; Y [t, w->rows], row stride ldy; b [w->rows] or NULL.
 * Scratch: one panel, min(WC_PANEL_ROWS, rows) * cols floats. */
wc_status wc_linear_forward(wc_ctx *ctx, const wc_weight *w, const float *bias, wc_linear_mode mode, const float *x,
                            size_t t, float *y, size_t ldy);

/* Y [t, nr] = X W[r0 .. r0+nr]^T + b[r0 ..], through a panel that the caller holds: a piece of wc_linear_forward. */
wc_status wc_linear_rows(wc_ctx *ctx, const wc_weight *w, const float *bias, size_t r0, size_t nr, const float *x,
                         size_t t, float *panel, wc_linear_mode mode, float *y, size_t ldy);

/* *out [n], to be freed: the 1-D tensor of that name. WC_BADFILE when absent or of another shape. */
wc_status wc_vector_read(wc_ctx *ctx, const wc_weight_source *src, const char *name, size_t n, float **out);

#endif
