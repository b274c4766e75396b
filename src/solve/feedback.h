/* feedback.h - error feedback (GPTQ = LDLQ = Babai's nearest plane), for any way of rounding.
 *
 * With H = R R^T, R upper, in processing order:
 *     t_i = w_i + sum_{k<i} (w_k - q_k) R_ki / R_ii,   q_i = round(t_i)
 * which equals the published recurrence with the Cholesky factor of H^{-1} (hessian dossier section 3 fact 2) but needs
 * no inverse. For blocks of columns rounded together, U_kB = R_kB R_BB^{-1} takes the place of R_ki / R_ii.
 *
 * Loss identity: tr((W - Q) H (W - Q)^T) = sum_B |(t_B - q_B) R_BB|^2, because (W - Q) R has block B equal to
 * (t_B - q_B) R_BB: row by row, ((w - q) R)_B = (w_B - q_B) R_BB + sum_{k<B} (w_k - q_k) R_kB = (t_B - q_B) R_BB.
 *
 * Cost: rows * n^2 flops, all but the last 32 columns of each sum in gemm. */
#ifndef WC_SOLVE_FEEDBACK_H
#define WC_SOLVE_FEEDBACK_H

#include "kernels/grid.h"
#include "solve/hessian.h"

/* How a panel of rows is rounded. Positions count in processing order. A rounder serves one panel and one thread. */
typedef struct wc_rounder {
    void *self;
    size_t width; /* columns decided together; 1 for scalar grids, at most 32 */
    size_t group; /* 0, or: begin_group is called before each run of `group' positions */
    /* t [count, nr]: the up-to-date targets of positions pos .. pos + count, for fitting a grid to them. */
    void (*begin_group)(void *self, size_t pos, size_t count, size_t nr, const float *t);
    /* q [count, nr] = the values chosen for the targets t [count, nr]; count is width, less at the end. Keeps the
     * codes. pivot [count, width] is R_BB, for rounders that want the exact metric |(t - q) R_BB|. */
    void (*round)(void *self, size_t pos, size_t count, size_t nr, const float *t, const float *pivot, float *q);
} wc_rounder;

/* The triangular sweep that feedback and coordinate descent share:
 *     for i = 0 .. n-1, `width' at a time:  y_i += sum_{k<i} m[k, i] x_k;  step(i) reads y_i and fills x_i.
 * m [n, n] ld ldm, strict upper (block) part used; x, y [n, nr]. Left-looking in several levels: by 16 and by 4
 * `block's, by runs of `outer' columns, by `block', by 32. A run begins with open(i, count), its y then complete up to
 * the run. */
typedef struct wc_sweep {
    const wck_grid *kernel;
    const float *m;
    size_t n, ldm, nr, width, outer, block; /* outer 0: no runs, no open */
    float *x, *y;
    void *self;
    void (*open)(void *self, size_t i, size_t count);
    void (*step)(void *self, size_t i, size_t count);
} wc_sweep;
void wc_sweep_run(const wc_sweep *s);

/* One panel. e [n, nr] in processing order: W on entry, W - Q on return. t [n, nr] and loss [nr] are scratch, q
 * [width, nr] too. Returns sum (t - q)^2 R^2 = tr((W-Q) H' (W-Q)^T).
 *
 * The columns first .. first + count can be worked on alone, once those before them are done (SparseGPT: a mask is
 * chosen for a run of columns in all panels, before any of them goes on): open makes their targets in t, as far as
 * earlier columns have a say, sweep does the rest and returns their part of the sum. run is both, for all columns. */
typedef struct wc_feedback {
    const wc_hessian *h;
    const wck_grid *kernel;
    size_t nr, block;
    float *e, *t, *q;
    double *loss;
} wc_feedback;
double wc_feedback_run(const wc_feedback *f, const wc_rounder *rounder);
void wc_feedback_open(const wc_feedback *f, size_t first, size_t count);
double wc_feedback_sweep(const wc_feedback *f, const wc_rounder *rounder, size_t first, size_t count);

#endif
