/* config.c - config.json. Keys, defaults and formulas are those of Hugging Face's transformers. */
#include "internal.h"

#include <math.h>
#include <string.h>

/* No model comes near these; products of two stay far inside 64 bits. */
enum { MAX_WIDTH = 1 << 20, MAX_VOCAB = 1 << 24, MAX_POSITIONS = 1 << 28 };
static const double pi = 3.14159265358979323846;

/* When a projection has a bias. */
typedef enum bias { NEVER, ALWAYS, ASKED } bias;

static const struct family {
    const char *type;
    bias qkv, o, mlp; /* ASKED: by attention_bias, and mlp_bias */
    bool qk_norm;     /* RMSNorm of every head of q and k */
    bool sub_norm;    /* RMSNorm before o_proj and down_proj */
    enum { FULL, ALL_SLIDE, UPPER_SLIDE } window;
    size_t head; /* entries of a head when the file does not say; 0: hidden / heads */
} families[] = {
    {"llama", ASKED, ASKED, ASKED, false, false, FULL, 0},
    {"mistral", NEVER, NEVER, NEVER, false, false, ALL_SLIDE, 0},
    {"qwen2", ALWAYS, NEVER, NEVER, false, false, UPPER_SLIDE, 0},
    {"qwen3", ASKED, ASKED, NEVER, true, false, UPPER_SLIDE, 128},
    {"bitnet", ASKED, ASKED, NEVER, false, true, FULL, 0},
};

/* ---- typed access; a missing or null key has the default ------------------------------------------------------------
 */

static bool is_set(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return v && !json_is_null(v);
}

static gen_status get_size(const json_t *o, const char *key, size_t def, size_t least, size_t most, size_t *out,
                           gen_error *e)
{
    const json_t *v = json_object_get(o, key);
    json_int_t n = is_set(o, key) ? json_integer_value(v) : (json_int_t)def;
    if ((is_set(o, key) && !json_is_integer(v)) || n < (json_int_t)least || n > (json_int_t)most)
        return gen_fail(e, GEN_BADFILE, "config.json: %s must be a whole number from %zu to %zu", key, least, most);
    *out = (size_t)n;
    return GEN_OK;
}

static gen_status get_real(const json_t *o, const char *key, double def, double least, double most, double *out,
                           gen_error *e)
{
    const json_t *v = json_object_get(o, key);
    double x = is_set(o, key) ? json_number_value(v) : def;
    if ((is_set(o, key) && !json_is_number(v)) || !(x >= least && x <= most))
        return gen_fail(e, GEN_BADFILE, "config.json: %s must be a number from %g to %g", key, least, most);
    *out = x;
    return GEN_OK;
}

static const char *get_text(const json_t *o, const char *key, const char *def)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : def;
}

/* ---- sizes ----------------------------------------------------------------------------------------------------------
 */

static gen_status read_sizes(const json_t *o, const struct family *f, gen_config *c, gen_error *e)
{
    double eps;
    GEN_TRY(get_size(o, "hidden_size", 0, 1, MAX_WIDTH, &c->hidden, e));
    GEN_TRY(get_size(o, "intermediate_size", 0, 1, MAX_WIDTH, &c->inner, e));
    GEN_TRY(get_size(o, "num_hidden_layers", 0, 1, GEN_MAX_LAYERS, &c->layers, e));
    GEN_TRY(get_size(o, "num_attention_heads", 0, 1, MAX_WIDTH, &c->heads, e));
    GEN_TRY(get_size(o, "num_key_value_heads", c->heads, 1, c->heads, &c->kv_heads, e));
    GEN_TRY(get_size(o, "head_dim", f->head ? f->head : c->hidden / c->heads, 1, GEN_MAX_HEAD, &c->head, e));
    GEN_TRY(get_size(o, "vocab_size", 0, 1, MAX_VOCAB, &c->vocab, e));
    GEN_TRY(get_size(o, "max_position_embeddings", 2048, 1, MAX_POSITIONS, &c->positions, e));
    GEN_TRY(get_real(o, "rms_norm_eps", 1e-6, 0, 1, &eps, e));
    c->eps = (float)eps;
    if (c->heads % c->kv_heads || c->heads * c->head > MAX_WIDTH)
        return gen_fail(e, GEN_BADFILE, "config.json: %zu heads of %zu entries, %zu of keys and values, do not fit",
                        c->heads, c->head, c->kv_heads);
    return GEN_OK;
}

static bool has_bias(bias rule, const json_t *o, const char *key)
{
    return rule == ALWAYS || (rule == ASKED && json_is_true(json_object_get(o, key)));
}

static gen_status read_window(const json_t *o, const struct family *f, gen_config *c, gen_error *e)
{
    const json_t *types = json_object_get(o, "layer_types");
    size_t first = 0;
    bool on =
        f->window == ALL_SLIDE || (f->window == UPPER_SLIDE && json_is_true(json_object_get(o, "use_sliding_window")));
    GEN_TRY(get_size(o, "sliding_window", 0, 0, MAX_POSITIONS, &c->window, e));
    if (f->window == UPPER_SLIDE) GEN_TRY(get_size(o, "max_window_layers", 28, 0, MAX_POSITIONS, &first, e));
    for (size_t l = 0; l < c->layers; l++) {
        const char *type = json_string_value(json_array_get(types, l));
        c->sliding[l] = on && c->window && l >= first;
        if (type && f->window == UPPER_SLIDE) c->sliding[l] = on && c->window && !strcmp(type, "sliding_attention");
    }
    return GEN_OK;
}

/* ---- rotary positions -----------------------------------------------------------------------------------------------
 *
 * Entry pair i of a head turns by position * f(i), f(i) = theta^(-2i / rotated), which the scaled types stretch. */

/* Llama 3.1: by wavelength w = 2 pi / f. Shorter than L / high it stays, longer than L / low it is divided by the
 * factor, in between both are blended by t = (L / w - low) / (high - low). */
static gen_status scale_llama3(const json_t *o, double factor, size_t length, gen_config *c, gen_error *e)
{
    double low, high;
    GEN_TRY(get_real(o, "low_freq_factor", 0, 1e-3, 1e6, &low, e));
    GEN_TRY(get_real(o, "high_freq_factor", 0, low * 1.001, 1e6, &high, e));
    for (size_t i = 0; i < c->rotated / 2; i++) {
        double f = (double)c->frequency[i], t = ((double)length * f / (2 * pi) - low) / (high - low);
        t = fmin(fmax(t, 0), 1);
        c->frequency[i] = (float)((1 - t) * f / factor + t * f);
    }
    return GEN_OK;
}

static double yarn_mscale(double factor, double m)
{
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

/* YaRN (Peng et al. 2023): what turns more than beta_fast times within L positions stays, below beta_slow it is divided
 * by the factor, with a ramp over the index between; index(r) = d ln(L / (2 pi r)) / (2 ln theta) turns r times. */
static gen_status scale_yarn(const json_t *o, double factor, size_t length, double theta, gen_config *c, gen_error *e)
{
    double fast, slow, one, all, attention, d = (double)c->rotated, scale = d / (2 * log(theta));
    GEN_TRY(get_real(o, "beta_fast", 32, 1e-3, 1e6, &fast, e));
    GEN_TRY(get_real(o, "beta_slow", 1, 1e-3, 1e6, &slow, e));
    GEN_TRY(get_real(o, "mscale", 0, 0, 1e3, &one, e));
    GEN_TRY(get_real(o, "mscale_all_dim", 0, 0, 1e3, &all, e));
    attention = one > 0 && all > 0 ? yarn_mscale(factor, one) / yarn_mscale(factor, all) : yarn_mscale(factor, 1);
    GEN_TRY(get_real(o, "attention_factor", attention, 1e-3, 1e3, &attention, e));
    double low = scale * log((double)length / (fast * 2 * pi)), high = scale * log((double)length / (slow * 2 * pi));
    const json_t *truncate = json_object_get(o, "truncate");
    if (!json_is_false(truncate)) low = floor(low), high = ceil(high);
    low = fmax(low, 0), high = fmin(high, d - 1);
    if (low == high) high += 0.001;
    for (size_t i = 0; i < c->rotated / 2; i++) {
        double f = (double)c->frequency[i], ramp = fmin(fmax(((double)i - low) / (high - low), 0), 1);
        c->frequency[i] = (float)(f / factor * ramp + f * (1 - ramp));
    }
    c->rotary_scale = (float)attention;
    return GEN_OK;
}

static gen_status read_rotary(const json_t *top, gen_config *c, gen_error *e)
{
    const json_t *o = is_set(top, "rope_parameters") ? json_object_get(top, "rope_parameters")
                      : is_set(top, "rope_scaling")  ? json_object_get(top, "rope_scaling")
                                                     : top;
    double theta, partial, factor;
    size_t length;
    GEN_TRY(get_real(top, "rope_theta", 1e4, 1.0001, 1e15, &theta, e));
    GEN_TRY(get_real(o, "rope_theta", theta, 1.0001, 1e15, &theta, e));
    GEN_TRY(get_real(top, "partial_rotary_factor", 1, 0, 1, &partial, e));
    GEN_TRY(get_real(o, "partial_rotary_factor", partial, 0, 1, &partial, e));
    c->rotated = (size_t)((double)c->head * partial);
    if (c->rotated < 2 || c->rotated % 2)
        return gen_fail(e, GEN_BADFILE, "config.json: %zu of the %zu entries of a head would turn; it must be even",
                        c->rotated, c->head);
    for (size_t i = 0; i < c->rotated / 2; i++)
        c->frequency[i] = 1 / (float)pow(theta, (double)((float)(2 * i) / (float)c->rotated));
    c->rotary_scale = 1;
    const char *type = get_text(o, "rope_type", get_text(o, "type", "default"));
    if (o == top || !strcmp(type, "default")) return GEN_OK;
    GEN_TRY(get_size(top, "original_max_position_embeddings", c->positions, 1, MAX_POSITIONS, &length, e));
    GEN_TRY(get_size(o, "original_max_position_embeddings", length, 1, MAX_POSITIONS, &length, e));
    GEN_TRY(get_real(o, "factor", (double)c->positions / (double)length, 1e-3, 1e6, &factor, e));
    if (!strcmp(type, "llama3")) return scale_llama3(o, factor, length, c, e);
    if (!strcmp(type, "yarn")) return scale_yarn(o, factor, length, theta, c, e);
    if (strcmp(type, "linear"))
        return gen_fail(e, GEN_UNSUPPORTED,
                        "config.json: rope_type `%.40s'; default, linear, llama3, yarn are done here", type);
    for (size_t i = 0; i < c->rotated / 2; i++)
        c->frequency[i] /= (float)factor;
    return GEN_OK;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------
 */

static gen_status read_end(const json_t *o, gen_config *c, gen_error *e)
{
    const json_t *v = json_object_get(o, "eos_token_id");
    c->n_eos = !v || json_is_null(v) ? 0 : json_is_array(v) ? json_array_size(v) : 1;
    if (c->n_eos > GEN_MAX_EOS)
        return gen_fail(e, GEN_UNSUPPORTED, "config.json: %zu entries in eos_token_id, at most %d", c->n_eos,
                        GEN_MAX_EOS);
    for (size_t i = 0; i < c->n_eos; i++) {
        const json_t *id = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > UINT32_MAX)
            return gen_fail(e, GEN_BADFILE, "config.json: eos_token_id is not a token id or a list of them");
        c->eos[i] = (uint32_t)json_integer_value(id);
    }
    return GEN_OK;
}

static gen_status read_config(const json_t *o, gen_config *c, gen_error *e)
{
    const char *type = get_text(o, "model_type", "(none)"), *act = get_text(o, "hidden_act", "silu");
    const struct family *f = NULL;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(type, families[i].type)) f = &families[i];
    if (!f)
        return gen_fail(e, GEN_UNSUPPORTED,
                        "config.json: model_type `%.40s'; llama, mistral, qwen2, qwen3, bitnet are done here", type);
    if (strcmp(act, "silu") && strcmp(act, "swish"))
        return gen_fail(e, GEN_UNSUPPORTED, "config.json: hidden_act `%.40s'; only silu is done here", act);
    GEN_TRY(read_sizes(o, f, c, e));
    GEN_TRY(read_window(o, f, c, e));
    GEN_TRY(read_rotary(o, c, e));
    c->tied = json_is_true(json_object_get(o, "tie_word_embeddings"));
    c->qkv_bias = has_bias(f->qkv, o, "attention_bias");
    c->o_bias = has_bias(f->o, o, "attention_bias");
    c->mlp_bias = has_bias(f->mlp, o, "mlp_bias");
    c->qk_norm = f->qk_norm, c->sub_norm = f->sub_norm;
    return read_end(o, c, e);
}

gen_status gen_json_load(const char *json, size_t size, const char *name, json_t **out, gen_error *e)
{
    json_error_t where;
    json_t *top = json_loadb(json, size, JSON_REJECT_DUPLICATES, &where);
    if (json_is_object(top)) {
        *out = top;
        return GEN_OK;
    }
    json_decref(top);
    if (top) return gen_fail(e, GEN_BADFILE, "%s: not a JSON object", name);
    if (!*where.text) return gen_fail(e, GEN_NOMEM, "no memory to parse %s", name); /* Jansson then says nothing */
    return gen_fail(e, GEN_BADFILE, "%s: line %d: %s", name, where.line, where.text);
}

gen_status gen_config_parse(const char *json, size_t size, gen_config *out, gen_error *e)
{
    gen_config c = {0};
    json_t *top;
    GEN_TRY(gen_json_load(json, size, "config.json", &top, e));
    gen_status s = read_config(top, &c, e);
    json_decref(top);
    if (s == GEN_OK) *out = c;
    return s;
}
