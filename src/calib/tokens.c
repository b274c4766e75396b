#include "calib/tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"

enum { MAX_TEXT = 1 << 30 };

static void add_source(wc_windows *w, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t used = strlen(w->source);
    snprintf(w->source + used, sizeof w->source - used, "%s%s", used ? ", " : "", name);
}

static wc_status read_texts(wc_ctx *ctx, const wc_text_options *opt, wc_windows *w, wc_buf *text)
{
    if (!opt->n_files) {
        snprintf(w->source, sizeof w->source, "built-in text");
        return wc_buf_append(ctx, text, wc_builtin_text, wc_builtin_text_size());
    }
    for (size_t i = 0; i < opt->n_files; i++) {
        wc_buf one;
        WC_TRY(wc_read_file(ctx, opt->files[i], MAX_TEXT, &one));
        wc_status status = i ? wc_buf_append(ctx, text, "\n\n", 2) : WC_OK;
        if (status == WC_OK) status = wc_buf_append(ctx, text, one.data, one.size);
        wc_buf_free(&one);
        WC_TRY(status);
        add_source(w, opt->files[i]);
    }
    return WC_OK;
}

static wc_status read_ids(wc_ctx *ctx, const char *path, wc_windows *w, wc_ids *ids)
{
    wc_buf raw;
    WC_TRY(wc_read_file(ctx, path, MAX_TEXT, &raw));
    wc_status status = WC_OK;
    if (raw.size % 4)
        status = wc_fail(ctx, WC_BADFILE, "%s: %zu bytes is not a whole number of 32-bit token ids", path, raw.size);
    if (status == WC_OK) status = WC_ALLOC(ctx, ids->id, raw.size / 4, "token ids");
    if (status == WC_OK) {
        memcpy(ids->id, raw.data, raw.size);
        ids->n = ids->capacity = raw.size / 4;
        w->text_bytes = raw.size;
        w->text_hash = XXH3_64bits(raw.data, raw.size);
        add_source(w, path);
    }
    wc_buf_free(&raw);
    return status;
}

static wc_status check_ids(wc_ctx *ctx, const wc_windows *w, const wc_ids *ids, size_t vocab)
{
    for (size_t i = 0; i < ids->n; i++)
        if (ids->id[i] >= vocab)
            return wc_fail(
                ctx, WC_BADFILE,
                "%s: token %zu has id %u, but the model's vocabulary has %zu rows: the tokenizer and the model do not "
                "belong together",
                w->source, i, ids->id[i], vocab);
    return WC_OK;
}

/* A window holds seqlen - 1 tokens of the stream after its BOS, or seqlen without one. */
static wc_status cut(wc_ctx *ctx, const wc_ids *ids, const wc_text_options *opt, uint32_t bos, wc_windows *w)
{
    size_t lead = w->bos;
    if (opt->seqlen <= lead)
        return wc_fail(ctx, WC_OPTION, "--seqlen %zu: a window must have room for more than its BOS token",
                       opt->seqlen);
    size_t payload = opt->seqlen - lead, all = ids->n / payload, n = all;
    if (opt->max_tokens && n > opt->max_tokens / opt->seqlen) n = opt->max_tokens / opt->seqlen;
    if (!all)
        return wc_fail(ctx, WC_BADFILE,
                       "%s: %zu tokens of text, one window needs %zu; give a longer text or a smaller --seqlen",
                       w->source, ids->n, payload);
    if (!n) n = 1;
    WC_TRY(WC_ALLOC(ctx, w->id, n * opt->seqlen, "token windows"));
    for (size_t i = 0; i < n; i++) {
        size_t pick = i * all / n;
        if (lead) w->id[i * opt->seqlen] = bos;
        memcpy(w->id + i * opt->seqlen + lead, ids->id + pick * payload, payload * sizeof *w->id);
    }
    w->n = n;
    w->seqlen = opt->seqlen;
    w->hash = XXH3_64bits_withSeed(w->id, n * opt->seqlen * sizeof *w->id, opt->seqlen);
    return WC_OK;
}

wc_status wc_windows_make(wc_ctx *ctx, const wc_tokenizer *tokenizer, size_t vocab, const wc_text_options *opt,
                          wc_windows *out)
{
    wc_windows w = {0};
    wc_buf text = {0};
    wc_ids ids = {0};
    uint32_t bos = 0;
    bool has_bos = tokenizer && wc_tokenizer_bos(tokenizer, &bos);
    wc_status status = WC_OK;
    if (opt->bos == WC_BOS_ALWAYS && !has_bos)
        WC_TRY_OUT(wc_fail(ctx, WC_OPTION, "--bos always: the tokenizer names no begin-of-text token"));
    bool want_bos = has_bos && opt->bos != WC_BOS_NEVER;
    w.bos = want_bos && opt->bos_per_window;
    if (opt->ids_file) {
        WC_TRY_OUT(read_ids(ctx, opt->ids_file, &w, &ids));
    } else {
        WC_TRY_OUT(read_texts(ctx, opt, &w, &text));
        w.text_bytes = text.size;
        w.text_hash = XXH3_64bits(text.data, text.size);
        /* The template would put BOS (and perhaps EOS) around the stream; we place BOS ourselves, per window or once.
         */
        if (want_bos && !w.bos) {
            WC_TRY_OUT(WC_ALLOC(ctx, ids.id, 1, "token ids"));
            ids.id[0] = bos, ids.n = ids.capacity = 1;
        }
        WC_TRY_OUT(wc_tokenizer_encode(ctx, tokenizer, (const char *)text.data, text.size, 0, &ids));
    }
    w.stream_tokens = ids.n;
    WC_TRY_OUT(check_ids(ctx, &w, &ids, vocab));
    WC_TRY_OUT(cut(ctx, &ids, opt, bos, &w));
    *out = w;
    w.id = NULL;
out:
    wc_windows_free(&w);
    wc_buf_free(&text);
    wc_ids_free(&ids);
    return status;
}

void wc_windows_free(wc_windows *w)
{
    if (!w) return;
    free(w->id);
    w->id = NULL;
}
