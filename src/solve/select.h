/* select.h - the largest of many scores. */
#ifndef WC_SOLVE_SELECT_H
#define WC_SOLVE_SELECT_H

#include "base/mem.h"

/* The bits of the want-th largest of score [rows, cols] with leading dimension ld, all >= 0, 1 <= want <= rows * cols;
 * *above = how many are larger. Infinity is the largest. A radix selection: three passes. */
uint32_t wc_select(const float *score, size_t rows, size_t cols, size_t ld, uint64_t want, uint64_t *above);

#endif
