#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/elementwise.h"

/* Plain loops that the compiler vectorises at every level. Sums run in LANES partial sums, entry i in lane i % LANES,
 * folded as a tree: the same additions in the same order whatever the width of a register. `omp simd' on a loop over
 * the lanes keeps GCC from unrolling it into 16 scalars before the vectoriser has seen it; it reorders nothing. */
enum { LANES = 16 };

/* a if c, else b, by masks: GCC would turn ?: of a constant into a path of its own, and the division in silu_mul by
 * that path's constant, run for all lanes, makes denormal numbers, which cost 100 cycles each. */
static inline float select_f32(bool c, float a, float b)
{
    uint32_t mask = -(uint32_t)c;
    return wc_bits_f32((wc_f32_bits(a) & mask) | (wc_f32_bits(b) & ~mask));
}

/* e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2.
 *
 * n by adding and subtracting 1.5 * 2^23, which leaves no fraction bits: the sum's low mantissa bits are n, and shifted
 * up by 23 they become the exponent of 2^n. r = x - n ln 2 with ln 2 in two pieces: n * LN2_HI is exact (9 + 8 bits),
 * and the rounding of n * LN2_LO is below 2^-29. e^r = 1 + r + r^2 q(r), with q's coefficients the minimax fit of
 * degree 5 that Cephes' expf uses (Moshier); its error, 4e-9, is below half an ulp, so what is left is the rounding of
 * the sum. */
static inline float exp_f32(float x)
{
    static const float lo = -87.33f, hi = 88.37f, log2e = 1.44269504f, round = 12582912.0f;
    static const float ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
    x = select_f32(x < lo, lo, x);
    x = select_f32(x > hi, hi, x);
    float biased = x * log2e + round, n = biased - round;
    float r = x - n * ln2_hi - n * ln2_lo;
    float q = 1.9875691500e-4f;
    q = q * r + 1.3981999507e-3f;
    q = q * r + 8.3334519073e-3f;
    q = q * r + 4.1665795894e-2f;
    q = q * r + 1.6666665459e-1f;
    q = q * r + 5.0000001201e-1f;
    float y = q * (r * r) + r + 1.0f;
    return y * wc_bits_f32((wc_f32_bits(biased) + 127u) << 23);
}

static inline float fold_sum(float *lane)
{
    for (int width = LANES / 2; width; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] += lane[l + width];
    return lane[0];
}

static void exp_all(const float *x, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = exp_f32(x[i]);
}

static float largest(const float *x, size_t n)
{
    float lane[LANES];
    size_t i = 0;
    for (size_t l = 0; l < LANES; l++)
        lane[l] = x[0];
    for (; i + LANES <= n; i += LANES) {
#pragma omp simd
        for (size_t l = 0; l < LANES; l++)
            lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    }
    for (; i < n; i++)
        lane[0] = x[i] > lane[0] ? x[i] : lane[0];
    for (size_t l = 1; l < LANES; l++)
        lane[0] = lane[l] > lane[0] ? lane[l] : lane[0];
    return lane[0];
}

static void softmax(float *x, size_t n, float scale)
{
    float lane[LANES] = {0}, top = largest(x, n);
    size_t i = 0;
    for (size_t j = 0; j < n; j++)
        x[j] = exp_f32((x[j] - top) * scale);
    for (; i + LANES <= n; i += LANES) {
#pragma omp simd
        for (size_t l = 0; l < LANES; l++)
            lane[l] += x[i + l];
    }
    for (size_t l = 0; i < n; i++, l++)
        lane[l] += x[i];
    float r = 1 / fold_sum(lane);
    for (size_t j = 0; j < n; j++)
        x[j] *= r;
}

static void rmsnorm(const float *x, const float *w, size_t n, float eps, float *y)
{
    float lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
#pragma omp simd
        for (size_t l = 0; l < LANES; l++)
            lane[l] += x[i + l] * x[i + l];
    }
    for (size_t l = 0; i < n; i++, l++)
        lane[l] += x[i] * x[i];
    float r = 1 / sqrtf(fold_sum(lane) / (float)n + eps);
    for (size_t j = 0; j < n; j++)
        y[j] = x[j] * r * w[j];
}

static void silu_mul(float *g, const float *u, size_t n)
{
    for (size_t i = 0; i < n; i++)
        g[i] = g[i] / (1 + exp_f32(-g[i])) * u[i];
}

static bool all_finite(const float *x, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= (wc_f32_bits(x[i]) & 0x7f800000) == 0x7f800000;
    return !bad;
}

const wck_elementwise WCK_NAME(wck_elementwise) = {exp_all, softmax, rmsnorm, silu_mul, all_finite};
