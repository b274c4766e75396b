#include "kernels/elementwise.h"

extern const wck_elementwise wck_elementwise_c;
#ifdef __x86_64__
extern const wck_elementwise wck_elementwise_avx2, wck_elementwise_avx512;
#endif

const wck_elementwise *wck_elementwise_at(wck_level level)
{
    const wck_elementwise *k = &wck_elementwise_c;
#ifdef __x86_64__
    if (level >= WCK_AVX2) k = &wck_elementwise_avx2;
    if (level >= WCK_AVX512) k = &wck_elementwise_avx512;
#else
    (void)level;
#endif
    return k;
}
