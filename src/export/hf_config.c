/* config.json of an export: what loaders ask for about the integers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/hf_internal.h"
#include "io/json.h"
#include "version.h"

/* What the whole model has unless something else is said of a layer. */
typedef struct base {
    unsigned bits;
    size_t group;
    bool symmetric, ordered;
} base;

static bool is(const wci_layer *a, const base *b)
{
    return a->scheme->bits == b->bits && a->group == b->group && wc_scheme_symmetric(a->scheme) == b->symmetric &&
           a->ordered == b->ordered;
}

/* Or a whole row that is just a group of the base. */
static bool fits(const wci_layer *a, const base *b)
{
    base row = {b->bits, 0, b->symmetric, b->ordered};
    return is(a, b) || (is(a, &row) && a->scheme->cols == b->group);
}

static base scheme_of(const wci_layer *a)
{
    return (base){a->scheme->bits, a->group, wc_scheme_symmetric(a->scheme), a->ordered};
}

/* The scheme of most layers; one whose row is just a group of it has that group from then on. */
static base most_common(const wci_linears *l)
{
    base best = {0};
    size_t most = 0;
    for (size_t i = 0; i < l->n_layers; i++) {
        base b = scheme_of(&l->layer[i]);
        size_t n = 0;
        for (size_t k = 0; k < l->n_layers; k++)
            n += fits(&l->layer[k], &b);
        if (n > most) most = n, best = b;
    }
    for (size_t i = 0; i < l->n_layers; i++)
        if (fits(&l->layer[i], &best)) l->layer[i].group = best.group;
    return best;
}

static json_t *group_size(size_t group)
{
    return json_integer(group ? (json_int_t)group : -1);
}

/* "model.layers.0.mlp.up_proj" of its weight. */
static void module_of(const wc_scheme *s, char dst[WC_NAME_SIZE])
{
    size_t n = strlen(s->name), end = strlen(".weight");
    snprintf(dst, WC_NAME_SIZE, "%.*s", (int)(n > end ? n - end : n), s->name);
}

static bool left_out(const wc_scheme *s)
{
    return s->role == WC_ROLE_LINEAR && s->kind == WC_SCHEME_FLOAT;
}

/* Modules that stay floats. */
static json_t *ignored(const wci_linears *l)
{
    json_t *list = json_array();
    for (size_t i = 0; i < l->n; i++) {
        char module[WC_NAME_SIZE];
        if (!left_out(&l->list[i])) continue;
        module_of(&l->list[i], module);
        json_array_append_new(list, json_string(module));
    }
    json_array_append_new(list, json_string("lm_head"));
    return list;
}

/* ---- gptq ----------------------------------------------------------------------------------------------------------
 */

/* sign "-:" and the pattern "^model\.layers\.0\.mlp\.up_proj$"; fused: of the layer that runtimes make of a stage. */
static void pattern_of(const wc_scheme *s, const char *sign, const char *fused, char dst[3 * WC_NAME_SIZE])
{
    char module[WC_NAME_SIZE];
    size_t n = (size_t)sprintf(dst, "%s^", sign);
    module_of(s, module);
    if (fused) snprintf(strrchr(module, '.') + 1, 16, "%s", fused);
    for (const char *p = module; *p; p++) {
        if (*p == '.') dst[n++] = '\\';
        dst[n++] = *p;
    }
    strcpy(dst + n, "$");
}

/* Patterns are looked up by the names of the runtime's own modules: those of the fused layer too. */
static void add_patterns(json_t *dynamic, const wc_scheme *s, const char *sign, json_t *value)
{
    const char *fused = s->stage == WC_STAGE_QKV ? "qkv_proj" : s->stage == WC_STAGE_GATE_UP ? "gate_up_proj" : NULL;
    char key[3 * WC_NAME_SIZE];
    pattern_of(s, sign, NULL, key);
    json_object_set(dynamic, key, value);
    if (fused) {
        pattern_of(s, sign, fused, key);
        json_object_set(dynamic, key, value);
    }
    json_decref(value);
}

/* The modules that are integers, by their whole names. Optimum, and so transformers, reads no `dynamic': only what is
 * left out can be said to it, by the end of a name. A list of lists: it quantizes those of an inner one together. */
static json_t *quantized_modules(const wci_linears *l)
{
    json_t *list = json_array();
    for (size_t i = 0; i < l->n_layers; i++) {
        char module[WC_NAME_SIZE];
        module_of(l->layer[i].scheme, module);
        json_array_append_new(list, json_string(module));
    }
    return json_pack("[o]", list);
}

static json_t *gptq(const wci_linears *l, const base *b)
{
    json_t *dynamic = json_object();
    for (size_t i = 0; i < l->n; i++)
        if (left_out(&l->list[i])) add_patterns(dynamic, &l->list[i], "-:", json_object());
    bool some = json_object_size(dynamic);
    for (size_t i = 0; i < l->n_layers; i++) {
        const wci_layer *a = &l->layer[i];
        if (is(a, b)) continue;
        add_patterns(dynamic, a->scheme, "+:",
                     json_pack("{s:i, s:o, s:b}", "bits", (int)a->scheme->bits, "group_size", group_size(a->group),
                               "sym", wc_scheme_symmetric(a->scheme)));
    }
    json_t *q = json_pack("{s:s, s:i, s:o, s:b, s:b, s:s, s:s, s:b, s:b, s:{s:[s]}}", "quant_method", "gptq", "bits",
                          (int)b->bits, "group_size", group_size(b->group), "sym", b->symmetric, "desc_act", b->ordered,
                          "checkpoint_format", l->format->checkpoint, "pack_dtype", "int32", "lm_head", false,
                          "true_sequential", true, "meta", "quantizer", "wcompress:" WC_VERSION);
    if (json_object_size(dynamic)) json_object_set(q, "dynamic", dynamic);
    if (some) json_object_set_new(q, "modules_in_block_to_quantize", quantized_modules(l));
    json_decref(dynamic);
    return q;
}

/* ---- awq ------------------------------------------------------------------------------------------------------------
 */

static json_t *awq(const wci_linears *l, const base *b)
{
    return json_pack("{s:s, s:i, s:o, s:b, s:s, s:o}", "quant_method", "awq", "bits", (int)b->bits, "group_size",
                     group_size(b->group), "zero_point", true, "version", "gemm", "modules_to_not_convert", ignored(l));
}

/* ---- compressed-tensors ------------------------------------------------------------------------------------------ */

static json_t *weights(const base *b)
{
    json_t *w = json_pack("{s:i, s:s, s:b, s:s, s:s?, s:n, s:b, s:s}", "num_bits", (int)b->bits, "type", "int",
                          "symmetric", b->symmetric, "strategy", b->group ? "group" : "channel", "actorder",
                          b->ordered ? "group" : NULL, "block_structure", "dynamic", false, "observer", "minmax");
    json_object_set_new(w, "group_size", b->group ? json_integer((json_int_t)b->group) : json_null());
    return w;
}

/* The group of the layers like layer `first', which is the first of its kind; alone: there is no other kind. */
static json_t *config_group(const wci_linears *l, size_t first, bool alone)
{
    base b = scheme_of(&l->layer[first]);
    json_t *targets = json_array();
    for (size_t i = first; !alone && i < l->n_layers; i++) {
        char module[WC_NAME_SIZE];
        if (!is(&l->layer[i], &b)) continue;
        module_of(l->layer[i].scheme, module);
        json_array_append_new(targets, json_string(module));
    }
    if (alone) json_array_append_new(targets, json_string("Linear"));
    return json_pack("{s:o, s:n, s:n, s:s, s:o}", "targets", targets, "input_activations", "output_activations",
                     "format", "pack-quantized", "weights", weights(&b));
}

static json_t *compressed_tensors(const wci_linears *l, const base *b)
{
    json_t *groups = json_object();
    bool alone = true;
    for (size_t i = 0; i < l->n_layers; i++)
        alone &= is(&l->layer[i], b);
    for (size_t i = 0; i < l->n_layers; i++) {
        base mine = scheme_of(&l->layer[i]);
        size_t first = 0;
        while (!is(&l->layer[first], &mine))
            first++;
        if (first < i) continue;
        char key[32];
        snprintf(key, sizeof key, "group_%zu", json_object_size(groups));
        json_object_set_new(groups, key, config_group(l, i, alone));
    }
    return json_pack("{s:s, s:s, s:s, s:n, s:n, s:o, s:o}", "quant_method", "compressed-tensors", "format",
                     "pack-quantized", "quantization_status", "compressed", "global_compression_ratio",
                     "kv_cache_scheme", "ignore", ignored(l), "config_groups", groups);
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

static json_t *quantization(const wci_linears *l)
{
    base b = most_common(l);
    if (!strcmp(l->format->method, "gptq")) return gptq(l, &b);
    return !strcmp(l->format->method, "awq") ? awq(l, &b) : compressed_tensors(l, &b);
}

static wc_status add_json(wc_ctx *ctx, wc_folder *f, const char *name, const json_t *root)
{
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (!text) return wc_fail(ctx, WC_NOMEM, "no memory for %s", name);
    wc_status status = wc_folder_add(ctx, f, name, text, strlen(text));
    free(text);
    return status;
}

static wc_status edit_config(wc_ctx *ctx, const wci_linears *l, json_t *config, wc_folder *f)
{
    wc_status status = WC_OK;
    const char *key = json_object_get(config, "dtype") ? "dtype" : "torch_dtype";
    const char *dtype = l->dtype == WC_F16 ? "float16" : l->dtype == WC_BF16 ? "bfloat16" : "float32";
    json_object_del(config, "quantization_config");
    if (l->dtype) json_object_set_new(config, key, json_string(dtype));
    if (l->format) {
        json_t *q = quantization(l);
        if (!q || json_object_set(config, "quantization_config", q))
            status = wc_fail(ctx, WC_NOMEM, "no memory for config.json");
        if (status == WC_OK && l->format->checkpoint) status = add_json(ctx, f, "quantize_config.json", q);
        json_decref(q);
    }
    return status == WC_OK ? add_json(ctx, f, "config.json", config) : status;
}

static wc_status add_config(wc_ctx *ctx, const wc_input *in, const wci_linears *l, wc_folder *f)
{
    wc_buf text = {0};
    json_t *config = NULL;
    bool found;
    WC_TRY(wc_input_text(ctx, in, "config.json", &text, &found));
    wc_status status = found ? wc_json_parse(ctx, (const char *)text.data, text.size, "config.json", &config) : WC_OK;
    if (status == WC_OK && config) status = edit_config(ctx, l, config, f);
    json_decref(config);
    wc_buf_free(&text);
    return status;
}

wc_status wci_hf_texts(wc_ctx *ctx, const wc_input *in, const wci_linears *l, wc_folder *f)
{
    WC_TRY(add_config(ctx, in, l, f));
    for (size_t i = 1; i + 1 < WC_N_COMPANIONS; i++) {
        wc_buf text = {0};
        bool found;
        WC_TRY(wc_input_text(ctx, in, wc_companions[i], &text, &found));
        wc_status status = found ? wc_folder_add(ctx, f, wc_companions[i], text.data, text.size) : WC_OK;
        wc_buf_free(&text);
        WC_TRY(status);
    }
    return WC_OK;
}
