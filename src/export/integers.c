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

wc_status wc_integers_open(wc_ctx *ctx, const wc_input *in, const wc_scheme *scheme, wc_dtype asked, wc_integers *out)
{
    wcd_part_info p;
    seen all = {0};
    wc_integers t = {.name = scheme->name, .path = in->path, .bits = scheme->bits, .group = scheme->group};
    t.rows = scheme->rows, t.cols = scheme->cols;
    t.groups = wc_ceil_div(t.cols, t.group);
    if (wcd_find(&in->wcz.file, scheme->name, &t.tensor) != WCD_OK || wcd_part(&t.tensor, 0, &p) != WCD_OK ||
        wcd_view_open(p.kind, p.version, p.params, p.blob, p.blob_size, p.rows, p.cols, &t.view) != WCD_OK)
        return wc_fail(ctx, WC_BUG, "%s: tensor %s cannot be opened", in->path, scheme->name);
    look(&t, &all);
    WC_TRY(choose_dtype(ctx, &t, &all, asked));
    *out = t;
    return WC_OK;
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

/* |w / s| is below 2^8 and within 2^-23 of an integer, so rounding finds it. */
static wc_status row_codes(wc_ctx *ctx, const wc_integers *t, size_t row, const float *w, uint8_t *code)
{
    float s[WCD_SPAN], z[WCD_SPAN], top = (float)((1u << t->bits) - 1);
    for (size_t c = 0, g = 0; c < t->cols; c += t->group, g++) {
        unsigned k = (unsigned)(g % WCD_SPAN);
        if (!k) wcd_grid_steps(&t->view, row, g, (unsigned)wc_min(WCD_SPAN, t->groups - g), s, z);
        for (size_t j = c; j < wc_min(c + t->group, t->cols); j++) {
            float q = s[k] != 0 ? rintf(w[j] / s[k]) + z[k] : z[k];
            if (!(q >= 0 && q <= top && s[k] * (q - z[k]) == w[j]))
                return wc_fail(ctx, WC_BUG, "%s: tensor %s: [%zu, %zu] is %g, no multiple of its step %g", t->path,
                               t->name, row, j, (double)w[j], (double)s[k]);
            code[j] = (uint8_t)q;
        }
    }
    return WC_OK;
}

wc_status wc_integers_codes(wc_ctx *ctx, const wc_integers *t, size_t r0, size_t nr, uint8_t *code)
{
    float *w = NULL;
    wc_status status = WC_OK;
    WC_TRY(WC_ALLOC(ctx, w, t->cols, "a row"));
    for (size_t r = 0; r < nr; r++) {
        if (wcd_rows(&t->tensor, r0 + r, 1, w, t->cols) != WCD_OK)
            WC_TRY_OUT(wc_fail(ctx, WC_BUG, "%s: tensor %s cannot be decoded", t->path, t->name));
        WC_TRY_OUT(row_codes(ctx, t, r0 + r, w, code + r * t->cols));
    }
out:
    free(w);
    return status;
}
