/* Entropy-coded trellis quantization at a requested rate, near the Shannon limit of the layer. See README.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/coded.h"
#include "methods/job.h"
#include "solve/rd_solve.h"
#include "solve/wiener.h"

struct options {
    double bits;
    int states; /* index into the words */
    double kappa, lambda;
    int passes;
    int tile;
    double damp;
    int order; /* wc_order */
    int block;
    double drift, residual;
};

#define FIELD(name) offsetof(struct options, name)

static const wc_opt opts[] = {
    {"bits", WC_OPT_REAL, FIELD(bits), 3, 0.5, 8, NULL, "bits per weight, everything included; any real number"},
    {"states", WC_OPT_WORD, FIELD(states), 7, 0, 7, "1|4|8|16|32|64|128|256",
     "of the trellis; 1: scalar quantization. Decoding costs the same for all"},
    {"kappa", WC_OPT_REAL, FIELD(kappa), 1, 0, 10, NULL, "damping matched to the step, in parts of its noise"},
    {"lambda", WC_OPT_REAL, FIELD(lambda), 0.15, 0, 1, NULL, "price of a bit, in squares of a step"},
    {"passes", WC_OPT_INT, FIELD(passes), 3, 1, 16, NULL,
     "passes over the matrix at least; more until the size is met"},
    {"tile", WC_OPT_INT, FIELD(tile), 512, 1, WC_CODED_TILE, NULL, "rows that decode together"},
    {"damp", WC_OPT_REAL, FIELD(damp), 0.01, 0, 10, NULL, "added to the diagonal of H, relative to its mean"},
    {"order", WC_OPT_WORD, FIELD(order), WC_ORDER_ACT, 0, 1, "natural|act",
     "columns as they come, or those with the largest inputs first"},
    {"block", WC_OPT_INT, FIELD(block), 256, 32, 1024, NULL, "columns per matrix product"},
    {"drift", WC_OPT_REAL, FIELD(drift), 0.75, 0, 1, NULL, "part of the drift of the inputs to correct for"},
    {"residual", WC_OPT_REAL, FIELD(residual), 0.5, 0, 1, NULL,
     "part of the drift of the residual stream to correct for, in layers that write to it"},
    {0},
};

static wc_coded geometry(const wc_place *at, const struct options *o)
{
    return (wc_coded){.rows = at->rows,
                      .cols = at->cols,
                      .tile = wc_min((size_t)o->tile, at->rows),
                      .bytes = (uint64_t)floor(o->bits * (double)at->rows * (double)at->cols / 8),
                      .memory = o->states ? (unsigned)o->states + 1 : 0,
                      .classes = 1};
}

static const char *applies(const wc_place *at, const void *opt)
{
    wc_coded g = geometry(at, opt);
    uint64_t side = wc_rd_side_bytes(&g);
    return 10 * side > 7 * g.bytes ? "the matrix is too small: steps, classes and states take most of the bits" : NULL;
}

static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    *out = (wc_part){.kind = WC_PART_CODED, .coded = geometry(at, opt)};
}

static wc_status make_factor(wc_job *job, const struct options *o, const float *moments, double extra, wc_hessian *h)
{
    wc_hessian_free(h);
    return wc_hessian_make(job->ctx, job->tensor, moments, job->at.cols, o->damp + extra, (wc_order)o->order, 1, h);
}

/* Moments that allow no factor: all inputs then count the same, and nothing is fed back. */
static wc_status without_moments(wc_job *job, const struct options *o, float **identity, wc_hessian *h)
{
    size_t n = job->at.cols;
    wc_log(job->ctx, WC_LOG_WARN, "%s; all inputs count the same for this tensor", job->ctx->error);
    wc_clear_error(job->ctx);
    job->fell_back = true;
    WC_TRY(WC_ALLOC(job->ctx, *identity, n * n, "second moments"));
    for (size_t j = 0; j < n; j++)
        (*identity)[j * n + j] = 1;
    return make_factor(job, o, *identity, 0, h);
}

static bool is_dead(const wc_job *job, size_t j, float top)
{
    return !((double)job->stats->h[j * job->at.cols + j] > 1e-12 * (double)top);
}

/* Columns of inputs that were always 0 are dropped: a step c / pivot that is four times their largest weight makes
 * every point 0, which costs next to no bits. */
static void drop_dead(const wc_job *job, double c, wc_hessian *h)
{
    size_t n = h->n;
    float top = 0;
    for (size_t j = 0; j < n; j++)
        top = fmaxf(top, job->stats->h[j * n + j]);
    for (size_t i = 0; i < n; i++) {
        size_t j = h->order ? h->order[i] : i;
        double largest = 0;
        if (!is_dead(job, j, top)) continue;
        for (size_t r = 0; r < job->at.rows; r++)
            largest = fmax(largest, fabs((double)job->w[r * n + j]));
        h->pivot[i] = (float)fmin((double)h->pivot[i], c / fmax(4 * largest, 1e-30));
    }
}

/* Mean of the diagonal of H as it came. */
static double mean_moment(const wc_hessian *h)
{
    double mean = 0;
    for (size_t j = 0; j < h->n; j++)
        mean += (double)h->h[j * h->n + j] / (double)h->n;
    return mean / (1 + h->damping) / h->scale;
}

/* Damping that goes with a step c, relative to the mean of the diagonal of H. */
static double matched_damping(const wc_job *job, double kappa, double c, const wc_hessian *h)
{
    size_t rows = job->at.rows, cols = job->at.cols;
    double square = 0;
    for (size_t i = 0; i < rows * cols; i++)
        square += (double)job->w[i] * (double)job->w[i] / ((double)rows * (double)cols);
    double extra = kappa * c * c / (4 * square * mean_moment(h) * h->scale);
    return isfinite(extra) ? extra : 0;
}

/* A factor of H as it is says what the step will be; then one of H' = H + extra I with the damping that goes with that
 * step. tr((W - W^) H (W - W^)^T) + extra |W^|^2 is the same as the error in H' from W H H'^-1, but for a constant:
 * that is the target. (Damping alone asks for W, and pays for weak directions of it that are not heard.) */
static wc_status prepare(wc_job *job, const struct options *o, wc_hessian *h, float *target)
{
    float *identity = NULL;
    wc_status status = make_factor(job, o, job->stats->h, 0, h);
    if (status == WC_OK) status = wc_job_correct_drift(job, h, o->drift, o->residual);
    if (status == WC_NUMERIC) status = without_moments(job, o, &identity, h);
    WC_TRY_OUT(status);
    double c = wc_rd_first_step(job->ctx, h, job->w, job->at.rows, job->at.cols, o->bits);
    double extra = matched_damping(job, o->kappa, c, h);
    memcpy(target, job->w, job->at.rows * job->at.cols * sizeof *target);
    if (extra > 1e-6) {
        WC_TRY_OUT(make_factor(job, o, identity ? identity : job->stats->h, extra, h));
        double mu = extra * mean_moment(h) * h->scale;
        WC_TRY_OUT(wc_wiener_target(job->ctx, h, mu, job->at.rows, job->w, target));
    }
    if (!identity) drop_dead(job, c, h);
out:
    free(identity);
    return status;
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    wc_status status = WC_OK;
    wc_hessian h = {0};
    float *target = NULL;
    wc_part made;
    wc_rd_point point;
    plan(&job->at, opt, &made);
    WC_TRY_OUT(WC_ALLOC_RAW(job->ctx, target, job->at.rows * job->at.cols, "a target"));
    WC_TRY_OUT(prepare(job, o, &h, target));
    wc_rd_problem problem = {.tensor = job->tensor,
                             .w = target,
                             .h = &h,
                             .lambda = o->lambda,
                             .passes = o->passes,
                             .block = (size_t)o->block};
    WC_TRY_OUT(wc_rd_solve(job->ctx, &problem, &made.coded, &point));
    *out = made;
out:
    job->damping_used = status == WC_OK ? h.damping : 0;
    job->escalations = h.escalations;
    wc_hessian_free(&h);
    free(target);
    return status;
}

/* Two factors; feedback in each pass, and one or two passes more than asked for; about 30 per weight for candidates and
 * 10 per weight and state for the trellis. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    double m = (double)at->rows, n = (double)at->cols, states = o->states ? exp2(o->states + 1) : 1;
    return 2 * n * n * n / 3 + (o->passes + 1) * (m * n * n + m * n * (30 + 10 * states)) + (drift ? 4 * m * n * n : 0);
}

static uint64_t scratch(const wc_place *at, const void *opt)
{
    wc_coded g = geometry(at, opt);
    wc_ctx ctx;
    wc_ctx_init(&ctx, 0);
    return wc_rd_scratch(&ctx, &g) + 2 * 4 * (uint64_t)at->cols * at->cols + 10 * (uint64_t)at->rows * at->cols;
}

const wc_method wc_method_rd = {
    .name = "rd",
    .summary = "entropy-coded trellis quantization: any rate, near the Shannon limit of the layer",
    .needs = WC_NEEDS_HESSIAN,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .applies = applies,
    .plan = plan,
    .run = run,
    .flops = flops,
    .scratch = scratch,
};
