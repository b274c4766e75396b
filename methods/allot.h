/* allot.h - a budget of bytes shared out among all matrices of a recipe, for methods whose size is a matter of rank.
 *
 *     min sum_i loss_i(choice_i),    sum_i bits_i(choice_i) <= budget,
 *
 * loss_i the relative error of matrix i, from its spectrum in the metric of the inputs where statistics are known while
 * planning (--stats), of the weights alone where not. */
#ifndef WC_METHODS_ALLOT_H
#define WC_METHODS_ALLOT_H

#include "methods/leaf.h"
#include "solve/knapsack.h"
#include "solve/projector.h"

/* Lines of an option table, for a method with wc_method.allot; the field is a wc_rank_options. */
/* clang-format off */
#define WC_BUDGET_OPTIONS(struct_, field_)                                                                             \
    {"budget", WC_OPT_REAL, offsetof(struct_, field_.budget), 0, 0, 1, NULL,                                           \
     "bytes of the factors over bytes of the weights in f16, over all matrices with this recipe together; 0: rank "    \
     "or ratio"},                                                                                                      \
    {"least", WC_OPT_REAL, offsetof(struct_, field_.least), 0.5, 0, 1, NULL,                                           \
     "with budget: every matrix has at least this part of the rank that ratio=budget gives it"}
/* clang-format on */

/* How a method bids. Its options begin with wc_rank_options. */
typedef struct wc_bidding {
    bool inputs; /* losses are better known with the statistics of the inputs */
    /* What matrix m, values w [rows, cols], may take: *out, whose `at' the caller frees also after a failure; n = 0: it
     * has room for nothing. stats: NULL, or of its inputs. */
    wc_status (*choices)(wc_ctx *ctx, const wc_member *m, const float *w, const wc_stats *stats, wc_choices *out);
    /* NULL (an id is a rank), or settles more of the options; id: of the choice. The rank is settled by the caller. */
    size_t (*take)(void *opt, size_t id);
} wc_bidding;

/* wc_method.allot. WC_OPTION: there is a rank besides the budget; the step is not the first; the least that the
 * matrices may have takes more than the budget. */
wc_status wc_allot(wc_ctx *ctx, const wc_member *member, size_t n, const wc_bidding *b);

/* *out: the ranks that matrix m may take, from its floor to the most that take no more bytes than W in f16, of `most'
 * that its form allows. A rank leaves the eigenvalues behind it of e [rows, cols] in the metric (solve/projector.h). */
typedef struct wc_rank_bid {
    const float *e;
    size_t rows, cols, most;
    wc_metric metric;
    wc_rank_bits *bits;
} wc_rank_bid;
wc_status wc_rank_choices(wc_ctx *ctx, const wc_member *m, const wc_rank_bid *bid, wc_choices *out);

#endif
