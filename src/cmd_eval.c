/* cmd_eval.c - `wcompress eval'. */
#include <string.h>

#include "cli.h"
#include "eval.h"

typedef struct options {
    wc_cli_common common;
    const char *against, *ids, *protocol, *bos, *work_dir;
    wc_cli_list text;
    uint64_t seqlen, tokens, memory;
    double max_kl;
} options;

#define AT(field) offsetof(options, field)
static const wc_cli_option eval_options[] = {
    {"text", 't', WC_CLI_LIST, AT(text), "FILE", "text to predict, UTF-8 (default: the built-in calibration text)"},
    {"ids", 0, WC_CLI_TEXT, AT(ids), "FILE", "instead of text: raw little-endian u32 token ids"},
    {"against", 'a', WC_CLI_TEXT, AT(against), "MODEL",
     "the original: adds KL divergence, top-1 agreement, paired errors"},
    {"seqlen", 0, WC_CLI_COUNT, AT(seqlen), "N", "window length (default: the model's, at most 2048)"},
    {"tokens", 0, WC_CLI_COUNT, AT(tokens), "N", "use about N tokens, spread over the text (default: all)"},
    {"protocol", 'p', WC_CLI_TEXT, AT(protocol), "NAME",
     "daslab (whole windows), llamacpp (second halves, BOS first), both"},
    {"bos", 0, WC_CLI_TEXT, AT(bos), "WHEN", "auto or never"},
    {"max-kl", 0, WC_CLI_REAL, AT(max_kl), "X", "exit with code 4 when the KL divergence is above X"},
    {"memory", 0, WC_CLI_SIZE, AT(memory), "SIZE", "activations spill to disk above it (default: 80 % of RAM)"},
    {"work-dir", 0, WC_CLI_TEXT, AT(work_dir), "DIR", "folder for them (default: a fresh one below $TMPDIR)"},
    WC_CLI_COMMON(options),
};

static void defaults(void *p)
{
    options *o = p;
    o->protocol = "both";
    o->bos = "auto";
}

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    const options *o = opt;
    bool both = !strcmp(o->protocol, "both");
    (void)n;
    wc_eval_options e = {.model = operand[0],
                         .against = o->against,
                         .table = true,
                         .memory = o->memory,
                         .work_dir = o->work_dir,
                         .max_kl = o->max_kl};
    e.text = (wc_text_options){.files = o->text.item,
                               .n_files = o->text.n,
                               .ids_file = o->ids,
                               .seqlen = o->seqlen,
                               .max_tokens = o->tokens,
                               .bos = !strcmp(o->bos, "never") ? WC_BOS_NEVER : WC_BOS_AUTO};
    for (int p = 0; p < WC_N_PROTOCOLS; p++)
        e.want[p] = both || !strcmp(o->protocol, wc_protocol_name((wc_protocol)p));
    if (!e.want[0] && !e.want[1])
        return wc_fail(ctx, WC_OPTION, "--protocol %s: write daslab, llamacpp or both", o->protocol);
    if (strcmp(o->bos, "auto") && strcmp(o->bos, "never"))
        return wc_fail(ctx, WC_OPTION, "--bos %s: write auto or never", o->bos);
    if (o->max_kl != 0 && !o->against) return wc_fail(ctx, WC_OPTION, "--max-kl needs --against");
    if (o->max_kl < 0) return wc_fail(ctx, WC_OPTION, "--max-kl %g: a divergence is at least 0", o->max_kl);
    return wc_eval(ctx, &e, report, NULL);
}

const wc_command wc_command_eval = {
    .name = "eval",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "perplexity, and how far a compressed model is from the original",
    .description =
        "MODEL is a .wcz or a model in any form that is read (safetensors, GGUF, GPTQ, AWQ, compressed-tensors). Runs\n"
        "it over the text block by block; neither model is ever whole in memory. Prints perplexity by two protocols\n"
        "that must never be mixed, and with --against the KL divergence.\n\n"
        "  wcompress eval model.wcz --against model/ --text wiki.txt",
    .opt_size = sizeof(options),
    .options = eval_options,
    .defaults = defaults,
    .run = run,
};
