#include "decode/tiles.h"

#ifdef WCD_LEVEL

#include "decode/vector.h"

#define INLINE static inline __attribute__((always_inline))

/* Tables of 8 nibbles, of `per' columns each. */
INLINE void tables(unsigned per, float (*c)[16], const float *x, vec t[8])
{
    for (unsigned i = 0; i < 8; i++) {
        t[i] = vec_mul(vec_load(c[0]), vec_all(x[i * per]));
        for (unsigned j = 1; j < per; j++)
            t[i] = vec_fma(vec_load(c[j]), vec_all(x[i * per + j]), t[i]);
    }
}

/* The same where only n columns are left. */
static void last_tables(unsigned per, float (*c)[16], const float *x, unsigned n, vec t[8])
{
    for (unsigned i = 0; i < 8; i++)
        t[i] = vec_all(0);
    for (unsigned j = 0; j < n; j++)
        t[j / per] =
            j % per ? vec_fma(vec_load(c[j % per]), vec_all(x[j]), t[j / per]) : vec_mul(vec_load(c[0]), vec_all(x[j]));
}

/* A chunk: one dword of every row, 8 look-ups. */
INLINE void look_up(const uint8_t *p, unsigned vectors, const vec t[8], float *acc)
{
    for (unsigned v = 0; v < vectors; v++, p += 64, acc += 16) {
        const idx d = idx_load(p);
        PREFETCH((uintptr_t)p + 2048);
        vec a = vec_add(tab_at(t[0], d), tab_at(t[1], idx_down(d, 4)));
        vec b = vec_add(tab_at(t[2], idx_down(d, 8)), tab_at(t[3], idx_down(d, 12)));
        vec e = vec_add(tab_at(t[4], idx_down(d, 16)), tab_at(t[5], idx_down(d, 20)));
        vec g = vec_add(tab_at(t[6], idx_down(d, 24)), tab_at(t[7], idx_down(d, 28)));
        vec_store(acc, vec_add(vec_load(acc), vec_add(vec_add(a, b), vec_add(e, g))));
    }
}

INLINE void plane(const uint8_t *p, unsigned vectors, unsigned per, float (*c)[16], const float *x, uint64_t n,
                  float *acc)
{
    vec t[8];
    for (; n >= 8 * per; n -= 8 * per, x += 8 * per, p += 64 * vectors) {
        tables(per, c, x, t);
        look_up(p, vectors, t, acc);
    }
    if (!n) return;
    last_tables(per, c, x, (unsigned)n, t);
    look_up(p, vectors, t, acc);
}

static void nibbles(const uint8_t *p, unsigned vectors, unsigned width, float (*c)[16], const float *x, uint64_t n,
                    float *acc)
{
    switch (width) {
    case 4: plane(p, vectors, 1, c, x, n, acc); break;
    case 2: plane(p, vectors, 2, c, x, n, acc); break;
    default: plane(p, vectors, 4, c, x, n, acc);
    }
}

/* A chunk of columns; their number is a constant where it is called, but for the last. */
INLINE void byte_chunk(const uint8_t *p, unsigned vectors, const float *x, unsigned n, float *acc)
{
    for (unsigned v = 0; v < vectors; v++, p += 128, acc += 16) {
        PREFETCH((uintptr_t)p + 2048);
        PREFETCH((uintptr_t)p + 2048 + 64);
        vec sum = vec_mul(idx_vec(idx_signed(p)), vec_all(x[0]));
        for (unsigned k = 1; k < n; k++)
            sum = vec_fma(idx_vec(idx_signed(p + 16 * k)), vec_all(x[k]), sum);
        vec_store(acc, vec_add(vec_load(acc), sum));
    }
}

static void bytes(const uint8_t *p, unsigned vectors, const float *x, uint64_t n, float *acc)
{
    for (; n >= 8; n -= 8, x += 8, p += 128 * vectors)
        byte_chunk(p, vectors, x, 8, acc);
    if (n) byte_chunk(p, vectors, x, (unsigned)n, acc);
}

INLINE vec numbers(const uint8_t *p, unsigned size, float scale)
{
    if (size == 1) return idx_vec(idx_bytes(p));
    if (size == 2) return vec_mul(vec_f16(p), vec_all(scale));
    return idx_bits(idx_load(p));
}

static void add_group(const wcd_tiles *f, const uint8_t *s, const uint8_t *z, unsigned vectors, float sum,
                      const float *acc, float *total)
{
    const vec all = vec_all(sum), z0 = vec_all(f->z0), fixed = vec_all(f->z0 - f->z);
    const int counts = f->z_size || f->z0 - f->z != 0;
    for (unsigned v = 0; v < vectors; v++, acc += 16, total += 16) {
        const vec scale = f->s_size ? numbers(s + 16 * f->s_size * v, f->s_size, f->exp2) : vec_all(f->exp2);
        vec a = vec_load(acc);
        if (counts) {
            const vec away = f->z_size ? vec_sub(z0, numbers(z + 16 * f->z_size * v, f->z_size, 1)) : fixed;
            a = vec_fma(away, all, a);
        }
        vec_store(total, vec_fma(scale, a, vec_load(total)));
    }
}

/* A dword of every lane: 8 columns of it, 16 apart. */
INLINE vec strip_row(const uint8_t *p, vec table, const float *x, vec sum)
{
    const idx d = idx_load(p);
    PREFETCH((uintptr_t)p + 2048);
    sum = vec_fma(tab_at(table, d), vec_load(x), sum);
    sum = vec_fma(tab_at(table, idx_down(d, 4)), vec_load(x + 16), sum);
    sum = vec_fma(tab_at(table, idx_down(d, 8)), vec_load(x + 32), sum);
    sum = vec_fma(tab_at(table, idx_down(d, 12)), vec_load(x + 48), sum);
    sum = vec_fma(tab_at(table, idx_down(d, 16)), vec_load(x + 64), sum);
    sum = vec_fma(tab_at(table, idx_down(d, 20)), vec_load(x + 80), sum);
    sum = vec_fma(tab_at(table, idx_down(d, 24)), vec_load(x + 96), sum);
    return vec_fma(tab_at(table, idx_down(d, 28)), vec_load(x + 112), sum);
}

static void strip(const uint8_t *p, const uint8_t *tables, const float *x, uint64_t n, float *lane)
{
    vec table[WCD_STRIP_ROWS], sum[WCD_STRIP_ROWS];
    for (unsigned r = 0; r < WCD_STRIP_ROWS; r++)
        table[r] = idx_bits(idx_load(tables + 64 * r)), sum[r] = vec_load(lane + 16 * r);
    for (; n; n--, x += WCD_STRIP_BLOCK)
        for (unsigned r = 0; r < WCD_STRIP_ROWS; r++, p += 64)
            sum[r] = strip_row(p, table[r], x, sum[r]);
    for (unsigned r = 0; r < WCD_STRIP_ROWS; r++)
        vec_store(lane + 16 * r, sum[r]);
}

const wcd_tile_loops WCD_NAME(wcd_tile_loops) = {nibbles, bytes, add_group, strip};

#endif
