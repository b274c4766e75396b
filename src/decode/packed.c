#include "decode/packed.h"

#include <string.h>

/* ORs the k bits of every value of a plane into out, `shift' places up. bytes = the plane's size. */
static inline void plane(const uint8_t *src, unsigned bytes, unsigned k, unsigned shift, uint8_t *out)
{
    for (unsigned j = 0; j < 8 / k; j++)
        for (unsigned i = 0; i < bytes; i++)
            out[j * bytes + i] |= (uint8_t)((src[i] >> j * k & ((1u << k) - 1)) << shift);
}

/* One block of 8 * eighths values. Inlined with a constant for full blocks, so that the loops become straight SIMD. */
static inline void block(const uint8_t *src, unsigned eighths, unsigned bits, uint8_t out[WCD_BLOCK])
{
    unsigned shift = 0;
    memset(out, 0, WCD_BLOCK);
    if (bits & 8) plane(src, 8 * eighths, 8, 0, out);
    if (bits & 4) plane(src, 4 * eighths, 4, 0, out), src += 4 * eighths, shift = 4;
    if (bits & 2) plane(src, 2 * eighths, 2, shift, out), src += 2 * eighths, shift += 2;
    if (bits & 1) plane(src, eighths, 1, shift, out);
}

void wcd_unpack(const uint8_t *seq, uint64_t count, unsigned bits, uint64_t first, unsigned n, uint8_t *out)
{
    uint64_t b = first / WCD_BLOCK;
    unsigned skip = (unsigned)(first % WCD_BLOCK);
    uint8_t values[WCD_BLOCK];
    for (; n; b++, skip = 0) {
        const uint8_t *src = seq + b * (WCD_BLOCK / 8) * bits;
        uint64_t left = count - b * WCD_BLOCK;
        if (left >= WCD_BLOCK)
            block(src, WCD_BLOCK / 8, bits, values);
        else
            block(src, (unsigned)(left + 7) / 8, bits, values);
        unsigned take = WCD_BLOCK - skip < n ? WCD_BLOCK - skip : n;
        memcpy(out, values + skip, take);
        out += take, n -= take;
    }
}
