/* rmsnorm.h - RMSNorm over many rows. */
#ifndef WC_MODEL_RMSNORM_H
#define WC_MODEL_RMSNORM_H

#include "base/mem.h"

/* y [t, n] = x / sqrt(mean(x^2) + eps) * w, row by row; x [t, n], w [n]; y may be x. */
void wc_rmsnorm(wc_ctx *ctx, const float *x, const float *w, size_t t, size_t n, float eps, float *y);
/* The same in place on the first n entries of each row of x [t, ld], n = heads * width: every head by itself. */
void wc_rmsnorm_heads(wc_ctx *ctx, float *x, size_t ld, const float *w, size_t t, size_t heads, size_t width,
                      float eps);

#endif
