/* The smallest weights times the norms of their inputs go. See README.md. */
#include <math.h>
#include <stdlib.h>

#include "methods/prune.h"

static const wc_opt opts[] = {WC_PRUNE_OPTIONS, WC_PRUNE_COMPARE(WC_COMPARE_ROW), {0}};

static wc_status score(const wc_prune_target *t, float *out)
{
    size_t n = t->rule.cols;
    float *norm;
    WC_TRY(WC_ALLOC(t->job->ctx, norm, n, "norms of inputs"));
    wc_status status = wc_prune_norms(t->job, norm);
    for (size_t i = 0; status == WC_OK && i < t->rule.rows * n; i++)
        out[i] = fabsf(t->w[i]) * norm[i % n];
    free(norm);
    return status;
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    static const wc_pruner pruner = {.score = score};
    return wc_prune_run(job, opt, &pruner, out);
}

const wc_method wc_method_wanda = {
    .name = "wanda",
    .summary = "prunes by |weight| times the norm of its input, within each row",
    .needs = WC_NEEDS_HESSIAN,
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
