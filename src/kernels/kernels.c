#include "kernels/kernels.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

const char *wck_level_name(wck_level level)
{
    static const char *const names[] = {"c", "avx2", "avx512"};
    return names[level];
}

wck_level wck_level_supported(void)
{
#ifdef __x86_64__
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return WCK_C; /* both imply F16C */
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return WCK_AVX2;
    return WCK_AVX512;
#else
    return WCK_C;
#endif
}

static wck_level used;
static pthread_once_t used_once = PTHREAD_ONCE_INIT;

static void choose_level(void)
{
    const char *wish = getenv("WC_CPU");
    used = wck_level_supported();
    for (wck_level l = WCK_C; wish && l < used; l++)
        if (!strcmp(wish, wck_level_name(l))) used = l;
}

wck_level wck_level_used(void)
{
    pthread_once(&used_once, choose_level);
    return used;
}
