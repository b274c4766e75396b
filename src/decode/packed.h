/* packed.h - sequences of small unsigned integers, `bits' each (1..8), as bit planes in blocks of 64 values.
 *
 * The binary digits of `bits' name the planes: 7 = 4 + 2 + 1, 5 = 4 + 1, 8 = 8. Planes follow each other largest first,
 * and the first holds the low bits of the value. A plane of k bits over a block of w values takes w k / 8 bytes, and
 * byte i holds the values i, i + n, i + 2 n, ... with n = w k / 8, from its low bits up. A block of 64 three-bit
 * values:
 *
 *       byte 0 .. 15: plane of 2 bits (bits 0, 1 of a value)          byte 16 .. 23: plane of 1 bit (bit 2)
 *       bit   7 6   5 4   3 2   1 0                                   bit   7    6   ...   1     0
 *     byte i  v48+i v32+i v16+i v i                                 byte 16+i  v56+i ...  v8+i  v i
 *
 * so that one load, shift and mask unpacks n neighbours at once. The last block of a sequence is as wide as what
 * remains, rounded up to 8; the padding values are zero, and readers ignore them. */
#ifndef WCD_PACKED_H
#define WCD_PACKED_H

#include <stdint.h>

enum { WCD_BLOCK = 64 };

/* Bytes of a sequence of `count' values, count <= 2^60: no block wastes more than seven values, and only the last does.
 */
static inline uint64_t wcd_packed_size(uint64_t count, unsigned bits)
{
    return (count + 7) / 8 * bits;
}

/* out [n] = values first .. first + n of the sequence of `count' values at seq [wcd_packed_size(count, bits)];
 * first + n <= count. */
void wcd_unpack(const uint8_t *seq, uint64_t count, unsigned bits, uint64_t first, unsigned n, uint8_t *out);

/* out = the values of one full block, in portable C: see inner.h for the others. */
void wcd_unpack_block(const uint8_t *src, unsigned bits, uint8_t out[WCD_BLOCK]);

#endif
