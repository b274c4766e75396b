/* Whole files: the writer against golden bytes made by another program, the decode library against the second reader
 * and against values in double, resuming, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "parts_util.h"

enum { MAX_TENSORS = 400 };

/* A file to write: tensors with their parts filled. */
typedef struct model {
    wc_wcz_tensor tensors[MAX_TENSORS];
    wc_part parts[MAX_TENSORS + 1]; /* filled; the plans of tensors point here too: extra pointers do no harm */
    char names[MAX_TENSORS][32];
    double error[MAX_TENSORS];
    uint32_t flags[MAX_TENSORS];
    size_t n, n_parts;
} model;

/* dims: n_dims numbers. The tensor's parts are the next n_parts of m->parts, which the caller fills. */
static wc_part *add(model *m, const char *name, wc_dtype dtype, uint32_t n_dims, const uint64_t *dims, size_t n_parts)
{
    wc_wcz_tensor *t = &m->tensors[m->n];
    snprintf(m->names[m->n], sizeof m->names[0], "%s", name);
    *t = (wc_wcz_tensor){.name = m->names[m->n], .source_dtype = dtype, .n_dims = n_dims, .n_parts = n_parts};
    t->parts = m->parts + m->n_parts;
    if (n_dims) memcpy(t->dims, dims, n_dims * sizeof *dims);
    m->error[m->n++] = NAN;
    m->n_parts += n_parts;
    return m->parts + m->n_parts - n_parts;
}

static void drop_model(model *m)
{
    for (size_t i = 0; i < m->n_parts; i++)
        drop_mask(&m->parts[i]), wc_part_free(&m->parts[i]);
    free(m);
}

static model *new_model(void)
{
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    return m;
}

static void add_float(model *m, const char *name, wc_dtype dtype, uint32_t n_dims, const uint64_t *dims,
                      const void *data)
{
    uint64_t rows = 1;
    wc_part *p = add(m, name, dtype, n_dims, dims, 1);
    for (uint32_t d = 0; d + 1 < n_dims; d++)
        rows *= dims[d];
    *p = (wc_part){.kind = WC_PART_FLOAT, .floats = {rows, n_dims ? dims[n_dims - 1] : 1, dtype, data}};
}

static void must(wc_ctx *ctx, wc_status s)
{
    if (s != WC_OK) fail_msg("%s: %s", wc_status_name(s), ctx->error);
}

/* Puts the parts first to last or last to first. */
static void write_model(const model *m, const wc_wcz_meta *metas, size_t n_metas, const char *path, bool backwards)
{
    wc_ctx ctx;
    wc_wcz *z;
    char partial[300];
    wc_ctx_init(&ctx, 1);
    snprintf(partial, sizeof partial, "%s.partial", path);
    must(&ctx, wc_wcz_layout(&ctx, m->tensors, m->n, metas, n_metas, &z));
    must(&ctx, wc_wcz_create(&ctx, z, partial));
    for (size_t k = 0; k < m->n; k++) {
        size_t i = backwards ? m->n - 1 - k : k;
        for (size_t p = 0; p < m->tensors[i].n_parts + m->tensors[i].n_transforms; p++)
            must(&ctx, wc_wcz_put(&ctx, z, i, p, &m->tensors[i].parts[p], NULL));
        wc_wcz_describe(z, i, m->error[i], m->flags[i]);
    }
    uint64_t size = wc_wcz_size(z), found;
    must(&ctx, wc_wcz_finish(&ctx, z, path));
    wc_wcz_free(&z);
    assert_null(z);
    free(load(path, &found));
    assert_int_equal(size, found);
    assert_false(wc_file_exists(partial));
}

static void same_file(const char *a, const char *b)
{
    uint64_t na, nb;
    uint8_t *pa = load(a, &na), *pb = load(b, &nb);
    assert_int_equal(na, nb);
    for (uint64_t i = 0; i < na; i++)
        if (pa[i] != pb[i]) fail_msg("%s and %s differ at byte %llu", a, b, (unsigned long long)i);
    free(pa), free(pb);
}

/* The numbers of make_golden.py's kinds(), added out of order. */
static model *kinds_model(void)
{
    static uint8_t count[64];
    static const float minus_zero = -0.0f;
    model *m = new_model();
    for (uint8_t i = 0; i < 64; i++)
        count[i] = i;
    uint64_t sum_dims[] = {2, 2, 9};
    wc_part *sum = add(m, "sum", WC_F16, 3, sum_dims, 2);
    sum[0] = grid_plan(4, 9, 4, 9, 0, false);
    sum[0].grid.zero_fixed = 8;
    sum[1] = grid_plan(4, 9, 2, 3, 6, true);
    sum[1].grid.scale_exp = -8;
    sum[0] = grid_fill(sum[0]), sum[1] = grid_fill(sum[1]);
    m->error[0] = 0.5;
    for (unsigned bits = 8; bits >= 1; bits--) {
        char name[16];
        uint64_t dims[] = {3, 60 + 9 * bits};
        snprintf(name, sizeof name, "grid.%u", bits);
        m->error[m->n] = 0;
        wc_part *p = add(m, name, WC_F32, 2, dims, 1);
        *p = grid_plan(3, dims[1], bits, 11 * bits, bits % 2 ? 0 : bits, bits % 4 < 2);
        p->grid.scale_exp = 2 * (int)bits - 9;
        *p = grid_fill(*p);
        m->error[m->n - 1] = bits / 8.0;
        m->flags[m->n - 1] = bits % 2;
    }
    add_float(m, "float.i64", WC_I64, 1, (uint64_t[]){2}, count);
    add_float(m, "float.f32", WC_F32, 0, NULL, &minus_zero);
    add_float(m, "float.f16", WC_F16, 2, (uint64_t[]){2, 3}, count + 40);
    add_float(m, "float.empty", WC_F32, 2, (uint64_t[]){0, 3}, count);
    add_float(m, "float.bf16", WC_BF16, 1, (uint64_t[]){7}, count);
    return m;
}

static void add_one(model *m, const char *name, wc_dtype dtype, wc_part filled, int scale_exp)
{
    size_t rows, cols;
    wc_part_shape(&filled, &rows, &cols);
    m->error[m->n] = 0;
    wc_part *p = add(m, name, dtype, 2, (uint64_t[]){rows, cols}, 1);
    if (filled.kind == WC_PART_LUT) filled.lut.scale_exp = scale_exp;
    if (filled.kind == WC_PART_VQ) filled.vq.scale_exp = scale_exp;
    if (filled.kind == WC_PART_SPARSE) filled.sparse.scale_exp = scale_exp;
    if (filled.kind == WC_PART_SIGNS) filled.signs.scale_exp = scale_exp;
    *p = filled;
    m->error[m->n - 1] = 0.5;
}

/* A grid as a factor. */
static wc_part factor(wc_part p, int scale_exp)
{
    p.grid.scale_exp = scale_exp;
    return p;
}

/* The numbers of make_golden.py's parts(). */
static model *parts_model(void)
{
    model *m = new_model();
    wc_part *sum = add(m, "sum", WC_F16, 3, (uint64_t[]){3, 3, 33}, 4);
    sum[0] = grid_fill(grid_plan(9, 33, 3, 11, 0, true));
    sum[1] =
        lowrank_fill(lowrank_plan(9, 33, 2, float_plan(9, 2, WC_BF16), factor(grid_plan(2, 33, 2, 33, 0, true), -2)));
    sum[2] = sparse_fill(sparse_plan(9, 33, 50, WC_F32), 50);
    sum[3] = lowrank_fill(lowrank_plan(9, 33, 1, float_plan(9, 1, WC_F16), float_plan(1, 33, WC_F16)));
    m->error[0] = 0.25;
    add_one(m, "zero", WC_F32, sparse_fill(sparse_plan(2, 6, 0, WC_F32), 0), 0);
    m->error[1] = 1;
    add_one(m, "sparse.3", WC_F32, sparse_fill(nm_plan(3, 24, 2, 4, WC_F32), 0), 0);
    add_one(m, "sparse.2", WC_F32, sparse_fill(sparse_plan(4, 290, 4, WC_BF16), 4), 0);
    add_one(m, "sparse.0", WC_F32, sparse_fill(sparse_plan(4, 300, 60, WC_F16), 60), -4);
    add_one(m, "lut.2", WC_F32, lut_fill(lut_plan(3, 21, 1, 10, WC_LUT_GROUP, true)), 0);
    add_one(m, "lut.1", WC_F32, lut_fill(lut_plan(3, 21, 2, 8, WC_LUT_ROW, true)), 5);
    add_one(m, "lut.0", WC_F32, lut_fill(lut_plan(3, 21, 3, 21, WC_LUT_TENSOR, false)), -3);
    wc_part q =
        lowrank_plan(9, 33, 3, factor(grid_plan(9, 3, 4, 2, 0, true), 1), lut_plan(3, 33, 2, 8, WC_LUT_ROW, true));
    add_one(m, "lowrank.q", WC_F16, lowrank_fill(q), 0);
    wc_part f = lowrank_plan(9, 33, 1, float_plan(9, 1, WC_F16), float_plan(1, 33, WC_F32));
    add_one(m, "lowrank.f", WC_F16, lowrank_fill(f), 0);
    return m;
}

/* The numbers of make_golden.py's forms(). */
static model *forms_model(void)
{
    model *m = new_model();
    wc_part *sum = add(m, "sum", WC_F16, 2, (uint64_t[]){9, 33}, 2);
    sum[0] =
        lowrank_fill(cur_plan(9, 33, 2, float_plan(9, 2, WC_F16), float_plan(2, 33, WC_F16), float_plan(2, 2, WC_F32)));
    sum[1] = lowrank_fill(pivot_plan(9, 33, 1, float_plan(8, 1, WC_F16), float_plan(1, 33, WC_F16)));
    m->error[0] = 0.5;
    wc_part pivot = pivot_plan(11, 33, 4, lut_plan(7, 4, 2, 4, WC_LUT_ROW, true), float_plan(4, 33, WC_F16));
    add_one(m, "pivot", WC_F16, lowrank_fill(pivot), 0);
    wc_part mpo = mpo_plan(6, 40, 2, 3, 8, float_plan(10, 2, WC_F16), float_plan(2, 24, WC_BF16));
    add_one(m, "mpo", WC_F16, lowrank_fill(mpo), 0);
    wc_part cur = cur_plan(9, 33, 3, float_plan(9, 3, WC_F16), factor(grid_plan(3, 33, 4, 16, 0, true), 1),
                           float_plan(3, 3, WC_F32));
    add_one(m, "cur", WC_F16, lowrank_fill(cur), 0);
    return m;
}

/* The numbers of make_golden.py's vectors(). */
static model *vectors_model(void)
{
    model *m = new_model();
    wc_part *wide = add(m, "wide", WC_F32, 2, (uint64_t[]){2, 19}, 2);
    wide[0] = vq_fill(vq_plan(2, 19, 1, 3, 9, 16, 0, 7));
    wide[1] = vq_fill(vq_signs(vq_blocks(vq_plan(2, 19, 16, 1, 1, 8, -1, 19), 1, 16)));
    wide[1].vq.scale_exp = -9;
    m->error[0] = 0.5;
    add_one(m, "signs", WC_F32, vq_fill(vq_signs(vq_plan(3, 70, 4, 1, 5, 8, 4, 16))), 3);
    wc_part b = vq_blocks(vq_plan(3, 10, 3, 1, 2, 16, 0, 5), 3, 10);
    add_one(m, "factors", WC_F16, lowrank_fill(lowrank_plan(4, 10, 3, float_plan(4, 3, WC_F16), b)), 0);
    add_one(m, "blocks", WC_F32, vq_fill(vq_blocks(vq_plan(5, 21, 2, 1, 4, 16, -1, 21), 2, 8)), 1);
    add_one(m, "additive", WC_F16, vq_fill(vq_plan(3, 40, 8, 2, 3, 8, 0, 40)), -2);
    return m;
}

/* The numbers of make_golden.py's coded_parts(). */
static model *coded_model(void)
{
    model *m = new_model();
    add_one(m, "coded.8", WC_F16, coded_fill(1, 1, 1, 8, 2, true, 2), 0);
    add_one(m, "coded.6", WC_F16, coded_fill(9, 21, 4096, 6, 5, false, 1), 0);
    add_one(m, "coded.3", WC_F16, coded_fill(40, 7, 16, 3, 16, true, 0), 0);
    add_one(m, "coded.2", WC_F16, coded_fill(3, 260, 2, 2, 7, true, 3), 0);
    add_one(m, "coded.0", WC_F16, coded_fill(5, 9, 5, 0, 1, false, 0), 0);
    return m;
}

/* The numbers of make_golden.py's holes(). */
static model *holes_model(void)
{
    model *m = new_model();
    wc_part p = {.kind = WC_PART_SPARSE, .sparse = {.rows = 3, .cols = 48, .dtype = WC_F16}};
    add_one(m, "pattern.block", WC_F32, blocks_fill(p, 0, (wc_positions){.n = 1, .m = 3, .block = 2}), 0);
    p = grid_plan(3, 24, 2, 8, 3, false);
    add_one(m, "pattern", WC_F32, holes_fill(p, 0, (wc_positions){.n = 2, .m = 4}), 0);
    add_one(m, "none", WC_F32, holes_fill(grid_plan(2, 9, 2, 9, 0, true), 0, (wc_positions){0}), 0);
    p = grid_plan(5, 70, 4, 16, 0, false);
    p.grid.zero_fixed = 8, p.grid.scale_exp = -4;
    add_one(m, "mask", WC_F32, holes_fill(p, 3, (wc_positions){0}), 0);
    p = (wc_part){.kind = WC_PART_SPARSE, .sparse = {.rows = 4, .cols = 64, .dtype = WC_F16}};
    add_one(m, "block.sparse", WC_F32, blocks_fill(p, 3, (wc_positions){.block = 4}), -4);
    p = grid_plan(4, 48, 3, 16, 4, true);
    p.grid.scale_exp = 2;
    add_one(m, "block", WC_F32, holes_fill(p, 2, (wc_positions){.block = 8}), 0);
    add_one(m, "lut.none", WC_F32, lut_holes_fill(lut_plan(2, 9, 2, 9, WC_LUT_ROW, false), 0, (wc_positions){0}), 0);
    p = lut_plan(5, 70, 4, 16, WC_LUT_TENSOR, true);
    add_one(m, "lut.mask", WC_F32, lut_holes_fill(p, 3, (wc_positions){0}), -4);
    p = lut_plan(3, 24, 3, 8, WC_LUT_GROUP, true);
    add_one(m, "lut.pattern", WC_F32, lut_holes_fill(p, 0, (wc_positions){.n = 2, .m = 4}), 2);
    p = lut_plan(4, 48, 2, 48, WC_LUT_ROW, false);
    add_one(m, "lut.block", WC_F32, lut_holes_fill(p, 2, (wc_positions){.block = 8}), 0);
    return m;
}

/* The numbers of make_golden.py's grids(). */
static model *grids_model(void)
{
    model *m = new_model();
    wc_part line = tile_plan(grid_plan(33, 40, 3, 16, 3, false), 16, WC_ZERO_LINE, 3);
    add_one(m, "tile.line", WC_F32, grid_fill(factor(line, -5)), 0);
    add_one(m, "tile.int", WC_F32, grid_fill(tile_plan(grid_plan(5, 70, 5, 70, 8, true), 255, WC_ZERO_INT, 0)), 0);
    wc_part fixed = tile_plan(grid_plan(5, 70, 2, 9, 4, false), 2, WC_ZERO_FIXED, 0);
    add_one(m, "tile.fixed", WC_F32, grid_fill(factor(fixed, -7)), 0);
    wc_part two = tile_plan(grid_plan(5, 70, 3, 16, 5, false), 0, WC_ZERO_F16, 0);
    add_one(m, "f16.two", WC_F32, grid_fill(factor(two, 2)), 0);
    wc_part one = tile_plan(grid_plan(5, 70, 4, 16, 0, false), 0, WC_ZERO_F16, 0);
    add_one(m, "f16", WC_F32, grid_fill(factor(one, -3)), 0);
    return m;
}

/* The tensor's last n parts are transforms. */
static void are_transforms(model *m, size_t n)
{
    wc_wcz_tensor *t = &m->tensors[m->n - 1];
    t->n_parts -= n, t->n_transforms = n;
    m->error[m->n - 1] = 0.5;
}

/* The numbers of make_golden.py's transforms(). */
static model *transforms_model(void)
{
    model *m = new_model();
    wc_part *p = add(m, "children", WC_F16, 2, (uint64_t[]){5, 6}, 3);
    p[0] = lowrank_fill(lowrank_plan(5, 6, 2, float_plan(5, 2, WC_F16), grid_plan(2, 6, 4, 6, 0, false)));
    p[0].lowrank.b->grid.zero_fixed = 8;
    p[1] = sparse_fill(sparse_plan(5, 6, 4, WC_F16), 4);
    p[2] = hadamard_make(6, 2);
    are_transforms(m, 1);
    p = add(m, "both", WC_F32, 3, (uint64_t[]){2, 3, 24}, 3);
    p[0] = grid_fill(grid_plan(6, 24, 3, 8, 0, true));
    p[1] = diagonal_make(24, -3), p[2] = hadamard_make(24, 8);
    are_transforms(m, 2);
    p = add(m, "diagonal", WC_BF16, 2, (uint64_t[]){4, 7}, 2);
    p[0] = float_fill(float_plan(4, 7, WC_BF16)), p[1] = diagonal_make(7, 2);
    are_transforms(m, 1);
    p = add(m, "hadamard", WC_F16, 2, (uint64_t[]){3, 512}, 2);
    p[0] = float_fill(float_plan(3, 512, WC_F16)), p[1] = hadamard_make(512, 512);
    are_transforms(m, 1);
    p = add(m, "permute", WC_BF16, 2, (uint64_t[]){3, 21}, 2);
    p[0] = grid_fill(grid_plan(3, 21, 4, 8, 0, true)), p[0].grid.scale_exp = 2, p[1] = permute_make(21, 5);
    are_transforms(m, 1);
    p = add(m, "permute.diagonal", WC_F32, 2, (uint64_t[]){2, 16}, 3);
    p[0] = float_fill(float_plan(2, 16, WC_F16)), p[1] = permute_make(16, 7), p[2] = diagonal_make(16, 1);
    are_transforms(m, 2);
    p = add(m, "plain", WC_F16, 2, (uint64_t[]){2, 8}, 1);
    p[0] = float_fill(float_plan(2, 8, WC_F16));
    are_transforms(m, 0);
    return m;
}

static const wc_wcz_meta kinds_metas[] = {{"note", "", 0}, {"config.json", "{}", 2}};

static void writer_makes_the_golden_bytes(void **state)
{
    char path[256];
    snprintf(path, sizeof path, "%s/kinds.wcz", (char *)*state);
    model *m = kinds_model();
    write_model(m, kinds_metas, 2, path, false);
    same_file(path, "tests/data/golden/kinds.wcz");
    write_model(m, kinds_metas, 2, path, true);
    same_file(path, "tests/data/golden/kinds.wcz");
    drop_model(m);

    m = parts_model();
    write_model(m, NULL, 0, path, false);
    same_file(path, "tests/data/golden/parts.wcz");
    write_model(m, NULL, 0, path, true);
    same_file(path, "tests/data/golden/parts.wcz");
    drop_model(m);

    m = forms_model();
    write_model(m, NULL, 0, path, false);
    same_file(path, "tests/data/golden/forms.wcz");
    write_model(m, NULL, 0, path, true);
    same_file(path, "tests/data/golden/forms.wcz");
    drop_model(m);

    m = vectors_model();
    write_model(m, NULL, 0, path, true);
    same_file(path, "tests/data/golden/vectors.wcz");
    drop_model(m);

    m = coded_model();
    write_model(m, NULL, 0, path, false);
    same_file(path, "tests/data/golden/coded.wcz");
    drop_model(m);

    m = holes_model();
    write_model(m, NULL, 0, path, false);
    same_file(path, "tests/data/golden/holes.wcz");
    drop_model(m);

    m = grids_model();
    write_model(m, NULL, 0, path, false);
    same_file(path, "tests/data/golden/grids.wcz");
    drop_model(m);

    m = transforms_model();
    write_model(m, NULL, 0, path, true);
    same_file(path, "tests/data/golden/transforms.wcz");
    drop_model(m);

    m = new_model();
    wc_part *p = add(m, "w", WC_BF16, 2, (uint64_t[]){2, 5}, 1);
    *p = grid_plan(2, 5, 3, 4, 0, true);
    p->grid.scale_exp = -4;
    *p = grid_fill(*p);
    m->error[0] = 0.25;
    write_model(m, &(wc_wcz_meta){"m", "{}", 2}, 1, path, false);
    same_file(path, "tests/data/golden/tiny.wcz");
    drop_model(m);
}

/* Sum of the parts at (r, c), each value rounded once and every addition once. */
static float model_value(const wc_wcz_tensor *t, size_t r, size_t c)
{
    float sum = part_value(&t->parts[0], r, c);
    for (size_t p = 1; p < t->n_parts; p++)
        sum += part_value(&t->parts[p], r, c);
    return sum;
}

static void file_reads_as_written(const wcd_file *f, const model *m)
{
    wcd_tensor t;
    float dst[1200];
    assert_int_equal(wcd_verify(f, NULL, NULL), WCD_OK);
    assert_int_equal(wcd_count(f), m->n);
    for (size_t i = 0; i < m->n; i++) {
        assert_int_equal(wcd_find(f, m->names[i], &t), WCD_OK);
        assert_int_equal(t.n_dims, m->tensors[i].n_dims);
        assert_memory_equal(t.dims, m->tensors[i].dims, sizeof t.dims);
        assert_int_equal(t.source_dtype, m->tensors[i].source_dtype);
        assert_int_equal(t.flags, m->flags[i]);
        assert_true(isnan(m->error[i]) ? isnan(t.error) : t.error == m->error[i]);
        if (m->tensors[i].parts[0].kind == WC_PART_FLOAT) continue;
        assert_int_equal(wcd_rows(&t, 0, t.rows, dst, t.cols), WCD_OK);
        for (size_t k = 0; k < t.rows * t.cols; k++)
            assert_int_equal(wc_f32_bits(dst[k]), wc_f32_bits(model_value(&m->tensors[i], k / t.cols, k % t.cols)));
        float x[300], y[40];
        for (int k = 0; k < 300; k++)
            x[k] = (float)(k % 7) - 3;
        assert_int_equal(wcd_matvec(&t, x, y), WCD_OK);
        for (size_t r = 0; r < t.rows; r++) {
            double want = 0, scale = 0;
            for (size_t c = 0; c < t.cols; c++)
                want += (double)dst[r * t.cols + c] * x[c], scale += fabs((double)dst[r * t.cols + c] * x[c]);
            /* usually 1e-7 of scale; one wrong element gives 1e-3 */
            assert_true(fabs(y[r] - want) <= 1e-5 * scale);
        }
    }
}

static void factors_are_found(const wcd_file *f)
{
    wcd_tensor t;
    wcd_part_info p, a, b, none;
    assert_int_equal(wcd_find(f, "sum", &t), WCD_OK);
    assert_int_equal(t.n_parts, 4);
    assert_int_equal(wcd_part(&t, 1, &p), WCD_OK);
    assert_string_equal(p.kind_name, "lowrank");
    assert_int_equal(p.n_children, 2);
    assert_int_equal(wcd_part_child(&t, &p, 0, &a), WCD_OK);
    assert_int_equal(wcd_part_child(&t, &p, 1, &b), WCD_OK);
    assert_int_equal(a.kind, 1);
    assert_true(a.rows == 9 && a.cols == 2 && a.blob_size == 36 && a.index == t.first_part + 4);
    assert_int_equal(b.kind, 2);
    assert_true(b.rows == 2 && b.cols == 33 && b.n_children == 0);
    assert_int_equal(wcd_part_child(&t, &p, 2, &none), WCD_E_ARGUMENT);
    assert_int_equal(wcd_part_child(&t, &a, 0, &none), WCD_E_ARGUMENT);
    assert_int_equal(wcd_part(&t, 4, &none), WCD_E_ARGUMENT);
    assert_int_equal(wcd_part(&t, 3, &p), WCD_OK);
    assert_int_equal(wcd_part_child(&t, &p, 0, &a), WCD_OK);
    assert_true(a.cols == 1 && a.index == t.first_part + 6);
}

static void golden_files_read_as_written(void **state)
{
    uint64_t size;
    uint8_t *image = load("tests/data/golden/parts.wcz", &size);
    wcd_file f;
    (void)state;
    assert_int_equal(wcd_open(&f, image, size), WCD_OK);
    model *m = parts_model();
    file_reads_as_written(&f, m);
    factors_are_found(&f);
    drop_model(m);
    free(image);

    image = load("tests/data/golden/forms.wcz", &size);
    assert_int_equal(wcd_open(&f, image, size), WCD_OK);
    m = forms_model();
    file_reads_as_written(&f, m);
    drop_model(m);
    free(image);

    image = load("tests/data/golden/coded.wcz", &size);
    assert_int_equal(wcd_open(&f, image, size), WCD_OK);
    m = coded_model();
    file_reads_as_written(&f, m);
    drop_model(m);
    free(image);

    image = load("tests/data/golden/kinds.wcz", &size);
    wcd_tensor t;
    float dst[2];
    assert_int_equal(wcd_open(&f, image, size), WCD_OK);
    m = kinds_model();
    file_reads_as_written(&f, m);
    drop_model(m);
    assert_int_equal(wcd_find(&f, "grid", &t), WCD_E_NOT_FOUND);
    assert_int_equal(wcd_find(&f, "grid.11", &t), WCD_E_NOT_FOUND);
    assert_int_equal(wcd_find(&f, "zzz", &t), WCD_E_NOT_FOUND);
    assert_int_equal(wcd_at(&f, f.n_tensors, &t), WCD_E_ARGUMENT);
    assert_int_equal(wcd_find(&f, "float.i64", &t), WCD_OK);
    assert_int_equal(wcd_rows(&t, 0, 1, dst, 2), WCD_E_NOT_NUMERIC);
    assert_int_equal(wcd_matvec(&t, dst, dst), WCD_E_NOT_NUMERIC);
    assert_int_equal(wcd_rows(&t, 0, 1, dst, 1), WCD_E_ARGUMENT);
    assert_int_equal(wcd_rows(&t, 1, 1, dst, 2), WCD_E_ARGUMENT);
    assert_int_equal(wcd_find(&f, "float.f32", &t), WCD_OK);
    assert_int_equal(wcd_rows(&t, 0, 1, dst, 1), WCD_OK);
    assert_true(dst[0] == 0 && signbit(dst[0]));
    free(image);
}

/* All bits, both zeros, one and two levels, shapes that end inside a block or a group. */
static model *wide_model(void)
{
    static const struct {
        size_t rows, cols, group;
    } shapes[] = {{1, 1, 1}, {3, 63, 16}, {2, 130, 128}, {4, 300, 7}, {2, 513, 64}};
    model *m = new_model();
    for (unsigned bits = 1; bits <= 8; bits++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (unsigned scale_bits = 0; scale_bits <= 8; scale_bits += 4)
                for (int zero_int = 0; zero_int < 2; zero_int++) {
                    char name[32];
                    snprintf(name, sizeof name, "b%u.%zu.%u.%d", bits, s, scale_bits, zero_int);
                    wc_part *p = add(m, name, WC_F16, 2, (uint64_t[]){shapes[s].rows, shapes[s].cols}, 1);
                    *p = grid_plan(shapes[s].rows, shapes[s].cols, bits, shapes[s].group, scale_bits, zero_int);
                    p->grid.scale_exp = (int)bits - 3 * (int)s;
                    *p = grid_fill(*p);
                }
    return m;
}

/* Tiles and zeros that are real numbers, in shapes that end inside a tile, a block or a group. */
static model *wide_tiles_model(void)
{
    static const struct {
        size_t rows, cols, group;
    } shapes[] = {{1, 1, 1}, {35, 63, 16}, {16, 130, 128}, {17, 300, 7}};
    model *m = new_model();
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t tile = 0; tile <= 16; tile += 8)
            for (wc_zero_kind kind = WC_ZERO_FIXED; kind <= (tile ? WC_ZERO_LINE : WC_ZERO_F16); kind++) {
                char name[32];
                unsigned bits = 1 + (unsigned)(s + tile / 4 + kind) % 8, scale_bits = tile ? 1 + bits : 0;
                snprintf(name, sizeof name, "t%zu.%zu.%d", s, tile, (int)kind);
                wc_part p = grid_plan(shapes[s].rows, shapes[s].cols, bits, shapes[s].group, scale_bits % 9, false);
                p = tile_plan(p, p.grid.scale_bits ? tile : 0, kind, kind == WC_ZERO_LINE ? 9 - bits % 7 - 1 : 0);
                if (!p.grid.tile && kind == WC_ZERO_LINE) continue;
                add_one(m, name, WC_F16, grid_fill(factor(p, (int)bits - 3 * (int)s)), 0);
            }
    return m;
}

/* The other kinds in shapes that end inside a span, a block or a group; the sums of kinds are those of parts_model. */
static model *wide_parts_model(void)
{
    static const struct {
        size_t rows, cols, group;
    } shapes[] = {{1, 1, 1}, {3, 63, 16}, {2, 264, 128}, {4, 300, 7}};
    model *m = new_model();
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        size_t rows = shapes[s].rows, cols = shapes[s].cols, group = shapes[s].group;
        char name[32];
        for (unsigned bits = 1; bits <= 8; bits++)
            for (wc_lut_scope scope = WC_LUT_TENSOR; scope <= WC_LUT_GROUP; scope++) {
                snprintf(name, sizeof name, "lut%u.%zu.%d", bits, s, (int)scope);
                add_one(m, name, WC_F16, lut_fill(lut_plan(rows, cols, bits, group, scope, bits % 2)), 4 - (int)bits);
            }
        for (unsigned bits = 1; bits <= 12; bits++) {
            snprintf(name, sizeof name, "vq%u.%zu", bits, s);
            wc_part p =
                vq_plan(rows, cols, 1 + bits * 5 % 16, 1 + bits % 3, bits, bits % 2 ? 8 : 16, (int)bits % 5 - 1, group);
            p.vq.scale_bits += p.vq.scale_bits == 1;
            p.vq.signs = bits % 4 == 0;
            add_one(m, name, WC_F16, vq_fill(p), -(int)bits);
        }
        for (size_t step = 1; step < 1000; step *= 3) {
            snprintf(name, sizeof name, "sparse%zu.%zu", step, s);
            add_one(m, name, WC_F16, sparse_fill(sparse_plan(rows, cols, step, WC_F16), step), -(int)step % 50);
        }
        for (size_t n = 1; n <= 16; n += 5) {
            size_t most = wc_min(n, wc_min(rows, cols)), subset = cols > 1 ? cols / 3 : 0;
            snprintf(name, sizeof name, "stack%zu.%zu", n, s);
            add_one(m, name, WC_F16, signs_fill(signs_plan(rows, cols, WC_SIGNS_PRODUCT, 3, most, 0, "")), -3);
            snprintf(name, sizeof name, "experts%zu.%zu", n, s);
            add_one(m, name, WC_F16, signs_fill(signs_plan(rows, cols, WC_SIGNS_EXPERTS, 1, n, 0, "")), 5);
            snprintf(name, sizeof name, "scales%zu.%zu", n, s);
            wc_part p = signs_plan(rows, cols, WC_SIGNS_SCALES, 4, group, subset, subset ? "6140" : "4040");
            add_one(m, name, WC_F16, signs_fill(p), (int)n);
        }
        for (size_t rank = 1; rank <= 257; rank += 64) {
            snprintf(name, sizeof name, "lowrank%zu.%zu", rank, s);
            wc_part a = float_plan(rows, rank, WC_F16), b = grid_plan(rank, cols, 4, group, 4, true);
            add_one(m, name, WC_F16, lowrank_fill(lowrank_plan(rows, cols, rank, a, b)), 0);
        }
    }
    add_one(m, "wide", WC_F16, sparse_fill(sparse_plan(2, 70000, 10000, WC_F32), 10000), 0);
    for (unsigned k = 2; k <= 16; k++) {
        char name[32];
        snprintf(name, sizeof name, "1:%u", k);
        add_one(m, name, WC_F16, sparse_fill(nm_plan(2, 20 * k, 1, k, WC_F16), 0), 7);
    }
    add_one(m, "4:8", WC_F16, sparse_fill(nm_plan(2, 520, 4, 8, WC_BF16), 0), 0);
    return m;
}

/* The data of DIR/i.npy, without its header. */
static uint8_t *load_npy(const char *dir, uint32_t i, uint64_t *size, uint8_t **data)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%u.npy", dir, i);
    uint8_t *p = load(path, size);
    uint64_t header = 10 + p[8] + 256u * p[9];
    *data = p + header;
    *size -= header;
    return p;
}

static int run_reader(const char *path, const char *arguments)
{
    char command[700];
    snprintf(command, sizeof command, "/usr/bin/python3 scripts/wcz_reader.py %s %s 2>/dev/null", path, arguments);
    return system(command);
}

static void compare_with_second_reader(const char *path, const char *dir)
{
    char arguments[300];
    uint64_t size, n;
    uint8_t *image = load(path, &size), *data;
    wcd_file f;
    assert_int_equal(wcd_open(&f, image, size), WCD_OK);
    snprintf(arguments, sizeof arguments, "--dump-all %s", dir);
    assert_int_equal(run_reader(path, arguments), 0);
    assert_int_equal(run_reader(path, "--check"), 0);
    for (uint32_t i = 0; i < wcd_count(&f); i++) {
        wcd_tensor t;
        wcd_part_info info;
        assert_int_equal(wcd_at(&f, i, &t), WCD_OK);
        assert_int_equal(wcd_part(&t, 0, &info), WCD_OK);
        uint8_t *npy = load_npy(dir, i, &n, &data);
        float *dst = calloc(t.rows * t.cols + 1, sizeof *dst);
        assert_non_null(dst);
        if (wcd_rows(&t, 0, t.rows, dst, t.cols) == WCD_OK) {
            assert_int_equal(n, t.rows * t.cols * 4);
            assert_memory_equal(data, dst, n);
        } else {
            assert_int_equal(n, info.blob_size);
            assert_memory_equal(data, info.blob, n);
        }
        free(dst), free(npy);
    }
    free(image);
}

static void second_reader_agrees_bit_for_bit(void **state)
{
    char path[256], text[5000];
    memset(text, 'x', sizeof text);
    snprintf(path, sizeof path, "%s/wide.wcz", (char *)*state);
    model *m = wide_model();
    write_model(m, &(wc_wcz_meta){"long", text, sizeof text}, 1, path, false);
    drop_model(m);
    compare_with_second_reader(path, *state);
    compare_with_second_reader("tests/data/golden/kinds.wcz", *state);
    compare_with_second_reader("tests/data/golden/parts.wcz", *state);
    compare_with_second_reader("tests/data/golden/signs.wcz", *state);
    compare_with_second_reader("tests/data/golden/forms.wcz", *state);
    compare_with_second_reader("tests/data/golden/vectors.wcz", *state);
    compare_with_second_reader("tests/data/golden/coded.wcz", *state);
    compare_with_second_reader("tests/data/golden/holes.wcz", *state);
    compare_with_second_reader("tests/data/golden/grids.wcz", *state);
    m = wide_tiles_model();
    write_model(m, NULL, 0, path, false);
    drop_model(m);
    compare_with_second_reader(path, *state);
    compare_with_second_reader("tests/data/golden/transforms.wcz", *state);
    compare_with_second_reader("tests/data/golden/ggml.wcz", *state);
    m = wide_parts_model();
    write_model(m, NULL, 0, path, false);
    drop_model(m);
    compare_with_second_reader(path, *state);

    uint64_t size;
    uint8_t *image = load(path, &size);
    FILE *f = fopen(path, "r+b");
    fseek(f, (long)size - 100, SEEK_SET);
    fputc(image[size - 100] ^ 4, f);
    fclose(f);
    free(image);
    assert_int_not_equal(run_reader(path, "--check"), 0);
}

/* Three parts, the process "killed" after two, one of them damaged on disk. */
static void resumed_run_gives_the_same_bytes(void **state)
{
    char partial[256], path[256], whole[256];
    wc_ctx ctx;
    wc_wcz *z;
    wc_wcz_blob kept[3];
    model *m = kinds_model();
    snprintf(partial, sizeof partial, "%s/r.partial", (char *)*state);
    snprintf(path, sizeof path, "%s/r.wcz", (char *)*state);
    snprintf(whole, sizeof whole, "tests/data/golden/kinds.wcz");
    wc_ctx_init(&ctx, 1);
    must(&ctx, wc_wcz_layout(&ctx, m->tensors, m->n, kinds_metas, 2, &z));
    must(&ctx, wc_wcz_create(&ctx, z, partial));
    for (size_t i = 0; i < 3; i++)
        must(&ctx, wc_wcz_put(&ctx, z, i, 0, &m->tensors[i].parts[0], &kept[i]));
    wc_wcz_free(&z);

    must(&ctx, wc_wcz_layout(&ctx, m->tensors, m->n, kinds_metas, 2, &z));
    must(&ctx, wc_wcz_create(&ctx, z, partial));
    wc_wcz_blob again;
    must(&ctx, wc_wcz_get(&ctx, z, 1, 0, &kept[1], &again));
    assert_int_equal(again.size, kept[1].size);
    assert_int_equal(again.kind, 2);
    assert_memory_equal(again.data, kept[1].data, again.size);
    wc_wcz_blob_free(&again);
    kept[2].xxh3 ^= 1;
    assert_int_equal(wc_wcz_get(&ctx, z, 2, 0, &kept[2], NULL), WC_VERIFY);
    assert_non_null(strstr(ctx.error, "grid.7"));
    wc_clear_error(&ctx);
    assert_int_equal(wc_wcz_finish(&ctx, z, path), WC_BUG);
    wc_clear_error(&ctx);
    for (size_t i = 0; i < m->n; i++) {
        for (size_t p = 0; p < m->tensors[i].n_parts; p++)
            if (i != 1) must(&ctx, wc_wcz_put(&ctx, z, i, p, &m->tensors[i].parts[p], NULL));
        wc_wcz_describe(z, i, m->error[i], m->flags[i]);
    }
    must(&ctx, wc_wcz_finish(&ctx, z, path));
    wc_wcz_free(&z);
    same_file(path, whole);
    for (size_t i = 0; i < 3; i++)
        wc_wcz_blob_free(&kept[i]);
    drop_model(m);
}

/* A tensor of two pieces and a bit, copied out of a mapped file, against the same bytes put from memory. */
static void copying_from_a_file_is_putting(void **state)
{
    const char *dir = *state;
    char source[256], put[256], copied[256];
    enum { N = (16 << 20) + 37, SHIFT = 5 }; /* bytes; at an odd offset of the source */
    uint8_t *bytes = malloc(N + SHIFT);
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    for (size_t i = 0; i < N + SHIFT; i++)
        bytes[i] = formula_code(i, 8);
    snprintf(source, sizeof source, "%s/source", dir);
    snprintf(put, sizeof put, "%s/put.wcz", dir);
    snprintf(copied, sizeof copied, "%s/copied.wcz", dir);
    must(&ctx, wc_write_file_atomic(&ctx, source, bytes, N + SHIFT));
    wc_map map;
    must(&ctx, wc_map_open(&ctx, source, &map));
    wc_part part = {.kind = WC_PART_FLOAT, .floats = {.rows = 1, .cols = N, .dtype = WC_U8, .data = bytes + SHIFT}};
    wc_wcz_tensor t = {"t", WC_U8, 1, {N}, 1, &part, 0};
    for (int copy = 0; copy < 2; copy++) {
        wc_wcz *z;
        wc_wcz_blob blob = {0};
        must(&ctx, wc_wcz_layout(&ctx, &t, 1, NULL, 0, &z));
        must(&ctx, wc_wcz_create(&ctx, z, copy ? copied : put));
        if (copy)
            must(&ctx, wc_wcz_copy(&ctx, z, 0, 0, &map, SHIFT, &blob));
        else
            must(&ctx, wc_wcz_put(&ctx, z, 0, 0, &part, &blob));
        assert_true(copy == !blob.data);
        must(&ctx, wc_wcz_get(&ctx, z, 0, 0, &blob, NULL)); /* in pieces */
        wc_wcz_blob other = blob;
        other.xxh3 ^= 1;
        assert_int_equal(wc_wcz_get(&ctx, z, 0, 0, &other, NULL), WC_VERIFY);
        assert_int_equal(wc_wcz_copy(&ctx, z, 0, 0, &map, SHIFT + 1, NULL), WC_BUG); /* past the end of the source */
        wc_wcz_blob_free(&blob);
        must(&ctx, wc_wcz_finish(&ctx, z, copy ? copied : put));
        wc_wcz_free(&z);
    }
    same_file(put, copied);
    wc_map_close(&map);
    free(bytes);
}

enum { WEIGHT_ROWS = 31, WEIGHT_COLS = 70001 }; /* more than one piece of 8 MiB, and rows that do not divide it */

static float weight_at(size_t i)
{
    return (float)((int)(i * 40503 % 65521) - 32760) / 977.0f;
}

static wc_status read_formula(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    (void)ctx;
    for (size_t i = 0; i < nr * w->cols; i++)
        dst[i] = weight_at(r0 * w->cols + i) * (w->index ? 4000.0f : 1);
    return WC_OK;
}

/* Every type: the bytes of a part with the rounded values. */
static void copying_a_weight_rounds_its_values(void **state)
{
    static const wc_dtype dtypes[] = {WC_F32, WC_F16, WC_BF16};
    wc_weight w = {.rows = WEIGHT_ROWS, .cols = WEIGHT_COLS, .name = "w", .read = read_formula};
    char path[256];
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    snprintf(path, sizeof path, "%s/weight.wcz", (char *)*state);
    for (int d = 0; d < 3; d++) {
        wc_wcz *z;
        wc_wcz_blob blob;
        wc_part plan = float_plan(WEIGHT_ROWS, WEIGHT_COLS, dtypes[d]);
        wc_wcz_tensor t = {"w", WC_F32, 2, {WEIGHT_ROWS, WEIGHT_COLS}, 1, &plan, 0};
        must(&ctx, wc_wcz_layout(&ctx, &t, 1, NULL, 0, &z));
        must(&ctx, wc_wcz_create(&ctx, z, path));
        w.index = 1; /* up to 134000: too large for F16 alone */
        wc_status s = wc_wcz_copy_weight(&ctx, z, 0, 0, &w, &blob);
        assert_int_equal(s, dtypes[d] == WC_F16 ? WC_NUMERIC : WC_OK);
        wc_clear_error(&ctx);
        w.index = 0;
        must(&ctx, wc_wcz_copy_weight(&ctx, z, 0, 0, &w, &blob));
        assert_null(blob.data);
        must(&ctx, wc_wcz_get(&ctx, z, 0, 0, &blob, NULL));
        w.rows--;
        assert_int_equal(wc_wcz_copy_weight(&ctx, z, 0, 0, &w, NULL), WC_BUG);
        wc_clear_error(&ctx);
        w.rows++;
        must(&ctx, wc_wcz_finish(&ctx, z, path));
        wc_wcz_free(&z);
        uint64_t size;
        uint8_t *image = load(path, &size);
        wcd_file f;
        wcd_tensor found;
        wcd_part_info part;
        assert_int_equal(wcd_open(&f, image, size), WCD_OK);
        assert_int_equal(wcd_verify(&f, NULL, NULL), WCD_OK);
        assert_int_equal(wcd_find(&f, "w", &found), WCD_OK);
        assert_int_equal(wcd_part(&found, 0, &part), WCD_OK);
        for (size_t i = 0; i < (size_t)WEIGHT_ROWS * WEIGHT_COLS; i += 13) {
            float v = weight_at(i), got;
            uint16_t half = dtypes[d] == WC_F16 ? wc_f32_f16(v) : wc_f32_bf16(v);
            if (d == 0)
                memcpy(&got, part.blob + 4 * i, 4), assert_true(got == v);
            else
                assert_int_equal(part.blob[2 * i] | part.blob[2 * i + 1] << 8, half);
        }
        free(image);
    }
}

/* A low-rank part is taken over with both factors; a factor that is damaged on disk, and one put for another plan, are
 * not. */
static void factors_are_resumed_and_checked(void **state)
{
    char partial[256], path[256];
    wc_ctx ctx;
    wc_wcz *z;
    wc_wcz_blob kept, again;
    model *m = parts_model();
    const wc_part *sum = m->tensors[0].parts;
    snprintf(partial, sizeof partial, "%s/f.partial", (char *)*state);
    snprintf(path, sizeof path, "%s/f.wcz", (char *)*state);
    wc_ctx_init(&ctx, 1);
    must(&ctx, wc_wcz_layout(&ctx, m->tensors, m->n, NULL, 0, &z));
    must(&ctx, wc_wcz_create(&ctx, z, partial));
    must(&ctx, wc_wcz_put(&ctx, z, 0, 1, &sum[1], &kept));
    assert_int_equal(kept.n_children, 2);
    assert_int_equal(kept.child[1].kind, 2);
    wc_wcz_free(&z);

    must(&ctx, wc_wcz_layout(&ctx, m->tensors, m->n, NULL, 0, &z));
    must(&ctx, wc_wcz_create(&ctx, z, partial));
    must(&ctx, wc_wcz_get(&ctx, z, 0, 1, &kept, &again));
    assert_int_equal(again.n_children, 2);
    for (int k = 0; k < 2; k++)
        assert_memory_equal(again.child[k].data, kept.child[k].data, kept.child[k].size);
    wc_wcz_blob_free(&again);
    kept.child[1].xxh3 ^= 1;
    assert_int_equal(wc_wcz_get(&ctx, z, 0, 1, &kept, NULL), WC_VERIFY);
    wc_clear_error(&ctx);
    kept.child[1].xxh3 ^= 1;
    must(&ctx, wc_wcz_get(&ctx, z, 0, 1, &kept, NULL));
    assert_int_equal(wc_wcz_get(&ctx, z, 0, 0, &kept, NULL), WC_BUG); /* a grid has no factors */
    wc_clear_error(&ctx);
    assert_int_equal(wc_wcz_put(&ctx, z, 0, 1, &sum[3], NULL), WC_BUG); /* rank 1, not 2 */
    wc_clear_error(&ctx);
    sum[1].lowrank.a->floats.dtype = WC_F16;
    assert_int_equal(wc_wcz_put(&ctx, z, 0, 1, &sum[1], NULL), WC_BUG);
    sum[1].lowrank.a->floats.dtype = WC_BF16;
    wc_clear_error(&ctx);
    for (size_t i = 0; i < m->n; i++) {
        for (size_t p = 0; p < m->tensors[i].n_parts; p++)
            if (i || p != 1) must(&ctx, wc_wcz_put(&ctx, z, i, p, &m->tensors[i].parts[p], NULL));
        wc_wcz_describe(z, i, m->error[i], m->flags[i]);
    }
    must(&ctx, wc_wcz_finish(&ctx, z, path));
    wc_wcz_free(&z);
    same_file(path, "tests/data/golden/parts.wcz");
    wc_wcz_blob_free(&kept);
    drop_model(m);
}

/* An older, longer file full of other bytes in the way: every byte of the result is still written. */
static void leftovers_do_not_shine_through(void **state)
{
    char path[256], partial[300];
    snprintf(path, sizeof path, "%s/l.wcz", (char *)*state);
    snprintf(partial, sizeof partial, "%s.partial", path);
    FILE *f = fopen(partial, "wb");
    for (int i = 0; i < 20000; i++)
        fputc(0xee, f);
    fclose(f);
    model *m = kinds_model();
    write_model(m, kinds_metas, 2, path, false);
    same_file(path, "tests/data/golden/kinds.wcz");
    drop_model(m);
}

static void refused(wc_status want, const char *why, const model *m, const wc_wcz_meta *metas, size_t n_metas)
{
    wc_ctx ctx;
    wc_wcz *z;
    wc_ctx_init(&ctx, 1);
    assert_int_equal(wc_wcz_layout(&ctx, m->tensors, m->n, metas, n_metas, &z), want);
    assert_null(z);
    if (!strstr(ctx.error, why)) fail_msg("`%s' does not say `%s'", ctx.error, why);
}

static void impossible_plans_are_refused(void **state)
{
    (void)state;
    const uint64_t two[] = {2, 2}, huge[] = {1u << 31, 1u << 31, 1u << 31};
    float values[4] = {0};
    model *m = new_model();
    add_float(m, "a", WC_F32, 2, two, values);
    refused(WC_BADFILE, "two metadata entries are named `x'", m, (wc_wcz_meta[]){{"x", "", 0}, {"x", "1", 1}}, 2);
    refused(WC_BADFILE, "empty name", m, &(wc_wcz_meta){"", "", 0}, 1);
    add_float(m, "a", WC_F32, 2, two, values);
    refused(WC_BADFILE, "two tensors are named `a'", m, NULL, 0);
    m->tensors[1].name = "";
    refused(WC_BADFILE, "empty name", m, NULL, 0);
    m->tensors[1].name = "b";
    m->tensors[1].n_dims = 3;
    memcpy(m->tensors[1].dims, huge, sizeof huge);
    refused(WC_UNSUPPORTED, "2^56", m, NULL, 0);
    m->tensors[1].n_dims = 9;
    refused(WC_UNSUPPORTED, "9 dimensions", m, NULL, 0);
    m->tensors[1].n_dims = 1;
    m->tensors[1].dims[0] = 5;
    refused(WC_BUG, "1 x 5, its part 2 x 2", m, NULL, 0);
    m->tensors[1].n_parts = 0;
    refused(WC_BUG, "no part", m, NULL, 0);
    m->tensors[1].n_parts = 2; /* b = [2, 2] f32 + i32 */
    m->tensors[1].n_dims = 2;
    m->tensors[1].dims[0] = m->tensors[1].dims[1] = 2;
    m->parts[2] = (wc_part){.kind = WC_PART_FLOAT, .floats = {2, 2, WC_I32, NULL}};
    refused(WC_BUG, "sum with a part of I32", m, NULL, 0);
    drop_model(m);
}

static void other_geometry_than_planned_is_a_bug(void **state)
{
    char path[256];
    wc_ctx ctx;
    wc_wcz *z;
    snprintf(path, sizeof path, "%s/g.partial", (char *)*state);
    wc_ctx_init(&ctx, 1);
    wc_part plan = grid_plan(4, 64, 4, 16, 0, true), other[3];
    wc_wcz_tensor t = {"w", WC_F16, 2, {4, 64}, 1, &plan, 0};
    must(&ctx, wc_wcz_layout(&ctx, &t, 1, NULL, 0, &z));
    must(&ctx, wc_wcz_create(&ctx, z, path));
    other[0] = grid_fill(grid_plan(4, 64, 4, 32, 0, true));
    other[1] = grid_fill(grid_plan(4, 64, 4, 16, 4, true));
    other[2] = grid_fill(grid_plan(4, 64, 3, 16, 0, true));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(wc_wcz_put(&ctx, z, 0, 0, &other[i], NULL), WC_BUG);
        wc_part_free(&other[i]);
    }
    wc_part good = grid_fill(plan);
    assert_int_equal(wc_wcz_put(&ctx, z, 0, 1, &good, NULL), WC_BUG);
    assert_int_equal(wc_wcz_put(&ctx, z, 1, 0, &good, NULL), WC_BUG);
    good.grid.scale_exp = -7;
    assert_int_equal(wc_wcz_put(&ctx, z, 0, 0, &good, NULL), WC_OK);
    wc_part_free(&good);
    wc_wcz_free(&z);
}

static void full_disk_is_known_at_once(void **state)
{
    char path[256];
    wc_ctx ctx;
    wc_wcz *z;
    snprintf(path, sizeof path, "%s/full.partial", (char *)*state);
    wc_ctx_init(&ctx, 1);
    wc_part plan = {.kind = WC_PART_FLOAT, .floats = {(size_t)1 << 30, (size_t)1 << 20, WC_F32, NULL}};
    wc_wcz_tensor t = {"w", WC_F32, 2, {(uint64_t)1 << 30, 1 << 20}, 1, &plan, 0};
    must(&ctx, wc_wcz_layout(&ctx, &t, 1, NULL, 0, &z));
    assert_int_equal(wc_wcz_create(&ctx, z, path), WC_IO);
    assert_non_null(strstr(ctx.error, path));
    assert_non_null(strstr(ctx.error, "4503599627370816 bytes needed"));
    assert_false(wc_file_exists(path));
    wc_wcz_free(&z);
}

static void reader_gives_weights_and_metadata(void **state)
{
    char path[256], text[5000];
    wc_ctx ctx;
    wc_wcz_reader r;
    wc_weight w;
    wc_buf b;
    float dst[600];
    wc_ctx_init(&ctx, 1);
    snprintf(path, sizeof path, "%s/s.wcz", (char *)*state);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i % 11);
    model *m = kinds_model();
    write_model(m, (wc_wcz_meta[]){{"long", text, sizeof text}, {"short", "ab", 2}, {"none", "", 0}}, 3, path, false);
    must(&ctx, wc_wcz_open(&ctx, path, &r));
    wc_weight_source s = wc_wcz_source(&r);
    for (size_t i = 0; i < m->n; i++) {
        must(&ctx, s.find(&ctx, s.self, m->names[i], &w));
        assert_string_equal(w.name, m->names[i]);
        if (m->tensors[i].parts[0].kind != WC_PART_GRID) continue;
        must(&ctx, w.read(&ctx, &w, 1, w.rows - 1, dst));
        for (size_t k = 0; k < (w.rows - 1) * w.cols; k++)
            assert_true(dst[k] == model_value(&m->tensors[i], 1 + k / w.cols, k % w.cols));
        s.release(s.self);
    }
    must(&ctx, s.find(&ctx, s.self, "nothing", &w));
    assert_int_equal(w.rows, 0);
    must(&ctx, s.find(&ctx, s.self, "float.bf16", &w));
    assert_int_equal(w.rows, 1);
    assert_int_equal(w.cols, 7);
    must(&ctx, s.find(&ctx, s.self, "float.i64", &w));
    assert_int_equal(w.read(&ctx, &w, 0, 1, dst), WC_UNSUPPORTED);
    wc_clear_error(&ctx);
    must(&ctx, wc_wcz_meta_read(&ctx, &r, "long", &b));
    assert_int_equal(b.size, sizeof text);
    assert_memory_equal(b.data, text, sizeof text);
    assert_int_equal(b.data[b.size], 0);
    wc_buf_free(&b);
    must(&ctx, wc_wcz_meta_read(&ctx, &r, "short", &b));
    assert_string_equal((char *)b.data, "ab");
    wc_buf_free(&b);
    must(&ctx, wc_wcz_meta_read(&ctx, &r, "none", &b));
    assert_int_equal(b.size, 0);
    wc_buf_free(&b);
    assert_int_equal(wc_wcz_meta_read(&ctx, &r, "absent", &b), WC_BADFILE);
    wc_wcz_close(&r);
    wc_wcz_close(NULL);
    drop_model(m);
}

static void reader_says_what_is_wrong(void **state)
{
    static const struct {
        uint64_t at;
        uint8_t value;
        wc_status status;
        const char *why;
    } cases[] = {
        {0, 'x', WC_BADFILE, "not a .wcz file"},
        {8, 2, WC_UNSUPPORTED, "major version"},
        {16, 1, WC_BADFILE, "header's checksum"},
        {100, 9, WC_BADFILE, "index's checksum"},
    };
    char path[256];
    wc_ctx ctx;
    wc_wcz_reader r;
    uint64_t size;
    snprintf(path, sizeof path, "%s/bad.wcz", (char *)*state);
    for (size_t i = 0; i <= sizeof cases / sizeof *cases; i++) {
        uint8_t *image = load("tests/data/golden/tiny.wcz", &size);
        bool short_file = i == sizeof cases / sizeof *cases;
        if (!short_file) image[cases[i].at] = cases[i].value;
        wc_ctx_init(&ctx, 1);
        must(&ctx, wc_write_file_atomic(&ctx, path, image, short_file ? size - 64 : size));
        assert_int_equal(wc_wcz_open(&ctx, path, &r), short_file ? WC_BADFILE : cases[i].status);
        assert_non_null(strstr(ctx.error, path));
        if (!strstr(ctx.error, short_file ? "truncated" : cases[i].why)) fail_msg("case %zu says `%s'", i, ctx.error);
        free(image);
    }
    wc_ctx_init(&ctx, 1);
    must(&ctx, wc_write_file_atomic(&ctx, path, "", 0));
    assert_int_equal(wc_wcz_open(&ctx, path, &r), WC_BADFILE);
    wc_clear_error(&ctx);
    assert_int_equal(wc_wcz_open(&ctx, *state, &r), WC_IO);
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, make_scratch, remove_scratch)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(copying_from_a_file_is_putting),   WITH_SCRATCH(copying_a_weight_rounds_its_values),
        WITH_SCRATCH(writer_makes_the_golden_bytes),    cmocka_unit_test(golden_files_read_as_written),
        WITH_SCRATCH(second_reader_agrees_bit_for_bit), WITH_SCRATCH(resumed_run_gives_the_same_bytes),
        WITH_SCRATCH(factors_are_resumed_and_checked),  WITH_SCRATCH(leftovers_do_not_shine_through),
        cmocka_unit_test(impossible_plans_are_refused), WITH_SCRATCH(other_geometry_than_planned_is_a_bug),
        WITH_SCRATCH(full_disk_is_known_at_once),       WITH_SCRATCH(reader_gives_weights_and_metadata),
        WITH_SCRATCH(reader_says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
