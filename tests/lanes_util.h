/* lanes_util.h - the documented sum of products (include/wcdecode.h, wcd_matvec_rows), on libc alone. */
#ifndef LANES_UTIL_H
#define LANES_UTIL_H

#include <math.h>
#include <stddef.h>

/* w [n] times x [n] in the documented order: 16 lanes of fused multiply-adds, column mod 16, then added in halves. */
static inline float sum_in_lanes(const float *w, const float *x, size_t n)
{
    float lane[16] = {0};
    for (size_t i = 0; i < n; i++)
        lane[i % 16] = fmaf(w[i], x[i], lane[i % 16]);
    for (int half = 8; half; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

#endif
