/* coded.h - the entropy coder of coded parts (docs/FORMAT.md, card `coded'), encoder's side: laws of symbols, their
 * frequencies, and rANS streams. The format needs it to write bytes, the solver to know how many they will be.
 *
 * A point j = 2 k + q, q = j mod 2 known from the state of the trellis, is coded as k: symbol 1 .. 63 says k >> shift,
 * the low `shift' bits follow as they are; symbol 0 escapes to 16 bits that hold all of k. Frequencies of 2^12 come
 * from a law: log2 p(symbol) is 0 in the middle, -first beside it, and then a parabola, which holds Gaussian, Laplacian
 * and everything between, in three bytes: -log2 p(m) = first + second (m - 1) + bend (m - 1)(m - 2) / 2,   m = distance
 * from the middle. */
#ifndef WC_BASE_CODED_H
#define WC_BASE_CODED_H

#include "base/part.h"

enum {
    WC_CODED_SYMBOLS = 64,
    WC_CODED_SCALE = 12,      /* log2 of the sum of frequencies */
    WC_CODED_LANES = 16,      /* interleaved rANS states of a unit */
    WC_CODED_COLS = 256,      /* columns of a unit */
    WC_CODED_RAW = 16,        /* bits of an escaped k */
    WC_CODED_LAST = 32767,    /* |k| is at most this */
    WC_CODED_CLASS_SIZE = 12, /* bytes of a class record */
    WC_CODED_SHIFT = 12,      /* largest shift */
    WC_CODED_MEMORY = 8,      /* log2 of the largest number of states */
    WC_CODED_TILE = 4096      /* most rows of a tile */
};

/* The machine of the trellis: from state s, whose point has the parity q = s & 1, to
 *     s' = (s >> 1) ^ (q ? machine[memory][0] : 0) ^ (k & 1 ? machine[memory][1] : 0).
 * With memory 0 there is one state, and points are even. */
extern const uint8_t wc_coded_machine[WC_CODED_MEMORY + 1][2];

static inline unsigned wc_coded_next(unsigned memory, unsigned s, int j)
{
    const uint8_t *m = wc_coded_machine[memory];
    int k = (j - (int)(s & 1)) / 2;
    return s >> 1 ^ (s & 1 ? m[0] : 0u) ^ (k & 1 ? m[1] : 0u);
}

/* The class of row r, column c: 0 .. classes - 1. */
static inline unsigned wc_coded_class_at(const wc_coded *p, size_t r, size_t c)
{
    int at = p->col_class[c] + (p->row_classes ? p->row_class[r] : WC_CODED_ROW_MIDDLE) - WC_CODED_ROW_MIDDLE;
    return at < 0 ? 0 : at >= (int)p->classes ? p->classes - 1 : (unsigned)at;
}

/* 2^(-code / 16) in f32, as the card says: a step is step * this. */
float wc_coded_exp2(unsigned code);

/* freq [64] of set q, sum 4096; symbol 0 has at least 1. */
void wc_coded_frequencies(const wc_coded_class *c, unsigned q, uint16_t freq[WC_CODED_SYMBOLS]);

/* Where the sections of the blob are. */
typedef struct wc_coded_layout {
    uint64_t units; /* tiles of rows times blocks of columns */
    uint64_t col_step, col_class, row_class, ends, stream;
} wc_coded_layout;
wc_coded_layout wc_coded_lay_out(const wc_coded *p);

/* Bytes of all streams for these numbers; ends [units] (may be NULL) gets the end of each in 16-bit words. Uses all
 * threads. Points are not checked. */
wc_status wc_coded_measure(wc_ctx *ctx, const wc_coded *p, uint32_t *ends, uint64_t *bytes);
/* Writes them: dst [2 * the last end]. */
wc_status wc_coded_write(wc_ctx *ctx, const wc_coded *p, const uint32_t *ends, uint8_t *dst);

#endif
