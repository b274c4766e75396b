#include "kernels/elementwise.h"

WCK_FAMILY(elementwise)
