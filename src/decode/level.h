/* level.h - kernels for better CPUs than the plainest, and the choice among them.
 *
 * The portable C in a decoder is the truth and works everywhere; `cc formats/<any>/decode.c src/decode/<any>.c' builds
 * just that. A build that defines WCD_X86 (the Makefile does, on x86-64) also compiles every source named *_kernel.c in
 * src/decode/ and formats/<kind>/ once for each level above C, with that level's flags and -DWCD_LEVEL=avx2|avx512. One
 * that defines WCD_ARM (on AArch64) compiles those that the Makefile's ARM_KERNEL_SRC lists, with -DWCD_LEVEL=neon. A
 * family is a struct of function pointers; its source ends in
 *
 *     const wcd_<family> WCD_NAME(wcd_<family>) = { ... };
 *
 * which is wcd_<family>_avx2, wcd_<family>_avx512 and wcd_<family>_neon; the last two serve every level from theirs on.
 * The decoder that has the portable functions says
 *
 *     static const wcd_<family> wcd_<family>_c = { ... };
 *     WCD_FAMILY(wcd_<family>)          where there is no wcd_<family>_neon: portable C serves ARM
 *     WCD_FAMILY_ARM(wcd_<family>)      where there is one
 *
 * and asks wcd_<family>_used() in every call. Every level gives the same bits: -ffp-contract=off, and no fused
 * multiply-add where a value or a sum of the format is made. Kernel functions are static and call nothing outside their
 * source but what headers have inline: code of a higher level must not become the copy that the linker keeps. */
#ifndef WCD_LEVEL_H
#define WCD_LEVEL_H

#define WCD_JOIN_(a, b) a##_##b
#define WCD_JOIN(a, b)  WCD_JOIN_(a, b)
#define WCD_NAME(name)  WCD_JOIN(name, WCD_LEVEL)

/* AVX2: with F16C, FMA and BMI2. AVX512: F, BW, DQ and VL. NEON: what every AArch64 has. VNNI and DOTPROD: the level
 * before and sums of four products of bytes; a level of products with 8-bit inputs alone (inner.h), WCD_FOURS, which
 * needs no build of its own. */
#ifdef __aarch64__
typedef enum wcd_level { WCD_C, WCD_NEON, WCD_DOTPROD, WCD_N_LEVELS, WCD_FOURS = WCD_DOTPROD } wcd_level;
#else
typedef enum wcd_level { WCD_C, WCD_AVX2, WCD_AVX512, WCD_VNNI, WCD_N_LEVELS, WCD_FOURS = WCD_VNNI } wcd_level;
#endif

const char *wcd_level_name(wcd_level level); /* "c", "avx2", "avx512", "vnni"; "c", "neon", "dotprod" */

/* The best level that this CPU, its operating system and this build have. */
wcd_level wcd_cpu_best(void);

/* The level in use: the best, lowered by the environment variable WCD_CPU_LEVEL=c|avx2|..., which is read once. */
wcd_level wcd_cpu_level(void);

/* For tests: uses `level' from now on, or the best if that is lower. Not while other threads decode. */
void wcd_cpu_use(wcd_level level);

#ifdef WCD_X86
#define WCD_FAMILY_ARM(name) WCD_FAMILY(name)
#define WCD_FAMILY(name)                                                                                       \
    extern const name name##_avx2, name##_avx512;                                                              \
    static const name *name##_used(void)                                                                       \
    {                                                                                                          \
        static const name *const at[WCD_N_LEVELS] = {&name##_c, &name##_avx2, &name##_avx512, &name##_avx512}; \
        return at[wcd_cpu_level()];                                                                            \
    }
#else
#define WCD_FAMILY(name)                 \
    static const name *name##_used(void) \
    {                                    \
        return &name##_c;                \
    }
#ifdef WCD_ARM
#define WCD_FAMILY_ARM(name)                               \
    extern const name name##_neon;                         \
    static const name *name##_used(void)                   \
    {                                                      \
        return wcd_cpu_level() ? &name##_neon : &name##_c; \
    }
#else
#define WCD_FAMILY_ARM(name) WCD_FAMILY(name)
#endif
#endif

#endif
