/* The levels of the decode library on this machine: a line per case, with the sum of its numbers, which is to be the
 * same on every machine. With a word: the cases whose names contain it. --time [KIND]: how fast the levels are. Runs in
 * the root of the tree. */
#include <stdio.h>
#include <string.h>

#include "decode/level.h"
#include "tests/levels/cases.h"

int main(int argc, char **argv)
{
    unsigned good = 0, bad = 0;
    if (argc > 1 && !strcmp(argv[1], "--time")) return !levels_time(argc > 2 ? argv[2] : NULL);
    if (argc > 2) {
        fprintf(stderr, "usage: %s [CASE | --time [KIND]]\n", argv[0]);
        return 2;
    }
    printf("levels: best %s, used %s\n", wcd_level_name(wcd_cpu_best()), wcd_level_name(wcd_cpu_level()));
    for (unsigned i = 0; i < level_case_count; i++) {
        char why[400] = "";
        uint64_t sum = 0;
        if (argc > 1 && !strstr(level_cases[i].name, argv[1])) continue;
        int failed = level_cases[i].run(&sum, why, sizeof why);
        if (failed)
            printf("FAIL %s: %s\n", level_cases[i].name, why);
        else
            printf("ok %s %016llx\n", level_cases[i].name, (unsigned long long)sum);
        fflush(stdout); /* the next may be the last */
        good += !failed, bad += failed != 0;
    }
    printf("%u passed, %u failed\n", good, bad);
    return bad || !good;
}
