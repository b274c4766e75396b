#include "decode/inner.h"

#include <string.h>

#include "base/half.h"
#include "decode/bytes.h"
#include "decode/decoder.h"

static void unpack(const uint8_t *p, unsigned bits, uint64_t blocks, uint8_t *out)
{
    for (; blocks; blocks--, p += WCD_BLOCK / 8 * bits, out += WCD_BLOCK)
        wcd_unpack_block(p, bits, out);
}

/* 16 values. The form that compilers vectorise at -O2. */
static void sixteen(const wcd_codes *c, unsigned row, uint64_t g, const uint8_t *q, float *w)
{
    float s = c->s[row * c->ld + g];
    if (c->levels) {
        for (int j = 0; j < 16; j++)
            w[j] = s * c->levels[16 * row + q[j]];
        return;
    }
    float z = c->z[row * c->ld + g];
    for (int j = 0; j < 16; j++)
        w[j] = s * ((float)q[j] - z);
}

static void block(const wcd_codes *c, unsigned row, uint64_t col, float w[WCD_BLOCK])
{
    uint8_t q[WCD_BLOCK];
    wcd_unpack_block(c->at + row * c->stride + col / 8 * c->bits, c->bits, q);
    for (unsigned k = 0; k < WCD_BLOCK; k += 16)
        sixteen(c, row, (col + k) / c->group, q + k, w + k);
}

static void values(const wcd_codes *c, uint64_t n, float *w)
{
    for (uint64_t col = 0; col < n; col += WCD_BLOCK)
        block(c, 0, col, w + col);
}

static void dot(const wcd_codes *c, unsigned nr, uint64_t n, const float *x, float *lane)
{
    float w[WCD_BLOCK];
    for (unsigned r = 0; r < nr; r++)
        for (uint64_t col = 0; col < n; col += WCD_BLOCK) {
            block(c, r, col, w);
            wcd_lanes_add(lane + 16 * r, w, x + col, WCD_BLOCK);
        }
}

/* One row, one input. */
static void dot8_row(const wcd_codes *c, unsigned row, uint64_t n, const int8_t *x, const float *d, float *lane)
{
    const float *s = c->s + row * c->ld, *z = c->z + row * c->ld;
    int t[16] = {0}, u[16] = {0};
    uint8_t q[WCD_BLOCK];
    for (uint64_t col = 0, next; col < n; col = next) {
        next = col + WCD_BLOCK;
        wcd_unpack_block(c->at + row * c->stride + col / 8 * c->bits, c->bits, q);
        for (unsigned i = 0; i < WCD_BLOCK; i++)
            t[i / 4] += q[i] * x[col + i], u[i / 4] += x[col + i];
        if (next < n && next % WCD_SCALED && c->group % WCD_SCALED == 0) continue;
        for (unsigned j = 0; j < 16; j++) {
            uint64_t g = (col + 4 * j) / c->group;
            lane[j] = wcd_fma(s[g], d[col / WCD_SCALED] * wcd_fma(-z[g], (float)u[j], (float)t[j]), lane[j]);
            t[j] = u[j] = 0;
        }
    }
}

static void dot8(const wcd_codes *c, unsigned nr, uint64_t n, const wcd_int8_codes *x, float *lane)
{
    for (unsigned r = 0; r < nr; r++)
        for (unsigned b = 0; b < x->n; b++, lane += 16)
            dot8_row(c, r, n, x->q + b * x->ld, x->d + b * (x->ld / 4), lane);
}

static void lanes(const float *w, size_t ldw, unsigned nr, const float *x, size_t ldx, unsigned nx, unsigned n,
                  float *lane)
{
    for (unsigned r = 0; r < nr; r++)
        for (unsigned b = 0; b < nx; b++)
            wcd_lanes_add(lane + 16 * (r * nx + b), w + r * ldw, x + b * ldx, n);
}

static void halves(const uint8_t *p, uint64_t n, float scale, float *dst)
{
    for (uint64_t i = 0; i < n; i++)
        dst[i] = wc_f16_f32(wcd_u16(p + 2 * i)) * scale;
}

static void brains(const uint8_t *p, uint64_t n, float *dst)
{
    for (uint64_t i = 0; i < n; i++)
        dst[i] = wc_bf16_f32(wcd_u16(p + 2 * i));
}

static void listed(const uint8_t *col, const uint8_t *value, uint64_t n, float scale, const float *x, uint64_t cols,
                   float *lane)
{
    for (uint64_t k = 0; k < n; k++) {
        unsigned c = wcd_u16(col + 2 * k);
        lane[k % 16] = wcd_fma(wc_f16_f32(wcd_u16(value + 2 * k)) * scale, c < cols ? x[c] : 0, lane[k % 16]);
    }
}

static void sums(const float *lane, unsigned n, float *out)
{
    float copy[16];
    for (unsigned i = 0; i < n; i++) {
        memcpy(copy, lane + 16 * i, sizeof copy);
        out[i] = wcd_lanes_sum(copy);
    }
}

static const wcd_inner wcd_inner_c = {unpack, values, dot, dot8, lanes, halves, brains, listed, sums};
WCD_FAMILY(wcd_inner)

const wcd_inner *wcd_inner_loops(void)
{
#ifdef WCD_X86
    extern const wcd_inner wcd_inner_vnni; /* in inner_kernel.c */
    if (wcd_cpu_level() == WCD_VNNI) return &wcd_inner_vnni;
#endif
    return wcd_inner_used();
}
