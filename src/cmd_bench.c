/* cmd_bench.c - `wcompress bench'. */
#include "bench.h"
#include "cli.h"

typedef struct options {
    wc_cli_common common;
    wc_cli_list only;
    const char *tokenizer;
    bool quick;
} options;

#define AT(field) offsetof(options, field)
static const wc_cli_option bench_options[] = {
    {"only", 0, WC_CLI_LIST, AT(only), "NAME", "only rows whose name contains NAME (and the ceilings)"},
    {"tokenizer", 0, WC_CLI_TEXT, AT(tokenizer), "FILE", "also time this tokenizer.json, on the built-in text"},
    {"quick", 0, WC_CLI_FLAG, AT(quick), NULL, "small sizes: a test that everything runs; the ratios mean little"},
    WC_CLI_COMMON(options),
};

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    const options *o = opt;
    (void)n, (void)operand;
    wc_bench_options b = {.only = o->only.item, .n_only = o->only.n, .tokenizer = o->tokenizer, .quick = o->quick};
    return wc_bench(ctx, &b, report);
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
        "  wcompress bench --only gptq",
    .opt_size = sizeof(options),
    .options = bench_options,
    .run = run,
};
