#include "kernels/trellis.h"

WCK_FAMILY(trellis)
