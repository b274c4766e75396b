/* convert.h - stored 16-bit floats to f32, and the search for values that are not finite. */
#ifndef WC_KERNELS_CONVERT_H
#define WC_KERNELS_CONVERT_H

#include <stdint.h>

#include "kernels/kernels.h"

/* Stored floats. src: n little-endian elements at any alignment; dst [n]. */
typedef struct wck_convert {
    void (*bf16_f32)(float *dst, const uint8_t *src, size_t n); /* exact; NaN payloads kept */
    void (*f16_f32)(float *dst, const uint8_t *src, size_t n);  /* exact; NaN payloads kept */
    /* True when some element has all the bits of `exponent' set: a NaN or an infinity. */
    bool (*any16)(const uint8_t *src, size_t n, uint16_t exponent);
    bool (*any32)(const uint8_t *src, size_t n, uint32_t exponent);
} wck_convert;
const wck_convert *wck_convert_at(wck_level level); /* level <= wck_level_supported() */

#endif
