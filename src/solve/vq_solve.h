/* vq_solve.h - a whole matrix onto vectors from codebooks (base/part.h: wc_vq), in the metric of its inputs.
 *
 * Three stages; E = W - W^ with codebooks as they are stored, D = E H:
 *   1. codebooks, one after the other, each for what those before it left: k-means over all vectors with the full d x d
 *      metric A_B of their columns: H_BB, or R_BB R_BB^T when feedback follows, which is what an error in block B then
 *      costs (feedback.h). Seeds are vectors spaced evenly in their order by Mahalanobis distance (GPTVQ, arXiv
 *      2402.15319); a codebook entry without vectors is set beside the one that costs most.
 *   2. codes: nearest in A_B, with error feedback over blocks of d columns if asked for. Of several codebooks, the
 *      `beam' best sums are kept while codebook after codebook is added.
 *   3. `rounds' of: codebooks by conjugate gradients on tr(E H E^T), which is quadratic in all of them at once (AQLM,
 *      arXiv 2401.06118, uses Adam); scales of whole rows, s += U D^T / U H U^T, U = W^ / s; codes block by block, by
 *      beam search (AQLM's: codebook by codebook, starting from the code there is) for the exact change
 *      -2 x D_B + x H_BB x^T. Last, codebooks once more. None of these can raise the error, but for rounding in f32:
 *      codebooks and scales are taken only if it falls after they are rounded as stored.
 *
 * Cost for m rows, n columns, K entries, M codebooks, in flops: k-means 2 m n K M a round; a search 2 m n K M beam;
 * feedback m n^2; a round (2 steps + 7) m n^2 and a search. */
#ifndef WC_SOLVE_VQ_SOLVE_H
#define WC_SOLVE_VQ_SOLVE_H

#include "base/part.h"
#include "solve/hessian.h"

enum { WC_VQ_MAX_BEAM = 64 };

typedef struct wc_vq_problem {
    const char *tensor;  /* for messages */
    const float *w;      /* [rows, cols] the target */
    const wc_hessian *h; /* of width dim; NULL: nearest codes in |E|^2, `feedback' and all below `beam' unused */
    bool feedback;
    int em;       /* rounds of k-means per codebook */
    size_t beam;  /* 1..WC_VQ_MAX_BEAM */
    size_t block; /* columns per gemm of the sweeps */
    int rounds;
    int steps;  /* of conjugate gradients per round */
    bool refit; /* rounds also refit scales, where there is one f16 per row */
} wc_vq_problem;

/* *out holds the geometry on entry: scale groups and blocks of columns are whole vectors; with signs one codebook. Its
 * scale_exp and arrays are made, and left NULL on failure. *loss (may be NULL): tr(E H E^T) of the damped H at the end,
 * in the units of W and stats->h; 0 without h. WC_BADFILE: W is not finite. Deterministic for any number of threads. */
wc_status wc_vq_solve(wc_ctx *ctx, const wc_vq_problem *p, wc_vq *out, double *loss);

/* Bytes of memory that it takes at most, beside W and the factor. */
uint64_t wc_vq_scratch(const wc_vq *plan);

#endif
