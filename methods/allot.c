#include "methods/allot.h"

#include <math.h>
#include <stdlib.h>

/* *least and *most of the ranks that m may take; *most 0: none. */
static void bounds(const wc_member *m, const wc_rank_bid *bid, size_t *least, size_t *most)
{
    wc_rank_options o = *(const wc_rank_options *)m->opt;
    size_t asked = (size_t)o.floor;
    o.ratio = o.budget;
    size_t part = (size_t)(o.least * (double)wc_rank_chosen(&o, &m->at, m->opt, bid->most, bid->bits));
    o.ratio = 1, o.floor = 0;
    *most = wc_rank_chosen(&o, &m->at, m->opt, bid->most, bid->bits);
    *least = wc_min(part > asked ? part : asked, *most);
    if (!*least) *least = 1;
}

wc_status wc_rank_choices(wc_ctx *ctx, const wc_member *m, const wc_rank_bid *bid, wc_choices *out)
{
    size_t k = wc_min(bid->rows, bid->cols), least, most;
    double *left = NULL; /* [k] eigenvalues, then what is left behind the first j of them */
    wc_status status = WC_OK;
    bounds(m, bid, &least, &most);
    if (!most) return WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, left, k, "eigenvalues"));
    WC_TRY_OUT(WC_ALLOC(ctx, out->at, most - least + 1, "ranks"));
    WC_TRY_OUT(wc_spectrum(ctx, m->tensor, bid->e, bid->rows, bid->cols, &bid->metric, left));
    for (size_t j = k; j-- > 1;)
        left[j - 1] += left[j];
    for (size_t r = least; r <= most; r++) {
        double loss = r < k && left[0] > 0 ? left[r] / left[0] : 0;
        out->at[out->n++] = (wc_choice){.cost = bid->bits(&m->at, m->opt, r), .loss = loss, .id = r};
    }
out:
    free(left);
    return status;
}

static wc_status enter_bid(wc_ctx *ctx, const wc_member *m, const wc_bidding *b, wc_choices *out)
{
    float *w;
    wc_stats stats = {0};
    wc_status status = WC_OK;
    WC_TRY(WC_ALLOC(ctx, w, m->at.rows * m->at.cols, "a weight matrix"));
    WC_TRY_OUT(m->rows(ctx, m, 0, m->at.rows, w));
    if (b->inputs && m->stats) WC_TRY_OUT(m->stats(ctx, m, &stats));
    WC_TRY_OUT(b->choices(ctx, m, w, stats.h ? &stats : NULL, out));
    if (!out->n)
        status = wc_fail(ctx, WC_OPTION, "%s, %zu x %zu: factors of rank 1 take more bytes than the weights", m->tensor,
                         m->at.rows, m->at.cols);
out:
    free(w);
    wc_stats_free(&stats);
    return status;
}

/* Bits of the budget that the least choices leave. */
static wc_status find_room(wc_ctx *ctx, const wc_member *member, size_t n, const wc_choices *list, double *room)
{
    *room = 0;
    for (size_t i = 0; i < n; i++) {
        const wc_rank_options *o = member[i].opt;
        *room += o->budget * WC_LEAF_F16 * (double)member[i].at.rows * (double)member[i].at.cols - list[i].at[0].cost;
    }
    if (*room >= 0) return WC_OK;
    return wc_fail(ctx, WC_OPTION, "the least ranks of %zu matrices take %.0f bytes more than the budget allows", n,
                   ceil(-*room / 8));
}

static void say_ranks(wc_ctx *ctx, const wc_member *member, size_t n, bool inputs)
{
    int low = 1 << 30, high = 0;
    for (size_t i = 0; i < n; i++) {
        int rank = ((const wc_rank_options *)member[i].opt)->rank;
        low = rank < low ? rank : low, high = rank > high ? rank : high;
    }
    const char *from = !inputs         ? "of the weights"
                       : member->stats ? "of the weights with the inputs' statistics"
                                       : "of the weights alone: their inputs are not known while planning, --stats "
                                         "would tell";
    wc_log(ctx, WC_LOG_INFO, "ranks of %zu matrices, %d to %d, from the spectra %s", n, low, high, from);
}

wc_status wc_allot(wc_ctx *ctx, const wc_member *member, size_t n, const wc_bidding *b)
{
    const wc_rank_options *first = member->opt; /* all have the same */
    wc_choices *list = NULL;
    double room;
    wc_status status = WC_OK;
    if (first->budget == 0) return WC_OK;
    if (first->rank) return wc_fail(ctx, WC_OPTION, "a rank and a budget contradict each other");
    if (!member->first)
        return wc_fail(ctx, WC_OPTION,
                       "a budget is for the first step of a recipe: what other steps leave of the "
                       "weights is not known while the run is planned");
    WC_TRY_OUT(WC_ALLOC(ctx, list, n, "ranks"));
    for (size_t i = 0; i < n; i++)
        WC_TRY_OUT(enter_bid(ctx, &member[i], b, &list[i]));
    WC_TRY_OUT(find_room(ctx, member, n, list, &room));
    WC_TRY_OUT(wc_knapsack(ctx, list, n, room));
    for (size_t i = 0; i < n; i++) {
        wc_rank_options *own = member[i].opt;
        size_t id = list[i].at[list[i].taken].id;
        own->rank = (int)(b->take ? b->take(own, id) : id);
        own->budget = 0;
    }
    say_ranks(ctx, member, n, b->inputs);
out:
    for (size_t i = 0; list && i < n; i++)
        free(list[i].at);
    free(list);
    return status;
}
