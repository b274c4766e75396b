#include "methods/factors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "methods/job.h"
#include "solve/blend.h"
#include "solve/projector.h"

/* ---- geometry --------------------------------------------------------------------------------------------------- */

static double factor_bits(const wc_place *at, const void *opt, size_t rank)
{
    const wc_factor_options *o = opt;
    int bits = o->thin.factor_bits;
    double right = wc_leaf_bits(rank, at->cols, bits);
    if (o->storage == WC_STORE_PIFA) return wc_leaf_bits(at->rows - rank, rank, bits) + right + (double)at->rows;
    return wc_leaf_bits(at->rows, rank, bits) + right;
}

/* Pivot rows of full rank leave no row to make of them: that is W itself. */
static size_t most_rank(const wc_place *at, const wc_factor_options *o)
{
    size_t rows = o->storage == WC_STORE_PIFA ? at->rows - 1 : at->rows;
    return wc_min(rows, at->cols);
}

static size_t chosen_rank(const wc_place *at, const wc_factor_options *o)
{
    return wc_rank_chosen(&o->thin, at, o, most_rank(at, o), factor_bits);
}

const char *wc_factor_applies(const wc_place *at, const void *opt)
{
    const wc_factor_options *o = opt;
    size_t full = wc_min(at->rows, at->cols);
    if (o->storage == WC_STORE_PIFA && (at->rows == 1 || (size_t)o->thin.rank == at->rows))
        return "storage=pifa needs a rank below the number of rows";
    return wc_rank_refusal(&o->thin, full, full, chosen_rank(at, o));
}

void wc_factor_plan(const wc_place *at, const void *opt, wc_part *out)
{
    const wc_factor_options *o = opt;
    bool pifa = o->storage == WC_STORE_PIFA;
    size_t rank = chosen_rank(at, o), rows = pifa ? at->rows - rank : at->rows;
    wc_part a = wc_leaf_plan(rows, rank, o->thin.factor_bits), b = wc_leaf_plan(rank, at->cols, o->thin.factor_bits);
    *out = (wc_part){.kind = WC_PART_LOWRANK, .lowrank = {.rows = at->rows, .cols = at->cols, .rank = rank}};
    out->lowrank.form = pifa ? WC_LOWRANK_PIVOT : WC_LOWRANK_AB;
    wc_lowrank_plan(&out->lowrank, &a, &b);
}

/* ---- cost ------------------------------------------------------------------------------------------------------- */

/* In f64. The root of H n^3/3 and E times it m n^2; the Gram matrix 2 m n k, k = min(m, n); its eigenvectors 4/3 k^3
 * and 2 k^2 r; U from V 2 m n r if m > n; the normal equations 2 m r^2 + 2 m n r, their solution 2 r^2 n. Pivots take
 * 4 m r^2. With drift, the shift W C H^{-1} 4 m n^2 + n^3/3, and how much of it once more all up to the eigenvectors,
 * for two matrices, and 6 m n r for projections. */
double wc_factor_flops(const wc_place *at, const void *opt, bool drift)
{
    const wc_factor_options *o = opt;
    double m = (double)at->rows, n = (double)at->cols, k = fmin(m, n), r = (double)chosen_rank(at, o);
    double root = o->metric == WC_METRIC_HESSIAN ? n * n * n / 3 + m * n * n : 0;
    double vectors = root + 2 * m * n * k + 4 * k * k * k / 3 + 2 * k * k * r + (m > n ? 2 * m * n * r : 0);
    double all = vectors + 2 * m * n * r + 2 * (m + n) * r * r + (o->storage == WC_STORE_PIFA ? 4 * m * r * r : 0);
    if (drift && o->drift + o->residual > 0) {
        all += 4 * m * n * n + n * n * n / 3;
        if (o->adaptive) all += vectors + root + m * n * n + 6 * m * n * r;
    }
    return all;
}

static uint64_t largest(const uint64_t *x, size_t n)
{
    uint64_t most = 0;
    for (size_t i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

/* U and the factors live to the end; beside them, in turn: F and the root of H; F and the Gram matrix, to which m > n
 * adds two sets of eigenvectors; the Gram matrix and eigenvectors; the normal equations; U again for its pivots, and
 * coefficients. Before that the drift: two factors of H and the shift; W and the shift beside it, and for how much of
 * it is taken, first the eigenvectors, then both whitened, with the root or with the projections. */
uint64_t wc_factor_scratch(const wc_place *at, const void *opt)
{
    const wc_factor_options *o = opt;
    uint64_t m = at->rows, n = at->cols, k = wc_min(at->rows, at->cols), r = chosen_rank(at, o);
    uint64_t take = r > k / 2 ? k : r, vectors = 8 * take * k, gram = 8 * k * k, f = 8 * m * n;
    uint64_t root = o->metric == WC_METRIC_HESSIAN ? 8 * n * n : 0, u = 8 * r * m;
    const uint64_t phase[] = {
        f + root,
        f + gram + (m > n ? 2 * vectors : 0),
        gram + vectors,
        8 * (r * r + r * n + 256 * (r + n)),
        o->storage == WC_STORE_PIFA ? u + 16 * m + 4 * (m - r) * r : 0,
    };
    uint64_t most = largest(phase, sizeof phase / sizeof *phase) + u + 4 * r * (m + n);
    if (o->drift + o->residual > 0) {
        const uint64_t moves[] = {most, f / 2 + 8 * n * n, o->adaptive ? f + u + largest(phase, 3) : 0,
                                  o->adaptive ? 3 * f + u + root : 0,
                                  o->adaptive ? 3 * f + 2 * u + 8 * (2 * r * n + r * r) : 0};
        most = largest(moves, sizeof moves / sizeof *moves);
    }
    return most;
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

/* ---- ranks by budget -------------------------------------------------------------------------------------------- */

static wc_status choices(wc_ctx *ctx, const wc_member *m, const float *w, const wc_stats *stats, wc_choices *out)
{
    const wc_factor_options *o = m->opt;
    size_t rows = m->at.rows, cols = m->at.cols;
    wc_job job = {.ctx = ctx, .tensor = m->tensor, .at = m->at, .stats = stats};
    wc_rank_bid bid = {.e = w, .rows = rows, .cols = cols, .most = most_rank(&m->at, o), .bits = factor_bits};
    float *scale = NULL, *weight = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, scale, cols, "column scales"));
    WC_TRY_OUT(WC_ALLOC(ctx, weight, cols, "column weights"));
    if (stats) bid.metric = metric_of(&job, o, scale, weight);
    WC_TRY_OUT(wc_rank_choices(ctx, m, &bid, out));
out:
    free(scale), free(weight);
    return status;
}

wc_status wc_factor_allot(wc_ctx *ctx, const wc_member *member, size_t n)
{
    const wc_factor_options *o = member->opt;
    return wc_allot(ctx, member, n, &(wc_bidding){.inputs = o->metric != WC_METRIC_NONE, .choices = choices});
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

void wc_factor_left(const wc_projector *p, double mean_h, float *a, float *weight)
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

/* U_r (U_r)_p^{-1}: which rows are pivots, marked in out->pivot, and the coefficients of all others, stored as A. Both
 * are in order of the rows. The error of coefficient j is weighted by what pivot row j is in the outputs, the p_j-th
 * diagonal element of U_r diag(lambda) U_r^T. */
static wc_status pivot_rows(wc_job *job, const wc_projector *p, float *weight, wc_lowrank *out)
{
    wc_ctx *ctx = job->ctx;
    wc_status status = WC_OK;
    size_t m = p->rows, r = p->rank, *order = NULL, *slot = NULL;
    double *x = NULL, sum = 0;
    float *coefficient = NULL;
    WC_TRY_OUT(WC_ALLOC(ctx, x, m * r, "pivot rows"));
    WC_TRY_OUT(WC_ALLOC(ctx, order, m, "pivot rows"));
    WC_TRY_OUT(WC_ALLOC(ctx, slot, m, "pivot rows"));
    WC_TRY_OUT(WC_ALLOC(ctx, coefficient, (m - r) * r, "coefficients"));
    WC_TRY_OUT(WC_ALLOC(ctx, out->pivot, m, "pivot rows"));
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < r; j++)
            x[i * r + j] = p->u[j * m + i];
    WC_TRY_OUT(wc_pivot_rows64(ctx, x, m, r, order));
    for (size_t j = 0; j < r; j++)
        out->pivot[order[j]] = 1;
    for (size_t i = 0, before = 0; i < m; before += out->pivot[i++])
        slot[i] = out->pivot[i] ? before : i - before;
    for (size_t i = r; i < m; i++)
        for (size_t j = 0; j < r; j++)
            coefficient[slot[order[i]] * r + slot[order[j]]] = (float)x[i * r + j];
    for (size_t j = 0; j < r; j++) {
        double g = 0;
        for (size_t k = 0; k < r; k++)
            g += p->lambda[k] * p->u[k * m + order[j]] * p->u[k * m + order[j]];
        weight[slot[order[j]]] = (float)g;
        sum += g;
    }
    for (size_t j = 0; j < r; j++)
        weight[j] = sum > 0 ? (float)((double)weight[j] * (double)r / sum + 0.01) : 1;
    WC_TRY_OUT(wc_leaf_store(ctx, job->tensor, coefficient, weight, out->a));
out:
    free(x), free(order), free(slot), free(coefficient);
    return status;
}

/* a [rows, rank] = the left factor of pivot rows as it will be decoded: the rows of the identity and those stored. */
static void spread_pivots(const wc_lowrank *l, float *a)
{
    size_t r = l->rank, next = l->rows - l->rank, pivot = l->rank;
    wc_leaf_load(l->a, a);
    for (size_t i = l->rows; i-- > 0;) { /* from the end: a row moves behind those still to be moved */
        if (!l->pivot[i]) {
            memmove(a + i * r, a + --next * r, r * sizeof *a);
            continue;
        }
        memset(a + i * r, 0, r * sizeof *a);
        a[i * r + --pivot] = 1;
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
    if (out->form == WC_LOWRANK_PIVOT) {
        WC_TRY(pivot_rows(job, p, w->weight_a, out));
        spread_pivots(out, w->a);
    } else {
        wc_factor_left(p, mean_h, w->a, w->weight_a);
        WC_TRY(wc_leaf_store(ctx, job->tensor, w->a, w->weight_a, out->a));
        wc_leaf_load(out->a, w->a);
    }
    WC_TRY(wc_right_factor(ctx, w->a, job->w, job->at.rows, job->at.cols, p->rank, w->b));
    return wc_leaf_store(ctx, job->tensor, w->b, w->weight_b, out->b);
}

/* ---- the target ------------------------------------------------------------------------------------------------- */

/* job->w was w before it was moved: back to w + beta (job->w - w), with the beta that a product of this rank likes
 * best. Uses up w. */
static wc_status move_less(wc_job *job, const wc_metric *metric, size_t rank, float *w)
{
    size_t size = job->at.rows * job->at.cols;
    double beta;
    for (size_t i = 0; i < size; i++) {
        float to = job->w[i];
        job->w[i] = w[i];
        w[i] = to - w[i];
    }
    WC_TRY(wc_blend(job->ctx, job->tensor, job->w, w, job->at.rows, job->at.cols, metric, rank, &beta));
    wc_log(job->ctx, WC_LOG_DEBUG, "%s: %.3f of the correction for drift is taken", job->tensor, beta);
    for (size_t i = 0; i < size; i++)
        job->w[i] += (float)beta * w[i];
    return WC_OK;
}

static wc_status move_target(wc_job *job, const wc_factor_options *o, const wc_metric *metric, size_t rank)
{
    wc_status status = WC_OK;
    wc_hessian h = {0};
    float *before = NULL;
    bool moved = job->target_moved;
    if (moved || o->drift + o->residual == 0 || (!job->stats->c && !job->stats->r)) return WC_OK;
    if (o->adaptive) {
        WC_TRY(WC_ALLOC(job->ctx, before, job->at.rows * job->at.cols, "the target before it is moved"));
        memcpy(before, job->w, job->at.rows * job->at.cols * sizeof *before);
    }
    WC_TRY_OUT(
        wc_hessian_make(job->ctx, job->tensor, job->stats->h, job->at.cols, o->move_damp, WC_ORDER_NATURAL, 1, &h));
    WC_TRY_OUT(wc_job_correct_drift(job, &h, o->drift, o->residual));
    wc_hessian_free(&h);
    if (o->adaptive && job->target_moved) WC_TRY_OUT(move_less(job, metric, rank, before));
out:
    wc_hessian_free(&h);
    free(before);
    return status;
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
    WC_TRY_OUT(move_target(job, o, &metric, l->rank));
    WC_TRY_OUT(wc_projector_make(job->ctx, job->tensor, job->w, job->at.rows, job->at.cols, &metric, l->rank, &p));
    WC_TRY_OUT(make_factors(job, &p, wc_metric_mean(&metric, job->at.cols), &w, l));
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
