/* GPTVQ: one codebook of short vectors, error feedback over blocks of columns. See README.md. */
#include "methods/vectors.h"
#include "solve/hessian.h"

#define FIELD(name) offsetof(wc_vector_options, name)

static const wc_opt opts[] = {
    {"bits", WC_OPT_REAL, FIELD(bits), 2, 0.125, 12, NULL, "bits per weight: codes, and signs where they are apart"},
    {"dim", WC_OPT_INT, FIELD(dim), 0, 0, 16, NULL,
     "columns per vector; a code has bits * dim bits, at most 12; 0: the largest for a byte"},
    {"area", WC_OPT_INT, FIELD(area), 0, 0, 1 << 30, NULL, "weights that share a codebook; 0: the whole tensor"},
    {"entry_bits", WC_OPT_INT, FIELD(entry_bits), 8, 8, 16, NULL, "of a number in a codebook: 8, or 16 for f16"},
    {"group", WC_OPT_INT, FIELD(group), 0, 0, 65536, NULL,
     "columns per scale, rounded up to vectors; 0: the whole row"},
    {"scale_bits", WC_OPT_INT, FIELD(scale_bits), 0, 0, 8, NULL, "bits of integer scales; 0: f16 scales"},
    {"unscaled", WC_OPT_BOOL, FIELD(unscaled), 0, 0, 1, NULL, "no scales at all"},
    {"signs", WC_OPT_BOOL, FIELD(signs), 0, 0, 1, NULL, "a codebook of magnitudes and a bit per sign (SSVQ)"},
    {"em", WC_OPT_INT, FIELD(em), 20, 0, 1000, NULL, "rounds of k-means at most"},
    {"feedback", WC_OPT_BOOL, FIELD(feedback), 1, 0, 1, NULL, "error feedback; no: nearest codes to begin with"},
    {"cd", WC_OPT_INT, FIELD(cd), 6, 0, 64, NULL, "rounds of descent over codebooks, scales and codes after rounding"},
    {"steps", WC_OPT_INT, FIELD(steps), 4, 1, 100, NULL, "of conjugate gradients for the codebooks in a round"},
    {"refit", WC_OPT_BOOL, FIELD(refit), 1, 0, 1, NULL, "rounds also refit scales of whole rows"},
    {"damp", WC_OPT_REAL, FIELD(damp), 0.01, 0, 10, NULL, "added to the diagonal of H, relative to its mean"},
    {"order", WC_OPT_WORD, FIELD(order), WC_ORDER_ACT, 0, 1, "natural|act",
     "vectors as they come, or those with the largest inputs first"},
    {"block", WC_OPT_INT, FIELD(block), 256, 32, 1024, NULL, "columns per matrix product"},
    {"drift", WC_OPT_REAL, FIELD(drift), 0.75, 0, 1, NULL, "part of the drift of the inputs to correct for"},
    {"residual", WC_OPT_REAL, FIELD(residual), 0.5, 0, 1, NULL,
     "part of the drift of the residual stream to correct for, in layers that write to it"},
    {0},
};

static wc_vector_options options(const void *opt)
{
    wc_vector_options o = *(const wc_vector_options *)opt;
    o.beam = 1;
    return o;
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    wc_vector_options o = options(opt);
    return wc_vector_run(job, &o, out);
}

static double flops(const wc_place *at, const void *opt, bool drift)
{
    wc_vector_options o = options(opt);
    return wc_vector_flops(at, &o, drift);
}

const wc_method wc_method_gptvq = {
    .name = "gptvq",
    .summary = "vectors from a codebook by k-means in the inputs' metric, with error feedback and descent",
    .needs = WC_NEEDS_HESSIAN,
    .opt_size = sizeof(wc_vector_options),
    .opts = opts,
    .applies = wc_vector_applies,
    .plan = wc_vector_plan,
    .run = run,
    .flops = flops,
    .scratch = wc_vector_scratch,
};
