/* cmd_export.c - `wcompress export'. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "export/gguf.h"
#include "export/hf.h"

typedef struct options {
    wc_cli_common common;
    const char *to, *output, *dtype, *scales, *target, *pre;
    uint64_t tp, shard_size;
    bool force, dry_run;
} options;

#define AT(field) offsetof(options, field)
static const wc_cli_option export_options[] = {
    {"to", 0, WC_CLI_TEXT, AT(to), "FORMAT", "gguf, gptq, gptq_v2, awq, compressed-tensors or safetensors"},
    {"output", 'o', WC_CLI_TEXT, AT(output), "PATH",
     "output (default: MODEL.gguf, or the folder MODEL-FORMAT, beside the input)"},
    {"force", 'f', WC_CLI_FLAG, AT(force), NULL, "replace an existing output"},
    {"dry-run", 'n', WC_CLI_FLAG, AT(dry_run), NULL, "print what would be refused and the exact size; write nothing"},
    {"dtype", 0, WC_CLI_TEXT, AT(dtype), "TYPE",
     "f16, bf16 or f32: of what the format holds as floats (default: gguf f16, integers as their scales, safetensors "
     "as "
     "in the original)"},
    {"scales", 0, WC_CLI_TEXT, AT(scales), "TYPE",
     "f16 or bf16: round scales to it (default: whichever holds them all exactly)"},
    {"target", 't', WC_CLI_TEXT, AT(target), "RUNTIME",
     "refuse what this one will not load: vllm, transformers, llama.cpp (default: transformers, gguf llama.cpp)"},
    {"tp", 0, WC_CLI_COUNT, AT(tp), "N", "tensor parallel shards that --target will use (default: 1)"},
    {"shard-size", 0, WC_CLI_SIZE, AT(shard_size), "SIZE", "of tensors in a safetensors file at most (default: 5GB)"},
    {"gguf-pre", 0, WC_CLI_TEXT, AT(pre), "NAME", "llama.cpp's name for the way the tokenizer cuts text"},
    WC_CLI_COMMON(options),
};

static void defaults(void *p)
{
    options *o = p;
    o->tp = 1;
    o->shard_size = 5000000000u;
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

/* NULL: *out is NONE. */
static wc_status parse_dtype(wc_ctx *ctx, const char *option, const char *word, bool f32, wc_dtype *out)
{
    static const struct {
        const char *word;
        wc_dtype dtype;
    } types[] = {{"f16", WC_F16}, {"bf16", WC_BF16}, {"f32", WC_F32}};
    *out = WC_DTYPE_NONE;
    for (size_t i = 0; word && i < (f32 ? 3 : 2); i++)
        if (!strcmp(word, types[i].word)) *out = types[i].dtype;
    return !word || *out
               ? WC_OK
               : wc_fail(ctx, WC_OPTION, "--%s %s: write %s", option, word, f32 ? "f16, bf16 or f32" : "f16 or bf16");
}

/* "wrote" or, of a dry run, "would be": the line, and what all exports say for --json. */
static void show(wc_report *report, const options *o, const char *path, uint64_t bytes, const char *rest)
{
    char size[32];
    wc_report_result(report, "%s %s  %llu bytes (%s), %s", o->dry_run ? "plan " : "wrote", path,
                     (unsigned long long)bytes, wc_size_text(bytes, size), rest);
}

static wc_status to_gguf(wc_ctx *ctx, const options *o, const wc_input *in, const char *path, wc_report *report)
{
    wc_gguf_options opt = {.path = o->dry_run ? NULL : path, .pre = o->pre};
    wc_gguf_result result;
    wc_dtype dtype;
    char rest[96];
    if (o->target && strcmp(o->target, "llama.cpp") != 0)
        return wc_fail(ctx, WC_OPTION, "--target %s: does not read GGUF; write llama.cpp", o->target);
    WC_TRY(parse_dtype(ctx, "dtype", o->dtype, true, &dtype));
    opt.type = dtype == WC_F32 ? WC_GGML_F32 : dtype == WC_BF16 ? WC_GGML_BF16 : WC_GGML_F16;
    char *name = model_name(in->path);
    opt.name = name;
    wc_status status = name ? wc_export_gguf(ctx, in, &opt, &result) : wc_fail(ctx, WC_NOMEM, "no memory for a name");
    free(name);
    WC_TRY(status);
    snprintf(rest, sizeof rest, "%zu tensors, %zu copied as they were stored", result.tensors, result.copied);
    show(report, o, path, result.bytes, rest);
    json_object_set_new(report->facts, "export",
                        json_pack("{s:s, s:o, s:I, s:I, s:I, s:I}", "format", "gguf", "output", wc_report_text(path),
                                  "bytes", (json_int_t)result.bytes, "tensors", (json_int_t)result.tensors, "copied",
                                  (json_int_t)result.copied, "converted", (json_int_t)result.converted));
    return WC_OK;
}

/* Refuses what the target will not load; says what vLLM, which asks for more than others, would not. */
static wc_status check(wc_ctx *ctx, const options *o, const wc_input *in, const wc_scheme *list, size_t n)
{
    wc_check_options opt = {.target = o->target ? o->target : "transformers", .format = o->to, .tp = o->tp};
    wc_findings found = {0}, strict = {0};
    wc_status status = wc_check(ctx, in, list, n, &opt, &found);
    if (status == WC_OK) status = wc_check_failure(ctx, in, &opt, &found);
    if (status == WC_OK && !o->target) {
        opt.target = "vllm";
        status = wc_check(ctx, in, list, n, &opt, &strict);
        if (status == WC_OK && wc_check_failure(ctx, in, &opt, &strict) != WC_OK) {
            wc_log(ctx, WC_LOG_WARN, "transformers will load this, vllm will not: %s", ctx->error);
            wc_clear_error(ctx);
        }
    }
    wc_findings_free(&found), wc_findings_free(&strict);
    return status;
}

static wc_status to_folder(wc_ctx *ctx, const options *o, const wc_input *in, const char *path, wc_report *report)
{
    wc_hf_options opt = {
        .path = path, .format = o->to, .shard_bytes = o->shard_size, .force = o->force, .dry_run = o->dry_run};
    wc_hf_result r = {0};
    wc_scheme *list = NULL;
    size_t n = 0;
    char rest[160];
    wc_status status = WC_OK;
    WC_TRY_OUT(parse_dtype(ctx, "dtype", o->dtype, true, &opt.dtype));
    WC_TRY_OUT(parse_dtype(ctx, "scales", o->scales, false, &opt.scales));
    if (wc_hf_format_find(o->to)) {
        WC_TRY_OUT(wc_input_need_forward(ctx, in));
        WC_TRY_OUT(wc_schemes(ctx, in, &list, &n));
        WC_TRY_OUT(check(ctx, o, in, list, n));
    }
    WC_TRY_OUT(wc_export_hf(ctx, in, list, n, &opt, &r));
    snprintf(rest, sizeof rest, "%zu tensors in %zu file%s, %zu linear layers as the integers they are%s", r.tensors,
             r.files, r.files == 1 ? "" : "s", r.integers, r.rounded_scales ? ", their scales rounded" : "");
    show(report, o, path, r.bytes, rest);
    json_object_set_new(report->facts, "export",
                        json_pack("{s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "format", o->to, "output",
                                  wc_report_text(path), "bytes", (json_int_t)r.bytes, "tensors", (json_int_t)r.tensors,
                                  "files", (json_int_t)r.files, "integers", (json_int_t)r.integers, "rounded",
                                  (json_int_t)r.rounded, "rounded_scales", (json_int_t)r.rounded_scales));
out:
    free(list);
    return status;
}

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    const options *o = opt;
    char *output = NULL, *partial = NULL, *work = NULL, suffix[32];
    wc_input in;
    (void)n;
    bool gguf = o->to && !strcmp(o->to, "gguf");
    if (!o->to || (!gguf && strcmp(o->to, "safetensors") != 0 && !wc_hf_format_find(o->to)))
        return wc_fail(ctx, WC_OPTION,
                       "export: write --to gguf, gptq, gptq_v2, awq, compressed-tensors or safetensors");
    if (o->pre && !gguf) return wc_fail(ctx, WC_OPTION, "--gguf-pre is for --to gguf");
    if (o->scales && !wc_hf_format_find(o->to))
        return wc_fail(ctx, WC_OPTION, "--scales: %s holds no scales of its own; of floats, --dtype is the type",
                       o->to);
    snprintf(suffix, sizeof suffix, "%s%s", gguf ? "." : "-", o->to);
    WC_TRY(wc_input_open(ctx, operand[0], &in));
    wc_status status = wc_output_names(ctx, operand[0], suffix, o->output, NULL, &output, &partial, &work);
    if (status == WC_OK && gguf) status = wc_output_check(ctx, &in, output, o->force);
    if (status == WC_OK) status = gguf ? to_gguf(ctx, o, &in, output, report) : to_folder(ctx, o, &in, output, report);
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
        "Parts made by ggml(type=...) are copied bit for bit; what GGUF has no type for becomes floats.\n"
        "gptq, gptq_v2, awq, compressed-tensors: a folder for vLLM, SGLang or transformers with the integers and "
        "scales\n"
        "of grids as they are, never rounded again; embedding, head and norms become floats. `quantize --target vllm'\n"
        "makes a model that fits. safetensors: a folder of floats.\n\n"
        "  wcompress quantize --format Q4_K_M -o model.wcz model/\n"
        "  wcompress export --to gguf model.wcz\n\n"
        "  wcompress quantize --bits 4 --target vllm -o model.wcz model/\n"
        "  wcompress export --to gptq --target vllm model.wcz",
    .opt_size = sizeof(options),
    .options = export_options,
    .defaults = defaults,
    .run = run,
};
