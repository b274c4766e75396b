/* float v1, encoder half: values as they are, or their bytes in planes with a prefix code each. docs/FORMAT.md, card
 * `float'. */
#include "formats/format.h"

#include <endian.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/planes.h"
#include "formats/pack.h"

enum {
    CHUNK = WC_PLANE_CHUNK,
    STREAMS = WC_PLANE_STREAMS,
    STREAM = CHUNK / STREAMS,
    SYMBOLS = 256,
    TABLE_SIZE = 32 + SYMBOLS, /* codes of each length, symbols in order */
    SUPER = 64,                /* chunks that share a base */
    ENTRY = 10,                /* bytes of a chunk's entry: u32 start after the base, u16 sizes of three streams */
    NO_CODE = 1 << 20          /* of a symbol that does not occur; a length of 1 keeps the writer's sums sane */
};

/* Offsets of the sections: of each plane its bytes, or its table, bases and entries; of all streams. */
typedef struct layout {
    uint64_t first[WC_PLANES], bases[WC_PLANES], entries[WC_PLANES], streams, size;
} layout;

static wc_status raw_size(wc_ctx *ctx, const wc_float *f, uint64_t *elements, uint64_t *out)
{
    uint64_t bits;
    if (!wc_dtype_bits(f->dtype)) return wc_fail(ctx, WC_BUG, "float part: element type %d is unknown", (int)f->dtype);
    if (!wc_mul(f->rows, f->cols, elements) || !wc_mul(*elements, wc_dtype_bits(f->dtype), &bits))
        return wc_fail(ctx, WC_BUG, "float part: %zu x %zu elements overflow", f->rows, f->cols);
    if (bits % 8)
        return wc_fail(ctx, WC_BUG, "float part: %llu elements of %s do not fill whole bytes",
                       (unsigned long long)*elements, wc_dtype_name(f->dtype));
    *out = bits / 8;
    return WC_OK;
}

static wc_status lay_out(wc_ctx *ctx, const wc_float *f, uint64_t elements, layout *out)
{
    const wc_float_code *c = f->code;
    layout l = {.size = 0};
    if (c->planes != wc_plane_count(f->dtype) || c->chunks != wc_ceil_div(elements, CHUNK) || !elements)
        return wc_fail(ctx, WC_BUG, "float part: a code of %u planes and %llu chunks for %llu elements of %s",
                       c->planes, (unsigned long long)c->chunks, (unsigned long long)elements, wc_dtype_name(f->dtype));
    for (unsigned p = 0; p < c->planes; p++) {
        if (c->mode[p] == WC_PLANE_RAW) l.first[p] = wc_place(&l.size, elements);
        if (c->mode[p] != WC_PLANE_CODED) continue;
        l.first[p] = wc_place(&l.size, TABLE_SIZE);
        l.bases[p] = wc_place(&l.size, 8 * wc_ceil_div(c->chunks, SUPER));
        l.entries[p] = wc_place(&l.size, ENTRY * c->chunks);
    }
    l.streams = wc_place(&l.size, c->stream_bytes);
    *out = l;
    return WC_OK;
}

static wc_status float_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    uint64_t elements;
    layout l;
    WC_TRY(raw_size(ctx, &part->floats, &elements, out));
    if (!part->floats.code) return WC_OK;
    WC_TRY(lay_out(ctx, &part->floats, elements, &l));
    *out = l.size;
    return WC_OK;
}

/* ---- the prefix code -------------------------------------------------------------------------------------------- */

/* Canonical: codes of one length are consecutive numbers, in order of the symbols, and shorter codes come first. Writes
 * the table and fills code [256]: a code times 16, and its length. */
static wc_status make_codes(wc_ctx *ctx, const uint8_t length[SYMBOLS], uint8_t *table, uint32_t code[SYMBOLS])
{
    uint32_t next = 0, placed = 0;
    memset(table, 0, TABLE_SIZE);
    for (unsigned s = 0; s < SYMBOLS; s++)
        code[s] = NO_CODE | 1;
    for (unsigned len = 1; len <= WC_CODE_BITS; len++, next <<= 1) {
        uint32_t first = next;
        for (unsigned s = 0; s < SYMBOLS; s++)
            if (length[s] == len) {
                code[s] = next++ << 4 | len;
                table[32 + placed++] = (uint8_t)s;
            }
        wc_put_le(table + 2 * len, next - first, 2);
    }
    if (next >> 1 != 1u << WC_CODE_BITS)
        return wc_fail(ctx, WC_BUG, "float part: %u symbols have no complete code", placed);
    return WC_OK;
}

static inline void put_be64(uint8_t *dst, uint64_t x)
{
    x = htobe64(x);
    memcpy(dst, &x, 8);
}

/* A stream being written; at most 7 bits are held over, and four codes take 48: all fit 64. */
typedef struct writer {
    uint8_t *at;
    uint64_t bits;
    unsigned held;
    uint32_t seen; /* all entries of codes, or-ed */
} writer;

static inline void put_code(writer *w, uint32_t code)
{
    unsigned length = code & 15;
    w->bits = w->bits << length | (code >> 4 & ((1 << WC_CODE_BITS) - 1));
    w->held += length;
    w->seen |= code;
}

/* Whole bytes of what is held. Eight are written, the last of them to be overwritten. */
static inline void put_bytes(writer *w)
{
    put_be64(w->at, w->bits << (64 - w->held)); /* codes were put: held > 0 */
    w->at += w->held / 8;
    w->held %= 8;
}

/* Codes one after the other, the first bit the highest of a byte. Returns the bytes written, or SIZE_MAX when a value
 * has no code; dst has room for 8 more. */
static size_t put_stream(const uint8_t *x, size_t n, const uint32_t code[SYMBOLS], uint8_t *dst)
{
    writer w = {.at = dst};
    for (; n >= 4; x += 4, n -= 4) {
        put_code(&w, code[x[0]]), put_code(&w, code[x[1]]), put_code(&w, code[x[2]]), put_code(&w, code[x[3]]);
        put_bytes(&w);
    }
    for (; n; x++, n--) {
        put_code(&w, code[x[0]]);
        put_bytes(&w);
    }
    return w.seen & NO_CODE ? SIZE_MAX : (size_t)(w.at - dst) + (w.held ? 1 : 0);
}

typedef struct coder {
    const wc_float *f;
    layout at;
    uint64_t elements;
    uint64_t *start[WC_PLANES]; /* [chunks] of coded planes: where a chunk's streams begin in the section of streams */
    uint32_t code[WC_PLANES][SYMBOLS];
    uint8_t *dst;
} coder;

/* Bases and entries from the sizes that the survey found: planes one after the other. */
static wc_status put_directories(wc_ctx *ctx, coder *k)
{
    const wc_float_code *c = k->f->code;
    uint64_t end = 0;
    for (unsigned p = 0; p < c->planes; p++) {
        if (c->mode[p] != WC_PLANE_CODED) continue;
        WC_TRY(make_codes(ctx, c->length[p], k->dst + k->at.first[p], k->code[p]));
        WC_TRY(WC_ALLOC(ctx, k->start[p], c->chunks, "starts of streams"));
        uint64_t base = 0;
        for (uint64_t i = 0; i < c->chunks; i++) {
            const uint16_t *size = c->size[p] + i * STREAMS;
            uint8_t *entry = k->dst + k->at.entries[p] + ENTRY * i;
            if (i % SUPER == 0) wc_put_le(k->dst + k->at.bases[p] + i / SUPER * 8, base = end, 8);
            k->start[p][i] = end;
            wc_put_le(entry, end - base, 4);
            for (unsigned s = 0; s < STREAMS; s++) {
                if (s + 1 < STREAMS) wc_put_le(entry + 4 + 2 * s, size[s], 2);
                end += size[s];
            }
        }
    }
    return end == c->stream_bytes ? WC_OK : wc_fail(ctx, WC_BUG, "float part: the streams' sizes do not add up");
}

/* One chunk: false when its streams are not as long as the survey said, that is when the values have changed. */
static bool put_chunk(const coder *k, uint64_t chunk, uint8_t buffer[WC_PLANES][CHUNK])
{
    const wc_float_code *c = k->f->code;
    uint8_t *plane[WC_PLANES];
    uint64_t first = chunk * CHUNK;
    size_t n = (size_t)(k->elements - first < CHUNK ? k->elements - first : CHUNK);
    for (unsigned p = 0; p < WC_PLANES; p++)
        plane[p] = p < c->planes && c->mode[p] == WC_PLANE_RAW ? k->dst + k->at.first[p] + first : buffer[p];
    wc_planes_split(k->f->dtype, c->drop, k->f->data + first * c->planes, n, plane);
    for (unsigned p = 0; p < c->planes; p++) {
        if (c->mode[p] != WC_PLANE_CODED) continue;
        uint8_t stream[STREAM * WC_CODE_BITS / 8 + 8], *dst = k->dst + k->at.streams + k->start[p][chunk];
        for (size_t s = 0; s < STREAMS; s++) {
            size_t from = wc_min(s * STREAM, n), count = wc_min((s + 1) * STREAM, n) - from;
            size_t size = put_stream(plane[p] + from, count, k->code[p], stream);
            if (size != c->size[p][chunk * STREAMS + s]) return false;
            memcpy(dst, stream, size);
            dst += size;
        }
    }
    return true;
}

static wc_status put_chunks(wc_ctx *ctx, const coder *k)
{
    uint64_t chunks = k->f->code->chunks;
    wc_status worst = WC_OK;
#pragma omp parallel num_threads(ctx ? ctx->threads : 1)
    {
        uint8_t(*buffer)[CHUNK] = malloc(WC_PLANES * sizeof *buffer);
#pragma omp for schedule(dynamic, 64)
        for (uint64_t i = 0; i < chunks; i++) {
            wc_status s = !buffer ? WC_NOMEM : put_chunk(k, i, buffer) ? WC_OK : WC_BADFILE;
            if (s != WC_OK) {
#pragma omp atomic write
                worst = s;
            }
        }
        free(buffer);
    }
    if (worst == WC_BADFILE) return wc_fail(ctx, WC_BADFILE, "the weights changed while they were compressed");
    return worst == WC_OK ? WC_OK : wc_fail(ctx, worst, "no memory for planes of values");
}

static wc_status encode_planes(wc_ctx *ctx, const wc_float *f, uint64_t elements, uint8_t *dst,
                               uint8_t params[WC_PARAMS_SIZE])
{
    coder k = {.f = f, .elements = elements, .dst = dst};
    WC_TRY(lay_out(ctx, f, elements, &k.at));
    memset(dst, 0, k.at.streams);
    wc_status status = put_directories(ctx, &k);
    if (status == WC_OK) status = put_chunks(ctx, &k);
    for (unsigned p = 0; p < WC_PLANES; p++)
        free(k.start[p]);
    params[1] = 1;
    memcpy(params + 2, f->code->mode, WC_PLANES);
    memcpy(params + 10, f->code->constant, WC_PLANES);
    wc_put_le(params + 24, f->code->stream_bytes, 8);
    return status;
}

static wc_status float_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    uint64_t elements, size;
    WC_TRY(raw_size(ctx, &part->floats, &elements, &size));
    if (!part->floats.data && size) return wc_fail(ctx, WC_BUG, "float part: no values");
    memset(params, 0, WC_PARAMS_SIZE);
    params[0] = (uint8_t)part->floats.dtype;
    if (part->floats.code) return encode_planes(ctx, &part->floats, elements, dst, params);
    if (size) memcpy(dst, part->floats.data, size);
    return WC_OK;
}

const wc_encoder wc_encoder_float = {1, 1, "float", float_size, float_encode};
