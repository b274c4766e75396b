#include "provenance.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"

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
        return json_pack("{s:s, s:I, s:I, s:o}", "source", p->stats->source, "tokens", (json_int_t)p->stats->tokens,
                         "seqlen", (json_int_t)p->stats->seqlen, "windows_xxh3", hex(p->stats->windows));
    if (!w) return json_null();
    return json_pack("{s:s, s:I, s:o, s:I, s:I, s:b, s:o, s:b}", "source", w->source, "text_bytes",
                     (json_int_t)w->text_bytes, "text_xxh3", hex(w->text_hash), "windows", (json_int_t)w->n, "seqlen",
                     (json_int_t)w->seqlen, "bos_per_window", w->bos, "windows_xxh3", hex(w->hash), "two_streams",
                     p->two_streams);
}

/* {"recipes": [text], "tensors": {name: index}} for the compressed tensors; all others are kept. */
static json_t *recipes(const wc_plan *plan, json_t **tensors)
{
    json_t *list = json_array();
    *tensors = json_object();
    for (size_t i = 0; i < plan->n_recipes; i++)
        json_array_append_new(list, json_string(plan->recipe_text[i]));
    for (size_t i = 0; i < plan->n; i++)
        if (plan->tensor[i].recipe->n)
            json_object_set_new(*tensors, plan->tensor[i].source->name,
                                json_integer(plan->tensor[i].recipe - plan->recipe));
    return list;
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

static char *describe(const wc_provenance *p)
{
    json_t *tensors, *list = recipes(p->plan, &tensors);
    size_t n;
    const char *name = last_word(p->input->path, &n);
    json_t *root =
        json_pack("{s:s, s:s, s:i, s:{s:s%, s:s, s:o}, s:s, s:o, s:o, s:o}", "tool", "wcompress", "version", WC_VERSION,
                  "schema_version", 1, "model", "name", name, n, "architecture",
                  p->input->has_config ? p->input->config.model_type : "unknown", "fingerprint", hex(p->model), "mode",
                  p->mode, "calibration", calibration(p), "recipes", list, "tensors", tensors);
    char *text = root ? json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    json_decref(root);
    return text;
}

static const char *const companions[] = {
    "config.json", "generation_config.json",  "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "vocab.json",  "special_tokens_map.json", "merges.txt",     "added_tokens.json",     "chat_template.jinja",
};
enum { N_COMPANIONS = sizeof companions / sizeof *companions };

static wc_status read_companions(wc_ctx *ctx, const wc_input *in, wc_buf files[N_COMPANIONS], wc_wcz_meta *metas,
                                 size_t *n)
{
    for (size_t i = 0; i < N_COMPANIONS; i++) {
        bool found;
        WC_TRY(wc_input_text(ctx, in, companions[i], &files[i], &found));
        if (files[i].size) metas[(*n)++] = (wc_wcz_meta){companions[i], files[i].data, files[i].size};
    }
    return WC_OK;
}

static uint64_t fingerprint_of(const wc_wcz_meta *metas, size_t n, uint64_t size)
{
    XXH3_state_t xxh;
    XXH3_64bits_reset(&xxh);
    for (size_t i = 0; i < n; i++) {
        XXH3_64bits_update(&xxh, metas[i].name, strlen(metas[i].name) + 1);
        XXH3_64bits_update(&xxh, metas[i].data, metas[i].size);
    }
    XXH3_64bits_update(&xxh, &size, sizeof size);
    return XXH3_64bits_digest(&xxh);
}

wc_status wc_provenance_layout(wc_ctx *ctx, const wc_provenance *p, wc_wcz **out, uint64_t *fingerprint)
{
    wc_buf files[N_COMPANIONS] = {{0}};
    wc_wcz_meta metas[N_COMPANIONS + 1];
    size_t n = 1;
    char *text = describe(p);
    wc_status status = text ? WC_OK : wc_fail(ctx, WC_NOMEM, "no memory for the provenance");
    if (status == WC_OK) {
        metas[0] = (wc_wcz_meta){"provenance.json", text, strlen(text)};
        status = read_companions(ctx, p->input, files, metas, &n);
    }
    if (status == WC_OK) status = wc_plan_layout(ctx, p->plan, metas, n, out);
    if (status == WC_OK) *fingerprint = fingerprint_of(metas, n, wc_wcz_size(*out));
    free(text);
    for (size_t i = 0; i < N_COMPANIONS; i++)
        wc_buf_free(&files[i]);
    return status;
}
