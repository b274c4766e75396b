/* bench_rows.h - what the two halves of the bench share: src/bench.c (frame, ceilings, linear algebra) and
 * src/bench_work.c (methods, forward pass, formats, text). */
#ifndef WC_BENCH_ROWS_H
#define WC_BENCH_ROWS_H

#include <jansson.h>

#include "base/mem.h"
#include "bench.h"

typedef enum wc_ceiling {
    WC_CEILING_SGEMM,
    WC_CEILING_DGEMM,
    WC_CEILING_READ,
    WC_CEILING_COPY,
    WC_N_CEILINGS,
    WC_NO_CEILING,
    WC_NO_CEILING_WEIGHTS /* the amount is weights, not bytes */
} wc_ceiling;

typedef struct wc_bench_frame {
    wc_ctx *ctx;
    const wc_bench_options *opt;
    wc_report *report;
    json_t *rows;
    bool brief;                        /* rows measured now: one run is enough, unless it takes less than a second */
    double ceiling[WC_N_CEILINGS];     /* flops or bytes per second */
    double ceiling_cpu[WC_N_CEILINGS]; /* the same per second of CPU time of all threads */
} wc_bench_frame;

/* One row of the table: work() does `amount' flops or bytes. before (may be NULL) restores its input, untimed. */
typedef struct wc_bench_row {
    const char *name, *what;
    double amount;
    wc_ceiling against;
    wc_status (*work)(wc_ctx *ctx, void *arg);
    void (*before)(void *arg);
    void *arg;
} wc_bench_row;

/* Whether --only asks for this row. */
bool wc_bench_wants(const wc_bench_frame *f, const char *name);
/* Measures and prints it. */
wc_status wc_bench_measure(wc_bench_frame *f, const wc_bench_row *row);
/* The same, and the row's rate becomes its ceiling if it is higher. */
wc_status wc_bench_ceiling(wc_bench_frame *f, const wc_bench_row *row);

/* x [n] uniform in [-1, 1): the same for the same seed. */
void wc_bench_random(uint64_t seed, size_t n, float *x);

wc_status wc_bench_work(wc_bench_frame *f);     /* src/bench_work.c */
wc_status wc_bench_decode(wc_bench_frame *f);   /* src/bench_decode.c */
wc_status wc_bench_lossless(wc_bench_frame *f); /* src/bench_lossless.c */
wc_status wc_bench_coded(wc_bench_frame *f);    /* src/bench_coded.c */

#endif
