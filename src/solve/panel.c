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

/* to [n, m] = the transpose of from [m, n] times unit. Both sides are often powers of two apart, and lines that are
 * then evict each other: so whole lines come into a square of 16 by 16, and whole lines leave it. */
static void transpose(size_t m, size_t n, const float *from, size_t ldf, float unit, float *to, size_t ldt)
{
    enum { SIDE = 16 };
    float square[SIDE][SIDE];
    for (size_t j0 = 0; j0 < n; j0 += TILE)
        for (size_t i = 0, rows; i < m; i += rows) {
            rows = wc_min(SIDE, m - i);
            for (size_t j = j0, cols; j < wc_min(j0 + TILE, n); j += cols) {
                cols = wc_min(SIDE, n - j);
                for (size_t a = 0; a < rows; a++)
                    memcpy(square[a], from + (i + a) * ldf + j, cols * sizeof **square);
                for (size_t b = 0; b < cols; b++)
                    for (size_t a = 0; a < rows; a++)
                        to[(j + b) * ldt + i + a] = square[a][b] * unit;
            }
        }
}

void wc_panel_load(const float *w, size_t cols, size_t r0, size_t nr, int scale_exp, float *e)
{
    transpose(nr, cols, w + r0 * cols, cols, ldexpf(1, -scale_exp), e, nr);
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
    transpose(cols, nr, e, nr, ldexpf(1, scale_exp), w + r0 * cols, cols);
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

void wc_panel_load_ordered(const wc_hessian *h, const float *w, size_t r0, size_t nr, int scale_exp, float *scratch,
                           float *e)
{
    wc_panel_load(w, h->n, r0, nr, scale_exp, h->order ? scratch : e);
    if (h->order) reorder(h->order, h->n, nr, false, scratch, e);
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
