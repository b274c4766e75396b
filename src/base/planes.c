#include "base/planes.h"

#include <endian.h>
#include <string.h>

unsigned wc_plane_count(wc_dtype t)
{
    unsigned bits = wc_dtype_bits(t);
    return bits % 8 ? 0 : bits / 8;
}

unsigned wc_mantissa_bits(wc_dtype t)
{
    switch (t) {
    case WC_F32: return 23;
    case WC_F16: return 10;
    case WC_BF16: return 7;
    default: return 0;
    }
}

static bool rotated(wc_dtype t)
{
    return t == WC_F64 || wc_mantissa_bits(t);
}

static uint64_t load(const uint8_t *p, unsigned width)
{
    uint64_t x = 0;
    for (unsigned i = 0; i < width; i++)
        x |= (uint64_t)p[i] << 8 * i;
    return x;
}

/* x with `drop' of its `mantissa' bits rounded away; sign is its highest bit. */
static uint64_t round_off(uint64_t x, uint64_t sign, unsigned mantissa, unsigned drop)
{
    uint64_t magnitude = x & (sign - 1), infinity = (sign - 1) >> mantissa << mantissa, step = (uint64_t)1 << drop;
    if (!drop || magnitude >= infinity) return x;
    magnitude += step / 2 - 1 + (magnitude >> drop & 1);
    magnitude = magnitude / step * step;
    return (x & sign) | (magnitude < infinity ? magnitude : infinity - step);
}

/* The common cases; sixteen at a time with a constant trip count is the form that compilers vectorise. */
static void split_16(const uint8_t *restrict data, size_t n, uint8_t *restrict low, uint8_t *restrict high)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t k = i; k < i + 16; k++) {
            low[k] = (uint8_t)(data[2 * k] << 1 | data[2 * k + 1] >> 7);
            high[k] = (uint8_t)(data[2 * k + 1] << 1 | data[2 * k] >> 7);
        }
    for (; i < n; i++) {
        low[i] = (uint8_t)(data[2 * i] << 1 | data[2 * i + 1] >> 7);
        high[i] = (uint8_t)(data[2 * i + 1] << 1 | data[2 * i] >> 7);
    }
}

/* n <= 16 elements. */
static inline void split_32_few(const uint8_t *restrict data, size_t n, uint8_t *restrict a, uint8_t *restrict b,
                                uint8_t *restrict c, uint8_t *restrict d)
{
    uint32_t x[16];
    memcpy(x, data, 4 * n);
    for (size_t k = 0; k < n; k++) {
        x[k] = le32toh(x[k]);
        x[k] = x[k] << 1 | x[k] >> 31;
    }
    for (size_t k = 0; k < n; k++)
        a[k] = (uint8_t)x[k];
    for (size_t k = 0; k < n; k++)
        b[k] = (uint8_t)(x[k] >> 8);
    for (size_t k = 0; k < n; k++)
        c[k] = (uint8_t)(x[k] >> 16);
    for (size_t k = 0; k < n; k++)
        d[k] = (uint8_t)(x[k] >> 24);
}

static void split_32(const uint8_t *data, size_t n, uint8_t *const plane[4])
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        split_32_few(data + 4 * i, 16, plane[0] + i, plane[1] + i, plane[2] + i, plane[3] + i);
    split_32_few(data + 4 * i, n - i, plane[0] + i, plane[1] + i, plane[2] + i, plane[3] + i);
}

void wc_planes_split(wc_dtype t, unsigned drop, const uint8_t *data, size_t n, uint8_t *const plane[WC_PLANES])
{
    unsigned width = wc_plane_count(t), mantissa = wc_mantissa_bits(t);
    uint64_t sign = (uint64_t)1 << (8 * width - 1);
    if (width == 2 && mantissa && !drop) {
        split_16(data, n, plane[0], plane[1]);
        return;
    }
    if (width == 4 && mantissa && !drop) {
        split_32(data, n, plane);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t x = load(data + i * width, width);
        if (rotated(t)) {
            x = round_off(x, sign, mantissa, drop);
            x = x << 1 | (x & sign) >> (8 * width - 1);
        }
        for (unsigned p = 0; p < width; p++)
            plane[p][i] = (uint8_t)(x >> 8 * p);
    }
}
