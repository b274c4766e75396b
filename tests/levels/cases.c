/* Parts of every kind, made up: rows and products at every level have to be the bits of portable C, and portable C's
 * products the documented sums. Blobs, inputs and results end where a page ends that can be neither read nor written.
 * And the golden files, by the public functions. */
#include "tests/levels/cases.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/half.h"
#include "decode/bytes.h"
#include "tests/lanes_util.h"
#include "tests/samples.h"

#define FAIL(...) return snprintf(why, size, __VA_ARGS__), 1

enum { INPUTS = 7 };

/* ---- memory ----------------------------------------------------------------------------------------------------- */

enum {
    BLOB,
    X = WCD_VIEWS,
    INT8,
    ROWS, /* of C, then of the level that is compared with it; as all that follow */
    Y = ROWS + 2,
    YS = Y + 2,
    Y8 = YS + 2,
    TILES = Y8 + 2,
    BUFFERS
};

/* `bytes' in front of a page that must not be touched, filled with `fill'; one such buffer per number, valid until its
 * next use. NULL: no memory. */
static void *guarded(int buffer, size_t bytes, int fill)
{
    static struct {
        uint8_t *map;
        size_t room;
    } of[BUFFERS];
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!of[buffer].map || of[buffer].room < bytes) {
        const size_t room = (2 * bytes / page + 1) * page;
        if (of[buffer].map) munmap(of[buffer].map, of[buffer].room + page);
        of[buffer].map = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        of[buffer].room = room;
        if (of[buffer].map == MAP_FAILED || mprotect(of[buffer].map + room, page, PROT_NONE)) {
            of[buffer].map = NULL;
            return NULL;
        }
    }
    uint8_t *p = of[buffer].map + of[buffer].room - bytes;
    if (bytes) memset(p, fill, bytes);
    return p;
}

/* ---- comparing -------------------------------------------------------------------------------------------------- */

/* NaN is NaN, everything else the same bits. */
static int same(const float *c, const float *got, size_t n, const char *what, wcd_level level, char *why, unsigned size)
{
    for (size_t i = 0; i < n; i++)
        if (wc_f32_bits(c[i]) != wc_f32_bits(got[i]) && !(isnan(c[i]) && isnan(got[i])))
            FAIL("%s at level %s, number %zu: %a, not %a", what, wcd_level_name(level), i, (double)got[i],
                 (double)c[i]);
    return 0;
}

static void add_to(uint64_t *sum, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *sum = (*sum ^ (isnan(x[i]) ? 0x7fc00000 : wc_f32_bits(x[i]))) * 0x9e3779b97f4a7c15;
}

/* In [-1, 1); hostile: some of any bits. */
static void fill_inputs(float *x, size_t n, int hostile)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = sample_random() << 1;
        x[i] = hostile && i % 11 == 3 ? wc_bits_f32(bits ^ sample_random()) : (float)(int32_t)bits * 0x1p-31f;
    }
}

/* rows [rows, cols], y [2 rows], ys [INPUTS, rows], y8 [INPUTS, 2 rows] of one level; kinds without a product with 8
 * bits leave the last as it was. */
typedef struct results {
    float *rows, *y, *ys, *y8;
} results;

static int compute_int8(const wcd_view *v, const float *x, unsigned nx, float *y, char *why, unsigned size)
{
    const size_t rows = v->rows, third = rows / 3, bytes = wcd_int8_bytes(v->cols);
    char *memory = guarded(INT8, nx * bytes, 0xff);
    if (!memory) FAIL("no memory");
    if (!v->d->products8) return 0;
    for (unsigned b = 0; b < nx; b++)
        wcd_int8_make(v->cols, x + b * v->cols, memory + b * bytes);
    const wcd_int8 x8 = {{x, v->cols, nx}, memory};
    v->d->products8(v, 0, rows, &x8, y, 2 * rows, 0);
    v->d->products8(v, third, rows - third, &x8, y + rows + third, 2 * rows, 1);
    return 0;
}

static int compute(const wcd_view *v, wcd_level level, const float *x, results *r, char *why, unsigned size)
{
    const int second = level != WCD_C, fill = second ? 0x5a : 0xa5;
    const size_t rows = v->rows, third = rows / 3;
    r->rows = guarded(ROWS + second, rows * v->cols * 4, fill), r->y = guarded(Y + second, 2 * rows * 4, fill);
    r->ys = guarded(YS + second, INPUTS * rows * 4, fill), r->y8 = guarded(Y8 + second, INPUTS * 2 * rows * 4, 0);
    if (!r->rows || !r->y || !r->ys || !r->y8) FAIL("no memory");
    wcd_cpu_use(level);
    if (wcd_cpu_level() != level) FAIL("level %s cannot be used", wcd_level_name(level));
    if (wcd_view_set_rows(v, 0, rows, r->rows, v->cols) != WCD_OK) FAIL("rows cannot be read");
    for (size_t i = 0; i < rows; i++)
        r->y[rows + i] = (float)i;
    wcd_view_product(v, 0, rows, x, r->y, 0);
    wcd_view_product(v, third, rows - third, x, r->y + rows + third, 1);
    wcd_view_products(v, 0, rows, &(wcd_vectors){x, v->cols, INPUTS}, r->ys, rows, 0);
    return compute_int8(v, x, INPUTS, r->y8, why, size);
}

static int check_sums(const wcd_view *v, const results *c, const float *x, char *why, unsigned size)
{
    const unsigned kind = v->d->id;
    for (size_t r = 0; r < v->rows && kind != SPARSE && kind != LOWRANK && kind != TRELLIS; r++) {
        float want = sum_in_lanes(c->rows + r * v->cols, x, v->cols);
        if (same(&want, c->y + r, 1, "documented sum", WCD_C, why, size)) return 1;
    }
    float *y = guarded(Y + 1, v->rows * 4, 0x5a), *y8 = guarded(Y8 + 1, 2 * v->rows * 4, 0);
    for (size_t b = 0; b < INPUTS; b++) {
        wcd_view_product(v, 0, v->rows, x + b * v->cols, y, 0);
        if (same(c->ys + b * v->rows, y, v->rows, "one of many inputs", WCD_C, why, size)) return 1;
        memset(y8, 0, 2 * v->rows * 4);
        if (compute_int8(v, x + b * v->cols, 1, y8, why, size) ||
            same(c->y8 + b * 2 * v->rows, y8, 2 * v->rows, "one of many inputs in 8 bits", WCD_C, why, size))
            return 1;
    }
    return 0;
}

static int compare_view(const wcd_view *v, const float *x, uint64_t *sum, char *why, unsigned size)
{
    const size_t rows = v->rows, all = rows * v->cols;
    results c, l;
    if (compute(v, WCD_C, x, &c, why, size) || check_sums(v, &c, x, why, size)) return 1;
    add_to(sum, c.rows, all), add_to(sum, c.y, 2 * rows), add_to(sum, c.ys, INPUTS * rows);
    add_to(sum, c.y8, INPUTS * 2 * rows);
    for (int k = WCD_C + 1; k <= (int)wcd_cpu_best(); k++) {
        wcd_level level = (wcd_level)k;
        if (compute(v, level, x, &l, why, size) || same(c.rows, l.rows, all, "rows", level, why, size) ||
            same(c.y, l.y, 2 * rows, "product", level, why, size) ||
            same(c.ys, l.ys, INPUTS * rows, "products", level, why, size) ||
            same(c.y8, l.y8, INPUTS * 2 * rows, "products with 8 bits", level, why, size))
            return 1;
    }
    return 0;
}

/* A tensor as a runtime sees it: transforms, sums of parts, inputs in 8 bits. */
static int compute_tensor(const wcd_tensor *t, wcd_level level, const float *x, results *r, wcd_status s[4], char *why,
                          unsigned size)
{
    const int second = level != WCD_C;
    r->rows = guarded(ROWS + second, t->rows * t->cols * 4, 0), r->y = guarded(Y + second, t->rows * 4, 0);
    r->y8 = guarded(Y8 + second, t->rows * 4, 0);
    void *memory = guarded(INT8, wcd_int8_size(t), 0xff);
    if (!r->rows || !r->y || !r->y8 || !memory) FAIL("no memory");
    wcd_cpu_use(level);
    s[0] = wcd_rows(t, 0, t->rows, r->rows, t->cols);
    s[1] = wcd_matvec(t, x, r->y);
    s[2] = wcd_int8_inputs(t, x, memory);
    s[3] = wcd_matvec_int8(t, 0, t->rows, x, memory, r->y8);
    return 0;
}

static int compare_tensor(const wcd_tensor *t, uint64_t *sum, char *why, unsigned size)
{
    const size_t rows = t->rows, all = rows * t->cols;
    results c, l;
    wcd_status cs[4], ls[4];
    float *x = guarded(X, t->cols * 4, 0);
    if (!x) FAIL("no memory");
    fill_inputs(x, t->cols, 0);
    if (compute_tensor(t, WCD_C, x, &c, cs, why, size)) return 1;
    add_to(sum, c.rows, all), add_to(sum, c.y, rows), add_to(sum, c.y8, rows);
    for (int i = 0; i < 4; i++)
        *sum += (uint64_t)cs[i] << 8 * i;
    for (int k = WCD_C + 1; k <= (int)wcd_cpu_best(); k++) {
        wcd_level level = (wcd_level)k;
        if (compute_tensor(t, level, x, &l, ls, why, size) || same(c.rows, l.rows, all, "rows", level, why, size) ||
            same(c.y, l.y, rows, "wcd_matvec", level, why, size) ||
            same(c.y8, l.y8, rows, "wcd_matvec_int8", level, why, size))
            return 1;
        if (memcmp(cs, ls, sizeof cs)) FAIL("another status at level %s", wcd_level_name(level));
    }
    return 0;
}

/* ---- parts ------------------------------------------------------------------------------------------------------ */

/* What a blob is filled with. BYTES: any, positions and streams out of order; columns of a list around the last. ZEROS:
 * the rANS states of a coded part then take as many words as they ever do. */
enum { ZEROS = -2, BYTES, NUMBERS, FINITE };

/* A copy of a part's blob, where nothing can be read behind it. */
static const uint8_t *copied(int buffer, const wcd_part_info *p, int fill)
{
    wcd_view v;
    uint8_t *blob = guarded(buffer, p->blob_size, 0);
    if (!blob || !p->blob_size || (fill == ZEROS && p->kind != TRELLIS)) return blob;
    memcpy(blob, p->blob, p->blob_size);
    if (fill > BYTES || (p->kind != TRELLIS && p->kind != SPARSE)) return blob;
    if (wcd_view_open(p->kind, p->version, p->params, blob, p->blob_size, p->rows, p->cols, &v) != WCD_OK) return NULL;
    if (p->kind == TRELLIS && fill == ZEROS) memset(blob + (v.u.c.stream - blob), 0, 2 * v.u.c.stream_words);
    for (uint64_t k = 0; p->kind == SPARSE && v.u.s.p.layout == WCD_LIST16 && k < v.u.s.p.count; k++)
        sample_put(blob + v.u.s.p.at + 2 * k, p->cols - 1 + k % 3, 2);
    return blob;
}

/* The first part of a tensor, and its children. */
static int open_copies(const wcd_tensor *t, int fill, wcd_view v[WCD_VIEWS], char *why, unsigned size)
{
    wcd_part_info p, child;
    const uint8_t *blob;
    if (wcd_part(t, 0, &p) != WCD_OK || !(blob = copied(BLOB, &p, fill))) FAIL("no memory");
    wcd_status s = wcd_view_open(p.kind, p.version, p.params, blob, p.blob_size, p.rows, p.cols, v);
    for (unsigned k = 0; s == WCD_OK && k < p.n_children; k++) {
        if (wcd_part_child(t, &p, k, &child) != WCD_OK || !(blob = copied(BLOB + 1 + (int)k, &child, fill)))
            FAIL("no memory");
        s = wcd_view_child(v, k, child.kind, child.version, child.params, blob, child.blob_size);
    }
    if (s != WCD_OK) FAIL("a copy of the part does not open");
    return 0;
}

/* With every filling from FINITE down to `least'; inputs of any bits with all but the first. The tensor, if it is more
 * than one part, as a whole. */
static int check(sample *s, int least, uint64_t *sum, const char *what, char *why, unsigned size)
{
    static const char *const fills[] = {"zeros", "any bytes", "any numbers", "finite numbers"};
    for (int fill = FINITE; fill >= least; fill--) {
        char text[300] = "";
        wcd_view v[WCD_VIEWS];
        float *x = guarded(X, INPUTS * s->cols * 4, 0);
        if (!x || !sample_build(s, fill == ZEROS ? NUMBERS : fill, F32))
            FAIL("%s: the sample does not open: %s", what,
                 s->image ? wcd_open_reason(s->image, wcd_u64(s->image + 16)) : "");
        fill_inputs(x, INPUTS * s->cols, fill != FINITE);
        int bad = s->n_parts + s->n_transforms > 1
                      ? compare_tensor(&s->t, sum, text, sizeof text)
                      : open_copies(&s->t, fill, v, text, sizeof text) || compare_view(v, x, sum, text, sizeof text);
        free(s->image);
        s->image = NULL;
        if (bad) FAIL("%s, %u x %u, %s: %s", what, (unsigned)s->rows, (unsigned)s->cols, fills[fill - ZEROS], text);
    }
    return 0;
}

/* Rows around four, columns around blocks and spans, groups of every path. */
static const struct {
    uint64_t rows, cols;
    uint32_t group;
} shapes[] = {{1, 1, 1},    {3, 63, 16},   {4, 64, 64},    {5, 320, 32}, {6, 257, 256}, {9, 1000, 128}, {4, 640, 64},
              {7, 600, 48}, {2, 512, 512}, {3, 1536, 384}, {8, 256, 16}, {5, 2500, 16}, {4, 192, 192},  {11, 96, 32}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static int grids(uint64_t *sum, char *why, unsigned size)
{
    for (unsigned i = 0; i < SHAPES; i++)
        for (unsigned bits = 1; bits <= 8; bits++) {
            char what[60];
            snprintf(what, sizeof what, "grid of %u bits, group %u", bits, (unsigned)shapes[i].group);
            sample s = sample_sized(shapes[i].rows, shapes[i].cols, 1, 0);
            sample_grid(&s, bits, (i + bits) % 3 ? 0 : 6, (i + bits) % 4, shapes[i].group, (i + bits) % 4 == 3 ? 4 : 0);
            if ((i + bits) % 4 == 3 && (i + bits) % 3) s.spec[0].params[1] = 3; /* tiles have scales of two levels */
            if (check(&s, NUMBERS, sum, what, why, size)) return 1;
        }
    return 0;
}

static int luts(uint64_t *sum, char *why, unsigned size)
{
    for (unsigned i = 0; i < SHAPES; i++)
        for (unsigned bits = 1; bits <= 5; bits++) {
            char what[60];
            snprintf(what, sizeof what, "lut of %u bits, scope %u", bits, (i + bits) % 3);
            sample s = sample_sized(shapes[i].rows, shapes[i].cols, 1, 0);
            sample_lut(&s, bits, (i + bits) % 3, i % 2, shapes[i].group);
            if (check(&s, NUMBERS, sum, what, why, size)) return 1;
        }
    return 0;
}

static int parts_with_holes(uint64_t *sum, char *why, unsigned size)
{
    static const struct {
        unsigned layout, n, m;
        uint32_t block;
        uint64_t nnz;
    } table[] = {{2, 0, 0, 0, 401}, {3, 2, 4, 0, 560}, {2, 0, 0, 8, 320}, {3, 5, 8, 2, 700}};
    for (unsigned i = 0; i < 8; i++) {
        sample s = sample_sized(7, 160, 1, 0);
        if (i < 4)
            sample_grid(&s, 2 + i, 0, i % 3, 32, 0);
        else
            sample_lut(&s, i - 2, i % 2, i % 2, 40);
        sample_holes(&s, table[i % 4].layout, table[i % 4].n, table[i % 4].m, table[i % 4].block, table[i % 4].nnz);
        if (check(&s, ZEROS, sum, i < 4 ? "grid with holes" : "lut with holes", why, size)) return 1;
    }
    return 0;
}

static int sparse_parts(uint64_t *sum, char *why, unsigned size)
{
    static const unsigned dtypes[] = {F16, BF16, F32}, per_mille[] = {0, 1000, 140, 25, 10};
    for (unsigned i = 0; i < 3 * SHAPES; i++) {
        const uint64_t rows = shapes[i % SHAPES].rows, cols = shapes[i % SHAPES].cols;
        sample s = sample_sized(rows, cols, 1, 0);
        sample_sparse(&s, dtypes[i / SHAPES], i % 3, 0, 0, rows * cols * per_mille[i % 5] / 1000);
        if (check(&s, ZEROS, sum, "sparse", why, size)) return 1;
    }
    sample wide = sample_sized(2, 70000, 1, 0), pattern = sample_sized(3, 512, 1, 0);
    sample_sparse(&wide, F16, 1, 0, 0, 230);
    sample_sparse(&pattern, F16, 3, 2, 4, 3 * 256);
    return check(&wide, ZEROS, sum, "sparse, 32-bit columns", why, size) ||
           check(&pattern, ZEROS, sum, "sparse, 2:4", why, size);
}

static int floats(uint64_t *sum, char *why, unsigned size)
{
    static const struct {
        uint64_t rows, cols;
        unsigned dtype;
        const char *modes;
        uint64_t bytes;
    } coded[] = {{30, 300, BF16, "02", 7001},  {5, 1024, BF16, "22", 9000}, {11, 401, F16, "02", 3000},
                 {1, 5000, F32, "0022", 9000}, {3, 33, F16, "12", 60},      {70, 64, BF16, "02", 5000}};
    for (unsigned i = 0; i < 3 * SHAPES; i++) {
        sample s = sample_sized(shapes[i % SHAPES].rows, shapes[i % SHAPES].cols, 1, 0);
        sample_floats(&s, 1 + i / SHAPES);
        if (check(&s, NUMBERS, sum, "float", why, size)) return 1;
    }
    for (unsigned i = 0; i < sizeof coded / sizeof *coded; i++) {
        sample s = sample_sized(coded[i].rows, coded[i].cols, 1, 0);
        sample_coded_floats(&s, coded[i].dtype, coded[i].modes, coded[i].bytes);
        if (check(&s, ZEROS, sum, "float in planes", why, size)) return 1;
    }
    return 0;
}

static int lowrank_parts(uint64_t *sum, char *why, unsigned size)
{
    for (uint32_t rank = 1; rank <= 300; rank = rank * 6 + 1)
        for (unsigned form = 0; form < 4; form++) {
            if (form && rank > 40) break;
            sample s = sample_sized(form == 3 ? 24 : 21, 290, 1, 0);
            sample_lowrank(&s, form == 3 ? 5 : rank, form, form == 3 ? 4 : 0, form == 3 ? 29 : 0);
            if (form || rank % 2 == 0)
                sample_floats(&s, F16), sample_floats(&s, BF16);
            else
                sample_grid(&s, 8, 0, 0, rank, 0), sample_lut(&s, 4, 1, 1, 64);
            if (form == 1) sample_floats(&s, F16);
            if (check(&s, NUMBERS, sum, "lowrank", why, size)) return 1;
        }
    return 0;
}

/* Streams that are long enough, and ones that end early; every memory, one class and many. */
static int trellis_parts(uint64_t *sum, char *why, unsigned size)
{
    static const struct {
        uint64_t rows, cols;
        unsigned memory, classes, by_row;
        uint32_t tile;
        uint64_t bytes;
    } table[] = {{1, 1, 0, 1, 0, 4096, 64},     {9, 65, 2, 2, 0, 4, 1400},   {13, 300, 3, 16, 1, 5, 9000},
                 {7, 256, 8, 1, 0, 3, 2501},    {6, 530, 5, 5, 1, 6, 900},   {3, 17, 6, 3, 1, 2, 30},
                 {20, 257, 4, 2, 0, 512, 9001}, {9, 520, 7, 9, 1, 9, 30000}, {4, 256, 3, 1, 0, 4, 704}};
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        sample s = sample_sized(table[i].rows, table[i].cols, 1, 0);
        sample_trellis(&s, table[i].memory, table[i].classes, table[i].by_row, table[i].tile, table[i].bytes);
        if (check(&s, ZEROS, sum, "coded", why, size)) return 1;
    }
    return 0;
}

static int signs_and_vectors(uint64_t *sum, char *why, unsigned size)
{
    static const struct {
        uint32_t n, subset;
        unsigned form, levels;
        const char *which;
    } signs[] = {{2, 0, 0, 3, ""}, {128, 40, 1, 3, "611"}, {7, 0, 1, 2, "04"}, {16, 0, 2, 1, ""}};
    static const struct {
        unsigned dim, books, bits, entry_bits;
        int scale_bits;
        unsigned signs;
        uint32_t group;
    } vectors[] = {
        {4, 2, 8, 16, 4, 0, 100}, {8, 1, 12, 8, 0, 1, 300}, {1, 3, 3, 16, -1, 0, 300}, {5, 2, 5, 8, 3, 1, 7}};
    for (unsigned i = 0; i < 8; i++) {
        sample s = sample_sized(9, 300, 1, 0);
        unsigned k = i % 4;
        if (i < 4)
            sample_signs(&s, signs[k].form, signs[k].levels, signs[k].n, signs[k].subset, signs[k].which);
        else
            sample_vq(&s, vectors[k].dim, vectors[k].books, vectors[k].bits, vectors[k].entry_bits,
                      vectors[k].scale_bits, vectors[k].signs, vectors[k].group);
        if (check(&s, NUMBERS, sum, i < 4 ? "signs" : "vq", why, size)) return 1;
    }
    return 0;
}

static int ggml_blocks(uint64_t *sum, char *why, unsigned size)
{
    static const uint8_t types[] = {2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 20, 21, 22, 23, 34, 35};
    for (unsigned i = 0; i < sizeof types; i++) {
        char what[40];
        sample s = sample_sized(5, 768, 1, 0);
        snprintf(what, sizeof what, "ggml type %u", types[i]);
        sample_part(&s, GGML)->params[0] = types[i];
        if (check(&s, NUMBERS, sum, what, why, size)) return 1;
    }
    return 0;
}

static int sums_and_transforms(uint64_t *sum, char *why, unsigned size)
{
    for (unsigned i = 0; i < 4; i++) {
        sample s = sample_sized(21, i == 3 ? 512 : 320, 2 + (i > 0), i == 3 ? 2 : i == 2);
        sample_grid(&s, 2 + i, 0, i % 3, 64, 0), sample_sparse(&s, F16, 0, 0, 0, 99);
        if (i == 1) sample_trellis(&s, 4, 3, 0, 4, 6000);
        if (i == 2) sample_lut(&s, 3, 1, 0, 320);
        if (i == 3) sample_lowrank(&s, 9, 0, 0, 0), sample_part(&s, HADAMARD)->params[0] = 9;
        if (i > 1) sample_part(&s, DIAGONAL)->params[0] = 1;
        if (i == 3) sample_floats(&s, F16), sample_floats(&s, F16);
        if (check(&s, BYTES, sum, "sum", why, size)) return 1;
    }
    return 0;
}

/* Products of a tensor that was prepared at the same level; the sums are others than those of compare_tensor. */
static int compare_prepared(const wcd_tensor *t, int hostile, uint64_t *sum, char *why, unsigned size)
{
    const size_t n = INPUTS * t->rows;
    const uint64_t bytes = wcd_prepare_size(t);
    float *x = guarded(X, INPUTS * t->cols * 4, 0), *c = guarded(YS, n * 4, 0xa5);
    void *memory = guarded(TILES, (bytes + 63) / 64 * 64, 0xff);
    if (!bytes) FAIL("nothing is prepared");
    if (!x || !c || !memory) FAIL("no memory");
    fill_inputs(x, INPUTS * t->cols, hostile);
    for (int k = WCD_C; k <= (int)wcd_cpu_best(); k++) {
        wcd_prepared p;
        float *y = k == WCD_C ? c : guarded(YS + 1, n * 4, 0x5a);
        wcd_cpu_use((wcd_level)k);
        if (!y || wcd_prepare(t, NULL, memory, &p) != WCD_OK ||
            wcd_prepared_matmul(&p, 0, t->rows, x, t->cols, INPUTS, y, t->rows) != WCD_OK)
            FAIL("not prepared at level %s", wcd_level_name((wcd_level)k));
        if (same(c, y, n, "prepared product", (wcd_level)k, why, size)) return 1;
    }
    add_to(sum, c, n);
    return 0;
}

static int prepared_tensors(uint64_t *sum, char *why, unsigned size)
{
    static const unsigned lut_bits[] = {1, 2, 4, 4}, grid_bits[] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (unsigned i = 0; i < 48; i++) {
        const unsigned k = i % 12, at = i / 12;
        char text[300];
        sample s = sample_sized(at % 2 ? 150 : 16, at % 2 ? 300 : 640, 1, 0);
        if (k < 8)
            sample_grid(&s, grid_bits[k], 0, (i + at) % 3, at % 2 ? 16 : 128, 0);
        else
            sample_lut(&s, lut_bits[k - 8], k == 11, k < 11 && at % 2, k == 11 ? (uint32_t)s.cols : at % 2 ? 16 : 128);
        if (!sample_build(&s, at < 2 ? FINITE : NUMBERS, F32)) FAIL("sample %u does not open", i);
        int bad = compare_prepared(&s.t, at >= 2, sum, text, sizeof text);
        free(s.image);
        if (bad) FAIL("%s %u, %u rows: %s", k < 8 ? "grid" : "lut", k, (unsigned)s.rows, text);
    }
    return 0;
}

/* All 65536 of both types at every level; alignment of one byte. */
static int widening(uint64_t *sum, char *why, unsigned size)
{
    uint8_t *half = guarded(BLOB, 2 * 65536 + 1, 0);
    float *got = guarded(ROWS, 65536 * 4, 0);
    if (!half || !got) FAIL("no memory");
    for (unsigned i = 0; i < 65536; i++)
        half[2 * i] = (uint8_t)i, half[2 * i + 1] = (uint8_t)(i >> 8);
    for (int level = WCD_C; level <= (int)wcd_cpu_best(); level++)
        for (uint32_t type = F16; type <= BF16; type++) {
            wcd_cpu_use((wcd_level)level);
            if (wcd_widen(type, half, 65536, got) != WCD_OK) FAIL("wcd_widen fails");
            for (unsigned i = 0; i < 65536; i++) {
                float want = type == F16 ? wc_f16_f32((uint16_t)i) : wc_bf16_f32((uint16_t)i);
                if (same(&want, got + i, 1, "widened", (wcd_level)level, why, size)) return 1;
            }
            if (level == WCD_C) add_to(sum, got, 65536);
        }
    return 0;
}

/* Files that an independent program wrote: also whether this machine reads bytes in the right order. */
static int golden_files(uint64_t *sum, char *why, unsigned size)
{
    static const char *const names[] = {"tiny",  "kinds", "parts",   "transforms", "grids", "holes",
                                        "forms", "signs", "vectors", "coded",      "ggml"};
    static uint64_t image[1 << 15];
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        char path[100], text[300];
        wcd_file file;
        wcd_tensor t;
        snprintf(path, sizeof path, "tests/data/golden/%s.wcz", names[i]);
        FILE *in = fopen(path, "rb");
        if (!in) FAIL("cannot open %s", path);
        size_t bytes = fread(image, 1, sizeof image, in);
        fclose(in);
        if (wcd_open(&file, image, bytes) != WCD_OK || wcd_verify(&file, NULL, NULL) != WCD_OK)
            FAIL("%s does not open", path);
        for (uint32_t k = 0; wcd_at(&file, k, &t) == WCD_OK; k++)
            if (compare_tensor(&t, sum, text, sizeof text)) FAIL("%s, tensor %u: %s", path, (unsigned)k, text);
    }
    return 0;
}

const level_case level_cases[] = {{"grids", grids},
                                  {"luts", luts},
                                  {"parts with holes", parts_with_holes},
                                  {"sparse parts", sparse_parts},
                                  {"floats", floats},
                                  {"lowrank parts", lowrank_parts},
                                  {"coded parts", trellis_parts},
                                  {"signs and vectors", signs_and_vectors},
                                  {"ggml blocks", ggml_blocks},
                                  {"sums and transforms", sums_and_transforms},
                                  {"prepared tensors", prepared_tensors},
                                  {"widening", widening},
                                  {"golden files", golden_files}};
const unsigned level_case_count = sizeof level_cases / sizeof *level_cases;
