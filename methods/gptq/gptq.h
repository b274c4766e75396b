/* gptq.h - what the bench needs to know about the method. */
#ifndef WC_METHODS_GPTQ_H
#define WC_METHODS_GPTQ_H

#include <stddef.h>

/* Floating point operations (a multiply-add is two) of one gptq call, grid search included, with the method's option
 * struct; drift correction only when `drift' is true (stats->c given and beta > 0). */
double wc_gptq_flops(size_t rows, size_t cols, const void *opt, int drift);

#endif
