#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/gguf_internal.h"
#include "io/gguf_model.h"
#include "io/json.h"

/* Values of tokenizer.ggml.token_type. */
enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

typedef struct tokenizer {
    wc_ctx *ctx;
    const wc_input *in;
    wc_gguf_writer *w;
    json_t *root; /* tokenizer.json */
    const json_t *model, *vocab, *added, *merges;
    bool spm;             /* pieces of SentencePiece, else byte-level */
    size_t n;             /* tokens: the model's vocabulary */
    const json_t **token; /* [n] strings; NULL: a hole */
    int32_t *type;        /* [n] */
    uint32_t *rank;       /* [n] the first merge that makes it; n_merges: none */
} tokenizer;

/* ---- which way of cutting text ----------------------------------------------------------------------------------- */

typedef struct cutting {
    const char *pattern;
    bool digits, gpt2, bytes, other, metaspace;
    size_t splits;
} cutting;

static void note_step(const json_t *step, cutting *c)
{
    const char *type = json_string_value(json_object_get(step, "type"));
    const json_t *regex = json_object_get(step, "use_regex"), *list = json_object_get(step, "pretokenizers");
    if (!type) return;
    if (!strcmp(type, "Sequence")) {
        for (size_t i = 0; i < json_array_size(list); i++)
            note_step(json_array_get(list, i), c);
    } else if (!strcmp(type, "ByteLevel")) {
        c->bytes = true;
        c->gpt2 = !regex || json_is_true(regex);
        c->other = c->other || json_is_true(json_object_get(step, "add_prefix_space"));
    } else if (!strcmp(type, "Split")) {
        c->pattern = json_string_value(json_object_get(json_object_get(step, "pattern"), "Regex"));
        c->splits++;
        c->other = c->other || !c->pattern;
    } else if (!strcmp(type, "Digits")) {
        c->digits = json_is_true(json_object_get(step, "individual_digits"));
        c->other = c->other || !c->digits;
    } else if (!strcmp(type, "Metaspace")) {
        c->metaspace = true;
    } else {
        c->other = true;
    }
}

static const char *recognise(const cutting *c)
{
    for (const wc_gguf_pre *p = wc_gguf_pres; p->name && !c->other && c->splits <= 1; p++) {
        bool same = !p->pattern == !c->pattern && (!p->pattern || !strcmp(p->pattern, c->pattern));
        if (same && p->digits == c->digits && p->gpt2 == c->gpt2) return p->name;
    }
    return NULL;
}

/* Whether the normalizer has a step of this type. */
static bool has_step(const json_t *normalizer, const char *type)
{
    const char *own = json_string_value(json_object_get(normalizer, "type"));
    const json_t *list = json_object_get(normalizer, "normalizers");
    if (own && !strcmp(own, type)) return true;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (has_step(json_array_get(list, i), type)) return true;
    return false;
}

static wc_status put_text(tokenizer *t, const char *key, const char *value)
{
    return wc_gguf_put_string(t->ctx, t->w, key, value, strlen(value));
}

static wc_status put_model(tokenizer *t, const char *asked)
{
    cutting c = {0};
    const json_t *normalizer = json_object_get(t->root, "normalizer");
    note_step(json_object_get(t->root, "pre_tokenizer"), &c);
    bool prepend = has_step(normalizer, "Prepend");
    t->spm = !c.bytes && (c.metaspace || prepend || has_step(normalizer, "Replace")) &&
             json_is_true(json_object_get(t->model, "byte_fallback"));
    if (t->spm) {
        WC_TRY(put_text(t, "tokenizer.ggml.model", "llama"));
        WC_TRY(put_text(t, "tokenizer.ggml.pre", asked ? asked : "default"));
        return wc_gguf_put_flag(t->ctx, t->w, "tokenizer.ggml.add_space_prefix", prepend || c.metaspace);
    }
    if (!c.bytes)
        return wc_fail(
            t->ctx, WC_UNSUPPORTED,
            "%s: its tokenizer works neither on bytes nor on pieces as SentencePiece: GGUF has no form for it",
            t->in->path);
    const char *pre = asked ? asked : recognise(&c);
    if (!pre)
        return wc_fail(t->ctx, WC_UNSUPPORTED,
                       "%s: the way its tokenizer cuts text is none that llama.cpp is known to have; name one with "
                       "--gguf-pre",
                       t->in->path);
    WC_TRY(put_text(t, "tokenizer.ggml.model", "gpt2"));
    return put_text(t, "tokenizer.ggml.pre", pre);
}

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

static bool looks_special(const char *s)
{
    static const char *const begins[] = {"<|", "<\xef\xbd\x9c", "<pad", "<mask", "<unused"};
    size_t n = strlen(s);
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (!strncmp(s, begins[i], strlen(begins[i])) && n > 1 && s[n - 1] == '>') return true;
    return false;
}

static wc_status place(tokenizer *t, const json_t *content, json_int_t id, int32_t type)
{
    if (id < 0 || (size_t)id >= t->n)
        return wc_fail(t->ctx, WC_BADFILE, "%s: token id %lld is outside the vocabulary of %zu", t->in->path,
                       (long long)id, t->n);
    t->token[id] = content;
    t->type[id] = type;
    return WC_OK;
}

static int32_t plain_type(const tokenizer *t, const char *token)
{
    const char *unknown = json_string_value(json_object_get(t->model, "unk_token"));
    bool byte = t->spm && strlen(token) == 6 && !strncmp(token, "<0x", 3) && token[5] == '>';
    return unknown && !strcmp(unknown, token) ? UNKNOWN : byte ? BYTE : NORMAL;
}

/* Strings of the vocabulary are keys of an object: as JSON strings they are kept in `list'. */
static wc_status list_tokens(tokenizer *t, json_t *list)
{
    const char *token;
    json_t *id;
    json_object_foreach((json_t *)t->vocab, token, id)
    {
        json_t *content = json_string(token);
        if (!content || json_array_append_new(list, content)) return wc_fail(t->ctx, WC_NOMEM, "no memory for tokens");
        WC_TRY(place(t, content, json_integer_value(id), plain_type(t, token)));
    }
    for (size_t i = 0; i < json_array_size(t->added); i++) {
        const json_t *a = json_array_get(t->added, i), *content = json_object_get(a, "content");
        if (!json_is_string(content))
            return wc_fail(t->ctx, WC_BADFILE, "%s: an added token without text", t->in->path);
        bool special = json_is_true(json_object_get(a, "special")) || looks_special(json_string_value(content));
        int32_t type = plain_type(t, json_string_value(content));
        WC_TRY(place(t, content, json_integer_value(json_object_get(a, "id")),
                     type != NORMAL ? type
                     : special      ? CONTROL
                                    : USER_DEFINED));
    }
    return WC_OK;
}

static wc_status put_tokens(tokenizer *t)
{
    WC_TRY(wc_gguf_put_array(t->ctx, t->w, "tokenizer.ggml.tokens", WC_GGUF_STRING, t->n));
    for (size_t i = 0; i < t->n; i++) {
        char hole[32];
        snprintf(hole, sizeof hole, "[PAD%zu]", i);
        if (!t->token[i]) t->type[i] = UNUSED;
        const char *p = t->token[i] ? json_string_value(t->token[i]) : hole;
        WC_TRY(wc_gguf_put_text(t->ctx, t->w, p, t->token[i] ? json_string_length(t->token[i]) : strlen(hole)));
    }
    WC_TRY(wc_gguf_put_array(t->ctx, t->w, "tokenizer.ggml.token_type", WC_GGUF_I32, t->n));
    return wc_gguf_put_element(t->ctx, t->w, t->type, t->n * sizeof *t->type);
}

/* ---- merges, and the scores that say the same for SentencePiece -----------------------------------------------------
 */

static const char *half(const json_t *merge, size_t i, size_t *n)
{
    if (json_is_array(merge)) {
        const json_t *s = json_array_get(merge, i);
        *n = json_string_length(s);
        return json_string_value(s);
    }
    const char *text = json_string_value(merge), *space = text && *text ? strchr(text + 1, ' ') : NULL;
    if (!space) return NULL;
    *n = i ? strlen(space + 1) : (size_t)(space - text);
    return i ? space + 1 : text;
}

static wc_status join_halves(tokenizer *t, size_t i, const char *between, bool escape, wc_buf *out)
{
    const json_t *merge = json_array_get(t->merges, i);
    out->size = 0;
    for (size_t side = 0; side < 2; side++) {
        size_t n;
        const char *p = half(merge, side, &n);
        if (!p) return wc_fail(t->ctx, WC_BADFILE, "%s: merge %zu of the tokenizer is no pair", t->in->path, i);
        if (side) WC_TRY(wc_buf_append(t->ctx, out, between, strlen(between)));
        for (size_t k = 0; k < n; k++) /* the loader splits at the first space */
            WC_TRY(escape && p[k] == ' ' ? wc_buf_append(t->ctx, out, "\xc4\xa0", 2)
                                         : wc_buf_append(t->ctx, out, p + k, 1));
    }
    return wc_buf_append(t->ctx, out, "", 1);
}

static wc_status put_merges(tokenizer *t)
{
    wc_buf text = {0};
    wc_status status =
        wc_gguf_put_array(t->ctx, t->w, "tokenizer.ggml.merges", WC_GGUF_STRING, json_array_size(t->merges));
    for (size_t i = 0; status == WC_OK && i < json_array_size(t->merges); i++) {
        status = join_halves(t, i, " ", true, &text);
        if (status == WC_OK) status = wc_gguf_put_text(t->ctx, t->w, (const char *)text.data, text.size - 1);
    }
    wc_buf_free(&text);
    return status;
}

/* A token scores the higher the earlier the first merge that makes it; what no merge makes comes after all of them. */
static wc_status put_scores(tokenizer *t)
{
    wc_buf text = {0};
    size_t merges = json_array_size(t->merges);
    wc_status status = WC_OK;
    for (size_t i = 0; i < t->n; i++)
        t->rank[i] = (uint32_t)merges;
    for (size_t i = merges; i-- > 0;) {
        WC_TRY_OUT(join_halves(t, i, "", false, &text));
        const json_t *id = json_object_get(t->vocab, (const char *)text.data);
        if (json_is_integer(id)) t->rank[json_integer_value(id)] = (uint32_t)i;
    }
    WC_TRY_OUT(wc_gguf_put_array(t->ctx, t->w, "tokenizer.ggml.scores", WC_GGUF_F32, t->n));
    for (size_t i = 0; i < t->n; i++) {
        bool plain = t->type[i] == NORMAL;
        float score = t->type[i] == UNUSED         ? -10000
                      : t->type[i] == USER_DEFINED ? -1000
                      : plain                      ? -(float)t->rank[i]
                                                   : 0;
        WC_TRY_OUT(wc_gguf_put_element(t->ctx, t->w, &score, sizeof score));
    }
out:
    wc_buf_free(&text);
    return status;
}

/* llama.cpp makes any token of two neighbours that together spell one, by score. A tokenizer that lists fewer pairs
 * cuts a few texts in another way. */
static void compare_merges(tokenizer *t)
{
    size_t pairs = 0;
    const char *token;
    json_t *id;
    json_object_foreach((json_t *)t->vocab, token, id)
    {
        size_t n = strlen(token);
        bool whole = t->type[json_integer_value(id)] == NORMAL;
        for (size_t cut = 1; whole && cut < n; cut++)
            pairs += ((unsigned char)token[cut] & 0xc0) != 0x80 && json_object_getn(t->vocab, token, cut) &&
                     json_object_getn(t->vocab, token + cut, n - cut);
    }
    if (pairs != json_array_size(t->merges))
        wc_log(t->ctx, WC_LOG_WARN,
               "%s: its tokenizer merges %zu pairs of tokens, llama.cpp will merge %zu: a few texts will be cut "
               "differently",
               t->in->path, json_array_size(t->merges), pairs);
}

/* ---- special tokens ---------------------------------------------------------------------------------------------- */

/* The id that a key of tokenizer_config.json names, as "</s>" or {"content": "</s>"}. */
static bool named_id(const tokenizer *t, const json_t *config, const char *key, uint32_t *id)
{
    const json_t *x = json_object_get(config, key);
    const char *text = json_string_value(json_is_object(x) ? json_object_get(x, "content") : x);
    return text && wc_tokenizer_token_id(t->in->tokenizer, text, id);
}

static wc_status put_id(tokenizer *t, const char *key, bool known, uint32_t id)
{
    return known && id < t->n ? wc_gguf_put_u32(t->ctx, t->w, key, id) : WC_OK;
}

static bool config_id(const json_t *config, const char *key, uint32_t *id)
{
    const json_t *x = json_object_get(config, key);
    if (json_is_array(x)) x = json_array_get(x, 0);
    *id = (uint32_t)json_integer_value(x);
    return json_is_integer(x) && json_integer_value(x) >= 0 && json_integer_value(x) < 1 << 24;
}

static wc_status put_special(tokenizer *t, const json_t *config, const json_t *extra)
{
    uint32_t bos, eos, pad, unknown = 0;
    wc_ids frame = {0}; /* what stands around an empty text */
    bool template = wc_tokenizer_bos(t->in->tokenizer, &bos);
    WC_TRY(wc_tokenizer_encode(t->ctx, t->in->tokenizer, "", 0, WC_ENCODE_TEMPLATE, &frame));
    bool ends = frame.n > (size_t) template;
    uint32_t last = ends ? frame.id[frame.n - 1] : 0;
    wc_ids_free(&frame);
    bool has_bos = template || named_id(t, extra, "bos_token", &bos) || config_id(config, "bos_token_id", &bos);
    bool has_eos = named_id(t, extra, "eos_token", &eos) || config_id(config, "eos_token_id", &eos);
    const char *unk = json_string_value(json_object_get(t->model, "unk_token"));
    if (ends) eos = last, has_eos = true;
    WC_TRY(put_id(t, "tokenizer.ggml.bos_token_id", has_bos, bos));
    WC_TRY(put_id(t, "tokenizer.ggml.eos_token_id", has_eos, eos));
    WC_TRY(put_id(t, "tokenizer.ggml.unknown_token_id", unk && wc_tokenizer_token_id(t->in->tokenizer, unk, &unknown),
                  unknown));
    WC_TRY(put_id(t, "tokenizer.ggml.padding_token_id", named_id(t, extra, "pad_token", &pad), pad));
    WC_TRY(wc_gguf_put_flag(t->ctx, t->w, "tokenizer.ggml.add_bos_token", template));
    WC_TRY(wc_gguf_put_flag(t->ctx, t->w, "tokenizer.ggml.add_eos_token", ends));
    const json_t *chat = json_object_get(extra, "chat_template");
    if (!json_is_string(chat)) return WC_OK;
    return wc_gguf_put_string(t->ctx, t->w, "tokenizer.chat_template", json_string_value(chat),
                              json_string_length(chat));
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static wc_status put_all(tokenizer *t, const json_t *config, const json_t *extra, const char *pre)
{
    json_t *list = json_array();
    wc_status status = list ? WC_OK : wc_fail(t->ctx, WC_NOMEM, "no memory for tokens");
    WC_TRY_OUT(status);
    WC_TRY_OUT(WC_ALLOC(t->ctx, t->token, t->n, "tokens"));
    WC_TRY_OUT(WC_ALLOC(t->ctx, t->type, t->n, "tokens"));
    WC_TRY_OUT(WC_ALLOC(t->ctx, t->rank, t->n, "tokens"));
    WC_TRY_OUT(put_model(t, pre));
    WC_TRY_OUT(list_tokens(t, list));
    WC_TRY_OUT(put_tokens(t));
    if (t->spm) {
        WC_TRY_OUT(put_scores(t));
        compare_merges(t);
    }
    WC_TRY_OUT(put_merges(t)); /* with scores nobody but our own reader looks at them */
    status = put_special(t, config, extra);
out:
    json_decref(list);
    free(t->token), free(t->type), free(t->rank);
    return status;
}

wc_status wci_gguf_tokenizer(wc_ctx *ctx, const wc_input *in, const json_t *config, const char *pre, wc_gguf_writer *w)
{
    tokenizer t = {.ctx = ctx, .in = in, .w = w, .n = in->config.vocab};
    wc_buf text = {0}, more = {0};
    json_t *extra = NULL;
    bool found, has_extra;
    wc_status status = WC_OK;
    WC_TRY_OUT(wc_input_text(ctx, in, "tokenizer.json", &text, &found));
    if (!found || !in->tokenizer)
        WC_TRY_OUT(wc_fail(ctx, WC_UNSUPPORTED, "%s: a GGUF file needs the tokenizer inside", in->no_tokenizer));
    WC_TRY_OUT(wc_input_text(ctx, in, "tokenizer_config.json", &more, &has_extra));
    if (has_extra) WC_TRY_OUT(wc_json_parse(ctx, (const char *)more.data, more.size, "tokenizer_config.json", &extra));
    t.root = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    t.model = json_object_get(t.root, "model");
    t.vocab = json_object_get(t.model, "vocab");
    t.added = json_object_get(t.root, "added_tokens");
    t.merges = json_object_get(t.model, "merges");
    if (!json_is_object(t.vocab) || !json_is_array(t.merges))
        WC_TRY_OUT(
            wc_fail(ctx, WC_UNSUPPORTED, "%s: a tokenizer with a NUL or without merges has no form in GGUF", in->path));
    status = put_all(&t, config, extra, pre);
out:
    json_decref(t.root);
    json_decref(extra);
    wc_buf_free(&text);
    wc_buf_free(&more);
    return status;
}
