#include "budget.h"

#include <stdlib.h>
#include <unistd.h>

#include "compress.h"

/* Tokens in flight: enough rows for gemm to reach its rate, few enough for 7B-sized stages to stay below 1 GiB. */
enum { CHUNK_TOKENS = 4096, MIN_CHUNK_TOKENS = 256 };
/* Program, libraries, tokenizer, token windows, thread stacks and scratch: measured about 60 MiB. */
#define BASE ((uint64_t)96 << 20)

uint64_t wc_default_memory(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 5 * 4;
}

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Of the recipe's steps the largest need, W included. */
static uint64_t solver_memory(const wc_ctx *ctx, const wc_plan_tensor *t, bool stats)
{
    size_t rows = t->source->rows, cols = t->source->cols;
    uint64_t most = wc_compress_scratch(ctx, rows, cols, stats);
    bool masked = false;
    for (size_t i = 0; i < t->recipe->n; i++) {
        const wc_recipe_step *s = &t->recipe->step[i];
        wc_place at = wc_recipe_place(t->recipe, i, rows, cols);
        if (s->method->scratch) most = max(most, (uint64_t)rows * cols * 4 + s->method->scratch(&at, s->opt));
        masked = masked || s->method->narrow;
    }
    return most + (masked ? 5 * (uint64_t)rows * cols : 0) +            /* a mask, and what its survivors should be */
           (stats && t->recipe->n > 1 ? (uint64_t)rows * cols * 4 : 0); /* the whole W beside what is left of it */
}

/* The largest need of any one tensor that is compressed, H and the cross moments included; what is kept is copied in
 * pieces. */
static uint64_t tensor_memory(const wc_ctx *ctx, const wc_plan *plan)
{
    uint64_t most = 0;
    for (size_t i = 0; i < plan->n; i++) {
        const wc_plan_tensor *t = &plan->tensor[i];
        bool stats = wc_recipe_needs_stats(t->recipe);
        uint64_t rows = t->source->rows, cols = t->source->cols;
        uint64_t held = stats ? 4 * cols * (2 * cols + rows) : 0;    /* H, C and, of layers that write to it, R */
        if (t->n_transforms) held *= 1 + wc_min(t->n_transforms, 2); /* in the bases before and after a transform */
        if (!t->copied) most = max(most, t->bytes + solver_memory(ctx, t, stats) + held);
        if (t->part[0].kind == WC_PART_FLOAT && t->part[0].floats.code) most = max(most, t->bytes + t->bytes / 64);
    }
    return most;
}

/* While a diagonal for rows of v or up is chosen (fold.h), H and C of their own inputs are there beside what o or down
 * take. */
static uint64_t ahead_memory(const wc_plan *plan)
{
    uint64_t most = 0;
    for (size_t i = 0; i < plan->n; i++) {
        const wc_plan_tensor *t = &plan->tensor[i];
        if (t->folded && !t->copied) most = max(most, 8 * t->source->cols * t->source->cols);
    }
    return most;
}

/* Collecting for inputs of width n: f64 packed sums (4 n^2 bytes), cross moments with the inputs (4 n^2) and with the
 * residual stream (4 hidden n), the differences of a chunk of `rows' tokens; turning the sums into H takes another 4
 * n^2. */
static uint64_t stats_memory(const wc_config *config, uint64_t rows)
{
    uint64_t most = 0;
    for (int s = 0; s < WC_N_STAGES; s++) {
        uint64_t n = wc_stage_width(config, (wc_stage)s);
        most = max(most, 12 * n * n + 4 * n * config->hidden + 4 * n * rows);
    }
    return most;
}

/* What is resident of a block in work: its compressed linears, and pages of the original ones as they lie in the file.
 * The largest of the blocks. */
static wc_status block_bytes(wc_ctx *ctx, const wc_plan *plan, size_t layers, uint64_t *out)
{
    uint64_t *bytes;
    WC_TRY(WC_ALLOC(ctx, bytes, layers, "the plan's block sizes"));
    *out = 0;
    for (size_t i = 0; i < plan->n; i++) {
        const wc_plan_tensor *t = &plan->tensor[i];
        if (t->copied || t->layer >= layers) continue;
        bytes[t->layer] += t->bytes + t->source->size;
        *out = max(*out, bytes[t->layer]);
    }
    free(bytes);
    return WC_OK;
}

wc_status wc_budget_make(wc_ctx *ctx, const wc_plan *plan, const wc_config *config, const wc_windows *windows,
                         size_t n_streams, uint64_t limit, wc_budget *out)
{
    wc_budget b = {.limit = limit ? limit : wc_default_memory()};
    uint64_t tensor = tensor_memory(ctx, plan);
    b.memory = BASE + plan->held + tensor;
    if (windows) {
        wc_pass_cost cost;
        uint64_t rest;
        WC_TRY(block_bytes(ctx, plan, config->layers, &rest));
        rest += BASE + plan->held + ahead_memory(plan);
        for (b.chunk_tokens = CHUNK_TOKENS;; b.chunk_tokens /= 2) {
            cost = wc_pass_estimate(ctx, config, windows->n, windows->seqlen, n_streams, b.chunk_tokens);
            uint64_t rows = max(b.chunk_tokens, windows->seqlen);
            b.memory = rest + max(cost.chunk + stats_memory(config, rows), tensor);
            if (b.memory <= b.limit || b.chunk_tokens <= MIN_CHUNK_TOKENS) break;
        }
        b.spill = b.memory + cost.inner > b.limit;
        if (!b.spill) b.memory += cost.inner;
        b.disk = cost.edges + (b.spill ? cost.inner : 0);
    }
    if (b.memory > b.limit)
        return wc_fail(ctx, WC_BUDGET,
                       "--memory %llu bytes is too little: this model needs at least %llu bytes (%.2f GiB)",
                       (unsigned long long)b.limit, (unsigned long long)b.memory, (double)b.memory / 0x1p30);
    *out = b;
    return WC_OK;
}
