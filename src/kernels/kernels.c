#include "kernels/kernels.h"

#include <stdlib.h>
#include <string.h>

static wck_level detect(void)
{
#ifdef __x86_64__
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return WCK_C;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return WCK_AVX2;
    return WCK_AVX512;
#else
    return WCK_C;
#endif
}

wck_level wck_cpu_level(void)
{
    static const char *const names[] = {[WCK_C] = "c", [WCK_AVX2] = "avx2", [WCK_AVX512] = "avx512"};
    wck_level best = detect();
    const char *wish = getenv("WC_CPU");
    for (wck_level l = WCK_C; wish && l < best; l++)
        if (!strcmp(wish, names[l])) return l;
    return best;
}
