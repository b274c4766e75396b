#ifndef WC_EXPORT_HF_INTERNAL_H
#define WC_EXPORT_HF_INTERNAL_H

#include "export/hf.h"
#include "export/integers.h"

/* A linear layer that is written as integers. */
typedef struct wci_layer {
    const wc_scheme *scheme;
    wc_integers numbers;
    size_t group; /* as configs say it: 0 for a whole row */
    bool ordered; /* as configs say it: g_idx is to be looked at */
} wci_layer;

/* The linear layers of a model, as a config needs them. */
typedef struct wci_linears {
    const wc_hf_format *format; /* NULL: all are floats */
    const wc_scheme *list;      /* [n] with those that stay floats, and embedding and head */
    size_t n;
    wci_layer *layer; /* [n_layers] */
    size_t n_layers;
    wc_dtype dtype; /* of the floats; NONE: what they were */
} wci_linears;

/* config.json, with quantization_config where there are integers, and the other texts of the model. */
wc_status wci_hf_texts(wc_ctx *ctx, const wc_input *in, const wci_linears *l, wc_folder *f);

#endif
