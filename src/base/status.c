#include "base/status.h"

#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *text;
    int exit_code;
} statuses[] = {
#define X(name, exit, text) [WC_##name] = {#name, text, exit},
    WC_STATUS_LIST(X)
#undef X
};

const char *wc_status_name(wc_status s)
{
    return statuses[s].name;
}

const char *wc_status_text(wc_status s)
{
    return statuses[s].text;
}

int wc_status_exit_code(wc_status s)
{
    return statuses[s].exit_code;
}

void wc_ctx_init(wc_ctx *ctx, int threads)
{
    memset(ctx, 0, sizeof *ctx);
    ctx->threads = threads > 0 ? threads : omp_get_num_procs();
}

/* One lock for all contexts: failing is rare, and a static mutex needs no lifecycle. */
static pthread_mutex_t error_lock = PTHREAD_MUTEX_INITIALIZER;

wc_status wc_fail(wc_ctx *ctx, wc_status status, const char *fmt, ...)
{
    if (!ctx) return status;
    pthread_mutex_lock(&error_lock);
    if (!ctx->error[0]) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(ctx->error, sizeof ctx->error, fmt, ap);
        va_end(ap);
    }
    pthread_mutex_unlock(&error_lock);
    return status;
}

void wc_clear_error(wc_ctx *ctx)
{
    if (ctx) ctx->error[0] = 0;
}

void wc_log(wc_ctx *ctx, wc_log_level level, const char *fmt, ...)
{
    if (!ctx || !ctx->log) return;
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    ctx->log(ctx->log_user, level, line);
}
