/* gguf_model.h - a GGUF file as the Hugging Face model it was made from: names, config.json, tokenizer.json. */
#ifndef WC_IO_GGUF_MODEL_H
#define WC_IO_GGUF_MODEL_H

#include "io/gguf.h"

/* Tensor names are one to one for the architectures llama, qwen2 and qwen3; others keep GGUF's. dst is the Hugging Face
 * name of GGUF's `name'; wc_gguf_name is the way back, NULL dst when there is none. */
enum { WC_GGUF_NAME_ROOM = 128 };
void wc_gguf_hf_name(const char *name, char dst[WC_GGUF_NAME_ROOM]);
bool wc_gguf_name(const char *hf_name, char dst[WC_GGUF_NAME_ROOM]);

/* Heads in whose rows the tensor is interleaved: architecture llama stores q and k with rows i and i + D/2 of every
 * head side by side. 0: as Hugging Face has it. */
wc_status wc_gguf_interleaved(wc_ctx *ctx, const wc_gguf *g, const char *name, uint32_t *heads);
/* Row of the file that holds row `row' of the Hugging Face tensor, and back. rows: of the tensor. */
uint64_t wc_gguf_interleave(uint64_t row, uint64_t rows, uint32_t heads);
uint64_t wc_gguf_deinterleave(uint64_t row, uint64_t rows, uint32_t heads);

/* The texts of config.json and tokenizer.json as the metadata have them. An architecture that we do not know gives a
 * config with its name only. No tokenizer, or one of a kind that we do not know: out stays empty, with a warning. */
wc_status wc_gguf_config(wc_ctx *ctx, const wc_gguf *g, wc_buf *out);
wc_status wc_gguf_tokenizer(wc_ctx *ctx, const wc_gguf *g, wc_buf *out);

/* How llama.cpp names a way of cutting text before byte-level BPE: what tokenizer.json says instead. */
typedef struct wc_gguf_pre {
    const char *name;
    const char *pattern; /* a Split before ByteLevel, or NULL */
    bool digits;         /* single digits are cut off first */
    bool gpt2;           /* ByteLevel uses its own pattern */
    bool ignore_merges;  /* a piece that is a token is not merged */
} wc_gguf_pre;
extern const wc_gguf_pre wc_gguf_pres[]; /* ended by name NULL */

#endif
