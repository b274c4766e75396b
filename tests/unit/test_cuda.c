/* The CUDA library on the CPU: its own sources, compiled by a C++ compiler with a CUDA runtime made of fibers
 * (tests/cuda/emulated). Everything but the device itself is what a GPU would run: layout, launches, indices, barriers,
 * arithmetic. tests/cuda/main.c is the same on a device. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cuda/cases.h"

#ifdef WC_NO_CXX
static void run_case(void **state)
{
    (void)state;
    print_message("skip: no C++ compiler to emulate CUDA with\n");
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(run_case)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
static void run_case(void **state)
{
    const cuda_case *c = *state;
    char why[400] = "";
    if (c->run(why, sizeof why)) fail_msg("%s", why);
}

/* Usual: 2e-7, where a wrong bit anywhere gives 1e-3 and more. */
static void products_are_as_exact_as_f32_sums(void **state)
{
    (void)state;
    assert_true(cuda_worst_error > 0 && cuda_worst_error < 2e-6);
}

int main(void)
{
    struct CMUnitTest *tests = calloc(cuda_case_count + 1, sizeof *tests);
    if (!tests) return 1;
    for (unsigned i = 0; i < cuda_case_count; i++)
        tests[i] = (struct CMUnitTest){
            .name = cuda_cases[i].name, .test_func = run_case, .initial_state = (void *)(uintptr_t)&cuda_cases[i]};
    tests[cuda_case_count] = (struct CMUnitTest)cmocka_unit_test(products_are_as_exact_as_f32_sums);
    int bad = _cmocka_run_group_tests("cuda", tests, cuda_case_count + 1, NULL, NULL);
    free(tests);
    return bad;
}
#endif
