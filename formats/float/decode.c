/* float v1: values kept bit for bit.
 *
 *     params  0 u8 dtype   1 u8 coding   2 u8[8] modes   10 u8[8] constants   24 u64 bytes of all streams
 *
 * coding 0: the blob is the values, little-endian. coding 1: floats are rotated left by one bit, and byte p of all
 * values makes plane p: the bytes themselves (mode 0), one constant (1), or codes of up to 12 bits (2). A coded plane
 * has a table (u16 codes of each length 0..15, then the symbols, shortest code first), a u64 base per 64 chunks, and 10
 * bytes per chunk of 4096 values: u32 start after the base, u16 bytes of the first three of its four streams of 1024
 * values. All streams follow behind the last plane.
 *
 * Whatever the blob says, a stream is read only inside the section of streams (zeros follow it), a symbol is one of 256
 * table entries, and the number of values comes from the shape. */
#include "base/dtype.h"
#include "base/half.h"
#include "decode/bytes.h"
#include "decode/decoder.h"
#include "decode/float_bytes.h"

enum {
#define X(name, bits, id) DTYPE_##name = id,
    WC_DTYPE_LIST(X)
#undef X
};

enum {
    CHUNK = 4096,
    STREAMS = 4,
    STREAM = CHUNK / STREAMS,
    SUPER = 64,
    ENTRY = 10,
    TABLE_SIZE = 32 + 256,
    CODE_BITS = 12,
    RAW = 0,
    CONSTANT = 1,
    CODED = 2
};

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static int rotated(uint32_t dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16 || dtype == DTYPE_F64;
}

/* Modes, constants and sizes of the planes; the sections' offsets. */
static wcd_status open_planes(const uint8_t params[WCD_PARAMS], unsigned width, wcd_view *v)
{
    wcd_float_view *f = &v->u.f;
    uint64_t n = v->rows * v->cols, chunks = (n + CHUNK - 1) / CHUNK, end = 0;
    f->width = (uint8_t)width;
    for (int i = 18; i < 24; i++)
        if (params[i]) return WCD_E_CORRUPT;
    for (unsigned p = 0; p < WCD_PLANES; p++) {
        f->mode[p] = params[2 + p];
        f->constant[p] = params[10 + p];
        if (f->mode[p] > CODED || (p >= width && f->mode[p]) || (f->mode[p] != CONSTANT && f->constant[p]))
            return WCD_E_CORRUPT;
        if (p >= width || f->mode[p] == CONSTANT) continue;
        f->first[p] = wcd_place(&end, f->mode[p] == RAW ? n : TABLE_SIZE);
        if (f->mode[p] != CODED) continue;
        f->bases[p] = wcd_place(&end, (chunks + SUPER - 1) / SUPER * 8);
        f->entries[p] = wcd_place(&end, chunks * ENTRY);
    }
    f->stream_bytes = wcd_u64(params + 24);
    if (!n || f->stream_bytes > v->size) return WCD_E_CORRUPT;
    f->streams = wcd_place(&end, f->stream_bytes);
    return end == v->size ? WCD_OK : WCD_E_CORRUPT;
}

static wcd_status open_float(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    unsigned dtype = params[0], bits = wcd_dtype_bits(dtype), coding = params[1];
    if (!dtype || coding > 1) return WCD_E_CORRUPT;
    if (!bits) return WCD_E_VERSION;
    v->u.f.dtype = dtype;
    v->u.f.coded = coding == 1;
    v->numeric = dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16;
    if (coding) return bits % 8 ? WCD_E_CORRUPT : open_planes(params, bits / 8, v);
    for (int i = 2; i < WCD_PARAMS; i++)
        if (params[i]) return WCD_E_CORRUPT;
    uint64_t total = v->rows * v->cols * bits; /* at most 2^62, see WCD_MAX_ELEMENTS */
    return total % 8 || total / 8 != v->size ? WCD_E_CORRUPT : WCD_OK;
}

/* ---- streams ---------------------------------------------------------------------------------------------------- */

/* The bits of a stream from byte `at' on, inside section [end]; zeros behind it. */
typedef struct stream {
    const uint8_t *section;
    uint64_t at, end, window; /* window: what comes next, from its highest bit */
    unsigned used;            /* bits of the window's bytes that are gone */
} stream;

static uint64_t load_bits(const stream *s)
{
    uint64_t x = 0;
    if (s->end >= 8 && s->at <= s->end - 8) return wcd_be64(s->section + s->at);
    for (uint64_t i = 0; i < 8; i++)
        x = x << 8 | (s->at < s->end && i < s->end - s->at ? s->section[s->at + i] : 0);
    return x;
}

/* At least 57 bits are in the window afterwards: four codes. */
static void refill(stream *s)
{
    s->at += s->used >> 3;
    s->used &= 7;
    s->window = load_bits(s) << s->used;
}

static void stream_open(const wcd_view *v, unsigned p, uint64_t chunk, unsigned k, stream *s)
{
    const wcd_float_view *f = &v->u.f;
    const uint8_t *entry = v->blob + f->entries[p] + ENTRY * chunk;
    uint64_t base = wcd_u64(v->blob + f->bases[p] + chunk / SUPER * 8), start = wcd_u32(entry);
    for (unsigned i = 0; i < k; i++)
        start += wcd_u16(entry + 4 + 2 * i);
    s->section = v->blob + f->streams;
    s->end = f->stream_bytes;
    s->at = base < s->end && start < s->end - base ? base + start : s->end;
    s->used = 0;
}

/* The code of a plane in the form for a few values: a 12-bit window below limit[len] begins with a code of at most len
 * bits. */
typedef struct prefix {
    const uint8_t *symbol;
    uint32_t limit[CODE_BITS + 1], index[CODE_BITS + 1];
} prefix;

static void prefix_open(const uint8_t *table, prefix *c)
{
    uint32_t end = 0, index = 0;
    c->symbol = table + 32;
    c->limit[0] = 0;
    for (unsigned len = 1; len <= CODE_BITS; len++) {
        c->index[len] = index;
        index += wcd_u16(table + 2 * len);
        end += (uint32_t)wcd_u16(table + 2 * len) << (CODE_BITS - len);
        c->limit[len] = end;
    }
}

static uint8_t next_symbol(const prefix *c, stream *s)
{
    uint32_t peek = (uint32_t)(s->window >> (64 - CODE_BITS));
    unsigned len = 1;
    while (len < CODE_BITS && peek >= c->limit[len])
        len++;
    uint32_t at = c->index[len] + ((peek - c->limit[len - 1]) >> (CODE_BITS - len));
    s->window <<= len;
    s->used += len;
    return c->symbol[at & 255]; /* a damaged table may say anything */
}

/* Values [from, to) of a chunk, which lie in one stream, to the same places of out. */
static void few_symbols(const wcd_view *v, unsigned p, uint64_t chunk, unsigned from, unsigned to, uint8_t out[CHUNK])
{
    prefix c;
    stream s;
    prefix_open(v->blob + v->u.f.first[p], &c);
    stream_open(v, p, chunk, from / STREAM, &s);
    for (unsigned i = from / STREAM * STREAM; i < to; i++) {
        if (i % 4 == 0) refill(&s);
        out[i] = next_symbol(&c, &s);
    }
}

/* A look at 12 bits gives a symbol (low byte) and its length. */
static void build_table(const uint8_t *table, uint16_t look[1 << CODE_BITS])
{
    uint32_t at = 0, index = 0;
    for (unsigned len = 1; len <= CODE_BITS; len++)
        for (unsigned k = wcd_u16(table + 2 * len); k; k--, index++)
            for (uint32_t i = 0; i < 1u << (CODE_BITS - len) && at < 1 << CODE_BITS; i++)
                look[at++] = (uint16_t)(table[32 + (index & 255)] | len << 8);
    while (at < 1 << CODE_BITS)
        look[at++] = 1 << 8;
}

/* A stream that is read far from the end of its section, without a look at the end. */
typedef struct reader {
    const uint8_t *at;
    uint64_t window;
    unsigned used;
} reader;

static inline void reader_fill(reader *r)
{
    r->at += r->used >> 3;
    r->used &= 7;
    r->window = wcd_be64(r->at) << r->used;
}

static inline uint8_t reader_next(reader *r, const uint16_t look[1 << CODE_BITS])
{
    unsigned e = look[r->window >> (64 - CODE_BITS)];
    r->window <<= e >> 8;
    r->used += e >> 8;
    return (uint8_t)e;
}

/* A whole chunk: its four streams side by side, so that no look has to wait for the one before. False, and nothing
 * done, when one of them may come near the end of the section: 1024 codes take at most 1536 bytes. */
static int all_symbols(const wcd_view *v, unsigned p, uint64_t chunk, const uint16_t look[1 << CODE_BITS],
                       uint8_t out[CHUNK])
{
    enum { MOST = STREAM * CODE_BITS / 8 + 16 };
    reader r[STREAMS];
    for (unsigned k = 0; k < STREAMS; k++) {
        stream s;
        stream_open(v, p, chunk, k, &s);
        if (s.end - s.at < MOST) return 0;
        r[k] = (reader){s.section + s.at, 0, 0};
    }
    reader a = r[0], b = r[1], c = r[2], d = r[3];
    for (unsigned i = 0; i < STREAM; i += 4) {
        reader_fill(&a), reader_fill(&b), reader_fill(&c), reader_fill(&d);
        for (unsigned j = i; j < i + 4; j++) {
            out[j] = reader_next(&a, look);
            out[STREAM + j] = reader_next(&b, look);
            out[2 * STREAM + j] = reader_next(&c, look);
            out[3 * STREAM + j] = reader_next(&d, look);
        }
    }
    return 1;
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

typedef uint16_t look_up[1 << CODE_BITS];

/* plane [p][from .. to) of a chunk; look [p]: tables of the coded planes, or NULL to go without. */
static void load_planes(const wcd_view *v, uint64_t chunk, unsigned from, unsigned to, const look_up *look,
                        uint8_t plane[WCD_PLANES][CHUNK])
{
    const wcd_float_view *f = &v->u.f;
    for (unsigned p = 0; p < f->width; p++) {
        const uint8_t *raw = v->blob + f->first[p] + chunk * CHUNK;
        if (f->mode[p] == CODED && look && all_symbols(v, p, chunk, look[p], plane[p])) continue;
        if (f->mode[p] == CODED) {
            for (unsigned a = from, b; a < to; a = b) {
                b = (a / STREAM + 1) * STREAM < to ? (a / STREAM + 1) * STREAM : to;
                few_symbols(v, p, chunk, a, b, plane[p]);
            }
        } else {
            for (unsigned i = from; i < to; i++)
                plane[p][i] = f->mode[p] == RAW ? raw[i] : f->constant[p];
        }
    }
}

/* bits [to - from] of the values. */
static void join(const wcd_float_view *f, uint8_t plane[WCD_PLANES][CHUNK], unsigned from, unsigned to, uint64_t *bits)
{
    int top = 8 * f->width - 1;
    for (unsigned i = from; i < to; i++) {
        uint64_t x = 0;
        for (unsigned p = 0; p < f->width; p++)
            x |= (uint64_t)plane[p][i] << 8 * p;
        *bits++ = rotated(f->dtype) ? x >> 1 | (x & 1) << top : x;
    }
}

static float value_of(uint32_t dtype, uint32_t x)
{
    return dtype == DTYPE_F32   ? wc_bits_f32(x)
           : dtype == DTYPE_F16 ? wc_f16_f32((uint16_t)x)
                                : wc_bf16_f32((uint16_t)x);
}

static inline float bf16_value(uint32_t high, uint32_t low)
{
    return wc_bits_f32(high << 23 | low >> 1 << 16 | low << 31);
}

/* The common case; sixteen at a time with a constant trip count is the form that compilers vectorise. */
static void join_bf16(const uint8_t *restrict high, const uint8_t *restrict low, unsigned n, float *restrict dst)
{
    unsigned i = 0;
    for (; i + 16 <= n; i += 16)
        for (unsigned k = i; k < i + 16; k++)
            dst[k] = bf16_value(high[k], low[k]);
    for (; i < n; i++)
        dst[i] = bf16_value(high[i], low[i]);
}

/* dst [to - from] */
static void join_f32(const wcd_float_view *f, uint8_t plane[WCD_PLANES][CHUNK], unsigned from, unsigned to, float *dst)
{
    enum { AT_ONCE = 64 };
    uint64_t bits[AT_ONCE];
    if (f->dtype == DTYPE_BF16) {
        join_bf16(plane[1] + from, plane[0] + from, to - from, dst);
        return;
    }
    for (unsigned n; from < to; from += n, dst += n) {
        n = to - from < AT_ONCE ? to - from : AT_ONCE;
        join(f, plane, from, from + n, bits);
        for (unsigned i = 0; i < n; i++)
            dst[i] = value_of(f->dtype, (uint32_t)bits[i]);
    }
}

static void span_coded(const wcd_view *v, uint64_t at, unsigned n, float *dst)
{
    uint8_t plane[WCD_PLANES][CHUNK];
    for (unsigned count; n; n -= count, at += count, dst += count) {
        unsigned from = (unsigned)(at % CHUNK);
        count = n < CHUNK - from ? n : CHUNK - from;
        load_planes(v, at / CHUNK, from, from + count, 0, plane);
        join_f32(&v->u.f, plane, from, from + count, dst);
    }
}

static void span_raw(const wcd_view *v, uint64_t at, unsigned n, float *dst)
{
    wcd_floats(v->u.f.dtype, v->blob + at * (wcd_dtype_bits(v->u.f.dtype) / 8), n, dst);
}

static void span_float(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    if (v->u.f.coded)
        span_coded(v, row * v->cols + col, n, dst);
    else
        span_raw(v, row * v->cols + col, n, dst);
}

static void build_tables(const wcd_view *v, look_up look[WCD_PLANES])
{
    for (unsigned p = 0; p < v->u.f.width; p++)
        if (v->u.f.mode[p] == CODED) build_table(v->blob + v->u.f.first[p], look[p]);
}

/* Chunk by chunk with tables: 96 KiB of stack for the widest type. */
static void rows_coded(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld)
{
    look_up look[WCD_PLANES];
    uint8_t plane[WCD_PLANES][CHUNK];
    uint64_t at = r0 * v->cols, end = (r0 + nr) * v->cols, col = 0;
    build_tables(v, look);
    for (unsigned from, to; at < end; at += to - from) {
        from = (unsigned)(at % CHUNK);
        to = end - at < CHUNK - from ? from + (unsigned)(end - at) : CHUNK;
        load_planes(v, at / CHUNK, from, to, (const look_up *)look, plane);
        for (unsigned i = from, n; i < to; i += n) {
            n = v->cols - col < to - i ? (unsigned)(v->cols - col) : to - i;
            join_f32(&v->u.f, plane, i, i + n, dst + col);
            col += n;
            if (col == v->cols) col = 0, dst += ld;
        }
    }
}

static void rows_float(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld)
{
    if (v->u.f.coded) {
        rows_coded(v, r0, nr, dst, ld);
        return;
    }
    for (uint64_t r = 0; r < nr; r++)
        for (uint64_t c = 0; c < v->cols; c += WCD_SPAN)
            span_raw(v, (r0 + r) * v->cols + c, wcd_span_at(v, c), dst + r * ld + c);
}

void wcd_float_bytes(const wcd_view *v, uint64_t at, uint64_t end, uint8_t *dst)
{
    look_up look[WCD_PLANES];
    uint8_t plane[WCD_PLANES][CHUNK];
    uint64_t bits[64];
    build_tables(v, look);
    for (unsigned from, to; at < end; at += to - from) {
        from = (unsigned)(at % CHUNK);
        to = end - at < CHUNK - from ? from + (unsigned)(end - at) : CHUNK;
        load_planes(v, at / CHUNK, from, to, (const look_up *)look, plane);
        for (unsigned i = from, n; i < to; i += n) {
            n = to - i < 64 ? to - i : 64;
            join(&v->u.f, plane, i, i + n, bits);
            for (unsigned k = 0; k < n; k++)
                for (unsigned p = 0; p < v->u.f.width; p++)
                    *dst++ = (uint8_t)(bits[k] >> 8 * p);
        }
    }
}

const wcd_decoder wcd_decoder_float = {
    .id = 1, .version = 1, .name = "float", .open = open_float, .span = span_float, .rows = rows_float};
