#include "io/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/half.h"
#include "decode/decoder.h"
#include "io/gguf_model.h"
#include "io/json.h"
#include "kernels/convert.h"

typedef unsigned long long ull;

/* 100 bytes per tensor are usual, so this is room for half a million. */
enum { MAX_INDEX = 64 << 20, MAX_CONFIG = 16 << 20 };

#define CONVERT                                                                                                      \
    "is a PyTorch pickle, which can run any code when loaded and is never opened here; convert it once, in Python: " \
    "save_file(torch.load(f, weights_only=True), 'model.safetensors') from safetensors.torch"

/* ---- names ---- */

static bool ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && !strcmp(s + n - m, suffix);
}

static bool is_pickle(const char *name)
{
    static const char *const suffix[] = {".bin", ".pt", ".pth", ".ckpt", ".pkl"};
    for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++)
        if (ends_with(name, suffix[i])) return true;
    return false;
}

static bool is_hidden(const char *name)
{
    return name[0] == '.';
}

/* A path from an index may only go down from the model's folder, and must be printable as it is. */
static bool is_safe_path(const char *path)
{
    char shown[1024];
    if (!*path || strlen(path) >= sizeof shown / 4 || strcmp(wc_escape_name(shown, sizeof shown, path), path))
        return false;
    if (path[0] == '/' || strchr(path, ':') || strchr(path, '\\')) return false;
    for (const char *p = path; p; p = strchr(p, '/')) {
        p += *p == '/';
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.')) return false;
    }
    return true;
}

/* ---- the index file ---- */

static int by_entry_name(const void *a, const void *b)
{
    return strcmp(((const wc_index_entry *)a)->name, ((const wc_index_entry *)b)->name);
}

static wc_status check_file_name(wc_ctx *ctx, const char *label, const char *tensor, const json_t *value)
{
    const char *file = json_string_value(value);
    char shown[WC_SHOWN], shown_file[WC_SHOWN];
    wc_escape_name(shown, sizeof shown, tensor);
    if (!file) return wc_fail(ctx, WC_BADFILE, "%s: the file of tensor `%s' is not a string", label, shown);
    wc_escape_name(shown_file, sizeof shown_file, file);
    if (strlen(file) != json_string_length(value) || !is_safe_path(file))
        return wc_fail(ctx, WC_BADFILE,
                       "%s: tensor `%s' is said to be in `%s', which is no plain path below the model's folder", label,
                       shown, shown_file);
    if (is_pickle(file)) return wc_fail(ctx, WC_UNSUPPORTED, "%s: `%s' " CONVERT, label, shown_file);
    if (!ends_with(file, ".safetensors"))
        return wc_fail(ctx, WC_BADFILE, "%s: tensor `%s' is said to be in `%s', which is no .safetensors file", label,
                       shown, shown_file);
    return WC_OK;
}

wc_status wc_index_parse(wc_ctx *ctx, const char *text, size_t size, const char *label, wc_index *out)
{
    wc_index index = {0};
    json_t *root = NULL, *value;
    const char *name;
    wc_status status;
    memset(out, 0, sizeof *out);
    WC_TRY_OUT(wc_json_parse(ctx, text, size, label, &root));
    json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map))
        WC_TRY_OUT(wc_fail(ctx, WC_BADFILE, "%s: no index of a sharded model: it has no \"weight_map\" object", label));
    WC_TRY_OUT(WC_ALLOC(ctx, index.entry, json_object_size(map), "the index"));
    json_object_foreach(map, name, value)
    {
        WC_TRY_OUT(check_file_name(ctx, label, name, value));
        index.entry[index.n++] = (wc_index_entry){name, json_string_value(value)};
    }
    if (!index.n) WC_TRY_OUT(wc_fail(ctx, WC_BADFILE, "%s: its weight_map is empty", label));
    qsort(index.entry, index.n, sizeof *index.entry, by_entry_name);
    json_int_t total = json_integer_value(json_object_get(json_object_get(root, "metadata"), "total_size"));
    index.total_size = total > 0 ? (uint64_t)total : 0;
    index.root = root;
    *out = index;
    return WC_OK;
out:
    free(index.entry);
    json_decref(root);
    return status;
}

void wc_index_free(wc_index *index)
{
    if (!index) return;
    free(index->entry);
    json_decref(index->root);
    memset(index, 0, sizeof *index);
}

/* ---- opening ---- */

static wc_status no_memory(wc_ctx *ctx)
{
    return wc_fail(ctx, WC_NOMEM, "no memory for a file name");
}

static wc_status join(wc_ctx *ctx, const char *dir, const char *name, char **out)
{
    *out = wc_path_join(dir, name);
    return *out ? WC_OK : no_memory(ctx);
}

/* *out = dir/name if there is such a file, else NULL. */
static wc_status join_existing(wc_ctx *ctx, const char *dir, const char *name, char **out)
{
    WC_TRY(join(ctx, dir, name, out));
    if (!wc_file_exists(*out)) {
        free(*out);
        *out = NULL;
    }
    return WC_OK;
}

static wc_status open_single(wc_ctx *ctx, const char *path, wc_checkpoint *c)
{
    WC_TRY(WC_ALLOC(ctx, c->shard, 1, "the list of files"));
    WC_TRY(wc_safetensors_open(ctx, path, c->shard));
    c->n_shards = 1;
    return WC_OK;
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names every absent file at once (the first few of them): one round of downloading is enough. */
static wc_status check_present(wc_ctx *ctx, const char *label, const char *dir, const char **file, size_t n)
{
    enum { SHOWN = 4 };
    size_t missing = 0;
    wc_buf names = {0};
    wc_status status = WC_OK;
    for (size_t i = 0; i < n; i++) {
        char *path;
        WC_TRY_OUT(join_existing(ctx, dir, file[i], &path));
        if (!path && missing++ < SHOWN)
            WC_TRY_OUT(wc_buf_printf(ctx, &names, "%s`%s'", names.size ? ", " : "", file[i]));
        free(path);
    }
    if (missing)
        status = wc_fail(ctx, WC_IO, "%s: %zu of the %zu files that it names are missing: %s%s", label, missing, n,
                         (const char *)names.data, missing > SHOWN ? ", ..." : "");
out:
    wc_buf_free(&names);
    return status;
}

static wc_status open_shards(wc_ctx *ctx, const char *label, const wc_index *index, wc_checkpoint *c)
{
    const char **file = NULL;
    size_t n = 0;
    wc_status status;
    WC_TRY_OUT(WC_ALLOC(ctx, file, index->n, "the list of files"));
    for (size_t i = 0; i < index->n; i++)
        file[i] = index->entry[i].file;
    qsort(file, index->n, sizeof *file, by_string);
    for (size_t i = 0; i < index->n; i++)
        if (!n || strcmp(file[n - 1], file[i])) file[n++] = file[i];
    WC_TRY_OUT(check_present(ctx, label, c->dir, file, n));
    WC_TRY_OUT(WC_ALLOC(ctx, c->shard, n, "the list of files"));
    for (size_t i = 0; i < n; i++) {
        char *path;
        WC_TRY_OUT(join(ctx, c->dir, file[i], &path));
        status = wc_safetensors_open(ctx, path, &c->shard[i]);
        free(path);
        if (status != WC_OK) goto out;
        c->n_shards++;
    }
out:
    free(file);
    return status;
}

static int by_tensor_name(const void *a, const void *b)
{
    const wc_st_tensor *x = *(const wc_st_tensor *const *)a, *y = *(const wc_st_tensor *const *)b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->shard > y->shard) - (x->shard < y->shard);
}

static wc_status list_tensors(wc_ctx *ctx, wc_checkpoint *c)
{
    char shown[WC_SHOWN];
    size_t n = 0;
    for (size_t s = 0; s < c->n_shards; s++)
        n += c->shard[s].n;
    WC_TRY(WC_ALLOC(ctx, c->tensor, n, "the list of tensors"));
    for (size_t s = 0; s < c->n_shards; s++)
        for (size_t i = 0; i < c->shard[s].n; i++) {
            c->shard[s].tensor[i].shard = (uint32_t)s;
            c->tensor[c->n++] = &c->shard[s].tensor[i];
        }
    qsort(c->tensor, c->n, sizeof *c->tensor, by_tensor_name);
    for (size_t i = 1; i < c->n; i++)
        if (!strcmp(c->tensor[i - 1]->name, c->tensor[i]->name))
            return wc_fail(ctx, WC_BADFILE, "tensor `%s' is both in %s and in %s",
                           wc_escape_name(shown, sizeof shown, c->tensor[i]->name),
                           c->shard[c->tensor[i - 1]->shard].path, c->shard[c->tensor[i]->shard].path);
    return WC_OK;
}

/* Both lists are sorted by name: one walk finds what either lacks. */
static wc_status check_index(wc_ctx *ctx, const char *label, const wc_index *index, const wc_checkpoint *c)
{
    char shown[WC_SHOWN];
    size_t n_dir = strlen(c->dir);
    n_dir += c->dir[n_dir - 1] != '/';
    for (size_t i = 0, j = 0; i < index->n || j < c->n;) {
        const wc_index_entry *e = i < index->n ? &index->entry[i] : NULL;
        const wc_st_tensor *t = j < c->n ? c->tensor[j] : NULL;
        int order = !e ? 1 : !t ? -1 : strcmp(e->name, t->name);
        if (order < 0)
            return wc_fail(ctx, WC_BADFILE, "%s: tensor `%s' is not in %s, where the index has it", label,
                           wc_escape_name(shown, sizeof shown, e->name), e->file);
        if (order > 0)
            return wc_fail(ctx, WC_BADFILE, "%s: tensor `%s' of %s is not in the index", label,
                           wc_escape_name(shown, sizeof shown, t->name), c->shard[t->shard].path);
        if (strcmp(e->file, c->shard[t->shard].path + n_dir))
            return wc_fail(ctx, WC_BADFILE, "%s: tensor `%s' is in %s, the index has it in %s", label,
                           wc_escape_name(shown, sizeof shown, t->name), c->shard[t->shard].path, e->file);
        i++, j++;
    }
    return WC_OK;
}

static wc_status open_index(wc_ctx *ctx, const char *path, wc_checkpoint *c)
{
    wc_index index = {0};
    wc_buf text = {0};
    wc_status status;
    WC_TRY_OUT(wc_read_file(ctx, path, MAX_INDEX, &text));
    WC_TRY_OUT(wc_index_parse(ctx, (const char *)text.data, text.size, path, &index));
    WC_TRY_OUT(open_shards(ctx, path, &index, c));
    WC_TRY_OUT(list_tensors(ctx, c));
    WC_TRY_OUT(check_index(ctx, path, &index, c));
    uint64_t total = 0;
    for (size_t i = 0; i < c->n; i++)
        total += c->tensor[i]->size;
    if (index.total_size && index.total_size != total)
        wc_log(ctx, WC_LOG_INFO, "%s: total_size is %llu, the tensors have %llu bytes; ignored", path,
               (ull)index.total_size, (ull)total);
out:
    wc_index_free(&index);
    wc_buf_free(&text);
    return status;
}

/* What a folder holds besides the two usual names. */
typedef struct listing {
    size_t n_safetensors, n_index, n_pickles;
    char *safetensors, *index, *pickle; /* one name of each kind */
} listing;

static wc_status note(wc_ctx *ctx, size_t *n, char **slot, const char *name)
{
    (*n)++;
    if (*slot && strcmp(*slot, name) <= 0) return WC_OK; /* the first in order, whatever the folder's order */
    free(*slot);
    *slot = strdup(name);
    return *slot ? WC_OK : no_memory(ctx);
}

static wc_status list_folder(wc_ctx *ctx, const char *dir, listing *l)
{
    DIR *d = opendir(dir);
    if (!d) return wc_fail(ctx, WC_IO, "%s: %s", dir, strerror(errno));
    wc_status status = WC_OK;
    for (struct dirent *e; status == WC_OK && (e = readdir(d));) {
        if (is_hidden(e->d_name)) continue;
        if (ends_with(e->d_name, ".safetensors"))
            status = note(ctx, &l->n_safetensors, &l->safetensors, e->d_name);
        else if (ends_with(e->d_name, ".safetensors.index.json"))
            status = note(ctx, &l->n_index, &l->index, e->d_name);
        else if (is_pickle(e->d_name) && strcmp(e->d_name, "tokenizer.bin") && strcmp(e->d_name, "training_args.bin"))
            status = note(ctx, &l->n_pickles, &l->pickle, e->d_name);
    }
    closedir(d);
    return status;
}

static wc_status open_listed(wc_ctx *ctx, const char *dir, const listing *l, wc_checkpoint *c)
{
    char shown[WC_SHOWN], *path;
    wc_status status;
    if (l->n_index == 1) {
        WC_TRY(join(ctx, dir, l->index, &path));
        status = open_index(ctx, path, c);
    } else if (l->n_safetensors == 1) {
        WC_TRY(join(ctx, dir, l->safetensors, &path));
        status = open_single(ctx, path, c);
    } else if (l->n_index > 1 || l->n_safetensors > 1) {
        return wc_fail(ctx, WC_OPTION,
                       "%s: holds %zu .safetensors files and %zu indexes, none named model.safetensors: name one", dir,
                       l->n_safetensors, l->n_index);
    } else if (l->n_pickles) {
        return wc_fail(ctx, WC_UNSUPPORTED, "%s: no safetensors here, and `%s' " CONVERT, dir,
                       wc_escape_name(shown, sizeof shown, l->pickle));
    } else {
        return wc_fail(ctx, WC_IO, "%s: holds no .safetensors file", dir);
    }
    free(path);
    return status;
}

static wc_status open_folder(wc_ctx *ctx, const char *dir, wc_checkpoint *c)
{
    char *single = NULL, *index = NULL;
    listing l = {0};
    wc_status status;
    WC_TRY_OUT(join_existing(ctx, dir, "model.safetensors", &single));
    WC_TRY_OUT(join_existing(ctx, dir, "model.safetensors.index.json", &index));
    if (single && index)
        wc_log(ctx, WC_LOG_WARN, "%s: has both model.safetensors and an index; the single file is taken", dir);
    if (single) {
        status = open_single(ctx, single, c);
    } else if (index) {
        status = open_index(ctx, index, c);
    } else {
        WC_TRY_OUT(list_folder(ctx, dir, &l));
        status = open_listed(ctx, dir, &l, c);
    }
out:
    free(single);
    free(index);
    free(l.safetensors);
    free(l.index);
    free(l.pickle);
    return status;
}

/* For ".../NAME-00002-of-00005.safetensors" *index is ".../NAME.safetensors.index.json"; for other names NULL. */
static wc_status index_of_shard(wc_ctx *ctx, const char *path, char **index)
{
    static const char pattern[] = "-ddddd-of-ddddd.safetensors";
    size_t n = strlen(path), m = sizeof pattern - 1;
    *index = NULL;
    if (n <= m) return WC_OK;
    for (size_t i = 0; i < m; i++) {
        char c = path[n - m + i];
        if (pattern[i] == 'd' ? c < '0' || c > '9' : c != pattern[i]) return WC_OK;
    }
    wc_buf b = {0};
    WC_TRY(wc_buf_printf(ctx, &b, "%.*s.safetensors.index.json", (int)(n - m), path));
    *index = (char *)b.data;
    return WC_OK;
}

static wc_status gguf_tensor(wc_ctx *ctx, const wc_gguf *g, const wc_gguf_tensor *from, char *name, wc_st_tensor *to)
{
    static const struct {
        uint32_t type;
        wc_dtype dtype;
    } floats[] = {{WC_GGML_F16, WC_F16}, {WC_GGML_BF16, WC_BF16}};
    *to = (wc_st_tensor){.name = name, .dtype = WC_F32, .n_dims = from->n_dims, .rows = 1, .cols = from->dims[0]};
    for (uint32_t d = 0; d < from->n_dims; d++)
        to->dims[from->n_dims - 1 - d] = from->dims[d];
    for (uint32_t d = 1; d < from->n_dims; d++)
        to->rows *= from->dims[d];
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        if (floats[i].type == from->type) to->dtype = floats[i].dtype;
    to->ggml = wc_ggml_type_by_id(from->type) ? from->type : 0;
    to->offset = from->offset, to->size = from->size;
    wc_gguf_hf_name(from->name, name);
    WC_TRY(wc_gguf_interleaved(ctx, g, from->name, &to->interleaved));
    uint64_t rows = to->n_dims == 1 ? to->cols : to->rows; /* a bias is interleaved along its only dimension */
    if (to->interleaved && (rows % to->interleaved || rows / to->interleaved % 2))
        return wc_fail(ctx, WC_BADFILE, "GGUF: tensor %s has %llu rows for %u heads", from->name, (ull)rows,
                       to->interleaved);
    return WC_OK;
}

/* Tensors keep pointing into the file; its mapping belongs to the shard. */
static wc_status read_gguf(wc_ctx *ctx, const char *path, wc_checkpoint *c)
{
    WC_TRY(WC_ALLOC(ctx, c->gguf, 1, "a GGUF file"));
    WC_TRY(wc_gguf_open(ctx, path, c->gguf));
    wc_gguf *g = c->gguf;
    wc_status status = wc_gguf_config(ctx, g, &c->config);
    if (status == WC_UNSUPPORTED) { /* its tensors can still be listed */
        wc_log(ctx, WC_LOG_WARN, "%s: %s: the model cannot be run", path, ctx->error);
        wc_clear_error(ctx);
        status = WC_OK;
    }
    WC_TRY(status);
    WC_TRY(wc_gguf_tokenizer(ctx, g, &c->tokenizer));
    WC_TRY(WC_ALLOC(ctx, c->shard, 1, "the list of files"));
    wc_safetensors *st = c->shard;
    c->n_shards = 1;
    st->map = g->map;
    g->map = (wc_map){0};
    st->path = strdup(path);
    WC_TRY(st->path ? WC_OK : no_memory(ctx));
    WC_TRY(WC_ALLOC(ctx, st->tensor, g->n, "the list of tensors"));
    WC_TRY(WC_ALLOC(ctx, st->text, g->n * WC_GGUF_NAME_ROOM, "the list of tensors"));
    for (; st->n < g->n; st->n++)
        WC_TRY(gguf_tensor(ctx, g, &g->tensor[st->n], st->text + st->n * WC_GGUF_NAME_ROOM, &st->tensor[st->n]));
    return WC_OK;
}

/* What is wrong with a key or a tensor is said by those who know no file. */
static wc_status open_gguf(wc_ctx *ctx, const char *path, wc_checkpoint *c)
{
    wc_status status = read_gguf(ctx, path, c);
    if (status == WC_OK || !ctx || strncmp(ctx->error, "GGUF: ", 6) != 0) return status;
    char reason[sizeof ctx->error];
    memcpy(reason, ctx->error, sizeof reason);
    wc_clear_error(ctx);
    return wc_fail(ctx, status, "%s: %s", path, reason);
}

/* ---- quantized checkpoints ---- */

/* config.json as that of the float model. */
static wc_status plain_config(wc_ctx *ctx, json_t *root, wc_checkpoint *c)
{
    json_object_del(root, "quantization_config");
    json_object_del(root, "compression_config");
    char *text = json_dumps(root, JSON_INDENT(2));
    wc_status status =
        text ? wc_buf_append(ctx, &c->config, text, strlen(text)) : wc_fail(ctx, WC_NOMEM, "no memory for config.json");
    free(text);
    return status;
}

/* What tools wrote before config.json had a key for it. The method, which those files need not name, is added. */
static wc_status older_config(wc_ctx *ctx, const char *dir, char **path, json_t **out)
{
    static const struct {
        const char *file, *method;
    } older[] = {{"quantize_config.json", "gptq"}, {"quant_config.json", "awq"}};
    *out = NULL;
    for (size_t i = 0; i < sizeof older / sizeof *older && !*out; i++) {
        WC_TRY(join_existing(ctx, dir, older[i].file, path));
        if (!*path) continue;
        WC_TRY(wc_json_read(ctx, *path, MAX_CONFIG, out));
        json_object_set_new(*out, "quant_method", json_string(older[i].method));
    }
    return WC_OK;
}

static bool has_codes(const wc_checkpoint *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (ends_with(c->tensor[i]->name, ".qweight") || ends_with(c->tensor[i]->name, ".weight_packed")) return true;
    return false;
}

/* Takes the layers that other tools have quantized for what they stand for. A config.json that does not parse is left
 * to those who need it. */
static wc_status open_quantized(wc_ctx *ctx, wc_checkpoint *c)
{
    json_t *root = NULL, *beside = NULL;
    char *path = NULL;
    wc_status status = WC_OK;
    if (c->config_path && wc_json_read(ctx, c->config_path, MAX_CONFIG, &root) != WC_OK) {
        wc_clear_error(ctx);
        return WC_OK;
    }
    const json_t *config = json_object_get(root, "quantization_config");
    if (!config) config = json_object_get(root, "compression_config");
    if (json_is_null(config)) config = NULL;
    if (!config && has_codes(c)) WC_TRY_OUT(older_config(ctx, c->dir, &path, &beside));
    if (beside) config = beside;
    if (!config && has_codes(c))
        wc_log(
            ctx, WC_LOG_WARN,
            "%s: holds quantized layers, but neither config.json nor quantize_config.json says how they are to be read",
            c->dir);
    if (!json_is_object(config)) goto out;
    WC_TRY_OUT(wc_quant_open(ctx, config, path ? path : c->config_path, c->shard, c->tensor, &c->n, &c->quant));
    if (c->quant && root) WC_TRY_OUT(plain_config(ctx, root, c));
out:
    json_decref(root);
    json_decref(beside);
    free(path);
    return status;
}

static wc_status open_file(wc_ctx *ctx, const char *path, wc_checkpoint *c)
{
    if (ends_with(path, ".json")) return open_index(ctx, path, c);
    if (is_pickle(path)) return wc_fail(ctx, WC_UNSUPPORTED, "%s: it " CONVERT, path);
    if (ends_with(path, ".gguf")) return open_gguf(ctx, path, c);
    char *index;
    WC_TRY(index_of_shard(ctx, path, &index));
    wc_status status;
    if (index && wc_file_exists(index)) {
        wc_log(ctx, WC_LOG_INFO, "%s: one file of a sharded model; opening all of it through %s", path, index);
        status = open_index(ctx, index, c);
    } else {
        if (index)
            wc_log(ctx, WC_LOG_WARN, "%s: one file of a sharded model, and %s is missing; opening this file alone",
                   path, index);
        status = open_single(ctx, path, c);
    }
    free(index);
    return status;
}

wc_status wc_checkpoint_open(wc_ctx *ctx, const char *path, wc_checkpoint *out)
{
    wc_checkpoint c = {0};
    wc_status status;
    memset(out, 0, sizeof *out);
    bool folder = wc_is_dir(path);
    c.path = strdup(path);
    c.dir = folder ? strdup(path) : wc_path_dir(path);
    if (!c.path || !c.dir) WC_TRY_OUT(no_memory(ctx));
    WC_TRY_OUT(folder ? open_folder(ctx, path, &c) : open_file(ctx, path, &c));
    if (!c.tensor) WC_TRY_OUT(list_tensors(ctx, &c));
    if (!c.gguf) WC_TRY_OUT(join_existing(ctx, c.dir, "config.json", &c.config_path));
    if (!c.gguf) WC_TRY_OUT(join_existing(ctx, c.dir, "tokenizer.json", &c.tokenizer_path));
    if (!c.gguf) WC_TRY_OUT(open_quantized(ctx, &c));
    *out = c;
    return WC_OK;
out:
    wc_checkpoint_close(&c);
    return status;
}

void wc_checkpoint_close(wc_checkpoint *c)
{
    if (!c) return;
    for (size_t i = 0; i < c->n_shards; i++)
        wc_safetensors_close(&c->shard[i]);
    free(c->shard);
    free(c->tensor);
    free(c->dir);
    free(c->path);
    free(c->config_path);
    free(c->tokenizer_path);
    wc_gguf_close(c->gguf);
    free(c->gguf);
    wc_quant_close(&c->quant);
    wc_buf_free(&c->config);
    wc_buf_free(&c->tokenizer);
    memset(c, 0, sizeof *c);
}

/* ---- reading ---- */

/* Index in c->tensor; c->n when there is none. */
static size_t find_index(const wc_checkpoint *c, const char *name)
{
    size_t lo = 0, hi = c->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = strcmp(name, c->tensor[mid]->name);
        if (!order) return mid;
        if (order < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return c->n;
}

const wc_st_tensor *wc_checkpoint_find(const wc_checkpoint *c, const char *name)
{
    size_t i = find_index(c, name);
    return i < c->n ? c->tensor[i] : NULL;
}

const uint8_t *wc_checkpoint_data(const wc_checkpoint *c, const wc_st_tensor *t)
{
    return c->shard[t->shard].map.data + t->offset;
}

static void convert(wc_dtype dtype, float *dst, const uint8_t *src, size_t n)
{
    const wck_convert *k = wck_convert_at(wck_level_used());
    if (dtype == WC_BF16)
        k->bf16_f32(dst, src, n);
    else if (dtype == WC_F16)
        k->f16_f32(dst, src, n);
    else
        memcpy(dst, src, 4 * n);
}

/* The rows of a bias are its entries. */
static uint64_t rows_of(const wc_st_tensor *t)
{
    return t->n_dims == 1 ? t->cols : t->rows;
}

static uint64_t stored_row(const wc_st_tensor *t, uint64_t row)
{
    return t->interleaved ? wc_gguf_interleave(row, rows_of(t), t->interleaved) : row;
}

wc_status wc_checkpoint_raw(wc_ctx *ctx, const wc_checkpoint *c, const wc_st_tensor *t, wc_buf *out)
{
    const uint8_t *data = wc_checkpoint_data(c, t);
    uint64_t rows = rows_of(t), bytes = rows ? t->size / rows : 0;
    if (!t->interleaved) return wc_buf_append(ctx, out, data, t->size);
    for (uint64_t r = 0; r < rows; r++)
        WC_TRY(wc_buf_append(ctx, out, data + stored_row(t, r) * bytes, bytes));
    return WC_OK;
}

static wc_status gguf_bias(wc_ctx *ctx, const wcd_view *v, const wc_st_tensor *t, float *dst)
{
    float *stored;
    WC_TRY(WC_ALLOC(ctx, stored, t->cols, "a bias"));
    (void)wcd_view_set_rows(v, 0, 1, stored, t->cols); /* cannot fail: it is one row */
    for (uint64_t i = 0; i < t->cols; i++)
        dst[i] = stored[stored_row(t, i)];
    free(stored);
    return WC_OK;
}

/* Rows of a GGUF file's tensor, one by one. */
static wc_status gguf_rows(wc_ctx *ctx, const wc_checkpoint *c, const wc_st_tensor *t, uint64_t r0, uint64_t nr,
                           float *dst)
{
    uint8_t params[WCD_PARAMS] = {(uint8_t)(t->ggml ? t->ggml : t->dtype)};
    wcd_view v;
    wcd_status s = wcd_view_open(t->ggml ? WC_PART_GGML : WC_PART_FLOAT, 1, params, wc_checkpoint_data(c, t), t->size,
                                 t->rows, t->cols, &v);
    if (s != WCD_OK) return wc_fail(ctx, WC_BUG, "GGUF: tensor %s does not open: %s", t->name, wcd_status_text(s));
    if (t->interleaved && t->n_dims == 1) return gguf_bias(ctx, &v, t, dst);
#pragma omp parallel for schedule(static) num_threads(ctx->threads) if (nr * t->cols >= 1 << 19)
    for (uint64_t r = 0; r < nr; r++)
        (void)wcd_view_set_rows(&v, stored_row(t, r0 + r), 1, dst + r * t->cols,
                                t->cols); /* cannot fail: rows checked */
    return WC_OK;
}

wc_status wc_checkpoint_rows(wc_ctx *ctx, const wc_checkpoint *c, const wc_st_tensor *t, uint64_t r0, uint64_t nr,
                             float *dst)
{
    enum { BLOCK = 1 << 16 }; /* elements: one thread's share; below a few of them a parallel region costs more */
    char shown[WC_SHOWN];
    if (!wc_dtype_is_float(t->dtype))
        return wc_fail(ctx, WC_UNSUPPORTED, "tensor `%s' is %s; only F32, F16 and BF16 are read as numbers",
                       wc_escape_name(shown, sizeof shown, t->name), wc_dtype_name(t->dtype));
    if (r0 > t->rows || nr > t->rows - r0)
        return wc_fail(ctx, WC_BUG, "tensor `%s': rows %llu + %llu of %llu",
                       wc_escape_name(shown, sizeof shown, t->name), (ull)r0, (ull)nr, (ull)t->rows);
    if (!t->size || !nr) return WC_OK;
    if (t->packed) return wc_quant_rows(ctx, t->packed, r0, nr, dst);
    if (t->ggml || t->interleaved) return gguf_rows(ctx, c, t, r0, nr, dst);
    size_t bytes = wc_dtype_bits(t->dtype) / 8, n = (size_t)(nr * t->cols), blocks = wc_ceil_div(n, BLOCK);
    const uint8_t *src = wc_checkpoint_data(c, t) + r0 * t->cols * bytes;
#pragma omp parallel for schedule(static) num_threads(ctx->threads) if (blocks >= 8)
    for (size_t b = 0; b < blocks; b++)
        convert(t->dtype, dst + b * BLOCK, src + b * BLOCK * bytes, wc_min(BLOCK, n - b * BLOCK));
    return WC_OK;
}

void wc_checkpoint_release(const wc_checkpoint *c)
{
    for (size_t i = 0; i < c->n_shards; i++)
        wc_map_release(&c->shard[i].map, 0, c->shard[i].map.size);
}

/* The element at p, as a double. */
static double value_at(wc_dtype dtype, const uint8_t *p)
{
    uint16_t h;
    float f;
    double d;
    memcpy(&h, p, 2);
    switch (dtype) {
    case WC_BF16: return wc_bf16_f32(h);
    case WC_F16: return wc_f16_f32(h);
    case WC_F32: return memcpy(&f, p, 4), f;
    default: return memcpy(&d, p, 8), d;
    }
}

/* Whether n elements hold a NaN or an infinity. F64 is rare enough for a plain loop. */
static bool any_nonfinite(wc_dtype dtype, const uint8_t *p, size_t n)
{
    const wck_convert *k = wck_convert_at(wck_level_used());
    bool hit = false;
    switch (dtype) {
    case WC_BF16: return k->any16(p, n, 0x7f80);
    case WC_F16: return k->any16(p, n, 0x7c00);
    case WC_F32: return k->any32(p, n, 0x7f800000);
    default:
        for (size_t i = 0; i < n; i++)
            hit |= !isfinite(value_at(dtype, p + 8 * i));
        return hit;
    }
}

/* The first of n elements that is a NaN or an infinity, at the granularity of BLOCK; n when there is none. */
static size_t nonfinite_block(wc_ctx *ctx, wc_dtype dtype, const uint8_t *p, size_t n)
{
    enum { BLOCK = 1 << 14 };
    size_t bytes = wc_dtype_bits(dtype) / 8, blocks = wc_ceil_div(n, BLOCK), bad = n;
#pragma omp parallel for schedule(static) num_threads(ctx->threads) reduction(min : bad) if (blocks >= 8)
    for (size_t b = 0; b < blocks; b++)
        if (b * BLOCK < bad && any_nonfinite(dtype, p + b * BLOCK * bytes, wc_min(BLOCK, n - b * BLOCK)))
            bad = b * BLOCK;
    return bad;
}

static wc_status check_blocks(wc_ctx *ctx, const wc_checkpoint *c, const wc_st_tensor *t)
{
    enum { SLAB = 64 };
    float *w;
    wc_status status = WC_ALLOC(ctx, w, SLAB * t->cols, "rows");
    for (uint64_t r = 0; status == WC_OK && r < t->rows; r += SLAB) {
        uint64_t nr = wc_min(SLAB, t->rows - r);
        status = wc_checkpoint_rows(ctx, c, t, r, nr, w);
        for (uint64_t i = 0; status == WC_OK && i < nr * t->cols; i++)
            if (!isfinite(w[i]))
                status = wc_fail(ctx, WC_BADFILE, "%s: tensor `%s' holds %g at [%llu, %llu]", c->path, t->name,
                                 (double)w[i], (ull)(r + i / t->cols), (ull)(i % t->cols));
    }
    free(w);
    return status;
}

wc_status wc_checkpoint_check_finite(wc_ctx *ctx, const wc_checkpoint *c, const wc_st_tensor *t)
{
    enum { SLAB = 1 << 25 }; /* elements; a slab's pages are released when it is done */
    if (t->ggml || t->packed) return check_blocks(ctx, c, t);
    if (!wc_dtype_is_float(t->dtype) && t->dtype != WC_F64) return WC_OK;
    const uint8_t *p = wc_checkpoint_data(c, t);
    size_t bytes = wc_dtype_bits(t->dtype) / 8, n = (size_t)(t->size / bytes);
    for (size_t at = 0; at < n; at += SLAB) {
        size_t count = wc_min(SLAB, n - at), bad = nonfinite_block(ctx, t->dtype, p + at * bytes, count);
        wc_map_release(&c->shard[t->shard].map, t->offset + at * bytes, count * bytes);
        if (bad == count) continue;
        size_t i = at + bad;
        while (isfinite(value_at(t->dtype, p + i * bytes)))
            i++;
        char shown[WC_SHOWN];
        return wc_fail(ctx, WC_BADFILE, "%s: tensor `%s' holds %g at [%llu, %llu]", c->shard[t->shard].path,
                       wc_escape_name(shown, sizeof shown, t->name), value_at(t->dtype, p + i * bytes),
                       (ull)(i / t->cols), (ull)(i % t->cols));
    }
    return WC_OK;
}

static void hash_tensor(XXH3_state_t *h, const wc_st_tensor *t, const uint8_t *data)
{
    enum { WHOLE = 16 << 20, PAGES = 256, PAGE = 4096 };
    uint32_t head[2] = {(uint32_t)t->dtype, t->n_dims};
    XXH3_64bits_update(h, t->name, strlen(t->name) + 1);
    XXH3_64bits_update(h, head, sizeof head);
    XXH3_64bits_update(h, t->dims, t->n_dims * sizeof *t->dims);
    if (t->size <= WHOLE) {
        XXH3_64bits_update(h, data, t->size);
        return;
    }
    for (uint64_t k = 0; k < PAGES; k++) /* no overflow: sizes are below 2^48 */
        XXH3_64bits_update(h, data + k * (t->size - PAGE) / (PAGES - 1), PAGE);
}

wc_status wc_checkpoint_fingerprint(wc_ctx *ctx, const wc_checkpoint *c, uint64_t *out)
{
    XXH3_state_t *h = XXH3_createState();
    if (!h) return wc_fail(ctx, WC_NOMEM, "no memory for a checksum");
    XXH3_64bits_reset(h);
    for (size_t i = 0; i < c->n_shards; i++)
        wc_map_scattered(&c->shard[i].map, true);
    for (size_t i = 0; i < c->n; i++) {
        const wc_st_tensor *part[WC_QUANT_PARTS] = {c->tensor[i]};
        size_t n = part[0]->packed ? wc_quant_stored(part[0]->packed, part) : 1;
        for (size_t k = 0; k < n; k++) {
            hash_tensor(h, part[k], wc_checkpoint_data(c, part[k]));
            wc_map_release(&c->shard[part[k]->shard].map, part[k]->offset, part[k]->size); /* and its neighbours */
        }
    }
    for (size_t i = 0; i < c->n_shards; i++)
        wc_map_scattered(&c->shard[i].map, false);
    *out = XXH3_64bits_digest(h);
    XXH3_freeState(h);
    return WC_OK;
}

/* ---- as a source of weights ---- */

static wc_status weight_read(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    const wc_checkpoint *c = w->source;
    return wc_checkpoint_rows(ctx, c, c->tensor[w->index], r0, nr, dst);
}

static wc_status source_find(wc_ctx *ctx, const void *self, const char *name, wc_weight *out)
{
    (void)ctx;
    const wc_checkpoint *c = self;
    size_t i = find_index(c, name);
    memset(out, 0, sizeof *out);
    if (i == c->n) return WC_OK;
    const wc_st_tensor *t = c->tensor[i];
    *out = (wc_weight){(size_t)t->rows, (size_t)t->cols, t->name, weight_read, c, i};
    return WC_OK;
}

static void source_release(const void *self)
{
    wc_checkpoint_release(self);
}

wc_weight_source wc_checkpoint_source(const wc_checkpoint *c)
{
    return (wc_weight_source){source_find, source_release, c, c->path};
}
