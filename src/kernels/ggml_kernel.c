#include <string.h>

#include "kernels/ggml.h"

enum { L = WCK_GGML_LANES };

static const float nearest_integer = 12582912; /* 1.5 * 2^23: adding and taking it away rounds to even */

static void round_uniform(size_t nr, const float *t, const float *s, const float *inv, const float *m, float lo,
                          float qmin, float qmax, uint16_t *code, float *value)
{
    for (size_t r = 0; r < nr; r++) {
        float x = (t[r] + m[r]) * inv[r] - lo;
        x = x > qmin ? x : qmin;
        x = x < qmax ? x : qmax;
        x = x + nearest_integer - nearest_integer;
        code[r] = (uint16_t)(int)x;
        value[r] = s[r] * (x + lo) - m[r];
    }
}

static void round_table(size_t nr, const float level[16], const float *t, const float *s, const float *inv,
                        uint16_t *code, float *value)
{
    for (size_t r = 0; r < nr; r++) {
        float x = t[r] * inv[r], v = level[0];
        int q = 0;
        for (int i = 1; i < 16; i++) {
            float mid = (level[i - 1] + level[i]) * 0.5f;
            v = x > mid ? level[i] : v;
            q = x > mid ? i : q;
        }
        code[r] = (uint16_t)q;
        value[r] = s[r] * v;
    }
}

/* As many lanes as a register has, as one value: a sum of eight terms stays in registers. */
#if defined __AVX512F__
enum { V = 16 };
#elif defined __AVX__
enum { V = 8 };
#else
enum { V = 4 };
#endif
typedef float lanes __attribute__((vector_size(4 * V)));
typedef int32_t flags __attribute__((vector_size(4 * V)));

static inline void load(lanes *x, const float *p)
{
    memcpy(x, p, sizeof *x);
}

/* The lanes where score is less take score and i. */
static inline void keep_best(unsigned i, const lanes *score, lanes *least, flags *index)
{
    flags less = *score < *least;
    *index = (less & (int32_t)i) | (~less & *index);
    *least = (lanes)((less & (flags)*score) | (~less & (flags)*least));
}

static inline void finish(const lanes *least, const flags *index, uint16_t *best, float *score)
{
    memcpy(score, least, sizeof *least);
    for (int l = 0; l < V; l++)
        best[l] = (uint16_t)(*index)[l];
}

static inline void search(const float *entry, unsigned codes, const unsigned dim, const float *r, const float *base,
                          const float *u, uint16_t *best, float *score)
{
    lanes least = 3.4e38f - (lanes){0}, target[8], scale[8];
    flags index = {0};
    for (unsigned c = 0; c < dim; c++)
        load(&target[c], base + c * L), load(&scale[c], u + c * L);
    for (unsigned i = 0; i < codes; i++, entry += dim) {
        lanes sum = {0}, x[8];
        for (unsigned c = 0; c < dim; c++) {
            lanes y = target[c];
            x[c] = scale[c] * entry[c];
            for (unsigned k = 0; k <= c; k++)
                y -= x[k] * r[k * dim + c];
            sum += y * y;
        }
        keep_best(i, &sum, &least, &index);
    }
    finish(&least, &index, best, score);
}

static inline void search_plain(const float *entry, unsigned codes, const unsigned dim, const float *base,
                                const float *u, uint16_t *best, float *score)
{
    lanes least = 3.4e38f - (lanes){0}, target[8], scale[8];
    flags index = {0};
    for (unsigned c = 0; c < dim; c++)
        load(&target[c], base + c * L), load(&scale[c], u + c * L);
    for (unsigned i = 0; i < codes; i++, entry += dim) {
        lanes sum = {0};
        for (unsigned c = 0; c < dim; c++) {
            lanes y = target[c] - scale[c] * entry[c];
            sum += y * y;
        }
        keep_best(i, &sum, &least, &index);
    }
    finish(&least, &index, best, score);
}

static void nearest(const float *entry, unsigned codes, unsigned dim, const float *r, const float *base, const float *u,
                    uint16_t *best, float *score)
{
    for (int l = 0; l < L; l += V)
        if (dim == 8)
            search(entry, codes, 8, r, base + l, u + l, best + l, score + l);
        else
            search(entry, codes, 4, r, base + l, u + l, best + l, score + l);
}

static void nearest_plain(const float *entry, unsigned codes, unsigned dim, const float *base, const float *u,
                          uint16_t *best, float *score)
{
    for (int l = 0; l < L; l += V)
        if (dim == 8)
            search_plain(entry, codes, 8, base + l, u + l, best + l, score + l);
        else
            search_plain(entry, codes, 4, base + l, u + l, best + l, score + l);
}

const wck_ggml WCK_NAME(wck_ggml) = {
    .round = round_uniform,
    .round_table = round_table,
    .nearest = nearest,
    .nearest_plain = nearest_plain,
};
