#include "kernels/trellis.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

enum { BLOCK = 64 }; /* samples whose intermediate numbers stay in the first cache */

/* The samples of a block, and where the prices of their points are. */
typedef struct block {
    int32_t base[BLOCK], shift[BLOCK];                   /* of a sample's class */
    float low[BLOCK], low_bits[BLOCK], high_bits[BLOCK]; /* u less the lower point; bits of both */
    int32_t point[BLOCK], low_at[BLOCK], high_at[BLOCK]; /* the lower point; where its bits are, and the upper's */
} block;

static inline int32_t symbol_of(int32_t k, int32_t shift)
{
    int32_t symbol = (k >> shift) + WCK_TRELLIS_SYMBOLS / 2;
    return symbol < 0 || symbol >= WCK_TRELLIS_SYMBOLS ? 0 : symbol;
}

/* One by one: gather instructions cost more than the loads that they replace, for they must not leak. */
static void look_up(const float *restrict bits, block *restrict b)
{
    for (size_t i = 0; i < BLOCK; i++) {
        int32_t low = b->low_at[i], high = b->high_at[i];
        __asm__("" : "+r"(low), "+r"(high));
        b->low_bits[i] = bits[low], b->high_bits[i] = bits[high];
    }
}

static void lay_points(const float *restrict u, int32_t r, block *restrict b)
{
    for (size_t i = 0; i < BLOCK; i++) {
        float x = u[i] - (float)r, a = floorf(x * 0.25f);
        a = a > -WCK_TRELLIS_LIMIT ? a : -WCK_TRELLIS_LIMIT;
        a = a < WCK_TRELLIS_LIMIT - 1 ? a : WCK_TRELLIS_LIMIT - 1;
        int32_t k = 2 * (int32_t)a + (r >> 1), base = b->base[i] + (r & 1) * WCK_TRELLIS_SYMBOLS;
        b->low[i] = x - 4 * a;
        b->point[i] = 2 * k + (r & 1);
        b->low_at[i] = base + symbol_of(k, b->shift[i]);
        b->high_at[i] = base + symbol_of(k + 2, b->shift[i]);
    }
}

static inline void cheaper(size_t n, const block *restrict b, float lambda, float *restrict cost,
                           int32_t *restrict point)
{
    for (size_t i = 0; i < n; i++) {
        float low = b->low[i], high = low - 4;
        float first = low * low + lambda * b->low_bits[i], second = high * high + lambda * b->high_bits[i];
        cost[i] = second < first ? second : first;
        point[i] = second < first ? b->point[i] + 4 : b->point[i];
    }
}

static void candidates_by_class(size_t n, const float *u, const uint8_t *class_of, const wck_trellis_rates *rates,
                                float lambda, float *cost, int32_t *point)
{
    block b;
    for (size_t i = 0, count; i < n; i += count) {
        float x[BLOCK] = {0};
        count = n - i < BLOCK ? n - i : BLOCK;
        memcpy(x, u + i, count * sizeof *x);
        for (size_t k = 0; k < BLOCK; k++) {
            int32_t c = class_of[i + (k < count ? k : 0)];
            b.base[k] = 2 * WCK_TRELLIS_SYMBOLS * c, b.shift[k] = rates->shift[c];
        }
        for (int32_t r = 0; r < 4; r++) {
            lay_points(x, r, &b);
            look_up(rates->bits, &b);
            if (count == BLOCK) /* a loop of known length */
                cheaper(BLOCK, &b, lambda, cost + (size_t)r * n + i, point + (size_t)r * n + i);
            else
                cheaper(count, &b, lambda, cost + (size_t)r * n + i, point + (size_t)r * n + i);
        }
    }
}

#ifdef __AVX512F__
static bool one_class(size_t n, const uint8_t *class_of)
{
    uint8_t other = 0;
    for (size_t i = 1; i < n; i++)
        other |= class_of[i] ^ class_of[0];
    return !other;
}

/* lambda times the bits of a class and set: four registers. */
typedef struct prices {
    __m512 v[4];
} prices;

static inline prices load_prices(const float *bits, float lambda)
{
    prices p;
    for (int i = 0; i < 4; i++)
        p.v[i] = _mm512_mul_ps(_mm512_set1_ps(lambda), _mm512_loadu_ps(bits + 16 * i));
    return p;
}

static inline __m512 price_of(const prices *p, __m512i k, __m128i shift)
{
    __m512i symbol = _mm512_add_epi32(_mm512_sra_epi32(k, shift), _mm512_set1_epi32(WCK_TRELLIS_SYMBOLS / 2));
    __mmask16 inside = _mm512_cmplt_epu32_mask(symbol, _mm512_set1_epi32(WCK_TRELLIS_SYMBOLS));
    symbol = _mm512_maskz_mov_epi32(inside, symbol);
    __mmask16 upper = _mm512_test_epi32_mask(symbol, _mm512_set1_epi32(32));
    return _mm512_mask_blend_ps(upper, _mm512_permutex2var_ps(p->v[0], symbol, p->v[1]),
                                _mm512_permutex2var_ps(p->v[2], symbol, p->v[3]));
}

static inline void candidates_16(__mmask16 these, __m512 u, int32_t r, const prices *p, __m128i shift, float *cost,
                                 int32_t *point)
{
    __m512 x = _mm512_sub_ps(u, _mm512_set1_ps((float)r));
    __m512 a = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0.25f)), _MM_FROUND_TO_NEG_INF);
    a = _mm512_max_ps(a, _mm512_set1_ps(-WCK_TRELLIS_LIMIT));
    a = _mm512_min_ps(a, _mm512_set1_ps(WCK_TRELLIS_LIMIT - 1));
    __m512 low = _mm512_sub_ps(x, _mm512_mul_ps(_mm512_set1_ps(4), a)), high = _mm512_sub_ps(low, _mm512_set1_ps(4));
    __m512i k = _mm512_add_epi32(_mm512_slli_epi32(_mm512_cvttps_epi32(a), 1), _mm512_set1_epi32(r >> 1));
    __m512 first = _mm512_add_ps(_mm512_mul_ps(low, low), price_of(p, k, shift));
    __m512 second =
        _mm512_add_ps(_mm512_mul_ps(high, high), price_of(p, _mm512_add_epi32(k, _mm512_set1_epi32(2)), shift));
    __mmask16 above = _mm512_cmp_ps_mask(second, first, _CMP_LT_OQ);
    __m512i j = _mm512_add_epi32(_mm512_slli_epi32(k, 1), _mm512_set1_epi32(r & 1));
    _mm512_mask_storeu_ps(cost, these, _mm512_mask_blend_ps(above, first, second));
    _mm512_mask_storeu_epi32(point, these, _mm512_mask_add_epi32(j, above, j, _mm512_set1_epi32(4)));
}

/* Where all samples have one class, the prices of each set lie in four registers. */
static void candidates_of_one(size_t n, const float *u, unsigned class_of, const wck_trellis_rates *rates, float lambda,
                              float *cost, int32_t *point)
{
    const float *bits = rates->bits + (size_t)2 * WCK_TRELLIS_SYMBOLS * class_of;
    const prices even = load_prices(bits, lambda), odd = load_prices(bits + WCK_TRELLIS_SYMBOLS, lambda);
    const __m128i shift = _mm_cvtsi32_si128(rates->shift[class_of]);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 these = n - i < 16 ? (__mmask16)((1u << (n - i)) - 1) : (__mmask16)-1;
        __m512 x = _mm512_maskz_loadu_ps(these, u + i);
        candidates_16(these, x, 0, &even, shift, cost + i, point + i);
        candidates_16(these, x, 1, &odd, shift, cost + n + i, point + n + i);
        candidates_16(these, x, 2, &even, shift, cost + 2 * n + i, point + 2 * n + i);
        candidates_16(these, x, 3, &odd, shift, cost + 3 * n + i, point + 3 * n + i);
    }
}
#endif

static void candidates(size_t n, const float *u, const uint8_t *class_of, const wck_trellis_rates *rates, float lambda,
                       float *cost, int32_t *point)
{
#ifdef __AVX512F__
    if (one_class(n, class_of)) {
        candidates_of_one(n, u, class_of[0], rates, lambda, cost, point);
        return;
    }
#endif
    candidates_by_class(n, u, class_of, rates, lambda, cost, point);
}

/* What one step costs from each state, for the input bits 0 and 1. A branch has residue z + 2 (input ^ f). */
static inline void branches(size_t states, const int32_t *restrict z, const int32_t *restrict f, const float e[4],
                            const float *restrict total, float *restrict zero, float *restrict one)
{
    for (size_t p = 0; p < states; p++) {
        float even = z[p] ? e[1] : e[0], odd = z[p] ? e[3] : e[2];
        zero[p] = total[p] + (f[p] ? odd : even);
        one[p] = total[p] + (f[p] ? even : odd);
    }
}

static inline void survivors(size_t half, const float *restrict zero, const float *restrict one, float *restrict total,
                             uint8_t *restrict from)
{
    for (size_t i = 0; i < half; i++) {
        float a = zero[i], b = zero[i + half], c = one[i], d = one[i + half];
        total[2 * i] = b < a ? b : a;
        total[2 * i + 1] = d < c ? d : c;
        from[2 * i] = b < a;
        from[2 * i + 1] = d < c;
    }
}

/* Inlined once per number of states: loops of known length. */
static inline __attribute__((always_inline)) void steps(size_t n, size_t states, const int32_t *restrict z,
                                                        const int32_t *restrict f, const float *restrict cost,
                                                        float *restrict total, uint8_t *restrict from)
{
    float zero[WCK_TRELLIS_STATES], one[WCK_TRELLIS_STATES];
    for (size_t t = 0; t < n; t++) {
        const float e[4] = {cost[t], cost[n + t], cost[2 * n + t], cost[3 * n + t]};
        branches(states, z, f, e, total, zero, one);
        survivors(states / 2, zero, one, total, from + t * states);
    }
}

/* Eight states are one vector: 14 cycles from one total to the next, and all else beside that. */
#ifdef __AVX2__
static void steps_8(size_t n, const int32_t z[8], const int32_t f[8], const float *cost, float total[8], uint8_t *from)
{
    const __m256i vz = _mm256_loadu_si256((const __m256i *)z), vf = _mm256_loadu_si256((const __m256i *)f);
    const __m256i two = _mm256_set1_epi32(2), weave = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i zero_at = _mm256_sub_epi32(_mm256_and_si256(vf, two), vz); /* residue z + 2 (input ^ f) */
    const __m256i one_at = _mm256_xor_si256(zero_at, two);
    __m256 sum = _mm256_loadu_ps(total);
    for (size_t t = 0; t < n; t++) {
        __m128 e01 = _mm_unpacklo_ps(_mm_load_ss(cost + t), _mm_load_ss(cost + n + t));
        __m128 e23 = _mm_unpacklo_ps(_mm_load_ss(cost + 2 * n + t), _mm_load_ss(cost + 3 * n + t));
        __m128 e = _mm_movelh_ps(e01, e23);
        __m256 both = _mm256_insertf128_ps(_mm256_castps128_ps256(e), e, 1);
        __m256 zero = _mm256_add_ps(sum, _mm256_permutevar_ps(both, zero_at));
        __m256 one = _mm256_add_ps(sum, _mm256_permutevar_ps(both, one_at));
        __m256 low = _mm256_permute2f128_ps(zero, one, 0x20), high = _mm256_permute2f128_ps(zero, one, 0x31);
        __m256i flag = _mm256_castps_si256(_mm256_cmp_ps(high, low, _CMP_LT_OQ));
        flag = _mm256_permutevar8x32_epi32(flag, weave);
        __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(flag), _mm256_extracti128_si256(flag, 1));
        half = _mm_and_si128(_mm_packs_epi16(half, half), _mm_set1_epi8(1));
        _mm_storel_epi64((__m128i *)(from + 8 * t), half);
        sum = _mm256_permutevar8x32_ps(_mm256_min_ps(high, low), weave);
    }
    _mm256_storeu_ps(total, sum);
}
#else
static void steps_8(size_t n, const int32_t z[8], const int32_t f[8], const float *cost, float total[8], uint8_t *from)
{
    steps(n, 8, z, f, cost, total, from);
}
#endif

static void advance(size_t n, size_t states, const int32_t *restrict z, const int32_t *restrict f,
                    const float *restrict cost, float *restrict total, uint8_t *restrict from)
{
    switch (states) {
    case 4: steps(n, 4, z, f, cost, total, from); break;
    case 8: steps_8(n, z, f, cost, total, from); break;
    case 16: steps(n, 16, z, f, cost, total, from); break;
    case 32: steps(n, 32, z, f, cost, total, from); break;
    case 64: steps(n, 64, z, f, cost, total, from); break;
    case 128: steps(n, 128, z, f, cost, total, from); break;
    default: steps(n, 256, z, f, cost, total, from);
    }
}

static void samples(size_t n, const float *restrict t, float inverse, const uint8_t *restrict row, int32_t base,
                    int32_t top, float *restrict u, uint8_t *restrict class_of)
{
    for (size_t i = 0; i < n; i++) {
        float x = t[i] * inverse;
        x = x > -1e9f ? x : -1e9f;
        u[i] = x < 1e9f ? x : 1e9f;
    }
    for (size_t i = 0; i < n; i++) {
        int32_t c = row[i] + base;
        c = c < 0 ? 0 : c;
        class_of[i] = (uint8_t)(c > top ? top : c);
    }
}

/* How far a sample lies inside its point, towards 0. */
static inline float inside(int32_t j, float u)
{
    float away = (float)(j < 0 ? -j : j) - (j < 0 ? -u : u);
    away = away > -32768.0f ? away : -32768.0f;
    return away < 32768.0f ? away : 32768.0f;
}

static inline int32_t slot_of(int32_t j, int32_t class_of)
{
    int32_t size = j < 0 ? -j : j;
    return class_of * WCK_TRELLIS_SIZES + (size < WCK_TRELLIS_SIZES ? size : WCK_TRELLIS_SIZES - 1);
}

/* Sums alternate between two sets, so that equal neighbours do not wait for each other. */
static void take_by_class(size_t n, const int16_t *restrict j, const float *restrict u,
                          const uint8_t *restrict class_of, const float shrink[WCK_TRELLIS_SLOTS], float unit,
                          float *restrict q, wck_trellis_sum sum[WCK_TRELLIS_SLOTS])
{
    wck_trellis_sum sums[2][WCK_TRELLIS_SLOTS];
    memset(sums, 0, sizeof sums);
    for (size_t i = 0, count; i < n; i += count) {
        float away[BLOCK];
        int32_t slot[BLOCK];
        count = n - i < BLOCK ? n - i : BLOCK;
        for (size_t k = 0; k < count; k++) {
            away[k] = inside(j[i + k], u[i + k]);
            slot[k] = slot_of(j[i + k], class_of[i + k]);
        }
        for (size_t k = 0; k < count; k++) {
            float smaller = shrink[slot[k]];
            q[i + k] = unit * ((float)(64 * j[i + k]) - (j[i + k] < 0 ? -smaller : smaller));
            sums[k & 1][slot[k]].count++;
            sums[k & 1][slot[k]].away += (double)away[k];
        }
    }
    for (unsigned slot = 0; slot < WCK_TRELLIS_SLOTS; slot++) {
        sum[slot].count += sums[0][slot].count + sums[1][slot].count;
        if (slot % WCK_TRELLIS_SIZES) sum[slot].away += sums[0][slot].away + sums[1][slot].away;
    }
}

#ifdef __AVX512F__
/* Where all samples have one class: a sum in registers for each size. */
static void take_of_one(size_t n, const int16_t *j, const float *u, const float shrink[WCK_TRELLIS_SIZES], float unit,
                        float *q, wck_trellis_sum sum[WCK_TRELLIS_SIZES])
{
    const __m512 smaller_of = _mm512_castps128_ps512(_mm_loadu_ps(shrink)), minus = _mm512_set1_ps(-0.0f);
    __m512d away[WCK_TRELLIS_SIZES] = {_mm512_setzero_pd(), _mm512_setzero_pd(), _mm512_setzero_pd(),
                                       _mm512_setzero_pd()};
    unsigned count[WCK_TRELLIS_SIZES] = {0};
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 these = n - i < 16 ? (__mmask16)((1u << (n - i)) - 1) : (__mmask16)-1;
        __m512i point = _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(these, j + i)), size = _mm512_abs_epi32(point);
        __mmask16 below = _mm512_movepi32_mask(point);
        __m512 x = _mm512_maskz_loadu_ps(these, u + i);
        __m512 d = _mm512_sub_ps(_mm512_cvtepi32_ps(size), _mm512_mask_xor_ps(x, below, x, minus));
        d = _mm512_min_ps(_mm512_max_ps(d, _mm512_set1_ps(-32768.0f)), _mm512_set1_ps(32768.0f));
        size = _mm512_min_epi32(size, _mm512_set1_epi32(WCK_TRELLIS_SIZES - 1));
        __m512 smaller = _mm512_permutexvar_ps(size, smaller_of);
        __m512 whole = _mm512_cvtepi32_ps(_mm512_slli_epi32(point, 6));
        smaller = _mm512_mask_xor_ps(smaller, below, smaller, minus);
        _mm512_mask_storeu_ps(q + i, these, _mm512_mul_ps(_mm512_set1_ps(unit), _mm512_sub_ps(whole, smaller)));
        __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(d)), high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(d, 1));
        for (int s = 0; s < WCK_TRELLIS_SIZES; s++) {
            __mmask16 m = _mm512_mask_cmpeq_epi32_mask(these, size, _mm512_set1_epi32(s));
            count[s] += (unsigned)__builtin_popcount(m);
            if (s) away[s] = _mm512_mask_add_pd(away[s], (__mmask8)m, away[s], low);
            if (s) away[s] = _mm512_mask_add_pd(away[s], (__mmask8)(m >> 8), away[s], high);
        }
    }
    for (int s = 0; s < WCK_TRELLIS_SIZES; s++)
        sum[s].count += count[s], sum[s].away += _mm512_reduce_add_pd(away[s]);
}
#endif

static void take(size_t n, const int16_t *j, const float *u, const uint8_t *class_of,
                 const float shrink[WCK_TRELLIS_SLOTS], float unit, float *q, wck_trellis_sum sum[WCK_TRELLIS_SLOTS])
{
#ifdef __AVX512F__
    if (one_class(n, class_of)) {
        size_t at = (size_t)class_of[0] * WCK_TRELLIS_SIZES;
        take_of_one(n, j, u, shrink + at, unit, q, sum + at);
        return;
    }
#endif
    take_by_class(n, j, u, class_of, shrink, unit, q, sum);
}

static double squares(size_t n, const float *restrict u, float inverse, double *restrict row)
{
    enum { LANES = 8 };
    double sum[LANES] = {0}, all = 0;
    size_t whole = n / LANES * LANES;
    for (size_t i = 0; i < n; i++) {
        float x = u[i] * inverse;
        row[i] += (double)(x * x);
    }
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            sum[k] += (double)(u[i + k] * u[i + k]);
    for (size_t i = whole; i < n; i++)
        all += (double)(u[i] * u[i]);
    for (size_t k = 0; k < LANES; k++)
        all += sum[k];
    return all;
}

const wck_trellis WCK_NAME(wck_trellis) = {
    .candidates = candidates,
    .advance = advance,
    .samples = samples,
    .take = take,
    .squares = squares,
};
