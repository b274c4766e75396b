#include "solve/thin_svd.h"

#include <math.h>
#include <stdlib.h>

#include "linalg/linalg.h"

enum { SPARE = 8 };
static const double negligible = 1e-12; /* of the largest eigenvalue of a Gram matrix of f32 columns: rounding noise */

static size_t width_of(size_t rows, size_t cols, size_t rank)
{
    return wc_min(rank + SPARE, wc_min(rows, cols));
}

double wc_thin_svd_flops(size_t rows, size_t cols, size_t rank, int passes)
{
    return 4.0 * (passes + 1) * (double)rows * (double)cols * (double)width_of(rows, cols, rank);
}

uint64_t wc_thin_svd_scratch(size_t rows, size_t cols, size_t rank)
{
    uint64_t l = width_of(rows, cols, rank), longer = rows > cols ? rows : cols;
    return l * (4 * ((uint64_t)rows + cols) + 16 * longer + 24 * l);
}

/* Bases y [rows, l], z [cols, l], and what makes them orthonormal. */
struct work {
    wc_ctx *ctx;
    size_t l;
    float *y, *z;
    double *x, *xt;                 /* [max(rows, cols), l] */
    double *gram, *vectors, *value; /* [l, l], [l, l], [l] */
};

/* Eigenvalues and eigenvectors of X^T X, X [n, l]; leaves X in w->x. */
static wc_status gram_of(struct work *w, const float *x, size_t n)
{
    for (size_t i = 0; i < n * w->l; i++)
        w->x[i] = (double)x[i];
    wc_gemm64(w->ctx, WC_T, WC_N, w->l, w->l, n, w->x, w->l, w->x, w->l, 0, w->gram, w->l);
    return wc_eigh_top(w->ctx, w->gram, w->l, w->l, w->value, w->vectors);
}

/* x [n, l] := an orthonormal basis of its columns, directions that are only noise set to 0: with X^T X = Q L Q^T, that
 * is X Q L^(-1/2). The f32 columns are exact in f64, so their condition does no harm. */
static wc_status orthonormalise(struct work *w, float *x, size_t n)
{
    WC_TRY(gram_of(w, x, n));
    for (size_t k = 0; k < w->l; k++) {
        double unit = w->value[k] > negligible * w->value[0] ? 1 / sqrt(w->value[k]) : 0;
        for (size_t i = 0; i < w->l; i++)
            w->vectors[k * w->l + i] *= unit;
    }
    wc_gemm64(w->ctx, WC_N, WC_T, n, w->l, w->l, w->x, w->l, w->vectors, w->l, 0, w->xt, w->l);
    for (size_t i = 0; i < n * w->l; i++)
        x[i] = (float)w->xt[i];
    return WC_OK;
}

static void start(struct work *w, size_t cols)
{
    uint64_t state = 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < cols * w->l; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        w->z[i] = (float)(state >> 40) * 0x1p-23f - 1;
    }
}

/* With Y orthonormal and Z = A^T Y: A is about Y Z^T; Z^T Z = Q L Q^T, and u_k = Y q_k, s_k v_k = Z q_k, s_k^2 = L_k.
 */
static wc_status factors(struct work *w, size_t rows, size_t cols, size_t rank, float *u, float *v)
{
    size_t l = w->l;
    WC_TRY(gram_of(w, w->z, cols));
    for (size_t k = 0; k < rank; k++) {
        double root = w->value[k] > negligible * w->value[0] ? pow(w->value[k], 0.25) : 0,
               back = root > 0 ? 1 / root : 0;
        const double *q = w->vectors + k * l;
        for (size_t i = 0; i < rows; i++) {
            double sum = 0;
            for (size_t j = 0; j < l; j++)
                sum += (double)w->y[i * l + j] * q[j];
            u[i * rank + k] = (float)(sum * root);
        }
        for (size_t i = 0; i < cols; i++) {
            double sum = 0;
            for (size_t j = 0; j < l; j++)
                sum += w->x[i * l + j] * q[j];
            v[k * cols + i] = (float)(sum * back);
        }
    }
    return WC_OK;
}

wc_status wc_thin_svd(wc_ctx *ctx, const float *a, size_t rows, size_t cols, size_t rank, int passes, float *u,
                      float *v)
{
    struct work w = {.ctx = ctx, .l = width_of(rows, cols, rank)};
    size_t l = w.l, longer = rows > cols ? rows : cols;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, w.y, rows * l, "a basis"));
    WC_TRY_OUT(WC_ALLOC(ctx, w.z, cols * l, "a basis"));
    WC_TRY_OUT(WC_ALLOC(ctx, w.x, longer * l, "a basis"));
    WC_TRY_OUT(WC_ALLOC(ctx, w.xt, longer * l, "a basis"));
    WC_TRY_OUT(WC_ALLOC(ctx, w.gram, l * l, "a Gram matrix"));
    WC_TRY_OUT(WC_ALLOC(ctx, w.vectors, l * l, "eigenvectors"));
    WC_TRY_OUT(WC_ALLOC(ctx, w.value, l, "eigenvalues"));
    start(&w, cols);
    for (int pass = 0; pass <= passes; pass++) {
        if (pass) WC_TRY_OUT(orthonormalise(&w, w.z, cols));
        wc_gemm(ctx, WC_N, WC_N, rows, l, cols, 1, a, cols, w.z, l, 0, w.y, l);
        WC_TRY_OUT(orthonormalise(&w, w.y, rows));
        wc_gemm(ctx, WC_T, WC_N, cols, l, rows, 1, a, cols, w.y, l, 0, w.z, l);
    }
    WC_TRY_OUT(factors(&w, rows, cols, rank, u, v));
out:
    free(w.y), free(w.z), free(w.x), free(w.xt), free(w.gram), free(w.vectors), free(w.value);
    return status;
}
