/* Streams and planes of float parts, for CPU levels above plain C. kernel.h has the code, decode.c uses it. */
#include "formats/float/kernel.h"

static void streams(const uint8_t *const at[WCD_FLOAT_STREAMS], const wcd_float_looks look,
                    uint8_t out[WCD_FLOAT_CHUNK])
{
    wcd_float_chunk(at, look, out);
}

static void brains(const uint8_t *const plane[2], unsigned n, float *dst)
{
    wcd_float_brains(plane, n, dst);
}

static void singles(const uint8_t *const plane[4], unsigned n, float *dst)
{
    wcd_float_singles(plane, n, dst);
}

static void pairs(const uint8_t *const plane[2], unsigned n, uint8_t *dst)
{
    wcd_float_pairs(plane, n, dst);
}

const wcd_float_kernel WCD_NAME(wcd_float_kernel) = {streams, brains, singles, pairs};
