/* select.h - the largest of many scores, and masks made of them. */
#ifndef WC_SOLVE_SELECT_H
#define WC_SOLVE_SELECT_H

#include "base/mem.h"

/* The bits of the want-th largest of score [rows, cols] with leading dimension ld, all >= 0, 1 <= want <= rows * cols;
 * *above = how many are larger. Infinity is the largest. A radix selection: three passes. */
uint32_t wc_select(const float *score, size_t rows, size_t cols, size_t ld, uint64_t want, uint64_t *above);

/* Which places of [rows, cols] survive. A place is `block' consecutive columns; scores belong to places. */
typedef struct wc_mask_rule {
    size_t rows, cols;
    size_t block;                /* 1: single columns; divides cols */
    double frac;                 /* pruned part of every comparison group; with m = 0 */
    unsigned n, m;               /* m > 0: of every m consecutive places of a row n survive; m * block divides cols */
    size_t tile_rows, tile_cols; /* a comparison group: rows and places within which scores compete; 0: all */
} wc_mask_rule;

/* How many of `count' places survive: all but round(frac * count). */
uint64_t wc_mask_survivors(double frac, uint64_t count);
/* How many values of the matrix survive. */
uint64_t wc_mask_kept(const wc_mask_rule *rule);
/* mask [rows, cols] = 1 where the largest scores [rows, cols / block] are, else 0. Scores are >= 0. Of equal ones those
 * with the lower index, row by row, are pruned, as by a stable sort. */
void wc_mask_select(wc_ctx *ctx, const wc_mask_rule *rule, const float *score, uint8_t *mask);

#endif
