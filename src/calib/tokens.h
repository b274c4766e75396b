/* tokens.h - text to windows of token ids, for calibration and evaluation. */
#ifndef WC_CALIB_TOKENS_H
#define WC_CALIB_TOKENS_H

#include "base/file.h"
#include "text/tokenizer.h"

typedef struct wc_windows {
    uint32_t *id; /* [n, seqlen] */
    size_t n, seqlen;
    uint64_t stream_tokens;         /* tokens of the whole text, before windows were picked */
    uint64_t text_bytes, text_hash; /* bytes and xxh3 of the text */
    uint64_t hash;                  /* xxh3 of seqlen and the ids */
    bool bos;                       /* every window starts with BOS */
    char source[256];               /* "built-in text", or the file names */
} wc_windows;

typedef enum wc_bos { WC_BOS_AUTO, WC_BOS_ALWAYS, WC_BOS_NEVER } wc_bos;

typedef struct wc_text_options {
    const char *const *files; /* n_files 0: the built-in calibration text */
    size_t n_files;
    const char *ids_file; /* instead of text: raw little-endian u32 token ids */
    size_t seqlen;
    uint64_t max_tokens; /* 0: all of it */
    wc_bos bos;          /* AUTO: when the tokenizer's template starts with one */
    bool bos_per_window; /* otherwise only at the start of the stream */
} wc_text_options;

/* Tokenizes the texts (joined by a blank line), cuts the stream into non-overlapping windows and keeps max_tokens /
 * seqlen of them, evenly spread over the whole text. The incomplete tail is dropped. tokenizer may be NULL with
 * ids_file. Fewer tokens than one window, an id outside vocab, or an empty text: WC_BADFILE with the numbers. Free with
 * wc_windows_free. */
wc_status wc_windows_make(wc_ctx *ctx, const wc_tokenizer *tokenizer, size_t vocab, const wc_text_options *opt,
                          wc_windows *out);
void wc_windows_free(wc_windows *w);

/* The text compiled into the program: public-domain prose, source code, technical English, other scripts. */
extern const char wc_builtin_text[];
size_t wc_builtin_text_size(void);

#endif
