#include "kernels/vq.h"

enum { LANES = WCK_VQ_LANES };

/* Puts (s, id) into the sorted lists of the lanes where it belongs there; the pair that falls out is dropped. */
static inline void insert(const float *s, uint32_t id, size_t beam, float *restrict score, uint32_t *restrict pick)
{
    float value[LANES];
    uint32_t what[LANES];
    for (int r = 0; r < LANES; r++)
        value[r] = s[r], what[r] = id;
    for (size_t b = 0; b < beam; b++, score += LANES, pick += LANES)
        for (int r = 0; r < LANES; r++) {
            int better = value[r] < score[r];
            float low = better ? value[r] : score[r], high = better ? score[r] : value[r];
            uint32_t one = better ? what[r] : pick[r], other = better ? pick[r] : what[r];
            score[r] = low, value[r] = high;
            pick[r] = one, what[r] = other;
        }
}

static inline void one_score(size_t f, const float *entry, float norm, const float *g, const float *base,
                             float *restrict s)
{
    for (int r = 0; r < LANES; r++)
        s[r] = base[r] + norm;
    for (size_t j = 0; j < f; j++)
        for (int r = 0; r < LANES; r++)
            s[r] += entry[j] * g[j * LANES + r];
}

/* A list of one: no early end, so that nothing but straight code is left. */
static void search_best(const wck_vq_table *t, const float *g, const float *base, uint32_t first, float *score,
                        uint32_t *pick)
{
    float best[LANES], s[LANES];
    uint32_t id[LANES];
    for (int r = 0; r < LANES; r++)
        best[r] = score[r], id[r] = pick[r];
    for (size_t k = 0; k < t->k; k++) {
        one_score(t->f, t->table + k * t->f, t->norm[k], g, base, s);
        for (int r = 0; r < LANES; r++) {
            id[r] = s[r] < best[r] ? first + (uint32_t)k : id[r];
            best[r] = s[r] < best[r] ? s[r] : best[r];
        }
    }
    for (int r = 0; r < LANES; r++)
        score[r] = best[r], pick[r] = id[r];
}

/* Most entries are worse than all that is kept, in every lane. */
static void search(const wck_vq_table *t, const float *g, const float *base, uint32_t first, size_t beam, float *score,
                   uint32_t *pick)
{
    float s[LANES];
    const float *worst = score + (beam - 1) * LANES;
    if (beam == 1) {
        search_best(t, g, base, first, score, pick);
        return;
    }
    for (size_t k = 0; k < t->k; k++) {
        int any = 0;
        one_score(t->f, t->table + k * t->f, t->norm[k], g, base, s);
        for (int r = 0; r < LANES; r++)
            any |= s[r] < worst[r];
        if (any) insert(s, first + (uint32_t)k, beam, score, pick);
    }
}

const wck_vq WCK_NAME(wck_vq) = {.search = search};
