#include "methods/factors.h"

#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "solve/grid_solve.h"
#include "solve/projector.h"

enum { GROUP = 32, F16_BITS = 16 };

/* ---- geometry --------------------------------------------------------------------------------------------------- */

static wc_part factor_plan(size_t rows, size_t cols, int bits)
{
    wc_part p = {.kind = WC_PART_FLOAT, .floats = {.rows = rows, .cols = cols, .dtype = WC_F16}};
    if (bits != F16_BITS) {
        p = (wc_part){.kind = WC_PART_GRID};
        wc_grid_options o = {.bits = bits, .group = GROUP, .sym = true, .scale_bits = cols > GROUP ? 4 : 0};
        wc_grid_plan(rows, cols, &o, &p.grid);
    }
    return p;
}

/* Bits of a [rows, cols] factor, padding not counted. */
static double factor_size(size_t rows, size_t cols, int bits)
{
    double scales = bits == F16_BITS ? 0 : F16_BITS + (cols > GROUP ? 4.0 * (double)wc_ceil_div(cols, GROUP) : 0);
    return (double)rows * ((double)cols * bits + scales);
}

/* The rank asked for, or the largest within the ratio; the size grows with the rank. */
static size_t chosen_rank(size_t rows, size_t cols, const wc_factor_options *o)
{
    size_t low = 0, high = wc_min(rows, cols);
    double most = o->ratio * F16_BITS * (double)rows * (double)cols;
    if (o->rank) return (size_t)o->rank;
    while (low < high) {
        size_t r = low + (high - low + 1) / 2;
        if (factor_size(rows, r, o->factor_bits) + factor_size(r, cols, o->factor_bits) <= most)
            low = r;
        else
            high = r - 1;
    }
    return low;
}

const char *wc_factor_applies(const wc_place *at, const void *opt)
{
    const wc_factor_options *o = opt;
    if (o->factor_bits > 8 && o->factor_bits != F16_BITS) return "factor_bits is 4 to 8, or 16";
    if (wc_min(at->rows, at->cols) > 32766)
        return "min(rows, cols) exceeds 32766, the largest order of an eigendecomposition";
    if ((size_t)o->rank > wc_min(at->rows, at->cols)) return "the rank exceeds min(rows, cols)";
    if (!o->rank && o->ratio == 0) return "neither a rank nor a ratio is given";
    if (!chosen_rank(at->rows, at->cols, o)) return "the ratio has no room for rank 1";
    return NULL;
}

void wc_factor_plan(const wc_place *at, const void *opt, wc_part *out)
{
    const wc_factor_options *o = opt;
    size_t rank = chosen_rank(at->rows, at->cols, o);
    wc_part a = factor_plan(at->rows, rank, o->factor_bits), b = factor_plan(rank, at->cols, o->factor_bits);
    *out = (wc_part){.kind = WC_PART_LOWRANK, .lowrank = {.rows = at->rows, .cols = at->cols, .rank = rank}};
    wc_lowrank_plan(&out->lowrank, &a, &b);
}

/* ---- cost ------------------------------------------------------------------------------------------------------- */

/* In f64. The root of H n^3/3 and E times it m n^2; the Gram matrix 2 m n k, k = min(m, n); its eigenvectors 4/3 k^3
 * and 2 k^2 r; U from V 2 m n r if m > n; the normal equations 2 m r^2 + 2 m n r, their solution 2 r^2 n. */
double wc_factor_flops(const wc_place *at, const void *opt, bool drift)
{
    const wc_factor_options *o = opt;
    double m = (double)at->rows, n = (double)at->cols, k = fmin(m, n), r = (double)chosen_rank(at->rows, at->cols, o);
    double root = o->metric == WC_METRIC_HESSIAN ? n * n * n / 3 + m * n * n : 0;
    (void)drift;
    return root + 2 * m * n * k + 4 * k * k * k / 3 + 2 * k * k * r + (m > n ? 4 : 2) * m * n * r + 2 * (m + n) * r * r;
}

/* U and the factors live to the end; beside them, in turn: F and the root of H; F and the Gram matrix, to which m > n
 * adds two sets of eigenvectors; the Gram matrix and eigenvectors; the normal equations. */
uint64_t wc_factor_scratch(const wc_place *at, const void *opt)
{
    const wc_factor_options *o = opt;
    uint64_t m = at->rows, n = at->cols, k = wc_min(at->rows, at->cols), r = chosen_rank(at->rows, at->cols, o);
    uint64_t take = r > k / 2 ? k : r, vectors = 8 * take * k, gram = 8 * k * k, f = 8 * m * n;
    uint64_t phase[] = {
        f + (o->metric == WC_METRIC_HESSIAN ? 8 * n * n : 0),
        f + gram + (m > n ? 2 * vectors : 0),
        gram + vectors,
        8 * (r * r + r * n + 256 * (r + n)),
    };
    uint64_t most = 0;
    for (size_t i = 0; i < sizeof phase / sizeof *phase; i++)
        most = phase[i] > most ? phase[i] : most;
    return most + 8 * r * m + 4 * r * (m + n);
}

/* ---- the metric ------------------------------------------------------------------------------------------------- */

/* scale [n] of the diagonal metrics. An input that was always 0 counts as a millionth of the largest: other data may
 * use it. */
static void diagonal_scale(const wc_stats *stats, const wc_factor_options *o, size_t n, float *scale)
{
    float top = 0;
    for (size_t j = 0; j < n; j++) {
        scale[j] = o->metric == WC_METRIC_RMS ? sqrtf(stats->h[j * n + j]) : stats->abs_mean[j];
        top = fmaxf(top, scale[j]);
    }
    for (size_t j = 0; j < n; j++) {
        float s = top > 0 ? fmaxf(scale[j], 1e-6f * top) / top : 1;
        scale[j] = o->metric == WC_METRIC_RMS ? s : powf(s, (float)o->alpha);
    }
}

/* *out refers to scale [n], and its use decides weight [n]: the mean-1 column weights of B's scale search. */
static wc_metric metric_of(const wc_job *job, const wc_factor_options *o, float *scale, float *weight)
{
    size_t n = job->at.cols;
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        weight[j] = scale[j] = 1;
    if (o->metric == WC_METRIC_HESSIAN) {
        wc_hessian_weights(job->stats->h, n, weight);
        return (wc_metric){.h = job->stats->h, .damping = o->damp};
    }
    if (o->metric == WC_METRIC_NONE) return (wc_metric){0};
    diagonal_scale(job->stats, o, n, scale);
    for (size_t j = 0; j < n; j++)
        sum += (double)scale[j] * (double)scale[j];
    for (size_t j = 0; j < n; j++)
        weight[j] = (float)((double)scale[j] * (double)scale[j] * (double)n / sum + 0.01);
    return (wc_metric){.scale = scale};
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

/* A = U diag(g), g_j = lambda_j^(1/4), so that both factors carry half of each sigma_j = sqrt(lambda_j). f16 needs that
 * for its range. It is also how to share the step of a row of A: an error delta in column j costs delta^2 lambda_j /
 * g_j^2, the step is proportional to (sum g_j^2)^(1/2), and sum g_j^2 * sum lambda_j / g_j^2 is least, (sum sigma_j)^2,
 * for g_j^2 = sigma_j (Cauchy). weight [rank] = lambda_j / g_j^2 = sigma_j, up to the factor that makes the mean of
 * H 1. sigma is kept above 1e-6 of the largest: directions that H does not see are stored as well as f16 can. */
static void left_factor(const wc_projector *p, double mean_h, float *a, float *weight)
{
    double first = sqrt(p->lambda[0]), sum = 0;
    for (size_t j = 0; j < p->rank; j++) {
        double sigma = first > 0 ? fmax(sqrt(p->lambda[j]), 1e-6 * first) : 1;
        double g = sqrt(first > 0 ? sigma / sqrt(mean_h) : 1);
        weight[j] = (float)(sigma / (first > 0 ? first : 1));
        sum += (double)weight[j];
        for (size_t i = 0; i < p->rows; i++)
            a[i * p->rank + j] = (float)(p->u[j * p->rows + i] * g);
    }
    for (size_t j = 0; j < p->rank; j++)
        weight[j] = (float)((double)weight[j] * (double)p->rank / sum + 0.01);
}

/* Mean of the diagonal of H. */
static double mean_of(const wc_metric *metric, size_t n)
{
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += metric->h       ? (double)metric->h[j * n + j]
               : metric->scale ? (double)metric->scale[j] * (double)metric->scale[j]
                               : 1;
    return sum > 0 ? sum / (double)n : 1;
}

static wc_status store_f16(wc_ctx *ctx, const char *tensor, const float *x, wc_float *out)
{
    size_t count = out->rows * out->cols;
    WC_TRY(wc_float_alloc(ctx, out));
    for (size_t i = 0; i < count; i++) {
        uint16_t v = wc_f32_f16(x[i]);
        if ((v & 0x7c00) == 0x7c00)
            return wc_fail(ctx, WC_NUMERIC, "%s: %g in a low-rank factor exceeds 65504, the largest f16", tensor,
                           (double)x[i]);
        out->owned[2 * i] = (uint8_t)v;
        out->owned[2 * i + 1] = (uint8_t)(v >> 8);
    }
    return WC_OK;
}

/* x [rows, cols] into *part, which holds the plan on entry. weight [cols] is for the scale search of a grid. */
static wc_status store_factor(wc_ctx *ctx, const char *tensor, const float *x, const float *weight, wc_part *part)
{
    if (part->kind == WC_PART_FLOAT) return store_f16(ctx, tensor, x, &part->floats);
    wc_grid_problem problem = {.tensor = tensor, .w = x, .weight = weight, .search = WC_SEARCH_MSE};
    return wc_grid_solve(ctx, &problem, &part->grid, NULL);
}

/* x [rows, cols] = the factor as it will be decoded. */
static void load_factor(const wc_part *part, float *x)
{
    if (part->kind == WC_PART_FLOAT) {
        const uint8_t *src = part->floats.data;
        for (size_t i = 0; i < part->floats.rows * part->floats.cols; i++)
            x[i] = wc_f16_f32((uint16_t)(src[2 * i] | src[2 * i + 1] << 8));
        return;
    }
    const wc_grid *g = &part->grid;
    size_t groups = wc_grid_groups(g);
    for (size_t i = 0; i < g->rows; i++)
        for (size_t j = 0; j < g->cols; j++) {
            size_t at = i * groups + j / g->group;
            float s = ldexpf(wc_f16_f32(g->scale[g->scale_bits ? i : at]), g->scale_exp);
            if (g->scale_bits) s *= (float)g->scale_code[at];
            x[i * g->cols + j] = s * ((float)g->code[i * g->cols + j] - g->zero_fixed);
        }
}

/* Vectors, matrices and column weights of one run. */
struct workspace {
    float *scale, *weight_a, *weight_b, *a, *b;
};

static wc_status workspace_alloc(wc_ctx *ctx, size_t rows, size_t cols, size_t rank, struct workspace *w)
{
    WC_TRY(WC_ALLOC(ctx, w->scale, cols, "column scales"));
    WC_TRY(WC_ALLOC(ctx, w->weight_a, rank, "column weights"));
    WC_TRY(WC_ALLOC(ctx, w->weight_b, cols, "column weights"));
    WC_TRY(WC_ALLOC(ctx, w->a, rows * rank, "the left factor"));
    return WC_ALLOC(ctx, w->b, rank * cols, "the right factor");
}

/* A first, as it will be decoded; then the B that is best for this A. */
static wc_status make_factors(wc_job *job, const wc_projector *p, double mean_h, struct workspace *w, wc_lowrank *out)
{
    wc_ctx *ctx = job->ctx;
    left_factor(p, mean_h, w->a, w->weight_a);
    WC_TRY(store_factor(ctx, job->tensor, w->a, w->weight_a, out->a));
    load_factor(out->a, w->a);
    WC_TRY(wc_right_factor(ctx, w->a, job->w, job->at.rows, job->at.cols, p->rank, w->b));
    return store_factor(ctx, job->tensor, w->b, w->weight_b, out->b);
}

wc_status wc_factor_run(wc_job *job, const void *opt, wc_part *out)
{
    const wc_factor_options *o = opt;
    wc_status status = WC_OK;
    struct workspace w = {0};
    wc_projector p = {0};
    wc_part made;
    wc_factor_plan(&job->at, opt, &made);
    wc_lowrank *l = &made.lowrank;
    if (!l->a || !l->b) WC_TRY_OUT(wc_fail(job->ctx, WC_NOMEM, "no memory for two factors"));
    WC_TRY_OUT(workspace_alloc(job->ctx, job->at.rows, job->at.cols, l->rank, &w));
    wc_metric metric = metric_of(job, o, w.scale, w.weight_b);
    WC_TRY_OUT(wc_projector_make(job->ctx, job->tensor, job->w, job->at.rows, job->at.cols, &metric, l->rank, &p));
    WC_TRY_OUT(make_factors(job, &p, mean_of(&metric, job->at.cols), &w, l));
    job->damping_used = fmax(job->damping_used, p.damping); /* a quantizer may have run before */
    job->escalations = p.escalations > job->escalations ? p.escalations : job->escalations;
    *out = made;
    made = (wc_part){0};
out:
    free(w.scale), free(w.weight_a), free(w.weight_b), free(w.a), free(w.b);
    wc_projector_free(&p);
    wc_part_free(&made);
    return status;
}
