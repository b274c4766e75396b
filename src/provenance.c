#include "provenance.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"

#include "cut.h"
#include "report.h"
#include "restore.h"
#include "version.h"

static json_t *hex(uint64_t x)
{
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, x);
    return json_string(text);
}

static json_t *calibration(const wc_provenance *p)
{
    const wc_windows *w = p->windows;
    if (p->stats)
        return json_pack("{s:o, s:I, s:I, s:o}", "source", wc_report_text(p->stats->source), "tokens",
                         (json_int_t)p->stats->tokens, "seqlen", (json_int_t)p->stats->seqlen, "windows_xxh3",
                         hex(p->stats->windows));
    if (!w) return json_null();
    json_t *o = json_pack("{s:o, s:I, s:o, s:I, s:I, s:b, s:o, s:b}", "source", wc_report_text(w->source), "text_bytes",
                          (json_int_t)w->text_bytes, "text_xxh3", hex(w->text_hash), "windows", (json_int_t)w->n,
                          "seqlen", (json_int_t)w->seqlen, "bos_per_window", w->bos, "windows_xxh3", hex(w->hash),
                          "two_streams", p->two_streams);
    if (p->attention > 0) json_object_set_new(o, "attention", json_real(p->attention));
    return o;
}

/* {"recipes": [text], "tensors": {name: index}} for the compressed tensors; all others are kept. Recipes in the order
 * of the tensors that first have them, so that it does not matter how they were asked for: by rules, or settled in the
 * plan. */
static wc_status recipes(wc_ctx *ctx, const wc_plan *plan, json_t **list, json_t **tensors)
{
    size_t *number; /* [n_recipes] from 1 */
    WC_TRY(WC_ALLOC(ctx, number, plan->n_recipes, "recipes"));
    *list = json_array();
    *tensors = json_object();
    for (size_t i = 0; i < plan->n; i++) {
        size_t r = (size_t)(plan->tensor[i].recipe - plan->recipe);
        if (!number[r]) {
            json_array_append_new(*list, json_string(plan->recipe_text[r]));
            number[r] = json_array_size(*list);
        }
        if (plan->tensor[i].recipe->n)
            json_object_set_new(*tensors, plan->tensor[i].source->name, json_integer((json_int_t)number[r] - 1));
    }
    free(number);
    return WC_OK;
}

/* The last word of a path, so that results do not depend on where the model lies or how its path is written. */
static const char *last_word(const char *path, size_t *n)
{
    *n = strlen(path);
    while (*n > 1 && path[*n - 1] == '/')
        --*n;
    size_t start = *n;
    while (start && path[start - 1] != '/')
        start--;
    *n -= start;
    return path + start;
}

static wc_status describe(wc_ctx *ctx, const wc_provenance *p, char **text)
{
    json_t *tensors, *list;
    size_t n;
    const char *name = last_word(p->input->path, &n);
    WC_TRY(recipes(ctx, p->plan, &list, &tensors));
    json_t *root =
        json_pack("{s:s, s:s, s:i, s:{s:o, s:s, s:o}, s:s, s:o, s:o, s:o}", "tool", "wcompress", "version", WC_VERSION,
                  "schema_version", 1, "model", "name", wc_report_bytes(name, n), "architecture",
                  p->input->has_config ? p->input->config.model_type : "unknown", "fingerprint", hex(p->model), "mode",
                  p->mode, "calibration", calibration(p), "recipes", list, "tensors", tensors);
    if (root && *p->passes) json_object_set_new(root, "passes", json_string(p->passes));
    *text = root ? json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    json_decref(root);
    return *text ? WC_OK : wc_fail(ctx, WC_NOMEM, "no memory for the provenance");
}

/* The text of config.json, which has been parsed before, for a model whose head is no longer the embedding. */
static wc_status untie(wc_ctx *ctx, wc_buf *config)
{
    json_t *root = json_loadb((const char *)config->data, config->size, 0, NULL);
    int bad = !root || json_object_set_new(root, "tie_word_embeddings", json_false());
    char *text = bad ? NULL : json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    if (!text) return wc_fail(ctx, WC_NOMEM, "no memory for config.json");
    wc_buf_free(config);
    wc_status status = wc_buf_append(ctx, config, text, strlen(text));
    free(text);
    return status;
}

/* index: that of a sharded checkpoint too, the last of the list. */
static wc_status read_companions(wc_ctx *ctx, const wc_provenance *p, bool index, wc_buf files[WC_N_COMPANIONS],
                                 wc_wcz_meta *metas, size_t *n)
{
    const wc_input *in = p->input;
    for (size_t i = 0; i < (size_t)WC_N_COMPANIONS - (index ? 0 : 1); i++) {
        bool found;
        WC_TRY(wc_input_text(ctx, in, wc_companions[i], &files[i], &found));
        if (i == 0 && p->untied) WC_TRY(untie(ctx, &files[i]));
        if (files[i].size) metas[(*n)++] = (wc_wcz_meta){wc_companions[i], files[i].data, files[i].size};
    }
    return WC_OK;
}

/* Whether every bit of the checkpoint will be in the file. */
static bool holds_all(const wc_plan *plan)
{
    bool coded = false;
    for (size_t i = 0; i < plan->n; i++) {
        const wc_part *part = &plan->tensor[i].part[0];
        const wc_float_code *code = part->kind == WC_PART_FLOAT ? part->floats.code : NULL;
        if (!plan->tensor[i].copied || (code && code->drop)) return false;
        coded = coded || plan->tensor[i].recipe->n;
    }
    return coded;
}

/* A header as wc_restore wants it, and its name: u64 size of the file, then its first bytes up to the end of the JSON.
 */
static wc_status add_header(wc_ctx *ctx, const wc_checkpoint *cp, const wc_safetensors *st, wc_buf *name, wc_buf *entry)
{
    size_t n, dir = strlen(cp->dir);
    uint8_t size[8];
    const char *file = st->path;
    if (!strncmp(file, cp->dir, dir) && (!dir || file[dir] == '/' || file[dir - 1] == '/')) file += dir;
    file += strspn(file, "/");
    if (!wc_restore_name(file))
        return wc_fail(ctx, WC_UNSUPPORTED, "%s: could not be restored under the name `%s': give it a plain one",
                       st->path, file);
    WC_TRY(wc_safetensors_header_size(ctx, st->map.data, wc_min(st->map.size, 8), st->map.size, st->path, &n));
    for (int i = 0; i < 8; i++)
        size[i] = (uint8_t)(st->map.size >> 8 * i);
    WC_TRY(wc_buf_printf(ctx, name, "%s%s", WC_HEADER_PREFIX, file));
    WC_TRY(wc_buf_append(ctx, entry, size, sizeof size));
    return wc_buf_append(ctx, entry, st->map.data, n + 8);
}

static uint64_t fingerprint_of(const wc_wcz_meta *metas, size_t n, uint64_t size)
{
    XXH3_state_t xxh;
    XXH3_64bits_reset(&xxh);
    for (size_t i = 0; i < n; i++) {
        XXH3_64bits_update(&xxh, metas[i].name, strlen(metas[i].name) + 1);
        if (metas[i].data) XXH3_64bits_update(&xxh, metas[i].data, metas[i].size);
    }
    XXH3_64bits_update(&xxh, &size, sizeof size);
    return XXH3_64bits_digest(&xxh);
}

/* The metadata entries while they are put together: buffers [2 n] hold the names and contents of headers. */
typedef struct entries {
    wc_wcz_meta *meta;
    wc_buf *buffer;
    size_t n, n_buffers;
} entries;

static wc_status add_headers(wc_ctx *ctx, const wc_provenance *p, entries *e)
{
    const wc_checkpoint *cp = &p->input->checkpoint;
    for (size_t i = 0; i < cp->n_shards; i++) {
        wc_buf *name = &e->buffer[e->n_buffers++], *entry = &e->buffer[e->n_buffers++];
        WC_TRY(add_header(ctx, cp, &cp->shard[i], name, entry));
        e->meta[e->n++] = (wc_wcz_meta){(char *)name->data, entry->data, entry->size};
    }
    return WC_OK;
}

wc_status wc_provenance_layout(wc_ctx *ctx, const wc_provenance *p, wc_wcz **out, uint64_t *fingerprint)
{
    const wc_checkpoint *cp = &p->input->checkpoint;
    size_t shards = !*p->passes && !cp->gguf && !cp->quant && holds_all(p->plan) ? cp->n_shards : 0;
    wc_buf files[WC_N_COMPANIONS] = {{0}};
    entries e = {.n = 1};
    char *text = NULL;
    wc_status status = describe(ctx, p, &text);
    if (status == WC_OK) status = WC_ALLOC(ctx, e.meta, WC_N_COMPANIONS + 2 + shards, "metadata entries");
    if (status == WC_OK) status = WC_ALLOC(ctx, e.buffer, 2 * shards, "metadata entries");
    if (status == WC_OK) {
        e.meta[0] = (wc_wcz_meta){"provenance.json", text, strlen(text)};
        status = read_companions(ctx, p, shards > 1, files, e.meta, &e.n);
    }
    if (status == WC_OK && p->plan->levels)
        e.meta[e.n++] = (wc_wcz_meta){"cut_order", NULL, wc_cut_order_size(p->plan->levels)};
    if (status == WC_OK && shards) status = add_headers(ctx, p, &e);
    if (status == WC_OK) status = wc_plan_layout(ctx, p->plan, e.meta, e.n, out);
    if (status == WC_OK) *fingerprint = fingerprint_of(e.meta, e.n, wc_wcz_size(*out));
    for (size_t i = 0; i < WC_N_COMPANIONS; i++)
        wc_buf_free(&files[i]);
    for (size_t i = 0; i < e.n_buffers; i++)
        wc_buf_free(&e.buffer[i]);
    free(text), free(e.meta), free(e.buffer);
    return status;
}
