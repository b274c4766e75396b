/* logits.h - distributions from rows of logits, in natural logarithms. */
#ifndef WC_LOGITS_H
#define WC_LOGITS_H

#include <stddef.h>

/* ln sum exp(z), z [n]; *top: the index of the maximum, the first of equals. */
double wc_log_sum_exp(const float *z, size_t n, size_t *top);

/* KL(p || q) = sum p (ln p - ln q) over all n, p = softmax(zp), q = softmax(zq); lse: wc_log_sum_exp of each. Not
 * truncated, so it is >= 0 up to rounding. */
double wc_kl_divergence(const float *zp, double lse_p, const float *zq, double lse_q, size_t n);

#endif
