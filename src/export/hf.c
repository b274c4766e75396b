#include "export/hf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/half.h"
#include "base/packing.h"
#include "export/hf_internal.h"

#define B(n) (1u << (n))
const wc_hf_format wc_hf_formats[WC_N_HF_FORMATS] = {
    {"gptq", "gptq", "gptq", B(2) | B(3) | B(4) | B(8), 0, true, false, true},
    {"gptq_v2", "gptq", "gptq_v2", B(2) | B(3) | B(4) | B(8), B(2) | B(3) | B(4) | B(8), true, false, true},
    {"awq", "awq", NULL, B(4), B(4), false, true, false},
    {"compressed-tensors", "compressed-tensors", NULL, B(4) | B(8), B(4) | B(8), true, false, true},
};

const char wc_hf_actorder_versions[] =
    "groups are not of neighbouring columns: compressed-tensors 0.17 reads `actorder: group', 0.20 refuses it";

const wc_hf_format *wc_hf_format_find(const char *name)
{
    for (size_t i = 0; i < WC_N_HF_FORMATS; i++)
        if (!strcmp(name, wc_hf_formats[i].name)) return &wc_hf_formats[i];
    return NULL;
}

enum { PIECE = 1 << 18, PIECES = 5 }; /* values converted at once; tensors that a layer becomes at most */

/* What a tensor of the result is made from. */
typedef struct source {
    struct job *job;
    char *name;
    const wci_layer *layer; /* of integers, else NULL */
    wc_weight weight;       /* of floats */
    wc_dtype dtype;
    uint32_t index; /* in the input: of what is copied */
    int64_t shape[2];
} source;

typedef struct job {
    const wc_input *in;
    const wc_hf_options *opt;
    wci_linears linears;
    source *source; /* [n] */
    wc_st_item *item;
    size_t n;
    wc_hf_result result;
} job;

/* ---- floats --------------------------------------------------------------------------------------------------------
 */

/* dst [n] of dtype, 4 or 2 bytes each; false: x[*at] is finite and does not fit. *exact is cleared when one is rounded.
 */
static bool convert(wc_dtype dtype, const float *x, size_t n, uint8_t *dst, size_t *at, bool *exact)
{
    if (dtype == WC_F32) {
        memcpy(dst, x, 4 * n);
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t h = dtype == WC_F16 ? wc_f32_f16(x[i]) : wc_f32_bf16(x[i]);
        float stored = dtype == WC_F16 ? wc_f16_f32(h) : wc_bf16_f32(h);
        if (stored != x[i]) *exact = false;
        if (isinf(stored) && isfinite(x[i])) {
            *at = i;
            return false;
        }
        memcpy(dst + 2 * i, &h, 2);
    }
    return true;
}

static wc_status put_floats(wc_ctx *ctx, void *user, wc_st_sink *sink)
{
    const source *s = user;
    const wc_weight *w = &s->weight;
    size_t step = wc_min(w->rows, PIECE / w->cols + 1), at;
    float *x = NULL;
    uint8_t *bytes = NULL;
    bool exact = true;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, x, step * w->cols, "rows"));
    WC_TRY_OUT(WC_ALLOC(ctx, bytes, 4 * step * w->cols, "rows"));
    for (size_t r = 0; r < w->rows; r += step) {
        size_t n = wc_min(step, w->rows - r) * w->cols;
        WC_TRY_OUT(w->read(ctx, w, r, n / w->cols, x));
        if (!convert(s->dtype, x, n, bytes, &at, &exact))
            WC_TRY_OUT(wc_fail(ctx, WC_UNSUPPORTED, "%s: tensor %s holds %g, which overflows in %s: use --dtype bf16",
                               s->job->in->path, s->name, (double)x[at], wc_dtype_name(s->dtype)));
        WC_TRY_OUT(wc_st_put(ctx, sink, bytes, n * wc_dtype_bits(s->dtype) / 8));
    }
    s->job->result.rounded += !exact;
out:
    free(x), free(bytes);
    return status;
}

/* Integers and the like, as they were. */
static wc_status put_copy(wc_ctx *ctx, void *user, wc_st_sink *sink)
{
    const source *s = user;
    const wc_input *in = s->job->in;
    wcd_tensor t;
    uint8_t *bytes;
    if (in->has_checkpoint) {
        const wc_st_tensor *c = in->checkpoint.tensor[s->index];
        return wc_st_put(ctx, sink, wc_checkpoint_data(&in->checkpoint, c), c->size);
    }
    uint64_t size = 0;
    if (wcd_at(&in->wcz.file, s->index, &t) != WCD_OK || !wc_st_size(s->dtype, t.dims, t.n_dims, &size))
        return wc_fail(ctx, WC_BUG, "%s: tensor %s cannot be opened", in->path, s->name);
    WC_TRY(WC_ALLOC(ctx, bytes, size + 1, "a tensor"));
    wc_status status = wcd_raw_rows(&t, 0, t.rows, bytes) == WCD_OK
                           ? wc_st_put(ctx, sink, bytes, size)
                           : wc_fail(ctx, WC_UNSUPPORTED, "%s: tensor %s: %s values that are not stored as they were",
                                     in->path, s->name, wc_dtype_name(s->dtype));
    free(bytes);
    return status;
}

/* ---- integers ------------------------------------------------------------------------------------------------------
 */

/* A whole tensor of words, filled from eight rows of codes at a time: r0 is a multiple of eight. */
typedef void packer(const wc_integers *t, size_t r0, size_t nr, const uint8_t *code, uint32_t *word);

static void fill_gptq(const wc_integers *t, size_t r0, size_t nr, const uint8_t *code, uint32_t *word)
{
    for (size_t r = 0; r < nr; r++)
        wc_pack_line(WC_PACK_STREAM, t->bits, code + r * t->cols, 1, t->cols, word + r0 + r, t->rows);
}

static void fill_awq(const wc_integers *t, size_t r0, size_t nr, const uint8_t *code, uint32_t *word)
{
    size_t words = wc_pack_words(WC_PACK_AWQ, t->bits, t->rows);
    for (size_t k = 0; k < t->cols; k++)
        wc_pack_line(WC_PACK_AWQ, t->bits, code + k, t->cols, nr, word + k * words + r0 / 8, 1);
}

static void fill_compressed(const wc_integers *t, size_t r0, size_t nr, const uint8_t *code, uint32_t *word)
{
    size_t words = wc_pack_words(WC_PACK_STREAM, t->bits, t->cols);
    for (size_t r = 0; r < nr; r++)
        wc_pack_line(WC_PACK_STREAM, t->bits, code + r * t->cols, 1, t->cols, word + (r0 + r) * words, 1);
}

static wc_status put_codes(wc_ctx *ctx, const source *s, wc_st_sink *sink, packer *fill, size_t words)
{
    const wc_integers *t = &s->layer->numbers;
    uint32_t *word = NULL;
    uint8_t *code = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, word, words, "packed codes"));
    WC_TRY_OUT(WC_ALLOC(ctx, code, 8 * t->cols, "codes"));
    for (size_t r = 0; r < t->rows; r += 8) {
        size_t nr = wc_min(8, t->rows - r);
        WC_TRY_OUT(wc_integers_codes(ctx, t, r, nr, code));
        fill(t, r, nr, code, word);
    }
    WC_TRY_OUT(wc_st_put(ctx, sink, word, 4 * words));
out:
    free(word), free(code);
    return status;
}

static wc_status put_qweight(wc_ctx *ctx, void *user, wc_st_sink *sink)
{
    const source *s = user;
    const wc_integers *t = &s->layer->numbers;
    bool awq = s->job->linears.format->f16_scales;
    return awq ? put_codes(ctx, s, sink, fill_awq, t->cols * wc_pack_words(WC_PACK_AWQ, t->bits, t->rows))
               : put_codes(ctx, s, sink, fill_gptq, t->rows * wc_pack_words(WC_PACK_STREAM, t->bits, t->cols));
}

static wc_status put_packed(wc_ctx *ctx, void *user, wc_st_sink *sink)
{
    const source *s = user;
    const wc_integers *t = &s->layer->numbers;
    return put_codes(ctx, s, sink, fill_compressed, t->rows * wc_pack_words(WC_PACK_STREAM, t->bits, t->cols));
}

/* Zeros are packed along the outputs: the zeros of a group are a line, words of it `step' apart, lines `line' apart. */
static wc_status put_zeros(wc_ctx *ctx, const source *s, wc_st_sink *sink, wc_packing packing, bool minus_one,
                           bool down)
{
    const wc_integers *t = &s->layer->numbers;
    size_t words = wc_pack_words(packing, t->bits, t->rows), step = down ? t->groups : 1, line = down ? 1 : words;
    uint32_t *word = NULL;
    uint8_t *zero = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, word, words * t->groups, "packed zeros"));
    WC_TRY_OUT(WC_ALLOC(ctx, zero, t->rows * t->groups, "zeros"));
    wc_integers_steps(t, NULL, zero);
    for (size_t i = 0; minus_one && i < t->rows * t->groups; i++)
        zero[i] = wc_gptq_zero(zero[i], t->bits);
    for (size_t g = 0; g < t->groups; g++)
        wc_pack_line(packing, t->bits, zero + g, t->groups, t->rows, word + g * line, step);
    WC_TRY_OUT(wc_st_put(ctx, sink, word, 4 * words * t->groups));
out:
    free(word), free(zero);
    return status;
}

static wc_status put_qzeros(wc_ctx *ctx, void *user, wc_st_sink *sink)
{
    const wc_hf_format *f = ((const source *)user)->job->linears.format;
    bool v1 = f->checkpoint && !strcmp(f->checkpoint, "gptq");
    return put_zeros(ctx, user, sink, f->f16_scales ? WC_PACK_AWQ : WC_PACK_STREAM, v1, false);
}

static wc_status put_zero_point(wc_ctx *ctx, void *user, wc_st_sink *sink)
{
    return put_zeros(ctx, user, sink, WC_PACK_STREAM, false, true);
}

/* [outputs, groups], or [groups, outputs] when turned. */
static wc_status put_scales(wc_ctx *ctx, const source *s, wc_st_sink *sink, bool turn)
{
    const wc_integers *t = &s->layer->numbers;
    size_t n = t->rows * t->groups;
    uint16_t *scale = NULL, *turned = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, scale, n, "scales"));
    WC_TRY_OUT(WC_ALLOC(ctx, turned, n, "scales"));
    wc_integers_steps(t, scale, NULL);
    for (size_t i = 0; turn && i < n; i++)
        turned[i % t->groups * t->rows + i / t->groups] = scale[i];
    WC_TRY_OUT(wc_st_put(ctx, sink, turn ? turned : scale, 2 * n));
out:
    free(scale), free(turned);
    return status;
}

static wc_status put_scales_turned(wc_ctx *ctx, void *user, wc_st_sink *sink)
{
    return put_scales(ctx, user, sink, true);
}

static wc_status put_weight_scale(wc_ctx *ctx, void *user, wc_st_sink *sink)
{
    return put_scales(ctx, user, sink, false);
}

static wc_status put_g_idx(wc_ctx *ctx, void *user, wc_st_sink *sink)
{
    const wc_integers *t = &((const source *)user)->layer->numbers;
    for (size_t k = 0; k < t->cols; k++) {
        int32_t g = (int32_t)wc_integers_group(t, k);
        WC_TRY(wc_st_put(ctx, sink, &g, 4));
    }
    return WC_OK;
}

static wc_status put_shape(wc_ctx *ctx, void *user, wc_st_sink *sink)
{
    const source *s = user;
    return wc_st_put(ctx, sink, s->shape, sizeof s->shape);
}

/* ---- the list of tensors --------------------------------------------------------------------------------------------
 */

/* The name is stem and suffix. */
static wc_status add(wc_ctx *ctx, job *j, source s, const char *stem, size_t n, const char *suffix, wc_st_item item,
                     wc_status (*produce)(wc_ctx *, void *, wc_st_sink *))
{
    source *kept = &j->source[j->n];
    *kept = s;
    kept->job = j;
    kept->name = malloc(n + strlen(suffix) + 1);
    if (!kept->name) return wc_fail(ctx, WC_NOMEM, "no memory for a name");
    memcpy(kept->name, stem, n);
    strcpy(kept->name + n, suffix);
    item.name = kept->name;
    item.produce = produce;
    item.user = kept;
    j->item[j->n++] = item;
    return WC_OK;
}

static wc_st_item shaped(wc_dtype dtype, uint64_t rows, uint64_t cols)
{
    return (wc_st_item){.dtype = dtype, .n_dims = 2, .dims = {rows, cols}};
}

static wc_st_item g_idx(const wc_integers *t)
{
    return (wc_st_item){.dtype = WC_I32, .n_dims = 1, .dims = {t->cols}};
}

static wc_status add_compressed(wc_ctx *ctx, job *j, const wci_layer *a, size_t stem)
{
    const wc_integers *t = &a->numbers;
    source s = {.layer = a, .shape = {(int64_t)t->rows, (int64_t)t->cols}};
    size_t words = wc_pack_words(WC_PACK_STREAM, t->bits, t->cols);
    WC_TRY(add(ctx, j, s, t->name, stem, ".weight_packed", shaped(WC_I32, t->rows, words), put_packed));
    WC_TRY(
        add(ctx, j, s, t->name, stem, ".weight_scale", shaped(t->scale_dtype, t->rows, t->groups), put_weight_scale));
    WC_TRY(add(ctx, j, s, t->name, stem, ".weight_shape", (wc_st_item){.dtype = WC_I64, .n_dims = 1, .dims = {2}},
               put_shape));
    if (t->g_idx) WC_TRY(add(ctx, j, s, t->name, stem, ".weight_g_idx", g_idx(t), put_g_idx));
    if (wc_scheme_symmetric(a->scheme)) return WC_OK;
    return add(ctx, j, s, t->name, stem, ".weight_zero_point",
               shaped(WC_I32, wc_pack_words(WC_PACK_STREAM, t->bits, t->rows), t->groups), put_zero_point);
}

static wc_status add_gptq_or_awq(wc_ctx *ctx, job *j, const wci_layer *a, size_t stem)
{
    const wc_integers *t = &a->numbers;
    source s = {.layer = a};
    bool awq = j->linears.format->f16_scales;
    size_t along_k = wc_pack_words(WC_PACK_STREAM, t->bits, t->cols);
    size_t along_n = wc_pack_words(awq ? WC_PACK_AWQ : WC_PACK_STREAM, t->bits, t->rows);
    WC_TRY(add(ctx, j, s, t->name, stem, ".qweight",
               awq ? shaped(WC_I32, t->cols, along_n) : shaped(WC_I32, along_k, t->rows), put_qweight));
    WC_TRY(add(ctx, j, s, t->name, stem, ".qzeros", shaped(WC_I32, t->groups, along_n), put_qzeros));
    WC_TRY(add(ctx, j, s, t->name, stem, ".scales", shaped(t->scale_dtype, t->groups, t->rows), put_scales_turned));
    if (awq) return WC_OK;
    return add(ctx, j, s, t->name, stem, ".g_idx", g_idx(t), put_g_idx);
}

static wc_status add_layer(wc_ctx *ctx, job *j, const wci_layer *a)
{
    size_t stem = strlen(a->scheme->name) - strlen(".weight");
    return j->linears.format->checkpoint || j->linears.format->f16_scales ? add_gptq_or_awq(ctx, j, a, stem)
                                                                          : add_compressed(ctx, j, a, stem);
}

/* A tensor of the input that is none of the layers. */
static wc_status add_plain(wc_ctx *ctx, job *j, const char *name, wc_dtype dtype, uint32_t n_dims, const uint64_t *dims,
                           uint32_t index)
{
    source s = {.dtype = dtype, .index = index};
    wc_st_item item = {.n_dims = n_dims};
    bool floats = wc_dtype_is_float(dtype);
    memcpy(item.dims, dims, n_dims * sizeof *dims);
    if (floats) WC_TRY(j->in->source.find(ctx, j->in->source.self, name, &s.weight));
    if (floats && j->linears.dtype) s.dtype = j->linears.dtype;
    item.dtype = s.dtype;
    bool empty = floats && (!s.weight.rows || !s.weight.cols); /* a shape with a 0 in it */
    return add(ctx, j, s, name, strlen(name), "", item, empty || !floats ? put_copy : put_floats);
}

static const wci_layer *layer_named(const job *j, const char *name)
{
    for (size_t i = 0; i < j->linears.n_layers; i++)
        if (!strcmp(j->linears.layer[i].scheme->name, name)) return &j->linears.layer[i];
    return NULL;
}

static wc_status list_tensors(wc_ctx *ctx, job *j)
{
    const wc_input *in = j->in;
    size_t n = in->has_wcz ? wcd_count(&in->wcz.file) : in->checkpoint.n;
    WC_TRY(WC_ALLOC(ctx, j->source, PIECES * n, "the list of tensors"));
    WC_TRY(WC_ALLOC(ctx, j->item, PIECES * n, "the list of tensors"));
    for (uint32_t i = 0; i < n; i++) {
        wcd_tensor t;
        const wc_st_tensor *c = in->has_wcz ? NULL : in->checkpoint.tensor[i];
        if (!c && wcd_at(&in->wcz.file, i, &t) != WCD_OK) return wc_fail(ctx, WC_BUG, "%s: tensor %u", in->path, i);
        const char *name = c ? c->name : wc_wcz_name(&in->wcz, &t);
        const wci_layer *layer = c ? NULL : layer_named(j, name);
        if (layer)
            WC_TRY(add_layer(ctx, j, layer));
        else
            WC_TRY(c ? add_plain(ctx, j, name, c->dtype, c->n_dims, c->dims, i)
                     : add_plain(ctx, j, name, (wc_dtype)t.source_dtype, t.n_dims, t.dims, i));
    }
    return WC_OK;
}

/* ---- layers ------------------------------------------------------------------------------------------------------ */

static wc_status open_layer(wc_ctx *ctx, job *j, const wc_scheme *s)
{
    const wc_hf_format *f = j->linears.format;
    wci_layer *a = &j->linears.layer[j->linears.n_layers];
    a->scheme = s;
    a->group = s->group == s->cols ? 0 : s->group;
    a->ordered = s->reordered;
    WC_TRY(wc_integers_open(ctx, j->in, s, j->opt->scales, &a->numbers));
    j->linears.n_layers++;
    if (f->f16_scales && a->numbers.scale_dtype != WC_F16)
        return wc_fail(ctx, WC_UNSUPPORTED,
                       "%s: tensor %s: its scales do not fit f16, and %s has no others: export to gptq or "
                       "compressed-tensors",
                       j->in->path, s->name, f->name);
    j->result.rounded_scales += a->numbers.rounded;
    return WC_OK;
}

static wc_status open_layers(wc_ctx *ctx, job *j)
{
    wci_linears *l = &j->linears;
    bool wide = false, ordered = false;
    WC_TRY(WC_ALLOC(ctx, l->layer, l->n, "the list of layers"));
    for (size_t i = 0; l->format && i < l->n; i++)
        if (l->list[i].role == WC_ROLE_LINEAR && l->list[i].kind == WC_SCHEME_GRID)
            WC_TRY(open_layer(ctx, j, &l->list[i]));
    for (size_t i = 0; i < l->n_layers; i++)
        wide |= l->layer[i].numbers.scale_dtype == WC_BF16, ordered |= l->layer[i].ordered;
    for (size_t i = 0; i < l->n_layers; i++) /* a g_idx that counts up is one of any order: gptq has one key for all */
        l->layer[i].ordered = l->format->checkpoint ? ordered : l->layer[i].ordered;
    if (ordered && !l->format->checkpoint) wc_log(ctx, WC_LOG_WARN, "%s", wc_hf_actorder_versions);
    if (l->format && !l->dtype) l->dtype = wide ? WC_BF16 : WC_F16;
    if (l->format && l->dtype == WC_F32)
        return wc_fail(ctx, WC_OPTION, "--dtype f32: %s is computed in f16 or bf16", l->format->name);
    j->result.integers = l->n_layers;
    if (j->result.rounded_scales)
        wc_log(ctx, WC_LOG_WARN, "%zu scales are rounded: the values are not quite those of the .wcz",
               j->result.rounded_scales);
    return WC_OK;
}

static wc_status not_the_source(wc_ctx *ctx, const wc_input *in, const char *path)
{
    struct stat a, b;
    if (!in->has_checkpoint || stat(path, &a) || stat(in->checkpoint.dir, &b) || a.st_dev != b.st_dev ||
        a.st_ino != b.st_ino)
        return WC_OK;
    return wc_fail(ctx, WC_OPTION, "%s: is the source itself; a model is never overwritten by its result", path);
}

static wc_status check_whole(wc_ctx *ctx, const wc_input *in)
{
    return !in->has_wcz || wcd_verify(&in->wcz.file, NULL, NULL) == WCD_OK
               ? WC_OK
               : wc_fail(ctx, WC_VERIFY, "%s: damaged; `wcompress verify' says where", in->path);
}

wc_status wc_export_hf(wc_ctx *ctx, const wc_input *in, const wc_scheme *list, size_t n, const wc_hf_options *opt,
                       wc_hf_result *result)
{
    job j = {.in = in, .opt = opt};
    wc_folder folder = {.path = opt->path, .shard_bytes = opt->shard_bytes};
    wc_status status = WC_OK;
    j.linears = (wci_linears){.format = wc_hf_format_find(opt->format), .list = list, .n = n, .dtype = opt->dtype};
    WC_TRY_OUT(not_the_source(ctx, in, opt->path));
    WC_TRY_OUT(wc_folder_check(ctx, opt->path, opt->force));
    WC_TRY_OUT(check_whole(ctx, in));
    WC_TRY_OUT(open_layers(ctx, &j));
    WC_TRY_OUT(list_tensors(ctx, &j));
    WC_TRY_OUT(wci_hf_texts(ctx, in, &j.linears, &folder));
    folder.item = j.item, folder.n = j.n;
    WC_TRY_OUT(wc_folder_plan(ctx, &folder));
    if (!opt->dry_run) WC_TRY_OUT(wc_folder_write(ctx, &folder));
    j.result.bytes = folder.bytes;
    j.result.tensors = j.n;
    j.result.files = folder.shards;
    *result = j.result;
out:
    wc_folder_free(&folder);
    for (size_t i = 0; i < j.n; i++)
        free(j.source[i].name);
    for (size_t i = 0; i < j.linears.n_layers; i++)
        wc_integers_free(&j.linears.layer[i].numbers);
    free(j.source), free(j.item), free(j.linears.layer);
    return status;
}
