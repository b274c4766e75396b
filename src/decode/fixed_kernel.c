#include "decode/fixed.h"

#ifdef WCD_LEVEL

#include "decode/vector.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

enum { SLOTS = 8 };

/* Slot s of a plane of a chunk, 16 rows; width and s are constants where it is called. */
INLINE bytes64 slot(const uint8_t *p, unsigned width, unsigned s)
{
    switch (width) {
    case 4: return bytes64_low(bytes64_down(bytes64_load(p + 64 * (s / 2)), s % 2 * 4), 4);
    case 3:
        if (s < 6) return bytes64_low(bytes64_down(bytes64_load(p + 64 * (s / 2)), s % 2 * 3), 3);
        return both(bytes64_low(bytes64_down(bytes64_load(p + 64 * (s - 6)), 6), 2),
                    masked(bytes64_down(bytes64_load(p + 128), s - 2), 4));
    case 2: return bytes64_low(bytes64_down(bytes64_load(p + 64 * (s / 4)), s % 4 * 2), 2);
    default: return bytes64_low(bytes64_down(bytes64_load(p), s), 1);
    }
}

/* Where the codes of a slot stay in their bytes: with VNNI, whose sums have room for that, those of 2 and 4 bits. */
INLINE unsigned place(unsigned bits, unsigned s, int fours)
{
    if (!fours || FOURS_BITS < 8) return 0;
    return bits == 4 ? s % 2 * 4 : bits == 2 ? s % 4 * 2 : 0;
}

INLINE bytes64 codes(const uint8_t *p, unsigned bits, unsigned s, int fours)
{
    const unsigned at = place(bits, s, fours);
    if (at) return masked(bytes64_load(p + 64 * (s * bits / 8)), (int)(((1u << bits) - 1) << at));
    if (bits <= 4) return slot(p, bits, s);
    return both(slot(p, 4, s), up4(slot(p + 256, bits % 4, s)));
}

/* Sums of 16 rows, in sixteen bits for as long as those cannot overflow. With VNNI in 32, and in several, since each of
 * its instructions waits for the one before. */
#ifdef __AVX512F__
enum { CHAINS = 4 };
#else
enum { CHAINS = 1 };
#endif
typedef struct sums {
    pairs t[WCD_DIGITS][CHAINS];
    ints d[WCD_DIGITS];
} sums;

INLINE void widen(sums *sum, unsigned bits, int fours)
{
    UNROLL
    for (int j = 0; j < WCD_DIGITS; j++) {
        const int chains = fours ? CHAINS : 1;
        for (int k = 0; k < chains; k++) {
            const unsigned at = place(bits, (unsigned)k, fours);
            const pairs t = at ? pairs_down(sum->t[j][k], at) : sum->t[j][k];
            sum->d[j] = ints_pairs(sum->d[j], t, fours), sum->t[j][k] = pairs_zero();
        }
    }
}

/* A chunk at p times the digits from x on. A slot adds 2 * 128 (2^bits - 1) at most. */
INLINE void chunk(const uint8_t *p, unsigned bits, const int8_t *x, sums *sum, int fours)
{
    const unsigned often = fours ? SLOTS : 127 / ((1u << bits) - 1);
    UNROLL
    for (unsigned s = 0; s < SLOTS; s++) {
        const bytes64 q = codes(p, bits, s, fours);
        const unsigned k = fours ? s % CHAINS : 0;
        UNROLL
        for (int j = 0; j < WCD_DIGITS; j++)
            sum->t[j][k] = pairs_add(sum->t[j][k], q, x + WCD_FIXED * j + 4 * s, fours);
        if (often < 2 || (often < 4 && s % 2) || (often < 8 && s % 4 == 3)) widen(sum, bits, fours);
    }
    UNROLL
    for (unsigned w = 0; w < bits; w++)
        PREFETCH((uintptr_t)p + 4096 + 64 * w);
}

INLINE void dot_bits(const uint8_t *p, unsigned vectors, unsigned bits, const wcd_fixed *x, float *acc, int fours)
{
    const unsigned often = bits < 3 || fours ? 4 : bits < 4 ? 2 : 1; /* chunks from widening to widening; 4 is all */
    const unsigned n = x->n, rest = n % WCD_CHUNK;
    const size_t size = wcd_fixed_bytes(bits, n);
    uint8_t last[WCD_CHUNK_MOST];
    int32_t start[WCD_DIGITS];
    for (int j = 0; j < WCD_DIGITS; j++)
        start[j] = -(1 << (bits - 1)) * x->sum[j];
    for (; vectors; vectors--, p += size, acc += 16) {
        const int8_t *digit = x->digit[0], *end = digit + n;
        const uint8_t *from = p;
        sums sum;
        for (int j = 0; j < WCD_DIGITS; j++) {
            sum.d[j] = ints_all(start[j]);
            for (int k = 0; k < CHAINS; k++)
                sum.t[j][k] = pairs_zero();
        }
        if (rest) wcd_fixed_whole(p + n / WCD_CHUNK * 64 * bits, bits, rest, last);
        for (unsigned c = 1; digit < end; c++, digit += WCD_CHUNK, from += 64 * bits) {
            chunk(digit + WCD_CHUNK <= end ? from : last, bits, digit, &sum, fours);
            if (often < 4 && c % often == 0) widen(&sum, bits, fours);
        }
        widen(&sum, bits, fours);
        const vec low = vec_fma(ints_vec(sum.d[1]), vec_all(256), ints_vec(sum.d[0]));
        const vec all = vec_fma(ints_vec(sum.d[2]), vec_all(65536), low);
        vec_store(acc, vec_fma(all, vec_all(x->step), vec_load(acc)));
    }
}

INLINE void dot_any(const uint8_t *p, unsigned vectors, unsigned bits, const wcd_fixed *x, float *acc, int fours)
{
    switch (bits) {
    case 1: dot_bits(p, vectors, 1, x, acc, fours); break;
    case 2: dot_bits(p, vectors, 2, x, acc, fours); break;
    case 3: dot_bits(p, vectors, 3, x, acc, fours); break;
    case 4: dot_bits(p, vectors, 4, x, acc, fours); break;
    case 5: dot_bits(p, vectors, 5, x, acc, fours); break;
    case 6: dot_bits(p, vectors, 6, x, acc, fours); break;
    default: dot_bits(p, vectors, 7, x, acc, fours);
    }
}

static void dot(const uint8_t *p, unsigned vectors, unsigned bits, const wcd_fixed *x, float *acc)
{
    dot_any(p, vectors, bits, x, acc, 0);
}

const wcd_fixed_loops WCD_NAME(wcd_fixed_loops) = {wcd_fixed_round, dot};

#if FOURS_BITS
static void dot_fours(const uint8_t *p, unsigned vectors, unsigned bits, const wcd_fixed *x, float *acc)
{
    dot_any(p, vectors, bits, x, acc, 1);
}

extern const wcd_fixed_loops wcd_fixed_loops_fours;
const wcd_fixed_loops wcd_fixed_loops_fours = {wcd_fixed_round, dot_fours};
#endif

#endif
