/* fixed.h - codes of up to 7 bits times inputs in fixed point: integers, so that no order of a sum matters.
 *
 * Of at most 128 columns, let k <= 126 be the largest number with all |x| 2^k < 8355584, so that X = round(x 2^k),
 * halves to even, is three digits of base 256, each in -128 .. 127 (those reach 8355711):
 *
 *     X = 65536 X2 + 256 X1 + X0,        D_j = sum over the columns of (q - z0) X_j,      z0 = 2^bits / 2.
 *
 * |D_j| <= 64 * 128 * 128, so D_j is exact in 32 bits and as f32, and so is each product of an unsigned and a signed
 * byte, of which CPUs make many at once. What is rounded is x, by at most half of 2^-k, where 2^-k is below the largest
 * |x| of the 128 columns times 2^-21.99, and three numbers in a group:
 *
 *     acc += 2^-k (65536 D2 + (256 D1 + D0)),     three fused multiply-adds.
 *
 * Layout of 16 rows and n columns, by chunks of 32 columns. The bytes 4 s .. 4 s + 3 of a chunk are its *slot* s, a
 * dword that has the codes of four columns, so the digits of these columns are a dword that is the same for all rows. A
 * chunk is a plane of the low 4 bits, where there are so many, and one of the other 1, 2 or 3; a plane of k bits is k
 * dwords [16 rows], byte i of each with bits of the codes of the columns i of several slots:
 *
 *     4 bits   dword w: slot 2 w in bits 0-3, 2 w + 1 in bits 4-7
 *     3 bits   dword w: slot 2 w in bits 0-2, 2 w + 1 in bits 3-5. The two low bits of slots 6 and 7 are bits 6-7 of
 *              dwords 0 and 1, their high bits are bits 6 and 7 of dword 2
 *     2 bits   dword w: slots 4 w .. 4 w + 3, two bits of each
 *     1 bit    slots 0 .. 7
 *
 * In the last chunk a plane ends with the dword of the last slot that has a column. */
#ifndef WCD_FIXED_H
#define WCD_FIXED_H

#include <stddef.h>
#include <string.h>

#include "base/half.h"
#include "decode/level.h"

enum { WCD_FIXED = 128, WCD_DIGITS = 3, WCD_CHUNK = 32, WCD_CHUNK_MOST = 64 * 7 /* bytes */ };

/* n <= WCD_FIXED inputs. With one that is no number all are 0 and step is NaN, and so become all sums. */
typedef struct wcd_fixed {
    int8_t digit[WCD_DIGITS][WCD_FIXED]; /* lowest first; zeros behind the last column */
    int32_t sum[WCD_DIGITS];
    float step; /* 2^-k */
    unsigned n;
} wcd_fixed;

typedef struct wcd_fixed_loops {
    void (*round)(const float *x, unsigned n, wcd_fixed *out);
    /* acc [vectors][16] += codes of the columns of x, wcd_fixed_bytes apart from vector to vector, times x. */
    void (*dot)(const uint8_t *p, unsigned vectors, unsigned bits, const wcd_fixed *x, float *acc);
} wcd_fixed_loops;

const wcd_fixed_loops *wcd_fixed_of_level(void); /* of the level in use */

/* Dwords per row of a plane of the last chunk, which has n columns, or of one with all 32. */
static inline unsigned wcd_fixed_dwords(unsigned width, unsigned n)
{
    const unsigned slots = (n + 3) / 4, per = 8 / width, dwords = (slots + per - 1) / per;
    return dwords < width ? dwords : width;
}

/* Of a last chunk, for 16 rows. */
static inline size_t wcd_fixed_last(unsigned bits, unsigned n)
{
    size_t size = 0;
    if (n && bits / 4) size += 64 * wcd_fixed_dwords(4, n);
    if (n && bits % 4) size += 64 * wcd_fixed_dwords(bits % 4, n);
    return size;
}

/* Of n columns, for 16 rows. */
static inline size_t wcd_fixed_bytes(unsigned bits, unsigned n)
{
    return n / WCD_CHUNK * 64 * bits + wcd_fixed_last(bits, n % WCD_CHUNK);
}

/* A last chunk as a whole one, at `out'; zeros where it has no dwords. */
static inline void wcd_fixed_whole(const uint8_t *p, unsigned bits, unsigned n, uint8_t out[WCD_CHUNK_MOST])
{
    const size_t low = bits / 4 ? 64 * wcd_fixed_dwords(4, n) : 0, all = wcd_fixed_last(bits, n);
    memset(out, 0, 64 * bits);
    memcpy(out, p, low);
    memcpy(out + bits / 4 * 256, p + low, all - low);
}

/* What wcd_fixed_loops.round does, for all levels: a form that compilers vectorise. */
static inline void wcd_fixed_round(const float *x, unsigned n, wcd_fixed *out)
{
    const float infinity = wc_bits_f32(0x7f800000);
    float v[WCD_FIXED] = {0};
    uint32_t bits[WCD_FIXED];
    int32_t most = 0, sum[WCD_DIGITS] = {0};
    const int chunks = (int)(n + WCD_CHUNK - 1) / WCD_CHUNK;
    memcpy(v, x, n * sizeof *x);
    memcpy(bits, v, sizeof bits);
    for (int i = 0; i < chunks * WCD_CHUNK; i++) {
        const int32_t b = (int32_t)(bits[i] & 0x7fffffff);
        most = b > most ? b : most;
    }
    if (most >= 0x7f800000) memset(v, 0, sizeof v);
    /* Of |x| = m 2^(e - 150), where m < 2^24, m / 2 < 8355584 says that k = 149 - e is possible. */
    const int k = 149 - (int)(((uint32_t)most + 0x10200) >> 23);
    const float up = wc_bits_f32((uint32_t)(127 + (k > 126 ? 126 : k)) << 23);
    for (int i = 0; i < chunks * WCD_CHUNK; i++) {
        const float t = v[i] * up, to = t < 0 ? -0x1p23f : 0x1p23f;
        const uint32_t X = (uint32_t)(int32_t)((t + to) - to) + 0x808080; /* digits plus 128 */
        const int8_t low = (int8_t)(X ^ 0x80), mid = (int8_t)(X >> 8 ^ 0x80), high = (int8_t)(X >> 16 ^ 0x80);
        out->digit[0][i] = low, out->digit[1][i] = mid, out->digit[2][i] = high;
        sum[0] += low, sum[1] += mid, sum[2] += high;
    }
    memcpy(out->sum, sum, sizeof sum);
    out->step = most >= 0x7f800000 ? infinity - infinity : 1 / up;
    out->n = n;
}

/* Lays out the n codes at q of one of the 16 rows; q is zero from n up to the next multiple of 32. */
void wcd_fixed_put(const uint8_t *q, unsigned bits, unsigned n, unsigned row, uint8_t *p);

#endif
