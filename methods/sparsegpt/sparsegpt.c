/* What costs least once the columns after it make up for it goes. See README.md. */
#include "methods/prune.h"
#include "solve/obs_mask.h"

static const wc_opt opts[] = {
    WC_PRUNE_OPTIONS,
    {"block", WC_OPT_INT, offsetof(wc_prune_options, span), 16, 0, 65536, NULL,
     "columns among which the weights of all rows compete when a part is pruned; 0: all"},
    {0},
};

static wc_status choose(const wc_prune_target *t, uint8_t *mask)
{
    const wc_job *job = t->job;
    if (!t->h) return wc_fail(job->ctx, WC_NUMERIC, "%s: the second moments have no factor", job->tensor);
    return wc_obs_mask(job->ctx, t->h, &t->rule, t->w, mask);
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    static const wc_pruner pruner = {.choose = choose};
    return wc_prune_run(job, opt, &pruner, out);
}

/* The sweep that chooses. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    return wc_prune_flops(at, opt, drift) + (double)at->rows * (double)at->cols * (double)at->cols;
}

static uint64_t scratch(const wc_place *at, const void *opt)
{
    const wc_prune_options *o = opt;
    uint64_t choosing = wc_obs_mask_scratch(at->rows, at->cols, (size_t)o->span);
    uint64_t square = (uint64_t)at->cols * at->cols, rest = wc_prune_scratch(at, opt);
    choosing += 4 * ((uint64_t)at->rows * at->cols + 2 * square);
    return choosing > rest ? choosing : rest;
}

const wc_method wc_method_sparsegpt = {
    .name = "sparsegpt",
    .summary = "prunes block by block what the columns after it make up for best (OBS), then updates the survivors",
    .needs = WC_NEEDS_HESSIAN,
    .role = WC_STEP_PRUNE,
    .opt_size = sizeof(wc_prune_options),
    .opts = opts,
    .applies = wc_prune_applies,
    .plan = wc_prune_plan,
    .narrow = wc_prune_narrow,
    .run = run,
    .flops = flops,
    .scratch = scratch,
};
