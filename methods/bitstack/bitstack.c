/* BitStack: sign planes times low-rank magnitudes, stacked; any prefix of the stack is a model. See README.md. */
#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "linalg/linalg.h"
#include "methods/method.h"
#include "solve/grid_fit.h"
#include "solve/panel.h"
#include "solve/thin_svd.h"

struct options {
    int levels, rank, passes;
    bool scale;
};

static const wc_opt opts[] = {
    {"levels", WC_OPT_INT, offsetof(struct options, levels), 8, 1, WC_SIGNS_MAX_LEVELS, NULL,
     "planes of signs; each costs 1 bit per weight and its factors"},
    {"rank", WC_OPT_INT, offsetof(struct options, rank), 0, 0, 4096, NULL,
     "of each level's magnitudes; 0: as much as 1/8 bit per weight pays for, 16 at 4096 x 4096"},
    {"scale", WC_OPT_BOOL, offsetof(struct options, scale), 1, 0, 1, NULL,
     "count errors by the size of the inputs they meet"},
    {"passes", WC_OPT_INT, offsetof(struct options, passes), 3, 1, 32, NULL, "of the iteration for singular vectors"},
    {0},
};

/* 16 k (m + n) bits of factors are mn / 8 for k = mn / (128 (m + n)). */
static size_t rank_of(const wc_place *at, const struct options *o)
{
    size_t k = (size_t)((double)at->rows * (double)at->cols / (128.0 * ((double)at->rows + (double)at->cols)));
    return o->rank ? (size_t)o->rank : k ? k : 1;
}

/* scale [n] = root mean square of each input, in units of their own root mean square, at least 1e-3: the weight of a
 * column's errors. W diag(s) is what is decomposed, and 1 / s goes into the factor V, which costs nothing. */
static void column_scales(const wc_job *job, bool wanted, float *scale)
{
    size_t n = job->at.cols;
    const float *h = wanted && job->stats ? job->stats->h : NULL;
    double mean = 0;
    for (size_t j = 0; h && j < n; j++)
        mean += fmax((double)h[j * n + j], 0) / (double)n;
    for (size_t j = 0; j < n; j++)
        scale[j] = h && mean > 0 && isfinite(mean) ? (float)fmax(sqrt((double)h[j * n + j] / mean), 1e-3) : 1;
}

/* What is to be decomposed, and the room for it. */
struct stack {
    wc_job *job;
    wc_signs *out;
    float *r;           /* [rows, cols] the residual, in units of 2^scale_exp and times scale */
    float *a;           /* [rows, cols] its magnitude, then the magnitude as it will be decoded */
    float *u, *v;       /* [rows, rank], [rank, cols] */
    const float *scale; /* [cols] */
};

static void take_signs(const struct stack *s, unsigned level)
{
    size_t rows = s->out->rows, cols = s->out->cols, stride = wc_ceil_div(cols, 8);
    uint8_t *plane = s->out->sign + wc_signs_sign_at(s->out, level);
#pragma omp parallel for schedule(static) num_threads(s->job->ctx->threads)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            float x = s->r[i * cols + j];
            if (x < 0) plane[i * stride + j / 8] |= (uint8_t)(1u << j % 8);
            s->a[i * cols + j] = fabsf(x);
        }
}

/* x becomes what is stored. */
static uint16_t store(float *x)
{
    *x = wc_f16_near((double)*x);
    return wc_f32_f16(*x);
}

static void store_factors(const struct stack *s, unsigned level)
{
    size_t rows = s->out->rows, cols = s->out->cols, rank = s->out->rank;
    uint16_t *u = s->out->u + level * rows * rank, *v = s->out->v + level * rank * cols;
    for (size_t i = 0; i < rows * rank; i++)
        u[i] = store(&s->u[i]);
    for (size_t k = 0; k < rank; k++)
        for (size_t j = 0; j < cols; j++) {
            s->v[k * cols + j] /= s->scale[j];
            v[k * cols + j] = store(&s->v[k * cols + j]);
        }
}

/* r -= the level as stored: sign(r) times U V, which may be negative here and there. */
static void subtract(const struct stack *s)
{
    size_t rows = s->out->rows, cols = s->out->cols, rank = s->out->rank;
    wc_gemm(s->job->ctx, WC_N, WC_N, rows, cols, rank, 1, s->u, rank, s->v, cols, 0, s->a, cols);
#pragma omp parallel for schedule(static) num_threads(s->job->ctx->threads)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            float *x = &s->r[i * cols + j], m = s->a[i * cols + j] * s->scale[j];
            *x -= *x < 0 ? -m : m;
        }
}

static void load(const struct stack *s)
{
    size_t rows = s->out->rows, cols = s->out->cols;
    float unit = ldexpf(1, -s->out->scale_exp);
#pragma omp parallel for schedule(static) num_threads(s->job->ctx->threads)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            s->r[i * cols + j] = s->job->w[i * cols + j] * unit * s->scale[j];
}

static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    *out = (wc_part){.kind = WC_PART_SIGNS};
    out->signs = (wc_signs){.rows = at->rows,
                            .cols = at->cols,
                            .form = WC_SIGNS_PRODUCT,
                            .levels = (unsigned)o->levels,
                            .rank = rank_of(at, o)};
}

static const char *applies(const wc_place *at, const void *opt)
{
    return rank_of(at, opt) > wc_min(at->rows, at->cols) ? "the rank exceeds min(rows, cols)" : NULL;
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    wc_ctx *ctx = job->ctx;
    wc_status status = WC_OK;
    wc_part made;
    wc_signs *p = &made.signs;
    struct stack s = {.job = job, .out = p};
    float *scale = NULL, top;
    plan(&job->at, opt, &made);
    WC_TRY(wc_panel_largest(ctx, job->tensor, job->w, p->rows, p->cols, &top));
    WC_TRY_OUT(wc_signs_alloc(ctx, p));
    WC_TRY_OUT(WC_ALLOC(ctx, s.r, p->rows * p->cols, "a residual"));
    WC_TRY_OUT(WC_ALLOC(ctx, s.a, p->rows * p->cols, "magnitudes"));
    WC_TRY_OUT(WC_ALLOC(ctx, s.u, p->rows * p->rank, "a factor"));
    WC_TRY_OUT(WC_ALLOC(ctx, s.v, p->rank * p->cols, "a factor"));
    WC_TRY_OUT(WC_ALLOC(ctx, scale, p->cols, "column scales"));
    column_scales(job, o->scale, scale);
    s.scale = scale;
    p->scale_exp = wc_grid_scale_exp(top);
    load(&s);
    for (unsigned level = 0; level < p->levels; level++) {
        take_signs(&s, level);
        WC_TRY_OUT(wc_thin_svd(ctx, s.a, p->rows, p->cols, p->rank, o->passes, s.u, s.v));
        store_factors(&s, level);
        subtract(&s);
    }
    *out = made;
out:
    free(s.r), free(s.a), free(s.u), free(s.v), free(scale);
    if (status != WC_OK) wc_part_free(&made);
    return status;
}

static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    size_t rank = rank_of(at, o);
    (void)drift;
    return o->levels * (wc_thin_svd_flops(at->rows, at->cols, rank, o->passes) +
                        2 * (double)at->rows * (double)at->cols * (double)rank);
}

/* The residual and its magnitude, the planes and factors of the result, and the decomposition's bases. */
static uint64_t scratch(const wc_place *at, const void *opt)
{
    const struct options *o = opt;
    uint64_t m = at->rows, n = at->cols, k = rank_of(at, o), levels = (uint64_t)o->levels;
    return 8 * m * n + levels * (m * wc_ceil_div(n, 8) + 2 * k * (m + n)) + 4 * k * (m + n) +
           wc_thin_svd_scratch(m, n, k);
}

const wc_method wc_method_bitstack = {
    .name = "bitstack",
    .summary = "planes of signs times low-rank magnitudes, one after another; `cut' drops the last ones at any size",
    .needs = WC_NEEDS_HESSIAN,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .applies = applies,
    .plan = plan,
    .run = run,
    .flops = flops,
    .scratch = scratch,
};
