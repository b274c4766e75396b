/* pass.h - the model run block by block over all calibration (or evaluation) windows, one or two streams side by side.
 *
 * For every window and stream the residual x enters a block at its edge and is carried through the four stages of
 * block.h. All windows finish a stage before any enters the next one, because between stages the caller compresses the
 * linears that the stage's statistics are for, and the compressed stream must go on through the compressed weights
 * ("true sequential").
 *
 *     edge[now] --QKV--> u --O--> u,x --GATE_UP--> u --DOWN--> edge[1 - now]
 *
 * Chunks of whole windows are the unit: one chunk per stream is in memory, the rest is in stores (memory or files). The
 * edges are files when a folder is given: together with the journal they are the resume state. */
#ifndef WC_CALIB_PASS_H
#define WC_CALIB_PASS_H

#include "calib/stats.h"
#include "calib/store.h"
#include "calib/tokens.h"
#include "model/block.h"
#include "model/model.h"

typedef struct wc_pass_stream {
    wc_store edge[2], x, u;
} wc_pass_stream;

enum { WC_PASS_MAX_STREAMS = 2 };

typedef struct wc_pass {
    const wc_config *config;
    const wc_windows *windows;
    size_t n_streams;  /* 1, or 2: [0] the compressed model (or the only one), [1] the original beside it */
    size_t chunk_seqs; /* windows per chunk */
    size_t n_chunks;
    int now; /* which edge holds the inputs of the next block */
    wc_pass_stream stream[WC_PASS_MAX_STREAMS];
    double attention;                            /* as in wc_pass_options */
    void (*progress)(void *user, double tokens); /* told of every chunk that went through a stage; may be NULL */
    void *progress_user;
} wc_pass;

typedef struct wc_pass_options {
    const wc_config *config;
    const wc_windows *windows;
    size_t n_streams;
    size_t chunk_tokens; /* chunks of about this many tokens, at least one window */
    const char *dir;     /* folder for files */
    bool edges_in_files; /* the edges survive a crash */
    bool spill;          /* x and u in files as well */
    bool keep;           /* open existing edge files as they are (resume) */
    double attention;    /* 0..1: how far tokens weigh in the statistics of q, k, v by the attention that they get */
} wc_pass_options;

wc_status wc_pass_open(wc_ctx *ctx, const wc_pass_options *opt, wc_pass *out);
void wc_pass_close(wc_pass *p, bool remove_files);

/* Writes the embeddings of all windows into the edge of stream s. */
wc_status wc_pass_embed(wc_ctx *ctx, wc_pass *p, size_t s, const wc_weight_source *source);

/* Statistics of q, k and v can weigh a token by how much it is looked at in the original model (the last stream): its
 * weight is 1 - attention + attention min(r, 4) / mean, r what its key receives (wc_attention_received) and the mean
 * that of min(r, 4) over its window. The limit keeps first tokens, on which heads without work rest, from outweighing
 * all others. Moments are weighted so, means by the square roots.
 *
 * Carries every stream to the input of `stage' (all linears of earlier stages are applied as they are now in block[s])
 * and adds it to sum (NULL: no statistics). block[s] is the block of stream s. */
wc_status wc_pass_stage(wc_ctx *ctx, wc_pass *p, const wc_block *block[], wc_stage stage, wc_stats_sum *sum);

/* Adds to sum what stream 0 will bring to the stage after `stage', QKV or GATE_UP, with the linears as they are now in
 * block; the stream itself stays at the input of `stage', where wc_pass_stage has left it. */
wc_status wc_pass_peek(wc_ctx *ctx, wc_pass *p, const wc_block *block, wc_stage stage, wc_stats_sum *sum);

/* From the input of WC_STAGE_DOWN to the edge of the next block, synced. hash[s]: xxh3 of stream s's new edge. */
wc_status wc_pass_leave(wc_ctx *ctx, wc_pass *p, const wc_block *block[], uint64_t hash[]);

/* Stages WC_STAGE_QKV .. DOWN and leave in one go, without statistics. */
wc_status wc_pass_block(wc_ctx *ctx, wc_pass *p, const wc_block *block[], uint64_t hash[]);

/* The residual of chunk i of stream s at the current edge, x [rows, hidden]; rows = windows in the chunk * seqlen. */
size_t wc_pass_chunk_rows(const wc_pass *p, size_t i);
wc_status wc_pass_read(wc_ctx *ctx, const wc_pass *p, size_t s, size_t i, float *x);
wc_status wc_pass_hash(wc_ctx *ctx, const wc_pass *p, size_t s, uint64_t *hash);

/* Statistics of the head's input, the final norm of stream 0 at the current edge; *sum is begun here. */
wc_status wc_pass_head_stats(wc_ctx *ctx, const wc_pass *p, const wc_weight_source *source, wc_stats_sum *sum);

/* Bytes in memory while a chunk is in work, and in the stores (edges / x and u). */
typedef struct wc_pass_cost {
    uint64_t chunk, edges, inner;
} wc_pass_cost;
wc_pass_cost wc_pass_estimate(const wc_ctx *ctx, const wc_config *config, size_t n_windows, size_t seqlen,
                              size_t n_streams, size_t chunk_tokens);

#endif
