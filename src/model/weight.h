/* weight.h - a matrix whose rows come as f32 on demand: from a mapped checkpoint, from a .wcz, from memory. The forward
 * pass sees nothing else, so an original and a compressed model run through the same code, and no model is ever whole
 * in memory. */
#ifndef WC_MODEL_WEIGHT_H
#define WC_MODEL_WEIGHT_H

#include "base/status.h"

typedef struct wc_weight {
    size_t rows, cols; /* y = W x, W [rows, cols]; rows == 0: absent */
    const char *name;  /* full tensor name, owned by the source */
    /* dst [nr, cols] = rows r0 .. r0+nr. Callable from several threads. NaN/Inf are passed through. */
    wc_status (*read)(wc_ctx *ctx, const struct wc_weight *w, size_t r0, size_t nr, float *dst);
    const void *source; /* what read() reads from */
    uint64_t index;     /* free for the source */
} wc_weight;

/* Where weights come from by name. found() leaves out->rows == 0 and returns WC_OK when there is no such tensor. 1-D
 * tensors are [1, n]. */
typedef struct wc_weight_source {
    wc_status (*find)(wc_ctx *ctx, const void *self, const char *name, wc_weight *out);
    /* Told when a block's weights will not be needed soon: drops resident pages. May be NULL. */
    void (*release)(const void *self);
    const void *self;
    const char *label; /* path, for messages */
} wc_weight_source;

#endif
