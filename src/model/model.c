#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/linear.h"
#include "model/rmsnorm.h"

/* ---- the inventory --------------------------------------------------------------------------------------------------
 */

static const char *const linear_suffix[WC_N_LINEARS] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                        "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                        "mlp.down_proj"};
static const char *const norm_suffix[WC_N_NORMS] = {
    [WC_NORM_ATTENTION] = "input_layernorm",
    [WC_NORM_MLP] = "post_attention_layernorm",
    [WC_NORM_Q] = "self_attn.q_norm",
    [WC_NORM_K] = "self_attn.k_norm",
    [WC_NORM_ATTENTION_OUT] = "self_attn.attn_sub_norm",
    [WC_NORM_MLP_INNER] = "mlp.ffn_sub_norm",
};
const char wc_embed_name[] = "model.embed_tokens.weight", wc_final_norm_name[] = "model.norm.weight",
           wc_head_name[] = "lm_head.weight";
static const char layer_prefix[] = "model.layers.";

static const struct {
    size_t n;
    size_t linear[3];
} stages[WC_N_STAGES] = {{3, {0, 1, 2}}, {1, {3}}, {2, {4, 5}}, {1, {6}}};

size_t wc_stage_linears(wc_stage stage, const size_t **indices)
{
    *indices = stages[stage].linear;
    return stages[stage].n;
}

const char *wc_linear_suffix(size_t linear)
{
    return linear_suffix[linear];
}

size_t wc_stage_width(const wc_config *c, wc_stage stage)
{
    switch (stage) {
    case WC_STAGE_O: return c->heads * c->head_dim;
    case WC_STAGE_DOWN: return c->intermediate;
    default: return c->hidden;
    }
}

static size_t linear_rows(const wc_config *c, size_t linear)
{
    const size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, h = c->hidden, i = c->intermediate;
    const size_t rows[WC_N_LINEARS] = {q, kv, kv, h, i, i, h};
    return rows[linear];
}

static bool has_bias(const wc_config *c, wc_stage stage)
{
    return stage == WC_STAGE_QKV ? c->qkv_bias : stage == WC_STAGE_O ? c->o_bias : c->mlp_bias;
}

/* 0: this model has no such norm. */
static size_t norm_width(const wc_config *c, wc_norm norm)
{
    switch (norm) {
    case WC_NORM_Q:
    case WC_NORM_K: return c->qk_norm ? c->head_dim : 0;
    case WC_NORM_ATTENTION_OUT: return c->sub_norm ? c->heads * c->head_dim : 0;
    case WC_NORM_MLP_INNER: return c->sub_norm ? c->intermediate : 0;
    default: return c->hidden;
    }
}

size_t wc_block_specs(const wc_config *c, wc_tensor_spec specs[WC_MAX_SPECS])
{
    size_t n = 0;
    for (wc_stage s = 0; s < WC_N_STAGES; s++)
        for (size_t k = 0; k < stages[s].n; k++) {
            size_t i = stages[s].linear[k], rows = linear_rows(c, i);
            specs[n++] = (wc_tensor_spec){WC_ROLE_LINEAR, i, rows, wc_stage_width(c, s), s};
            if (has_bias(c, s)) specs[n++] = (wc_tensor_spec){WC_ROLE_BIAS, i, 1, rows, s};
        }
    for (wc_norm i = 0; i < WC_N_NORMS; i++)
        if (norm_width(c, i)) specs[n++] = (wc_tensor_spec){WC_ROLE_NORM, i, 1, norm_width(c, i), WC_N_STAGES};
    return n;
}

void wc_spec_name(const wc_tensor_spec *spec, size_t layer, char name[WC_NAME_SIZE])
{
    snprintf(name, WC_NAME_SIZE, "%s%zu.%s.%s", layer_prefix, layer,
             spec->role == WC_ROLE_NORM ? norm_suffix[spec->index] : linear_suffix[spec->index],
             spec->role == WC_ROLE_BIAS ? "bias" : "weight");
}

/* The number after the prefix, which must be written as wc_spec_name writes it; SIZE_MAX otherwise. */
static size_t layer_of(const char *name, size_t layers)
{
    const size_t skip = sizeof layer_prefix - 1;
    if (strncmp(name, layer_prefix, skip)) return SIZE_MAX;
    size_t layer = 0;
    const char *digits = name + skip, *p = digits;
    for (; *p >= '0' && *p <= '9'; p++) {
        layer = layer * 10 + (size_t)(*p - '0');
        if (layer >= layers) return SIZE_MAX;
    }
    bool canonical = p > digits && *p == '.' && (*digits != '0' || p == digits + 1);
    return canonical ? layer : SIZE_MAX;
}

wc_role wc_model_role(const wc_config *c, const char *name, size_t *layer, wc_stage *stage)
{
    *layer = layer_of(name, c->layers);
    *stage = WC_N_STAGES;
    if (*layer == SIZE_MAX) {
        if (!strcmp(name, wc_embed_name)) return WC_ROLE_EMBED;
        if (!strcmp(name, wc_final_norm_name)) return WC_ROLE_NORM;
        return !c->tied && !strcmp(name, wc_head_name) ? WC_ROLE_HEAD : WC_ROLE_OTHER;
    }
    wc_tensor_spec specs[WC_MAX_SPECS];
    size_t n = wc_block_specs(c, specs);
    for (size_t i = 0; i < n; i++) {
        char expected[WC_NAME_SIZE];
        wc_spec_name(&specs[i], *layer, expected);
        if (strcmp(name, expected)) continue;
        *stage = specs[i].stage;
        return specs[i].role;
    }
    return WC_ROLE_OTHER;
}

wc_status wc_model_find(wc_ctx *ctx, const wc_weight_source *src, const char *name, size_t rows, size_t cols,
                        wc_weight *out)
{
    wc_weight w = {0};
    WC_TRY(src->find(ctx, src->self, name, &w));
    if (!w.rows)
        return wc_fail(ctx, WC_BADFILE, "%s: tensor `%s' [%zu, %zu], which config.json calls for, is missing",
                       src->label, name, rows, cols);
    if (w.rows != rows || w.cols != cols)
        return wc_fail(ctx, WC_BADFILE, "%s: tensor `%s' is [%zu, %zu], config.json makes it [%zu, %zu]", src->label,
                       name, w.rows, w.cols, rows, cols);
    *out = w;
    return WC_OK;
}

static wc_status find_head(wc_ctx *ctx, const wc_config *c, const wc_weight_source *src, wc_weight *out)
{
    return wc_model_find(ctx, src, c->tied ? wc_embed_name : wc_head_name, c->vocab, c->hidden, out);
}

wc_status wc_model_check(wc_ctx *ctx, const wc_config *c, const wc_weight_source *src)
{
    wc_tensor_spec specs[WC_MAX_SPECS];
    size_t n = wc_block_specs(c, specs);
    wc_weight w;
    WC_TRY(wc_model_find(ctx, src, wc_embed_name, c->vocab, c->hidden, &w));
    WC_TRY(wc_model_find(ctx, src, wc_final_norm_name, 1, c->hidden, &w));
    WC_TRY(find_head(ctx, c, src, &w));
    for (size_t l = 0; l < c->layers; l++)
        for (size_t i = 0; i < n; i++) {
            char name[WC_NAME_SIZE];
            wc_spec_name(&specs[i], l, name);
            WC_TRY(wc_model_find(ctx, src, name, specs[i].rows, specs[i].cols, &w));
        }
    return WC_OK;
}

/* ---- embedding and head ---------------------------------------------------------------------------------------------
 */

wc_status wc_model_embed(wc_ctx *ctx, const wc_config *c, const wc_weight_source *src, const uint32_t *ids, size_t n,
                         float *x)
{
    wc_weight w;
    WC_TRY(wc_model_find(ctx, src, wc_embed_name, c->vocab, c->hidden, &w));
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= w.rows)
            return wc_fail(ctx, WC_BADFILE, "%s: token id %" PRIu32 " (position %zu), the model has %zu rows",
                           src->label, ids[i], i, w.rows);
    for (size_t i = 0; i < n; i++)
        WC_TRY(w.read(ctx, &w, ids[i], 1, x + i * c->hidden));
    return WC_OK;
}

wc_status wc_head_open(wc_ctx *ctx, const wc_config *c, const wc_weight_source *src, wc_head *out)
{
    wc_head head = {.config = c};
    WC_TRY(find_head(ctx, c, src, &head.weight));
    WC_TRY(wc_vector_read(ctx, src, wc_final_norm_name, c->hidden, &head.norm));
    *out = head;
    return WC_OK;
}

void wc_head_close(wc_head *head)
{
    if (!head) return;
    free(head->norm);
    memset(head, 0, sizeof *head);
}

void wc_head_input(wc_ctx *ctx, const wc_head *head, const float *x, size_t t, float *u)
{
    wc_rmsnorm(ctx, x, head->norm, t, head->config->hidden, head->config->norm_eps, u);
}

wc_status wc_head_logits(wc_ctx *ctx, const wc_head *head, const float *x, size_t t, float *logits)
{
    float *u;
    WC_TRY(WC_ALLOC(ctx, u, t * head->config->hidden, "the input of the head"));
    wc_head_input(ctx, head, x, t, u);
    wc_status status = wc_linear_forward(ctx, &head->weight, NULL, WC_LINEAR_SET, u, t, logits, head->config->vocab);
    free(u);
    return status;
}
