/* The block types of GGUF files, with error feedback inside their own grids. See README.md. */
#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "methods/job.h"
#include "solve/ggml_solve.h"

struct options {
    int type; /* index in WC_GGML_LIST */
    bool feedback;
    double damp;
    int order; /* wc_order */
    int block;
    int cd;
    double drift, residual;
};

#define FIELD(name)  offsetof(struct options, name)
#define X(name, ...) "|" #name
static const char types[] = WC_GGML_LIST(X);
#undef X
#define X(name, ...) TYPE_##name,
enum type_index { WC_GGML_LIST(X) N_TYPES };
#undef X

#define TYPE_OPTION                                                                                   \
    {                                                                                                 \
        "type", WC_OPT_WORD, FIELD(type), TYPE_Q4_K, 0, N_TYPES - 1, types + 1,                       \
            "block type; rows that are no multiple of 256 take the type that GGUF tools take instead" \
    }

static const wc_opt ggml_opts[] = {
    TYPE_OPTION,
    {"feedback", WC_OPT_BOOL, FIELD(feedback), 1, 0, 1, NULL,
     "error feedback and descent; no: nearest codes under importance weights"},
    {"damp", WC_OPT_REAL, FIELD(damp), 0.01, 0, 10, NULL, "added to the diagonal of H, relative to its mean"},
    {"order", WC_OPT_WORD, FIELD(order), WC_ORDER_ACT, 0, 1, "natural|act",
     "columns as they come, or those with the largest inputs first"},
    {"block", WC_OPT_INT, FIELD(block), 256, 32, 1024, NULL, "columns per matrix product"},
    {"cd", WC_OPT_INT, FIELD(cd), 4, 0, 64, NULL, "passes of descent over scales, mins and codes after feedback"},
    {"drift", WC_OPT_REAL, FIELD(drift), 0.75, 0, 1, NULL, "part of the drift of the inputs to correct for"},
    {"residual", WC_OPT_REAL, FIELD(residual), 0.5, 0, 1, NULL,
     "part of the drift of the residual stream to correct for, in layers that write to it"},
    {0},
};

/* ---- the type for a row length --------------------------------------------------------------------------------------
 */

static const unsigned type_ids[] = {
#define X(name, id, ...) id,
    WC_GGML_LIST(X)
#undef X
};

/* The type asked for, the one that takes its place where its blocks do not fit, or NULL: F16. */
static const wc_ggml_type *type_for(const struct options *o, size_t cols)
{
    const wc_ggml_type *t = wc_ggml_type_by_id(type_ids[o->type]);
    unsigned instead = WC_GGML_IQ4_NL;
    if (cols % t->block == 0) return t;
    switch (t->id) {
    case WC_GGML_Q4_K: instead = WC_GGML_Q5_0; break;
    case WC_GGML_Q5_K: instead = WC_GGML_Q5_1; break;
    case WC_GGML_Q6_K: instead = WC_GGML_Q8_0; break;
    case WC_GGML_TQ1_0:
    case WC_GGML_TQ2_0: instead = WC_GGML_Q4_0; break;
    }
    return cols % 32 ? NULL : wc_ggml_type_by_id(instead);
}

static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    const wc_ggml_type *t = type_for(opt, at->cols);
    if (t) {
        *out = (wc_part){.kind = WC_PART_GGML};
        out->ggml.rows = at->rows, out->ggml.cols = at->cols, out->ggml.type = t;
        return;
    }
    *out = (wc_part){.kind = WC_PART_FLOAT, .floats = {.rows = at->rows, .cols = at->cols, .dtype = WC_F16}};
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* Rows that no block fits: the values as f16. */
static wc_status store_f16(wc_job *job, wc_part *made)
{
    size_t n = job->at.rows * job->at.cols;
    WC_TRY(wc_float_alloc(job->ctx, &made->floats));
    for (size_t i = 0; i < n; i++) {
        float x = fminf(fmaxf(job->w[i], -65504), 65504);
        uint16_t h = wc_f32_f16(x);
        made->floats.owned[2 * i] = (uint8_t)h, made->floats.owned[2 * i + 1] = (uint8_t)(h >> 8);
    }
    return WC_OK;
}

static void report_type(const wc_job *job, const struct options *o, const wc_ggml_type *t)
{
    const wc_ggml_type *asked = wc_ggml_type_by_id(type_ids[o->type]);
    if (t != asked)
        wc_log(job->ctx, WC_LOG_WARN, "%s: rows of %zu weights are no whole blocks of %s: %s is used", job->tensor,
               job->at.cols, asked->name, t ? t->name : "F16");
}

/* The factor that feedback needs. */
static wc_status prepare(wc_job *job, const struct options *o, const wc_ggml_type *t, wc_hessian *h)
{
    WC_TRY(wc_hessian_make(job->ctx, job->tensor, job->stats->h, job->at.cols, o->damp, (wc_order)o->order,
                           wc_ggml_width(t), h));
    if (h->width == 1) return wc_job_correct_drift(job, h, o->drift, o->residual);
    wc_hessian single = {0};
    wc_status status =
        wc_hessian_make(job->ctx, job->tensor, job->stats->h, job->at.cols, o->damp, WC_ORDER_NATURAL, 1, &single);
    if (status == WC_OK) status = wc_job_correct_drift(job, &single, o->drift, o->residual);
    wc_hessian_free(&single);
    return status;
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    const wc_ggml_type *t = type_for(o, job->at.cols);
    wc_status status = WC_OK;
    wc_hessian h = {0};
    float *weight = NULL;
    wc_part made;
    plan(&job->at, opt, &made);
    report_type(job, o, t);
    if (!t) {
        WC_TRY(store_f16(job, &made));
        *out = made;
        return WC_OK;
    }
    const float *moments = job->stats ? job->stats->h : NULL;
    if (o->feedback && moments) WC_TRY_OUT(prepare(job, o, t, &h));
    WC_TRY_OUT(WC_ALLOC(job->ctx, weight, job->at.cols, "column weights"));
    wc_hessian_weights(moments, job->at.cols, weight);
    wc_ggml_problem problem = {
        .tensor = job->tensor,
        .w = job->w,
        .weight = weight,
        .weigh = h.n       ? WC_GGML_COLUMN
                 : moments ? WC_GGML_IMATRIX
                           : WC_GGML_SQUARE,
        .h = h.n ? &h : NULL,
        .block = (size_t)o->block,
        .passes = o->cd,
    };
    WC_TRY_OUT(wc_ggml_solve(job->ctx, &problem, &made.ggml, NULL));
    *out = made;
out:
    job->damping_used = status == WC_OK ? h.damping : 0;
    job->escalations = h.escalations;
    wc_hessian_free(&h);
    free(weight);
    return status;
}

/* Factor n^3/3; feedback m n^2; a pass of descent 3 m n^2 and 6 * 256 m n; drift 4 m n^2. The search of scales costs
 * about 1000 per weight; one look at a grid of k entries of d weights k (d + 5) for each of them, 12 looks for the
 * scales and 6 for every choice of codes. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    const wc_ggml_type *t = type_for(o, at->cols);
    double m = (double)at->rows, n = (double)at->cols;
    if (!t) return 0;
    double look = t->dim > 1 ? m * n * t->codes * (t->dim + 5) : 0;
    double search = t->dim > 1 ? 24 * look / (t->dim + 5) : 1000 * m * n;
    if (!o->feedback) return search;
    double pass = 3 * m * n * n + 1536 * m * n + 3 * look;
    return search + n * n * n / 3 + m * n * n + 3 * look + o->cd * pass + (drift ? 4 * m * n * n : 0);
}

/* Two factors with their H while drift is corrected for a grid type, else one; codes, signs and bytes; of 16 panels of
 * at most 512 rows W, W^, targets in both orders, changes and codes. */
static uint64_t scratch(const wc_place *at, const void *opt)
{
    const struct options *o = opt;
    const wc_ggml_type *t = type_for(o, at->cols);
    uint64_t m = at->rows, n = at->cols, squares = t && t->dim > 1 ? 16 * n * n : 8 * n * n;
    return (o->feedback ? squares + 4 * m * n : 0) + 4 * m * n + 24 * wc_min(m, 16 * 512) * n;
}

const wc_method wc_method_ggml = {
    .name = "ggml",
    .summary = "GGUF's block types (Q4_K, IQ3_S, ...) with error feedback and descent inside their two-level scales",
    .fallback = "ggml_rtn",
    .needs = WC_NEEDS_HESSIAN,
    .opt_size = sizeof(struct options),
    .opts = ggml_opts,
    .plan = plan,
    .run = run,
    .flops = flops,
    .scratch = scratch,
};

/* ---- without calibration ----------------------------------------------------------------------------------------- */

static const wc_opt rtn_opts[] = {TYPE_OPTION, {0}};

const wc_method wc_method_ggml_rtn = {
    .name = "ggml_rtn",
    .summary = "GGUF's block types, scales searched under squared weights, nearest codes; needs no calibration",
    .opt_size = sizeof(struct options),
    .opts = rtn_opts,
    .plan = plan,
    .run = run,
    .flops = flops,
    .scratch = scratch,
};
