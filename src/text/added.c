/* added.c - added tokens: strings that are tokens wherever they stand in a text, before the model sees it.
 *
 * Two tries of bytes, one for the raw text and one for the normalized text, in one table of edges (node, byte) -> node.
 * A match is the leftmost, and at its place the longest. Matches do not overlap, and the next search starts where the
 * bare match ends, also when the match is then discarded (single_word, plain_special) or widened over spaces (rstrip).
 */
#include "text/text_internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct added_token {
    uint32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    size_t at, n; /* what its trie has: bytes of wci_added.patterns */
} added_token;

struct wci_added {
    added_token *token; /* [n] */
    size_t n;
    wc_buf patterns;
    wci_pairs edge;  /* (node, byte) -> node; nodes 0 and 1 are the roots, as in wci_trie */
    uint32_t *leaf;  /* [nodes] index of the token that ends here + 1, or 0 */
    bool any[2];     /* the trie is not empty */
    wci_regex *word; /* one word character */
};

static wc_status load_token(wc_ctx *ctx, wci_where w, const json_t *object, wci_vocab *vocab, wc_buf *text,
                            added_token *t)
{
    uint32_t file_id;
    wci_token *entry;
    WC_TRY(wci_json_string(ctx, w, object, "content", text));
    WC_TRY(wci_json_id(ctx, w, json_object_get(object, "id"), &file_id));
    WC_TRY(wci_json_bool(ctx, w, object, "single_word", false, &t->single_word));
    WC_TRY(wci_json_bool(ctx, w, object, "lstrip", false, &t->lstrip));
    WC_TRY(wci_json_bool(ctx, w, object, "rstrip", false, &t->rstrip));
    WC_TRY(wci_json_bool(ctx, w, object, "special", false, &t->special));
    WC_TRY(wci_json_bool(ctx, w, object, "normalized", !t->special, &t->normalized));
    if (!text->size) return WC_OK; /* ignored by everybody */
    WC_TRY(wci_vocab_add(ctx, vocab, wci_slice(text), &entry));
    if (entry->in_model && entry->id != file_id) /* the reference goes by the model's vocabulary, and so do we */
        wc_log(ctx, WC_LOG_WARN, "%s: added token %u is %u in the vocabulary, which counts", w.label, file_id,
               entry->id);
    else
        wci_vocab_set_id(vocab, entry, file_id);
    entry->added = true;
    entry->special |= t->special;
    t->id = entry->id;
    return WC_OK;
}

static wc_status normalized_pattern(wc_ctx *ctx, const wci_normalizer *nz, wci_matcher *m, wc_buf text[3])
{
    wci_str form = wci_slice(&text[0]);
    WC_TRY(wci_normalize(ctx, nz, m, text + 1, 32 * form.n + (1 << 20), &form));
    wc_buf copy = {0};
    wc_status status = wc_buf_append(ctx, &copy, form.p, form.n);
    wc_buf_free(&text[0]);
    text[0] = copy;
    return status;
}

static wc_status load_tokens(wc_ctx *ctx, wci_where w, const json_t *list, const wci_normalizer *nz, wci_vocab *vocab,
                             wci_added *a)
{
    wc_status status = WC_OK;
    wc_buf text[3] = {{0}, {0}, {0}};
    wci_matcher *m = NULL;
    WC_TRY_OUT(wci_matcher_new(ctx, &m));
    WC_TRY_OUT(WC_ALLOC(ctx, a->token, json_array_size(list), "added tokens"));
    for (size_t i = 0; i < json_array_size(list); i++) {
        added_token *t = &a->token[a->n];
        text[0].size = 0;
        WC_TRY_OUT(load_token(ctx, w, json_array_get(list, i), vocab, &text[0], t));
        if (!text[0].size) continue;
        if (t->normalized) WC_TRY_OUT(normalized_pattern(ctx, nz, m, text));
        t->at = a->patterns.size;
        t->n = text[0].size;
        WC_TRY_OUT(wc_buf_append(ctx, &a->patterns, text[0].data, text[0].size));
        a->n++;
    }
out:
    wci_matcher_free(&m);
    for (size_t i = 0; i < 3; i++)
        wc_buf_free(&text[i]);
    return status;
}

static wc_status build_tries(wc_ctx *ctx, wci_added *a)
{
    uint32_t nodes = 2;
    if (a->patterns.size > UINT32_MAX - 2) return wc_fail(ctx, WC_BADFILE, "added tokens have more than 4 GiB of text");
    WC_TRY(wci_pairs_init(ctx, &a->edge, a->patterns.size));
    WC_TRY(WC_ALLOC(ctx, a->leaf, a->patterns.size + 2, "the tries of added tokens"));
    for (size_t i = 0; i < a->n; i++) {
        const added_token *t = &a->token[i];
        uint32_t node = t->normalized ? WCI_TRIE_NORMALIZED : WCI_TRIE_RAW;
        if (!t->n) continue; /* nothing is left of it when normalized */
        a->any[node] = true;
        for (size_t k = 0; k < t->n; k++) {
            uint64_t key = wci_key(node, a->patterns.data[t->at + k]);
            const struct wci_pair *e = wci_pairs_get(&a->edge, key);
            if (!e) wci_pairs_put(&a->edge, key, nodes, 0);
            node = e ? e->v0 : nodes++;
        }
        a->leaf[node] = (uint32_t)i + 1;
    }
    return WC_OK;
}

wc_status wci_added_load(wc_ctx *ctx, const char *label, const json_t *value, const wci_normalizer *nz,
                         wci_vocab *vocab, wci_added **out)
{
    static const char word[] = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]";
    wci_where w = {label, "added_tokens"};
    wci_added *a = NULL;
    wc_status status = WC_OK;
    if (value && !json_is_null(value) && !json_is_array(value))
        return wc_fail(ctx, WC_BADFILE, "%s: `added_tokens' must be an array", label);
    WC_TRY(WC_ALLOC(ctx, a, 1, "added tokens"));
    WC_TRY_OUT(load_tokens(ctx, w, value, nz, vocab, a));
    WC_TRY_OUT(build_tries(ctx, a));
    WC_TRY_OUT(wci_regex_compile(ctx, w, (wci_str){word, sizeof word - 1}, WCI_ONIGURUMA, &a->word));
    *out = a;
    a = NULL;
out:
    wci_added_free(&a);
    return status;
}

void wci_added_free(wci_added **a)
{
    if (!a || !*a) return;
    free((*a)->token);
    wc_buf_free(&(*a)->patterns);
    free((*a)->edge.slot);
    free((*a)->leaf);
    wci_regex_free(&(*a)->word);
    free(*a);
    *a = NULL;
}

/* The longest token of the trie at `at'; NULL when there is none. */
static const added_token *match_at(const wci_added *a, wci_trie trie, wci_str text, size_t at)
{
    const added_token *best = NULL;
    uint32_t node = trie;
    for (size_t i = at; i < text.n; i++) {
        const struct wci_pair *e = wci_pairs_get(&a->edge, wci_key(node, (unsigned char)text.p[i]));
        if (!e) break;
        node = e->v0;
        if (a->leaf[node]) best = &a->token[a->leaf[node] - 1];
    }
    return best;
}

static size_t previous_char(wci_str text, size_t at)
{
    do {
        at--;
    } while (((unsigned char)text.p[at] & 0xc0) == 0x80);
    return at;
}

static wc_status is_word(wc_ctx *ctx, const wci_added *a, wci_matcher *m, wci_str text, size_t at, bool *out)
{
    wci_scan scan = {.re = a->word, .text = {text.p + at, wci_utf8_length((unsigned char)text.p[at])}};
    WC_TRY(wci_scan_next(ctx, m, &scan));
    *out = !scan.done;
    return WC_OK;
}

static wc_status touches_word(wc_ctx *ctx, const wci_added *a, wci_matcher *m, wci_str text, size_t start, size_t end,
                              bool *out)
{
    *out = false;
    if (start) WC_TRY(is_word(ctx, a, m, text, previous_char(text, start), out));
    if (!*out && end < text.n) WC_TRY(is_word(ctx, a, m, text, end, out));
    return WC_OK;
}

/* Widens the token over white space as lstrip and rstrip say. */
static void widen(const added_token *t, wci_added_scan *s)
{
    uint32_t cp;
    wci_stretch *k = &s->token;
    while (t->lstrip && k->start > s->emitted) {
        size_t before = previous_char(s->text, k->start);
        wci_utf8_decode(s->text.p + before, &cp);
        if (!wci_is_space(cp)) break;
        k->start = before;
    }
    if (!t->rstrip) return;
    if (k->end < s->space_end) k->end = s->space_end;
    while (k->end < s->text.n) {
        size_t length = wci_utf8_decode(s->text.p + k->end, &cp);
        if (!wci_is_space(cp)) break;
        k->end += length;
    }
    s->space_end = k->end;
}

/* Finds the next token that counts into s->token. */
static wc_status find_token(wc_ctx *ctx, const wci_added *a, wci_matcher *m, wci_added_scan *s)
{
    while (a->any[s->trie] && s->next < s->text.n) {
        size_t start = s->next;
        const added_token *t = match_at(a, s->trie, s->text, start);
        bool discard = false;
        if (!t) {
            s->next++;
            continue;
        }
        s->next = start + t->n;
        if (s->plain_special && t->special) continue;
        if (t->single_word) WC_TRY(touches_word(ctx, a, m, s->text, start, s->next, &discard));
        if (discard) continue;
        s->token = (wci_stretch){.start = start, .end = s->next, .id = t->id, .is_token = true};
        widen(t, s);
        s->have_token = true;
        break;
    }
    return WC_OK;
}

wc_status wci_added_next(wc_ctx *ctx, const wci_added *a, wci_matcher *m, wci_added_scan *s, wci_stretch *out,
                         bool *more)
{
    if (!s->have_token) WC_TRY(find_token(ctx, a, m, s));
    size_t gap_end = s->have_token ? s->token.start : s->text.n;
    *more = true;
    if (s->emitted < gap_end) {
        *out = (wci_stretch){.start = s->emitted, .end = gap_end};
        s->emitted = gap_end;
    } else if (s->have_token) {
        *out = s->token;
        s->emitted = s->token.end;
        s->have_token = false;
    } else {
        *more = false;
    }
    return WC_OK;
}
