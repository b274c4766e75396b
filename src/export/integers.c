#include "export/integers.h"

#include <math.h>
#include <stdlib.h>

#include "base/half.h"

static uint16_t to_bits(wc_dtype t, float s)
{
    return t == WC_F16 ? wc_f32_f16(s) : wc_f32_bf16(s);
}

static float to_value(wc_dtype t, uint16_t bits)
{
    return t == WC_F16 ? wc_f16_f32(bits) : wc_bf16_f32(bits);
}

/* What a pass over all steps has seen. */
typedef struct seen {
    size_t inexact[2]; /* in F16, in BF16 */
    float example[2];  /* such a scale: the first */
    bool overflow[2], has_zero_0, bad_zero;
} seen;

static const wc_dtype types[2] = {WC_F16, WC_BF16};

static void look(const wc_integers *t, seen *all)
{
    float s[WCD_SPAN], z[WCD_SPAN], top = (float)((1u << t->bits) - 1);
    for (size_t r = 0; r < t->rows; r++)
        for (size_t g = 0; g < t->groups; g += WCD_SPAN) {
            unsigned n = (unsigned)wc_min(WCD_SPAN, t->groups - g);
            wcd_grid_steps(&t->view, r, g, n, s, z);
            for (unsigned i = 0; i < n; i++) {
                for (int k = 0; k < 2; k++) {
                    float stored = to_value(types[k], to_bits(types[k], s[i]));
                    if (stored == s[i]) continue;
                    if (!all->inexact[k]++) all->example[k] = s[i];
                    all->overflow[k] |= !isfinite(stored);
                }
                all->has_zero_0 |= z[i] == 0;
                all->bad_zero |= !(z[i] >= 0 && z[i] <= top && z[i] == rintf(z[i]));
            }
        }
}

static wc_status choose_dtype(wc_ctx *ctx, wc_integers *t, const seen *all, wc_dtype asked)
{
    bool wide = all->overflow[0] && !all->overflow[1]; /* bf16 then, at the price of its shorter mantissa */
    int k = asked == WC_BF16 || (!asked && (wide || (all->inexact[0] && !all->inexact[1])));
    if (all->bad_zero) return wc_fail(ctx, WC_BADFILE, "%s: tensor %s: a zero is no code", t->path, t->name);
    if (!asked && all->inexact[k] && !wide)
        return wc_fail(ctx, WC_UNSUPPORTED,
                       "%s: tensor %s: %zu of %zu scales, %g the first, are exact neither in f16 nor in bf16; --scales "
                       "f16 or bf16 rounds them",
                       t->path, t->name, all->inexact[k], t->rows * t->groups, (double)all->example[k]);
    if (all->overflow[k])
        return wc_fail(ctx, WC_UNSUPPORTED, "%s: tensor %s: scale %g overflows in %s: use --scales bf16", t->path,
                       t->name, (double)all->example[k], wc_dtype_name(types[k]));
    t->scale_dtype = types[k];
    t->rounded = all->inexact[k];
    t->has_zero_0 = all->has_zero_0;
    return WC_OK;
}

/* g_idx: the permutation moves the numbers of columns to their places, and f32 holds them. */
static wc_status find_groups(wc_ctx *ctx, wc_integers *t)
{
    float *column = NULL;
    wc_status status = WC_OK;
    if (t->cols > 1 << 24)
        return wc_fail(ctx, WC_UNSUPPORTED, "%s: tensor %s: %zu reordered columns, above 2^24", t->path, t->name,
                       t->cols);
    WC_TRY_OUT(WC_ALLOC(ctx, column, t->cols, "an order of columns"));
    WC_TRY_OUT(WC_ALLOC(ctx, t->g_idx, t->cols, "group indices"));
    for (size_t j = 0; j < t->cols; j++)
        column[j] = (float)j;
    if (wcd_transform(&t->tensor, column, column) != WCD_OK)
        WC_TRY_OUT(wc_fail(ctx, WC_BUG, "%s: tensor %s cannot be transformed", t->path, t->name));
    for (size_t j = 0; j < t->cols; j++)
        t->g_idx[(size_t)column[j]] = (int32_t)(j / t->group);
out:
    free(column);
    return status;
}

wc_status wc_integers_open(wc_ctx *ctx, const wc_input *in, const wc_scheme *scheme, wc_dtype asked, wc_integers *out)
{
    wcd_part_info p;
    seen all = {0};
    wc_status status = WC_OK;
    wc_integers t = {.name = scheme->name, .path = in->path, .bits = scheme->bits, .group = scheme->group};
    t.rows = scheme->rows, t.cols = scheme->cols;
    t.groups = wc_ceil_div(t.cols, t.group);
    if (wcd_find(&in->wcz.file, scheme->name, &t.tensor) != WCD_OK || wcd_part(&t.tensor, 0, &p) != WCD_OK ||
        wcd_view_open(p.kind, p.version, p.params, p.blob, p.blob_size, p.rows, p.cols, &t.view) != WCD_OK)
        return wc_fail(ctx, WC_BUG, "%s: tensor %s cannot be opened", in->path, scheme->name);
    look(&t, &all);
    WC_TRY_OUT(choose_dtype(ctx, &t, &all, asked));
    if (scheme->reordered) WC_TRY_OUT(find_groups(ctx, &t));
    *out = t;
    return WC_OK;
out:
    wc_integers_free(&t);
    return status;
}

void wc_integers_free(wc_integers *t)
{
    if (!t) return;
    free(t->g_idx);
    t->g_idx = NULL;
}

size_t wc_integers_group(const wc_integers *t, size_t col)
{
    return t->g_idx ? (size_t)t->g_idx[col] : col / t->group;
}

void wc_integers_steps(const wc_integers *t, uint16_t *scale, uint8_t *zero)
{
    float s[WCD_SPAN], z[WCD_SPAN];
    for (size_t r = 0; r < t->rows; r++)
        for (size_t g = 0; g < t->groups; g += WCD_SPAN) {
            unsigned n = (unsigned)wc_min(WCD_SPAN, t->groups - g);
            wcd_grid_steps(&t->view, r, g, n, s, z);
            for (unsigned i = 0; i < n; i++) {
                if (scale) scale[r * t->groups + g + i] = to_bits(t->scale_dtype, s[i]);
                if (zero) zero[r * t->groups + g + i] = (uint8_t)z[i];
            }
        }
}

/* |w / s| is below 2^8 and within 2^-23 of an integer, so rounding finds it. s, z [groups]: of the row. */
static wc_status row_codes(wc_ctx *ctx, const wc_integers *t, size_t row, const float *w, const float *s,
                           const float *z, uint8_t *code)
{
    float top = (float)((1u << t->bits) - 1);
    for (size_t j = 0; j < t->cols; j++) {
        size_t g = wc_integers_group(t, j);
        float q = s[g] != 0 ? rintf(w[j] / s[g]) + z[g] : z[g];
        if (!(q >= 0 && q <= top && s[g] * (q - z[g]) == w[j]))
            return wc_fail(ctx, WC_BUG, "%s: tensor %s: [%zu, %zu] is %g, no multiple of its step %g", t->path, t->name,
                           row, j, (double)w[j], (double)s[g]);
        code[j] = (uint8_t)q;
    }
    return WC_OK;
}

wc_status wc_integers_codes(wc_ctx *ctx, const wc_integers *t, size_t r0, size_t nr, uint8_t *code)
{
    float *w = NULL, *s = NULL, *z = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, w, t->cols, "a row"));
    WC_TRY_OUT(WC_ALLOC(ctx, s, t->groups, "steps of a row"));
    WC_TRY_OUT(WC_ALLOC(ctx, z, t->groups, "zeros of a row"));
    for (size_t r = 0; r < nr; r++) {
        if (wcd_rows(&t->tensor, r0 + r, 1, w, t->cols) != WCD_OK)
            WC_TRY_OUT(wc_fail(ctx, WC_BUG, "%s: tensor %s cannot be decoded", t->path, t->name));
        for (size_t g = 0; g < t->groups; g += WCD_SPAN)
            wcd_grid_steps(&t->view, r0 + r, g, (unsigned)wc_min(WCD_SPAN, t->groups - g), s + g, z + g);
        WC_TRY_OUT(row_codes(ctx, t, r0 + r, w, s, z, code + r * t->cols));
    }
out:
    free(w), free(s), free(z);
    return status;
}
