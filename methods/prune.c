#include "methods/prune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "solve/grid_fit.h"
#include "solve/masked_ls.h"
#include "solve/panel.h"

/* ---- geometry --------------------------------------------------------------------------------------------------- */

static wc_mask_rule rule_of(const wc_place *at, const wc_prune_options *o)
{
    size_t block = o->unit > 1 ? (size_t)o->unit : 1;
    return (wc_mask_rule){.rows = at->rows,
                          .cols = at->cols,
                          .block = block,
                          .frac = o->pattern.frac,
                          .n = (unsigned)o->pattern.n,
                          .m = (unsigned)o->pattern.m,
                          .tile_rows = o->compare == WC_COMPARE_ROW,
                          .tile_cols = (size_t)o->span / block};
}

const char *wc_prune_applies(const wc_place *at, const void *opt)
{
    const wc_prune_options *o = opt;
    wc_mask_rule r = rule_of(at, o);
    if (r.cols > 1 << 24) return "masks have at most 2^24 columns";
    if (r.cols % r.block) return "its columns are not a multiple of those that are pruned together";
    if (r.m && r.cols / r.block % r.m) return "its columns are not a multiple of the pattern's";
    if ((size_t)o->span % r.block) return "the block is not a multiple of the columns that are pruned together";
    return NULL;
}

void wc_prune_narrow(wc_place *at, const void *opt)
{
    wc_mask_rule r = rule_of(at, opt);
    at->masked = true;
    at->kept = wc_mask_kept(&r);
    at->n = r.n, at->m = r.m;
    at->block = r.block > 1 ? r.block : 0;
}

void wc_prune_plan(const wc_place *at, const void *opt, wc_part *out)
{
    wc_place then = *at;
    if (at->values_follow) return;
    wc_prune_narrow(&then, opt);
    *out = (wc_part){.kind = WC_PART_SPARSE};
    out->sparse = (wc_sparse){.rows = at->rows,
                              .cols = at->cols,
                              .nnz = then.kept,
                              .dtype = WC_F16,
                              .n = then.n,
                              .m = then.m,
                              .block = then.block};
}

/* ---- the mask --------------------------------------------------------------------------------------------------- */

wc_status wc_prune_norms(const wc_job *job, float *norm)
{
    const float *h = job->stats ? job->stats->h : NULL;
    size_t n = job->at.cols;
    for (size_t j = 0; j < n; j++) {
        float moment = h ? h[j * (n + 1)] : 1;
        if (!(moment >= 0 && isfinite(moment)))
            return wc_fail(job->ctx, WC_NUMERIC, "%s: the second moment of input %zu is %g", job->tensor, j,
                           (double)moment);
        norm[j] = sqrtf(moment);
    }
    return WC_OK;
}

/* The sum of squares of a place: the order of |w| where places are single columns. */
static wc_status magnitudes(const wc_prune_target *t, float *score)
{
    size_t block = t->rule.block, places = t->rule.rows * (t->rule.cols / block);
    for (size_t i = 0; i < places; i++) {
        score[i] = 0;
        for (size_t j = i * block; j < (i + 1) * block; j++)
            score[i] += t->w[j] * t->w[j];
    }
    return WC_OK;
}

static wc_status by_score(const wc_prune_target *t, wc_status (*fill)(const wc_prune_target *t, float *score))
{
    float *score;
    wc_job *job = t->job;
    WC_TRY(WC_ALLOC(job->ctx, score, t->rule.rows * (t->rule.cols / t->rule.block), "scores"));
    wc_status status = fill(t, score);
    if (status == WC_OK) wc_mask_select(job->ctx, &t->rule, score, job->mask);
    free(score);
    return status;
}

static wc_status choose_mask(const wc_pruner *p, const wc_prune_target *t)
{
    wc_job *job = t->job;
    WC_TRY(wc_job_mask(job));
    wc_status status = p->choose ? p->choose(t, job->mask) : by_score(t, p->score);
    if (status != WC_NUMERIC) return status;
    wc_log(job->ctx, WC_LOG_WARN, "%s; what is pruned is chosen by magnitude for this tensor", job->ctx->error);
    wc_clear_error(job->ctx);
    job->fell_back = true;
    return by_score(t, magnitudes);
}

/* ---- the survivors ---------------------------------------------------------------------------------------------- */

static void to_units(const wc_job *job, int exp, float *w)
{
    float unit = ldexpf(1, -exp);
    for (size_t i = 0; i < job->at.rows * job->at.cols; i++)
        w[i] = job->w[i] * unit;
}

static wc_masked_way way_of(const wc_prune_options *o)
{
    return o->update == WC_UPDATE_OBS ? WC_MASKED_OBS : o->update == WC_UPDATE_ADMM ? WC_MASKED_ADMM : WC_MASKED_LS;
}

/* w = the survivors' new values; *updated tells whether there are any. */
static wc_status update(wc_job *job, const wc_prune_options *o, const wc_hessian *h, int exp, float *w, bool *updated)
{
    *updated = false;
    if (o->update == WC_UPDATE_NONE || !h) return WC_OK;
    wc_status status = wc_job_correct_drift(job, h, o->drift, o->residual);
    if (status == WC_OK) {
        wc_masked_problem problem = {
            .tensor = job->tensor, .rows = job->at.rows, .h = h, .mask = job->mask, .steps = o->steps};
        to_units(job, exp, w);
        status = wc_masked_update(job->ctx, &problem, way_of(o), w);
    }
    *updated = status == WC_OK;
    if (status != WC_NUMERIC) return status;
    wc_log(job->ctx, WC_LOG_WARN, "%s; the survivors of this tensor keep their values", job->ctx->error);
    wc_clear_error(job->ctx);
    job->fell_back = true;
    to_units(job, exp, w);
    return WC_OK;
}

static float f16_near(float v)
{
    return v > 65504 ? 65504 : v < -65504 ? -65504 : v;
}

static wc_status store(const wc_job *job, const float *w, int exp, wc_part *out)
{
    wc_sparse *s = &out->sparse;
    WC_TRY(wc_sparse_alloc(job->ctx, s));
    uint16_t *value = s->value;
    uint64_t at = 0;
    s->scale_exp = exp;
    for (size_t r = 0; r < s->rows; r++) {
        for (size_t j = 0; j < s->cols; j++) {
            if (!job->mask[r * s->cols + j]) continue;
            s->col[at] = (uint32_t)j;
            value[at++] = wc_f32_f16(f16_near(w[r * s->cols + j]));
        }
        s->row_start[r + 1] = at;
    }
    return WC_OK;
}

/* The factor; none, with a warning, when the moments do not allow one. */
static wc_status factor(wc_job *job, const wc_prune_options *o, wc_hessian *h, bool *made)
{
    wc_ctx *ctx = job->ctx;
    *made = false;
    if (!job->stats || !job->stats->h) return WC_OK;
    wc_status status = wc_hessian_make(ctx, job->tensor, job->stats->h, job->at.cols, o->damp, WC_ORDER_NATURAL, 1, h);
    job->damping_used = h->damping;
    job->escalations = h->escalations;
    *made = status == WC_OK;
    if (status != WC_NUMERIC) return status;
    wc_log(ctx, WC_LOG_WARN, "%s; the survivors of this tensor keep their values", ctx->error);
    wc_clear_error(ctx);
    job->fell_back = true;
    return WC_OK;
}

wc_status wc_prune_run(wc_job *job, const void *opt, const wc_pruner *p, wc_part *out)
{
    const wc_prune_options *o = opt;
    wc_status status = WC_OK;
    wc_hessian h = {0};
    size_t size = job->at.rows * job->at.cols;
    bool with_h = false, updated;
    float *w = NULL, top;
    wc_part made = {0};
    wc_prune_plan(&job->at, opt, &made);
    WC_TRY(wc_panel_largest(job->ctx, job->tensor, job->w, job->at.rows, job->at.cols, &top));
    int exp = wc_grid_scale_exp(top);
    WC_TRY_OUT(WC_ALLOC(job->ctx, w, size, "a weight matrix in its own units"));
    to_units(job, exp, w);
    if (p->choose || o->update != WC_UPDATE_NONE) WC_TRY_OUT(factor(job, o, &h, &with_h));
    wc_prune_target t = {.job = job, .rule = rule_of(&job->at, o), .opt = opt, .w = w, .h = with_h ? &h : NULL};
    WC_TRY_OUT(choose_mask(p, &t));
    WC_TRY_OUT(update(job, o, t.h, exp, w, &updated));
    if (made.kind) WC_TRY_OUT(store(job, w, exp, &made));
    if (!made.kind && updated) {
        for (size_t i = 0; i < size; i++)
            w[i] = ldexpf(w[i], exp);
        job->survivors = w;
        w = NULL;
    }
    *out = made;
out:
    wc_hessian_free(&h);
    free(w);
    return status;
}

/* ---- cost ------------------------------------------------------------------------------------------------------- */

/* Factor n^3 / 3; about 15 steps of ls, all of admm, 2 m n^2 each; the sweep of obs m n^2; drift as for gptq. */
double wc_prune_flops(const wc_place *at, const void *opt, bool drift)
{
    static const double usual_steps = 15;
    const wc_prune_options *o = opt;
    double m = (double)at->rows, n = (double)at->cols, once = 2 * m * n * n, by_way = once / 2;
    if (o->update == WC_UPDATE_NONE) return 0;
    if (o->update == WC_UPDATE_LS) by_way = fmin(usual_steps, o->steps) * once;
    if (o->update == WC_UPDATE_ADMM) by_way = o->steps * once + n * n * n / 3;
    return n * n * n / 3 + by_way + (drift ? 2 * once : 0);
}

/* W in its units; the factor's two squares; then scores, or what the update takes, or the drift's product. */
uint64_t wc_prune_scratch(const wc_place *at, const void *opt)
{
    const wc_prune_options *o = opt;
    uint64_t matrix = 4 * (uint64_t)at->rows * at->cols, square = 4 * (uint64_t)at->cols * at->cols;
    uint64_t most = wc_masked_scratch(at->rows, at->cols, way_of(o));
    if (o->update == WC_UPDATE_NONE) return 2 * matrix;
    return matrix + 2 * square + (most > matrix ? most : matrix);
}
