#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

enum { SCHEMA_VERSION = 1 };

static void clear_line(wc_report *r)
{
    if (r->line_open) fputs("\r\033[K", stderr);
    r->line_open = false;
}

static void log_line(void *user, wc_log_level level, const char *line)
{
    wc_report *r = user;
    if (level == WC_LOG_WARN) {
        clear_line(r);
        fprintf(stderr, "%swarning%s %s\n", r->color ? "\033[33m" : "", r->color ? "\033[0m" : "", line);
        json_t *list = json_object_get(r->facts, "warnings");
        json_array_append_new(list, wc_report_text(line));
    } else if (r->verbose || (level == WC_LOG_INFO && !r->quiet)) {
        clear_line(r);
        fprintf(stderr, "note    %s\n", line);
    }
}

json_t *wc_report_bytes(const char *bytes, size_t n)
{
    json_t *v = json_stringn(n ? bytes : "", n);
    char *ascii = v ? NULL : malloc(3 * n + 1), *p = ascii;
    for (size_t i = 0; ascii && i < n; i++)
        p = (unsigned char)bytes[i] < 0x80 ? (*p = bytes[i], p + 1) : stpcpy(p, "\xef\xbf\xbd");
    if (ascii) v = json_stringn(ascii, (size_t)(p - ascii));
    free(ascii);
    return v;
}

json_t *wc_report_text(const char *text)
{
    return wc_report_bytes(text, strlen(text));
}

wc_status wc_report_init(wc_report *r, wc_ctx *ctx, const char *command)
{
    memset(r, 0, sizeof *r);
    r->ctx = ctx;
    r->start = wc_now();
    r->tty = isatty(STDERR_FILENO);
    r->color = r->tty && !getenv("NO_COLOR");
    r->facts = json_pack("{s:i, s:s, s:[]}", "schema_version", SCHEMA_VERSION, "command", command, "warnings");
    if (!r->facts) return wc_fail(ctx, WC_NOMEM, "no memory for the report");
    ctx->log = log_line;
    ctx->log_user = r;
    return WC_OK;
}

void wc_report_free(wc_report *r)
{
    clear_line(r);
    json_decref(r->facts);
    if (r->ctx) r->ctx->log = NULL;
    memset(r, 0, sizeof *r);
}

void wc_report_note(wc_report *r, const char *word, const char *fmt, ...)
{
    if (r->quiet) return;
    va_list ap;
    clear_line(r);
    fprintf(stderr, "%s%-7s%s ", r->color ? "\033[1m" : "", word, r->color ? "\033[0m" : "");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

void wc_report_result(wc_report *r, const char *fmt, ...)
{
    if (r->json) return;
    va_list ap;
    clear_line(r);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

void wc_report_step(wc_report *r, const char *fmt, ...)
{
    if (r->quiet || r->tty) return;
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

/* "where  43 %  0:40 elapsed  0:52 left  1.2 GiB"; bar: what stands before the percentage. */
static void status_text(const wc_report *r, const char *where, const char *bar, char *dst, size_t size)
{
    char passed[32], left[32], rss[32];
    double share = r->work > 0 ? fmin(1, r->done / r->work) : 0, elapsed = wc_now() - r->start;
    snprintf(dst, size, "%-34.34s %s%3.0f %%  %s elapsed  %s left  %s", where, bar, 100 * share,
             wc_time_text(elapsed, passed), share > 0.01 ? wc_time_text(elapsed * (1 - share) / share, left) : "?",
             wc_size_text(wc_peak_rss(), rss));
}

static void plain_status(wc_report *r, const char *where)
{
    char line[512];
    status_text(r, where, "", line, sizeof line);
    clear_line(r);
    fprintf(stderr, "%s\n", line);
}

void wc_report_milestone(wc_report *r, const char *where)
{
    if (!r->quiet && !r->tty) plain_status(r, where);
}

void wc_report_progress(wc_report *r, double done, const char *where)
{
    enum { BAR = 20 };
    r->done += done;
    if (r->asked && *r->asked) {
        *r->asked = 0;
        plain_status(r, where);
    }
    double now = wc_now();
    if (r->quiet || !r->tty || now - r->last_draw < 0.1) return;
    r->last_draw = now;
    char bar[3 * BAR + 2] = "", line[512];
    for (int i = 0; i < BAR; i++)
        strcat(bar, r->work > 0 && i < (int)(r->done / r->work * BAR) ? "\xe2\x96\x88" : "\xe2\x96\x91");
    strcat(bar, " ");
    status_text(r, where, bar, line, sizeof line);
    const char *columns = getenv("COLUMNS");
    int width = columns ? atoi(columns) : 100;
    /* the bar's characters take three bytes and one column each */
    fprintf(stderr, "\r\033[K%.*s", width > 40 ? width + 2 * BAR - 1 : 40, line);
    fflush(stderr);
    r->line_open = true;
}

void wc_report_finish(wc_report *r)
{
    clear_line(r);
    if (!r->json) return;
    json_dumpf(r->facts, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9));
    putchar('\n');
}

const char *wc_size_text(uint64_t bytes, char dst[32])
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double v = (double)bytes;
    int u = 0;
    while (v >= 1024 && u < 5)
        v /= 1024, u++;
    snprintf(dst, 32, u ? "%.2f %s" : "%.0f %s", v, unit[u]);
    return dst;
}

const char *wc_time_text(double seconds, char dst[32])
{
    long s = lrint(seconds);
    if (s >= 3600)
        snprintf(dst, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(dst, 32, "%ld:%02ld", s / 60, s % 60);
    return dst;
}
