/* floors.h - how many of the smallest scores of each of several sets go, when all compete and each set keeps a floor.
 *
 *     min sum of what goes,   sum_l k_l = want,   0 <= k_l <= most_l:
 *
 * the smallest scores in order, each unless its set is at its floor (every prefix of that order is best for its length:
 * the sets that may go are a matroid). So there is one threshold t for all sets that are above their floor; with b_l
 * scores below t and e_l equal to it, k_l = min(most_l, b_l + some of the e_l), the first sets giving first.
 *
 * Scores are >= 0 and may be far more than memory holds: they are shown three times, t's 31 bits are found eleven, ten
 * and ten at a time, 16 KiB per set. Exact, and the same for any order within a set. */
#ifndef WC_SOLVE_FLOORS_H
#define WC_SOLVE_FLOORS_H

#include "base/mem.h"

enum { WC_FLOORS_PASSES = 3 };

typedef struct wc_floors {
    size_t n;             /* sets */
    const uint64_t *most; /* [n] how many of a set may go; borrowed */
    uint64_t want;
    int pass;
    uint32_t prefix; /* the bits of t that are known */
    uint64_t *below; /* [n] scores below all that begin with them */
    uint64_t *count; /* [n, buckets] */
} wc_floors;

/* want <= the sum of most. Free with wc_floors_free. */
wc_status wc_floors_begin(wc_ctx *ctx, size_t n, const uint64_t *most, uint64_t want, wc_floors *out);
/* Scores [count] of set l; each of them once in every pass. Different sets may be shown by different threads. */
void wc_floors_show(wc_floors *f, size_t l, const float *score, size_t count);
/* After all sets have been shown. */
void wc_floors_next(wc_floors *f);
/* go [n] = k_l, after WC_FLOORS_PASSES passes. */
void wc_floors_take(const wc_floors *f, uint64_t *go);
void wc_floors_free(wc_floors *f);

#endif
