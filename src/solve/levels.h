/* levels.h - tables of levels for non-uniform quantizers: published ones, and those fitted to samples. */
#ifndef WC_SOLVE_LEVELS_H
#define WC_SOLVE_LEVELS_H

#include "base/mem.h"

/* The words of the option `levels', in its order. */
typedef enum wc_levels {
    WC_LEVELS_KMEANS,
    WC_LEVELS_NF4,
    WC_LEVELS_FP4,
    WC_LEVELS_APOT,
    WC_LEVELS_GAUSSIAN,
    WC_LEVELS_TWINLOG
} wc_levels;

/* NULL, or why there is no such table with this many bits. */
const char *wc_levels_refusal(wc_levels kind, unsigned bits);

/* level [2^bits], ascending, the largest magnitude 1; not for WC_LEVELS_KMEANS.
 * nf4: Dettmers et al., QLoRA, arXiv 2305.14314, appendix E. fp4: E2M1, magnitudes 0 .5 1 1.5 2 3 4 6 (OCP MX 1.0); 0
 * is there twice. apot: sums of powers of two, Li et al., arXiv 1909.13144; 0 is there twice. gaussian: the minimum of
 * the squared error (Lloyd, Max) for the generalized Gaussian density exp(-|x|^shape), shape 0.25 to 8: 2 is N(0, 1),
 * by Newton's method, 1 Laplace's; looked at for gaussian alone. twinlog: magnitudes on two geometric grids that meet,
 * their ratios those with the least squared error for N(0, 1); after LRQ-DiT, arXiv 2508.03485, whose numbers are not
 * public. */
wc_status wc_levels_fixed(wc_ctx *ctx, wc_levels kind, unsigned bits, double shape, float *level);

/* The shape of the generalized Gaussian with moments E[x^2] / E[|x|]^2 = ratio, between 0.25 and 8; 2 for a ratio that
 * is no number. */
double wc_levels_shape(double ratio);

typedef struct wc_sample {
    float value, weight;
} wc_sample;

/* Weighted k-means of one row, min sum_j weight_j (value_j - level of j)^2. */
typedef struct wc_kmeans {
    size_t max_n, k;
    double *sum[3];    /* [max_n + 1] running sums of weight, weight * value, weight * value^2 */
    double *cost[2];   /* [runs + 1] */
    uint32_t *first;   /* [k, runs + 1] back pointers */
    uint32_t *bounds;  /* [runs + 1] samples where runs begin */
    uint32_t *cell;    /* [k + 1] samples where cells begin */
    wc_sample *sample; /* [max_n] the caller writes its samples here; any order, weights >= 0; overwritten */
} wc_kmeans;

/* Room for up to max_n samples, at most 2^31. Frees with wc_kmeans_free, also after a failure. */
wc_status wc_kmeans_alloc(wc_ctx *ctx, size_t max_n, size_t k, wc_kmeans *out);
void wc_kmeans_free(wc_kmeans *m);

/* level [k] ascending, from the n samples in m->sample; returns the objective. With fewer distinct values than levels
 * the last levels repeat. The start is the exact optimum over partitions of a few hundred runs of neighbouring samples
 * (dynamic programming; exact when n is that small), then Lloyd's rounds, at most `rounds', none of which can rise.
 * Cost: a sort, then O(k runs log runs) and O(k log n) per round. */
double wc_kmeans_fit(wc_kmeans *m, size_t n, int rounds, float *level);

#endif
