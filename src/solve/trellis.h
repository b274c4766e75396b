/* trellis.h - entropy-constrained trellis-coded quantization of a sequence of reals.
 *
 * Points are the integers j, in units of a step d: x is replaced by j d, and j is entropy-coded. A scalar quantizer
 * that may take any integer ends 0.254 bit above the rate-distortion function R(D) of a smooth source: its cells are
 * intervals, and in high dimension balls fill space better. A trellis code builds good cells in many dimensions from
 * integers:
 *
 *   The integers are cut into four residue classes mod 4. A finite-state machine walks along the sequence; in state s
 *   only the classes z0 and z0 + 2 are allowed, z0(s) = 0 (even integers) or 1 (odd ones), and which of the two was
 *   taken, z1, moves the state. A step thus offers the integers of one parity: a scalar quantizer of step 2 d, with 1
 *   bit less entropy than the integers; but the sequences of classes that the machine can produce are those of a
 *   convolutional code (Ungerboeck, IEEE Trans. IT 28, 1982; as a quantizer: Marcellin and Fischer, 1990; with entropy
 *   coding: Fischer and Wang, 1992), so that the nearest one to a sequence is found by dynamic programming (Viterbi)
 *   and lies nearer than independent rounding. The decoder needs only the parity of (j - z0) / 2 to follow, as in the
 *   dependent quantization of VVC.
 *
 * Observer form (decoder, docs/FORMAT.md): s' = (s >> 1) ^ (z0 ? a : 0) ^ (z1 ? b : 0), z0 = s & 1, where 2 a + 1 and 2
 * b are the parity-check polynomials h0 and h1 of the code. Shift-register form (encoder): with k = (j - z0) / 2, z1 =
 * k & 1 and a linear change of coordinates of the states, s' = (2 s + i) mod 2^m with i = z1 ^ f(s): the two ways into
 * s' come from s' >> 1 and (s' >> 1) + 2^(m-1), which are neighbours of neighbours, and vector code needs no shuffles.
 * The coordinates: with s' = A s ^ b z1, let l be the linear functional with l A^i b = 0 for i < m - 1 and l A^(m-1) b
 * = 1; then bit m - 1 - i of the new number of s is l A^i s, and f(s) = l A^m s.
 *
 * The path minimises sum_t (u_t - j_t)^2 + lambda bits(j_t), u = x / d: bits = -log2 p(k | class of the sample, z0).
 * With steps of one d everywhere lambda = 0.1 .. 0.2 is best at all rates (measured, methods/rd/README.md): the slope
 * of R(D) would be 2 ln 2 D = 0.35, but probabilities are fitted to the outcome, and that reinforces a strong lambda.
 * Reconstruction at the mean of what was mapped to a point, instead of at the point, matters below 2 bits; paths are
 * chosen with points, for means that move paths that move means shrink without end.
 *
 * Measured for N(0, 1), bits above R(D) at 1, 2, 3, 4 bits (tests/unit/test_trellis.c):
 *     1 state 0.24 0.25 0.25 0.25    4: 0.09 0.09 0.09 0.09    8: 0.07 0.08 0.08 0.08   64: 0.05 0.05 0.05 0.05
 *     256: 0.04 0.03 0.03 0.03 */
#ifndef WC_SOLVE_TRELLIS_H
#define WC_SOLVE_TRELLIS_H

#include "base/coded.h"
#include "kernels/trellis.h"

typedef struct wc_trellis {
    unsigned memory, a, b; /* 2^memory states; a, b of the observer form */
    size_t states;
    int32_t z[WCK_TRELLIS_STATES], f[WCK_TRELLIS_STATES]; /* 0 or -1, of a state in shift-register form */
    uint8_t residue[2 * WCK_TRELLIS_STATES]; /* mod 4, of the point that takes s to (2 s + i) mod states: at 2 s + i */
} wc_trellis;

/* memory 0 (one state: scalar quantization by even integers) or 2 .. 8; false for any other. */
bool wc_trellis_make(unsigned memory, wc_trellis *out);

/* Memory for sequences of up to n samples. Free with wc_trellis_work_free. */
typedef struct wc_trellis_work {
    size_t n;
    float *cost;    /* [4, n] */
    int32_t *point; /* [4, n] */
    uint8_t *from;  /* [n, states] */
} wc_trellis_work;
wc_status wc_trellis_work_make(wc_ctx *ctx, const wc_trellis *t, size_t n, wc_trellis_work *out);
void wc_trellis_work_free(wc_trellis_work *w);

/* j [n] = the cheapest path from state 0 (both forms) for u [n], n <= work->n, class_of [n] < WCK_TRELLIS_CLASSES.
 * Finite u; what lies beyond 4 WCK_TRELLIS_LIMIT goes to the last point. Returns its cost. */
float wc_trellis_run(const wc_trellis *t, const wck_trellis *kernel, const wck_trellis_rates *rates, float lambda,
                     size_t n, const float *u, const uint8_t *class_of, wc_trellis_work *work, int16_t *j);

/* The same cost and a path of that cost, written from the definition, in observer form: the truth for tests. */
float wc_trellis_reference(const wc_trellis *t, const wck_trellis_rates *rates, float lambda, size_t n, const float *u,
                           const uint8_t *class_of, wc_trellis_work *work, int16_t *j);

#endif
