/* report.h - what the user sees. Results go to stdout, everything else to stderr; with --json stdout carries one
 * object.
 *
 * A line is a short word and a sentence ("plan    28 linears  gptq(...)"). Facts are collected in a JSON object at the
 * same time, so that --json and the text cannot disagree about what was computed. */
#ifndef WC_REPORT_H
#define WC_REPORT_H

#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "base/status.h"

typedef struct wc_report {
    wc_ctx *ctx;
    bool json, quiet, verbose;
    bool tty; /* stderr is a terminal: one progress line, rewritten */
    bool color;
    json_t *facts; /* the object that --json prints */
    double start, last_draw;
    double work, done;   /* total and finished work (work.h), for the ETA */
    bool line_open;      /* a progress line is on the terminal */
    bool whole;          /* the facts are complete although the command fails: they say why */
    volatile int *asked; /* non-NULL and set (SIGUSR1): the next progress prints a plain line and clears it */
} wc_report;

wc_status wc_report_init(wc_report *r, wc_ctx *ctx, const char *command); /* hooks ctx->log */
void wc_report_free(wc_report *r);

/* stderr, unless --quiet. */
void wc_report_note(wc_report *r, const char *word, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* stdout, unless --json. */
void wc_report_result(wc_report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Adds `done' to the finished work and redraws the progress line, at most ten times a second: where is what is being
 * done. */
void wc_report_progress(wc_report *r, double done, const char *where);
/* The same without new work, as a plain line for pipes and logs. */
void wc_report_milestone(wc_report *r, const char *where);
/* A plain line per step for pipes and logs; nothing on a terminal. */
void wc_report_step(wc_report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints the facts if --json. */
void wc_report_finish(wc_report *r);

/* A text for the facts, such as a path, of any bytes: where they are not UTF-8, what is not ASCII becomes U+FFFD. */
json_t *wc_report_text(const char *text);
json_t *wc_report_bytes(const char *bytes, size_t n);

/* A number for the facts; null when it is infinite or none, which JSON cannot write. */
static inline json_t *wc_report_number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

/* "1.98 MiB", "512 B" */
const char *wc_size_text(uint64_t bytes, char dst[32]);
/* "0:14", "2:05:09" */
const char *wc_time_text(double seconds, char dst[32]);

#endif
