#include "methods/vectors.h"

#include <math.h>
#include <stdlib.h>

#include "methods/job.h"
#include "solve/vq_solve.h"

enum {
    AREA_COLS = 256,    /* columns of an area */
    MAX_CODE_BITS = 12, /* beyond that k-means takes hours */
    MAX_BOOKS = 8,
    MAX_DIM = 16
};

/* ---- geometry --------------------------------------------------------------------------------------------------- */

typedef struct shape {
    size_t dim;
    unsigned books, bits; /* codebooks, bits of a code */
} shape;

/* False when vectors of dim columns do not come out at whole codes. */
static bool try_dim(const wc_vector_options *o, size_t dim, shape *out)
{
    double all = (o->bits - (o->signs ? 1 : 0)) * (double)dim, whole = rint(all);
    if (fabs(all - whole) > 1e-6 || whole < 1) return false;
    unsigned bits = o->code_bits ? (unsigned)o->code_bits : (unsigned)whole, books = (unsigned)whole / bits;
    *out = (shape){dim, books, bits};
    return bits <= MAX_CODE_BITS && books <= MAX_BOOKS && books * bits == (unsigned)whole;
}

/* The dim asked for; dim 0: the largest whose codes are a byte at most, else the smallest there is. */
static bool shape_codes(const wc_vector_options *o, shape *out)
{
    shape s;
    bool found = false;
    if (o->dim) return try_dim(o, (size_t)o->dim, out);
    for (size_t dim = MAX_DIM; dim; dim--) {
        if (!try_dim(o, dim, &s)) continue;
        *out = s, found = true;
        if (s.bits <= 8) return true;
    }
    return found;
}

const char *wc_vector_applies(const wc_place *at, const void *opt)
{
    const wc_vector_options *o = opt;
    shape s;
    (void)at;
    if (o->signs && o->bits <= 1) return "signs=yes needs more than 1 bit";
    if (!shape_codes(o, &s))
        return o->code_bits ? "bits * dim is not one to eight times code_bits"
                            : "no dim makes bits * dim (less dim with signs) a whole number from 1 to 12";
    if (o->entry_bits != 8 && o->entry_bits != 16) return "entry_bits is 8 or 16";
    if (o->scale_bits == 1) return "scale_bits is 0 or 2 to 8";
    return NULL;
}

/* Areas are runs of AREA_COLS columns (whole vectors), and as many rows as it takes. */
static void shape_blocks(const wc_vector_options *o, wc_vq *v)
{
    size_t cols = wc_round_up(AREA_COLS, v->dim);
    v->block_rows = v->rows;
    v->block_cols = v->cols;
    if (!o->area || (uint64_t)o->area >= (uint64_t)v->rows * v->cols) return;
    if (cols < v->cols) v->block_cols = cols;
    v->block_rows = wc_min(v->rows, wc_ceil_div((size_t)o->area, v->block_cols));
}

void wc_vector_plan(const wc_place *at, const void *opt, wc_part *out)
{
    const wc_vector_options *o = opt;
    shape s = {1, 1, 1};
    shape_codes(o, &s);
    size_t group = o->group && !o->unscaled ? wc_round_up((size_t)o->group, s.dim) : at->cols;
    *out = (wc_part){.kind = WC_PART_VQ};
    out->vq = (wc_vq){.rows = at->rows,
                      .cols = at->cols,
                      .dim = (unsigned)s.dim,
                      .books = s.books,
                      .bits = s.bits,
                      .entry_bits = (unsigned)o->entry_bits,
                      .scaled = !o->unscaled,
                      .scale_bits = o->unscaled ? 0 : (unsigned)o->scale_bits,
                      .group = wc_min(group, at->cols),
                      .signs = o->signs};
    shape_blocks(o, &out->vq);
}

/* ---- cost ------------------------------------------------------------------------------------------------------- */

double wc_vector_flops(const wc_place *at, const void *opt, bool drift)
{
    const wc_vector_options *o = opt;
    wc_part part;
    wc_vector_plan(at, opt, &part);
    const wc_vq *v = &part.vq;
    double m = (double)at->rows, n = (double)at->cols, d = v->dim;
    double search = 2 * m * n * ldexp(v->books, (int)v->bits) * (o->signs ? (d + 1) / 2 : 1);
    double factor = (drift ? 2 : 1) * n * n * n / 3, rounds = o->cd ? o->cd + 1 : 0;
    double means = (o->em + 1) * (search + 10 * d * v->books * m * n), beam = search * o->beam;
    return factor + means + beam + (o->feedback ? m * n * n : 0) + rounds * (2 * o->steps + 4) * m * n * n +
           o->cd * (beam + (o->refit ? 5 : 3) * m * n * n) + (drift ? 4 * m * n * n : 0);
}

uint64_t wc_vector_scratch(const wc_place *at, const void *opt)
{
    wc_part part;
    wc_vector_plan(at, opt, &part);
    uint64_t n = at->cols, drift = 4 * (uint64_t)at->rows * n, solver = wc_vq_scratch(&part.vq);
    return n * (8 * n + 4 * part.vq.dim + 8) + (drift > solver ? drift : solver);
}

/* ---- the method ------------------------------------------------------------------------------------------------- */

/* The factor over blocks of dim columns. Drift is corrected with one of width 1. */
static wc_status make_factor(wc_job *job, const wc_vector_options *o, size_t dim, wc_hessian *h)
{
    const wc_stats *stats = job->stats;
    wc_ctx *ctx = job->ctx;
    double damp = o->damp;
    if (!job->target_moved && ((stats->c && o->drift > 0) || (stats->r && o->residual > 0))) {
        wc_status status = wc_hessian_make(ctx, job->tensor, stats->h, job->at.cols, damp, WC_ORDER_NATURAL, 1, h);
        if (status == WC_OK) status = wc_job_correct_drift(job, h, o->drift, o->residual);
        job->escalations = h->escalations;
        damp = h->damping;
        wc_hessian_free(h);
        WC_TRY(status);
    }
    wc_status status = wc_hessian_make(ctx, job->tensor, stats->h, job->at.cols, damp, (wc_order)o->order, dim, h);
    job->escalations += h->escalations;
    job->damping_used = h->damping;
    return status;
}

/* *use false when the moments allow no factor: codes are then the nearest in |W - W^|. */
static wc_status prepare(wc_job *job, const wc_vector_options *o, size_t dim, wc_hessian *h, bool *use)
{
    wc_ctx *ctx = job->ctx;
    wc_status status = make_factor(job, o, dim, h);
    *use = status == WC_OK;
    if (status != WC_NUMERIC) return status;
    wc_log(ctx, WC_LOG_WARN, "%s; vectors are chosen without the moments for this tensor", ctx->error);
    wc_clear_error(ctx);
    job->fell_back = true;
    return WC_OK;
}

wc_status wc_vector_run(wc_job *job, const void *opt, wc_part *out)
{
    const wc_vector_options *o = opt;
    wc_status status = WC_OK;
    wc_hessian h = {0};
    bool use = false;
    wc_part made;
    wc_vector_plan(&job->at, opt, &made);
    WC_TRY_OUT(prepare(job, o, made.vq.dim, &h, &use));
    wc_vq_problem problem = {.tensor = job->tensor,
                             .w = job->w,
                             .h = use ? &h : NULL,
                             .feedback = o->feedback,
                             .em = o->em,
                             .beam = (size_t)o->beam,
                             .block = (size_t)o->block,
                             .rounds = o->cd,
                             .steps = o->steps,
                             .refit = o->refit};
    WC_TRY_OUT(wc_vq_solve(job->ctx, &problem, &made.vq, NULL));
    *out = made;
out:
    wc_hessian_free(&h);
    return status;
}
