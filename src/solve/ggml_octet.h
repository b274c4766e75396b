/* ggml_octet.h - eight weights onto a grid of ggml with signs, in the exact metric of error feedback or descent.
 *
 * (t - x) G (t - x)^T is to be small, x = S (signs o entries), G [8, 8] positive definite. With signs fixed, the best
 * entry is found by looking at all of them (in the metric's factor: G = R R^T, R upper); with entries fixed, the best
 * single change of a sign (of two, where their number must stay even) follows from the gradient. Both never lose, and
 * alternate. Two entries of 4 are first chosen one after the other with feedback, then each with the other fixed. */
#ifndef WC_SOLVE_GGML_OCTET_H
#define WC_SOLVE_GGML_OCTET_H

#include "solve/ggml_fit.h"

typedef struct wc_octet_metric {
    float g[64], r[64], inverse[64]; /* G, its upper factor, G^{-1} */
    float own[2][16], shift[2][16];  /* for each four: the factor of its own block of G; G_og G_gg^{-1}, o the other */
    float chain[16];                 /* R_01 R_11^{-1}: what the first four's error moves the target of the second by */
} wc_octet_metric;

/* From G [8, 8]: what follows from it. */
void wc_octet_metric_make(const float g[64], wc_octet_metric *m);

/* Columns `first' .. first + 8 of the panel: codes, signs and value [8, nr] for the targets t [8, nr]. keep: what
 * the panel holds (value is it on entry) stays where it is no worse. */
void wc_octet_round(wc_ggml_panel *p, size_t first, const wc_octet_metric *m, const float *t, bool keep, float *value);

#endif
