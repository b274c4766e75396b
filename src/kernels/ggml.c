#include "kernels/ggml.h"

WCK_FAMILY(ggml)
