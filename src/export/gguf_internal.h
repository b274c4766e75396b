#ifndef WC_EXPORT_GGUF_INTERNAL_H
#define WC_EXPORT_GGUF_INTERNAL_H

#include "export/gguf.h"
#include "io/json.h"

/* The keys tokenizer.*, from tokenizer.json. config: config.json, for the ids of special tokens. */
wc_status wci_gguf_tokenizer(wc_ctx *ctx, const wc_input *in, const json_t *config, const char *pre, wc_gguf_writer *w);

#endif
