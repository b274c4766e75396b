#include "kernels/convert.h"

WCK_FAMILY(convert)
