/* bench.h - how fast this program is here, as ratios to what this machine can do, measured in the same run. */
#ifndef WC_BENCH_H
#define WC_BENCH_H

#include "report.h"

typedef struct wc_bench_options {
    const char *const *only; /* n_only patterns (a part of the name is enough) of the rows to measure; 0: all */
    size_t n_only;
    const char *tokenizer;     /* a tokenizer.json to time; NULL: that row is left out */
    const char *const *states; /* n_states words for rd(states=), for wc_bench_bound */
    size_t n_states;
    size_t size; /* of its matrices: a power of 2 */
    bool quick;  /* small sizes: proves that everything runs, in seconds; its ratios mean little */
} wc_bench_options;

/* Prints one table (and the same as "bench" among the report's facts). Each row: the rate of the best of several runs,
 * the share of its ceiling, `busy' (CPU time over wall time and threads: well below 100 % means waiting, or that others
 * used the machine), and the share of the ceiling per second of CPU time, which other work on the machine hardly
 * touches but which does not see idle threads. Flops count a multiply-add as two; docs/PERFORMANCE.md lists the counts.
 * WC_OPTION: a pattern matches nothing. */
wc_status wc_bench(wc_ctx *ctx, const wc_bench_options *opt, wc_report *report);

/* Instead: bits above the rate-distortion function, of rd at these numbers of states, of rd without a trellis, gptq and
 * lut, for white and for coloured inputs, each row as it comes ("bound" among the facts). WC_OPTION: a size that is no
 * power of 2 from 128 to 8192. */
wc_status wc_bench_bound(wc_ctx *ctx, const wc_bench_options *opt, wc_report *report);

#endif
