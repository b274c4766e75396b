#include "io/gguf_model.h"
#include "io/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---------------------------------------------------------------------------------------------------------
 */

static const struct {
    const char *gguf, *hf;
} outside[] = {{"token_embd.weight", "model.embed_tokens.weight"},
               {"output_norm.weight", "model.norm.weight"},
               {"output.weight", "lm_head.weight"}},
  inside[] = {{"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
              {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
              {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
              {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
              {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
              {"ffn_down", "mlp.down_proj"}};
enum { N_OUTSIDE = sizeof outside / sizeof *outside, N_INSIDE = sizeof inside / sizeof *inside };

/* "PREFIX12.STEM.weight": the number, the stem and what follows it. */
static bool split(const char *name, const char *prefix, unsigned *layer, const char **stem, size_t *n)
{
    size_t skip = strlen(prefix);
    int used = 0;
    const char *dot = strrchr(name, '.');
    if (strncmp(name, prefix, skip) || sscanf(name + skip, "%5u.%n", layer, &used) != 1 || !used) return false;
    *stem = name + skip + used;
    if (!dot || dot <= *stem || (strcmp(dot, ".weight") && strcmp(dot, ".bias"))) return false;
    *n = (size_t)(dot - *stem);
    return true;
}

static bool is(const char *stem, size_t n, const char *word)
{
    return strlen(word) == n && !memcmp(stem, word, n);
}

void wc_gguf_hf_name(const char *name, char dst[WC_GGUF_NAME_ROOM])
{
    unsigned layer;
    const char *stem;
    size_t n;
    snprintf(dst, WC_GGUF_NAME_ROOM, "%s", name);
    for (size_t i = 0; i < N_OUTSIDE; i++)
        if (!strcmp(name, outside[i].gguf)) snprintf(dst, WC_GGUF_NAME_ROOM, "%s", outside[i].hf);
    if (!split(name, "blk.", &layer, &stem, &n)) return;
    for (size_t i = 0; i < N_INSIDE; i++)
        if (is(stem, n, inside[i].gguf))
            snprintf(dst, WC_GGUF_NAME_ROOM, "model.layers.%u.%s%s", layer, inside[i].hf, stem + n);
}

bool wc_gguf_name(const char *hf_name, char dst[WC_GGUF_NAME_ROOM])
{
    unsigned layer;
    const char *stem;
    size_t n;
    for (size_t i = 0; i < N_OUTSIDE; i++)
        if (!strcmp(hf_name, outside[i].hf)) return snprintf(dst, WC_GGUF_NAME_ROOM, "%s", outside[i].gguf) > 0;
    if (!split(hf_name, "model.layers.", &layer, &stem, &n)) return false;
    for (size_t i = 0; i < N_INSIDE; i++)
        if (is(stem, n, inside[i].hf))
            return snprintf(dst, WC_GGUF_NAME_ROOM, "blk.%u.%s%s", layer, inside[i].gguf, stem + n) > 0;
    return false;
}

/* ---- rows of q and k ------------------------------------------------------------------------------------------------
 */

uint64_t wc_gguf_interleave(uint64_t row, uint64_t rows, uint32_t heads)
{
    uint64_t d = rows / heads, i = row % d;
    return row - i + (i < d / 2 ? 2 * i : 2 * (i - d / 2) + 1);
}

uint64_t wc_gguf_deinterleave(uint64_t row, uint64_t rows, uint32_t heads)
{
    uint64_t d = rows / heads, i = row % d;
    return row - i + i / 2 + (i % 2 ? d / 2 : 0);
}

static wc_status head_counts(wc_ctx *ctx, const wc_gguf *g, const char *arch, uint64_t *q, uint64_t *kv)
{
    char key[96];
    snprintf(key, sizeof key, "%s.attention.head_count", arch);
    WC_TRY(wc_gguf_u64(ctx, g, key, UINT64_MAX, 1, 1 << 16, q));
    snprintf(key, sizeof key, "%s.attention.head_count_kv", arch);
    return wc_gguf_u64(ctx, g, key, *q, 1, 1 << 16, kv);
}

wc_status wc_gguf_interleaved(wc_ctx *ctx, const wc_gguf *g, const char *name, uint32_t *heads)
{
    unsigned layer;
    const char *stem;
    size_t n;
    uint64_t q, kv;
    *heads = 0;
    if (!wc_gguf_says(g, "general.architecture", "llama") || !split(name, "blk.", &layer, &stem, &n)) return WC_OK;
    if (!is(stem, n, "attn_q") && !is(stem, n, "attn_k")) return WC_OK;
    WC_TRY(head_counts(ctx, g, "llama", &q, &kv));
    *heads = (uint32_t)(is(stem, n, "attn_q") ? q : kv);
    return WC_OK;
}

/* ---- config.json ------------------------------------------------------------------------------------------------- */

static const wc_gguf_tensor *find_tensor(const wc_gguf *g, const char *name)
{
    for (size_t i = 0; i < g->n; i++)
        if (!strcmp(g->tensor[i].name, name)) return &g->tensor[i];
    return NULL;
}

typedef struct maker {
    wc_ctx *ctx;
    const wc_gguf *g;
    char arch[32];
    json_t *root;
} maker;

/* root[hf] = the architecture's key. */
static wc_status whole(maker *m, const char *hf, const char *key, uint64_t def)
{
    char full[96];
    uint64_t x;
    snprintf(full, sizeof full, "%s.%s", m->arch, key);
    WC_TRY(wc_gguf_u64(m->ctx, m->g, full, def, 0, 1 << 30, &x));
    json_object_set_new(m->root, hf, json_integer((json_int_t)x));
    return WC_OK;
}

/* A f32 as the shortest decimal that gives it back: 1e-05, not 9.99999974737875e-06. */
static json_t *short_real(double x)
{
    char text[40];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if ((float)strtod(text, NULL) == (float)x) break;
    }
    return json_real(strtod(text, NULL));
}

static wc_status real(maker *m, const char *hf, const char *key, double def)
{
    char full[96];
    double x;
    snprintf(full, sizeof full, "%s.%s", m->arch, key);
    WC_TRY(wc_gguf_real(m->ctx, m->g, full, def, &x));
    json_object_set_new(m->root, hf, short_real(x));
    return WC_OK;
}

static void special_id(maker *m, const char *hf, const char *key)
{
    uint64_t id;
    if (wc_gguf_find(m->g, key) && wc_gguf_u64(m->ctx, m->g, key, 0, 0, 1 << 24, &id) == WC_OK)
        json_object_set_new(m->root, hf, json_integer((json_int_t)id));
    wc_clear_error(m->ctx);
}

/* What Llama 3's frequencies are divided by (io dossier; transformers' llama3). */
static double llama3_divisor(double frequency, double factor, double low, double high, double old)
{
    double wavelength = 2 * 3.14159265358979323846 / frequency;
    if (wavelength < old / high) return 1;
    if (wavelength > old / low) return factor;
    double s = (old / wavelength - low) / (high - low);
    return 1 / ((1 - s) / factor + s);
}

/* rope_freqs.weight holds the divisors and not what they come from: that is in keys of our own, or those of Llama 3.x
 * are tried. */
static wc_status llama3_scaling(maker *m, const wc_gguf_tensor *t, const uint8_t *file)
{
    double base = json_number_value(json_object_get(m->root, "rope_theta")), factor = 1, low, high;
    uint64_t old;
    WC_TRY(wc_gguf_real(m->ctx, m->g, "wcompress.rope.low_freq_factor", 1, &low));
    WC_TRY(wc_gguf_real(m->ctx, m->g, "wcompress.rope.high_freq_factor", 4, &high));
    WC_TRY(wc_gguf_u64(m->ctx, m->g, "wcompress.rope.original_context_length", 8192, 1, 1 << 30, &old));
    if (t->type != WC_GGML_F32 || !file) return wc_fail(m->ctx, WC_UNSUPPORTED, "GGUF: rope_freqs.weight is not F32");
    uint64_t n = t->dims[0];
    for (uint64_t i = 0; i < n; i++) {
        float x;
        memcpy(&x, file + t->offset + 4 * i, 4);
        factor = fmax(factor, (double)x);
    }
    for (uint64_t i = 0; i < n; i++) {
        float x;
        memcpy(&x, file + t->offset + 4 * i, 4);
        double frequency = pow(base, -(double)i / (double)n);
        if (fabs(llama3_divisor(frequency, factor, low, high, (double)old) / (double)x - 1) > 1e-3)
            return wc_fail(m->ctx, WC_UNSUPPORTED,
                           "GGUF: rope_freqs.weight is not Llama 3's scaling of rotary frequencies");
    }
    json_object_set_new(m->root, "rope_scaling",
                        json_pack("{s:s, s:o, s:o, s:o, s:I}", "rope_type", "llama3", "factor", short_real(factor),
                                  "low_freq_factor", short_real(low), "high_freq_factor", short_real(high),
                                  "original_max_position_embeddings", (json_int_t)old));
    return WC_OK;
}

static wc_status rope(maker *m)
{
    char key[96];
    double factor;
    const wc_gguf_tensor *freqs = find_tensor(m->g, "rope_freqs.weight");
    WC_TRY(real(m, "rope_theta", "rope.freq_base", 10000));
    if (freqs) return llama3_scaling(m, freqs, m->g->map.data);
    snprintf(key, sizeof key, "%s.rope.scaling.factor", m->arch);
    WC_TRY(wc_gguf_real(m->ctx, m->g, key, 0, &factor));
    snprintf(key, sizeof key, "%s.rope.scaling.type", m->arch);
    const char *p;
    size_t n;
    if (!wc_gguf_string(m->g, key, &p, &n) || is(p, n, "none") || factor == 0) return WC_OK;
    if (is(p, n, "linear")) {
        json_object_set_new(m->root, "rope_scaling",
                            json_pack("{s:s, s:o}", "rope_type", "linear", "factor", short_real(factor)));
        return WC_OK;
    }
    if (!is(p, n, "yarn"))
        return wc_fail(m->ctx, WC_UNSUPPORTED, "GGUF: rotary scaling `%.*s' is not supported", (int)(n < 40 ? n : 40),
                       p);
    uint64_t old;
    snprintf(key, sizeof key, "%s.rope.scaling.original_context_length", m->arch);
    WC_TRY(wc_gguf_u64(m->ctx, m->g, key, UINT64_MAX, 1, 1 << 30, &old));
    json_object_set_new(m->root, "rope_scaling",
                        json_pack("{s:s, s:o, s:I}", "rope_type", "yarn", "factor", short_real(factor),
                                  "original_max_position_embeddings", (json_int_t)old));
    return WC_OK;
}

static wc_status numbers(maker *m)
{
    const wc_gguf_tensor *embed = find_tensor(m->g, "token_embd.weight");
    uint64_t q, kv, width;
    char key[96];
    if (!embed || embed->n_dims != 2) return wc_fail(m->ctx, WC_BADFILE, "GGUF: token_embd.weight is missing");
    WC_TRY(head_counts(m->ctx, m->g, m->arch, &q, &kv));
    WC_TRY(whole(m, "hidden_size", "embedding_length", UINT64_MAX));
    WC_TRY(whole(m, "intermediate_size", "feed_forward_length", UINT64_MAX));
    WC_TRY(whole(m, "num_hidden_layers", "block_count", UINT64_MAX));
    WC_TRY(whole(m, "max_position_embeddings", "context_length", UINT64_MAX));
    snprintf(key, sizeof key, "%s.attention.key_length", m->arch);
    uint64_t hidden = (uint64_t)json_integer_value(json_object_get(m->root, "hidden_size"));
    WC_TRY(wc_gguf_u64(m->ctx, m->g, key, hidden / q, 1, 1 << 16, &width));
    json_object_set_new(m->root, "num_attention_heads", json_integer((json_int_t)q));
    json_object_set_new(m->root, "num_key_value_heads", json_integer((json_int_t)kv));
    json_object_set_new(m->root, "head_dim", json_integer((json_int_t)width));
    json_object_set_new(m->root, "vocab_size", json_integer((json_int_t)embed->dims[1]));
    WC_TRY(real(m, "rms_norm_eps", "attention.layer_norm_rms_epsilon", NAN));
    return rope(m);
}

wc_status wc_gguf_config(wc_ctx *ctx, const wc_gguf *g, wc_buf *out)
{
    static const char *const known[] = {"llama", "qwen2", "qwen3"};
    maker m = {.ctx = ctx, .g = g, .root = json_object()};
    const char *p = "";
    size_t n = 0;
    wc_status status = m.root ? WC_OK : wc_fail(ctx, WC_NOMEM, "no memory for a config");
    bool good = false;
    WC_TRY_OUT(status);
    if (!wc_gguf_string(g, "general.architecture", &p, &n) || n >= sizeof m.arch)
        WC_TRY_OUT(wc_fail(ctx, WC_BADFILE, "GGUF: general.architecture is missing"));
    memcpy(m.arch, p, n);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        good = good || !strcmp(m.arch, known[i]);
    json_t *type = json_stringn(p, n);
    if (!type) WC_TRY_OUT(wc_fail(ctx, WC_BADFILE, "GGUF: general.architecture is not UTF-8"));
    json_object_set_new(m.root, "model_type", type);
    if (good) WC_TRY_OUT(numbers(&m));
    json_object_set_new(m.root, "tie_word_embeddings", json_boolean(!find_tensor(g, "output.weight")));
    json_object_set_new(m.root, "attention_bias",
                        json_boolean(find_tensor(g, "blk.0.attn_q.bias") && find_tensor(g, "blk.0.attn_output.bias")));
    json_object_set_new(m.root, "mlp_bias", json_boolean(find_tensor(g, "blk.0.ffn_up.bias") != NULL));
    json_object_set_new(m.root, "hidden_act", json_string("silu"));
    special_id(&m, "bos_token_id", "tokenizer.ggml.bos_token_id");
    special_id(&m, "eos_token_id", "tokenizer.ggml.eos_token_id");
    char *text = json_dumps(m.root, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    status = text ? wc_buf_append(ctx, out, text, strlen(text)) : wc_fail(ctx, WC_NOMEM, "no memory for a config");
    free(text);
out:
    json_decref(m.root);
    return status;
}
