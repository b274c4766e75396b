/* grid_fit.h - scales and zeros of a uniform grid, for a panel of rows.
 *
 * A panel is some rows of W, transposed to [cols, nr] so that all loops run over rows (kernels/grid.h). Inside the
 * solvers everything is in units of 2^scale_exp: a one-level step s is then exactly an f16 value, and weights of any
 * magnitude sit in a range where f32 squares neither over- nor underflow. */
#ifndef WC_SOLVE_GRID_FIT_H
#define WC_SOLVE_GRID_FIT_H

#include "base/part.h"
#include "kernels/grid.h"
#include "solve/grid_options.h"

/* The geometry of the part that these options give for W [rows, cols]; scale_exp 0, no arrays. */
void wc_grid_plan(size_t rows, size_t cols, const wc_grid_options *opt, wc_grid *out);
/* NULL, or why these options are no grid. */
const char *wc_grid_refusal(const wc_grid_options *opt);

/* The exponent that puts max |w| into [2^8, 2^9): steps then lie in f16's normal range for groups down to 2^-19 of the
 * largest. Kept within -125..111 so that 2^-24 * 2^e and 65504 * 2^e are f32 values. 0 for max_abs 0. */
int wc_grid_scale_exp(float max_abs);

/* HQQ's constants (grid dossier section 4; published: 0.7, 10, 1.01, 20). */
typedef struct wc_hqq {
    double power;       /* p of phi = |.|^p, below 1 */
    double beta, kappa; /* of the splitting; beta grows by kappa each time */
    int iterations;
} wc_hqq;

/* One panel of a grid in the making. s, inv, z belong to a group and row, code to a column and row. */
typedef struct wc_grid_panel {
    const wc_grid *grid; /* geometry, and scale_exp */
    const wck_grid *kernel;
    size_t nr;           /* rows of this panel */
    float *s, *inv, *z;  /* [groups, nr] the step as it will be decoded / 2^scale_exp, 1/s or 0, the zero */
    float *row_scale;    /* [nr] two levels: d, an f16 value */
    uint8_t *scale_code; /* [groups, nr] two levels: s = d * scale_code; tiles: s = offset + step * scale_code */
    float *scale_line;   /* [groups, tiles of rows, 2] tiles: offset and step, f16 values */
    uint8_t *zero_code;  /* [groups, nr] WC_ZERO_LINE: z = offset + step * zero_code */
    float *zero_line;    /* [groups, tiles of rows, 2] */
    const wc_hqq *hqq;   /* WC_SEARCH_HQQ; the caller sets it after wc_grid_panel_alloc */
    float step;          /* WC_SEARCH_SLIM: the step of all groups; likewise */
    uint8_t *code;       /* [cols, nr] */
    uint8_t *mask;       /* [cols, nr] 1: has a code, 0: a hole; NULL: no holes. The caller fills it */
    float *held;         /* [nr] of wc_grid_steps */
    float *scratch;      /* of wc_grid_fit */
} wc_grid_panel;

/* Room for panels of up to `rows' rows. *p is zeroed first; wc_grid_panel_free accepts a partly made one. */
wc_status wc_grid_panel_alloc(wc_ctx *ctx, const wc_grid *grid, const wck_grid *kernel, size_t rows, wc_grid_panel *p);
void wc_grid_panel_free(wc_grid_panel *p);

/* The steps [nr] of a column: those of its group, but 0 in holes, so that w^ = s (q - z) is 0 there whatever q is.
 * Valid until the next call. */
static inline const float *wc_grid_steps(const wc_grid_panel *p, size_t column)
{
    const float *s = p->s + column / p->grid->group * p->nr;
    if (!p->mask) return s;
    const uint8_t *keep = p->mask + column * p->nr;
    for (size_t r = 0; r < p->nr; r++)
        p->held[r] = keep[r] ? s[r] : 0;
    return p->held;
}

/* s, inv and z (and the row scales) of the groups g0 .. g1 from the target wt [cols of these groups, nr]; h [cols of
 * these groups] are the weights of the squared errors; holes have none. Two-level grids must be fitted whole (g0 = 0,
 * g1 = groups). */
void wc_grid_fit(wc_grid_panel *p, size_t g0, size_t g1, const float *wt, const float *h, wc_search search);

/* The admissible step of group g, row r nearest to s; and making it the step. Zeros likewise. */
float wc_grid_near_step(const wc_grid_panel *p, size_t g, size_t r, float s);
void wc_grid_set_step(wc_grid_panel *p, size_t g, size_t r, float s);
float wc_grid_near_zero(const wc_grid_panel *p, size_t g, size_t r, float z);
void wc_grid_set_zero(wc_grid_panel *p, size_t g, size_t r, float z);

/* The line of row r in lines [groups, tiles of rows, 2]; its code 0 .. max nearest to x; the value of a code, in the
 * arithmetic of the decoder. */
static inline float *wc_panel_line(const wc_grid_panel *p, float *lines, size_t g, size_t r)
{
    return lines + 2 * (g * wc_ceil_div(p->nr, p->grid->tile) + r / p->grid->tile);
}

static inline float wc_line_value(const float line[2], float code)
{
    float product = line[1] * code;
    return line[0] + product;
}

float wc_line_code(const float line[2], float x, float max);

/* Copies the panel into rows r0 .. r0 + nr of the grid's arrays. */
void wc_grid_panel_store(const wc_grid_panel *p, size_t r0, wc_grid *out);

#endif
