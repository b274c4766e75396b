/* precheck.h - whether a runtime will load what a plan makes of a model, before anything is compressed. */
#ifndef WC_PRECHECK_H
#define WC_PRECHECK_H

#include "export/check.h"
#include "plan.h"
#include "report.h"

/* The findings for `in', an uncompressed model, under this plan (linear may begin with passes), or for a .wcz as it is;
 * plan NULL: the tensors as they are stored. *out is freed by the caller with wc_findings_free. WC_UNSUPPORTED: no
 * config. */
wc_status wc_precheck(wc_ctx *ctx, const wc_input *in, const wc_plan_options *plan, const wc_check_options *opt,
                      wc_findings *out);

/* Prints the first dozen findings, a line each; all of them are facts for --json. */
void wc_precheck_show(wc_report *report, const wc_findings *f);

/* The options that make gptq's grid one that runtimes take, for a list that others may follow and overrule:
 * ",group=128,scale_bits=0"; "" for a target without integers. */
const char *wc_precheck_grid(const char *target, double bits);

#endif
