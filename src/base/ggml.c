#include "base/ggml.h"

#include <string.h>

#include "base/ggml_grids.h"
#include "base/part.h"

static const wc_ggml_type types[] = {
#define X(name, ...) {#name, __VA_ARGS__},
    WC_GGML_LIST(X)
#undef X
};
enum { N_TYPES = sizeof types / sizeof *types };

const wc_ggml_type *wc_ggml_type_by_id(unsigned id)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].id == id) return &types[i];
    return NULL;
}

const wc_ggml_type *wc_ggml_type_by_name(const char *name)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (!strcmp(types[i].name, name)) return &types[i];
    return NULL;
}

void wc_ggml_levels(const wc_ggml_type *t, float *level)
{
    bool table = t->id == WC_GGML_IQ4_NL || t->id == WC_GGML_IQ4_XS;
    for (unsigned i = 0; i < t->codes; i++)
        level[i] = table ? wc_ggml_iq4_levels[i] : (float)((int)i + t->lo);
}

void wc_ggml_entries(const wc_ggml_type *t, float *entry)
{
    static const struct {
        unsigned id, bits;
        const uint16_t *word;
        const uint8_t *level;
    } grids[] = {{WC_GGML_IQ2_XXS, 2, wc_ggml_iq2xxs, wc_ggml_iq2_levels},
                 {WC_GGML_IQ2_XS, 2, wc_ggml_iq2xs, wc_ggml_iq2_levels},
                 {WC_GGML_IQ2_S, 2, wc_ggml_iq2s, wc_ggml_iq2_levels},
                 {WC_GGML_IQ3_XXS, 3, wc_ggml_iq3xxs, wc_ggml_iq3xxs_levels},
                 {WC_GGML_IQ3_S, 3, wc_ggml_iq3s, wc_ggml_iq3s_levels}};
    for (size_t g = 0; g < sizeof grids / sizeof *grids; g++)
        for (unsigned i = 0; grids[g].id == t->id && i < t->codes; i++)
            for (unsigned j = 0; j < t->dim; j++)
                entry[i * t->dim + j] =
                    grids[g].level[grids[g].word[i] >> grids[g].bits * j & ((1u << grids[g].bits) - 1)];
}
