#include "export/gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "export/gguf_internal.h"
#include "io/gguf_model.h"
#include "io/json.h"
#include "model/model.h"
#include "version.h"

typedef struct entry {
    char source[WC_NAME_SIZE]; /* Hugging Face's name */
    wc_weight weight;
    uint32_t type, heads; /* of GGUF; heads: rows are interleaved in so many */
    const uint8_t *blob;  /* the stored bytes, when they are of that type; else values are converted */
} entry;

typedef struct job {
    wc_ctx *ctx;
    const wc_input *in;
    const wc_gguf_options *opt;
    wc_gguf_writer w;
    wc_gguf_result result;
    const char *arch, *first_converted;
    entry *list; /* [n] */
    size_t n;
} job;

/* ---- metadata -----------------------------------------------------------------------------------------------------
 */

static wc_status architecture(job *j)
{
    static const struct {
        const char *model_type, *arch;
    } known[] = {{"llama", "llama"}, {"mistral", "llama"}, {"qwen2", "qwen2"}, {"qwen3", "qwen3"}};
    const wc_config *c = &j->in->config;
    WC_TRY(wc_input_need_forward(j->ctx, j->in));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].model_type, c->model_type)) j->arch = known[i].arch;
    if (!j->arch)
        return wc_fail(j->ctx, WC_UNSUPPORTED,
                       "%s: models of type %s have no export to GGUF; llama, mistral, qwen2 and "
                       "qwen3 have",
                       j->in->path, c->model_type);
    if (c->window)
        wc_log(j->ctx, WC_LOG_WARN,
               "%s: llama.cpp has no sliding window for %s: texts of more than %zu tokens will differ", j->in->path,
               j->arch, c->window);
    return WC_OK;
}

static const char *key(job *j, const char *name, char dst[96])
{
    snprintf(dst, 96, "%s.%s", j->arch, name);
    return dst;
}

/* What llama.cpp takes for granted. */
static bool plain_yarn(const wc_rope_config *r)
{
    return fabs(r->attention_factor - (0.1 * log(r->factor) + 1)) < 1e-4 && r->beta_fast == 32 && r->beta_slow == 1 &&
           r->truncate;
}

static wc_status put_rope(job *j)
{
    const wc_rope_config *r = &j->in->config.rope;
    char k[96];
    if (r->dim != j->in->config.head_dim)
        return wc_fail(j->ctx, WC_UNSUPPORTED, "%s: %zu of %zu entries of a head are rotated; llama.cpp rotates all",
                       j->in->path, r->dim, j->in->config.head_dim);
    if (r->type == WC_ROPE_YARN && !plain_yarn(r))
        return wc_fail(j->ctx, WC_UNSUPPORTED, "%s: yarn with options of its own has no form in GGUF", j->in->path);
    WC_TRY(wc_gguf_put_f32(j->ctx, &j->w, key(j, "rope.freq_base", k), (float)r->theta));
    WC_TRY(wc_gguf_put_u32(j->ctx, &j->w, key(j, "rope.dimension_count", k), (uint32_t)r->dim));
    switch (r->type) {
    case WC_ROPE_DEFAULT: return WC_OK;
    case WC_ROPE_LLAMA3: /* a tensor for llama.cpp, see put_frequencies; what it was made from for ourselves */
        WC_TRY(wc_gguf_put_f32(j->ctx, &j->w, "wcompress.rope.low_freq_factor", (float)r->low_freq_factor));
        WC_TRY(wc_gguf_put_f32(j->ctx, &j->w, "wcompress.rope.high_freq_factor", (float)r->high_freq_factor));
        return wc_gguf_put_u32(j->ctx, &j->w, "wcompress.rope.original_context_length",
                               (uint32_t)r->original_max_positions);
    case WC_ROPE_LINEAR:
        WC_TRY(wc_gguf_put_string(j->ctx, &j->w, key(j, "rope.scaling.type", k), "linear", 6));
        return wc_gguf_put_f32(j->ctx, &j->w, key(j, "rope.scaling.factor", k), (float)r->factor);
    case WC_ROPE_YARN:
        WC_TRY(wc_gguf_put_string(j->ctx, &j->w, key(j, "rope.scaling.type", k), "yarn", 4));
        WC_TRY(wc_gguf_put_f32(j->ctx, &j->w, key(j, "rope.scaling.factor", k), (float)r->factor));
        return wc_gguf_put_u32(j->ctx, &j->w, key(j, "rope.scaling.original_context_length", k),
                               (uint32_t)r->original_max_positions);
    default: break;
    }
    return wc_fail(j->ctx, WC_UNSUPPORTED, "%s: its scaling of rotary positions has no form in GGUF", j->in->path);
}

/* general.file_type of a file whose matrices are mostly of this type; 1024: a guess. */
static uint32_t file_type(uint32_t type)
{
    static const uint8_t pairs[][2] = {
        {WC_GGML_F32, 0},     {WC_GGML_F16, 1},    {WC_GGML_Q4_0, 2},     {WC_GGML_Q4_1, 3},    {WC_GGML_Q8_0, 7},
        {WC_GGML_Q5_0, 8},    {WC_GGML_Q5_1, 9},   {WC_GGML_Q2_K, 10},    {WC_GGML_Q3_K, 11},   {WC_GGML_Q4_K, 14},
        {WC_GGML_Q5_K, 16},   {WC_GGML_Q6_K, 18},  {WC_GGML_IQ2_XXS, 19}, {WC_GGML_IQ2_XS, 20}, {WC_GGML_IQ3_XXS, 23},
        {WC_GGML_IQ4_NL, 25}, {WC_GGML_IQ3_S, 26}, {WC_GGML_IQ2_S, 28},   {WC_GGML_IQ4_XS, 30}, {WC_GGML_BF16, 32},
        {WC_GGML_TQ1_0, 36},  {WC_GGML_TQ2_0, 37}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (pairs[i][0] == type) return pairs[i][1];
    return 1024;
}

static uint32_t main_type(const job *j)
{
    uint64_t weights[64] = {0};
    uint32_t best = 0;
    for (size_t i = 0; i < j->n; i++)
        if (j->list[i].type < 64) weights[j->list[i].type] += (uint64_t)j->list[i].weight.rows * j->list[i].weight.cols;
    for (uint32_t t = 1; t < 64; t++)
        if (weights[t] > weights[best]) best = t;
    return best;
}

static wc_status put_general(job *j)
{
    const wc_config *c = &j->in->config;
    wc_gguf_writer *w = &j->w;
    char k[96];
    WC_TRY(wc_gguf_put_string(j->ctx, w, "general.architecture", j->arch, strlen(j->arch)));
    WC_TRY(wc_gguf_put_string(j->ctx, w, "general.type", "model", 5));
    WC_TRY(wc_gguf_put_string(j->ctx, w, "general.name", j->opt->name, strlen(j->opt->name)));
    WC_TRY(wc_gguf_put_string(j->ctx, w, "general.quantized_by", "wcompress " WC_VERSION,
                              strlen("wcompress " WC_VERSION)));
    WC_TRY(wc_gguf_put_u32(j->ctx, w, "general.quantization_version", 2));
    WC_TRY(wc_gguf_put_u32(j->ctx, w, "general.file_type", file_type(main_type(j))));
    WC_TRY(wc_gguf_put_u32(j->ctx, w, key(j, "context_length", k), (uint32_t)c->max_positions));
    WC_TRY(wc_gguf_put_u32(j->ctx, w, key(j, "embedding_length", k), (uint32_t)c->hidden));
    WC_TRY(wc_gguf_put_u32(j->ctx, w, key(j, "block_count", k), (uint32_t)c->layers));
    WC_TRY(wc_gguf_put_u32(j->ctx, w, key(j, "feed_forward_length", k), (uint32_t)c->intermediate));
    WC_TRY(wc_gguf_put_u32(j->ctx, w, key(j, "attention.head_count", k), (uint32_t)c->heads));
    WC_TRY(wc_gguf_put_u32(j->ctx, w, key(j, "attention.head_count_kv", k), (uint32_t)c->kv_heads));
    WC_TRY(wc_gguf_put_u32(j->ctx, w, key(j, "attention.key_length", k), (uint32_t)c->head_dim));
    WC_TRY(wc_gguf_put_u32(j->ctx, w, key(j, "attention.value_length", k), (uint32_t)c->head_dim));
    WC_TRY(wc_gguf_put_f32(j->ctx, w, key(j, "attention.layer_norm_rms_epsilon", k), c->norm_eps));
    WC_TRY(wc_gguf_put_u32(j->ctx, w, key(j, "vocab_size", k), (uint32_t)c->vocab));
    return put_rope(j);
}

static wc_status put_keys(job *j)
{
    wc_buf text = {0};
    json_t *config = NULL;
    bool found;
    wc_status status = put_general(j);
    if (status == WC_OK) status = wc_input_text(j->ctx, j->in, "config.json", &text, &found);
    if (status == WC_OK) status = wc_json_parse(j->ctx, (const char *)text.data, text.size, "config.json", &config);
    if (status == WC_OK) status = wci_gguf_tokenizer(j->ctx, j->in, config, j->opt->pre, &j->w);
    json_decref(config);
    wc_buf_free(&text);
    return status;
}

/* ---- tensors ------------------------------------------------------------------------------------------------------
 */

static uint32_t float_type(wc_dtype t)
{
    return t == WC_F32 ? WC_GGML_F32 : t == WC_F16 ? WC_GGML_F16 : WC_GGML_BF16;
}

/* The stored bytes, when GGUF has a type for them. */
static bool stored(const job *j, entry *e)
{
    wcd_tensor t;
    wcd_part_info p;
    if (j->in->has_checkpoint) {
        const wc_st_tensor *s = wc_checkpoint_find(&j->in->checkpoint, e->source);
        if (!s || s->packed) return false;
        if (s->interleaved) e->heads = 0; /* it is in the order wanted */
        e->type = s->ggml ? s->ggml : float_type(s->dtype);
        e->blob = wc_checkpoint_data(&j->in->checkpoint, s);
        return true;
    }
    if (wcd_find(&j->in->wcz.file, e->source, &t) != WCD_OK || t.n_parts != 1 || t.n_transforms ||
        wcd_part(&t, 0, &p) != WCD_OK)
        return false;
    bool floats = !strcmp(p.kind_name, "float") && wc_dtype_is_float((wc_dtype)p.params[0]) && !p.params[1]; /* plain */
    if (!floats && strcmp(p.kind_name, "ggml")) return false;
    e->type = floats ? float_type((wc_dtype)p.params[0]) : p.params[0];
    e->blob = p.blob;
    return true;
}

static wc_status add_entry(job *j, const char *name, size_t rows, size_t cols, uint32_t heads)
{
    entry *e = &j->list[j->n];
    char gguf[WC_GGUF_NAME_ROOM];
    snprintf(e->source, sizeof e->source, "%s", name);
    WC_TRY(wc_model_find(j->ctx, &j->in->source, name, rows, cols, &e->weight));
    if (!wc_gguf_name(name, gguf))
        return wc_fail(j->ctx, WC_UNSUPPORTED, "%s: tensor %s has no name in GGUF", j->in->path, name);
    e->heads = heads;
    e->type = j->opt->type;
    bool vector = rows == 1 && cols > 1 && (strstr(name, "norm") || strstr(name, ".bias"));
    if (vector)
        e->type = WC_GGML_F32;
    else if (!stored(j, e)) {
        j->result.converted++;
        if (!j->first_converted) j->first_converted = e->source;
    }
    j->result.copied += e->blob != NULL;
    j->n++;
    return wc_gguf_put_tensor(j->ctx, &j->w, gguf, e->type, vector ? 0 : rows, cols);
}

static uint32_t heads_of(const job *j, const wc_tensor_spec *s)
{
    if (strcmp(j->arch, "llama") || (s->role != WC_ROLE_LINEAR && s->role != WC_ROLE_BIAS) || s->index > 1) return 0;
    return (uint32_t)(s->index ? j->in->config.kv_heads : j->in->config.heads);
}

/* Divisors of the rotary frequencies (io dossier): llama3's scaling has no keys. */
static wc_status put_frequencies(job *j)
{
    return j->in->config.rope.type == WC_ROPE_LLAMA3
               ? wc_gguf_put_tensor(j->ctx, &j->w, "rope_freqs.weight", WC_GGML_F32, 0, j->in->config.rope.dim / 2)
               : WC_OK;
}

static wc_status list_tensors(job *j)
{
    const wc_config *c = &j->in->config;
    wc_tensor_spec spec[WC_MAX_SPECS];
    size_t n = wc_block_specs(c, spec);
    WC_TRY(WC_ALLOC(j->ctx, j->list, n * c->layers + 3, "the list of tensors"));
    WC_TRY(add_entry(j, "model.embed_tokens.weight", c->vocab, c->hidden, 0));
    for (size_t layer = 0; layer < c->layers; layer++)
        for (size_t i = 0; i < n; i++) {
            char name[WC_NAME_SIZE];
            wc_spec_name(&spec[i], layer, name);
            WC_TRY(add_entry(j, name, spec[i].rows, spec[i].cols, heads_of(j, &spec[i])));
        }
    WC_TRY(add_entry(j, "model.norm.weight", 1, c->hidden, 0));
    if (!c->tied) WC_TRY(add_entry(j, "lm_head.weight", c->vocab, c->hidden, 0));
    return put_frequencies(j);
}

/* ---- data ---------------------------------------------------------------------------------------------------------
 */

static wc_status copy_rows(job *j, const entry *e, wc_buf *out)
{
    uint64_t rows = e->weight.rows, bytes = wc_gguf_bytes(e->type, e->weight.cols, 1);
    for (uint64_t r = 0; r < rows; r++) {
        uint64_t from = e->heads ? wc_gguf_deinterleave(r, rows, e->heads) : r;
        WC_TRY(wc_buf_append(j->ctx, out, e->blob + from * bytes, bytes));
    }
    return WC_OK;
}

/* dst: 2 or 4 bytes of type e->type. */
static wc_status put_float(const job *j, const entry *e, float x, uint8_t *dst)
{
    uint16_t h = e->type == WC_GGML_F16 ? wc_f32_f16(x) : wc_f32_bf16(x);
    if (e->type == WC_GGML_F16 && isfinite(x) && (h & 0x7c00) == 0x7c00)
        return wc_fail(j->ctx, WC_UNSUPPORTED, "%s: tensor %s holds %g, which is beyond f16: use --dtype bf16 or f32",
                       j->in->path, e->source, (double)x);
    if (e->type == WC_GGML_F32)
        memcpy(dst, &x, 4);
    else
        memcpy(dst, &h, 2);
    return WC_OK;
}

static wc_status convert_rows(job *j, const entry *e, wc_buf *out)
{
    size_t rows = e->weight.rows, cols = e->weight.cols, width = e->type == WC_GGML_F32 ? 4 : 2;
    float *row = NULL;
    uint8_t *bytes = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(j->ctx, row, cols, "a row"));
    WC_TRY_OUT(WC_ALLOC(j->ctx, bytes, cols * width, "a row"));
    for (size_t r = 0; r < rows; r++) {
        size_t from = e->heads && rows > 1 ? wc_gguf_deinterleave(r, rows, e->heads) : r;
        WC_TRY_OUT(e->weight.read(j->ctx, &e->weight, from, 1, row));
        for (size_t i = 0; i < cols; i++) { /* the rows of a bias are its entries */
            size_t k = e->heads && rows == 1 ? wc_gguf_deinterleave(i, cols, e->heads) : i;
            WC_TRY_OUT(put_float(j, e, row[k], bytes + i * width));
        }
        WC_TRY_OUT(wc_buf_append(j->ctx, out, bytes, cols * width));
    }
out:
    free(row), free(bytes);
    return status;
}

/* Wavelengths between the two bounds are blended, shorter ones kept, longer ones divided by the factor. */
static wc_status frequencies(job *j, wc_buf *out)
{
    const wc_rope_config *r = &j->in->config.rope;
    double old = (double)r->original_max_positions;
    for (size_t i = 0; i < r->dim / 2; i++) {
        double wavelength = 2 * 3.14159265358979323846 * pow(r->theta, 2 * (double)i / (double)r->dim);
        double s = (old / wavelength - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
        float divisor = wavelength < old / r->high_freq_factor  ? 1
                        : wavelength > old / r->low_freq_factor ? (float)r->factor
                                                                : (float)(1 / ((1 - s) / r->factor + s));
        WC_TRY(wc_buf_append(j->ctx, out, &divisor, sizeof divisor));
    }
    return WC_OK;
}

static wc_status make_data(wc_ctx *ctx, void *self, size_t i, wc_buf *out)
{
    job *j = self;
    (void)ctx;
    if (i == j->n) return frequencies(j, out);
    return j->list[i].blob ? copy_rows(j, &j->list[i], out) : convert_rows(j, &j->list[i], out);
}

wc_status wc_export_gguf(wc_ctx *ctx, const wc_input *in, const wc_gguf_options *opt, wc_gguf_result *result)
{
    job j = {.ctx = ctx, .in = in, .opt = opt};
    wc_status status = WC_OK;
    WC_TRY_OUT(architecture(&j));
    WC_TRY_OUT(list_tensors(&j));
    WC_TRY_OUT(put_keys(&j));
    if (opt->path) WC_TRY_OUT(wc_gguf_write(ctx, &j.w, opt->path, make_data, &j));
    j.result.bytes = wc_gguf_file_size(&j.w);
    j.result.tensors = (size_t)j.w.n;
    if (j.result.converted && opt->path)
        wc_log(ctx, WC_LOG_WARN,
               "%zu tensors have no type in GGUF and are written as %s, %s the first; compress with "
               "ggml(type=...) to keep their size",
               j.result.converted, wc_gguf_type_name(opt->type), j.first_converted);
    *result = j.result;
out:
    free(j.list);
    wc_gguf_writer_free(&j.w);
    return status;
}
