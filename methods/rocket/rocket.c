/* A dictionary and sparse coefficients. See README.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "methods/factors.h"
#include "solve/hessian.h"
#include "solve/select.h"

struct options {
    wc_rank_options thin;
    double kappa, restore;
    bool unwhiten;
    double damp;
};

static const wc_opt opts[] = {
    WC_RANK_OPTIONS(struct options, thin, 0, 0.8, 16),
    WC_BUDGET_OPTIONS(struct options, thin),
    {"kappa", WC_OPT_REAL, offsetof(struct options, kappa), 2, 1, 64, NULL,
     "atoms per coefficient: a row uses rank / kappa of the dictionary's rows; chosen for each matrix with budget"},
    {"restore", WC_OPT_REAL, offsetof(struct options, restore), 0.005, 0, 1, NULL,
     "part of the coefficients dropped row by row that is taken back, the largest anywhere"},
    {"unwhiten", WC_OPT_BOOL, offsetof(struct options, unwhiten), 1, 0, 1, NULL,
     "coefficients are chosen by half in the weights; no: by the outputs alone"},
    {"damp", WC_OPT_REAL, offsetof(struct options, damp), 1e-6, 0, 10, NULL,
     "added to the diagonal of H, relative to its mean"},
    {0},
};

/* ---- geometry --------------------------------------------------------------------------------------------------- */

/* Coefficients of a row before any are taken back. */
static size_t per_row(const struct options *o, size_t rank)
{
    size_t s = (size_t)rint((double)rank / o->kappa);
    return s ? s : 1;
}

static uint64_t restored(const wc_place *at, const struct options *o, size_t rank)
{
    return (uint64_t)rint(o->restore * (double)at->rows * (double)(rank - per_row(o, rank)));
}

static uint64_t coefficients(const wc_place *at, const struct options *o, size_t rank)
{
    return (uint64_t)at->rows * per_row(o, rank) + restored(at, o, rank);
}

static double bits(const wc_place *at, const void *opt, size_t rank)
{
    const struct options *o = opt;
    return wc_sparse_bits(at->rows, rank, coefficients(at, o, rank)) +
           wc_leaf_bits(rank, at->cols, o->thin.factor_bits);
}

static size_t rank_of(const wc_place *at, const struct options *o)
{
    return wc_rank_chosen(&o->thin, at, o, wc_min(at->rows, at->cols), bits);
}

static const char *applies(const wc_place *at, const void *opt)
{
    const struct options *o = opt;
    size_t full = wc_min(at->rows, at->cols);
    return wc_rank_refusal(&o->thin, full, full, rank_of(at, o));
}

static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    size_t rank = rank_of(at, o);
    wc_part a = {.kind = WC_PART_SPARSE}, b = wc_leaf_plan(rank, at->cols, o->thin.factor_bits);
    a.sparse = (wc_sparse){.rows = at->rows, .cols = rank, .nnz = coefficients(at, o, rank), .dtype = WC_F16};
    *out = (wc_part){.kind = WC_PART_LOWRANK, .lowrank = {.rows = at->rows, .cols = at->cols, .rank = rank}};
    wc_lowrank_plan(&out->lowrank, &a, &b);
}

/* ---- which coefficients ----------------------------------------------------------------------------------------- */

/* weight [rank] of a coefficient of A. With A = U diag(g) the published importance of V_ij = u_j sigma_j is |V_ij|
 * |S^{-T} v_j|^{1/2}, and S^{-T} v_j = (u_j^T E)^T / sigma_j = b_j g_j / sigma_j for the b [rank, cols] that belongs to
 * A; in the outputs alone it is |V_ij|. Both are relative to |a_ij|, which is u_ij g_j. */
static void weigh(const wc_projector *p, const float *a, const float *b, size_t cols, bool unwhiten, double *weight)
{
    for (size_t j = 0; j < p->rank; j++) {
        double sigma = sqrt(p->lambda[j]), g2 = 0, length = 0;
        for (size_t i = 0; i < p->rows; i++)
            g2 += (double)a[i * p->rank + j] * (double)a[i * p->rank + j];
        for (size_t c = 0; c < cols; c++)
            length += (double)b[j * cols + c] * (double)b[j * cols + c];
        double g = sqrt(g2);
        weight[j] = !(g > 0 && sigma > 0) ? 0 : sigma / g * (unwhiten ? sqrt(sqrt(length) * g / sigma) : 1);
    }
}

/* Marks in keep [cols] the `want' largest of one row of scores, of equals the first. */
static void keep_largest(float *score, size_t cols, size_t want, uint8_t *keep)
{
    uint64_t above;
    uint32_t least = wc_select(score, 1, cols, cols, want, &above);
    uint64_t equal = want - above;
    for (size_t j = 0; j < cols; j++) {
        uint32_t at = wc_f32_bits(score[j]);
        keep[j] = at > least || (at == least && equal);
        equal -= at == least && equal;
    }
}

/* keep [rows, rank] = 1 for the coefficients to store. score [rows, rank]: scratch. */
static void choose(const wc_ctx *ctx, const wc_place *at, const struct options *o, size_t rank, const float *a,
                   const double *weight, float *score, uint8_t *keep)
{
    size_t rows = at->rows, want = per_row(o, rank);
    uint64_t more = restored(at, o, rank), above;
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < rows; i++) {
        float *s = score + i * rank;
        for (size_t j = 0; j < rank; j++)
            s[j] = (float)(fabs((double)a[i * rank + j]) * weight[j]);
        keep_largest(s, rank, want, keep + i * rank);
        for (size_t j = 0; j < rank; j++)
            s[j] = keep[i * rank + j] ? 0 : s[j];
    }
    if (!more) return;
    uint32_t least = wc_select(score, rows, rank, rank, more, &above);
    more -= above;
    for (size_t k = 0; k < rows * rank; k++) {
        uint32_t own = wc_f32_bits(score[k]);
        bool tie = own == least && more && !keep[k];
        keep[k] = keep[k] || own > least || tie;
        more -= tie;
    }
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

/* What one run allocates. a, score [rows, rank], keep the same, b [rank, cols]. */
struct workspace {
    float *a, *score, *b, *weight;
    double *atom;
    uint8_t *keep;
};

static wc_status workspace_alloc(wc_ctx *ctx, size_t rows, size_t cols, size_t rank, struct workspace *w)
{
    WC_TRY(WC_ALLOC(ctx, w->a, rows * rank, "coefficients"));
    WC_TRY(WC_ALLOC(ctx, w->score, rows * rank, "scores"));
    WC_TRY(WC_ALLOC(ctx, w->keep, rows * rank, "scores"));
    WC_TRY(WC_ALLOC(ctx, w->b, rank * cols, "the dictionary"));
    WC_TRY(WC_ALLOC(ctx, w->atom, rank, "weights of atoms"));
    return WC_ALLOC(ctx, w->weight, cols, "column weights");
}

static void workspace_free(struct workspace *w)
{
    free(w->a), free(w->score), free(w->keep), free(w->b), free(w->atom), free(w->weight);
}

/* The kept coefficients into *s; a becomes what will be decoded. */
static wc_status store_coefficients(wc_job *job, const uint8_t *keep, float *a, wc_sparse *s)
{
    uint64_t at = 0;
    WC_TRY(wc_sparse_alloc(job->ctx, s));
    uint16_t *value = s->value;
    for (size_t i = 0; i < s->rows; i++) {
        for (size_t j = 0; j < s->cols; j++) {
            float *x = a + i * s->cols + j;
            uint16_t v = keep[i * s->cols + j] ? wc_f32_f16(*x) : 0;
            if ((v & 0x7c00) == 0x7c00)
                return wc_fail(job->ctx, WC_NUMERIC, "%s: coefficient %g exceeds 65504, the largest f16", job->tensor,
                               (double)*x);
            *x = wc_f16_f32(v);
            if (!keep[i * s->cols + j]) continue;
            s->col[at] = (uint32_t)j;
            value[at++] = v;
        }
        s->row_start[i + 1] = at;
    }
    return WC_OK;
}

static wc_status make_factors(wc_job *job, const struct options *o, const wc_projector *p, const wc_metric *metric,
                              struct workspace *w, wc_lowrank *l)
{
    wc_ctx *ctx = job->ctx;
    size_t rows = l->rows, cols = l->cols, rank = l->rank;
    wc_factor_left(p, wc_metric_mean(metric, cols), w->a, w->score);
    WC_TRY(wc_right_factor(ctx, w->a, job->w, rows, cols, rank, w->b));
    weigh(p, w->a, w->b, cols, o->unwhiten, w->atom);
    choose(ctx, &job->at, o, rank, w->a, w->atom, w->score, w->keep);
    WC_TRY(store_coefficients(job, w->keep, w->a, &l->a->sparse));
    WC_TRY(wc_right_factor(ctx, w->a, job->w, rows, cols, rank, w->b));
    wc_hessian_weights(job->stats->h, cols, w->weight);
    return wc_leaf_store(ctx, job->tensor, w->b, w->weight, l->b);
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    wc_status status = WC_OK;
    struct workspace w = {0};
    wc_projector p = {0};
    wc_metric metric = {.h = job->stats->h, .damping = o->damp};
    wc_part made;
    plan(&job->at, opt, &made);
    wc_lowrank *l = &made.lowrank;
    if (!l->a || !l->b) WC_TRY_OUT(wc_fail(job->ctx, WC_NOMEM, "no memory for two factors"));
    WC_TRY_OUT(wc_projector_make(job->ctx, job->tensor, job->w, l->rows, l->cols, &metric, l->rank, &p));
    WC_TRY_OUT(workspace_alloc(job->ctx, l->rows, l->cols, l->rank, &w));
    WC_TRY_OUT(make_factors(job, o, &p, &metric, &w, l));
    job->damping_used = fmax(job->damping_used, p.damping);
    job->escalations = p.escalations > job->escalations ? p.escalations : job->escalations;
    *out = made;
    made = (wc_part){0};
out:
    workspace_free(&w);
    wc_projector_free(&p);
    wc_part_free(&made);
    return status;
}

/* ---- a budget for all matrices ---------------------------------------------------------------------------------- */

/* Choices of one matrix: RATIOS sizes from the least that it must have to twice its even share, each with these kappa.
 * With all eigenvectors U of E H E^T at hand, the dictionary before it is refitted has orthogonal rows in the space of
 * the outputs, so that rank k with coefficients K leaves sum_{j >= k} lambda_j and, of A's first k columns, the squares
 * of what is not in K. */
enum { RATIOS = 14, KAPPAS = 9 };
static const double kappas[KAPPAS] = {1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3};

/* A choice as a number, and back. */
static size_t take(void *opt, size_t id)
{
    struct options *o = opt;
    o->kappa = kappas[id % KAPPAS];
    return id / KAPPAS;
}

/* What a profile allocates. a [rows, full] and some of its columns, share [full] = (sigma_j / g_j)^2. */
struct profile {
    struct workspace w;
    wc_projector p;
    float *some;
    double *share;
};

static wc_status profile_make(wc_ctx *ctx, const wc_member *m, const float *w, const wc_metric *metric, size_t full,
                              struct profile *f)
{
    const struct options *o = m->opt;
    size_t rows = m->at.rows, cols = m->at.cols;
    WC_TRY(wc_projector_make(ctx, m->tensor, w, rows, cols, metric, full, &f->p));
    WC_TRY(workspace_alloc(ctx, rows, cols, full, &f->w));
    WC_TRY(WC_ALLOC(ctx, f->some, rows * full, "coefficients"));
    WC_TRY(WC_ALLOC(ctx, f->share, full, "eigenvalues"));
    wc_factor_left(&f->p, wc_metric_mean(metric, cols), f->w.a, f->w.score);
    WC_TRY(wc_right_factor(ctx, f->w.a, w, rows, cols, full, f->w.b));
    weigh(&f->p, f->w.a, f->w.b, cols, o->unwhiten, f->w.atom);
    for (size_t j = 0; j < full; j++) {
        double g2 = 0;
        for (size_t i = 0; i < rows; i++)
            g2 += (double)f->w.a[i * full + j] * (double)f->w.a[i * full + j];
        f->share[j] = g2 > 0 ? f->p.lambda[j] / g2 : 0;
    }
    return WC_OK;
}

static void profile_free(struct profile *f)
{
    workspace_free(&f->w);
    wc_projector_free(&f->p);
    free(f->some), free(f->share);
}

/* The relative error of that rank with the options' kappa. */
static double loss_of(const wc_ctx *ctx, const wc_place *at, const struct options *o, size_t rank, struct profile *f)
{
    double left = f->p.total;
    for (size_t i = 0; i < at->rows; i++)
        memcpy(f->some + i * rank, f->w.a + i * f->p.rank, rank * sizeof *f->some);
    choose(ctx, at, o, rank, f->some, f->w.atom, f->w.score, f->w.keep);
    for (size_t k = 0; k < at->rows * rank; k++)
        if (f->w.keep[k]) left -= (double)f->some[k] * (double)f->some[k] * f->share[k % rank];
    return f->p.total > 0 ? fmax(left / f->p.total, 0) : 0;
}

static int by_cost(const void *a, const void *b)
{
    const wc_choice *x = a, *y = b;
    return x->cost != y->cost ? (x->cost > y->cost) - (x->cost < y->cost) : (x->id > y->id) - (x->id < y->id);
}

static wc_status choices(wc_ctx *ctx, const wc_member *m, const float *w, const wc_stats *stats, wc_choices *out)
{
    struct options o = *(const struct options *)m->opt;
    size_t full = wc_min(m->at.rows, m->at.cols);
    double low = o.thin.least * o.thin.budget, high = fmin(1, 2 * o.thin.budget);
    wc_metric metric = {.h = stats ? stats->h : NULL, .damping = o.damp};
    struct profile f = {0};
    wc_status status = WC_OK;
    WC_TRY_OUT(profile_make(ctx, m, w, &metric, full, &f));
    WC_TRY_OUT(WC_ALLOC(ctx, out->at, RATIOS * KAPPAS, "choices"));
    for (size_t c = 0; c < (size_t)RATIOS * KAPPAS; c++) {
        o.thin.ratio = low + (high - low) * (double)(c / KAPPAS) / (RATIOS - 1);
        o.kappa = kappas[c % KAPPAS];
        size_t rank = wc_rank_chosen(&o.thin, &m->at, &o, full, bits);
        if (!rank) continue;
        out->at[out->n++] = (wc_choice){.cost = bits(&m->at, &o, rank),
                                        .loss = loss_of(ctx, &m->at, &o, rank, &f),
                                        .id = rank * KAPPAS + c % KAPPAS};
    }
    qsort(out->at, out->n, sizeof *out->at, by_cost);
out:
    profile_free(&f);
    return status;
}

static wc_status allot(wc_ctx *ctx, const wc_member *member, size_t n)
{
    return wc_allot(ctx, member, n, &(wc_bidding){.inputs = true, .choices = choices, .take = take});
}

/* As svdllm (methods/factors.c), with the normal equations twice. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    double m = (double)at->rows, n = (double)at->cols, k = fmin(m, n), r = (double)rank_of(at, o);
    (void)drift;
    return n * n * n / 3 + m * n * n + 2 * m * n * k + 4 * k * k * k / 3 + 2 * k * k * r + (m > n ? 6 : 4) * m * n * r +
           4 * (m + n) * r * r;
}

/* The eigenvectors live to the end. Beside them, in turn: F and the root of H; F and the Gram matrix; Gram matrix and
 * eigenvectors; the workspace, coefficients in the part and the normal equations. */
static uint64_t scratch(const wc_place *at, const void *opt)
{
    const struct options *o = opt;
    uint64_t m = at->rows, n = at->cols, k = wc_min(at->rows, at->cols), r = rank_of(at, o);
    uint64_t take = r > k / 2 ? k : r, vectors = 8 * take * k, f = 8 * m * n;
    uint64_t phase[] = {
        f + 8 * n * n,
        f + 8 * k * k + (m > n ? 2 * vectors : 0),
        8 * k * k + vectors,
        9 * m * r + 4 * r * n + 6 * coefficients(at, o, r) + 8 * m + 8 * (r * r + r * n + 256 * (r + n)),
    };
    uint64_t most = 0;
    for (size_t i = 0; i < sizeof phase / sizeof *phase; i++)
        most = phase[i] > most ? phase[i] : most;
    return most + 8 * r * m;
}

const wc_method wc_method_rocket = {
    .name = "rocket",
    .summary = "a dictionary of rows and a few coefficients per row: a larger rank for the same bytes",
    .needs = WC_NEEDS_HESSIAN,
    .role = WC_STEP_PRODUCT,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .applies = applies,
    .plan = plan,
    .allot = allot,
    .run = run,
    .flops = flops,
    .scratch = scratch,
};
