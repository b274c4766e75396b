/* Non-uniform levels with error feedback, and the published methods that are cases of it. See README.md. */
#include <math.h>
#include <stdlib.h>

#include "methods/job.h"
#include "solve/lut_solve.h"

/* Zero is what a preset means by not offering an option. */
enum weigh { WEIGH_HESSIAN, WEIGH_PIVOT, WEIGH_NONE };

struct options {
    int levels; /* wc_levels */
    int bits;
    int group;
    double shape;
    int weigh; /* enum weigh */
    double power;
    bool minmax;
    bool feedback;
    double damp;
    int order; /* wc_order */
    int block;
    int cd;
    bool refit;
    double drift, residual;
};

#define FIELD(name) offsetof(struct options, name)

static const wc_opt lut_opts[] = {
    {"levels", WC_OPT_WORD, FIELD(levels), WC_LEVELS_KMEANS, 0, 5, "kmeans|nf4|fp4|apot|gaussian|twinlog",
     "fitted to each row or group, or a published table under scales"},
    {"bits", WC_OPT_INT, FIELD(bits), 3, 2, 8, NULL, "bits per weight"},
    {"group", WC_OPT_INT, FIELD(group), 0, 0, 65536, NULL, "columns per fitted table, or per scale; 0: the whole row"},
    {"shape", WC_OPT_REAL, FIELD(shape), 2, 0, 8, NULL,
     "levels=gaussian: of the generalized Gaussian, from 0.25; 2: normal, 1: Laplace's, 0: from the moments of the "
     "weights"},
    {"weigh", WC_OPT_WORD, FIELD(weigh), WEIGH_HESSIAN, 0, 2, "hessian|pivot|none",
     "weights of the squared errors that levels and scales minimise: H_jj, R_jj^power, 1"},
    {"power", WC_OPT_REAL, FIELD(power), 2, 0, 8, NULL, "of the pivots, with weigh=pivot"},
    {"minmax", WC_OPT_BOOL, FIELD(minmax), 0, 0, 1, NULL, "scales of published tables cover the range; no: a search"},
    {"feedback", WC_OPT_BOOL, FIELD(feedback), 1, 0, 1, NULL, "error feedback and descent; no: nearest levels"},
    {"damp", WC_OPT_REAL, FIELD(damp), 0.01, 0, 10, NULL, "added to the diagonal of H, relative to its mean"},
    {"order", WC_OPT_WORD, FIELD(order), WC_ORDER_ACT, 0, 1, "natural|act",
     "columns as they come, or those with the largest inputs first"},
    {"block", WC_OPT_INT, FIELD(block), 256, 32, 1024, NULL, "columns per matrix product"},
    {"cd", WC_OPT_INT, FIELD(cd), 4, 0, 64, NULL, "passes of coordinate descent after rounding"},
    {"refit", WC_OPT_BOOL, FIELD(refit), 1, 0, 1, NULL,
     "these passes also refit the levels (k-means tables of whole rows, up to 4 bits)"},
    {"drift", WC_OPT_REAL, FIELD(drift), 0.75, 0, 1, NULL, "part of the drift of the inputs to correct for"},
    {"residual", WC_OPT_REAL, FIELD(residual), 0.5, 0, 1, NULL,
     "part of the drift of the residual stream to correct for, in layers that write to it"},
    {0},
};

/* ---- weights of the squared errors ---------------------------------------------------------------------------------
 */

/* weight [cols] = R_jj^power over its mean: H = R R^T, and |(t - q) R_jj|^2 is what rounding column j costs.
 * LeanQuant's T_jj^-p, because R = T^-1. */
static void pivot_weights(const wc_hessian *h, double power, float *weight)
{
    double sum = 0;
    for (size_t i = 0; i < h->n; i++)
        sum += pow((double)h->pivot[i], power) / (double)h->n;
    for (size_t i = 0; i < h->n; i++)
        weight[h->order ? h->order[i] : i] = (float)(pow((double)h->pivot[i], power) / sum);
}

static void column_weights(const wc_job *job, const struct options *o, const wc_hessian *h, float *weight)
{
    if (o->weigh == WEIGH_PIVOT && h)
        pivot_weights(h, o->power, weight);
    else
        wc_hessian_weights(job->stats && o->weigh != WEIGH_NONE ? job->stats->h : NULL, job->at.cols, weight);
}

/* ---- the method -----------------------------------------------------------------------------------------------------
 */

static const char *applies(const wc_place *at, const void *opt)
{
    const struct options *o = opt;
    (void)at;
    if (o->levels == WC_LEVELS_GAUSSIAN && o->shape > 0 && o->shape < 0.25) return "shape is 0, or 0.25 to 8";
    if (o->weigh == WEIGH_PIVOT && !o->feedback) return "weigh=pivot needs feedback=yes";
    return wc_levels_refusal((wc_levels)o->levels, (unsigned)o->bits);
}

static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    bool fitted = o->levels == WC_LEVELS_KMEANS;
    size_t group = o->group ? wc_min((size_t)o->group, at->cols) : at->cols;
    *out = (wc_part){.kind = WC_PART_LUT};
    out->lut = (wc_lut){.rows = at->rows,
                        .cols = at->cols,
                        .group = group,
                        .bits = (unsigned)o->bits,
                        .scope = !fitted            ? WC_LUT_TENSOR
                                 : group < at->cols ? WC_LUT_GROUP
                                                    : WC_LUT_ROW,
                        .scaled = !fitted,
                        .holes = at->masked};
    if (at->masked) out->lut.at = wc_place_positions(at);
}

/* The shape that the survivors' moments tell, over the whole matrix in f64, one partition. */
static double shape_of(const wc_job *job)
{
    const float *w = wc_job_aim(job);
    double n = 0, magnitude = 0, square = 0;
    for (size_t i = 0; i < job->at.rows * job->at.cols; i++) {
        if (job->mask && !job->mask[i]) continue;
        n++, magnitude += fabs((double)w[i]), square += (double)w[i] * (double)w[i];
    }
    return wc_levels_shape(n * square / (magnitude * magnitude));
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    wc_status status = WC_OK;
    wc_hessian h = {0};
    bool use = false;
    float *weight = NULL;
    wc_part made;
    plan(&job->at, opt, &made);
    made.lut.mask = job->mask;
    WC_TRY_OUT(WC_ALLOC(job->ctx, weight, job->at.cols, "column weights"));
    wc_feedback_options feedback = {o->damp, o->order, o->drift, o->residual};
    if (o->feedback) WC_TRY_OUT(wc_job_feedback(job, &feedback, &h, &use));
    if (o->feedback && !use)
        wc_hessian_weights(NULL, job->at.cols, weight);
    else
        column_weights(job, o, use ? &h : NULL, weight);
    wc_lut_problem problem = {
        .tensor = job->tensor,
        .w = wc_job_aim(job),
        .weight = weight,
        .levels = (wc_levels)o->levels,
        .shape = o->shape > 0 ? o->shape : shape_of(job),
        .minmax = o->minmax,
        .h = use ? &h : NULL,
        .block = (size_t)o->block,
        .passes = o->cd,
        .refit = o->refit,
    };
    WC_TRY_OUT(wc_lut_solve(job->ctx, &problem, &made.lut, NULL));
    *out = made;
out:
    wc_hessian_free(&h);
    free(weight);
    return status;
}

/* Factor n^3/3; feedback m n^2; a pass of descent 3 m n^2, and 2 m n^2 per level when it refits them; the search of
 * scales 15 candidates of 2^bits levels. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    double m = (double)at->rows, n = (double)at->cols, k = ldexp(1, o->bits);
    bool refit =
        o->refit && o->levels == WC_LEVELS_KMEANS && o->bits <= 4 && (!o->group || (size_t)o->group >= at->cols);
    double fit = o->levels == WC_LEVELS_KMEANS ? 50 * m * n : (o->minmax ? 1 : 15) * k * m * n;
    double pass = (3 + (refit ? 2 * k + 2 : 0)) * m * n * n;
    return fit + (o->feedback ? n * n * n / 3 + m * n * n + o->cd * pass + (drift ? 4 * m * n * n : 0) : 0);
}

const wc_method wc_method_lut = {
    .name = "lut",
    .summary = "non-uniform levels, fitted or published, with error feedback and descent over codes and levels",
    .needs = WC_NEEDS_HESSIAN,
    .keeps_mask = true,
    .opt_size = sizeof(struct options),
    .opts = lut_opts,
    .applies = applies,
    .plan = plan,
    .run = run,
    .flops = flops,
};

/* ---- SqueezeLLM: k-means weighted by sensitivity, nearest levels ------------------------------------------------- */

static const wc_opt squeezellm_opts[] = {
    {"bits", WC_OPT_INT, FIELD(bits), 3, 2, 8, NULL, "bits per weight"},
    {0},
};

const wc_method wc_method_squeezellm = {
    .name = "squeezellm",
    .summary = "levels per row by k-means weighted with the inputs' second moments; for outliers put that stage first",
    .needs = WC_NEEDS_HESSIAN,
    .keeps_mask = true,
    .opt_size = sizeof(struct options),
    .opts = squeezellm_opts,
    .applies = applies,
    .plan = plan,
    .run = run,
    .flops = flops,
};

/* ---- NF4: QLoRA's table under scales that cover the range -------------------------------------------------------- */

static const wc_opt nf4_opts[] = {
    {"group", WC_OPT_INT, FIELD(group), 64, 0, 65536, NULL, "columns per scale; 0: the whole row"},
    {"minmax", WC_OPT_BOOL, FIELD(minmax), 1, 0, 1, NULL, "scales cover the range, as published; no: a search"},
    {0},
};

static struct options nf4_options(const void *opt)
{
    struct options o = *(const struct options *)opt;
    o.levels = WC_LEVELS_NF4;
    o.bits = 4;
    return o;
}

static void nf4_plan(const wc_place *at, const void *opt, wc_part *out)
{
    struct options o = nf4_options(opt);
    plan(at, &o, out);
}

static wc_status nf4_run(wc_job *job, const void *opt, wc_part *out)
{
    struct options o = nf4_options(opt);
    return run(job, &o, out);
}

static double nf4_flops(const wc_place *at, const void *opt, bool drift)
{
    struct options o = nf4_options(opt);
    return flops(at, &o, drift);
}

const wc_method wc_method_nf4 = {
    .name = "nf4",
    .summary = "the 4-bit table of QLoRA, nearest levels, an f16 scale per group; needs no calibration",
    .keeps_mask = true,
    .opt_size = sizeof(struct options),
    .opts = nf4_opts,
    .plan = nf4_plan,
    .run = nf4_run,
    .flops = nf4_flops,
};
