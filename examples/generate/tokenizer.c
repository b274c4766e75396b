/* tokenizer.c - tokenizer.json: text to pieces, which bpe.c turns into ids, and ids to text.
 *
 *     text -> added tokens cut it -> normalizer -> pre-tokenizer's steps, each cutting or rewriting -> bpe.c
 *
 * Splitting is by PCRE2. The patterns are written for another engine, Oniguruma; what tokenizers use of it means the
 * same to both but \s, which is replaced by the property it stands for. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "internal.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef enum step_kind {
    STEP_PREPEND, /* text in front of what is not empty */
    STEP_REPLACE, /* from by to */
    STEP_UNICODE, /* a normal form */
    STEP_SPLIT,   /* matches and what lies between are pieces */
    STEP_SPACE,   /* a space in front of a piece that has none */
    STEP_MARK,    /* spaces become the mark; one more in front, by `first' and `always' */
    STEP_BYTES    /* to the byte alphabet */
} step_kind;

typedef struct step {
    step_kind kind;
    gen_bytes from, to; /* the texts of PREPEND, REPLACE and MARK (to) */
    bool first, always;
    bool only_matches; /* of a SPLIT: what lies between is dropped */
    int form;          /* utf8proc's options */
    pcre2_code *re;
} step;

struct gen_tokenizer {
    json_t *root; /* owns all spellings */
    gen_bpe bpe;
    step step[GEN_MAX_TOKENIZER_STEPS]; /* the normalizer's, then the pre-tokenizer's */
    size_t n_steps, n_normal;
    bool byte_level;
    gen_bytes mark;      /* what stands for a space; empty: nothing does */
    const json_t *added; /* the list */
    uint32_t before[8];  /* what the template puts in front */
    size_t n_before;
    size_t size;  /* 1 + the largest id */
    gen_buf pool; /* texts of all tokens, one after another */
    size_t *at;   /* [size + 1] where they start */
    pcre2_match_data *match;
};

/* GPT-2's, which ByteLevel uses by itself. */
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static gen_bytes text_of(const json_t *v)
{
    return (gen_bytes){json_string_value(v), json_string_length(v)};
}

static gen_bytes member(const json_t *o, const char *key)
{
    return text_of(json_object_get(o, key));
}

static bool is(const json_t *o, const char *key, const char *value)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s && !strcmp(s, value);
}

/* true, false, or the default when it is neither. */
static bool flag(const json_t *o, const char *key, bool def)
{
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : def;
}

/* ---- loading the steps ----------------------------------------------------------------------------------------------
 */

static gen_status refuse(const json_t *o, const char *what, gen_error *e)
{
    const char *type = json_string_value(json_object_get(o, "type"));
    return gen_fail(e, GEN_UNSUPPORTED, "tokenizer.json: the %s `%.40s' with these options is not done here", what,
                    type ? type : "(none)");
}

static gen_status new_step(gen_tokenizer *t, step_kind kind, step **out, gen_error *e)
{
    if (t->n_steps == GEN_MAX_TOKENIZER_STEPS)
        return gen_fail(e, GEN_UNSUPPORTED, "tokenizer.json: more than %d steps", GEN_MAX_TOKENIZER_STEPS);
    *out = &t->step[t->n_steps++];
    (*out)->kind = kind;
    return GEN_OK;
}

static gen_status compile(gen_tokenizer *t, gen_bytes pattern, gen_error *e)
{
    gen_buf re = {0};
    step *s = NULL;
    int error;
    PCRE2_SIZE where;
    gen_status status = new_step(t, STEP_SPLIT, &s, e);
    for (size_t i = 0, n; status == GEN_OK && i < pattern.n; i += n) {
        const char *p = pattern.p + i;
        bool space = i + 1 < pattern.n && p[0] == '\\' && (p[1] == 's' || p[1] == 'S');
        n = i + 1 < pattern.n && p[0] == '\\' ? 2 : 1; /* an escaped backslash is not the start of an escape */
        if (space)
            status = gen_put(&re, p[1] == 's' ? "\\p{White_Space}" : "\\P{White_Space}", 15, e);
        else
            status = gen_put(&re, p, n, e);
    }
    if (status == GEN_OK) {
        s->re = pcre2_compile((PCRE2_SPTR)re.p, re.n, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &where, NULL);
        if (!s->re)
            status =
                gen_fail(e, GEN_UNSUPPORTED, "tokenizer.json: a regular expression fails at byte %zu", (size_t)where);
        else
            pcre2_jit_compile(s->re, PCRE2_JIT_COMPLETE); /* without it the interpreter runs */
    }
    free(re.p);
    return status;
}

static gen_status load_normalizer(gen_tokenizer *t, const json_t *o, gen_error *e)
{
    static const struct {
        const char *type;
        int form;
    } forms[] = {{"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
                 {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
                 {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
                 {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT}};
    step *s = NULL;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (is(o, "type", forms[i].type)) {
            GEN_TRY(new_step(t, STEP_UNICODE, &s, e));
            s->form = forms[i].form;
            return GEN_OK;
        }
    if (is(o, "type", "Prepend")) {
        GEN_TRY(new_step(t, STEP_PREPEND, &s, e));
        s->to = member(o, "prepend");
    } else if (is(o, "type", "Replace")) {
        GEN_TRY(new_step(t, STEP_REPLACE, &s, e));
        s->from = member(json_object_get(o, "pattern"), "String");
        s->to = member(o, "content");
        if (!s->from.n) return refuse(o, "normalizer", e);
        if (s->from.n == 1 && *s->from.p == ' ') t->mark = s->to;
    } else {
        return refuse(o, "normalizer", e);
    }
    return s->to.p ? GEN_OK : refuse(o, "normalizer", e);
}

static gen_status load_metaspace(gen_tokenizer *t, const json_t *o, gen_error *e)
{
    char pattern[32] = "";
    step *s = NULL;
    GEN_TRY(new_step(t, STEP_MARK, &s, e));
    s->to = t->mark = member(o, "replacement");
    if (!s->to.n || s->to.n != gen_char_size(s->to.p) || s->to.n == 1) return refuse(o, "pre-tokenizer", e);
    s->first = is(o, "prepend_scheme", "first");
    s->always = is(o, "prepend_scheme", "always") ||
                (!json_object_get(o, "prepend_scheme") && flag(o, "add_prefix_space", true));
    if (!flag(o, "split", true)) return GEN_OK;
    /* A piece begins at every mark: mark, then anything but marks. */
    char *p = pattern;
    memcpy(p, s->to.p, s->to.n), p += s->to.n;
    memcpy(p, "[^", 2), p += 2;
    memcpy(p, s->to.p, s->to.n), p += s->to.n;
    memcpy(p, "]*", 2), p += 2;
    return compile(t, (gen_bytes){pattern, (size_t)(p - pattern)}, e);
}

static gen_status load_pretokenizer(gen_tokenizer *t, const json_t *o, gen_error *e)
{
    step *s = NULL;
    if (is(o, "type", "Split")) {
        gen_bytes re = member(json_object_get(o, "pattern"), "Regex");
        bool only_matches = is(o, "behavior", "Removed") && flag(o, "invert", false);
        if (!re.n || (!only_matches && !is(o, "behavior", "Isolated"))) return refuse(o, "pre-tokenizer", e);
        GEN_TRY(compile(t, re, e));
        t->step[t->n_steps - 1].only_matches = only_matches;
        return GEN_OK;
    }
    if (is(o, "type", "Digits"))
        return compile(t, flag(o, "individual_digits", false) ? (gen_bytes){"\\p{N}", 5} : (gen_bytes){"\\p{N}+", 6},
                       e);
    if (is(o, "type", "Metaspace")) return load_metaspace(t, o, e);
    if (!is(o, "type", "ByteLevel")) return refuse(o, "pre-tokenizer", e);
    if (flag(o, "add_prefix_space", true)) GEN_TRY(new_step(t, STEP_SPACE, &s, e));
    if (flag(o, "use_regex", true)) GEN_TRY(compile(t, (gen_bytes){gpt2_pattern, sizeof gpt2_pattern - 1}, e));
    t->byte_level = true;
    return new_step(t, STEP_BYTES, &s, e);
}

typedef gen_status (*loader)(gen_tokenizer *t, const json_t *o, gen_error *e);

/* null, one object, or a Sequence of them under `key'. */
static gen_status load_steps(gen_tokenizer *t, const json_t *o, const char *key, loader load, gen_error *e)
{
    if (!o || json_is_null(o)) return GEN_OK;
    if (!is(o, "type", "Sequence")) return load(t, o, e);
    const json_t *list = json_object_get(o, key);
    for (size_t i = 0; i < json_array_size(list); i++)
        GEN_TRY(load(t, json_array_get(list, i), e));
    return GEN_OK;
}

/* The tokens that a template puts before the text; those behind it would end what is to be continued. */
static gen_status load_template(gen_tokenizer *t, const json_t *o, gen_error *e)
{
    const json_t *single = json_object_get(o, "single");
    if (is(o, "type", "ByteLevel")) return GEN_OK;
    if (!is(o, "type", "TemplateProcessing")) return refuse(o, "post-processor", e);
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *special = json_object_get(json_array_get(single, i), "SpecialToken");
        const char *name = json_string_value(json_object_get(special, "id"));
        const json_t *ids =
            json_object_get(json_object_get(json_object_get(o, "special_tokens"), name ? name : ""), "ids");
        if (!special) break;
        for (size_t k = 0; k < json_array_size(ids) || !k; k++) {
            const json_t *id = json_array_get(ids, k);
            if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > GEN_MAX_ID ||
                t->n_before == sizeof t->before / sizeof *t->before)
                return refuse(o, "post-processor", e);
            t->before[t->n_before++] = (uint32_t)json_integer_value(id);
        }
    }
    return GEN_OK;
}

/* ---- the texts of tokens --------------------------------------------------------------------------------------------
 */

/* The byte alphabet of GPT-2: bytes that print stand for themselves, the other 68 are U+0100 onwards. */
static unsigned byte_char(unsigned byte)
{
    if ((byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad)) return byte;
    return 0x100u + (byte < 0x21 ? byte : byte < 0xa1 ? byte - 0x7f + 0x21 : 67);
}

/* The byte of a character of one or two UTF-8 bytes; -1 when it is none of the alphabet. */
static int char_byte(const char *s, size_t n)
{
    unsigned lead = (unsigned char)s[0], cp = n == 1   ? lead
                                              : n == 2 ? (lead & 31) << 6 | ((unsigned char)s[1] & 63)
                                                       : 0;
    if (cp < 0x100) return byte_char(cp) == cp ? (int)cp : -1;
    if (cp < 0x121) return (int)(cp - 0x100);
    return cp < 0x143 ? (int)(cp - 0x121 + 0x7f) : cp == 0x143 ? 0xad : -1;
}

static gen_status put_spelled(const gen_tokenizer *t, gen_bytes s, gen_buf *out, gen_error *e)
{
    unsigned byte;
    char end;
    if (t->bpe.byte_fallback && s.n == 6 && sscanf(s.p, "<0x%2X%c", &byte, &end) == 2 && end == '>') {
        char c = (char)byte;
        return gen_put(out, &c, 1, e);
    }
    for (size_t i = 0, n; i < s.n; i += n) {
        n = gen_char_size(s.p + i);
        int b = t->byte_level ? char_byte(s.p + i, n) : -1;
        char c = (char)b;
        if (t->mark.n && s.n - i >= t->mark.n && !memcmp(s.p + i, t->mark.p, t->mark.n)) n = t->mark.n, c = ' ', b = 0;
        GEN_TRY(b < 0 ? gen_put(out, s.p + i, n, e) : gen_put(out, &c, 1, e));
    }
    return GEN_OK;
}

typedef struct spelled {
    gen_bytes s;
    bool added;
} spelled;

/* by_id [t->size]: the spelling of every id that has one. */
static void list_tokens(const gen_tokenizer *t, spelled *by_id)
{
    json_t *vocab = (json_t *)(uintptr_t)t->bpe.vocab;
    for (void *it = json_object_iter(vocab); it; it = json_object_iter_next(vocab, it))
        by_id[json_integer_value(json_object_iter_value(it))].s =
            (gen_bytes){json_object_iter_key(it), json_object_iter_key_len(it)};
    for (size_t i = 0; i < json_array_size(t->added); i++) {
        const json_t *a = json_array_get(t->added, i);
        by_id[json_integer_value(json_object_get(a, "id"))] = (spelled){member(a, "content"), true};
    }
}

static gen_status load_texts(gen_tokenizer *t, gen_error *e)
{
    json_t *vocab = (json_t *)(uintptr_t)t->bpe.vocab;
    spelled *by_id;
    for (void *it = json_object_iter(vocab); it; it = json_object_iter_next(vocab, it)) {
        size_t id = (size_t)json_integer_value(json_object_iter_value(it));
        if (id >= t->size) t->size = id + 1;
    }
    GEN_TRY(gen_alloc(&t->at, t->size + 1, sizeof *t->at, "token texts", e));
    GEN_TRY(gen_alloc(&by_id, t->size, sizeof *by_id, "token texts", e));
    list_tokens(t, by_id);
    gen_status s = GEN_OK;
    for (size_t id = 0; id < t->size && s == GEN_OK; id++) {
        t->at[id] = t->pool.n;
        s = by_id[id].added ? gen_put(&t->pool, by_id[id].s.p, by_id[id].s.n, e)
                            : put_spelled(t, by_id[id].s, &t->pool, e);
    }
    t->at[t->size] = t->pool.n;
    free(by_id);
    return s;
}

const char *gen_token_text(const gen_tokenizer *t, uint32_t id, size_t *n)
{
    *n = id < t->size ? t->at[id + 1] - t->at[id] : 0;
    return *n ? t->pool.p + t->at[id] : "";
}

/* ---- opening --------------------------------------------------------------------------------------------------------
 */

static gen_status load_added(gen_tokenizer *t, gen_error *e)
{
    for (size_t i = 0; i < json_array_size(t->added); i++) {
        const json_t *a = json_array_get(t->added, i), *id = json_object_get(a, "id");
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > GEN_MAX_ID ||
            !member(a, "content").n)
            return gen_fail(e, GEN_BADFILE, "tokenizer.json: added token %zu has no text or no id in 0..%d", i,
                            GEN_MAX_ID);
        if (flag(a, "lstrip", false) || flag(a, "rstrip", false) || flag(a, "single_word", false))
            return gen_fail(
                e, GEN_UNSUPPORTED,
                "tokenizer.json: added token `%.40s' strips spaces or wants whole words, which is not done here",
                member(a, "content").p);
        if ((size_t)json_integer_value(id) >= t->size) t->size = (size_t)json_integer_value(id) + 1;
    }
    return GEN_OK;
}

static gen_status load(gen_tokenizer *t, gen_error *e)
{
    t->added = json_object_get(t->root, "added_tokens");
    GEN_TRY(gen_bpe_open(json_object_get(t->root, "model"), &t->bpe, e));
    GEN_TRY(load_steps(t, json_object_get(t->root, "normalizer"), "normalizers", load_normalizer, e));
    t->n_normal = t->n_steps;
    GEN_TRY(load_steps(t, json_object_get(t->root, "pre_tokenizer"), "pretokenizers", load_pretokenizer, e));
    GEN_TRY(load_steps(t, json_object_get(t->root, "post_processor"), "processors", load_template, e));
    GEN_TRY(load_added(t, e));
    t->match = pcre2_match_data_create(1, NULL);
    if (!t->match) return gen_fail(e, GEN_NOMEM, "no memory for regular expressions");
    return load_texts(t, e);
}

gen_status gen_tokenizer_open(const char *json, size_t size, gen_tokenizer **out, gen_error *e)
{
    gen_tokenizer *t;
    GEN_TRY(gen_alloc(&t, 1, sizeof *t, "a tokenizer", e));
    gen_status s = gen_json_load(json, size, "tokenizer.json", &t->root, e);
    if (s == GEN_OK) s = load(t, e);
    if (s == GEN_OK)
        *out = t;
    else
        gen_tokenizer_free(t);
    return s;
}

void gen_tokenizer_free(gen_tokenizer *t)
{
    if (!t) return;
    for (size_t i = 0; i < t->n_steps; i++)
        pcre2_code_free(t->step[i].re);
    pcre2_match_data_free(t->match);
    free(t->bpe.merge);
    free(t->pool.p);
    free(t->at);
    json_decref(t->root);
    free(t);
}

/* ---- encoding -------------------------------------------------------------------------------------------------------
 */

static gen_status run(gen_tokenizer *t, size_t i, gen_bytes text, bool at_start, gen_buf *ids, gen_error *e);

static gen_status cut(gen_tokenizer *t, size_t i, gen_bytes text, bool at_start, gen_buf *ids, gen_error *e)
{
    size_t done = 0;
    while (done < text.n) {
        int found = pcre2_match(t->step[i].re, (PCRE2_SPTR)text.p, text.n, done, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY,
                                t->match, NULL);
        size_t *span = pcre2_get_ovector_pointer(t->match), from = text.n, to = text.n;
        if (found < 0 && found != PCRE2_ERROR_NOMATCH)
            return gen_fail(e, GEN_BADFILE, "tokenizer.json: a regular expression gives up on this text (%d)", found);
        if (found >= 0) from = span[0], to = span[1];
        if (from > done && !t->step[i].only_matches)
            GEN_TRY(run(t, i + 1, (gen_bytes){text.p + done, from - done}, at_start && !done, ids, e));
        if (to > from) GEN_TRY(run(t, i + 1, (gen_bytes){text.p + from, to - from}, at_start && !from, ids, e));
        done = to;
    }
    return GEN_OK;
}

static gen_status replace(gen_bytes text, gen_bytes from, gen_bytes to, gen_buf *out, gen_error *e)
{
    for (size_t i = 0, n; i < text.n; i += n) {
        bool hit = text.n - i >= from.n && !memcmp(text.p + i, from.p, from.n);
        n = hit ? from.n : 1;
        GEN_TRY(hit ? gen_put(out, to.p, to.n, e) : gen_put(out, text.p + i, 1, e));
    }
    return GEN_OK;
}

static gen_status rewrite(const step *s, gen_bytes text, bool at_start, gen_buf *out, gen_error *e)
{
    const gen_bytes space = {" ", 1};
    bool spaced = *text.p == ' ' || (text.n >= s->to.n && s->to.n && !memcmp(text.p, s->to.p, s->to.n));
    utf8proc_uint8_t *form = NULL;
    switch (s->kind) {
    case STEP_PREPEND: GEN_TRY(gen_put(out, s->to.p, s->to.n, e)); break;
    case STEP_REPLACE: return replace(text, s->from, s->to, out, e);
    case STEP_MARK:
        if (!spaced && (s->always || (s->first && at_start))) GEN_TRY(gen_put(out, s->to.p, s->to.n, e));
        return replace(text, space, s->to, out, e);
    case STEP_SPACE:
        if (*text.p != ' ') GEN_TRY(gen_put(out, " ", 1, e));
        break;
    case STEP_UNICODE: {
        utf8proc_ssize_t n =
            utf8proc_map((const utf8proc_uint8_t *)text.p, (utf8proc_ssize_t)text.n, &form, (utf8proc_option_t)s->form);
        gen_status status = n < 0 ? gen_fail(e, GEN_NOMEM, "normalizing %zu bytes: %s", text.n, utf8proc_errmsg(n))
                                  : gen_put(out, form, (size_t)n, e);
        free(form);
        return status;
    }
    default: /* STEP_BYTES */
        for (size_t i = 0; i < text.n; i++) {
            unsigned cp = byte_char((unsigned char)text.p[i]);
            char c[2] = {(char)(cp < 0x80 ? cp : 0xc0 | cp >> 6), (char)(0x80 | (cp & 63))};
            GEN_TRY(gen_put(out, c, cp < 0x80 ? 1 : 2, e));
        }
        return GEN_OK;
    }
    return gen_put(out, text.p, text.n, e);
}

/* Step i and all after it on one piece: depth first, so that no list of pieces is ever made. */
static gen_status run(gen_tokenizer *t, size_t i, gen_bytes text, bool at_start, gen_buf *ids, gen_error *e)
{
    gen_buf out = {0};
    if (!text.n) return GEN_OK;
    if (i == t->n_steps) return gen_bpe_encode(&t->bpe, text, ids, e);
    if (t->step[i].kind == STEP_SPLIT) return cut(t, i, text, at_start, ids, e);
    gen_status s = rewrite(&t->step[i], text, at_start, &out, e);
    if (s == GEN_OK) s = run(t, i + 1, (gen_bytes){out.p, out.n}, at_start, ids, e);
    free(out.p);
    return s;
}

/* The longest added token that the text begins with; NULL: none. */
static const json_t *added_at(const gen_tokenizer *t, gen_bytes text)
{
    const json_t *best = NULL;
    size_t longest = 0;
    for (size_t i = 0; i < json_array_size(t->added); i++) {
        gen_bytes s = member(json_array_get(t->added, i), "content");
        if (s.n <= longest || s.n > text.n || memcmp(s.p, text.p, s.n)) continue;
        best = json_array_get(t->added, i);
        longest = s.n;
    }
    return best;
}

static gen_status encode(gen_tokenizer *t, gen_bytes text, gen_buf *ids, gen_error *e)
{
    size_t done = 0;
    GEN_TRY(gen_put(ids, t->before, t->n_before * sizeof *t->before, e));
    for (size_t i = 0; i < text.n;) {
        const json_t *a = added_at(t, (gen_bytes){text.p + i, text.n - i});
        if (!a) {
            i++;
            continue;
        }
        uint32_t id = (uint32_t)json_integer_value(json_object_get(a, "id"));
        GEN_TRY(run(t, 0, (gen_bytes){text.p + done, i - done}, !done, ids, e));
        GEN_TRY(gen_put(ids, &id, sizeof id, e));
        done = i += member(a, "content").n;
    }
    return run(t, 0, (gen_bytes){text.p + done, text.n - done}, !done, ids, e);
}

gen_status gen_encode(gen_tokenizer *t, const char *text, size_t size, uint32_t **ids, size_t *n, gen_error *e)
{
    gen_buf list = {0};
    utf8proc_int32_t cp;
    for (size_t i = 0; i < size;) {
        utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(size - i), &cp);
        if (k <= 0) return gen_fail(e, GEN_USAGE, "the text is not UTF-8 at byte %zu", i);
        i += (size_t)k;
    }
    gen_status s = encode(t, (gen_bytes){text, size}, &list, e);
    if (s != GEN_OK) {
        free(list.p);
        return s;
    }
    *ids = (uint32_t *)(void *)list.p;
    *n = list.n / sizeof **ids;
    return GEN_OK;
}
