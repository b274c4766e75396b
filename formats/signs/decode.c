/* signs v1: planes of signs, each times a magnitude, added up.
 *
 *     params  0 u8 form   1 u8 levels   2 u8 0   3 i8 scale_exp   4 u32 n: rank | columns per scale | experts
 *             8 u32 columns in the subset   16 u8[16] form 1: per level 0 all columns, 1 the subset, 2 the others; + 4:
 *             split
 *     plane   for each row, a packed sequence of one bit per column of the level; 1 is minus
 *
 *     form 0  per level: plane | U f16 [rows, n] | V f16 [n, cols]; levels have one size, a multiple of 8
 *             magnitude (..(U[r, 0] V[0, c]) + ..) + U[r, n - 1] V[n - 1, c], times 2^scale_exp
 *     form 1  subset mask, if any; per level: plane | choice plane, if split | scales f16 [rows, groups (, 2)]
 *             magnitude scale * 2^scale_exp
 *     form 2  plane | S f16 [n, rows] | T f16 [n, cols] | router f16 [cols, n], if n > 1
 *             magnitude (mean of S[., r]) * (mean of T[., c]) * 2^scale_exp
 *
 * Sections start at multiples of 8 bytes. w begins at +0 and gets plus or minus each level's magnitude in order; every
 * operation is rounded. The only number that places anything is the mask of form 1: a column that the mask claims
 * beyond those that there are gets nothing from the level. */
#include <string.h>

#include "base/half.h"
#include "decode/bytes.h"
#include "decode/decoder.h"
#include "decode/packed.h"

enum { PRODUCT = 0, SCALES = 1, EXPERTS = 2, MAX_LEVELS = 32, MAX_PLANES = 16, MAX_EXPERTS = 16 };
extern const wcd_decoder wcd_decoder_signs;

enum { SUBSET = 1, REST = 2, COLUMNS = 3, SPLIT = 4 };

/* A level of form 1: its columns, and where its sections are. */
typedef struct plane {
    uint64_t cols, row_size, groups, signs, choices, scales;
} plane;

/* Level l, when *end is the end of the one before; *end moves behind it. */
static plane plane_at(const wcd_view *v, unsigned l, uint64_t *end)
{
    const wcd_signs_view *s = &v->u.p;
    unsigned which = s->which[l] & COLUMNS, split = s->which[l] & SPLIT ? 2 : 1;
    plane p = {.cols = which == SUBSET ? s->subset : which == REST ? v->cols - s->subset : v->cols};
    p.row_size = wcd_packed_size(p.cols, 1);
    p.groups = (p.cols - 1) / s->n + 1;
    p.signs = wcd_place(end, v->rows * p.row_size);
    if (split == 2) p.choices = wcd_place(end, v->rows * p.row_size);
    p.scales = wcd_place(end, 2 * split * v->rows * p.groups);
    return p;
}

/* No level takes more than 2^61 bytes (each scale stands for at least one element) and there are 16 at most, so the sum
 * stays below 2^64 only if it is checked as it grows. */
static wcd_status open_scales(wcd_view *v)
{
    const wcd_signs_view *s = &v->u.p;
    uint64_t end = s->subset ? (v->cols + 7) / 8 : 0;
    if (s->levels > MAX_PLANES || s->n > v->cols || s->subset >= v->cols) return WCD_E_CORRUPT;
    for (unsigned l = 0; l < MAX_PLANES; l++) {
        unsigned which = s->which[l] & COLUMNS;
        if (l >= s->levels && s->which[l]) return WCD_E_CORRUPT;
        if (s->which[l] > (SPLIT | REST) || which > REST || (which && !s->subset)) return WCD_E_CORRUPT;
        if (l < s->levels) (void)plane_at(v, l, &end);
        if (end >> 62) return WCD_E_CORRUPT;
    }
    return end == v->size ? WCD_OK : WCD_E_CORRUPT;
}

/* A level of form 0, which the shape bounds by 2^59 bytes as the rank is at most rows and cols; or all of form 2. */
static wcd_status open_products(wcd_view *v)
{
    wcd_signs_view *s = &v->u.p;
    int experts = s->form == EXPERTS;
    if (s->levels > (experts ? 1 : MAX_LEVELS) || s->subset) return WCD_E_CORRUPT;
    if (experts ? s->n > MAX_EXPERTS : s->n > v->rows || s->n > v->cols) return WCD_E_CORRUPT;
    for (unsigned l = 0; l < MAX_PLANES; l++)
        if (s->which[l]) return WCD_E_CORRUPT;
    s->row_size = wcd_packed_size(v->cols, 1);
    uint64_t end = v->rows * s->row_size;
    s->u = wcd_place(&end, 2 * v->rows * s->n);
    s->v = wcd_place(&end, 2 * v->cols * s->n);
    if (experts && s->n > 1) (void)wcd_place(&end, 2 * v->cols * s->n);
    s->stride = experts ? end : (end + 7) / 8 * 8;
    return v->size == s->levels * s->stride ? WCD_OK : WCD_E_CORRUPT;
}

static wcd_status open_signs(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_signs_view *s = &v->u.p;
    s->form = params[0];
    s->levels = params[1];
    s->n = wcd_u32(params + 4);
    s->subset = wcd_u32(params + 8);
    memcpy(s->which, params + 16, sizeof s->which);
    if (params[2] || wcd_u32(params + 12) || !wcd_exp2(params[3], &s->exp2)) return WCD_E_CORRUPT;
    if (!v->rows || !v->cols || s->form > EXPERTS || !s->levels || !s->n) return WCD_E_CORRUPT;
    v->numeric = 1;
    return s->form == SCALES ? open_scales(v) : open_products(v);
}

/* dst [n] += or, where minus [n] is 1, -= m [n]. */
static void add_signed(float *dst, const uint8_t *minus, const float *m, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        dst[i] += minus[i] ? -m[i] : m[i];
}

static void load_halves(const uint8_t *src, unsigned n, float *dst)
{
    for (unsigned i = 0; i < n; i++)
        dst[i] = wc_f16_f32(wcd_u16(src + 2 * i));
}

/* ---- form 0 ----------------------------------------------------------------------------------------------------- */

static void multiply(float *m, float a, const float *b, unsigned n, int add)
{
    for (unsigned i = 0; i < n; i++) {
        float product = a * b[i];
        m[i] = add ? m[i] + product : product;
    }
}

static void add_level(const wcd_view *v, const uint8_t *level, uint64_t row, unsigned nr, uint64_t col, unsigned n,
                      float *dst, size_t ld)
{
    const wcd_signs_view *s = &v->u.p;
    float m[WCD_BLOCK_ROWS][WCD_SPAN], b[WCD_SPAN];
    uint8_t minus[WCD_SPAN];
    for (uint64_t k = 0; k < s->n; k++) {
        load_halves(level + s->v + 2 * (k * v->cols + col), n, b);
        for (unsigned i = 0; i < nr; i++)
            multiply(m[i], wc_f16_f32(wcd_u16(level + s->u + 2 * ((row + i) * s->n + k))), b, n, k > 0);
    }
    for (unsigned i = 0; i < nr; i++) {
        wcd_unpack(level + (row + i) * s->row_size, v->cols, 1, col, n, minus);
        for (unsigned j = 0; j < n; j++)
            m[i][j] *= s->exp2;
        add_signed(dst + i * ld, minus, m[i], n);
    }
}

/* ---- form 1 ----------------------------------------------------------------------------------------------------- */

static unsigned ones(uint8_t x)
{
    x = (uint8_t)(x - (x >> 1 & 0x55));
    x = (uint8_t)((x & 0x33) + (x >> 2 & 0x33));
    return (x + (x >> 4)) & 15u;
}

/* What a level has of a span: the columns [count] of its own, from `first' on, and at which place of the span each is.
 */
typedef struct share {
    uint64_t first;
    unsigned count;
    uint8_t at[WCD_SPAN];
} share;

static void find_share(const wcd_view *v, unsigned which, uint64_t cols, uint64_t col, unsigned n, share *out)
{
    uint64_t before = 0;
    out->count = 0;
    for (uint64_t b = 0; which && b < col / 8; b++) /* col is a multiple of 8 */
        before += ones(v->blob[b]);
    out->first = which == SUBSET ? before : col - before;
    for (unsigned i = 0; i < n; i++) {
        int in = which ? v->blob[(col + i) / 8] >> (col + i) % 8 & 1 : 0;
        if (which && in != (which == SUBSET)) continue;
        if (out->first + out->count < cols) out->at[out->count++] = (uint8_t)i;
    }
}

static void add_row(const wcd_view *v, const plane *p, int split, uint64_t row, const share *s, float *dst)
{
    uint8_t minus[WCD_SPAN], choice[WCD_SPAN] = {0};
    uint64_t group = v->u.p.n;
    wcd_unpack(v->blob + p->signs + row * p->row_size, p->cols, 1, s->first, s->count, minus);
    if (split) wcd_unpack(v->blob + p->choices + row * p->row_size, p->cols, 1, s->first, s->count, choice);
    for (unsigned i = 0, end; i < s->count; i = end) {
        uint64_t g = (s->first + i) / group, stop = (g + 1) * group - s->first, at = row * p->groups + g;
        const uint8_t *scales = v->blob + p->scales + 2 * (split ? 2 * at : at);
        float m[2] = {wc_f16_f32(wcd_u16(scales)) * v->u.p.exp2, 0};
        if (split) m[1] = wc_f16_f32(wcd_u16(scales + 2)) * v->u.p.exp2;
        end = stop < s->count ? (unsigned)stop : s->count;
        for (unsigned j = i; j < end; j++)
            dst[s->at[j]] += minus[j] ? -m[choice[j]] : m[choice[j]];
    }
}

static void add_scales(const wcd_view *v, uint64_t row, unsigned nr, uint64_t col, unsigned n, float *dst, size_t ld)
{
    const wcd_signs_view *s = &v->u.p;
    uint64_t end = s->subset ? (v->cols + 7) / 8 : 0;
    for (unsigned l = 0; l < s->levels; l++) {
        plane p = plane_at(v, l, &end);
        share has;
        find_share(v, s->which[l] & COLUMNS, p.cols, col, n, &has);
        for (unsigned i = 0; i < nr && has.count; i++)
            add_row(v, &p, s->which[l] & SPLIT, row + i, &has, dst + i * ld);
    }
}

/* ---- form 2 ----------------------------------------------------------------------------------------------------- */

/* m [n] = mean over the experts of x [experts, stride] from `first' on. */
static void mean(const uint8_t *x, uint64_t stride, uint32_t experts, uint64_t first, unsigned n, float *m)
{
    float y[WCD_SPAN];
    load_halves(x + 2 * first, n, m);
    for (uint64_t e = 1; e < experts; e++) {
        load_halves(x + 2 * (e * stride + first), n, y);
        for (unsigned i = 0; i < n; i++)
            m[i] += y[i];
    }
    for (unsigned i = 0; i < n; i++)
        m[i] /= (float)experts;
}

static void add_experts(const wcd_view *v, uint64_t row, unsigned nr, uint64_t col, unsigned n, float *dst, size_t ld)
{
    const wcd_signs_view *s = &v->u.p;
    float a[WCD_BLOCK_ROWS], b[WCD_SPAN], m[WCD_SPAN];
    uint8_t minus[WCD_SPAN];
    mean(v->blob + s->u, v->rows, s->n, row, nr, a);
    mean(v->blob + s->v, v->cols, s->n, col, n, b);
    for (unsigned i = 0; i < nr; i++) {
        wcd_unpack(v->blob + (row + i) * s->row_size, v->cols, 1, col, n, minus);
        for (unsigned j = 0; j < n; j++)
            m[j] = a[i] * b[j] * s->exp2;
        add_signed(dst + i * ld, minus, m, n);
    }
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

static void block_signs(const wcd_view *v, uint64_t row, unsigned nr, uint64_t col, unsigned n, float *dst, size_t ld)
{
    for (unsigned i = 0; i < nr; i++)
        memset(dst + i * ld, 0, n * sizeof *dst);
    if (v->u.p.form == SCALES) add_scales(v, row, nr, col, n, dst, ld);
    if (v->u.p.form == EXPERTS) add_experts(v, row, nr, col, n, dst, ld);
    if (v->u.p.form == PRODUCT)
        for (unsigned l = 0; l < v->u.p.levels; l++)
            add_level(v, v->blob + l * v->u.p.stride, row, nr, col, n, dst, ld);
}

static void span_signs(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    block_signs(v, row, 1, col, n, dst, n);
}

unsigned wcd_stack_levels(const wcd_view *v)
{
    return v->d == &wcd_decoder_signs && v->u.p.form == PRODUCT ? v->u.p.levels : 0;
}

wcd_view wcd_stack_level(const wcd_view *v, unsigned l)
{
    wcd_view level = *v;
    level.blob += l * v->u.p.stride;
    level.size = v->u.p.stride;
    level.u.p.levels = 1;
    return level;
}

uint64_t wcd_stack_cut(const wcd_view *v, unsigned levels, uint8_t params[WCD_PARAMS])
{
    params[1] = (uint8_t)levels;
    return levels * v->u.p.stride;
}

const wcd_decoder wcd_decoder_signs = {
    .id = 7, .version = 1, .name = "signs", .open = open_signs, .span = span_signs, .block = block_signs};
