/* Groups of neighbouring weights go together, so that what is left is stored without a mask of single weights. See
 * README.md. */
#include <stdlib.h>

#include "linalg/linalg.h"
#include "methods/prune.h"
#include "solve/obs_mask.h"

enum saliency { SALIENCY_OBS, SALIENCY_DIAGONAL };

struct options {
    wc_prune_options prune;
    int saliency; /* enum saliency */
};

static const wc_opt opts[] = {
    WC_PRUNE_OPTIONS,
    {"group", WC_OPT_INT, offsetof(wc_prune_options, unit), 16, 1, 1024, NULL, "columns that are pruned together"},
    {"block", WC_OPT_INT, offsetof(wc_prune_options, span), 64, 0, 65536, NULL,
     "columns among which the groups of all rows compete when a part is pruned; 0: all"},
    {"saliency", WC_OPT_WORD, offsetof(struct options, saliency), SALIENCY_OBS, 0, 1, "obs|diagonal",
     "what removing the group costs once the columns after it make up for it; or the mean of w^2 / [H^-1]_jj^2"},
    {0},
};

/* factor [n] = 1 / [H^-1]_jj^2 */
static wc_status inverse_factors(wc_ctx *ctx, const wc_hessian *h, float *factor)
{
    size_t n = h->n;
    float *inverse;
    WC_TRY(WC_ALLOC(ctx, inverse, n * n, "inverse second moments"));
    for (size_t j = 0; j < n; j++)
        inverse[j * (n + 1)] = 1;
    wc_cholesky_solve_right(ctx, h->u, h->pivot, n, inverse, n);
    for (size_t j = 0; j < n; j++)
        factor[j] = 1 / (inverse[j * (n + 1)] * inverse[j * (n + 1)]);
    free(inverse);
    return WC_OK;
}

/* The sum orders groups as their mean does: all are equally large. */
static wc_status diagonal_mask(const wc_prune_target *t, uint8_t *mask)
{
    wc_status status = WC_OK;
    size_t n = t->rule.cols, block = t->rule.block, places = t->rule.rows * (n / block);
    float *factor = NULL, *score = NULL;
    WC_TRY_OUT(WC_ALLOC(t->job->ctx, factor, n, "saliencies"));
    WC_TRY_OUT(WC_ALLOC(t->job->ctx, score, places, "saliencies"));
    WC_TRY_OUT(inverse_factors(t->job->ctx, t->h, factor));
    for (size_t i = 0; i < places; i++)
        for (size_t j = i * block; j < (i + 1) * block; j++)
            score[i] += t->w[j] * t->w[j] * factor[j % n];
    wc_mask_select(t->job->ctx, &t->rule, score, mask);
out:
    free(factor), free(score);
    return status;
}

static wc_status choose(const wc_prune_target *t, uint8_t *mask)
{
    const struct options *o = t->opt;
    const wc_job *job = t->job;
    if (!t->h) return wc_fail(job->ctx, WC_NUMERIC, "%s: the second moments have no factor", job->tensor);
    if (o->saliency == SALIENCY_DIAGONAL) return diagonal_mask(t, mask);
    return wc_obs_mask(job->ctx, t->h, &t->rule, t->w, mask);
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    static const wc_pruner pruner = {.choose = choose};
    return wc_prune_run(job, opt, &pruner, out);
}

/* The sweep that chooses, or the inverse. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    double m = (double)at->rows, n = (double)at->cols;
    return wc_prune_flops(at, opt, drift) + (o->saliency == SALIENCY_OBS ? m * n * n : 2 * n * n * n);
}

static uint64_t scratch(const wc_place *at, const void *opt)
{
    const struct options *o = opt;
    uint64_t square = 4 * (uint64_t)at->cols * at->cols, matrix = 4 * (uint64_t)at->rows * at->cols;
    uint64_t choosing =
        o->saliency == SALIENCY_OBS ? wc_obs_mask_scratch(at->rows, at->cols, (size_t)o->prune.span) : square + matrix;
    uint64_t rest = wc_prune_scratch(at, opt);
    choosing += matrix + 2 * square;
    return choosing > rest ? choosing : rest;
}

const wc_method wc_method_gqsa = {
    .name = "gqsa",
    .summary = "prunes groups of neighbouring weights of a row: a mask of 1 / group bits, ready for grouped grids",
    .needs = WC_NEEDS_HESSIAN,
    .role = WC_STEP_PRUNE,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .applies = wc_prune_applies,
    .plan = wc_prune_plan,
    .narrow = wc_prune_narrow,
    .run = run,
    .flops = flops,
    .scratch = scratch,
};
