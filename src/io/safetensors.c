#include "io/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensor data is used in place and is little-endian");

typedef unsigned long long ull;

/* Why not Jansson here: it builds a tree of about a kilobyte per tensor entry, so the legal maximum, a 100 MB header
 * with 1.8 million entries, would take gigabytes before the first check could run, and duplicate names would cost a
 * hash table each. This parser goes through the text once, its strings live in one block of the header's size, it
 * recurses only into values that it skips and at most MAX_DEPTH deep, and it stops at the first fault. It takes the
 * dialect of serde_json, which the reference uses: RFC 8259, no leading zeros, no lone surrogates, no control
 * characters in strings. */
enum { MAX_DEPTH = 4 };

typedef struct scan {
    const uint8_t *begin, *p, *end;
    char *text; /* where the next string goes. A string never grows by unescaping, and its NUL takes a quote's place */
    wc_ctx *ctx;
    const char *label;
    size_t n_unknown_keys;
} scan;

static wc_status bad(const scan *s, const char *why)
{
    return wc_fail(s->ctx, WC_BADFILE, "%s: header, byte %zu: %s", s->label, (size_t)(s->p - s->begin), why);
}

static void skip_space(scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

/* The next character that is not white space, not consumed; -1 at the end. */
static int peek(scan *s)
{
    skip_space(s);
    return s->p < s->end ? *s->p : -1;
}

static wc_status expect(scan *s, char c)
{
    char why[32];
    if (peek(s) == c) {
        s->p++;
        return WC_OK;
    }
    snprintf(why, sizeof why, "expected `%c'", c);
    return bad(s, s->p == s->end ? "the JSON ends early" : why);
}

/* After an element: *more says whether a comma, and so another element, follows; otherwise `close' was consumed. */
static wc_status next_element(scan *s, char close, bool *more)
{
    int c = peek(s);
    char why[40];
    if (c == ',' || c == close) {
        s->p++;
        *more = c == ',';
        return WC_OK;
    }
    snprintf(why, sizeof why, "expected `,' or `%c'", close);
    return bad(s, c < 0 ? "the JSON ends early" : why);
}

/* Opens `{' or `['; *more is false when it is closed at once. */
static wc_status open_list(scan *s, char open, char close, bool *more)
{
    WC_TRY(expect(s, open));
    *more = peek(s) != close;
    s->p += !*more;
    return WC_OK;
}

/* p at the four digits of \uXXXX. -1 if they are not there. */
static int hex4(const scan *s)
{
    int x = 0;
    if (s->end - s->p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int c = s->p[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) return -1;
        x = x << 4 | digit;
    }
    return x;
}

/* p behind `\u'. Appends the character, which may take a second escape (a surrogate pair). */
static wc_status read_unicode(scan *s)
{
    int c = hex4(s);
    if (c < 0) return bad(s, "\\u without four hexadecimal digits");
    if (c == 0) return bad(s, "\\u0000 in a string");
    s->p += 4;
    if (c >= 0xd800 && c <= 0xdfff) {
        if (c >= 0xdc00 || s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u') return bad(s, "lone surrogate");
        s->p += 2;
        int low = hex4(s);
        if (low < 0xdc00 || low > 0xdfff) return bad(s, "lone surrogate");
        s->p += 4;
        c = 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
    }
    s->text += utf8proc_encode_char(c, (utf8proc_uint8_t *)s->text);
    return WC_OK;
}

static wc_status read_escape(scan *s)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->p == s->end) return bad(s, "the JSON ends inside a string");
    int c = *s->p++;
    if (c == 'u') return read_unicode(s);
    const char *at = c ? strchr(from, c) : NULL;
    if (!at) return bad(s, "unknown escape in a string");
    *s->text++ = to[at - from];
    return WC_OK;
}

/* A string into s->text, with a NUL; *out points at it. */
static wc_status read_string(scan *s, char **out)
{
    WC_TRY(expect(s, '"'));
    *out = s->text;
    while (s->p < s->end && *s->p != '"') {
        if (*s->p == '\\') {
            s->p++;
            WC_TRY(read_escape(s));
        } else if (*s->p < 0x20) {
            return bad(s, "control character in a string");
        } else if (*s->p < 0x80) {
            *s->text++ = (char)*s->p++;
        } else {
            utf8proc_int32_t c;
            utf8proc_ssize_t n = utf8proc_iterate(s->p, s->end - s->p, &c);
            if (n < 1) return bad(s, "not UTF-8");
            memcpy(s->text, s->p, (size_t)n);
            s->text += n, s->p += n;
        }
    }
    if (s->p == s->end) return bad(s, "the JSON ends inside a string");
    s->p++;
    *s->text++ = 0;
    return WC_OK;
}

static wc_status read_integer(scan *s, uint64_t *out)
{
    int c = peek(s);
    uint64_t x = 0;
    if (c < '0' || c > '9') return bad(s, "expected a non-negative integer");
    if (c == '0' && s->end - s->p > 1 && s->p[1] >= '0' && s->p[1] <= '9') return bad(s, "leading zero in an integer");
    for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++) {
        x = x * 10 + (*s->p - '0');
        if (x > WC_ST_MAX_INT) return bad(s, "an integer above 281474976710655 (2^48 - 1)");
    }
    if (s->p < s->end && (*s->p == '.' || *s->p == 'e' || *s->p == 'E'))
        return bad(s, "expected an integer, found a fraction or an exponent");
    *out = x;
    return WC_OK;
}

static size_t skip_digits(scan *s)
{
    const uint8_t *from = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return (size_t)(s->p - from);
}

static bool skip_char(scan *s, const char *any)
{
    bool hit = s->p < s->end && *s->p && strchr(any, *s->p);
    s->p += hit;
    return hit;
}

static wc_status skip_number(scan *s)
{
    skip_char(s, "-");
    bool zero = s->p < s->end && *s->p == '0';
    size_t n = skip_digits(s);
    if (!n || (zero && n > 1)) return bad(s, "malformed number");
    if (skip_char(s, ".") && !skip_digits(s)) return bad(s, "malformed number");
    if (skip_char(s, "eE")) {
        skip_char(s, "+-");
        if (!skip_digits(s)) return bad(s, "malformed number");
    }
    return WC_OK;
}

static wc_status skip_word(scan *s)
{
    static const char *const words[] = {"null", "true", "false"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(s->end - s->p) >= n && !memcmp(s->p, words[i], n)) {
            s->p += n;
            return WC_OK;
        }
    }
    return bad(s, "expected a value");
}

/* The value of a key that we do not know, at nesting depth `depth'. */
static wc_status skip_value(scan *s, int depth)
{
    int c = peek(s);
    char *ignored;
    if (c == '"') return read_string(s, &ignored);
    if (c == '-' || (c >= '0' && c <= '9')) return skip_number(s);
    if (c != '{' && c != '[') return skip_word(s);
    if (depth >= MAX_DEPTH) return bad(s, "nested deeper than 4");
    bool more;
    char close = c == '{' ? '}' : ']';
    WC_TRY(open_list(s, (char)c, close, &more));
    while (more) {
        if (c == '{') {
            WC_TRY(read_string(s, &ignored));
            WC_TRY(expect(s, ':'));
        }
        WC_TRY(skip_value(s, depth + 1));
        WC_TRY(next_element(s, close, &more));
    }
    return WC_OK;
}

static wc_status read_shape(scan *s, wc_st_tensor *t)
{
    bool more;
    WC_TRY(open_list(s, '[', ']', &more));
    while (more) {
        if (t->n_dims == WC_ST_MAX_DIMS) {
            char shown[WC_SHOWN];
            return wc_fail(s->ctx, WC_UNSUPPORTED, "%s: tensor `%s' has more than %u dimensions", s->label,
                           wc_escape_name(shown, sizeof shown, t->name), WC_ST_MAX_DIMS);
        }
        WC_TRY(read_integer(s, &t->dims[t->n_dims++]));
        WC_TRY(next_element(s, ']', &more));
    }
    return WC_OK;
}

static wc_status read_range(scan *s, uint64_t *begin, uint64_t *end)
{
    WC_TRY(expect(s, '['));
    WC_TRY(read_integer(s, begin));
    WC_TRY(expect(s, ','));
    WC_TRY(read_integer(s, end));
    return expect(s, ']');
}

static wc_status read_dtype(scan *s, wc_st_tensor *t)
{
    char *name, shown[WC_SHOWN], shown_dtype[64];
    WC_TRY(read_string(s, &name));
    t->dtype = wc_dtype_from_name(name);
    if (t->dtype == WC_DTYPE_NONE)
        return wc_fail(s->ctx, WC_BADFILE, "%s: tensor `%s' has the unknown dtype `%s'", s->label,
                       wc_escape_name(shown, sizeof shown, t->name),
                       wc_escape_name(shown_dtype, sizeof shown_dtype, name));
    return WC_OK;
}

bool wc_st_size(wc_dtype dtype, const uint64_t *dims, uint32_t n_dims, uint64_t *size)
{
    uint64_t n = 1;
    for (uint32_t i = 0; i < n_dims; i++)
        if (!wc_mul(n, dims[i], &n)) return false;
    if (!wc_mul(n, wc_dtype_bits(dtype), &n) || n % 8) return false;
    *size = n / 8;
    return true;
}

char *wc_st_shape(char *dst, size_t size, const wc_st_tensor *t)
{
    size_t n = (size_t)snprintf(dst, size, "%s [", wc_dtype_name(t->dtype));
    for (uint32_t i = 0; i < t->n_dims && n < size; i++)
        n += (size_t)snprintf(dst + n, size - n, "%s%llu", i ? ", " : "", (ull)t->dims[i]);
    if (n < size) snprintf(dst + n, size - n, "]");
    return dst;
}

static wc_status bad_tensor(const scan *s, const wc_st_tensor *t, uint64_t size, uint64_t begin, uint64_t end)
{
    char shown[WC_SHOWN], shape[256];
    wc_escape_name(shown, sizeof shown, t->name);
    wc_st_shape(shape, sizeof shape, t);
    if (end < begin)
        return wc_fail(s->ctx, WC_BADFILE, "%s: tensor `%s': data_offsets [%llu, %llu] end before they begin", s->label,
                       shown, (ull)begin, (ull)end);
    if (size == UINT64_MAX)
        return wc_fail(s->ctx, WC_BADFILE, "%s: tensor `%s': the size of %s overflows or is no whole number of bytes",
                       s->label, shown, shape);
    return wc_fail(s->ctx, WC_BADFILE, "%s: tensor `%s': header says %s = %llu bytes, its offsets span %llu", s->label,
                   shown, shape, (ull)size, (ull)(end - begin));
}

/* What one entry's numbers say about each other; what they say about the other entries is check_coverage. */
static wc_status finish_tensor(const scan *s, wc_st_tensor *t, uint64_t begin, uint64_t end)
{
    uint64_t size = UINT64_MAX;
    if (!wc_st_size(t->dtype, t->dims, t->n_dims, &size) || end < begin || size != end - begin)
        return bad_tensor(s, t, size, begin, end);
    t->offset = begin;
    t->size = size;
    t->cols = t->n_dims ? t->dims[t->n_dims - 1] : 1;
    t->rows = 1;
    for (uint32_t i = 0; i + 1 < t->n_dims; i++)
        t->rows *= t->dims[i]; /* a prefix of the product that wc_st_size has checked */
    return WC_OK;
}

static wc_status read_tensor(scan *s, char *name, wc_st_tensor *t)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4 };
    static const struct {
        const char *key;
        unsigned bit;
    } keys[] = {{"dtype", DTYPE}, {"shape", SHAPE}, {"data_offsets", OFFSETS}};
    *t = (wc_st_tensor){.name = name};
    uint64_t begin = 0, end = 0;
    unsigned seen = 0;
    bool more;
    WC_TRY(open_list(s, '{', '}', &more));
    while (more) {
        char *key;
        WC_TRY(read_string(s, &key));
        WC_TRY(expect(s, ':'));
        unsigned bit = 0;
        for (size_t i = 0; i < 3; i++)
            if (!strcmp(key, keys[i].key)) bit = keys[i].bit;
        if (seen & bit) return bad(s, "the same key twice in a tensor's entry");
        seen |= bit;
        s->n_unknown_keys += !bit;
        WC_TRY(bit == DTYPE     ? read_dtype(s, t)
               : bit == SHAPE   ? read_shape(s, t)
               : bit == OFFSETS ? read_range(s, &begin, &end)
                                : skip_value(s, 2));
        WC_TRY(next_element(s, '}', &more));
    }
    for (size_t i = 0; i < 3; i++) {
        char shown[WC_SHOWN];
        if (!(seen & keys[i].bit))
            return wc_fail(s->ctx, WC_BADFILE, "%s: tensor `%s' has no \"%s\"", s->label,
                           wc_escape_name(shown, sizeof shown, name), keys[i].key);
    }
    return finish_tensor(s, t, begin, end);
}

/* Makes room for one more element of `size' bytes. */
static wc_status grow(const scan *s, void **array, size_t n, size_t *capacity, size_t size)
{
    if (n < *capacity) return WC_OK;
    size_t more = *capacity ? *capacity + *capacity / 2 : 64;
    void *p = realloc(*array, more * size);
    if (!p) return wc_fail(s->ctx, WC_NOMEM, "%s: no memory for a list of %zu entries", s->label, more);
    *array = p;
    *capacity = more;
    return WC_OK;
}

static wc_status read_metadata(scan *s, wc_safetensors *st)
{
    bool more;
    size_t capacity = 0;
    if (peek(s) == 'n') { /* the reference reads null as absent */
        wc_log(s->ctx, WC_LOG_WARN, "%s: __metadata__ is null", s->label);
        return skip_word(s);
    }
    WC_TRY(open_list(s, '{', '}', &more));
    while (more) {
        WC_TRY(grow(s, (void **)&st->meta, st->n_meta, &capacity, sizeof *st->meta));
        wc_st_meta *m = &st->meta[st->n_meta++];
        WC_TRY(read_string(s, &m->key));
        WC_TRY(expect(s, ':'));
        if (peek(s) != '"') return bad(s, "a __metadata__ value is not a string");
        WC_TRY(read_string(s, &m->value));
        WC_TRY(next_element(s, '}', &more));
    }
    return WC_OK;
}

static wc_status read_header(scan *s, wc_safetensors *st)
{
    bool more, has_meta = false;
    size_t capacity = 0;
    skip_space(s);
    st->leading_space = s->p > s->begin;
    WC_TRY(open_list(s, '{', '}', &more));
    while (more) {
        char *name;
        WC_TRY(read_string(s, &name));
        WC_TRY(expect(s, ':'));
        if (strcmp(name, "__metadata__")) {
            WC_TRY(grow(s, (void **)&st->tensor, st->n, &capacity, sizeof *st->tensor));
            WC_TRY(read_tensor(s, name, &st->tensor[st->n++]));
        } else {
            if (has_meta) return bad(s, "__metadata__ appears twice");
            has_meta = true;
            WC_TRY(read_metadata(s, st));
        }
        WC_TRY(next_element(s, '}', &more));
    }
    skip_space(s);
    st->n_unknown_keys = s->n_unknown_keys;
    return s->p == s->end ? WC_OK : bad(s, "text after the closing brace");
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts names and fails when two are equal. `kind' says what they are. */
static wc_status check_distinct(const scan *s, char **name, size_t n, const char *kind)
{
    char shown[WC_SHOWN];
    qsort(name, n, sizeof *name, by_string);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(name[i - 1], name[i]))
            return wc_fail(s->ctx, WC_BADFILE, "%s: the %s `%s' appears twice", s->label, kind,
                           wc_escape_name(shown, sizeof shown, name[i]));
    return WC_OK;
}

static wc_status check_names(const scan *s, const wc_safetensors *st)
{
    char **name = NULL;
    wc_status status;
    WC_TRY_OUT(WC_ALLOC(s->ctx, name, st->n > st->n_meta ? st->n : st->n_meta, "tensor names"));
    for (size_t i = 0; i < st->n_meta; i++)
        name[i] = st->meta[i].key;
    WC_TRY_OUT(check_distinct(s, name, st->n_meta, "metadata key"));
    for (size_t i = 0; i < st->n; i++)
        name[i] = st->tensor[i].name;
    WC_TRY_OUT(check_distinct(s, name, st->n, "tensor name"));
out:
    free(name);
    return status;
}

/* (begin, end), then name so that empty tensors have one order. */
static int by_range(const void *a, const void *b)
{
    const wc_st_tensor *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The tensors must tile the data: no hole, no overlap, nothing after the last. This is what makes a file that is also
 * something else impossible. Turns offsets into file offsets. */
static wc_status check_coverage(const scan *s, wc_safetensors *st, uint64_t data_begin, uint64_t file_size)
{
    char shown[WC_SHOWN];
    uint64_t cursor = 0, have = file_size - data_begin;
    if (st->n) qsort(st->tensor, st->n, sizeof *st->tensor, by_range);
    for (size_t i = 0; i < st->n; i++) {
        wc_st_tensor *t = &st->tensor[i];
        if (t->offset != cursor)
            return wc_fail(s->ctx, WC_BADFILE,
                           "%s: tensor `%s' begins at data byte %llu, the one before it ends at %llu: %s", s->label,
                           wc_escape_name(shown, sizeof shown, t->name), (ull)t->offset, (ull)cursor,
                           t->offset > cursor ? "a hole" : "they overlap");
        cursor += t->size;
        t->offset += data_begin;
    }
    if (cursor > have)
        return wc_fail(
            s->ctx, WC_BADFILE,
            "%s: file is %llu bytes short: it has %llu, its tensors end at %llu; likely an interrupted download",
            s->label, (ull)(cursor - have), (ull)file_size, (ull)(data_begin + cursor));
    if (cursor < have)
        return wc_fail(s->ctx, WC_BADFILE,
                       "%s: %llu bytes follow the last tensor: file has %llu, its tensors end at %llu", s->label,
                       (ull)(have - cursor), (ull)file_size, (ull)(data_begin + cursor));
    return WC_OK;
}

wc_status wc_safetensors_parse(wc_ctx *ctx, const uint8_t *header, size_t header_size, uint64_t file_size,
                               const char *label, wc_safetensors *out)
{
    wc_safetensors st = {0};
    wc_status status;
    memset(out, 0, sizeof *out);
    if (header_size > WC_ST_MAX_HEADER || file_size < 8 || header_size > file_size - 8)
        return wc_fail(ctx, WC_BUG, "%s: a header of %zu bytes for a file of %llu", label, header_size, (ull)file_size);
    scan s = {.begin = header, .p = header, .end = header + header_size, .ctx = ctx, .label = label};
    WC_TRY_OUT(WC_ALLOC(ctx, st.text, header_size, "header strings"));
    s.text = st.text;
    WC_TRY_OUT(read_header(&s, &st));
    WC_TRY_OUT(check_names(&s, &st));
    WC_TRY_OUT(check_coverage(&s, &st, 8 + (uint64_t)header_size, file_size));
    if (st.n_unknown_keys)
        wc_log(ctx, WC_LOG_WARN, "%s: %zu unknown keys in tensor entries are ignored", label, st.n_unknown_keys);
    *out = st;
    return WC_OK;
out:
    wc_safetensors_close(&st);
    return status;
}

/* What people really pass instead of safetensors. */
static const char *guess_kind(const uint8_t *first, size_t n)
{
    static const struct {
        const char *magic, *kind;
    } kinds[] = {{"version https://git-lfs", "; it is a git-lfs pointer, not the weights: run `git lfs pull'"},
                 {"GGUF", "; it is a GGUF file"},
                 {"PK\x03\x04", "; it is a zip archive, probably a PyTorch pickle"},
                 {"\x80\x02", "; it is a Python pickle"},
                 {"<!DOCTYPE", "; it is an HTML page, probably a failed download"},
                 {"<html", "; it is an HTML page, probably a failed download"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (n >= strlen(kinds[i].magic) && !memcmp(first, kinds[i].magic, strlen(kinds[i].magic))) return kinds[i].kind;
    return "";
}

wc_status wc_safetensors_header_size(wc_ctx *ctx, const uint8_t *first, size_t n_first, uint64_t file_size,
                                     const char *label, size_t *out)
{
    uint64_t size;
    *out = 0;
    if (file_size < 8 || n_first < 8)
        return wc_fail(ctx, WC_BADFILE, "%s: %llu bytes is too short for a safetensors file", label, (ull)file_size);
    memcpy(&size, first, 8);
    if (size > WC_ST_MAX_HEADER)
        return wc_fail(ctx, WC_BADFILE,
                       "%s: not a safetensors file: its header would have %llu bytes, the limit is %u%s", label,
                       (ull)size, WC_ST_MAX_HEADER, guess_kind(first, n_first));
    if (size > file_size - 8)
        return wc_fail(ctx, WC_BADFILE,
                       "%s: file is at least %llu bytes short: it has %llu, its header alone takes %llu; "
                       "likely an interrupted download",
                       label, (ull)(size - (file_size - 8)), (ull)file_size, (ull)(size + 8));
    *out = (size_t)size;
    return WC_OK;
}

wc_status wc_safetensors_open(wc_ctx *ctx, const char *path, wc_safetensors *out)
{
    wc_map map;
    size_t header_size;
    wc_status status;
    memset(out, 0, sizeof *out);
    WC_TRY(wc_map_open(ctx, path, &map));
    WC_TRY_OUT(wc_safetensors_header_size(ctx, map.data, map.size, map.size, path, &header_size));
    WC_TRY_OUT(wc_safetensors_parse(ctx, map.data + 8, header_size, map.size, path, out));
    out->path = strdup(path);
    if (!out->path) {
        wc_safetensors_close(out);
        status = wc_fail(ctx, WC_NOMEM, "no memory for a file name");
        goto out;
    }
    wc_map_release(&map, 0, 8 + (uint64_t)header_size);
    out->map = map;
    return WC_OK;
out:
    wc_map_close(&map);
    return status;
}

void wc_safetensors_close(wc_safetensors *st)
{
    if (!st) return;
    wc_map_close(&st->map);
    free(st->path);
    free(st->tensor);
    free(st->meta);
    free(st->text);
    memset(st, 0, sizeof *st);
}
