/* fuzz.h - what a target defines for the driver (driver.c) and for libFuzzer, and how it says that something does not
 * hold. */
#ifndef WC_TESTS_FUZZ_H
#define WC_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size); /* as for libFuzzer: returns 0, must not crash */
extern const char *const wc_fuzz_seeds[];                     /* paths from the repository root, then NULL */
extern const size_t wc_fuzz_max;                              /* the longest input worth trying */

static inline void require(bool holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "violated: %s\n", what);
    abort();
}

#endif
