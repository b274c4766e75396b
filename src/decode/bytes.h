/* bytes.h - little-endian loads from any address, products that may not fit, sections of a blob. */
#ifndef WCD_BYTES_H
#define WCD_BYTES_H

#include <stdint.h>

static inline uint16_t wcd_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t wcd_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t wcd_u64(const uint8_t *p)
{
    return wcd_u32(p) | (uint64_t)wcd_u32(p + 4) << 32;
}

/* The first byte the highest; written out, so that compilers make one load of it. */
static inline uint64_t wcd_be64(const uint8_t *p)
{
    return (uint64_t)p[0] << 56 | (uint64_t)p[1] << 48 | (uint64_t)p[2] << 40 | (uint64_t)p[3] << 32 |
           (uint64_t)p[4] << 24 | (uint64_t)p[5] << 16 | (uint64_t)p[6] << 8 | (uint64_t)p[7];
}

/* 1 and *out = a * b, or 0 when that is above `limit'. */
static inline int wcd_mul(uint64_t a, uint64_t b, uint64_t limit, uint64_t *out)
{
    if (b && a > limit / b) return 0;
    *out = a * b;
    return 1;
}

/* Places a section of `size' bytes at *end rounded up to 8 and moves *end behind it. Sizes are below 2^62 and few, so
 * nothing wraps. */
static inline uint64_t wcd_place(uint64_t *end, uint64_t size)
{
    uint64_t at = (*end + 7) / 8 * 8;
    *end = at + size;
    return at;
}

#endif
