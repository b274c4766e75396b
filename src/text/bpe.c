/* bpe.c - byte pair encoding: the vocabulary, the merges and the merge loop. */
#include "text/text_internal.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct wci_bpe {
    wci_pairs merge;       /* (left id, right id) -> (rank, id of both) */
    wc_buf prefix, suffix; /* continuing_subword_prefix, end_of_word_suffix */
    wc_buf unk_token;
    bool byte_fallback, fuse_unk, ignore_merges;
    bool has_unk, unk_known; /* a file may name an unk_token that it lacks, as long as it never needs it */
    uint32_t unk;
    bool byte_known[256]; /* <0xHH> is in the vocabulary */
    uint32_t byte_id[256];
};

/* ---- loading ---- */

static wc_status load_vocabulary(wc_ctx *ctx, wci_where w, const json_t *object, wci_vocab *vocab)
{
    wc_buf text = {0};
    wc_status status = WC_OK;
    json_t *o = (json_t *)(uintptr_t)object; /* Jansson's iterators are not const-correct */
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
        wci_token *t;
        uint32_t id;
        text.size = 0;
        WC_TRY_OUT(wci_json_id(ctx, w, json_object_iter_value(it), &id));
        WC_TRY_OUT(wci_json_text(ctx, json_object_iter_key(it), json_object_iter_key_len(it), &text));
        WC_TRY_OUT(wci_vocab_add(ctx, vocab, wci_slice(&text), &t));
        t->in_model = true;
        wci_vocab_set_id(vocab, t, id);
    }
out:
    wc_buf_free(&text);
    return status;
}

static bool model_id(const wci_vocab *vocab, wci_str s, uint32_t *id)
{
    const wci_token *t = wci_vocab_find(vocab, s);
    if (!t || !t->in_model) return false;
    *id = t->id;
    return true;
}

/* One merge into a and b: "a b", or ["a", "b"]. *skip for the version line that old files have first. */
static wc_status read_merge(wc_ctx *ctx, wci_where w, const json_t *value, wc_buf *a, wc_buf *b, bool *skip)
{
    const json_t *left = json_array_get(value, 0), *right = json_array_get(value, 1);
    a->size = b->size = 0;
    *skip = false;
    if (json_array_size(value) == 2 && json_is_string(left) && json_is_string(right)) {
        WC_TRY(wci_json_text(ctx, json_string_value(left), json_string_length(left), a));
        return wci_json_text(ctx, json_string_value(right), json_string_length(right), b);
    }
    const char *s = json_string_value(value);
    size_t n = json_string_length(value);
    const char *space = s ? memchr(s, ' ', n) : NULL;
    *skip = s && !strncmp(s, "#version", 8);
    if (*skip) return WC_OK;
    if (!space || memchr(space + 1, ' ', n - (size_t)(space + 1 - s)))
        return wc_fail(ctx, WC_BADFILE, "%s: %s: a merge must be two tokens", w.label, w.part);
    WC_TRY(wci_json_text(ctx, s, (size_t)(space - s), a));
    return wci_json_text(ctx, space + 1, n - (size_t)(space + 1 - s), b);
}

static wc_status load_merges(wc_ctx *ctx, wci_where w, const json_t *list, const wci_vocab *vocab, wci_bpe *bpe)
{
    wc_buf a = {0}, b = {0};
    wc_status status = WC_OK;
    uint32_t rank = 0, left = 0, right = 0, both = 0;
    WC_TRY(wci_pairs_init(ctx, &bpe->merge, json_array_size(list)));
    for (size_t i = 0; i < json_array_size(list); i++) {
        bool skip;
        WC_TRY_OUT(read_merge(ctx, w, json_array_get(list, i), &a, &b, &skip));
        if (skip) continue;
        bool known = model_id(vocab, wci_slice(&a), &left) && model_id(vocab, wci_slice(&b), &right);
        size_t cut = bpe->prefix.size; /* the right part's own prefix is not in the middle of the result */
        if (known && b.size >= cut) {
            WC_TRY_OUT(wc_buf_append(ctx, &a, b.data + cut, b.size - cut));
            known = model_id(vocab, wci_slice(&a), &both);
        }
        if (!known || b.size < cut)
            WC_TRY_OUT(wc_fail(ctx, WC_BADFILE,
                               "%s: %s: merge %zu has a part or a result that is not in the vocabulary", w.label,
                               w.part, i));
        wci_pairs_put(&bpe->merge, wci_key(left, right), rank++, both);
    }
out:
    wc_buf_free(&a);
    wc_buf_free(&b);
    return status;
}

static wc_status optional_string(wc_ctx *ctx, wci_where w, const json_t *object, const char *key, wc_buf *out)
{
    const json_t *v = json_object_get(object, key);
    return !v || json_is_null(v) ? WC_OK : wci_json_string(ctx, w, object, key, out);
}

static wc_status load_options(wc_ctx *ctx, wci_where w, const json_t *model, wci_bpe *b)
{
    WC_TRY(wci_json_bool(ctx, w, model, "byte_fallback", false, &b->byte_fallback));
    WC_TRY(wci_json_bool(ctx, w, model, "fuse_unk", false, &b->fuse_unk));
    WC_TRY(wci_json_bool(ctx, w, model, "ignore_merges", false, &b->ignore_merges));
    WC_TRY(optional_string(ctx, w, model, "continuing_subword_prefix", &b->prefix));
    WC_TRY(optional_string(ctx, w, model, "end_of_word_suffix", &b->suffix));
    WC_TRY(optional_string(ctx, w, model, "unk_token", &b->unk_token));
    b->has_unk = json_is_string(json_object_get(model, "unk_token"));
    return WC_OK;
}

wc_status wci_bpe_load(wc_ctx *ctx, const char *label, const json_t *model, wci_vocab *vocab, wci_bpe **out)
{
    wci_where w = {label, "model"};
    const json_t *vocabulary = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    wci_bpe *b = NULL;
    wc_status status = WC_OK;
    if (!json_is_object(vocabulary)) return wc_fail(ctx, WC_BADFILE, "%s: model: `vocab' must be an object", label);
    if (!json_is_array(merges)) return wc_fail(ctx, WC_BADFILE, "%s: model: `merges' must be an array", label);
    WC_TRY(WC_ALLOC(ctx, b, 1, "the BPE model"));
    WC_TRY_OUT(load_options(ctx, w, model, b));
    WC_TRY_OUT(load_vocabulary(ctx, w, vocabulary, vocab));
    WC_TRY_OUT(load_merges(ctx, w, merges, vocab, b));
    b->unk_known = b->has_unk && model_id(vocab, wci_slice(&b->unk_token), &b->unk);
    for (unsigned i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", i);
        b->byte_known[i] = model_id(vocab, (wci_str){name, 6}, &b->byte_id[i]);
    }
    *out = b;
    b = NULL;
out:
    wci_bpe_free(&b);
    return status;
}

void wci_bpe_free(wci_bpe **b)
{
    if (!b || !*b) return;
    free((*b)->merge.slot);
    wc_buf_free(&(*b)->prefix);
    wc_buf_free(&(*b)->suffix);
    wc_buf_free(&(*b)->unk_token);
    free(*b);
    *b = NULL;
}

bool wci_bpe_byte_fallback(const wci_bpe *b)
{
    return b->byte_fallback;
}

/* ---- working memory ---- */

#define NONE UINT32_MAX

typedef struct symbol {
    uint32_t id;         /* NONE: merged into its left neighbour */
    uint32_t prev, next; /* NONE at the ends */
} symbol;

/* A pair that could be merged. Smaller order first: rank, then position. */
typedef struct candidate {
    uint64_t order; /* rank << 32 | index of the left symbol */
    uint32_t both;
} candidate;

/* Words repeat: most pieces of a text are looked up instead of merged. Emptied when it is three quarters full. */
enum { CACHE_SLOTS = 1 << 14, CACHE_FULL = CACHE_SLOTS / 4 * 3, CACHE_LONGEST = 64 };
typedef struct cached {
    uint64_t hash;
    uint32_t key, key_n; /* bytes in keys; key_n 0: free */
    uint32_t ids, ids_n;
} cached;

struct wci_bpe_scratch {
    symbol *symbol;
    size_t n, capacity;
    candidate *heap;
    size_t heap_n, heap_capacity;
    wc_buf text; /* a character with prefix and suffix */
    cached *cache;
    size_t cache_n;
    wc_buf cache_keys;
    wc_ids cache_ids;
};

wc_status wci_bpe_scratch_new(wc_ctx *ctx, wci_bpe_scratch **out)
{
    wci_bpe_scratch *s = NULL;
    WC_TRY(WC_ALLOC(ctx, s, 1, "the merge loop"));
    wc_status status = WC_ALLOC(ctx, s->cache, CACHE_SLOTS, "the cache of pieces");
    if (status != WC_OK) wci_bpe_scratch_free(&s);
    *out = s;
    return status;
}

void wci_bpe_scratch_free(wci_bpe_scratch **s)
{
    if (!s || !*s) return;
    free((*s)->symbol);
    free((*s)->heap);
    wc_buf_free(&(*s)->text);
    free((*s)->cache);
    wc_buf_free(&(*s)->cache_keys);
    wc_ids_free(&(*s)->cache_ids);
    free(*s);
    *s = NULL;
}

static wc_status grow(wc_ctx *ctx, void **array, size_t *capacity, size_t size)
{
    size_t more = *capacity ? *capacity * 2 : 256;
    void *p = reallocarray(*array, more, size);
    if (!p) return wc_fail(ctx, WC_NOMEM, "no memory for a merge loop of %zu symbols", more);
    *array = p;
    *capacity = more;
    return WC_OK;
}

static wc_status add_symbol(wc_ctx *ctx, wci_bpe_scratch *s, uint32_t id)
{
    if (s->n == s->capacity) WC_TRY(grow(ctx, (void **)&s->symbol, &s->capacity, sizeof *s->symbol));
    uint32_t i = (uint32_t)s->n++;
    s->symbol[i] = (symbol){id, i ? i - 1 : NONE, NONE};
    if (i) s->symbol[i - 1].next = i;
    return WC_OK;
}

/* ---- characters to symbols ---- */

/* An unknown character waits (*waiting) until a known one comes, so that others can fuse with it; fallback bytes
 * overtake it. That is how the reference has it. */
static wc_status flush_unknown(wc_ctx *ctx, const wci_bpe *b, wci_bpe_scratch *s, bool *waiting)
{
    bool wait = *waiting;
    *waiting = false;
    return wait ? add_symbol(ctx, s, b->unk) : WC_OK;
}

static wc_status add_unknown(wc_ctx *ctx, const wci_bpe *b, wci_bpe_scratch *s, wci_str text, bool *waiting)
{
    bool bytes = b->byte_fallback;
    for (size_t i = 0; bytes && i < text.n; i++)
        bytes = b->byte_known[(unsigned char)text.p[i]];
    if (bytes) {
        for (size_t i = 0; i < text.n; i++)
            WC_TRY(add_symbol(ctx, s, b->byte_id[(unsigned char)text.p[i]]));
        return WC_OK;
    }
    if (!b->has_unk) return WC_OK; /* dropped */
    if (!b->unk_known)
        return wc_fail(ctx, WC_BADFILE, "tokenizer: a character is unknown and unk_token is not in the vocabulary");
    if (!b->fuse_unk) WC_TRY(flush_unknown(ctx, b, s, waiting));
    *waiting = true;
    return WC_OK;
}

static wc_status split_to_symbols(wc_ctx *ctx, const wci_bpe *b, const wci_vocab *vocab, wci_bpe_scratch *s,
                                  wci_str piece)
{
    bool waiting = false;
    uint32_t id;
    s->n = 0;
    for (size_t i = 0, next; i < piece.n; i = next) {
        next = i + wci_utf8_length((unsigned char)piece.p[i]);
        wci_str text = {piece.p + i, next - i};
        bool with_prefix = i && b->prefix.size, with_suffix = next == piece.n && b->suffix.size;
        if (with_prefix || with_suffix) {
            s->text.size = 0;
            if (with_prefix) WC_TRY(wc_buf_append(ctx, &s->text, b->prefix.data, b->prefix.size));
            WC_TRY(wc_buf_append(ctx, &s->text, text.p, text.n));
            if (with_suffix) WC_TRY(wc_buf_append(ctx, &s->text, b->suffix.data, b->suffix.size));
            text = wci_slice(&s->text);
        }
        if (model_id(vocab, text, &id)) {
            WC_TRY(flush_unknown(ctx, b, s, &waiting));
            WC_TRY(add_symbol(ctx, s, id));
        } else {
            WC_TRY(add_unknown(ctx, b, s, text, &waiting));
        }
    }
    return flush_unknown(ctx, b, s, &waiting);
}

/* ---- merging ----
 *
 * BPE merges, again and again, the adjacent pair of lowest rank, the leftmost of equals. Looking for it each time costs
 * O(n) per merge, O(n^2) for a text without boundaries. Instead every mergeable pair is kept in a binary heap ordered
 * by (rank, position), and symbols form a doubly linked list, so that a merge is a pop, a relink and at most two
 * pushes: O(n log n). Pairs that a merge destroys stay in the heap; one is recognised when popped, since the two
 * symbols at its position then no longer merge into the token it was pushed for. */

static void sift_up(candidate *heap, size_t i)
{
    candidate c = heap[i];
    for (size_t parent; i && heap[parent = (i - 1) / 2].order > c.order; i = parent)
        heap[i] = heap[parent];
    heap[i] = c;
}

static void sift_down(candidate *heap, size_t n, size_t i)
{
    candidate c = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1].order < heap[child].order) child++;
        if (heap[child].order >= c.order) break;
        heap[i] = heap[child];
    }
    heap[i] = c;
}

/* Appends the pair that starts at symbol i, if there is one, at the end of the heap array. */
static wc_status add_candidate(wc_ctx *ctx, const wci_bpe *b, wci_bpe_scratch *s, uint32_t i, bool *added)
{
    uint32_t next = s->symbol[i].next;
    const struct wci_pair *m =
        next == NONE ? NULL : wci_pairs_get(&b->merge, wci_key(s->symbol[i].id, s->symbol[next].id));
    *added = m != NULL;
    if (!m) return WC_OK;
    if (s->heap_n == s->heap_capacity) WC_TRY(grow(ctx, (void **)&s->heap, &s->heap_capacity, sizeof *s->heap));
    s->heap[s->heap_n++] = (candidate){wci_key(m->v0, i), m->v1};
    return WC_OK;
}

static wc_status push_candidate(wc_ctx *ctx, const wci_bpe *b, wci_bpe_scratch *s, uint32_t i)
{
    bool added;
    WC_TRY(add_candidate(ctx, b, s, i, &added));
    if (added) sift_up(s->heap, s->heap_n - 1);
    return WC_OK;
}

static wc_status merge_symbols(wc_ctx *ctx, const wci_bpe *b, wci_bpe_scratch *s)
{
    bool added;
    s->heap_n = 0;
    for (size_t i = 0; i < s->n; i++)
        WC_TRY(add_candidate(ctx, b, s, (uint32_t)i, &added));
    for (size_t i = s->heap_n / 2; i-- > 0;)
        sift_down(s->heap, s->heap_n, i);
    while (s->heap_n) {
        candidate top = s->heap[0];
        s->heap[0] = s->heap[--s->heap_n];
        if (s->heap_n) sift_down(s->heap, s->heap_n, 0);
        uint32_t i = (uint32_t)top.order;
        symbol *left = &s->symbol[i];
        if (left->id == NONE || left->next == NONE) continue;
        symbol *right = &s->symbol[left->next];
        const struct wci_pair *m = wci_pairs_get(&b->merge, wci_key(left->id, right->id));
        if (!m || m->v1 != top.both) continue;
        left->id = top.both;
        left->next = right->next;
        right->id = NONE;
        if (left->next != NONE) s->symbol[left->next].prev = i;
        if (left->prev != NONE) WC_TRY(push_candidate(ctx, b, s, left->prev));
        WC_TRY(push_candidate(ctx, b, s, i));
    }
    return WC_OK;
}

static wc_status encode(wc_ctx *ctx, const wci_bpe *b, const wci_vocab *vocab, wci_bpe_scratch *s, wci_str piece,
                        wc_ids *out)
{
    uint32_t id;
    if (b->ignore_merges && model_id(vocab, piece, &id)) return wc_ids_append(ctx, out, &id, 1);
    WC_TRY(split_to_symbols(ctx, b, vocab, s, piece));
    WC_TRY(merge_symbols(ctx, b, s));
    for (uint32_t i = s->n ? 0 : NONE; i != NONE; i = s->symbol[i].next)
        WC_TRY(wc_ids_append(ctx, out, &s->symbol[i].id, 1));
    return WC_OK;
}

/* ---- the cache ---- */

static cached *cache_slot(wci_bpe_scratch *s, uint64_t hash, wci_str piece)
{
    for (size_t i = (size_t)hash & (CACHE_SLOTS - 1);; i = (i + 1) & (CACHE_SLOTS - 1)) {
        cached *c = &s->cache[i];
        if (!c->key_n) return c;
        if (c->hash == hash && c->key_n == piece.n && !memcmp(s->cache_keys.data + c->key, piece.p, piece.n)) return c;
    }
}

wc_status wci_bpe_encode(wc_ctx *ctx, const wci_bpe *b, const wci_vocab *vocab, wci_bpe_scratch *s, wci_str piece,
                         wc_ids *out)
{
    if (piece.n > WCI_MAX_TEXT)
        return wc_fail(ctx, WC_UNSUPPORTED, "tokenizer: a piece of %zu bytes; the limit is %d", piece.n, WCI_MAX_TEXT);
    if (piece.n < 2 || piece.n > CACHE_LONGEST) return encode(ctx, b, vocab, s, piece, out);
    uint64_t hash = XXH3_64bits(piece.p, piece.n);
    cached *c = cache_slot(s, hash, piece);
    if (c->key_n) return wc_ids_append(ctx, out, s->cache_ids.id + c->ids, c->ids_n);
    size_t start = out->n;
    WC_TRY(encode(ctx, b, vocab, s, piece, out));
    if (s->cache_n == CACHE_FULL) {
        memset(s->cache, 0, CACHE_SLOTS * sizeof *s->cache);
        s->cache_n = s->cache_keys.size = s->cache_ids.n = 0;
        c = cache_slot(s, hash, piece);
    }
    cached fresh = {hash, (uint32_t)s->cache_keys.size, (uint32_t)piece.n, (uint32_t)s->cache_ids.n,
                    (uint32_t)(out->n - start)};
    WC_TRY(wc_buf_append(ctx, &s->cache_keys, piece.p, piece.n));
    WC_TRY(wc_ids_append(ctx, &s->cache_ids, out->id + start, out->n - start));
    *c = fresh;
    s->cache_n++;
    return WC_OK;
}
