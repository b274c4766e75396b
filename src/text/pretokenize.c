/* pretokenize.c - the pre-tokenizer steps: a text to pieces, each of which the model sees alone.
 *
 * Every pre-tokenizer of the file becomes one to three primitive steps, which cut (SPLIT, CHARS) or rewrite (PREFIX,
 * MARK, BYTES). A step works on one piece without knowing the others, so the list runs depth first: each piece goes
 * through all later steps, and to the model, before the next is cut, and no list of pieces ever exists. */
#include "text/text_internal.h"

#include <stdlib.h>
#include <string.h>

typedef enum step_kind {
    STEP_SPLIT,  /* by matches of re */
    STEP_CHARS,  /* every character of which is_delimiter says so is a match */
    STEP_PREFIX, /* a space in front of a piece that has none */
    STEP_MARK,   /* ' ' becomes the mark, and one is put in front according to scheme */
    STEP_BYTES   /* to the byte alphabet */
} step_kind;

/* What becomes of the matches and of the gaps between them. */
typedef enum behavior { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS } behavior;

typedef enum scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER } scheme;

struct wci_pre_step {
    step_kind kind;
    wci_regex *re;
    bool (*is_delimiter)(uint32_t cp);
    behavior behavior;
    bool invert; /* matches are gaps and gaps matches */
    scheme scheme;
    wc_buf mark;
};

/* GPT-2's, which ByteLevel uses by itself. */
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
/* Whitespace's \w+|[^\w\s]+, which is of Rust's regex crate: its \w has the two joiners too. */
#define RUST_WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}"
static const char words_pattern[] = "[" RUST_WORD "]+|[^" RUST_WORD "\\s]+";

/* ---- loading ---- */

static wc_status new_step(wc_ctx *ctx, wci_where w, wci_pretokenizer *pt, step_kind kind, wci_pre_step **out)
{
    if (pt->n == WCI_MAX_STEPS)
        return wc_fail(ctx, WC_BADFILE, "%s: more than %d pre-tokenizer steps", w.label, WCI_MAX_STEPS);
    *out = &pt->step[pt->n++];
    (*out)->kind = kind;
    (*out)->behavior = ISOLATED;
    return WC_OK;
}

static wc_status load_behavior(wc_ctx *ctx, wci_where w, const json_t *object, behavior *out)
{
    static const char *const names[] = {[REMOVED] = "Removed",
                                        [ISOLATED] = "Isolated",
                                        [MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
                                        [MERGED_WITH_NEXT] = "MergedWithNext",
                                        [CONTIGUOUS] = "Contiguous"};
    const json_t *value = json_object_get(object, "behavior");
    if (!value) return WC_OK;
    for (size_t i = 0; json_is_string(value) && i < sizeof names / sizeof *names; i++) {
        if (strcmp(json_string_value(value), names[i])) continue;
        *out = (behavior)i;
        return WC_OK;
    }
    return wc_fail(ctx, WC_BADFILE, "%s: %s: `behavior' is not one that splits can have", w.label, w.part);
}

static wc_status compile(wc_ctx *ctx, wci_where w, const char *pattern, wci_pre_step *s)
{
    return wci_regex_compile(ctx, w, (wci_str){pattern, strlen(pattern)}, WCI_ONIGURUMA, &s->re);
}

static wc_status load_split(wc_ctx *ctx, wci_where w, const json_t *object, wci_pretokenizer *pt)
{
    wci_pre_step *s = NULL;
    WC_TRY(new_step(ctx, w, pt, STEP_SPLIT, &s));
    WC_TRY(load_behavior(ctx, w, object, &s->behavior));
    WC_TRY(wci_json_bool(ctx, w, object, "invert", false, &s->invert));
    return wci_regex_load(ctx, w, json_object_get(object, "pattern"), &s->re);
}

static wc_status load_byte_level(wc_ctx *ctx, wci_where w, const json_t *object, wci_pretokenizer *pt)
{
    wci_pre_step *s = NULL;
    bool prefix = false, use_regex = false;
    WC_TRY(wci_json_bool(ctx, w, object, "add_prefix_space", true, &prefix));
    WC_TRY(wci_json_bool(ctx, w, object, "use_regex", true, &use_regex));
    if (prefix) WC_TRY(new_step(ctx, w, pt, STEP_PREFIX, &s));
    if (use_regex) {
        WC_TRY(new_step(ctx, w, pt, STEP_SPLIT, &s));
        WC_TRY(compile(ctx, w, gpt2_pattern, s));
    }
    return new_step(ctx, w, pt, STEP_BYTES, &s);
}

static wc_status load_metaspace(wc_ctx *ctx, wci_where w, const json_t *object, wci_pretokenizer *pt)
{
    static const char *const names[] = {
        [PREPEND_ALWAYS] = "always", [PREPEND_FIRST] = "first", [PREPEND_NEVER] = "never"};
    const json_t *value = json_object_get(object, "prepend_scheme");
    wci_pre_step *mark = NULL, *split = NULL;
    bool add_prefix = false, cut = false;
    WC_TRY(new_step(ctx, w, pt, STEP_MARK, &mark));
    WC_TRY(wci_json_string(ctx, w, object, "replacement", &mark->mark));
    size_t n = mark->mark.size;
    if (!n || n != wci_utf8_length(mark->mark.data[0]))
        return wc_fail(ctx, WC_BADFILE, "%s: %s: Metaspace's `replacement' must be one character", w.label, w.part);
    WC_TRY(wci_json_bool(ctx, w, object, "add_prefix_space", true, &add_prefix)); /* files before 2024 */
    WC_TRY(wci_json_bool(ctx, w, object, "split", true, &cut));
    mark->scheme = add_prefix ? PREPEND_ALWAYS : PREPEND_NEVER;
    if (value) {
        size_t i = 0;
        while (i < 3 && !(json_is_string(value) && !strcmp(json_string_value(value), names[i])))
            i++;
        if (i == 3)
            return wc_fail(ctx, WC_BADFILE, "%s: %s: `prepend_scheme' is always, first or never", w.label, w.part);
        mark->scheme = (scheme)i;
    }
    if (!cut) return WC_OK;
    WC_TRY(new_step(ctx, w, pt, STEP_SPLIT, &split));
    split->behavior = MERGED_WITH_NEXT;
    return wci_regex_compile(ctx, w, wci_slice(&mark->mark), WCI_LITERAL, &split->re);
}

static wc_status load_digits(wc_ctx *ctx, wci_where w, const json_t *object, wci_pretokenizer *pt)
{
    wci_pre_step *s = NULL;
    bool individual = false;
    WC_TRY(wci_json_bool(ctx, w, object, "individual_digits", false, &individual));
    WC_TRY(new_step(ctx, w, pt, STEP_CHARS, &s));
    s->is_delimiter = wci_is_numeric;
    s->behavior = individual ? ISOLATED : CONTIGUOUS;
    return WC_OK;
}

static wc_status load_punctuation(wc_ctx *ctx, wci_where w, const json_t *object, wci_pretokenizer *pt)
{
    wci_pre_step *s = NULL;
    WC_TRY(new_step(ctx, w, pt, STEP_CHARS, &s));
    s->is_delimiter = wci_is_punct;
    return load_behavior(ctx, w, object, &s->behavior);
}

static wc_status load_whitespace(wc_ctx *ctx, wci_where w, const json_t *object, wci_pretokenizer *pt)
{
    wci_pre_step *s = NULL;
    (void)object;
    WC_TRY(new_step(ctx, w, pt, STEP_SPLIT, &s));
    s->behavior = REMOVED;
    s->invert = true;
    return compile(ctx, w, words_pattern, s);
}

static wc_status load_whitespace_split(wc_ctx *ctx, wci_where w, const json_t *object, wci_pretokenizer *pt)
{
    wci_pre_step *s = NULL;
    (void)object;
    WC_TRY(new_step(ctx, w, pt, STEP_CHARS, &s));
    s->is_delimiter = wci_is_space;
    s->behavior = REMOVED;
    return WC_OK;
}

static const struct {
    const char *type;
    wc_status (*load)(wc_ctx *ctx, wci_where w, const json_t *object, wci_pretokenizer *pt);
} types[] = {
    {"Split", load_split},
    {"ByteLevel", load_byte_level},
    {"Metaspace", load_metaspace},
    {"Digits", load_digits},
    {"Punctuation", load_punctuation},
    {"Whitespace", load_whitespace},
    {"WhitespaceSplit", load_whitespace_split},
};

static wc_status load_step(wc_ctx *ctx, wci_where w, const json_t *object, const char *type, void *arg)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(type, types[i].type)) return types[i].load(ctx, w, object, arg);
    return wc_fail(ctx, WC_UNSUPPORTED, "%s: the pre-tokenizer `%s' is not supported", w.label, type);
}

wc_status wci_pretokenizer_load(wc_ctx *ctx, const char *label, const json_t *value, wci_pretokenizer *out)
{
    WC_TRY(WC_ALLOC(ctx, out->step, WCI_MAX_STEPS, "the pre-tokenizer"));
    return wci_json_steps(ctx, (wci_where){label, "pre_tokenizer"}, value, "pretokenizers", load_step, out);
}

void wci_pretokenizer_free(wci_pretokenizer *pt)
{
    for (size_t i = 0; i < pt->n; i++) {
        wci_regex_free(&pt->step[i].re);
        wc_buf_free(&pt->step[i].mark);
    }
    free(pt->step);
    memset(pt, 0, sizeof *pt);
}

bool wci_pretokenizer_is_byte_level(const wci_pretokenizer *pt)
{
    for (size_t i = 0; i < pt->n; i++)
        if (pt->step[i].kind == STEP_BYTES) return true;
    return false;
}

wci_str wci_pretokenizer_space_mark(const wci_pretokenizer *pt)
{
    for (size_t i = 0; i < pt->n; i++)
        if (pt->step[i].kind == STEP_MARK) return wci_slice(&pt->step[i].mark);
    return (wci_str){"", 0};
}

void wci_pre_scratch_free(wci_pre_scratch *s)
{
    for (size_t i = 0; i < WCI_MAX_STEPS; i++)
        wc_buf_free(&s->buf[i]);
}

/* ---- the byte alphabet ---- */

/* Bytes that print stand for themselves; the other 68 are U+0100 onwards, in increasing order. */
static bool byte_prints(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
}

uint32_t wci_byte_char(uint8_t byte)
{
    if (byte_prints(byte)) return byte;
    return 0x100u + (byte < 0x21 ? byte : byte < 0xa1 ? byte - 0x7fu + 0x21u : 67u);
}

bool wci_char_byte(uint32_t cp, uint8_t *byte)
{
    if (cp >= 0x144 || (cp < 0x100 && !byte_prints(cp))) return false;
    if (cp < 0x100)
        *byte = (uint8_t)cp;
    else if (cp < 0x121)
        *byte = (uint8_t)(cp - 0x100);
    else
        *byte = cp == 0x143 ? 0xad : (uint8_t)(cp - 0x121 + 0x7f);
    return true;
}

wc_status wci_to_byte_level(wc_ctx *ctx, wci_str text, wc_buf *out)
{
    char s[256];
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        n += wci_utf8_encode(wci_byte_char((uint8_t)text.p[i]), s + n);
        if (n <= sizeof s - 4 && i + 1 < text.n) continue;
        WC_TRY(wc_buf_append(ctx, out, s, n));
        n = 0;
    }
    return WC_OK;
}

/* ---- running ---- */

typedef struct walk {
    wc_ctx *ctx;
    const wci_pretokenizer *pt;
    wci_pre_scratch *scratch;
    wci_piece_fn emit;
    void *arg;
} walk;

/* The matches and gaps of one text on their way to pieces; see `segment'. */
typedef struct cutter {
    size_t step;
    wci_str text;
    bool at_start;
    bool held, held_match; /* a segment is held back, as the next one may join it */
    size_t start, end;
} cutter;

static wc_status run(const walk *w, size_t step, wci_str text, bool at_start);

static wc_status give(const walk *w, const cutter *c, size_t start, size_t end)
{
    if (start == end) return WC_OK;
    return run(w, c->step + 1, (wci_str){c->text.p + start, end - start}, c->at_start && !start);
}

static wc_status release(const walk *w, cutter *c)
{
    bool held = c->held;
    c->held = false;
    return held ? give(w, c, c->start, c->end) : WC_OK;
}

/* Takes the next segment. The merging behaviors join exactly two neighbours of different kinds: a match to the gap
 * before it or after it. A match beside a match stays alone. */
static wc_status segment(const walk *w, cutter *c, size_t start, size_t end, bool is_match)
{
    const wci_pre_step *s = &w->pt->step[c->step];
    is_match ^= s->invert;
    if (s->behavior == ISOLATED) return give(w, c, start, end);
    if (s->behavior == REMOVED) return is_match ? WC_OK : give(w, c, start, end);
    bool same = c->held && c->held_match == is_match, differ = c->held && !same;
    if (s->behavior == CONTIGUOUS && same) {
        c->end = end;
        return WC_OK;
    }
    if ((s->behavior == MERGED_WITH_PREVIOUS && differ && is_match) ||
        (s->behavior == MERGED_WITH_NEXT && differ && !is_match)) {
        c->end = end;
        return release(w, c);
    }
    WC_TRY(release(w, c));
    c->held = true;
    c->held_match = is_match;
    c->start = start;
    c->end = end;
    return WC_OK;
}

static wc_status cut_by_regex(const walk *w, cutter *c)
{
    wci_scan scan = {.re = w->pt->step[c->step].re, .text = c->text};
    size_t done = 0;
    for (;;) {
        WC_TRY(wci_scan_next(w->ctx, w->scratch->matcher, &scan));
        if (scan.done) break;
        size_t start = scan.start, end = scan.end;
        if (done < start) WC_TRY(segment(w, c, done, start, false));
        WC_TRY(segment(w, c, start, end, true));
        done = end;
    }
    if (done < c->text.n) WC_TRY(segment(w, c, done, c->text.n, false));
    return release(w, c);
}

static wc_status cut_by_chars(const walk *w, cutter *c)
{
    bool (*is_delimiter)(uint32_t) = w->pt->step[c->step].is_delimiter;
    size_t done = 0;
    for (size_t i = 0; i < c->text.n;) {
        uint32_t cp;
        size_t next = i + wci_utf8_decode(c->text.p + i, &cp);
        if (is_delimiter(cp)) {
            if (done < i) WC_TRY(segment(w, c, done, i, false));
            WC_TRY(segment(w, c, i, next, true));
            done = next;
        }
        i = next;
    }
    if (done < c->text.n) WC_TRY(segment(w, c, done, c->text.n, false));
    return release(w, c);
}

static wc_status mark_spaces(wc_ctx *ctx, const wci_pre_step *s, wci_str text, bool at_start, wc_buf *out)
{
    const wc_buf *mark = &s->mark;
    bool has_one = text.n && (text.p[0] == ' ' || (text.n >= mark->size && !memcmp(text.p, mark->data, mark->size)));
    if (!has_one && (s->scheme == PREPEND_ALWAYS || (s->scheme == PREPEND_FIRST && at_start)))
        WC_TRY(wc_buf_append(ctx, out, mark->data, mark->size));
    while (text.n) {
        const char *space = memchr(text.p, ' ', text.n);
        size_t run_length = space ? (size_t)(space - text.p) : text.n;
        WC_TRY(wc_buf_append(ctx, out, text.p, run_length));
        if (space) WC_TRY(wc_buf_append(ctx, out, mark->data, mark->size));
        run_length += space != NULL;
        text.p += run_length;
        text.n -= run_length;
    }
    return WC_OK;
}

/* Applies the steps from `step' on to one non-empty piece. Recursion is as deep as there are steps. */
static wc_status run(const walk *w, size_t step, wci_str text, bool at_start)
{
    if (step == w->pt->n) return w->emit(w->ctx, w->arg, text);
    const wci_pre_step *s = &w->pt->step[step];
    cutter c = {.step = step, .text = text, .at_start = at_start};
    wc_buf *out = &w->scratch->buf[step];
    out->size = 0;
    switch (s->kind) {
    case STEP_SPLIT: return cut_by_regex(w, &c);
    case STEP_CHARS: return cut_by_chars(w, &c);
    case STEP_PREFIX:
        if (text.p[0] == ' ') return run(w, step + 1, text, at_start);
        WC_TRY(wc_buf_append(w->ctx, out, " ", 1));
        WC_TRY(wc_buf_append(w->ctx, out, text.p, text.n));
        break;
    case STEP_MARK: WC_TRY(mark_spaces(w->ctx, s, text, at_start, out)); break;
    case STEP_BYTES: WC_TRY(wci_to_byte_level(w->ctx, text, out)); break;
    }
    if (out->size > w->scratch->limit)
        return wc_fail(w->ctx, WC_BADFILE, "tokenizer: pre-tokenizer step %zu makes %zu bytes", step + 1, out->size);
    return run(w, step + 1, wci_slice(out), at_start);
}

wc_status wci_pretokenize(wc_ctx *ctx, const wci_pretokenizer *pt, wci_pre_scratch *s, wci_str text, bool at_start,
                          wci_piece_fn emit, void *arg)
{
    walk w = {ctx, pt, s, emit, arg};
    return text.n ? run(&w, 0, text, at_start) : WC_OK;
}
