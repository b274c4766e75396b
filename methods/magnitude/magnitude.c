/* The smallest weights go. See README.md. */
#include <math.h>

#include "methods/prune.h"

static const wc_opt opts[] = {WC_PRUNE_OPTIONS, WC_PRUNE_COMPARE(WC_COMPARE_LAYER), {0}};

static wc_status score(const wc_prune_target *t, float *out)
{
    for (size_t i = 0; i < t->rule.rows * t->rule.cols; i++)
        out[i] = fabsf(t->w[i]);
    return WC_OK;
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    static const wc_pruner pruner = {.score = score};
    return wc_prune_run(job, opt, &pruner, out);
}

const wc_method wc_method_magnitude = {
    .name = "magnitude",
    .summary = "prunes the smallest weights; needs no calibration, updates the survivors if there is any",
    .role = WC_STEP_PRUNE,
    .opt_size = sizeof(wc_prune_options),
    .opts = opts,
    .applies = wc_prune_applies,
    .plan = wc_prune_plan,
    .narrow = wc_prune_narrow,
    .run = run,
    .flops = wc_prune_flops,
    .scratch = wc_prune_scratch,
};
