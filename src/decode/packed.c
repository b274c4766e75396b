#include "decode/packed.h"

#include <string.h>

#include "decode/inner.h"

/* ORs the k bits of every value of a plane into out, `shift' places up. bytes = the plane's size. */
static void plane(const uint8_t *src, unsigned bytes, unsigned k, unsigned shift, uint8_t *out)
{
    for (unsigned j = 0; j < 8 / k; j++)
        for (unsigned i = 0; i < bytes; i++)
            out[j * bytes + i] |= (uint8_t)((src[i] >> j * k & ((1u << k) - 1)) << shift);
}

/* The same for a full block, eight bytes at a time in a 64-bit word. A field never leaves its byte: the shift right
 * brings it down to bit 0, the mask drops what came in from the neighbour, and k + shift <= 8. So the order of the
 * bytes in the word does not matter, and any byte order of the machine gives the same result. */
static inline void full_plane(const uint8_t *src, unsigned k, unsigned shift, uint8_t *out)
{
    const uint64_t mask = 0x0101010101010101u * ((1u << k) - 1);
    for (unsigned j = 0; j < 8 / k; j++)
        for (unsigned i = 0; i < 8 * k; i += 8) {
            uint64_t x, y;
            memcpy(&x, src + i, 8);
            memcpy(&y, out + 8 * k * j + i, 8);
            y |= (x >> k * j & mask) << shift;
            memcpy(out + 8 * k * j + i, &y, 8);
        }
}

void wcd_unpack_block(const uint8_t *src, unsigned bits, uint8_t out[WCD_BLOCK])
{
    unsigned shift = 0;
    memset(out, 0, WCD_BLOCK);
    if (bits & 8) full_plane(src, 8, 0, out);
    if (bits & 4) full_plane(src, 4, 0, out), src += 32, shift = 4;
    if (bits & 2) full_plane(src, 2, shift, out), src += 16, shift += 2;
    if (bits & 1) full_plane(src, 1, shift, out);
}

/* A last block of 8 * eighths values. */
static void last_block(const uint8_t *src, unsigned eighths, unsigned bits, uint8_t out[WCD_BLOCK])
{
    unsigned shift = 0;
    memset(out, 0, WCD_BLOCK);
    for (unsigned k = 8; k; k /= 2) {
        if (!(bits & k)) continue;
        plane(src, k * eighths, k, shift, out);
        src += k * eighths;
        shift += k;
    }
}

void wcd_unpack(const uint8_t *seq, uint64_t count, unsigned bits, uint64_t first, unsigned n, uint8_t *out)
{
    const wcd_inner *inner = wcd_inner_loops();
    uint64_t b = first / WCD_BLOCK;
    unsigned skip = (unsigned)(first % WCD_BLOCK);
    uint8_t values[WCD_BLOCK];
    for (unsigned take; n; b++, out += take, n -= take, skip = 0) {
        const uint8_t *src = seq + b * (WCD_BLOCK / 8) * bits;
        uint64_t left = count - b * WCD_BLOCK;
        take = WCD_BLOCK - skip < n ? WCD_BLOCK - skip : n;
        if (left >= WCD_BLOCK)
            inner->unpack(src, bits, 1, take == WCD_BLOCK ? out : values);
        else
            last_block(src, (unsigned)(left + 7) / 8, bits, values);
        if (take < WCD_BLOCK || left < WCD_BLOCK) memcpy(out, values + skip, take);
    }
}
