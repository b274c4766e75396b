/* vq_books.h - inside wc_vq_solve: how codebooks are found for given codes. */
#ifndef WC_SOLVE_VQ_BOOKS_H
#define WC_SOLVE_VQ_BOOKS_H

#include "solve/vq_panel.h"

/* Sums per entry, in one copy per share (a single one when every row block lies in one panel). */
typedef struct wc_vq_sums {
    size_t shares, entries, d;
    double *num; /* [shares, entries, d] */
    double *den; /* [shares, entries, d, d] */
    double *err; /* [shares, entries] what the vectors of an entry cost */
} wc_vq_sums;

wc_status wc_vq_sums_alloc(const wc_vq_solver *s, wc_vq_sums *out);
void wc_vq_sums_free(wc_vq_sums *sums);

wc_status wc_vq_books_alloc(const wc_vq_solver *s, wc_vq_books *out);
void wc_vq_books_free(wc_vq_books *b);

/* Calls run for every panel that is not empty, share by share. */
void wc_vq_for_panels(const wc_vq_solver *s, wc_vq_work *work, void (*run)(wc_vq_work *w, void *arg), void *arg);

/* w->u = the vectors v of w->e in units of their scales, w->g = A u. */
void wc_vq_targets(wc_vq_work *w, size_t v, const float *t, const float *metric);

/* Stage 1 for codebook m: seeds, at most p->em rounds of k-means, entries rounded as stored, and the codes of the
 * panels for them. */
wc_status wc_vq_kmeans(wc_vq_solver *s, wc_vq_work *work, wc_vq_sums *sums, size_t m);

/* tr(E H E^T) for the codes and codebooks there are. */
double wc_vq_objective(const wc_vq_solver *s, wc_vq_work *work);

/* Codebooks by conjugate gradients: s->metric is that of H; *objective falls, or nothing changes. */
wc_status wc_vq_refit(wc_vq_solver *s, wc_vq_work *work, wc_vq_sums *sums, double *objective);

#endif
