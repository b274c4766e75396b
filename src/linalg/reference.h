/* reference.h - BLAS and LAPACK left to themselves, on square matrices: the ceilings and the comparisons of the bench.
 * Nothing else may call these: threaded BLAS gives other bits for another number of threads. */
#ifndef WC_LINALG_REFERENCE_H
#define WC_LINALG_REFERENCE_H

#include <stddef.h>

/* c = a b, all [n, n] row-major, on `threads' of BLAS's own threads. */
void wc_reference_sgemm(int threads, size_t n, const float *a, const float *b, float *c);
void wc_reference_dgemm(int threads, size_t n, const double *a, const double *b, double *c);

/* LAPACK's spotrf of the lower triangle of a [n, n], on `threads' of its own threads. Returns its info. */
int wc_reference_cholesky(int threads, size_t n, float *a);

#endif
