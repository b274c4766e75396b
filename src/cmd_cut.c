/* cmd_cut.c - `wcompress cut': a smaller file from one that was made to be cut. */
#include "cli.h"
#include "cut.h"

typedef struct options {
    wc_cli_common common;
    const char *output;
    uint64_t size;
    bool force, dry_run;
} options;

static const wc_cli_option cut_options[] = {
    {"size", 's', WC_CLI_SIZE, offsetof(options, size), "SIZE", "bytes that the result may have at most, e.g. 3.2MiB"},
    {"output", 'o', WC_CLI_TEXT, offsetof(options, output), "FILE",
     "output file (default: FILE.cut.wcz beside the input)"},
    {"force", 'f', WC_CLI_FLAG, offsetof(options, force), NULL, "replace an existing output"},
    {"dry-run", 'n', WC_CLI_FLAG, offsetof(options, dry_run), NULL,
     "print what would be kept and the exact size; do nothing"},
    WC_CLI_COMMON(options),
};

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    const options *o = opt;
    (void)n;
    if (!o->size) return wc_fail(ctx, WC_OPTION, "cut: --size is missing");
    wc_cut_options cut = {
        .input = operand[0], .output = o->output, .size = o->size, .force = o->force, .dry_run = o->dry_run};
    return wc_cut(ctx, &cut, report);
}

const wc_command wc_command_cut = {
    .name = "cut",
    .operands = "FILE.wcz",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "make a smaller file of one that holds stacks of levels",
    .description =
        "Drops the least important levels of a file made with bitstack, in the order stored in it, until it fits. The\n"
        "rest stays as it is, byte for byte; errors are those of the levels kept. Any size works, down to one level "
        "of\n"
        "every stack; below that the exit code is 5. The result can be cut again.\n\n"
        "  wcompress compress --recipe bitstack model/ -o whole.wcz\n"
        "  wcompress cut --size 3.2MiB whole.wcz -o small.wcz",
    .opt_size = sizeof(options),
    .options = cut_options,
    .run = run,
};
