/* Streams and planes of float parts, for CPU levels above plain C. kernel.h has the code, decode.c uses it. */
#include "formats/float/kernel.h"

const wcd_float_kernel WCD_NAME(wcd_float_kernel) = WCD_FLOAT_KERNEL;
