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

const wcd_decoder wcd_decoder_sparse = {
    .id = 4, .version = 1, .name = "sparse", .open = open_sparse, .span = span_sparse};
