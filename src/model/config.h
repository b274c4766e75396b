/* config.h - what config.json says about a model, checked, with the defaults of its architecture filled in.
 *
 * Letters: H hidden, I intermediate, A query heads, G key/value heads, D head size, V vocabulary, L layers. */
#ifndef WC_MODEL_CONFIG_H
#define WC_MODEL_CONFIG_H

#include "base/part.h"

enum { WC_MAX_LAYERS = 4096, WC_MAX_HEAD_DIM = 1024, WC_MAX_EOS = 64 };

typedef enum wc_rope_type {
    WC_ROPE_DEFAULT,
    WC_ROPE_LINEAR,
    WC_ROPE_DYNAMIC,
    WC_ROPE_NTK,
    WC_ROPE_YARN,
    WC_ROPE_LLAMA3,
    WC_ROPE_LONGROPE
} wc_rope_type;

/* Rotary positions; the formulas are in rope.c. Fields that the type does not use hold neutral values. */
typedef struct wc_rope_config {
    wc_rope_type type;
    size_t dim; /* rotated entries at the start of each head: even, 2..D */
    double theta, factor;
    size_t max_positions, original_max_positions;
    double attention_factor;                  /* multiplies cos and sin; resolved: never 0 */
    double beta_fast, beta_slow;              /* yarn */
    bool truncate;                            /* yarn */
    double low_freq_factor, high_freq_factor; /* llama3 */
    float short_factor[WC_MAX_HEAD_DIM / 2];  /* longrope, [dim / 2] */
    float long_factor[WC_MAX_HEAD_DIM / 2];
} wc_rope_config;

/* Plain data: no pointer is owned, a copy is a config. */
typedef struct wc_config {
    const char *model_type; /* "llama", "mistral", "qwen2", "qwen3", "bitnet"; static */
    size_t hidden, intermediate, layers, heads, kv_heads, head_dim, vocab, max_positions;
    float norm_eps;
    bool tied; /* the head is the embedding; a stored lm_head is ignored, as HF does */
    bool qkv_bias, o_bias, mlp_bias;
    bool qk_norm;                         /* RMSNorm of each head of q and k before the rotation (Qwen3) */
    bool sub_norm;                        /* RMSNorm of the inputs of o_proj and down_proj (BitNet) */
    size_t window;                        /* keys that a sliding layer sees, itself included; 0: no layer slides */
    uint64_t sliding[WC_MAX_LAYERS / 64]; /* bit per layer; read with wc_config_window */
    wc_rope_config rope;
    wc_dtype dtype; /* what the file claims; WC_DTYPE_NONE if it does not say. The tensors decide. */
    size_t n_eos;
    uint32_t eos[WC_MAX_EOS];
} wc_config;

/* Parses config.json (size bytes, no NUL needed). label names it in messages. Old and new spellings are taken:
 * rope_theta and rope_scaling or rope_parameters, sliding_window or layer_types, torch_dtype or dtype. WC_BADFILE: not
 * JSON, a value of the wrong type or out of range, or two that contradict each other. WC_UNSUPPORTED: a sound config of
 * a model that we do not run. *out is untouched on failure. Source: transformers' configuration classes and
 * ROPE_INIT_FUNCTIONS. */
wc_status wc_config_parse(wc_ctx *ctx, const char *json, size_t size, const char *label, wc_config *out);

/* How many keys a query of this layer sees at most; SIZE_MAX: all up to itself. */
size_t wc_config_window(const wc_config *c, size_t layer);

#endif
