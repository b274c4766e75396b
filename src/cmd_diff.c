/* cmd_diff.c - `wcompress diff'. */
#include "cli.h"
#include "diff.h"
#include "eval.h"

typedef struct options {
    wc_cli_common common;
    const char *eval;
    uint64_t tokens, seqlen, memory;
    double tolerance;
    bool all;
} options;

#define AT(field) offsetof(options, field)
static const wc_cli_option diff_options[] = {
    {"all", 'a', WC_CLI_FLAG, AT(all), NULL, "list the equal tensors, too"},
    {"tolerance", 0, WC_CLI_REAL, AT(tolerance), "X", "a relative error up to X is no difference (default: 0)"},
    {"eval", 0, WC_CLI_TEXT, AT(eval), "TEXT", "also run both over this text: perplexities, KL divergence of B from A"},
    {"tokens", 0, WC_CLI_COUNT, AT(tokens), "N", "of --eval: use about N tokens (default: all)"},
    {"seqlen", 0, WC_CLI_COUNT, AT(seqlen), "N", "of --eval: window length (default: the model's, at most 2048)"},
    {"memory", 0, WC_CLI_SIZE, AT(memory), "SIZE", "of --eval: activations spill to disk above it"},
    WC_CLI_COMMON(options),
};

static wc_status evaluate(wc_ctx *ctx, const options *o, char **operand, wc_report *report)
{
    const char *files[] = {o->eval};
    wc_eval_options e = {
        .model = operand[1], .against = operand[0], .want = {true, false}, .table = true, .memory = o->memory};
    e.text = (wc_text_options){.files = files, .n_files = 1, .seqlen = o->seqlen, .max_tokens = o->tokens};
    return wc_eval(ctx, &e, report, NULL);
}

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    const options *o = opt;
    wc_diff_options d = {.a = operand[0], .b = operand[1], .tolerance = o->tolerance, .all = o->all};
    wc_diff_result r;
    (void)n;
    if (!o->eval && (o->tokens || o->seqlen || o->memory))
        return wc_fail(ctx, WC_OPTION, "--tokens, --seqlen and --memory belong to --eval TEXT");
    if (!(o->tolerance >= 0)) return wc_fail(ctx, WC_OPTION, "--tolerance %g: at least 0", o->tolerance);
    WC_TRY(wc_diff(ctx, &d, report, &r));
    if (o->eval) WC_TRY(evaluate(ctx, o, operand, report));
    size_t differ = r.tensors - r.equal - r.close;
    if (!differ) return WC_OK;
    return wc_fail(ctx, WC_VERIFY, "%s and %s differ in %zu of %zu tensors", operand[0], operand[1], differ, r.tensors);
}

const wc_command wc_command_diff = {
    .name = "diff",
    .operands = "A B",
    .min_operands = 2,
    .max_operands = 2,
    .summary = "hold two models against each other, tensor by tensor",
    .description =
        "A and B are models in any form that can be read; A is the reference. Per tensor: shapes and types, whether\n"
        "bytes and values are equal, the relative error |A - B| / |A| and the largest difference. Exit code 0 when\n"
        "every tensor is on both sides with the same shape and values (whatever it is stored as), 4 when not.\n\n"
        "  wcompress diff model/ model.gguf --eval wiki.txt",
    .opt_size = sizeof(options),
    .options = diff_options,
    .run = run,
};
