/* SVD of the weights scaled by the size of their inputs. See README.md. */
#include "methods/factors.h"

static const wc_opt opts[] = {
    WC_FACTOR_OPTIONS(0, 0.8, 16),
    WC_FACTOR_METRIC(WC_METRIC_ABS_MEAN, 0.5),
    WC_FACTOR_BUDGET,
    {0},
};

const wc_method wc_method_asvd = {
    .name = "asvd",
    .summary = "product of two thin factors, best after scaling columns by the size of their inputs",
    .needs = WC_NEEDS_HESSIAN,
    .role = WC_STEP_PRODUCT,
    .opt_size = sizeof(wc_factor_options),
    .opts = opts,
    .applies = wc_factor_applies,
    .plan = wc_factor_plan,
    .allot = wc_factor_allot,
    .run = wc_factor_run,
    .flops = wc_factor_flops,
    .scratch = wc_factor_scratch,
};
