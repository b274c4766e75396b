/* file.h - whole files, mappings, atomic output. */
#ifndef WC_BASE_FILE_H
#define WC_BASE_FILE_H

#include "base/mem.h"

/* A read-only mapping of a regular file (symlinks followed). Anything that is not a regular file is refused (WC_IO).
 * The size is fixed at open; a file truncated by somebody else while mapped raises SIGBUS, as for every mmap. */
typedef struct wc_map {
    const uint8_t *data; /* NULL when size is 0 */
    uint64_t size;
    uint64_t device, inode; /* identity, to refuse source == output */
} wc_map;
wc_status wc_map_open(wc_ctx *ctx, const char *path, wc_map *out);
void wc_map_close(wc_map *m);
/* Drops resident pages of [offset, offset+size) so that streaming a large file keeps the RSS bounded. A hint. */
void wc_map_release(const wc_map *m, uint64_t offset, uint64_t size);
/* Single pages here and there will be read (on), or runs of them (off, the default): keeps the kernel from reading far
 * ahead of every page. A hint. */
void wc_map_scattered(const wc_map *m, bool on);

/* Reads a whole file of at most `limit' bytes; *out gets a NUL after its size bytes. WC_IO when absent or unreadable,
 * WC_BADFILE when larger than limit. */
wc_status wc_read_file(wc_ctx *ctx, const char *path, uint64_t limit, wc_buf *out);

bool wc_file_exists(const char *path);
bool wc_is_dir(const char *path);

/* "dir/name" into a fresh string (free it); dir "" or NULL gives name alone. NULL when out of memory. */
char *wc_path_join(const char *dir, const char *name);
char *wc_path_dir(const char *path); /* "a/b" -> "a", "b" -> "." ; fresh string */

/* pread/pwrite that loop over short transfers. WC_IO names `path' and, for a full disk, the bytes that were needed. */
wc_status wc_pread(wc_ctx *ctx, int fd, const char *path, void *dst, uint64_t size, uint64_t offset);
wc_status wc_pwrite(wc_ctx *ctx, int fd, const char *path, const void *src, uint64_t size, uint64_t offset);

/* fsync the file, rename tmp over path, fsync the directory: afterwards `path' is complete or untouched. */
wc_status wc_commit_file(wc_ctx *ctx, int fd, const char *tmp, const char *path);
/* Small files in one go, through path + ".tmp" and wc_commit_file. */
wc_status wc_write_file_atomic(wc_ctx *ctx, const char *path, const void *data, size_t size);

#endif
