/* hessian.h - from second moments to the factor that error feedback needs.
 *
 * H' = scale * (H + lambda I) for the live columns; a dead column (H_jj below 1e-12 of the largest: the input is always
 * 0) is cut off from the others and gets H'_jj = 1, the mean, so its weights are rounded to nearest instead of being
 * dropped: that input may well be alive in other data. scale is a power of two that brings the mean of the diagonal
 * near 1.
 *
 * Factor: H' = R R^T, R upper triangular, in processing order (hessian dossier section 3, facts 2 to 4). For blocks of
 * `width' columns decided together, U_kB = R_kB R_BB^{-1}; width 1 gives U_ki = R_ki / R_ii. */
#ifndef WC_SOLVE_HESSIAN_H
#define WC_SOLVE_HESSIAN_H

#include "base/mem.h"

typedef enum wc_order { WC_ORDER_NATURAL, WC_ORDER_ACT } wc_order;

typedef struct wc_hessian {
    size_t n, width;
    float *h;        /* [n, n] H', natural order */
    float *u;        /* [n, n] processing order; only k before the block of i is meaningful */
    float *pivot;    /* [n, width] R_BB, row i: the row of R inside the block of i */
    uint32_t *order; /* [n] order[position] = column; NULL: natural */
    double scale;    /* power of two */
    double damping;  /* lambda / mean diagonal that succeeded */
    int escalations; /* how often damping was raised tenfold */
    size_t dead;     /* dead columns */
} wc_hessian;

/* h [n, n] symmetric f32, not changed; n >= 1. damping >= 0 is relative to the mean live diagonal. Act order: largest
 * diagonal first, ties in natural order; runs of `width' neighbours stay together, a short one comes last. Damping is
 * raised tenfold (from at least 1e-3) at most twice, each time with a warning. WC_NUMERIC: H is not finite, has a
 * negative diagonal, or stays indefinite; the sentence names the tensor, the column and the damping; *out then holds
 * only damping and escalations. Free with wc_hessian_free. */
wc_status wc_hessian_make(wc_ctx *ctx, const char *tensor, const float *h, size_t n, double damping, wc_order order,
                          size_t width, wc_hessian *out);
void wc_hessian_free(wc_hessian *h);

/* *order [n], to be freed: the act order of columns with this diagonal of H; runs by the sums of theirs. */
wc_status wc_hessian_rank(wc_ctx *ctx, const float *diag, size_t n, size_t width, uint32_t **order);

/* weight [n] = (H_jj + 0.01 mean) / mean: the column weights of the scale search, the same for every method. NULL h: 1.
 * The second: from the diagonal alone, H_jj = diag[j * stride]. */
void wc_hessian_weights(const float *h, size_t n, float *weight);
void wc_diagonal_weights(const float *diag, size_t stride, size_t n, float *weight);

#endif
