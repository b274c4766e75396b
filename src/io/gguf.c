#include "io/gguf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/escape.h"

typedef unsigned long long ull;

enum { ALIGNMENT = 32, MAX_ALIGNMENT = 1 << 20, MAX_KEY = 65535 };

/* ---- types --------------------------------------------------------------------------------------------------------
 */

static const uint8_t widths[WC_GGUF_N_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static unsigned float_bytes(uint32_t type)
{
    return type == WC_GGML_F32 ? 4 : type == WC_GGML_F16 || type == WC_GGML_BF16 ? 2 : 0;
}

uint64_t wc_gguf_bytes(uint32_t type, uint64_t row, uint64_t rows)
{
    const wc_ggml_type *t = wc_ggml_type_by_id(type);
    unsigned block = t ? t->block : 1, bytes = t ? t->bytes : float_bytes(type);
    uint64_t n;
    if (!bytes || row % block || !wc_mul(row / block * bytes, rows, &n)) return 0;
    return n;
}

const char *wc_gguf_type_name(uint32_t type)
{
    const wc_ggml_type *t = wc_ggml_type_by_id(type);
    if (t) return t->name;
    return type == WC_GGML_F32 ? "F32" : type == WC_GGML_F16 ? "F16" : type == WC_GGML_BF16 ? "BF16" : "?";
}

/* ---- the cursor: every read is bounded here ------------------------------------------------------------------------
 */

typedef struct cursor {
    wc_ctx *ctx;
    const char *label;
    const uint8_t *data;
    uint64_t at, size;
    char *text; /* names with their NULs; room for all bytes that names can take */
    size_t text_size;
} cursor;

static wc_status truncated(const cursor *c, const char *what)
{
    return wc_fail(c->ctx, WC_BADFILE, "%s: ends inside %s", c->label, what);
}

static wc_status take(cursor *c, uint64_t n, const char *what, const uint8_t **out)
{
    if (n > c->size - c->at) return truncated(c, what);
    *out = c->data + c->at;
    c->at += n;
    return WC_OK;
}

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t x = 0;
    for (unsigned i = bytes; i-- > 0;)
        x = x << 8 | p[i];
    return x;
}

static wc_status number(cursor *c, unsigned bytes, const char *what, uint64_t *out)
{
    const uint8_t *p = NULL;
    WC_TRY(take(c, bytes, what, &p));
    *out = get(p, bytes);
    return WC_OK;
}

/* A name: printable ASCII, not empty, at most `most' bytes; copied with its NUL. */
static wc_status name(cursor *c, const char *what, uint64_t most, const char **out)
{
    const uint8_t *p = NULL;
    uint64_t n;
    char shown[WC_SHOWN];
    WC_TRY(number(c, 8, what, &n));
    if (n < 1 || n > most)
        return wc_fail(c->ctx, WC_BADFILE, "%s: the name of %s has %llu bytes; 1 to %llu are allowed", c->label, what,
                       (ull)n, (ull)most);
    WC_TRY(take(c, n, what, &p));
    char *copy = c->text + c->text_size;
    memcpy(copy, p, n);
    copy[n] = 0;
    c->text_size += n + 1;
    for (uint64_t i = 0; i < n; i++)
        if (p[i] < 0x21 || p[i] > 0x7e)
            return wc_fail(c->ctx, WC_BADFILE, "%s: the name of %s, `%s', is not printable ASCII", c->label, what,
                           wc_escape_name(shown, sizeof shown, copy));
    *out = copy;
    return WC_OK;
}

/* ---- keys ----------------------------------------------------------------------------------------------------------
 */

static wc_status strings(cursor *c, uint64_t count, const char *key)
{
    const uint8_t *ignored = NULL;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t n;
        WC_TRY(number(c, 8, key, &n));
        WC_TRY(take(c, n, key, &ignored));
    }
    return WC_OK;
}

static wc_status value(cursor *c, wc_gguf_key *k)
{
    uint64_t type, bytes;
    const uint8_t *ignored = NULL;
    WC_TRY(number(c, 4, k->name, &type));
    k->count = 1;
    if (type == WC_GGUF_ARRAY) {
        k->array = true;
        WC_TRY(number(c, 4, k->name, &type));
        WC_TRY(number(c, 8, k->name, &k->count));
        if (type == WC_GGUF_ARRAY)
            return wc_fail(c->ctx, WC_BADFILE, "%s: key %s is an array of arrays, which no reader takes", c->label,
                           k->name);
    }
    if (type >= WC_GGUF_N_TYPES)
        return wc_fail(c->ctx, WC_BADFILE, "%s: key %s has the unknown type %llu", c->label, k->name, (ull)type);
    k->type = (wc_gguf_type)type;
    k->data = c->data + c->at;
    uint64_t start = c->at, least = type == WC_GGUF_STRING ? 8 : widths[type];
    if (!wc_mul(k->count, least, &bytes) || bytes > c->size - c->at) return truncated(c, k->name);
    WC_TRY(type == WC_GGUF_STRING ? strings(c, k->count, k->name) : take(c, bytes, k->name, &ignored));
    k->size = c->at - start;
    for (uint64_t i = 0; type == WC_GGUF_BOOL && i < k->count; i++)
        if (k->data[i] > 1)
            return wc_fail(c->ctx, WC_BADFILE, "%s: key %s is a truth value of %u", c->label, k->name, k->data[i]);
    return WC_OK;
}

static int by_key_name(const void *a, const void *b)
{
    return strcmp(((const wc_gguf_key *)a)->name, ((const wc_gguf_key *)b)->name);
}

static wc_status keys(cursor *c, wc_gguf *g)
{
    for (size_t i = 0; i < g->n_keys; i++) {
        WC_TRY(name(c, "a key", MAX_KEY, &g->key[i].name));
        WC_TRY(value(c, &g->key[i]));
    }
    qsort(g->key, g->n_keys, sizeof *g->key, by_key_name);
    for (size_t i = 1; i < g->n_keys; i++)
        if (!strcmp(g->key[i - 1].name, g->key[i].name))
            return wc_fail(c->ctx, WC_BADFILE, "%s: key %s is there twice", c->label, g->key[i].name);
    return WC_OK;
}

/* ---- tensors -------------------------------------------------------------------------------------------------------
 */

static wc_status info(cursor *c, wc_gguf_tensor *t)
{
    uint64_t dims, type, all = 1;
    WC_TRY(name(c, "a tensor", WC_GGUF_MAX_NAME, &t->name));
    WC_TRY(number(c, 4, t->name, &dims));
    if (dims > WC_GGUF_MAX_DIMS)
        return wc_fail(c->ctx, WC_BADFILE, "%s: tensor %s has %llu dimensions, 4 are the most", c->label, t->name,
                       (ull)dims);
    t->n_dims = (uint32_t)dims;
    for (uint32_t d = 0; d < WC_GGUF_MAX_DIMS; d++) {
        t->dims[d] = 1;
        if (d < t->n_dims) WC_TRY(number(c, 8, t->name, &t->dims[d]));
        if (!wc_mul(all, t->dims[d], &all) || t->dims[d] > (uint64_t)1 << 48 || all > (uint64_t)1 << 48)
            return wc_fail(c->ctx, WC_BADFILE, "%s: tensor %s has an impossible shape", c->label, t->name);
    }
    WC_TRY(number(c, 4, t->name, &type));
    WC_TRY(number(c, 8, t->name, &t->offset));
    t->type = (uint32_t)type;
    if (!strcmp(wc_gguf_type_name(t->type), "?"))
        return wc_fail(c->ctx, WC_UNSUPPORTED, "%s: tensor %s is of type %llu, which is not supported", c->label,
                       t->name, (ull)type);
    t->size = all ? wc_gguf_bytes(t->type, t->dims[0], all / t->dims[0]) : 0;
    if (all && !t->size)
        return wc_fail(c->ctx, WC_BADFILE, "%s: tensor %s has rows of %llu weights, no whole blocks of %s", c->label,
                       t->name, (ull)t->dims[0], wc_gguf_type_name(t->type));
    return WC_OK;
}

static int by_tensor_name(const void *a, const void *b)
{
    return strcmp((*(const wc_gguf_tensor *const *)a)->name, (*(const wc_gguf_tensor *const *)b)->name);
}

static wc_status check_names(const cursor *c, const wc_gguf *g)
{
    const wc_gguf_tensor **list;
    wc_status status = WC_OK;
    WC_TRY(WC_ALLOC(c->ctx, list, g->n, "the list of tensors"));
    for (size_t i = 0; i < g->n; i++)
        list[i] = &g->tensor[i];
    qsort(list, g->n, sizeof *list, by_tensor_name);
    for (size_t i = 1; i < g->n && status == WC_OK; i++)
        if (!strcmp(list[i - 1]->name, list[i]->name))
            status = wc_fail(c->ctx, WC_BADFILE, "%s: tensor %s is there twice", c->label, list[i]->name);
    free(list);
    return status;
}

/* Offsets repeat what sizes say: every tensor begins where the padded one before ended. */
static wc_status tensors(cursor *c, wc_gguf *g)
{
    uint64_t alignment = ALIGNMENT, end = 0;
    for (size_t i = 0; i < g->n; i++)
        WC_TRY(info(c, &g->tensor[i]));
    WC_TRY(wc_gguf_u64(c->ctx, g, "general.alignment", ALIGNMENT, 1, MAX_ALIGNMENT, &alignment));
    if (alignment & (alignment - 1))
        return wc_fail(c->ctx, WC_BADFILE, "%s: an alignment of %llu is no power of two", c->label, (ull)alignment);
    uint64_t start = wc_round_up(c->at, alignment);
    for (size_t i = 0; i < g->n; i++) {
        wc_gguf_tensor *t = &g->tensor[i];
        if (t->offset != end)
            return wc_fail(c->ctx, WC_BADFILE, "%s: tensor %s is at %llu of the data, it has to be at %llu", c->label,
                           t->name, (ull)t->offset, (ull)end);
        if (start > c->size || end > c->size - start || t->size > c->size - start - end)
            return wc_fail(c->ctx, WC_BADFILE, "%s: ends inside the data of tensor %s", c->label, t->name);
        end = wc_round_up(end + t->size, alignment);
        t->offset += start;
    }
    return check_names(c, g);
}

/* ---- the file ------------------------------------------------------------------------------------------------------
 */

/* A key takes at least 13 bytes and a tensor 33: counts above what is left are lies, and nothing is allocated for them.
 */
static wc_status counts(cursor *c, wc_gguf *g)
{
    const uint8_t *magic = NULL;
    uint64_t version, n, n_keys;
    if (c->size < 4 || memcmp(c->data, "GGUF", 4)) return wc_fail(c->ctx, WC_BADFILE, "%s: not a GGUF file", c->label);
    WC_TRY(take(c, 4, "the header", &magic));
    WC_TRY(number(c, 4, "the header", &version));
    WC_TRY(number(c, 8, "the header", &n));
    WC_TRY(number(c, 8, "the header", &n_keys));
    if (version && !(version & 0xffff))
        return wc_fail(c->ctx, WC_UNSUPPORTED, "%s: a big-endian GGUF file; only little-endian ones are read",
                       c->label);
    if (version < 2 || version > 3)
        return wc_fail(c->ctx, WC_UNSUPPORTED, "%s: GGUF version %llu; 2 and 3 are read", c->label, (ull)version);
    uint64_t left = c->size - c->at;
    if (n_keys > left / 13 || n > left / 33)
        return wc_fail(c->ctx, WC_BADFILE, "%s: %llu keys and %llu tensors do not fit into %llu bytes", c->label,
                       (ull)n_keys, (ull)n, (ull)left);
    g->version = (uint32_t)version;
    g->n = n, g->n_keys = n_keys;
    return WC_OK;
}

/* Names are a part of the header's bytes, and every one has 8 bytes of length before it where its NUL fits. */
static wc_status names_room(cursor *c, const wc_gguf *g)
{
    uint64_t most = c->size - c->at, each = (uint64_t)MAX_KEY + 1;
    if (g->n_keys < most / each) most = g->n_keys * each + g->n * (WC_GGUF_MAX_NAME + 1);
    return WC_ALLOC(c->ctx, c->text, wc_min(most, c->size) + 1, "names");
}

wc_status wc_gguf_parse(wc_ctx *ctx, const uint8_t *data, uint64_t size, const char *label, wc_gguf *out)
{
    cursor c = {.ctx = ctx, .label = label, .data = data, .size = size};
    wc_gguf g = {0};
    wc_status status = WC_OK;
    memset(out, 0, sizeof *out);
    WC_TRY_OUT(counts(&c, &g));
    WC_TRY_OUT(names_room(&c, &g));
    WC_TRY_OUT(WC_ALLOC(ctx, g.key, g.n_keys, "keys"));
    WC_TRY_OUT(WC_ALLOC(ctx, g.tensor, g.n, "tensors"));
    WC_TRY_OUT(keys(&c, &g));
    WC_TRY_OUT(tensors(&c, &g));
    g.text = c.text;
    *out = g;
    return WC_OK;
out:
    free(c.text), free(g.key), free(g.tensor);
    return status;
}

wc_status wc_gguf_open(wc_ctx *ctx, const char *path, wc_gguf *out)
{
    wc_map map;
    memset(out, 0, sizeof *out);
    WC_TRY(wc_map_open(ctx, path, &map));
    wc_status status = wc_gguf_parse(ctx, map.data, map.size, path, out);
    if (status == WC_OK)
        out->map = map;
    else
        wc_map_close(&map);
    return status;
}

void wc_gguf_close(wc_gguf *g)
{
    if (!g) return;
    if (g->map.data) wc_map_close(&g->map);
    free(g->key), free(g->tensor), free(g->text);
    memset(g, 0, sizeof *g);
}

/* ---- getters -------------------------------------------------------------------------------------------------------
 */

const wc_gguf_key *wc_gguf_find(const wc_gguf *g, const char *key)
{
    wc_gguf_key wanted = {.name = key};
    return bsearch(&wanted, g->key, g->n_keys, sizeof *g->key, by_key_name);
}

static wc_status absent(wc_ctx *ctx, const char *key)
{
    return wc_fail(ctx, WC_BADFILE, "GGUF: key %s is missing", key);
}

wc_status wc_gguf_u64(wc_ctx *ctx, const wc_gguf *g, const char *key, uint64_t def, uint64_t lo, uint64_t hi,
                      uint64_t *out)
{
    const wc_gguf_key *k = wc_gguf_find(g, key);
    if (!k && def == UINT64_MAX) return absent(ctx, key);
    if (!k) {
        *out = def;
        return WC_OK;
    }
    bool whole = k->type <= WC_GGUF_I32 || k->type == WC_GGUF_U64 || k->type == WC_GGUF_I64;
    if (!whole || !k->count) return wc_fail(ctx, WC_BADFILE, "GGUF: key %s is no whole number", key);
    uint64_t x = get(k->data, widths[k->type]);
    bool with_sign =
        k->type == WC_GGUF_I8 || k->type == WC_GGUF_I16 || k->type == WC_GGUF_I32 || k->type == WC_GGUF_I64;
    if (with_sign && x >> (8 * widths[k->type] - 1)) return wc_fail(ctx, WC_BADFILE, "GGUF: key %s is negative", key);
    if (x < lo || x > hi)
        return wc_fail(ctx, WC_BADFILE, "GGUF: key %s is %llu; allowed is %llu to %llu", key, (ull)x, (ull)lo, (ull)hi);
    *out = x;
    return WC_OK;
}

wc_status wc_gguf_real(wc_ctx *ctx, const wc_gguf *g, const char *key, double def, double *out)
{
    const wc_gguf_key *k = wc_gguf_find(g, key);
    float f;
    if (!k && isnan(def)) return absent(ctx, key);
    if (!k) {
        *out = def;
        return WC_OK;
    }
    if (k->array || (k->type != WC_GGUF_F32 && k->type != WC_GGUF_F64))
        return wc_fail(ctx, WC_BADFILE, "GGUF: key %s is no real number", key);
    if (k->type == WC_GGUF_F32)
        memcpy(&f, k->data, 4), *out = (double)f;
    else
        memcpy(out, k->data, 8);
    return isfinite(*out) ? WC_OK : wc_fail(ctx, WC_BADFILE, "GGUF: key %s is not finite", key);
}

wc_status wc_gguf_flag(wc_ctx *ctx, const wc_gguf *g, const char *key, bool def, bool *out)
{
    const wc_gguf_key *k = wc_gguf_find(g, key);
    if (k && (k->array || k->type != WC_GGUF_BOOL))
        return wc_fail(ctx, WC_BADFILE, "GGUF: key %s is no truth value", key);
    *out = k ? k->data[0] : def;
    return WC_OK;
}

void wc_gguf_next(const uint8_t **at, const char **p, size_t *n)
{
    *n = (size_t)get(*at, 8);
    *p = (const char *)*at + 8;
    *at += 8 + *n;
}

bool wc_gguf_string(const wc_gguf *g, const char *key, const char **p, size_t *n)
{
    const wc_gguf_key *k = wc_gguf_find(g, key);
    if (!k || k->array || k->type != WC_GGUF_STRING) return false;
    const uint8_t *at = k->data;
    wc_gguf_next(&at, p, n);
    return true;
}

bool wc_gguf_says(const wc_gguf *g, const char *key, const char *text)
{
    const char *p;
    size_t n;
    return wc_gguf_string(g, key, &p, &n) && n == strlen(text) && !memcmp(p, text, n);
}
