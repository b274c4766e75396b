#include "decode/level.h"

#include <stdlib.h>
#include <string.h>

const char *wcd_level_name(wcd_level level)
{
#ifdef __aarch64__
    static const char *const names[WCD_N_LEVELS] = {"c", "neon", "dotprod"};
#else
    static const char *const names[WCD_N_LEVELS] = {"c", "avx2", "avx512", "vnni"};
#endif
    return names[level];
}

#ifdef WCD_X86
#include <cpuid.h>

/* Which register states the operating system saves. */
static unsigned enabled_states(void)
{
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

wcd_level wcd_cpu_best(void)
{
    enum { FMA = 1 << 12, OSXSAVE = 1 << 27, F16C = 1 << 29 };                      /* leaf 1, ecx */
    enum { AVX2 = 1 << 5, BMI2 = 1 << 8, F = 1 << 16, DQ = 1 << 17, BW = 1 << 30 }; /* leaf 7, ebx */
    enum { VNNI = 1 << 11 };                                                        /* leaf 7, ecx */
    const unsigned vl = 1u << 31, ymm = 6, zmm = 0xe6, avx512 = F | DQ | BW | vl;
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & (FMA | OSXSAVE | F16C)) != (FMA | OSXSAVE | F16C)) return WCD_C;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & (AVX2 | BMI2)) != (AVX2 | BMI2)) return WCD_C;
    if ((enabled_states() & ymm) != ymm) return WCD_C;
    if ((b & avx512) != avx512 || (enabled_states() & zmm) != zmm) return WCD_AVX2;
    return c & VNNI ? WCD_VNNI : WCD_AVX512;
}
#elif defined WCD_ARM
#ifdef __linux__
#include <sys/auxv.h>
#endif

/* The registers that would say it may be read by the kernel alone, which tells each process beside its environment. */
wcd_level wcd_cpu_best(void)
{
#if defined __ARM_FEATURE_DOTPROD
    return WCD_DOTPROD; /* the compiler was told so */
#elif defined __linux__
    const unsigned long asimddp = 1ul << 20;
    return getauxval(AT_HWCAP) & asimddp ? WCD_DOTPROD : WCD_NEON;
#else
    return WCD_NEON;
#endif
}
#else
wcd_level wcd_cpu_best(void)
{
    return WCD_C;
}
#endif

/* 0: not asked yet, else level + 1. Threads that ask at the same time find the same answer; a build for several levels
 * has a compiler with these builtins, and one without has one level. */
#ifdef __GNUC__
#define LOAD(p)     __atomic_load_n(p, __ATOMIC_RELAXED)
#define STORE(p, x) __atomic_store_n(p, x, __ATOMIC_RELAXED)
#else
#define LOAD(p)     (*(p))
#define STORE(p, x) (*(p) = (x))
#endif
static int used;

static wcd_level choose(void)
{
    wcd_level best = wcd_cpu_best();
    const char *wish = getenv("WCD_CPU_LEVEL");
    for (int l = WCD_C; wish && l < (int)best; l++)
        if (!strcmp(wish, wcd_level_name((wcd_level)l))) best = (wcd_level)l;
    return best;
}

wcd_level wcd_cpu_level(void)
{
    int known = LOAD(&used);
    if (!known) {
        known = (int)choose() + 1;
        STORE(&used, known);
    }
    return (wcd_level)(known - 1);
}

void wcd_cpu_use(wcd_level level)
{
    wcd_level best = wcd_cpu_best();
    STORE(&used, (int)(level < best ? level : best) + 1);
}
