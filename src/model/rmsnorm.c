#include "model/rmsnorm.h"

#include "kernels/elementwise.h"

void wc_rmsnorm(wc_ctx *ctx, const float *x, const float *w, size_t t, size_t n, float eps, float *y)
{
    const wck_elementwise *k = wck_elementwise_at(wck_level_used());
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < t; i++)
        k->rmsnorm(x + i * n, w, n, eps, y + i * n);
}

void wc_rmsnorm_heads(wc_ctx *ctx, float *x, size_t ld, const float *w, size_t t, size_t heads, size_t width, float eps)
{
    const wck_elementwise *k = wck_elementwise_at(wck_level_used());
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < t; i++)
        for (size_t h = 0; h < heads; h++) {
            float *head = x + i * ld + h * width;
            k->rmsnorm(head, w, width, eps, head);
        }
}
