/* grid_solve.h - a whole matrix onto a uniform grid, panel of rows by panel of rows. */
#ifndef WC_SOLVE_GRID_SOLVE_H
#define WC_SOLVE_GRID_SOLVE_H

#include "solve/grid_fit.h"
#include "solve/hessian.h"

typedef struct wc_grid_problem {
    const char *tensor;  /* for messages */
    const float *w;      /* [rows, cols] the target */
    const float *weight; /* [cols] column weights of the scale search */
    wc_search search;    /* MSE and HESSIAN differ in weight only */
    const wc_hqq *hqq;   /* WC_SEARCH_HQQ */
    const wc_hessian *h; /* NULL: round to nearest, the fields below unused */
    bool static_groups;  /* grids are fitted before feedback; else group by group on the up-to-date targets */
    size_t block;        /* columns per gemm of the feedback */
    int passes;          /* of coordinate descent */
    bool refit;          /* they also refit steps and zeros */
    float *left;         /* NULL, or [rows, cols]: W - W^ */
} wc_grid_problem;

/* *out holds the geometry (wc_grid_plan) on entry, with holes their mask: w^ is 0 there, holes have no say in scales
 * and zeros, and feedback and descent carry their error on to the codes: SparseGPT's joint objective. Its scale_exp and
 * arrays are made, and left NULL on failure. *loss (may be NULL) is what feedback left, tr((W-W^) H (W-W^)^T) of the
 * damped H in the units of W and stats->h, before refinement; 0 without h. WC_BADFILE: W is not finite. Deterministic
 * for any number of threads. */
wc_status wc_grid_solve(wc_ctx *ctx, const wc_grid_problem *p, wc_grid *out, double *loss);

#endif
