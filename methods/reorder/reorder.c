/* reorder - the columns of a linear sorted by size, so that those of a group are alike. README.md says when. */
#include <math.h>
#include <stdlib.h>

#include "methods/job.h"

typedef struct options {
    int group, by;
} options;

enum { WEIGHTS, INPUTS };

static const wc_opt reorder_opts[] = {
    {"by", WC_OPT_WORD, offsetof(options, by), WEIGHTS, 0, 1, "weights|inputs",
     "the largest columns first, by the squares of their weights; or of their inputs (GPTQ's act order)"},
    {"group", WC_OPT_INT, offsetof(options, group), 32, 0, 65536, NULL,
     "columns per scale; 0: the whole row, and nothing is moved"},
    {0},
};

/* One group in a row is the same group in any order. */
static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    size_t group = (size_t)((const options *)opt)->group;
    if (!group || group >= at->cols) return;
    *out = (wc_part){.kind = WC_PART_PERMUTE, .permute = {.cols = at->cols}};
}

/* square [n] = the sum of squares of every column of W. */
static void of_weights(const wc_job *job, float *square)
{
    size_t n = job->at.cols;
    for (size_t r = 0; r < job->at.rows; r++)
        for (size_t j = 0; j < n; j++)
            square[j] += job->w[r * n + j] * job->w[r * n + j];
}

/* square [n] = H_jj. */
static wc_status of_inputs(const wc_job *job, float *square)
{
    size_t n = job->at.cols;
    for (size_t j = 0; j < n; j++) {
        square[j] = job->stats->h[j * n + j];
        if (!(square[j] >= 0 && isfinite(square[j])))
            return wc_fail(job->ctx, WC_NUMERIC, "%s: the second moment of input %zu is %g", job->tensor, j,
                           (double)square[j]);
    }
    return WC_OK;
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const options *o = opt;
    float *square = NULL;
    wc_part made = {0};
    wc_status status = WC_OK;
    plan(&job->at, opt, &made);
    if (!made.kind) return WC_OK;
    WC_TRY(WC_ALLOC(job->ctx, square, job->at.cols, "the squares of columns"));
    if (o->by == WEIGHTS)
        of_weights(job, square);
    else
        WC_TRY_OUT(of_inputs(job, square));
    WC_TRY_OUT(wc_hessian_rank(job->ctx, square, job->at.cols, 1, &made.permute.from));
    *out = made;
out:
    free(square);
    return status;
}

const wc_method wc_method_reorder = {
    .name = "reorder",
    .summary = "transform: columns sorted by size, so that those of a group are alike",
    .needs = WC_NEEDS_HESSIAN,
    .role = WC_STEP_TRANSFORM,
    .follows = true,
    .opt_size = sizeof(options),
    .opts = reorder_opts,
    .plan = plan,
    .run = run,
};
