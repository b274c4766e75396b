/* store.h - activations of many chunks, in memory or, past the memory budget, in a file: same calls, same bytes. */
#ifndef WC_CALIB_STORE_H
#define WC_CALIB_STORE_H

#include "base/file.h"

typedef struct wc_store {
    size_t n, record; /* n records of `record' floats each */
    float *memory;    /* [n, record], or NULL: in the file */
    int fd;
    char *path;
} wc_store;

/* path NULL: in memory. Otherwise a file, created (or opened as it is, when it exists and keep is set). */
wc_status wc_store_open(wc_ctx *ctx, const char *path, bool keep, size_t n, size_t record, wc_store *out);
/* count <= record floats of record i. */
wc_status wc_store_read(wc_ctx *ctx, const wc_store *s, size_t i, float *dst, size_t count);
wc_status wc_store_write(wc_ctx *ctx, wc_store *s, size_t i, const float *src, size_t count);
wc_status wc_store_sync(wc_ctx *ctx, const wc_store *s); /* a file store: on disk when it returns */
void wc_store_close(wc_store *s, bool remove_file);

#endif
