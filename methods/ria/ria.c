/* Weights that matter little to their row and to their column go. See README.md. */
#include <math.h>
#include <stdlib.h>

#include "methods/prune.h"

struct options {
    wc_prune_options prune;
    double power;
};

static const wc_opt opts[] = {
    WC_PRUNE_OPTIONS,
    WC_PRUNE_COMPARE(WC_COMPARE_LAYER),
    {"power", WC_OPT_REAL, offsetof(struct options, power), 0.5, 0, 4, NULL, "of the norms of the inputs"},
    {0},
};

/* (|w| / sum of its column + |w| / sum of its row) norm^power; 0 where the weight is 0. */
static wc_status score(const wc_prune_target *t, float *out)
{
    const struct options *o = t->opt;
    size_t m = t->rule.rows, n = t->rule.cols;
    float *norm;
    double *column = NULL;
    wc_status status = WC_OK;
    WC_TRY(WC_ALLOC(t->job->ctx, norm, n, "norms of inputs"));
    WC_TRY_OUT(wc_prune_norms(t->job, norm));
    WC_TRY_OUT(WC_ALLOC(t->job->ctx, column, n, "sums of columns"));
    for (size_t i = 0; i < m * n; i++)
        column[i % n] += fabs((double)t->w[i]);
    for (size_t r = 0; r < m; r++) {
        double row = 0;
        for (size_t j = 0; j < n; j++)
            row += fabs((double)t->w[r * n + j]);
        for (size_t j = 0; j < n; j++) {
            double w = fabs((double)t->w[r * n + j]);
            out[r * n + j] = w > 0 ? (float)((w / column[j] + w / row) * pow((double)norm[j], o->power)) : 0;
        }
    }
out:
    free(norm), free(column);
    return status;
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    static const wc_pruner pruner = {.score = score};
    return wc_prune_run(job, opt, &pruner, out);
}

const wc_method wc_method_ria = {
    .name = "ria",
    .summary = "prunes by the share of a weight in its row and column times a power of its input's norm",
    .needs = WC_NEEDS_HESSIAN,
    .role = WC_STEP_PRUNE,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .applies = wc_prune_applies,
    .plan = wc_prune_plan,
    .narrow = wc_prune_narrow,
    .run = run,
    .flops = wc_prune_flops,
    .scratch = wc_prune_scratch,
};
