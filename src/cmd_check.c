/* cmd_check.c - `wcompress check': whether a runtime will load it. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "precheck.h"

typedef struct options {
    wc_cli_common common;
    const char *target, *to, *recipe;
    uint64_t tp;
} options;

#define AT(field) offsetof(options, field)
static const wc_cli_option check_options[] = {
    {"target", 't', WC_CLI_TEXT, AT(target), "RUNTIME", "vllm, transformers or llama.cpp (required)"},
    {"to", 0, WC_CLI_TEXT, AT(to), "FORMAT", "of the export: gptq, gptq_v2, awq, compressed-tensors (default: any)"},
    {"tp", 0, WC_CLI_COUNT, AT(tp), "N", "tensor parallel shards (default: 1)"},
    {"recipe", 'r', WC_CLI_TEXT, AT(recipe), "RECIPE", "for an uncompressed model: what would be done to its linears"},
    WC_CLI_COMMON(options),
};

static void defaults(void *p)
{
    options *o = p;
    o->tp = 1;
}

static wc_status check(wc_ctx *ctx, const options *o, const wc_input *in, wc_report *report)
{
    wc_check_options opt = {.target = o->target, .format = o->to, .tp = o->tp};
    wc_plan_options plan = {.linear = o->recipe, .embed = "keep", .head = "keep", .last_block = SIZE_MAX};
    wc_findings found = {0};
    if (o->recipe && in->has_wcz)
        return wc_fail(ctx, WC_OPTION, "%s: is compressed already; --recipe is for a model that is not", in->path);
    wc_status status = wc_precheck(ctx, in, o->recipe ? &plan : NULL, &opt, &found);
    if (status == WC_OK) {
        wc_precheck_show(report, &found);
        report->whole = true;
        if (!found.fatal) wc_report_result(report, "%s: %s will load it", in->path, o->target);
        status = wc_check_failure(ctx, in, &opt, &found);
    }
    wc_findings_free(&found);
    return status;
}

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    const options *o = opt;
    wc_input in;
    (void)n;
    if (!o->target) return wc_fail(ctx, WC_OPTION, "check: --target is missing, write vllm, transformers or llama.cpp");
    WC_TRY(wc_input_open(ctx, operand[0], &in));
    wc_status status = check(ctx, o, &in, report);
    wc_input_close(&in);
    return status;
}

const wc_command wc_command_check = {
    .name = "check",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "say whether a runtime will load a model, before hours are spent",
    .description =
        "Looks at how every linear layer is stored, or would be with --recipe: bits, groups, kernel tiles, tensor\n"
        "parallel shards, layers that the runtime fuses, embedding and head, files. Each finding names the tensor, "
        "the\n"
        "number and what to do. Exit code 6 when it will not load. `export' runs it by itself.\n\n"
        "  wcompress check --target vllm --tp 8 --recipe 'gptq(bits=4,group=128,scale_bits=0)' model/\n"
        "  wcompress check --target vllm model.wcz",
    .opt_size = sizeof(options),
    .options = check_options,
    .defaults = defaults,
    .run = run,
};
