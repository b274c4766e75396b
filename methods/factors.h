/* factors.h - one method under six names: append the best product A B of what is still unexplained.
 *
 *     A B = U_r U_r^T E,    U_r the first r eigenvectors of E H E^T        (src/solve/projector.h)
 *
 * The names differ in what they take for H and in defaults; each is an option table over the functions below:
 *
 *     name     H (option `metric')             usually applied to         paper
 *     svd      identity                        W                          Eckart and Young 1936
 *     asvd     diag(E|x|^alpha)^2, alpha 0.5   W                          arXiv 2312.05821
 *     svdllm   E[x x^T]                        W                          arXiv 2403.07378
 *     lqer     diag(E|x|)^2                    W - Q, after a quantizer   arXiv 2402.02446
 *     qera     E[x x^T], or its diagonal       W - Q                      arXiv 2410.06040
 *     eora     E[x x^T]                        W - Q                      arXiv 2410.21271
 *
 * The unexplained is all a method sees (job->w), so W and W - Q are not two cases. */
#ifndef WC_METHODS_FACTORS_H
#define WC_METHODS_FACTORS_H

#include "methods/method.h"

typedef enum wc_factor_metric {
    WC_METRIC_NONE,     /* H = I */
    WC_METRIC_ABS_MEAN, /* H = diag(E|x_j|^alpha)^2 */
    WC_METRIC_RMS,      /* H = diag(E[x_j^2]) */
    WC_METRIC_HESSIAN   /* H = E[x x^T] + damp mean(diag) I */
} wc_factor_metric;

typedef struct wc_factor_options {
    int rank;        /* of the product; 0: the largest that `ratio' allows */
    double ratio;    /* bytes of both factors over bytes of the weights in f16 */
    int factor_bits; /* 16: f16; 4..8: uniform grids, rounded to nearest */
    int metric;      /* wc_factor_metric; 0 for a method without the option */
    double alpha;    /* of WC_METRIC_ABS_MEAN */
    double damp;     /* of WC_METRIC_HESSIAN */
} wc_factor_options;

/* Lines of an option table; the struct is wc_factor_options itself. */
/* clang-format off */
#define WC_FACTOR_OPTIONS(rank_, ratio_, bits_)                                                                        \
    {"rank", WC_OPT_INT, offsetof(wc_factor_options, rank), rank_, 0, 32766, NULL,                                     \
     "columns of A, rows of B; 0: the most that ratio allows"},                                                        \
    {"ratio", WC_OPT_REAL, offsetof(wc_factor_options, ratio), ratio_, 0, 1, NULL,                                     \
     "bytes of the factors over bytes of the weights in f16, if rank=0"},                                              \
    {"factor_bits", WC_OPT_INT, offsetof(wc_factor_options, factor_bits), bits_, 4, 16, NULL,                          \
     "16: f16 factors; 4 to 8: factors rounded to a grid"}
#define WC_FACTOR_METRIC(metric_, alpha_)                                                                              \
    {"metric", WC_OPT_WORD, offsetof(wc_factor_options, metric), metric_, 0, 3, "none|abs_mean|rms|hessian",           \
     "what the product is best in: weights, scaled inputs, or outputs (hessian)"},                                     \
    {"alpha", WC_OPT_REAL, offsetof(wc_factor_options, alpha), alpha_, 0, 4, NULL, "exponent of metric=abs_mean"},     \
    {"damp", WC_OPT_REAL, offsetof(wc_factor_options, damp), 1e-6, 0, 10, NULL,                                        \
     "added to the diagonal of H, relative to its mean"}
/* clang-format on */

/* wc_method.applies, .plan, .run, .flops and .scratch. The factors are f16, or symmetric grids: B in groups of 32 under
 * 4-bit scales; A likewise if rank > 32, else with one f16 scale per row. */
const char *wc_factor_applies(const wc_place *at, const void *opt);
void wc_factor_plan(const wc_place *at, const void *opt, wc_part *out);
wc_status wc_factor_run(wc_job *job, const void *opt, wc_part *out);
double wc_factor_flops(const wc_place *at, const void *opt, bool drift);
uint64_t wc_factor_scratch(const wc_place *at, const void *opt);

#endif
