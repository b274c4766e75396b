/* vector.h - sixteen f32 lanes on AVX2 and AVX-512: what kernels are written with (level.h). Everything here is one or
 * two instructions; both levels round every operation in the same way. */
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

#if defined __AVX512F__

typedef __m512 vec;  /* 16 floats */
typedef __m512i idx; /* 16 small integers, in 32 bits each */
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
static inline vec vec_f16(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
/* x[i], or 0 where i >= n */
static inline vec vec_gather(const float *x, idx i, int n)
{
    return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), _mm512_cmplt_epi32_mask(i, _mm512_set1_epi32(n)), i, x, 4);
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
/* Of every four neighbours the sum of q x, exactly; q < 2^bits. vnni: the CPU has vpdpbusd, which is written as
 * assembly so that this file needs no flag that the level's CPUs may not have. */
static inline idx bytes64_fours(bytes64 q, const int8_t x[64], unsigned bits, int vnni)
{
    const __m512i v = _mm512_loadu_si512(x), one = _mm512_set1_epi16(1);
    __m512i sum = _mm512_setzero_si512();
    if (vnni) {
        __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(q.v), "v"(v));
        return sum;
    }
    if (bits < 8) return _mm512_madd_epi16(_mm512_maddubs_epi16(q.v, v), one); /* 2 * 127 * 127 < 2^15 */
    const __m512i low = _mm512_and_si512(q.v, all8(127)), high = _mm512_and_si512(_mm512_srli_epi64(q.v, 7), all8(1));
    return _mm512_add_epi32(_mm512_madd_epi16(_mm512_maddubs_epi16(low, v), one),
                            _mm512_madd_epi16(_mm512_maddubs_epi16(high, v), _mm512_set1_epi16(128)));
}
static inline void bytes64_store(uint8_t out[64], bytes64 b)
{
    _mm512_storeu_si512(out, b.v);
}

#elif defined __AVX2__

typedef struct vec {
    __m256 a, b;
} vec;
typedef struct idx {
    __m256i a, b;
} idx;
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
static inline vec vec_f16(const uint8_t *p)
{
    const __m128i *q = (const __m128i *)(const void *)p;
    return (vec){_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
static inline __m256 gather_half(const float *x, __m256i i, __m256i n)
{
    return _mm256_mask_i32gather_ps(_mm256_setzero_ps(), x, i, _mm256_castsi256_ps(_mm256_cmpgt_epi32(n, i)), 4);
}
/* x[i], or 0 where i >= n */
static inline vec vec_gather(const float *x, idx i, int n)
{
    __m256i end = _mm256_set1_epi32(n);
    return (vec){gather_half(x, i.a, end), gather_half(x, i.b, end)};
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

typedef struct pair {
    __m256i a, b;
} pair;

static inline pair plane4(const uint8_t *p)
{
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return (pair){v, _mm256_srli_epi64(v, 4)};
}
static inline pair plane2(const uint8_t *p)
{
    __m256i v = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
    return (pair){_mm256_srlv_epi64(v, _mm256_set_epi64x(2, 2, 0, 0)),
                  _mm256_srlv_epi64(v, _mm256_set_epi64x(6, 6, 4, 4))};
}
/* The bit goes to place `at' of its byte. */
static inline pair plane1(const uint8_t *p, int at)
{
    int64_t bits;
    __builtin_memcpy(&bits, p, 8);
    __m256i v = _mm256_set1_epi64x(bits), one = _mm256_set1_epi8(1);
    __m256i a = _mm256_and_si256(_mm256_srlv_epi64(v, _mm256_set_epi64x(3, 2, 1, 0)), one);
    __m256i b = _mm256_and_si256(_mm256_srlv_epi64(v, _mm256_set_epi64x(7, 6, 5, 4)), one);
    return (pair){_mm256_slli_epi64(a, at), _mm256_slli_epi64(b, at)};
}
static inline pair masked(pair x, int mask)
{
    __m256i m = _mm256_set1_epi8((char)mask);
    return (pair){_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}
static inline pair up4(pair x)
{
    return (pair){_mm256_slli_epi64(x.a, 4), _mm256_slli_epi64(x.b, 4)};
}
static inline pair both(pair x, pair y)
{
    return (pair){_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}
/* 64 codes; for bits <= 4 the bits above them are anything. */
static inline bytes64 codes64(const uint8_t *p, unsigned bits)
{
    pair v;
    switch (bits) {
    case 1: v = plane1(p, 0); break;
    case 2: v = plane2(p); break;
    case 3: v = both(masked(plane2(p), 3), plane1(p + 16, 2)); break;
    case 4: v = plane4(p); break;
    case 5: v = both(masked(plane4(p), 15), plane1(p + 32, 4)); break;
    case 6: v = both(masked(plane4(p), 15), masked(up4(plane2(p + 32)), 48)); break;
    case 7: v = both(both(masked(plane4(p), 15), masked(up4(plane2(p + 32)), 48)), plane1(p + 48, 6)); break;
    default:
        v = (pair){_mm256_loadu_si256((const __m256i *)(const void *)p),
                   _mm256_loadu_si256((const __m256i *)(const void *)(p + 32))};
    }
    return (bytes64){v.a, v.b};
}
static inline bytes64 bytes64_low(bytes64 b, unsigned bits)
{
    __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1));
    return (bytes64){_mm256_and_si256(b.a, mask), _mm256_and_si256(b.b, mask)};
}
static inline __m256i fours_half(__m256i q, const int8_t *x, unsigned bits)
{
    const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)x), one = _mm256_set1_epi16(1);
    if (bits < 8) return _mm256_madd_epi16(_mm256_maddubs_epi16(q, v), one); /* 2 * 127 * 127 < 2^15 */
    const __m256i low = _mm256_and_si256(q, _mm256_set1_epi8(127));
    const __m256i high = _mm256_and_si256(_mm256_srli_epi64(q, 7), _mm256_set1_epi8(1));
    return _mm256_add_epi32(_mm256_madd_epi16(_mm256_maddubs_epi16(low, v), one),
                            _mm256_madd_epi16(_mm256_maddubs_epi16(high, v), _mm256_set1_epi16(128)));
}
/* Of every four neighbours the sum of q x, exactly; q < 2^bits. */
static inline idx bytes64_fours(bytes64 q, const int8_t x[64], unsigned bits, int vnni)
{
    (void)vnni;
    return (idx){fours_half(q.a, x, bits), fours_half(q.b, x + 32, bits)};
}
static inline void bytes64_store(uint8_t out[64], bytes64 b)
{
    _mm256_storeu_si256((__m256i *)(void *)out, b.a);
    _mm256_storeu_si256((__m256i *)(void *)(out + 32), b.b);
}

#endif

#endif
