/* OneBit and BinaryMoS storage: one plane of signs under a scale per row and column. See README.md. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "linalg/linalg.h"
#include "methods/job.h"
#include "solve/grid_fit.h"
#include "solve/panel.h"
#include "solve/thin_svd.h"

struct options {
    int experts, passes;
    wc_feedback_options feedback;
    int block;
};

#define FIELD(name) offsetof(struct options, name)

static const wc_opt opts[] = {
    {"experts", WC_OPT_INT, FIELD(experts), 1, 1, WC_SIGNS_MAX_EXPERTS, NULL,
     "sets of scales; without training they are copies, and the router is 0: room for later tuning"},
    {"passes", WC_OPT_INT, FIELD(passes), 4, 0, 64, NULL,
     "of feedback over the signs, each followed by a refit of all scales"},
    {"damp", WC_OPT_REAL, FIELD(feedback.damp), 0.01, 0, 10, NULL, "added to the diagonal of H, relative to its mean"},
    {"order", WC_OPT_WORD, FIELD(feedback.order), WC_ORDER_ACT, 0, 1, "natural|act",
     "columns as they come, or those with the largest inputs first"},
    {"block", WC_OPT_INT, FIELD(block), 256, 32, 1024, NULL, "columns per matrix product"},
    {"drift", WC_OPT_REAL, FIELD(feedback.drift), 0.75, 0, 1, NULL, "part of the drift of the inputs to correct for"},
    {"residual", WC_OPT_REAL, FIELD(feedback.residual), 0.5, 0, 1, NULL,
     "part of the drift of the residual stream to correct for, in layers that write to it"},
    {0},
};

/* W is about S diag(u) .. diag(v): w_ij = s_ij u_i v_j, in units of 2^scale_exp. */
struct rank_one {
    wc_job *job;
    const wc_hessian *h; /* NULL: signs are those of W */
    size_t rows, cols;
    float *w;       /* [rows, cols] the target in these units */
    float *s;       /* [rows, cols] +-1 */
    float *a, *b;   /* [rows, cols] scratch */
    float *u, *v;   /* [rows], [cols], always f16 numbers */
    float *gram;    /* [cols, cols] */
    double *normal; /* [cols, cols] */
    double *right;  /* [cols] */
};

/* ---- the start -------------------------------------------------------------------------------------------------- */

/* The best rank one of |W| diag(weight)^(1/2): not negative, by Perron and Frobenius. |v| has root mean square 1. */
static wc_status start(const struct rank_one *r, const float *weight)
{
    double sum = 0;
    for (size_t i = 0; i < r->rows * r->cols; i++) {
        r->a[i] = fabsf(r->w[i]) * sqrtf(weight[i % r->cols]);
        r->s[i] = r->w[i] < 0 ? -1 : 1;
    }
    WC_TRY(wc_thin_svd(r->job->ctx, r->a, r->rows, r->cols, 1, 8, r->u, r->v));
    for (size_t j = 0; j < r->cols; j++) {
        r->v[j] = fabsf(r->v[j]) / sqrtf(weight[j]);
        sum += (double)r->v[j] * (double)r->v[j] / (double)r->cols;
    }
    double length = sum > 0 ? sqrt(sum) : 1;
    for (size_t j = 0; j < r->cols; j++)
        r->v[j] = sum > 0 ? wc_f16_near((double)r->v[j] / length) : 1;
    for (size_t i = 0; i < r->rows; i++)
        r->u[i] = wc_f16_near(fabs((double)r->u[i]) * length);
    return WC_OK;
}

/* ---- signs by feedback ------------------------------------------------------------------------------------------ */

struct panel {
    const struct rank_one *r;
    size_t r0, nr;
    float *e, *ordered, *t, *q;
    double *loss;
};

static void round_step(void *self, size_t pos, size_t count, size_t nr, const float *t, const float *pivot, float *q)
{
    const struct panel *p = self;
    const struct rank_one *r = p->r;
    size_t j = r->h->order ? r->h->order[pos] : pos;
    (void)count, (void)pivot; /* one column: nearest in any metric */
    for (size_t i = 0; i < nr; i++) {
        float m = r->u[p->r0 + i] * r->v[j], s = t[i] * m < 0 ? -1 : 1;
        r->s[(p->r0 + i) * r->cols + j] = s;
        q[i] = s * m;
    }
}

static wc_status panel_alloc(wc_ctx *ctx, const struct rank_one *r, size_t rows, struct panel *p)
{
    *p = (struct panel){.r = r};
    WC_TRY(WC_ALLOC(ctx, p->e, rows * r->cols, "a panel"));
    WC_TRY(WC_ALLOC(ctx, p->t, rows * r->cols, "a panel's targets"));
    WC_TRY(WC_ALLOC(ctx, p->ordered, rows * r->cols, "a permuted panel"));
    WC_TRY(WC_ALLOC(ctx, p->q, rows, "a panel's column"));
    return WC_ALLOC(ctx, p->loss, rows, "a panel's losses");
}

static void panel_free(struct panel *p)
{
    free(p->e), free(p->ordered), free(p->t), free(p->q), free(p->loss);
}

static void sign_panel(struct panel *p, size_t r0, size_t nr, size_t block)
{
    wc_rounder rounder = {.self = p, .width = 1, .round = round_step};
    wc_feedback f = {.h = p->r->h,
                     .kernel = wck_grid_at(wck_level_used()),
                     .nr = nr,
                     .block = block,
                     .e = p->e,
                     .t = p->t,
                     .q = p->q,
                     .loss = p->loss};
    p->r0 = r0;
    wc_panel_load(p->r->w, p->r->cols, r0, nr, 0, p->e);
    (void)wc_panel_feedback(&f, &rounder, p->ordered);
}

static wc_status find_signs(const struct rank_one *r, size_t block)
{
    wc_ctx *ctx = r->job->ctx;
    size_t rows = wc_panel_rows(r->rows), panels = wc_ceil_div(r->rows, rows);
    int threads = (int)wc_min((size_t)ctx->threads, panels);
    struct panel *work;
    wc_status status = WC_OK;
    WC_TRY(WC_ALLOC(ctx, work, (size_t)threads, "workspaces"));
    for (int t = 0; t < threads; t++)
        WC_TRY_OUT(panel_alloc(ctx, r, rows, work + t));
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t i = 0; i < panels; i++)
        sign_panel(work + omp_get_thread_num(), i * rows, wc_min(rows, r->rows - i * rows), block);
out:
    for (int t = 0; t < threads; t++)
        panel_free(work + t);
    free(work);
    return status;
}

/* ---- scales by least squares ------------------------------------------------------------------------------------ */

/* Row i of S diag(v) is z: (w - u z) H (w - u z)^T is least at u = z H w / z H z. */
static void fit_rows(const struct rank_one *r)
{
    size_t n = r->cols;
    for (size_t i = 0; i < r->rows * n; i++)
        r->a[i] = r->s[i] * r->v[i % n];
    wc_gemm(r->job->ctx, WC_N, WC_N, r->rows, n, n, 1, r->a, n, r->h->h, n, 0, r->b, n);
    for (size_t i = 0; i < r->rows; i++) {
        double num = 0, den = 0;
        for (size_t j = 0; j < n; j++) {
            num += (double)r->b[i * n + j] * (double)r->w[i * n + j];
            den += (double)r->b[i * n + j] * (double)r->a[i * n + j];
        }
        if (den > 0) r->u[i] = wc_f16_near(num / den);
    }
}

/* With Z = diag(u) S the error is a quadratic form in v: v^T (H o Z^T Z) v - 2 v^T diag(Z^T W H) + .., o the product of
 * elements. H is positive definite, and so is H o Z^T Z unless u is 0 (Schur). */
static wc_status fit_columns(const struct rank_one *r)
{
    wc_ctx *ctx = r->job->ctx;
    size_t n = r->cols;
    double sum = 0;
    for (size_t i = 0; i < r->rows * n; i++)
        r->a[i] = r->s[i] * r->u[i / n];
    for (size_t i = 0; i < r->rows; i++)
        sum += (double)r->u[i] * (double)r->u[i];
    if (!(sum > 0)) return WC_OK;
    wc_gemm(ctx, WC_T, WC_N, n, n, r->rows, 1, r->a, n, r->a, n, 0, r->gram, n);
    wc_gemm(ctx, WC_N, WC_N, r->rows, n, n, 1, r->w, n, r->h->h, n, 0, r->b, n);
    memset(r->right, 0, n * sizeof *r->right);
    for (size_t i = 0; i < r->rows; i++)
        for (size_t j = 0; j < n; j++)
            r->right[j] += (double)r->a[i * n + j] * (double)r->b[i * n + j];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            r->normal[i * n + j] = (double)r->h->h[i * n + j] * (double)r->gram[i * n + j];
    size_t info = wc_cholesky64(ctx, r->normal, n);
    if (info) {
        wc_log(ctx, WC_LOG_WARN,
               "%s: the equations of column scales are singular at column %zu; they stay as they were", r->job->tensor,
               info - 1);
        return WC_OK;
    }
    wc_cholesky_solve_left64(ctx, r->normal, n, r->right, 1);
    for (size_t j = 0; j < n; j++)
        r->v[j] = wc_f16_near(r->right[j]);
    return WC_OK;
}

/* ---- the method ------------------------------------------------------------------------------------------------- */

static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    *out = (wc_part){.kind = WC_PART_SIGNS};
    out->signs = (wc_signs){
        .rows = at->rows, .cols = at->cols, .form = WC_SIGNS_EXPERTS, .levels = 1, .rank = (size_t)o->experts};
}

static wc_status rank_one_alloc(wc_ctx *ctx, struct rank_one *r)
{
    size_t size = r->rows * r->cols;
    WC_TRY(WC_ALLOC(ctx, r->w, size, "a target"));
    WC_TRY(WC_ALLOC(ctx, r->s, size, "signs"));
    WC_TRY(WC_ALLOC(ctx, r->a, size, "a matrix of scales"));
    WC_TRY(WC_ALLOC(ctx, r->u, r->rows, "scales of rows"));
    WC_TRY(WC_ALLOC(ctx, r->v, r->cols, "scales of columns"));
    if (!r->h) return WC_OK;
    WC_TRY(WC_ALLOC(ctx, r->b, size, "a product"));
    WC_TRY(WC_ALLOC(ctx, r->gram, r->cols * r->cols, "a Gram matrix"));
    WC_TRY(WC_ALLOC(ctx, r->normal, r->cols * r->cols, "normal equations"));
    return WC_ALLOC(ctx, r->right, r->cols, "normal equations");
}

static void rank_one_free(struct rank_one *r)
{
    free(r->w), free(r->s), free(r->a), free(r->b), free(r->u), free(r->v);
    free(r->gram), free(r->normal), free(r->right);
}

static wc_status solve(struct rank_one *r, const struct options *o, const float *weight, int scale_exp)
{
    float unit = ldexpf(1, -scale_exp);
    WC_TRY(rank_one_alloc(r->job->ctx, r));
    for (size_t i = 0; i < r->rows * r->cols; i++)
        r->w[i] = r->job->w[i] * unit;
    WC_TRY(start(r, weight));
    for (int pass = 0; r->h && pass < o->passes; pass++) {
        WC_TRY(find_signs(r, (size_t)o->block));
        fit_rows(r);
        WC_TRY(fit_columns(r));
        fit_rows(r);
    }
    return WC_OK;
}

/* Copies of the scales for every expert; the router stays 0, which gives all of them the same gate. */
static void store(const struct rank_one *r, wc_signs *out)
{
    size_t stride = wc_ceil_div(r->cols, 8);
    for (size_t i = 0; i < r->rows; i++)
        for (size_t j = 0; j < r->cols; j++)
            if (r->s[i * r->cols + j] < 0) out->sign[i * stride + j / 8] |= (uint8_t)(1u << j % 8);
    for (size_t e = 0; e < out->rank; e++) {
        for (size_t i = 0; i < r->rows; i++)
            out->u[e * r->rows + i] = wc_f32_f16(r->u[i]);
        for (size_t j = 0; j < r->cols; j++)
            out->v[e * r->cols + j] = wc_f32_f16(r->v[j]);
    }
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    wc_status status = WC_OK;
    wc_hessian h = {0};
    struct rank_one r = {.job = job, .rows = job->at.rows, .cols = job->at.cols};
    bool use = false;
    float *weight = NULL, top;
    wc_part made;
    plan(&job->at, opt, &made);
    WC_TRY_OUT(wc_panel_largest(job->ctx, job->tensor, job->w, r.rows, r.cols, &top));
    WC_TRY_OUT(wc_job_feedback(job, &o->feedback, &h, &use));
    WC_TRY_OUT(wc_panel_largest(job->ctx, job->tensor, job->w, r.rows, r.cols, &top)); /* drift has moved it */
    WC_TRY_OUT(wc_signs_alloc(job->ctx, &made.signs));
    WC_TRY_OUT(WC_ALLOC(job->ctx, weight, r.cols, "column weights"));
    wc_hessian_weights(use ? job->stats->h : NULL, r.cols, weight);
    r.h = use ? &h : NULL;
    made.signs.scale_exp = wc_grid_scale_exp(top);
    WC_TRY_OUT(solve(&r, o, weight, made.signs.scale_exp));
    store(&r, &made.signs);
    *out = made;
out:
    wc_hessian_free(&h);
    rank_one_free(&r);
    free(weight);
    if (status != WC_OK) wc_part_free(&made);
    return status;
}

/* Factor n^3/3; a pass: feedback m n^2, three products of 2 m n^2 and the Gram matrix 2 m n^2, its factor n^3/3; drift
 * 4 m n^2. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    double m = (double)at->rows, n = (double)at->cols;
    return n * n * n / 3 + o->passes * (9 * m * n * n + n * n * n / 3) + wc_thin_svd_flops(at->rows, at->cols, 1, 8) +
           (drift ? 4 * m * n * n : 0);
}

/* Target, signs and two products; the factor of H, H, the Gram matrix and the normal equations in f64; panels. */
static uint64_t scratch(const wc_place *at, const void *opt)
{
    uint64_t m = at->rows, n = at->cols;
    (void)opt;
    return 28 * m * n + 20 * n * n + wc_thin_svd_scratch(m, n, 1);
}

const wc_method wc_method_binarymos = {
    .name = "binarymos",
    .summary = "one plane of signs, a scale per row and per column, alternating least squares in the metric H",
    .needs = WC_NEEDS_HESSIAN,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .plan = plan,
    .run = run,
    .flops = flops,
    .scratch = scratch,
};
