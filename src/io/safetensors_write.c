#include "io/safetensors_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utf8proc.h>

typedef unsigned long long ull;

struct wc_st_sink {
    int fd;
    const char *path, *name; /* file and tensor, for messages */
    uint64_t at, left;       /* where the next byte goes; how many the tensor still needs */
};

/* The reference's order, widest alignment first; only its sequence matters. */
static const wc_dtype write_order[] = {WC_U64,         WC_I64,     WC_F64,     WC_C64,     WC_F32, WC_U32,
                                       WC_I32,         WC_BF16,    WC_F16,     WC_U16,     WC_I16, WC_F8_E5M2FNUZ,
                                       WC_F8_E4M3FNUZ, WC_F8_E8M0, WC_F8_E4M3, WC_F8_E5M2, WC_I8,  WC_U8,
                                       WC_F6_E3M2,     WC_F6_E2M3, WC_F4,      WC_BOOL};

static size_t rank_of(wc_dtype t)
{
    size_t i = 0;
    while (i < sizeof write_order / sizeof *write_order && write_order[i] != t)
        i++;
    return i;
}

static int by_rank_and_name(const void *a, const void *b)
{
    const wc_st_item *x = *(const wc_st_item *const *)a, *y = *(const wc_st_item *const *)b;
    size_t rx = rank_of(x->dtype), ry = rank_of(y->dtype);
    if (rx != ry) return rx < ry ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* A JSON string, escaped as serde_json does it. */
static wc_status put_string(wc_ctx *ctx, wc_buf *b, const char *s)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    WC_TRY(wc_buf_append(ctx, b, "\"", 1));
    for (const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)s; *p;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate(p, -1, &c);
        if (n < 1) return wc_fail(ctx, WC_BADFILE, "a safetensors name that is not UTF-8");
        const char *at = c < 0x80 ? strchr(from, c) : NULL;
        if (at)
            WC_TRY(wc_buf_printf(ctx, b, "\\%c", to[at - from]));
        else if (c < 0x20)
            WC_TRY(wc_buf_printf(ctx, b, "\\u%04x", (unsigned)c));
        else
            WC_TRY(wc_buf_append(ctx, b, p, (size_t)n));
        p += n;
    }
    return wc_buf_append(ctx, b, "\"", 1);
}

static wc_status put_metadata(wc_ctx *ctx, wc_buf *b, const wc_st_meta *meta, size_t n_meta)
{
    WC_TRY(wc_buf_printf(ctx, b, "\"__metadata__\":{\"format\":\"pt\""));
    for (size_t i = 0; i < n_meta; i++) {
        bool again = !strcmp(meta[i].key, "format");
        for (size_t j = 0; j < i; j++)
            again |= !strcmp(meta[i].key, meta[j].key);
        if (again) return wc_fail(ctx, WC_BUG, "safetensors metadata key `%s' given twice", meta[i].key);
        WC_TRY(wc_buf_append(ctx, b, ",", 1));
        WC_TRY(put_string(ctx, b, meta[i].key));
        WC_TRY(wc_buf_append(ctx, b, ":", 1));
        WC_TRY(put_string(ctx, b, meta[i].value));
    }
    return wc_buf_append(ctx, b, "}", 1);
}

/* One entry of the header, its data at *end of the data buffer; moves *end past it. */
static wc_status put_entry(wc_ctx *ctx, wc_buf *b, const wc_st_item *t, uint64_t *end)
{
    uint64_t size;
    char shown[WC_SHOWN];
    if (t->n_dims > WC_ST_MAX_DIMS || rank_of(t->dtype) == sizeof write_order / sizeof *write_order ||
        !wc_st_size(t->dtype, t->dims, t->n_dims, &size) || size > WC_ST_MAX_INT - *end)
        return wc_fail(ctx, WC_BUG, "tensor `%s' has no size that safetensors can hold",
                       wc_escape_name(shown, sizeof shown, t->name));
    WC_TRY(wc_buf_append(ctx, b, ",", 1));
    WC_TRY(put_string(ctx, b, t->name));
    WC_TRY(wc_buf_printf(ctx, b, ":{\"dtype\":\"%s\",\"shape\":[", wc_dtype_name(t->dtype)));
    for (uint32_t i = 0; i < t->n_dims; i++)
        WC_TRY(wc_buf_printf(ctx, b, "%s%llu", i ? "," : "", (ull)t->dims[i]));
    WC_TRY(wc_buf_printf(ctx, b, "],\"data_offsets\":[%llu,%llu]}", (ull)*end, (ull)(*end + size)));
    *end += size;
    return WC_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const wc_st_item *const *)a)->name, (*(const wc_st_item *const *)b)->name);
}

/* Sorts by name on the way, so it comes before the sort that the file needs. */
static wc_status check_distinct(wc_ctx *ctx, const wc_st_item **item, size_t n)
{
    char shown[WC_SHOWN];
    qsort(item, n, sizeof *item, by_name);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(item[i]->name, "__metadata__") || (i && !strcmp(item[i - 1]->name, item[i]->name)))
            return wc_fail(ctx, WC_BADFILE, "two tensors are to be written as `%s'",
                           wc_escape_name(shown, sizeof shown, item[i]->name));
    return WC_OK;
}

/* The first 8 + N bytes of the file; *data_size is what follows. */
static wc_status build_header(wc_ctx *ctx, const wc_st_item **item, size_t n, const wc_st_meta *meta, size_t n_meta,
                              wc_buf *b, uint64_t *data_size)
{
    *data_size = 0;
    WC_TRY(wc_buf_append(ctx, b, "\0\0\0\0\0\0\0\0{", 9));
    WC_TRY(put_metadata(ctx, b, meta, n_meta));
    for (size_t i = 0; i < n; i++)
        WC_TRY(put_entry(ctx, b, item[i], data_size));
    WC_TRY(wc_buf_append(ctx, b, "}", 1));
    while (b->size % 8)
        WC_TRY(wc_buf_append(ctx, b, " ", 1));
    uint64_t size = b->size - 8;
    if (size > WC_ST_MAX_HEADER)
        return wc_fail(ctx, WC_UNSUPPORTED, "a safetensors header of %llu bytes; the limit is %u", (ull)size,
                       WC_ST_MAX_HEADER);
    memcpy(b->data, &size, 8);
    return WC_OK;
}

wc_status wc_st_put(wc_ctx *ctx, wc_st_sink *sink, const void *data, size_t size)
{
    char shown[WC_SHOWN];
    if (size > sink->left)
        return wc_fail(ctx, WC_BUG, "%s: tensor `%s': %zu bytes given where %llu are left", sink->path,
                       wc_escape_name(shown, sizeof shown, sink->name), size, (ull)sink->left);
    WC_TRY(wc_pwrite(ctx, sink->fd, sink->path, data, size, sink->at));
    sink->at += size;
    sink->left -= size;
    return WC_OK;
}

static wc_status write_tensor(wc_ctx *ctx, const wc_st_item *t, wc_st_sink *sink)
{
    char shown[WC_SHOWN];
    uint64_t size;
    if (!wc_st_size(t->dtype, t->dims, t->n_dims, &size)) return wc_fail(ctx, WC_BUG, "a shape changed while written");
    sink->name = t->name;
    sink->left = size;
    WC_TRY(t->data || !size ? wc_st_put(ctx, sink, t->data, size) : t->produce(ctx, t->user, sink));
    if (sink->left)
        return wc_fail(ctx, WC_BUG, "%s: tensor `%s': %llu of %llu bytes were not given", sink->path,
                       wc_escape_name(shown, sizeof shown, t->name), (ull)sink->left, (ull)size);
    return WC_OK;
}

static wc_status write_file(wc_ctx *ctx, const char *tmp, const char *path, const wc_buf *header, uint64_t data_size,
                            const wc_st_item **item, size_t n)
{
    wc_status status = WC_OK;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return wc_fail(ctx, WC_IO, "%s: %s", tmp, strerror(errno));
    wc_st_sink sink = {.fd = fd, .path = tmp, .at = header->size};
    if (ftruncate(fd, (off_t)(header->size + data_size)))
        WC_TRY_OUT(wc_fail(ctx, WC_IO, "%s: cannot make it %llu bytes long: %s", tmp, (ull)(header->size + data_size),
                           strerror(errno)));
    WC_TRY_OUT(wc_pwrite(ctx, fd, tmp, header->data, header->size, 0));
    for (size_t i = 0; i < n; i++)
        WC_TRY_OUT(write_tensor(ctx, item[i], &sink));
    WC_TRY_OUT(wc_commit_file(ctx, fd, tmp, path));
out:
    close(fd);
    if (status != WC_OK) unlink(tmp);
    return status;
}

/* The items in the order of the file, to be freed, and the header. */
static wc_status prepare(wc_ctx *ctx, const wc_st_item *item, size_t n, const wc_st_meta *meta, size_t n_meta,
                         const wc_st_item ***sorted, wc_buf *header, uint64_t *data_size)
{
    WC_TRY(WC_ALLOC(ctx, *sorted, n, "the order of tensors"));
    for (size_t i = 0; i < n; i++)
        (*sorted)[i] = &item[i];
    WC_TRY(check_distinct(ctx, *sorted, n));
    qsort(*sorted, n, sizeof **sorted, by_rank_and_name);
    return build_header(ctx, *sorted, n, meta, n_meta, header, data_size);
}

wc_status wc_safetensors_size(wc_ctx *ctx, const wc_st_item *item, size_t n, uint64_t *size)
{
    const wc_st_item **sorted = NULL;
    wc_buf header = {0};
    uint64_t data_size;
    wc_status status = prepare(ctx, item, n, NULL, 0, &sorted, &header, &data_size);
    if (status == WC_OK) *size = header.size + data_size;
    wc_buf_free(&header);
    free(sorted);
    return status;
}

wc_status wc_safetensors_write(wc_ctx *ctx, const char *path, const wc_st_item *item, size_t n, const wc_st_meta *meta,
                               size_t n_meta)
{
    wc_status status;
    const wc_st_item **sorted = NULL;
    wc_buf header = {0}, tmp = {0};
    uint64_t data_size;
    WC_TRY_OUT(prepare(ctx, item, n, meta, n_meta, &sorted, &header, &data_size));
    WC_TRY_OUT(wc_buf_printf(ctx, &tmp, "%s.tmp", path));
    WC_TRY_OUT(write_file(ctx, (const char *)tmp.data, path, &header, data_size, sorted, n));
out:
    wc_buf_free(&tmp);
    wc_buf_free(&header);
    free(sorted);
    return status;
}
