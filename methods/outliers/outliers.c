/* The weights that cost most, exactly. See README.md. */
#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "linalg/linalg.h"
#include "methods/method.h"
#include "solve/grid_fit.h"
#include "solve/hessian.h"
#include "solve/panel.h"
#include "solve/select.h"

#define MOST 0.1 /* part of the weights: a matrix of outliers is none */

enum criterion { AUTO, SENSITIVITY, MAGNITUDE, GAIN, SPQR };

struct options {
    double frac, threshold;
    int criterion; /* enum criterion */
    double damp;
    int bits, group; /* SPQR: of the grid to come */
};

static const wc_opt opts[] = {
    {"frac", WC_OPT_REAL, offsetof(struct options, frac), 0.005, 0, MOST, NULL, "part of the weights, 0.5% or 0.005"},
    {"threshold", WC_OPT_REAL, offsetof(struct options, threshold), 0, 0, 1000, NULL,
     "instead of frac: all weights whose |w|, or |w| sqrt(H_jj), is more than so many root mean squares; 0: frac"},
    {"criterion", WC_OPT_WORD, offsetof(struct options, criterion), AUTO, 0, 4, "auto|sensitivity|magnitude|gain|spqr",
     "w^2 H_jj; |w|; the fall of the layer error; what leaving it out saves its group. auto: gain after another "
     "method, "
     "else sensitivity"},
    {"damp", WC_OPT_REAL, offsetof(struct options, damp), 0.01, 0, 10, NULL,
     "gain, spqr: added to the diagonal of H, relative to its mean"},
    {"bits", WC_OPT_INT, offsetof(struct options, bits), 3, 1, 8, NULL, "spqr: of the grid that follows"},
    {"group", WC_OPT_INT, offsetof(struct options, group), 16, 0, 65536, NULL,
     "spqr: of the grid that follows; 0: the whole row"},
    {0},
};

/* What is to be explained, in units that make the largest |w| about 2^8, so that squares stay inside f32. */
struct target {
    wc_job *job;
    int exp;
    const float *h;      /* gain: [cols, cols] second moments, else NULL */
    const float *weight; /* [cols] of squared errors; gain: the damped diagonal of h; spqr: 1 / T_jj^2 */
    double ridge;        /* gain: weight[j] = h_jj + ridge */
};

/* ---- scores ------------------------------------------------------------------------------------------------------ */

/* score [rows, cols] >= 0. With E = W unexplained and D = E (H + ridge I), adding v to w^_rj alone changes tr(E H E^T)
 * by v^2 H_jj - 2 v D_rj: best v = D / H_jj, fall D^2 / H_jj. Without h a value explains its weight: w^2 weight_j. */
static void score_all(const struct target *t, float *score)
{
    const wc_job *job = t->job;
    size_t rows = job->at.rows, cols = job->at.cols;
    float unit = ldexpf(1, -t->exp), ridge = (float)t->ridge;
    if (t->h) wc_gemm(job->ctx, WC_N, WC_N, rows, cols, cols, 1, job->w, cols, t->h, cols, 0, score, cols);
#pragma omp parallel for schedule(static) num_threads(job->ctx->threads)
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < cols; j++) {
            size_t at = r * cols + j;
            float w = job->w[at] * unit, d = t->h ? score[at] * unit + ridge * w : w * t->weight[j];
            score[at] = t->weight[j] > 0 ? d * (d / t->weight[j]) : 0;
        }
}

/* sum_j weight_j (w^_j - w_j)^2 of g weights but `without', on the grid of 2^bits levels from lo to hi. */
static float grid_error(const float *w, const float *weight, size_t g, float lo, float hi, float top, size_t without)
{
    float s = (hi - lo) / top, inv = s > 0 ? 1 / s : 0, sum = 0;
    for (size_t j = 0; j < g; j++) {
        float d = lo + s * rintf((w[j] - lo) * inv) - w[j];
        sum += j == without ? 0 : weight[j] * (d * d);
    }
    return sum;
}

/* SpQR's criterion (hessian dossier section 8): what the min-max grid of a group saves without weight k, its own error
 * included. Only its smallest and its largest weight (the first of equals) make the grid another one, so all others
 * save just their own error. score, w, weight [g], g >= 2. */
static void leave_one_out(const float *w, const float *weight, size_t g, float top, float *score)
{
    size_t at[2] = {0, 0};
    for (size_t j = 1; j < g; j++)
        at[0] = w[j] < w[at[0]] ? j : at[0], at[1] = w[j] > w[at[1]] ? j : at[1];
    float lo = w[at[0]], hi = w[at[1]], all = grid_error(w, weight, g, lo, hi, top, g);
    for (size_t j = 0; j < g; j++)
        score[j] = weight[j] > 0 ? grid_error(w + j, weight + j, 1, lo, hi, top, 1) : 0;
    for (int end = 0; end < 2; end++) {
        float l = INFINITY, h = -INFINITY;
        for (size_t j = 0; j < g; j++)
            if (j != at[end]) l = fminf(l, w[j]), h = fmaxf(h, w[j]);
        score[at[end]] = fmaxf(all - grid_error(w, weight, g, l, h, top, at[end]), 0);
    }
}

static void score_groups(const struct target *t, const struct options *o, float *score)
{
    const wc_job *job = t->job;
    size_t cols = job->at.cols, group = o->group ? (size_t)o->group : cols;
    float unit = ldexpf(1, -t->exp), top = (float)((1 << o->bits) - 1);
#pragma omp parallel for schedule(static) num_threads(job->ctx->threads)
    for (size_t r = 0; r < job->at.rows; r++)
        for (size_t a = 0; a < cols; a += group) {
            const float *w = job->w + r * cols + a;
            float *to = score + r * cols + a;
            size_t g = wc_min(group, cols - a);
            if (g > 1)
                leave_one_out(w, t->weight + a, g, top, to);
            else
                *to = 0; /* alone on a grid: no error */
            for (size_t j = 0; j < g; j++)
                to[j] *= unit * unit;
        }
}

/* Positions of the nnz largest scores; of equal ones the first in row-major order. */
static void choose(const float *score, wc_sparse *s)
{
    uint64_t above = 0, at = 0;
    uint32_t least = s->nnz ? wc_select(score, s->rows, s->cols, s->cols, s->nnz, &above) : 0;
    uint64_t equal = s->nnz - above;
    for (size_t r = 0; r < s->rows; r++) {
        for (size_t j = 0; j < s->cols && at < s->nnz; j++) {
            uint32_t bits = wc_f32_bits(score[r * s->cols + j]);
            bool tie = bits == least && equal;
            if (bits <= least && !tie) continue;
            equal -= tie;
            s->col[at++] = (uint32_t)j;
        }
        s->row_start[r + 1] = at;
    }
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* The values of one row that minimise its (e - v) H (e - v)^T over f16, by coordinate descent from 0, so that the error
 * cannot grow. g [n] = D at the row's positions, kept up to date as the values move. */
static void fit_row(const struct target *t, size_t r, const uint32_t *col, size_t n, double *g, double *v)
{
    enum { SWEEPS = 50 };
    size_t cols = t->job->at.cols;
    const float *e = t->job->w + r * cols;
    double unit = ldexp(1, -t->exp);
    for (size_t i = 0; i < n; i++) {
        const float *h = t->h + (size_t)col[i] * cols;
        double sum = t->ridge * (double)e[col[i]];
        for (size_t k = 0; k < cols; k++)
            sum += (double)e[k] * (double)h[k];
        g[i] = sum * unit;
        v[i] = 0;
    }
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        bool moved = false;
        for (size_t i = 0; i < n; i++) {
            double curve = (double)t->weight[col[i]], to = curve > 0 ? (double)wc_f16_near(v[i] + g[i] / curve) : 0;
            double step = to - v[i];
            if (!(step * (2 * g[i] - step * curve) > 0)) continue;
            v[i] = to;
            moved = true;
            for (size_t k = 0; k < n; k++)
                g[k] -= step * ((double)t->h[(size_t)col[k] * cols + col[i]] + (k == i ? t->ridge : 0));
        }
        if (!moved) break;
    }
}

static void copy_row(const struct target *t, size_t r, const uint32_t *col, size_t n, double *v)
{
    for (size_t i = 0; i < n; i++)
        v[i] = ldexp((double)t->job->w[r * t->job->at.cols + col[i]], -t->exp);
}

static wc_status set_values(const struct target *t, wc_sparse *s)
{
    wc_ctx *ctx = t->job->ctx;
    double *scratch; /* a row's values, and what fit_row needs beside them */
    uint16_t *value = s->value;
    WC_TRY(WC_ALLOC(ctx, scratch, 2 * s->nnz, "outliers"));
#pragma omp parallel for schedule(dynamic, 16) num_threads(ctx->threads)
    for (size_t r = 0; r < s->rows; r++) {
        size_t first = s->row_start[r], n = s->row_start[r + 1] - first;
        double *v = scratch + 2 * first;
        if (t->h)
            fit_row(t, r, s->col + first, n, v + n, v);
        else
            copy_row(t, r, s->col + first, n, v);
        for (size_t i = 0; i < n; i++)
            value[first + i] = wc_f32_f16(wc_f16_near(v[i]));
    }
    free(scratch);
    return WC_OK;
}

/* ---- the method -------------------------------------------------------------------------------------------------- */

static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    *out = (wc_part){.kind = WC_PART_SPARSE};
    out->sparse = (wc_sparse){.rows = at->rows, .cols = at->cols, .dtype = WC_F16};
    out->sparse.nnz = (uint64_t)rint(o->frac * (double)at->rows * (double)at->cols);
}

static enum criterion resolve(const wc_job *job, const struct options *o)
{
    enum criterion c = (enum criterion)o->criterion;
    if (!job->stats || !job->stats->h) return c == SPQR ? SPQR : MAGNITUDE;
    return c != AUTO ? c : job->stage ? GAIN : SENSITIVITY;
}

static wc_status set_weights(struct target *t, enum criterion criterion, double damp, float *weight)
{
    size_t n = t->job->at.cols;
    const float *h = t->job->stats ? t->job->stats->h : NULL;
    double mean = 0;
    t->weight = weight;
    wc_hessian_weights(criterion == SENSITIVITY ? h : NULL, n, weight);
    if (criterion != GAIN) return WC_OK;
    for (size_t j = 0; j < n; j++)
        mean += (double)h[j * n + j] / (double)n;
    if (!isfinite(mean))
        return wc_fail(t->job->ctx, WC_NUMERIC, "%s: the mean of the inputs' second moments is %g", t->job->tensor,
                       mean);
    t->h = h;
    t->ridge = damp * mean;
    for (size_t j = 0; j < n; j++)
        weight[j] = (float)((double)h[j * n + j] + t->ridge);
    return WC_OK;
}

/* weight [n] = R_jj^2 = 1 / T_jj^2, in feedback order: what an error of column j costs once later columns have made up
 * for what they can. */
static wc_status feedback_weights(struct target *t, double damp, float *weight)
{
    wc_job *job = t->job;
    size_t n = job->at.cols;
    wc_hessian h;
    t->weight = weight;
    wc_hessian_weights(NULL, n, weight);
    if (!job->stats || !job->stats->h) return WC_OK;
    wc_status status = wc_hessian_make(job->ctx, job->tensor, job->stats->h, n, damp, WC_ORDER_ACT, 1, &h);
    for (size_t i = 0; status == WC_OK && i < n; i++)
        weight[h.order[i]] = h.pivot[i] * h.pivot[i];
    job->damping_used = fmax(job->damping_used, h.damping);
    job->escalations = h.escalations > job->escalations ? h.escalations : job->escalations;
    wc_hessian_free(&h);
    return status;
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    wc_status status = WC_OK;
    struct target t = {.job = job};
    float *score = NULL, *weight = NULL, top;
    wc_part made;
    wc_sparse *s = &made.sparse;
    plan(&job->at, opt, &made);
    WC_TRY(wc_panel_largest(job->ctx, job->tensor, job->w, job->at.rows, job->at.cols, &top));
    WC_TRY_OUT(wc_sparse_alloc(job->ctx, s));
    WC_TRY_OUT(WC_ALLOC(job->ctx, score, job->at.rows * job->at.cols, "scores"));
    WC_TRY_OUT(WC_ALLOC(job->ctx, weight, job->at.cols, "column weights"));
    t.exp = s->scale_exp = wc_grid_scale_exp(top);
    if (resolve(job, o) == SPQR) {
        WC_TRY_OUT(feedback_weights(&t, o->damp, weight));
        score_groups(&t, o, score);
    } else {
        WC_TRY_OUT(set_weights(&t, resolve(job, o), o->damp, weight));
        score_all(&t, score);
    }
    choose(score, s);
    WC_TRY_OUT(set_values(&t, s));
    *out = made;
out:
    free(score), free(weight);
    if (status != WC_OK) wc_part_free(&made);
    return status;
}

/* ---- a threshold in frac's place --------------------------------------------------------------------------------- */

enum { PANEL_ROWS = 512 };

/* Over all weights of a matrix: *sum of w^2 weight_j, or, with a limit > 0, how many of these are above it. */
static wc_status look(wc_ctx *ctx, const wc_member *m, const float *weight, double limit, double *sum)
{
    size_t cols = m->at.cols;
    float *w;
    wc_status status = WC_OK;
    *sum = 0;
    WC_TRY(WC_ALLOC(ctx, w, PANEL_ROWS * cols, "a panel of weights"));
    for (size_t r0 = 0; status == WC_OK && r0 < m->at.rows; r0 += PANEL_ROWS) {
        size_t nr = wc_min(PANEL_ROWS, m->at.rows - r0);
        status = m->rows(ctx, m, r0, nr, w);
        for (size_t i = 0; status == WC_OK && i < nr * cols; i++) {
            double score = (double)w[i] * (double)w[i] * (double)weight[i % cols];
            *sum += limit > 0 ? score > limit : score;
        }
    }
    free(w);
    return status;
}

/* frac in threshold's place, for one matrix. */
static wc_status settle(wc_ctx *ctx, const wc_member *m)
{
    struct options *o = m->opt;
    double size = (double)m->at.rows * (double)m->at.cols, square, above = 0;
    wc_stats stats = {0};
    float *weight = NULL;
    wc_status status = WC_OK;
    if (!m->first)
        return wc_fail(ctx, WC_OPTION,
                       "outliers: a threshold is for the first step of a recipe: what other steps leave of the weights "
                       "is not known while the run is planned");
    if (o->criterion != MAGNITUDE && o->criterion != SENSITIVITY)
        return wc_fail(ctx, WC_OPTION, "outliers: a threshold needs criterion=magnitude or sensitivity");
    if (o->criterion == SENSITIVITY && !m->stats)
        return wc_fail(ctx, WC_OPTION,
                       "outliers: a threshold for sensitivity needs statistics while the run is planned: calibrate, "
                       "then --stats FILE; criterion=magnitude needs none");
    WC_TRY_OUT(WC_ALLOC(ctx, weight, m->at.cols, "column weights"));
    if (o->criterion == SENSITIVITY) WC_TRY_OUT(m->stats(ctx, m, &stats));
    wc_hessian_weights(stats.h, m->at.cols, weight);
    WC_TRY_OUT(look(ctx, m, weight, 0, &square));
    if (square > 0) WC_TRY_OUT(look(ctx, m, weight, o->threshold * o->threshold * square / size, &above));
    if (above > MOST * size)
        WC_TRY_OUT(wc_fail(ctx, WC_OPTION,
                           "outliers: %s: %.3g %% of the weights are above threshold=%g, at most %g %% may be",
                           m->tensor, 100 * above / size, o->threshold, 100 * MOST));
    o->frac = above / size;
    o->threshold = 0;
out:
    wc_stats_free(&stats);
    free(weight);
    return status;
}

static wc_status allot(wc_ctx *ctx, const wc_member *member, size_t n)
{
    for (size_t l = 0; l < n; l++)
        if (((const struct options *)member[l].opt)->threshold > 0) WC_TRY(settle(ctx, &member[l]));
    return WC_OK;
}

/* The product E H, when the criterion is gain; the factor of H and four roundings, when it is spqr. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    double n = (double)at->cols;
    (void)drift;
    if (o->criterion == SPQR) return n * n * n / 3 + 40 * (double)at->rows * n;
    /* auto: as the first step; a later one takes the gains, which is little beside what stored values before it */
    return (o->criterion == GAIN ? 2 * n : 1) * (double)at->rows * n;
}

const wc_method wc_method_outliers = {
    .name = "outliers",
    .summary =
        "the costliest weights as a sparse f16 part: first in a recipe it relieves a quantizer, later it repairs",
    .role = WC_STEP_PEEL,
    .follows = true,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .plan = plan,
    .allot = allot,
    .run = run,
    .flops = flops,
};
