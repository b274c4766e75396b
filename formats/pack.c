#include "formats/pack.h"

#include <string.h>

enum { BLOCK = 64 };

/* In a plane of n bytes, value i goes to byte i mod n. */
void wc_pack(const uint8_t *src, uint64_t count, unsigned bits, uint8_t *dst)
{
    memset(dst, 0, wc_packed_size(count, bits));
    for (uint64_t begin = 0; begin < count; begin += BLOCK) {
        size_t values = wc_min(BLOCK, count - begin), eighths = (values + 7) / 8;
        uint8_t v[BLOCK] = {0};
        unsigned shift = 0;
        memcpy(v, src + begin, values);
        for (unsigned k = 8; k; k /= 2) {
            if (!(bits & k)) continue;
            size_t n = k * eighths;
            unsigned mask = (1u << k) - 1;
            for (unsigned j = 0; j < 8 / k; j++)
                for (size_t i = 0; i < n; i++)
                    dst[i] |= (uint8_t)((v[j * n + i] >> shift & mask) << j * k);
            dst += n;
            shift += k;
        }
    }
}

wc_status wc_check_codes(wc_ctx *ctx, const char *what, const uint8_t *v, uint64_t n, uint64_t per_row, unsigned bits)
{
    for (uint64_t i = 0; i < n; i++)
        if (v[i] >> bits)
            return wc_fail(ctx, WC_BUG, "%s %u at row %llu, position %llu does not fit %u bits", what, v[i],
                           (unsigned long long)(i / per_row), (unsigned long long)(i % per_row), bits);
    return WC_OK;
}

wc_status wc_check_shape(wc_ctx *ctx, const char *kind, size_t rows, size_t cols)
{
    uint64_t elements;
    if (rows < 1 || cols < 1) return wc_fail(ctx, WC_BUG, "%s part: %zu x %zu is empty", kind, rows, cols);
    if (!wc_mul(rows, cols, &elements) || elements > (uint64_t)1 << 56)
        return wc_fail(ctx, WC_BUG, "%s part: %zu x %zu elements are too many", kind, rows, cols);
    return WC_OK;
}

wc_status wc_check_exp(wc_ctx *ctx, const char *kind, int exp)
{
    if (exp >= -126 && exp <= 126) return WC_OK;
    return wc_fail(ctx, WC_BUG, "%s part: scale exponent %d is outside -126..126", kind, exp);
}
