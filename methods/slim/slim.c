/* SLiM's adapters: a name for lqer with other defaults. See README.md. */
#include <stdio.h>

#include "methods/method.h"

struct options {
    int rank, factor_bits;
    double ratio;
};

static const wc_opt opts[] = {
    {"rank", WC_OPT_INT, offsetof(struct options, rank), 0, 0, 32766, NULL,
     "columns of A, rows of B; 0: the most that ratio allows"},
    {"ratio", WC_OPT_REAL, offsetof(struct options, ratio), 0.052, 0, 1, NULL,
     "bytes of the factors over bytes of the weights in f16, if rank=0; a tenth of the rank of a square matrix"},
    {"factor_bits", WC_OPT_INT, offsetof(struct options, factor_bits), 4, 4, 16, NULL,
     "16: f16 factors; 4 to 8: factors rounded to a grid"},
    {0},
};

static void expand(const void *opt, char *recipe, size_t size)
{
    const struct options *o = opt;
    snprintf(recipe, size, "lqer(rank=%d,ratio=%.17g,factor_bits=%d,metric=abs_mean,alpha=1)", o->rank, o->ratio,
             o->factor_bits);
}

const wc_method wc_method_slim = {
    .name = "slim",
    .summary = "stands for lqer with 4-bit factors: SLiM's adapters, which repair a quantizer or a pruner",
    .needs = WC_NEEDS_HESSIAN,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .expand = expand,
};
