#include "kernels/grid.h"

extern const wck_grid wck_grid_kernel_c;
#ifdef __x86_64__
extern const wck_grid wck_grid_kernel_avx2, wck_grid_kernel_avx512;
#endif

void wck_grid_init(wck_grid *k, wck_level level)
{
    *k = wck_grid_kernel_c;
#ifdef __x86_64__
    if (level < WCK_AVX2) return;
    *k = wck_grid_kernel_avx2;
    if (level < WCK_AVX512) return;
    *k = wck_grid_kernel_avx512;
#else
    (void)level;
#endif
}
