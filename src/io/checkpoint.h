/* checkpoint.h - a model on disk as people name it: a folder, a .safetensors file, the index of a sharded model, or a
 * GGUF file, which is then seen as the Hugging Face model that it came from. A checkpoint that GPTQ, AWQ or
 * compressed-tensors has quantized is seen as the float model that it stands for (io/quantized.h). */
#ifndef WC_IO_CHECKPOINT_H
#define WC_IO_CHECKPOINT_H

#include "io/gguf.h"
#include "io/quantized.h"
#include "io/safetensors.h"
#include "model/weight.h"

typedef struct wc_checkpoint {
    char *dir;            /* folder of the model, "." at least */
    char *path;           /* what the user gave, for messages */
    char *config_path;    /* dir/config.json; NULL when absent */
    char *tokenizer_path; /* dir/tokenizer.json; NULL when absent */
    wc_gguf *gguf;        /* NULL, or the file; its tensors are in the one shard, under their Hugging Face names */
    wc_quant *quant;      /* NULL, or its quantized layers; config is then config.json without quantization_config */
    wc_buf config, tokenizer; /* texts made from a GGUF file's metadata; empty: there is none */
    wc_safetensors *shard;
    size_t n_shards;
    const wc_st_tensor **tensor; /* [n] all of them, sorted by name (memcmp); tensor[i]->shard says whose */
    size_t n;
} wc_checkpoint;

/* path is one of
 *   - a folder with model.safetensors, or model.safetensors.index.json and its shards, or just one *.safetensors. With
 * both of the first two, the single file is taken, as transformers does, and a warning logged;
 *   - an index .json;
 *   - a .safetensors file: config and tokenizer are looked for beside it. One shard of a sharded model whose index is
 * beside it opens the whole model, and says so. Checked: every file that the index names exists (all missing ones are
 * counted, the first few named); tensors of index and files agree both ways; no name is in two files; the index names
 * only plain relative paths to .safetensors files below dir (symlinks are followed: download caches consist of them).
 * WC_IO: cannot be read. WC_BADFILE: damaged or inconsistent. WC_UNSUPPORTED: pickles (never opened; the message says
 * how to convert). On failure *out is zeroed. */
wc_status wc_checkpoint_open(wc_ctx *ctx, const char *path, wc_checkpoint *out);
void wc_checkpoint_close(wc_checkpoint *c); /* zeroes it; NULL is fine */

/* All of the following may be called from several threads; a tensor must be one of c->tensor. */

const wc_st_tensor *wc_checkpoint_find(const wc_checkpoint *c, const char *name); /* NULL: no such tensor */

/* The stored bytes, t->size of them, not aligned. Valid until close. Not for packed tensors, which lie in several. */
const uint8_t *wc_checkpoint_data(const wc_checkpoint *c, const wc_st_tensor *t);

/* All bytes as stored, but rows in Hugging Face's order: appended to out. Not for packed tensors. */
wc_status wc_checkpoint_raw(wc_ctx *ctx, const wc_checkpoint *c, const wc_st_tensor *t, wc_buf *out);

/* dst [nr, cols] = rows r0 .. r0 + nr of t seen as [rows, cols], exactly. F32, F16 and BF16; others WC_UNSUPPORTED. NaN
 * and infinities pass. Large requests are split among ctx->threads unless the caller is already in a parallel region.
 */
wc_status wc_checkpoint_rows(wc_ctx *ctx, const wc_checkpoint *c, const wc_st_tensor *t, uint64_t r0, uint64_t nr,
                             float *dst);

/* Drops resident pages of every shard; they come back from disk when read again. */
void wc_checkpoint_release(const wc_checkpoint *c);

/* The first NaN or infinity of an F32, F16, BF16 or F64 tensor is WC_BADFILE with tensor, [row, col] and value. Other
 * dtypes hold none or are opaque here: WC_OK. Reads the stored bits once, at memory speed. */
wc_status wc_checkpoint_check_finite(wc_ctx *ctx, const wc_checkpoint *c, const wc_st_tensor *t);

/* A 64-bit identity of the model, for "are these the weights that the statistics came from?": XXH3 over, for each
 * tensor in order of name (for a quantized layer each that holds it): name with its NUL, dtype id (u32), number of
 * dimensions (u32), dimensions (u64 each), all little-endian, then the content: all of it up to 16 MiB; above, 256
 * pages of 4096 bytes, page k at byte floor(k (size
 * - 4096) / 255), so first and last are among them. The same for any sharding and file name. Not a proof against
 * tampering. */
wc_status wc_checkpoint_fingerprint(wc_ctx *ctx, const wc_checkpoint *c, uint64_t *out);

/* c as a source of weights (model/weight.h): tensors as [rows, cols], 1-D ones as [1, n]. c must outlive it. */
wc_weight_source wc_checkpoint_source(const wc_checkpoint *c);

/* An index file's weight_map. */
typedef struct wc_index_entry {
    const char *name; /* tensor */
    const char *file; /* relative path, checked: stays below the folder, printable, ends in .safetensors */
} wc_index_entry;
typedef struct wc_index {
    wc_index_entry *entry; /* [n] sorted by name; strings owned by root */
    size_t n;
    uint64_t total_size; /* metadata.total_size; 0 when absent or no integer. A hint: writers get it wrong */
    void *root;
} wc_index;

/* Parses the text of an index. WC_BADFILE: no index, or a path that leaves the folder. WC_UNSUPPORTED: an index of
 * pickles. */
wc_status wc_index_parse(wc_ctx *ctx, const char *text, size_t size, const char *label, wc_index *out);
void wc_index_free(wc_index *index);

#endif
