/* wcdecode_openmp.h - a pool of OpenMP's threads for wcd_matmul_pool. Compile what includes it with -fopenmp; the
 * library itself is linked with no OpenMP. Without -fopenmp the pool has one thread. */
#ifndef WCDECODE_OPENMP_H
#define WCDECODE_OPENMP_H

#include "wcdecode.h"

#ifdef _OPENMP
#include <omp.h>
#endif

static inline void wcd_openmp_run(void *self, void (*task)(void *arg, unsigned i), void *arg, unsigned n_tasks)
{
    (void)self;
#ifdef _OPENMP
#pragma omp parallel for schedule(static, 1) num_threads((int)n_tasks)
#endif
    for (int i = 0; i < (int)n_tasks; i++)
        task(arg, (unsigned)i);
}

/* As many threads as OpenMP would start now. */
static inline wcd_pool wcd_openmp_pool(void)
{
    wcd_pool pool;
    pool.self = NULL;
    pool.threads = 1;
#ifdef _OPENMP
    pool.threads = (unsigned)omp_get_max_threads();
#endif
    pool.run = wcd_openmp_run;
    return pool;
}

#endif
