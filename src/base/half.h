/* half.h - exact conversions between f32 and the 16-bit floats. Portable C; no tables.
 * f16/bf16 -> f32 is exact. f32 -> f16/bf16 rounds to nearest even, overflows to infinity, keeps NaN a NaN. */
#ifndef WC_BASE_HALF_H
#define WC_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float wc_bits_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline uint32_t wc_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static inline float wc_bf16_f32(uint16_t h)
{
    return wc_bits_f32((uint32_t)h << 16);
}
static inline uint16_t wc_f32_bf16(float f)
{
    uint32_t u = wc_f32_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40); /* NaN: keep it one */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
/* Shift exponent and mantissa into place, then multiply by 2^112: that rebiases normals and normalises subnormals in
 * one exact step; infinities and NaN are the one case where the exponent must be forced. */
static inline float wc_f16_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, em = (uint32_t)(h & 0x7fff) << 13;
    if (em >= 0x0f800000) return wc_bits_f32(sign | em | 0x7f800000);
    return wc_bits_f32(sign | wc_f32_bits(wc_bits_f32(em) * 0x1p112f));
}
static inline uint16_t wc_f32_f16(float f)
{
    uint32_t u = wc_f32_bits(f), sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (u >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and above round to infinity */
    if (u < 0x38800000)                                    /* subnormal: adding 0.5 aligns the mantissa at 2^-24 */
        return (uint16_t)(sign | (wc_f32_bits(wc_bits_f32(u) + 0.5f) - 0x3f000000));
    u += 0xc8000fff + (u >> 13 & 1);
    return (uint16_t)(sign | u >> 13);
}

/* The finite f16 nearest to x, as a number: what x becomes when it is stored. */
static inline float wc_f16_near(double x)
{
    return wc_f16_f32(wc_f32_f16((float)(x > 65504 ? 65504 : x < -65504 ? -65504 : x)));
}

#endif
