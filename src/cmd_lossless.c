/* cmd_lossless.c - `wcompress lossless': every tensor in fewer bytes, and all of them back. */
#include <stddef.h>
#include <stdio.h>

#include "cli.h"
#include "run.h"

enum { ALL = 23 };

typedef struct options {
    wc_cli_common common;
    const char *output;
    uint64_t mantissa;
    bool force, dry_run, fresh;
} options;

static const wc_cli_option lossless_options[] = {
    {"output", 'o', WC_CLI_TEXT, offsetof(options, output), "FILE",
     "output file (default: MODEL.wcz beside the input)"},
    {"force", 'f', WC_CLI_FLAG, offsetof(options, force), NULL, "replace an existing output"},
    {"dry-run", 'n', WC_CLI_FLAG, offsetof(options, dry_run), NULL, "print the plan and the exact output size"},
    {"fresh", 0, WC_CLI_FLAG, offsetof(options, fresh), NULL, "drop an unfinished run of other options"},
    {"mantissa", 0, WC_CLI_COUNT, offsetof(options, mantissa), "N",
     "keep N mantissa bits of the linears, embedding and head: smaller, with loss"},
    WC_CLI_COMMON(options),
};

static void defaults(void *p)
{
    ((options *)p)->mantissa = ALL;
}

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    const options *o = opt;
    char cut[64];
    wc_run_result result = {0};
    (void)n;
    if (o->mantissa > ALL)
        return wc_fail(ctx, WC_OPTION, "--mantissa %llu: allowed is 0 to %d", (unsigned long long)o->mantissa, ALL);
    snprintf(cut, sizeof cut, "lossless(mantissa=%d)", (int)o->mantissa);
    wc_run_options run = {
        .model = operand[0],
        .output = o->output,
        .force = o->force,
        .fresh = o->fresh,
        .dry_run = o->dry_run,
        .plan = {.linear = cut, .embed = cut, .head = cut, .rest = "lossless", .last_block = SIZE_MAX}};
    wc_status status = wc_run(ctx, &run, report, &result);
    wc_run_result_free(&result);
    return status;
}

const wc_command wc_command_lossless = {
    .name = "lossless",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "compress without loss: about 66 % of BF16, 85 % of F16",
    .description =
        "Any safetensors model, one file out; `wcompress restore' writes the originals back, equal to the byte. The\n"
        "result is a .wcz like any other: eval, run and the decode library read it as it is.\n\n"
        "  wcompress lossless llama/ -o llama.wcz\n"
        "  wcompress restore llama.wcz -o llama-again/",
    .resumes = true,
    .opt_size = sizeof(options),
    .options = lossless_options,
    .defaults = defaults,
    .run = run,
};
