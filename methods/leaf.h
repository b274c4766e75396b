/* leaf.h - what all methods with low-rank parts share: a thin factor as a part of its own, and the rank that a ratio of
 * bytes allows. */
#ifndef WC_METHODS_LEAF_H
#define WC_METHODS_LEAF_H

#include "methods/method.h"

enum { WC_LEAF_F16 = 16 };

/* ---- the rank --------------------------------------------------------------------------------------------------- */

typedef struct wc_rank_options {
    int rank;        /* of the product; 0: the largest that `ratio' allows */
    double ratio;    /* bytes of all factors over bytes of the weights in f16 */
    int floor;       /* the least rank that ratio may give, as far as the matrix has it */
    int factor_bits; /* 16: f16; 4..8: uniform grids, rounded to nearest */
    double budget;   /* over all matrices of the recipe, see methods/allot.h; 0: each has its own rank */
    double least;
} wc_rank_options;

/* clang-format off */
#define WC_RANK_OPTIONS(struct_, field_, rank_, ratio_, bits_)                                                         \
    {"rank", WC_OPT_INT, offsetof(struct_, field_.rank), rank_, 0, 32766, NULL,                                        \
     "columns of A, rows of B; 0: the most that ratio allows"},                                                        \
    {"ratio", WC_OPT_REAL, offsetof(struct_, field_.ratio), ratio_, 0, 1, NULL,                                        \
     "bytes of the factors over bytes of the weights in f16, if rank=0"},                                              \
    {"floor", WC_OPT_INT, offsetof(struct_, field_.floor), 0, 0, 32766, NULL,                                          \
     "with ratio: at least this rank, even if that takes more bytes"},                                                 \
    {"factor_bits", WC_OPT_INT, offsetof(struct_, field_.factor_bits), bits_, 4, 16, NULL,                             \
     "16: f16 factors; 4 to 8: factors rounded to a grid"}
/* clang-format on */

/* Bits of a part of that rank, padding not counted; grows with the rank. */
typedef double wc_rank_bits(const wc_place *at, const void *opt, size_t rank);

/* The rank asked for, or the largest within the ratio (0: there is none), at least the floor; most: that the matrix and
 * the form allow. */
size_t wc_rank_chosen(const wc_rank_options *o, const wc_place *at, const void *opt, size_t most, wc_rank_bits *bits);

/* Why there is no such part, or NULL. order: of the eigendecomposition that it takes. */
const char *wc_rank_refusal(const wc_rank_options *o, size_t order, size_t most, size_t chosen);

/* ---- one factor ------------------------------------------------------------------------------------------------- */

/* f16 for 16 bits; else a symmetric grid in groups of 32 columns under 4-bit scales, with up to 32 columns one f16
 * scale per row. */
wc_part wc_leaf_plan(size_t rows, size_t cols, int bits);
double wc_leaf_bits(size_t rows, size_t cols, int bits); /* padding not counted */

/* Bits of nnz f16 values at any positions of [rows, cols], padding not counted (docs/FORMAT.md, card sparse). */
double wc_sparse_bits(size_t rows, size_t cols, uint64_t nnz);

/* x [rows, cols] into *part, which holds the plan on entry. weight [cols] is for the scale search of a grid. WC_NUMERIC
 * where an f16 cannot hold a value. */
wc_status wc_leaf_store(wc_ctx *ctx, const char *tensor, const float *x, const float *weight, wc_part *part);

/* x [rows, cols] = the factor as it will be decoded: float F16, or a grid. */
void wc_leaf_load(const wc_part *part, float *x);

#endif
