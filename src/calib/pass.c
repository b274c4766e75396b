#include "calib/pass.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"

static size_t widest_stage(const wc_config *c)
{
    size_t widest = 0;
    for (int s = 0; s < WC_N_STAGES; s++)
        if (wc_stage_width(c, (wc_stage)s) > widest) widest = wc_stage_width(c, (wc_stage)s);
    return widest;
}

static size_t chunk_windows(size_t n_windows, size_t seqlen, size_t chunk_tokens)
{
    size_t w = chunk_tokens / seqlen;
    return w < 1 ? 1 : wc_min(w, n_windows);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static wc_status open_store(wc_ctx *ctx, const wc_pass *p, const wc_pass_options *o, bool in_file, bool keep, size_t s,
                            const char *name, size_t width, wc_store *out)
{
    char path[4096];
    if (in_file) snprintf(path, sizeof path, "%s/%s.%zu", o->dir, name, s);
    return wc_store_open(ctx, in_file ? path : NULL, keep, p->n_chunks, p->chunk_seqs * o->windows->seqlen * width,
                         out);
}

wc_status wc_pass_open(wc_ctx *ctx, const wc_pass_options *o, wc_pass *out)
{
    wc_pass p = {.config = o->config, .windows = o->windows, .n_streams = o->n_streams, .attention = o->attention};
    p.chunk_seqs = chunk_windows(o->windows->n, o->windows->seqlen, o->chunk_tokens);
    p.n_chunks = wc_ceil_div(o->windows->n, p.chunk_seqs);
    size_t hidden = o->config->hidden, widest = widest_stage(o->config);
    wc_status status = WC_OK;
    for (size_t s = 0; s < o->n_streams; s++) {
        wc_pass_stream *st = &p.stream[s];
        WC_TRY_OUT(open_store(ctx, &p, o, o->edges_in_files, o->keep, s, "edge0", hidden, &st->edge[0]));
        WC_TRY_OUT(open_store(ctx, &p, o, o->edges_in_files, o->keep, s, "edge1", hidden, &st->edge[1]));
        WC_TRY_OUT(open_store(ctx, &p, o, o->spill, false, s, "x", hidden, &st->x));
        WC_TRY_OUT(open_store(ctx, &p, o, o->spill, false, s, "u", widest, &st->u));
    }
    *out = p;
    return WC_OK;
out:
    wc_pass_close(&p, false);
    return status;
}

void wc_pass_close(wc_pass *p, bool remove_files)
{
    if (!p) return;
    for (size_t s = 0; s < p->n_streams; s++) {
        wc_pass_stream *st = &p->stream[s];
        wc_store_close(&st->edge[0], remove_files);
        wc_store_close(&st->edge[1], remove_files);
        wc_store_close(&st->x, true); /* never part of the resume state */
        wc_store_close(&st->u, true);
    }
    memset(p, 0, sizeof *p);
}

/* ---- one chunk -------------------------------------------------------------------------------------------------- */

typedef struct chunk {
    float *x[WC_PASS_MAX_STREAMS]; /* [rows, hidden] the residual streams */
    float *v[WC_PASS_MAX_STREAMS]; /* [rows, widest] the stage's inputs */
    float *u;                      /* [rows, widest] those of the stage before */
} chunk;

static wc_status chunk_alloc(wc_ctx *ctx, const wc_pass *p, chunk *c)
{
    size_t rows = p->chunk_seqs * p->windows->seqlen, widest = widest_stage(p->config);
    memset(c, 0, sizeof *c);
    WC_TRY(WC_ALLOC_RAW(ctx, c->u, rows * widest, "a chunk of activations"));
    for (size_t s = 0; s < p->n_streams; s++) {
        WC_TRY(WC_ALLOC_RAW(ctx, c->x[s], rows * p->config->hidden, "a chunk of activations"));
        WC_TRY(WC_ALLOC_RAW(ctx, c->v[s], rows * widest, "a chunk of activations"));
    }
    return WC_OK;
}

static void chunk_free(chunk *c)
{
    free(c->u);
    for (size_t s = 0; s < WC_PASS_MAX_STREAMS; s++) {
        free(c->x[s]);
        free(c->v[s]);
    }
}

size_t wc_pass_chunk_rows(const wc_pass *p, size_t i)
{
    return wc_min(p->chunk_seqs, p->windows->n - i * p->chunk_seqs) * p->windows->seqlen;
}

/* Chunk i of stream s to the input c->v[s] of `stage'; c->x[s] is then its residual stream. */
static wc_status advance(wc_ctx *ctx, wc_pass *p, size_t s, size_t i, const wc_block *block, wc_stage stage, chunk *c)
{
    float *x = c->x[s], *v = c->v[s];
    wc_pass_stream *st = &p->stream[s];
    size_t rows = wc_pass_chunk_rows(p, i), seqlen = p->windows->seqlen, hidden = p->config->hidden;
    wc_stage before = stage == WC_STAGE_QKV ? WC_N_STAGES : (wc_stage)(stage - 1);
    bool at_edge = stage <= WC_STAGE_GATE_UP; /* the attention output has not been added to x yet */
    WC_TRY(wc_store_read(ctx, at_edge ? &st->edge[p->now] : &st->x, i, x, rows * hidden));
    if (before == WC_N_STAGES) {
        WC_TRY(wc_block_begin(ctx, block, rows, x, v));
    } else {
        WC_TRY(wc_store_read(ctx, &st->u, i, c->u, rows * wc_stage_width(p->config, before)));
        WC_TRY(wc_block_step(ctx, block, before, rows / seqlen, seqlen, x, c->u, v));
    }
    if (before == WC_STAGE_O) WC_TRY(wc_store_write(ctx, &st->x, i, x, rows * hidden));
    return wc_store_write(ctx, &st->u, i, v, rows * wc_stage_width(p->config, stage));
}

static wc_status interrupted(wc_ctx *ctx)
{
    return ctx->stop && *ctx->stop ? wc_fail(ctx, WC_INTERRUPTED, "interrupted") : WC_OK;
}

static void tell(const wc_pass *p, size_t i)
{
    if (p->progress) p->progress(p->progress_user, (double)wc_pass_chunk_rows(p, i));
}

/* The inputs of q, k, v of all streams times the square roots of their tokens' weights. */
static wc_status weigh(wc_ctx *ctx, const wc_pass *p, const wc_block *original, size_t rows, chunk *c)
{
    const float limit = 4;
    size_t seqlen = p->windows->seqlen, width = wc_stage_width(p->config, WC_STAGE_QKV);
    float *r, part = (float)p->attention;
    WC_TRY(WC_ALLOC(ctx, r, rows, "the weights of tokens"));
    wc_status status = wc_block_received(ctx, original, rows / seqlen, seqlen, c->v[p->n_streams - 1], r);
    for (size_t w = 0; status == WC_OK && w < rows; w += seqlen) {
        double sum = 0;
        for (size_t i = w; i < w + seqlen; i++)
            sum += fminf(r[i], limit);
        for (size_t i = w; i < w + seqlen; i++)
            r[i] = sqrtf(1 - part + part * fminf(r[i], limit) * (float)((double)seqlen / sum));
    }
    for (size_t s = 0; status == WC_OK && s < p->n_streams; s++)
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < width; j++)
                c->v[s][i * width + j] *= r[i];
    free(r);
    return status;
}

wc_status wc_pass_stage(wc_ctx *ctx, wc_pass *p, const wc_block *block[], wc_stage stage, wc_stats_sum *sum)
{
    chunk c;
    wc_status status = chunk_alloc(ctx, p, &c);
    for (size_t i = 0; status == WC_OK && i < p->n_chunks; i++) {
        for (size_t s = 0; s < p->n_streams; s++)
            WC_TRY_OUT(advance(ctx, p, s, i, block[s], stage, &c));
        size_t last = p->n_streams - 1;
        wc_stats_chunk k = {wc_pass_chunk_rows(p, i), c.v[0], c.v[last], c.x[0], c.x[last]};
        if (sum && p->attention > 0 && stage == WC_STAGE_QKV) WC_TRY_OUT(weigh(ctx, p, block[last], k.t, &c));
        if (sum) WC_TRY_OUT(wc_stats_add(ctx, sum, &k));
        tell(p, i);
        WC_TRY_OUT(interrupted(ctx));
    }
out:
    chunk_free(&c);
    return status;
}

wc_status wc_pass_peek(wc_ctx *ctx, wc_pass *p, const wc_block *block, wc_stage stage, wc_stats_sum *sum)
{
    size_t seqlen = p->windows->seqlen, width = wc_stage_width(p->config, stage);
    chunk c;
    wc_status status = chunk_alloc(ctx, p, &c);
    for (size_t i = 0; status == WC_OK && i < p->n_chunks; i++) {
        size_t rows = wc_pass_chunk_rows(p, i);
        WC_TRY_OUT(wc_store_read(ctx, &p->stream[0].u, i, c.u, rows * width));
        WC_TRY_OUT(wc_block_step(ctx, block, stage, rows / seqlen, seqlen, c.x[0], c.u, c.v[0]));
        WC_TRY_OUT(wc_stats_add(ctx, sum, &(wc_stats_chunk){.t = rows, .x = c.v[0]}));
        tell(p, i);
        WC_TRY_OUT(interrupted(ctx));
    }
out:
    chunk_free(&c);
    return status;
}

wc_status wc_pass_leave(wc_ctx *ctx, wc_pass *p, const wc_block *block[], uint64_t hash[])
{
    size_t seqlen = p->windows->seqlen, hidden = p->config->hidden;
    chunk c;
    wc_status status = chunk_alloc(ctx, p, &c);
    for (size_t s = 0; status == WC_OK && s < p->n_streams; s++) {
        wc_pass_stream *st = &p->stream[s];
        XXH3_state_t xxh;
        XXH3_64bits_reset(&xxh);
        for (size_t i = 0; i < p->n_chunks; i++) {
            size_t rows = wc_pass_chunk_rows(p, i);
            WC_TRY_OUT(wc_store_read(ctx, &st->x, i, c.x[s], rows * hidden));
            WC_TRY_OUT(wc_store_read(ctx, &st->u, i, c.u, rows * wc_stage_width(p->config, WC_STAGE_DOWN)));
            WC_TRY_OUT(wc_block_step(ctx, block[s], WC_STAGE_DOWN, rows / seqlen, seqlen, c.x[s], c.u, c.v[s]));
            WC_TRY_OUT(wc_store_write(ctx, &st->edge[1 - p->now], i, c.x[s], rows * hidden));
            XXH3_64bits_update(&xxh, c.x[s], rows * hidden * sizeof *c.x[s]);
            WC_TRY_OUT(interrupted(ctx));
            if (s == 0) tell(p, i);
        }
        WC_TRY_OUT(wc_store_sync(ctx, &st->edge[1 - p->now]));
        hash[s] = XXH3_64bits_digest(&xxh);
    }
    if (status == WC_OK) p->now = 1 - p->now;
out:
    chunk_free(&c);
    return status;
}

wc_status wc_pass_block(wc_ctx *ctx, wc_pass *p, const wc_block *block[], uint64_t hash[])
{
    for (int stage = 0; stage < WC_N_STAGES; stage++)
        WC_TRY(wc_pass_stage(ctx, p, block, (wc_stage)stage, NULL));
    return wc_pass_leave(ctx, p, block, hash);
}

/* ---- edges ------------------------------------------------------------------------------------------------------ */

wc_status wc_pass_embed(wc_ctx *ctx, wc_pass *p, size_t s, const wc_weight_source *source)
{
    size_t hidden = p->config->hidden, chunk_ids = p->chunk_seqs * p->windows->seqlen;
    float *x;
    WC_TRY(WC_ALLOC(ctx, x, chunk_ids * hidden, "a chunk of embeddings"));
    wc_status status = WC_OK;
    for (size_t i = 0; status == WC_OK && i < p->n_chunks; i++) {
        size_t rows = wc_pass_chunk_rows(p, i);
        status = wc_model_embed(ctx, p->config, source, p->windows->id + i * chunk_ids, rows, x);
        if (status == WC_OK) status = wc_store_write(ctx, &p->stream[s].edge[p->now], i, x, rows * hidden);
    }
    free(x);
    return status;
}

wc_status wc_pass_read(wc_ctx *ctx, const wc_pass *p, size_t s, size_t i, float *x)
{
    return wc_store_read(ctx, &p->stream[s].edge[p->now], i, x, wc_pass_chunk_rows(p, i) * p->config->hidden);
}

wc_status wc_pass_hash(wc_ctx *ctx, const wc_pass *p, size_t s, uint64_t *hash)
{
    size_t hidden = p->config->hidden;
    float *x;
    WC_TRY(WC_ALLOC(ctx, x, p->chunk_seqs * p->windows->seqlen * hidden, "a chunk of activations"));
    XXH3_state_t xxh;
    XXH3_64bits_reset(&xxh);
    wc_status status = WC_OK;
    for (size_t i = 0; status == WC_OK && i < p->n_chunks; i++) {
        status = wc_pass_read(ctx, p, s, i, x);
        if (status == WC_OK) XXH3_64bits_update(&xxh, x, wc_pass_chunk_rows(p, i) * hidden * sizeof *x);
    }
    *hash = XXH3_64bits_digest(&xxh);
    free(x);
    return status;
}

wc_status wc_pass_head_stats(wc_ctx *ctx, const wc_pass *p, const wc_weight_source *source, wc_stats_sum *sum)
{
    size_t hidden = p->config->hidden;
    wc_head head = {0};
    float *x = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(wc_head_open(ctx, p->config, source, &head));
    WC_TRY_OUT(wc_stats_begin(ctx, hidden, false, 0, sum));
    WC_TRY_OUT(WC_ALLOC(ctx, x, wc_pass_chunk_rows(p, 0) * hidden, "a chunk of activations"));
    for (size_t i = 0; i < p->n_chunks; i++) {
        size_t rows = wc_pass_chunk_rows(p, i);
        WC_TRY_OUT(wc_pass_read(ctx, p, 0, i, x));
        wc_head_input(ctx, &head, x, rows, x);
        WC_TRY_OUT(wc_stats_add(ctx, sum, &(wc_stats_chunk){.t = rows, .x = x}));
    }
out:
    wc_head_close(&head);
    free(x);
    return status;
}

wc_pass_cost wc_pass_estimate(const wc_ctx *ctx, const wc_config *config, size_t n_windows, size_t seqlen,
                              size_t n_streams, size_t chunk_tokens)
{
    uint64_t hidden = config->hidden, widest = widest_stage(config), tokens = (uint64_t)n_windows * seqlen;
    size_t seqs = chunk_windows(n_windows, seqlen, chunk_tokens);
    uint64_t rows = (uint64_t)seqs * seqlen;
    return (wc_pass_cost){
        /* x and the inputs kept of every stream, u, and of two streams the difference of those inputs */
        .chunk = 4 * rows * (n_streams * hidden + (n_streams > 1 ? 4 : 2) * widest) +
                 wc_block_scratch(ctx, config, seqs, seqlen),
        .edges = 2 * 4 * tokens * hidden * n_streams,
        .inner = 4 * tokens * (hidden + widest) * n_streams,
    };
}
