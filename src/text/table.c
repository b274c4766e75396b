/* table.c - hash tables: pairs of ids, token spellings. */
#include "text/text_internal.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* No key of ours is all ones: both halves are ids, trie nodes or bytes, far below 2^32 - 1. */
#define EMPTY UINT64_MAX

static size_t table_size(size_t count)
{
    size_t size = 16;
    while (size < count * 2)
        size *= 2;
    return size;
}

wc_status wci_pairs_init(wc_ctx *ctx, wci_pairs *t, size_t count)
{
    size_t size = table_size(count);
    WC_TRY(WC_ALLOC(ctx, t->slot, size, "a table of token pairs"));
    for (size_t i = 0; i < size; i++)
        t->slot[i].key = EMPTY;
    t->mask = size - 1;
    return WC_OK;
}

/* The finaliser of splitmix64 (Steele, Lea, Flood 2014): every key bit reaches every slot bit. */
static size_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (size_t)(x ^ x >> 31);
}

static struct wci_pair *pair_slot(const wci_pairs *t, uint64_t key)
{
    size_t i = mix(key) & t->mask;
    while (t->slot[i].key != EMPTY && t->slot[i].key != key)
        i = (i + 1) & t->mask;
    return &t->slot[i];
}

const struct wci_pair *wci_pairs_get(const wci_pairs *t, uint64_t key)
{
    const struct wci_pair *p = pair_slot(t, key);
    return p->key == key ? p : NULL;
}

void wci_pairs_put(wci_pairs *t, uint64_t key, uint32_t v0, uint32_t v1)
{
    *pair_slot(t, key) = (struct wci_pair){key, v0, v1};
}

wc_status wci_vocab_init(wc_ctx *ctx, wci_vocab *v, size_t limit)
{
    size_t size = table_size(limit);
    WC_TRY(WC_ALLOC(ctx, v->token, limit, "the vocabulary"));
    WC_TRY(WC_ALLOC(ctx, v->slot, size, "the vocabulary's table"));
    v->mask = size - 1;
    v->limit = limit;
    return wci_pairs_init(ctx, &v->by_id, limit * 2); /* an added token may move its entry to a second id */
}

void wci_vocab_free(wci_vocab *v)
{
    wc_buf_free(&v->pool);
    free(v->token);
    free(v->slot);
    free(v->by_id.slot);
    memset(v, 0, sizeof *v);
}

static uint32_t *vocab_slot(const wci_vocab *v, wci_str s)
{
    size_t i = (size_t)XXH3_64bits(s.p, s.n) & v->mask;
    for (; v->slot[i]; i = (i + 1) & v->mask) {
        const wci_token *t = &v->token[v->slot[i] - 1];
        if (t->n == s.n && (!s.n || !memcmp(v->pool.data + t->at, s.p, s.n))) break;
    }
    return &v->slot[i];
}

wc_status wci_vocab_add(wc_ctx *ctx, wci_vocab *v, wci_str s, wci_token **out)
{
    uint32_t *slot = vocab_slot(v, s);
    if (!*slot) {
        if (v->n == v->limit) return wc_fail(ctx, WC_BUG, "vocabulary of %zu entries is full", v->limit);
        size_t at = v->pool.size;
        WC_TRY(wc_buf_append(ctx, &v->pool, s.p, s.n));
        v->token[v->n] = (wci_token){.at = at, .n = s.n};
        *slot = (uint32_t)++v->n;
    }
    *out = &v->token[*slot - 1];
    return WC_OK;
}

void wci_vocab_set_id(wci_vocab *v, wci_token *token, uint32_t id)
{
    token->id = id;
    wci_pairs_put(&v->by_id, id, (uint32_t)(token - v->token), 0);
    if (id >= v->size) v->size = id + 1;
}

const wci_token *wci_vocab_find(const wci_vocab *v, wci_str s)
{
    uint32_t index = *vocab_slot(v, s);
    return index ? &v->token[index - 1] : NULL;
}

const wci_token *wci_vocab_find_id(const wci_vocab *v, uint32_t id)
{
    const struct wci_pair *p = wci_pairs_get(&v->by_id, id);
    return p ? &v->token[p->v0] : NULL;
}
