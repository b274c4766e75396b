/* normalize.c - the normalizer steps: text to text, before anything is split. */
#include "text/text_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static const struct {
    const char *type;
    wci_norm_kind kind;
    int options;
} kinds[] = {
    {"Replace", WCI_NORM_REPLACE, 0},
    {"Prepend", WCI_NORM_PREPEND, 0},
    {"NFC", WCI_NORM_UNICODE, UTF8PROC_STABLE | UTF8PROC_COMPOSE},
    {"NFD", WCI_NORM_UNICODE, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
    {"NFKC", WCI_NORM_UNICODE, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
    {"NFKD", WCI_NORM_UNICODE, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
    {"Lowercase", WCI_NORM_LOWERCASE, 0},
    {"Strip", WCI_NORM_STRIP, 0},
    {"ByteLevel", WCI_NORM_BYTES, 0},
};

static wc_status load_step(wc_ctx *ctx, wci_where w, const json_t *object, const char *type, void *arg)
{
    wci_normalizer *nz = arg;
    size_t k = 0, count = sizeof kinds / sizeof *kinds;
    while (k < count && strcmp(type, kinds[k].type))
        k++;
    if (k == count) return wc_fail(ctx, WC_UNSUPPORTED, "%s: the normalizer `%s' is not supported", w.label, type);
    if (nz->n == WCI_MAX_STEPS)
        return wc_fail(ctx, WC_BADFILE, "%s: more than %d normalizer steps", w.label, WCI_MAX_STEPS);
    wci_norm_step *s = &nz->step[nz->n++];
    s->kind = kinds[k].kind;
    s->options = kinds[k].options;
    switch (s->kind) {
    case WCI_NORM_REPLACE: {
        const json_t *pattern = json_object_get(object, "pattern");
        const char *literal = json_string_value(json_object_get(pattern, "String"));
        s->from_space = literal && !strcmp(literal, " ");
        WC_TRY(wci_regex_load(ctx, w, pattern, &s->re));
        return wci_json_string(ctx, w, object, "content", &s->content);
    }
    case WCI_NORM_PREPEND: return wci_json_string(ctx, w, object, "prepend", &s->content);
    case WCI_NORM_STRIP:
        WC_TRY(wci_json_bool(ctx, w, object, "strip_left", true, &s->left));
        return wci_json_bool(ctx, w, object, "strip_right", true, &s->right);
    default: return WC_OK;
    }
}

wc_status wci_normalizer_load(wc_ctx *ctx, const char *label, const json_t *value, wci_normalizer *out)
{
    WC_TRY(WC_ALLOC(ctx, out->step, WCI_MAX_STEPS, "the normalizer"));
    return wci_json_steps(ctx, (wci_where){label, "normalizer"}, value, "normalizers", load_step, out);
}

void wci_normalizer_free(wci_normalizer *nz)
{
    for (size_t i = 0; i < nz->n; i++) {
        wci_regex_free(&nz->step[i].re);
        wc_buf_free(&nz->step[i].content);
    }
    free(nz->step);
    memset(nz, 0, sizeof *nz);
}

static wc_status replace(wc_ctx *ctx, const wci_norm_step *s, wci_matcher *m, wci_str text, size_t limit, wc_buf *out)
{
    wci_scan scan = {.re = s->re, .text = text};
    size_t copied = 0;
    while (text.n) {
        WC_TRY(wci_scan_next(ctx, m, &scan));
        if (scan.done || out->size > limit) break;
        WC_TRY(wc_buf_append(ctx, out, text.p + copied, scan.start - copied));
        WC_TRY(wc_buf_append(ctx, out, s->content.data, s->content.size));
        copied = scan.end;
    }
    return wc_buf_append(ctx, out, text.p + copied, text.n - copied);
}

static wc_status unicode_form(wc_ctx *ctx, const wci_norm_step *s, wci_str text, wc_buf *out)
{
    utf8proc_uint8_t *form = NULL;
    utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)text.p, (utf8proc_ssize_t)text.n, &form, (utf8proc_option_t)s->options);
    if (n < 0) return wc_fail(ctx, WC_NOMEM, "normalizing %zu bytes: %s", text.n, utf8proc_errmsg(n));
    wc_status status = wc_buf_append(ctx, out, form, (size_t)n);
    free(form);
    return status;
}

/* Character by character, as Rust's char::to_lowercase: only U+0130 becomes two; there is no final sigma. */
static wc_status lowercase(wc_ctx *ctx, wci_str text, wc_buf *out)
{
    uint32_t cp;
    char s[4];
    for (size_t i = 0; i < text.n;) {
        i += wci_utf8_decode(text.p + i, &cp);
        if (cp == 0x130)
            WC_TRY(wc_buf_append(ctx, out, "i\xcc\x87", 3));
        else
            WC_TRY(wc_buf_append(ctx, out, s, wci_utf8_encode((uint32_t)utf8proc_tolower((utf8proc_int32_t)cp), s)));
    }
    return WC_OK;
}

static wci_str strip(const wci_norm_step *s, wci_str text)
{
    uint32_t cp;
    while (s->left && text.n) {
        size_t length = wci_utf8_decode(text.p, &cp);
        if (!wci_is_space(cp)) break;
        text.p += length;
        text.n -= length;
    }
    while (s->right && text.n) {
        size_t at = text.n - 1;
        while ((text.p[at] & 0xc0) == 0x80)
            at--;
        wci_utf8_decode(text.p + at, &cp);
        if (!wci_is_space(cp)) break;
        text.n = at;
    }
    return text;
}

wc_status wci_normalize(wc_ctx *ctx, const wci_normalizer *nz, wci_matcher *m, wc_buf buf[2], size_t limit,
                        wci_str *text)
{
    wci_str now = *text;
    for (size_t i = 0; i < nz->n; i++) {
        const wci_norm_step *s = &nz->step[i];
        wc_buf *out = &buf[i & 1];
        out->size = 0;
        switch (s->kind) {
        case WCI_NORM_REPLACE: WC_TRY(replace(ctx, s, m, now, limit, out)); break;
        case WCI_NORM_PREPEND:
            if (now.n) WC_TRY(wc_buf_append(ctx, out, s->content.data, s->content.size));
            WC_TRY(wc_buf_append(ctx, out, now.p, now.n));
            break;
        case WCI_NORM_UNICODE: WC_TRY(unicode_form(ctx, s, now, out)); break;
        case WCI_NORM_LOWERCASE: WC_TRY(lowercase(ctx, now, out)); break;
        case WCI_NORM_STRIP:
            now = strip(s, now);
            WC_TRY(wc_buf_append(ctx, out, now.p, now.n));
            break;
        case WCI_NORM_BYTES: WC_TRY(wci_to_byte_level(ctx, now, out)); break;
        }
        if (out->size > limit)
            return wc_fail(ctx, WC_BADFILE, "tokenizer: normalizer step %zu makes %zu bytes of %zu", i + 1, out->size,
                           text->n);
        now = wci_slice(out);
    }
    *text = now;
    return WC_OK;
}
