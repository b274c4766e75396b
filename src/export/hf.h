/* hf.h - a model as a Hugging Face folder: safetensors, config.json, tokenizer; either as plain floats, or with its
 * linear layers as the integers of GPTQ, AWQ or compressed-tensors, taken over from the grids of a .wcz without any
 * rounding. What is no linear layer becomes floats. Packings: base/packing.h. */
#ifndef WC_EXPORT_HF_H
#define WC_EXPORT_HF_H

#include "export/check.h"
#include "export/folder.h"

typedef struct wc_hf_options {
    const char *path;   /* of the folder */
    const char *format; /* "safetensors" or a name in wc_hf_formats */
    wc_dtype dtype;  /* of the floats: F16, BF16, F32; NONE: what the original had, or with integers that of scales */
    wc_dtype scales; /* NONE: see wc_integers_open; F16, BF16: rounded where they must be */
    uint64_t shard_bytes; /* of tensors in a file at most */
    bool force, dry_run;
} wc_hf_options;

typedef struct wc_hf_result {
    uint64_t bytes;
    size_t tensors, files;          /* in the safetensors files; those files */
    size_t integers;                /* linear layers taken over as integers */
    size_t rounded, rounded_scales; /* tensors of floats in which some value was rounded; scales that were */
} wc_hf_result;

/* The formats with integers and what they can say. */
typedef struct wc_hf_format {
    const char *name, *method, *checkpoint; /* quant_method; gptq's checkpoint_format, or NULL */
    unsigned sym_bits, asym_bits;           /* bit b: b bits, when all zeros are 2^(b-1); with other zeros */
    bool mixed;                             /* linears of different bits and groups in one model */
    bool f16_scales;                        /* only these */
    bool g_idx;                             /* groups of any columns */
} wc_hf_format;
extern const wc_hf_format wc_hf_formats[];
enum { WC_N_HF_FORMATS = 4 };
const wc_hf_format *wc_hf_format_find(const char *name); /* NULL: there is none */

/* What to know of g_idx in compressed-tensors. */
extern const char wc_hf_actorder_versions[];

/* list [n]: the schemes of in's tensors (wc_schemes), which wc_check has passed for this format; not needed for
 * safetensors. WC_UNSUPPORTED: something that the format or the dtype cannot hold; the sentence names tensor, number
 * and what to do. WC_OPTION: the folder exists. WC_VERIFY: a damaged .wcz. Holds one packed tensor in memory. */
wc_status wc_export_hf(wc_ctx *ctx, const wc_input *in, const wc_scheme *list, size_t n, const wc_hf_options *opt,
                       wc_hf_result *result);

#endif
