/* cases.h - every CPU level of the decode library against portable C: libc, libwcdecode and nothing else, so that the
 * same tests run on other architectures, emulated or real. tests/unit/test_wcd_levels.c runs them, and main.c does. */
#ifndef LEVELS_CASES_H
#define LEVELS_CASES_H

#include <stdint.h>

typedef struct level_case {
    const char *name;
    /* 0: passed; else why [size] says what was wrong. *sum: of every number that portable C gave, NaN being one number;
     * the same on every machine. */
    int (*run)(uint64_t *sum, char *why, unsigned size);
} level_case;

extern const level_case level_cases[];
extern const unsigned level_case_count;

/* Times rows and products of every kind whose name contains `only' (NULL: all), at every level, and prints GB/s of
 * stored bytes, their share of the bandwidth with which this machine reads, and how many times faster than C that is.
 * 0: there was no memory, or no such kind. */
int levels_time(const char *only);

#endif
