#include "remodel/rotation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

wc_status wc_rotation_make(wc_ctx *ctx, size_t n, uint64_t seed, wc_rotation *out)
{
    wc_rotation q = {.n = n, .power = n & -n};
    wc_status status = WC_OK;
    q.odd = n / q.power;
    WC_TRY_OUT(WC_ALLOC(ctx, q.sign, n, "the signs of a rotation"));
    for (size_t i = 0; i < n; i++)
        q.sign[i] = wc_random(&seed) >> 63 ? -1 : 1;
    if (q.odd > 1) WC_TRY_OUT(WC_ALLOC(ctx, q.hartley, q.odd * q.odd, "a rotation"));
    for (size_t a = 0; q.odd > 1 && a < q.odd; a++)
        for (size_t b = 0; b < q.odd; b++) {
            double angle = 2 * M_PI * (double)(a * b % q.odd) / (double)q.odd;
            q.hartley[a * q.odd + b] = (cos(angle) + sin(angle)) / sqrt((double)n);
        }
    *out = q;
    return WC_OK;
out:
    wc_rotation_free(&q);
    return status;
}

void wc_rotation_free(wc_rotation *q)
{
    if (!q) return;
    free(q->hartley);
    free(q->sign);
    memset(q, 0, sizeof *q);
}

/* By eights, with pointers and a constant trip count, compilers vectorise it at -O2. */
static void add_and_subtract(double *restrict low, double *restrict high, size_t n)
{
    for (; n >= 8; n -= 8, low += 8, high += 8)
        for (int i = 0; i < 8; i++) {
            double a = low[i], b = high[i];
            low[i] = a + b;
            high[i] = a - b;
        }
    for (; n; n--, low++, high++) {
        double a = *low, b = *high;
        *low = a + b;
        *high = a - b;
    }
}

/* x [n] = H x, unscaled. */
static void hadamard(double *x, size_t n)
{
    for (size_t len = 1; len < n; len *= 2)
        for (size_t block = 0; block < n; block += 2 * len)
            add_and_subtract(x + block, x + block + len, len);
}

void wc_rotation_apply(const wc_rotation *q, double *x, double *scratch)
{
    double scale = q->hartley ? 1 : 1 / sqrt((double)q->n);
    for (size_t i = 0; i < q->n; i++)
        x[i] *= q->sign[i] * scale;
    for (size_t a = 0; a < q->odd; a++)
        hadamard(x + a * q->power, q->power);
    if (!q->hartley) return;
    memset(scratch, 0, q->n * sizeof *scratch);
    for (size_t a = 0; a < q->odd; a++)
        for (size_t b = 0; b < q->odd; b++) {
            double t = q->hartley[a * q->odd + b], *y = scratch + a * q->power;
            const double *from = x + b * q->power;
            for (size_t i = 0; i < q->power; i++)
                y[i] += t * from[i];
        }
    memcpy(x, scratch, q->n * sizeof *x);
}

void wc_rotation_floats(const wc_rotation *q, float *w, const float *gamma, double *x, double *scratch)
{
    for (size_t i = 0; i < q->n; i++)
        x[i] = (double)w[i] * (gamma ? (double)gamma[i] : 1);
    wc_rotation_apply(q, x, scratch);
    for (size_t i = 0; i < q->n; i++)
        w[i] = (float)x[i];
}

enum { STRIP = 8 }; /* columns at once: whole cache lines of a row are read and written */

wc_status wc_rotation_columns(wc_ctx *ctx, const wc_rotation *q, float *m, size_t cols)
{
    bool lacking = false;
#pragma omp parallel for schedule(dynamic) num_threads(ctx->threads)
    for (size_t c0 = 0; c0 < cols; c0 += STRIP) {
        size_t nc = wc_min(STRIP, cols - c0);
        double *x = malloc((STRIP + 1) * q->n * sizeof *x);
        if (!x) {
#pragma omp atomic write
            lacking = true;
            continue;
        }
        for (size_t i = 0; i < q->n; i++)
            for (size_t c = 0; c < nc; c++)
                x[c * q->n + i] = (double)m[i * cols + c0 + c];
        for (size_t c = 0; c < nc; c++)
            wc_rotation_apply(q, x + c * q->n, x + STRIP * q->n);
        for (size_t i = 0; i < q->n; i++)
            for (size_t c = 0; c < nc; c++)
                m[i * cols + c0 + c] = (float)x[c * q->n + i];
        free(x);
    }
    return lacking ? wc_fail(ctx, WC_NOMEM, "no memory to rotate columns of %zu numbers", q->n) : WC_OK;
}
