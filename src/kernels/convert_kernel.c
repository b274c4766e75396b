/* 16-bit floats to f32, and the search for NaN and infinities. Plain C at every level: the compiler vectorises these
 * loops (memcpy is its way to write an unaligned load). F16C's own conversion is not used, because it turns signalling
 * NaNs into quiet ones and so would not give the bits of the C level; memory is the limit either way. */
#include <string.h>

#include "base/half.h"
#include "kernels/convert.h"

static void bf16_f32(float *restrict dst, const uint8_t *restrict src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, src + 2 * i, 2);
        dst[i] = wc_bf16_f32(h);
    }
}

static void f16_f32(float *restrict dst, const uint8_t *restrict src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, src + 2 * i, 2);
        dst[i] = wc_f16_f32(h);
    }
}

/* Without an early exit inside: the loop must have a known count to be vectorised. Callers pass blocks. */
static bool any16(const uint8_t *src, size_t n, uint16_t exponent)
{
    uint16_t hit = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, src + 2 * i, 2);
        hit |= (uint16_t) - ((h & exponent) == exponent);
    }
    return hit;
}

static bool any32(const uint8_t *src, size_t n, uint32_t exponent)
{
    uint32_t hit = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, src + 4 * i, 4);
        hit |= -(uint32_t)((u & exponent) == exponent);
    }
    return hit;
}

const wck_convert WCK_NAME(wck_convert) = {bf16_f32, f16_f32, any16, any32};
