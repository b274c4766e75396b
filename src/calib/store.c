#include "calib/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

wc_status wc_store_open(wc_ctx *ctx, const char *path, bool keep, size_t n, size_t record, wc_store *out)
{
    wc_store s = {.n = n, .record = record, .fd = -1};
    uint64_t bytes;
    if (!wc_mul(n, record * sizeof(float), &bytes)) return wc_fail(ctx, WC_NOMEM, "activations do not fit any memory");
    if (!path) {
        WC_TRY(WC_ALLOC(ctx, s.memory, n * record, "activations"));
        *out = s;
        return WC_OK;
    }
    s.path = strdup(path);
    s.fd = s.path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | (keep ? 0 : O_TRUNC), 0666) : -1;
    wc_status status = WC_OK;
    if (s.fd < 0) status = wc_fail(ctx, WC_IO, "%s: %s", path, strerror(errno));
    /* Reserved now, so that a full disk is reported before hours of work and not in the middle of them. */
    int err = status == WC_OK && bytes ? posix_fallocate(s.fd, 0, (off_t)bytes) : 0;
    if (err && (err != EOPNOTSUPP && err != EINVAL))
        status = wc_fail(ctx, WC_IO, "%s: cannot reserve %llu bytes for activations: %s", path,
                         (unsigned long long)bytes, strerror(err));
    if (status != WC_OK) {
        wc_store_close(&s, true);
        return status;
    }
    *out = s;
    return WC_OK;
}

wc_status wc_store_read(wc_ctx *ctx, const wc_store *s, size_t i, float *dst, size_t count)
{
    if (s->memory) {
        memcpy(dst, s->memory + i * s->record, count * sizeof *dst);
        return WC_OK;
    }
    return wc_pread(ctx, s->fd, s->path, dst, count * sizeof *dst, (uint64_t)i * s->record * sizeof *dst);
}

wc_status wc_store_write(wc_ctx *ctx, wc_store *s, size_t i, const float *src, size_t count)
{
    if (s->memory) {
        memcpy(s->memory + i * s->record, src, count * sizeof *src);
        return WC_OK;
    }
    return wc_pwrite(ctx, s->fd, s->path, src, count * sizeof *src, (uint64_t)i * s->record * sizeof *src);
}

wc_status wc_store_sync(wc_ctx *ctx, const wc_store *s)
{
    if (!s->memory && fdatasync(s->fd)) return wc_fail(ctx, WC_IO, "%s: %s", s->path, strerror(errno));
    return WC_OK;
}

void wc_store_close(wc_store *s, bool remove_file)
{
    if (!s) return;
    if (s->path) {
        if (s->fd >= 0) close(s->fd);
        if (remove_file) unlink(s->path);
    }
    free(s->path);
    free(s->memory);
    memset(s, 0, sizeof *s);
    s->fd = -1;
}
