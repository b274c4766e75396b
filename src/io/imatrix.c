#include "io/imatrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/escape.h"

typedef unsigned long long ull;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const wc_imatrix_entry *)a)->name, ((const wc_imatrix_entry *)b)->name);
}

static void set_source(wc_imatrix *m, const char *p, size_t n)
{
    char raw[128], shown[WC_SHOWN];
    snprintf(raw, sizeof raw, "%.*s", (int)wc_min(n, sizeof raw - 1), p);
    snprintf(m->source, sizeof m->source, "%s", wc_escape_name(shown, sizeof shown, raw));
}

/* Names are told apart once they are all there. */
static wc_status sort_entries(wc_ctx *ctx, const char *label, wc_imatrix *m)
{
    if (!m->n_entries)
        return wc_fail(ctx, WC_BADFILE, "%s: not a statistics file, and no importance matrix: it has no entry", label);
    qsort(m->entry, m->n_entries, sizeof *m->entry, by_name);
    for (size_t i = 1; i < m->n_entries; i++)
        if (!strcmp(m->entry[i - 1].name, m->entry[i].name))
            return wc_fail(ctx, WC_BADFILE, "%s: entry %s is there twice", label, m->entry[i].name);
    return WC_OK;
}

/* ---- GGUF ------------------------------------------------------------------------------------------------------- */

static int by_tensor_name(const void *a, const void *b)
{
    return strcmp((*(const wc_gguf_tensor *const *)a)->name, (*(const wc_gguf_tensor *const *)b)->name);
}

static uint64_t elements(const wc_gguf_tensor *t)
{
    return t->size / 4;
}

/* The tensor called stem + suffix; NULL: there is none. list [n] is sorted. */
static const wc_gguf_tensor *companion(const wc_gguf_tensor *const *list, size_t n, const char *stem,
                                       const char *suffix)
{
    char name[WC_GGUF_MAX_NAME + 16];
    snprintf(name, sizeof name, "%s%s", stem, suffix);
    wc_gguf_tensor wanted = {.name = name};
    const wc_gguf_tensor *key = &wanted;
    const wc_gguf_tensor *const *found = bsearch(&key, list, n, sizeof *list, by_tensor_name);
    return found ? *found : NULL;
}

static wc_status add_gguf(wc_ctx *ctx, const char *label, const uint8_t *data, const wc_gguf_tensor *const *list,
                          size_t n, const wc_gguf_tensor *sum2, wc_imatrix *m, const char *name)
{
    const wc_gguf_tensor *counts = companion(list, n, name, ".counts"), *sum = companion(list, n, name, ".in_sum");
    if (!counts) return wc_fail(ctx, WC_BADFILE, "%s: %s.in_sum2 is there without %s.counts", label, name, name);
    if (sum2->type != WC_GGML_F32 || counts->type != WC_GGML_F32 || (sum && sum->type != WC_GGML_F32))
        return wc_fail(ctx, WC_BADFILE, "%s: the sums and counts of %s must be F32", label, name);
    uint64_t experts = elements(counts);
    if (!experts || !elements(sum2) || elements(sum2) % experts || (sum && elements(sum) != elements(sum2)))
        return wc_fail(ctx, WC_BADFILE, "%s: %s has %llu sums of squares, %llu sums and %llu counts", label, name,
                       (ull)elements(sum2), (ull)(sum ? elements(sum) : 0), (ull)experts);
    float count;
    memcpy(&count, data + counts->offset, 4);
    if (!isfinite(count) || count <= 0)
        return wc_fail(ctx, WC_BADFILE, "%s: %s was made of %g tokens", label, name, (double)count);
    m->entry[m->n_entries++] = (wc_imatrix_entry){.name = name,
                                                  .n = elements(sum2),
                                                  .experts = experts,
                                                  .count = (double)count,
                                                  .sum2 = data + sum2->offset,
                                                  .sum = sum ? data + sum->offset : NULL};
    return WC_OK;
}

static wc_status add_all(wc_ctx *ctx, const char *label, const uint8_t *data, wc_imatrix *m)
{
    static const char suffix[] = ".in_sum2";
    const wc_gguf *g = &m->gguf;
    const wc_gguf_tensor **list = NULL;
    wc_status status;
    WC_TRY_OUT(WC_ALLOC(ctx, list, g->n, "the list of tensors"));
    WC_TRY_OUT(WC_ALLOC(ctx, m->entry, g->n, "importance matrices"));
    WC_TRY_OUT(WC_ALLOC(ctx, m->text, g->n * (WC_GGUF_MAX_NAME + 1), "names"));
    for (size_t i = 0; i < g->n; i++)
        list[i] = &g->tensor[i];
    qsort(list, g->n, sizeof *list, by_tensor_name);
    for (size_t i = 0; i < g->n; i++) {
        char *name = m->text + m->n_entries * (WC_GGUF_MAX_NAME + 1);
        size_t length = strlen(list[i]->name), tail = sizeof suffix - 1;
        if (length <= tail || strcmp(list[i]->name + length - tail, suffix)) continue;
        snprintf(name, WC_GGUF_MAX_NAME + 1, "%.*s", (int)(length - tail), list[i]->name);
        WC_TRY_OUT(add_gguf(ctx, label, data, list, g->n, list[i], m, name));
    }
out:
    free(list);
    return status;
}

static wc_status read_gguf(wc_ctx *ctx, const uint8_t *data, const char *label, wc_imatrix *m)
{
    const wc_gguf_key *texts = wc_gguf_find(&m->gguf, "imatrix.datasets");
    WC_TRY(wc_gguf_u64(ctx, &m->gguf, "imatrix.chunk_count", 0, 0, UINT32_MAX, &m->chunks));
    WC_TRY(wc_gguf_u64(ctx, &m->gguf, "imatrix.chunk_size", 0, 0, UINT32_MAX, &m->chunk_size));
    if (texts && texts->array && texts->type == WC_GGUF_STRING && texts->count) {
        const uint8_t *at = texts->data;
        const char *p;
        size_t n;
        wc_gguf_next(&at, &p, &n);
        set_source(m, p, n);
    }
    WC_TRY(add_all(ctx, label, data, m));
    return sort_entries(ctx, label, m);
}

/* ---- legacy ----------------------------------------------------------------------------------------------------- */

typedef struct cursor {
    wc_ctx *ctx;
    const char *label;
    const uint8_t *data;
    uint64_t size, at;
} cursor;

/* A number of at least `least'; *bytes of `width' each must follow it. */
static wc_status number(cursor *c, const char *what, int32_t least, uint64_t width, uint32_t *out)
{
    int32_t x;
    if (c->size - c->at < 4) return wc_fail(c->ctx, WC_BADFILE, "%s: ends inside %s", c->label, what);
    memcpy(&x, c->data + c->at, 4);
    c->at += 4;
    if (x < least || (uint64_t)x * width > c->size - c->at)
        return wc_fail(c->ctx, WC_BADFILE,
                       "%s: not a statistics file, and no importance matrix: %s is %d, with %llu bytes left", c->label,
                       what, (int)x, (ull)(c->size - c->at));
    *out = (uint32_t)x;
    return WC_OK;
}

static bool is_printable(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] <= ' ' || p[i] > '~') return false;
    return true;
}

static wc_status read_entry(cursor *c, char **text, wc_imatrix_entry *e)
{
    uint32_t length, calls, n;
    WC_TRY(number(c, "the length of a name", 1, 1, &length));
    if (!is_printable(c->data + c->at, length))
        return wc_fail(c->ctx, WC_BADFILE,
                       "%s: not a statistics file, and no importance matrix: a name is not printable ASCII", c->label);
    memcpy(*text, c->data + c->at, length);
    e->name = *text;
    *text += length + 1; /* zeroed before */
    c->at += length;
    WC_TRY(number(c, "the number of calls", 0, 0, &calls));
    WC_TRY(number(c, "the number of values", 1, 4, &n));
    e->n = n;
    e->experts = 1;
    e->count = calls ? calls : 1; /* as its reader does */
    e->sum2 = c->data + c->at;
    c->at += 4 * (uint64_t)n;
    return WC_OK;
}

static wc_status read_legacy(wc_ctx *ctx, const uint8_t *data, uint64_t size, const char *label, wc_imatrix *m)
{
    enum { LEAST = 17 }; /* bytes of an entry: three numbers, a name of one byte, one value */
    cursor c = {.ctx = ctx, .label = label, .data = data, .size = size};
    uint32_t n, chunks, length;
    WC_TRY(number(&c, "the number of entries", 1, LEAST, &n));
    WC_TRY(WC_ALLOC(ctx, m->entry, n, "importance matrices"));
    WC_TRY(WC_ALLOC(ctx, m->text, size, "names")); /* each is preceded by four bytes, so there is room for the NULs */
    char *text = m->text;
    for (; m->n_entries < n; m->n_entries++)
        WC_TRY(read_entry(&c, &text, &m->entry[m->n_entries]));
    if (c.at < size) {
        WC_TRY(number(&c, "the number of chunks", 0, 0, &chunks));
        m->chunks = chunks;
    }
    if (c.at < size) {
        WC_TRY(number(&c, "the length of the text's name", 0, 1, &length));
        set_source(m, (const char *)data + c.at, length);
        c.at += length;
    }
    if (c.at < size)
        return wc_fail(ctx, WC_BADFILE, "%s: %llu bytes too long for an importance matrix", label, (ull)(size - c.at));
    return sort_entries(ctx, label, m);
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

/* m->gguf.map may hold the bytes already. */
static wc_status read_either(wc_ctx *ctx, const uint8_t *data, uint64_t size, const char *label, wc_imatrix *m)
{
    wc_map map = m->gguf.map;
    m->legacy = size < 4 || memcmp(data, "GGUF", 4);
    if (m->legacy) return read_legacy(ctx, data, size, label, m);
    wc_status status = wc_gguf_parse(ctx, data, size, label, &m->gguf);
    m->gguf.map = map;
    return status == WC_OK ? read_gguf(ctx, data, label, m) : status;
}

static wc_status finish(wc_status status, wc_imatrix *m, wc_imatrix *out)
{
    if (status == WC_OK)
        *out = *m;
    else
        wc_imatrix_close(m);
    return status;
}

wc_status wc_imatrix_parse(wc_ctx *ctx, const uint8_t *data, uint64_t size, const char *label, wc_imatrix *out)
{
    wc_imatrix m = {.gguf = {.n = 0}};
    memset(out, 0, sizeof *out);
    return finish(read_either(ctx, data, size, label, &m), &m, out);
}

wc_status wc_imatrix_open(wc_ctx *ctx, const char *path, wc_imatrix *out)
{
    wc_imatrix m = {.gguf = {.n = 0}};
    memset(out, 0, sizeof *out);
    WC_TRY(wc_map_open(ctx, path, &m.gguf.map));
    return finish(read_either(ctx, m.gguf.map.data, m.gguf.map.size, path, &m), &m, out);
}

void wc_imatrix_close(wc_imatrix *m)
{
    if (!m) return;
    wc_gguf_close(&m->gguf);
    free(m->entry);
    free(m->text);
    memset(m, 0, sizeof *m);
}

const wc_imatrix_entry *wc_imatrix_find(const wc_imatrix *m, const char *name)
{
    wc_imatrix_entry wanted = {.name = name};
    return bsearch(&wanted, m->entry, m->n_entries, sizeof *m->entry, by_name);
}

wc_status wc_imatrix_means(wc_ctx *ctx, const wc_imatrix_entry *e, const char *label, size_t n, float *square,
                           float *mean)
{
    if (e->experts != 1 || e->n != n)
        return wc_fail(ctx, WC_BADFILE, "%s: %s has %llu inputs of %llu experts, the model's matrix has %zu", label,
                       e->name, (ull)e->n, (ull)e->experts, n);
    for (size_t i = 0; i < n; i++) {
        float x, y = 0;
        memcpy(&x, e->sum2 + 4 * i, 4);
        if (e->sum) memcpy(&y, e->sum + 4 * i, 4);
        if (!isfinite(x) || x < 0 || !isfinite(y))
            return wc_fail(ctx, WC_BADFILE, "%s: input %zu of %s has the sums %g and, of squares, %g", label, i,
                           e->name, (double)y, (double)x);
        square[i] = (float)((double)x / e->count);
        mean[i] = (float)((double)y / e->count);
    }
    return WC_OK;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static int by_out_name(const void *a, const void *b)
{
    return strcmp((*(const wc_imatrix_out *const *)a)->name, (*(const wc_imatrix_out *const *)b)->name);
}

typedef struct writer {
    const wc_imatrix_out **list; /* [n] sorted: both forms are in order of name */
    size_t n;
    const wc_imatrix_text *text;
} writer;

static float tokens(const writer *w)
{
    return (float)((double)w->text->chunks * w->text->chunk_size);
}

static wc_status put_scaled(wc_ctx *ctx, const float *x, size_t n, float by, wc_buf *out)
{
    wc_status status = WC_OK;
    for (size_t i = 0; status == WC_OK && i < n; i++) {
        float y = x[i] * by;
        status = wc_buf_append(ctx, out, &y, sizeof y);
    }
    return status;
}

enum { SUM2, COUNTS, SUM, N_TENSORS }; /* of an entry */

static wc_status gguf_data(wc_ctx *ctx, void *self, size_t i, wc_buf *out)
{
    const writer *w = self;
    const wc_imatrix_out *e = w->list[i / N_TENSORS];
    float count = tokens(w);
    if (i % N_TENSORS == COUNTS) return wc_buf_append(ctx, out, &count, sizeof count);
    return put_scaled(ctx, i % N_TENSORS == SUM2 ? e->square : e->mean, e->n, count, out);
}

static wc_status write_gguf(wc_ctx *ctx, const char *path, writer *w)
{
    static const char *const suffix[] = {[SUM2] = ".in_sum2", [COUNTS] = ".counts", [SUM] = ".in_sum"};
    wc_gguf_writer g = {0};
    wc_status status;
    WC_TRY_OUT(wc_gguf_put_string(ctx, &g, "general.type", "imatrix", 7));
    WC_TRY_OUT(wc_gguf_put_array(ctx, &g, "imatrix.datasets", WC_GGUF_STRING, 1));
    WC_TRY_OUT(wc_gguf_put_text(ctx, &g, w->text->source, strlen(w->text->source)));
    WC_TRY_OUT(wc_gguf_put_u32(ctx, &g, "imatrix.chunk_count", w->text->chunks));
    WC_TRY_OUT(wc_gguf_put_u32(ctx, &g, "imatrix.chunk_size", w->text->chunk_size));
    for (size_t i = 0; i < w->n * N_TENSORS; i++) {
        const wc_imatrix_out *e = w->list[i / N_TENSORS];
        char name[sizeof e->name + 16];
        snprintf(name, sizeof name, "%s%s", e->name, suffix[i % N_TENSORS]);
        WC_TRY_OUT(wc_gguf_put_tensor(ctx, &g, name, WC_GGML_F32, 0, i % N_TENSORS == COUNTS ? 1 : e->n));
    }
    status = wc_gguf_write(ctx, &g, path, gguf_data, w);
out:
    wc_gguf_writer_free(&g);
    return status;
}

static wc_status put_number(wc_ctx *ctx, wc_buf *b, size_t x)
{
    int32_t y = (int32_t)x;
    return wc_buf_append(ctx, b, &y, sizeof y);
}

static wc_status put_name(wc_ctx *ctx, wc_buf *b, const char *name)
{
    WC_TRY(put_number(ctx, b, strlen(name)));
    return wc_buf_append(ctx, b, name, strlen(name));
}

static wc_status write_legacy(wc_ctx *ctx, const char *path, const writer *w)
{
    wc_buf b = {0};
    wc_status status = put_number(ctx, &b, w->n);
    for (size_t i = 0; status == WC_OK && i < w->n; i++) {
        const wc_imatrix_out *e = w->list[i];
        WC_TRY_OUT(put_name(ctx, &b, e->name));
        WC_TRY_OUT(put_number(ctx, &b, w->text->chunks));
        WC_TRY_OUT(put_number(ctx, &b, e->n));
        WC_TRY_OUT(put_scaled(ctx, e->square, e->n, (float)w->text->chunks, &b));
    }
    WC_TRY_OUT(put_number(ctx, &b, w->text->chunks));
    WC_TRY_OUT(put_name(ctx, &b, w->text->source));
    status = wc_write_file_atomic(ctx, path, b.data, b.size);
out:
    wc_buf_free(&b);
    return status;
}

wc_status wc_imatrix_write(wc_ctx *ctx, const char *path, bool legacy, const wc_imatrix_out *entries, size_t n,
                           const wc_imatrix_text *text)
{
    writer w = {.n = n, .text = text};
    WC_TRY(WC_ALLOC(ctx, w.list, n, "importance matrices"));
    for (size_t i = 0; i < n; i++)
        w.list[i] = &entries[i];
    qsort(w.list, n, sizeof *w.list, by_out_name);
    wc_status status = legacy ? write_legacy(ctx, path, &w) : write_gguf(ctx, path, &w);
    free(w.list);
    return status;
}
