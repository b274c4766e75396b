/* kernels.h - inner loops compiled once per CPU level, and the choice among them.
 *
 * A family is a struct of function pointers. Its one source, src/kernels/<family>_kernel.c, is compiled with
 * -DWCK_LEVEL=c|avx2|avx512 and that level's flags and ends in
 *
 *     const wck_<family> WCK_NAME(wck_<family>) = { ... };
 *
 * which is wck_<family>_c, wck_<family>_avx2, ... The C one is the truth: every level must give the same bits, which
 * tests/unit check for all levels that wck_level_list allows. Nothing here needs initialising; all of it is
 * thread-safe. */
#ifndef WC_KERNELS_KERNELS_H
#define WC_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

#define WCK_JOIN_(a, b) a##_##b
#define WCK_JOIN(a, b)  WCK_JOIN_(a, b)
#define WCK_NAME(name)  WCK_JOIN(name, WCK_LEVEL)

typedef enum wck_level { WCK_C, WCK_AVX2, WCK_AVX512, WCK_N_LEVELS } wck_level;

const char *wck_level_name(wck_level level); /* "c", "avx2", "avx512" */
/* The best level that this CPU and this build have. */
wck_level wck_level_supported(void);
/* The same, lowered by the environment variable WC_CPU=c|avx2|avx512 (never raised; read once). */
wck_level wck_level_used(void);

/* The chooser of a family: WCK_FAMILY(grid) defines wck_grid_at(level), level <= wck_level_supported(). */
#ifdef __x86_64__
#define WCK_FAMILY(name)                                                            \
    extern const wck_##name wck_##name##_c, wck_##name##_avx2, wck_##name##_avx512; \
    const wck_##name *wck_##name##_at(wck_level level)                              \
    {                                                                               \
        const wck_##name *k = &wck_##name##_c;                                      \
        if (level >= WCK_AVX2) k = &wck_##name##_avx2;                              \
        if (level >= WCK_AVX512) k = &wck_##name##_avx512;                          \
        return k;                                                                   \
    }
#else
#define WCK_FAMILY(name)                               \
    extern const wck_##name wck_##name##_c;            \
    const wck_##name *wck_##name##_at(wck_level level) \
    {                                                  \
        (void)level;                                   \
        return &wck_##name##_c;                        \
    }
#endif

#endif
