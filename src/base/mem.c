#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static wc_status allocate(wc_ctx *ctx, size_t count, size_t size, const char *what, bool zero, void **out)
{
    uint64_t bytes;
    *out = NULL;
    if (!wc_mul(count, size, &bytes) || bytes > SIZE_MAX - 64)
        return wc_fail(ctx, WC_NOMEM, "no memory for %s: %zu x %zu bytes overflow", what, count, size);
    bytes = wc_round_up(bytes ? bytes : 1, 64);
    void *p = aligned_alloc(64, bytes);
    if (!p) return wc_fail(ctx, WC_NOMEM, "no memory for %s: %llu bytes", what, (unsigned long long)bytes);
    if (zero) memset(p, 0, bytes);
    *out = p;
    return WC_OK;
}

wc_status wc_alloc(wc_ctx *ctx, size_t count, size_t size, const char *what, void **out)
{
    return allocate(ctx, count, size, what, true, out);
}

wc_status wc_alloc_raw(wc_ctx *ctx, size_t count, size_t size, const char *what, void **out)
{
    return allocate(ctx, count, size, what, false, out);
}

static wc_status buf_reserve(wc_ctx *ctx, wc_buf *b, size_t more)
{
    uint64_t need;
    if (!wc_add(b->size, more, &need) || need > SIZE_MAX / 2)
        return wc_fail(ctx, WC_NOMEM, "no memory for a buffer of %zu + %zu bytes", b->size, more);
    if (need <= b->capacity) return WC_OK;
    size_t capacity = b->capacity ? b->capacity : 256;
    while (capacity < need)
        capacity *= 2;
    uint8_t *p = realloc(b->data, capacity);
    if (!p) return wc_fail(ctx, WC_NOMEM, "no memory for a buffer of %zu bytes", capacity);
    b->data = p;
    b->capacity = capacity;
    return WC_OK;
}

wc_status wc_buf_append(wc_ctx *ctx, wc_buf *b, const void *data, size_t size)
{
    WC_TRY(buf_reserve(ctx, b, size));
    if (size) memcpy(b->data + b->size, data, size);
    b->size += size;
    return WC_OK;
}

wc_status wc_buf_printf(wc_ctx *ctx, wc_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    wc_status status = n < 0 ? wc_fail(ctx, WC_BUG, "bad format `%s'", fmt) : buf_reserve(ctx, b, (size_t)n + 1);
    if (status == WC_OK) {
        vsnprintf((char *)b->data + b->size, (size_t)n + 1, fmt, again);
        b->size += (size_t)n;
    }
    va_end(again);
    return status;
}

void wc_buf_free(wc_buf *b)
{
    if (!b) return;
    free(b->data);
    memset(b, 0, sizeof *b);
}

uint64_t wc_peak_rss(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long long kib = 0;
    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %llu", &kib) == 1) break;
    fclose(f);
    return kib * 1024;
}

double wc_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
