#include "linalg/reference.h"

#include <cblas.h>
#include <lapacke.h>

void wc_reference_sgemm(int threads, size_t n, const float *a, const float *b, float *c)
{
    openblas_set_num_threads(threads);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)n, (int)n, 1, a, (int)n, b, (int)n, 0, c,
                (int)n);
    openblas_set_num_threads(1);
}

void wc_reference_dgemm(int threads, size_t n, const double *a, const double *b, double *c)
{
    openblas_set_num_threads(threads);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)n, (int)n, 1, a, (int)n, b, (int)n, 0, c,
                (int)n);
    openblas_set_num_threads(1);
}

int wc_reference_cholesky(int threads, size_t n, float *a)
{
    openblas_set_num_threads(threads);
    int info = LAPACKE_spotrf_work(LAPACK_COL_MAJOR, 'U', (int)n, a, (int)n);
    openblas_set_num_threads(1);
    return info;
}
