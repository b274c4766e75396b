#include "solve/drift.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"

wc_status wc_drift_correct(wc_ctx *ctx, const char *tensor, const wc_hessian *h, const float *c, double beta,
                           size_t rows, float *w)
{
    wc_status status = WC_OK;
    size_t n = h->n;
    float *l = NULL, *shift = NULL;
    WC_TRY_OUT(WC_ALLOC(ctx, l, n * n, "a Cholesky factor"));
    WC_TRY_OUT(WC_ALLOC(ctx, shift, rows * n, "the drift correction"));
    memcpy(l, h->h, n * n * sizeof *l);
    /* h->h is scale * (H + lambda I), so the product with C is scaled likewise. */
    wc_gemm(ctx, WC_N, WC_N, rows, n, n, (float)(beta * h->scale), w, n, c, n, 0, shift, n);
    size_t info = wc_cholesky(ctx, l, n);
    if (info) {
        status = wc_fail(ctx, WC_NUMERIC, "%s: drift correction: second moments not positive at input %zu of %zu",
                         tensor, info - 1, n);
        goto out;
    }
    wc_cholesky_solve_right(ctx, l, n, shift, rows);
    for (size_t i = 0; i < rows * n; i++)
        if (!isfinite(w[i] + shift[i])) {
            status = wc_fail(ctx, WC_NUMERIC, "%s: drift correction of row %zu, column %zu is not finite", tensor,
                             i / n, i % n);
            goto out;
        }
    for (size_t i = 0; i < rows * n; i++)
        w[i] += shift[i];
out:
    free(l), free(shift);
    return status;
}
