#include "solve/slim.h"

#include <math.h>
#include <stdlib.h>

#include "base/half.h"

/* Bins on each side of 0, as in the reference, but at least 64 for a level: enough for a step to be resolved, few
 * enough to cost nothing. */
static size_t bins_for(size_t count, unsigned bits)
{
    size_t n = count / 1000 < 20000 ? count / 1000 : 20000, least = bits > 4 ? (size_t)32 << bits : 512;
    return n > least ? n : least;
}

/* The mean squared error of the grid with this step on the middles of the bins. */
static double integral(const wc_grid *grid, const uint64_t *bin, size_t bins, double width, double step)
{
    double sum = 0, zero = (double)grid->zero_fixed, max = (1 << grid->bits) - 1;
    for (size_t k = 0; k < 2 * bins; k++) {
        double w = ((double)k + 0.5 - (double)bins) * width, q = rint(fmin(fmax(w / step + zero, 0), max));
        double miss = w - step * (q - zero);
        sum += (double)bin[k] * miss * miss;
    }
    return sum;
}

wc_status wc_slim_step(wc_ctx *ctx, const wc_grid *grid, const float *w, float top, float *step)
{
    enum { POINTS = 10, ROUNDS = 3 };
    size_t count = grid->rows * grid->cols, bins = bins_for(count, grid->bits);
    double width = (double)top / (double)bins, whole = (double)top / (double)grid->zero_fixed;
    double lo = whole / POINTS, hi = whole, least = INFINITY, unit = ldexp(1, -grid->scale_exp);
    uint64_t *bin;
    *step = 0;
    if (!(top > 0)) return WC_OK;
    WC_TRY(WC_ALLOC(ctx, bin, 2 * bins, "a histogram"));
    for (size_t i = 0; i < count; i++) {
        if (grid->holes && !grid->mask[i]) continue;
        double at = floor((double)w[i] * unit / width) + (double)bins;
        bin[(size_t)fmin(fmax(at, 0), (double)(2 * bins - 1))]++;
    }
    for (int round = 0; round < ROUNDS; round++) {
        double cell = (hi - lo) / (POINTS - 1);
        for (int i = 0; i < POINTS; i++) {
            double s = (double)wc_f16_f32(wc_f32_f16((float)(lo + cell * i)));
            double loss = s > 0 ? integral(grid, bin, bins, width, s) : INFINITY;
            if (loss < least) least = loss, *step = (float)s;
        }
        lo = fmax((double)*step - cell, whole / 1000), hi = (double)*step + cell;
    }
    free(bin);
    return WC_OK;
}
