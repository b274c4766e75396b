/* block.h - one transformer block, run stage by stage.
 *
 * Stages are the groups of linears that share an input, so that a caller can look at each input, replace the linears of
 * the stage by compressed ones, and go on:
 *
 *     wc_block_begin(ctx, b, t, x, u);                  u: input of q, k, v
 *     wc_block_step(ctx, b, WC_STAGE_QKV, ..., x, u, v);      v: input of o
 *     wc_block_step(ctx, b, WC_STAGE_O, ..., x, v, u);        u: input of gate, up
 *     wc_block_step(ctx, b, WC_STAGE_GATE_UP, ..., x, u, v);  v: input of down
 *     wc_block_step(ctx, b, WC_STAGE_DOWN, ..., x, v, NULL);  x: input of the next block
 *
 * Weights are read only inside the step of their stage. Results do not depend on the number of threads. */
#ifndef WC_MODEL_BLOCK_H
#define WC_MODEL_BLOCK_H

#include "model/model.h"

typedef struct wc_block {
    const wc_config *config; /* borrowed */
    size_t layer;
    wc_weight linear[WC_N_LINEARS]; /* q, k, v, o, gate, up, down; an entry may be replaced between steps */
    float *bias[WC_N_LINEARS];      /* NULL: none */
    float *norm[WC_N_NORMS];        /* NULL: none */
} wc_block;

/* Finds the linears, and reads the vectors, of one layer. WC_BADFILE when one is missing or misshapen. The config and
 * the source must outlive the block. */
wc_status wc_block_open(wc_ctx *ctx, const wc_config *c, const wc_weight_source *src, size_t layer, wc_block *out);
void wc_block_close(wc_block *b); /* NULL and a zeroed block are fine */

/* u [t, H] = norm1(x), x [t, H]: the input of WC_STAGE_QKV. */
wc_status wc_block_begin(wc_ctx *ctx, const wc_block *b, size_t t, const float *x, float *u);

/* One stage for t = n_seq * seqlen rows, windows of equal length one after another, each from position 0.
 *   x [t, H]   the residual stream: O and DOWN add to it
 *   u          the stage's input, [t, wc_stage_width(stage)]
 *   v          out: the next stage's input, [t, wc_stage_width(stage + 1)]; unused by DOWN, must not overlap u
 * QKV: v = attention(q, k, v) [then BitNet's sub-norm].       O: x += W_o u; v = norm2(x).
 * GATE_UP: v = silu(W_g u) * (W_u u) [then its sub-norm].      DOWN: x += W_d u.
 * WC_NUMERIC when the result has a NaN or an infinity: names layer, stage and token. x is then spoilt. */
wc_status wc_block_step(wc_ctx *ctx, const wc_block *b, wc_stage stage, size_t n_seq, size_t seqlen, float *x,
                        const float *u, float *v);

/* received [t]: the attention that each token gets in this block (attention.h), from the input u of WC_STAGE_QKV. */
wc_status wc_block_received(wc_ctx *ctx, const wc_block *b, size_t n_seq, size_t seqlen, const float *u,
                            float *received);

/* An upper bound, within a factor of two of what is used, of the bytes that one wc_block_step allocates besides x, u
 * and v. */
uint64_t wc_block_scratch(const wc_ctx *ctx, const wc_config *c, size_t n_seq, size_t seqlen);

#endif
