/* cmd_bench.c - `wcompress bench'. */
#include "bench.h"
#include "cli.h"

typedef struct options {
    wc_cli_common common;
    wc_cli_list only, states;
    uint64_t size;
    const char *tokenizer;
    bool quick, bound;
} options;

#define AT(field) offsetof(options, field)
static const wc_cli_option bench_options[] = {
    {"only", 0, WC_CLI_LIST, AT(only), "NAME", "only rows whose name contains NAME (and the ceilings)"},
    {"tokenizer", 0, WC_CLI_TEXT, AT(tokenizer), "FILE", "also time this tokenizer.json, on the built-in text"},
    {"quick", 0, WC_CLI_FLAG, AT(quick), NULL, "small sizes: a test that everything runs; the ratios mean little"},
    {"bound", 0, WC_CLI_FLAG, AT(bound), NULL, "instead: bits above the rate-distortion function, beside gptq and lut"},
    {"states", 0, WC_CLI_LIST, AT(states), "N", "of rd's trellis, with --bound; 8, 64 and 256"},
    {"size", 0, WC_CLI_COUNT, AT(size), "N", "rows and columns, with --bound: a power of 2; 2048"},
    WC_CLI_COMMON(options),
};

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    const options *o = opt;
    (void)n, (void)operand;
    static const char *const usual[] = {"8", "64", "256"};
    wc_bench_options b = {.only = o->only.item,
                          .n_only = o->only.n,
                          .tokenizer = o->tokenizer,
                          .states = o->states.n ? o->states.item : usual,
                          .n_states = o->states.n ? o->states.n : 3,
                          .size = o->size    ? o->size
                                  : o->quick ? 128
                                             : 2048,
                          .quick = o->quick};
    return o->bound ? wc_bench_bound(ctx, &b, report) : wc_bench(ctx, &b, report);
}

const wc_command wc_command_bench = {
    .name = "bench",
    .operands = "",
    .min_operands = 0,
    .max_operands = 0,
    .summary = "measure speed, as shares of what this machine can do",
    .description =
        "Measures the ceilings of this machine (matrix products, memory), then every part of the program against "
        "them,\n"
        "in one run. Takes some minutes; other work on the machine makes the figures worse (see the busy column).\n\n"
        "  wcompress bench --only gptq\n"
        "  wcompress bench --bound --size 1024 --states 64",
    .opt_size = sizeof(options),
    .options = bench_options,
    .run = run,
};
