/* vq_panel.h - inside wc_vq_solve: codebooks and scales as numbers, panels of rows, the choice of codes.
 *
 * Everything is in units of 2^scale_exp. Panels are those of panel.h: [cols, nr], one run of `nr' rows a column, but
 * cut so that a panel lies in one row block or holds whole ones. Work is shared out over WC_VQ_SHARES fixed lists of
 * panels, each with sums of its own, so results do not depend on the number of threads. */
#ifndef WC_SOLVE_VQ_PANEL_H
#define WC_SOLVE_VQ_PANEL_H

#include "kernels/grid.h"
#include "kernels/vq.h"
#include "solve/vq_solve.h"

enum { WC_VQ_SHARES = 16, WC_VQ_DIM = 16, WC_VQ_BOOKS = 8 };

/* All codebooks: value [blocks, books, k, d] as decoded; step [blocks, books], entry_bits 8. */
typedef struct wc_vq_books {
    float *value, *step;
} wc_vq_books;

typedef struct wc_vq_solver {
    wc_ctx *ctx;
    const wc_vq_problem *p;
    wc_vq *out; /* codes and signs live here; scales and entries are filled in at the end */
    const wck_vq *kernel;
    const wck_grid *grid;
    size_t d, k, books, vectors, groups;
    size_t col_blocks, strips;   /* blocks across and down */
    size_t panels, rows;         /* number of panels, some of them may be empty; rows of the largest */
    size_t per_strip, per_panel; /* panels per strip when a strip is larger than a panel, else strips per panel */
    wc_vq_books now;
    float *metric; /* [vectors, d, d] of stages 1 and 2; 0 beyond the last column */
    float *scale;  /* [rows, groups] as decoded */
    double *loss;  /* [panels] */
} wc_vq_solver;

/* What one thread needs for a panel. */
typedef struct wc_vq_work {
    const wc_vq_solver *s;
    size_t panel, r0, nr, share;
    uint16_t *code;           /* [books, vectors, nr] */
    uint8_t *sign;            /* [cols, nr] */
    float *scale, *inv;       /* [groups, nr] s, and 1/s or 0 */
    float *e, *t, *x, *q;     /* [cols, nr] */
    float *g, *u;             /* [d, nr] of choose: linear forms, targets of signs; overwritten by it */
    double *loss;             /* [nr] */
    float *norm, *features;   /* [books, k]; [k, features] with signs */
    struct wc_vq_beam *beams; /* two */
    float *score;             /* [beam, lanes] */
    uint32_t *pick;
} wc_vq_work;

wc_status wc_vq_work_alloc(const wc_vq_solver *s, wc_vq_work *w);
void wc_vq_work_free(wc_vq_work *w);

/* Rows of panel number i into w; false when it is empty. */
bool wc_vq_panel_at(const wc_vq_solver *s, size_t i, wc_vq_work *w);
/* Scales, and if `codes' codes and signs, of the rows of the panel; and back. */
void wc_vq_panel_load(wc_vq_work *w, bool codes);
void wc_vq_panel_store_codes(const wc_vq_work *w);

/* The number of the first codebook of row r of the panel, columns of vector v. */
size_t wc_vq_book_at(const wc_vq_work *w, size_t r, size_t v);
/* Rows from r on, up to the end of the row block or the panel. */
size_t wc_vq_strip_end(const wc_vq_work *w, size_t r);

/* y [cols, nr] = s (sum of the first `books' entries of `value'), signs applied. */
void wc_vq_expand(const wc_vq_work *w, const float *value, size_t books, float *y);

/* How codes are chosen: codebooks from .. to - 1, given the codes of those before; or, with `keep', one after the other
 * starting from the codes there are, which stay if nothing is better. */
typedef struct wc_vq_choice {
    size_t v, from, to, beam;
    const float *metric; /* [d, d] A */
    bool keep;
} wc_vq_choice;

/* Minimises x A x^T - 2 x . g per row over the sums x of entries (times signs); w->g [d, nr] as in units of s: g = A u
 * for the vector u nearest to A. With signs, w->u holds the vector whose signs are tried, beside those there are when
 * `keep'. Updates codes and signs and writes s x to y [d, nr]. */
void wc_vq_choose(wc_vq_work *w, const wc_vq_choice *c, float *y);

#endif
