/* A .wcz file made from another one by dropping ends of blobs, without decoding anything. docs/FORMAT.md sections 2 to
 * 5. */
#include "io/wcz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"

enum {
    HEADER_SIZE = 64,
    INDEX_HEAD = 32,
    TENSOR_SIZE = 128,
    PART_SIZE = 80,
    META_SIZE = 64,
    ALIGN = 64,
    PIECE = 8 << 20,
    /* Offsets inside the header and the records. */
    HEADER_FILE_SIZE = 16,
    HEADER_INDEX_SIZE = 32,
    HEADER_INDEX_XXH3 = 40,
    HEADER_XXH3 = 56,
    TENSOR_ERROR = 104,
    PART_OFFSET = 8,
    PART_BYTES = 16,
    PART_XXH3 = 24,
    PART_PARAMS = 40,
    META_NAME = 0,
    META_NAME_SIZE = 4,
    META_OFFSET = 16,
    META_BYTES = 24,
    META_RAW = 32,
    META_XXH3 = 40
};

typedef struct rewrite {
    wc_ctx *ctx;
    const wc_wcz_reader *r;
    const wc_wcz_edit *edits;
    size_t n;
    const wc_wcz_meta *meta;
    const char *path;
    int fd;
    uint8_t *head; /* header and index as they will be */
    uint64_t end;  /* where the next blob goes */
} rewrite;

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    while (bytes--)
        v = v << 8 | p[bytes];
    return v;
}

static void put(uint8_t *p, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

/* Bytes and the zeros behind them to the next free place; *xxh3 of the bytes. */
static wc_status put_blob(rewrite *w, const uint8_t *data, uint64_t size, uint64_t *xxh3)
{
    static const uint8_t zeros[ALIGN];
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    for (uint64_t done = 0; done < size; done += PIECE) {
        uint64_t count = size - done < PIECE ? size - done : PIECE;
        XXH3_64bits_update(&state, data + done, count);
        WC_TRY(wc_pwrite(w->ctx, w->fd, w->path, data + done, count, w->end + done));
        wc_map_release(&w->r->map, (uint64_t)(data - w->r->map.data) + done, count);
    }
    WC_TRY(wc_pwrite(w->ctx, w->fd, w->path, zeros, wc_round_up(size, ALIGN) - size, w->end + size));
    *xxh3 = XXH3_64bits_digest(&state);
    w->end += wc_round_up(size, ALIGN);
    return WC_OK;
}

static wc_status put_meta(rewrite *w, uint8_t *record)
{
    const uint8_t *old = w->r->map.data + get(record + META_OFFSET, 8);
    const uint8_t *name = w->r->file.names + get(record + META_NAME, 4);
    uint64_t size = get(record + META_BYTES, 8), xxh3 = 0, at = w->end;
    size_t name_size = get(record + META_NAME_SIZE, 4);
    bool ours = w->meta && strlen(w->meta->name) == name_size && !memcmp(w->meta->name, name, name_size);
    put(record + META_OFFSET, at, 8);
    if (!ours) return put_blob(w, old, size, &xxh3);
    size = w->meta->size;
    WC_TRY(wc_pwrite(w->ctx, w->fd, w->path, w->meta->data, size, at));
    w->end += wc_round_up(size, ALIGN);
    put(record + META_BYTES, size, 8);
    put(record + META_RAW, size, 8);
    put(record + META_XXH3, XXH3_64bits(w->meta->data, size), 8);
    return WC_OK;
}

static wc_status put_part(rewrite *w, uint32_t part, uint8_t *record)
{
    const uint8_t *old = w->r->map.data + get(record + PART_OFFSET, 8);
    uint64_t size = get(record + PART_BYTES, 8), xxh3;
    const wc_wcz_edit *edit = NULL;
    for (size_t i = 0; i < w->n; i++)
        if (w->edits[i].part == part) edit = &w->edits[i];
    if (edit && edit->size > size) return wc_fail(w->ctx, WC_BUG, "%s: part %u cannot grow", w->path, part);
    put(record + PART_OFFSET, w->end, 8);
    WC_TRY(put_blob(w, old, edit ? edit->size : size, &xxh3));
    if (!edit) return WC_OK;
    put(record + PART_BYTES, edit->size, 8);
    put(record + PART_XXH3, xxh3, 8);
    memcpy(record + PART_PARAMS, edit->params, sizeof edit->params);
    return WC_OK;
}

static wc_status put_all(rewrite *w)
{
    const wcd_file *f = &w->r->file;
    uint64_t index_size = get(w->r->map.data + HEADER_INDEX_SIZE, 8);
    uint8_t *tensors = w->head + HEADER_SIZE + INDEX_HEAD, *parts = tensors + (size_t)f->n_tensors * TENSOR_SIZE;
    uint8_t *metas = parts + (size_t)f->n_parts * PART_SIZE;
    memcpy(w->head, w->r->map.data, HEADER_SIZE + index_size);
    w->end = wc_round_up(HEADER_SIZE + index_size, ALIGN);
    for (uint32_t i = 0; i < f->n_metas; i++)
        WC_TRY(put_meta(w, metas + (size_t)i * META_SIZE));
    for (uint32_t i = 0; i < f->n_parts; i++)
        WC_TRY(put_part(w, i, parts + (size_t)i * PART_SIZE));
    for (size_t i = 0; i < w->n; i++) {
        uint64_t bits;
        memcpy(&bits, &w->edits[i].error, sizeof bits);
        put(tensors + (size_t)w->edits[i].tensor * TENSOR_SIZE + TENSOR_ERROR, bits, 8);
    }
    put(w->head + HEADER_FILE_SIZE, w->end, 8);
    put(w->head + HEADER_INDEX_XXH3, XXH3_64bits(w->head + HEADER_SIZE, index_size), 8);
    put(w->head + HEADER_XXH3, XXH3_64bits(w->head, HEADER_XXH3), 8);
    WC_TRY(wc_pwrite(w->ctx, w->fd, w->path, w->head, wc_round_up(HEADER_SIZE + index_size, ALIGN), 0));
    if (ftruncate(w->fd, (off_t)w->end)) return wc_fail(w->ctx, WC_IO, "%s: %s", w->path, strerror(errno));
    return WC_OK;
}

wc_status wc_wcz_rewrite(wc_ctx *ctx, const wc_wcz_reader *r, const wc_wcz_edit *edits, size_t n,
                         const wc_wcz_meta *meta, const char *partial, const char *path)
{
    rewrite w = {.ctx = ctx, .r = r, .edits = edits, .n = n, .meta = meta, .path = partial, .fd = -1};
    uint64_t index_size = get(r->map.data + HEADER_INDEX_SIZE, 8);
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, w.head, wc_round_up(HEADER_SIZE + index_size, ALIGN), "the index"));
    w.fd = open(partial, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w.fd < 0) WC_TRY_OUT(wc_fail(ctx, WC_IO, "%s: %s", partial, strerror(errno)));
    WC_TRY_OUT(put_all(&w));
    WC_TRY_OUT(wc_commit_file(ctx, w.fd, partial, path));
out:
    if (w.fd >= 0) close(w.fd);
    if (w.fd >= 0 && status != WC_OK) unlink(partial);
    free(w.head);
    return status;
}
