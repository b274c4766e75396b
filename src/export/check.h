/* check.h - whether a runtime will load a model, before hours are spent: representation, bits, groups, the tiles of
 * kernels, shards of tensor parallelism, layers that the runtime fuses, files. Rules are a table; runtimes are another.
 */
#ifndef WC_EXPORT_CHECK_H
#define WC_EXPORT_CHECK_H

#include "export/scheme.h"

typedef struct wc_check_options {
    const char *target; /* "vllm", "transformers", "llama.cpp" */
    const char *format; /* of the export (wc_hf_formats), NULL: any that the target reads */
    uint64_t tp;        /* tensor parallel shards, 1.. */
} wc_check_options;

typedef struct wc_finding {
    char tensor[WC_NAME_SIZE]; /* "": the model */
    char text[400];            /* what is wrong, with the number and the limit */
    char mend[120];
    bool fatal; /* it will not load, or not run as it should; else it will, but worse than it could */
} wc_finding;

typedef struct wc_findings {
    wc_finding *list;
    size_t n, capacity, fatal;
} wc_findings;
void wc_findings_free(wc_findings *f);

/* NULL-terminated names, for messages. */
extern const char *const wc_check_targets[];

/* Looks at the model `in', with its tensors stored as the schemes [n] (in the order of wc_schemes): those it has, or
 * those that a plan gives it. WC_OPTION: no such target or format, or shards where the target has none. WC_UNSUPPORTED:
 * a checkpoint that another program has quantized. What is wrong is in *out and no failure. */
wc_status wc_check(wc_ctx *ctx, const wc_input *in, const wc_scheme *list, size_t n, const wc_check_options *opt,
                   wc_findings *out);

/* The failure of a check with fatal findings: the first one, and how many more there are. WC_OK without. */
wc_status wc_check_failure(wc_ctx *ctx, const wc_input *in, const wc_check_options *opt, const wc_findings *f);

#endif
