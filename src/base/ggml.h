/* ggml.h - the block types of ggml (GGUF files): one list for the methods, the encoder, the decode library and the
 * reader and writer of GGUF.
 *
 * A row is cut into blocks. Inside a block, every run of `sub' weights has a scale code (and a min code), every run of
 * `dim' weights a code: a level for dim 1, else an entry of a grid of magnitudes whose signs are stored apart. What the
 * numbers mean:
 *     w = S v - M,   S = d (mul * scale + add),   M = m * (the min code, or 1 where there are none)
 * with f16 d and m per block, and v a level (table, or code + lo) or a signed entry of the grid. */
#ifndef WC_BASE_GGML_H
#define WC_BASE_GGML_H

#include <stddef.h>
#include <stdint.h>

/* name, id in GGUF files | block: weights, bytes | sub | dim | bits of a code | codes | scale: bits, mul, add |
 * bits of a min code | has m | bits of signs per 8 weights (7: their number is even) | lo */
#define WC_GGML_LIST(X)                                                \
    X(Q4_0, 2, 32, 18, 32, 1, 4, 16, 0, 0, 1, 0, 0, 0, -8)             \
    X(Q4_1, 3, 32, 20, 32, 1, 4, 16, 0, 0, 1, 0, 1, 0, 0)              \
    X(Q5_0, 6, 32, 22, 32, 1, 5, 32, 0, 0, 1, 0, 0, 0, -16)            \
    X(Q5_1, 7, 32, 24, 32, 1, 5, 32, 0, 0, 1, 0, 1, 0, 0)              \
    X(Q8_0, 8, 32, 34, 32, 1, 8, 256, 0, 0, 1, 0, 0, 0, -128)          \
    X(Q2_K, 10, 256, 84, 16, 1, 2, 4, 4, 1, 0, 4, 1, 0, 0)             \
    X(Q3_K, 11, 256, 110, 16, 1, 3, 8, 6, 1, -32, 0, 0, 0, -4)         \
    X(Q4_K, 12, 256, 144, 32, 1, 4, 16, 6, 1, 0, 6, 1, 0, 0)           \
    X(Q5_K, 13, 256, 176, 32, 1, 5, 32, 6, 1, 0, 6, 1, 0, 0)           \
    X(Q6_K, 14, 256, 210, 16, 1, 6, 64, 8, 1, -128, 0, 0, 0, -32)      \
    X(IQ2_XXS, 16, 256, 66, 32, 8, 8, 256, 4, .25f, .125f, 0, 0, 7, 0) \
    X(IQ2_XS, 17, 256, 74, 16, 8, 9, 512, 4, .25f, .125f, 0, 0, 7, 0)  \
    X(IQ3_XXS, 18, 256, 98, 32, 4, 8, 256, 4, .5f, .25f, 0, 0, 7, 0)   \
    X(IQ4_NL, 20, 32, 18, 32, 1, 4, 16, 0, 0, 1, 0, 0, 0, 0)           \
    X(IQ3_S, 21, 256, 110, 32, 4, 9, 512, 4, 2, 1, 0, 0, 8, 0)         \
    X(IQ2_S, 22, 256, 82, 16, 8, 10, 1024, 4, .25f, .125f, 0, 0, 8, 0) \
    X(IQ4_XS, 23, 256, 136, 32, 1, 4, 16, 6, 1, -32, 0, 0, 0, 0)       \
    X(TQ1_0, 34, 256, 54, 256, 1, 2, 3, 0, 0, 1, 0, 0, 0, -1)          \
    X(TQ2_0, 35, 256, 66, 256, 1, 2, 3, 0, 0, 1, 0, 0, 0, -1)

/* Ids that are no blocks but plain floats; and those that only other tools write. */
enum { WC_GGML_F32 = 0, WC_GGML_F16 = 1, WC_GGML_BF16 = 30 };
#define X(name, id, ...) WC_GGML_##name = id,
enum wc_ggml_id { WC_GGML_LIST(X) };
#undef X

typedef struct wc_ggml_type {
    const char *name;
    unsigned id, block, bytes, sub, dim, bits, codes, scale_bits;
    float mul, add;
    unsigned min_bits, has_m, sign_bits;
    int lo;
} wc_ggml_type;

/* The levels of IQ4_NL and IQ4_XS. */
static const int8_t wc_ggml_iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const uint8_t wc_ggml_iq2_levels[4] = {8, 25, 43, 0}; /* no entry of a grid has the last */
static const uint8_t wc_ggml_iq3xxs_levels[8] = {4, 12, 20, 28, 36, 44, 52, 62};
static const uint8_t wc_ggml_iq3s_levels[8] = {1, 3, 5, 7, 9, 11, 13, 15};

#endif
