/* ggml_solve.h - a whole matrix onto blocks of ggml, panel of rows by panel of rows.
 *
 * 1. scales (ggml_fit.h); 2. codes: nearest, or with error feedback through the fixed two-level scales (feedback.h),
 * one column at a time for types with levels, eight for types with a grid (ggml_octet.h); 3. `passes' of descent of
 * tr(E H E^T), E = W - W^, block by block, none of which can rise but for f32 rounding:
 *     d and m of the block by least squares (2 x 2, U = dW^/dd, V = -dW^/dm), taken if the objective falls with f16;
 *     then run by run its scale and min codes (the integers around the least-squares optimum), then its codes, each to
 *     its nearest for the target w^ + D / H_jj.
 *
 * Cost for m rows, n columns: search about 1000 m n, feedback m n^2, a pass 3 m n^2; a grid of k entries 40 k m n for
 * the search and 10 k m n for every time that codes are chosen. */
#ifndef WC_SOLVE_GGML_SOLVE_H
#define WC_SOLVE_GGML_SOLVE_H

#include "solve/ggml_fit.h"
#include "solve/hessian.h"

typedef struct wc_ggml_problem {
    const char *tensor;  /* for messages */
    const float *w;      /* [rows, cols] the target */
    const float *weight; /* [cols] weights of squared errors in the search */
    wc_ggml_weigh weigh;
    const wc_hessian *h; /* NULL: nearest codes, the fields below unused. Its width: wc_ggml_width */
    size_t block;        /* columns per gemm of the feedback */
    int passes;          /* of descent */
} wc_ggml_problem;

/* Columns that are decided together: 1, or 8 for a type with a grid. */
size_t wc_ggml_width(const wc_ggml_type *t);

/* *out holds rows, cols and type on entry; its arrays are made, and left NULL on failure. *loss (may be NULL) is what
 * feedback left before descent, in the units of W and stats->h; 0 without h. WC_BADFILE: W is not finite. A scale
 * beyond f16 is cut off and warned about. Deterministic for any number of threads. */
wc_status wc_ggml_solve(wc_ctx *ctx, const wc_ggml_problem *p, wc_ggml *out, double *loss);

#endif
