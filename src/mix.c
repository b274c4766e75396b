#include "mix.h"

#include <string.h>

enum { ATTN_Q, ATTN_K, ATTN_V, ATTN_OUTPUT, FFN_GATE, FFN_UP, FFN_DOWN }; /* indices of wc_block.linear */

/* Which layers a rule is for. */
typedef enum where {
    NOWHERE,
    ALL,
    MORE,      /* the first and last eighth, and every third between: llama.cpp's use_more_bits */
    EIGHTH,    /* the first eighth */
    SIXTEENTH, /* the first sixteenth */
    FIRST_TWO,
    FIRST_FOUR,
    SHARED, /* where 4 or more query heads share a key */
} where;

typedef struct rule {
    unsigned linear;
    where where;
    unsigned type;
} rule;

/* Rules are looked at in order, the first that fits decides. head 0: Q6_K; embed 0: the base type. */
struct wc_mix {
    const char *name;
    unsigned base, head, embed;
    rule rule[8];
};

#define T(name) WC_GGML_##name
static const wc_mix mixes[] = {
    {"Q4_0", T(Q4_0), 0, 0, {{FFN_DOWN, EIGHTH, T(Q4_1)}}},
    {"Q4_1", T(Q4_1), 0, 0, {{0}}},
    {"Q5_0", T(Q5_0), 0, 0, {{FFN_DOWN, EIGHTH, T(Q5_1)}}},
    {"Q5_1", T(Q5_1), 0, 0, {{0}}},
    {"Q8_0", T(Q8_0), T(Q8_0), 0, {{0}}},
    {"Q2_K",
     T(Q2_K),
     0,
     0,
     {{ATTN_V, SHARED, T(Q4_K)}, {ATTN_V, ALL, T(Q3_K)}, {FFN_DOWN, ALL, T(Q3_K)}, {ATTN_OUTPUT, ALL, T(Q3_K)}}},
    {"Q2_K_S", T(Q2_K), 0, 0, {{ATTN_V, SHARED, T(Q4_K)}, {FFN_DOWN, EIGHTH, T(Q4_K)}}},
    {"Q3_K_S", T(Q3_K), 0, 0, {{0}}},
    {"Q3_K_M",
     T(Q3_K),
     0,
     0,
     {{ATTN_V, FIRST_TWO, T(Q5_K)},
      {ATTN_V, ALL, T(Q4_K)},
      {FFN_DOWN, SIXTEENTH, T(Q5_K)},
      {FFN_DOWN, ALL, T(Q4_K)},
      {ATTN_OUTPUT, ALL, T(Q4_K)}}},
    {"Q3_K_L", T(Q3_K), 0, 0, {{ATTN_V, ALL, T(Q5_K)}, {FFN_DOWN, ALL, T(Q5_K)}, {ATTN_OUTPUT, ALL, T(Q5_K)}}},
    {"Q4_K_S", T(Q4_K), 0, 0, {{ATTN_V, FIRST_FOUR, T(Q5_K)}, {FFN_DOWN, EIGHTH, T(Q5_K)}}},
    {"Q4_K_M", T(Q4_K), 0, 0, {{ATTN_V, MORE, T(Q6_K)}, {FFN_DOWN, MORE, T(Q6_K)}}},
    {"Q5_K_S", T(Q5_K), 0, 0, {{0}}},
    {"Q5_K_M", T(Q5_K), 0, 0, {{ATTN_V, MORE, T(Q6_K)}, {FFN_DOWN, MORE, T(Q6_K)}}},
    {"Q6_K", T(Q6_K), 0, 0, {{0}}},
    {"IQ2_XXS",
     T(IQ2_XXS),
     T(Q5_K),
     T(Q2_K),
     {{ATTN_V, SHARED, T(Q4_K)}, {ATTN_V, ALL, T(Q2_K)}, {FFN_DOWN, EIGHTH, T(Q2_K)}}},
    {"IQ2_XS",
     T(IQ2_XS),
     T(Q5_K),
     T(Q2_K),
     {{ATTN_V, SHARED, T(Q4_K)}, {ATTN_V, ALL, T(Q2_K)}, {FFN_DOWN, EIGHTH, T(Q2_K)}}},
    {"IQ2_S",
     T(IQ2_XS),
     T(Q5_K),
     T(IQ3_S),
     {{ATTN_V, SHARED, T(Q4_K)}, {ATTN_V, ALL, T(IQ3_S)}, {FFN_DOWN, EIGHTH, T(IQ3_S)}, {ATTN_OUTPUT, ALL, T(IQ3_S)}}},
    {"IQ2_M",
     T(IQ2_S),
     T(Q5_K),
     T(IQ3_S),
     {{ATTN_V, SHARED, T(Q4_K)}, {ATTN_V, ALL, T(IQ3_S)}, {FFN_DOWN, EIGHTH, T(IQ3_S)}, {ATTN_OUTPUT, ALL, T(IQ3_S)}}},
    {"IQ3_XXS",
     T(IQ3_XXS),
     T(Q5_K),
     T(IQ3_S),
     {{ATTN_V, SHARED, T(Q4_K)}, {ATTN_Q, ALL, T(IQ2_S)}, {ATTN_K, ALL, T(IQ2_S)}, {ATTN_OUTPUT, ALL, T(IQ3_S)}}},
    {"IQ3_S", T(IQ3_S), 0, 0, {{ATTN_V, SHARED, T(Q4_K)}}},
    {"IQ3_M", T(IQ3_S), 0, 0, {{ATTN_V, ALL, T(Q4_K)}, {FFN_DOWN, EIGHTH, T(Q4_K)}, {ATTN_OUTPUT, ALL, T(Q4_K)}}},
    {"IQ4_NL", T(IQ4_NL), 0, 0, {{ATTN_V, SHARED, T(Q5_K)}, {FFN_DOWN, EIGHTH, T(Q5_K)}}},
    {"IQ4_XS", T(IQ4_XS), 0, 0, {{ATTN_V, SHARED, T(Q5_K)}, {FFN_DOWN, EIGHTH, T(Q5_K)}}},
    {"TQ1_0", T(TQ1_0), 0, T(Q4_K), {{0}}},
    {"TQ2_0", T(TQ2_0), 0, T(Q4_K), {{0}}},
};
#undef T
enum { N_MIXES = sizeof mixes / sizeof *mixes };

const wc_mix *wc_mix_find(const char *name)
{
    static const char *const aliases[][2] = {{"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}};
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (!strcmp(name, aliases[i][0])) name = aliases[i][1];
    for (size_t i = 0; i < N_MIXES; i++)
        if (!strcmp(name, mixes[i].name)) return &mixes[i];
    return NULL;
}

wc_status wc_mix_names(wc_ctx *ctx, wc_buf *out)
{
    for (size_t i = 0; i < N_MIXES; i++)
        WC_TRY(wc_buf_printf(ctx, out, "%s%s", i ? ", " : "", mixes[i].name));
    return WC_OK;
}

static bool holds(where w, const wc_config *c, size_t i)
{
    size_t n = c->layers;
    switch (w) {
    case NOWHERE: break;
    case ALL: return true;
    case MORE: return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    case EIGHTH: return i < n / 8;
    case SIXTEENTH: return i < n / 16;
    case FIRST_TWO: return i < 2;
    case FIRST_FOUR: return i < 4;
    case SHARED: return c->heads / c->kv_heads >= 4;
    }
    return false;
}

const wc_ggml_type *wc_mix_type(const wc_mix *m, const wc_config *c, wc_role role, size_t linear, size_t layer)
{
    unsigned type = m->base;
    if (role == WC_ROLE_HEAD || (role == WC_ROLE_EMBED && c->tied))
        type = m->head ? m->head : WC_GGML_Q6_K;
    else if (role == WC_ROLE_EMBED)
        type = m->embed ? m->embed : m->base;
    for (size_t i = 0; role == WC_ROLE_LINEAR && i < sizeof m->rule / sizeof *m->rule; i++) {
        const rule *r = &m->rule[i];
        if (r->linear != linear || !holds(r->where, c, layer)) continue;
        type = r->type;
        break;
    }
    return wc_ggml_type_by_id(type);
}
