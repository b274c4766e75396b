#include "io/quantized.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/packing.h"

typedef unsigned long long ull;

/* ---- the config ------------------------------------------------------------------------------------------------- */

typedef enum method { GPTQ, AWQ, COMPRESSED, N_METHODS } method;
static const char *const method_name[N_METHODS] = {"gptq", "awq", "compressed-tensors"};

/* Scales belong to blocks of so many rows and columns of W; 0: all of them. */
typedef struct scheme {
    unsigned bits;
    bool floats; /* F8_E4M3 instead of integers */
    bool zeros;  /* compressed-tensors: each group has one */
    bool g_idx;  /* compressed-tensors: columns are put into groups one by one */
    uint64_t rows, cols;
} scheme;

enum { MAX_SCHEMES = 64, MAX_GROUP = 1 << 24 };

typedef struct quant_config {
    wc_ctx *ctx;
    const char *label;
    method method;
    bool v1;     /* gptq: stored zeros are one less */
    bool g_idx;  /* gptq: not said to count up (desc_act) */
    bool varied; /* gptq: bits and groups differ between layers; their shapes tell */
    scheme scheme[MAX_SCHEMES];
    size_t n;
} quant_config;

static wc_status unsupported(const quant_config *c, const char *key, const char *value, const char *known)
{
    char shown[WC_SHOWN];
    return wc_fail(c->ctx, WC_UNSUPPORTED, "%s: quantization_config: %s `%s' of %s is not read, only %s", c->label, key,
                   wc_escape_name(shown, sizeof shown, value), method_name[c->method], known);
}

/* -1 and null: 0, all columns. */
static wc_status read_group(const quant_config *c, const json_t *obj, const char *key, uint64_t *out)
{
    const json_t *value = json_object_get(obj, key);
    *out = 0;
    if (!value || json_is_null(value) || (json_is_integer(value) && json_integer_value(value) == -1)) return WC_OK;
    return wc_json_u64(c->ctx, obj, key, 0, c->label, 1, MAX_GROUP, out);
}

static wc_status read_bits(const quant_config *c, const json_t *obj, const char *key, scheme *s)
{
    uint64_t bits;
    if (!json_object_get(obj, key))
        return wc_fail(c->ctx, WC_BADFILE, "%s: quantization_config: %s is missing", c->label, key);
    WC_TRY(wc_json_u64(c->ctx, obj, key, 0, c->label, 1, 64, &bits));
    bool good = c->method == GPTQ  ? bits == 2 || bits == 3 || bits == 4 || bits == 8
                : c->method == AWQ ? bits == 4
                                   : bits >= 1 && bits <= 8;
    s->bits = (unsigned)bits;
    if (good) return WC_OK;
    return wc_fail(c->ctx, bits ? WC_UNSUPPORTED : WC_BADFILE,
                   "%s: quantization_config: %s is %llu; of %s, %s are read", c->label, key, (ull)bits,
                   method_name[c->method],
                   c->method == GPTQ  ? "2, 3, 4 and 8"
                   : c->method == AWQ ? "4"
                                      : "1 to 8");
}

static wc_status read_gptq(quant_config *c, const json_t *obj)
{
    const char *format, *words;
    bool marlin;
    const json_t *dynamic = json_object_get(obj, "dynamic");
    if (dynamic && !json_is_object(dynamic) && !json_is_null(dynamic))
        return wc_fail(c->ctx, WC_BADFILE, "%s: quantization_config: dynamic is no object of patterns", c->label);
    WC_TRY(wc_json_str(c->ctx, obj, "format", "gptq", c->label, &format));
    WC_TRY(wc_json_str(c->ctx, obj, "checkpoint_format", format, c->label, &format));
    WC_TRY(wc_json_str(c->ctx, obj, "pack_dtype", "int32", c->label, &words));
    WC_TRY(wc_json_bool(c->ctx, obj, "is_marlin_format", false, c->label, &marlin));
    if (marlin) return unsupported(c, "checkpoint_format", "marlin", "gptq and gptq_v2");
    if (strcmp(format, "gptq") && strcmp(format, "gptq_v2"))
        return unsupported(c, "checkpoint_format", format, "gptq and gptq_v2");
    if (strcmp(words, "int32")) return unsupported(c, "pack_dtype", words, "int32");
    c->v1 = !strcmp(format, "gptq");
    WC_TRY(wc_json_bool(c->ctx, obj, "desc_act", true, c->label, &c->g_idx));
    c->varied = json_is_object(dynamic) && json_object_size(dynamic);
    c->n = 1;
    c->scheme[0].rows = 1;
    WC_TRY(read_bits(c, obj, "bits", &c->scheme[0]));
    return read_group(c, obj, "group_size", &c->scheme[0].cols);
}

static wc_status read_awq(quant_config *c, const json_t *obj)
{
    const char *version;
    WC_TRY(wc_json_str(c->ctx, obj, "format", "gemm", c->label, &version)); /* GPTQModel's word */
    if (strcmp(version, "gemm")) return unsupported(c, "format", version, "gemm");
    bool old = json_object_get(obj, "w_bit") != NULL; /* spellings of quant_config.json */
    WC_TRY(wc_json_str(c->ctx, obj, "version", "gemm", c->label, &version));
    if (strcmp(version, "gemm") && strcmp(version, "GEMM")) return unsupported(c, "version", version, "gemm");
    c->n = 1;
    c->scheme[0].rows = 1;
    WC_TRY(read_bits(c, obj, old ? "w_bit" : "bits", &c->scheme[0]));
    return read_group(c, obj, old ? "q_group_size" : "group_size", &c->scheme[0].cols);
}

static wc_status check_format(const quant_config *c, const json_t *obj)
{
    static const char *const known[] = {"pack-quantized", "int-quantized", "float-quantized", "naive-quantized",
                                        "mixed-precision"};
    const char *format;
    WC_TRY(wc_json_str(c->ctx, obj, "format", known[0], c->label, &format));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(format, known[i])) return WC_OK;
    return unsupported(c, "format", format, "pack-, int-, float- and naive-quantized");
}

static wc_status read_strategy(const quant_config *c, const json_t *weights, scheme *s)
{
    const char *strategy;
    uint64_t group;
    WC_TRY(read_group(c, weights, "group_size", &group));
    WC_TRY(wc_json_str(c->ctx, weights, "strategy", group ? "group" : "channel", c->label, &strategy));
    s->rows = strcmp(strategy, "tensor") != 0;
    s->cols = strcmp(strategy, "group") ? 0 : group;
    if (!strcmp(strategy, "group") && !group)
        return wc_fail(c->ctx, WC_BADFILE, "%s: quantization_config: strategy `group' without a group_size", c->label);
    if (!strcmp(strategy, "tensor") || !strcmp(strategy, "channel") || !strcmp(strategy, "group")) return WC_OK;
    if (strcmp(strategy, "block")) return unsupported(c, "strategy", strategy, "tensor, channel, group and block");
    const json_t *block = json_object_get(weights, "block_structure");
    for (size_t i = 0; i < 2; i++) {
        json_int_t x = json_integer_value(json_array_get(block, i));
        if (json_array_size(block) != 2 || x < 1 || x > MAX_GROUP)
            return wc_fail(c->ctx, WC_BADFILE, "%s: quantization_config: block_structure is no pair of sizes from 1 on",
                           c->label);
        *(i ? &s->cols : &s->rows) = (uint64_t)x;
    }
    return WC_OK;
}

/* Whether columns go into groups in an order of their own: true, "group", or what that was called later. */
static bool ordered(const json_t *actorder)
{
    const char *word = json_string_value(actorder);
    return json_is_true(actorder) || (word && (!strcmp(word, "group") || !strcmp(word, "dynamic")));
}

static wc_status read_group_of_layers(quant_config *c, const json_t *obj)
{
    const json_t *weights = json_object_get(obj, "weights");
    scheme *s = &c->scheme[c->n];
    const char *type;
    bool symmetric;
    if (!json_is_object(weights)) return WC_OK; /* activations only */
    if (c->n == MAX_SCHEMES)
        return wc_fail(c->ctx, WC_UNSUPPORTED, "%s: quantization_config: more than %d groups", c->label, MAX_SCHEMES);
    WC_TRY(check_format(c, obj));
    WC_TRY(wc_json_str(c->ctx, weights, "type", "int", c->label, &type));
    s->floats = !strcmp(type, "float");
    if (!s->floats && strcmp(type, "int")) return unsupported(c, "type", type, "int and float");
    WC_TRY(read_bits(c, weights, "num_bits", s));
    WC_TRY(wc_json_bool(c->ctx, weights, "symmetric", true, c->label, &symmetric));
    s->zeros = !symmetric && !s->floats;
    s->g_idx = ordered(json_object_get(weights, "actorder"));
    if (s->floats && s->bits != 8) return unsupported(c, "type", "float of other than 8 bits", "8");
    if (json_is_object(json_object_get(obj, "input_activations")) && !c->n)
        wc_log(c->ctx, WC_LOG_WARN, "%s: activations are not quantized here, though quantization_config says so",
               c->label);
    WC_TRY(read_strategy(c, weights, s));
    c->n++;
    return WC_OK;
}

static wc_status read_compressed(quant_config *c, const json_t *obj)
{
    const json_t *groups = json_object_get(obj, "config_groups"), *sparse = json_object_get(obj, "sparsity_config");
    const char *key, *format;
    json_t *value;
    WC_TRY(check_format(c, obj));
    if (json_is_object(sparse)) {
        WC_TRY(wc_json_str(c->ctx, sparse, "format", "dense", c->label, &format));
        if (strcmp(format, "dense")) return unsupported(c, "sparsity", format, "dense");
    }
    if (json_object_size(json_object_get(json_object_get(obj, "transform_config"), "config_groups")))
        return unsupported(c, "transform_config", "config_groups", "models without transforms");
    json_object_foreach((json_t *)groups, key, value) WC_TRY(read_group_of_layers(c, value));
    if (c->n) return WC_OK;
    return wc_fail(c->ctx, WC_BADFILE, "%s: quantization_config: no config_groups that say how weights are quantized",
                   c->label);
}

/* *known false: another method. */
static wc_status read_config(wc_ctx *ctx, const json_t *obj, const char *label, quant_config *c, bool *known)
{
    static wc_status (*const reader[])(quant_config *, const json_t *) = {read_gptq, read_awq, read_compressed};
    const char *name;
    *c = (quant_config){.ctx = ctx, .label = label};
    *known = false;
    WC_TRY(wc_json_str(ctx, obj, "quant_method", "", label, &name));
    for (int m = 0; m < N_METHODS; m++)
        if (!strcmp(name, method_name[m])) {
            c->method = (method)m;
            *known = true;
            return reader[m](c, obj);
        }
    return WC_OK;
}

/* ---- a layer ---------------------------------------------------------------------------------------------------- */

/* Fields of a matrix that is as long as W in one direction. */
typedef struct plane {
    const uint8_t *data;
    bool bytes;   /* the fields are bytes, row after row of W */
    bool along_n; /* a line holds the fields of all rows of W; else those of all columns, or groups, of one */
    wc_packing packing;
    unsigned bits;
    uint64_t step, stride; /* words between those of a line, and between the first words of lines */
} plane;

enum { CODES, ZEROS, SCALES, GROUPS, SHAPE };
_Static_assert(SHAPE + 1 == WC_QUANT_PARTS, "as the header says");

struct wc_quant_linear {
    const wc_st_tensor *part[WC_QUANT_PARTS]; /* NULL: it has none */
    const char *name;                         /* P.weight */
    uint64_t rows, cols, groups;              /* N, K, G */
    plane codes, zeros;                       /* zeros.data NULL: all are `zero' */
    float level[256], zero_level[256], zero;  /* what a field of either means */
    const uint8_t *scales;
    wc_dtype scale_dtype;
    uint64_t scale_rows, n_stride,
        g_stride;    /* rows that share one; elements from one to the next, and between groups */
    uint64_t group;  /* columns of a group; unless */
    uint32_t *g_idx; /* [K], each below G; NULL: k / group */
    bool ordered;    /* the config says that there may be one */
    char text[40];
};

struct wc_quant {
    method method;
    wc_quant_linear *linear; /* [n] */
    wc_st_tensor *made;      /* [n] */
    size_t n;
    char *names;
};

/* The tensors of the checkpoint while layers are taken from them. */
typedef struct folder {
    wc_ctx *ctx;
    const quant_config *config;
    const wc_safetensors *shard;
    const wc_st_tensor *const *list;
    bool *taken; /* [n] */
    size_t n;
} folder;

static const uint8_t *data_of(const folder *f, const wc_st_tensor *t)
{
    return f->shard[t->shard].map.data + t->offset;
}

static size_t index_of(const folder *f, const char *name)
{
    size_t lo = 0, hi = f->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = strcmp(name, f->list[mid]->name);
        if (!order) return mid;
        *(order < 0 ? &hi : &lo) = order < 0 ? mid : mid + 1;
    }
    return f->n;
}

/* The tensor stem + suffix, n bytes of stem; it is taken. NULL: there is none. */
static wc_status take(const folder *f, const char *stem, size_t n, const char *suffix, const wc_st_tensor **out)
{
    wc_buf name = {0};
    WC_TRY(wc_buf_printf(f->ctx, &name, "%.*s%s", (int)n, stem, suffix));
    size_t i = index_of(f, (const char *)name.data);
    wc_buf_free(&name);
    *out = i < f->n ? f->list[i] : NULL;
    if (*out) f->taken[i] = true;
    return WC_OK;
}

static wc_status missing(const folder *f, const wc_quant_linear *q, const char *suffix)
{
    char shown[WC_SHOWN];
    return wc_fail(f->ctx, WC_BADFILE, "%s: `%s' is quantized, but has no tensor %s beside its codes", f->config->label,
                   wc_escape_name(shown, sizeof shown, q->name), suffix);
}

/* The tensor is not what `should' says. */
static wc_status wrong(const folder *f, const wc_st_tensor *t, const char *should)
{
    char shown[WC_SHOWN], shape[96];
    return wc_fail(f->ctx, WC_BADFILE, "tensor `%s' is %s; %s", wc_escape_name(shown, sizeof shown, t->name),
                   wc_st_shape(shape, sizeof shape, t), should);
}

static wc_status check_shape(const folder *f, const wc_quant_linear *q, const wc_st_tensor *t, wc_dtype dtype,
                             uint64_t rows, uint64_t cols)
{
    char should[160];
    if (t->dtype == dtype && t->n_dims == 2 && t->dims[0] == rows && t->dims[1] == cols) return WC_OK;
    snprintf(should, sizeof should, "for %llu x %llu weights in %u bits, %llu groups, it must be %s [%llu, %llu]",
             (ull)q->rows, (ull)q->cols, q->codes.bits, (ull)q->groups, wc_dtype_name(dtype), (ull)rows, (ull)cols);
    return wrong(f, t, should);
}

/* Scales of gptq and awq are [G, N]: they and the columns of the codes say how large W is. */
static wc_status gn_scales(const folder *f, wc_quant_linear *q)
{
    const wc_st_tensor *s = q->part[SCALES];
    if (!s) return missing(f, q, ".scales");
    if (!q->part[ZEROS]) return missing(f, q, ".qzeros");
    if (!wc_dtype_is_float(s->dtype) || s->n_dims != 2 || !s->size)
        return wrong(f, s, "scales are F16, BF16 or F32 [groups, outputs]");
    const wc_st_tensor *const packed[] = {q->part[CODES], q->part[ZEROS]};
    for (int i = 0; i < 2; i++)
        if (packed[i]->dtype != WC_I32 || packed[i]->n_dims != 2 || !packed[i]->size)
            return wrong(f, packed[i], "codes and zeros are packed in I32, in two dimensions");
    q->groups = s->dims[0], q->rows = s->dims[1];
    q->scale_rows = 1, q->n_stride = 1, q->g_stride = q->rows;
    return WC_OK;
}

/* The groups that shapes and config agree on. */
static wc_status check_groups(const folder *f, wc_quant_linear *q, uint64_t group)
{
    q->group = group ? group : q->cols;
    if (f->config->varied) q->group = wc_ceil_div(q->cols, q->groups);
    if (wc_ceil_div(q->cols, q->group) == q->groups) return WC_OK;
    char should[160];
    snprintf(should, sizeof should, "%llu inputs in groups of %llu, as quantization_config has it, need %llu",
             (ull)q->cols, (ull)q->group, (ull)wc_ceil_div(q->cols, q->group));
    return wrong(f, q->part[SCALES], should);
}

static void integer_levels(wc_quant_linear *q, bool v1)
{
    unsigned bits = q->codes.bits;
    for (unsigned i = 0; i < 256; i++) {
        q->level[i] = (float)i;
        q->zero_level[i] = v1 ? (float)wc_gptq_zero_read((uint8_t)i, bits) : (float)i;
    }
    q->zero = (float)(1u << (bits - 1));
}

/* The bits of a layer: those of the config, or of the shapes if layers differ. */
static wc_status gptq_bits(const folder *f, const wc_quant_linear *q, unsigned *bits)
{
    *bits = f->config->scheme[0].bits;
    if (!f->config->varied) return WC_OK;
    uint64_t b = q->part[ZEROS]->dims[1] * 32 / q->rows;
    *bits = (unsigned)(b > 8 ? 0 : b);
    if (*bits == 2 || *bits == 3 || *bits == 4 || *bits == 8) return WC_OK;
    return wrong(f, q->part[ZEROS], "that is none of 2, 3, 4 and 8 bits");
}

static wc_status open_gptq(const folder *f, wc_quant_linear *q)
{
    const quant_config *c = f->config;
    unsigned bits;
    WC_TRY(gn_scales(f, q));
    WC_TRY(gptq_bits(f, q, &bits));
    uint64_t words = q->part[CODES]->dims[0], n_words = wc_pack_words(WC_PACK_STREAM, bits, q->rows);
    q->cols = q->part[GROUPS] ? q->part[GROUPS]->cols * q->part[GROUPS]->rows : words * 32 / bits;
    q->codes = (plane){.packing = WC_PACK_STREAM, .bits = bits, .step = q->rows, .stride = 1};
    q->zeros = (plane){.packing = WC_PACK_STREAM, .bits = bits, .along_n = true, .step = 1, .stride = n_words};
    WC_TRY(check_shape(f, q, q->part[CODES], WC_I32, wc_pack_words(WC_PACK_STREAM, bits, q->cols), q->rows));
    WC_TRY(check_shape(f, q, q->part[ZEROS], WC_I32, q->groups, n_words));
    WC_TRY(check_groups(f, q, c->scheme[0].cols));
    integer_levels(q, c->v1);
    q->ordered = c->g_idx;
    return WC_OK;
}

static wc_status open_awq(const folder *f, wc_quant_linear *q)
{
    WC_TRY(gn_scales(f, q));
    uint64_t n_words = wc_pack_words(WC_PACK_AWQ, 4, q->rows);
    q->cols = q->part[CODES]->dims[0];
    q->codes = q->zeros = (plane){.packing = WC_PACK_AWQ, .bits = 4, .along_n = true, .step = 1, .stride = n_words};
    WC_TRY(check_shape(f, q, q->part[CODES], WC_I32, q->cols, n_words));
    WC_TRY(check_shape(f, q, q->part[ZEROS], WC_I32, q->groups, n_words));
    WC_TRY(check_groups(f, q, f->config->scheme[0].cols));
    integer_levels(q, false);
    return WC_OK;
}

/* The elements of P.weight_shape: N and K. */
static wc_status read_shape(const folder *f, wc_quant_linear *q)
{
    const wc_st_tensor *t = q->part[SHAPE], *codes = q->part[CODES];
    char shown[WC_SHOWN];
    if (!t) return missing(f, q, "_shape");
    if ((t->dtype != WC_I64 && t->dtype != WC_I32) || t->rows * t->cols != 2)
        return wrong(f, t, "it must be I64 [2]: outputs and inputs");
    int64_t shape[2];
    for (int i = 0; i < 2; i++) {
        int32_t x;
        memcpy(&x, data_of(f, t) + 4 * i, 4);
        if (t->dtype == WC_I64)
            memcpy(&shape[i], data_of(f, t) + 8 * i, 8);
        else
            shape[i] = x;
    }
    if (codes->dtype != WC_I32 || codes->n_dims != 2 || !codes->size)
        return wrong(f, codes, "packed codes are I32, in two dimensions");
    uint64_t most = codes->dims[1] * 32;
    if (shape[0] < 1 || (uint64_t)shape[0] != codes->dims[0] || shape[1] < 1 || (uint64_t)shape[1] > most)
        return wc_fail(f->ctx, WC_BADFILE, "%s: `%s' is said to be %lld x %lld, its codes have %llu rows of %llu words",
                       f->config->label, wc_escape_name(shown, sizeof shown, q->name), (long long)shape[0],
                       (long long)shape[1], (ull)codes->dims[0], (ull)codes->dims[1]);
    q->rows = (uint64_t)shape[0], q->cols = (uint64_t)shape[1];
    return WC_OK;
}

static uint64_t blocks(uint64_t n, uint64_t size)
{
    return size ? wc_ceil_div(n, size) : 1;
}

/* Whether a scheme has as many scales as there are. */
static bool fits(const wc_quant_linear *q, const scheme *s, const wc_st_tensor *scales)
{
    uint64_t want;
    return wc_mul(blocks(q->rows, s->rows), blocks(q->cols, s->cols), &want) && want == scales->rows * scales->cols &&
           (s->rows != 1 || scales->dims[0] == q->rows);
}

/* Whether the codes can be of a scheme. *packing: theirs, if they are no bytes. */
static bool fits_codes(const wc_quant_linear *q, const scheme *s, wc_packing *packing)
{
    const wc_st_tensor *codes = q->part[CODES];
    if (codes->dtype != WC_I32) return s->floats == (codes->dtype == WC_F8_E4M3);
    if (s->floats) return false;
    for (*packing = WC_PACK_STREAM; *packing <= WC_PACK_WORDS; ++*packing)
        if (wc_pack_words(*packing, s->bits, q->cols) == codes->dims[1]) return true;
    return false;
}

/* What a scheme promises and the layer has not: the suffix of that tensor, or NULL. (Zeros and orders that it does not
 * speak of are another matter: old files have zeros that are all the middle code.) */
static const char *lacking(const wc_quant_linear *q, const scheme *s)
{
    return s->zeros && !q->part[ZEROS] ? "_zero_point" : s->g_idx && !q->part[GROUPS] ? "_g_idx" : NULL;
}

/* Which of the config's schemes the layer has: of those with its shapes, one that it lacks nothing of if there is one.
 */
static const scheme *find_scheme(const folder *f, const wc_quant_linear *q, wc_packing *packing)
{
    const scheme *found = NULL;
    wc_packing other = WC_PACK_STREAM;
    for (size_t i = 0; i < f->config->n; i++) {
        const scheme *s = &f->config->scheme[i];
        if (!fits(q, s, q->part[SCALES]) || !fits_codes(q, s, &other) || (found && lacking(q, s))) continue;
        found = s, *packing = other;
        if (!lacking(q, s)) break;
    }
    return found;
}

/* Zeros of compressed-tensors: packed along N like the codes, or (older files, codes of a byte) a byte each. */
static wc_status ct_zeros(const folder *f, wc_quant_linear *q, wc_packing packing)
{
    const wc_st_tensor *t = q->part[ZEROS];
    unsigned bits = q->codes.bits;
    if (!t) return WC_OK;
    if (t->dtype == WC_I8 && t->rows * t->cols == q->part[SCALES]->rows * q->part[SCALES]->cols && q->scale_rows == 1) {
        q->zeros = (plane){.bytes = true, .bits = 8};
        for (int i = 0; i < 256; i++)
            q->zero_level[i] = q->zero + (float)(int8_t)i;
        return WC_OK;
    }
    if (q->codes.bytes) return wrong(f, t, "the zeros of such weights are I8, as many as there are scales");
    q->zeros = (plane){.packing = packing, .bits = bits, .along_n = true, .step = q->groups, .stride = 1};
    return check_shape(f, q, t, WC_I32, wc_pack_words(packing, bits, q->rows), q->groups);
}

static wc_status ct_scales(const folder *f, wc_quant_linear *q, wc_packing *packing)
{
    const wc_st_tensor *t = q->part[SCALES];
    if (!t) return missing(f, q, "_scale");
    if (!wc_dtype_is_float(t->dtype) || !t->size) return wrong(f, t, "scales are F16, BF16 or F32");
    const scheme *s = find_scheme(f, q, packing);
    if (!s) {
        char should[160];
        snprintf(should, sizeof should, "that and %llu x %llu weights fit none of quantization_config's %zu schemes",
                 (ull)q->rows, (ull)q->cols, f->config->n);
        return wrong(f, t, should);
    }
    if (lacking(q, s)) return missing(f, q, lacking(q, s));
    q->codes.bits = s->bits;
    q->ordered = s->g_idx;
    q->groups = blocks(q->cols, s->cols);
    q->group = s->cols ? s->cols : q->cols;
    q->scale_rows = s->rows ? s->rows : q->rows;
    q->n_stride = q->groups, q->g_stride = 1;
    return WC_OK;
}

static wc_status open_packed(const folder *f, wc_quant_linear *q)
{
    wc_packing packing;
    WC_TRY(read_shape(f, q));
    WC_TRY(ct_scales(f, q, &packing));
    q->codes.packing = packing;
    q->codes.step = 1, q->codes.stride = q->part[CODES]->dims[1];
    integer_levels(q, false);
    return ct_zeros(f, q, packing);
}

/* Four bits of exponent, biased by 7, three of mantissa; no infinity, and the largest magnitude is NaN. */
static float e4m3(uint8_t b)
{
    int e = b >> 3 & 15, m = b & 7;
    float x = e ? ldexpf((float)(8 + m), e - 10) : ldexpf((float)m, -9);
    if ((b & 127) == 127) x = NAN;
    return b & 128 ? -x : x;
}

static wc_status open_bytes(const folder *f, wc_quant_linear *q)
{
    wc_packing packing;
    const wc_st_tensor *t = q->part[CODES];
    if (t->n_dims != 2 || !t->size) return wrong(f, t, "quantized weights have two dimensions");
    q->rows = t->dims[0], q->cols = t->dims[1];
    WC_TRY(ct_scales(f, q, &packing));
    q->codes = (plane){.bytes = true, .bits = 8};
    for (unsigned i = 0; i < 256; i++)
        q->level[i] = t->dtype == WC_I8 ? (float)(int8_t)i : e4m3((uint8_t)i);
    return ct_zeros(f, q, packing);
}

/* g_idx, bounded once and kept unless it says k / group. */
static wc_status read_g_idx(const folder *f, wc_quant_linear *q)
{
    const wc_st_tensor *t = q->part[GROUPS];
    if (!t) return WC_OK;
    if (t->dtype != WC_I32 || t->rows * t->cols != q->cols) return wrong(f, t, "g_idx is I32, one for every input");
    WC_TRY(WC_ALLOC(f->ctx, q->g_idx, q->cols, "group indices"));
    bool plain = true;
    for (uint64_t k = 0; k < q->cols; k++) {
        char shown[WC_SHOWN];
        int32_t g;
        memcpy(&g, data_of(f, t) + 4 * k, 4);
        if (g < 0 || (uint64_t)g >= q->groups)
            return wc_fail(f->ctx, WC_BADFILE, "tensor `%s' puts input %llu into group %d of %llu",
                           wc_escape_name(shown, sizeof shown, t->name), (ull)k, (int)g, (ull)q->groups);
        q->g_idx[k] = (uint32_t)g;
        plain = plain && (uint64_t)g == k / q->group;
    }
    if (!plain) return WC_OK;
    free(q->g_idx);
    q->g_idx = NULL;
    return WC_OK;
}

static void describe(const folder *f, wc_quant_linear *q)
{
    static const char *const word[N_METHODS] = {"GPTQ", "AWQ", "CT"};
    if (q->codes.bytes)
        snprintf(q->text, sizeof q->text, "%s", wc_dtype_name(q->part[CODES]->dtype));
    else
        snprintf(q->text, sizeof q->text, "%s %ub g%llu%s", word[f->config->method], q->codes.bits,
                 (ull)(q->group < q->cols ? q->group : 0), q->g_idx ? " act" : "");
}

/* ---- finding the layers ----------------------------------------------------------------------------------------- */

/* How a layer of a method is made of tensors: the first one's name ends in `codes', which stem the others' begin with.
 */
typedef struct naming {
    method method;
    const char *codes;
    size_t stem; /* bytes of `codes' that belong to the stem */
    const char *suffix[WC_QUANT_PARTS];
    wc_status (*open)(const folder *, wc_quant_linear *);
} naming;

static const naming namings[] = {
    {GPTQ, ".qweight", 0, {".qweight", ".qzeros", ".scales", ".g_idx"}, open_gptq},
    {AWQ, ".qweight", 0, {".qweight", ".qzeros", ".scales"}, open_awq},
    {COMPRESSED, ".weight_packed", 7, {"_packed", "_zero_point", "_scale", "_g_idx", "_shape"}, open_packed},
    {COMPRESSED, ".weight", 7, {"", "_zero_point", "_scale"}, open_bytes},
};

/* Whether tensor t holds the codes of a layer; *stem: how much of its name the layer's tensors share. */
static const naming *naming_of(const folder *f, const wc_st_tensor *t, size_t *stem)
{
    size_t n = strlen(t->name);
    for (size_t i = 0; i < sizeof namings / sizeof *namings; i++) {
        size_t m = strlen(namings[i].codes);
        if (namings[i].method != f->config->method || n < m || strcmp(t->name + n - m, namings[i].codes)) continue;
        if (namings[i].open == open_bytes && t->dtype != WC_I8 && t->dtype != WC_F8_E4M3) continue;
        *stem = n - m + namings[i].stem;
        return &namings[i];
    }
    return NULL;
}

static wc_status add_layer(const folder *f, const naming *how, const wc_st_tensor *t, size_t stem, wc_quant *out)
{
    wc_quant_linear *q = &out->linear[out->n];
    wc_st_tensor *made = &out->made[out->n];
    const wc_st_tensor *plain;
    char shown[WC_SHOWN];
    out->n++;
    WC_TRY(take(f, t->name, stem, how->stem ? "" : ".weight", &plain));
    if (plain && how->open != open_bytes)
        return wc_fail(f->ctx, WC_BADFILE, "%s: `%s' is there both quantized and as it was", f->config->label,
                       wc_escape_name(shown, sizeof shown, plain->name));
    for (int i = 0; i < WC_QUANT_PARTS; i++)
        if (how->suffix[i]) WC_TRY(take(f, t->name, stem, how->suffix[i], &q->part[i]));
    WC_TRY(how->open(f, q));
    WC_TRY(read_g_idx(f, q));
    q->codes.data = data_of(f, q->part[CODES]);
    q->scales = data_of(f, q->part[SCALES]);
    q->scale_dtype = q->part[SCALES]->dtype;
    if (q->part[ZEROS]) q->zeros.data = data_of(f, q->part[ZEROS]);
    describe(f, q);
    *made = (wc_st_tensor){.name = (char *)q->name,
                           .dtype = WC_F32,
                           .n_dims = 2,
                           .dims = {q->rows, q->cols},
                           .rows = q->rows,
                           .cols = q->cols,
                           .shard = t->shard,
                           .packed = q};
    for (int i = 0; i < WC_QUANT_PARTS; i++)
        made->size += q->part[i] ? q->part[i]->size : 0;
    return WC_OK;
}

static int by_tensor_name(const void *a, const void *b)
{
    return strcmp((*(const wc_st_tensor *const *)a)->name, (*(const wc_st_tensor *const *)b)->name);
}

/* The tensors of the layers go, the layers come. */
static void relist(const folder *f, const wc_quant *q, const wc_st_tensor **list, size_t *n)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->n; i++)
        if (!f->taken[i]) list[kept++] = list[i];
    for (size_t i = 0; i < q->n; i++)
        list[kept++] = &q->made[i]; /* each has taken a tensor: there is room */
    qsort(list, kept, sizeof *list, by_tensor_name);
    *n = kept;
}

/* Parts of layers whose codes are not there. */
static wc_status check_orphans(const folder *f)
{
    static const char *const suffix[] = {".qzeros", ".g_idx", ".weight_shape", ".weight_zero_point", ".weight_g_idx"};
    for (size_t i = 0; i < f->n; i++)
        for (size_t k = 0; k < sizeof suffix / sizeof *suffix; k++) {
            size_t n = strlen(f->list[i]->name), m = strlen(suffix[k]);
            if (!f->taken[i] && n > m && !strcmp(f->list[i]->name + n - m, suffix[k]))
                return wrong(f, f->list[i], "it belongs to a quantized layer whose codes are missing");
        }
    return WC_OK;
}

/* A g_idx that the config does not speak of: the programs that go by the config alone read other weights. */
static wc_status check_orders(const folder *f, const wc_quant *q)
{
    const wc_quant_linear *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < q->n; i++)
        if (q->linear[i].g_idx && !q->linear[i].ordered && !n++) first = &q->linear[i];
    if (!n) return WC_OK;
    char shown[WC_SHOWN];
    wc_escape_name(shown, sizeof shown, first->name);
    if (f->config->method != GPTQ)
        return wc_fail(f->ctx, WC_BADFILE, "%s: `%s' has a g_idx that is out of order, and actorder is not group",
                       f->config->label, shown);
    wc_log(f->ctx, WC_LOG_WARN,
           "%s: `%s' (of %zu) has a g_idx that is out of order, though desc_act is false: some programs ignore it",
           f->config->label, shown, n);
    return WC_OK;
}

static wc_status find_layers(folder *f, wc_quant *q)
{
    size_t layers = 0, bytes = 0, stem;
    const naming *how;
    for (size_t i = 0; i < f->n; i++)
        if (naming_of(f, f->list[i], &stem)) layers++, bytes += stem + sizeof ".weight";
    WC_TRY(WC_ALLOC(f->ctx, q->linear, layers, "quantized layers"));
    WC_TRY(WC_ALLOC(f->ctx, q->made, layers, "quantized layers"));
    WC_TRY(WC_ALLOC(f->ctx, q->names, bytes, "names"));
    char *name = q->names;
    for (size_t i = 0; i < f->n; i++) {
        how = naming_of(f, f->list[i], &stem);
        if (!how) continue;
        q->linear[q->n].name = name;
        name += sprintf(name, "%.*s%s", (int)stem, f->list[i]->name, how->stem ? "" : ".weight") + 1;
        WC_TRY(add_layer(f, how, f->list[i], stem, q));
    }
    WC_TRY(check_orphans(f));
    return check_orders(f, q);
}

wc_status wc_quant_open(wc_ctx *ctx, const json_t *config, const char *label, const wc_safetensors *shard,
                        const wc_st_tensor **list, size_t *n, wc_quant **out)
{
    quant_config c;
    folder f = {.ctx = ctx, .config = &c, .shard = shard, .list = list, .n = *n};
    wc_quant *q = NULL;
    bool known;
    *out = NULL;
    wc_status status = read_config(ctx, config, label, &c, &known);
    if (status != WC_OK || !known) return status;
    WC_TRY_OUT(WC_ALLOC(ctx, q, 1, "quantized layers"));
    WC_TRY_OUT(WC_ALLOC(ctx, f.taken, f.n, "quantized layers"));
    q->method = c.method;
    WC_TRY_OUT(find_layers(&f, q));
    relist(&f, q, list, n);
    *out = q;
    q = NULL;
out:
    free(f.taken);
    wc_quant_close(&q);
    return status;
}

void wc_quant_close(wc_quant **p)
{
    wc_quant *q = *p;
    if (!q) return;
    for (size_t i = 0; i < q->n; i++)
        free(q->linear[i].g_idx);
    free(q->linear);
    free(q->made);
    free(q->names);
    free(q);
    *p = NULL;
}

const char *wc_quant_method(const wc_quant *q)
{
    return method_name[q->method];
}

size_t wc_quant_count(const wc_quant *q)
{
    return q->n;
}

const char *wc_quant_text(const wc_quant_linear *q)
{
    return q->text;
}

size_t wc_quant_stored(const wc_quant_linear *q, const wc_st_tensor *part[WC_QUANT_PARTS])
{
    size_t n = 0;
    for (int i = 0; i < WC_QUANT_PARTS; i++)
        if (q->part[i]) part[n++] = q->part[i];
    return n;
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

enum { CHUNK = 64 }; /* rows that are made together: the words of a column of gptq's lie N apart, 16 to a cache line */

/* Fields first .. first + n of a line, field_step apart. room: for their words, which may lie anywhere in memory. */
static void unpack(const plane *p, uint64_t line, uint64_t first, uint64_t n, uint8_t *field, uint64_t field_step,
                   uint32_t *room)
{
    uint64_t unit = p->packing == WC_PACK_STREAM ? 32 : p->packing == WC_PACK_AWQ ? 8 : 32 / p->bits;
    uint64_t start = first - first % unit; /* of a word, and of a new pattern */
    uint64_t word = wc_pack_words(p->packing, p->bits, start), end = wc_pack_words(p->packing, p->bits, first + n);
    for (uint64_t w = word; w < end; w++)
        memcpy(&room[w - word], p->data + 4 * (w * p->step + line * p->stride), 4);
    wc_unpack_line(p->packing, p->bits, room, 1, first - start, n, field, field_step);
}

/* field [nr, count] = the fields of rows r0 .. r0 + nr: count is K or G. */
static void unpack_rows(const plane *p, uint64_t r0, uint64_t nr, uint64_t count, uint8_t *field, uint32_t *room)
{
    if (p->bytes)
        memcpy(field, p->data + r0 * count, nr * count);
    else if (p->along_n)
        for (uint64_t i = 0; i < count; i++)
            unpack(p, i, r0, nr, field + i, count, room);
    else
        for (uint64_t r = 0; r < nr; r++)
            unpack(p, r0 + r, 0, count, field + r * count, 1, room);
}

static float scale_at(const wc_quant_linear *q, uint64_t row, uint64_t g)
{
    uint64_t i = row / q->scale_rows * q->n_stride + g * q->g_stride;
    uint16_t h;
    float x;
    if (q->scale_dtype == WC_F32) return memcpy(&x, q->scales + 4 * i, 4), x;
    memcpy(&h, q->scales + 2 * i, 2);
    return q->scale_dtype == WC_F16 ? wc_f16_f32(h) : wc_bf16_f32(h);
}

static void make_row(const wc_quant_linear *q, uint64_t row, const uint8_t *code, const uint8_t *zero, float *scale,
                     float *dst)
{
    for (uint64_t g = 0; g < q->groups; g++)
        scale[g] = scale_at(q, row, g);
    for (uint64_t k = 0, g = 0, end = q->group; k < q->cols; k++) {
        if (q->g_idx)
            g = q->g_idx[k];
        else if (k == end)
            g++, end += q->group;
        float z = q->zeros.data ? q->zero_level[zero[g]] : q->zero;
        dst[k] = (q->level[code[k]] - z) * scale[g];
    }
}

static wc_status make_rows(wc_ctx *ctx, const wc_quant_linear *q, uint64_t r0, uint64_t nr, float *dst)
{
    uint8_t *code = NULL, *zero = NULL;
    uint32_t *room = NULL;
    float *scale = NULL;
    wc_status status;
    WC_TRY_OUT(WC_ALLOC(ctx, code, nr * q->cols, "codes"));
    WC_TRY_OUT(WC_ALLOC(ctx, zero, nr * q->groups, "codes"));
    WC_TRY_OUT(WC_ALLOC(ctx, scale, q->groups, "scales"));
    WC_TRY_OUT(WC_ALLOC(ctx, room, q->cols + CHUNK + 32, "codes")); /* no more words than fields */
    unpack_rows(&q->codes, r0, nr, q->cols, code, room);
    if (q->zeros.data) unpack_rows(&q->zeros, r0, nr, q->groups, zero, room);
    for (uint64_t r = 0; r < nr; r++)
        make_row(q, r0 + r, code + r * q->cols, zero + r * q->groups, scale, dst + r * q->cols);
out:
    free(code), free(zero), free(scale), free(room);
    return status;
}

wc_status wc_quant_rows(wc_ctx *ctx, const wc_quant_linear *q, uint64_t r0, uint64_t nr, float *dst)
{
    wc_status status = WC_OK;
#pragma omp parallel for schedule(static) num_threads(ctx->threads) if (nr > CHUNK && nr * q->cols >= 1 << 19)
    for (uint64_t r = 0; r < nr; r += CHUNK) {
        wc_status one = make_rows(ctx, q, r0 + r, wc_min(CHUNK, nr - r), dst + r * q->cols);
        if (one != WC_OK)
#pragma omp critical(wc_quant_rows)
            status = one;
    }
    return status;
}
