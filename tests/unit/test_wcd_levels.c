/* The decode library at every CPU level: rows and products of all kinds are the bits of portable C, for parts by
 * formula and for the same parts with every byte of their blobs random (NaN, infinities, codes out of order). Then
 * portable C itself: sums as documented, written here with libm's fmaf; fused multiply-adds on hard cases; wcd_matmul,
 * pools and the gemm hook; inputs in 8 bits and their error; and what they refuse. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "levels_util.h"
#include "wcdecode_openmp.h"

enum { INPUTS = 7 };

/* ---- every level against C -------------------------------------------------------------------------------------- */

/* rows [rows, cols], y [2 rows], ys [INPUTS, rows], y8 [INPUTS, 2 rows] of one level; guarded by exact allocation. */
typedef struct results {
    float *rows, *y, *ys, *y8;
} results;

/* y [nx, 2 rows]: with inputs in 8 bits; kinds that have no such product leave zeros. */
static void compute_int8(const wcd_view *v, const float *x, unsigned nx, float *y)
{
    if (!v->d->products8) return;
    const size_t rows = v->rows, size = wcd_int8_bytes(v->cols);
    char *memory = malloc(nx * size + 1);
    assert_non_null(memory);
    for (unsigned b = 0; b < nx; b++)
        wcd_int8_make(v->cols, x + b * v->cols, memory + b * size);
    const wcd_int8 x8 = {{x, v->cols, nx}, memory};
    v->d->products8(v, 0, rows, &x8, y, 2 * rows, 0);
    v->d->products8(v, rows / 3, rows - rows / 3, &x8, y + rows + rows / 3, 2 * rows, 1);
    free(memory);
}

static results compute(const encoded *e, wcd_level level, const float *x)
{
    const wcd_view *v = e->view;
    size_t n = v->rows * v->cols, third = v->rows / 3;
    results r = {malloc(n * 4), malloc(2 * v->rows * 4), malloc(INPUTS * v->rows * 4), calloc(INPUTS * 2 * v->rows, 4)};
    assert_true(r.rows && r.y && r.ys && r.y8);
    wcd_cpu_use(level);
    assert_int_equal(wcd_cpu_level(), level);
    assert_int_equal(wcd_view_set_rows(v, 0, v->rows, r.rows, v->cols), WCD_OK);
    wcd_view_product(v, 0, v->rows, x, r.y, 0);
    for (size_t i = 0; i < v->rows; i++)
        r.y[v->rows + i] = (float)i;
    wcd_view_product(v, third, v->rows - third, x, r.y + v->rows + third, 1);
    wcd_view_products(v, 0, v->rows, &(wcd_vectors){x, v->cols, INPUTS}, r.ys, v->rows, 0);
    compute_int8(v, x, INPUTS, r.y8);
    return r;
}

static void drop_results(results *r)
{
    free(r->rows), free(r->y), free(r->ys), free(r->y8);
}

static int by_columns(const wcd_view *v)
{
    return v->d->id != WC_PART_SPARSE && v->d->id != WC_PART_LOWRANK && v->d->id != WC_PART_CODED;
}

static void compare_levels(const encoded *e, const float *x, const char *name)
{
    const wcd_view *v = e->view;
    results c = compute(e, WCD_C, x);
    for (size_t r = 0; r < v->rows && by_columns(v); r++) {
        float want = sum_in_lanes(c.rows + r * v->cols, x, v->cols);
        same(&want, c.y + r, 1, "documented sum", name, WCD_C);
    }
    float *one8 = malloc(2 * v->rows * sizeof *one8);
    assert_non_null(one8);
    for (size_t b = 0; b < INPUTS; b++) {
        wcd_view_product(v, 0, v->rows, x + b * v->cols, c.y, 0);
        same(c.y, c.ys + b * v->rows, v->rows, "one of many inputs", name, WCD_C);
        memset(one8, 0, 2 * v->rows * sizeof *one8);
        compute_int8(v, x + b * v->cols, 1, one8);
        same(one8, c.y8 + b * 2 * v->rows, 2 * v->rows, "one of many inputs in 8 bits", name, WCD_C);
    }
    free(one8);
    wcd_view_product(v, 0, v->rows, x, c.y, 0);
    for (int level = WCD_C + 1; level <= (int)wcd_cpu_best(); level++) {
        results l = compute(e, (wcd_level)level, x);
        same(c.rows, l.rows, v->rows * v->cols, "rows", name, (wcd_level)level);
        same(c.y, l.y, 2 * v->rows, "product", name, (wcd_level)level);
        same(c.ys, l.ys, INPUTS * v->rows, "products", name, (wcd_level)level);
        same(c.y8, l.y8, INPUTS * 2 * v->rows, "products with 8 bits", name, (wcd_level)level);
        drop_results(&l);
    }
    drop_results(&c);
}

/* Frees the part. */
static void check(wc_part p, const char *what)
{
    size_t rows, cols;
    char name[96];
    wc_part_shape(&p, &rows, &cols);
    encoded e = encode(&p);
    for (int hostile = 0; hostile < 2; hostile++) {
        snprintf(name, sizeof name, "%s %zu x %zu%s", what, rows, cols, hostile ? ", random bytes" : "");
        float *x = inputs(INPUTS * cols, hostile);
        for (unsigned i = 0; i < WCD_VIEWS && hostile; i++)
            for (uint64_t k = 0; k < e.size[i]; k++)
                e.data[i][k] = (uint8_t)noise();
        compare_levels(&e, x, name);
        free(x);
    }
    for (unsigned i = 0; i < WCD_VIEWS; i++)
        free(e.data[i]);
    wc_part_free(&p);
}

/* Rows around four, columns around blocks and spans, groups of every path. */
static const struct {
    size_t rows, cols, group;
} shapes[] = {{1, 1, 1},    {3, 63, 16},   {4, 64, 64},    {5, 320, 32}, {6, 257, 256},  {9, 1000, 128}, {4, 640, 64},
              {7, 600, 48}, {2, 512, 512}, {5, 1536, 384}, {8, 256, 16}, {13, 2500, 16}, {4, 192, 192},  {11, 96, 32}};

static void grids(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (unsigned bits = 1; bits <= 8; bits++) {
            const unsigned scale_bits = (unsigned)(i + bits) % 3 == 0 ? 6 : 0;
            const bool zeros = (i + bits) % 2;
            char name[48];
            snprintf(name, sizeof name, "grid %u bits, group %zu", bits, shapes[i].group);
            check(grid_fill(grid_plan(shapes[i].rows, shapes[i].cols, bits, shapes[i].group, scale_bits, zeros)), name);
        }
}

static void luts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (unsigned bits = 1; bits <= 5; bits++) {
            const wc_lut_scope scope = (wc_lut_scope)((i + bits) % 3);
            check(lut_fill(lut_plan(shapes[i].rows, shapes[i].cols, bits, shapes[i].group, scope, i % 2)), "lut");
        }
}

static void sparse_parts(void **state)
{
    static const wc_dtype dtypes[] = {WC_F16, WC_BF16, WC_F32};
    static const size_t steps[] = {0, 1, 7, 40, 100};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = 0; t < 3; t++) {
            size_t step = steps[(i + (size_t)t) % 5];
            check(sparse_fill(sparse_plan(shapes[i].rows, shapes[i].cols, step, dtypes[t]), step), "sparse");
        }
    check(sparse_fill(sparse_plan(3, 70000, 900, WC_F16), 900), "sparse, 32-bit columns");
    check(sparse_fill(nm_plan(3, 512, 2, 4, WC_F16), 0), "2:4");
}

static void other_kinds(void **state)
{
    static const wc_dtype dtypes[] = {WC_F16, WC_BF16, WC_F32};
    (void)state;
    for (int t = 0; t < 3; t++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            check(float_fill(float_plan(shapes[i].rows, shapes[i].cols, dtypes[t])), "float");
    for (size_t rank = 1; rank <= 300; rank = rank * 6 + 1) {
        check(lowrank_fill(lowrank_plan(9, 530, rank, float_plan(9, rank, WC_F16), float_plan(rank, 530, WC_F16))),
              "lowrank");
        check(lowrank_fill(lowrank_plan(9, 530, rank, grid_plan(9, rank, 8, rank, 0, false),
                                        lut_plan(rank, 530, 4, 64, WC_LUT_ROW, true))),
              "lowrank of packed factors");
    }
    check(signs_fill(signs_plan(9, 300, WC_SIGNS_PRODUCT, 2, 3, 0, "")), "signs");
    check(vq_fill(vq_plan(9, 300, 4, 2, 8, 16, 4, 100)), "vq");
}

/* ---- inputs in 8 bits ------------------------------------------------------------------------------------------- */

/* The sum of twelve uniform numbers, of variance 1/12 each: near enough to a Gaussian. */
static float gaussian(void)
{
    float sum = -6;
    for (int i = 0; i < 12; i++)
        sum += (float)(noise() >> 48) * 0x1p-16f;
    return sum;
}

typedef struct input8 {
    float *x;
    double *rounded, *half; /* what x becomes, by the header's words; d / 2 of the column, 0 in the rest */
} input8;

static input8 round_input(size_t cols)
{
    input8 in = {malloc(cols * sizeof *in.x), malloc(cols * sizeof(double)), calloc(cols, sizeof(double))};
    assert_true(in.x && in.rounded && in.half);
    for (size_t i = 0; i < cols; i++)
        in.rounded[i] = in.x[i] = gaussian();
    for (size_t b = 0, end, whole = cols / 64 * 64; b < whole; b = end) {
        double most = 0;
        end = wc_min(b + 128, whole);
        for (size_t i = b; i < end; i++)
            most = fmax(most, fabs((double)in.x[i]));
        for (size_t i = b; i < end; i++)
            in.half[i] = most / 254, in.rounded[i] = rint((double)in.x[i] * 127 / most) * most / 127;
    }
    return in;
}

/* y = W x' in double, with x' rounded here; a rounding that goes to the other side moves it by less than the usual
 * error of a sum. And the header's bound and usual error. */
static void int8_is_the_product_of_rounded_inputs(void **state)
{
    static const struct {
        size_t cols, group;
    } shapes8[] = {{1024, 128}, {1000, 32}, {640, 16}, {1599, 64}, {1536, 1536}, {2048, 1024}, {700, 700}};
    double off = 0, all = 0;
    (void)state;
    for (size_t k = 0; k < sizeof shapes8 / sizeof *shapes8; k++)
        for (unsigned bits = 1; bits <= 8; bits++) {
            const size_t rows = 7, cols = shapes8[k].cols;
            const bool in_8 = wcd_codes_group(shapes8[k].group);
            wc_part p = grid_fill(grid_plan(rows, cols, bits, shapes8[k].group, 0, bits % 2));
            encoded e = encode(&p);
            input8 in = round_input(cols);
            float *w = malloc(rows * cols * sizeof *w), y[14] = {0};
            assert_non_null(w);
            wcd_cpu_use(wcd_cpu_best());
            compute_int8(e.view, in.x, 1, y);
            assert_int_equal(wcd_view_set_rows(e.view, 0, rows, w, cols), WCD_OK);
            for (size_t i = 0; i < rows; i++) {
                double want = 0, exact = 0, bound = 0, size = 0;
                for (size_t j = 0; j < cols; j++) {
                    double v = w[i * cols + j];
                    want += v * (in_8 ? in.rounded[j] : (double)in.x[j]), exact += v * (double)in.x[j];
                    bound += fabs(v) * in.half[j], size += fabs(v * (double)in.x[j]);
                }
                const double zero = 8 * size;                  /* s q and s z of a large z nearly cancel */
                assert_true(fabs(y[i] - want) <= 3e-6 * zero); /* usually 1e-7; a wrong order of lanes gives 1e-1 */
                assert_true(fabs(y[i] - exact) <= bound + 3e-6 * zero);
                if (in_8) off += (y[i] - exact) * (y[i] - exact), all += exact * exact;
            }
            free(w), free(in.x), free(in.rounded), free(in.half), free(e.data[0]);
            wc_part_free(&p);
        }
    print_message("usual error of 8 bits: %.2f %%\n", 100 * sqrt(off / all));
    assert_true(sqrt(off / all) < 8e-3 && sqrt(off / all) > 3e-3);
}

static void int8_of_odd_inputs(void **state)
{
    (void)state;
    wc_part p = grid_fill(grid_plan(3, 192, 4, 64, 0, true));
    encoded e = encode(&p);
    const float odd[] = {0, -0.0f, 0x1p-101f, NAN, INFINITY, -INFINITY, 0x1p100f};
    for (int level = WCD_C; level <= (int)wcd_cpu_best(); level++)
        for (size_t k = 0; k < sizeof odd / sizeof *odd; k++) {
            float x[192], y[6] = {0};
            wcd_cpu_use((wcd_level)level);
            for (int j = 0; j < 192; j++)
                x[j] = j / 128 == 0 ? (j == 70 ? odd[k] : 0) : (float)j;
            compute_int8(e.view, x, 1, y);
            assert_true(isfinite(odd[k]) ? !isnan(y[0]) : isnan(y[0]) && isnan(y[2]));
        }
    free(e.data[0]);
    wc_part_free(&p);
}

static bool has_grid(const wcd_tensor *t)
{
    for (uint32_t i = 0; i < t->n_parts; i++) {
        wcd_part_info part;
        assert_int_equal(wcd_part(t, i, &part), WCD_OK);
        if (!strcmp(part.kind_name, "grid")) return true;
    }
    return false;
}

/* Any range of rows gives the same bits, and so does any number of inputs, on a pool or not; what has no grid gives
 * those of f32. Returns whether it was another. */
static bool check_int8(const wcd_tensor *t)
{
    enum { NX = 66 };
    const size_t rows = t->rows, cut = rows / 2, cols = t->cols, size = wcd_int8_size(t);
    float *x = inputs(NX * cols, false), *y = malloc((3 + 2 * NX) * rows * sizeof *y), *all = y + rows;
    float *halves = all + rows, *many = halves + rows, *pooled = many + NX * rows;
    char *memory = malloc(NX * size + 1);
    unsigned tasks;
    const wcd_pool pool = {&tasks, 3, run_backwards};
    assert_true(y && memory);
    for (size_t b = 0; b < NX; b++)
        assert_int_equal(wcd_int8_inputs(t, x + b * cols, memory + b * size), WCD_OK);
    wcd_status s = wcd_matvec_transformed(t, 0, rows, x, y);
    assert_int_equal(wcd_matmul_int8(t, 0, rows, x, cols, NX, memory, many, rows), s);
    assert_int_equal(wcd_matmul_int8_pool(t, &pool, x, cols, NX, memory, pooled, rows), s);
    if (s == WCD_OK) assert_memory_equal(many, pooled, NX * rows * sizeof *y);
    bool other = false;
    for (size_t b = 0; b < NX; b++) {
        const float *in = x + b * cols;
        assert_int_equal(wcd_matvec_transformed(t, 0, rows, in, y), s);
        assert_int_equal(wcd_matvec_int8(t, 0, rows, in, memory + b * size, all), s);
        if (s != WCD_OK) break;
        assert_int_equal(wcd_matvec_int8(t, 0, cut, in, memory + b * size, halves), s);
        assert_int_equal(wcd_matvec_int8(t, cut, rows - cut, in, memory + b * size, halves + cut), s);
        assert_memory_equal(halves, all, rows * sizeof *y);
        assert_memory_equal(many + b * rows, all, rows * sizeof *y);
        other = other || memcmp(y, all, rows * sizeof *y) != 0;
    }
    assert_true(has_grid(t) || !other);
    free(x), free(y), free(memory);
    return other;
}

static void int8_of_files(void **state)
{
    char dir[] = "/tmp/wcd_levels_XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/sum.wcz", dir);
    write_sum(
        path,
        (wc_part[]){grid_fill(grid_plan(70, 200, 4, 64, 0, true)), sparse_fill(sparse_plan(70, 200, 7, WC_F16), 7)}, 2);
    const char *const files[] = {"tests/data/golden/kinds.wcz", "tests/data/golden/parts.wcz",
                                 "tests/data/golden/transforms.wcz", path};
    bool other = false;
    (void)state;
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        size_t size;
        void *image = read_file(files[k], &size);
        wcd_file f;
        wcd_tensor t;
        assert_int_equal(wcd_open(&f, image, size), WCD_OK);
        for (uint32_t i = 0; i < wcd_count(&f); i++) {
            assert_int_equal(wcd_at(&f, i, &t), WCD_OK);
            if (t.rows && t.cols) other = check_int8(&t);
        }
    }
    assert_true(other); /* the last */
    remove(path);
    rmdir(dir);
}

static void int8_misuse(void **state)
{
    static uint64_t memory[1 << 12];
    float x[600] = {0}, y[600];
    size_t size;
    wcd_file f;
    wcd_tensor t;
    (void)state;
    void *image = read_file("tests/data/golden/kinds.wcz", &size);
    assert_int_equal(wcd_open(&f, image, size), WCD_OK);
    for (uint32_t i = 0; wcd_at(&f, i, &t) == WCD_OK && t.cols < 64; i++)
        ;
    assert_true(t.cols >= 64 && t.cols <= 600 && t.rows <= 600 && wcd_int8_size(&t) <= sizeof memory);
    assert_int_equal(wcd_int8_size(NULL), 0);
    assert_int_equal(wcd_int8_inputs(NULL, x, memory), WCD_E_ARGUMENT);
    assert_int_equal(wcd_int8_inputs(&t, NULL, memory), WCD_E_ARGUMENT);
    assert_int_equal(wcd_int8_inputs(&t, x, NULL), WCD_E_ARGUMENT);
    assert_int_equal(wcd_int8_inputs(&t, x, (char *)memory + 2), WCD_E_ARGUMENT);
    assert_int_equal(wcd_int8_inputs(&t, x, memory), WCD_OK);
    assert_int_equal(wcd_matvec_int8(NULL, 0, 0, x, memory, y), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec_int8(&t, 0, t.rows + 1, x, memory, y), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec_int8(&t, t.rows + 1, 0, x, memory, y), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec_int8(&t, 0, t.rows, NULL, memory, y), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec_int8(&t, 0, t.rows, x, NULL, y), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec_int8(&t, 0, t.rows, x, (char *)memory + 1, y), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec_int8(&t, 0, t.rows, x, memory, NULL), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec_int8(&t, 0, 0, x, memory, NULL), WCD_OK);
    const size_t c = t.cols, r = t.rows;
    const wcd_pool pool = {NULL, 0, run_backwards};
    assert_int_equal(wcd_matmul_int8(NULL, 0, 0, x, c, 1, memory, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul_int8(&t, 0, r, x, c - 1, 1, memory, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul_int8(&t, 0, r, x, c, 1, NULL, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul_int8(&t, 0, r, x, c, 1, (char *)memory + 2, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul_int8(&t, 0, r, x, c, 1, memory, y, r - 1), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul_int8(&t, 0, r, NULL, c, 0, NULL, NULL, r), WCD_OK);
    assert_int_equal(wcd_matmul_int8_pool(&t, &pool, x, c, 1, memory, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul_int8_pool(&t, NULL, x, c, 1, memory, y, r - 1), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul_int8_pool(&t, NULL, x, c, 1, NULL, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul_int8_pool(NULL, NULL, x, c, 1, memory, y, r), WCD_E_ARGUMENT);
}

/* ---- the fused multiply-add ------------------------------------------------------------------------------------- */

/* Random bits, sums that nearly cancel, and products that end half way between two floats: there a second rounding
 * would show. A sum in double without rounding to odd fails the last kind every other time. */
static void fused_multiply_adds_round_once(void **state)
{
    (void)state;
    for (int i = 0; i < 300000; i++) {
        uint64_t u = noise(), w = noise();
        float a = wc_bits_f32((uint32_t)u), b = wc_bits_f32((uint32_t)(u >> 32)), c = wc_bits_f32((uint32_t)w);
        if (i % 3 == 1) c = -(a * b) * (1 + 0x1p-23f * (float)(w % 3));
        if (i % 3 == 2) { /* c has 24 bits, a b is half its last place and a little */
            a = 1 + 0x1p-12f * (float)(u % 4096), b = 0x1p-24f * (1 + 0x1p-23f * (float)(w % 5)),
            c = 1 + 0x1p-23f * (float)(w >> 41);
        }
        float want = fmaf(a, b, c), got = wcd_fma(a, b, c);
        if (wc_f32_bits(want) != wc_f32_bits(got) && !(isnan(want) && isnan(got)))
            fail_msg("%a * %a + %a = %a, not %a", (double)a, (double)b, (double)c, (double)want, (double)got);
    }
}

/* ---- the public functions --------------------------------------------------------------------------------------- */

static void sgemm(void *self, size_t m, size_t nx, size_t cols, const float *tile, const float *x, size_t ldx, float *y,
                  size_t ldy)
{
    ++*(int *)self;
    for (size_t i = 0; i < m; i++)
        for (size_t b = 0; b < nx; b++) {
            double sum = 0;
            for (size_t k = 0; k < cols; k++)
                sum += (double)tile[i * cols + k] * (double)x[b * ldx + k];
            y[b * ldy + i] = (float)sum;
        }
}

static void check_tensor(const wcd_tensor *t)
{
    enum { NX = 67 };
    const size_t cols = t->cols, rows = t->rows, ldx = cols + 3, ldy = rows + 2;
    float *x = inputs(NX * ldx, false), *y = calloc(4 * NX * ldy, sizeof *y),
          *tile = calloc(3 * cols + 1, sizeof *tile);
    float *pooled = y + NX * ldy, *openmp = pooled + NX * ldy, *gemm = openmp + NX * ldy,
          *z = calloc(NX * ldx, sizeof *z);
    float *one = calloc(rows + 1, sizeof *one);
    float *w = calloc(rows * cols, sizeof *w), most = 0;
    int calls = 0;
    unsigned tasks = 0;
    const wcd_pool pool = {&tasks, 3, run_backwards}, threads = wcd_openmp_pool();
    assert_true(y && tile && z && one && w);
    assert_int_equal(wcd_rows(t, 0, rows, w, cols), WCD_OK);
    for (size_t i = 0; i < rows * cols; i++)
        most = fmaxf(most, fabsf(w[i]));
    for (size_t b = 0; b < NX; b++)
        assert_int_equal(wcd_transform(t, x + b * ldx, z + b * ldx), WCD_OK);
    assert_int_equal(wcd_matmul(t, 0, rows, z, ldx, NX, y, ldy), WCD_OK);
    assert_int_equal(wcd_matmul_pool(t, &pool, z, ldx, NX, pooled, ldy), WCD_OK);
    assert_int_equal(wcd_matmul_pool(t, &threads, z, ldx, NX, openmp, ldy), WCD_OK);
    assert_int_equal(wcd_matmul_gemm(t, sgemm, &calls, tile, 3, x, ldx, NX, gemm, ldy), WCD_OK);
    assert_int_equal(calls, (rows + 2) / 3);
    if (rows > 64) assert_true(tasks >= 2 && tasks <= 3);
    for (size_t b = 0; b < NX; b++) {
        assert_int_equal(wcd_matvec_transformed(t, 0, rows, z + b * ldx, one), WCD_OK);
        assert_memory_equal(one, y + b * ldy, rows * sizeof *one);
        assert_memory_equal(one, pooled + b * ldy, rows * sizeof *one);
        assert_memory_equal(one, openmp + b * ldy, rows * sizeof *one);
        float size = 0;
        for (size_t j = 0; j < cols; j++)
            size += most * fabsf(x[b * ldx + j]);
        for (size_t i = 0; i < rows; i++) /* usually 1e-8 of the sum of magnitudes; 1e-2 with a wrong row or input */
            assert_true(fabsf(one[i] - gemm[b * ldy + i]) <= 1e-5f * size);
        assert_true(y[b * ldy + rows] == 0 && gemm[b * ldy + rows] == 0);
    }
    free(x), free(y), free(tile), free(z), free(one), free(w);
}

static void matmul_is_many_matvecs(void **state)
{
    static const char *const files[] = {"kinds", "parts", "transforms"};
    (void)state;
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        char path[96];
        size_t size;
        wcd_file f;
        wcd_tensor t;
        snprintf(path, sizeof path, "tests/data/golden/%s.wcz", files[k]);
        void *image = read_file(path, &size);
        for (int level = WCD_C; level <= (int)wcd_cpu_best(); level++) {
            wcd_cpu_use((wcd_level)level);
            assert_int_equal(wcd_open(&f, image, size), WCD_OK);
            for (uint32_t i = 0; i < wcd_count(&f); i++) {
                float x = 0, y;
                assert_int_equal(wcd_at(&f, i, &t), WCD_OK);
                if (!t.rows || !t.cols || wcd_rows(&t, 0, 0, &x, t.cols) != WCD_OK) continue;
                if (wcd_matmul(&t, 0, 0, &x, t.cols, 1, &y, 0) == WCD_OK) check_tensor(&t);
            }
        }
    }
}

static void misuse_is_answered(void **state)
{
    (void)state;
    size_t size;
    wcd_file f;
    wcd_tensor t;
    float x[600] = {0}, y[600], tile[600];
    int calls = 0;
    wcd_pool pool = {NULL, 0, run_backwards};
    void *image = read_file("tests/data/golden/kinds.wcz", &size);
    assert_int_equal(wcd_open(&f, image, size), WCD_OK);
    assert_int_equal(wcd_at(&f, 0, &t), WCD_OK);
    const size_t c = t.cols, r = t.rows;
    assert_true(c <= 600 && r <= 600);
    assert_int_equal(wcd_matmul(NULL, 0, 0, x, c, 1, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul(&t, 0, r + 1, x, c, 1, y, r + 1), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul(&t, r + 1, 0, x, c, 1, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul(&t, 1, UINT64_MAX, x, c, 1, y, SIZE_MAX), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul(&t, 0, r, x, c - 1, 1, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul(&t, 0, r, x, c, 1, y, r - 1), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul(&t, 0, r, NULL, c, 1, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul(&t, 0, r, x, c, 1, NULL, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul(&t, 0, r, NULL, c, 0, NULL, r), WCD_OK);
    assert_int_equal(wcd_matmul_pool(&t, &pool, x, c, 1, y, r), WCD_E_ARGUMENT);
    pool.threads = 2, pool.run = NULL;
    assert_int_equal(wcd_matmul_pool(&t, &pool, x, c, 1, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul_pool(NULL, NULL, x, c, 1, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul_pool(&t, NULL, x, c, 1, y, r - 1), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul_gemm(&t, NULL, NULL, tile, 1, x, c, 1, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul_gemm(&t, sgemm, &calls, NULL, 1, x, c, 1, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul_gemm(&t, sgemm, &calls, tile, 0, x, c, 1, y, r), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matmul_gemm(&t, sgemm, &calls, tile, 1, NULL, c, 1, y, r), WCD_E_ARGUMENT);
    assert_int_equal(calls, 0);
    assert_int_equal(wcd_widen(4, x, 1, y), WCD_E_ARGUMENT);
    assert_int_equal(wcd_widen(1, NULL, 1, y), WCD_E_ARGUMENT);
    assert_int_equal(wcd_widen(2, x, 0, NULL), WCD_OK);
}

/* All 65536 of both types at every level; alignment of one byte. */
static void widening_is_exact(void **state)
{
    static uint8_t half[2 * 65536 + 1];
    static float got[65536];
    (void)state;
    for (unsigned i = 0; i < 65536; i++)
        half[1 + 2 * i] = (uint8_t)i, half[2 + 2 * i] = (uint8_t)(i >> 8);
    for (int level = WCD_C; level <= (int)wcd_cpu_best(); level++)
        for (uint32_t type = 2; type <= 3; type++) {
            wcd_cpu_use((wcd_level)level);
            assert_int_equal(wcd_widen(type, half + 1, 65536, got), WCD_OK);
            for (unsigned i = 0; i < 65536; i++) {
                float want = type == 2 ? wc_f16_f32((uint16_t)i) : wc_bf16_f32((uint16_t)i);
                assert_true(wc_f32_bits(want) == wc_f32_bits(got[i]) || (isnan(want) && isnan(got[i])));
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grids),
        cmocka_unit_test(luts),
        cmocka_unit_test(sparse_parts),
        cmocka_unit_test(other_kinds),
        cmocka_unit_test(int8_is_the_product_of_rounded_inputs),
        cmocka_unit_test(int8_of_odd_inputs),
        cmocka_unit_test(int8_of_files),
        cmocka_unit_test(int8_misuse),
        cmocka_unit_test(fused_multiply_adds_round_once),
        cmocka_unit_test(matmul_is_many_matvecs),
        cmocka_unit_test(misuse_is_answered),
        cmocka_unit_test(widening_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
