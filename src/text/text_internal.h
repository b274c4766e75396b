/* text_internal.h - what the files of src/text share. Not for others.
 *
 *   tokenizer.c    opens the file, runs the pipeline: added tokens, normalizer, added tokens, pre-tokenizer, model,
 * template added.c        added tokens: two tries, flags       normalize.c    the normalizer steps pretokenize.c  the
 * pre-tokenizer steps              bpe.c          the model: vocabulary, merges, cache regex.c        Oniguruma syntax
 * on PCRE2            utf8.c         characters and their classes table.c        hash tables tokenizer_json.c  typed
 * access to JSON */
#ifndef WC_TEXT_INTERNAL_H
#define WC_TEXT_INTERNAL_H

#include "text/tokenizer.h"

#include <jansson.h>

/* Limits on what a file may ask for. Real files: 256 k tokens, 10 kB of regular expression, 5 steps. */
enum {
    WCI_MAX_ID = (1 << 24) - 1,
    WCI_MAX_STEPS = 32,        /* normalizer or pre-tokenizer steps, Sequences flattened */
    WCI_MAX_NESTING = 8,       /* Sequence in Sequence */
    WCI_MAX_PATTERN = 1 << 16, /* bytes of one regular expression */
    WCI_MAX_JSON = 1 << 28,    /* bytes of the file */
    WCI_MAX_TEXT = INT32_MAX,  /* bytes of one text: symbols are linked with 32-bit indices */
};

/* Bytes owned by somebody else; NUL bytes may be inside. */
typedef struct wci_str {
    const char *p;
    size_t n;
} wci_str;

static inline wci_str wci_slice(const wc_buf *b)
{
    return (wci_str){b->size ? (const char *)b->data : "", b->size};
}

/* ---- utf8.c: every text inside the pipeline is valid UTF-8 ---- */

/* Appends `text' with each maximal invalid sequence replaced by U+FFFD (Unicode 15, section 3.9); *replaced counts
 * them. */
wc_status wci_utf8_sanitize(wc_ctx *ctx, wci_str text, wc_buf *out, size_t *replaced);
/* The length of the valid character at s, 1..4; 0 when it is invalid, *bad then the bytes to skip. */
size_t wci_utf8_check(const char *s, size_t n, size_t *bad);
size_t wci_utf8_decode(const char *s, uint32_t *cp); /* valid input only; its length */
size_t wci_utf8_encode(uint32_t cp, char s[4]);
static inline size_t wci_utf8_length(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}
bool wci_is_space(uint32_t cp);   /* White_Space */
bool wci_is_numeric(uint32_t cp); /* Nd, Nl, No */
bool wci_is_punct(uint32_t cp);   /* P*, and all ASCII punctuation (with $+<=>^`|~) */

/* ---- table.c: open addressing, linear probing, at most half full, capacity fixed at birth ---- */

/* (uint64 key) -> two uint32. */
typedef struct wci_pairs {
    struct wci_pair {
        uint64_t key;
        uint32_t v0, v1;
    } * slot;
    size_t mask;
} wci_pairs;
wc_status wci_pairs_init(wc_ctx *ctx, wci_pairs *t, size_t count);
const struct wci_pair *wci_pairs_get(const wci_pairs *t, uint64_t key);   /* NULL when absent */
void wci_pairs_put(wci_pairs *t, uint64_t key, uint32_t v0, uint32_t v1); /* replaces; at most `count' keys */
static inline uint64_t wci_key(uint32_t a, uint32_t b)
{
    return (uint64_t)a << 32 | b;
}

/* Token strings. Each has an index, in order of insertion. */
typedef struct wci_token {
    size_t at, n; /* spelling: bytes at .. at+n of the pool */
    uint32_t id;
    bool in_model, added, special;
} wci_token;
typedef struct wci_vocab {
    wc_buf pool;
    wci_token *token; /* [n] */
    size_t n, limit;
    uint32_t *slot; /* [mask + 1] index + 1, or 0 */
    size_t mask;
    wci_pairs by_id; /* id -> index */
    uint32_t size;   /* 1 + largest id */
} wci_vocab;
wc_status wci_vocab_init(wc_ctx *ctx, wci_vocab *v, size_t limit);
void wci_vocab_free(wci_vocab *v);
/* The entry spelled s, new and without id if it was not there. At most `limit' entries. */
wc_status wci_vocab_add(wc_ctx *ctx, wci_vocab *v, wci_str s, wci_token **out);
void wci_vocab_set_id(wci_vocab *v, wci_token *token, uint32_t id);
const wci_token *wci_vocab_find(const wci_vocab *v, wci_str s);
const wci_token *wci_vocab_find_id(const wci_vocab *v, uint32_t id);
static inline wci_str wci_spelling(const wci_vocab *v, const wci_token *t)
{
    return (wci_str){(const char *)v->pool.data + t->at, t->n};
}

/* ---- tokenizer_json.c ---- */

/* Where a JSON value was found, for messages: "model/tokenizer.json: pre_tokenizer". */
typedef struct wci_where {
    const char *label, *part;
} wci_where;
/* Parses; NUL inside strings and keys is allowed and comes out of wci_json_text as a NUL. */
wc_status wci_json_load(wc_ctx *ctx, const char *json, size_t size, const char *label, json_t **out);
/* Appends the characters of a JSON string, or of an object's key, to out. */
wc_status wci_json_text(wc_ctx *ctx, const char *s, size_t n, wc_buf *out);
wc_status wci_json_string(wc_ctx *ctx, wci_where w, const json_t *object, const char *key, wc_buf *out);
wc_status wci_json_bool(wc_ctx *ctx, wci_where w, const json_t *object, const char *key, bool fallback, bool *out);
wc_status wci_json_id(wc_ctx *ctx, wci_where w, const json_t *value, uint32_t *out);
/* "type" of a step; WC_BADFILE when absent. Borrowed from the object. */
wc_status wci_json_type(wc_ctx *ctx, wci_where w, const json_t *object, const char **out);
/* Calls step(arg, object) for a step or, with key naming the list, for all steps of a Sequence, nested too. */
typedef wc_status (*wci_step_fn)(wc_ctx *ctx, wci_where w, const json_t *object, const char *type, void *arg);
wc_status wci_json_steps(wc_ctx *ctx, wci_where w, const json_t *value, const char *key, wci_step_fn step, void *arg);

/* ---- regex.c ---- */

typedef struct wci_regex wci_regex;
/* What matching needs besides the regex; one per encode call, shared by all regexes of it. */
typedef struct wci_matcher wci_matcher;
typedef enum wci_syntax { WCI_ONIGURUMA, WCI_LITERAL } wci_syntax;
wc_status wci_regex_compile(wc_ctx *ctx, wci_where w, wci_str pattern, wci_syntax syntax, wci_regex **out);
void wci_regex_free(wci_regex **re);
wc_status wci_matcher_new(wc_ctx *ctx, wci_matcher **out);
void wci_matcher_free(wci_matcher **m);

/* Walks over a text: gap, match, gap ... Zero-initialise but for re and text. */
typedef struct wci_scan {
    const wci_regex *re;
    wci_str text;
    size_t next;       /* where the next search starts */
    bool matched;      /* a match was found before, ... */
    size_t last_end;   /* ... and ended here */
    size_t start, end; /* the current match */
    bool done;
} wci_scan;
/* Finds the next match into start, end; sets done when there is none. An empty match is not accepted right after a
 * match. */
wc_status wci_scan_next(wc_ctx *ctx, wci_matcher *m, wci_scan *scan);
/* {"String": s} or {"Regex": r}, the value of `pattern'. */
wc_status wci_regex_load(wc_ctx *ctx, wci_where w, const json_t *pattern, wci_regex **out);

/* ---- normalize.c ---- */

typedef enum wci_norm_kind {
    WCI_NORM_REPLACE,
    WCI_NORM_PREPEND,
    WCI_NORM_UNICODE,
    WCI_NORM_LOWERCASE,
    WCI_NORM_STRIP,
    WCI_NORM_BYTES
} wci_norm_kind;
typedef struct wci_norm_step {
    wci_norm_kind kind;
    wci_regex *re;    /* REPLACE: what */
    wc_buf content;   /* REPLACE: by what; PREPEND */
    int options;      /* UNICODE: utf8proc_option_t */
    bool left, right; /* STRIP */
    bool from_space;  /* REPLACE: the pattern is the literal " " */
} wci_norm_step;
typedef struct wci_normalizer {
    wci_norm_step *step;
    size_t n;
} wci_normalizer;
wc_status wci_normalizer_load(wc_ctx *ctx, const char *label, const json_t *value, wci_normalizer *out);
void wci_normalizer_free(wci_normalizer *nz);
/* *text becomes its normal form, in one of the two buffers (or stays where it was). limit: of bytes, at any step. */
wc_status wci_normalize(wc_ctx *ctx, const wci_normalizer *nz, wci_matcher *m, wc_buf buf[2], size_t limit,
                        wci_str *text);

/* ---- pretokenize.c ---- */

typedef struct wci_pre_step wci_pre_step;
typedef struct wci_pretokenizer {
    wci_pre_step *step;
    size_t n;
} wci_pretokenizer;
wc_status wci_pretokenizer_load(wc_ctx *ctx, const char *label, const json_t *value, wci_pretokenizer *out);
void wci_pretokenizer_free(wci_pretokenizer *pt);
bool wci_pretokenizer_is_byte_level(const wci_pretokenizer *pt);
wci_str wci_pretokenizer_space_mark(const wci_pretokenizer *pt); /* Metaspace's replacement, or empty */

typedef wc_status (*wci_piece_fn)(wc_ctx *ctx, void *arg, wci_str piece);
/* Working memory of one encode call. */
typedef struct wci_pre_scratch {
    wci_matcher *matcher;
    wc_buf buf[WCI_MAX_STEPS]; /* one per step: a step's text lives while all later steps run on it */
    size_t limit;              /* of bytes, for any rewritten piece */
} wci_pre_scratch;
void wci_pre_scratch_free(wci_pre_scratch *s);
/* Calls emit for every piece of `text', in order. at_start: text begins where the whole original text does. */
wc_status wci_pretokenize(wc_ctx *ctx, const wci_pretokenizer *pt, wci_pre_scratch *s, wci_str text, bool at_start,
                          wci_piece_fn emit, void *arg);

/* The byte alphabet of GPT-2: a printable character for each byte. */
uint32_t wci_byte_char(uint8_t byte);
bool wci_char_byte(uint32_t cp, uint8_t *byte);
wc_status wci_to_byte_level(wc_ctx *ctx, wci_str text, wc_buf *out);

/* ---- added.c ---- */

typedef struct wci_added wci_added;
/* Adds the file's added_tokens to the vocabulary and builds the tries. */
wc_status wci_added_load(wc_ctx *ctx, const char *label, const json_t *value, const wci_normalizer *nz,
                         wci_vocab *vocab, wci_added **out);
void wci_added_free(wci_added **a);
typedef enum wci_trie { WCI_TRIE_RAW, WCI_TRIE_NORMALIZED } wci_trie;
/* One stretch of a text: an added token (is_token, its id), or text between them. */
typedef struct wci_stretch {
    size_t start, end;
    uint32_t id;
    bool is_token;
} wci_stretch;
/* A walk over the stretches. Zero-initialise, then text, trie, plain_special. */
typedef struct wci_added_scan {
    wci_str text;
    wci_trie trie;
    bool plain_special;
    size_t next, emitted; /* next byte to search from; end of the last stretch */
    size_t space_end;     /* white space is known to reach up to here */
    bool have_token;      /* `token' waits to be handed out after the gap before it */
    wci_stretch token;
} wci_added_scan;
/* false at the end of the text. */
wc_status wci_added_next(wc_ctx *ctx, const wci_added *a, wci_matcher *m, wci_added_scan *scan, wci_stretch *out,
                         bool *more);

/* ---- bpe.c ---- */

typedef struct wci_bpe wci_bpe;
/* Fills the vocabulary from the model's JSON, `vocabulary' having room for it, and reads the merges. */
wc_status wci_bpe_load(wc_ctx *ctx, const char *label, const json_t *model, wci_vocab *vocab, wci_bpe **out);
void wci_bpe_free(wci_bpe **b);
bool wci_bpe_byte_fallback(const wci_bpe *b);
/* Working memory of one encode call. */
typedef struct wci_bpe_scratch wci_bpe_scratch;
wc_status wci_bpe_scratch_new(wc_ctx *ctx, wci_bpe_scratch **out);
void wci_bpe_scratch_free(wci_bpe_scratch **s);
wc_status wci_bpe_encode(wc_ctx *ctx, const wci_bpe *b, const wci_vocab *vocab, wci_bpe_scratch *s, wci_str piece,
                         wc_ids *out);

#endif
