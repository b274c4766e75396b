/* grid_options.h - the options that every method with a uniform grid has, with one meaning and one default. */
#ifndef WC_SOLVE_GRID_OPTIONS_H
#define WC_SOLVE_GRID_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum wc_search {
    WC_SEARCH_MINMAX,
    WC_SEARCH_MSE,
    WC_SEARCH_HESSIAN,
    WC_SEARCH_SLIM, /* one step for the whole tensor, the best for the histogram of its weights */
    WC_SEARCH_HQQ   /* the range's steps, zeros by half-quadratic splitting */
} wc_search;

typedef struct wc_grid_options {
    int bits;       /* 1..8 per weight */
    int group;      /* columns that share a scale; 0: the whole row; larger than the row: the whole row */
    bool sym;       /* a fixed zero, nothing stored for it; else a zero per group, of zero_bits */
    int scale_bits; /* 0: an f16 scale per group; 2..8: integer scales under one f16 per row, or on the line of a tile
                     */
    int zero_bits;  /* without sym. 0: an integer zero per group, 16: an f16, 2..8: on the line of a tile */
    int tile;       /* rows whose scales lie on a line, 2, 4, 8 or 16; 0: no tiles */
    int search;     /* wc_search */
} wc_grid_options;

/* The lines of an option table. Groups of 32 under 4-bit scales cost 4/32 bits per weight, as f16 scales for groups of
 * 128 do, and leave 10 % less layer error at 3 bits (layers of a small trained model). T is the method's option struct,
 * m its wc_grid_options member. WC_GRID_SHAPE is all but the search, with defaults of the method's own. */
/* clang-format off */
#define WC_GRID_SHAPE(T, m, bits_, group_, sym_, scale_bits_, zero_bits_)                                         \
    {"bits", WC_OPT_INT, offsetof(T, m.bits), bits_, 1, 8, NULL, "bits per weight"},                              \
    {"group", WC_OPT_INT, offsetof(T, m.group), group_, 0, 65536, NULL, "columns per scale; 0: the whole row"},   \
    {"sym", WC_OPT_BOOL, offsetof(T, m.sym), sym_, 0, 1, NULL, "fixed zero; no: a zero per group"},               \
    {"scale_bits", WC_OPT_INT, offsetof(T, m.scale_bits), scale_bits_, 0, 8, NULL,                                \
     "bits of integer scales; 0: f16 scales"},                                                                    \
    {"zero_bits", WC_OPT_INT, offsetof(T, m.zero_bits), zero_bits_, 0, 16, NULL,                                  \
     "of a zero, if sym=no; 0: an integer, 16: an f16 number, 2..8: in a tile"},                                  \
    {"tile", WC_OPT_INT, offsetof(T, m.tile), 0, 0, 16, NULL,                                                     \
     "rows whose scales (and zeros) share an f16 offset and step: 2, 4, 8, 16"}
#define WC_GRID_OPTIONS(T, m)                                                                                     \
    WC_GRID_SHAPE(T, m, 3, 32, 1, 4, 0),                                                                          \
    {"search", WC_OPT_WORD, offsetof(T, m.search), WC_SEARCH_HESSIAN, 0, 3, "minmax|mse|hessian|slim",            \
     "what the scales minimise; hessian without calibration means mse"}
/* clang-format on */

#endif
