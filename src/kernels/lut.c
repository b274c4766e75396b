#include "kernels/lut.h"

WCK_FAMILY(lut)
