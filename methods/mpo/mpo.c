/* Matrix product operator of two cores. See README.md. */
#include <math.h>
#include <stdlib.h>

#include "methods/factors.h"

struct options {
    wc_rank_options thin;
    int m2, n2;
};

static const wc_opt opts[] = {
    WC_RANK_OPTIONS(struct options, thin, 0, 0.8, 16),
    WC_BUDGET_OPTIONS(struct options, thin),
    {"m2", WC_OPT_INT, offsetof(struct options, m2), 0, 0, 1 << 20, NULL,
     "rows of the inner core, a divisor of all rows; 0: the one nearest their root"},
    {"n2", WC_OPT_INT, offsetof(struct options, n2), 0, 0, 1 << 20, NULL,
     "columns of the inner core, a divisor of all columns; 0: the one nearest their root"},
    {0},
};

/* ---- geometry --------------------------------------------------------------------------------------------------- */

/* The divisor of n nearest to its root, the smaller of equals; n itself when it has none, with `whole', else 1. */
static size_t nearest_divisor(size_t n, bool whole)
{
    size_t d = (size_t)sqrt((double)n);
    while (d > 1 && n % d)
        d--;
    return d == 1 && whole ? n : d;
}

/* W [m1 m2, n1 n2] seen as E [m1 n1, m2 n2]. */
struct shape {
    size_t m2, n2, outer, inner;
};

/* Prime rows stay in the outer core and prime columns in the inner one: both prime is the plain SVD. */
static struct shape shape_of(const wc_place *at, const struct options *o)
{
    struct shape s = {.m2 = o->m2 ? (size_t)o->m2 : nearest_divisor(at->rows, false),
                      .n2 = o->n2 ? (size_t)o->n2 : nearest_divisor(at->cols, true)};
    s.outer = at->rows / s.m2 * (at->cols / s.n2);
    s.inner = s.m2 * s.n2;
    return s;
}

static double bits(const wc_place *at, const void *opt, size_t rank)
{
    const struct options *o = opt;
    struct shape s = shape_of(at, o);
    return wc_leaf_bits(s.outer, rank, o->thin.factor_bits) + wc_leaf_bits(rank, s.inner, o->thin.factor_bits);
}

static size_t rank_of(const wc_place *at, const struct options *o)
{
    struct shape s = shape_of(at, o);
    return wc_rank_chosen(&o->thin, at, o, wc_min(s.outer, s.inner), bits);
}

static const char *applies(const wc_place *at, const void *opt)
{
    const struct options *o = opt;
    if (o->m2 && at->rows % (size_t)o->m2) return "m2 does not divide the rows";
    if (o->n2 && at->cols % (size_t)o->n2) return "n2 does not divide the columns";
    struct shape s = shape_of(at, o);
    size_t full = wc_min(s.outer, s.inner);
    if ((size_t)o->thin.rank > full) return "the rank exceeds the smaller side of the two cores";
    return wc_rank_refusal(&o->thin, full, full, rank_of(at, o));
}

static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    struct shape s = shape_of(at, o);
    size_t rank = rank_of(at, o);
    wc_part a = wc_leaf_plan(s.outer, rank, o->thin.factor_bits), b = wc_leaf_plan(rank, s.inner, o->thin.factor_bits);
    *out = (wc_part){.kind = WC_PART_LOWRANK, .lowrank = {.rows = at->rows, .cols = at->cols, .rank = rank}};
    out->lowrank.form = WC_LOWRANK_MPO;
    out->lowrank.m2 = s.m2, out->lowrank.n2 = s.n2;
    wc_lowrank_plan(&out->lowrank, &a, &b);
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

/* e[i1 n1 + j1, i2 n2 + j2] = w[i1 m2 + i2, j1 n2 + j2] */
static void reshape(wc_ctx *ctx, const float *w, size_t rows, size_t cols, const struct shape *s, float *e)
{
    size_t n1 = cols / s->n2;
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            e[(i / s->m2 * n1 + j / s->n2) * s->inner + i % s->m2 * s->n2 + j % s->n2] = w[i * cols + j];
}

static wc_status choices(wc_ctx *ctx, const wc_member *m, const float *w, const wc_stats *stats, wc_choices *out)
{
    struct shape s = shape_of(&m->at, m->opt);
    wc_rank_bid bid = {.rows = s.outer, .cols = s.inner, .most = wc_min(s.outer, s.inner), .bits = bits};
    float *e;
    (void)stats;
    WC_TRY(WC_ALLOC(ctx, e, s.outer * s.inner, "the reshaped matrix"));
    reshape(ctx, w, m->at.rows, m->at.cols, &s, e);
    bid.e = e;
    wc_status status = wc_rank_choices(ctx, m, &bid, out);
    free(e);
    return status;
}

static wc_status allot(wc_ctx *ctx, const wc_member *member, size_t n)
{
    return wc_allot(ctx, member, n, &(wc_bidding){.choices = choices});
}

/* What one run allocates: e [outer, inner], a [outer, rank], b [rank, inner], column weights of both. */
struct workspace {
    float *e, *a, *b, *weight_a, *weight_b;
};

static wc_status workspace_alloc(wc_ctx *ctx, const struct shape *s, size_t rank, struct workspace *w)
{
    WC_TRY(WC_ALLOC(ctx, w->e, s->outer * s->inner, "the reshaped matrix"));
    WC_TRY(WC_ALLOC(ctx, w->a, s->outer * rank, "the outer core"));
    WC_TRY(WC_ALLOC(ctx, w->b, rank * s->inner, "the inner core"));
    WC_TRY(WC_ALLOC(ctx, w->weight_a, rank, "column weights"));
    WC_TRY(WC_ALLOC(ctx, w->weight_b, s->inner, "column weights"));
    for (size_t i = 0; i < s->inner; i++)
        w->weight_b[i] = 1;
    return WC_OK;
}

static wc_status make_cores(wc_job *job, const struct shape *s, struct workspace *w, wc_projector *p, wc_lowrank *l)
{
    wc_ctx *ctx = job->ctx;
    reshape(ctx, job->w, l->rows, l->cols, s, w->e);
    WC_TRY(wc_projector_make(ctx, job->tensor, w->e, s->outer, s->inner, &(wc_metric){0}, l->rank, p));
    wc_factor_left(p, 1, w->a, w->weight_a);
    WC_TRY(wc_leaf_store(ctx, job->tensor, w->a, w->weight_a, l->a));
    wc_leaf_load(l->a, w->a);
    WC_TRY(wc_right_factor(ctx, w->a, w->e, s->outer, s->inner, l->rank, w->b));
    return wc_leaf_store(ctx, job->tensor, w->b, w->weight_b, l->b);
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    wc_status status = WC_OK;
    struct shape s = shape_of(&job->at, opt);
    struct workspace w = {0};
    wc_projector p = {0};
    wc_part made;
    plan(&job->at, opt, &made);
    wc_lowrank *l = &made.lowrank;
    if (!l->a || !l->b) WC_TRY_OUT(wc_fail(job->ctx, WC_NOMEM, "no memory for two cores"));
    WC_TRY_OUT(workspace_alloc(job->ctx, &s, l->rank, &w));
    WC_TRY_OUT(make_cores(job, &s, &w, &p, l));
    *out = made;
    made = (wc_part){0};
out:
    free(w.e), free(w.a), free(w.b), free(w.weight_a), free(w.weight_b);
    wc_projector_free(&p);
    wc_part_free(&made);
    return status;
}

/* Those of svd for [outer, inner]. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    struct shape s = shape_of(at, o);
    wc_factor_options svd = {.thin = {.rank = (int)rank_of(at, o)}};
    return wc_factor_flops(&(wc_place){.rows = s.outer, .cols = s.inner}, &svd, drift);
}

static uint64_t scratch(const wc_place *at, const void *opt)
{
    const struct options *o = opt;
    struct shape s = shape_of(at, o);
    wc_factor_options svd = {.thin = {.rank = (int)rank_of(at, o)}};
    return wc_factor_scratch(&(wc_place){.rows = s.outer, .cols = s.inner}, &svd) +
           4 * ((uint64_t)at->rows * at->cols + s.inner);
}

const wc_method wc_method_mpo = {
    .name = "mpo",
    .summary = "matrix product operator of two cores: the SVD of the weights reshaped into blocks",
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
