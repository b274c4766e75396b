/* hadamard - a randomised Hadamard transform of a linear's inputs, done at run time. README.md says when. */
#include <string.h>

#include "base/hash.h"
#include "base/random.h"
#include "methods/method.h"

typedef struct options {
    int order, seed;
} options;

static const wc_opt hadamard_opts[] = {
    {"order", WC_OPT_INT, offsetof(options, order), 0, 0, 1 << 30, NULL,
     "size of a block, a power of two that divides the columns; 0: the largest"},
    {"seed", WC_OPT_INT, offsetof(options, seed), 0, 0, 1 << 30, NULL, "another number, other signs"},
    {0},
};

static size_t largest_order(size_t cols)
{
    size_t power = cols & -cols;
    return wc_min(power, (size_t)1 << 30);
}

static const char *applies(const wc_place *at, const void *opt)
{
    const options *o = opt;
    size_t order = (size_t)o->order;
    if (at->cols % 2) return "an odd number of columns has no Hadamard block of a power of two";
    if (order && (order < 2 || order & (order - 1))) return "order is not a power of two of at least 2";
    if (order && at->cols % order) return "order does not divide the columns";
    return NULL;
}

static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    const options *o = opt;
    out->kind = WC_PART_HADAMARD;
    out->hadamard = (wc_hadamard){.cols = at->cols, .order = o->order ? (size_t)o->order : largest_order(at->cols)};
}

/* The module that a tensor belongs to is its name without the last two words: linears that share an input share that
 * too ("model.layers.0.self_attn" for q, k and v), so they get the same signs and a runtime transforms the input once.
 */
static uint64_t seed_of(const char *tensor, int seed)
{
    size_t n = strlen(tensor);
    for (int words = 0; n && words < 2; words++)
        do
            n--;
        while (n && tensor[n] != '.');
    return XXH3_64bits_withSeed(tensor, n, (uint64_t)seed);
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const options *o = opt;
    uint64_t state = seed_of(job->tensor, o->seed);
    plan(&job->at, opt, out);
    WC_TRY(wc_hadamard_alloc(job->ctx, &out->hadamard));
    for (size_t j = 0; j < job->at.cols; j++)
        out->hadamard.negative[j] = wc_random(&state) >> 63;
    return WC_OK;
}

const wc_method wc_method_hadamard = {
    .name = "hadamard",
    .summary = "transform: a randomised Hadamard transform of the inputs, so that no weight or input stands out",
    .role = WC_STEP_TRANSFORM,
    .opt_size = sizeof(options),
    .opts = hadamard_opts,
    .applies = applies,
    .plan = plan,
    .run = run,
};
