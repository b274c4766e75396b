#include "io/json.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "io/escape.h"

enum { MAX_DEPTH = 128, MAX_CONTAINERS = 8 << 20, INT64_SAFE_DIGITS = 18 };

/* p at the first character of a number: returns its end. An integer that may not fit int64 is rewritten in place as a
 * real of the same length, d.ddde+XX with at least 15 digits kept: Jansson, which would refuse the document, reads a
 * double. */
static char *widen_number(char *p, const char *end)
{
    char *first = p + (*p == '-'), *q = first;
    while (q < end && *q >= '0' && *q <= '9')
        q++;
    size_t digits = (size_t)(q - first);
    bool integer = q == end || !strchr(".eE", *q);
    while (q < end && *q && strchr("0123456789.eE+-", *q))
        q++;
    /* Beyond 300 digits it is no double either; a leading zero is no number: left for Jansson to refuse. */
    if (!integer || digits <= INT64_SAFE_DIGITS || digits > 300 || *first == '0') return q;
    char tail[24];
    size_t n_tail = (size_t)snprintf(tail, sizeof tail, "e%zu", digits - 1);
    memmove(first + 2, first + 1, digits - 2 - n_tail);
    first[1] = '.';
    memcpy(first + digits - n_tail, tail, n_tail);
    return q;
}

/* One pass over the text before Jansson sees it: bounds nesting and the number of containers, widens long integers.
 * NULL if it is acceptable, else the reason. Nothing else is judged here: malformed text is Jansson's to describe. */
static const char *prescan(char *text, size_t size, int *line)
{
    size_t depth = 0, containers = 0;
    bool in_string = false;
    *line = 1;
    for (char *p = text, *end = text + size; p < end; p++) {
        if (*p == '\n') ++*line;
        if (in_string) {
            if (*p == '\\')
                p++;
            else if (*p == '"')
                in_string = false;
        } else if (*p == '"') {
            in_string = true;
        } else if (*p == '{' || *p == '[') {
            if (++depth > MAX_DEPTH) return "nested deeper than 128";
            if (++containers > MAX_CONTAINERS) return "more than 8388608 objects and arrays";
        } else if (*p == '}' || *p == ']') {
            if (depth) depth--;
        } else if (*p == '-' || (*p >= '0' && *p <= '9')) {
            p = widen_number(p, end) - 1;
        }
    }
    return NULL;
}

wc_status wc_json_parse(wc_ctx *ctx, const char *text, size_t size, const char *label, json_t **out)
{
    *out = NULL;
    char *copy = malloc(size + 1);
    if (!copy) return wc_fail(ctx, WC_NOMEM, "%s: no memory for %zu bytes of JSON", label, size);
    if (size) memcpy(copy, text, size);
    wc_status status = WC_OK;
    int line;
    const char *why = prescan(copy, size, &line);
    json_t *root = NULL;
    if (why) {
        status = wc_fail(ctx, WC_BADFILE, "%s: line %d: %s", label, line, why);
    } else {
        json_error_t e;
        root = json_loadb(copy, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &e);
        char shown[JSON_ERROR_TEXT_LENGTH * 2];
        if (!root && json_error_code(&e) == json_error_out_of_memory)
            status = wc_fail(ctx, WC_NOMEM, "%s: no memory for its JSON", label);
        else if (!root)
            status = wc_fail(ctx, WC_BADFILE, "%s: line %d, column %d: %s", label, e.line, e.column,
                             wc_escape_name(shown, sizeof shown, e.text));
        else if (!json_is_object(root))
            status = wc_fail(ctx, WC_BADFILE, "%s: the top level is not a JSON object", label);
    }
    free(copy);
    if (status != WC_OK) {
        json_decref(root);
        return status;
    }
    *out = root;
    return WC_OK;
}

wc_status wc_json_read(wc_ctx *ctx, const char *path, uint64_t limit, json_t **out)
{
    wc_buf text;
    *out = NULL;
    WC_TRY(wc_read_file(ctx, path, limit, &text));
    wc_status status = wc_json_parse(ctx, (const char *)text.data, text.size, path, out);
    wc_buf_free(&text);
    return status;
}

/* What a getter complains about: `config.json: "hidden_size" is "64", expected an integer from 1 to 65536'. */
static wc_status wrong(wc_ctx *ctx, const char *label, const char *key, const json_t *v, const char *expected)
{
    enum { SHOWN = 60 };
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_COMPACT);
    const char *dots = text && strlen(text) > SHOWN ? "..." : "";
    wc_fail(ctx, WC_BADFILE, "%s: \"%s\" is %.*s%s, expected %s", label, key, SHOWN, text ? text : "?", dots, expected);
    free(text);
    return WC_BADFILE;
}

static const json_t *get(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_null(v) ? NULL : v;
}

wc_status wc_json_u64(wc_ctx *ctx, const json_t *obj, const char *key, uint64_t def, const char *label, uint64_t lo,
                      uint64_t hi, uint64_t *out)
{
    const json_t *v = get(obj, key);
    json_int_t i = v ? json_integer_value(v) : 0;
    char expected[80];
    if (v && (!json_is_integer(v) || i < 0 || (uint64_t)i < lo || (uint64_t)i > hi)) {
        snprintf(expected, sizeof expected, "an integer from %llu to %llu", (unsigned long long)lo,
                 (unsigned long long)hi);
        return wrong(ctx, label, key, v, expected);
    }
    *out = v ? (uint64_t)i : def;
    return WC_OK;
}

wc_status wc_json_real(wc_ctx *ctx, const json_t *obj, const char *key, double def, const char *label, double lo,
                       double hi, double *out)
{
    const json_t *v = get(obj, key);
    double x = v ? json_number_value(v) : 0;
    char expected[80];
    if (v && (!json_is_number(v) || !(x >= lo && x <= hi))) {
        snprintf(expected, sizeof expected, "a number from %g to %g", lo, hi);
        return wrong(ctx, label, key, v, expected);
    }
    *out = v ? x : def;
    return WC_OK;
}

wc_status wc_json_bool(wc_ctx *ctx, const json_t *obj, const char *key, bool def, const char *label, bool *out)
{
    const json_t *v = get(obj, key);
    if (v && !json_is_boolean(v)) return wrong(ctx, label, key, v, "true or false");
    *out = v ? json_is_true(v) : def;
    return WC_OK;
}

wc_status wc_json_str(wc_ctx *ctx, const json_t *obj, const char *key, const char *def, const char *label,
                      const char **out)
{
    const json_t *v = get(obj, key);
    if (v && !json_is_string(v)) return wrong(ctx, label, key, v, "a string");
    if (v && strlen(json_string_value(v)) != json_string_length(v))
        return wrong(ctx, label, key, v, "a string without \\u0000");
    *out = v ? json_string_value(v) : def;
    return WC_OK;
}
