#include "model/block.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/elementwise.h"
#include "model/attention.h"
#include "model/linear.h"
#include "model/rmsnorm.h"
#include "model/rope.h"

enum { Q, K, V, O, GATE, UP, DOWN };

/* ---- open and close -------------------------------------------------------------------------------------------------
 */

wc_status wc_block_open(wc_ctx *ctx, const wc_config *c, const wc_weight_source *src, size_t layer, wc_block *out)
{
    wc_block b = {.config = c, .layer = layer};
    wc_tensor_spec specs[WC_MAX_SPECS];
    size_t n = wc_block_specs(c, specs);
    wc_status status;
    for (size_t i = 0; i < n; i++) {
        const wc_tensor_spec *s = &specs[i];
        char name[WC_NAME_SIZE];
        wc_spec_name(s, layer, name);
        if (s->role == WC_ROLE_LINEAR)
            WC_TRY_OUT(wc_model_find(ctx, src, name, s->rows, s->cols, &b.linear[s->index]));
        else
            WC_TRY_OUT(wc_vector_read(ctx, src, name, s->cols,
                                      s->role == WC_ROLE_BIAS ? &b.bias[s->index] : &b.norm[s->index]));
    }
    *out = b;
    return WC_OK;
out:
    wc_block_close(&b);
    return status;
}

void wc_block_close(wc_block *b)
{
    if (!b) return;
    for (size_t i = 0; i < WC_N_LINEARS; i++)
        free(b->bias[i]);
    for (size_t i = 0; i < WC_N_NORMS; i++)
        free(b->norm[i]);
    memset(b, 0, sizeof *b);
}

/* ---- stages ---------------------------------------------------------------------------------------------------------
 */

static wc_status linear(wc_ctx *ctx, const wc_block *b, size_t i, wc_linear_mode mode, const float *x, size_t t,
                        float *y, size_t ldy)
{
    return wc_linear_forward(ctx, &b->linear[i], b->bias[i], mode, x, t, y, ldy);
}

static void norm(wc_ctx *ctx, const wc_block *b, wc_norm which, size_t t, size_t n, const float *x, float *y)
{
    if (b->norm[which]) wc_rmsnorm(ctx, x, b->norm[which], t, n, b->config->norm_eps, y);
}

/* q, k and v side by side in the rows of one buffer, so that one rotation call covers q and k when there is no q/k norm
 * between. *buffer: for the caller to free; a points into it. */
static wc_status project_qkv(wc_ctx *ctx, const wc_block *b, size_t n_seq, size_t seqlen, const float *u,
                             float **buffer, wc_attention *a)
{
    const wc_config *c = b->config;
    size_t t = n_seq * seqlen, d = c->head_dim, wide = c->heads * d, narrow = c->kv_heads * d, ld = wide + 2 * narrow;
    float *qkv = NULL;
    wc_rope rope = {0};
    wc_status status;
    WC_TRY_OUT(WC_ALLOC_RAW(ctx, qkv, t * ld, "queries, keys and values"));
    float *q = qkv, *k = q + wide, *v = k + narrow;
    WC_TRY_OUT(linear(ctx, b, Q, WC_LINEAR_SET, u, t, q, ld));
    WC_TRY_OUT(linear(ctx, b, K, WC_LINEAR_SET, u, t, k, ld));
    WC_TRY_OUT(linear(ctx, b, V, WC_LINEAR_SET, u, t, v, ld));
    if (c->qk_norm) {
        wc_rmsnorm_heads(ctx, q, ld, b->norm[WC_NORM_Q], t, c->heads, d, c->norm_eps);
        wc_rmsnorm_heads(ctx, k, ld, b->norm[WC_NORM_K], t, c->kv_heads, d, c->norm_eps);
    }
    WC_TRY_OUT(wc_rope_open(ctx, &c->rope, seqlen, &rope));
    wc_rope_apply(ctx, &rope, qkv, ld, t, c->heads + c->kv_heads, d);
    *a = (wc_attention){n_seq, seqlen, c->heads, c->kv_heads, d, wc_config_window(c, b->layer), q, k, v, ld};
    *buffer = qkv;
    qkv = NULL;
out:
    wc_rope_close(&rope);
    free(qkv);
    return status;
}

static wc_status step_qkv(wc_ctx *ctx, const wc_block *b, size_t n_seq, size_t seqlen, const float *u, float *out)
{
    wc_attention a;
    float *qkv;
    WC_TRY(project_qkv(ctx, b, n_seq, seqlen, u, &qkv, &a));
    wc_status status = wc_attention_forward(ctx, &a, out);
    if (status == WC_OK) norm(ctx, b, WC_NORM_ATTENTION_OUT, n_seq * seqlen, a.heads * a.head_dim, out, out);
    free(qkv);
    return status;
}

wc_status wc_block_received(wc_ctx *ctx, const wc_block *b, size_t n_seq, size_t seqlen, const float *u,
                            float *received)
{
    wc_attention a;
    float *qkv;
    WC_TRY(project_qkv(ctx, b, n_seq, seqlen, u, &qkv, &a));
    wc_status status = wc_attention_received(ctx, &a, received);
    free(qkv);
    return status;
}

/* up is made panel by panel and multiplied in at once: it never exists whole. */
static wc_status step_gate_up(wc_ctx *ctx, const wc_block *b, size_t t, const float *u, float *v)
{
    const wck_elementwise *kernel = wck_elementwise_at(wck_level_used());
    const size_t inner = b->config->intermediate, wide = wc_min(WC_PANEL_ROWS, inner);
    float *panel = NULL, *up = NULL;
    wc_status status;
    WC_TRY_OUT(linear(ctx, b, GATE, WC_LINEAR_SET, u, t, v, inner));
    WC_TRY_OUT(WC_ALLOC_RAW(ctx, panel, wide * b->config->hidden, "a panel of up_proj"));
    WC_TRY_OUT(WC_ALLOC_RAW(ctx, up, t * wide, "part of up_proj's output"));
    for (size_t r = 0; r < inner; r += wide) {
        size_t nr = wc_min(wide, inner - r);
        WC_TRY_OUT(wc_linear_rows(ctx, &b->linear[UP], b->bias[UP], r, nr, u, t, panel, WC_LINEAR_SET, up, nr));
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
        for (size_t i = 0; i < t; i++)
            kernel->silu_mul(v + i * inner + r, up + i * nr, nr);
    }
    norm(ctx, b, WC_NORM_MLP_INNER, t, inner, v, v);
out:
    free(panel);
    free(up);
    return status;
}

static wc_status check_finite(wc_ctx *ctx, const wc_block *b, const char *where, const float *x, size_t t, size_t n)
{
    const wck_elementwise *kernel = wck_elementwise_at(wck_level_used());
    size_t bad = SIZE_MAX;
#pragma omp parallel for schedule(static) num_threads(ctx->threads) reduction(min : bad)
    for (size_t i = 0; i < t; i++)
        if (!kernel->finite(x + i * n, n) && i < bad) bad = i;
    if (bad == SIZE_MAX) return WC_OK;
    return wc_fail(ctx, WC_NUMERIC, "layer %zu: %s of token %zu of %zu has a NaN or an infinity", b->layer, where, bad,
                   t);
}

wc_status wc_block_begin(wc_ctx *ctx, const wc_block *b, size_t t, const float *x, float *u)
{
    norm(ctx, b, WC_NORM_ATTENTION, t, b->config->hidden, x, u);
    return check_finite(ctx, b, "the input", u, t, b->config->hidden);
}

wc_status wc_block_step(wc_ctx *ctx, const wc_block *b, wc_stage stage, size_t n_seq, size_t seqlen, float *x,
                        const float *u, float *v)
{
    size_t t = n_seq * seqlen, h = b->config->hidden;
    switch (stage) {
    case WC_STAGE_QKV:
        WC_TRY(step_qkv(ctx, b, n_seq, seqlen, u, v));
        return check_finite(ctx, b, "the attention output", v, t, wc_stage_width(b->config, WC_STAGE_O));
    case WC_STAGE_O:
        WC_TRY(linear(ctx, b, O, WC_LINEAR_ADD, u, t, x, h));
        norm(ctx, b, WC_NORM_MLP, t, h, x, v);
        return check_finite(ctx, b, "the residual after attention", x, t, h);
    case WC_STAGE_GATE_UP:
        WC_TRY(step_gate_up(ctx, b, t, u, v));
        return check_finite(ctx, b, "the gated activation", v, t, b->config->intermediate);
    case WC_STAGE_DOWN:
        WC_TRY(linear(ctx, b, DOWN, WC_LINEAR_ADD, u, t, x, h));
        return check_finite(ctx, b, "the output", x, t, h);
    default: return wc_fail(ctx, WC_BUG, "no stage %d in a block", (int)stage);
    }
}

uint64_t wc_block_scratch(const wc_ctx *ctx, const wc_config *c, size_t n_seq, size_t seqlen)
{
    uint64_t t = (uint64_t)n_seq * seqlen, widest = 0, qkv_width = (c->heads + 2 * c->kv_heads) * c->head_dim;
    for (wc_stage s = 0; s < WC_N_STAGES; s++)
        if (wc_stage_width(c, s) > widest) widest = wc_stage_width(c, s);
    uint64_t panel = WC_PANEL_ROWS * widest * sizeof(float), qkv = t * qkv_width * sizeof(float),
             rope = seqlen * c->rope.dim * sizeof(float), attention = wc_attention_scratch(ctx, seqlen),
             up = t * wc_min(WC_PANEL_ROWS, c->intermediate) * sizeof(float);
    /* The panels of q, k, v are gone when rotation and attention begin. */
    uint64_t first = qkv + (panel > rope + attention ? panel : rope + attention), third = up + panel;
    return first > third ? first : third;
}
