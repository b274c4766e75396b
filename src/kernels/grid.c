#include "kernels/grid.h"

WCK_FAMILY(grid)
