/* float v1: values kept bit for bit. params: byte 0 = dtype id, the rest zero. blob: rows * cols values, little-endian.
 */
#include "base/dtype.h"
#include "base/half.h"
#include "decode/bytes.h"
#include "decode/decoder.h"

enum {
#define X(name, bits, id) DTYPE_##name = id,
    WC_DTYPE_LIST(X)
#undef X
};

static wcd_status open_float(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    for (int i = 1; i < WCD_PARAMS; i++)
        if (params[i]) return WCD_E_CORRUPT;
    unsigned dtype = params[0], bits = wcd_dtype_bits(dtype);
    if (!dtype) return WCD_E_CORRUPT;
    if (!bits) return WCD_E_VERSION;
    uint64_t total = v->rows * v->cols * bits; /* at most 2^62, see WCD_MAX_ELEMENTS */
    if (total % 8 || total / 8 != v->size) return WCD_E_CORRUPT;
    v->u.f.dtype = dtype;
    v->numeric = dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16;
    return WCD_OK;
}

static void span_float(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    uint64_t at = row * v->cols + col;
    const uint8_t *wide = v->blob + 4 * at, *half = v->blob + 2 * at;
    switch (v->u.f.dtype) {
    case DTYPE_F32:
        for (unsigned i = 0; i < n; i++)
            dst[i] = wc_bits_f32(wcd_u32(wide + 4 * i));
        break;
    case DTYPE_F16:
        for (unsigned i = 0; i < n; i++)
            dst[i] = wc_f16_f32(wcd_u16(half + 2 * i));
        break;
    case DTYPE_BF16:
        for (unsigned i = 0; i < n; i++)
            dst[i] = wc_bf16_f32(wcd_u16(half + 2 * i));
        break;
    }
}

const wcd_decoder wcd_decoder_float = {.id = 1, .version = 1, .name = "float", .open = open_float, .span = span_float};
