#include "methods/job.h"

#include <stdlib.h>
#include <string.h>

#include "solve/drift.h"
#include "solve/grid_solve.h"

wc_status wc_job_correct_drift(wc_job *job, const wc_hessian *h, double drift, double residual)
{
    bool wanted = (drift > 0 && job->stats->c) || (residual > 0 && job->stats->r);
    if (job->target_moved || !wanted) return WC_OK;
    wc_drift d = {.whole = job->whole ? job->whole : job->w,
                  .c = job->stats->c,
                  .r = job->stats->r,
                  .beta = drift,
                  .beta_residual = residual};
    WC_TRY(wc_drift_correct(job->ctx, job->tensor, h, &d, job->at.rows, job->w));
    job->target_moved = true;
    return WC_OK;
}

wc_status wc_job_feedback(wc_job *job, const wc_feedback_options *o, wc_hessian *h, bool *use)
{
    wc_ctx *ctx = job->ctx;
    wc_status status =
        wc_hessian_make(ctx, job->tensor, job->stats->h, job->at.cols, o->damp, (wc_order)o->order, 1, h);
    if (status == WC_OK) status = wc_job_correct_drift(job, h, o->drift, o->residual);
    job->damping_used = h->damping;
    job->escalations = h->escalations;
    *use = status == WC_OK;
    if (status != WC_NUMERIC) return status;
    wc_log(ctx, WC_LOG_WARN, "%s; levels are chosen without feedback for this tensor", ctx->error);
    wc_clear_error(ctx);
    job->fell_back = true;
    return WC_OK;
}

wc_status wc_job_round(wc_job *job, const wc_grid_options *grid, const wc_hqq *hqq, wc_part *part)
{
    float *weight;
    bool use_h = grid->search == WC_SEARCH_HESSIAN && job->stats;
    WC_TRY(WC_ALLOC(job->ctx, weight, job->at.cols, "column weights"));
    wc_hessian_weights(use_h ? job->stats->h : NULL, job->at.cols, weight);
    wc_grid_problem problem = {
        .tensor = job->tensor, .w = wc_job_aim(job), .weight = weight, .search = (wc_search)grid->search, .hqq = hqq};
    wc_status status = wc_grid_solve(job->ctx, &problem, &part->grid, NULL);
    free(weight);
    return status;
}

wc_status wc_job_mask(wc_job *job)
{
    size_t size = job->at.rows * job->at.cols;
    if (job->mask) return wc_fail(job->ctx, WC_BUG, "%s: a second mask", job->tensor);
    WC_TRY(WC_ALLOC(job->ctx, job->mask, size, "a mask"));
    memset(job->mask, 1, size);
    return WC_OK;
}

wc_positions wc_place_positions(const wc_place *at)
{
    return (wc_positions){.nnz = at->kept, .n = at->n, .m = at->m, .block = at->block};
}

void wc_place_grid(const wc_place *at, const wc_grid_options *opt, wc_part *out)
{
    *out = (wc_part){.kind = WC_PART_GRID};
    wc_grid_plan(at->rows, at->cols, opt, &out->grid);
    if (!at->masked) return;
    out->grid.holes = true;
    out->grid.at = wc_place_positions(at);
}
