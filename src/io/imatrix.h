/* imatrix.h - importance matrices of llama.cpp: for every matrix of a model, the squares of its inputs summed over the
 * tokens of a text; the diagonal of our H, times the number of tokens. Both forms, as its tools write and read them:
 *
 *   GGUF    general.type "imatrix", imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size; per matrix the F32
 *           tensors NAME.in_sum2 [n (, experts)], NAME.counts [1 (, experts)], both of tokens, and since 2025 perhaps
 *           NAME.in_sum: the inputs themselves, summed
 *   legacy  ".dat", little-endian: i32 entries, then of each i32 length, name, i32 calls, i32 n, f32 [n]: mean squares
 *           times calls; then perhaps i32 chunks, i32 length, name of the text
 *
 * NAME is GGUF's, "blk.0.attn_q.weight". */
#ifndef WC_IO_IMATRIX_H
#define WC_IO_IMATRIX_H

#include "io/gguf.h"

typedef struct wc_imatrix_entry {
    const char *name;    /* printable ASCII */
    uint64_t n;          /* inputs, of all experts together */
    uint64_t experts;    /* 1: an ordinary matrix */
    double count;        /* what the sums are divided by, above 0 */
    const uint8_t *sum2; /* f32 [n], not aligned */
    const uint8_t *sum;  /* f32 [n], or NULL */
} wc_imatrix_entry;

typedef struct wc_imatrix {
    wc_gguf gguf; /* legacy: only its map */
    bool legacy;
    wc_imatrix_entry *entry; /* [n_entries] sorted by name */
    size_t n_entries;
    uint64_t chunks, chunk_size; /* of the text; 0: not said */
    char source[256];            /* the text's name, printable; "" when not said */
    char *text;                  /* holds the names */
} wc_imatrix;

/* WC_IO; WC_BADFILE: neither form, truncated, or contradictory. Values are not looked at. On failure *out is zeroed. */
wc_status wc_imatrix_open(wc_ctx *ctx, const char *path, wc_imatrix *out);
/* The same for bytes that outlive *out. */
wc_status wc_imatrix_parse(wc_ctx *ctx, const uint8_t *data, uint64_t size, const char *label, wc_imatrix *out);
void wc_imatrix_close(wc_imatrix *m); /* NULL is fine */

const wc_imatrix_entry *wc_imatrix_find(const wc_imatrix *m, const char *name); /* NULL: no such entry */

/* square [n] = E[x^2], mean [n] = E[x] (zeros when the file does not have it) of an entry that must have n inputs of
 * one expert. WC_BADFILE: it has not, or a value is not finite or a square negative. label: the file. */
wc_status wc_imatrix_means(wc_ctx *ctx, const wc_imatrix_entry *e, const char *label, size_t n, float *square,
                           float *mean);

/* ---- writing ---------------------------------------------------------------------------------------------------- */

typedef struct wc_imatrix_out {
    char name[64];
    size_t n;
    const float *square, *mean; /* [n] E[x^2], E[x]; mean goes into GGUF only */
} wc_imatrix_out;

typedef struct wc_imatrix_text {
    const char *source;
    uint32_t chunks, chunk_size; /* of which every matrix has seen chunks * chunk_size tokens */
} wc_imatrix_text;

/* entries [n], in any order. The file appears when it is complete. */
wc_status wc_imatrix_write(wc_ctx *ctx, const char *path, bool legacy, const wc_imatrix_out *entries, size_t n,
                           const wc_imatrix_text *text);

#endif
