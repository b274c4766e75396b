/* vq.h - the search through a codebook, for WCK_VQ_LANES vectors side by side.
 *
 * Whatever the metric, the distance of a vector to entry k is linear in numbers of the entry and numbers of the vector:
 *     |u - c_k|^2_A = u A u - 2 (A u) . c_k + c_k A c_k,     score = base + norm_k + sum_j table_kj g_j
 * with g = -2 A u in the plain case. Loops run over lanes, so all levels give the same bits. */
#ifndef WC_KERNELS_VQ_H
#define WC_KERNELS_VQ_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

enum { WCK_VQ_LANES = 32 };

typedef struct wck_vq_table {
    size_t k, f;        /* entries, numbers per entry */
    const float *table; /* [k, f] */
    const float *norm;  /* [k] */
} wck_vq_table;

typedef struct wck_vq {
    /* Every lane keeps its `beam' best scores, ascending, with what they are scores of; at a tie the one that came
     * first. g [f, LANES], base [LANES]; score, pick [beam, LANES]: the lists so far, INFINITY where there is none.
     * Entry k enters as pick first + k. */
    void (*search)(const wck_vq_table *table, const float *g, const float *base, uint32_t first, size_t beam,
                   float *score, uint32_t *pick);
} wck_vq;

const wck_vq *wck_vq_at(wck_level level); /* level <= wck_level_supported(); every level gives the same bits */

#endif
