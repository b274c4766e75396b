/* tokenizer.h - a Hugging Face tokenizer.json: text to the very ids the model was trained on, and back.
 *
 *     wc_tokenizer *t = NULL;
 *     WC_TRY(wc_tokenizer_open(ctx, json, size, "model/tokenizer.json", &t));
 *     wc_ids ids = {0};
 *     status = wc_tokenizer_encode(ctx, t, text, size, WC_ENCODE_TEMPLATE, &ids);
 *     ...
 *     wc_ids_free(&ids);
 *     wc_tokenizer_free(&t);
 *
 * Models: BPE, byte-level (GPT-2, Llama-3, Qwen, DeepSeek ...) and SentencePiece-type (Llama-2, Mistral, Gemma ...).
 * Normalizers: Replace, Prepend, NFC, NFD, NFKC, NFKD, Lowercase, Strip, ByteLevel, Sequence. Pre-tokenizers: Split,
 * ByteLevel, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit, Sequence. Post-processors:
 * TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel, Sequence. `truncation', `padding' and `dropout' are
 * ignored on purpose: they are for serving and training. Unicode tables are those of PCRE2 and utf8proc (14.0 in Debian
 * 12).
 *
 * An open tokenizer never changes: any number of threads may use one. */
#ifndef WC_TEXT_TOKENIZER_H
#define WC_TEXT_TOKENIZER_H

#include "base/mem.h"

typedef struct wc_tokenizer wc_tokenizer;

/* A growing list of token ids. Zero-initialise; free with wc_ids_free. */
typedef struct wc_ids {
    uint32_t *id;
    size_t n, capacity;
} wc_ids;
wc_status wc_ids_append(wc_ctx *ctx, wc_ids *ids, const uint32_t *id, size_t n);
void wc_ids_free(wc_ids *ids);

/* Reads a tokenizer.json of `size' bytes; nothing of it is kept. label: its path, for messages. *out is NULL on
 * failure. WC_BADFILE: damaged; WC_UNSUPPORTED: valid, but uses a feature we lack, which the sentence names. Ids are
 * below 2^24. */
wc_status wc_tokenizer_open(wc_ctx *ctx, const char *json, size_t size, const char *label, wc_tokenizer **out);
void wc_tokenizer_free(wc_tokenizer **t);

enum {
    WC_ENCODE_TEMPLATE = 1,     /* apply the post-processor: BOS and EOS as in training */
    WC_ENCODE_PLAIN_SPECIAL = 2 /* `</s>' in the text stays text: for text of unknown origin */
};

/* Appends the ids of `text' (UTF-8, NULs allowed, below 2 GiB) to *append_to, which is unchanged on failure. Invalid
 * UTF-8 becomes U+FFFD, with one warning per call. Time is O(size log size) also for text without any boundary.
 * WC_BADFILE: the tokenizer's own regular expression or normalizer explodes on this text. */
wc_status wc_tokenizer_encode(wc_ctx *ctx, const wc_tokenizer *t, const char *text, size_t size, unsigned flags,
                              wc_ids *append_to);

/* 1 + the largest id. The model's embedding may have more rows (padding), never fewer. */
uint32_t wc_tokenizer_size(const wc_tokenizer *t);

/* The special token that the template puts first, if any. */
bool wc_tokenizer_bos(const wc_tokenizer *t, uint32_t *id);

/* Exact lookup of an added token or vocabulary entry, spelled as in the file (byte-level: "\u0120the"). */
bool wc_tokenizer_token_id(const wc_tokenizer *t, const char *content, uint32_t *id);

/* Appends the bytes of the tokens as text: byte-level mapping undone, <0xHH> as its byte, the space mark as a space;
 * added tokens as they are spelled. Ids that no token has (padding rows) add nothing. The bytes need not be whole
 * characters, and the space that a SentencePiece-type tokenizer puts before the text is not taken away. */
wc_status wc_tokenizer_decode(wc_ctx *ctx, const wc_tokenizer *t, const uint32_t *ids, size_t n, wc_buf *out);

#endif
