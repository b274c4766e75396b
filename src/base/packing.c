#include "base/packing.h"

/* Where field i of a line begins. */
typedef struct place {
    size_t word;
    unsigned shift;
} place;

static place place_of(wc_packing packing, unsigned bits, size_t i)
{
    static const uint8_t awq[8] = {0, 4, 1, 5, 2, 6, 3, 7}; /* the nibble of column i mod 8 */
    size_t per_word = 32 / bits;
    switch (packing) {
    case WC_PACK_AWQ: return (place){i / 8, 4u * awq[i % 8]};
    case WC_PACK_WORDS: return (place){i / per_word, (unsigned)(i % per_word) * bits};
    default: break;
    }
    /* i * bits may not fit, so in blocks of 32 fields, which are `bits' whole words. */
    unsigned bit = (unsigned)(i % 32) * bits;
    return (place){i / 32 * bits + bit / 32, bit % 32};
}

size_t wc_pack_words(wc_packing packing, unsigned bits, size_t n)
{
    size_t per_word = packing == WC_PACK_AWQ ? 8 : 32 / bits;
    if (packing != WC_PACK_STREAM) return n / per_word + (n % per_word != 0);
    return n / 32 * bits + (n % 32 * bits + 31) / 32;
}

void wc_pack_line(wc_packing packing, unsigned bits, const uint8_t *field, size_t field_step, size_t n, uint32_t *word,
                  size_t step)
{
    uint32_t mask = (1u << bits) - 1;
    for (size_t i = 0; i < n; i++) {
        place p = place_of(packing, bits, i);
        uint32_t q = field[i * field_step] & mask;
        word[p.word * step] |= q << p.shift;
        if (p.shift + bits > 32) word[(p.word + 1) * step] |= q >> (32 - p.shift);
    }
}

void wc_unpack_line(wc_packing packing, unsigned bits, const uint32_t *word, size_t step, size_t first, size_t n,
                    uint8_t *field, size_t field_step)
{
    uint32_t mask = (1u << bits) - 1;
    for (size_t i = 0; i < n; i++) {
        place p = place_of(packing, bits, first + i);
        uint32_t q = word[p.word * step] >> p.shift;
        if (p.shift + bits > 32) q |= word[(p.word + 1) * step] << (32 - p.shift);
        field[i * field_step] = (uint8_t)(q & mask);
    }
}
