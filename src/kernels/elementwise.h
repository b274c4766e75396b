/* elementwise.h - the vector loops of a forward pass: exp, softmax, RMSNorm, SiLU. All f32, no alignment needed. */
#ifndef WC_KERNELS_ELEMENTWISE_H
#define WC_KERNELS_ELEMENTWISE_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/kernels.h"

typedef struct wck_elementwise {
    /* y[i] = e^x[i], relative error below 2e-7; x is clamped to [-87.33, 88.37], where e^x is a normal number. NaN
     * stays NaN. y may be x. */
    void (*exp)(const float *x, size_t n, float *y);
    /* x = softmax(scale * x) over n >= 1 entries, in place; scale > 0. The largest entry is subtracted first. */
    void (*softmax)(float *x, size_t n, float scale);
    /* y = x / sqrt(mean(x^2) + eps) * w, n >= 1 entries; y may be x. Llama's RMSNorm (Zhang & Sennrich 2019). */
    void (*rmsnorm)(const float *x, const float *w, size_t n, float eps, float *y);
    /* g = g / (1 + e^-g) * u: the gate of SwiGLU. */
    void (*silu_mul)(float *g, const float *u, size_t n);
    /* False if any entry is NaN or infinite. */
    bool (*finite)(const float *x, size_t n);
} wck_elementwise;

/* level <= wck_level_supported(); every level gives the same bytes. Usual: wck_elementwise_at(wck_level_used()). */
const wck_elementwise *wck_elementwise_at(wck_level level);

#endif
