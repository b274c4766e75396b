#include "decode/fixed.h"

#include "decode/bytes.h"
#include "decode/fused.h"

/* ---- the layout ------------------------------------------------------------------------------------------------- */

enum { SLOTS = 8 };

/* Dword w of a plane, of codes that have no other bits. */
static uint32_t pack(const uint32_t s[SLOTS], unsigned width, unsigned w)
{
    uint32_t d = 0;
    switch (width) {
    case 4: return s[2 * w] | s[2 * w + 1] << 4;
    case 3:
        d = s[2 * w] | s[2 * w + 1] << 3;
        return w < 2 ? d | (s[6 + w] & 0x03030303) << 6 : d | (s[6] & 0x04040404) << 4 | (s[7] & 0x04040404) << 5;
    case 2: return s[4 * w] | s[4 * w + 1] << 2 | s[4 * w + 2] << 4 | s[4 * w + 3] << 6;
    default:
        for (unsigned k = 0; k < SLOTS; k++)
            d |= s[k] << k;
        return d;
    }
}

/* Slot s of a plane whose dwords are d. */
static uint32_t slot(const uint32_t *d, unsigned width, unsigned s)
{
    switch (width) {
    case 4: return d[s / 2] >> s % 2 * 4 & 0x0f0f0f0f;
    case 3:
        if (s < 6) return d[s / 2] >> s % 2 * 3 & 0x07070707;
        return (d[s - 6] >> 6 & 0x03030303) | (d[2] >> (s - 2) & 0x04040404);
    case 2: return d[s / 4] >> s % 4 * 2 & 0x03030303;
    default: return d[0] >> s & 0x01010101;
    }
}

static void put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8), p[2] = (uint8_t)(v >> 16), p[3] = (uint8_t)(v >> 24);
}

void wcd_fixed_put(const uint8_t *q, unsigned bits, unsigned n, unsigned row, uint8_t *p)
{
    const unsigned high = bits % 4;
    for (p += 4 * row;; n -= WCD_CHUNK, q += WCD_CHUNK) {
        const unsigned some = n < WCD_CHUNK ? n : WCD_CHUNK;
        uint32_t low4[SLOTS], rest[SLOTS];
        for (unsigned s = 0; s < SLOTS; s++) {
            const uint32_t four = wcd_u32(q + 4 * s);
            low4[s] = four & 0x0f0f0f0f;
            rest[s] = bits / 4 ? four >> 4 & 0x0f0f0f0f : low4[s];
        }
        for (unsigned w = 0; bits / 4 && w < wcd_fixed_dwords(4, some); w++, p += 64)
            put32(p, pack(low4, 4, w));
        for (unsigned w = 0; high && w < wcd_fixed_dwords(high, some); w++, p += 64)
            put32(p, pack(rest, high, w));
        if (n <= WCD_CHUNK) return;
    }
}

/* ---- loops in portable C ---------------------------------------------------------------------------------------- */

/* sum += one row's chunk times the digits from x on. */
static void chunk(const uint8_t *p, unsigned bits, const int8_t *x, int32_t sum[WCD_DIGITS])
{
    uint32_t d[7];
    for (unsigned w = 0; w < bits; w++)
        d[w] = wcd_u32(p + 64 * w);
    for (unsigned s = 0; s < SLOTS; s++, x += 4) {
        uint32_t q = bits % 4 ? slot(d + bits / 4 * 4, bits % 4, s) : 0;
        if (bits / 4) q = q << 4 | slot(d, 4, s);
        for (int j = 0; j < WCD_DIGITS; j++)
            for (int i = 0; i < 4; i++)
                sum[j] += (int32_t)(q >> 8 * i & 0xff) * x[WCD_FIXED * j + i];
    }
}

static void dot(const uint8_t *p, unsigned vectors, unsigned bits, const wcd_fixed *x, float *acc)
{
    for (; vectors; vectors--, p += wcd_fixed_bytes(bits, x->n))
        for (unsigned row = 0; row < 16; row++, acc++) {
            const uint8_t *at = p + 4 * row;
            uint8_t last[WCD_CHUNK_MOST];
            int32_t sum[WCD_DIGITS];
            unsigned c = 0;
            for (int j = 0; j < WCD_DIGITS; j++)
                sum[j] = -(1 << (bits - 1)) * x->sum[j];
            for (; c + WCD_CHUNK <= x->n; c += WCD_CHUNK, at += 64 * bits)
                chunk(at, bits, x->digit[0] + c, sum);
            if (c < x->n) {
                wcd_fixed_whole(at - 4 * row, bits, x->n - c, last);
                chunk(last + 4 * row, bits, x->digit[0] + c, sum);
            }
            *acc = wcd_fma(wcd_fma((float)sum[2], 65536, wcd_fma((float)sum[1], 256, (float)sum[0])), x->step, *acc);
        }
}

static const wcd_fixed_loops wcd_fixed_loops_c = {wcd_fixed_round, dot};
WCD_FAMILY_ARM(wcd_fixed_loops)

const wcd_fixed_loops *wcd_fixed_of_level(void)
{
#if defined WCD_X86 || defined WCD_ARM
    extern const wcd_fixed_loops wcd_fixed_loops_fours; /* in fixed_kernel.c */
    if (wcd_cpu_level() == WCD_FOURS) return &wcd_fixed_loops_fours;
#endif
    return wcd_fixed_loops_used();
}
