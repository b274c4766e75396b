#include "input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model/model.h"

enum { MAX_CONFIG = 16 << 20, MAX_TEXT = 256 << 20, DEFAULT_SEQLEN = 2048 };

const char *const wc_companions[WC_N_COMPANIONS] = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "special_tokens_map.json",
    "merges.txt",
    "added_tokens.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
};

/* Keeps the sentence of a failure that only takes features away, and forgets the failure. */
static wc_status tolerate(wc_ctx *ctx, char *reason, size_t size)
{
    snprintf(reason, size, "%s", ctx->error);
    wc_clear_error(ctx);
    return WC_OK;
}

wc_status wc_input_text(wc_ctx *ctx, const wc_input *in, const char *name, wc_buf *out, bool *found)
{
    if (in->has_wcz) {
        wcd_meta meta;
        *found = wcd_meta_find(&in->wcz.file, name, &meta) == WCD_OK;
        return *found ? wc_wcz_meta_read(ctx, &in->wcz, name, out) : WC_OK;
    }
    if (in->checkpoint.gguf) {
        const wc_buf *text = !strcmp(name, "config.json") ? &in->checkpoint.config : &in->checkpoint.tokenizer;
        *found = text->size && (text == &in->checkpoint.config || !strcmp(name, "tokenizer.json"));
        return *found ? wc_buf_append(ctx, out, text->data, text->size) : WC_OK;
    }
    if (in->checkpoint.quant && in->checkpoint.config.size && !strcmp(name, "config.json")) {
        *found = true;
        return wc_buf_append(ctx, out, in->checkpoint.config.data, in->checkpoint.config.size);
    }
    char *path = wc_path_join(in->checkpoint.dir, name);
    if (!path) return wc_fail(ctx, WC_NOMEM, "no memory for a path");
    *found = wc_file_exists(path);
    wc_status status = *found ? wc_read_file(ctx, path, MAX_TEXT, out) : WC_OK;
    free(path);
    return status;
}

static wc_status open_config(wc_ctx *ctx, wc_input *in)
{
    wc_buf text = {0};
    bool found;
    const char *path = in->has_checkpoint ? in->checkpoint.config_path : NULL;
    WC_TRY(wc_input_text(ctx, in, "config.json", &text, &found));
    if (!found) {
        snprintf(in->no_config, sizeof in->no_config, "%s: no config.json", in->path);
        return WC_OK;
    }
    if (text.size > MAX_CONFIG) {
        wc_buf_free(&text);
        return wc_fail(ctx, WC_BADFILE, "%s: config.json is larger than %d bytes", in->path, MAX_CONFIG);
    }
    wc_status status =
        wc_config_parse(ctx, (const char *)text.data, text.size, path ? path : "config.json", &in->config);
    wc_buf_free(&text);
    if (status == WC_UNSUPPORTED) return tolerate(ctx, in->no_config, sizeof in->no_config);
    WC_TRY(status);
    in->has_config = true;
    return wc_model_check(ctx, &in->config, &in->source);
}

static wc_status open_tokenizer(wc_ctx *ctx, wc_input *in)
{
    wc_buf text = {0};
    bool found;
    const char *path = in->has_checkpoint ? in->checkpoint.tokenizer_path : NULL;
    WC_TRY(wc_input_text(ctx, in, "tokenizer.json", &text, &found));
    if (!found) {
        snprintf(in->no_tokenizer, sizeof in->no_tokenizer, "%s: no tokenizer.json", in->path);
        return WC_OK;
    }
    wc_status status =
        wc_tokenizer_open(ctx, (const char *)text.data, text.size, path ? path : "tokenizer.json", &in->tokenizer);
    wc_buf_free(&text);
    if (status == WC_UNSUPPORTED) return tolerate(ctx, in->no_tokenizer, sizeof in->no_tokenizer);
    return status;
}

wc_status wc_input_is_wcz(wc_ctx *ctx, const char *path, bool *yes)
{
    static const uint8_t magic[4] = {0x89, 'W', 'C', 'Z'};
    size_t n = strlen(path);
    *yes = false;
    if (!wc_file_exists(path)) return wc_fail(ctx, WC_IO, "%s: no such file or folder", path);
    if (wc_is_dir(path)) return WC_OK;
    wc_map m;
    WC_TRY(wc_map_open(ctx, path, &m));
    *yes = (m.size >= sizeof magic && !memcmp(m.data, magic, sizeof magic)) || (n > 4 && !strcmp(path + n - 4, ".wcz"));
    wc_map_close(&m);
    return WC_OK;
}

static void measure(wc_input *in)
{
    if (in->has_wcz) {
        in->file_bytes = in->wcz.map.size;
        for (uint32_t i = 0; i < wcd_count(&in->wcz.file); i++) {
            wcd_tensor t;
            if (wcd_at(&in->wcz.file, i, &t) == WCD_OK) in->weights += t.rows * t.cols;
        }
        return;
    }
    for (size_t i = 0; i < in->checkpoint.n_shards; i++)
        in->file_bytes += in->checkpoint.shard[i].map.size;
    for (size_t i = 0; i < in->checkpoint.n; i++)
        in->weights += in->checkpoint.tensor[i]->rows * in->checkpoint.tensor[i]->cols;
}

static wc_status open_weights(wc_ctx *ctx, wc_input *in)
{
    bool compressed;
    WC_TRY(wc_input_is_wcz(ctx, in->path, &compressed));
    if (compressed) {
        WC_TRY(wc_wcz_open(ctx, in->path, &in->wcz));
        in->has_wcz = true;
        in->source = wc_wcz_source(&in->wcz);
    } else {
        WC_TRY(wc_checkpoint_open(ctx, in->path, &in->checkpoint));
        in->has_checkpoint = true;
        in->source = wc_checkpoint_source(&in->checkpoint);
    }
    return WC_OK;
}

wc_status wc_input_open(wc_ctx *ctx, const char *path, wc_input *out)
{
    memset(out, 0, sizeof *out);
    out->path = strdup(path);
    wc_status status = out->path ? WC_OK : wc_fail(ctx, WC_NOMEM, "no memory for a path");
    if (status == WC_OK) status = open_weights(ctx, out);
    if (status == WC_OK) status = open_config(ctx, out);
    if (status == WC_OK) status = open_tokenizer(ctx, out);
    if (status == WC_OK)
        measure(out);
    else
        wc_input_close(out);
    return status;
}

void wc_input_close(wc_input *in)
{
    if (!in) return;
    wc_tokenizer_free(&in->tokenizer);
    wc_checkpoint_close(&in->checkpoint);
    wc_wcz_close(&in->wcz);
    free(in->path);
    memset(in, 0, sizeof *in);
}

wc_status wc_input_need_forward(wc_ctx *ctx, const wc_input *in)
{
    return in->has_config ? WC_OK : wc_fail(ctx, WC_UNSUPPORTED, "%s: the model cannot be run", in->no_config);
}

wc_status wc_input_need_tokenizer(wc_ctx *ctx, const wc_input *in)
{
    if (in->tokenizer) return WC_OK;
    return wc_fail(ctx, WC_UNSUPPORTED, "%s: text cannot become tokens; give token ids instead (--calib-ids)",
                   in->no_tokenizer);
}

size_t wc_input_seqlen(const wc_input *in, size_t asked)
{
    size_t longest = in->config.max_positions ? in->config.max_positions : DEFAULT_SEQLEN;
    return asked ? asked : wc_min(longest, DEFAULT_SEQLEN);
}

/* ---- output names ----------------------------------------------------------------------------------------------- */

static char *concat(const char *a, size_t n, const char *b)
{
    char *s = malloc(n + strlen(b) + 1);
    if (!s) return NULL;
    memcpy(s, a, n);
    strcpy(s + n, b);
    return s;
}

/* The length of the model's path without trailing slashes and without the ending of a weights file. */
static size_t stem(const char *model)
{
    static const char *const endings[] = {".safetensors.index.json", ".safetensors", ".gguf", ".wcz", ".wcstats"};
    size_t n = strlen(model);
    while (n > 1 && model[n - 1] == '/')
        n--;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t e = strlen(endings[i]);
        if (n > e && !strncmp(model + n - e, endings[i], e)) return n - e;
    }
    return n;
}

wc_status wc_output_names(wc_ctx *ctx, const char *model, const char *suffix, const char *asked, const char *asked_work,
                          char **output, char **partial, char **work)
{
    if (asked && !*asked) return wc_fail(ctx, WC_OPTION, "-o: the name of the output is empty");
    *output = asked ? strdup(asked) : concat(model, stem(model), suffix);
    *partial = *output ? concat(*output, strlen(*output), ".partial") : NULL;
    *work = asked_work ? strdup(asked_work) : *output ? concat(*output, strlen(*output), ".work") : NULL;
    return *output && *partial && *work ? WC_OK : wc_fail(ctx, WC_NOMEM, "no memory for a path");
}

static bool is_file(const char *path, const struct stat *st)
{
    struct stat other;
    return path && !stat(path, &other) && other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

static bool is_source(const wc_input *in, const struct stat *st)
{
    for (size_t i = 0; i < in->checkpoint.n_shards; i++) {
        const wc_map *m = &in->checkpoint.shard[i].map;
        if (m->device == (uint64_t)st->st_dev && m->inode == (uint64_t)st->st_ino) return true;
    }
    return is_file(in->path, st) || is_file(in->checkpoint.config_path, st) ||
           is_file(in->checkpoint.tokenizer_path, st);
}

wc_status wc_output_check(wc_ctx *ctx, const wc_input *in, const char *output, bool replace)
{
    struct stat st;
    if (stat(output, &st)) return WC_OK;
    if (S_ISDIR(st.st_mode)) return wc_fail(ctx, WC_OPTION, "%s: is a folder; -o takes a file name", output);
    if (is_source(in, &st))
        return wc_fail(ctx, WC_OPTION, "%s: is the source itself; a model is never overwritten by its result", output);
    if (!S_ISREG(st.st_mode))
        return wc_fail(ctx, WC_OPTION, "%s: is no regular file, which the result could replace", output);
    if (!replace) return wc_fail(ctx, WC_OPTION, "%s: exists; give -f to replace it, or -o another name", output);
    return WC_OK;
}
