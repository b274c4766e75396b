#include "solve/knapsack.h"

#include <stdlib.h>

#include "base/mem.h"

/* The hull of a list from its first choice on, as indices; stack [n] is filled and its height returned. A choice is
 * dropped where the line from the one before it to the one behind it runs strictly below it. */
static size_t hull(const wc_choices *l, size_t *stack)
{
    size_t height = 0;
    for (size_t i = l->taken; i < l->n; i++) {
        const wc_choice *c = &l->at[i];
        if (height && c->loss >= l->at[stack[height - 1]].loss) continue;
        while (height > 1) {
            const wc_choice *a = &l->at[stack[height - 2]], *b = &l->at[stack[height - 1]];
            if ((a->loss - b->loss) * (c->cost - a->cost) >= (a->loss - c->loss) * (b->cost - a->cost)) break;
            height--;
        }
        if (height == 1 && c->cost <= l->at[stack[0]].cost) height = 0; /* better and no dearer than the first */
        stack[height++] = i;
    }
    return height;
}

/* What is next on the hull of a list: hull[at]; end: there is nothing. */
typedef struct climb {
    size_t *hull, at, end;
} climb;

static double step_cost(const wc_choices *l, size_t next)
{
    return l->at[next].cost - l->at[l->taken].cost;
}

static void take_steps(wc_choices *list, climb *c, size_t n, double *room)
{
    for (;;) {
        size_t best = n;
        double rate = 0;
        for (size_t i = 0; i < n; i++) {
            if (c[i].at == c[i].end) continue;
            const wc_choices *l = &list[i];
            size_t next = c[i].hull[c[i].at];
            double cost = step_cost(l, next), gain = l->at[l->taken].loss - l->at[next].loss;
            if (cost <= *room && gain > rate * cost) rate = gain / cost, best = i;
        }
        if (best == n) return;
        size_t next = c[best].hull[c[best].at++];
        *room -= step_cost(&list[best], next);
        list[best].taken = next;
    }
}

static void take_rest(wc_choices *l, double *room)
{
    size_t best = l->taken;
    for (size_t i = l->taken + 1; i < l->n; i++)
        if (step_cost(l, i) <= *room && l->at[i].loss < l->at[best].loss) best = i;
    *room -= step_cost(l, best);
    l->taken = best;
}

wc_status wc_knapsack(wc_ctx *ctx, wc_choices *list, size_t n, double room)
{
    climb *c = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, c, n, "choices"));
    for (size_t i = 0; i < n; i++) {
        WC_TRY_OUT(WC_ALLOC(ctx, c[i].hull, list[i].n, "choices"));
        c[i].end = hull(&list[i], c[i].hull);
        list[i].taken = c[i].hull[0];
        c[i].at = 1;
    }
    take_steps(list, c, n, &room);
    for (size_t i = 0; i < n; i++)
        take_rest(&list[i], &room);
out:
    for (size_t i = 0; c && i < n; i++)
        free(c[i].hull);
    free(c);
    return status;
}
