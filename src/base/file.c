#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

wc_status wc_map_open(wc_ctx *ctx, const char *path, wc_map *out)
{
    memset(out, 0, sizeof *out);
    /* O_NONBLOCK: opening a FIFO must refuse, not hang. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return wc_fail(ctx, WC_IO, "%s: %s", path, strerror(errno));
    struct stat st;
    wc_status status = WC_OK;
    if (fstat(fd, &st))
        status = wc_fail(ctx, WC_IO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = wc_fail(ctx, WC_IO, "%s: not a regular file", path);
    if (status == WC_OK && st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
            status = wc_fail(ctx, WC_IO, "%s: cannot map %lld bytes: %s", path, (long long)st.st_size, strerror(errno));
        else
            out->data = p;
    }
    close(fd);
    if (status != WC_OK) return status;
    out->size = (uint64_t)st.st_size;
    out->device = (uint64_t)st.st_dev;
    out->inode = (uint64_t)st.st_ino;
    return WC_OK;
}

void wc_map_close(wc_map *m)
{
    if (!m) return;
    if (m->data) munmap((void *)m->data, m->size);
    memset(m, 0, sizeof *m);
}

void wc_map_scattered(const wc_map *m, bool on)
{
    if (m->data) madvise((void *)m->data, m->size, on ? MADV_RANDOM : MADV_NORMAL);
}

void wc_map_release(const wc_map *m, uint64_t offset, uint64_t size)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (!m->data || offset >= m->size) return;
    if (size > m->size - offset) size = m->size - offset;
    uint64_t begin = offset / page * page;
    madvise((void *)(m->data + begin), size + (offset - begin), MADV_DONTNEED);
}

wc_status wc_read_file(wc_ctx *ctx, const char *path, uint64_t limit, wc_buf *out)
{
    memset(out, 0, sizeof *out);
    wc_map m;
    WC_TRY(wc_map_open(ctx, path, &m));
    wc_status status = WC_OK;
    if (m.size > limit)
        status = wc_fail(ctx, WC_BADFILE, "%s: %llu bytes, the limit for this kind of file is %llu", path,
                         (unsigned long long)m.size, (unsigned long long)limit);
    if (status == WC_OK && m.size) status = wc_buf_append(ctx, out, m.data, m.size);
    if (status == WC_OK) status = wc_buf_append(ctx, out, "", 1);
    if (status == WC_OK) out->size--;
    if (status != WC_OK) wc_buf_free(out);
    wc_map_close(&m);
    return status;
}

bool wc_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool wc_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *wc_path_join(const char *dir, const char *name)
{
    bool bare = !dir || !*dir;
    size_t nd = bare ? 0 : strlen(dir), nn = strlen(name), slash = !bare && dir[nd - 1] != '/';
    char *s = malloc(nd + slash + nn + 1);
    if (!s) return NULL;
    if (nd) memcpy(s, dir, nd);
    if (slash) s[nd] = '/';
    memcpy(s + nd + slash, name, nn + 1);
    return s;
}

char *wc_path_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

wc_status wc_pread(wc_ctx *ctx, int fd, const char *path, void *dst, uint64_t size, uint64_t offset)
{
    for (uint8_t *p = dst; size;) {
        ssize_t n = pread(fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return wc_fail(ctx, WC_IO, "%s: reading at byte %llu: %s", path, (unsigned long long)offset,
                           strerror(errno));
        if (n == 0) return wc_fail(ctx, WC_IO, "%s: ends %llu bytes early", path, (unsigned long long)size);
        p += n, offset += (uint64_t)n, size -= (uint64_t)n;
    }
    return WC_OK;
}

wc_status wc_pwrite(wc_ctx *ctx, int fd, const char *path, const void *src, uint64_t size, uint64_t offset)
{
    for (const uint8_t *p = src; size;) {
        ssize_t n = pwrite(fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return wc_fail(ctx, WC_IO, "%s: writing %llu bytes at %llu: %s", path, (unsigned long long)size,
                           (unsigned long long)offset, strerror(errno));
        p += n, offset += (uint64_t)n, size -= (uint64_t)n;
    }
    return WC_OK;
}

static wc_status sync_dir_of(wc_ctx *ctx, const char *path)
{
    char *dir = wc_path_dir(path);
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    /* Some file systems cannot sync a directory; the rename itself has happened, so that is not a failure. */
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(dir);
    (void)ctx;
    return WC_OK;
}

wc_status wc_commit_file(wc_ctx *ctx, int fd, const char *tmp, const char *path)
{
    if (fsync(fd)) return wc_fail(ctx, WC_IO, "%s: fsync: %s", tmp, strerror(errno));
    if (rename(tmp, path)) return wc_fail(ctx, WC_IO, "%s: cannot rename to %s: %s", tmp, path, strerror(errno));
    return sync_dir_of(ctx, path);
}

wc_status wc_write_file_atomic(wc_ctx *ctx, const char *path, const void *data, size_t size)
{
    size_t n = strlen(path);
    char *tmp = malloc(n + 5);
    if (!tmp) return wc_fail(ctx, WC_NOMEM, "no memory for a file name");
    memcpy(tmp, path, n);
    memcpy(tmp + n, ".tmp", 5);
    wc_status status;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        status = wc_fail(ctx, WC_IO, "%s: %s", tmp, strerror(errno));
    } else {
        status = wc_pwrite(ctx, fd, tmp, data, size, 0);
        if (status == WC_OK) status = wc_commit_file(ctx, fd, tmp, path);
        close(fd);
        if (status != WC_OK) unlink(tmp);
    }
    free(tmp);
    return status;
}
