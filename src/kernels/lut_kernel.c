#include "kernels/lut.h"

enum { LANES = 32 };

/* Middles ascend, so the last one below u decides. Runs of LANES stay in registers over all levels. */
static inline void nearest(size_t n, size_t nr, const wck_lut_table *table, size_t r0, const float *restrict u,
                           float *restrict level, int *restrict code)
{
    for (size_t r = 0; r < n; r++)
        level[r] = table->level[r0 + r], code[r] = 0;
    for (size_t i = 1; i < table->k; i++) {
        const float *restrict mid = table->mid + (i - 1) * nr + r0, *restrict next = table->level + i * nr + r0;
        for (size_t r = 0; r < n; r++) {
            level[r] = u[r] > mid[r] ? next[r] : level[r];
            code[r] = u[r] > mid[r] ? (int)i : code[r];
        }
    }
}

static inline void round_run(size_t n, size_t nr, const wck_lut_table *table, size_t r0, const float *t, const float *s,
                             const float *inv, uint8_t *code, float *value)
{
    float u[LANES], level[LANES];
    int q[LANES];
    for (size_t r = 0; r < n; r++)
        u[r] = t[r0 + r] * inv[r0 + r];
    nearest(n, nr, table, r0, u, level, q);
    for (size_t r = 0; r < n; r++) {
        code[r0 + r] = (uint8_t)q[r];
        value[r0 + r] = s[r0 + r] * level[r];
    }
}

static void round_column(size_t nr, const wck_lut_table *table, const float *t, const float *s, const float *inv,
                         uint8_t *code, float *value)
{
    size_t r0 = 0;
    for (; r0 + LANES <= nr; r0 += LANES)
        round_run(LANES, nr, table, r0, t, s, inv, code, value);
    if (r0 < nr) round_run(nr - r0, nr, table, r0, t, s, inv, code, value);
}

static inline void normal_run(size_t n, size_t nr, const wck_lut_table *table, size_t r0, const float *t, float h,
                              const float *s, const float *inv, float *err, float *tl, float *ll)
{
    float u[LANES], level[LANES];
    int q[LANES];
    for (size_t r = 0; r < n; r++)
        u[r] = t[r0 + r] * inv[r0 + r];
    nearest(n, nr, table, r0, u, level, q);
    for (size_t r = 0; r < n; r++) {
        float d = s[r0 + r] * level[r] - t[r0 + r];
        err[r0 + r] += h * (d * d);
        tl[r0 + r] += h * (t[r0 + r] * level[r]);
        ll[r0 + r] += h * (level[r] * level[r]);
    }
}

static void normal(size_t nr, const wck_lut_table *table, const float *t, float h, const float *s, const float *inv,
                   float *err, float *tl, float *ll)
{
    size_t r0 = 0;
    for (; r0 + LANES <= nr; r0 += LANES)
        normal_run(LANES, nr, table, r0, t, h, s, inv, err, tl, ll);
    if (r0 < nr) normal_run(nr - r0, nr, table, r0, t, h, s, inv, err, tl, ll);
}

const wck_lut WCK_NAME(wck_lut) = {
    .round = round_column,
    .normal = normal,
};
