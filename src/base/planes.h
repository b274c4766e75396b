/* planes.h - numbers cut into planes of bytes, so that each plane can be coded by its own statistics.
 *
 * Floats are first rotated left by one bit. The sign then is the lowest bit, the exponent the highest ones, and for
 * BF16 and F32 plane `width - 1' is the exponent and nothing else:
 *
 *     BF16     s eeeeeeee mmmmmmm   ->   eeeeeeee | mmmmmmm s
 *     F16      s eeeee mmmmmmmmmm   ->   eeeeemmm | mmmmmmm s
 *
 * Exponents of trained weights carry about 2.6 bits of 8; the rest is nearly incompressible (NeuZip, arXiv 2410.20650;
 * DFloat11, arXiv 2504.11651). docs/FORMAT.md, card `float'. */
#ifndef WC_BASE_PLANES_H
#define WC_BASE_PLANES_H

#include "base/part.h"

/* Bytes of an element, 1 to 8; 0 for types that do not fill whole bytes. */
unsigned wc_plane_count(wc_dtype t);

/* Mantissa bits of F16, BF16 and F32; 0 for all others, whose bits cannot be rounded away. */
unsigned wc_mantissa_bits(wc_dtype t);

/* plane[p] [n] = byte p of the rotated elements at data [n] of dtype t, after rounding `drop' low mantissa bits away
 * (to nearest, ties to even; what would round to infinity becomes the largest finite number; infinities and NaN stay).
 * drop < mantissa bits, 0 for types that have none. data need not be aligned. */
void wc_planes_split(wc_dtype t, unsigned drop, const uint8_t *data, size_t n, uint8_t *const plane[WC_PLANES]);

#endif
