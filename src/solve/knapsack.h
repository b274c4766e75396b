/* knapsack.h - one choice from each of several lists: the least sum of losses whose sum of costs stays within a budget.
 *
 * Of each list only its lower convex hull matters to a budget that is large against single steps: on it the gain per
 * cost falls from step to step, so taking the best step of all again and again is the optimum for every budget that it
 * passes through (Lagrange; Everett 1963), and in between it is off by less than the last step. */
#ifndef WC_SOLVE_KNAPSACK_H
#define WC_SOLVE_KNAPSACK_H

#include "base/status.h"

typedef struct wc_choice {
    double cost, loss;
    size_t id; /* the caller's */
} wc_choice;

typedef struct wc_choices {
    wc_choice *at; /* [n] by cost, ascending */
    size_t n;
    size_t taken; /* in: the least that must be taken, usually 0; out: what is */
} wc_choices;

/* Raises `taken' of the lists as long as that lowers a loss and what it costs more fits into room >= 0; of equal gains
 * per cost the first list's. What remains in the end goes, list by list, to the best choice that fits. Takes
 * O(steps * lists) time. */
wc_status wc_knapsack(wc_ctx *ctx, wc_choices *list, size_t n, double room);

#endif
