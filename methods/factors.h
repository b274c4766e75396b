/* factors.h - one method under several names: append the best product A B of what is still unexplained.
 *
 *     A B = U_r U_r^T E,    U_r the first r eigenvectors of E H E^T        (src/solve/projector.h)
 *
 * The names differ in what they take for H, for E, and in defaults; each is an option table over the functions below:
 *
 *     name     H (option `metric')             E, usually                         paper
 *     svd      identity                        W                                  Eckart and Young 1936
 *     asvd     diag(E|x|^alpha)^2, alpha 0.5   W                                  arXiv 2312.05821
 *     fwsvd    diag(E[x_j^2])                  W                                  arXiv 2207.00112
 *     svdllm   E[x x^T]                        W                                  arXiv 2403.07378
 *     saes     E[x x^T]                        W, moved towards the original      reduced-rank regression;
 *                                              model's outputs                    arXiv 2602.03051
 *     lqer     diag(E|x|)^2                    W - Q, after a quantizer           arXiv 2402.02446
 *     qera     E[x x^T], or its diagonal       W - Q                              arXiv 2410.06040
 *     eora     E[x x^T]                        W - Q                              arXiv 2410.21271
 *
 * The unexplained is all a method sees (job->w), so W and W - Q are not two cases.
 *
 * A product can be stored as pivot rows (PIFA, arXiv 2501.19090): of a matrix of rank r, r rows p are independent and
 * the others are combinations of them,
 *
 *     A^ = U_r (U_r)_p^{-1}: identity in the rows p, coefficients in the others;   B^ = (U_r)_p U_r^T E, the rows p,
 *
 * r (m + n - r) numbers instead of r (m + n) for the same matrix. The pivots are those of a QR of U_r^T with column
 * pivoting, which keeps the coefficients small. */
#ifndef WC_METHODS_FACTORS_H
#define WC_METHODS_FACTORS_H

#include "methods/allot.h"
#include "methods/method.h"
#include "solve/projector.h"

typedef enum wc_factor_metric {
    WC_METRIC_NONE,     /* H = I */
    WC_METRIC_ABS_MEAN, /* H = diag(E|x_j|^alpha)^2 */
    WC_METRIC_RMS,      /* H = diag(E[x_j^2]) */
    WC_METRIC_HESSIAN   /* H = E[x x^T] + damp mean(diag) I */
} wc_factor_metric;

typedef enum wc_factor_storage { WC_STORE_PRODUCT, WC_STORE_PIFA } wc_factor_storage;

typedef struct wc_factor_options {
    wc_rank_options thin;
    int storage;      /* wc_factor_storage */
    int metric;       /* wc_factor_metric; 0 for a method without the option */
    double alpha;     /* of WC_METRIC_ABS_MEAN */
    double damp;      /* of WC_METRIC_HESSIAN */
    double drift;     /* how far E is moved, at most, towards the original outputs (src/solve/drift.h) */
    double residual;  /* the same for the drift of the residual stream */
    double move_damp; /* damping of H in these moves */
    bool adaptive;    /* drift: the part of it that leaves the least relative error (src/solve/blend.h) */
} wc_factor_options;

/* Lines of an option table; the struct is wc_factor_options itself. */
/* clang-format off */
#define WC_FACTOR_OPTIONS(rank_, ratio_, bits_)                                                                        \
    WC_RANK_OPTIONS(wc_factor_options, thin, rank_, ratio_, bits_),                                                    \
    {"storage", WC_OPT_WORD, offsetof(wc_factor_options, storage), WC_STORE_PRODUCT, 0, 1, "product|pifa",             \
     "two factors, or pivot rows and what makes the others of them: fewer bytes for the same matrix"}
#define WC_FACTOR_METRIC(metric_, alpha_)                                                                              \
    {"metric", WC_OPT_WORD, offsetof(wc_factor_options, metric), metric_, 0, 3, "none|abs_mean|rms|hessian",           \
     "what the product is best in: weights, scaled inputs, or outputs (hessian)"},                                     \
    {"alpha", WC_OPT_REAL, offsetof(wc_factor_options, alpha), alpha_, 0, 4, NULL, "exponent of metric=abs_mean"},     \
    {"damp", WC_OPT_REAL, offsetof(wc_factor_options, damp), 1e-6, 0, 10, NULL,                                        \
     "added to the diagonal of H, relative to its mean"}
#define WC_FACTOR_BUDGET WC_BUDGET_OPTIONS(wc_factor_options, thin) /* with wc_factor_allot in the method */
/* clang-format on */

/* wc_method.allot: with a budget, the ranks that leave the least sum of relative errors (methods/allot.h),
 *
 *     min sum_i (sum_{k > r_i} lambda_ik) / (sum_k lambda_ik),    sum_i bits_i(r_i) <= budget,    r_i >= floor_i,
 *
 * lambda_i the eigenvalues of W_i H_i W_i^T, H as the method takes it, or I where the inputs are not known. Exact where
 * a rank always costs the same bits, up to the last rank. */
wc_status wc_factor_allot(wc_ctx *ctx, const wc_member *member, size_t n);

/* A = U diag(g), g_j = lambda_j^(1/4), so that both factors carry half of each sigma_j = sqrt(lambda_j). f16 needs that
 * for its range. It is also how to share the step of a row of A: an error delta in column j costs delta^2 lambda_j /
 * g_j^2, the step is proportional to (sum g_j^2)^(1/2), and sum g_j^2 * sum lambda_j / g_j^2 is least, (sum sigma_j)^2,
 * for g_j^2 = sigma_j (Cauchy). weight [rank] = lambda_j / g_j^2 = sigma_j, up to the factor that makes the mean of
 * H 1. sigma is kept above 1e-6 of the largest: directions that H does not see are stored as well as f16 can. */
void wc_factor_left(const wc_projector *p, double mean_h, float *a, float *weight);

/* wc_method.applies, .plan, .run, .flops and .scratch. The factors are leaves (methods/leaf.h). */
const char *wc_factor_applies(const wc_place *at, const void *opt);
void wc_factor_plan(const wc_place *at, const void *opt, wc_part *out);
wc_status wc_factor_run(wc_job *job, const void *opt, wc_part *out);
double wc_factor_flops(const wc_place *at, const void *opt, bool drift);
uint64_t wc_factor_scratch(const wc_place *at, const void *opt);

#endif
