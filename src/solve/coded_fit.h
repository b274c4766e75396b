/* coded_fit.h - the classes of a coded part (base/coded.h): laws of probability fitted to counts. */
#ifndef WC_SOLVE_CODED_FIT_H
#define WC_SOLVE_CODED_FIT_H

#include "base/coded.h"
#include "kernels/trellis.h"

enum { WC_CODED_RANGE = 4096 }; /* counts cover k from -this to this - 1; what is beyond counts at the ends */

/* n[q][k + WC_CODED_RANGE]: how often k = (j - q) / 2 with q = j mod 2 occurred. */
typedef struct wc_coded_count {
    double n[2][2 * WC_CODED_RANGE];
} wc_coded_count;

/* Counts of a normal source of this standard deviation, in steps, rounded to the nearest point of each parity. */
void wc_coded_count_normal(double deviation, wc_coded_count *out);

/* c->shift and the laws that code these counts best, by descent on the coded length. Returns that length in bits. */
double wc_coded_fit(const wc_coded_count *count, wc_coded_class *c);

/* What points cost by the laws of p: the form that the trellis wants. */
void wc_coded_rates(const wc_coded *p, wck_trellis_rates *out);

#endif
