/* gguf_tokenizer.c - tokenizer.json from the keys of a GGUF file. */
#include <stdlib.h>
#include <string.h>

#include "io/gguf_model.h"
#include "io/json.h"

const wc_gguf_pre wc_gguf_pres[] = {
    {"gpt-2", NULL, false, true, false},
    {"llama-bpe",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
     "\\s+(?!\\S)|\\s+",
     false, false, true},
    {"qwen2",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
     "\\s+(?!\\S)|\\s+",
     false, false, false},
    {"smollm", NULL, true, true, false},
    {NULL, NULL, false, false, false},
};

/* Values of tokenizer.ggml.token_type. */
enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

typedef struct piece {
    const char *p;
    size_t n;
} piece;

typedef struct vocab {
    piece *token; /* [n] */
    size_t n;
    const uint8_t *type;  /* i32 [n] little-endian, or NULL */
    const uint8_t *score; /* f32 [n], or NULL */
    uint32_t *sorted;     /* [n] ids by spelling */
} vocab;

static wc_status no_memory(wc_ctx *ctx)
{
    return wc_fail(ctx, WC_NOMEM, "no memory for a tokenizer");
}

static int compare(piece a, piece b)
{
    int c = memcmp(a.p, b.p, wc_min(a.n, b.n));
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int by_spelling(const void *a, const void *b, void *self)
{
    const vocab *v = self;
    return compare(v->token[*(const uint32_t *)a], v->token[*(const uint32_t *)b]);
}

/* The id of a spelling; v->n when there is none. */
static size_t find(const vocab *v, piece text)
{
    size_t lo = 0, hi = v->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = compare(text, v->token[v->sorted[mid]]);
        if (!c) return v->sorted[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return v->n;
}

static int type_of(const vocab *v, size_t i)
{
    return v->type ? v->type[4 * i] : NORMAL;
}

static float score_of(const vocab *v, size_t i)
{
    float x = 0;
    if (v->score) memcpy(&x, v->score + 4 * i, 4);
    return x;
}

static wc_status load(wc_ctx *ctx, const wc_gguf *g, vocab *v)
{
    const wc_gguf_key *tokens = wc_gguf_find(g, "tokenizer.ggml.tokens");
    const wc_gguf_key *types = wc_gguf_find(g, "tokenizer.ggml.token_type");
    const wc_gguf_key *scores = wc_gguf_find(g, "tokenizer.ggml.scores");
    if (!tokens || !tokens->array || tokens->type != WC_GGUF_STRING || tokens->count >= 1 << 24)
        return wc_fail(ctx, WC_BADFILE, "GGUF: tokenizer.ggml.tokens is no list of tokens");
    v->n = (size_t)tokens->count;
    if (types && (!types->array || types->type != WC_GGUF_I32 || types->count != v->n))
        return wc_fail(ctx, WC_BADFILE, "GGUF: tokenizer.ggml.token_type does not fit %zu tokens", v->n);
    if (scores && (!scores->array || scores->type != WC_GGUF_F32 || scores->count != v->n))
        return wc_fail(ctx, WC_BADFILE, "GGUF: tokenizer.ggml.scores does not fit %zu tokens", v->n);
    v->type = types ? types->data : NULL;
    v->score = scores ? scores->data : NULL;
    WC_TRY(WC_ALLOC(ctx, v->token, v->n, "tokens"));
    WC_TRY(WC_ALLOC(ctx, v->sorted, v->n, "tokens"));
    const uint8_t *at = tokens->data;
    for (size_t i = 0; i < v->n; i++) {
        wc_gguf_next(&at, &v->token[i].p, &v->token[i].n);
        v->sorted[i] = (uint32_t)i;
    }
    qsort_r(v->sorted, v->n, sizeof *v->sorted, by_spelling, v);
    for (size_t i = 1; i < v->n; i++)
        if (!compare(v->token[v->sorted[i - 1]], v->token[v->sorted[i]]))
            return wc_fail(ctx, WC_BADFILE, "GGUF: tokens %u and %u are the same", v->sorted[i - 1], v->sorted[i]);
    return WC_OK;
}

static json_t *text(piece t)
{
    return json_stringn(t.p, t.n);
}

/* {token: id} of all but holes, and the tokens that are cut out of the text before anything else. */
static wc_status list_tokens(wc_ctx *ctx, const vocab *v, json_t *all, json_t *added)
{
    for (size_t i = 0; i < v->n; i++) {
        int type = type_of(v, i);
        json_t *content = type == UNUSED ? NULL : text(v->token[i]);
        if (type == UNUSED) continue;
        if (!content || memchr(v->token[i].p, 0, v->token[i].n)) {
            json_decref(content);
            return wc_fail(ctx, WC_BADFILE, "GGUF: token %zu is not UTF-8 text", i);
        }
        json_object_set_new(all, json_string_value(content), json_integer((json_int_t)i));
        bool special = type == CONTROL || type == UNKNOWN;
        if (special || type == USER_DEFINED)
            json_array_append_new(added, json_pack("{s:i, s:O, s:b, s:b, s:b, s:b, s:b}", "id", (int)i, "content",
                                                   content, "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0,
                                                   "special", special));
        json_decref(content);
    }
    return WC_OK;
}

/* ---- byte-level BPE ---------------------------------------------------------------------------------------------- */

static wc_status stored_merges(wc_ctx *ctx, const wc_gguf *g, json_t *out)
{
    const wc_gguf_key *k = wc_gguf_find(g, "tokenizer.ggml.merges");
    if (!k || !k->array || k->type != WC_GGUF_STRING)
        return wc_fail(ctx, WC_BADFILE, "GGUF: tokenizer.ggml.merges is no list of merges");
    const uint8_t *at = k->data;
    for (uint64_t i = 0; i < k->count; i++) {
        piece m;
        wc_gguf_next(&at, &m.p, &m.n);
        const char *space = m.n > 1 ? memchr(m.p + 1, ' ', m.n - 1) : NULL;
        json_t *left = space ? json_stringn(m.p, (size_t)(space - m.p)) : NULL;
        json_t *right = space ? json_stringn(space + 1, m.n - 1 - (size_t)(space - m.p)) : NULL;
        if (!left || !right) {
            json_decref(left), json_decref(right);
            return wc_fail(ctx, WC_BADFILE, "GGUF: merge %llu is no pair of UTF-8 pieces", (unsigned long long)i);
        }
        json_array_append_new(out, json_pack("[o, o]", left, right));
    }
    return WC_OK;
}

static const wc_gguf_pre *find_pre(wc_ctx *ctx, const wc_gguf *g)
{
    for (const wc_gguf_pre *pre = wc_gguf_pres; pre->name; pre++)
        if (wc_gguf_says(g, "tokenizer.ggml.pre", pre->name)) return pre;
    if (!wc_gguf_find(g, "tokenizer.ggml.pre")) {
        wc_log(ctx, WC_LOG_WARN, "GGUF: no tokenizer.ggml.pre; text is cut as for gpt-2");
        return wc_gguf_pres;
    }
    return NULL;
}

static json_t *pre_tokenizer(const wc_gguf_pre *pre)
{
    json_t *steps = json_array();
    if (pre->digits) json_array_append_new(steps, json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1));
    if (pre->pattern)
        json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                                               pre->pattern, "behavior", "Isolated", "invert", 0));
    json_array_append_new(steps, json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                                           "trim_offsets", 1, "use_regex", pre->gpt2));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
}

/* ---- SentencePiece BPE: merges follow from scores ---------------------------------------------------------------- */

typedef struct merge {
    uint32_t left, right;
    float score;
    uint32_t order;
} merge;

/* The order in which converters list them: higher scores first, then the longer left half. */
static int better(const void *a, const void *b)
{
    const merge *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static wc_status scored_merges(wc_ctx *ctx, const vocab *v, json_t *out)
{
    wc_buf list = {0};
    wc_status status = WC_OK;
    for (size_t i = 0; i < v->n; i++) {
        if (type_of(v, i) != NORMAL && type_of(v, i) != USER_DEFINED) continue;
        piece t = v->token[i];
        for (size_t cut = t.n; cut-- > 1;) {
            if (((unsigned char)t.p[cut] & 0xc0) == 0x80) continue; /* inside a character */
            size_t left = find(v, (piece){t.p, cut}), right = find(v, (piece){t.p + cut, t.n - cut});
            if (left == v->n || right == v->n) continue;
            merge m = {(uint32_t)left, (uint32_t)right, score_of(v, i), (uint32_t)(list.size / sizeof m)};
            WC_TRY_OUT(wc_buf_append(ctx, &list, &m, sizeof m));
        }
    }
    merge *m = (merge *)(void *)list.data;
    size_t n = list.size / sizeof *m;
    if (n) qsort(m, n, sizeof *m, better);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(out, json_pack("[o, o]", text(v->token[m[i].left]), text(v->token[m[i].right])));
out:
    wc_buf_free(&list);
    return status;
}

static json_t *space_normalizer(bool prefix)
{
    json_t *steps = json_array();
    if (prefix) json_array_append_new(steps, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", "\xe2\x96\x81"));
    json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ",
                                           "content", "\xe2\x96\x81"));
    return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", steps);
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static void add_special(json_t *single, json_t *specials, const vocab *v, uint64_t id)
{
    if (id >= v->n) return;
    json_t *token = text(v->token[id]);
    json_array_append_new(single, json_pack("{s:{s:O, s:i}}", "SpecialToken", "id", token, "type_id", 0));
    json_object_set_new(specials, json_string_value(token),
                        json_pack("{s:O, s:[I], s:[O]}", "id", token, "ids", (json_int_t)id, "tokens", token));
    json_decref(token);
}

/* Ids outside the vocabulary: nothing there. */
static json_t *frame_of(const vocab *v, uint64_t before, uint64_t after)
{
    json_t *single = json_array(), *specials = json_object();
    add_special(single, specials, v, before);
    json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
    add_special(single, specials, v, after);
    return json_pack("{s:s, s:o, s:[], s:o}", "type", "TemplateProcessing", "single", single, "pair", "special_tokens",
                     specials);
}

static wc_status build(wc_ctx *ctx, const wc_gguf *g, const vocab *v, bool spm, const wc_gguf_pre *pre, json_t **out)
{
    json_t *all = json_object(), *added = json_array(), *merges = json_array();
    uint64_t bos = UINT64_MAX, eos = UINT64_MAX, unknown;
    bool add_bos, add_eos, prefix;
    wc_status status = all && added && merges ? WC_OK : no_memory(ctx);
    WC_TRY_OUT(status);
    WC_TRY_OUT(list_tokens(ctx, v, all, added));
    bool listed = !spm || wc_gguf_find(g, "tokenizer.ggml.merges");
    WC_TRY_OUT(listed ? stored_merges(ctx, g, merges) : scored_merges(ctx, v, merges));
    WC_TRY_OUT(wc_gguf_flag(ctx, g, "tokenizer.ggml.add_bos_token", spm || pre->ignore_merges, &add_bos));
    WC_TRY_OUT(wc_gguf_flag(ctx, g, "tokenizer.ggml.add_eos_token", false, &add_eos));
    WC_TRY_OUT(wc_gguf_u64(ctx, g, "tokenizer.ggml.eos_token_id", spm ? 2 : 11, 0, UINT32_MAX, &eos));
    WC_TRY_OUT(wc_gguf_flag(ctx, g, "tokenizer.ggml.add_space_prefix", spm, &prefix));
    WC_TRY_OUT(wc_gguf_u64(ctx, g, "tokenizer.ggml.bos_token_id", spm ? 1 : 11, 0, UINT32_MAX, &bos));
    WC_TRY_OUT(wc_gguf_u64(ctx, g, "tokenizer.ggml.unknown_token_id", spm ? 0 : v->n, 0, UINT32_MAX, &unknown));
    json_t *model = json_pack("{s:s, s:n, s:o, s:b, s:b, s:b, s:O, s:O}", "type", "BPE", "dropout", "unk_token",
                              unknown < v->n ? text(v->token[unknown]) : json_null(), "fuse_unk", spm, "byte_fallback",
                              spm, "ignore_merges", !spm && pre->ignore_merges, "vocab", all, "merges", merges);
    *out = json_pack("{s:s, s:O, s:o, s:o, s:o, s:o}", "version", "1.0", "added_tokens", added, "normalizer",
                     spm ? space_normalizer(prefix) : json_null(), "pre_tokenizer",
                     spm ? json_null() : pre_tokenizer(pre), "post_processor",
                     frame_of(v, add_bos ? bos : UINT64_MAX, add_eos ? eos : UINT64_MAX), "model", model);
    if (!*out) status = wc_fail(ctx, WC_BADFILE, "GGUF: the tokens make no tokenizer");
out:
    json_decref(all), json_decref(added), json_decref(merges);
    return status;
}

wc_status wc_gguf_tokenizer(wc_ctx *ctx, const wc_gguf *g, wc_buf *out)
{
    bool spm = wc_gguf_says(g, "tokenizer.ggml.model", "llama"),
         bytes = wc_gguf_says(g, "tokenizer.ggml.model", "gpt2");
    const wc_gguf_pre *pre = bytes ? find_pre(ctx, g) : NULL;
    vocab v = {0};
    json_t *root = NULL;
    char *dump = NULL;
    if (!spm && !pre) {
        wc_log(ctx, WC_LOG_WARN, "GGUF: its tokenizer is of a kind that is not known here; give token ids");
        return WC_OK;
    }
    wc_status status = load(ctx, g, &v);
    if (status == WC_OK) status = build(ctx, g, &v, spm, pre, &root);
    if (status == WC_OK) dump = json_dumps(root, JSON_COMPACT);
    if (status == WC_OK) status = dump ? wc_buf_append(ctx, out, dump, strlen(dump)) : no_memory(ctx);
    free(dump);
    json_decref(root);
    free(v.token), free(v.sorted);
    return status;
}
