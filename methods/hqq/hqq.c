/* Half-quadratic quantization: zeros by a robust fit, without data. See README.md. */
#include "methods/job.h"

struct options {
    wc_grid_options grid; /* search: WC_SEARCH_HQQ */
    wc_hqq hqq;
};

static const wc_opt opts[] = {
    WC_GRID_SHAPE(struct options, grid, 4, 64, 0, 0, 16),
    {"power", WC_OPT_REAL, offsetof(struct options, hqq.power), 0.7, 0.1, 0.99, NULL, "p of the error sum |w - w^|^p"},
    {"beta", WC_OPT_REAL, offsetof(struct options, hqq.beta), 10, 1e-3, 1e9, NULL,
     "of the splitting, in units of the weights; larger: more of the error counts as outlier"},
    {"kappa", WC_OPT_REAL, offsetof(struct options, hqq.kappa), 1.01, 1, 2, NULL, "growth of beta per iteration"},
    {"iterations", WC_OPT_INT, offsetof(struct options, hqq.iterations), 20, 0, 200, NULL, "of the zeros"},
    {0},
};

static wc_grid_options grid_of(const void *opt)
{
    wc_grid_options grid = ((const struct options *)opt)->grid;
    grid.search = WC_SEARCH_HQQ;
    return grid;
}

static const char *applies(const wc_place *at, const void *opt)
{
    wc_grid_options grid = grid_of(opt);
    (void)at;
    return wc_grid_refusal(&grid);
}

static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    wc_grid_options grid = grid_of(opt);
    wc_place_grid(at, &grid, out);
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    wc_grid_options grid = grid_of(opt);
    wc_part made;
    plan(&job->at, opt, &made);
    made.grid.mask = job->mask;
    WC_TRY(wc_job_round(job, &grid, &o->hqq, &made));
    *out = made;
    return WC_OK;
}

/* Per weight and iteration a power, worth about 30, and twice the rounding. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    (void)drift;
    return 50 * (o->hqq.iterations + 1.0) * (double)at->rows * (double)at->cols;
}

const wc_method wc_method_hqq = {
    .name = "hqq",
    .summary = "half-quadratic quantization: zeros by a robust fit to the weights; needs no calibration, uses none",
    .keeps_mask = true,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .applies = applies,
    .plan = plan,
    .run = run,
    .flops = flops,
};
