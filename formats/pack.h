/* pack.h - what encoders share: little-endian numbers, packed integers (docs/FORMAT.md section 7), sections of a blob.
 */
#ifndef WC_PACK_H
#define WC_PACK_H

#include "base/mem.h"

/* dst [bytes] = value. */
static inline void wc_put_le(uint8_t *dst, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        dst[i] = (uint8_t)(value >> 8 * i);
}

/* Bytes of a packed sequence. */
static inline uint64_t wc_packed_size(uint64_t count, unsigned bits)
{
    return (count + 7) / 8 * bits;
}

/* Places a section of `size' bytes at *end rounded up to 8 and moves *end behind it. */
static inline uint64_t wc_place(uint64_t *end, uint64_t size)
{
    uint64_t at = wc_round_up(*end, 8);
    *end = at + size;
    return at;
}

/* src [count], values of `bits' bits, into dst [wc_packed_size(count, bits)]. */
void wc_pack(const uint8_t *src, uint64_t count, unsigned bits, uint8_t *dst);

/* WC_BUG unless all of v [n] fit `bits' bits; `what' begins the message, which counts positions in rows of per_row. */
wc_status wc_check_codes(wc_ctx *ctx, const char *what, const uint8_t *v, uint64_t n, uint64_t per_row, unsigned bits);

/* WC_BUG unless 1 <= rows, cols and rows * cols <= 2^56, the format's limit, below which no size overflows. */
wc_status wc_check_shape(wc_ctx *ctx, const char *kind, size_t rows, size_t cols);

/* WC_BUG unless exp is in -126..126. */
wc_status wc_check_exp(wc_ctx *ctx, const char *kind, int exp);

#endif
