/* cmd_export.c - `wcompress export'. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "export/gguf.h"

typedef struct options {
    wc_cli_common common;
    const char *to, *output, *type, *pre;
    bool force;
} options;

#define AT(field) offsetof(options, field)
static const wc_cli_option export_options[] = {
    {"to", 0, WC_CLI_TEXT, AT(to), "FORMAT", "gguf"},
    {"output", 'o', WC_CLI_TEXT, AT(output), "FILE", "output (default: MODEL.gguf beside the input)"},
    {"force", 'f', WC_CLI_FLAG, AT(force), NULL, "replace an existing output"},
    {"type", 0, WC_CLI_TEXT, AT(type), "TYPE", "f16 (default), bf16 or f32: for what the format cannot hold as it is"},
    {"gguf-pre", 0, WC_CLI_TEXT, AT(pre), "NAME", "llama.cpp's name for the way the tokenizer cuts text"},
    WC_CLI_COMMON(options),
};

static void defaults(void *p)
{
    options *o = p;
    o->type = "f16";
}

/* The model's name: its path without folder and ending. */
static char *model_name(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t start = n;
    while (start && path[start - 1] != '/')
        start--;
    char *name = strndup(path + start, n - start), *dot = name ? strrchr(name, '.') : NULL;
    if (dot && dot != name && (!strcmp(dot, ".wcz") || !strcmp(dot, ".gguf") || !strcmp(dot, ".safetensors"))) *dot = 0;
    return name;
}

static wc_status to_gguf(wc_ctx *ctx, const options *o, const wc_input *in, const char *path, wc_report *report)
{
    static const struct {
        const char *word;
        unsigned type;
    } types[] = {{"f16", WC_GGML_F16}, {"bf16", WC_GGML_BF16}, {"f32", WC_GGML_F32}};
    wc_gguf_options opt = {.path = path, .type = UINT32_MAX, .pre = o->pre};
    wc_gguf_result result;
    char size[32], *name = model_name(in->path);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(o->type, types[i].word)) opt.type = types[i].type;
    opt.name = name;
    wc_status status = !name                    ? wc_fail(ctx, WC_NOMEM, "no memory for a name")
                       : opt.type == UINT32_MAX ? wc_fail(ctx, WC_OPTION, "--type %s: write f16, bf16 or f32", o->type)
                                                : wc_export_gguf(ctx, in, &opt, &result);
    free(name);
    WC_TRY(status);
    wc_report_result(report, "wrote %s  %llu bytes (%s), %zu tensors, %zu copied as they were stored", path,
                     (unsigned long long)result.bytes, wc_size_text(result.bytes, size), result.tensors, result.copied);
    json_object_set_new(report->facts, "export",
                        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "format", "gguf", "output", path, "bytes",
                                  (json_int_t)result.bytes, "tensors", (json_int_t)result.tensors, "copied",
                                  (json_int_t)result.copied, "converted", (json_int_t)result.converted));
    return WC_OK;
}

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    const options *o = opt;
    char *output = NULL, *partial = NULL, *work = NULL;
    wc_input in;
    (void)n;
    if (!o->to || strcmp(o->to, "gguf")) return wc_fail(ctx, WC_OPTION, "export: write --to gguf");
    WC_TRY(wc_input_open(ctx, operand[0], &in));
    wc_status status = wc_output_names(ctx, operand[0], ".gguf", o->output, NULL, &output, &partial, &work);
    if (status == WC_OK) status = wc_output_check(ctx, &in, output, o->force);
    if (status == WC_OK) status = to_gguf(ctx, o, &in, output, report);
    wc_input_close(&in);
    free(output), free(partial), free(work);
    return status;
}

const wc_command wc_command_export = {
    .name = "export",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "write a model in the format of another runtime",
    .description =
        "MODEL is a .wcz or an uncompressed model. gguf: one file for llama.cpp, with hyper-parameters and tokenizer.\n"
        "Parts made by ggml(type=...) are copied bit for bit; what GGUF has no type for becomes floats.\n\n"
        "  wcompress quantize --format Q4_K_M -o model.wcz model/\n"
        "  wcompress export --to gguf model.wcz",
    .opt_size = sizeof(options),
    .options = export_options,
    .defaults = defaults,
    .run = run,
};
