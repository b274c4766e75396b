/* lut_solve.h - a whole matrix onto tables of levels, panel of rows by panel of rows.
 *
 * Three stages, each with levels as they are stored (f16 times 2^scale_exp):
 *   1. levels: weighted k-means per table, or a published table and per row and group the scale that a search finds;
 *   2. codes: nearest, or with error feedback (feedback.h);
 *   3. `passes' rounds of refinement of tr(E H E^T), E = W - W^, none of which can rise but for f32 rounding in D = E
 * H: levels (k-means tables for whole rows only): with P [n, k] the one-hot codes of a row, W^ = P c, the best change
 *        of c solves (P^T H P) dc = P^T D (LNQ, the layer-wise part of arXiv 2505.07004), taken only if the objective
 *        falls after rounding to f16;
 *        codes: one sweep of coordinate descent, target w^_j + D_j / H_jj.
 *
 * Cost for m rows, n columns: k-means m (n log n), search 15 k m n, feedback m n^2, a pass 3 m n^2 and 2 k m n^2 for
 * the levels, nearly all in gemm. */
#ifndef WC_SOLVE_LUT_SOLVE_H
#define WC_SOLVE_LUT_SOLVE_H

#include "base/part.h"
#include "solve/hessian.h"
#include "solve/levels.h"

typedef struct wc_lut_problem {
    const char *tensor;  /* for messages */
    const float *w;      /* [rows, cols] the target */
    const float *weight; /* [cols] weights of k-means samples, and of the squared errors in the search of scales */
    wc_levels levels;
    double shape;        /* of levels=gaussian */
    bool minmax;         /* scales are the largest magnitude of their group: no search */
    const wc_hessian *h; /* NULL: nearest levels, the fields below unused */
    size_t block;        /* columns per gemm of the feedback */
    int passes;          /* of refinement */
    bool refit;          /* they also refit levels */
} wc_lut_problem;

/* *out holds the geometry on entry, with holes their mask (they have no say in levels and scales, and feedback and
 * descent carry their error on to the codes, as in grid_solve.h); scope WC_LUT_TENSOR with scales for published tables,
 * any other scope without scales for k-means. Its scale_exp and arrays are made, and left NULL on failure. *loss (may
 * be NULL) is what feedback left before refinement, in the units of W and stats->h; 0 without h. WC_BADFILE: W is not
 * finite. Deterministic for any number of threads. */
wc_status wc_lut_solve(wc_ctx *ctx, const wc_lut_problem *p, wc_lut *out, double *loss);

#endif
