/* diagonal v1, a transform: C = diag(c), c[j] = f32(scale[j]) * 2^scale_exp.
 *
 *     params  0 i8 scale_exp
 *     blob    f16 scale[cols]
 *
 *     w[j] = w[j] c[j]        x[j] = c[j] x[j]        c is exact in f32 unless it leaves its range */
#include "base/half.h"
#include "decode/bytes.h"
#include "decode/decoder.h"

static wcd_status open_diagonal(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    for (int i = 1; i < WCD_PARAMS; i++)
        if (params[i]) return WCD_E_CORRUPT;
    if (!v->cols || v->size != 2 * v->cols || !wcd_exp2(params[0], &v->u.d.exp2)) return WCD_E_CORRUPT;
    return WCD_OK;
}

static void scale(const wcd_view *v, float *x)
{
    for (uint64_t j = 0; j < v->cols; j++)
        x[j] *= wc_f16_f32(wcd_u16(v->blob + 2 * j)) * v->u.d.exp2;
}

const wcd_decoder wcd_decoder_diagonal = {
    .id = 9, .version = 1, .name = "diagonal", .open = open_diagonal, .row = scale, .input = scale};
