#include "model/rope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

/* base^(2i/dim) as f32 from an f32 exponent. */
static float period(double base, size_t i, size_t dim)
{
    float exponent = (float)(2 * i) / (float)dim;
    return (float)pow(base, (double)exponent);
}

/* NTK-aware base (bloc97 2023): base' = base * stretch^(d/(d-2)) leaves the fastest frequency alone and divides the
 * slowest by `stretch'. dynamic: stretch = factor L / L0 - (factor - 1), 1 at L = L0. */
static double ntk_base(const wc_rope_config *c, size_t length)
{
    double d = (double)c->dim, stretch = c->factor;
    if (c->type == WC_ROPE_DYNAMIC) {
        size_t longest = length > c->max_positions ? length : c->max_positions;
        stretch = c->factor * (double)longest / (double)c->max_positions - (c->factor - 1);
    }
    return c->theta * pow(stretch, d / (d - 2));
}

/* YaRN (Peng et al. 2023, section 3.2): frequencies that turn more than beta_fast times within L0 positions stay, those
 * below beta_slow turns are divided by the factor, with a linear ramp over the index between. The index that turns r
 * times is dim(r) = d ln(L0 / (2 pi r)) / (2 ln base). */
static void yarn(const wc_rope_config *c, float *f)
{
    double d = (double)c->dim, length = (double)c->original_max_positions, scale = d / (2 * log(c->theta));
    double low = scale * log(length / (c->beta_fast * 2 * pi)), high = scale * log(length / (c->beta_slow * 2 * pi));
    if (c->truncate) low = floor(low), high = ceil(high);
    low = fmax(low, 0);
    high = fmin(high, d - 1);
    if (low == high) high += 0.001;
    for (size_t i = 0; i < c->dim / 2; i++) {
        float p = period(c->theta, i, c->dim), ramp = ((float)i - (float)low) / (float)(high - low);
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        f[i] = 1 / ((float)c->factor * p) * ramp + 1 / p * (1 - ramp);
    }
}

/* Llama 3.1: by wavelength w = 2 pi / f. Shorter than L0 / high: stays. Longer than L0 / low: divided by the factor.
 * Between: blended by t = (L0 / w - low) / (high - low). */
static void llama3(const wc_rope_config *c, float *f)
{
    float length = (float)c->original_max_positions, low = (float)c->low_freq_factor, high = (float)c->high_freq_factor,
          factor = (float)c->factor;
    for (size_t i = 0; i < c->dim / 2; i++) {
        float freq = 1 / period(c->theta, i, c->dim), wave = (float)(2 * pi) / freq;
        float t = (length / wave - low) / (high - low);
        f[i] = wave < length / high ? freq : wave > length / low ? freq / factor : (1 - t) * freq / factor + t * freq;
    }
}

/* LongRoPE (Ding et al. 2024): a fitted stretch per frequency, one list up to L0 tokens, one beyond. */
static void longrope(const wc_rope_config *c, size_t length, float *f)
{
    const float *stretch = length > c->original_max_positions ? c->long_factor : c->short_factor;
    for (size_t i = 0; i < c->dim / 2; i++)
        f[i] = 1 / (stretch[i] * period(c->theta, i, c->dim));
}

void wc_rope_frequencies(const wc_rope_config *c, size_t length, float *f)
{
    switch (c->type) {
    case WC_ROPE_YARN: yarn(c, f); return;
    case WC_ROPE_LLAMA3: llama3(c, f); return;
    case WC_ROPE_LONGROPE: longrope(c, length, f); return;
    default: break;
    }
    double base = c->type == WC_ROPE_DYNAMIC || c->type == WC_ROPE_NTK ? ntk_base(c, length) : c->theta;
    float divisor = c->type == WC_ROPE_LINEAR ? (float)c->factor : 1;
    for (size_t i = 0; i < c->dim / 2; i++)
        f[i] = 1 / period(base, i, c->dim) / divisor;
}

wc_status wc_rope_open(wc_ctx *ctx, const wc_rope_config *c, size_t positions, wc_rope *out)
{
    wc_rope r = {.dim = c->dim, .positions = positions};
    size_t half = c->dim / 2;
    float f[WC_MAX_HEAD_DIM / 2];
    wc_status status;
    WC_TRY_OUT(WC_ALLOC(ctx, r.cosine, positions * half, "rotary tables"));
    WC_TRY_OUT(WC_ALLOC(ctx, r.sine, positions * half, "rotary tables"));
    wc_rope_frequencies(c, positions, f);
    /* The angle is rounded to f32 as in HF; its cosine is taken in double so that it does not depend on which variant
     * of cosf the C library picks for this CPU. */
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t p = 0; p < positions; p++)
        for (size_t i = 0; i < half; i++) {
            double angle = (double)((float)p * f[i]);
            r.cosine[p * half + i] = (float)cos(angle) * (float)c->attention_factor;
            r.sine[p * half + i] = (float)sin(angle) * (float)c->attention_factor;
        }
    *out = r;
    return WC_OK;
out:
    wc_rope_close(&r);
    return status;
}

void wc_rope_close(wc_rope *r)
{
    if (!r) return;
    free(r->cosine);
    free(r->sine);
    memset(r, 0, sizeof *r);
}

static void rotate(const float *cosine, const float *sine, size_t half, float *x)
{
    for (size_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * cosine[i] - b * sine[i];
        x[i + half] = b * cosine[i] + a * sine[i];
    }
}

void wc_rope_apply(wc_ctx *ctx, const wc_rope *r, float *x, size_t ld, size_t t, size_t heads, size_t head_dim)
{
    size_t half = r->dim / 2;
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t i = 0; i < t; i++)
        for (size_t h = 0; h < heads; h++) {
            size_t at = i % r->positions * half;
            rotate(r->cosine + at, r->sine + at, half, x + i * ld + h * head_dim);
        }
}
