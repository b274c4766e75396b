/* threads.h - how many threads a routine of this folder may use. */
#ifndef WC_LINALG_THREADS_H
#define WC_LINALG_THREADS_H

#include "base/mem.h"

/* One inside a parallel region; never more than there are tasks. Defined in linalg.c, beside the constructor that keeps
 * OpenBLAS on one thread: who links this links that. */
int wc_linalg_threads(const wc_ctx *ctx, size_t tasks);

#endif
