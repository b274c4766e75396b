#include "solve/floors.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 2048 };

/* Bits of t that a pass finds, and those that are then still open. */
static const int width[WC_FLOORS_PASSES] = {11, 10, 10}, open_after[WC_FLOORS_PASSES] = {20, 10, 0};

wc_status wc_floors_begin(wc_ctx *ctx, size_t n, const uint64_t *most, uint64_t want, wc_floors *out)
{
    wc_floors f = {.n = n, .most = most, .want = want};
    wc_status status = WC_OK;
    *out = (wc_floors){0};
    WC_TRY_OUT(WC_ALLOC(ctx, f.below, n, "counts of scores"));
    WC_TRY_OUT(WC_ALLOC(ctx, f.count, n * BUCKETS, "counts of scores"));
    *out = f;
    return WC_OK;
out:
    wc_floors_free(&f);
    return status;
}

void wc_floors_show(wc_floors *f, size_t l, const float *score, size_t count)
{
    uint64_t *bucket = f->count + l * BUCKETS;
    int open = open_after[f->pass], bits = width[f->pass];
    uint32_t prefix = f->prefix >> open >> bits, mask = (1u << bits) - 1;
    for (size_t i = 0; i < count; i++) {
        uint32_t x;
        memcpy(&x, &score[i], sizeof x);
        x &= 0x7fffffff;
        if (x >> open >> bits == prefix) bucket[x >> open & mask]++;
    }
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* t is in the first bucket up to which, with floors, at least `want' go. */
void wc_floors_next(wc_floors *f)
{
    uint32_t last = (1u << width[f->pass]) - 1, b = 0;
    for (;; b++) {
        uint64_t gone = 0;
        for (size_t l = 0; l < f->n; l++)
            gone += least(f->most[l], f->below[l] + f->count[l * BUCKETS + b]);
        if (gone >= f->want || b == last) break;
        for (size_t l = 0; l < f->n; l++)
            f->below[l] += f->count[l * BUCKETS + b];
    }
    f->prefix |= b << open_after[f->pass];
    if (++f->pass < WC_FLOORS_PASSES) {
        memset(f->count, 0, f->n * BUCKETS * sizeof *f->count);
        return;
    }
    for (size_t l = 0; l < f->n; l++) /* those equal to t */
        f->count[l * BUCKETS] = f->count[l * BUCKETS + b];
}

void wc_floors_take(const wc_floors *f, uint64_t *go)
{
    uint64_t left = f->want;
    for (size_t l = 0; l < f->n; l++)
        left -= go[l] = least(f->most[l], f->below[l]);
    for (size_t l = 0; l < f->n; l++) {
        uint64_t more = least(left, least(f->most[l] - go[l], f->count[l * BUCKETS]));
        go[l] += more, left -= more;
    }
}

void wc_floors_free(wc_floors *f)
{
    if (!f) return;
    free(f->below), free(f->count);
    memset(f, 0, sizeof *f);
}
