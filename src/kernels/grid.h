/* grid.h - the element-wise loops of uniform-grid solvers.
 *
 * Matrices are transposed: one column of W is a contiguous run of `nr' values, one per row of W in the panel, and every
 * loop is independent over those rows. That vectorises without a reduction, so the levels agree bit for bit.
 *
 * A grid per row: step s, its reciprocal inv (0 when s is 0), zero z. Rounding is to nearest, ties to even:
 *     q = rne(clamp(t * inv + z, 0, qmax)),   w^ = s * (q - z) */
#ifndef WC_KERNELS_GRID_H
#define WC_KERNELS_GRID_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

enum { WCK_LANES = 32 }; /* rows of a search tile: 128 columns of it are 16 KiB, so 40 passes over it stay in L1 */

/* Sums over the columns of a search tile, c = q - z: of h (w^ - w)^2, h w c, h c^2, h c, h w. */
enum { WCK_SUM_ERR, WCK_SUM_WC, WCK_SUM_CC, WCK_SUM_C, WCK_SUM_W, WCK_N_SUMS };

typedef struct wck_grid {
    /* code[r], value[r] = the nearest grid point to t[r]. */
    void (*round)(size_t nr, const float *t, const float *s, const float *inv, const float *z, float qmax,
                  uint8_t *code, float *value);
    /* y[r] += sum_k m[k * ldm] x[k * nr + r], k < nk: feedback inside a small block of columns. */
    void (*combine)(size_t nk, size_t nr, const float *m, size_t ldm, const float *x, float *y);
    /* One coordinate-descent step on one column: target = w^ + d * inv_h. Writes the new code, x = old w^ - new w^, and
     * adds x to the residual e = w - w^. */
    void (*descend)(size_t nr, const float *d, float inv_h, const float *s, const float *inv, const float *z,
                    float qmax, uint8_t *code, float *x, float *e);
    /* value[r] = code[r] - z[r] */
    void (*centre)(size_t nr, const uint8_t *code, const float *z, float *value);
    /* acc[r] += a[r] * b[r] */
    void (*muladd)(size_t nr, const float *a, const float *b, float *acc);
    /* acc[r] += weight * (a[r] - b[r])^2, squares in f32, sum in f64 */
    void (*loss)(size_t nr, const float *a, const float *b, double weight, double *acc);

    /* Search tiles w [g, WCK_LANES], column weights h [g]; s, inv, z and the results have WCK_LANES values. */
    void (*range)(size_t g, const float *w, float *lo, float *hi);
    /* err = sum_j h_j (w^_j - w_j)^2 */
    void (*error)(size_t g, const float *w, const float *h, const float *s, const float *inv, const float *z,
                  float qmax, float *err);
    /* The same, and the sums of the normal equation of s: wq = sum h w (q - z), qq = sum h (q - z)^2. */
    void (*normal)(size_t g, const float *w, const float *h, const float *s, const float *inv, const float *z,
                   float qmax, float *err, float *wq, float *qq);
    /* All that the normal equations of s and z together need. */
    void (*affine)(size_t g, const float *w, const float *h, const float *s, const float *inv, const float *z,
                   float qmax, float sum[WCK_N_SUMS][WCK_LANES]);
    /* These with a weight for every element: h [g, WCK_LANES]. */
    void (*error_each)(size_t g, const float *w, const float *h, const float *s, const float *inv, const float *z,
                       float qmax, float *err);
    void (*normal_each)(size_t g, const float *w, const float *h, const float *s, const float *inv, const float *z,
                        float qmax, float *err, float *wq, float *qq);
    void (*affine_each)(size_t g, const float *w, const float *h, const float *s, const float *inv, const float *z,
                        float qmax, float sum[WCK_N_SUMS][WCK_LANES]);
} wck_grid;

const wck_grid *wck_grid_at(wck_level level); /* level <= wck_level_supported(); every level gives the same bits */

#endif
