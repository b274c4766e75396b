/* kernels.h - which CPU level the element-wise kernels run at.
 *
 * Every src/kernels/<family>_kernel.c is compiled once per level from one source, with contraction off and the same
 * order of operations, so all levels give the same bits. A family's header declares its struct of pointers and
 * wck_<family>_init, which fills it with C and then raises it. */
#ifndef WCK_KERNELS_H
#define WCK_KERNELS_H

typedef enum wck_level { WCK_C, WCK_AVX2, WCK_AVX512 } wck_level;

/* The best level this CPU has, lowered (never raised) by the environment variable WC_CPU = c | avx2 | avx512. */
wck_level wck_cpu_level(void);

#define WCK_PASTE_(name, level) name##_##level
#define WCK_PASTE(name, level)  WCK_PASTE_(name, level)
/* In a kernel file: the name of this level's copy, wck_grid_kernel -> wck_grid_kernel_avx2. */
#define WCK_NAME(name) WCK_PASTE(name, WCK_LEVEL)

#endif
