/* grid_options.h - the options that every method with a uniform grid has, with one meaning and one default. */
#ifndef WC_SOLVE_GRID_OPTIONS_H
#define WC_SOLVE_GRID_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum wc_search { WC_SEARCH_MINMAX, WC_SEARCH_MSE, WC_SEARCH_HESSIAN } wc_search;

typedef struct wc_grid_options {
    int bits;       /* 1..8 per weight */
    int group;      /* columns that share a scale; 0: the whole row; larger than the row: the whole row */
    bool sym;       /* a fixed zero, nothing stored for it; else an integer zero per group */
    int scale_bits; /* 0: an f16 scale per group; 2..8: integer scales under one f16 per row */
    int search;     /* wc_search */
} wc_grid_options;

/* The lines of an option table. Groups of 32 under 4-bit scales cost 4/32 bits per weight, as f16 scales for groups of
 * 128 do, and leave 10 % less layer error at 3 bits (layers of a small trained model). T is the method's option struct,
 * m its wc_grid_options member. */
/* clang-format off */
#define WC_GRID_OPTIONS(T, m)                                                                                     \
    {"bits", WC_OPT_INT, offsetof(T, m.bits), 3, 1, 8, NULL, "bits per weight"},                                  \
    {"group", WC_OPT_INT, offsetof(T, m.group), 32, 0, 65536, NULL, "columns per scale; 0: the whole row"},       \
    {"sym", WC_OPT_BOOL, offsetof(T, m.sym), 1, 0, 1, NULL, "fixed zero; no: an integer zero per group"},         \
    {"scale_bits", WC_OPT_INT, offsetof(T, m.scale_bits), 4, 0, 8, NULL, "bits of integer scales; 0: f16 scales"}, \
    {"search", WC_OPT_WORD, offsetof(T, m.search), WC_SEARCH_HESSIAN, 0, 2, "minmax|mse|hessian",                 \
     "what the scales minimise; hessian without calibration means mse"}
/* clang-format on */

#endif
