/* bpe.c - byte pair encoding: vocabulary, merges, and the loop that applies them. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_RANK UINT32_MAX
#define NO_ID   UINT32_MAX

gen_status gen_put(gen_buf *b, const void *p, size_t n, gen_error *e)
{
    if (n > b->room - b->n) {
        size_t room = 2 * b->room + n + 256;
        char *more = realloc(b->p, room);
        if (!more) return gen_fail(e, GEN_NOMEM, "no memory for %zu bytes of text or ids", room);
        b->p = more;
        b->room = room;
    }
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
    return GEN_OK;
}

bool gen_bpe_find(const gen_bpe *b, gen_bytes s, uint32_t *id)
{
    const json_t *v = json_object_getn(b->vocab, s.p, s.n);
    if (v) *id = (uint32_t)json_integer_value(v);
    return v != NULL;
}

/* ---- loading --------------------------------------------------------------------------------------------------------
 */

static gen_merge *slot_of(const gen_bpe *b, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t i = (size_t)(pair * 0x9e3779b97f4a7c15 >> 20) & b->mask;
    while (b->merge[i].used && b->merge[i].pair != pair)
        i = (i + 1) & b->mask;
    return &b->merge[i];
}

/* "a b" or ["a", "b"] to a, b and their concatenation in *both. */
static bool read_merge(const json_t *v, gen_bytes *a, gen_bytes *b)
{
    const json_t *left = json_array_get(v, 0), *right = json_array_get(v, 1);
    if (json_array_size(v) == 2 && json_is_string(left) && json_is_string(right)) {
        *a = (gen_bytes){json_string_value(left), json_string_length(left)};
        *b = (gen_bytes){json_string_value(right), json_string_length(right)};
        return true;
    }
    const char *s = json_string_value(v), *space = s ? strchr(s, ' ') : NULL;
    if (!space) return false;
    *a = (gen_bytes){s, (size_t)(space - s)};
    *b = (gen_bytes){space + 1, json_string_length(v) - a->n - 1};
    return true;
}

static gen_status load_merges(const json_t *list, gen_bpe *b, gen_buf *text, gen_error *e)
{
    size_t n = json_array_size(list), room = 2;
    while (room < 2 * n)
        room *= 2;
    GEN_TRY(gen_alloc(&b->merge, room, sizeof *b->merge, "merges", e));
    b->mask = room - 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        gen_bytes left, right;
        uint32_t l, r, both;
        if (!i && json_is_string(v) && !strncmp(json_string_value(v), "#version", 8)) continue;
        if (!read_merge(v, &left, &right))
            return gen_fail(e, GEN_BADFILE, "tokenizer.json: merge %zu is not two tokens", i);
        text->n = 0;
        GEN_TRY(gen_put(text, left.p, left.n, e));
        GEN_TRY(gen_put(text, right.p, right.n, e));
        if (!gen_bpe_find(b, left, &l) || !gen_bpe_find(b, right, &r) ||
            !gen_bpe_find(b, (gen_bytes){text->p, text->n}, &both))
            return gen_fail(e, GEN_BADFILE, "tokenizer.json: merge %zu has a part or a result without an id", i);
        gen_merge *m = slot_of(b, l, r);
        *m = (gen_merge){(uint64_t)l << 32 | r, (uint32_t)i, both, true};
    }
    return GEN_OK;
}

static gen_status check_vocab(const json_t *vocab, gen_error *e)
{
    const char *key;
    json_t *v;
    if (!json_is_object(vocab)) return gen_fail(e, GEN_BADFILE, "tokenizer.json: model.vocab must be an object");
    json_object_foreach((json_t *)(uintptr_t)vocab, key,
                        v) if (!json_is_integer(v) || json_integer_value(v) < 0 ||
                               json_integer_value(v) >
                                   GEN_MAX_ID) return gen_fail(e, GEN_BADFILE,
                                                               "tokenizer.json: token `%.40s' has no id in 0..%d", key,
                                                               GEN_MAX_ID);
    return GEN_OK;
}

gen_status gen_bpe_open(const json_t *model, gen_bpe *b, gen_error *e)
{
    const char *type = json_string_value(json_object_get(model, "type"));
    const char *unknown = json_string_value(json_object_get(model, "unk_token"));
    const json_t *prefix = json_object_get(model, "continuing_subword_prefix"),
                 *suffix = json_object_get(model, "end_of_word_suffix"), *merges = json_object_get(model, "merges");
    gen_buf text = {0};
    if ((type && strcmp(type, "BPE")) || !json_is_array(merges))
        return gen_fail(e, GEN_UNSUPPORTED, "tokenizer.json: a model of type `%.40s'; only BPE is done here",
                        type ? type : "(none)");
    if (json_string_length(prefix) || json_string_length(suffix))
        return gen_fail(e, GEN_UNSUPPORTED, "tokenizer.json: subword prefixes and suffixes are not done here");
    GEN_TRY(check_vocab(json_object_get(model, "vocab"), e));
    b->vocab = json_object_get(model, "vocab");
    b->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    b->fuse_unknown = json_is_true(json_object_get(model, "fuse_unk"));
    b->byte_fallback = json_is_true(json_object_get(model, "byte_fallback"));
    b->has_unknown = unknown && gen_bpe_find(b, (gen_bytes){unknown, strlen(unknown)}, &b->unknown);
    for (unsigned i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", i);
        if (!gen_bpe_find(b, (gen_bytes){name, 6}, &b->byte_id[i])) b->byte_id[i] = NO_ID;
    }
    gen_status s = load_merges(merges, b, &text, e);
    free(text.p);
    return s;
}

/* ---- encoding -------------------------------------------------------------------------------------------------------
 */

/* A token on its way: merges with its right neighbour into `both' at `rank'. */
typedef struct symbol {
    uint32_t id, rank, both;
} symbol;

static gen_status put_symbol(gen_buf *list, uint32_t id, gen_error *e)
{
    symbol s = {id, NO_RANK, 0};
    return gen_put(list, &s, sizeof s, e);
}

/* A character that is no token becomes its bytes, if they all are tokens, or the token for unknowns. That one waits for
 * the next known character: others join it then, if they may, and bytes overtake it. So does the reference. */
static gen_status put_unknown(const gen_bpe *b, gen_bytes c, bool *waiting, gen_buf *list, gen_error *e)
{
    bool bytes = b->byte_fallback;
    for (size_t i = 0; i < c.n; i++)
        bytes = bytes && b->byte_id[(unsigned char)c.p[i]] != NO_ID;
    for (size_t i = 0; bytes && i < c.n; i++)
        GEN_TRY(put_symbol(list, b->byte_id[(unsigned char)c.p[i]], e));
    if (bytes || !b->has_unknown) return GEN_OK;
    if (*waiting && !b->fuse_unknown) GEN_TRY(put_symbol(list, b->unknown, e));
    *waiting = true;
    return GEN_OK;
}

static gen_status put_waiting(const gen_bpe *b, bool *waiting, gen_buf *list, gen_error *e)
{
    bool put = *waiting;
    *waiting = false;
    return put ? put_symbol(list, b->unknown, e) : GEN_OK;
}

static gen_status to_symbols(const gen_bpe *b, gen_bytes piece, gen_buf *list, gen_error *e)
{
    bool waiting = false;
    uint32_t id;
    for (size_t i = 0, size; i < piece.n; i += size) {
        size = gen_char_size(piece.p + i);
        gen_bytes c = {piece.p + i, size};
        if (gen_bpe_find(b, c, &id)) {
            GEN_TRY(put_waiting(b, &waiting, list, e));
            GEN_TRY(put_symbol(list, id, e));
        } else {
            GEN_TRY(put_unknown(b, c, &waiting, list, e));
        }
    }
    return put_waiting(b, &waiting, list, e);
}

static void look_up(const gen_bpe *b, symbol *s, size_t i, size_t n)
{
    const gen_merge *m = i + 1 < n ? slot_of(b, s[i].id, s[i + 1].id) : NULL;
    s[i].rank = m && m->used ? m->rank : NO_RANK;
    s[i].both = m && m->used ? m->both : 0;
}

/* Again and again the pair of lowest rank, the leftmost of equals, becomes one. */
static size_t merge_all(const gen_bpe *b, symbol *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        look_up(b, s, i, n);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i < n; i++)
            if (s[i].rank < s[best].rank) best = i;
        if (s[best].rank == NO_RANK) break;
        s[best].id = s[best].both;
        n--;
        memmove(s + best + 1, s + best + 2, (n - best - 1) * sizeof *s);
        look_up(b, s, best, n);
        if (best) look_up(b, s, best - 1, n);
    }
    return n;
}

gen_status gen_bpe_encode(const gen_bpe *b, gen_bytes piece, gen_buf *ids, gen_error *e)
{
    gen_buf list = {0};
    uint32_t id;
    if (b->ignore_merges && gen_bpe_find(b, piece, &id)) return gen_put(ids, &id, sizeof id, e);
    gen_status status = to_symbols(b, piece, &list, e);
    symbol *s = (symbol *)(void *)list.p;
    size_t n = status == GEN_OK && list.n ? merge_all(b, s, list.n / sizeof *s) : 0;
    for (size_t i = 0; i < n && status == GEN_OK; i++)
        status = gen_put(ids, &s[i].id, sizeof s[i].id, e);
    free(list.p);
    return status;
}
