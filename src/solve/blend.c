#include "solve/blend.h"

#include <math.h>
#include <stdlib.h>

#include "linalg/linalg.h"

static const double negligible = 1e-12; /* of |G0|^2: below this |G1|^2 is no drift */

double wc_blend_least(double a, double b, double c, double big_a, double big_b, double big_c)
{
    double p = a * big_b - b * big_a, q = a * big_c - c * big_a, r = b * big_c - c * big_b, root = q * q - p * r;
    double candidate[4] = {0, 1, -1, -1}, best = 0, least = INFINITY;
    if (big_a < negligible * big_c) return 0;
    if (root >= 0) { /* the two roots without cancellation: t / p and r / t */
        double t = -(q + copysign(sqrt(root), q));
        if (p != 0) candidate[2] = t / p;
        if (t != 0) candidate[3] = r / t;
    }
    for (int i = 0; i < 4; i++) {
        double x = candidate[i], whole = (big_a * x + big_b) * x + big_c;
        if (!(x >= 0 && x <= 1) || whole <= negligible * big_c) continue;
        double f = ((a * x + b) * x + c) / whole;
        if (f < least || (f == least && x < best)) least = f, best = x;
    }
    return best;
}

static double dot(const double *x, const double *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* Matrices of one call: f [2, rows, cols] the whitened W and D; p [2, rank, cols] = U^T of both; q [rows, rank] = G1 V;
 * uq [rank, rank] = U^T G1 V. */
struct workspace {
    double *f, *p, *q, *uq;
};

static wc_status workspace_alloc(wc_ctx *ctx, size_t rows, size_t cols, size_t rank, struct workspace *w)
{
    WC_TRY(WC_ALLOC(ctx, w->f, 2 * rows * cols, "the whitened matrices"));
    WC_TRY(WC_ALLOC(ctx, w->p, 2 * rank * cols, "projections"));
    WC_TRY(WC_ALLOC(ctx, w->q, rows * rank, "projections"));
    return WC_ALLOC(ctx, w->uq, rank * rank, "projections");
}

/* R0 = (I - U U^T) G0 has no part in V, so <R0, R1> = <G0, G1> - <U^T G0, U^T G1>. */
static double best_beta(wc_ctx *ctx, const wc_projector *u, size_t cols, struct workspace *w)
{
    size_t rows = u->rows, rank = u->rank, size = rows * cols;
    double *g0 = w->f, *g1 = w->f + size, *p0 = w->p, *p1 = w->p + rank * cols;
    wc_gemm64(ctx, WC_N, WC_N, rank, cols, rows, u->u, rows, g0, cols, 0, p0, cols);
    wc_gemm64(ctx, WC_N, WC_N, rank, cols, rows, u->u, rows, g1, cols, 0, p1, cols);
    double c2 = dot(g0, g0, size), b2 = dot(g0, g1, size), a2 = dot(g1, g1, size), kept = dot(p0, p0, rank * cols);
    double b = b2 - dot(p0, p1, rank * cols), seen = dot(p1, p1, rank * cols);
    for (size_t j = 0; j < rank; j++) { /* p0 becomes V */
        double length = sqrt(dot(p0 + j * cols, p0 + j * cols, cols));
        for (size_t i = 0; i < cols; i++)
            p0[j * cols + i] *= length > 1e-12 * sqrt(c2) ? 1 / length : 0;
    }
    wc_gemm64(ctx, WC_N, WC_T, rows, rank, cols, g1, cols, p0, cols, 0, w->q, rank);
    wc_gemm64(ctx, WC_N, WC_N, rank, rank, rows, u->u, rows, w->q, rank, 0, w->uq, rank);
    double a = a2 - seen - dot(w->q, w->q, rows * rank) + dot(w->uq, w->uq, rank * rank);
    return wc_blend_least(fmax(a, 0), 2 * b, fmax(c2 - kept, 0), a2, 2 * b2, c2);
}

wc_status wc_blend(wc_ctx *ctx, const char *tensor, const float *w, const float *d, size_t rows, size_t cols,
                   const wc_metric *metric, size_t rank, double *beta)
{
    wc_status status = WC_OK;
    struct workspace work = {0};
    wc_projector u = {0};
    WC_TRY_OUT(wc_projector_make(ctx, tensor, w, rows, cols, metric, rank, &u));
    WC_TRY_OUT(workspace_alloc(ctx, rows, cols, rank, &work));
    const float *both[2] = {w, d};
    const size_t counts[2] = {rows, rows};
    WC_TRY_OUT(wc_whiten(ctx, tensor, both, counts, 2, cols, metric, work.f, NULL));
    *beta = best_beta(ctx, &u, cols, &work);
out:
    free(work.f), free(work.p), free(work.q), free(work.uq);
    wc_projector_free(&u);
    return status;
}
