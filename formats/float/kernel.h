/* kernel.h - the loops of float parts in planes: streams of prefix codes, and planes put together. One source: decode.c
 * has them in portable C, float_kernel.c for the levels above, where shifts and vectors are faster. */
#ifndef WCD_FLOAT_KERNEL_H
#define WCD_FLOAT_KERNEL_H

#include <string.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "base/half.h"
#include "decode/bytes.h"
#include "decode/level.h"

enum {
    WCD_FLOAT_CHUNK = 4096, /* values, in four streams of a quarter each */
    WCD_FLOAT_STREAMS = 4,
    WCD_FLOAT_STREAM = WCD_FLOAT_CHUNK / WCD_FLOAT_STREAMS,
    WCD_FLOAT_CODE_BITS = 12,
    WCD_FLOAT_LOOKS = 1 << WCD_FLOAT_CODE_BITS,
    WCD_FLOAT_AT_ONCE = 3, /* symbols of an entry */
    /* Bytes that are read from the begin of a stream on, at most: a code has 12 bits, and a load 8 bytes. */
    WCD_FLOAT_MOST = WCD_FLOAT_STREAM * WCD_FLOAT_CODE_BITS / 8 + 16
};

/* What the next 12 bits say: from bit 0 on symbols, a byte each; bits 24..29 how many of the 12 are whole codes, 30..31
 * how many codes, 1 to 3. Exponents take 2.6 bits, so that one look gives nearly always three. */
typedef uint32_t wcd_float_looks[WCD_FLOAT_LOOKS];

typedef struct wcd_float_kernel {
    /* out [4096] = a whole chunk: four streams that begin at `at', WCD_FLOAT_MOST bytes each that can be read. */
    void (*streams)(const uint8_t *const at[WCD_FLOAT_STREAMS], const wcd_float_looks look,
                    uint8_t out[WCD_FLOAT_CHUNK]);
    /* dst [n] = BF16, F16 and F32 of these bytes, after rotation; plane 0 is the lowest. */
    void (*brains)(const uint8_t *const plane[2], unsigned n, float *dst);
    void (*halves)(const uint8_t *const plane[2], unsigned n, float *dst);
    void (*singles)(const uint8_t *const plane[4], unsigned n, float *dst);
    /* dst [2 n] = the bytes of elements of two bytes, after rotation. */
    void (*pairs)(const uint8_t *const plane[2], unsigned n, uint8_t *dst);
} wcd_float_kernel;

/* ---- streams ---------------------------------------------------------------------------------------------------- */

typedef struct wcd_float_reader {
    const uint8_t *at; /* where the window was loaded */
    uint64_t window;   /* what comes next, from its highest bit */
    uint32_t used;     /* low 6 bits: bits of the window's bytes that are gone; from 6 on: symbols at `to' */
    uint8_t *to;
} wcd_float_reader;

/* Compilers make one store of the first form, but four of the second. */
static inline void wcd_put_u32(uint8_t *to, uint32_t x)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(to, &x, 4);
#else
    to[0] = (uint8_t)x, to[1] = (uint8_t)(x >> 8), to[2] = (uint8_t)(x >> 16), to[3] = (uint8_t)(x >> 24);
#endif
}

/* At least 57 bits are in the window afterwards: four looks. */
static inline void wcd_float_fill(wcd_float_reader *r)
{
    r->to += r->used >> 6;
    r->at += (r->used & 63) >> 3;
    r->used &= 7;
    r->window = wcd_be64(r->at) << r->used;
}

/* Writes 4 bytes, of which 1 to 3 are symbols. An entry's highest byte adds its bits to those that are gone and its
 * symbols to those that are there; four of them cannot carry from one to the other. */
static inline void wcd_float_look(wcd_float_reader *r, const wcd_float_looks look)
{
    uint32_t e = look[r->window >> (64 - WCD_FLOAT_CODE_BITS)];
    wcd_put_u32(r->to + (r->used >> 6), e);
    e >>= 24;
    r->window <<= e & 63;
    r->used += e;
}

/* The rest of a stream, which is not to be written past its end. */
static inline void wcd_float_finish(wcd_float_reader *r, const wcd_float_looks look, const uint8_t *end)
{
    uint8_t last[8], *to;
    for (wcd_float_fill(r); end - r->to >= 4; wcd_float_fill(r))
        wcd_float_look(r, look);
    to = r->to, r->to = last;
    for (; r->to - last < end - to; wcd_float_fill(r))
        wcd_float_look(r, look);
    for (unsigned i = 0; to < end; i++)
        *to++ = last[i];
}

/* Streams in turn, four looks each: none has to wait for another, and a CPU works on all at once. They advance by
 * different amounts; the rounds end before any could pass its end. */
static inline void wcd_float_chunk(const uint8_t *const at[WCD_FLOAT_STREAMS], const wcd_float_looks look,
                                   uint8_t out[WCD_FLOAT_CHUNK])
{
    enum { ROUND = 4 * WCD_FLOAT_AT_ONCE + 1 }; /* symbols, and the byte more that is written */
    wcd_float_reader r[WCD_FLOAT_STREAMS];
    for (unsigned k = 0; k < WCD_FLOAT_STREAMS; k++)
        r[k] = (wcd_float_reader){at[k], 0, 0, out + k * WCD_FLOAT_STREAM};
    for (int inside = 1; inside;) {
        for (unsigned k = 0; k < WCD_FLOAT_STREAMS; k++) {
            wcd_float_reader s = r[k];
            wcd_float_fill(&s);
            for (int i = 0; i < 4; i++)
                wcd_float_look(&s, look);
            inside &= s.to + (s.used >> 6) <= out + (k + 1) * WCD_FLOAT_STREAM - ROUND;
            r[k] = s;
        }
    }
    for (unsigned k = 0; k < WCD_FLOAT_STREAMS; k++)
        wcd_float_finish(&r[k], look, out + (k + 1) * WCD_FLOAT_STREAM);
}

/* ---- planes ----------------------------------------------------------------------------------------------------- */

static inline float wcd_float_brain(uint32_t high, uint32_t low)
{
    return wc_bits_f32(high << 23 | low >> 1 << 16 | low << 31);
}

/* Sixteen at a time with a constant trip count is the form that compilers vectorise at -O2. */
static inline void wcd_float_brains(const uint8_t *const plane[2], unsigned n, float *restrict dst)
{
    const uint8_t *restrict low = plane[0], *restrict high = plane[1];
    unsigned i = 0;
    for (; i + 16 <= n; i += 16)
        for (unsigned k = i; k < i + 16; k++)
            dst[k] = wcd_float_brain(high[k], low[k]);
    for (; i < n; i++)
        dst[i] = wcd_float_brain(high[i], low[i]);
}

/* What is not a number is quiet afterwards, as it is when a CPU converts it. */
static inline float wcd_float_half(uint32_t high, uint32_t low)
{
    uint32_t x = high << 8 | low, bits = wc_f32_bits(wc_f16_f32((uint16_t)(x >> 1 | x << 15)));
    return wc_bits_f32((bits & 0x7fffffff) > 0x7f800000 ? bits | 0x00400000 : bits);
}

static inline void wcd_float_halves(const uint8_t *const plane[2], unsigned n, float *restrict dst)
{
    const uint8_t *restrict low = plane[0], *restrict high = plane[1];
    unsigned i = 0;
#ifdef __AVX2__
    for (; i + 16 <= n; i += 16) {
        __m256i x = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(low + i)));
        x = _mm256_or_si256(x,
                            _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(high + i))), 8));
        x = _mm256_or_si256(_mm256_srli_epi16(x, 1), _mm256_slli_epi16(x, 15));
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm256_castsi256_si128(x)));
        _mm256_storeu_ps(dst + i + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1)));
    }
#else
    for (; i + 16 <= n; i += 16)
        for (unsigned k = i; k < i + 16; k++)
            dst[k] = wcd_float_half(high[k], low[k]);
#endif
    for (; i < n; i++)
        dst[i] = wcd_float_half(high[i], low[i]);
}

static inline float wcd_float_single(uint32_t d, uint32_t c, uint32_t b, uint32_t a)
{
    uint32_t x = d << 24 | c << 16 | b << 8 | a;
    return wc_bits_f32(x >> 1 | x << 31);
}

static inline void wcd_float_singles(const uint8_t *const plane[4], unsigned n, float *restrict dst)
{
    const uint8_t *restrict a = plane[0], *restrict b = plane[1], *restrict c = plane[2], *restrict d = plane[3];
    unsigned i = 0;
    for (; i + 16 <= n; i += 16)
        for (unsigned k = i; k < i + 16; k++)
            dst[k] = wcd_float_single(d[k], c[k], b[k], a[k]);
    for (; i < n; i++)
        dst[i] = wcd_float_single(d[i], c[i], b[i], a[i]);
}

/* A plain loop over size_t, in which 2 i cannot wrap around: compilers that interleave stores at all do it here. */
static inline void wcd_float_pairs(const uint8_t *const plane[2], unsigned n, uint8_t *restrict dst)
{
    const uint8_t *restrict low = plane[0], *restrict high = plane[1];
    for (size_t i = 0; i < n; i++) {
        dst[2 * i] = (uint8_t)(low[i] >> 1 | high[i] << 7);
        dst[2 * i + 1] = (uint8_t)(high[i] >> 1 | low[i] << 7);
    }
}

/* The functions above as compiled where this stands. */
#define WCD_FLOAT_KERNEL                                                                        \
    {                                                                                           \
        wcd_float_chunk, wcd_float_brains, wcd_float_halves, wcd_float_singles, wcd_float_pairs \
    }

#endif
