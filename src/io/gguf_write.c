#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/gguf.h"

enum { ALIGNMENT = 32, VERSION = 3 };

static wc_status put(wc_ctx *ctx, wc_buf *b, uint64_t value, unsigned bytes)
{
    uint8_t le[8];
    for (unsigned i = 0; i < bytes; i++)
        le[i] = (uint8_t)(value >> 8 * i);
    return wc_buf_append(ctx, b, le, bytes);
}

static wc_status put_text(wc_ctx *ctx, wc_buf *b, const char *p, size_t n)
{
    WC_TRY(put(ctx, b, n, 8));
    return wc_buf_append(ctx, b, p, n);
}

static wc_status put_key(wc_ctx *ctx, wc_gguf_writer *w, const char *name, wc_gguf_type type)
{
    w->n_keys++;
    WC_TRY(put_text(ctx, &w->keys, name, strlen(name)));
    return put(ctx, &w->keys, type, 4);
}

wc_status wc_gguf_put_u32(wc_ctx *ctx, wc_gguf_writer *w, const char *name, uint32_t value)
{
    WC_TRY(put_key(ctx, w, name, WC_GGUF_U32));
    return put(ctx, &w->keys, value, 4);
}

wc_status wc_gguf_put_f32(wc_ctx *ctx, wc_gguf_writer *w, const char *name, float value)
{
    WC_TRY(put_key(ctx, w, name, WC_GGUF_F32));
    return wc_buf_append(ctx, &w->keys, &value, 4);
}

wc_status wc_gguf_put_flag(wc_ctx *ctx, wc_gguf_writer *w, const char *name, bool value)
{
    WC_TRY(put_key(ctx, w, name, WC_GGUF_BOOL));
    return put(ctx, &w->keys, value, 1);
}

wc_status wc_gguf_put_string(wc_ctx *ctx, wc_gguf_writer *w, const char *name, const char *p, size_t n)
{
    WC_TRY(put_key(ctx, w, name, WC_GGUF_STRING));
    return put_text(ctx, &w->keys, p, n);
}

wc_status wc_gguf_put_array(wc_ctx *ctx, wc_gguf_writer *w, const char *name, wc_gguf_type type, uint64_t count)
{
    WC_TRY(put_key(ctx, w, name, WC_GGUF_ARRAY));
    WC_TRY(put(ctx, &w->keys, type, 4));
    return put(ctx, &w->keys, count, 8);
}

wc_status wc_gguf_put_element(wc_ctx *ctx, wc_gguf_writer *w, const void *value, size_t size)
{
    return wc_buf_append(ctx, &w->keys, value, size);
}

wc_status wc_gguf_put_text(wc_ctx *ctx, wc_gguf_writer *w, const char *p, size_t n)
{
    return put_text(ctx, &w->keys, p, n);
}

wc_status wc_gguf_put_tensor(wc_ctx *ctx, wc_gguf_writer *w, const char *name, uint32_t type, uint64_t rows,
                             uint64_t cols)
{
    uint64_t bytes = wc_gguf_bytes(type, cols, rows ? rows : 1);
    if (!bytes || strlen(name) > WC_GGUF_MAX_NAME)
        return wc_fail(ctx, WC_BUG, "GGUF: tensor %s of %s does not fit its type", name, wc_gguf_type_name(type));
    w->n++;
    WC_TRY(put_text(ctx, &w->infos, name, strlen(name)));
    WC_TRY(put(ctx, &w->infos, rows ? 2 : 1, 4));
    WC_TRY(put(ctx, &w->infos, cols, 8));
    if (rows) WC_TRY(put(ctx, &w->infos, rows, 8));
    WC_TRY(put(ctx, &w->infos, type, 4));
    WC_TRY(put(ctx, &w->infos, w->end, 8));
    w->end = wc_round_up(w->end + bytes, ALIGNMENT);
    return WC_OK;
}

static uint64_t head_size(const wc_gguf_writer *w)
{
    return wc_round_up(24 + w->keys.size + w->infos.size, ALIGNMENT);
}

uint64_t wc_gguf_file_size(const wc_gguf_writer *w)
{
    return head_size(w) + w->end;
}

static wc_status write_all(wc_ctx *ctx, const wc_gguf_writer *w, int fd, const char *path, wc_gguf_data data,
                           void *self)
{
    static const uint8_t zeros[ALIGNMENT];
    wc_buf head = {0}, bytes = {0};
    wc_status status = wc_buf_append(ctx, &head, "GGUF", 4);
    WC_TRY_OUT(status);
    WC_TRY_OUT(put(ctx, &head, VERSION, 4));
    WC_TRY_OUT(put(ctx, &head, w->n, 8));
    WC_TRY_OUT(put(ctx, &head, w->n_keys, 8));
    WC_TRY_OUT(wc_buf_append(ctx, &head, w->keys.data, w->keys.size));
    WC_TRY_OUT(wc_buf_append(ctx, &head, w->infos.data, w->infos.size));
    WC_TRY_OUT(wc_buf_append(ctx, &head, zeros, head_size(w) - head.size));
    WC_TRY_OUT(wc_pwrite(ctx, fd, path, head.data, head.size, 0));
    uint64_t at = head.size;
    for (size_t i = 0; i < w->n; i++) {
        bytes.size = 0;
        WC_TRY_OUT(data(ctx, self, i, &bytes));
        WC_TRY_OUT(wc_buf_append(ctx, &bytes, zeros, wc_round_up(bytes.size, ALIGNMENT) - bytes.size));
        WC_TRY_OUT(wc_pwrite(ctx, fd, path, bytes.data, bytes.size, at));
        at += bytes.size;
    }
    if (at != wc_gguf_file_size(w)) status = wc_fail(ctx, WC_BUG, "%s: tensors of another size than planned", path);
out:
    wc_buf_free(&head);
    wc_buf_free(&bytes);
    return status;
}

wc_status wc_gguf_write(wc_ctx *ctx, const wc_gguf_writer *w, const char *path, wc_gguf_data data, void *self)
{
    wc_buf partial = {0};
    WC_TRY(wc_buf_printf(ctx, &partial, "%s.partial", path));
    const char *tmp = (const char *)partial.data;
    int fd = open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    wc_status status = fd < 0 ? wc_fail(ctx, WC_IO, "%s: cannot be written: %s", tmp, strerror(errno)) : WC_OK;
    if (status == WC_OK) status = write_all(ctx, w, fd, tmp, data, self);
    if (status == WC_OK) status = wc_commit_file(ctx, fd, tmp, path);
    if (fd >= 0) close(fd);
    if (status != WC_OK && fd >= 0) unlink(tmp);
    wc_buf_free(&partial);
    return status;
}

void wc_gguf_writer_free(wc_gguf_writer *w)
{
    wc_buf_free(&w->keys);
    wc_buf_free(&w->infos);
    memset(w, 0, sizeof *w);
}
