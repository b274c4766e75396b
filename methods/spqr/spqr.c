/* SpQR: a name for outliers, then gptq on small groups whose scales and zeros are quantized too. See README.md. */
#include <stdio.h>

#include "methods/method.h"

struct options {
    int bits, group, scale_bits, zero_bits, tile;
    double frac, damp;
};

static const wc_opt opts[] = {
    {"bits", WC_OPT_INT, offsetof(struct options, bits), 3, 1, 8, NULL, "bits per weight of the grid"},
    {"frac", WC_OPT_REAL, offsetof(struct options, frac), 0.005, 0, 0.1, NULL, "part of the weights that are outliers"},
    {"group", WC_OPT_INT, offsetof(struct options, group), 16, 2, 65536, NULL, "columns per scale and zero"},
    {"scale_bits", WC_OPT_INT, offsetof(struct options, scale_bits), 3, 2, 8, NULL, "bits of a scale"},
    {"zero_bits", WC_OPT_INT, offsetof(struct options, zero_bits), 3, 2, 8, NULL, "bits of a zero"},
    {"tile", WC_OPT_INT, offsetof(struct options, tile), 16, 2, 16, NULL,
     "rows whose scales and zeros share f16 offsets and steps: 2, 4, 8, 16"},
    {"damp", WC_OPT_REAL, offsetof(struct options, damp), 0.01, 0, 10, NULL,
     "added to the diagonal of H, relative to its mean"},
    {0},
};

static void expand(const void *opt, char *recipe, size_t size)
{
    const struct options *o = opt;
    snprintf(recipe, size,
             "outliers(frac=%.17g,criterion=spqr,damp=%.17g,bits=%d,group=%d) | "
             "gptq(bits=%d,group=%d,sym=no,scale_bits=%d,zero_bits=%d,tile=%d,damp=%.17g)",
             o->frac, o->damp, o->bits, o->group, o->bits, o->group, o->scale_bits, o->zero_bits, o->tile, o->damp);
}

const wc_method wc_method_spqr = {
    .name = "spqr",
    .summary = "stands for outliers by SpQR's criterion, then gptq in groups of 16 with scales and zeros of 3 bits",
    .needs = WC_NEEDS_HESSIAN,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .expand = expand,
};
