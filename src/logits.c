#include "logits.h"

#include <math.h>

double wc_log_sum_exp(const float *z, size_t n, size_t *top)
{
    float max = z[0];
    *top = 0;
    for (size_t i = 1; i < n; i++)
        if (z[i] > max) max = z[i], *top = i;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)expf(z[i] - max);
    return (double)max + log(sum);
}

double wc_kl_divergence(const float *zp, double lse_p, const float *zq, double lse_q, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double lp = (double)zp[i] - lse_p;
        sum += (double)expf((float)lp) * (lp - ((double)zq[i] - lse_q));
    }
    return sum;
}
