/* wcz.h - writing .wcz files (docs/FORMAT.md), and reading them through the decode library.
 *
 * Writing begins with the plan of the whole file: names, shapes and part geometry fix every offset and the exact size
 * before any work is done. Parts then go to their places in any order, also from several threads, and each is on disk
 * for good: a run that was killed opens the same file again and takes over the parts that its journal lists
 * (wc_wcz_get).
 *
 *     wc_wcz_layout -> wc_wcz_create -> wc_wcz_put or wc_wcz_get for every part -> wc_wcz_finish -> wc_wcz_free
 */
#ifndef WC_IO_WCZ_H
#define WC_IO_WCZ_H

#include "base/file.h"
#include "base/part.h"
#include "formats/format.h"
#include "model/weight.h"
#include "wcdecode.h"

typedef struct wc_wcz_tensor {
    const char *name;
    wc_dtype source_dtype;
    uint32_t n_dims; /* 0..8 */
    uint64_t dims[WCD_MAX_DIMS];
    size_t n_parts;       /* of the sum, at least 1 */
    const wc_part *parts; /* plans [n_parts + n_transforms] (part.h): those of the sum, each [product of all dims but
                           * the last, last dim], then the transforms, in the order in which an input meets them */
    size_t n_transforms;
} wc_wcz_tensor;

typedef struct wc_wcz_meta {
    const char *name;
    const void *data; /* [size] */
    size_t size;
} wc_wcz_meta;

typedef struct wc_wcz wc_wcz;

/* Plans the file. Copies what it needs; tensors and metas in any order. Metadata is compressed here (zstd level 19,
 * kept when smaller), so that the size is exact. WC_BADFILE: an empty or repeated name; WC_BUG: parts that do not fit
 * the shape. */
wc_status wc_wcz_layout(wc_ctx *ctx, const wc_wcz_tensor *tensors, size_t n, const wc_wcz_meta *metas, size_t n_metas,
                        wc_wcz **out);
uint64_t wc_wcz_size(const wc_wcz *z); /* bytes of the finished file */

/* Opens or creates path (by convention NAME.partial), reserves all its bytes on disk, writes the metadata. What an
 * earlier run left in the parts' places stays. WC_IO when the disk has not enough room, with bytes needed and free; a
 * file that did not exist before, or was empty, is then removed. */
wc_status wc_wcz_create(wc_ctx *ctx, wc_wcz *z, const char *path);

/* The bytes of a part as stored; free with wc_wcz_blob_free. */
typedef struct wc_wcz_blob {
    uint8_t *data; /* [size], 64-byte aligned */
    uint64_t size;
    uint8_t params[WC_PARAMS_SIZE];
    uint64_t xxh3;
    uint16_t kind, version;
    struct wc_wcz_blob *child; /* [n_children] the blobs of the parts that this one is made of (wc_part_children) */
    size_t n_children;
} wc_wcz_blob;
void wc_wcz_blob_free(wc_wcz_blob *b); /* NULL is fine */

/* The number of the first transform of the caller's tensor, if it has any: how many parts its sum has. */
size_t wc_wcz_n_parts(const wc_wcz *z, size_t tensor);

/* Encodes and writes part `part' of the caller's tensor number `tensor', with its children. out may be NULL. WC_BUG
 * when its geometry is not the planned one (scale_exp is free). Different parts may be put from different threads. */
wc_status wc_wcz_put(wc_ctx *ctx, wc_wcz *z, size_t tensor, size_t part, const wc_part *numbers, wc_wcz_blob *out);

/* The same for a float part whose values lie in a file mapping at `offset': written from there piece by piece, the
 * pieces' pages released, so that a tensor of any size costs no memory. out->data stays NULL; the rest is filled. */
wc_status wc_wcz_copy(wc_ctx *ctx, wc_wcz *z, size_t tensor, size_t part, const wc_map *map, uint64_t offset,
                      wc_wcz_blob *out);

/* The same for a float part of F32, F16 or BF16 whose values are those of a weight, rounded to nearest: read and
 * written piece by piece. WC_NUMERIC: a value that is too large for F16. */
wc_status wc_wcz_copy_weight(wc_ctx *ctx, wc_wcz *z, size_t tensor, size_t part, const wc_weight *w, wc_wcz_blob *out);

/* Takes over a part that an earlier run has put: reads it back and compares its checksums. sealed: params, xxh3 and
 * children as wc_wcz_put returned them; nothing else in it is looked at. WC_VERIFY when the bytes on disk are not
 * those; then the part has to be put again. out may be NULL; memory use is then small. */
wc_status wc_wcz_get(wc_ctx *ctx, wc_wcz *z, size_t tensor, size_t part, const wc_wcz_blob *sealed, wc_wcz_blob *out);

/* What has been put so far is on disk when this returns: before a journal vouches for it. */
wc_status wc_wcz_sync(wc_ctx *ctx, const wc_wcz *z);

/* What the index says about a tensor: its relative layer error (NaN, the default: not measured) and WCD_TENSOR_* flags.
 */
void wc_wcz_describe(wc_wcz *z, size_t tensor, double error, uint32_t flags);

/* Writes index and header, syncs, and renames to final_path. WC_BUG when a part is missing. */
wc_status wc_wcz_finish(wc_ctx *ctx, wc_wcz *z, const char *final_path);

/* Closes the file, which stays where it is; *z becomes NULL. */
void wc_wcz_free(wc_wcz **z);

/* A .wcz file opened for reading. Plain data, but must not move while weights or tensors taken from it are in use. */
typedef struct wc_wcz_reader {
    wc_map map;
    wcd_file file;
    char *path;
    char *names; /* tensor names, NUL-terminated copies, see wc_wcz_name */
} wc_wcz_reader;

/* WC_BADFILE: not a .wcz, truncated or damaged; WC_UNSUPPORTED: made by a newer version; WC_IO. Checks the index, not
 * the blobs (wcd_verify does). */
wc_status wc_wcz_open(wc_ctx *ctx, const char *path, wc_wcz_reader *out);
void wc_wcz_close(wc_wcz_reader *r); /* NULL and zeroed are fine */

/* Name of a tensor of this reader with its NUL; lives as long as the reader. */
const char *wc_wcz_name(const wc_wcz_reader *r, const wcd_tensor *t);

/* The tensors as weights. Reading one of integers is WC_UNSUPPORTED. */
wc_weight_source wc_wcz_source(const wc_wcz_reader *r);

/* A metadata entry, decompressed, its checksum compared; a NUL follows its size bytes. WC_BADFILE when absent, damaged,
 * or larger than 256 MiB. */
wc_status wc_wcz_meta_read(wc_ctx *ctx, const wc_wcz_reader *r, const char *name, wc_buf *out);

#endif
