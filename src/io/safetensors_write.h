/* safetensors_write.h - writes a safetensors file as the reference does: tensors sorted by dtype (widest first), then
 * by name, so that each is aligned to its type without gaps; compact header padded with spaces to 8 bytes. The same
 * tensors give the same bytes, in whatever order they are listed. */
#ifndef WC_IO_SAFETENSORS_WRITE_H
#define WC_IO_SAFETENSORS_WRITE_H

#include "io/safetensors.h"

typedef struct wc_st_sink wc_st_sink;

typedef struct wc_st_item {
    const char *name; /* UTF-8 */
    wc_dtype dtype;
    uint32_t n_dims;
    uint64_t dims[WC_ST_MAX_DIMS];
    const void *data; /* all the bytes, little-endian, row-major; or NULL and then */
    /* produce() makes them with wc_st_put, front to back, exactly as many as the shape says. Called once per tensor,
     * one tensor at a time, in file order. */
    wc_status (*produce)(wc_ctx *ctx, void *user, wc_st_sink *sink);
    void *user;
} wc_st_item;

wc_status wc_st_put(wc_ctx *ctx, wc_st_sink *sink, const void *data, size_t size);

/* Writes n items to `path' through path + ".tmp": the name appears only when the file is complete and on disk, and a
 * source that is mapped from the same name stays intact. Metadata: {"format":"pt"}, which transformers asks for, then
 * the n_meta pairs in the given order. WC_IO: cannot write. WC_UNSUPPORTED: the header would pass 100 MB.
 * WC_BADFILE: a name twice or not UTF-8, which only a hostile .wcz can ask for. WC_BUG: a metadata key twice, a shape
 * without a whole number of bytes, or a produce() that makes too many or too few. Holds only the header in memory. */
wc_status wc_safetensors_write(wc_ctx *ctx, const char *path, const wc_st_item *item, size_t n, const wc_st_meta *meta,
                               size_t n_meta);

/* The size of the file that wc_safetensors_write makes of these items without further metadata. The same failures, but
 * those of writing. */
wc_status wc_safetensors_size(wc_ctx *ctx, const wc_st_item *item, size_t n, uint64_t *size);

#endif
