/* kernel.h - what a grid does better on better CPUs: decode.c has the portable functions, grid_kernel.c the others. */
#ifndef WCD_GRID_KERNEL_H
#define WCD_GRID_KERNEL_H

#include "decode/decoder.h"
#include "decode/level.h"

typedef struct wcd_grid_kernel {
    /* w [n] = s (q - z), each operation rounded */
    void (*dequantize)(float *w, const uint8_t *q, unsigned n, float s, float z);
} wcd_grid_kernel;

#endif
