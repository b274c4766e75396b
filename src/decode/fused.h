/* fused.h - a b + c, rounded once: what products are summed with, on every machine. */
#ifndef WCD_FUSED_H
#define WCD_FUSED_H

#include <string.h>

#include <stdint.h>

/* Without the instruction: a b is exact in double (48 bits), s = a b + c is rounded and e = a b + c - s exactly what
 * was lost (Knuth's TwoSum). When something was lost, s is moved to the neighbour with an odd last bit if it is even,
 * in the direction of e: rounding to odd, after which a second rounding to 24 bits is the same as a single one, since
 * 53 >= 24
 * + 2 (Boldo, Melquiond 2008). Infinities and NaN have e = NaN and stay. */
static inline float wcd_fma(float a, float b, float c)
{
#ifdef __FP_FAST_FMAF
    return __builtin_fmaf(a, b, c);
#else
    double p = (double)a * b, s = p + c, t = s - p, e = (p - (s - t)) + (c - t);
    uint64_t bits;
    memcpy(&bits, &s, 8);
    if ((e > 0 || e < 0) && !(bits & 1)) {
        bits += (e > 0) == (s > 0) ? 1 : (uint64_t)-1;
        memcpy(&s, &bits, 8);
    }
    return (float)s;
#endif
}

#endif
