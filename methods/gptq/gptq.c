/* GPTQ: rounding with error feedback, then coordinate descent. See README.md. */
#include <math.h>
#include <stdlib.h>

#include "methods/job.h"
#include "solve/grid_options.h"
#include "solve/grid_solve.h"

struct options {
    wc_grid_options grid;
    double damp;
    int order; /* wc_order */
    bool static_groups;
    int block;
    int cd;
    bool refit;
    double drift, residual;
};

static const wc_opt opts[] = {
    WC_GRID_OPTIONS(struct options, grid),
    {"damp", WC_OPT_REAL, offsetof(struct options, damp), 0.01, 0, 10, NULL,
     "added to the diagonal of H, relative to its mean"},
    {"order", WC_OPT_WORD, offsetof(struct options, order), WC_ORDER_ACT, 0, 1, "natural|act",
     "columns as they come, or those with the largest inputs first"},
    {"static_groups", WC_OPT_BOOL, offsetof(struct options, static_groups), 1, 0, 1, NULL,
     "fit all scales before rounding; no: group by group (order natural, f16 scales)"},
    {"block", WC_OPT_INT, offsetof(struct options, block), 256, 32, 1024, NULL, "columns per matrix product"},
    {"cd", WC_OPT_INT, offsetof(struct options, cd), 4, 0, 64, NULL, "passes of coordinate descent after rounding"},
    {"refit", WC_OPT_BOOL, offsetof(struct options, refit), 1, 0, 1, NULL, "these passes also refit scales and zeros"},
    {"drift", WC_OPT_REAL, offsetof(struct options, drift), 0.75, 0, 1, NULL,
     "part of the drift of the inputs to correct for"},
    {"residual", WC_OPT_REAL, offsetof(struct options, residual), 0.5, 0, 1, NULL,
     "part of the drift of the residual stream to correct for, in layers that write to it"},
    {0},
};

static const char *applies(const wc_place *at, const void *opt)
{
    const struct options *o = opt;
    (void)at;
    if (!o->static_groups && o->order != WC_ORDER_NATURAL) return "static_groups=no needs order=natural";
    if (!o->static_groups && o->grid.scale_bits && !o->grid.tile) return "static_groups=no needs scale_bits=0 or tile";
    return wc_grid_refusal(&o->grid);
}

static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    wc_place_grid(at, &o->grid, out);
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    wc_status status = WC_OK;
    wc_hessian h = {0};
    float *weight = NULL;
    wc_part made;
    plan(&job->at, opt, &made);
    made.grid.mask = job->mask;
    WC_TRY_OUT(wc_hessian_make(job->ctx, job->tensor, job->stats->h, job->at.cols, o->damp, (wc_order)o->order, 1, &h));
    WC_TRY_OUT(wc_job_correct_drift(job, &h, o->drift, o->residual));
    WC_TRY_OUT(WC_ALLOC(job->ctx, weight, job->at.cols, "column weights"));
    wc_hessian_weights(o->grid.search == WC_SEARCH_HESSIAN ? job->stats->h : NULL, job->at.cols, weight);
    wc_grid_problem problem = {
        .tensor = job->tensor,
        .w = wc_job_aim(job),
        .weight = weight,
        .search = (wc_search)o->grid.search,
        .h = &h,
        .static_groups = o->static_groups,
        .block = (size_t)o->block,
        .passes = o->cd,
        .refit = o->refit,
    };
    WC_TRY_OUT(wc_grid_solve(job->ctx, &problem, &made.grid, NULL));
    *out = made;
out:
    job->damping_used = status == WC_OK ? h.damping : 0;
    job->escalations = h.escalations;
    wc_hessian_free(&h);
    free(weight);
    return status;
}

/* Factor n^3/3; feedback m n^2; a pass of descent 2 m n^2 for D, m n max(g, 256) for changes inside a span and 2 m n g
 * for refitting the steps of groups of g columns; drift a product 2 m n^2 and two triangular solves 2 m n^2. The search
 * costs about 10 per weight and candidate, at most 40 candidates. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    double m = (double)at->rows, n = (double)at->cols;
    double g = o->grid.group && (double)o->grid.group < n ? o->grid.group : n;
    double pass = 2 * m * n * n + m * n * fmax(g, fmin(256, n)) + (o->refit ? 2 * m * n * g : 0);
    double search = o->grid.search == WC_SEARCH_MINMAX ? 0 : 400 * m * n;
    return n * n * n / 3 + m * n * n + o->cd * pass + search + (drift ? 4 * m * n * n : 0);
}

const wc_method wc_method_gptq = {
    .name = "gptq",
    .summary = "error feedback through the Cholesky factor of the input moments, then coordinate descent",
    .fallback = "rtn",
    .needs = WC_NEEDS_HESSIAN,
    .keeps_mask = true,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .applies = applies,
    .plan = plan,
    .run = run,
    .flops = flops,
};
