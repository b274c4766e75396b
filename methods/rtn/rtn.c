/* Round to nearest on a grouped uniform grid. See README.md. */
#include "methods/job.h"

struct options {
    wc_grid_options grid;
};

static const wc_opt opts[] = {WC_GRID_OPTIONS(struct options, grid), {0}};

static const char *applies(const wc_place *at, const void *opt)
{
    const struct options *o = opt;
    (void)at;
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
    wc_part made;
    plan(&job->at, opt, &made);
    made.grid.mask = job->mask;
    WC_TRY(wc_job_round(job, &o->grid, NULL, &made));
    *out = made;
    return WC_OK;
}

/* The search: about 10 per weight and candidate, at most 40 candidates. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    (void)drift;
    return (o->grid.search == WC_SEARCH_MINMAX ? 10.0 : 400.0) * (double)at->rows * (double)at->cols;
}

const wc_method wc_method_rtn = {
    .name = "rtn",
    .summary =
        "round to nearest on a grouped uniform grid; needs no calibration, uses it for the scales if there is any",
    .keeps_mask = true,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .applies = applies,
    .plan = plan,
    .run = run,
    .flops = flops,
};
