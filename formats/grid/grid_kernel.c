#include "formats/grid/kernel.h"

#include <immintrin.h>

/* The levels differ only in the width that the compiler makes of these sixteens. */
static void dequantize(float *w, const uint8_t *q, unsigned n, float s, float z)
{
    for (; n >= 16; n -= 16, w += 16, q += 16)
        for (int j = 0; j < 16; j++)
            w[j] = s * ((float)q[j] - z);
    for (; n; n--)
        *w++ = s * ((float)*q++ - z);
}

const wcd_grid_kernel WCD_NAME(wcd_grid_kernel) = {dequantize};
