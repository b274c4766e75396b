/* search.h - how many bits each linear layer should get, so that the whole model loses least at a given size.
 *
 * Minimise sum_t K_t(b_t) over sum_t n_t b_t = n b. A layer's error falls by four for every bit and KL with it
 * (sensitivity.h), K_t(b) = k_t 4^-(b - a_t) with k_t measured at a_t bits. Equal slopes dK_t/db_t = lambda n_t give
 *
 *     b_t = a_t + log4(k_t / n_t) + mu,
 *
 * mu such that the bits add up, and b_t inside what the method takes. Measured where it starts from, at the average for
 * all, and again where that leads (rounds): far from where it was measured the square law is only an estimate. */
#ifndef WC_SEARCH_H
#define WC_SEARCH_H

#include "run.h"

typedef struct wc_search_options {
    wc_run_options run;    /* of the final run; plan.linear and plan.rule are made here */
    const char *options;   /* of rd, "states=32,lambda=0.1"; "" for defaults */
    double bits;           /* of the linears on average; 0: from size */
    uint64_t size;         /* bytes of the whole output, if bits is 0 */
    uint64_t probe_tokens; /* tokens that sensitivities are measured on */
    int rounds;            /* how often they are measured, 0: equal bits */
} wc_search_options;

/* Finds the bits and runs the job. Calibration statistics are made unless run.stats_file is given; bits and the KL
 * behind them are printed and among the report's facts. *result as wc_run's. WC_BUDGET: the size cannot be had. */
wc_status wc_search(wc_ctx *ctx, const wc_search_options *opt, wc_report *report, wc_run_result *result);

#endif
