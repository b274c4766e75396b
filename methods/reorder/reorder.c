/* reorder - the columns of a linear sorted by the size of their inputs, so that groups hold columns of like weight.
 * README.md says when. */
#include <math.h>
#include <stdlib.h>

#include "methods/job.h"

typedef struct options {
    int group, by;
} options;

enum { ACT, NORM, BOTH };

static const wc_opt reorder_opts[] = {
    {"group", WC_OPT_INT, offsetof(options, group), 32, 0, 65536, NULL,
     "columns per scale; 0: the whole row, and nothing is moved"},
    {"by", WC_OPT_WORD, offsetof(options, by), 0, 0, 2, "act|norm|both", "experimental"},
    {0},
};

/* One group in a row is the same group in any order. */
static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    size_t group = (size_t)((const options *)opt)->group;
    if (!group || group >= at->cols) return;
    *out = (wc_part){.kind = WC_PART_PERMUTE, .permute = {.cols = at->cols}};
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const options *o = opt;
    size_t n = job->at.cols;
    float *diag = NULL;
    wc_part made = {0};
    wc_status status = WC_OK;
    plan(&job->at, opt, &made);
    if (!made.kind) return WC_OK;
    WC_TRY(WC_ALLOC(job->ctx, diag, n, "a diagonal"));
    for (size_t j = 0; j < n; j++) {
        diag[j] = job->stats->h[j * n + j];
        if (!(diag[j] >= 0 && isfinite(diag[j])))
            WC_TRY_OUT(wc_fail(job->ctx, WC_NUMERIC, "%s: the second moment of input %zu is %g", job->tensor, j,
                               (double)diag[j]));
        double s = 0;
        for (size_t r = 0; o->by && r < job->at.rows; r++)
            s += (double)job->w[r * n + j] * (double)job->w[r * n + j];
        if (o->by == NORM) diag[j] = (float)s;
        if (o->by == BOTH) diag[j] *= (float)s;
    }
    WC_TRY_OUT(wc_hessian_rank(job->ctx, diag, n, 1, &made.permute.from));
    *out = made;
out:
    free(diag);
    return status;
}

const wc_method wc_method_reorder = {
    .name = "reorder",
    .summary = "transform: columns with the largest inputs first, so that those of a group are alike",
    .also = "act order, desc_act",
    .needs = WC_NEEDS_HESSIAN,
    .role = WC_STEP_TRANSFORM,
    .follows = true,
    .opt_size = sizeof(options),
    .opts = reorder_opts,
    .plan = plan,
    .run = run,
};
