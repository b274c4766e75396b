/* cmd_calibrate.c - `wcompress calibrate'. */
#include <string.h>

#include "calibrate.h"
#include "cli.h"

typedef struct options {
    wc_cli_common common;
    const char *output, *format, *calib_ids, *work_dir;
    wc_cli_list calib;
    uint64_t calib_tokens, seqlen, memory;
    bool force, fresh;
} options;

#define AT(field) offsetof(options, field)
static const wc_cli_option calibrate_options[] = {
    {"output", 'o', WC_CLI_TEXT, AT(output), "FILE", "output file (default: MODEL.wcstats beside the input)"},
    {"format", 0, WC_CLI_TEXT, AT(format), "FORM",
     "wcstats (default), imatrix (llama.cpp's importance matrix, a GGUF file), imatrix-dat (its older form)"},
    {"force", 'f', WC_CLI_FLAG, AT(force), NULL, "replace an existing output"},
    {"calib", 0, WC_CLI_LIST, AT(calib), "FILE", "calibration text, UTF-8 (default: built in)"},
    {"calib-ids", 0, WC_CLI_TEXT, AT(calib_ids), "FILE", "calibration as raw little-endian u32 token ids"},
    {"calib-tokens", 0, WC_CLI_COUNT, AT(calib_tokens), "N", "how many tokens to use, spread over the text; 0: all"},
    {"seqlen", 0, WC_CLI_COUNT, AT(seqlen), "N", "window length (default: the model's, at most 2048)"},
    {"memory", 0, WC_CLI_SIZE, AT(memory), "SIZE", "resident memory not to exceed (default: 80 % of RAM)"},
    {"work-dir", 0, WC_CLI_TEXT, AT(work_dir), "DIR", "folder for resume state and activations (default: OUTPUT.work)"},
    {"fresh", 0, WC_CLI_FLAG, AT(fresh), NULL, "drop an unfinished run of other options instead of refusing"},
    WC_CLI_COMMON(options),
};

static void defaults(void *p)
{
    options *o = p;
    o->calib_tokens = 131072;
    o->format = "wcstats";
}

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    static const char *const forms[] = {"wcstats", "imatrix", "imatrix-dat"};
    const options *o = opt;
    (void)n;
    size_t form = 0;
    while (form < WC_N_STATS_FORMS && strcmp(o->format, forms[form]))
        form++;
    if (form == WC_N_STATS_FORMS)
        return wc_fail(ctx, WC_OPTION, "--format %s: write wcstats, imatrix or imatrix-dat", o->format);
    wc_calibrate_options c = {.model = operand[0],
                              .output = o->output,
                              .form = (wc_stats_form)form,
                              .work_dir = o->work_dir,
                              .memory = o->memory,
                              .force = o->force,
                              .fresh = o->fresh};
    c.calib = (wc_text_options){.files = o->calib.item,
                                .n_files = o->calib.n,
                                .ids_file = o->calib_ids,
                                .seqlen = o->seqlen,
                                .max_tokens = o->calib_tokens};
    return wc_calibrate(ctx, &c, report);
}

const wc_command wc_command_calibrate = {
    .name = "calibrate",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "save calibration statistics, so that a sweep runs the model once",
    .description =
        "Runs the original model over the calibration text and saves, for every group of linear layers, the second\n"
        "moments of its inputs. `quantize --stats FILE' then needs no forward pass; FILE may also be an importance\n"
        "matrix of llama.cpp, which has their diagonals only. --format imatrix writes one, also out of a saved\n"
        "FILE.wcstats in the place of MODEL.\n\n"
        "  wcompress calibrate llama/ -o llama.wcstats\n"
        "  wcompress quantize --bits 3 --stats llama.wcstats llama/",
    .resumes = true,
    .opt_size = sizeof(options),
    .options = calibrate_options,
    .defaults = defaults,
    .run = run,
};
