/* internal.h - what config.c, tokenizer.c and bpe.c share. */
#ifndef GENERATE_INTERNAL_H
#define GENERATE_INTERNAL_H

#include "generate.h"

#include <jansson.h>

enum { GEN_MAX_ID = (1 << 24) - 1, GEN_MAX_TOKENIZER_STEPS = 8 };

/* *out: the object that a text of the metadata holds; json_decref it. */
gen_status gen_json_load(const char *json, size_t size, const char *name, json_t **out, gen_error *e);

/* Bytes of somebody else. */
typedef struct gen_bytes {
    const char *p;
    size_t n;
} gen_bytes;

/* A growing buffer: zero it, put, free p. */
typedef struct gen_buf {
    char *p;
    size_t n, room;
} gen_buf;
gen_status gen_put(gen_buf *b, const void *p, size_t n, gen_error *e);

/* Two neighbours that become one token. */
typedef struct gen_merge {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank, both;
    bool used;
} gen_merge;

/* The model of a tokenizer: Jansson's objects are hash tables, so the vocabulary stays one. */
typedef struct gen_bpe {
    const json_t *vocab; /* spelling -> id */
    gen_merge *merge;    /* open addressing, at most half full */
    size_t mask;
    bool ignore_merges, byte_fallback, fuse_unknown, has_unknown;
    uint32_t unknown, byte_id[256];
} gen_bpe;
gen_status gen_bpe_open(const json_t *model, gen_bpe *out, gen_error *e); /* *out zeroed; free merge, also on failure */
bool gen_bpe_find(const gen_bpe *b, gen_bytes s, uint32_t *id);
/* Appends the ids of one piece of text, as uint32_t, to *ids. */
gen_status gen_bpe_encode(const gen_bpe *b, gen_bytes piece, gen_buf *ids, gen_error *e);

/* Bytes of the UTF-8 character at s; the text is valid. */
static inline size_t gen_char_size(const char *s)
{
    unsigned char lead = (unsigned char)*s;
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

#endif
