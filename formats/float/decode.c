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
#include <string.h>

#include "base/dtype.h"
#include "base/half.h"
#include "decode/bytes.h"
#include "decode/decoder.h"
#include "decode/float_bytes.h"
#include "formats/float/kernel.h"

enum {
#define X(name, bits, id) DTYPE_##name = id,
    WC_DTYPE_LIST(X)
#undef X
};

enum {
    CHUNK = WCD_FLOAT_CHUNK,
    STREAMS = WCD_FLOAT_STREAMS,
    STREAM = WCD_FLOAT_STREAM,
    SUPER = 64,
    ENTRY = 10,
    TABLE_SIZE = 32 + 256,
    CODE_BITS = WCD_FLOAT_CODE_BITS,
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

static const wcd_float_kernel wcd_float_kernel_c = WCD_FLOAT_KERNEL;
WCD_FAMILY_ARM(wcd_float_kernel)

/* first [4096]: the symbol (low byte) that 12 bits begin with, and its length. */
static void first_symbols(const uint8_t *table, uint16_t first[WCD_FLOAT_LOOKS])
{
    uint32_t at = 0, index = 0;
    for (unsigned len = 1; len <= CODE_BITS; len++)
        for (unsigned k = wcd_u16(table + 2 * len); k; k--, index++)
            for (uint32_t i = 0; i < 1u << (CODE_BITS - len) && at < WCD_FLOAT_LOOKS; i++)
                first[at++] = (uint16_t)(table[32 + (index & 255)] | len << 8);
    while (at < WCD_FLOAT_LOOKS)
        first[at++] = 1 << 8;
}

/* many: with second and third symbols, which pays from some chunks on. */
static void build_looks(const uint8_t *table, int many, wcd_float_looks look)
{
    uint16_t first[WCD_FLOAT_LOOKS];
    first_symbols(table, first);
    for (unsigned i = 0; i < WCD_FLOAT_LOOKS; i++) {
        unsigned length = first[i] >> 8, count = 1;
        uint32_t symbols = first[i] & 255;
        for (unsigned e; many && count < WCD_FLOAT_AT_ONCE; count++) {
            e = first[i << length & (WCD_FLOAT_LOOKS - 1)];
            if (length + (e >> 8) > CODE_BITS) break;
            symbols |= (e & 255) << 8 * count;
            length += e >> 8;
        }
        look[i] = symbols | length << 24 | count << 30;
    }
}

/* A whole chunk. Streams near the end of the section are read from a copy with zeros behind it. */
static void all_symbols(const wcd_view *v, unsigned p, uint64_t chunk, const wcd_float_looks look, uint8_t out[CHUNK])
{
    uint8_t copy[STREAMS][WCD_FLOAT_MOST];
    const uint8_t *at[STREAMS];
    for (unsigned k = 0; k < STREAMS; k++) {
        stream s;
        stream_open(v, p, chunk, k, &s);
        at[k] = s.section + s.at;
        if (s.end - s.at >= WCD_FLOAT_MOST) continue;
        memset(copy[k], 0, WCD_FLOAT_MOST);
        if (s.end > s.at) memcpy(copy[k], at[k], s.end - s.at);
        at[k] = copy[k];
    }
    wcd_float_kernel_used()->streams(at, look, out);
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

/* plane [p][from .. to) of a chunk; look [p]: of the coded planes, or NULL to go without. */
static void load_planes(const wcd_view *v, uint64_t chunk, unsigned from, unsigned to, const wcd_float_looks *look,
                        uint8_t (*plane)[CHUNK])
{
    const wcd_float_view *f = &v->u.f;
    for (unsigned p = 0; p < f->width; p++) {
        if (f->mode[p] == RAW) memcpy(plane[p] + from, v->blob + f->first[p] + chunk * CHUNK + from, to - from);
        if (f->mode[p] == CONSTANT) memset(plane[p] + from, f->constant[p], to - from);
        if (f->mode[p] == CODED && look) all_symbols(v, p, chunk, look[p], plane[p]);
        for (unsigned a = from, b; f->mode[p] == CODED && !look && a < to; a = b) {
            b = (a / STREAM + 1) * STREAM < to ? (a / STREAM + 1) * STREAM : to;
            few_symbols(v, p, chunk, a, b, plane[p]);
        }
    }
}

/* Planes of types with f32 values. */
enum { NUMERIC = 4 };

/* Byte p of the values is plane p, turned back by a bit. */
static void join_bytes(const wcd_float_view *f, uint8_t (*plane)[CHUNK], unsigned from, unsigned to, uint8_t *dst)
{
    unsigned width = f->width, turn = (unsigned)rotated(f->dtype);
    if (turn && width == 2) {
        wcd_float_kernel_used()->pairs((const uint8_t *const[]){plane[0] + from, plane[1] + from}, to - from, dst);
        return;
    }
    for (unsigned p = 0; p < width; p++) {
        const uint8_t *low = plane[p], *high = plane[(p + 1) % width];
        uint8_t *at = dst + p;
        for (unsigned i = from; i < to; i++, at += width)
            *at = (uint8_t)((low[i] | high[i] << 8) >> turn);
    }
}

/* dst [to - from] */
static void join(const wcd_float_view *f, uint8_t (*plane)[CHUNK], unsigned from, unsigned to, float *dst)
{
    const wcd_float_kernel *kernel = wcd_float_kernel_used();
    const uint8_t *at[NUMERIC];
    for (unsigned p = 0; p < f->width; p++)
        at[p] = plane[p] + from;
    if (f->dtype == DTYPE_F16) kernel->halves(at, to - from, dst);
    if (f->dtype == DTYPE_BF16) kernel->brains(at, to - from, dst);
    if (f->dtype == DTYPE_F32) kernel->singles(at, to - from, dst);
}

static void span_coded(const wcd_view *v, uint64_t at, unsigned n, float *dst)
{
    uint8_t plane[NUMERIC][CHUNK];
    for (unsigned count; n; n -= count, at += count, dst += count) {
        unsigned from = (unsigned)(at % CHUNK);
        count = n < CHUNK - from ? n : CHUNK - from;
        load_planes(v, at / CHUNK, from, from + count, NULL, plane);
        join(&v->u.f, plane, from, from + count, dst);
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

/* Values [at, end), chunk by chunk, with tables for `many' of them or few. */
typedef struct walk {
    const wcd_view *v;
    uint64_t at, end;
    unsigned from, to; /* in the chunk whose planes are loaded */
} walk;

static walk walk_open(const wcd_view *v, uint64_t at, uint64_t end, wcd_float_looks *look)
{
    enum { MANY = 8 * CHUNK }; /* from where on second and third symbols repay 4096 entries with them */
    for (unsigned p = 0; p < v->u.f.width; p++)
        if (v->u.f.mode[p] == CODED) build_looks(v->blob + v->u.f.first[p], end - at >= MANY, look[p]);
    return (walk){v, at, end, 0, 0};
}

static int walk_next(walk *w, const wcd_float_looks *look, uint8_t (*plane)[CHUNK])
{
    if (w->at == w->end) return 0;
    w->from = (unsigned)(w->at % CHUNK);
    w->to = w->end - w->at < CHUNK - w->from ? w->from + (unsigned)(w->end - w->at) : CHUNK;
    load_planes(w->v, w->at / CHUNK, w->from, w->to, look, plane);
    w->at += w->to - w->from;
    return 1;
}

/* 80 KiB of stack. */
static void rows_coded(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld)
{
    wcd_float_looks look[NUMERIC];
    uint8_t plane[NUMERIC][CHUNK];
    uint64_t col = 0;
    walk w = walk_open(v, r0 * v->cols, (r0 + nr) * v->cols, look);
    while (walk_next(&w, (const wcd_float_looks *)look, plane))
        for (unsigned i = w.from, n; i < w.to; i += n) {
            n = v->cols - col < w.to - i ? (unsigned)(v->cols - col) : w.to - i;
            join(&v->u.f, plane, i, i + n, dst + col);
            col += n;
            if (col == v->cols) col = 0, dst += ld;
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

/* ---- products --------------------------------------------------------------------------------------------------- */

/* A row being multiplied: values [held] of the columns from col on, which begin a round of the lanes. */
typedef struct row_sum {
    float lane[WCD_VECTORS * WCD_LANES], w[CHUNK + WCD_LANES];
    unsigned held;
    uint64_t col;
} row_sum;

static void row_begin(row_sum *s, unsigned n)
{
    memset(s->lane, 0, n * WCD_LANES * sizeof *s->lane);
    s->held = 0, s->col = 0;
}

/* Multiplies what is held, all of it or whole rounds. */
static void row_multiply(row_sum *s, const wcd_vectors *x, unsigned count)
{
    wcd_inner_loops()->lanes(s->w, 0, 1, x->x + s->col, x->ld, x->n, count, s->lane);
    s->held -= count, s->col += count;
    memmove(s->w, s->w + count, s->held * sizeof *s->w);
}

/* Each chunk is decoded once for all inputs. 112 KiB of stack. */
static void products_coded(const wcd_view *v, uint64_t r0, uint64_t nr, const wcd_vectors *x, float *y, size_t ldy,
                           int add)
{
    wcd_float_looks look[NUMERIC];
    uint8_t plane[NUMERIC][CHUNK];
    row_sum s;
    walk w = walk_open(v, r0 * v->cols, (r0 + nr) * v->cols, look);
    row_begin(&s, x->n);
    while (walk_next(&w, (const wcd_float_looks *)look, plane))
        for (unsigned i = w.from, n; i < w.to; i += n) {
            uint64_t left = v->cols - s.col - s.held;
            n = left < w.to - i ? (unsigned)left : w.to - i;
            join(&v->u.f, plane, i, i + n, s.w + s.held);
            s.held += n;
            row_multiply(&s, x, n == left ? s.held : s.held / WCD_LANES * WCD_LANES);
            if (n < left) continue;
            wcd_lanes_put(s.lane, 1, x->n, y++, ldy, add);
            row_begin(&s, x->n);
        }
}

static void products_float(const wcd_view *v, uint64_t r0, uint64_t nr, const wcd_vectors *x, float *y, size_t ldy,
                           int add)
{
    if (v->u.f.coded)
        products_coded(v, r0, nr, x, y, ldy, add);
    else
        wcd_span_products(v, r0, nr, x, y, ldy, add);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------ */

/* 160 KiB of stack. */
void wcd_float_bytes(const wcd_view *v, uint64_t at, uint64_t end, uint8_t *dst)
{
    wcd_float_looks look[WCD_PLANES];
    uint8_t plane[WCD_PLANES][CHUNK];
    walk w = walk_open(v, at, end, look);
    for (; walk_next(&w, (const wcd_float_looks *)look, plane); dst += (size_t)(w.to - w.from) * v->u.f.width)
        join_bytes(&v->u.f, plane, w.from, w.to, dst);
}

const wcd_decoder wcd_decoder_float = {.id = 1,
                                       .version = 1,
                                       .name = "float",
                                       .open = open_float,
                                       .span = span_float,
                                       .rows = rows_float,
                                       .products = products_float};
