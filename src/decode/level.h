/* level.h - kernels for better CPUs than the plainest, and the choice among them.
 *
 * The portable C in a decoder is the truth and works everywhere; `cc formats/<any>/decode.c src/decode/<any>.c' builds
 * just that. A build that defines WCD_X86 (the Makefile does, on x86-64) also compiles every source named *_kernel.c in
 * src/decode/ and formats/<kind>/ once for each level above C, with that level's flags and -DWCD_LEVEL=avx2|avx512. A
 * family is a struct of function pointers; its source ends in
 *
 *     const wcd_<family> WCD_NAME(wcd_<family>) = { ... };
 *
 * which is wcd_<family>_avx2 and wcd_<family>_avx512; the second serves every level from AVX-512 on. The decoder that
 * has the portable functions says
 *
 *     static const wcd_<family> wcd_<family>_c = { ... };
 *     WCD_FAMILY(wcd_<family>)
 *
 * and asks wcd_<family>_used() in every call. Every level gives the same bits: -ffp-contract=off, and no fused
 * multiply-add where a value or a sum of the format is made. Kernel functions are static and call nothing outside their
 * source but what headers have inline: code of a higher level must not become the copy that the linker keeps. */
#ifndef WCD_LEVEL_H
#define WCD_LEVEL_H

#define WCD_JOIN_(a, b) a##_##b
#define WCD_JOIN(a, b)  WCD_JOIN_(a, b)
#define WCD_NAME(name)  WCD_JOIN(name, WCD_LEVEL)

/* AVX2: with F16C, FMA and BMI2. AVX512: F, BW, DQ and VL. VNNI: AVX512 and products of bytes; it is a level of
 * products with 8-bit inputs alone (inner.h) and needs no build of its own. */
typedef enum wcd_level { WCD_C, WCD_AVX2, WCD_AVX512, WCD_VNNI, WCD_N_LEVELS } wcd_level;

const char *wcd_level_name(wcd_level level); /* "c", "avx2", "avx512", "vnni" */

/* The best level that this CPU, its operating system and this build have. */
wcd_level wcd_cpu_best(void);

/* The level in use: the best, lowered by the environment variable WCD_CPU_LEVEL=c|avx2|avx512|vnni, which is read
 * once. */
wcd_level wcd_cpu_level(void);

/* For tests: uses `level' from now on, or the best if that is lower. Not while other threads decode. */
void wcd_cpu_use(wcd_level level);

#ifdef WCD_X86
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
#endif

#endif
