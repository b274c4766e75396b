/* Rows of a unit of a coded part, with vectors. decode.c has the same in plain C; docs/FORMAT.md, card `coded'.
 *
 * A row is read in groups of 16 columns, one per rANS state. Nothing in a group waits for a neighbour but the words:
 * a state below 2^16 takes the next, in the order of the states, which vector code does by expanding as many words as
 * are wanted. A chain of dependent work so runs through each state, from slot to bucket to product to word. A bucket is
 * 8 bytes, so that one load fetches both of its symbols. Trellis states belong to columns, and are a whole row old when
 * they are needed. */
#include "formats/coded/kernel.h"

enum { LANES = WCD_CODED_LANES, MIDDLE = WCD_CODED_SYMBOLS / 2 };

#ifdef WCD_X86
#include <immintrin.h>

/* Buckets by number, two to a vector of 128 bits. Not gather instructions: where microcode keeps those from being
 * speculated on, one takes as long as thirty loads. */
static inline __m128i two(const uint64_t *bucket, const uint32_t *at)
{
    __m128i low = _mm_loadl_epi64((const __m128i *)(const void *)(bucket + at[0]));
    return _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(low), (const __m64 *)(const void *)(bucket + at[1])));
}

static inline __m256i four(const uint64_t *bucket, const uint32_t *at)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(two(bucket, at)), two(bucket, at + 4), 1);
}
#endif

#ifdef __AVX512BW__

enum { WIDTH = 16 };

typedef struct vectors {
    __m512i x[LANES / WIDTH], law, shrink;
} vectors;

static inline void load_vectors(const wcd_coded_unit *u, vectors *v)
{
    for (int i = 0; i < LANES / WIDTH; i++)
        v->x[i] = _mm512_loadu_si512(u->x + WIDTH * i);
    v->law = _mm512_loadu_si512(u->law), v->shrink = _mm512_loadu_si512(u->shrink);
}

static inline void store_vectors(const vectors *v, wcd_coded_unit *u)
{
    for (int i = 0; i < LANES / WIDTH; i++)
        _mm512_storeu_si512(u->x + WIDTH * i, v->x[i]);
}

static inline __m512i words(const uint8_t **p, __m512i x)
{
    __mmask16 wanted = _mm512_cmplt_epu32_mask(x, _mm512_set1_epi32(65536));
    __m512i next = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)*p));
    *p += 2 * (unsigned)__builtin_popcount(wanted);
    return _mm512_mask_or_epi32(x, wanted, _mm512_slli_epi32(x, 16), _mm512_maskz_expand_epi32(wanted, next));
}

/* The lower and the upper halves of the buckets that slots are in. */
static inline void buckets(const wcd_coded_tables *t, __m512i at, __m512i *low, __m512i *high)
{
    uint32_t number[LANES];
    const uint64_t *bucket = t->bucket[0][0];
    _mm512_storeu_si512(number, at);
    __m512 a = _mm512_castsi512_ps(
        _mm512_inserti64x4(_mm512_castsi256_si512(four(bucket, number)), four(bucket, number + 8), 1));
    __m512 b = _mm512_castsi512_ps(
        _mm512_inserti64x4(_mm512_castsi256_si512(four(bucket, number + 2)), four(bucket, number + 10), 1));
    *low = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88));
    *high = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xdd));
}

typedef __m512i numbers; /* k of as many columns */

/* What sixteen columns have after their symbols. */
typedef struct several {
    numbers k;
    __m512i x, symbol, raw;
} several;

static inline void symbols(const wcd_coded_tables *t, const wcd_coded_unit *u, unsigned c, const vectors *v, __m512i x,
                           several *e)
{
    const __m512i slots = _mm512_set1_epi32(WCD_CODED_SLOTS - 1);
    __m512i q = _mm512_and_si512(_mm512_loadu_si512(u->state + c), _mm512_set1_epi32(1)), low, high;
    __m512i law = _mm512_permutexvar_epi32(_mm512_loadu_si512(u->class_of + c), v->law);
    e->raw = _mm512_srli_epi32(law, 16);
    __m512i table = _mm512_or_si512(law, _mm512_slli_epi32(q, 6));
    table = _mm512_and_si512(table, _mm512_set1_epi32(0x7c0));
    __m512i slot = _mm512_and_si512(x, slots), own = _mm512_srli_epi32(slot, 6);
    buckets(t, _mm512_or_si512(table, own), &low, &high);
    __m512i rest = _mm512_and_si512(slot, _mm512_set1_epi32(63));
    __mmask16 second = _mm512_cmpge_epu32_mask(rest, _mm512_srli_epi32(low, 24));
    __m512i half = _mm512_mask_mov_epi32(low, second, high);
    e->symbol = _mm512_mask_srli_epi32(own, second, high, 24);
    e->k = _mm512_sub_epi32(e->symbol, _mm512_set1_epi32(MIDDLE));
    __m512i number = _mm512_and_si512(_mm512_add_epi32(slot, _mm512_srli_epi32(half, 12)), slots);
    e->x = _mm512_mullo_epi32(_mm512_and_si512(half, slots), _mm512_srli_epi32(x, 12));
    e->x = _mm512_add_epi32(e->x, number);
}

static inline void low_bits(several *e)
{
    __mmask16 escaped = _mm512_testn_epi32_mask(e->symbol, e->symbol);
    __m512i raw = _mm512_mask_mov_epi32(e->raw, escaped, _mm512_set1_epi32(WCD_CODED_RAW));
    __m512i bits = _mm512_andnot_si512(_mm512_sllv_epi32(_mm512_set1_epi32(-1), raw), e->x);
    e->k = _mm512_or_si512(_mm512_sllv_epi32(e->k, raw), bits);
    e->k = _mm512_mask_srai_epi32(e->k, escaped, _mm512_slli_epi32(bits, 16), 16);
    e->x = _mm512_srlv_epi32(e->x, raw);
}

static inline void values(wcd_coded_unit *u, unsigned c, const vectors *v, numbers k, float *dst)
{
    const __m512i one = _mm512_set1_epi32(1), three = _mm512_set1_epi32(3);
    __m512i s = _mm512_loadu_si512(u->state + c), next = _mm512_srli_epi32(s, 1);
    next = _mm512_mask_xor_epi32(next, _mm512_test_epi32_mask(s, one), next, _mm512_set1_epi32((int)u->a));
    next = _mm512_mask_xor_epi32(next, _mm512_test_epi32_mask(k, one), next, _mm512_set1_epi32((int)u->b));
    _mm512_storeu_si512(u->state + c, next);
    __m512i j = _mm512_add_epi32(_mm512_slli_epi32(k, 1), _mm512_and_si512(s, one));
    __m512i far = _mm512_sub_epi32(three, _mm512_min_epu32(_mm512_abs_epi32(j), three));
    __m512i shrink = _mm512_permutexvar_epi32(_mm512_loadu_si512(u->class_of + c), v->shrink);
    shrink = _mm512_srai_epi32(_mm512_sllv_epi32(shrink, _mm512_slli_epi32(far, 3)), 24);
    shrink = _mm512_mask_sub_epi32(shrink, _mm512_movepi32_mask(j), _mm512_setzero_si512(), shrink);
    __m512 value = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_slli_epi32(j, 6), shrink));
    _mm512_storeu_ps(dst, _mm512_mul_ps(_mm512_loadu_ps(u->step + c), value));
}

static inline int any_low_bits(const several e[LANES / WIDTH])
{
    return _mm512_testn_epi32_mask(e->symbol, e->symbol) | _mm512_test_epi32_mask(e->raw, e->raw);
}

#elif defined __AVX2__

enum { WIDTH = 8 };

/* Bytes for shuffles in both halves: of column classes, which law and its shift; of j mod 4, what it changes of s'.
 * shrink: of column classes 0 .. 7 and 8 .. 15. */
typedef struct vectors {
    __m256i x[LANES / WIDTH], law, shift, change, shrink[2];
} vectors;

static inline __m256i load8(const uint32_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* The lowest nibbles of sixteen numbers, a byte each, twice. */
static inline __m256i bytes_of(__m256i low, __m256i high)
{
    const __m256i nibble = _mm256_set1_epi32(15);
    __m256i pairs = _mm256_packs_epi32(_mm256_and_si256(low, nibble), _mm256_and_si256(high, nibble));
    pairs = _mm256_permute4x64_epi64(pairs, 0xd8);
    __m128i all = _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    return _mm256_broadcastsi128_si256(all);
}

static inline void load_vectors(const wcd_coded_unit *u, vectors *v)
{
    for (int i = 0; i < LANES / WIDTH; i++)
        v->x[i] = load8(u->x + WIDTH * i);
    for (int i = 0; i < 2; i++)
        v->shrink[i] = load8(u->shrink + 8 * i);
    v->law = bytes_of(_mm256_srli_epi32(load8(u->law), 7), _mm256_srli_epi32(load8(u->law + 8), 7));
    v->shift = bytes_of(_mm256_srli_epi32(load8(u->law), 16), _mm256_srli_epi32(load8(u->law + 8), 16));
    v->change = _mm256_set1_epi32((int)(u->a << 8 | u->b << 16 | (u->a ^ u->b) << 24));
}

static inline void store_vectors(const vectors *v, wcd_coded_unit *u)
{
    for (int i = 0; i < LANES / WIDTH; i++)
        _mm256_storeu_si256((__m256i *)(void *)(u->x + WIDTH * i), v->x[i]);
}

/* Byte l of the entry of a mask: how many of its bits below l are set. */
#define RANK(m)                                                                                                    \
    (((m)&1) * 0x0101010101010100u + ((m) >> 1 & 1) * 0x0101010101010000u + ((m) >> 2 & 1) * 0x0101010101000000u + \
     ((m) >> 3 & 1) * 0x0101010100000000u + ((m) >> 4 & 1) * 0x0101010000000000u +                                 \
     ((m) >> 5 & 1) * 0x0101000000000000u + ((m) >> 6 & 1) * 0x0100000000000000u)
#define RANK4(m)  RANK(m), RANK((m) + 1u), RANK((m) + 2u), RANK((m) + 3u)
#define RANK16(m) RANK4(m), RANK4((m) + 4u), RANK4((m) + 8u), RANK4((m) + 12u)
#define RANK64(m) RANK16(m), RANK16((m) + 16u), RANK16((m) + 32u), RANK16((m) + 48u)
static const uint64_t rank[256] = {RANK64(0u), RANK64(64u), RANK64(128u), RANK64(192u)};

static inline __m256i words(const uint8_t **p, __m256i x)
{
    __m256i wanted = _mm256_cmpeq_epi32(_mm256_srli_epi32(x, 16), _mm256_setzero_si256());
    unsigned mask = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(wanted));
    __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)*p));
    __m256i order = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)&rank[mask]));
    *p += 2 * (unsigned)__builtin_popcount(mask);
    next = _mm256_or_si256(_mm256_slli_epi32(x, 16), _mm256_permutevar8x32_epi32(next, order));
    return _mm256_blendv_epi8(x, next, wanted);
}

/* of[class], from 16 that lie in two vectors. */
static inline __m256i pick(const __m256i of[2], __m256i class_of)
{
    __m256 low = _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(of[0], class_of));
    __m256 high = _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(of[1], class_of));
    __m256 which = _mm256_castsi256_ps(_mm256_slli_epi32(class_of, 28)); /* bit 3 to the sign */
    return _mm256_castps_si256(_mm256_blendv_ps(low, high, which));
}

typedef __m256i numbers; /* k of as many columns */

/* What eight columns have after their symbols. */
typedef struct several {
    numbers k;
    __m256i x, symbol, raw;
} several;

static inline void buckets(const wcd_coded_tables *t, __m256i at, __m256i *low, __m256i *high)
{
    uint32_t number[8];
    const uint64_t *bucket = t->bucket[0][0];
    _mm256_storeu_si256((__m256i *)(void *)number, at);
    __m256 a = _mm256_castsi256_ps(four(bucket, number)), b = _mm256_castsi256_ps(four(bucket, number + 2));
    *low = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
    *high = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
}

static inline void symbols(const wcd_coded_tables *t, const wcd_coded_unit *u, unsigned c, const vectors *v, __m256i x,
                           several *e)
{
    const __m256i slots = _mm256_set1_epi32(WCD_CODED_SLOTS - 1);
    __m256i q = _mm256_and_si256(load8(u->state + c), _mm256_set1_epi32(1)), low, high;
    __m256i lowest = _mm256_or_si256(load8(u->class_of + c), _mm256_set1_epi32((int)0x80808000)); /* others: 0 */
    e->raw = _mm256_shuffle_epi8(v->shift, lowest);
    __m256i table = _mm256_slli_epi32(_mm256_shuffle_epi8(v->law, lowest), 7);
    table = _mm256_or_si256(table, _mm256_slli_epi32(q, 6));
    __m256i slot = _mm256_and_si256(x, slots), own = _mm256_srli_epi32(slot, 6);
    buckets(t, _mm256_or_si256(table, own), &low, &high);
    __m256i rest = _mm256_and_si256(slot, _mm256_set1_epi32(63));
    __m256i first = _mm256_cmpgt_epi32(_mm256_srli_epi32(low, 24), rest), half = _mm256_blendv_epi8(high, low, first);
    e->symbol = _mm256_blendv_epi8(_mm256_srli_epi32(high, 24), own, first);
    e->k = _mm256_sub_epi32(e->symbol, _mm256_set1_epi32(MIDDLE));
    __m256i number = _mm256_and_si256(_mm256_add_epi32(slot, _mm256_srli_epi32(half, 12)), slots);
    e->x = _mm256_mullo_epi32(_mm256_and_si256(half, slots), _mm256_srli_epi32(x, 12));
    e->x = _mm256_add_epi32(e->x, number);
}

static inline void low_bits(several *e)
{
    __m256i escaped = _mm256_cmpeq_epi32(e->symbol, _mm256_setzero_si256());
    __m256i raw = _mm256_blendv_epi8(e->raw, _mm256_set1_epi32(WCD_CODED_RAW), escaped);
    __m256i bits = _mm256_andnot_si256(_mm256_sllv_epi32(_mm256_set1_epi32(-1), raw), e->x);
    __m256i all = _mm256_srai_epi32(_mm256_slli_epi32(bits, 16), 16);
    e->k = _mm256_blendv_epi8(_mm256_or_si256(_mm256_sllv_epi32(e->k, raw), bits), all, escaped);
    e->x = _mm256_srlv_epi32(e->x, raw);
}

static inline void values(wcd_coded_unit *u, unsigned c, const vectors *v, numbers k, float *dst)
{
    const __m256i three = _mm256_set1_epi32(3);
    __m256i s = load8(u->state + c), j = _mm256_and_si256(s, _mm256_set1_epi32(1));
    j = _mm256_add_epi32(_mm256_slli_epi32(k, 1), j);
    __m256i next = _mm256_shuffle_epi8(v->change, _mm256_and_si256(j, three)); /* q and the parity of k; [0] is 0 */
    next = _mm256_xor_si256(next, _mm256_srli_epi32(s, 1));
    _mm256_storeu_si256((__m256i *)(void *)(u->state + c), next);
    __m256i far = _mm256_sub_epi32(three, _mm256_min_epu32(_mm256_abs_epi32(j), three));
    __m256i shrink = _mm256_sllv_epi32(pick(v->shrink, load8(u->class_of + c)), _mm256_slli_epi32(far, 3));
    shrink = _mm256_sign_epi32(_mm256_srai_epi32(shrink, 24), j);
    __m256 value = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_slli_epi32(j, 6), shrink));
    _mm256_storeu_ps(dst, _mm256_mul_ps(_mm256_loadu_ps(u->step + c), value));
}

static inline int any_low_bits(const several e[LANES / WIDTH])
{
    __m256i escape = _mm256_min_epu32(e[0].symbol, e[1].symbol), raw = _mm256_or_si256(e[0].raw, e[1].raw);
    escape = _mm256_cmpeq_epi32(escape, _mm256_setzero_si256());
    raw = _mm256_or_si256(raw, escape);
    return !_mm256_testz_si256(raw, raw);
}

#else
#include <arm_neon.h>

enum { WIDTH = 4 };

typedef struct vectors {
    uint32x4_t x[LANES / WIDTH];
    uint8x16x4_t law, shrink; /* of sixteen column classes */
} vectors;

static inline uint8x16x4_t load16(const uint32_t p[16])
{
    uint8x16x4_t v;
    for (int i = 0; i < 4; i++)
        v.val[i] = vreinterpretq_u8_u32(vld1q_u32(p + 4 * i));
    return v;
}

static inline void load_vectors(const wcd_coded_unit *u, vectors *v)
{
    for (int i = 0; i < LANES / WIDTH; i++)
        v->x[i] = vld1q_u32(u->x + WIDTH * i);
    v->law = load16(u->law), v->shrink = load16(u->shrink);
}

static inline void store_vectors(const vectors *v, wcd_coded_unit *u)
{
    for (int i = 0; i < LANES / WIDTH; i++)
        vst1q_u32(u->x + WIDTH * i, v->x[i]);
}

/* Of a mask of four lanes: where the bytes of each lane's word are, if it wants one; 255 looks up 0. */
#define NONE   255, 255, 255, 255
#define ONE(r) 2 * (r), 2 * (r) + 1, 255, 255
static const uint8_t order[16][16] = {
    {NONE, NONE, NONE, NONE},        {ONE(0), NONE, NONE, NONE},     {NONE, ONE(0), NONE, NONE},
    {ONE(0), ONE(1), NONE, NONE},    {NONE, NONE, ONE(0), NONE},     {ONE(0), NONE, ONE(1), NONE},
    {NONE, ONE(0), ONE(1), NONE},    {ONE(0), ONE(1), ONE(2), NONE}, {NONE, NONE, NONE, ONE(0)},
    {ONE(0), NONE, NONE, ONE(1)},    {NONE, ONE(0), NONE, ONE(1)},   {ONE(0), ONE(1), NONE, ONE(2)},
    {NONE, NONE, ONE(0), ONE(1)},    {ONE(0), NONE, ONE(1), ONE(2)}, {NONE, ONE(0), ONE(1), ONE(2)},
    {ONE(0), ONE(1), ONE(2), ONE(3)}};
static const uint8_t taken[16] = {0, 2, 2, 4, 2, 4, 4, 6, 2, 4, 4, 6, 4, 6, 6, 8}; /* bytes */

static inline uint32x4_t words(const uint8_t **p, uint32x4_t x)
{
    const uint32x4_t lanes = vreinterpretq_u32_u64(vcombine_u64(vcreate_u64(0x200000001), vcreate_u64(0x800000004)));
    uint32x4_t wanted = vcltq_u32(x, vdupq_n_u32(65536));
    unsigned mask = vaddvq_u32(vandq_u32(wanted, lanes));
    uint8x16_t next = vcombine_u8(vld1_u8(*p), vdup_n_u8(0));
    *p += taken[mask];
    next = vqtbl1q_u8(next, vld1q_u8(order[mask]));
    return vbslq_u32(wanted, vsliq_n_u32(vreinterpretq_u32_u8(next), x, 16), x);
}

/* of[class], from 16. */
static inline uint32x4_t pick(uint8x16x4_t of, uint32x4_t class_of)
{
    uint32x4_t at = vmlaq_n_u32(vdupq_n_u32(0x03020100), class_of, 0x04040404);
    return vreinterpretq_u32_u8(vqtbl4q_u8(of, vreinterpretq_u8_u32(at)));
}

typedef int32x4_t numbers; /* k of as many columns */

/* What four columns have after their symbols. */
typedef struct several {
    numbers k;
    uint32x4_t x, symbol, raw;
} several;

static inline uint64x2_t two(const uint64_t *bucket, uint64x2_t at)
{
    return vcombine_u64(vld1_u64(bucket + vgetq_lane_u64(at, 0)), vld1_u64(bucket + vgetq_lane_u64(at, 1)));
}

static inline void symbols(const wcd_coded_tables *t, const wcd_coded_unit *u, unsigned c, const vectors *v,
                           uint32x4_t x, several *e)
{
    const uint32x4_t slots = vdupq_n_u32(WCD_CODED_SLOTS - 1);
    const uint64_t *bucket = t->bucket[0][0];
    uint32x4_t q = vandq_u32(vld1q_u32(u->state + c), vdupq_n_u32(1)), law = pick(v->law, vld1q_u32(u->class_of + c));
    e->raw = vshrq_n_u32(law, 16);
    uint32x4_t table = vandq_u32(vorrq_u32(law, vshlq_n_u32(q, 6)), vdupq_n_u32(0x7c0));
    uint32x4_t slot = vandq_u32(x, slots), own = vshrq_n_u32(slot, 6), at = vorrq_u32(table, own);
    uint32x4_t a = vreinterpretq_u32_u64(two(bucket, vmovl_u32(vget_low_u32(at))));
    uint32x4_t b = vreinterpretq_u32_u64(two(bucket, vmovl_high_u32(at)));
    uint32x4_t low = vuzp1q_u32(a, b), high = vuzp2q_u32(a, b);
    uint32x4_t second = vcgeq_u32(vandq_u32(slot, vdupq_n_u32(63)), vshrq_n_u32(low, 24));
    uint32x4_t half = vbslq_u32(second, high, low);
    e->symbol = vbslq_u32(second, vshrq_n_u32(high, 24), own);
    e->k = vsubq_s32(vreinterpretq_s32_u32(e->symbol), vdupq_n_s32(MIDDLE));
    uint32x4_t number = vandq_u32(vaddq_u32(slot, vshrq_n_u32(half, 12)), slots);
    e->x = vmlaq_u32(number, vandq_u32(half, slots), vshrq_n_u32(x, 12));
}

static inline void low_bits(several *e)
{
    uint32x4_t escaped = vceqzq_u32(e->symbol);
    uint32x4_t raw = vbslq_u32(escaped, vdupq_n_u32(WCD_CODED_RAW), e->raw);
    int32x4_t up = vreinterpretq_s32_u32(raw);
    uint32x4_t bits = vbicq_u32(e->x, vshlq_u32(vdupq_n_u32(UINT32_MAX), up));
    int32x4_t all = vmovl_s16(vreinterpret_s16_u16(vmovn_u32(bits)));
    e->k = vbslq_s32(escaped, all, vorrq_s32(vshlq_s32(e->k, up), vreinterpretq_s32_u32(bits)));
    e->x = vshlq_u32(e->x, vnegq_s32(up));
}

static inline void values(wcd_coded_unit *u, unsigned c, const vectors *v, numbers k, float *dst)
{
    const uint32x4_t one = vdupq_n_u32(1);
    const int32x4_t three = vdupq_n_s32(3);
    uint32x4_t s = vld1q_u32(u->state + c), next = vshrq_n_u32(s, 1);
    next = veorq_u32(next, vandq_u32(vtstq_u32(s, one), vdupq_n_u32(u->a)));
    next = veorq_u32(next, vandq_u32(vtstq_u32(vreinterpretq_u32_s32(k), one), vdupq_n_u32(u->b)));
    vst1q_u32(u->state + c, next);
    int32x4_t j = vaddq_s32(vshlq_n_s32(k, 1), vreinterpretq_s32_u32(vandq_u32(s, one))), negative = vshrq_n_s32(j, 31);
    int32x4_t far = vsubq_s32(three, vminq_s32(vabsq_s32(j), three));
    int32x4_t shrink = vreinterpretq_s32_u32(pick(v->shrink, vld1q_u32(u->class_of + c)));
    shrink = vshrq_n_s32(vshlq_s32(shrink, vshlq_n_s32(far, 3)), 24);
    shrink = vsubq_s32(veorq_s32(shrink, negative), negative);
    float32x4_t value = vcvtq_f32_s32(vsubq_s32(vshlq_n_s32(j, 6), shrink));
    vst1q_f32(dst, vmulq_f32(vld1q_f32(u->step + c), value));
}

static inline int any_low_bits(const several e[LANES / WIDTH])
{
    uint32x4_t any = vorrq_u32(vceqzq_u32(e[0].symbol), e[0].raw);
    for (int i = 1; i < LANES / WIDTH; i++)
        any = vorrq_u32(any, vorrq_u32(vceqzq_u32(e[i].symbol), e[i].raw));
    return vmaxvq_u32(any) != 0;
}
#endif

enum { PARTS = LANES / WIDTH };

/* k of a group to values: nothing waits for them in this row, so that they are made of the group before while the
 * states of this one wait for their buckets. */
static inline void finish(wcd_coded_unit *u, unsigned c, const vectors *v, const numbers k[PARTS], float *dst)
{
    for (unsigned i = 0; i < PARTS; i++)
        values(u, c + WIDTH * i, v, k[i], dst + c + WIDTH * i);
}

/* before: whether there is a group to the left, with k; then k of this one. */
static inline void group(const wcd_coded_tables *t, wcd_coded_unit *u, unsigned c, int before, const uint8_t **p,
                         vectors *v, numbers k[PARTS], float *dst)
{
    several e[PARTS];
    for (unsigned i = 0; i < PARTS; i++)
        symbols(t, u, c + WIDTH * i, v, v->x[i], &e[i]);
    if (before) finish(u, c - LANES, v, k, dst);
    for (unsigned i = 0; i < PARTS; i++)
        e[i].x = words(p, e[i].x);
    int any = any_low_bits(e);
    for (unsigned i = 0; any && i < PARTS; i++) {
        low_bits(&e[i]);
        e[i].x = words(p, e[i].x);
    }
    for (unsigned i = 0; i < PARTS; i++)
        v->x[i] = e[i].x, k[i] = e[i].k;
}

static unsigned groups(const wcd_coded_tables *t, wcd_coded_unit *u, float *dst)
{
    vectors v;
    numbers k[PARTS];
    const uint8_t *p = u->p;
    unsigned c = 0;
    if (u->cols < LANES || u->end - p < WCD_CODED_MOST) return 0;
    load_vectors(u, &v);
    group(t, u, c, 0, &p, &v, k, dst);
    for (c = LANES; c + LANES <= u->cols && u->end - p >= WCD_CODED_MOST; c += LANES)
        group(t, u, c, 1, &p, &v, k, dst);
    finish(u, c - LANES, &v, k, dst);
    store_vectors(&v, u);
    u->p = p;
    return c;
}

const wcd_coded_kernel WCD_NAME(wcd_coded_kernel) = {groups};
