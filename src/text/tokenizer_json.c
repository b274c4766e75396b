/* tokenizer_json.c - typed access to tokenizer.json. */
#include "text/text_internal.h"

#include <string.h>

/* Jansson refuses NUL in object keys, but a vocabulary may spell the character U+0000 as a token. So the escape \u0000
 * is replaced by the noncharacter U+10FFFF before parsing, and back in wci_json_text. A file that holds both is
 * refused. */
static const char nul_stand_in[] = "\xf4\x8f\xbf\xbf";

static wc_status replace_nul(wc_ctx *ctx, const char *json, size_t size, const char *label, wc_buf *out)
{
    size_t run = 0;
    if (memmem(json, size, nul_stand_in, 4))
        return wc_fail(ctx, WC_UNSUPPORTED, "%s: both U+0000 and U+10FFFF in one tokenizer are not supported", label);
    for (size_t i = 0; i + 1 < size; i++) {
        if (json[i] != '\\') continue;
        if (size - i >= 6 && !memcmp(json + i, "\\u0000", 6)) {
            WC_TRY(wc_buf_append(ctx, out, json + run, i - run));
            WC_TRY(wc_buf_append(ctx, out, nul_stand_in, 4));
            run = i + 6;
            i += 5;
        } else {
            i++; /* an escaped backslash is not the start of an escape */
        }
    }
    return wc_buf_append(ctx, out, json + run, size - run);
}

wc_status wci_json_load(wc_ctx *ctx, const char *json, size_t size, const char *label, json_t **out)
{
    json_error_t error;
    wc_buf clean = {0};
    wc_status status = WC_OK;
    if (size > WCI_MAX_JSON)
        return wc_fail(ctx, WC_BADFILE, "%s: %zu bytes; a tokenizer may have %d", label, size, WCI_MAX_JSON);
    if (memmem(json, size, "\\u0000", 6)) {
        WC_TRY_OUT(replace_nul(ctx, json, size, label, &clean));
        json = (const char *)clean.data;
        size = clean.size;
    }
    *out = json_loadb(json, size, JSON_REJECT_DUPLICATES, &error);
    if (!*out)
        status = wc_fail(ctx, WC_BADFILE, "%s: line %d, column %d: not valid JSON: %s", label, error.line, error.column,
                         error.text);
out:
    wc_buf_free(&clean);
    return status;
}

wc_status wci_json_text(wc_ctx *ctx, const char *s, size_t n, wc_buf *out)
{
    for (const char *found; n && (found = memmem(s, n, nul_stand_in, 4));) {
        WC_TRY(wc_buf_append(ctx, out, s, (size_t)(found - s)));
        WC_TRY(wc_buf_append(ctx, out, "", 1));
        n -= (size_t)(found - s) + 4;
        s = found + 4;
    }
    return wc_buf_append(ctx, out, s, n);
}

wc_status wci_json_string(wc_ctx *ctx, wci_where w, const json_t *object, const char *key, wc_buf *out)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_string(v)) return wc_fail(ctx, WC_BADFILE, "%s: %s: `%s' must be a string", w.label, w.part, key);
    return wci_json_text(ctx, json_string_value(v), json_string_length(v), out);
}

wc_status wci_json_bool(wc_ctx *ctx, wci_where w, const json_t *object, const char *key, bool fallback, bool *out)
{
    const json_t *v = json_object_get(object, key);
    if (v && !json_is_null(v) && !json_is_boolean(v))
        return wc_fail(ctx, WC_BADFILE, "%s: %s: `%s' must be true or false", w.label, w.part, key);
    *out = json_is_boolean(v) ? json_is_true(v) : fallback;
    return WC_OK;
}

wc_status wci_json_id(wc_ctx *ctx, wci_where w, const json_t *value, uint32_t *out)
{
    if (!json_is_integer(value))
        return wc_fail(ctx, WC_BADFILE, "%s: %s: a token id must be an integer", w.label, w.part);
    json_int_t id = json_integer_value(value);
    if (id < 0 || id > WCI_MAX_ID)
        return wc_fail(ctx, WC_BADFILE, "%s: %s: token id %lld is not in 0..%d", w.label, w.part, (long long)id,
                       WCI_MAX_ID);
    *out = (uint32_t)id;
    return WC_OK;
}

wc_status wci_json_type(wc_ctx *ctx, wci_where w, const json_t *object, const char **out)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    if (!type) return wc_fail(ctx, WC_BADFILE, "%s: %s: an object with a `type' was expected", w.label, w.part);
    *out = type;
    return WC_OK;
}

static wc_status steps(wc_ctx *ctx, wci_where w, const json_t *value, const char *key, wci_step_fn step, void *arg,
                       int depth)
{
    const char *type = NULL;
    WC_TRY(wci_json_type(ctx, w, value, &type));
    if (strcmp(type, "Sequence")) return step(ctx, w, value, type, arg);
    const json_t *list = json_object_get(value, key);
    if (!json_is_array(list)) return wc_fail(ctx, WC_BADFILE, "%s: %s: `%s' must be an array", w.label, w.part, key);
    if (depth == WCI_MAX_NESTING)
        return wc_fail(ctx, WC_BADFILE, "%s: %s: Sequences are nested more than %d deep", w.label, w.part,
                       WCI_MAX_NESTING);
    for (size_t i = 0; i < json_array_size(list); i++)
        WC_TRY(steps(ctx, w, json_array_get(list, i), key, step, arg, depth + 1));
    return WC_OK;
}

wc_status wci_json_steps(wc_ctx *ctx, wci_where w, const json_t *value, const char *key, wci_step_fn step, void *arg)
{
    if (!value || json_is_null(value)) return WC_OK;
    return steps(ctx, w, value, key, step, arg, 0);
}
