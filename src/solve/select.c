#include "solve/select.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

/* Floats that are not negative sort like their bits: the digit at `shift', with the digits above it known, is counted
 * down from the top. */
uint32_t wc_select(const float *score, size_t rows, size_t cols, size_t ld, uint64_t want, uint64_t *above)
{
    enum { DIGITS = 3, BITS = 11, BINS = 1 << BITS };
    uint32_t known = 0, mask = 0;
    uint64_t bin[BINS];
    *above = 0;
    for (int d = DIGITS - 1; d >= 0; d--) {
        unsigned shift = (unsigned)d * BITS;
        uint32_t b = BINS - 1;
        memset(bin, 0, sizeof bin);
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < cols; c++) {
                uint32_t bits = wc_f32_bits(score[r * ld + c]);
                if ((bits & mask) == known) bin[bits >> shift & (BINS - 1)]++;
            }
        while (*above + bin[b] < want)
            *above += bin[b--];
        known |= b << shift;
        mask |= (uint32_t)(BINS - 1) << shift;
    }
    return known;
}

uint64_t wc_mask_survivors(double frac, uint64_t count)
{
    return count - (uint64_t)floor(frac * (double)count + 0.5);
}

/* Rows and places of a comparison group. */
static size_t tile_rows(const wc_mask_rule *r)
{
    return r->tile_rows ? wc_min(r->tile_rows, r->rows) : r->rows;
}

static size_t tile_cols(const wc_mask_rule *r)
{
    size_t places = r->cols / r->block;
    return r->tile_cols ? wc_min(r->tile_cols, places) : places;
}

/* Groups are tiles of the same size, but for the last row and the last column of them. */
uint64_t wc_mask_kept(const wc_mask_rule *r)
{
    size_t places = r->cols / r->block;
    if (r->m) return (uint64_t)r->rows * (places / r->m) * r->n * r->block;
    size_t tr = tile_rows(r), tc = tile_cols(r), down = r->rows / tr, across = places / tc;
    size_t last_rows = r->rows % tr, last_cols = places % tc;
    uint64_t kept = down * across * wc_mask_survivors(r->frac, (uint64_t)tr * tc);
    kept += across * wc_mask_survivors(r->frac, (uint64_t)last_rows * tc);
    kept += down * wc_mask_survivors(r->frac, (uint64_t)tr * last_cols);
    kept += wc_mask_survivors(r->frac, (uint64_t)last_rows * last_cols);
    return kept * r->block;
}

static void keep(const wc_mask_rule *r, size_t row, size_t place, bool kept, uint8_t *mask)
{
    memset(mask + row * r->cols + place * r->block, kept, r->block);
}

/* The places row0 .. + rows, place0 .. + count are one group. */
static void select_tile(const wc_mask_rule *r, const float *score, size_t row0, size_t rows, size_t place0,
                        size_t count, uint8_t *mask)
{
    size_t places = r->cols / r->block;
    uint64_t want = wc_mask_survivors(r->frac, (uint64_t)rows * count), above = 0, spare = 0;
    const float *first = score + row0 * places + place0;
    uint32_t least = want ? wc_select(first, rows, count, places, want, &above) : UINT32_MAX;
    for (size_t i = 0; i < rows; i++) /* those that are equal to the least survivor, without which there are enough */
        for (size_t j = 0; j < count; j++)
            spare += wc_f32_bits(first[i * places + j]) == least;
    spare -= want - above;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < count; j++) {
            uint32_t bits = wc_f32_bits(first[i * places + j]);
            bool dropped = bits < least || (bits == least && spare);
            spare -= bits == least && spare;
            keep(r, row0 + i, place0 + j, !dropped, mask);
        }
}

/* The n best of m places; n and m are small. */
static void select_run(const wc_mask_rule *r, const float *score, size_t row, size_t place, uint8_t *mask)
{
    const float *s = score + row * (r->cols / r->block) + place;
    for (unsigned i = 0; i < r->m; i++) {
        unsigned better = 0;
        for (unsigned k = 0; k < r->m; k++)
            better += s[k] > s[i] || (s[k] == s[i] && k > i);
        keep(r, row, place + i, better < r->n, mask);
    }
}

void wc_mask_select(wc_ctx *ctx, const wc_mask_rule *r, const float *score, uint8_t *mask)
{
    size_t places = r->cols / r->block, tr = r->m ? 1 : tile_rows(r), tc = r->m ? r->m : tile_cols(r);
    size_t across = wc_ceil_div(places, tc), down = wc_ceil_div(r->rows, tr);
#pragma omp parallel for schedule(dynamic, 16) num_threads(ctx->threads)
    for (size_t t = 0; t < down * across; t++) {
        size_t row = t / across * tr, place = t % across * tc;
        if (r->m)
            select_run(r, score, row, place, mask);
        else
            select_tile(r, score, row, wc_min(tr, r->rows - row), place, wc_min(tc, places - place), mask);
    }
}
