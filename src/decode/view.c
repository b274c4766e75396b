#include "decode/decoder.h"

#include "base/dtype.h"

#define WC_FORMAT(id, version, name) extern const wcd_decoder wcd_decoder_##name;
#include "formats/formats.def"
#undef WC_FORMAT

static const wcd_decoder *const decoders[] = {
#define WC_FORMAT(id, version, name) &wcd_decoder_##name,
#include "formats/formats.def"
#undef WC_FORMAT
};

const wcd_decoder *wcd_decoder_for(uint16_t kind)
{
    for (size_t i = 0; i < sizeof decoders / sizeof *decoders; i++)
        if (decoders[i]->id == kind) return decoders[i];
    return NULL;
}

unsigned wcd_dtype_bits(uint32_t dtype)
{
    static const uint8_t bits_of[] = {
#define X(name, bits, id) [id] = bits,
        WC_DTYPE_LIST(X)
#undef X
    };
    return dtype < sizeof bits_of ? bits_of[dtype] : 0;
}

wcd_status wcd_view_open(uint16_t kind, uint16_t version, const uint8_t params[WCD_PARAMS], const uint8_t *blob,
                         uint64_t size, uint64_t rows, uint64_t cols, wcd_view *out)
{
    const wcd_decoder *d = wcd_decoder_for(kind);
    if (!d || d->version != version) return WCD_E_VERSION;
    if (rows > WCD_MAX_ELEMENTS || cols > WCD_MAX_ELEMENTS || (cols && rows > WCD_MAX_ELEMENTS / cols))
        return WCD_E_CORRUPT;
    wcd_view v = {.d = d, .rows = rows, .cols = cols, .blob = blob, .size = size};
    wcd_status s = d->open(params, &v);
    if (s == WCD_OK) *out = v;
    return s;
}

static wcd_status check_rows(const wcd_view *v, uint64_t r0, uint64_t nr)
{
    if (r0 > v->rows || nr > v->rows - r0) return WCD_E_ARGUMENT;
    return v->numeric ? WCD_OK : WCD_E_NOT_NUMERIC;
}

static unsigned span_at(const wcd_view *v, uint64_t col)
{
    return v->cols - col < WCD_SPAN ? (unsigned)(v->cols - col) : WCD_SPAN;
}

wcd_status wcd_view_set_rows(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld)
{
    wcd_status s = check_rows(v, r0, nr);
    if (s != WCD_OK || !v->cols) return s;
    for (uint64_t r = 0; r < nr; r++, dst += ld)
        for (uint64_t c = 0; c < v->cols; c += WCD_SPAN)
            v->d->span(v, r0 + r, c, span_at(v, c), dst + c);
    return WCD_OK;
}

wcd_status wcd_view_add_rows(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld)
{
    wcd_status s = check_rows(v, r0, nr);
    if (s != WCD_OK || !v->cols) return s;
    float w[WCD_SPAN];
    for (uint64_t r = 0; r < nr; r++, dst += ld)
        for (uint64_t c = 0; c < v->cols; c += WCD_SPAN) {
            unsigned n = span_at(v, c);
            v->d->span(v, r0 + r, c, n, w);
            for (unsigned i = 0; i < n; i++)
                dst[c + i] += w[i];
        }
    return WCD_OK;
}

float wcd_view_dot(const wcd_view *v, uint64_t row, const float *x)
{
    float lane[16] = {0}, span[WCD_SPAN];
    for (uint64_t c = 0; c < v->cols; c += WCD_SPAN) {
        unsigned n = span_at(v, c);
        const float *w = span;
        v->d->span(v, row, c, n, span);
        for (; n >= 16; n -= 16, w += 16, x += 16)
            for (int j = 0; j < 16; j++)
                lane[j] += w[j] * x[j];
        for (unsigned j = 0; j < n; j++)
            lane[j] += w[j] * x[j];
    }
    for (int half = 8; half; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}
