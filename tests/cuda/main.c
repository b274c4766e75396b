/* The tests of libwcdecode_cuda on a device: a line per case. Runs in the root of the tree; see docs/CUDA.md. */
#include <stdio.h>

#include "cases.h"

int main(void)
{
    unsigned bad = 0;
    for (unsigned i = 0; i < cuda_case_count; i++) {
        char why[400] = "";
        int failed = cuda_cases[i].run(why, sizeof why);
        if (failed)
            printf("FAIL %s: %s\n", cuda_cases[i].name, why);
        else
            printf("ok %s\n", cuda_cases[i].name);
        bad += failed != 0;
    }
    printf("%u passed, %u failed; largest error of a product %.2g\n", cuda_case_count - bad, bad, cuda_worst_error);
    return bad != 0;
}
