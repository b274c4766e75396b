/* .wcz files for the toolkit: the decode library with paths, sentences, and zstd. */
#include "io/wcz.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>
#include <zstd.h>

/* The largest tokenizer.json known is 34 MB; an entry above this is a mistake or an attack. */
#define MAX_META ((uint64_t)256 << 20)

static wc_status copy_names(wc_ctx *ctx, wc_wcz_reader *r)
{
    WC_TRY(WC_ALLOC(ctx, r->names, (size_t)r->file.names_size + r->file.n_tensors, "tensor names"));
    for (uint32_t i = 0; i < r->file.n_tensors; i++) {
        wcd_tensor t;
        (void)wcd_at(&r->file, i, &t);
        memcpy((char *)wc_wcz_name(r, &t), t.name, t.name_size);
    }
    return WC_OK;
}

/* Names lie in file order without separators; the copy of name i is shifted by i bytes, which leaves one NUL after
 * each. */
const char *wc_wcz_name(const wc_wcz_reader *r, const wcd_tensor *t)
{
    return r->names + (t->name - (const char *)r->file.names) + t->index;
}

/* A file that does not open, in a sentence. */
static wc_status refuse(wc_ctx *ctx, const char *path, const wc_map *m, wcd_status s)
{
    unsigned long long stated = 0; /* u64 at byte 16 of the header's 64 */
    for (size_t i = 24; m->size >= 64 && i-- > 16;)
        stated = stated << 8 | m->data[i];
    if (!m->size) return wc_fail(ctx, WC_BADFILE, "%s: not a .wcz file: it is empty", path);
    if (s == WCD_E_TRUNCATED && stated > m->size)
        return wc_fail(ctx, WC_BADFILE,
                       "%s: truncated file: it has %zu bytes, its header says %llu; likely an interrupted copy", path,
                       m->size, stated);
    return wc_fail(ctx, s == WCD_E_VERSION ? WC_UNSUPPORTED : WC_BADFILE, "%s: %s: %s", path, wcd_status_text(s),
                   wcd_open_reason(m->data, m->size));
}

wc_status wc_wcz_open(wc_ctx *ctx, const char *path, wc_wcz_reader *out)
{
    wc_wcz_reader r = {0};
    wc_status status;
    memset(out, 0, sizeof *out);
    WC_TRY(wc_map_open(ctx, path, &r.map));
    wcd_status s = wcd_open(&r.file, r.map.data, r.map.size);
    if (s != WCD_OK) WC_TRY_OUT(refuse(ctx, path, &r.map, s));
    WC_TRY_OUT(copy_names(ctx, &r));
    r.path = strdup(path);
    status = r.path ? WC_OK : wc_fail(ctx, WC_NOMEM, "no memory for a file name");
out:
    if (status == WC_OK)
        *out = r;
    else
        wc_wcz_close(&r);
    return status;
}

void wc_wcz_close(wc_wcz_reader *r)
{
    if (!r) return;
    wc_map_close(&r->map);
    free(r->path);
    free(r->names);
    memset(r, 0, sizeof *r);
}

static wc_status read_rows(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    const wc_wcz_reader *r = w->source;
    wcd_tensor t;
    wcd_status s = wcd_at(&r->file, (uint32_t)w->index, &t);
    if (s == WCD_OK) s = wcd_rows(&t, r0, nr, dst, w->cols);
    if (s == WCD_OK) return WC_OK;
    return wc_fail(ctx, s == WCD_E_NOT_NUMERIC ? WC_UNSUPPORTED : WC_BUG, "%s: tensor `%s', rows %zu..%zu of %zu: %s",
                   r->path, w->name, r0, r0 + nr, w->rows, wcd_status_text(s));
}

static wc_status find_weight(wc_ctx *ctx, const void *self, const char *name, wc_weight *out)
{
    const wc_wcz_reader *r = self;
    wcd_tensor t;
    (void)ctx;
    memset(out, 0, sizeof *out);
    if (wcd_find(&r->file, name, &t) != WCD_OK) return WC_OK;
    *out = (wc_weight){
        .rows = t.rows, .cols = t.cols, .name = wc_wcz_name(r, &t), .read = read_rows, .source = r, .index = t.index};
    return WC_OK;
}

static void release(const void *self)
{
    const wc_wcz_reader *r = self;
    wc_map_release(&r->map, 0, r->map.size);
}

wc_weight_source wc_wcz_source(const wc_wcz_reader *r)
{
    return (wc_weight_source){.find = find_weight, .release = release, .self = r, .label = r->path};
}

wc_status wc_wcz_meta_read(wc_ctx *ctx, const wc_wcz_reader *r, const char *name, wc_buf *out)
{
    wcd_meta m;
    memset(out, 0, sizeof *out);
    if (wcd_meta_find(&r->file, name, &m) != WCD_OK)
        return wc_fail(ctx, WC_BADFILE, "%s: no metadata `%s'", r->path, name);
    if (m.raw_size > MAX_META)
        return wc_fail(ctx, WC_BADFILE, "%s: metadata `%s' has %llu bytes, the limit is %llu", r->path, name,
                       (unsigned long long)m.raw_size, (unsigned long long)MAX_META);
    if (XXH3_64bits(m.data, m.size) != m.xxh3 ||
        (m.codec == 1 && ZSTD_getFrameContentSize(m.data, m.size) != m.raw_size))
        return wc_fail(ctx, WC_BADFILE, "%s: metadata `%s' is damaged", r->path, name);
    wc_buf b = {.size = m.raw_size, .capacity = m.raw_size + 1};
    WC_TRY(WC_ALLOC(ctx, b.data, b.capacity, "metadata"));
    if (m.codec == 0)
        memcpy(b.data, m.data, m.size);
    else if (ZSTD_decompress(b.data, b.size, m.data, m.size) != m.raw_size) {
        wc_buf_free(&b);
        return wc_fail(ctx, WC_BADFILE, "%s: metadata `%s' is damaged", r->path, name);
    }
    *out = b;
    return WC_OK;
}
