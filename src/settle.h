/* settle.h - what recipes leave open until all tensors are known, and before any size is: shares of a budget that
 * matrices have together (wc_method.allot), and whether a diagonal can go into the norm in front, or into the rows of
 * the linear there (wc_folding; a message says why not).
 *
 * Both end as ordinary options of one tensor's recipe: whatever comes later, file and replay included, knows nothing of
 * sharing. */
#ifndef WC_SETTLE_H
#define WC_SETTLE_H

#include "plan.h"

/* The plan's tensors have role, recipe and reason, no parts yet. text [plan->n]: zeroed; for tensors whose recipe
 * changes the new one, canonical, to be freed by the caller also after a failure. Sets `folded'. WC_OPTION
 * where options ask for what is not known while planning. */
wc_status wc_settle(wc_ctx *ctx, wc_plan *plan, const wc_config *config, const wc_plan_options *opt, wc_buf *text);

#endif
