#include "kernels/trellis.h"

#include <math.h>
#include <string.h>

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

static inline void select(size_t half, const float *restrict zero, const float *restrict one, float *restrict total,
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
        select(states / 2, zero, one, total, from + t * states);
    }
}

static void advance(size_t n, size_t states, const int32_t *restrict z, const int32_t *restrict f,
                    const float *restrict cost, float *restrict total, uint8_t *restrict from)
{
    switch (states) {
    case 4: steps(n, 4, z, f, cost, total, from); break;
    case 8: steps(n, 8, z, f, cost, total, from); break;
    case 16: steps(n, 16, z, f, cost, total, from); break;
    case 32: steps(n, 32, z, f, cost, total, from); break;
    case 64: steps(n, 64, z, f, cost, total, from); break;
    case 128: steps(n, 128, z, f, cost, total, from); break;
    default: steps(n, 256, z, f, cost, total, from);
    }
}

const wck_trellis WCK_NAME(wck_trellis) = {
    .candidates = candidates,
    .advance = advance,
};
