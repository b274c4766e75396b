/* gguf.h - GGUF files, version 2 and 3, little-endian: a strict reader, and a writer.
 *
 *     "GGUF" u32 version | u64 tensors | u64 keys | keys | tensor infos | padding | data of each tensor, padded
 *
 * The reader checks all that ggml's own reader checks, and bounds every count by the bytes that are left before it
 * allocates. Afterwards every key and tensor lies inside the mapping. Values are not looked at. */
#ifndef WC_IO_GGUF_H
#define WC_IO_GGUF_H

#include "base/file.h"
#include "base/part.h"

typedef enum wc_gguf_type {
    WC_GGUF_U8,
    WC_GGUF_I8,
    WC_GGUF_U16,
    WC_GGUF_I16,
    WC_GGUF_U32,
    WC_GGUF_I32,
    WC_GGUF_F32,
    WC_GGUF_BOOL,
    WC_GGUF_STRING,
    WC_GGUF_ARRAY,
    WC_GGUF_U64,
    WC_GGUF_I64,
    WC_GGUF_F64,
    WC_GGUF_N_TYPES
} wc_gguf_type;

enum { WC_GGUF_MAX_DIMS = 4, WC_GGUF_MAX_NAME = 63 };

typedef struct wc_gguf_key {
    const char *name;  /* printable ASCII */
    wc_gguf_type type; /* of the value, or of an array's elements */
    bool array;
    uint64_t count;      /* elements of an array; else 1 */
    const uint8_t *data; /* the first element */
    uint64_t size;       /* bytes of all elements */
} wc_gguf_key;

typedef struct wc_gguf_tensor {
    const char *name; /* printable ASCII */
    uint32_t type;    /* id: one of base/ggml.h */
    uint32_t n_dims;
    uint64_t dims[WC_GGUF_MAX_DIMS]; /* fastest first; those not used are 1 */
    uint64_t offset, size;           /* from the start of the file; bytes */
} wc_gguf_tensor;

typedef struct wc_gguf {
    wc_map map; /* empty when parsed from memory */
    uint32_t version;
    wc_gguf_key *key; /* [n_keys] sorted by name */
    size_t n_keys;
    wc_gguf_tensor *tensor; /* [n] in file order */
    size_t n;
    char *text; /* holds the names */
} wc_gguf;

/* WC_IO; WC_BADFILE: no GGUF, truncated, or against its rules; WC_UNSUPPORTED: another version, byte order or tensor
 * type. On failure *out is zeroed. */
wc_status wc_gguf_open(wc_ctx *ctx, const char *path, wc_gguf *out);
wc_status wc_gguf_parse(wc_ctx *ctx, const uint8_t *data, uint64_t size, const char *label, wc_gguf *out);
void wc_gguf_close(wc_gguf *g); /* NULL is fine */

const wc_gguf_key *wc_gguf_find(const wc_gguf *g, const char *name); /* NULL: no such key */

/* A value of any integer type, or the first of an array; WC_BADFILE when absent and required, of another type, or
 * outside [lo, hi]. def UINT64_MAX: required. */
wc_status wc_gguf_u64(wc_ctx *ctx, const wc_gguf *g, const char *name, uint64_t def, uint64_t lo, uint64_t hi,
                      uint64_t *out);
/* f32 or f64; def NAN: required. */
wc_status wc_gguf_real(wc_ctx *ctx, const wc_gguf *g, const char *name, double def, double *out);
wc_status wc_gguf_flag(wc_ctx *ctx, const wc_gguf *g, const char *name, bool def, bool *out);
/* Whether the key is a string equal to text. */
bool wc_gguf_says(const wc_gguf *g, const char *name, const char *text);
/* A string, or with `at' >= 0 ... wc_gguf_next of an array of strings: *p [*n], not ended by a NUL. */
bool wc_gguf_string(const wc_gguf *g, const char *name, const char **p, size_t *n);
/* The string at *at of a key's data, which moves behind it; only inside key->data .. + size, and count times. */
void wc_gguf_next(const uint8_t **at, const char **p, size_t *n);

/* Bytes of `count' weights of a tensor type; 0 when the type is unknown or they are no whole blocks. */
uint64_t wc_gguf_bytes(uint32_t type, uint64_t row, uint64_t rows);
const char *wc_gguf_type_name(uint32_t type); /* "Q4_K", "F16"; "?" */

/* ---- writing: keys, then tensors, then wc_gguf_write ------------------------------------------------------------- */

typedef struct wc_gguf_writer {
    wc_buf keys, infos;
    uint64_t n_keys, n, end; /* end: bytes of data so far, padded */
} wc_gguf_writer;

wc_status wc_gguf_put_u32(wc_ctx *ctx, wc_gguf_writer *w, const char *name, uint32_t value);
wc_status wc_gguf_put_f32(wc_ctx *ctx, wc_gguf_writer *w, const char *name, float value);
wc_status wc_gguf_put_flag(wc_ctx *ctx, wc_gguf_writer *w, const char *name, bool value);
wc_status wc_gguf_put_string(wc_ctx *ctx, wc_gguf_writer *w, const char *name, const char *p, size_t n);
/* The head of an array of `count' elements, which follow through wc_gguf_put_element or, for strings, _text. */
wc_status wc_gguf_put_array(wc_ctx *ctx, wc_gguf_writer *w, const char *name, wc_gguf_type type, uint64_t count);
wc_status wc_gguf_put_element(wc_ctx *ctx, wc_gguf_writer *w, const void *value, size_t size);
wc_status wc_gguf_put_text(wc_ctx *ctx, wc_gguf_writer *w, const char *p, size_t n);
/* A tensor [rows, cols], or [cols] for rows 0; its data come in the same order. */
wc_status wc_gguf_put_tensor(wc_ctx *ctx, wc_gguf_writer *w, const char *name, uint32_t type, uint64_t rows,
                             uint64_t cols);
/* Bytes of the whole file. */
uint64_t wc_gguf_file_size(const wc_gguf_writer *w);

/* Writes path through path + ".partial". data(self, i, out) makes the bytes of tensor i. */
typedef wc_status (*wc_gguf_data)(wc_ctx *ctx, void *self, size_t i, wc_buf *out);
wc_status wc_gguf_write(wc_ctx *ctx, const wc_gguf_writer *w, const char *path, wc_gguf_data data, void *self);
void wc_gguf_writer_free(wc_gguf_writer *w);

#endif
