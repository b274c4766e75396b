#include <stdbool.h>

#include "kernels/grid.h"

/* Clamping first makes the argument small, so that adding and subtracting 1.5 * 2^23 rounds to nearest even in plain
 * f32 adds, which every instruction set has. The comparisons send a NaN to 0. */
static inline float nearest(float t, float inv, float z, float qmax)
{
    const float magic = 0x1.8p23f;
    float u = t * inv + z;
    u = u > 0 ? u : 0;
    u = u < qmax ? u : qmax;
    return (u + magic) - magic;
}

static void round_column(size_t nr, const float *restrict t, const float *restrict s, const float *restrict inv,
                         const float *restrict z, float qmax, uint8_t *restrict code, float *restrict value)
{
    for (size_t r = 0; r < nr; r++) {
        float q = nearest(t[r], inv[r], z[r], qmax);
        code[r] = (uint8_t)(int)q;
        value[r] = s[r] * (q - z[r]);
    }
}

/* Four columns a time: y is loaded and stored once per four products. */
static void combine(size_t nk, size_t nr, const float *restrict m, size_t ldm, const float *restrict x,
                    float *restrict y)
{
    size_t k = 0;
    for (; k + 4 <= nk; k += 4) {
        float a = m[k * ldm], b = m[(k + 1) * ldm], c = m[(k + 2) * ldm], d = m[(k + 3) * ldm];
        const float *p = x + k * nr;
        for (size_t r = 0; r < nr; r++)
            y[r] += (a * p[r] + b * p[nr + r]) + (c * p[2 * nr + r] + d * p[3 * nr + r]);
    }
    for (; k < nk; k++) {
        float a = m[k * ldm];
        const float *p = x + k * nr;
        for (size_t r = 0; r < nr; r++)
            y[r] += a * p[r];
    }
}

static void descend(size_t nr, const float *restrict d, float inv_h, const float *restrict s, const float *restrict inv,
                    const float *restrict z, float qmax, uint8_t *restrict code, float *restrict x, float *restrict e)
{
    for (size_t r = 0; r < nr; r++) {
        float old = s[r] * ((float)code[r] - z[r]);
        float q = nearest(old + d[r] * inv_h, inv[r], z[r], qmax);
        float change = old - s[r] * (q - z[r]);
        code[r] = (uint8_t)(int)q;
        x[r] = change;
        e[r] += change;
    }
}

static void centre(size_t nr, const uint8_t *restrict code, const float *restrict z, float *restrict value)
{
    for (size_t r = 0; r < nr; r++)
        value[r] = (float)code[r] - z[r];
}

static void muladd(size_t nr, const float *restrict a, const float *restrict b, float *restrict acc)
{
    for (size_t r = 0; r < nr; r++)
        acc[r] += a[r] * b[r];
}

static void loss(size_t nr, const float *restrict a, const float *restrict b, double weight, double *restrict acc)
{
    for (size_t r = 0; r < nr; r++) {
        float d = a[r] - b[r];
        acc[r] += weight * (double)(d * d);
    }
}

static void range(size_t g, const float *restrict w, float *restrict lo, float *restrict hi)
{
    for (size_t r = 0; r < WCK_LANES; r++)
        lo[r] = hi[r] = w[r];
    for (size_t j = 1; j < g; j++)
        for (size_t r = 0; r < WCK_LANES; r++) {
            float v = w[j * WCK_LANES + r];
            lo[r] = v < lo[r] ? v : lo[r];
            hi[r] = v > hi[r] ? v : hi[r];
        }
}

/* each: h has a weight for every element, else for every column. */
static inline void sum_error(bool each, size_t g, const float *restrict w, const float *restrict h,
                             const float *restrict s, const float *restrict inv, const float *restrict z, float qmax,
                             float *restrict err)
{
    for (size_t r = 0; r < WCK_LANES; r++)
        err[r] = 0;
    for (size_t j = 0; j < g; j++) {
        const float *row = w + j * WCK_LANES;
        for (size_t r = 0; r < WCK_LANES; r++) {
            float weight = each ? h[j * WCK_LANES + r] : h[j];
            float d = s[r] * (nearest(row[r], inv[r], z[r], qmax) - z[r]) - row[r];
            err[r] += weight * (d * d);
        }
    }
}

static inline void sum_normal(bool each, size_t g, const float *restrict w, const float *restrict h,
                              const float *restrict s, const float *restrict inv, const float *restrict z, float qmax,
                              float *restrict err, float *restrict wq, float *restrict qq)
{
    for (size_t r = 0; r < WCK_LANES; r++)
        err[r] = wq[r] = qq[r] = 0;
    for (size_t j = 0; j < g; j++) {
        const float *row = w + j * WCK_LANES;
        for (size_t r = 0; r < WCK_LANES; r++) {
            float weight = each ? h[j * WCK_LANES + r] : h[j];
            float c = nearest(row[r], inv[r], z[r], qmax) - z[r], d = s[r] * c - row[r];
            err[r] += weight * (d * d);
            wq[r] += weight * (row[r] * c);
            qq[r] += weight * (c * c);
        }
    }
}

static inline void sum_affine(bool each, size_t g, const float *restrict w, const float *restrict h,
                              const float *restrict s, const float *restrict inv, const float *restrict z, float qmax,
                              float sum[restrict WCK_N_SUMS][WCK_LANES])
{
    for (int k = 0; k < WCK_N_SUMS; k++)
        for (size_t r = 0; r < WCK_LANES; r++)
            sum[k][r] = 0;
    for (size_t j = 0; j < g; j++) {
        const float *row = w + j * WCK_LANES;
        for (size_t r = 0; r < WCK_LANES; r++) {
            float weight = each ? h[j * WCK_LANES + r] : h[j];
            float c = nearest(row[r], inv[r], z[r], qmax) - z[r], d = s[r] * c - row[r];
            sum[WCK_SUM_ERR][r] += weight * (d * d);
            sum[WCK_SUM_WC][r] += weight * (row[r] * c);
            sum[WCK_SUM_CC][r] += weight * (c * c);
            sum[WCK_SUM_C][r] += weight * c;
            sum[WCK_SUM_W][r] += weight * row[r];
        }
    }
}

static void error(size_t g, const float *w, const float *h, const float *s, const float *inv, const float *z,
                  float qmax, float *err)
{
    sum_error(false, g, w, h, s, inv, z, qmax, err);
}

static void error_each(size_t g, const float *w, const float *h, const float *s, const float *inv, const float *z,
                       float qmax, float *err)
{
    sum_error(true, g, w, h, s, inv, z, qmax, err);
}

static void normal(size_t g, const float *w, const float *h, const float *s, const float *inv, const float *z,
                   float qmax, float *err, float *wq, float *qq)
{
    sum_normal(false, g, w, h, s, inv, z, qmax, err, wq, qq);
}

static void normal_each(size_t g, const float *w, const float *h, const float *s, const float *inv, const float *z,
                        float qmax, float *err, float *wq, float *qq)
{
    sum_normal(true, g, w, h, s, inv, z, qmax, err, wq, qq);
}

static void affine(size_t g, const float *w, const float *h, const float *s, const float *inv, const float *z,
                   float qmax, float sum[WCK_N_SUMS][WCK_LANES])
{
    sum_affine(false, g, w, h, s, inv, z, qmax, sum);
}

static void affine_each(size_t g, const float *w, const float *h, const float *s, const float *inv, const float *z,
                        float qmax, float sum[WCK_N_SUMS][WCK_LANES])
{
    sum_affine(true, g, w, h, s, inv, z, qmax, sum);
}

const wck_grid WCK_NAME(wck_grid) = {
    .round = round_column,
    .combine = combine,
    .descend = descend,
    .centre = centre,
    .muladd = muladd,
    .loss = loss,
    .range = range,
    .error = error,
    .normal = normal,
    .affine = affine,
    .error_each = error_each,
    .normal_each = normal_each,
    .affine_each = affine_each,
};
