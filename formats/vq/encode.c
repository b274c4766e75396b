/* vq v1, encoder half. docs/FORMAT.md, card `vq'. */
#include "formats/format.h"

#include <string.h>

#include "formats/pack.h"

typedef struct layout {
    uint64_t plane_size, row_size, sign_size; /* bytes of one codebook's codes of a row, of all; signs */
    uint64_t entries, steps, scales, scale_codes, signs, size; /* offsets of sections; all */
    uint64_t n_books, n_entries, n_scales, n_groups;           /* codebooks, values in them, f16 scales, groups */
} layout;

static const uint64_t most = (uint64_t)1 << 59; /* bytes of a section, a limit of the format */

static wc_status check_blocks(wc_ctx *ctx, const wc_vq *v)
{
    bool whole = v->block_cols == v->cols, split = v->block_rows < v->rows && v->block_rows > UINT32_MAX;
    if (v->block_rows < 1 || v->block_rows > v->rows || v->block_cols < 1 || v->block_cols > v->cols || split ||
        (!whole && (v->block_cols % v->dim || v->block_cols > UINT32_MAX)))
        return wc_fail(ctx, WC_BUG, "vq part: blocks of %zu x %zu with vectors of %u in %zu x %zu", v->block_rows,
                       v->block_cols, v->dim, v->rows, v->cols);
    return WC_OK;
}

static wc_status check_geometry(wc_ctx *ctx, const wc_vq *v)
{
    WC_TRY(wc_check_shape(ctx, "vq", v->rows, v->cols));
    if (v->dim < 1 || v->dim > 16 || v->books < 1 || v->books > 8 || v->bits < 1 || v->bits > 16)
        return wc_fail(ctx, WC_BUG, "vq part: %u codebooks of %u bits for vectors of %u", v->books, v->bits, v->dim);
    if (v->entry_bits != 8 && v->entry_bits != 16)
        return wc_fail(ctx, WC_BUG, "vq part: entries of %u bits", v->entry_bits);
    if (v->scale_bits == 1 || v->scale_bits > 8 || (v->scale_bits && !v->scaled))
        return wc_fail(ctx, WC_BUG, "vq part: %u scale bits", v->scale_bits);
    if (v->group < 1 || v->group > v->cols || v->group > UINT32_MAX)
        return wc_fail(ctx, WC_BUG, "vq part: groups of %zu columns in %zu x %zu", v->group, v->rows, v->cols);
    WC_TRY(check_blocks(ctx, v));
    return wc_check_exp(ctx, "vq", v->scale_exp);
}

static wc_status section(wc_ctx *ctx, uint64_t count, uint64_t bytes, uint64_t *size)
{
    if (wc_mul(count, bytes, size) && *size <= most) return WC_OK;
    return wc_fail(ctx, WC_BUG, "vq part: %llu times %llu bytes are too many", (unsigned long long)count,
                   (unsigned long long)bytes);
}

static wc_status lay_out(wc_ctx *ctx, const wc_vq *v, layout *out)
{
    uint64_t codes, entries, signs;
    WC_TRY(check_geometry(ctx, v));
    size_t vectors = wc_vq_vectors(v);
    layout l = {.plane_size = wc_packed_size(vectors, v->bits < 8 ? v->bits : 8),
                .n_books = (uint64_t)wc_vq_blocks(v) * v->books,
                .n_groups = v->scale_bits ? v->rows * wc_vq_groups(v) : 0,
                .n_scales = !v->scaled      ? 0
                            : v->scale_bits ? v->rows
                                            : v->rows * wc_vq_groups(v),
                .sign_size = v->signs ? wc_packed_size(v->cols, 1) : 0};
    if (v->bits > 8) l.plane_size += wc_packed_size(vectors, v->bits - 8);
    l.row_size = v->books * l.plane_size;
    WC_TRY(section(ctx, v->rows, l.row_size, &codes));
    WC_TRY(section(ctx, l.n_books, ((uint64_t)v->dim << v->bits) * (v->entry_bits / 8), &entries));
    WC_TRY(section(ctx, v->rows, l.sign_size, &signs));
    l.n_entries = entries / (v->entry_bits / 8);
    l.size = codes;
    l.entries = wc_place(&l.size, entries);
    if (v->entry_bits == 8) l.steps = wc_place(&l.size, 2 * l.n_books);
    if (v->scaled) l.scales = wc_place(&l.size, 2 * l.n_scales);
    if (v->scale_bits) l.scale_codes = wc_place(&l.size, wc_packed_size(l.n_groups, v->scale_bits));
    if (v->signs) l.signs = wc_place(&l.size, signs);
    *out = l;
    return WC_OK;
}

static wc_status vq_size(wc_ctx *ctx, const wc_part *part, uint64_t *out)
{
    layout l;
    WC_TRY(lay_out(ctx, &part->vq, &l));
    *out = l.size;
    return WC_OK;
}

static wc_status check_numbers(wc_ctx *ctx, const wc_vq *v, const layout *l)
{
    size_t per_row = v->books * wc_vq_vectors(v);
    if (!v->code || (v->entry_bits == 16 && !v->entry) || (v->entry_bits == 8 && (!v->small_entry || !v->step)) ||
        (v->scaled && !v->scale) || (v->scale_bits && !v->scale_code) || (v->signs && !v->sign))
        return wc_fail(ctx, WC_BUG, "vq part: no numbers");
    for (size_t i = 0; i < v->rows * per_row; i++)
        if (v->code[i] >> v->bits)
            return wc_fail(ctx, WC_BUG, "vq part: code %u at row %zu, position %zu does not fit %u bits", v->code[i],
                           i / per_row, i % per_row, v->bits);
    if (v->scale_bits)
        WC_TRY(wc_check_codes(ctx, "vq part: scale code", v->scale_code, l->n_groups, wc_vq_groups(v), v->scale_bits));
    if (v->signs) WC_TRY(wc_check_codes(ctx, "vq part: sign", v->sign, v->rows * v->cols, v->cols, 1));
    return WC_OK;
}

/* One packed sequence of bits shift .. shift + bits of the codes, a block of 64 at a time. */
static void pack_plane(const uint16_t *code, size_t count, unsigned shift, unsigned bits, uint8_t *dst)
{
    enum { BLOCK = 64 };
    uint8_t part[BLOCK];
    for (size_t begin = 0; begin < count; begin += BLOCK, dst += BLOCK / 8 * bits) {
        size_t n = wc_min(BLOCK, count - begin);
        for (size_t i = 0; i < n; i++)
            part[i] = (uint8_t)(code[begin + i] >> shift & ((1u << bits) - 1));
        wc_pack(part, n, bits, dst);
    }
}

static void put_codes(const wc_vq *v, const layout *l, uint8_t *dst)
{
    size_t vectors = wc_vq_vectors(v);
    const uint16_t *code = v->code;
    for (size_t plane = 0; plane < v->rows * v->books; plane++, code += vectors, dst += l->plane_size) {
        pack_plane(code, vectors, 0, v->bits < 8 ? v->bits : 8, dst);
        if (v->bits > 8) pack_plane(code, vectors, 8, v->bits - 8, dst + wc_packed_size(vectors, 8));
    }
}

static void put_params(const wc_vq *v, uint8_t params[WC_PARAMS_SIZE])
{
    memset(params, 0, WC_PARAMS_SIZE);
    params[0] = (uint8_t)v->dim;
    params[1] = (uint8_t)v->books;
    params[2] = (uint8_t)v->bits;
    params[3] = (uint8_t)v->scale_exp;
    params[4] = (uint8_t)v->entry_bits;
    params[5] = v->scaled;
    params[6] = (uint8_t)v->scale_bits;
    params[7] = v->signs;
    wc_put_le(params + 8, v->group, 4);
    if (v->block_rows < v->rows) wc_put_le(params + 12, v->block_rows, 4);
    if (v->block_cols < v->cols) wc_put_le(params + 16, v->block_cols, 4);
}

static wc_status vq_encode(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE])
{
    const wc_vq *v = &part->vq;
    layout l;
    WC_TRY(lay_out(ctx, v, &l));
    WC_TRY(check_numbers(ctx, v, &l));
    memset(dst, 0, l.size);
    put_codes(v, &l, dst);
    for (uint64_t i = 0; i < l.n_entries && v->entry_bits == 16; i++)
        wc_put_le(dst + l.entries + 2 * i, v->entry[i], 2);
    if (v->entry_bits == 8) memcpy(dst + l.entries, v->small_entry, l.n_entries);
    for (uint64_t i = 0; i < l.n_books && v->entry_bits == 8; i++)
        wc_put_le(dst + l.steps + 2 * i, v->step[i], 2);
    for (uint64_t i = 0; i < l.n_scales; i++)
        wc_put_le(dst + l.scales + 2 * i, v->scale[i], 2);
    if (v->scale_bits) wc_pack(v->scale_code, l.n_groups, v->scale_bits, dst + l.scale_codes);
    for (uint64_t r = 0; r < v->rows && v->signs; r++)
        wc_pack(v->sign + r * v->cols, v->cols, 1, dst + l.signs + r * l.sign_size);
    put_params(v, params);
    return WC_OK;
}

const wc_encoder wc_encoder_vq = {6, 1, "vq", vq_size, vq_encode};
