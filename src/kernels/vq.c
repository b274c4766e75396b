#include "kernels/vq.h"

WCK_FAMILY(vq)
