/* vector_neon.h - what vector.h has, for NEON: sixteen lanes are four registers. Only vector.h includes it.
 *
 * There is no lookup of floats, but one of bytes, 16 of them in a table of 16. So 16 codes stay bytes, in one register
 * (idx), and a table of 16 floats is their four bytes in a register each (tab); four lookups and eight interleavings
 * make 16 floats of it, which is less than widening the codes and computing with them. */
#ifndef WCD_VECTOR_NEON_H
#define WCD_VECTOR_NEON_H

#include <stdint.h>

#ifdef __ARM_NEON
#include <arm_neon.h>

#define PREFETCH(p) __builtin_prefetch((const void *)(p))
#define FOURS_BITS  7 /* signed ones */

typedef struct vec {
    float32x4_t a, b, c, d;
} vec;
typedef uint8x16_t idx;
typedef struct tab {
    uint8x16_t a, b, c, d; /* a: the lowest bytes */
} tab;
typedef struct ints {
    int32x4_t a, b, c, d;
} ints;
typedef struct bytes64 {
    uint8x16_t a, b, c, d;
} bytes64;

static inline vec vec_load(const float *p)
{
    return (vec){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
static inline void vec_store(float *p, vec v)
{
    vst1q_f32(p, v.a), vst1q_f32(p + 4, v.b), vst1q_f32(p + 8, v.c), vst1q_f32(p + 12, v.d);
}
static inline vec vec_all(float x)
{
    float32x4_t v = vdupq_n_f32(x);
    return (vec){v, v, v, v};
}
/* p[j / (16 / n)] in lane j, n = 1, 2 or 4 */
static inline vec vec_spread(const float *p, unsigned n)
{
    return (vec){vdupq_n_f32(p[0]), vdupq_n_f32(p[n / 4]), vdupq_n_f32(p[n / 2]), vdupq_n_f32(p[3 * n / 4])};
}
static inline vec vec_sub(vec x, vec y)
{
    return (vec){vsubq_f32(x.a, y.a), vsubq_f32(x.b, y.b), vsubq_f32(x.c, y.c), vsubq_f32(x.d, y.d)};
}
static inline vec vec_mul(vec x, vec y)
{
    return (vec){vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b), vmulq_f32(x.c, y.c), vmulq_f32(x.d, y.d)};
}
static inline vec vec_fma(vec x, vec y, vec z)
{
    return (vec){vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c),
                 vfmaq_f32(z.d, x.d, y.d)};
}
static inline vec vec_f16(const uint8_t *p)
{
    float16x8_t low = vreinterpretq_f16_u8(vld1q_u8(p)), high = vreinterpretq_f16_u8(vld1q_u8(p + 16));
    return (vec){vcvt_f32_f16(vget_low_f16(low)), vcvt_high_f32_f16(low), vcvt_f32_f16(vget_low_f16(high)),
                 vcvt_high_f32_f16(high)};
}
/* Of halves of numbers the floats: zeros below them. */
static inline float32x4_t above(uint16x8_t low, uint16x8_t high, int second)
{
    return vreinterpretq_f32_u16(second ? vzip2q_u16(low, high) : vzip1q_u16(low, high));
}
static inline vec vec_bf16(const uint8_t *p)
{
    const uint16x8_t zero = vdupq_n_u16(0);
    uint16x8_t x = vreinterpretq_u16_u8(vld1q_u8(p)), y = vreinterpretq_u16_u8(vld1q_u8(p + 16));
    return (vec){above(zero, x, 0), above(zero, x, 1), above(zero, y, 0), above(zero, y, 1)};
}
/* Whether all of sixteen u16 are below n. */
static inline int all_below(const uint8_t *p, int n)
{
    return vmaxvq_u16(vmaxq_u16(vreinterpretq_u16_u8(vld1q_u8(p)), vreinterpretq_u16_u8(vld1q_u8(p + 16)))) < n;
}
/* x at 16 columns of u16 */
static inline vec vec_at16(const float *x, const uint8_t *col)
{
    float v[16];
    for (int j = 0; j < 16; j++)
        v[j] = x[col[2 * j] | col[2 * j + 1] << 8];
    return vec_load(v);
}
/* Of one vector the four sums of every fourth lane, added in halves. */
static inline float32x4_t quarter(const float *p)
{
    vec v = vec_load(p);
    return vaddq_f32(vaddq_f32(v.a, v.c), vaddq_f32(v.b, v.d));
}
static inline float32x4_t two_each(float32x4_t x, float32x4_t y)
{
    float64x2_t a = vreinterpretq_f64_f32(x), b = vreinterpretq_f64_f32(y);
    return vaddq_f32(vreinterpretq_f32_f64(vzip1q_f64(a, b)), vreinterpretq_f32_f64(vzip2q_f64(a, b)));
}
/* out [4] = the sums of four vectors at p, each added in halves */
static inline void vec_sums4(const float p[64], float out[4])
{
    float32x4_t a = two_each(quarter(p), quarter(p + 16)), b = two_each(quarter(p + 32), quarter(p + 48));
    vst1q_f32(out, vpaddq_f32(a, b));
}

static inline idx idx_bytes(const uint8_t *p)
{
    return vld1q_u8(p);
}
static inline idx idx_down(idx i, int bits)
{
    return vshlq_u8(i, vdupq_n_s8((int8_t)-bits));
}
static inline idx idx_low(idx i, unsigned bits)
{
    return vandq_u8(i, vdupq_n_u8((uint8_t)((1 << bits) - 1)));
}
static inline vec idx_vec(idx i)
{
    uint16x8_t low = vmovl_u8(vget_low_u8(i)), high = vmovl_high_u8(i);
    return (vec){vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_high_u16(low)),
                 vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), vcvtq_f32_u32(vmovl_high_u16(high))};
}
static inline idx idx_iota(void)
{
    return vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(0x0706050403020100), vcreate_u64(0x0f0e0d0c0b0a0908)));
}

static inline tab tab_of(vec v)
{
    uint16x8_t a = vreinterpretq_u16_f32(v.a), b = vreinterpretq_u16_f32(v.b), c = vreinterpretq_u16_f32(v.c),
               d = vreinterpretq_u16_f32(v.d);
    uint8x16_t low0 = vreinterpretq_u8_u16(vuzp1q_u16(a, b)), low1 = vreinterpretq_u8_u16(vuzp1q_u16(c, d));
    uint8x16_t high0 = vreinterpretq_u8_u16(vuzp2q_u16(a, b)), high1 = vreinterpretq_u8_u16(vuzp2q_u16(c, d));
    return (tab){vuzp1q_u8(low0, low1), vuzp2q_u8(low0, low1), vuzp1q_u8(high0, high1), vuzp2q_u8(high0, high1)};
}
/* t[i mod 16] */
static inline vec tab_at(tab t, idx i)
{
    i = idx_low(i, 4); /* others look up 0 */
    uint8x16_t a = vqtbl1q_u8(t.a, i), b = vqtbl1q_u8(t.b, i), c = vqtbl1q_u8(t.c, i), d = vqtbl1q_u8(t.d, i);
    uint16x8_t low0 = vreinterpretq_u16_u8(vzip1q_u8(a, b)), low1 = vreinterpretq_u16_u8(vzip2q_u8(a, b));
    uint16x8_t high0 = vreinterpretq_u16_u8(vzip1q_u8(c, d)), high1 = vreinterpretq_u16_u8(vzip2q_u8(c, d));
    return (vec){above(low0, high0, 0), above(low0, high0, 1), above(low1, high1, 0), above(low1, high1, 1)};
}
/* The same of a table that repeats after 8 */
static inline vec tab_at8(tab t, idx i)
{
    return tab_at(t, i);
}

/* The planes of a full block, as in vector.h, the bits above the codes zero. */
static inline bytes64 plane4(const uint8_t *p)
{
    uint8x16_t x = vld1q_u8(p), y = vld1q_u8(p + 16);
    return (bytes64){x, y, vshrq_n_u8(x, 4), vshrq_n_u8(y, 4)};
}
static inline bytes64 plane2(const uint8_t *p)
{
    uint8x16_t v = vld1q_u8(p);
    return (bytes64){v, vshrq_n_u8(v, 2), vshrq_n_u8(v, 4), vshrq_n_u8(v, 6)};
}
/* Of eight bytes, twice, bit `first' and the next at place `at'. */
static inline uint8x16_t two_bits(uint8x16_t v, int first, int at)
{
    int8x16_t up = vcombine_s8(vdup_n_s8((int8_t)(at - first)), vdup_n_s8((int8_t)(at - first - 1)));
    return vandq_u8(vshlq_u8(v, up), vdupq_n_u8((uint8_t)(1 << at)));
}
static inline bytes64 plane1(const uint8_t *p, int at)
{
    uint8x16_t v = vcombine_u8(vld1_u8(p), vld1_u8(p));
    return (bytes64){two_bits(v, 0, at), two_bits(v, 2, at), two_bits(v, 4, at), two_bits(v, 6, at)};
}
static inline bytes64 masked(bytes64 x, int mask)
{
    const uint8x16_t m = vdupq_n_u8((uint8_t)mask);
    return (bytes64){vandq_u8(x.a, m), vandq_u8(x.b, m), vandq_u8(x.c, m), vandq_u8(x.d, m)};
}
static inline bytes64 up4(bytes64 x)
{
    return (bytes64){vshlq_n_u8(x.a, 4), vshlq_n_u8(x.b, 4), vshlq_n_u8(x.c, 4), vshlq_n_u8(x.d, 4)};
}
static inline bytes64 both(bytes64 x, bytes64 y)
{
    return (bytes64){vorrq_u8(x.a, y.a), vorrq_u8(x.b, y.b), vorrq_u8(x.c, y.c), vorrq_u8(x.d, y.d)};
}
static inline bytes64 bytes64_load(const void *at)
{
    const uint8_t *p = at;
    return (bytes64){vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)};
}
static inline void bytes64_store(uint8_t out[64], bytes64 x)
{
    vst1q_u8(out, x.a), vst1q_u8(out + 16, x.b), vst1q_u8(out + 32, x.c), vst1q_u8(out + 48, x.d);
}
static inline bytes64 bytes64_low(bytes64 x, unsigned bits)
{
    return masked(x, (1 << bits) - 1);
}

static inline bytes64 bytes64_all(int x)
{
    uint8x16_t v = vdupq_n_u8((uint8_t)x);
    return (bytes64){v, v, v, v};
}

static inline ints ints_zero(void)
{
    int32x4_t zero = vdupq_n_s32(0);
    return (ints){zero, zero, zero, zero};
}
/* sum and of every four neighbours the sum of a b. dotprod: by the instruction, which is written as a number so that
 * neither this file nor the assembler needs a flag that the level's CPUs may not have; else |a b| < 2^14. */
static inline int32x4_t fours(int32x4_t sum, int8x16_t a, int8x16_t b, int dotprod)
{
    if (dotprod) {
        register int32x4_t to __asm__("v0") = sum;
        register int8x16_t x __asm__("v1") = a, y __asm__("v2") = b;
        __asm__(".inst 0x4e829420" : "+w"(to) : "w"(x), "w"(y)); /* sdot v0.4s, v1.16b, v2.16b */
        return to;
    }
    return vpadalq_s16(sum, vpaddq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)), vmull_high_s8(a, b)));
}
/* The same of q x with q < 2^bits; 8 bits are q - 128, and 128 times the sum of x. */
static inline int32x4_t fours_of(int32x4_t sum, uint8x16_t q, uint8x16_t x, unsigned bits, int dotprod)
{
    const int8x16_t v = vreinterpretq_s8_u8(x);
    if (bits < 8) return fours(sum, vreinterpretq_s8_u8(q), v, dotprod);
    sum = fours(sum, vreinterpretq_s8_u8(veorq_u8(q, vdupq_n_u8(128))), v, dotprod);
    return vaddq_s32(sum, vshlq_n_s32(fours(vdupq_n_s32(0), vdupq_n_s8(1), v, dotprod), 7));
}
static inline ints bytes64_fours(ints sum, bytes64 q, bytes64 x, unsigned bits, int dotprod)
{
    return (ints){fours_of(sum.a, q.a, x.a, bits, dotprod), fours_of(sum.b, q.b, x.b, bits, dotprod),
                  fours_of(sum.c, q.c, x.c, bits, dotprod), fours_of(sum.d, q.d, x.d, bits, dotprod)};
}
/* Four bytes, 16 times. */
static inline bytes64 bytes64_words(const void *p)
{
    uint32_t x;
    __builtin_memcpy(&x, p, 4);
    const uint8x16_t v = vreinterpretq_u8_u32(vdupq_n_u32(x));
    return (bytes64){v, v, v, v};
}
static inline bytes64 bytes64_down(bytes64 b, unsigned bits)
{
    return (bytes64){idx_down(b.a, (int)bits), idx_down(b.b, (int)bits), idx_down(b.c, (int)bits),
                     idx_down(b.d, (int)bits)};
}
/* Elsewhere sums in fewer bits than ints. */
typedef ints pairs;
static inline pairs pairs_zero(void)
{
    return ints_zero();
}
/* sum and q times the four bytes at x. */
static inline pairs pairs_add(pairs sum, bytes64 q, const int8_t x[4], int dotprod)
{
    return bytes64_fours(sum, q, bytes64_words(x), FOURS_BITS, dotprod);
}
static inline ints ints_all(int x)
{
    const int32x4_t v = vdupq_n_s32(x);
    return (ints){v, v, v, v};
}
static inline ints ints_pairs(ints sum, pairs t, int dotprod)
{
    (void)dotprod;
    return (ints){vaddq_s32(sum.a, t.a), vaddq_s32(sum.b, t.b), vaddq_s32(sum.c, t.c), vaddq_s32(sum.d, t.d)};
}
static inline vec ints_vec(ints i)
{
    return (vec){vcvtq_f32_s32(i.a), vcvtq_f32_s32(i.b), vcvtq_f32_s32(i.c), vcvtq_f32_s32(i.d)};
}

#endif

#endif
