/* int8.c - inputs in 8 bits, and products with them.
 *
 * A block of 64 inputs becomes x = d q with d = max |x| / 127 and q = x / d rounded to the nearest, halves to even. A
 * grid's sum over a group, s sum (q_w - z) x = s (sum q_w x - z sum x), is then a sum of products of bytes, which is
 * exact, times d, and what z multiplies does not depend on the row: u, computed here once. inner.h has the order. */
#include "base/half.h"
#include "decode/decoder.h"

wcd_int8 wcd_int8_at(uint64_t cols, const float *x, const void *memory)
{
    const wcd_int8_block *block = memory;
    return (wcd_int8){x, block, (const float *)(const void *)(block + cols / WCD_BLOCK)};
}

uint64_t wcd_int8_bytes(uint64_t cols)
{
    return cols / WCD_BLOCK * (sizeof(wcd_int8_block) + sizeof(float));
}

uint64_t wcd_int8_size(const wcd_tensor *t)
{
    return t ? wcd_int8_bytes(t->cols) : 0;
}

/* The largest magnitude; NaN is larger than infinity. */
static float largest(const float x[WCD_BLOCK])
{
    uint32_t most = 0;
    for (int i = 0; i < WCD_BLOCK; i++) {
        uint32_t bits = wc_f32_bits(x[i]) & 0x7fffffff;
        if (bits > most) most = bits;
    }
    return wc_bits_f32(most);
}

/* Returns d. Where all inputs are tiny, 127 / max would overflow: they are zeros. With one that is no number d is NaN,
 * and so are all sums that the block is in. */
static float quantize(const float x[WCD_BLOCK], wcd_int8_block *out)
{
    const float most = largest(x), infinity = wc_bits_f32(0x7f800000);
    const int tiny = most < 0x1p-100f, finite = most < infinity;
    const float up = !tiny && finite ? 127 / most : 0, d = tiny ? 0 : finite ? most / 127 : infinity - infinity;
    for (int i = 0; i < WCD_BLOCK; i++) {
        float v = finite ? x[i] * up : 0;
        out->q[i] = (int8_t)((v + 0x1.8p23f) - 0x1.8p23f);
    }
    for (int j = 0; j < 16; j++)
        out->u[j] = d * (float)(out->q[4 * j] + out->q[4 * j + 1] + out->q[4 * j + 2] + out->q[4 * j + 3]);
    return d;
}

wcd_int8 wcd_int8_make(uint64_t cols, const float *x, void *memory)
{
    wcd_int8_block *block = memory;
    float *d = (float *)(void *)(block + cols / WCD_BLOCK);
    for (uint64_t b = 0; b < cols / WCD_BLOCK; b++)
        d[b] = quantize(x + WCD_BLOCK * b, block + b);
    return wcd_int8_at(cols, x, memory);
}

wcd_status wcd_int8_inputs(const wcd_tensor *t, const float *x, void *memory)
{
    if (!t || (!x && t->cols) || (!memory && t->cols >= WCD_BLOCK) || (uintptr_t)memory % 4) return WCD_E_ARGUMENT;
    wcd_int8_make(t->cols, x, memory);
    return WCD_OK;
}
