/* Columns and rows of the weights themselves, and what links them. See README.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "methods/allot.h"
#include "solve/hessian.h"
#include "solve/projector.h"

enum importance { MAGNITUDE, WANDA };
enum link { WEIGHTS, OUTPUTS };

struct options {
    wc_rank_options thin;
    int importance; /* enum importance */
    int link;       /* enum link */
    double damp;
};

static const wc_opt opts[] = {
    WC_RANK_OPTIONS(struct options, thin, 0, 0.8, 16),
    WC_BUDGET_OPTIONS(struct options, thin),
    {"importance", WC_OPT_WORD, offsetof(struct options, importance), WANDA, 0, 1, "magnitude|wanda",
     "what rows and columns are chosen by: |w|, or |w| times the size of the input"},
    {"link", WC_OPT_WORD, offsetof(struct options, link), OUTPUTS, 0, 1, "weights|outputs",
     "what the link is best for"},
    {"damp", WC_OPT_REAL, offsetof(struct options, damp), 1e-6, 0, 10, NULL,
     "link=outputs: added to the diagonal of H, relative to its mean"},
    {0},
};

/* ---- which columns and rows ------------------------------------------------------------------------------------- */

/* s [rows, cols] = the importance of every weight. */
static void importance(const wc_job *job, enum importance kind, float *s)
{
    size_t rows = job->at.rows, cols = job->at.cols;
#pragma omp parallel for schedule(static) num_threads(job->ctx->threads)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            float size = kind == WANDA ? sqrtf(job->stats->h[j * cols + j]) : 1;
            s[i * cols + j] = fabsf(job->w[i * cols + j]) * size;
        }
}

static int by_size(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* DEIM (Chaturantabut and Sorensen 2010): the first index is where |v_1| is largest; given p_1 .. p_{k-1}, the k-th is
 * where |v_k - sum_j c_j v_j| is, with c such that this is 0 at the indices so far. That residual is column k after k -
 * 1 steps of Gaussian elimination with row pivoting, and so the indices are the pivots of LU.
 *
 * row [rank] and col [rank], ascending: from the singular vectors of the importance s. v_j ~ s^T u_j: its length is of
 * no consequence. */
static wc_status choose(wc_job *job, const float *s, size_t rank, size_t *row, size_t *col)
{
    wc_ctx *ctx = job->ctx;
    wc_status status = WC_OK;
    size_t rows = job->at.rows, cols = job->at.cols;
    wc_projector p = {0};
    double *sd = NULL, *v = NULL;
    WC_TRY_OUT(wc_projector_make(ctx, job->tensor, s, rows, cols, &(wc_metric){0}, rank, &p));
    WC_TRY_OUT(WC_ALLOC(ctx, sd, rows * cols, "the importance of weights"));
    WC_TRY_OUT(WC_ALLOC(ctx, v, rank * cols, "singular vectors"));
    for (size_t i = 0; i < rows * cols; i++)
        sd[i] = (double)s[i];
    wc_gemm64(ctx, WC_N, WC_N, rank, cols, rows, p.u, rows, sd, cols, 0, v, cols);
    WC_TRY_OUT(wc_lu_rows64(ctx, p.u, rows, rank, row));
    WC_TRY_OUT(wc_lu_rows64(ctx, v, cols, rank, col));
    qsort(row, rank, sizeof *row, by_size);
    qsort(col, rank, sizeof *col, by_size);
out:
    free(sd), free(v);
    wc_projector_free(&p);
    return status;
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

/* What one run allocates. s: the importance [rows, cols], later E^T [cols, rows]; c [rows, rank] and its transpose ct;
 * r and b [rank, cols], bt [cols, rank]; u [rank, rank]. */
struct workspace {
    size_t *row, *col;
    float *s, *c, *ct, *r, *b, *bt, *u, *weight;
};

static wc_status workspace_alloc(wc_ctx *ctx, size_t rows, size_t cols, size_t rank, struct workspace *w)
{
    WC_TRY(WC_ALLOC(ctx, w->row, rank, "row numbers"));
    WC_TRY(WC_ALLOC(ctx, w->col, rank, "column numbers"));
    WC_TRY(WC_ALLOC(ctx, w->s, rows * cols, "the importance of weights"));
    WC_TRY(WC_ALLOC(ctx, w->c, rows * rank, "columns"));
    WC_TRY(WC_ALLOC(ctx, w->ct, rows * rank, "columns"));
    WC_TRY(WC_ALLOC(ctx, w->r, rank * cols, "rows"));
    WC_TRY(WC_ALLOC(ctx, w->b, rank * cols, "the right factor"));
    WC_TRY(WC_ALLOC(ctx, w->bt, rank * cols, "the right factor"));
    WC_TRY(WC_ALLOC(ctx, w->u, rank * rank, "the link"));
    return WC_ALLOC(ctx, w->weight, cols, "column weights");
}

static void workspace_free(struct workspace *w)
{
    free(w->row), free(w->col), free(w->s), free(w->c), free(w->ct), free(w->r), free(w->b), free(w->bt), free(w->u);
    free(w->weight);
}

/* y [cols, rows] = x^T */
static void transpose(const float *x, size_t rows, size_t cols, float *y)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            y[j * rows + i] = x[i * cols + j];
}

/* C and R as they will be decoded. */
static wc_status store_rows_and_columns(wc_job *job, const wc_lowrank *l, struct workspace *w)
{
    size_t rows = l->rows, cols = l->cols, rank = l->rank;
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < rank; k++)
            w->c[i * rank + k] = job->w[i * cols + w->col[k]];
    for (size_t k = 0; k < rank; k++)
        memcpy(w->r + k * cols, job->w + w->row[k] * cols, cols * sizeof *w->r);
    for (size_t k = 0; k < rank; k++)
        w->weight[k] = 1;
    WC_TRY(wc_leaf_store(job->ctx, job->tensor, w->c, w->weight, l->a));
    wc_hessian_weights(job->stats->h, cols, w->weight);
    WC_TRY(wc_leaf_store(job->ctx, job->tensor, w->r, w->weight, l->b));
    wc_leaf_load(l->a, w->c);
    wc_leaf_load(l->b, w->r);
    return WC_OK;
}

/* The link that is best for C and R as decoded: U = C^+ E R^+ for the weights, C^+ E H R^T (R H R^T)^{-1} for the
 * outputs. It undoes the size of weights twice and cancels between the columns, so it is kept in f32. */
static wc_status fit_link(wc_job *job, const struct options *o, wc_lowrank *l, struct workspace *w)
{
    wc_ctx *ctx = job->ctx;
    wc_projector used = {0};
    size_t rank = l->rank, rows = l->rows, cols = l->cols;
    wc_metric metric = {.h = o->link == OUTPUTS ? job->stats->h : NULL, .damping = o->damp};
    transpose(job->w, rows, cols, w->s);
    transpose(w->c, rows, rank, w->ct);
    WC_TRY(wc_left_factor(ctx, job->tensor, w->s, w->ct, cols, rows, rank, &(wc_metric){0}, w->bt, NULL));
    transpose(w->bt, cols, rank, w->b);
    WC_TRY(wc_left_factor(ctx, job->tensor, w->b, w->r, rank, cols, rank, &metric, w->u, &used));
    WC_TRY(wc_float_alloc(ctx, &l->link->floats));
    memcpy(l->link->floats.owned, w->u, rank * rank * sizeof *w->u);
    job->damping_used = fmax(job->damping_used, used.damping);
    job->escalations = used.escalations > job->escalations ? used.escalations : job->escalations;
    return WC_OK;
}

/* ---- the method ------------------------------------------------------------------------------------------------- */

static double bits(const wc_place *at, const void *opt, size_t rank)
{
    const struct options *o = opt;
    return wc_leaf_bits(at->rows, rank, o->thin.factor_bits) + wc_leaf_bits(rank, at->cols, o->thin.factor_bits) +
           32 * (double)rank * (double)rank;
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
    wc_part c = wc_leaf_plan(at->rows, rank, o->thin.factor_bits),
            r = wc_leaf_plan(rank, at->cols, o->thin.factor_bits);
    wc_part u = {.kind = WC_PART_FLOAT, .floats = {.rows = rank, .cols = rank, .dtype = WC_F32}};
    *out = (wc_part){.kind = WC_PART_LOWRANK, .lowrank = {.rows = at->rows, .cols = at->cols, .rank = rank}};
    out->lowrank.form = WC_LOWRANK_CUR;
    wc_lowrank_plan(&out->lowrank, &c, &r);
    wc_lowrank_link(&out->lowrank, &u);
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    wc_status status = WC_OK;
    struct workspace w = {0};
    wc_part made;
    plan(&job->at, opt, &made);
    wc_lowrank *l = &made.lowrank;
    if (!l->a || !l->b || !l->link) WC_TRY_OUT(wc_fail(job->ctx, WC_NOMEM, "no memory for three factors"));
    WC_TRY_OUT(workspace_alloc(job->ctx, l->rows, l->cols, l->rank, &w));
    importance(job, (enum importance)o->importance, w.s);
    WC_TRY_OUT(choose(job, w.s, l->rank, w.row, w.col));
    WC_TRY_OUT(store_rows_and_columns(job, l, &w));
    WC_TRY_OUT(fit_link(job, o, l, &w));
    *out = made;
    made = (wc_part){0};
out:
    workspace_free(&w);
    wc_part_free(&made);
    return status;
}

/* Ranks by the spectrum of the weights in the metric of the link: C U R leaves more than the best product of its rank,
 * but of matrices with steeper spectra less, too. */
static wc_status choices(wc_ctx *ctx, const wc_member *m, const float *w, const wc_stats *stats, wc_choices *out)
{
    const struct options *o = m->opt;
    size_t rows = m->at.rows, cols = m->at.cols;
    wc_rank_bid bid = {.e = w, .rows = rows, .cols = cols, .most = wc_min(rows, cols), .bits = bits};
    if (stats && o->link == OUTPUTS) bid.metric = (wc_metric){.h = stats->h, .damping = o->damp};
    return wc_rank_choices(ctx, m, &bid, out);
}

static wc_status allot(wc_ctx *ctx, const wc_member *member, size_t n)
{
    const struct options *o = member->opt;
    return wc_allot(ctx, member, n, &(wc_bidding){.inputs = o->link == OUTPUTS, .choices = choices});
}

/* Gram matrix, eigenvectors and the other side's as for the svd; two LU; two least squares, with outputs the root of H
 * and two products with it. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    double m = (double)at->rows, n = (double)at->cols, k = fmin(m, n), r = (double)rank_of(at, o);
    double root = o->link == OUTPUTS ? n * n * n / 3 + 2 * r * n * n : 0;
    (void)drift;
    return 2 * m * n * k + 4 * k * k * k / 3 + 2 * k * k * r + (m > n ? 8 : 6) * m * n * r + 3 * (m + n) * r * r +
           4 * n * r * r + root;
}

/* All of the workspace; beside it, in turn: the importance in f64, then with the Gram matrix, then U with vectors; the
 * least squares for C^+ E; those of the whitened rows, with the root of H. */
static uint64_t scratch(const wc_place *at, const void *opt)
{
    const struct options *o = opt;
    uint64_t m = at->rows, n = at->cols, k = wc_min(at->rows, at->cols), r = rank_of(at, o);
    uint64_t take = r > k / 2 ? k : r, u = 8 * r * m, f = 8 * m * n;
    uint64_t phase[] = {
        u + f + 8 * k * k + (m > n ? 16 * take * k : 0),
        u + 8 * k * k + 8 * take * k,
        u + f + 8 * r * n,
        8 * (m * (n + r) + n * r + 64 * (m + n)),
        8 * (2 * r * n + r * r + 64 * (r + n)) + (o->link == OUTPUTS ? 8 * n * n : 0),
    };
    uint64_t most = 0;
    for (size_t i = 0; i < sizeof phase / sizeof *phase; i++)
        most = phase[i] > most ? phase[i] : most;
    return most + 4 * (m * n + 2 * r * m + 3 * r * n + 2 * r * r + m + n) + 16 * r;
}

const wc_method wc_method_curing = {
    .name = "curing",
    .summary = "C U R: some columns and rows of the weights themselves, chosen by DEIM, and what links them",
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
