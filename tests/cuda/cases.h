/* cases.h - the tests of libwcdecode_cuda: no cmocka, nothing but libc, libwcdecode and the CUDA runtime, or what the
 * tests emulate of it. tests/unit/test_cuda.c runs them on the CPU, tests/cuda/main.c on a device. */
#ifndef CUDA_CASES_H
#define CUDA_CASES_H

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cuda_case {
    const char *name;
    /* 0: passed; else why [size] says what was wrong. */
    int (*run)(char *why, unsigned size);
} cuda_case;

extern const cuda_case cuda_cases[];
extern const unsigned cuda_case_count;

/* The largest error of a product so far, relative to the sum of the magnitudes of its terms. */
extern double cuda_worst_error;

#ifdef __cplusplus
}
#endif

#endif
