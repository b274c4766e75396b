/* vq v1: vectors of d columns, w = s (C_0[q_0] + C_1[q_1] + ..), M codebooks of 2^b entries of d values.
 *
 *     params  0 u8 d   1 u8 M   2 u8 b   3 i8 scale_exp   4 u8 bits of an entry's value, 8 or 16   5 u8 scaled
 *             6 u8 scale_bits   7 u8 signs   8 u32 columns per scale   12 u32 rows, 16 u32 columns that share codebooks
 *             (0: all)
 *     blob    codes: rows of M sequences: the low 8 bits of all codes, packed, then the others
 *             entries: f16 or i8 [row blocks, column blocks, M, 2^b, d]
 *             steps: f16 [row blocks, column blocks, M], of 8-bit entries
 *             scales, scale codes: as in a grid
 *             signs: rows packed sequences of cols bits; sections start at multiples of 8 bytes
 *
 * An entry, its step times it, and a scale are exact in f32; M - 1 sums and one product are rounded. A code of b bits
 * cannot exceed its codebook, whatever the bytes of the blob are. */
#include "base/half.h"
#include "decode/bytes.h"
#include "decode/decoder.h"
#include "decode/packed.h"

enum { MAX_DIM = 16, MAX_BOOKS = 8, MAX_BITS = 16 };

static const uint64_t most = (uint64_t)1 << 59; /* bytes of a section: the sum of six does not wrap */

static int parse(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_vq_view *q = &v->u.q;
    q->dim = params[0];
    q->books = params[1];
    q->bits = params[2];
    q->entry_bits = params[4];
    q->scaled = params[5];
    q->scale_bits = params[6];
    q->signs = params[7];
    q->group = wcd_u32(params + 8);
    q->block_rows = wcd_u32(params + 12);
    q->block_cols = wcd_u32(params + 16);
    for (int i = 20; i < WCD_PARAMS; i++)
        if (params[i]) return 0;
    if (q->dim < 1 || q->dim > MAX_DIM || q->books < 1 || q->books > MAX_BOOKS || q->bits < 1 || q->bits > MAX_BITS)
        return 0;
    if ((q->entry_bits != 8 && q->entry_bits != 16) || params[5] > 1 || params[7] > 1) return 0;
    if (q->scale_bits == 1 || q->scale_bits > 8 || (q->scale_bits && !q->scaled)) return 0;
    if (q->group < 1 || q->group > v->cols || !wcd_exp2(params[3], &q->exp2)) return 0;
    if (q->block_rows > v->rows || q->block_cols > v->cols) return 0;
    return !q->block_cols || q->block_cols == v->cols || q->block_cols % q->dim == 0;
}

/* Counts and sizes of a row; the caller has checked rows and cols. */
static void measure(const wcd_view *v, wcd_vq_view *q)
{
    unsigned low = q->bits < 8 ? q->bits : 8;
    q->groups = (v->cols - 1) / q->group + 1;
    q->vectors = (v->cols - 1) / q->dim + 1;
    q->col_blocks = q->block_cols ? (v->cols - 1) / q->block_cols + 1 : 1;
    q->plane_size = wcd_packed_size(q->vectors, low);
    if (q->bits > 8) q->plane_size += wcd_packed_size(q->vectors, q->bits - 8);
    q->row_size = q->books * q->plane_size;
    q->sign_size = q->signs ? wcd_packed_size(v->cols, 1) : 0;
}

static wcd_status open_vq(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_vq_view *q = &v->u.q;
    if (!v->rows || !v->cols || !parse(params, v)) return WCD_E_CORRUPT;
    measure(v, q);
    uint64_t row_blocks = q->block_rows ? (v->rows - 1) / q->block_rows + 1 : 1, books = row_blocks * q->col_blocks;
    uint64_t entry_bytes = ((uint64_t)q->dim << q->bits) * (q->entry_bits / 8), codes, entries, signs;
    if (!wcd_mul(books, q->books, most, &books) || !wcd_mul(books, entry_bytes, most, &entries)) return WCD_E_CORRUPT;
    if (!wcd_mul(v->rows, q->row_size, most, &codes) || !wcd_mul(v->rows, q->sign_size, most, &signs))
        return WCD_E_CORRUPT;
    uint64_t all_groups = v->rows * q->groups, end = codes, at[5] = {0};
    at[0] = wcd_place(&end, entries);
    if (q->entry_bits == 8) at[1] = wcd_place(&end, 2 * books);
    if (q->scaled) at[2] = wcd_place(&end, 2 * (q->scale_bits ? v->rows : all_groups));
    if (q->scale_bits) at[3] = wcd_place(&end, wcd_packed_size(all_groups, q->scale_bits));
    if (q->signs) at[4] = wcd_place(&end, signs);
    if (end != v->size) return WCD_E_CORRUPT;
    v->numeric = 1;
    if (!v->blob) return WCD_OK;
    q->entries = v->blob + at[0];
    q->steps = v->blob + at[1];
    q->scales = v->blob + at[2];
    q->scale_codes = v->blob + at[3];
    q->sign_plane = v->blob + at[4];
    return WCD_OK;
}

/* dst [n] = or += n values of the entry at e, whose first value is number `at' of all. */
static void take(const wcd_vq_view *q, uint64_t at, float step, unsigned n, int add, float *dst)
{
    for (unsigned i = 0; i < n; i++) {
        int8_t small = 0;
        if (q->entry_bits == 8)
            small = (int8_t)(q->entries[at + i] < 128 ? q->entries[at + i] : q->entries[at + i] - 256);
        float x = q->entry_bits == 8 ? step * (float)small : wc_f16_f32(wcd_u16(q->entries + 2 * (at + i)));
        dst[i] = add ? dst[i] + x : x;
    }
}

/* The entries of codebook m for the columns col .. col + n of a row: vector by vector, none of which is in two blocks.
 */
static void add_book(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, unsigned m, float *dst)
{
    const wcd_vq_view *q = &v->u.q;
    const uint8_t *plane = v->blob + row * q->row_size + m * q->plane_size;
    uint64_t first = col / q->dim, strip = q->block_rows ? row / q->block_rows * q->col_blocks : 0;
    unsigned skip = (unsigned)(col % q->dim), count = (skip + n - 1) / q->dim + 1, low = q->bits < 8 ? q->bits : 8;
    uint8_t code[WCD_SPAN], high[WCD_SPAN] = {0};
    wcd_unpack(plane, q->vectors, low, first, count, code);
    if (q->bits > 8) wcd_unpack(plane + wcd_packed_size(q->vectors, 8), q->vectors, q->bits - 8, first, count, high);
    for (unsigned i = 0, k = 0; i < n; k++, skip = 0) {
        unsigned left = q->dim - skip, take_n = left < n - i ? left : n - i;
        uint64_t block = strip + (q->block_cols ? (col + i) / q->block_cols : 0), book = block * q->books + m;
        uint64_t entry = (book << q->bits) + (code[k] | (uint64_t)high[k] << 8);
        float step = q->entry_bits == 8 ? wc_f16_f32(wcd_u16(q->steps + 2 * book)) : 0;
        take(q, entry * q->dim + skip, step, take_n, m > 0, dst + i);
        i += take_n;
    }
}

static void scale_span(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    const wcd_vq_view *q = &v->u.q;
    uint64_t group0 = col / q->group, first = row * q->groups + group0;
    unsigned n_groups = (unsigned)((col + n - 1) / q->group - group0) + 1;
    uint8_t code[WCD_SPAN];
    if (q->scale_bits) wcd_unpack(q->scale_codes, v->rows * q->groups, q->scale_bits, first, n_groups, code);
    for (unsigned k = 0, i = 0; k < n_groups; k++) {
        float s = q->exp2;
        if (q->scaled) s *= wc_f16_f32(wcd_u16(q->scales + 2 * (q->scale_bits ? row : first + k)));
        if (q->scale_bits) s *= (float)code[k];
        for (uint64_t stop = (group0 + k + 1) * q->group - col; i < n && i < stop; i++)
            dst[i] = s * dst[i];
    }
}

static void span_vq(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    const wcd_vq_view *q = &v->u.q;
    for (unsigned m = 0; m < q->books; m++)
        add_book(v, row, col, n, m, dst);
    scale_span(v, row, col, n, dst);
    if (!q->signs) return;
    uint8_t negative[WCD_SPAN];
    wcd_unpack(q->sign_plane + row * q->sign_size, v->cols, 1, col, n, negative);
    for (unsigned i = 0; i < n; i++)
        dst[i] = negative[i] ? -dst[i] : dst[i];
}

const wcd_decoder wcd_decoder_vq = {.id = 6, .version = 1, .name = "vq", .open = open_vq, .span = span_vq};
