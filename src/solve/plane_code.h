/* plane_code.h - prefix codes for planes of bytes: what a lossless part needs to know before it is written.
 *
 * Codes are Huffman's with lengths of at most WC_CODE_BITS, so that a table of 2^12 entries decodes a symbol in one
 * look. The optimal lengths under a limit come from package-merge (Larmore and Hirschberg 1990): give each symbol one
 * coin of width 2^-l for every l = 1 .. 12, worth its frequency; the cheapest set of coins of total width S - 1 has,
 * for every symbol, as many coins as its code has bits. From the narrowest coins up: pair neighbours in order of worth,
 * merge the pairs into the next list; the first 2 S - 2 entries of the last list are the set. */
#ifndef WC_SOLVE_PLANE_CODE_H
#define WC_SOLVE_PLANE_CODE_H

#include "base/part.h"

/* length [256] of an optimal prefix code for symbols that occur count [256] times, none above WC_CODE_BITS; 0 for those
 * that do not occur. At least two must occur. */
void wc_code_lengths(const uint64_t count[256], uint8_t length[256]);

/* Looks at all n values of dtype t at data (little-endian, any address) and decides how to write them. *out is NULL
 * when nothing is won by it: write them as they are. keep: mantissa bits to keep of F16, BF16, F32 (all others ignore
 * it); below what the type has, the loss is reported in (*out)->error. Free with wc_float_code_free. Deterministic for
 * any number of threads. */
wc_status wc_float_survey(wc_ctx *ctx, wc_dtype t, const uint8_t *data, uint64_t n, unsigned keep, wc_float_code **out);

#endif
