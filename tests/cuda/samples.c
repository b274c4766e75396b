#include "samples.h"

#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "decode/xxh3.h"

enum { MAX_BLOB = 1 << 21 };

static uint64_t random_state;

uint32_t sample_random(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

void sample_put(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

spec *sample_part(sample *s, uint16_t kind)
{
    spec *p = &s->spec[s->n_all++];
    memset(p, 0, sizeof *p);
    p->kind = kind;
    return p;
}

/* Strictly ascending columns, ends of rows and masks: nnz values, spread over all rows by chance. */
static void fill_positions(const wcd_positions *p, uint8_t *blob, uint64_t rows)
{
    uint64_t left = p->count, cells = rows * p->units, k = 0;
    if (p->layout == WCD_N_OF_M) return; /* any bytes are patterns */
    for (uint64_t r = 0; r < rows; r++) {
        for (uint64_t b = 0; b < p->row_size; b++)
            blob[p->at + r * p->row_size + b] = 0;
        for (uint64_t u = 0; u < p->units; u++, cells--) {
            if (sample_random() % cells >= left) continue;
            left--;
            if (p->layout == WCD_MASK)
                blob[p->at + r * p->row_size + u / 8] |= (uint8_t)(1 << u % 8);
            else
                sample_put(blob + p->at + k * (p->layout == WCD_LIST16 ? 2 : 4), u, p->layout == WCD_LIST16 ? 2 : 4);
            k++;
        }
        sample_put(blob + p->ends + r * p->end_size, k, p->end_size);
    }
}

/* Complete codes of lengths 1 or 2 to 12. Streams start anywhere, near the end too. finite: exponents of
 * the top plane, rotated as it is, stay below 2^1. */
static void fill_codes(const wcd_view *v, uint8_t *blob, int finite)
{
    static const uint8_t lengths[2][16] = {{0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2},
                                           {0, 0, 2, 2, 3, 1, 1, 1, 1, 1, 1, 1, 2}};
    const wcd_float_view *f = &v->u.f;
    uint64_t chunks = (v->rows * v->cols + 4095) / 4096;
    for (unsigned p = 0; p < f->width; p++) {
        uint64_t bytes = f->mode[p] == 0 ? v->rows * v->cols : f->mode[p] == 2 ? 32 + 256 : 0;
        for (uint64_t i = 0; i < bytes && finite && p + 1u == f->width; i++)
            blob[f->first[p] + i] &= 0x7f;
        if (f->mode[p] != 2) continue;
        for (unsigned len = 0; len < 16; len++)
            sample_put(blob + f->first[p] + 2 * len, lengths[p % 2][len], 2);
        for (uint64_t k = 0; k < (chunks + 63) / 64; k++)
            sample_put(blob + f->bases[p] + 8 * k, sample_random() % (f->stream_bytes + 9), 8);
        for (uint64_t k = 0; k < chunks; k++) {
            sample_put(blob + f->entries[p] + 10 * k, sample_random() % (f->stream_bytes + 1), 4);
            for (int i = 0; i < 3; i++)
                sample_put(blob + f->entries[p] + 10 * k + 4 + 2 * i, sample_random() % 700, 2);
        }
    }
}

static uint64_t up8(uint64_t x)
{
    return (x + 7) / 8 * 8;
}

/* Half of the classes without low bits; laws of some three bits, of class 0 (2^-|k|) just that; streams of about the
 * same size; the last unit has what is left. */
static void fill_units(const wcd_view *v, uint8_t *blob)
{
    const wcd_coded_view *c = &v->u.c;
    uint64_t units = ((v->rows - 1) / c->tile + 1) * c->blocks, words;
    uint64_t at =
        up8(up8(up8(up8(12 * c->classes) + v->cols) + (v->cols + 1) / 2) + (c->row_classes ? (v->rows + 1) / 2 : 0));
    words = (v->size - up8(at + 4 * units)) / 2;
    for (unsigned n = 0; n < c->classes; n++) {
        uint8_t *record = blob + 12 * n;
        record[0] = (uint8_t)(n % 2 ? 1 + sample_random() % 12 : 0);
        for (int q = 0; q < 2; q++)
            sample_put(record + 4 + 3 * q, n ? 8 + sample_random() % 16 : 16, 1),
                sample_put(record + 5 + 3 * q, n ? sample_random() % 20 : 16, 1),
                sample_put(record + 6 + 3 * q, n ? sample_random() % 8 : 0, 1);
    }
    for (uint64_t k = 0; k < units; k++)
        sample_put(blob + at + 4 * k, words * (k + 1) / units, 4);
}

/* Half of the places change with another one, the others' numbers are none. */
static void fill_swaps(const wcd_view *v, uint8_t *blob)
{
    for (uint64_t j = 0; j < v->cols; j++)
        sample_put(blob + v->u.m.bytes * j, sample_random() % (2 * v->cols), v->u.m.bytes);
}

/* Random bytes; finite: every f16, bf16 and f32 is below 2 in magnitude, by the bit that they have at the same place.
 */
static void fill_blob(const wcd_view *v, uint8_t *blob, int finite)
{
    for (uint64_t i = 0; i < v->size; i++)
        blob[i] = (uint8_t)(sample_random() & (finite > 0 && i % 2 ? 0xbf : 0xff));
    if (finite < 0) return;
    if (v->d->id == SPARSE) fill_positions(&v->u.s.p, blob, v->rows);
    if (v->d->id == GRID && v->u.g.holes) fill_positions(&v->u.g.p, blob, v->rows);
    if (v->d->id == LUT && v->u.l.holes) fill_positions(&v->u.l.p, blob, v->rows);
    if (v->d->id == FLOAT && v->u.f.coded) fill_codes(v, blob, finite);
    if (v->d->id == TRELLIS) fill_units(v, blob);
    if (v->d->id == PERMUTE) fill_swaps(v, blob);
}

/* The size of blob with which a part opens, found by trying, and what it opens as. */
static uint64_t blob_size(const spec *p, uint64_t rows, uint64_t cols, wcd_view *v)
{
    if (p->size)
        return wcd_view_open(p->kind, 1, p->params, NULL, p->size, rows, cols, v) == WCD_OK ? p->size : MAX_BLOB;
    for (uint64_t size = 0; size < MAX_BLOB; size++)
        if (wcd_view_open(p->kind, 1, p->params, NULL, size, rows, cols, v) == WCD_OK) return size;
    return MAX_BLOB;
}

static uint64_t up64(uint64_t x)
{
    return (x + 63) / 64 * 64;
}

/* Shapes and sizes of all parts, children after their parents. 0: a part does not open with any size. */
static int plan_parts(const sample *s, wcd_view v[MAX_SPECS], uint32_t first_child[MAX_SPECS])
{
    uint32_t own = s->n_parts + s->n_transforms, next = own;
    for (uint32_t i = 0; i < own; i++) {
        if (blob_size(&s->spec[i], i < s->n_parts ? s->rows : 1, s->cols, &v[i]) == MAX_BLOB) return 0;
        first_child[i] = v[i].n_children ? next : 0;
        for (unsigned k = 0; k < v[i].n_children; k++, next++) {
            uint64_t rows, cols;
            v[i].d->child_shape(&v[i], k, &rows, &cols);
            if (next == s->n_all || blob_size(&s->spec[next], rows, cols, &v[next]) == MAX_BLOB) return 0;
            first_child[next] = 0;
        }
    }
    return next == s->n_all;
}

/* The image of a file with this one tensor, "w". 0: it does not open. */
int sample_build(sample *s, int finite, uint8_t dtype)
{
    wcd_view v[MAX_SPECS];
    uint32_t child[MAX_SPECS];
    if (!plan_parts(s, v, child)) return 0;
    uint64_t index = 32 + 128 + 80 * (uint64_t)s->n_all + 1, end = up64(64 + index), at[MAX_SPECS];
    for (uint32_t i = 0; i < s->n_all; i++) {
        at[i] = end;
        end = up64(end + v[i].size);
    }
    uint8_t *h = s->image = aligned_alloc(64, end), *t = h + 96, *p = t + 128;
    if (!h) return 0;
    memset(h, 0, end);
    for (uint32_t i = 0; i < s->n_all; i++, p += 80) {
        fill_blob(&v[i], h + at[i], finite);
        sample_put(p, s->spec[i].kind, 2), sample_put(p + 2, 1, 2), sample_put(p + 8, at[i], 8),
            sample_put(p + 16, v[i].size, 8);
        sample_put(p + 24, wcd_xxh3(h + at[i], v[i].size), 8), sample_put(p + 32, child[i], 4),
            sample_put(p + 36, v[i].n_children, 4);
        memcpy(p + 40, s->spec[i].params, WCD_PARAMS);
    }
    *p = 'w';
    sample_put(t + 4, 1, 4), sample_put(t + 8, 2, 4), sample_put(t + 12, dtype, 4), sample_put(t + 16, s->rows, 8),
        sample_put(t + 24, s->cols, 8);
    sample_put(t + 84, s->n_parts, 4), sample_put(t + 96, s->n_transforms, 4);
    sample_put(h + 64, 1, 4), sample_put(h + 68, s->n_all, 4), sample_put(h + 76, 1, 4);
    memcpy(h, "\x89WCZ\r\n\x1a\n", 8);
    sample_put(h + 8, 1, 2), sample_put(h + 10, 1, 2), sample_put(h + 16, end, 8), sample_put(h + 24, 64, 8),
        sample_put(h + 32, index, 8);
    sample_put(h + 40, wcd_xxh3(h + 64, index), 8), sample_put(h + 56, wcd_xxh3(h, 56), 8);
    return wcd_open(&s->file, h, end) == WCD_OK && wcd_at(&s->file, 0, &s->t) == WCD_OK;
}

void sample_grid(sample *s, unsigned bits, unsigned scale_bits, unsigned zero_kind, uint32_t group, unsigned tile)
{
    uint8_t *p = sample_part(s, GRID)->params;
    p[0] = (uint8_t)bits, p[1] = (uint8_t)scale_bits, p[2] = (uint8_t)zero_kind, p[3] = (uint8_t)-3;
    sample_put(p + 4, group, 4), p[28] = (uint8_t)tile, p[29] = zero_kind == 3 ? 3 : 0;
    if (!zero_kind) sample_put(p + 8, wc_f32_bits((float)(1 << bits) / 2 - 0.5f), 4);
}

void sample_holes(sample *s, unsigned layout, unsigned n, unsigned m, uint32_t block, uint64_t nnz)
{
    uint8_t *p = s->spec[s->n_all - 1].params;
    p[12] = (uint8_t)layout, p[13] = (uint8_t)n, p[14] = (uint8_t)m;
    sample_put(p + 16, nnz, 8), sample_put(p + 24, block, 4);
}

void sample_lut(sample *s, unsigned bits, unsigned scope, unsigned scaled, uint32_t group)
{
    uint8_t *p = sample_part(s, LUT)->params;
    p[0] = (uint8_t)bits, p[1] = (uint8_t)scope, p[2] = (uint8_t)scaled, p[3] = 2;
    sample_put(p + 4, group, 4);
}

void sample_sparse(sample *s, unsigned dtype, unsigned layout, unsigned n, unsigned m, uint64_t nnz)
{
    uint8_t *p = sample_part(s, SPARSE)->params;
    p[0] = (uint8_t)dtype, p[1] = (uint8_t)layout, p[2] = (uint8_t)n, p[3] = (uint8_t)m, p[4] = dtype == F16 ? 1 : 0;
    sample_put(p + 8, nnz, 8);
}

void sample_floats(sample *s, unsigned dtype)
{
    sample_part(s, FLOAT)->params[0] = (uint8_t)dtype;
}

void sample_coded_floats(sample *s, unsigned dtype, const char *modes, uint64_t bytes)
{
    uint8_t *p = sample_part(s, FLOAT)->params;
    p[0] = (uint8_t)dtype, p[1] = 1;
    for (unsigned k = 0; modes[k]; k++) {
        p[2 + k] = (uint8_t)(modes[k] - '0');
        if (p[2 + k] == 1) p[10 + k] = 0x7d;
    }
    sample_put(p + 24, bytes, 8);
}

void sample_trellis(sample *s, unsigned memory, unsigned classes, unsigned by_row, uint32_t tile, uint64_t bytes)
{
    uint8_t *p = sample_part(s, TRELLIS)->params;
    p[0] = (uint8_t)memory, p[1] = (uint8_t)classes, p[2] = (uint8_t)by_row;
    sample_put(p + 4, tile, 4), sample_put(p + 8, wc_f32_bits(0x1.7ap-16f), 4), sample_put(p + 16, bytes, 8);
}

void sample_lowrank(sample *s, uint32_t rank, unsigned form, uint32_t m2, uint32_t n2)
{
    uint8_t *p = sample_part(s, LOWRANK)->params;
    sample_put(p, rank, 4), p[4] = (uint8_t)form, sample_put(p + 8, m2, 4), sample_put(p + 12, n2, 4);
}

void sample_signs(sample *s, unsigned form, unsigned levels, uint32_t n, uint32_t subset, const char *which)
{
    uint8_t *p = sample_part(s, SIGNS)->params;
    p[0] = (uint8_t)form, p[1] = (uint8_t)levels, p[3] = (uint8_t)-1;
    sample_put(p + 4, n, 4), sample_put(p + 8, subset, 4);
    for (unsigned l = 0; which[l]; l++)
        p[16 + l] = (uint8_t)(which[l] - '0');
}

sample sample_sized(uint64_t rows, uint64_t cols, uint32_t n_parts, uint32_t n_transforms)
{
    sample s;
    memset(&s, 0, sizeof s);
    s.rows = rows, s.cols = cols, s.n_parts = n_parts, s.n_transforms = n_transforms;
    return s;
}
