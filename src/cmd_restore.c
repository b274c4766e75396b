/* cmd_restore.c - `wcompress restore': the original checkpoint out of what `wcompress lossless' made of it. */
#include <stddef.h>

#include "cli.h"
#include "restore.h"

typedef struct options {
    wc_cli_common common;
    const char *output;
    bool force;
} options;

static const wc_cli_option restore_options[] = {
    {"output", 'o', WC_CLI_TEXT, offsetof(options, output), "DIR", "folder to write to (required)"},
    {"force", 'f', WC_CLI_FLAG, offsetof(options, force), NULL, "replace existing files there"},
    WC_CLI_COMMON(options),
};

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    const options *o = opt;
    (void)n;
    if (!o->output) return wc_fail(ctx, WC_OPTION, "restore: -o DIR is missing");
    return wc_restore(ctx, operand[0], o->output, o->force, report);
}

const wc_command wc_command_restore = {
    .name = "restore",
    .operands = "FILE.wcz",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "write back the checkpoint that `lossless' compressed, equal to the byte",
    .description =
        "Checks every checksum, then writes the safetensors files of the original, in their order and with their\n"
        "headers, and the text files that came with them.\n\n"
        "  wcompress restore llama.wcz -o llama/",
    .opt_size = sizeof(options),
    .options = restore_options,
    .run = run,
};
