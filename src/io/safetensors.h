/* safetensors.h - a strict reader of the Hugging Face tensor file.
 *
 *     u64 N | N bytes of JSON, {"name": {"dtype", "shape", "data_offsets"}, ..., "__metadata__": {...}} | tensor data
 *
 * The file is mapped and only the header is touched at open, so opening costs the same for 1 MiB and for 100 GiB.
 * Everything that can be wrong with sizes, shapes and offsets is refused there, once; afterwards [offset, offset +
 * size) of each tensor lies inside the mapping. Values are not looked at. Nothing is aligned: foreign writers start
 * tensors on odd bytes. */
#ifndef WC_IO_SAFETENSORS_H
#define WC_IO_SAFETENSORS_H

#include "base/file.h"
#include "base/part.h"
#include "io/escape.h"

#define WC_ST_MAX_HEADER 100000000u         /* the reference's limit on N */
#define WC_ST_MAX_INT    ((1ull << 48) - 1) /* the schema's limit on dimensions and offsets */
#define WC_ST_MAX_DIMS   8u

typedef struct wc_st_tensor {
    char *name; /* unescaped UTF-8 without NUL; else anything: print through wc_escape_name, never use as a path */
    wc_dtype dtype;
    uint32_t n_dims;
    uint64_t dims[WC_ST_MAX_DIMS];
    uint64_t rows, cols; /* as a matrix: cols = last dimension, rows = product of the others; a scalar is [1, 1] */
    uint64_t offset;     /* of the first byte, from the start of the file */
    uint64_t size;       /* bytes */
    uint32_t shard;      /* index of its file in a checkpoint; 0 in a lone file */
    /* Of a GGUF file, else 0: */
    uint32_t ggml;        /* the type of its blocks (base/ggml.h); dtype is then F32, what they are read as */
    uint32_t interleaved; /* heads in whose rows it is stored interleaved (io/gguf_model.h) */
    /* Of a checkpoint that was quantized, else NULL: the layer that it stands for (io/quantized.h). dtype is F32;
     * offset is nothing, size that of all tensors that hold it. */
    const struct wc_quant_linear *packed;
} wc_st_tensor;

typedef struct wc_st_meta {
    char *key, *value;
} wc_st_meta;

typedef struct wc_safetensors {
    char *path;
    wc_map map;
    wc_st_tensor *tensor; /* [n] in the order of their data */
    size_t n;
    wc_st_meta *meta; /* [n_meta] __metadata__ in the order of the file */
    size_t n_meta;
    /* Tolerated, but not what the specification asks for: */
    size_t n_unknown_keys; /* keys other than the three in tensor entries, ignored */
    bool leading_space;    /* white space before the first brace */
    char *text;            /* holds every string above */
} wc_safetensors;

/* Maps and checks the file. WC_IO: cannot be read, not a regular file. WC_BADFILE: damaged, truncated, or not
 * safetensors at all. WC_UNSUPPORTED: more than 8 dimensions. On failure *out is zeroed. Ignored keys are logged as a
 * warning. */
wc_status wc_safetensors_open(wc_ctx *ctx, const char *path, wc_safetensors *out);
void wc_safetensors_close(wc_safetensors *st); /* zeroes it; NULL is fine */

/* The two halves of open, on memory. first: the first n_first bytes of a file of file_size bytes, 8 of them are read;
 * *out is N, at most WC_ST_MAX_HEADER and at most file_size - 8. */
wc_status wc_safetensors_header_size(wc_ctx *ctx, const uint8_t *first, size_t n_first, uint64_t file_size,
                                     const char *label, size_t *out);
/* header: the N bytes of JSON. out->path and out->map stay empty, so out->tensor[i].offset is only a number. */
wc_status wc_safetensors_parse(wc_ctx *ctx, const uint8_t *header, size_t header_size, uint64_t file_size,
                               const char *label, wc_safetensors *out);

/* Bits of a shape, multiplied left to right with checks as the reference does: [0, 2^40, 2^40] has none, [2^40, 2^40,
 * 0] overflows. False on overflow or when the bits are not whole bytes; else *size is in bytes. */
bool wc_st_size(wc_dtype dtype, const uint64_t *dims, uint32_t n_dims, uint64_t *size);

/* "BF16 [4096, 4096]", for messages. Returns dst. */
char *wc_st_shape(char *dst, size_t size, const wc_st_tensor *t);

#endif
