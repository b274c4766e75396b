/* ggml_fit.h - a panel of rows on its way to blocks of ggml, and the search for its scales.
 *
 * Scales and mins are searched with column weights before any code is final:
 *   1. per run of `sub' weights the S (and M) with the least weighted error under nearest codes, by a scan and least
 *      squares (dossier section 6: SYM, ASYM, and LATTICE over the whole grid);
 *   2. per block d (and m) and the integer codes that come nearest to them, errors weighted by what they cost;
 *   3. neighbouring scale and min codes are tried with real rounding, the best kept.
 * Everything here is in the units of W: d and m are f16 as they are. */
#ifndef WC_SOLVE_GGML_FIT_H
#define WC_SOLVE_GGML_FIT_H

#include "base/part.h"
#include "kernels/ggml.h"

enum { WC_GGML_BLOCK = 256, WC_GGML_SUBS = 16 }; /* most weights, and most runs with a scale, of a block */

/* Weights of squared errors: h_j of column j, times the square root of (the block's mean square + w^2), which protects
 * large weights beyond what the diagonal knows; or w^2 alone for want of statistics. */
typedef enum wc_ggml_weigh { WC_GGML_COLUMN, WC_GGML_IMATRIX, WC_GGML_SQUARE } wc_ggml_weigh;

typedef struct wc_ggml_panel {
    const wc_ggml_type *type;
    const wck_ggml *kernel;
    size_t cols, nr;
    unsigned qmin;          /* the lowest code to use: runtimes negate Q8_0, so -128 is out */
    float *level;           /* [codes] or [codes, dim] */
    float *d, *m;           /* [cols / block, nr] values of f16 */
    uint8_t *scale, *min;   /* [cols / sub, nr] */
    float *s, *inv, *least; /* [cols / sub, nr] S, 1/S or 0, M as they will be decoded */
    uint16_t *code;         /* [cols / dim, nr] */
    uint8_t *sign;          /* [cols / 8, nr] */
    float *weight;          /* [block, nr] scratch */
} wc_ggml_panel;

/* For panels of `rows' rows; on failure what was made is freed by wc_ggml_panel_free. */
wc_status wc_ggml_panel_alloc(wc_ctx *ctx, const wc_ggml_type *t, size_t cols, size_t rows, wc_ggml_panel *p);
void wc_ggml_panel_free(wc_ggml_panel *p);
/* Rows r0 .. r0 + nr of g. */
void wc_ggml_panel_store(const wc_ggml_panel *p, size_t r0, wc_ggml *g);

/* s, inv and least of a run from d, m and the codes, for row r or, wc_ggml_scales, all rows of a block. */
void wc_ggml_scale(wc_ggml_panel *p, size_t sub, size_t r);
void wc_ggml_scales(wc_ggml_panel *p, size_t block);

/* d, m, scale and min codes for e [cols, nr]; weight [cols]. For a grid type codes and signs are left at the nearest
 * entries too. *saturated counts blocks whose scale is beyond f16. */
void wc_ggml_fit(wc_ggml_panel *p, const float *e, const float *weight, wc_ggml_weigh weigh, size_t *saturated);

/* code, value [nr] = the nearest level to t [nr] in a column of a type with dim 1. */
void wc_ggml_round(wc_ggml_panel *p, size_t column, const float *t, float *value);

/* value [sub, nr] of a run from scales and codes. */
void wc_ggml_expand(const wc_ggml_panel *p, size_t sub, float *value);

#endif
