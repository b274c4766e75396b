/* vectors.h - one method under two names: vectors from codebooks, gptvq with one codebook and aqlm with several. */
#ifndef WC_METHODS_VECTORS_H
#define WC_METHODS_VECTORS_H

#include "methods/method.h"

/* Zero is what a method means by not offering an option, unless its own functions fill it in. */
typedef struct wc_vector_options {
    double bits; /* per weight, signs included, codebooks and scales not */
    int dim;
    int code_bits;  /* of one codebook; 0: one codebook, whose codes take all bits */
    int area;       /* weights that share a codebook; 0: all */
    int entry_bits; /* 8 or 16 */
    int group;      /* columns per scale; 0: the row */
    int scale_bits; /* 0: f16; 2..8: two levels */
    bool unscaled, signs;
    int em, beam, cd, steps;
    bool feedback, refit;
    double damp;
    int order, block;
    double drift, residual;
} wc_vector_options;

const char *wc_vector_applies(const wc_place *at, const void *opt);
void wc_vector_plan(const wc_place *at, const void *opt, wc_part *out);
wc_status wc_vector_run(wc_job *job, const void *opt, wc_part *out);
double wc_vector_flops(const wc_place *at, const void *opt, bool drift);
uint64_t wc_vector_scratch(const wc_place *at, const void *opt);

#endif
