/* vector.h - sixteen f32 lanes on AVX2, AVX-512 and NEON: what kernels are written with (level.h). Nearly everything
 * here is an instruction or two per register; all levels round every operation in the same way. */
#ifndef WCD_VECTOR_H
#define WCD_VECTOR_H

#include <stdint.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#ifdef __AVX2__
/* p may lie anywhere: this never faults. A macro: a function that does only this has no effect that GCC would keep. */
#define PREFETCH(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)
#endif

#ifdef __AVX2__
/* A sum of integers that is to be made step by step. GCC would make a tree of it, and has no registers for that. */
#define IN_ORDER(sum) __asm__("" : "+x"(sum))
#endif

#ifdef __AVX2__
/* x at four columns of u16. CPUs that gather by one instruction do it more slowly, since it must not leak. */
static inline __m128 four_at(const float *x, const uint8_t *col)
{
    uint16_t c[4];
    __builtin_memcpy(c, col, 8);
    return _mm_set_ps(x[c[3]], x[c[2]], x[c[1]], x[c[0]]);
}
static inline __m256 eight_at(const float *x, const uint8_t *col)
{
    return _mm256_set_m128(four_at(x, col + 8), four_at(x, col));
}
#endif

#if defined __AVX512F__
#define FOURS_BITS 8 /* of codes that an instruction sums by fours; 0: there is none */

typedef __m512 vec;  /* 16 floats */
typedef __m512i idx; /* 16 integers */
typedef vec tab;     /* a table of 16 floats */
typedef idx ints;    /* 16 sums */
typedef struct bytes64 {
    __m512i v;
} bytes64;

static inline vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void vec_store(float *p, vec a)
{
    _mm512_storeu_ps(p, a);
}
static inline vec vec_all(float x)
{
    return _mm512_set1_ps(x);
}
/* p[j / (16 / n)] in lane j, n = 1, 2 or 4 */
static inline vec vec_spread(const float *p, unsigned n)
{
    if (n == 1) return vec_all(*p);
    if (n == 2) return _mm512_insertf32x8(vec_all(p[0]), _mm256_set1_ps(p[1]), 1);
    const __m512i from = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    return _mm512_permutexvar_ps(from, _mm512_castps128_ps512(_mm_loadu_ps(p)));
}
static inline vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}
static inline vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}
static inline vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}
static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}
/* out [4] = the sums of four vectors at p, each added in halves */
static inline void vec_sums4(const float p[64], float out[4])
{
    __m512 a = vec_load(p), b = vec_load(p + 16), c = vec_load(p + 32), d = vec_load(p + 48);
    a = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee)); /* 8 of a, 8 of b */
    c = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    a = _mm512_add_ps(_mm512_shuffle_f32x4(a, c, 0x88), _mm512_shuffle_f32x4(a, c, 0xdd)); /* 4 of each */
    a = _mm512_add_ps(a, _mm512_permute_ps(a, 0x4e));
    a = _mm512_add_ps(a, _mm512_permute_ps(a, 0xb1));
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, a)));
}
static inline vec vec_f16(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline idx idx_u16(const uint8_t *p)
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline idx idx_bytes(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}
static inline idx idx_signed(const uint8_t *p)
{
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}
static inline idx idx_load(const uint8_t *p)
{
    return _mm512_loadu_si512(p);
}
static inline idx idx_down(idx i, int bits)
{
    return _mm512_srli_epi32(i, (unsigned)bits);
}
static inline idx idx_up(idx i, int bits)
{
    return _mm512_slli_epi32(i, (unsigned)bits);
}
/* The floats with these bits. */
static inline vec idx_bits(idx i)
{
    return _mm512_castsi512_ps(i);
}
static inline vec idx_vec(idx i)
{
    return _mm512_cvtepi32_ps(i);
}
/* x at 16 columns of u16 */
static inline vec vec_at16(const float *x, const uint8_t *col)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(eight_at(x, col)), eight_at(x, col + 16), 1);
}
/* All are. */
static inline int idx_below(idx i, int n)
{
    return !_mm512_cmpge_epi32_mask(i, _mm512_set1_epi32(n));
}
static inline ints ints_zero(void)
{
    return _mm512_setzero_si512();
}
static inline idx idx_iota(void)
{
    return _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}
/* t[i mod 16] */
static inline vec tab_at(vec t, idx i)
{
    return _mm512_permutexvar_ps(i, t);
}
/* The same of a table that repeats after 8 */
static inline vec tab_at8(vec t, idx i)
{
    return tab_at(t, i);
}
static inline idx idx_low(idx i, unsigned bits)
{
    return _mm512_and_si512(i, _mm512_set1_epi32((1 << bits) - 1));
}

/* The planes of a full block of 64 packed codes (packed.h) as bytes in the order of the columns. A plane of k bits is
 * repeated 8 / k times, every copy shifted down by k more; bits above the code's are those of its neighbours. */
static inline __m512i plane4(const uint8_t *p)
{
    const __m512i down = _mm512_set_epi64(4, 4, 4, 4, 0, 0, 0, 0);
    return _mm512_srlv_epi64(_mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)p)), down);
}
static inline __m512i plane2(const uint8_t *p)
{
    const __m512i down = _mm512_set_epi64(6, 6, 4, 4, 2, 2, 0, 0);
    return _mm512_srlv_epi64(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)p)), down);
}
/* The bit goes to place `at' of its byte. */
static inline __m512i plane1(const uint8_t *p, int at)
{
    const __m512i down = _mm512_sub_epi64(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi64(at));
    int64_t bits;
    __builtin_memcpy(&bits, p, 8);
    return _mm512_rorv_epi64(_mm512_set1_epi64(bits), down);
}
static inline __m512i all8(int x)
{
    return _mm512_set1_epi8((char)x);
}
/* Bits of a where mask has ones, of b elsewhere. */
static inline __m512i pick(__m512i mask, __m512i a, __m512i b)
{
    return _mm512_ternarylogic_epi64(mask, a, b, 0xca);
}
/* 64 codes; for bits <= 4 the bits above them are anything. */
static inline bytes64 codes64(const uint8_t *p, unsigned bits)
{
    __m512i v;
    switch (bits) {
    case 1: v = plane1(p, 0); break;
    case 2: v = plane2(p); break;
    case 3: v = pick(all8(3), plane2(p), plane1(p + 16, 2)); break;
    case 4: v = plane4(p); break;
    case 5: v = _mm512_and_si512(pick(all8(15), plane4(p), plane1(p + 32, 4)), all8(31)); break;
    case 6: v = _mm512_and_si512(pick(all8(15), plane4(p), _mm512_slli_epi64(plane2(p + 32), 4)), all8(63)); break;
    case 7:
        v = pick(all8(15), plane4(p), pick(all8(63), _mm512_slli_epi64(plane2(p + 32), 4), plane1(p + 48, 6)));
        v = _mm512_and_si512(v, all8(127));
        break;
    default: v = _mm512_loadu_si512(p);
    }
    return (bytes64){v};
}
static inline bytes64 bytes64_low(bytes64 b, unsigned bits)
{
    return (bytes64){_mm512_and_si512(b.v, all8((1 << bits) - 1))};
}
static inline bytes64 bytes64_all(int x)
{
    return (bytes64){all8(x)};
}
static inline bytes64 bytes64_load(const void *p)
{
    return (bytes64){_mm512_loadu_si512(p)};
}
/* codes64 for bytes64_fours. With vnni, whose sums have the room, codes of 2 and 4 bits stay in their place in the
 * byte, and ints_placed brings down their sums. */
static inline bytes64 codes64_placed(const uint8_t *p, unsigned bits, int vnni)
{
    const __m512i by4 =
        _mm512_set_epi64(-0x3f3f3f3f3f3f3f40, -0x3f3f3f3f3f3f3f40, 0x3030303030303030, 0x3030303030303030,
                         0x0c0c0c0c0c0c0c0c, 0x0c0c0c0c0c0c0c0c, 0x0303030303030303, 0x0303030303030303);
    const __m512i by16 = _mm512_xor_si512(all8(15), _mm512_set_epi64(-1, -1, -1, -1, 0, 0, 0, 0));
    if (vnni && bits == 2)
        return (bytes64){
            _mm512_and_si512(by4, _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)p)))};
    if (vnni && bits == 4)
        return (bytes64){
            _mm512_and_si512(by16, _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)p)))};
    return bytes64_low(codes64(p, bits), bits);
}
static inline ints ints_placed(ints sum, unsigned bits, int vnni)
{
    if (vnni && bits == 2)
        return _mm512_srav_epi32(sum, _mm512_set_epi32(6, 6, 6, 6, 4, 4, 4, 4, 2, 2, 2, 2, 0, 0, 0, 0));
    if (vnni && bits == 4)
        return _mm512_srav_epi32(sum, _mm512_set_epi32(4, 4, 4, 4, 4, 4, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0));
    return sum;
}
/* sum and of every four neighbours the sum of q x, exactly; q < 2^bits, or placed. vnni: the CPU has vpdpbusd, which is
 * written as assembly so that this file needs no flag that the level's CPUs may not have. */
static inline ints bytes64_fours(ints sum, bytes64 q, bytes64 x, unsigned bits, int vnni)
{
    const __m512i one = _mm512_set1_epi16(1);
    if (vnni) {
        __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(q.v), "v"(x.v));
        return sum;
    }
    if (bits < 8) /* 2 * 127 * 127 < 2^15 */
        return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(q.v, x.v), one));
    const __m512i low = _mm512_and_si512(q.v, all8(127)), high = _mm512_and_si512(_mm512_srli_epi64(q.v, 7), all8(1));
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(low, x.v), one));
    return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(high, x.v), _mm512_set1_epi16(128)));
}
static inline void bytes64_store(uint8_t out[64], bytes64 b)
{
    _mm512_storeu_si512(out, b.v);
}

/* Four bytes, 16 times. */
static inline bytes64 bytes64_words(const void *p)
{
    int32_t x;
    __builtin_memcpy(&x, p, 4);
    return (bytes64){_mm512_set1_epi32(x)};
}
/* Every byte, with bits of the next from above. */
static inline bytes64 bytes64_down(bytes64 b, unsigned bits)
{
    return (bytes64){_mm512_srli_epi32(b.v, bits)};
}
static inline bytes64 masked(bytes64 b, int mask)
{
    return (bytes64){_mm512_and_si512(b.v, all8(mask))};
}
static inline bytes64 up4(bytes64 b)
{
    return (bytes64){_mm512_slli_epi64(b.v, 4)};
}
static inline bytes64 both(bytes64 a, bytes64 b)
{
    return (bytes64){_mm512_or_si512(a.v, b.v)};
}
/* Sums of two products in 16 bits each, or with VNNI of four in 32. */
typedef __m512i pairs;
static inline pairs pairs_zero(void)
{
    return _mm512_setzero_si512();
}
/* sum and q times the four bytes at x. */
static inline pairs pairs_add(pairs sum, bytes64 q, const int8_t x[4], int vnni)
{
    if (vnni) {
        __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(q.v), "m"(*(const int8_t(*)[4])x));
        return sum;
    }
    sum = _mm512_add_epi16(sum, _mm512_maddubs_epi16(q.v, bytes64_words(x).v));
    IN_ORDER(sum);
    return sum;
}
static inline pairs pairs_down(pairs sum, unsigned bits)
{
    return _mm512_sra_epi32(sum, _mm_cvtsi32_si128((int)bits));
}
static inline ints ints_all(int x)
{
    return _mm512_set1_epi32(x);
}
static inline ints ints_pairs(ints sum, pairs t, int vnni)
{
    return _mm512_add_epi32(sum, vnni ? t : _mm512_madd_epi16(t, _mm512_set1_epi16(1)));
}

#elif defined __AVX2__

typedef struct vec {
    __m256 a, b;
} vec;
typedef struct idx {
    __m256i a, b;
} idx;
typedef vec tab;
typedef idx ints;
typedef struct bytes64 {
    __m256i a, b;
} bytes64;

static inline vec vec_load(const float *p)
{
    return (vec){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
static inline void vec_store(float *p, vec a)
{
    _mm256_storeu_ps(p, a.a);
    _mm256_storeu_ps(p + 8, a.b);
}
static inline vec vec_all(float x)
{
    return (vec){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
/* p[j / (16 / n)] in lane j, n = 1, 2 or 4 */
static inline vec vec_spread(const float *p, unsigned n)
{
    if (n < 4) return (vec){_mm256_set1_ps(p[0]), _mm256_set1_ps(p[n - 1])};
    return (vec){_mm256_set_m128(_mm_set1_ps(p[1]), _mm_set1_ps(p[0])),
                 _mm256_set_m128(_mm_set1_ps(p[3]), _mm_set1_ps(p[2]))};
}
static inline vec vec_add(vec a, vec b)
{
    return (vec){_mm256_add_ps(a.a, b.a), _mm256_add_ps(a.b, b.b)};
}
static inline vec vec_sub(vec a, vec b)
{
    return (vec){_mm256_sub_ps(a.a, b.a), _mm256_sub_ps(a.b, b.b)};
}
static inline vec vec_mul(vec a, vec b)
{
    return (vec){_mm256_mul_ps(a.a, b.a), _mm256_mul_ps(a.b, b.b)};
}
static inline vec vec_fma(vec a, vec b, vec c)
{
    return (vec){_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b)};
}
/* out [4] = the sums of four vectors at p, each added in halves */
static inline __m256 half_sum(const float *p)
{
    return _mm256_add_ps(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}
static inline void vec_sums4(const float p[64], float out[4])
{
    __m256 a = half_sum(p), b = half_sum(p + 16), c = half_sum(p + 32), d = half_sum(p + 48);
    a = _mm256_add_ps(_mm256_permute2f128_ps(a, c, 0x20), _mm256_permute2f128_ps(a, c, 0x31)); /* 4 of a, 4 of c */
    b = _mm256_add_ps(_mm256_permute2f128_ps(b, d, 0x20), _mm256_permute2f128_ps(b, d, 0x31));
    a = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee)); /* 2 of a, b; c, d */
    a = _mm256_add_ps(_mm256_shuffle_ps(a, a, 0x88), _mm256_shuffle_ps(a, a, 0xdd));
    _mm_storel_pi((__m64 *)(void *)out, _mm256_castps256_ps128(a));
    _mm_storel_pi((__m64 *)(void *)(out + 2), _mm256_extractf128_ps(a, 1));
}
static inline vec vec_f16(const uint8_t *p)
{
    const __m128i *q = (const __m128i *)(const void *)p;
    return (vec){_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
static inline idx idx_u16(const uint8_t *p)
{
    const __m128i *q = (const __m128i *)(const void *)p;
    return (idx){_mm256_cvtepu16_epi32(_mm_loadu_si128(q)), _mm256_cvtepu16_epi32(_mm_loadu_si128(q + 1))};
}
static inline idx idx_bytes(const uint8_t *p)
{
    return (idx){_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)),
                 _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p + 8)))};
}
static inline idx idx_signed(const uint8_t *p)
{
    return (idx){_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)),
                 _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p + 8)))};
}
static inline idx idx_load(const uint8_t *p)
{
    const __m256i *q = (const __m256i *)(const void *)p;
    return (idx){_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
static inline idx idx_down(idx i, int bits)
{
    return (idx){_mm256_srli_epi32(i.a, bits), _mm256_srli_epi32(i.b, bits)};
}
static inline idx idx_up(idx i, int bits)
{
    return (idx){_mm256_slli_epi32(i.a, bits), _mm256_slli_epi32(i.b, bits)};
}
/* The floats with these bits. */
static inline vec idx_bits(idx i)
{
    return (vec){_mm256_castsi256_ps(i.a), _mm256_castsi256_ps(i.b)};
}
static inline vec idx_vec(idx i)
{
    return (vec){_mm256_cvtepi32_ps(i.a), _mm256_cvtepi32_ps(i.b)};
}
/* x at 16 columns of u16 */
static inline vec vec_at16(const float *x, const uint8_t *col)
{
    return (vec){eight_at(x, col), eight_at(x, col + 16)};
}
/* All are. */
static inline int idx_below(idx i, int n)
{
    const __m256i end = _mm256_set1_epi32(n);
    __m256i below = _mm256_and_si256(_mm256_cmpgt_epi32(end, i.a), _mm256_cmpgt_epi32(end, i.b));
    return _mm256_movemask_epi8(below) == -1;
}
static inline ints ints_zero(void)
{
    return (idx){_mm256_setzero_si256(), _mm256_setzero_si256()};
}
static inline idx idx_iota(void)
{
    return (idx){_mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0), _mm256_set_epi32(15, 14, 13, 12, 11, 10, 9, 8)};
}
static inline __m256 tab_half(vec t, __m256i i)
{
    __m256 low = _mm256_permutevar8x32_ps(t.a, i), high = _mm256_permutevar8x32_ps(t.b, i);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}
static inline vec tab_at(vec t, idx i)
{
    return (vec){tab_half(t, i.a), tab_half(t, i.b)};
}
/* The same of a table that repeats after 8 */
static inline vec tab_at8(vec t, idx i)
{
    return (vec){_mm256_permutevar8x32_ps(t.a, i.a), _mm256_permutevar8x32_ps(t.a, i.b)};
}
static inline idx idx_low(idx i, unsigned bits)
{
    __m256i mask = _mm256_set1_epi32((1 << bits) - 1);
    return (idx){_mm256_and_si256(i.a, mask), _mm256_and_si256(i.b, mask)};
}

static inline bytes64 plane4(const uint8_t *p)
{
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return (bytes64){v, _mm256_srli_epi64(v, 4)};
}
static inline bytes64 plane2(const uint8_t *p)
{
    __m256i v = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
    return (bytes64){_mm256_srlv_epi64(v, _mm256_set_epi64x(2, 2, 0, 0)),
                     _mm256_srlv_epi64(v, _mm256_set_epi64x(6, 6, 4, 4))};
}
/* The bit goes to place `at' of its byte. */
static inline bytes64 plane1(const uint8_t *p, int at)
{
    int64_t bits;
    __builtin_memcpy(&bits, p, 8);
    __m256i v = _mm256_set1_epi64x(bits), one = _mm256_set1_epi8(1);
    __m256i a = _mm256_and_si256(_mm256_srlv_epi64(v, _mm256_set_epi64x(3, 2, 1, 0)), one);
    __m256i b = _mm256_and_si256(_mm256_srlv_epi64(v, _mm256_set_epi64x(7, 6, 5, 4)), one);
    return (bytes64){_mm256_slli_epi64(a, at), _mm256_slli_epi64(b, at)};
}
static inline bytes64 masked(bytes64 x, int mask)
{
    const __m256i m = _mm256_set1_epi8((char)mask);
    return (bytes64){_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}
static inline bytes64 up4(bytes64 x)
{
    return (bytes64){_mm256_slli_epi64(x.a, 4), _mm256_slli_epi64(x.b, 4)};
}
static inline bytes64 both(bytes64 x, bytes64 y)
{
    return (bytes64){_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}
static inline bytes64 bytes64_low(bytes64 b, unsigned bits)
{
    __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1));
    return (bytes64){_mm256_and_si256(b.a, mask), _mm256_and_si256(b.b, mask)};
}
static inline bytes64 bytes64_all(int x)
{
    return (bytes64){_mm256_set1_epi8((char)x), _mm256_set1_epi8((char)x)};
}
static inline bytes64 bytes64_load(const void *p)
{
    const __m256i *q = p;
    return (bytes64){_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
static inline __m256i fours_half(__m256i sum, __m256i q, __m256i x, unsigned bits)
{
    const __m256i one = _mm256_set1_epi16(1);
    if (bits < 8) /* 2 * 127 * 127 < 2^15 */
        return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(q, x), one));
    const __m256i low = _mm256_and_si256(q, _mm256_set1_epi8(127));
    const __m256i high = _mm256_and_si256(_mm256_srli_epi64(q, 7), _mm256_set1_epi8(1));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(low, x), one));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(high, x), _mm256_set1_epi16(128)));
}
/* sum and of every four neighbours the sum of q x, exactly; q < 2^bits. */
static inline ints bytes64_fours(ints sum, bytes64 q, bytes64 x, unsigned bits, int vnni)
{
    (void)vnni;
    return (ints){fours_half(sum.a, q.a, x.a, bits), fours_half(sum.b, q.b, x.b, bits)};
}
static inline void bytes64_store(uint8_t out[64], bytes64 b)
{
    _mm256_storeu_si256((__m256i *)(void *)out, b.a);
    _mm256_storeu_si256((__m256i *)(void *)(out + 32), b.b);
}

/* Four bytes, 16 times. */
static inline bytes64 bytes64_words(const void *p)
{
    int32_t x;
    __builtin_memcpy(&x, p, 4);
    return (bytes64){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
/* Every byte, with bits of the next from above. */
static inline bytes64 bytes64_down(bytes64 b, unsigned bits)
{
    return (bytes64){_mm256_srli_epi32(b.a, (int)bits), _mm256_srli_epi32(b.b, (int)bits)};
}
/* Sums of two products in 16 bits each. */
typedef idx pairs;
static inline pairs pairs_zero(void)
{
    return ints_zero();
}
/* sum and q times the four bytes at x. */
static inline pairs pairs_add(pairs sum, bytes64 q, const int8_t x[4], int vnni)
{
    const bytes64 words = bytes64_words(x);
    (void)vnni;
    sum.a = _mm256_add_epi16(sum.a, _mm256_maddubs_epi16(q.a, words.a));
    IN_ORDER(sum.a);
    sum.b = _mm256_add_epi16(sum.b, _mm256_maddubs_epi16(q.b, words.b));
    IN_ORDER(sum.b);
    return sum;
}
static inline ints ints_all(int x)
{
    return (ints){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
static inline ints ints_pairs(ints sum, pairs t, int vnni)
{
    const __m256i one = _mm256_set1_epi16(1);
    (void)vnni;
    return (ints){_mm256_add_epi32(sum.a, _mm256_madd_epi16(t.a, one)),
                  _mm256_add_epi32(sum.b, _mm256_madd_epi16(t.b, one))};
}

#elif defined __ARM_NEON
#include "decode/vector_neon.h"
#endif

#ifndef FOURS_BITS
#define FOURS_BITS 0
#endif

/* ---- what several levels share ---------------------------------------------------------------------------------- */

#ifdef __AVX2__
static inline tab tab_of(vec v)
{
    return v;
}
static inline vec ints_vec(ints i)
{
    return idx_vec(i);
}
/* Whether all of sixteen u16 are below n. */
static inline int all_below(const uint8_t *p, int n)
{
    return idx_below(idx_u16(p), n);
}
static inline vec vec_bf16(const uint8_t *p)
{
    return idx_bits(idx_up(idx_u16(p), 16));
}
#endif

#if !defined __AVX512F__ && (defined __AVX2__ || defined __ARM_NEON)
/* 64 codes; for bits <= 4 the bits above them are anything. */
static inline bytes64 codes64(const uint8_t *p, unsigned bits)
{
    switch (bits) {
    case 1: return plane1(p, 0);
    case 2: return plane2(p);
    case 3: return both(masked(plane2(p), 3), plane1(p + 16, 2));
    case 4: return plane4(p);
    case 5: return both(masked(plane4(p), 15), plane1(p + 32, 4));
    case 6: return both(masked(plane4(p), 15), masked(up4(plane2(p + 32)), 48));
    case 7: return both(both(masked(plane4(p), 15), masked(up4(plane2(p + 32)), 48)), plane1(p + 48, 6));
    default: return bytes64_load(p);
    }
}
/* Only VNNI has use for other places. */
static inline bytes64 codes64_placed(const uint8_t *p, unsigned bits, int vnni)
{
    (void)vnni;
    return bytes64_low(codes64(p, bits), bits);
}
static inline ints ints_placed(ints sum, unsigned bits, int vnni)
{
    (void)bits, (void)vnni;
    return sum;
}
static inline pairs pairs_down(pairs sum, unsigned bits)
{
    (void)bits;
    return sum;
}
#endif

#endif
