#include "solve/panel.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

enum { TILE = 64 }; /* columns of a transposition: both sides stay in cache */

size_t wc_panel_rows(size_t rows)
{
    size_t n = wc_round_up(wc_ceil_div(rows, 16), 16);
    return n < 32 ? 32 : n > 512 ? 512 : n;
}

/* As integers, magnitudes of floats sort like the floats, with infinities and NaN on top. */
wc_status wc_panel_largest(wc_ctx *ctx, const char *tensor, const float *w, size_t rows, size_t cols, float *out)
{
    uint32_t top = 0;
    size_t count = rows * cols;
#pragma omp parallel for schedule(static) num_threads(ctx->threads) reduction(max : top)
    for (size_t i = 0; i < count; i++) {
        uint32_t a = wc_f32_bits(w[i]) & 0x7fffffff;
        top = a > top ? a : top;
    }
    *out = wc_bits_f32(top);
    for (size_t i = 0; top >= 0x7f800000 && i < count; i++)
        if (!isfinite(w[i]))
            return wc_fail(ctx, WC_BADFILE, "%s: the weight in row %zu, column %zu is not finite", tensor, i / cols,
                           i % cols);
    return WC_OK;
}

void wc_panel_load(const float *w, size_t cols, size_t r0, size_t nr, int scale_exp, float *e)
{
    float unit = ldexpf(1, -scale_exp);
    for (size_t j0 = 0; j0 < cols; j0 += TILE)
        for (size_t r = 0; r < nr; r++)
            for (size_t j = j0; j < wc_min(j0 + TILE, cols); j++)
                e[j * nr + r] = w[(r0 + r) * cols + j] * unit;
}

void wc_panel_load_mask(const uint8_t *mask, size_t cols, size_t r0, size_t nr, uint8_t *keep)
{
    for (size_t j0 = 0; j0 < cols; j0 += TILE)
        for (size_t r = 0; r < nr; r++)
            for (size_t j = j0; j < wc_min(j0 + TILE, cols); j++)
                keep[j * nr + r] = mask[(r0 + r) * cols + j];
}

void wc_panel_store(const float *e, size_t cols, size_t r0, size_t nr, int scale_exp, float *w)
{
    float unit = ldexpf(1, scale_exp);
    for (size_t j0 = 0; j0 < cols; j0 += TILE)
        for (size_t r = 0; r < nr; r++)
            for (size_t j = j0; j < wc_min(j0 + TILE, cols); j++)
                w[(r0 + r) * cols + j] = e[j * nr + r] * unit;
}

void wc_panel_store_codes(const uint8_t *code, size_t cols, size_t r0, size_t nr, uint8_t *out)
{
    for (size_t j0 = 0; j0 < cols; j0 += TILE)
        for (size_t r = 0; r < nr; r++)
            for (size_t j = j0; j < wc_min(j0 + TILE, cols); j++)
                out[(r0 + r) * cols + j] = code[j * nr + r];
}

/* Copies columns between natural and processing order. */
static void reorder(const uint32_t *order, size_t cols, size_t nr, bool back, const float *from, float *to)
{
    for (size_t i = 0; i < cols; i++) {
        size_t a = back ? i : order[i], b = back ? order[i] : i;
        memcpy(to + b * nr, from + a * nr, nr * sizeof *to);
    }
}

double wc_panel_feedback(const wc_feedback *f, const wc_rounder *rounder, float *ordered)
{
    const wc_hessian *h = f->h;
    if (!h->order) return wc_feedback_run(f, rounder);
    wc_feedback inner = *f;
    inner.e = ordered;
    reorder(h->order, h->n, f->nr, false, f->e, ordered);
    double loss = wc_feedback_run(&inner, rounder);
    reorder(h->order, h->n, f->nr, true, ordered, f->e);
    return loss;
}
