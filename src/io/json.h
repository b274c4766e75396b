/* json.h - strict JSON documents (config.json, index files) over Jansson, and getters that check type and range.
 *
 * The safetensors header does not come through here: it can be 100 MB of hostile text and has its own parser. */
#ifndef WC_IO_JSON_H
#define WC_IO_JSON_H

#include <jansson.h>

#include "base/status.h"

/* Parses size bytes of text (no NUL needed) whose top level must be an object. Rejected with WC_BADFILE, in a sentence
 * with label, line and reason: syntax errors, trailing garbage, bad UTF-8, duplicate keys, nesting deeper than 128,
 * more than 8 Mi objects and arrays (they cost Jansson 50 times their text), NaN and Infinity. Integers of more than 18
 * digits become reals (the usual tokenizer_config.json has a 31-digit model_max_length). Strings may hold \u0000, keys
 * may not. *out is a new reference (json_decref); NULL on failure. */
wc_status wc_json_parse(wc_ctx *ctx, const char *text, size_t size, const char *label, json_t **out);

/* The same for a file of at most `limit' bytes; its path is the label. WC_IO when it cannot be read. */
wc_status wc_json_read(wc_ctx *ctx, const char *path, uint64_t limit, json_t **out);

/* *out = obj[key], or def when the key is missing or null. A value of another type or outside [lo, hi] is WC_BADFILE
 * with label, key, value and range; *out is then untouched. u64 takes JSON integers only (1.0 and 1e3 are refused),
 * real takes both. The string belongs to obj; one with an embedded NUL is refused. */
wc_status wc_json_u64(wc_ctx *ctx, const json_t *obj, const char *key, uint64_t def, const char *label, uint64_t lo,
                      uint64_t hi, uint64_t *out);
wc_status wc_json_real(wc_ctx *ctx, const json_t *obj, const char *key, double def, const char *label, double lo,
                       double hi, double *out);
wc_status wc_json_bool(wc_ctx *ctx, const json_t *obj, const char *key, bool def, const char *label, bool *out);
wc_status wc_json_str(wc_ctx *ctx, const json_t *obj, const char *key, const char *def, const char *label,
                      const char **out);

#endif
