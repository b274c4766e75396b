#include "sensitivity.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "logits.h"
#include "model/block.h"

enum { HEAD_ROWS = 128 };

typedef struct probe {
    wc_ctx *ctx;
    const wc_sensitivity_options *o;
    wc_report *report;
    size_t rows, hidden, vocab;
    float *edge;  /* [rows, hidden] input of the block that is looked at, of the original model */
    float *end;   /* the same at the end of the original model */
    float *x;     /* the stream with one linear changed */
    float *u, *v; /* [rows, widest] inputs of stages */
    wc_head head;
    float *zp, *zq; /* [HEAD_ROWS, vocab] */
    double *each;   /* [rows] KL */
} probe;

static size_t widest(const wc_config *c)
{
    size_t w = 0;
    for (int s = 0; s < WC_N_STAGES; s++)
        w = wc_stage_width(c, (wc_stage)s) > w ? wc_stage_width(c, (wc_stage)s) : w;
    return w;
}

uint64_t wc_sensitivity_memory(const wc_config *c, uint64_t tokens)
{
    uint64_t stages = 4 * tokens * (3 * c->hidden + 6 * widest(c)); /* a stage's own scratch is below four inputs */
    return stages + 8 * (uint64_t)HEAD_ROWS * c->vocab + ((uint64_t)256 << 20);
}

static wc_status probe_open(probe *p)
{
    wc_ctx *ctx = p->ctx;
    const wc_config *c = p->o->config;
    size_t wide = widest(c);
    p->rows = p->o->windows->n * p->o->windows->seqlen;
    p->hidden = c->hidden;
    p->vocab = c->vocab;
    WC_TRY(WC_ALLOC(ctx, p->edge, p->rows * p->hidden, "activations"));
    WC_TRY(WC_ALLOC(ctx, p->end, p->rows * p->hidden, "activations"));
    WC_TRY(WC_ALLOC(ctx, p->x, p->rows * p->hidden, "activations"));
    WC_TRY(WC_ALLOC(ctx, p->u, p->rows * wide, "activations"));
    WC_TRY(WC_ALLOC(ctx, p->v, p->rows * wide, "activations"));
    WC_TRY(WC_ALLOC(ctx, p->zp, HEAD_ROWS * p->vocab, "logits"));
    WC_TRY(WC_ALLOC(ctx, p->zq, HEAD_ROWS * p->vocab, "logits"));
    WC_TRY(WC_ALLOC(ctx, p->each, p->rows, "scores"));
    return wc_head_open(ctx, c, p->o->original, &p->head);
}

static void probe_close(probe *p)
{
    wc_head_close(&p->head);
    free(p->edge), free(p->end), free(p->x), free(p->u), free(p->v), free(p->zp), free(p->zq), free(p->each);
}

/* x through one block, in place. */
static wc_status through(probe *p, const wc_block *b, float *x)
{
    size_t seqs = p->o->windows->n, len = p->o->windows->seqlen;
    if (p->ctx->stop && *p->ctx->stop) return wc_fail(p->ctx, WC_INTERRUPTED, "interrupted");
    WC_TRY(wc_block_begin(p->ctx, b, p->rows, x, p->u));
    WC_TRY(wc_block_step(p->ctx, b, WC_STAGE_QKV, seqs, len, x, p->u, p->v));
    WC_TRY(wc_block_step(p->ctx, b, WC_STAGE_O, seqs, len, x, p->v, p->u));
    WC_TRY(wc_block_step(p->ctx, b, WC_STAGE_GATE_UP, seqs, len, x, p->u, p->v));
    return wc_block_step(p->ctx, b, WC_STAGE_DOWN, seqs, len, x, p->v, NULL);
}

/* x through the original's blocks first .. last - 1. */
static wc_status through_blocks(probe *p, size_t first, size_t last, float *x)
{
    for (size_t layer = first; layer < last; layer++) {
        wc_block b = {0};
        wc_status status = wc_block_open(p->ctx, p->o->config, p->o->original, layer, &b);
        if (status == WC_OK) status = through(p, &b, x);
        wc_block_close(&b);
        if (p->o->original->release) p->o->original->release(p->o->original->self);
        WC_TRY(status);
    }
    return WC_OK;
}

/* Mean over all positions, the last of each window too: its distribution is as good as any. */
static wc_status compare_ends(probe *p, double *kl)
{
    size_t vocab = p->vocab;
    for (size_t r = 0; r < p->rows; r += HEAD_ROWS) {
        size_t n = wc_min(HEAD_ROWS, p->rows - r);
        WC_TRY(wc_head_logits(p->ctx, &p->head, p->end + r * p->hidden, n, p->zp));
        WC_TRY(wc_head_logits(p->ctx, &p->head, p->x + r * p->hidden, n, p->zq));
#pragma omp parallel for schedule(static) num_threads(p->ctx->threads)
        for (size_t i = 0; i < n; i++) {
            size_t top;
            const float *zp = p->zp + i * vocab, *zq = p->zq + i * vocab;
            p->each[r + i] =
                wc_kl_divergence(zp, wc_log_sum_exp(zp, vocab, &top), zq, wc_log_sum_exp(zq, vocab, &top), vocab);
        }
    }
    *kl = 0;
    for (size_t i = 0; i < p->rows; i++)
        *kl += p->each[i] / (double)p->rows;
    return WC_OK;
}

/* One linear of the block at p->edge replaced. */
static wc_status probe_linear(probe *p, wc_block *b, size_t linear, double *kl)
{
    wc_weight own = b->linear[linear], other;
    if (!own.rows) return WC_OK;
    WC_TRY(p->o->compressed->find(p->ctx, p->o->compressed->self, own.name, &other));
    if (other.rows != own.rows || other.cols != own.cols)
        return wc_fail(p->ctx, WC_BADFILE, "%s: has no %s of the same shape", p->o->compressed->label, own.name);
    memcpy(p->x, p->edge, p->rows * p->hidden * sizeof *p->x);
    b->linear[linear] = other;
    wc_status status = through(p, b, p->x);
    b->linear[linear] = own;
    if (status == WC_OK) status = through_blocks(p, b->layer + 1, p->o->config->layers, p->x);
    return status == WC_OK ? compare_ends(p, kl) : status;
}

static wc_status probe_block(probe *p, size_t layer, double *kl)
{
    wc_block b = {0};
    wc_status status = wc_block_open(p->ctx, p->o->config, p->o->original, layer, &b);
    for (size_t k = 0; status == WC_OK && k < WC_N_LINEARS; k++) {
        char where[64];
        status = probe_linear(p, &b, k, &kl[k]);
        snprintf(where, sizeof where, "probe %zu/%zu %s", layer + 1, p->o->config->layers, wc_linear_suffix(k));
        wc_report_progress(p->report, (double)(p->o->config->layers - layer), where);
    }
    if (status == WC_OK) status = through(p, &b, p->edge);
    wc_block_close(&b);
    return status;
}

wc_status wc_sensitivity(wc_ctx *ctx, const wc_sensitivity_options *opt, wc_report *report, double *kl)
{
    probe p = {.ctx = ctx, .o = opt, .report = report};
    size_t layers = opt->config->layers;
    wc_status status = probe_open(&p);
    report->done = 0;
    report->work = (double)WC_N_LINEARS * (double)layers * (double)(layers + 1) / 2;
    memset(kl, 0, layers * WC_N_LINEARS * sizeof *kl);
    if (status == WC_OK) status = wc_model_embed(ctx, opt->config, opt->original, opt->windows->id, p.rows, p.edge);
    if (status == WC_OK) memcpy(p.end, p.edge, p.rows * p.hidden * sizeof *p.end);
    if (status == WC_OK) status = through_blocks(&p, 0, layers, p.end);
    for (size_t layer = 0; status == WC_OK && layer < layers; layer++)
        status = probe_block(&p, layer, kl + layer * WC_N_LINEARS);
    probe_close(&p);
    return status;
}
