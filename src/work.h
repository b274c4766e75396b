/* work.h - how much there is to do, for percentages and the time left.
 *
 * The unit is a flop of a large matrix product. What runs at a lower rate than that counts more than its flops, by
 * factors measured on the 7B-shaped model (docs/PERFORMANCE.md). */
#ifndef WC_WORK_H
#define WC_WORK_H

#include "plan.h"

/* One tensor: compressed, its layer error measured; or copied. drift: its statistics have cross moments. */
double wc_work_tensor(const wc_plan_tensor *t, bool drift);

/* Reading all stored values once, to refuse NaN and Inf. */
double wc_work_check(const wc_plan *plan);

/* One token carried to the input of `stage' by each of n_streams, with the statistics of that input if collect is set;
 * for WC_N_STAGES: out of the block. */
double wc_work_stage(const wc_config *c, int stage, size_t seqlen, size_t n_streams, bool collect);

#endif
