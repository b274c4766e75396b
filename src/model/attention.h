/* attention.h - causal grouped-query attention over equal windows. */
#ifndef WC_MODEL_ATTENTION_H
#define WC_MODEL_ATTENTION_H

#include "base/mem.h"

typedef struct wc_attention {
    size_t n_seq, seqlen;             /* rows: n_seq windows of seqlen tokens that do not see each other */
    size_t heads, kv_heads, head_dim; /* A, G, D; query head h uses key/value head h / (A / G) */
    size_t window;                    /* keys that a query sees at most, itself included; SIZE_MAX: all up to itself */
    const float *q, *k, *v;           /* rotated q [t, A*D], k and v [t, G*D], all with row stride ld */
    size_t ld;
} wc_attention;

/* out [t, A*D] = softmax(q k^T / sqrt(D), causal) v. Scratch: wc_attention_scratch bytes. */
wc_status wc_attention_forward(wc_ctx *ctx, const wc_attention *a, float *out);

/* received [t] = what a token's key gets of the attention of its window: the probabilities that all queries give it, as
 * a mean over the heads. They add up to the window's length. v is not read. The same scratch. */
wc_status wc_attention_received(wc_ctx *ctx, const wc_attention *a, float *received);
uint64_t wc_attention_scratch(const wc_ctx *ctx, size_t seqlen);

#endif
