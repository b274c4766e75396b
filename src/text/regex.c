/* regex.c - the regular expressions of tokenizer.json, which are written for Oniguruma, run by PCRE2.
 *
 * The two agree on most of what tokenizers use. Where they differ the pattern is rewritten before it is compiled:
 *
 *   Oniguruma                             PCRE2 10.42 of the same meaning
 *   \s \S                                 \p{White_Space} \P{White_Space}: PCRE2's own \s has U+180E too
 *   \w \W                                 [\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]: PCRE2's own lacks the marks
 *   \b \B                                 lookarounds on that class
 *   \h \H                                 [0-9A-Fa-f]: PCRE2's own are horizontal space
 *   \v                                    \x0b: PCRE2's own is vertical space
 *   \uHHHH                                \x{HHHH}
 *   x{2,3}+                               (?:x{2,3})+: PCRE2 would take it as possessive
 *   x{,3}                                 x{0,3}
 *   (?m: )                                (?s: ); ^ and $ are always at lines, so everything is compiled MULTILINE
 *   [a&&b]                                (?:[a](?<=[b])): a character of a that, looked back at, is one of b
 *
 * What has no such form (classes in classes, \W in a class, callouts, recursion) is refused by name, never guessed. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/text_internal.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

struct wci_regex {
    pcre2_code *code;
};

struct wci_matcher {
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    pcre2_match_data *match;
};

#define SPACE_SET "\\p{White_Space}"
#define WORD_SET  "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define HEX_SET   "0-9A-Fa-f"
/* Backtracking steps of one search: linear patterns need a few per byte of a long run, explosive ones hit it in a
 * second. */
#define MATCH_LIMIT   50000000
#define HEAP_LIMIT_KB (256 * 1024)

enum { MAX_GROUPS = 250 }; /* PCRE2's own default limit */

/* A pattern on its way from one syntax to the other. */
typedef struct rewrite {
    wc_ctx *ctx;
    wci_where where;
    const char *p, *end;
    wc_buf out;
    size_t atom;              /* where in out the last atom starts: what a quantifier applies to */
    size_t group[MAX_GROUPS]; /* where the open groups start */
    size_t depth;
} rewrite;

static wc_status refuse(rewrite *r, const char *what)
{
    return wc_fail(r->ctx, WC_UNSUPPORTED, "%s: %s: regular expressions with %s are not supported", r->where.label,
                   r->where.part, what);
}

static wc_status put(rewrite *r, const char *s)
{
    return wc_buf_append(r->ctx, &r->out, s, strlen(s));
}

static wc_status copy(rewrite *r, size_t n)
{
    wc_status status = wc_buf_append(r->ctx, &r->out, r->p, n);
    r->p += n;
    return status;
}

static wc_status insert(rewrite *r, size_t at, const char *s)
{
    size_t n = strlen(s);
    WC_TRY(put(r, s));
    memmove(r->out.data + at + n, r->out.data + at, r->out.size - n - at);
    memcpy(r->out.data + at, s, n);
    return WC_OK;
}

/* \p{...} or \x{...}, copied as it is; r->p is at the backslash. */
static wc_status copy_braced(rewrite *r)
{
    const char *close = r->p + 2 < r->end && r->p[2] == '{' ? memchr(r->p, '}', (size_t)(r->end - r->p)) : NULL;
    return copy(r, close ? (size_t)(close + 1 - r->p) : 2);
}

static wc_status rewrite_set_escape(rewrite *r, char letter, bool in_class)
{
    bool negated = isupper((unsigned char)letter);
    const char *set = letter == 'w' || letter == 'W' ? WORD_SET : HEX_SET;
    if (in_class && negated) return refuse(r, "\\W or \\H inside a class");
    r->p += 2;
    if (in_class) return put(r, set);
    WC_TRY(put(r, negated ? "[^" : "["));
    WC_TRY(put(r, set));
    return put(r, "]");
}

static wc_status rewrite_unicode_escape(rewrite *r)
{
    char code[16] = "\\x{";
    if (r->end - r->p < 6) return refuse(r, "a short \\u");
    for (size_t i = 0; i < 4; i++) {
        if (!isxdigit((unsigned char)r->p[2 + i])) return refuse(r, "a short \\u");
        code[3 + i] = r->p[2 + i];
    }
    code[7] = '}';
    r->p += 6;
    return put(r, code);
}

/* r->p is at a backslash. */
static wc_status rewrite_escape(rewrite *r, bool in_class)
{
    static const char boundary[] = "(?:(?<=[" WORD_SET "])(?![" WORD_SET "])|(?<![" WORD_SET "])(?=[" WORD_SET "]))";
    static const char no_boundary[] = "(?:(?<=[" WORD_SET "])(?=[" WORD_SET "])|(?<![" WORD_SET "])(?![" WORD_SET "]))";
    if (r->end - r->p < 2) return refuse(r, "a lone backslash at the end");
    char letter = r->p[1], name[32];
    const char *replacement = NULL;
    switch (letter) {
    case 's': replacement = SPACE_SET; break;
    case 'S': replacement = "\\P{White_Space}"; break;
    case 'v': replacement = "\\x0b"; break;
    case 'b': replacement = in_class ? "\\x08" : boundary; break;
    case 'B': replacement = no_boundary; break;
    case 'w':
    case 'W':
    case 'h':
    case 'H': return rewrite_set_escape(r, letter, in_class);
    case 'u': return rewrite_unicode_escape(r);
    case 'p':
    case 'P':
    case 'x': return copy_braced(r);
    default:
        if (isalpha((unsigned char)letter) && !strchr("nrtfaedDAzZ", letter)) {
            snprintf(name, sizeof name, "the escape \\%c", letter);
            return refuse(r, name);
        }
        return copy(r, 1 + wc_min(wci_utf8_length((unsigned char)letter), (size_t)(r->end - r->p - 1)));
    }
    r->p += 2;
    return put(r, replacement);
}

/* The members of a class up to `]', which is left for the caller, or up to `&&' (*both set). */
static wc_status rewrite_members(rewrite *r, bool *both)
{
    *both = false;
    for (bool first = true; r->p < r->end && (first || *r->p != ']'); first = false) {
        if (*r->p == '\\') {
            WC_TRY(rewrite_escape(r, true));
        } else if (*r->p == '[') {
            const char *close =
                r->end - r->p > 1 && r->p[1] == ':' ? memmem(r->p, (size_t)(r->end - r->p), ":]", 2) : NULL;
            if (!close) return refuse(r, "a class inside a class");
            WC_TRY(copy(r, (size_t)(close + 2 - r->p)));
        } else if (r->end - r->p > 1 && r->p[0] == '&' && r->p[1] == '&') {
            r->p += 2;
            *both = true;
            return WC_OK;
        } else {
            WC_TRY(copy(r, 1));
        }
    }
    return r->p < r->end ? WC_OK : refuse(r, "a class without end");
}

/* [...], after its `['. nested: the right side of an intersection that is itself in brackets. */
static wc_status rewrite_class(rewrite *r, bool nested)
{
    size_t start = r->out.size;
    bool both, negated;
    r->p++;
    WC_TRY(put(r, "["));
    negated = r->p < r->end && *r->p == '^';
    if (negated) WC_TRY(copy(r, 1));
    WC_TRY(rewrite_members(r, &both));
    WC_TRY(put(r, "]"));
    if (!both) {
        r->p++;
        return WC_OK;
    }
    if (nested || negated) return refuse(r, "this form of class intersection");
    WC_TRY(insert(r, start, "(?:"));
    WC_TRY(put(r, "(?<="));
    if (r->p < r->end && *r->p == '[') {
        WC_TRY(rewrite_class(r, true));
    } else {
        WC_TRY(put(r, "["));
        WC_TRY(rewrite_members(r, &both));
        WC_TRY(put(r, "]"));
        if (both) return refuse(r, "this form of class intersection");
    }
    if (r->p == r->end || *r->p != ']') return refuse(r, "this form of class intersection");
    r->p++;
    return put(r, "))");
}

/* "(": a group, a lookaround or options. */
static wc_status rewrite_open(rewrite *r)
{
    if (r->end - r->p > 1 && r->p[1] == '*') return refuse(r, "(* ...)");
    if (r->depth == MAX_GROUPS) return refuse(r, "more than 250 nested groups");
    size_t start = r->out.size;
    WC_TRY(copy(r, 1));
    if (r->p < r->end && *r->p == '?') {
        WC_TRY(copy(r, 1));
        if (r->p < r->end && !strchr(":=!<>imx-#", *r->p)) return refuse(r, "this kind of (?...)");
        if (r->p < r->end && *r->p == '#') {
            const char *close = memchr(r->p, ')', (size_t)(r->end - r->p));
            return copy(r, close ? (size_t)(close + 1 - r->p) : (size_t)(r->end - r->p));
        }
        for (; r->p < r->end && strchr("imx-", *r->p); r->p++)
            WC_TRY(wc_buf_append(r->ctx, &r->out, *r->p == 'm' ? "s" : r->p, 1));
        if (r->p < r->end && *r->p == ')') return copy(r, 1); /* (?i): options for the rest, no group */
    }
    r->group[r->depth++] = start;
    return WC_OK;
}

/* {n,m} with what may follow, or a literal brace. */
static wc_status rewrite_brace(rewrite *r)
{
    const char *q = r->p + 1;
    while (q < r->end && (isdigit((unsigned char)*q) || *q == ','))
        q++;
    if (q == r->end || *q != '}' || q == r->p + 1) {
        r->atom = r->out.size;
        WC_TRY(put(r, "\\"));
        return copy(r, 1);
    }
    bool no_low = r->p[1] == ',';
    WC_TRY(copy(r, 1));
    if (no_low) WC_TRY(put(r, "0"));
    WC_TRY(copy(r, (size_t)(q + 1 - r->p)));
    if (r->p == r->end || *r->p != '+') return WC_OK;
    WC_TRY(insert(r, r->atom, "(?:"));
    WC_TRY(put(r, ")"));
    return copy(r, 1);
}

static wc_status rewrite_all(rewrite *r)
{
    while (r->p < r->end) {
        char c = *r->p;
        if (c == '{') {
            WC_TRY(rewrite_brace(r));
        } else if (c == '(') {
            WC_TRY(rewrite_open(r));
        } else if (c == ')') {
            if (r->depth) r->atom = r->group[--r->depth];
            WC_TRY(copy(r, 1));
        } else if (strchr("*+?|", c) && c) {
            WC_TRY(copy(r, 1));
        } else {
            r->atom = r->out.size;
            if (c == '\\')
                WC_TRY(rewrite_escape(r, false));
            else if (c == '[')
                WC_TRY(rewrite_class(r, false));
            else
                WC_TRY(copy(r, wc_min(wci_utf8_length((unsigned char)c), (size_t)(r->end - r->p))));
        }
    }
    return WC_OK;
}

wc_status wci_regex_compile(wc_ctx *ctx, wci_where w, wci_str pattern, wci_syntax syntax, wci_regex **out)
{
    wc_status status = WC_OK;
    rewrite *r = NULL;
    wci_regex *re = NULL;
    pcre2_compile_context *cc = NULL;
    uint32_t options = PCRE2_UTF | PCRE2_NO_UTF_CHECK; /* Jansson has checked the UTF-8 */
    if (pattern.n > WCI_MAX_PATTERN)
        return wc_fail(ctx, WC_BADFILE, "%s: %s: a regular expression of %zu bytes; the limit is %d", w.label, w.part,
                       pattern.n, WCI_MAX_PATTERN);
    WC_TRY_OUT(WC_ALLOC(ctx, r, 1, "a regular expression"));
    WC_TRY_OUT(WC_ALLOC(ctx, re, 1, "a regular expression"));
    if (syntax == WCI_ONIGURUMA) {
        *r = (rewrite){.ctx = ctx, .where = w, .p = pattern.p, .end = pattern.p + pattern.n};
        WC_TRY_OUT(rewrite_all(r));
        pattern = wci_slice(&r->out);
        options |= PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    } else {
        options |= PCRE2_LITERAL;
    }
    int error;
    PCRE2_SIZE offset;
    cc = pcre2_compile_context_create(NULL);
    if (!cc) WC_TRY_OUT(wc_fail(ctx, WC_NOMEM, "no memory for a regular expression"));
    pcre2_set_newline(cc, PCRE2_NEWLINE_LF);
    re->code = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, options, &error, &offset, cc);
    if (!re->code) {
        char text[128] = "?";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof text);
        WC_TRY_OUT(
            wc_fail(ctx, WC_UNSUPPORTED, "%s: %s: regular expression at byte %zu: %s", w.label, w.part, offset, text));
    }
    pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE); /* without it the interpreter runs */
    *out = re;
    re = NULL;
out:
    pcre2_compile_context_free(cc);
    wci_regex_free(&re);
    if (r) wc_buf_free(&r->out);
    free(r);
    return status;
}

void wci_regex_free(wci_regex **re)
{
    if (!re || !*re) return;
    pcre2_code_free((*re)->code);
    free(*re);
    *re = NULL;
}

wc_status wci_matcher_new(wc_ctx *ctx, wci_matcher **out)
{
    wci_matcher *m = NULL;
    WC_TRY(WC_ALLOC(ctx, m, 1, "regular expression matching"));
    m->context = pcre2_match_context_create(NULL);
    m->stack = pcre2_jit_stack_create(32 * 1024, 8 * 1024 * 1024, NULL);
    m->match = pcre2_match_data_create(1, NULL); /* only the whole match is asked for */
    if (!m->context || !m->stack || !m->match) {
        wci_matcher_free(&m);
        return wc_fail(ctx, WC_NOMEM, "no memory for regular expression matching");
    }
    pcre2_jit_stack_assign(m->context, NULL, m->stack);
    pcre2_set_match_limit(m->context, MATCH_LIMIT);
    pcre2_set_heap_limit(m->context, HEAP_LIMIT_KB);
    *out = m;
    return WC_OK;
}

void wci_matcher_free(wci_matcher **m)
{
    if (!m || !*m) return;
    pcre2_match_context_free((*m)->context);
    pcre2_jit_stack_free((*m)->stack);
    pcre2_match_data_free((*m)->match);
    free(*m);
    *m = NULL;
}

static int search(wci_matcher *m, const wci_scan *s)
{
    PCRE2_SPTR text = (PCRE2_SPTR)s->text.p;
    int rc = pcre2_match(s->re->code, text, s->text.n, s->next, PCRE2_NO_UTF_CHECK, m->match, m->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* a long match of a group: the interpreter keeps its state on the heap */
        rc =
            pcre2_match(s->re->code, text, s->text.n, s->next, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m->match, m->context);
    return rc;
}

wc_status wci_scan_next(wc_ctx *ctx, wci_matcher *m, wci_scan *s)
{
    while (s->next <= s->text.n) {
        int rc = search(m, s);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0) {
            char text[128] = "?";
            pcre2_get_error_message(rc, (PCRE2_UCHAR *)text, sizeof text);
            return wc_fail(ctx, WC_BADFILE, "tokenizer: a regular expression failed at byte %zu of %zu: %s", s->next,
                           s->text.n, text);
        }
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(m->match);
        if (at[0] < s->next || at[1] < at[0] || at[1] > s->text.n)
            return wc_fail(ctx, WC_BADFILE, "tokenizer: a regular expression matches backwards at byte %zu", s->next);
        if (at[0] == at[1] && s->matched && s->last_end == at[1]) {
            s->next += s->next < s->text.n ? wci_utf8_length((unsigned char)s->text.p[s->next]) : 1;
            continue;
        }
        s->start = at[0];
        s->end = s->next = s->last_end = at[1];
        s->matched = true;
        return WC_OK;
    }
    s->done = true;
    return WC_OK;
}

wc_status wci_regex_load(wc_ctx *ctx, wci_where w, const json_t *pattern, wci_regex **out)
{
    const json_t *literal = json_object_get(pattern, "String");
    wc_buf text = {0};
    wc_status status;
    WC_TRY_OUT(wci_json_string(ctx, w, pattern, literal ? "String" : "Regex", &text));
    WC_TRY_OUT(wci_regex_compile(ctx, w, wci_slice(&text), literal ? WCI_LITERAL : WCI_ONIGURUMA, out));
out:
    wc_buf_free(&text);
    return status;
}
