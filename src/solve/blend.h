/* blend.h - how far to move a target before it is cut to a rank (ACES of SAES-SVD, arXiv 2602.03051).
 *
 * The target is W + beta D, D a correction for drift. In the space of the outputs, with S a root of H, it is G0 + beta
 * G1, G0 = W S and G1 = D S. Let U, V be the first r left and right singular vectors of G0; of any G they leave
 * R = (I - U U^T) G (I - V V^T). The least relative loss of a rank r that keeps these directions,
 *
 *     f(beta) = |R0 + beta R1|^2 / |G0 + beta G1|^2,
 *
 * is a quotient of two parabolas, (a beta^2 + b beta + c) / (A beta^2 + B beta + C): its stationary points solve
 * (a B - b A) beta^2 + 2 (a C - c A) beta + (b C - c B) = 0. */
#ifndef WC_SOLVE_BLEND_H
#define WC_SOLVE_BLEND_H

#include "solve/projector.h"

/* *beta = where f is least in [0, 1]: of the ends and the stationary points the best, the smaller of equals; 0 when
 * |G1| < 1e-6 |G0|. w, d [rows, cols]. Takes one eigendecomposition of W beside products; 1 <= rank <= min(rows, cols).
 * WC_NUMERIC as wc_projector_make. */
wc_status wc_blend(wc_ctx *ctx, const char *tensor, const float *w, const float *d, size_t rows, size_t cols,
                   const wc_metric *metric, size_t rank, double *beta);

/* The same from the six coefficients. */
double wc_blend_least(double a, double b, double c, double big_a, double big_b, double big_c);

#endif
