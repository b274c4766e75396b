/* int8.c - inputs in 8 bits, and products with them.
 *
 * 128 inputs become x = d q with d = max |x| / 127 and q = x / d rounded to the nearest, halves to even. A grid's sum
 * over a group, s sum (q_w - z) x = (s d) (sum q_w q - z sum q), is then made of sums of products of bytes, which are
 * exact. inner.h has the order. Only whole blocks of 64 columns take part: the last d may be for one alone.
 *
 *     memory  q: i8 [cols / 64 * 64]   d: f32 [cols / 64 / 2, rounded up] */
#include <string.h>

#include "base/half.h"
#include "decode/decoder.h"

static uint64_t whole_columns(uint64_t cols)
{
    return cols / WCD_BLOCK * WCD_BLOCK;
}

wcd_int8_codes wcd_int8_at(const wcd_int8 *x, uint64_t cols, uint64_t col)
{
    const uint8_t *q = x->memory;
    if (!q) return (wcd_int8_codes){NULL, NULL, 0, 0};
    const float *d = (const float *)(const void *)(q + whole_columns(cols));
    return (wcd_int8_codes){(const int8_t *)q + col, d + col / WCD_SCALED, wcd_int8_bytes(cols), x->x.n};
}

uint64_t wcd_int8_bytes(uint64_t cols)
{
    return whole_columns(cols) + (whole_columns(cols) + WCD_SCALED - 1) / WCD_SCALED * sizeof(float);
}

uint64_t wcd_int8_size(const wcd_tensor *t)
{
    return t ? wcd_int8_bytes(t->cols) : 0;
}

/* The largest magnitude; NaN is larger than infinity. Here and below by sixteens: the form that compilers vectorise at
 * -O2. n is a multiple of 64. */
static float largest(const float *x, unsigned n)
{
    uint32_t most[16] = {0}, bits[16];
    for (; n; n -= 16, x += 16) {
        memcpy(bits, x, sizeof bits);
        for (int j = 0; j < 16; j++) {
            int32_t b = (int32_t)(bits[j] & 0x7fffffff), m = (int32_t)most[j];
            most[j] = (uint32_t)(b > m ? b : m);
        }
    }
    for (int j = 1; j < 16; j++)
        if (most[j] > most[0]) most[0] = most[j];
    return wc_bits_f32(most[0]);
}

/* Returns d of n columns. Where all inputs are tiny, 127 / max would overflow: they are zeros. With one that is no
 * number d is NaN, and so are all sums that these columns are in. */
static float quantize(const float *x, unsigned n, int8_t *q)
{
    const float most = largest(x, n), infinity = wc_bits_f32(0x7f800000);
    const int tiny = most < 0x1p-100f;
    if (!(most < infinity)) {
        memset(q, 0, n);
        return infinity - infinity;
    }
    const float up = tiny ? 0 : 127 / most;
    for (; n; n -= 16, x += 16, q += 16) {
        float v[16];
        int32_t whole[16];
        for (int j = 0; j < 16; j++)
            v[j] = (x[j] * up + 0x1.8p23f) - 0x1.8p23f;
        for (int j = 0; j < 16; j++)
            whole[j] = (int32_t)v[j];
        for (int j = 0; j < 16; j += 4) {
            q[j] = (int8_t)whole[j], q[j + 1] = (int8_t)whole[j + 1];
            q[j + 2] = (int8_t)whole[j + 2], q[j + 3] = (int8_t)whole[j + 3];
        }
    }
    return tiny ? 0 : most / 127;
}

void wcd_int8_make(uint64_t cols, const float *x, void *memory)
{
    const uint64_t whole = whole_columns(cols);
    int8_t *q = memory;
    float *d = (float *)(void *)(q + whole);
    for (uint64_t c = 0; c < whole; c += WCD_SCALED)
        *d++ = quantize(x + c, whole - c < WCD_SCALED ? (unsigned)(whole - c) : WCD_SCALED, q + c);
}

wcd_status wcd_int8_inputs(const wcd_tensor *t, const float *x, void *memory)
{
    if (!t || (!x && t->cols) || (!memory && t->cols >= WCD_BLOCK) || (uintptr_t)memory % 4) return WCD_E_ARGUMENT;
    wcd_int8_make(t->cols, x, memory);
    return WCD_OK;
}
