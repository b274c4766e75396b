/* gguf.h - a model, compressed or not, as a GGUF file that llama.cpp loads.
 *
 * Parts of kind ggml are copied bit for bit, values stored as F32, F16 or BF16 too; a tensor of anything else becomes
 * floats of the type asked for, and a warning says how many did. Vectors are F32. For the architecture llama the rows
 * of q and k are interleaved on the way (rows are independent of each other, so blocks move as they are). */
#ifndef WC_EXPORT_GGUF_H
#define WC_EXPORT_GGUF_H

#include "input.h"

typedef struct wc_gguf_options {
    const char *path; /* of the file; NULL: only what would be refused, and the size */
    unsigned type;    /* of what has no type in GGUF: WC_GGML_F16, _F32 or _BF16 */
    const char *pre;  /* tokenizer.ggml.pre, or NULL: recognised from the tokenizer's patterns */
    const char *name; /* general.name */
} wc_gguf_options;

typedef struct wc_gguf_result {
    uint64_t bytes;
    size_t tensors, copied, converted; /* converted: to floats, from what GGUF has no type for */
} wc_gguf_result;

/* WC_UNSUPPORTED: an architecture, a scaling of positions or a tokenizer that GGUF cannot say, or values beyond f16:
 * the sentence says what to do. */
wc_status wc_export_gguf(wc_ctx *ctx, const wc_input *in, const wc_gguf_options *opt, wc_gguf_result *result);

#endif
