/* lowrank v1: W = A B, A [rows, rank], B [rank, cols]. The blob is empty; A and B are the two children.
 *
 *     params  0 u32 rank
 *
 *     w[r, c] = (..((A[r, 0] B[0, c]) + A[r, 1] B[1, c]) + ..) + A[r, rank - 1] B[rank - 1, c]
 *
 * in f32, every product and every sum rounded. Rows are made eight at a time, so that a span of B is decoded once for
 * all of them. A product with a vector is A (B x), which costs rank (rows + cols) and not rows * cols * rank. */
#include "decode/bytes.h"
#include "decode/decoder.h"

static wcd_status open_lowrank(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    v->u.r.rank = wcd_u32(params);
    for (int i = 4; i < WCD_PARAMS; i++)
        if (params[i]) return WCD_E_CORRUPT;
    if (!v->rows || !v->cols || !v->u.r.rank || v->size) return WCD_E_CORRUPT;
    v->numeric = 1;
    return WCD_OK;
}

static void child_shape(const wcd_view *v, unsigned k, uint64_t *rows, uint64_t *cols)
{
    *rows = k ? v->u.r.rank : v->rows;
    *cols = k ? v->cols : v->u.r.rank;
}

static void multiply(float *dst, float a, const float *b, unsigned n, int add)
{
    for (unsigned i = 0; i < n; i++) {
        float product = a * b[i];
        dst[i] = add ? dst[i] + product : product;
    }
}

static void block_lowrank(const wcd_view *v, uint64_t row, unsigned nr, uint64_t col, unsigned n, float *dst, size_t ld)
{
    const wcd_view *a = v + 1, *b = v + 2;
    float left[WCD_BLOCK_ROWS][WCD_SPAN], right[WCD_SPAN];
    for (uint64_t first = 0; first < v->u.r.rank; first += WCD_SPAN) {
        unsigned count = wcd_span_at(a, first);
        for (unsigned i = 0; i < nr; i++)
            a->d->span(a, row + i, first, count, left[i]);
        for (unsigned k = 0; k < count; k++) {
            b->d->span(b, first + k, col, n, right);
            for (unsigned i = 0; i < nr; i++)
                multiply(dst + i * ld, left[i][k], right, n, first + k > 0);
        }
    }
}

static void span_lowrank(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    block_lowrank(v, row, 1, col, n, dst, n);
}

static void product_lowrank(const wcd_view *v, uint64_t r0, uint64_t nr, const float *x, float *y, int add)
{
    const wcd_view *a = v + 1, *b = v + 2;
    float z[WCD_SPAN], left[WCD_SPAN];
    for (uint64_t first = 0; first < v->u.r.rank; first += WCD_SPAN, add = 1) {
        unsigned count = wcd_span_at(a, first);
        for (unsigned k = 0; k < count; k++)
            z[k] = wcd_view_dot(b, first + k, x);
        for (uint64_t i = 0; i < nr; i++) {
            float lane[WCD_LANES] = {0};
            a->d->span(a, r0 + i, first, count, left);
            wcd_lanes_add(lane, left, z, count);
            float product = wcd_lanes_sum(lane);
            y[i] = add ? y[i] + product : product;
        }
    }
}

const wcd_decoder wcd_decoder_lowrank = {.id = 5,
                                         .version = 1,
                                         .name = "lowrank",
                                         .open = open_lowrank,
                                         .span = span_lowrank,
                                         .n_children = 2,
                                         .child_shape = child_shape,
                                         .block = block_lowrank,
                                         .product = product_lowrank};
