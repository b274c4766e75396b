/* float_bytes.h - the stored bytes of a float part, without a meaning. */
#ifndef WCD_FLOAT_BYTES_H
#define WCD_FLOAT_BYTES_H

#include "decode/decoder.h"

/* dst = the bytes of values [at, end), counted row by row, of a float part whose values are coded (v->u.f.coded). */
void wcd_float_bytes(const wcd_view *v, uint64_t at, uint64_t end, uint8_t *dst);

#endif
