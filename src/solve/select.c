#include "solve/select.h"

#include <string.h>

#include "base/half.h"

/* Floats that are not negative sort like their bits: the digit at `shift', with the digits above it known, is counted
 * down from the top. */
uint32_t wc_select(const float *score, size_t rows, size_t cols, size_t ld, uint64_t want, uint64_t *above)
{
    enum { DIGITS = 3, BITS = 11, BINS = 1 << BITS };
    uint32_t known = 0, mask = 0;
    uint64_t bin[BINS];
    *above = 0;
    for (int d = DIGITS - 1; d >= 0; d--) {
        unsigned shift = (unsigned)d * BITS;
        uint32_t b = BINS - 1;
        memset(bin, 0, sizeof bin);
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < cols; c++) {
                uint32_t bits = wc_f32_bits(score[r * ld + c]);
                if ((bits & mask) == known) bin[bits >> shift & (BINS - 1)]++;
            }
        while (*above + bin[b] < want)
            *above += bin[b--];
        known |= b << shift;
        mask |= (uint32_t)(BINS - 1) << shift;
    }
    return known;
}
