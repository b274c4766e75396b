/* kernel.h - the numbers of kind permute, for the decoder and the CUDA library. */
#ifndef WCD_PERMUTE_KERNEL_H
#define WCD_PERMUTE_KERNEL_H

#include "decode/bytes.h"
#include "decode/decoder.h"

/* The place that place j < v->cols changes with; there is none when it is not below v->cols. */
static inline uint64_t wcd_permute_swap(const wcd_view *v, uint64_t j)
{
    return v->u.m.bytes == 2 ? wcd_u16(v->blob + 2 * j) : wcd_u32(v->blob + 4 * j);
}

#endif
