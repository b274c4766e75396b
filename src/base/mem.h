/* mem.h - checked allocation and size arithmetic. */
#ifndef WC_BASE_MEM_H
#define WC_BASE_MEM_H

#include "base/status.h"

/* *out = a * b, a + b; false when the result does not fit, *out then untouched. */
static inline bool wc_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool wc_add(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline uint64_t wc_round_up(uint64_t x, uint64_t to)
{
    return (x + to - 1) / to * to;
}
static inline size_t wc_ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}
static inline size_t wc_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* *out = count * size zeroed bytes, aligned to 64, to be released with free(). `what' completes "no memory for ...".
 * count or size 0 gives a valid, freeable pointer. On failure *out is NULL and the status WC_NOMEM. */
wc_status wc_alloc(wc_ctx *ctx, size_t count, size_t size, const char *what, void **out);

/* The same with any bytes in it: for large arrays that are written before they are read. Zeroing them would take one
 * thread longer than the others take to use them. */
wc_status wc_alloc_raw(wc_ctx *ctx, size_t count, size_t size, const char *what, void **out);
#define WC_ALLOC_RAW(ctx, ptr, count, what) wc_alloc_raw((ctx), (count), sizeof *(ptr), (what), (void **)&(ptr))

/* WC_ALLOC(ctx, x, 100, "activations"): allocates 100 elements of *x into x. */
#define WC_ALLOC(ctx, ptr, count, what) wc_alloc((ctx), (count), sizeof *(ptr), (what), (void **)&(ptr))

/* A growing byte buffer. Zero-initialise; free with wc_buf_free. */
typedef struct wc_buf {
    uint8_t *data;
    size_t size, capacity;
} wc_buf;
wc_status wc_buf_append(wc_ctx *ctx, wc_buf *b, const void *data, size_t size);
wc_status wc_buf_printf(wc_ctx *ctx, wc_buf *b, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void wc_buf_free(wc_buf *b);

/* The peak resident set of this process so far, in bytes (VmHWM). */
uint64_t wc_peak_rss(void);

/* Seconds since an arbitrary start, monotonic. */
double wc_now(void);

#endif
