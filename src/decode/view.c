#include "decode/decoder.h"

#include <string.h>

#include "base/dtype.h"
#include "base/half.h"
#include "decode/bytes.h"
#include "decode/inner.h"

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

int wcd_floats(uint32_t dtype, const uint8_t *p, uint64_t n, float *dst)
{
    enum {
#define X(name, bits, id) DTYPE_##name = id,
        WC_DTYPE_LIST(X)
#undef X
    };
    if (dtype == DTYPE_F32)
        for (uint64_t i = 0; i < n; i++)
            dst[i] = wc_bits_f32(wcd_u32(p + 4 * i));
    else if (dtype == DTYPE_F16)
        wcd_inner_loops()->halves(p, n, 1, dst);
    else if (dtype == DTYPE_BF16)
        wcd_inner_loops()->brains(p, n, dst);
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16;
}

wcd_status wcd_view_open(uint16_t kind, uint16_t version, const uint8_t params[WCD_PARAMS], const uint8_t *blob,
                         uint64_t size, uint64_t rows, uint64_t cols, wcd_view *out)
{
    const wcd_decoder *d = wcd_decoder_for(kind);
    if (!d || d->version != version) return WCD_E_VERSION;
    if (rows > WCD_MAX_ELEMENTS || cols > WCD_MAX_ELEMENTS || (cols && rows > WCD_MAX_ELEMENTS / cols))
        return WCD_E_CORRUPT;
    wcd_view v = {.d = d, .rows = rows, .cols = cols, .blob = blob, .size = size};
    v.n_children = d->children ? d->children(params) : 0;
    wcd_status s = d->open(params, &v);
    if (s == WCD_OK) *out = v;
    return s;
}

wcd_status wcd_view_child(wcd_view *v, unsigned k, uint16_t kind, uint16_t version, const uint8_t params[WCD_PARAMS],
                          const uint8_t *blob, uint64_t size)
{
    uint64_t rows, cols;
    v->d->child_shape(v, k, &rows, &cols);
    wcd_status s = wcd_view_open(kind, version, params, blob, size, rows, cols, &v[1 + k]);
    if (s == WCD_OK && (v[1 + k].n_children || !v[1 + k].numeric)) s = WCD_E_CORRUPT;
    return s;
}

static wcd_status check_rows(const wcd_view *v, uint64_t r0, uint64_t nr)
{
    if (r0 > v->rows || nr > v->rows - r0) return WCD_E_ARGUMENT;
    return v->numeric ? WCD_OK : WCD_E_NOT_NUMERIC;
}

int wcd_exp2(uint8_t e, float *out)
{
    int exp = e < 128 ? e : e - 256;
    if (exp < -126 || exp > 126) return 0;
    *out = wc_bits_f32((uint32_t)(exp + 127) << 23);
    return 1;
}

static unsigned rows_at_once(const wcd_view *v, uint64_t left)
{
    unsigned most = v->d->block ? WCD_BLOCK_ROWS : 1;
    return left < most ? (unsigned)left : most;
}

static void decode(const wcd_view *v, uint64_t row, unsigned nr, uint64_t col, unsigned n, float *dst, size_t ld)
{
    if (v->d->block)
        v->d->block(v, row, nr, col, n, dst, ld);
    else
        v->d->span(v, row, col, n, dst);
}

wcd_status wcd_view_set_rows(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld)
{
    wcd_status s = check_rows(v, r0, nr);
    if (s != WCD_OK || !v->cols) return s;
    if (v->d->rows) {
        v->d->rows(v, r0, nr, dst, ld);
        return WCD_OK;
    }
    for (unsigned k; nr; nr -= k, r0 += k, dst += k * ld) {
        k = rows_at_once(v, nr);
        for (uint64_t c = 0; c < v->cols; c += WCD_SPAN)
            decode(v, r0, k, c, wcd_span_at(v, c), dst + c, ld);
    }
    return WCD_OK;
}

wcd_status wcd_view_add_rows(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld)
{
    wcd_status s = check_rows(v, r0, nr);
    if (s != WCD_OK || !v->cols) return s;
    if (v->d->add_rows) {
        v->d->add_rows(v, r0, nr, dst, ld);
        return WCD_OK;
    }
    float w[WCD_BLOCK_ROWS][WCD_SPAN];
    for (unsigned k; nr; nr -= k, r0 += k, dst += k * ld) {
        k = rows_at_once(v, nr);
        for (uint64_t c = 0; c < v->cols; c += WCD_SPAN) {
            unsigned n = wcd_span_at(v, c);
            decode(v, r0, k, c, n, w[0], WCD_SPAN);
            for (unsigned r = 0; r < k; r++)
                for (unsigned i = 0; i < n; i++)
                    dst[r * ld + c + i] += w[r][i];
        }
    }
    return WCD_OK;
}

void wcd_lanes_put(const float *lane, unsigned nr, unsigned nx, float *y, size_t ldy, int add)
{
    float sums[WCD_BLOCK_ROWS * WCD_VECTORS];
    const float *sum = sums;
    wcd_inner_loops()->sums(lane, nr * nx, sums);
    for (unsigned i = 0; i < nr; i++)
        for (unsigned b = 0; b < nx; b++, sum++) {
            float *to = y + b * ldy + i;
            *to = add ? *to + *sum : *sum;
        }
}

void wcd_span_products(const wcd_view *v, uint64_t r0, uint64_t nr, const wcd_vectors *x, float *y, size_t ldy, int add)
{
    const wcd_inner *inner = wcd_inner_loops();
    float lane[WCD_BLOCK_ROWS * WCD_VECTORS * WCD_LANES], w[WCD_BLOCK_ROWS][WCD_SPAN];
    for (unsigned k; nr; nr -= k, r0 += k, y += k) {
        k = nr < WCD_BLOCK_ROWS ? (unsigned)nr : WCD_BLOCK_ROWS;
        memset(lane, 0, k * x->n * WCD_LANES * sizeof *lane);
        for (uint64_t c = 0; c < v->cols; c += WCD_SPAN) {
            unsigned n = wcd_span_at(v, c);
            for (unsigned i = 0; i < k && !v->d->block; i++)
                v->d->span(v, r0 + i, c, n, w[i]);
            if (v->d->block) v->d->block(v, r0, k, c, n, w[0], WCD_SPAN);
            inner->lanes(w[0], WCD_SPAN, k, x->x + c, x->ld, x->n, n, lane);
        }
        wcd_lanes_put(lane, k, x->n, y, ldy, add);
    }
}

void wcd_span_product(const wcd_view *v, uint64_t r0, uint64_t nr, const float *x, float *y, int add)
{
    wcd_span_products(v, r0, nr, &(wcd_vectors){x, 0, 1}, y, 0, add);
}

static void codes_products(const wcd_view *v, wcd_codes_of *codes_of, uint64_t group, uint64_t r0, uint64_t nr,
                           const wcd_int8 *x, float *y, size_t ldy, int add)
{
    const uint64_t whole = v->cols / WCD_BLOCK * WCD_BLOCK, most = WCD_CODE_GROUPS * group;
    const unsigned rest = (unsigned)(v->cols - whole), nx = x->x.n;
    for (unsigned k; nr; nr -= k, r0 += k, y += k) {
        float lane[WCD_CODE_ROWS * WCD_VECTORS * WCD_LANES], w[WCD_SPAN];
        k = nr < WCD_CODE_ROWS ? (unsigned)nr : WCD_CODE_ROWS;
        memset(lane, 0, k * nx * WCD_LANES * sizeof *lane);
        for (uint64_t c = 0, n; c < whole; c += n) {
            wcd_code_rows rows;
            n = whole - c < most ? whole - c : most;
            codes_of(v, r0, k, c, (unsigned)((n - 1) / group) + 1, &rows);
            const wcd_int8_codes codes = wcd_int8_at(x, v->cols, c);
            if (x->memory)
                wcd_inner_loops()->dot8(&rows.codes, k, n, &codes, lane);
            else
                wcd_inner_loops()->dot(&rows.codes, k, n, x->x.x + c, lane);
        }
        for (unsigned i = 0; i < k && rest; i++) {
            uint64_t c = v->cols / WCD_SPAN * WCD_SPAN;
            v->d->span(v, r0 + i, c, (unsigned)(v->cols - c), w);
            for (unsigned b = 0; b < nx; b++)
                wcd_lanes_add(lane + (i * nx + b) * WCD_LANES, w + (whole - c), x->x.x + b * x->x.ld + whole, rest);
        }
        wcd_lanes_put(lane, k, nx, y, ldy, add);
    }
}

/* As many inputs at a time as stay in a second cache while all rows are multiplied by them. */
void wcd_codes_products8(const wcd_view *v, wcd_codes_of *codes_of, uint64_t group, uint64_t r0, uint64_t nr,
                         const wcd_int8 *x, float *y, size_t ldy, int add)
{
    enum { NEAR = 1 << 18, FEW = 8 };
    const uint64_t bytes = wcd_int8_bytes(v->cols), fit = NEAR / (bytes + 1);
    const unsigned most = fit < FEW ? FEW : fit < WCD_VECTORS ? (unsigned)fit / FEW * FEW : WCD_VECTORS;
    for (unsigned b = 0, n; b < x->x.n; b += n) {
        n = x->x.n - b < most ? x->x.n - b : most;
        const wcd_int8 some = {{x->x.x + b * x->x.ld, x->x.ld, n}, (const uint8_t *)x->memory + b * bytes};
        codes_products(v, codes_of, group, r0, nr, &some, y + b * ldy, ldy, add);
    }
}

void wcd_codes_product(const wcd_view *v, wcd_codes_of *codes_of, uint64_t group, uint64_t r0, uint64_t nr,
                       const float *x, float *y, int add)
{
    codes_products(v, codes_of, group, r0, nr, &(wcd_int8){{x, 0, 1}, NULL}, y, 0, add);
}

float wcd_view_dot(const wcd_view *v, uint64_t row, const float *x)
{
    float y;
    wcd_view_product(v, row, 1, x, &y, 0);
    return y;
}

void wcd_view_product(const wcd_view *v, uint64_t r0, uint64_t nr, const float *x, float *y, int add)
{
    wcd_view_products(v, r0, nr, &(wcd_vectors){x, 0, 1}, y, 0, add);
}

void wcd_view_products(const wcd_view *v, uint64_t r0, uint64_t nr, const wcd_vectors *x, float *y, size_t ldy, int add)
{
    if (v->d->products)
        v->d->products(v, r0, nr, x, y, ldy, add);
    else if (v->d->product && x->n == 1)
        v->d->product(v, r0, nr, x->x, y, add);
    else
        wcd_span_products(v, r0, nr, x, y, ldy, add);
}
