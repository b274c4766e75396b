#include "model/config.h"

#include <math.h>
#include <string.h>

#include "io/escape.h"
#include "io/json.h"

/* ---- what each architecture assumes when a key is missing ----------------------------------------------------------
 */

enum { KV_AS_HEADS = 0, HEAD_DIM_FROM_HIDDEN = 0 };

/* When the bias of a projection is there. */
typedef enum bias_rule { BIAS_NEVER, BIAS_ALWAYS, BIAS_ASKED } bias_rule;

/* Which layers slide: none, all when sliding_window is set, or those from max_window_layers on when also
 * use_sliding_window is true. */
typedef enum window_rule { WINDOW_NEVER, WINDOW_ALL, WINDOW_UPPER } window_rule;

typedef struct arch {
    const char *model_type, *class_name;
    uint64_t vocab, hidden, intermediate, layers, heads, kv_heads, head_dim, max_positions;
    double norm_eps, theta;
    const char *act;
    bias_rule qkv_bias, o_bias, mlp_bias; /* BIAS_ASKED: attention_bias for qkv and o, mlp_bias for the MLP */
    bool qk_norm, sub_norm;
    window_rule window;
} arch;

static const arch archs[] = {
    {"llama", "LlamaForCausalLM", 32000, 4096, 11008, 32, 32, KV_AS_HEADS, HEAD_DIM_FROM_HIDDEN, 2048, 1e-6, 1e4,
     "silu", BIAS_ASKED, BIAS_ASKED, BIAS_ASKED, false, false, WINDOW_NEVER},
    {"mistral", "MistralForCausalLM", 32000, 4096, 14336, 32, 32, 8, HEAD_DIM_FROM_HIDDEN, 131072, 1e-6, 1e4, "silu",
     BIAS_NEVER, BIAS_NEVER, BIAS_NEVER, false, false, WINDOW_ALL},
    {"qwen2", "Qwen2ForCausalLM", 151936, 4096, 22016, 32, 32, 32, HEAD_DIM_FROM_HIDDEN, 32768, 1e-6, 1e4, "silu",
     BIAS_ALWAYS, BIAS_NEVER, BIAS_NEVER, false, false, WINDOW_UPPER},
    {"qwen3", "Qwen3ForCausalLM", 151936, 4096, 22016, 32, 32, 32, 128, 32768, 1e-6, 1e4, "silu", BIAS_ASKED,
     BIAS_ASKED, BIAS_NEVER, true, false, WINDOW_UPPER},
    {"bitnet", "BitNetForCausalLM", 128256, 2560, 6912, 30, 20, 5, HEAD_DIM_FROM_HIDDEN, 2048, 1e-5, 5e5, "relu2",
     BIAS_ASKED, BIAS_ASKED, BIAS_NEVER, false, true, WINDOW_NEVER},
};
static const char supported[] = "llama, mistral, qwen2, qwen3, bitnet";

/* No real model comes near these; they keep every product of two sizes far inside 64 bits, and single sizes inside the
 * int of BLAS. */
enum { MAX_WIDTH = 1 << 20, MAX_VOCAB = 1 << 24, MAX_HEADS = 1 << 14, MAX_POSITIONS = 1 << 28 };

/* One document on its way to a config. */
typedef struct reader {
    wc_ctx *ctx;
    const char *label;
    const json_t *top;
    const arch *arch;
    wc_config *c;
} reader;

static wc_status get_size(const reader *r, const char *key, uint64_t def, uint64_t hi, size_t *out)
{
    uint64_t v;
    WC_TRY(wc_json_u64(r->ctx, r->top, key, def, r->label, 1, hi, &v));
    *out = (size_t)v;
    return WC_OK;
}

/* The same for sizes that shapes hang on: when one is missing, a later complaint about a shape needs this explanation.
 */
static wc_status get_width(const reader *r, const char *key, uint64_t def, uint64_t hi, size_t *out)
{
    if (!json_object_get(r->top, key))
        wc_log(r->ctx, WC_LOG_INFO, "%s: has no %s; %llu, the default of the architecture, is assumed", r->label, key,
               (unsigned long long)def);
    return get_size(r, key, def, hi, out);
}

static bool is_set(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    return v && !json_is_null(v);
}

static wc_status find_arch(reader *r)
{
    const char *type, *class_name;
    const json_t *classes = json_object_get(r->top, "architectures");
    WC_TRY(wc_json_str(r->ctx, r->top, "model_type", NULL, r->label, &type));
    class_name = json_string_value(json_array_get(classes, 0));
    if (!type && !class_name)
        return wc_fail(r->ctx, WC_BADFILE, "%s: neither model_type nor architectures says what model this is",
                       r->label);
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (type ? !strcmp(type, archs[i].model_type) : !strcmp(class_name, archs[i].class_name)) r->arch = &archs[i];
    char shown[WC_SHOWN];
    if (!r->arch)
        return wc_fail(r->ctx, WC_UNSUPPORTED, "%s: no forward pass for model `%s'; there is one for %s", r->label,
                       wc_escape_name(shown, sizeof shown, type ? type : class_name), supported);
    return WC_OK;
}

/* What is read of quantized checkpoints has been taken out of the config before. */
static wc_status quantized(const reader *r)
{
    const json_t *q = json_object_get(r->top, "quantization_config");
    const char *method = json_string_value(json_object_get(q, "quant_method"));
    char shown[WC_SHOWN];
    return wc_fail(r->ctx, WC_UNSUPPORTED,
                   "%s: quantization_config says that the weights are quantized already, by %s; gptq, awq and "
                   "compressed-tensors are read, else start from the original float checkpoint",
                   r->label, method ? wc_escape_name(shown, sizeof shown, method) : "a method that it does not name");
}

static wc_status check_features(const reader *r)
{
    const char *act, *type = r->arch->model_type;
    char shown[WC_SHOWN];
    if (is_set(r->top, "text_config"))
        return wc_fail(r->ctx, WC_UNSUPPORTED, "%s: %s model with a nested text_config (multimodal) is not supported",
                       r->label, type);
    if (is_set(r->top, "quantization_config")) return quantized(r);
    WC_TRY(wc_json_str(r->ctx, r->top, "hidden_act", r->arch->act, r->label, &act));
    if (strcmp(act, "silu") && strcmp(act, "swish"))
        return wc_fail(r->ctx, WC_UNSUPPORTED, "%s: hidden_act `%s' of a %s model is not supported, only silu is",
                       r->label, wc_escape_name(shown, sizeof shown, act), type);
    return WC_OK;
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

static wc_status read_heads(const reader *r)
{
    wc_config *c = r->c;
    const arch *a = r->arch;
    WC_TRY(get_width(r, "num_attention_heads", a->heads, MAX_HEADS, &c->heads));
    /* null means "as many as query heads" everywhere, a missing key means the class's default. */
    bool null_kv = json_is_null(json_object_get(r->top, "num_key_value_heads"));
    uint64_t kv = null_kv || a->kv_heads == KV_AS_HEADS ? c->heads : a->kv_heads;
    WC_TRY(get_size(r, "num_key_value_heads", kv, MAX_HEADS, &c->kv_heads));
    if (c->heads % c->kv_heads)
        return wc_fail(r->ctx, WC_BADFILE, "%s: num_attention_heads %zu is not a multiple of num_key_value_heads %zu",
                       r->label, c->heads, c->kv_heads);
    uint64_t d = a->head_dim == HEAD_DIM_FROM_HIDDEN ? c->hidden / c->heads : a->head_dim;
    if (!is_set(r->top, "head_dim") && a->head_dim == HEAD_DIM_FROM_HIDDEN && c->hidden % c->heads)
        return wc_fail(r->ctx, WC_BADFILE, "%s: hidden_size %zu is not a multiple of num_attention_heads %zu", r->label,
                       c->hidden, c->heads);
    WC_TRY(get_size(r, "head_dim", d, WC_MAX_HEAD_DIM, &c->head_dim));
    if (c->head_dim > WC_MAX_HEAD_DIM || c->heads * c->head_dim > MAX_WIDTH)
        return wc_fail(r->ctx, WC_BADFILE, "%s: %zu heads of %zu entries; at most %d entries a head, %d together",
                       r->label, c->heads, c->head_dim, WC_MAX_HEAD_DIM, MAX_WIDTH);
    return WC_OK;
}

static wc_status read_sizes(const reader *r)
{
    wc_config *c = r->c;
    const arch *a = r->arch;
    double eps;
    WC_TRY(get_width(r, "vocab_size", a->vocab, MAX_VOCAB, &c->vocab));
    WC_TRY(get_width(r, "hidden_size", a->hidden, MAX_WIDTH, &c->hidden));
    WC_TRY(get_width(r, "intermediate_size", a->intermediate, MAX_WIDTH, &c->intermediate));
    WC_TRY(get_width(r, "num_hidden_layers", a->layers, WC_MAX_LAYERS, &c->layers));
    WC_TRY(get_size(r, "max_position_embeddings", a->max_positions, MAX_POSITIONS, &c->max_positions));
    WC_TRY(wc_json_real(r->ctx, r->top, "rms_norm_eps", a->norm_eps, r->label, 0, 1, &eps));
    c->norm_eps = (float)eps;
    return read_heads(r);
}

static wc_status read_bias(const reader *r)
{
    bool attention, mlp;
    WC_TRY(wc_json_bool(r->ctx, r->top, "attention_bias", false, r->label, &attention));
    WC_TRY(wc_json_bool(r->ctx, r->top, "mlp_bias", false, r->label, &mlp));
    r->c->qkv_bias = r->arch->qkv_bias == BIAS_ALWAYS || (r->arch->qkv_bias == BIAS_ASKED && attention);
    r->c->o_bias = r->arch->o_bias == BIAS_ALWAYS || (r->arch->o_bias == BIAS_ASKED && attention);
    r->c->mlp_bias = r->arch->mlp_bias == BIAS_ALWAYS || (r->arch->mlp_bias == BIAS_ASKED && mlp);
    r->c->qk_norm = r->arch->qk_norm;
    r->c->sub_norm = r->arch->sub_norm;
    return wc_json_bool(r->ctx, r->top, "tie_word_embeddings", false, r->label, &r->c->tied);
}

/* ---- sliding windows ------------------------------------------------------------------------------------------------
 */

static void slide(wc_config *c, size_t layer, bool on)
{
    uint64_t bit = (uint64_t)1 << layer % 64;
    c->sliding[layer / 64] = on ? c->sliding[layer / 64] | bit : c->sliding[layer / 64] & ~bit;
}

size_t wc_config_window(const wc_config *c, size_t layer)
{
    return c->sliding[layer / 64] >> layer % 64 & 1 ? c->window : SIZE_MAX;
}

/* An explicit layer_types decides for the classes that mix layers (Qwen); the others ignore it in HF, so there a list
 * that disagrees with the class is refused rather than guessed at. */
static wc_status read_layer_types(const reader *r)
{
    const json_t *types = json_object_get(r->top, "layer_types");
    char shown[WC_SHOWN];
    if (!types || json_is_null(types)) return WC_OK;
    if (!json_is_array(types) || json_array_size(types) != r->c->layers)
        return wc_fail(r->ctx, WC_BADFILE, "%s: layer_types must be a list of %zu entries, one per layer", r->label,
                       r->c->layers);
    for (size_t l = 0; l < r->c->layers; l++) {
        const char *type = json_string_value(json_array_get(types, l));
        bool sliding = type && !strcmp(type, "sliding_attention");
        if (!sliding && (!type || strcmp(type, "full_attention")))
            return wc_fail(r->ctx, WC_UNSUPPORTED,
                           "%s: layer_types[%zu] is `%s', neither full_attention nor sliding_attention", r->label, l,
                           wc_escape_name(shown, sizeof shown, type ? type : "(no string)"));
        if (sliding && !r->c->window)
            return wc_fail(r->ctx, WC_BADFILE,
                           "%s: layer_types[%zu] is sliding_attention, but no sliding_window is in force", r->label, l);
        if (r->arch->window != WINDOW_UPPER && sliding != (wc_config_window(r->c, l) != SIZE_MAX))
            return wc_fail(r->ctx, WC_UNSUPPORTED, "%s: layer_types[%zu] is %s, which %s models do not do", r->label, l,
                           type, r->arch->model_type);
        slide(r->c, l, sliding);
    }
    return WC_OK;
}

static wc_status read_window(const reader *r)
{
    enum { CLASS_WINDOW = 4096, CLASS_FIRST_SLIDING = 28 };
    wc_config *c = r->c;
    uint64_t window = 0, first = 0;
    bool enabled = true;
    if (r->arch->window != WINDOW_NEVER) {
        /* null is "off", missing is the class's default */
        bool off = json_is_null(json_object_get(r->top, "sliding_window"));
        WC_TRY(
            wc_json_u64(r->ctx, r->top, "sliding_window", off ? 0 : CLASS_WINDOW, r->label, 1, MAX_POSITIONS, &window));
    }
    if (r->arch->window == WINDOW_UPPER) {
        WC_TRY(wc_json_bool(r->ctx, r->top, "use_sliding_window", false, r->label, &enabled));
        WC_TRY(
            wc_json_u64(r->ctx, r->top, "max_window_layers", CLASS_FIRST_SLIDING, r->label, 0, MAX_POSITIONS, &first));
    }
    c->window = enabled ? (size_t)window : 0;
    for (size_t l = 0; l < c->layers; l++)
        slide(c, l, c->window && l >= first);
    return read_layer_types(r);
}

/* ---- rotary positions -----------------------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    wc_rope_type type;
} rope_names[] = {{"default", WC_ROPE_DEFAULT},   {"linear", WC_ROPE_LINEAR}, {"dynamic", WC_ROPE_DYNAMIC},
                  {"ntk", WC_ROPE_NTK},           {"yarn", WC_ROPE_YARN},     {"llama3", WC_ROPE_LLAMA3},
                  {"longrope", WC_ROPE_LONGROPE}, {"su", WC_ROPE_LONGROPE}};

static wc_status rope_type(const reader *r, const json_t *s)
{
    const char *name, *old;
    char shown[WC_SHOWN];
    WC_TRY(wc_json_str(r->ctx, s, "type", NULL, r->label, &old));
    WC_TRY(wc_json_str(r->ctx, s, "rope_type", old, r->label, &name));
    if (is_set(s, "full_attention") || is_set(s, "sliding_attention"))
        return wc_fail(r->ctx, WC_UNSUPPORTED, "%s: rope_parameters per attention type are not supported for %s models",
                       r->label, r->arch->model_type);
    if (!name && !is_set(s, "factor")) return WC_OK; /* {} or only a theta: no scaling */
    if (!name) return wc_fail(r->ctx, WC_BADFILE, "%s: rope scaling has a factor but no rope_type", r->label);
    for (size_t i = 0; i < sizeof rope_names / sizeof *rope_names; i++)
        if (!strcmp(name, rope_names[i].name)) {
            r->c->rope.type = rope_names[i].type;
            return WC_OK;
        }
    return wc_fail(r->ctx, WC_UNSUPPORTED,
                   "%s: rope_type `%s' is not supported; default, linear, dynamic, ntk, yarn, llama3, longrope are",
                   r->label, wc_escape_name(shown, sizeof shown, name));
}

/* mscale of the YaRN paper (eq. 15, the square root of 1/t): m(s, k) = 0.1 k ln s + 1 for s > 1. */
static double yarn_mscale(double s, double k)
{
    return s <= 1 ? 1 : 0.1 * k * log(s) + 1;
}

static wc_status rope_yarn(const reader *r, const json_t *s)
{
    wc_rope_config *p = &r->c->rope;
    double mscale, all_dim;
    WC_TRY(wc_json_real(r->ctx, s, "beta_fast", 32, r->label, 1e-3, 1e6, &p->beta_fast));
    WC_TRY(wc_json_real(r->ctx, s, "beta_slow", 1, r->label, 1e-3, 1e6, &p->beta_slow));
    WC_TRY(wc_json_bool(r->ctx, s, "truncate", true, r->label, &p->truncate));
    WC_TRY(wc_json_real(r->ctx, s, "mscale", 0, r->label, 0, 1e3, &mscale));
    WC_TRY(wc_json_real(r->ctx, s, "mscale_all_dim", 0, r->label, 0, 1e3, &all_dim));
    if (p->beta_fast < p->beta_slow)
        return wc_fail(r->ctx, WC_BADFILE, "%s: yarn beta_fast %g is below beta_slow %g", r->label, p->beta_fast,
                       p->beta_slow);
    double m = mscale > 0 && all_dim > 0 ? yarn_mscale(p->factor, mscale) / yarn_mscale(p->factor, all_dim)
                                         : yarn_mscale(p->factor, 1);
    return wc_json_real(r->ctx, s, "attention_factor", m, r->label, 1e-3, 1e3, &p->attention_factor);
}

static wc_status rope_llama3(const reader *r, const json_t *s)
{
    wc_rope_config *p = &r->c->rope;
    WC_TRY(wc_json_real(r->ctx, s, "low_freq_factor", 0, r->label, 1e-3, 1e6, &p->low_freq_factor));
    WC_TRY(wc_json_real(r->ctx, s, "high_freq_factor", 0, r->label, 1e-3, 1e6, &p->high_freq_factor));
    if (p->low_freq_factor <= 0 || p->high_freq_factor <= p->low_freq_factor)
        return wc_fail(r->ctx, WC_BADFILE,
                       "%s: llama3 rope needs 0 < low_freq_factor < high_freq_factor, found %g and %g", r->label,
                       p->low_freq_factor, p->high_freq_factor);
    return WC_OK;
}

static wc_status factor_list(const reader *r, const json_t *s, const char *key, float *out)
{
    const json_t *list = json_object_get(s, key);
    size_t n = r->c->rope.dim / 2;
    if (json_array_size(list) != n)
        return wc_fail(r->ctx, WC_BADFILE, "%s: longrope %s must be a list of %zu numbers, found %zu", r->label, key, n,
                       json_array_size(list));
    for (size_t i = 0; i < n; i++) {
        const double v = json_number_value(json_array_get(list, i));
        if (!(v >= 1e-6 && v <= 1e9))
            return wc_fail(r->ctx, WC_BADFILE, "%s: longrope %s[%zu] is not a number in 1e-6 .. 1e9", r->label, key, i);
        out[i] = (float)v;
    }
    return WC_OK;
}

static wc_status rope_longrope(const reader *r, const json_t *s)
{
    wc_rope_config *p = &r->c->rope;
    WC_TRY(factor_list(r, s, "short_factor", p->short_factor));
    WC_TRY(factor_list(r, s, "long_factor", p->long_factor));
    double f = p->factor > 1 && p->original_max_positions > 1
                   ? sqrt(1 + log(p->factor) / log((double)p->original_max_positions))
                   : 1;
    return wc_json_real(r->ctx, s, "attention_factor", f, r->label, 1e-3, 1e3, &p->attention_factor);
}

/* How far the trained positions were stretched. longrope: always max / original when the original length is known;
 * yarn: the same when no factor is given; every other scaled type must say its factor. */
static wc_status rope_factor(const reader *r, const json_t *s)
{
    wc_rope_config *p = &r->c->rope;
    uint64_t original, top_original;
    WC_TRY(
        wc_json_u64(r->ctx, r->top, "original_max_position_embeddings", 0, r->label, 1, MAX_POSITIONS, &top_original));
    WC_TRY(wc_json_u64(r->ctx, s, "original_max_position_embeddings", top_original, r->label, 1, MAX_POSITIONS,
                       &original));
    WC_TRY(wc_json_real(r->ctx, s, "factor", 0, r->label, 1e-3, 1e6, &p->factor));
    bool known = original > 0, longrope = p->type == WC_ROPE_LONGROPE;
    p->original_max_positions = known ? (size_t)original : p->max_positions;
    if (p->type == WC_ROPE_LLAMA3 && !known)
        return wc_fail(r->ctx, WC_BADFILE, "%s: llama3 rope without original_max_position_embeddings", r->label);
    if ((longrope && known) || (p->type == WC_ROPE_YARN && p->factor <= 0))
        p->factor = (double)p->max_positions / (double)p->original_max_positions;
    if (p->factor <= 0 && longrope) p->factor = 1;
    if (p->factor <= 0) return wc_fail(r->ctx, WC_BADFILE, "%s: rope scaling without a factor", r->label);
    if ((p->type == WC_ROPE_DYNAMIC || p->type == WC_ROPE_NTK) && p->dim < 4)
        return wc_fail(r->ctx, WC_BADFILE, "%s: this rope_type needs at least 4 rotated entries a head, found %zu",
                       r->label, p->dim);
    return WC_OK;
}

static wc_status read_rope(const reader *r)
{
    wc_rope_config *p = &r->c->rope;
    double theta, partial;
    const json_t *s = json_object_get(r->top, "rope_parameters");
    if (!s || json_is_null(s)) s = json_object_get(r->top, "rope_scaling");
    if (!s || json_is_null(s)) s = r->top;
    if (!json_is_object(s)) return wc_fail(r->ctx, WC_BADFILE, "%s: the rope scaling is not an object", r->label);
    p->attention_factor = p->factor = 1;
    p->max_positions = p->original_max_positions = r->c->max_positions;
    WC_TRY(wc_json_real(r->ctx, r->top, "rope_theta", r->arch->theta, r->label, 1.0001, 1e15, &theta));
    WC_TRY(wc_json_real(r->ctx, s, "rope_theta", theta, r->label, 1.0001, 1e15, &p->theta));
    WC_TRY(wc_json_real(r->ctx, r->top, "partial_rotary_factor", 1, r->label, 0, 1, &partial));
    WC_TRY(wc_json_real(r->ctx, s, "partial_rotary_factor", partial, r->label, 0, 1, &partial));
    p->dim = (size_t)((double)r->c->head_dim * partial);
    if (p->dim % 2 || p->dim < 2)
        return wc_fail(r->ctx, WC_BADFILE,
                       "%s: %zu of %zu entries of a head would be rotated; it must be even, at least 2", r->label,
                       p->dim, r->c->head_dim);
    if (s == r->top) return WC_OK;
    WC_TRY(rope_type(r, s));
    if (p->type == WC_ROPE_DEFAULT) return WC_OK;
    WC_TRY(rope_factor(r, s));
    switch (p->type) {
    case WC_ROPE_YARN: return rope_yarn(r, s);
    case WC_ROPE_LLAMA3: return rope_llama3(r, s);
    case WC_ROPE_LONGROPE: return rope_longrope(r, s);
    default: return WC_OK;
    }
}

/* ---- the rest -------------------------------------------------------------------------------------------------------
 */

static wc_status read_dtype(const reader *r)
{
    static const struct {
        const char *name;
        wc_dtype dtype;
    } names[] = {{"float32", WC_F32}, {"float16", WC_F16}, {"bfloat16", WC_BF16}};
    const char *name, *old;
    WC_TRY(wc_json_str(r->ctx, r->top, "torch_dtype", NULL, r->label, &old));
    WC_TRY(wc_json_str(r->ctx, r->top, "dtype", old, r->label, &name));
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i].name)) r->c->dtype = names[i].dtype;
    return WC_OK;
}

/* A number, a list of numbers, or nothing. */
static wc_status read_eos(const reader *r)
{
    const json_t *v = json_object_get(r->top, "eos_token_id");
    if (!v || json_is_null(v)) return WC_OK;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > WC_MAX_EOS)
        return wc_fail(r->ctx, WC_BADFILE, "%s: %zu entries in eos_token_id, at most %d", r->label, n, WC_MAX_EOS);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > UINT32_MAX)
            return wc_fail(r->ctx, WC_BADFILE, "%s: eos_token_id is not a token id or a list of them", r->label);
        r->c->eos[i] = (uint32_t)json_integer_value(id);
    }
    r->c->n_eos = n;
    return WC_OK;
}

wc_status wc_config_parse(wc_ctx *ctx, const char *json, size_t size, const char *label, wc_config *out)
{
    wc_config c = {0};
    json_t *top = NULL;
    wc_status status;
    WC_TRY(wc_json_parse(ctx, json, size, label, &top));
    reader r = {ctx, label, top, NULL, &c};
    WC_TRY_OUT(find_arch(&r));
    c.model_type = r.arch->model_type;
    WC_TRY_OUT(check_features(&r));
    WC_TRY_OUT(read_sizes(&r));
    WC_TRY_OUT(read_bias(&r));
    WC_TRY_OUT(read_window(&r));
    WC_TRY_OUT(read_rope(&r));
    WC_TRY_OUT(read_dtype(&r));
    WC_TRY_OUT(read_eos(&r));
    *out = c;
out:
    json_decref(top);
    return status;
}
