/* job.h - what several methods do to a job in the same way. */
#ifndef WC_METHODS_JOB_H
#define WC_METHODS_JOB_H

#include "methods/method.h"
#include "solve/grid_fit.h"
#include "solve/hessian.h"

/* Moves job->w to the target that makes up for the drift of the inputs and of the residual stream (solve/drift.h), the
 * parts `drift' and `residual' of the way; once per tensor, and not at all without cross moments. h: damped, of
 * width 1. WC_NUMERIC when the result is not finite; job->w is then unchanged. */
wc_status wc_job_correct_drift(wc_job *job, const wc_hessian *h, double drift, double residual);

/* The factor of H that feedback needs, of width 1, and the drift corrected with it; fills in what the job reports of
 * damping. *use is false, with a warning, when the moments do not allow one: codes are then to be found without; *h is
 * to be freed in any case. */
typedef struct wc_feedback_options {
    double damp;
    int order; /* wc_order */
    double drift, residual;
} wc_feedback_options;
wc_status wc_job_feedback(wc_job *job, const wc_feedback_options *o, wc_hessian *h, bool *use);

/* *part: job->w rounded to nearest on a grid, its scales and zeros chosen by grid->search with the weights of
 * job->stats; hqq: constants of WC_SEARCH_HQQ, else NULL. *part holds the plan on entry, and on failure. */
wc_status wc_job_round(wc_job *job, const wc_grid_options *grid, const wc_hqq *hqq, wc_part *part);

/* job->mask, all positions kept; once per tensor. */
wc_status wc_job_mask(wc_job *job);

/* What a method that keeps masks rounds: the survivors where a pruner has updated them, else w. */
static inline const float *wc_job_aim(const wc_job *job)
{
    return job->survivors ? job->survivors : job->w;
}

/* Where values are under the mask of an earlier step: at->masked. */
wc_positions wc_place_positions(const wc_place *at);

/* The plan of a grid for W: with holes where an earlier step pruned. */
void wc_place_grid(const wc_place *at, const wc_grid_options *opt, wc_part *out);

#endif
