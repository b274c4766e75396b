/* scheme.h - how a tensor is stored, as far as other runtimes care: as floats, as integers with steps, as one of ggml's
 * types, or in a way that only we have. From the index of a .wcz or from a plan; no value is looked at. */
#ifndef WC_EXPORT_SCHEME_H
#define WC_EXPORT_SCHEME_H

#include "input.h"
#include "model/model.h"

typedef enum wc_scheme_kind {
    WC_SCHEME_FLOAT,
    WC_SCHEME_GRID, /* one grid, no transform but a permutation: w = s (q - z) */
    WC_SCHEME_GGML,
    WC_SCHEME_OTHER
} wc_scheme_kind;

typedef struct wc_scheme {
    char name[WC_NAME_SIZE]; /* of the tensor */
    size_t rows, cols;
    wc_role role;
    wc_stage stage;       /* of a linear, else WC_N_STAGES */
    size_t layer, linear; /* of a linear: 0.. 6, index in wc_block.linear; SIZE_MAX otherwise */
    wc_scheme_kind kind;
    char what[48]; /* "lut", "grid + sparse", "a transform and grid", for messages */
    /* of a grid: */
    unsigned bits, scale_bits;
    size_t group, tile;
    bool reordered; /* groups are not of neighbouring columns: a permutation goes before several of them */
    wc_zero_kind zero_kind;
    float zero_fixed;
} wc_scheme;

/* Name, shape and role; kind FLOAT. */
wc_scheme wc_scheme_named(const wc_config *c, const char *name, size_t rows, size_t cols);
/* Fills kind, what and the grid from n parts in the order of the file. */
void wc_scheme_of_parts(wc_scheme *s, const wc_part *part, size_t n_parts, size_t n_transforms);

/* All zeros are 2^(bits-1). */
bool wc_scheme_symmetric(const wc_scheme *s);

/* NULL, or why the tensor is not integers with a scale and an integer zero per group: "scales are 4-bit integers under
 * one f16 per row", and in *mend what to do about it. */
const char *wc_scheme_refusal(const wc_scheme *s, const char **mend);

/* The tensors of a model that runtimes look at: those of role LINEAR, EMBED and HEAD, by layer and linear; *list is
 * freed with free(). Needs in->has_config. */
wc_status wc_schemes(wc_ctx *ctx, const wc_input *in, wc_scheme **list, size_t *n);

#endif
