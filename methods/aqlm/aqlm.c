/* AQLM without fine-tuning: sums of entries of several codebooks, by beam search. See README.md. */
#include "methods/vectors.h"
#include "solve/hessian.h"

#define FIELD(name) offsetof(wc_vector_options, name)

static const wc_opt opts[] = {
    {"bits", WC_OPT_REAL, FIELD(bits), 2, 0.125, 8, NULL,
     "bits per weight; bits * dim / code_bits codebooks, at most 8"},
    {"dim", WC_OPT_INT, FIELD(dim), 8, 1, 16, NULL, "columns per vector"},
    {"code_bits", WC_OPT_INT, FIELD(code_bits), 8, 1, 12, NULL, "of a code: 2^code_bits entries per codebook"},
    {"entry_bits", WC_OPT_INT, FIELD(entry_bits), 8, 8, 16, NULL, "of a number in a codebook: 8, or 16 for f16"},
    {"group", WC_OPT_INT, FIELD(group), 0, 0, 65536, NULL,
     "columns per scale, rounded up to vectors; 0: the whole row"},
    {"scale_bits", WC_OPT_INT, FIELD(scale_bits), 0, 0, 8, NULL, "bits of integer scales; 0: f16 scales"},
    {"em", WC_OPT_INT, FIELD(em), 20, 0, 1000, NULL, "rounds of k-means per codebook at most"},
    {"beam", WC_OPT_INT, FIELD(beam), 8, 1, 64, NULL, "sums that are kept while codes are chosen"},
    {"feedback", WC_OPT_BOOL, FIELD(feedback), 1, 0, 1, NULL, "error feedback for the first codes; no: nearest"},
    {"cd", WC_OPT_INT, FIELD(cd), 6, 0, 64, NULL, "rounds of descent over codebooks, scales and codes"},
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

const wc_method wc_method_aqlm = {
    .name = "aqlm",
    .summary = "sums of vectors from several codebooks by beam search, codebooks by least squares; no fine-tuning",
    .needs = WC_NEEDS_HESSIAN,
    .opt_size = sizeof(wc_vector_options),
    .opts = opts,
    .applies = wc_vector_applies,
    .plan = wc_vector_plan,
    .run = wc_vector_run,
    .flops = wc_vector_flops,
    .scratch = wc_vector_scratch,
};
