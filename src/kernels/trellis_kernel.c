#include "kernels/trellis.h"

#include <math.h>
#include <string.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

static inline float bits_of(const wck_trellis_rates *rates, int32_t class_of, int32_t q, int32_t k)
{
    int32_t symbol = (k >> rates->shift[class_of]) + WCK_TRELLIS_SYMBOLS / 2;
    symbol = symbol < 0 || symbol >= WCK_TRELLIS_SYMBOLS ? 0 : symbol;
    return rates->bits[(2 * class_of + q) * WCK_TRELLIS_SYMBOLS + symbol];
}

static void candidates(size_t n, const float *restrict u, const uint8_t *restrict class_of,
                       const wck_trellis_rates *restrict rates, float lambda, float *restrict cost,
                       int32_t *restrict point)
{
    for (int32_t r = 0; r < 4; r++)
        for (size_t i = 0; i < n; i++) {
            float x = u[i] - (float)r, a = floorf(x * 0.25f);
            a = a > -WCK_TRELLIS_LIMIT ? a : -WCK_TRELLIS_LIMIT;
            a = a < WCK_TRELLIS_LIMIT - 1 ? a : WCK_TRELLIS_LIMIT - 1;
            float low = x - 4 * a, high = low - 4;
            int32_t k = 2 * (int32_t)a + (r >> 1), c = class_of[i];
            float first = low * low + lambda * bits_of(rates, c, r & 1, k);
            float second = high * high + lambda * bits_of(rates, c, r & 1, k + 2);
            int32_t j = 2 * k + (r & 1);
            cost[(size_t)r * n + i] = second < first ? second : first;
            point[(size_t)r * n + i] = second < first ? j + 4 : j;
        }
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

static void sizes(size_t n, const int16_t *restrict j, const float *restrict u, const uint8_t *restrict class_of,
                  uint8_t *restrict slot, float *restrict away)
{
    for (size_t i = 0; i < n; i++) {
        int32_t size = j[i] < 0 ? -j[i] : j[i];
        away[i] = (float)size - (j[i] < 0 ? -u[i] : u[i]);
        size = size < WCK_TRELLIS_SIZES ? size : WCK_TRELLIS_SIZES - 1;
        slot[i] = (uint8_t)(class_of[i] * WCK_TRELLIS_SIZES + size);
    }
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
    .sizes = sizes,
    .squares = squares,
};
