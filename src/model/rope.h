/* rope.h - rotary position embedding (Su et al. 2021) and its length extensions. */
#ifndef WC_MODEL_ROPE_H
#define WC_MODEL_ROPE_H

#include "model/config.h"

/* cos and sin of position p and frequency i at [p * dim / 2 + i], times the attention factor. */
typedef struct wc_rope {
    size_t dim, positions;
    float *cosine, *sine; /* [positions, dim / 2] */
} wc_rope;

/* f [dim / 2]: the angle per position for sequences of `length' tokens (dynamic and longrope depend on it), in the f32
 * steps of transformers' ROPE_INIT_FUNCTIONS. */
void wc_rope_frequencies(const wc_rope_config *c, size_t length, float *f);

/* Tables for positions 0 .. positions-1 of sequences of that length. */
wc_status wc_rope_open(wc_ctx *ctx, const wc_rope_config *c, size_t positions, wc_rope *out);
void wc_rope_close(wc_rope *r); /* NULL is fine */

/* Rotates `heads' heads of width head_dim, side by side in each row of x [t, ld], in place. Row i stands at position
 * i % r->positions. Pairs are (i, i + dim/2), the "half" layout of Hugging Face; entries from dim on stay. */
void wc_rope_apply(wc_ctx *ctx, const wc_rope *r, float *x, size_t ld, size_t t, size_t heads, size_t head_dim);

#endif
