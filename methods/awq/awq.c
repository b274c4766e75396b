/* Activation-aware scales: columns with large inputs are quantized finer. See README.md. */
#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "linalg/linalg.h"
#include "methods/job.h"
#include "solve/grid_solve.h"

enum metric { HESSIAN, DIAGONAL };

struct options {
    wc_grid_options grid; /* of the quantizer that follows */
    int points;
    int metric; /* enum metric */
    bool fold;
};

static const wc_opt opts[] = {
    {"points", WC_OPT_INT, offsetof(struct options, points), 20, 1, 200, NULL,
     "exponents 0, 1/points, .. that are tried; 1: no scaling"},
    {"metric", WC_OPT_WORD, offsetof(struct options, metric), HESSIAN, 0, 1, "hessian|diagonal",
     "what the exponent minimises: the layer error, or the part of it on the diagonal of H"},
    {"fold", WC_OPT_BOOL, offsetof(struct options, fold), 1, 0, 1, NULL,
     "one diagonal for all linears with the same inputs, in the norm or the rows in front, where that can be"},
    WC_GRID_OPTIONS(struct options, grid),
    {0},
};

static const char *applies(const wc_place *at, const void *opt)
{
    (void)at;
    return wc_grid_refusal(&((const struct options *)opt)->grid);
}

static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    if (((const struct options *)opt)->fold) return; /* W and its statistics come with the diagonal in them */
    *out = (wc_part){.kind = WC_PART_DIAGONAL, .diagonal = {.cols = at->cols}};
}

/* One search: the grid of the columns times 1/c. */
struct search {
    const wc_job *job;
    const struct options *o;
    float *x;        /* [cols] E|x_j|; the mean for inputs that were always 0: other data may use them */
    float *c;        /* [cols] a diagonal, f16 values */
    float *diag;     /* [cols] H_jj c_j^2 */
    float *weight;   /* [cols] of the grid's search */
    float *w, *left; /* [rows, cols] W / c, and W - W^ */
};

static wc_status search_alloc(struct search *s)
{
    wc_ctx *ctx = s->job->ctx;
    size_t n = s->job->at.cols, size = s->job->at.rows * n;
    WC_TRY(WC_ALLOC(ctx, s->x, n, "input sizes"));
    WC_TRY(WC_ALLOC(ctx, s->c, n, "column scales"));
    WC_TRY(WC_ALLOC(ctx, s->diag, n, "column weights"));
    WC_TRY(WC_ALLOC(ctx, s->weight, n, "column weights"));
    WC_TRY(WC_ALLOC(ctx, s->w, size, "scaled weights"));
    return WC_ALLOC(ctx, s->left, size, "rounding errors");
}

static void search_free(struct search *s)
{
    free(s->x), free(s->c), free(s->diag), free(s->weight), free(s->w), free(s->left);
}

static wc_status input_sizes(struct search *s)
{
    const wc_job *job = s->job;
    size_t n = job->at.cols, live = 0;
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        s->x[j] = job->stats->abs_mean[j];
        if (!(s->x[j] >= 0 && isfinite(s->x[j])))
            return wc_fail(job->ctx, WC_NUMERIC, "%s: the mean magnitude of input %zu is %g", job->tensor, j,
                           (double)s->x[j]);
        sum += (double)s->x[j], live += s->x[j] > 0;
    }
    for (size_t j = 0; j < n; j++)
        if (!(s->x[j] > 0)) s->x[j] = live ? (float)(sum / (double)live) : 1;
    return WC_OK;
}

static double exponent(const struct options *o, int i)
{
    return (double)i / o->points;
}

/* c = 1/s, s_j = max(x_j^alpha, 1e-4) / sqrt(max s min s), as it is stored. */
static void diagonal_for(const struct search *s, double alpha)
{
    size_t n = s->job->at.cols;
    double lo = INFINITY, hi = 0;
    for (size_t j = 0; j < n; j++) {
        double v = fmax(pow((double)s->x[j], alpha), 1e-4);
        lo = fmin(lo, v), hi = fmax(hi, v);
        s->c[j] = (float)v;
    }
    for (size_t j = 0; j < n; j++) {
        double c = sqrt(lo) * sqrt(hi) / (double)s->c[j];
        s->c[j] = wc_f16_f32(wc_f32_f16((float)fmin(fmax(c, 0x1p-14), 0x1p15)));
    }
}

/* tr(D H D^T) of left = W / c - Q, D = left diag(c); left is used up. */
static double error_of(const struct search *s)
{
    const wc_job *job = s->job;
    size_t rows = job->at.rows, n = job->at.cols;
    const float *h = job->stats->h;
    double sum = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < n; j++) {
            float d = s->left[r * n + j] *= s->c[j];
            if (s->o->metric == DIAGONAL) sum += (double)d * (double)d * (double)h[j * n + j];
        }
    return s->o->metric == DIAGONAL ? sum : wc_quadratic_form(job->ctx, s->left, rows, h, n);
}

/* *error of exponent number i. */
static wc_status try_exponent(struct search *s, int i, double *error)
{
    const wc_job *job = s->job;
    size_t rows = job->at.rows, n = job->at.cols;
    const float *h = job->stats->h;
    wc_part part = {.kind = WC_PART_GRID};
    diagonal_for(s, exponent(s->o, i));
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < n; j++)
            s->w[r * n + j] = job->w[r * n + j] / s->c[j];
    for (size_t j = 0; j < n; j++)
        s->diag[j] = h[j * n + j] * (s->c[j] * s->c[j]);
    wc_diagonal_weights(s->o->grid.search == WC_SEARCH_HESSIAN ? s->diag : NULL, 1, n, s->weight);
    wc_grid_plan(rows, n, &s->o->grid, &part.grid);
    wc_grid_problem problem = {
        .tensor = job->tensor, .w = s->w, .weight = s->weight, .search = (wc_search)s->o->grid.search, .left = s->left};
    WC_TRY(wc_grid_solve(job->ctx, &problem, &part.grid, NULL));
    wc_part_free(&part);
    *error = error_of(s);
    return isfinite(*error) ? WC_OK
                            : wc_fail(job->ctx, WC_NUMERIC, "%s: the error at exponent %g is %g", job->tensor,
                                      exponent(s->o, i), *error);
}

static wc_status store(const wc_job *job, const float *c, wc_diagonal *out)
{
    WC_TRY(wc_diagonal_alloc(job->ctx, out));
    for (size_t j = 0; j < out->cols; j++)
        out->scale[j] = wc_f32_f16(c[j]);
    return WC_OK;
}

/* error [points] += those of all exponents. */
static wc_status cost(const wc_job *job, const void *opt, double *error)
{
    struct search s = {.job = job, .o = opt};
    wc_status status = WC_OK;
    WC_TRY_OUT(search_alloc(&s));
    WC_TRY_OUT(input_sizes(&s));
    for (int i = 0; i < s.o->points; i++) {
        double e;
        WC_TRY_OUT(try_exponent(&s, i, &e));
        error[i] += e;
    }
out:
    search_free(&s);
    return status;
}

static wc_status diagonal(const wc_job *job, const void *opt, size_t k, float *c)
{
    struct search s = {.job = job, .o = opt, .c = c};
    wc_status status;
    WC_TRY(WC_ALLOC(job->ctx, s.x, job->at.cols, "input sizes"));
    status = input_sizes(&s);
    if (status == WC_OK) diagonal_for(&s, exponent(s.o, (int)k));
    free(s.x);
    return status;
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    double *error = NULL;
    float *c = NULL;
    wc_status status = WC_OK;
    wc_part made = {0};
    size_t best = 0;
    plan(&job->at, opt, &made);
    if (!made.kind) return WC_OK;
    WC_TRY_OUT(WC_ALLOC(job->ctx, error, (size_t)o->points, "the errors of exponents"));
    WC_TRY_OUT(WC_ALLOC(job->ctx, c, job->at.cols, "column scales"));
    WC_TRY_OUT(cost(job, opt, error));
    for (size_t i = 1; i < (size_t)o->points; i++)
        if (error[i] < error[best]) best = i;
    WC_TRY_OUT(diagonal(job, opt, best, c));
    WC_TRY_OUT(store(job, c, &made.diagonal));
    *out = made;
out:
    free(error), free(c);
    return status;
}

static size_t choices(const void *opt)
{
    const struct options *o = opt;
    return o->fold ? (size_t)o->points : 0;
}

static void refuse(void *opt)
{
    ((struct options *)opt)->fold = false;
}

static const wc_folding folding = {choices, refuse, cost, diagonal};

/* Per exponent a grid (rtn) and the layer error. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    double m = (double)at->rows, n = (double)at->cols;
    (void)drift;
    return o->points * m * n * ((o->grid.search == WC_SEARCH_MINMAX ? 10 : 400) + (o->metric == HESSIAN ? 2 * n : 0));
}

/* W / c, what is left of it, and a grid in the making: codes and one panel per thread, all rows at most. */
static uint64_t scratch(const wc_place *at, const void *opt)
{
    (void)opt;
    return (uint64_t)at->rows * at->cols * (4 + 4 + 2 + 16);
}

const wc_method wc_method_awq = {
    .name = "awq",
    .summary = "transform: column scales from the size of the inputs, for the quantizer that follows",
    .needs = WC_NEEDS_HESSIAN,
    .role = WC_STEP_TRANSFORM,
    .follows = true,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .applies = applies,
    .plan = plan,
    .folding = &folding,
    .run = run,
    .flops = flops,
    .scratch = scratch,
};
