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
#include <stdint.h>

#define WCK_JOIN_(a, b) a##_##b
#define WCK_JOIN(a, b)  WCK_JOIN_(a, b)
#define WCK_NAME(name)  WCK_JOIN(name, WCK_LEVEL)

typedef enum wck_level { WCK_C, WCK_AVX2, WCK_AVX512, WCK_N_LEVELS } wck_level;

const char *wck_level_name(wck_level level); /* "c", "avx2", "avx512" */
/* The best level that this CPU and this build have. */
wck_level wck_level_supported(void);
/* The same, lowered by the environment variable WC_CPU=c|avx2|avx512 (never raised; read once). */
wck_level wck_level_used(void);

/* Stored floats. src: n little-endian elements at any alignment; dst [n]. */
typedef struct wck_convert {
    void (*bf16_f32)(float *dst, const uint8_t *src, size_t n); /* exact; NaN payloads kept */
    void (*f16_f32)(float *dst, const uint8_t *src, size_t n);  /* exact; NaN payloads kept */
    /* True when some element has all the bits of `exponent' set: a NaN or an infinity. */
    bool (*any16)(const uint8_t *src, size_t n, uint16_t exponent);
    bool (*any32)(const uint8_t *src, size_t n, uint32_t exponent);
} wck_convert;
const wck_convert *wck_convert_at(wck_level level); /* level <= wck_level_supported() */

#endif
