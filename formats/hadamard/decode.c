/* hadamard v1, a transform: C = blocks of H diag(s) / sqrt(n) along the diagonal, n = 2^k, one sign s per column.
 *
 *     params  0 u8 k
 *     blob    signs: bit j mod 8 of byte j div 8 is set where s[j] = -1
 *
 * H is Sylvester's, symmetric; a product with it is log2(n) rounds of sums and differences, in place:
 *
 *     for len = 1, 2, 4, .., n/2:  for every pair i, i + len with bit len of i clear:
 *         a = t[i], b = t[i + len]:  t[i] = a + b, t[i + len] = a - b
 *
 *     w C: rounds, times 1/sqrt(n), times s         C x: times s, rounds, times 1/sqrt(n) */
#include "base/half.h"
#include "decode/decoder.h"

enum { MAX_LOG2 = 30 };

static wcd_status open_hadamard(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    unsigned k = params[0];
    for (int i = 1; i < WCD_PARAMS; i++)
        if (params[i]) return WCD_E_CORRUPT;
    if (k < 1 || k > MAX_LOG2 || !v->cols || v->cols >> k << k != v->cols || v->size != (v->cols + 7) / 8)
        return WCD_E_CORRUPT;
    v->u.h.order = (uint64_t)1 << k;
    /* 2^(-k/2): the mantissa is 1 or that of sqrt(1/2). */
    v->u.h.scale = wc_bits_f32(k % 2 ? 0x3f3504f3 - (k / 2 << 23) : 0x3f800000 - (k / 2 << 23));
    return WCD_OK;
}

/* By eights, with pointers and a constant trip count, compilers vectorise it at -O2. */
static void add_and_subtract(float *restrict low, float *restrict high, uint64_t n)
{
    for (; n >= 8; n -= 8, low += 8, high += 8)
        for (int i = 0; i < 8; i++) {
            float a = low[i], b = high[i];
            low[i] = a + b;
            high[i] = a - b;
        }
    for (; n; n--, low++, high++) {
        float a = *low, b = *high;
        *low = a + b;
        *high = a - b;
    }
}

/* The rounds len = 1, 2, 4 of eight values. */
static void first_rounds(float t[8])
{
    float a[8], b[8];
    for (int i = 0; i < 8; i += 2)
        a[i] = t[i] + t[i + 1], a[i + 1] = t[i] - t[i + 1];
    for (int i = 0; i < 8; i += 4) {
        b[i] = a[i] + a[i + 2], b[i + 1] = a[i + 1] + a[i + 3];
        b[i + 2] = a[i] - a[i + 2], b[i + 3] = a[i + 1] - a[i + 3];
    }
    for (int i = 0; i < 4; i++)
        t[i] = b[i] + b[i + 4], t[i + 4] = b[i] - b[i + 4];
}

static void rounds(float *t, uint64_t n)
{
    uint64_t len = 1;
    for (uint64_t block = 0; n >= 8 && block < n; block += 8, len = 8)
        first_rounds(t + block);
    for (; len < n; len *= 2)
        for (uint64_t block = 0; block < n; block += 2 * len)
            add_and_subtract(t + block, t + block + len, len);
}

static void all_blocks(const wcd_view *v, float *t)
{
    for (uint64_t block = 0; block < v->cols; block += v->u.h.order)
        rounds(t + block, v->u.h.order);
}

/* t[j] = t[j] * scale * s[j]; the sign goes into the scale, which changes nothing. */
static void scale_and_sign(const wcd_view *v, float *t, float scale)
{
    const float by[2] = {scale, -scale};
    for (uint64_t j = 0; j < v->cols; j++)
        t[j] *= by[v->blob[j / 8] >> j % 8 & 1];
}

static void row_hadamard(const wcd_view *v, float *w)
{
    all_blocks(v, w);
    scale_and_sign(v, w, v->u.h.scale);
}

static void input_hadamard(const wcd_view *v, float *x)
{
    scale_and_sign(v, x, 1);
    all_blocks(v, x);
    for (uint64_t j = 0; j < v->cols; j++)
        x[j] *= v->u.h.scale;
}

const wcd_decoder wcd_decoder_hadamard = {
    .id = 10, .version = 1, .name = "hadamard", .open = open_hadamard, .row = row_hadamard, .input = input_hadamard};
