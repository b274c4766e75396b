/* status.h - what can go wrong, and the one context that carries it.
 *
 * Every function of the toolkit that can fail returns a wc_status and, before it does, leaves one sentence in the
 * context:
 *
 *     return wc_fail(ctx, WC_BADFILE, "%s: tensor `%s' ends at byte %llu, the file has %llu", path, name, end, size);
 *
 * The sentence names the thing (file, tensor), the number found and the limit. The code says whose fault it is and maps
 * to the exit code of the program, so it never changes meaning. WC_TRY forwards. Only main.c calls exit(). */
#ifndef WC_BASE_STATUS_H
#define WC_BASE_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*                name         exit  whose fault it is */
#define WC_STATUS_LIST(X)                       \
    X(OK, 0, "success")                         \
    X(FAIL, 1, "failure")                       \
    X(NOMEM, 1, "out of memory")                \
    X(NUMERIC, 1, "numerical failure")          \
    X(BUG, 1, "internal error, please report")  \
    X(OPTION, 2, "wrong use")                   \
    X(BADFILE, 3, "invalid or damaged input")   \
    X(VERIFY, 4, "verification failed")         \
    X(BUDGET, 5, "budget cannot be met")        \
    X(UNSUPPORTED, 6, "not supported")          \
    X(IO, 7, "input/output error")              \
    X(RESUME, 8, "resume state does not match") \
    X(INTERRUPTED, 128, "interrupted")

typedef enum wc_status {
#define X(name, exit, text) WC_##name,
    WC_STATUS_LIST(X)
#undef X
} wc_status;

const char *wc_status_name(wc_status s); /* "BADFILE" */
const char *wc_status_text(wc_status s); /* "invalid or damaged input" */
int wc_status_exit_code(wc_status s);

typedef enum wc_log_level { WC_LOG_WARN, WC_LOG_INFO, WC_LOG_DEBUG } wc_log_level;

/* One per run; shared by all threads of it. Set up with wc_ctx_init, nothing to free. */
typedef struct wc_ctx {
    char error[1024]; /* the first failure's sentence, "" if none; later failures do not overwrite it */
    int threads;      /* threads for our own parallel loops, at least 1; results never depend on it */
    void (*log)(void *user, wc_log_level level, const char *line); /* NULL: silent */
    void *log_user;
    volatile int *stop; /* non-NULL and non-zero: finish the current tensor and return WC_INTERRUPTED */
} wc_ctx;

/* threads = 0: one per physical core that OpenMP may use. */
void wc_ctx_init(wc_ctx *ctx, int threads);

/* Sets ctx->error (if still empty; safe from several threads) and returns status. ctx may be NULL: no text is kept. */
wc_status wc_fail(wc_ctx *ctx, wc_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Forgets the sentence, after a failure that was handled (a fallback). */
void wc_clear_error(wc_ctx *ctx);

void wc_log(wc_ctx *ctx, wc_log_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define WC_TRY(expr)                          \
    do {                                      \
        wc_status wc_try_ = (expr);           \
        if (wc_try_ != WC_OK) return wc_try_; \
    } while (0)

/* The same in a function that holds something: sets the local `status' and goes to its one `out:' label. */
#define WC_TRY_OUT(expr)               \
    do {                               \
        status = (expr);               \
        if (status != WC_OK) goto out; \
    } while (0)

#endif
