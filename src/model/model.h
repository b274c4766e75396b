/* model.h - which tensors a model of a given config has, and the two that stand outside its blocks: embedding and head.
 *
 * Letters as in config.h. Tensor names are Hugging Face's: model.layers.N.self_attn.q_proj.weight. */
#ifndef WC_MODEL_MODEL_H
#define WC_MODEL_MODEL_H

#include "model/config.h"
#include "model/weight.h"

typedef enum wc_role {
    WC_ROLE_LINEAR, /* a projection inside a block: what is compressed by default */
    WC_ROLE_EMBED,
    WC_ROLE_HEAD,
    WC_ROLE_NORM,
    WC_ROLE_BIAS,
    WC_ROLE_OTHER /* not read by the forward pass: inv_freq, the lm_head of a tied model, anything unknown */
} wc_role;

/* The groups of linears of a block that share one input, in the order of evaluation. */
typedef enum wc_stage { WC_STAGE_QKV, WC_STAGE_O, WC_STAGE_GATE_UP, WC_STAGE_DOWN, WC_N_STAGES } wc_stage;

enum { WC_N_LINEARS = 7 }; /* q, k, v, o, gate, up, down: indices of wc_block.linear */
typedef enum wc_norm {
    WC_NORM_ATTENTION, /* input_layernorm [H] */
    WC_NORM_MLP,       /* post_attention_layernorm [H] */
    WC_NORM_Q,         /* [D], Qwen3 */
    WC_NORM_K,
    WC_NORM_ATTENTION_OUT, /* [A*D], BitNet */
    WC_NORM_MLP_INNER,     /* [I], BitNet */
    WC_N_NORMS
} wc_norm;

/* The tensors outside blocks. */
extern const char wc_embed_name[], wc_final_norm_name[], wc_head_name[];

/* Width of the stage's input: H, A*D, H, I. */
size_t wc_stage_width(const wc_config *c, wc_stage stage);
/* How many linears the stage has; *indices points to a static list of them: {0,1,2}, {3}, {4,5}, {6}. */
size_t wc_stage_linears(wc_stage stage, const size_t **indices);
/* "self_attn.q_proj" for 0, ... "mlp.down_proj" for 6. */
const char *wc_linear_suffix(size_t linear);

/* One tensor that every block of this config has. */
typedef struct wc_tensor_spec {
    wc_role role;      /* LINEAR, BIAS or NORM */
    size_t index;      /* of the linear (also for its bias) or a wc_norm */
    size_t rows, cols; /* 1-D tensors are [1, n] */
    wc_stage stage;    /* WC_N_STAGES for norms */
} wc_tensor_spec;
enum { WC_MAX_SPECS = 2 * WC_N_LINEARS + WC_N_NORMS, WC_NAME_SIZE = 96 };
/* Fills specs and returns how many there are. */
size_t wc_block_specs(const wc_config *c, wc_tensor_spec specs[WC_MAX_SPECS]);
/* "model.layers.3.mlp.up_proj.bias" */
void wc_spec_name(const wc_tensor_spec *spec, size_t layer, char name[WC_NAME_SIZE]);
/* The tensor of that name and shape. WC_BADFILE when absent or of another shape: the sentence has both shapes. */
wc_status wc_model_find(wc_ctx *ctx, const wc_weight_source *src, const char *name, size_t rows, size_t cols,
                        wc_weight *out);

/* What the tensor of this name is. *layer: its block, SIZE_MAX outside blocks. *stage: whose input it multiplies (or is
 * added to the product of), WC_N_STAGES when it is neither a linear nor its bias. */
wc_role wc_model_role(const wc_config *c, const char *name, size_t *layer, wc_stage *stage);

/* Every tensor that the config calls for is there with the right shape; else WC_BADFILE names the first that is not. */
wc_status wc_model_check(wc_ctx *ctx, const wc_config *c, const wc_weight_source *src);

/* x [n, H] = rows ids of the embedding. WC_BADFILE for an id outside it. */
wc_status wc_model_embed(wc_ctx *ctx, const wc_config *c, const wc_weight_source *src, const uint32_t *ids, size_t n,
                         float *x);

/* The final norm and the projection to logits. */
typedef struct wc_head {
    const wc_config *config; /* borrowed */
    wc_weight weight;        /* [V, H]: lm_head, or the embedding of a tied model */
    float *norm;             /* [H] */
} wc_head;
/* The config and the source must outlive the head. */
wc_status wc_head_open(wc_ctx *ctx, const wc_config *c, const wc_weight_source *src, wc_head *out);
void wc_head_close(wc_head *head); /* NULL and a zeroed head are fine */
/* u [t, H] = final norm of x [t, H]: the input of the head's matrix. u may be x. */
void wc_head_input(wc_ctx *ctx, const wc_head *head, const float *x, size_t t, float *u);
/* logits [t, V] = W norm(x), x [t, H]. Scratch: t * H and one panel of wc_linear_forward. */
wc_status wc_head_logits(wc_ctx *ctx, const wc_head *head, const float *x, size_t t, float *logits);

#endif
