/* prepare.c - tensors with some of their parts laid out anew (tiles.h): the public functions. */
#include "decode/tiles.h"

/* Whether part i gains; its view is open then. Bytes of its layout begin at a multiple of 64 in any case. */
static int tiles_of_part(const wcd_tensor *t, uint32_t i, wcd_view v[WCD_VIEWS], wcd_tiles *f)
{
    return wcd_tensor_part(t, i, v) == WCD_OK && v->numeric && wcd_tiles_of(v, f);
}

uint64_t wcd_prepare_size(const wcd_tensor *t)
{
    uint64_t size = 0;
    for (uint32_t i = 0; t && i < t->n_parts; i++) {
        wcd_view v[WCD_VIEWS];
        wcd_tiles f;
        if (tiles_of_part(t, i, v, &f)) size += f.size;
    }
    return size;
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

static void run(const wcd_pool *pool, void (*task)(void *arg, unsigned i), void *arg, unsigned n)
{
    if (pool)
        pool->run(pool->self, task, arg, n);
    else
        for (unsigned i = 0; i < n; i++)
            task(arg, i);
}

/* Of `count' things, for pool->threads tasks: those of every task but the last, a multiple of `grain'. */
static uint64_t share_of(const wcd_pool *pool, uint64_t count, uint64_t grain)
{
    const uint64_t most = pool ? (count - 1) / pool->threads + 1 : count;
    return (most + grain - 1) / grain * grain;
}

static int pool_ok(const wcd_pool *pool)
{
    return !pool || (pool->run && pool->threads);
}

/* ---- preparing -------------------------------------------------------------------------------------------------- */

typedef struct layout {
    const wcd_tiles *f;
    const wcd_view *v;
    uint64_t tiles, share;
    uint8_t *memory;
} layout;

static void lay_out(void *arg, unsigned i)
{
    const layout *l = arg;
    const uint64_t first = i * l->share, left = l->tiles - first;
    wcd_tiles_make(l->f, l->v, first, left < l->share ? left : l->share, l->memory);
}

wcd_status wcd_prepare(const wcd_tensor *t, const wcd_pool *pool, void *memory, wcd_prepared *out)
{
    uint8_t *at = memory;
    if (!t || !out || !pool_ok(pool)) return WCD_E_ARGUMENT;
    if (wcd_prepare_size(t) && (!memory || (uintptr_t)memory % 64)) return WCD_E_ARGUMENT;
    for (uint32_t i = 0; i < t->n_parts; i++) {
        wcd_view v[WCD_VIEWS];
        wcd_tiles f;
        wcd_status s = wcd_tensor_part(t, i, v);
        if (s != WCD_OK) return s;
        if (!v->numeric) return WCD_E_NOT_NUMERIC;
        if (!wcd_tiles_of(v, &f)) continue;
        layout l = {&f, v, wcd_tiles_count(v), 0, at};
        l.share = share_of(pool, l.tiles, 1);
        run(pool, lay_out, &l, (unsigned)((l.tiles - 1) / l.share + 1));
        at += f.size;
    }
    *out = (wcd_prepared){*t, memory};
    return WCD_OK;
}

/* ---- products --------------------------------------------------------------------------------------------------- */

static wcd_status multiply(const wcd_prepared *p, uint64_t r0, uint64_t n, const wcd_vectors *x, float *y, size_t ldy)
{
    const uint8_t *at = p->memory;
    for (uint32_t i = 0; i < p->t.n_parts; i++) {
        wcd_view v[WCD_VIEWS];
        wcd_tiles f;
        wcd_status s = wcd_tensor_part(&p->t, i, v);
        if (s != WCD_OK) return s;
        if (!v->numeric) return WCD_E_NOT_NUMERIC;
        if (wcd_tiles_of(v, &f)) {
            wcd_tiles_product(&f, v, at, r0, n, x, y, ldy, i > 0);
            at += f.size;
        } else if (n) {
            wcd_view_products(v, r0, n, x, y, ldy, i > 0);
        }
    }
    return WCD_OK;
}

wcd_status wcd_prepared_matmul(const wcd_prepared *p, uint64_t r0, uint64_t n, const float *x, size_t ldx, size_t nx,
                               float *y, size_t ldy)
{
    wcd_status s = WCD_OK;
    if (!p || r0 > p->t.rows || n > p->t.rows - r0 || ldx < p->t.cols || ldy < n) return WCD_E_ARGUMENT;
    if (nx && ((!x && p->t.cols) || (!y && n))) return WCD_E_ARGUMENT;
    for (size_t b = 0, some; s == WCD_OK && b < nx; b += some) {
        some = nx - b < WCD_VECTORS ? nx - b : WCD_VECTORS;
        s = multiply(p, r0, n, &(wcd_vectors){x + b * ldx, ldx, (unsigned)some}, y + b * ldy, ldy);
    }
    return s;
}

typedef struct product {
    const wcd_prepared *p;
    uint64_t share;
    const float *x;
    size_t ldx, nx;
    float *y;
    size_t ldy;
} product;

static void multiply_share(void *arg, unsigned i)
{
    const product *a = arg;
    const uint64_t r0 = i * a->share, left = a->p->t.rows - r0;
    /* what this could refuse was tried before */
    wcd_prepared_matmul(a->p, r0, left < a->share ? left : a->share, a->x, a->ldx, a->nx, a->y + r0, a->ldy);
}

wcd_status wcd_prepared_matmul_pool(const wcd_prepared *p, const wcd_pool *pool, const float *x, size_t ldx, size_t nx,
                                    float *y, size_t ldy)
{
    if (!p || !pool_ok(pool) || ldy < p->t.rows) return WCD_E_ARGUMENT;
    if (!p->t.rows || !nx) return wcd_prepared_matmul(p, 0, p->t.rows, x, ldx, nx, y, ldy);
    wcd_status s = wcd_prepared_matmul(p, 0, 0, x, ldx, nx, y, ldy);
    if (s != WCD_OK) return s;
    if (!y) return WCD_E_ARGUMENT;
    const uint64_t grain = wcd_tensor_grain(&p->t);
    product a = {p, 0, x, ldx, nx, y, ldy};
    a.share = share_of(pool, p->t.rows, grain < WCD_TILE_ROWS ? WCD_TILE_ROWS : grain);
    run(pool, multiply_share, &a, (unsigned)((p->t.rows - 1) / a.share + 1));
    return WCD_OK;
}
