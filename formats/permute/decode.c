/* permute v1, a transform: C moves columns, as a list of swaps.
 *
 *     params  all 0
 *     blob    u16 t[cols], or u32 when there are more than 2^16 columns
 *
 *     x = C x: for j = 0, 1, .., cols - 1: x[j] and x[t[j]] change places, unless t[j] is no column
 *     w = w C: the same from the last to the first
 *
 * Swaps, as LAPACK keeps pivots, and not the list of places: they need no second row, and whatever the numbers are, no
 * value is lost or repeated, so C is a permutation and the second line its inverse. */
#include "formats/permute/kernel.h"

static wcd_status open_permute(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    for (int i = 0; i < WCD_PARAMS; i++)
        if (params[i]) return WCD_E_CORRUPT;
    v->u.m.bytes = v->cols > 1 << 16 ? 4 : 2;
    if (!v->cols || v->cols > (uint64_t)1 << 32 || v->size != v->u.m.bytes * v->cols) return WCD_E_CORRUPT;
    return WCD_OK;
}

static void swap(const wcd_view *v, uint64_t j, float *x)
{
    uint64_t t = wcd_permute_swap(v, j);
    if (t >= v->cols) return;
    float moved = x[j];
    x[j] = x[t];
    x[t] = moved;
}

static void row_permute(const wcd_view *v, float *w)
{
    for (uint64_t j = v->cols; j--;)
        swap(v, j, w);
}

static void input_permute(const wcd_view *v, float *x)
{
    for (uint64_t j = 0; j < v->cols; j++)
        swap(v, j, x);
}

const wcd_decoder wcd_decoder_permute = {
    .id = 12, .version = 1, .name = "permute", .open = open_permute, .row = row_permute, .input = input_permute};
