/* mix.h - the stock mixtures of GGUF's types, by the names that llama.cpp's quantizer gives them: which tensor of a
 * model gets which type. A table and a few rules on roles and layers (llama.cpp, llama_tensor_get_type, for models
 * without experts). */
#ifndef WC_MIX_H
#define WC_MIX_H

#include "model/model.h"

typedef struct wc_mix wc_mix;

/* NULL: no such name. Q3_K, Q4_K and Q5_K are other names of their _M. */
const wc_mix *wc_mix_find(const char *name);
/* All names, for messages. */
wc_status wc_mix_names(wc_ctx *ctx, wc_buf *out);

/* The type of a matrix: role LINEAR (linear: index in wc_block.linear, layer), EMBED or HEAD. */
const wc_ggml_type *wc_mix_type(const wc_mix *m, const wc_config *c, wc_role role, size_t linear, size_t layer);

#endif
