/* sparse v1: values at explicit positions, 0 elsewhere.
 *
 *     params  0 u8 dtype (F32, F16, BF16)   1 u8 layout   2 u8 n   3 u8 m   4 i8 scale_exp   8 u64 nnz   16 u32 block
 *     blob    ends, positions: decode/positions.h
 *             values: [nnz] of dtype; F16 times 2^scale_exp                      sections start at multiples of 8 */
#include "base/dtype.h"
#include "base/half.h"
#include "decode/bytes.h"
#include "decode/decoder.h"

enum {
#define X(name, bits, id) DTYPE_##name = id,
    WC_DTYPE_LIST(X)
#undef X
};

static int parse(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_sparse_view *s = &v->u.s;
    s->dtype = params[0];
    for (int i = 5; i < WCD_PARAMS; i++)
        if (params[i] && (i < 8 || i > 19)) return 0;
    if (s->dtype != DTYPE_F32 && s->dtype != DTYPE_F16 && s->dtype != DTYPE_BF16) return 0;
    if (!wcd_exp2(params[4], &s->exp2) || (s->dtype != DTYPE_F16 && params[4])) return 0;
    return wcd_positions_open(&s->p, params[1], params[2], params[3], wcd_u32(params + 16), wcd_u64(params + 8),
                              v->rows, v->cols);
}

static wcd_status open_sparse(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_sparse_view *s = &v->u.s;
    uint64_t end = 0;
    if (!v->rows || !v->cols || !parse(params, v)) return WCD_E_CORRUPT;
    wcd_positions_place(&s->p, v->rows, &end);
    uint64_t values = wcd_place(&end, s->p.nnz * (s->dtype == DTYPE_F32 ? 4 : 2));
    if (end != v->size) return WCD_E_CORRUPT;
    v->numeric = 1;
    if (v->blob) s->values = v->blob + values;
    return WCD_OK;
}

static float value_at(const wcd_sparse_view *s, uint64_t k)
{
    if (s->dtype == DTYPE_F32) return wc_bits_f32(wcd_u32(s->values + 4 * k));
    uint16_t half = wcd_u16(s->values + 2 * k);
    return s->dtype == DTYPE_F16 ? wc_f16_f32(half) * s->exp2 : wc_bf16_f32(half);
}

static void span_sparse(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    uint8_t at[WCD_SPAN];
    uint64_t first;
    unsigned count = wcd_positions_span(&v->u.s.p, v->blob, row, col, n, at, &first);
    for (unsigned i = 0; i < n; i++)
        dst[i] = 0;
    for (unsigned k = 0; k < count; k++)
        dst[at[k]] = value_at(&v->u.s, first + k);
}

/* ---- products ---------------------------------------------------------------------------------------------------
 *
 * y = sum over the row's values in order, number k in lane k mod 16: only columns that are stored take part. */

/* lane += a row's sums. */
static void listed_lanes(const wcd_view *v, const uint8_t *list, uint64_t first, uint64_t end, const float *x,
                         float lane[WCD_LANES])
{
    const wcd_sparse_view *s = &v->u.s;
    if (s->p.layout == WCD_LIST16 && s->dtype == DTYPE_F16) {
        wcd_inner_loops()->listed(list, s->values + 2 * first, end - first, s->exp2, x, v->cols, lane);
        return;
    }
    for (uint64_t k = 0; k < end - first; k++) {
        uint32_t col = s->p.layout == WCD_LIST16 ? wcd_u16(list + 2 * k) : wcd_u32(list + 4 * k);
        float *to = &lane[k % WCD_LANES];
        *to = wcd_fma(value_at(s, first + k), col < v->cols ? x[col] : 0, *to);
    }
}

/* Rows of lists times one input, which stays near while all take from it, here and there. */
static void listed_products(const wcd_view *v, uint64_t r0, uint64_t nr, const float *x, float *y, int add)
{
    for (unsigned k; nr; nr -= k, r0 += k, y += k) {
        float lane[WCD_BLOCK_ROWS * WCD_LANES] = {0};
        k = nr < WCD_BLOCK_ROWS ? (unsigned)nr : WCD_BLOCK_ROWS;
        for (unsigned i = 0; i < k; i++) {
            uint64_t first, end;
            const uint8_t *list = wcd_positions_list(&v->u.s.p, v->blob, r0 + i, &first, &end);
            listed_lanes(v, list, first, end, x, lane + i * WCD_LANES);
        }
        wcd_lanes_put(lane, k, 1, y, 0, add);
    }
}

/* lane [x->n][16] = a row's sums. Positions and values are decoded once. */
static void placed_lanes(const wcd_view *v, uint64_t row, const wcd_vectors *x, float *lane)
{
    uint8_t at[WCD_SPAN];
    float value[WCD_SPAN];
    uint64_t first, k = 0;
    for (unsigned i = 0; i < x->n * WCD_LANES; i++)
        lane[i] = 0;
    for (uint64_t c = 0; c < v->cols; c += WCD_SPAN) {
        unsigned count = wcd_positions_span(&v->u.s.p, v->blob, row, c, wcd_span_at(v, c), at, &first);
        for (unsigned i = 0; i < count; i++)
            value[i] = value_at(&v->u.s, first + i);
        for (unsigned b = 0; b < x->n; b++)
            for (unsigned i = 0; i < count; i++) {
                float *to = &lane[b * WCD_LANES + (k + i) % WCD_LANES];
                *to = wcd_fma(value[i], x->x[b * x->ld + c + at[i]], *to);
            }
        k += count;
    }
}

static void products_sparse(const wcd_view *v, uint64_t r0, uint64_t nr, const wcd_vectors *x, float *y, size_t ldy,
                            int add)
{
    float lane[WCD_VECTORS * WCD_LANES];
    uint64_t first, end;
    const int listed = nr && wcd_positions_list(&v->u.s.p, v->blob, r0, &first, &end) != NULL;
    for (unsigned b = 0; b < x->n && listed; b++)
        listed_products(v, r0, nr, x->x + b * x->ld, y + b * ldy, add);
    for (uint64_t i = 0; i < nr && !listed; i++) {
        placed_lanes(v, r0 + i, x, lane);
        wcd_lanes_put(lane, 1, x->n, y + i, ldy, add);
    }
}

const wcd_decoder wcd_decoder_sparse = {
    .id = 4, .version = 1, .name = "sparse", .open = open_sparse, .span = span_sparse, .products = products_sparse};
