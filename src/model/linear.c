#include "model/linear.h"

#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "model/model.h"

wc_status wc_panel_read(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *panel)
{
    enum { ROWS = 16 }; /* per task: small enough to share out a panel, large enough to hide the call */
    int worst = WC_OK;
#pragma omp parallel for schedule(dynamic) num_threads(ctx->threads) reduction(max : worst)
    for (size_t r = 0; r < nr; r += ROWS) {
        int s = w->read(ctx, w, r0 + r, wc_min(ROWS, nr - r), panel + r * w->cols);
        if (s > worst) worst = s;
    }
    return (wc_status)worst;
}

/* The bias goes into Y first, and the product is added to it. */
static void add_bias(wc_ctx *ctx, const float *bias, size_t nr, size_t t, wc_linear_mode mode, float *y, size_t ldy)
{
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < t; i++)
        for (size_t j = 0; j < nr; j++)
            y[i * ldy + j] = bias[j] + (mode == WC_LINEAR_ADD ? y[i * ldy + j] : 0);
}

wc_status wc_linear_rows(wc_ctx *ctx, const wc_weight *w, const float *bias, size_t r0, size_t nr, const float *x,
                         size_t t, float *panel, wc_linear_mode mode, float *y, size_t ldy)
{
    WC_TRY(wc_panel_read(ctx, w, r0, nr, panel));
    if (bias) add_bias(ctx, bias + r0, nr, t, mode, y, ldy);
    wc_gemm(ctx, WC_N, WC_T, t, nr, w->cols, 1, x, w->cols, panel, w->cols, bias || mode == WC_LINEAR_ADD ? 1 : 0, y,
            ldy);
    return WC_OK;
}

wc_status wc_linear_forward(wc_ctx *ctx, const wc_weight *w, const float *bias, wc_linear_mode mode, const float *x,
                            size_t t, float *y, size_t ldy)
{
    float *panel;
    wc_status status = WC_OK;
    WC_TRY(WC_ALLOC_RAW(ctx, panel, wc_min(WC_PANEL_ROWS, w->rows) * w->cols, w->name));
    for (size_t r = 0; r < w->rows && status == WC_OK; r += WC_PANEL_ROWS)
        status = wc_linear_rows(ctx, w, bias, r, wc_min(WC_PANEL_ROWS, w->rows - r), x, t, panel, mode, y + r, ldy);
    free(panel);
    return status;
}

wc_status wc_vector_read(wc_ctx *ctx, const wc_weight_source *src, const char *name, size_t n, float **out)
{
    wc_weight w;
    float *v;
    *out = NULL;
    WC_TRY(wc_model_find(ctx, src, name, 1, n, &w));
    WC_TRY(WC_ALLOC(ctx, v, n, name));
    wc_status status = w.read(ctx, &w, 0, 1, v);
    if (status == WC_OK)
        *out = v;
    else
        free(v);
    return status;
}
