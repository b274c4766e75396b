/* Prepared tensors (wcd_prepare): the documented sum, written here from the codes with libm's fmaf; every CPU level
 * against portable C, with random bytes for blobs too; the error beside that of wcd_matvec; ranges of rows, numbers of
 * inputs and threads, sums of parts; what gains and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "decode/tiles.h"
#include "levels_util.h"
#include "wcdecode_openmp.h"

enum { INPUTS = 11 }; /* more than share a group's codes */

static void *aligned(uint64_t size)
{
    void *memory = aligned_alloc(64, size);
    assert_non_null(memory);
    return memory;
}

/* ---- the documented sum ----------------------------------------------------------------------------------------- */

/* A row of a part: codes, and what they mean. level: NULL, or of a lut. */
typedef struct meaning {
    const uint8_t *q;
    unsigned bits;
    size_t cols, group;
    const float *s, *z; /* [groups] */
    bool middle;        /* z is the middle everywhere */
    const float *level;
} meaning;

/* Of columns that share k: 2^-k and X, found as said: one k after the other is tried. */
static double fixed_inputs(const float *x, size_t n, int64_t *X)
{
    double most = 0;
    int k = 126;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)x[i]));
    while (ldexp(most, k) >= 8355584)
        k--;
    for (size_t i = 0; i < n; i++)
        X[i] = (int64_t)nearbyint(ldexp((double)x[i], k));
    return ldexp(1, -k);
}

/* Sums of three digits, in order of place: of q - z0 times x, and where z counts of x alone. */
static float fixed_sum(const meaning *m, size_t at, size_t end, const float *x, float *all)
{
    float acc = 0;
    *all = 0;
    for (size_t first = at, n; first < end; first += n) {
        int64_t X[128], D[3] = {0}, sum = 0;
        n = end - first < 128 ? end - first : 128;
        const double step = fixed_inputs(x + first, n, X);
        for (size_t i = 0; i < n; i++) {
            const int64_t q = (int64_t)m->q[first + i] - (1 << m->bits) / 2;
            int64_t left = X[i];
            sum += left;
            for (int j = 0; j < 3; j++) {
                const int64_t digit = ((left + 128) % 256 + 256) % 256 - 128;
                D[j] += q * digit, left = (left - digit) / 256;
            }
            assert_int_equal(left, 0);
        }
        const float t = fmaf((float)D[2], 65536, fmaf((float)D[1], 256, (float)D[0]));
        acc = fmaf(t, (float)step, acc), *all = fmaf((float)sum, (float)step, *all);
    }
    return acc;
}

/* Eight look-ups from column `at' on. */
static float chunk_sum(const meaning *m, size_t at, size_t end, const float *x)
{
    const size_t f = 4 / m->bits;
    float u[8] = {0};
    for (size_t c = at; c < end && c < at + 8 * f; c++) {
        float *to = &u[(c - at) / f], v = m->level[m->q[c]];
        *to = (c - at) % f ? fmaf(v, x[c], *to) : v * x[c];
    }
    return ((u[0] + u[1]) + (u[2] + u[3])) + ((u[4] + u[5]) + (u[6] + u[7]));
}

static float byte_sum(const meaning *m, size_t at, size_t end, const float *x)
{
    float u = (float)(m->q[at] - 128) * x[at];
    for (size_t c = at + 1; c < end && c < at + 8; c++)
        u = fmaf((float)(m->q[c] - 128), x[c], u);
    return u;
}

static float inputs_sum(const float *x, size_t n)
{
    float lane[16] = {0};
    for (size_t i = 0; i < n; i++)
        lane[i % 16] += x[i];
    for (int half = 8; half; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

static float documented(const meaning *m, const float *x)
{
    float y = 0;
    for (size_t g = 0, at = 0; at < m->cols; g++, at += m->group) {
        const size_t end = at + m->group < m->cols ? at + m->group : m->cols;
        float acc = 0, all = 0;
        if (m->level)
            for (size_t c = at; c < end; c += 32 / m->bits)
                acc += chunk_sum(m, c, end, x);
        else if (m->bits < 8)
            acc = fixed_sum(m, at, end, x, &all);
        else
            for (size_t c = at; c < end; c += 8)
                acc += byte_sum(m, c, end, x);
        if (m->bits == 8) all = inputs_sum(x + at, end - at);
        if (!m->middle) acc = fmaf((float)(1 << m->bits) / 2 - m->z[g], all, acc);
        y = fmaf(m->s[g], acc, y);
    }
    return y;
}

/* The documented sum of all rows, from the numbers of the part before it was encoded; s and z are the decoder's. */
static void documented_rows(const wc_part *p, const wcd_view *v, const float *x, float *y)
{
    const bool grid = p->kind == WC_PART_GRID;
    const size_t cols = v->cols, group = grid ? p->grid.group : p->lut.scaled ? p->lut.group : cols < 256 ? cols : 256;
    float s[256], z[256] = {0}, level[16] = {0};
    meaning m = {NULL, grid ? p->grid.bits : p->lut.bits, cols, group, s, z, !grid, grid ? NULL : level};
    assert_true(grid ? wc_grid_groups(&p->grid) <= 256 : 1);
    if (grid) m.middle = p->grid.zero_kind == WC_ZERO_FIXED && p->grid.zero_fixed == (float)(1 << m.bits) / 2;
    for (unsigned i = 0; !grid && i < 1u << m.bits; i++)
        level[i] = (float)f16_value(p->lut.table[i]);
    for (size_t r = 0; r < v->rows; r++) {
        m.q = (grid ? p->grid.code : p->lut.code) + r * cols;
        if (grid) wcd_grid_steps(v, r, 0, (unsigned)wc_grid_groups(&p->grid), s, z);
        for (size_t g = 0; !grid && g * group < cols; g++)
            s[g] = p->lut.scaled ? (float)f16_value(p->lut.scale[r * wc_lut_groups(&p->lut) + g]) : 1;
        y[r] = documented(&m, x);
    }
}

/* ---- levels ----------------------------------------------------------------------------------------------------- */

/* y [INPUTS, rows] at a level, in ranges that cut tiles. */
static float *compute(const wcd_view *v, const wcd_tiles *f, wcd_level level, const float *x)
{
    const size_t rows = v->rows, cut = rows / 3;
    float *y = malloc(INPUTS * rows * sizeof *y);
    uint8_t *memory = aligned(f->size);
    assert_non_null(y);
    wcd_cpu_use(level);
    wcd_tiles_make(f, v, 0, wcd_tiles_count(v), memory);
    const wcd_vectors all = {x, v->cols, INPUTS};
    wcd_tiles_product(f, v, memory, 0, cut, &all, y, rows, 0);
    for (size_t i = 0; i < INPUTS * rows; i++)
        if (i % rows >= cut) y[i] = (float)i;
    wcd_tiles_product(f, v, memory, cut, rows - cut, &all, y + cut, rows, 1);
    free(memory);
    return y;
}

static void check_levels(const wcd_view *v, const wcd_tiles *f, const float *x, const char *name)
{
    float *c = compute(v, f, WCD_C, x);
    for (int level = WCD_C + 1; level <= (int)wcd_cpu_best(); level++) {
        float *y = compute(v, f, (wcd_level)level, x);
        same(c, y, INPUTS * v->rows, "prepared product", name, (wcd_level)level);
        free(y);
    }
    free(c);
}

/* The documented sum; and in f64: |error| as a multiple of the sum of magnitudes, the largest of prepared and plain. */
static void check_sum(const wc_part *p, const wcd_view *v, const wcd_tiles *f, const float *x, const char *name)
{
    const size_t rows = v->rows, cols = v->cols;
    float *y = malloc(2 * rows * sizeof *y), *want = y + rows, *w = malloc(rows * cols * sizeof *w);
    uint8_t *memory = aligned(f->size);
    assert_true(y && w);
    wcd_tiles_make(f, v, 0, wcd_tiles_count(v), memory);
    wcd_tiles_product(f, v, memory, 0, rows, &(wcd_vectors){x, cols, 1}, y, rows, 0);
    if (f->by_row)
        wcd_view_product(v, 0, rows, x, want, 0);
    else
        documented_rows(p, v, x, want);
    same(want, y, rows, "documented sum", name, wcd_cpu_best());
    assert_int_equal(wcd_view_set_rows(v, 0, rows, w, cols), WCD_OK);
    for (size_t r = 0; r < rows; r++) {
        double exact = 0, size = 0;
        for (size_t i = 0; i < cols; i++)
            exact += (double)w[r * cols + i] * (double)x[i], size += fabs((double)w[r * cols + i] * (double)x[i]);
        /* usually 1e-7, more where s q and s z nearly cancel; another column, row or group gives 1e-1 */
        assert_true(fabs(y[r] - exact) <= 3e-5 * size);
    }
    free(y), free(w), free(memory);
}

/* Frees the part, which gains. */
static void check(wc_part p, const char *name)
{
    encoded e = encode(&p);
    wcd_tiles f;
    float *x = inputs(INPUTS * e.view->cols, false);
    if (!wcd_tiles_of(e.view, &f)) fail_msg("%s does not gain", name);
    wcd_cpu_use(wcd_cpu_best());
    check_sum(&p, e.view, &f, x, name);
    check_levels(e.view, &f, x, name);
    for (uint64_t k = 0; k < e.size[0]; k++)
        e.data[0][k] = (uint8_t)noise();
    free(x);
    x = inputs(INPUTS * e.view->cols, true);
    check_levels(e.view, &f, x, name);
    free(x), free(e.data[0]);
    wc_part_free(&p);
}

/* Rows around vectors and tiles, columns around chunks, groups of every path. */
static const struct {
    size_t rows, cols, group;
} shapes[] = {{13, 128, 128}, {65, 100, 32}, {128, 257, 256}, {130, 300, 128},
              {144, 48, 48},  {129, 95, 16}, {79, 333, 131},  {257, 96, 96}};

static void grids(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (unsigned bits = 1; bits <= 8; bits++) {
            char name[48];
            const unsigned kind = (unsigned)(i + bits) % 5;
            wc_part p = grid_plan(shapes[i].rows, shapes[i].cols, bits, shapes[i].group, kind == 2 ? 6 : 0, kind == 1);
            if (kind == 3) p = tile_plan(p, 0, WC_ZERO_F16, 0);
            if (kind == 4) p.grid.scale_bits = 4, p = tile_plan(p, 7, WC_ZERO_LINE, 3);
            snprintf(name, sizeof name, "grid %u bits, shape %zu, kind %u", bits, i, kind);
            check(grid_fill(p), name);
        }
}

static void luts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (unsigned bits = 1; bits <= 4; bits *= 2)
            check(lut_fill(lut_plan(shapes[i].rows, shapes[i].cols, bits, shapes[i].group, WC_LUT_TENSOR, i % 2)),
                  "lut");
}

/* Those have the bits of wcd_matvec. */
static void luts_of_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check(lut_fill(lut_plan(shapes[i].rows, shapes[i].cols, 4, shapes[i].cols, WC_LUT_ROW, false)), "lut of rows");
}

/* The documented sum at the best level, and the same at all others. */
static void check_documented(const wc_part *p, const wcd_view *v, const wcd_tiles *f, const float *x, const char *name)
{
    float *got = malloc(2 * v->rows * sizeof *got), *want = got + v->rows;
    uint8_t *memory = aligned(f->size);
    assert_non_null(got);
    wcd_cpu_use(wcd_cpu_best());
    wcd_tiles_make(f, v, 0, wcd_tiles_count(v), memory);
    wcd_tiles_product(f, v, memory, 0, v->rows, &(wcd_vectors){x, v->cols, 1}, got, v->rows, 0);
    documented_rows(p, v, x, want);
    same(want, got, v->rows, "documented sum", name, wcd_cpu_best());
    check_levels(v, f, x, name);
    free(memory), free(got);
}

/* Sums of digits as large as they get: the largest code everywhere, times digits of 127, or of -128 beside one input
 * that is so large that they are digits. Kernels add in 16 bits for as long as even these fit. */
static void sums_at_the_limits(void **state)
{
    enum { ROWS = 40, COLS = 300 };
    (void)state;
    for (unsigned bits = 1; bits < 8; bits++) {
        wc_part p = grid_fill(grid_plan(ROWS, COLS, bits, 256, 0, bits % 2));
        memset(p.grid.code, (1 << bits) - 1, ROWS * COLS);
        encoded e = encode(&p);
        wcd_tiles f;
        float *x = inputs(INPUTS * COLS, false);
        assert_true(wcd_tiles_of(e.view, &f));
        for (int kind = 0; kind < 3; kind++) {
            for (size_t i = 0; i < COLS; i++)
                x[i] = kind == 2 && i % 128 ? -32896 : kind ? -8355583 : 8355583;
            check_documented(&p, e.view, &f, x, "largest sums");
        }
        free(x), free(e.data[0]);
        wc_part_free(&p);
    }
}

/* Inputs in fixed point: zeros, numbers so small or large that 2^k or 2^-k would be none, one large among small ones,
 * the first below and the first above a power of two that still fits, and halves. They are the documented sum; and one
 * that is no number makes its own results NaN, and no others. */
static void inputs_at_the_limits(void **state)
{
    enum { ROWS = 40, COLS = 300 };
    static const float limits[][3] = {{0, 0, 0},
                                      {0x1p-149f, -0x1p-130f, 0x1p-126f},
                                      {0x1p-104f, 0x1.fdfbfep-104f, -0x1p-120f},
                                      {0x1.fffffep127f, -0x1.fffffep127f, 1},
                                      {1, 0x1p-23f, -0x1p-24f},
                                      {0x1.fdfbfep0f, -0x1.fdfbfep0f, 0x1p-22f},
                                      {0x1.fdfcp0f, -0x1.fdfcp0f, 0x1p-22f},
                                      {0x1.fffffep0f, -0x1.fffffep0f, 0x1.8p-21f}};
    static const float none[] = {NAN, INFINITY, -INFINITY};
    (void)state;
    for (unsigned bits = 1; bits < 8; bits++) {
        wc_part p = grid_fill(grid_plan(ROWS, COLS, bits, 256, 0, bits % 2));
        encoded e = encode(&p);
        wcd_tiles f;
        float *x = inputs(INPUTS * COLS, false);
        assert_true(wcd_tiles_of(e.view, &f));
        for (size_t k = 0; k < sizeof limits / sizeof *limits; k++) {
            for (size_t i = 0; i < COLS; i++)
                x[i] = limits[k][i % 7 ? i % 3 : 0] * (i % 5 ? 1 : -1);
            check_documented(&p, e.view, &f, x, "limits");
        }
        for (size_t k = 0; k < sizeof none / sizeof *none; k++) {
            x[COLS - 1] = none[k];
            float *y = compute(e.view, &f, wcd_cpu_best(), x);
            for (size_t r = 0; r < 2 * ROWS; r++)
                assert_int_equal(isnan(y[r]), r < ROWS);
            check_levels(e.view, &f, x, "no number");
            free(y);
        }
        free(x), free(e.data[0]);
        wc_part_free(&p);
    }
}

/* Root of mean squares over rows, against f64. */
static void errors_beside_matvec(void **state)
{
    (void)state;
    for (unsigned bits = 2; bits <= 8; bits += bits < 4 ? 1 : 4) {
        const size_t rows = 128, cols = 2048;
        wc_part p = grid_fill(grid_plan(rows, cols, bits, 128, 0, true));
        encoded e = encode(&p);
        wcd_tiles f;
        assert_true(wcd_tiles_of(e.view, &f));
        uint8_t *memory = aligned(f.size);
        float *x = inputs(cols, false), y[256], *w = malloc(cols * sizeof *w);
        double off = 0, plain = 0, all = 0;
        assert_non_null(w);
        for (size_t i = 0; i < rows * cols; i++)
            p.grid.code[i] = (uint8_t)(noise() >> 40 & ((1u << bits) - 1));
        for (size_t i = 0; i < rows * 16; i++)
            p.grid.zero[i] = (uint8_t)((1 << bits) / 2 - i % 2);
        free(e.data[0]);
        e = encode(&p);
        assert_true(wcd_tiles_of(e.view, &f));
        wcd_tiles_make(&f, e.view, 0, 1, memory);
        wcd_tiles_product(&f, e.view, memory, 0, rows, &(wcd_vectors){x, cols, 1}, y, rows, 0);
        wcd_view_product(e.view, 0, rows, x, y + rows, 0);
        for (size_t r = 0; r < rows; r++) {
            double exact = 0;
            assert_int_equal(wcd_view_set_rows(e.view, r, 1, w, cols), WCD_OK);
            for (size_t i = 0; i < cols; i++)
                exact += (double)w[i] * (double)x[i];
            off += pow(y[r] - exact, 2), plain += pow(y[rows + r] - exact, 2), all += exact * exact;
        }
        print_message("%u bits, relative to y: prepared %.1e, wcd_matvec %.1e\n", bits, sqrt(off / all),
                      sqrt(plain / all));
        assert_true(sqrt(off / all) < 1e-6); /* usually 2e-7 */
        free(memory), free(x), free(w), free(e.data[0]);
        wc_part_free(&p);
    }
}

/* ---- the public functions --------------------------------------------------------------------------------------- */

/* All rows and inputs at once, in ranges, on pools: the same bits. Those of wcd_matmul if nothing gains, near them in
 * any case. */
static void check_tensor(const wcd_tensor *t)
{
    const size_t rows = t->rows, ldx = t->cols + 3, ldy = rows + 2, n = INPUTS * ldy, third = rows / 3;
    const uint64_t size = wcd_prepare_size(t);
    float *x = inputs(INPUTS * ldx, false), *y = calloc(5 * n, sizeof *y), *parts = y + n, *pooled = parts + n;
    float *openmp = pooled + n, *plain = openmp + n;
    void *memory = aligned(size + 64), *again = aligned(size + 64);
    unsigned tasks = 0;
    const wcd_pool pool = {&tasks, 3, run_backwards}, threads = wcd_openmp_pool();
    wcd_prepared p, q;
    assert_non_null(y);
    assert_int_equal(size % 64, 0);
    memset(memory, 0x55, size), memset(again, 0xaa, size);
    assert_int_equal(wcd_prepare(t, NULL, memory, &p), WCD_OK);
    assert_int_equal(wcd_prepare(t, &pool, again, &q), WCD_OK);
    assert_memory_equal(memory, again, size);
    assert_int_equal(wcd_prepared_matmul(&p, 0, rows, x, ldx, INPUTS, y, ldy), WCD_OK);
    assert_int_equal(wcd_prepared_matmul(&p, 0, third, x, ldx, INPUTS, parts, ldy), WCD_OK);
    assert_int_equal(wcd_prepared_matmul(&p, third, rows - third, x, ldx, INPUTS, parts + third, ldy), WCD_OK);
    assert_int_equal(wcd_prepared_matmul_pool(&q, &pool, x, ldx, INPUTS, pooled, ldy), WCD_OK);
    assert_int_equal(wcd_prepared_matmul_pool(&p, &threads, x, ldx, INPUTS, openmp, ldy), WCD_OK);
    assert_int_equal(tasks > 1, rows > 128);
    assert_memory_equal(y, parts, n * sizeof *y);
    assert_memory_equal(y, pooled, n * sizeof *y);
    assert_memory_equal(y, openmp, n * sizeof *y);
    for (size_t b = 0; b < INPUTS; b++) {
        assert_int_equal(wcd_prepared_matmul_pool(&p, NULL, x + b * ldx, ldx, 1, parts, ldy), WCD_OK);
        assert_memory_equal(parts, y + b * ldy, rows * sizeof *y);
    }
    assert_int_equal(wcd_matmul(t, 0, rows, x, ldx, INPUTS, plain, ldy), WCD_OK);
    if (!size) assert_memory_equal(y, plain, n * sizeof *y);
    for (size_t i = 0; i < n; i++) /* usually 1e-6; another row or input gives 1 */
        assert_true(fabsf(y[i] - plain[i]) <= 1e-3f * (1 + fabsf(plain[i])) || (isnan(y[i]) && isnan(plain[i])));
    free(x), free(y), free(memory), free(again);
}

static void files(void **state)
{
    char dir[] = "/tmp/wcd_prepare_XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/sum.wcz", dir);
    const char *const names[] = {"tests/data/golden/kinds.wcz", "tests/data/golden/parts.wcz",
                                 "tests/data/golden/transforms.wcz", path};
    size_t numeric = 0;
    (void)state;
    write_sum(path,
              (wc_part[]){sparse_fill(sparse_plan(300, 200, 7, WC_F16), 7),
                          grid_fill(grid_plan(300, 200, 4, 64, 0, true)),
                          lut_fill(lut_plan(300, 200, 2, 32, WC_LUT_TENSOR, true)),
                          lut_fill(lut_plan(300, 200, 2, 32, WC_LUT_ROW, true))},
              4);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        size_t size;
        wcd_file f;
        wcd_tensor t;
        float none;
        wcd_prepared p;
        void *image = read_file(names[k], &size);
        assert_int_equal(wcd_open(&f, image, size), WCD_OK);
        for (uint32_t i = 0; i < wcd_count(&f); i++) {
            assert_int_equal(wcd_at(&f, i, &t), WCD_OK);
            if (wcd_rows(&t, 0, 0, &none, t.cols) != WCD_OK)
                assert_int_equal(wcd_prepare(&t, NULL, NULL, &p), WCD_E_NOT_NUMERIC);
            else if (t.rows && t.cols)
                check_tensor(&t), numeric++;
        }
    }
    assert_true(numeric > 10);
    remove(path);
    rmdir(dir);
}

static void what_gains(void **state)
{
    const struct {
        wc_part p;
        bool gains;
        double most; /* bytes, over the part's */
    } cases[] = {{grid_plan(4096, 14336, 4, 128, 0, false), true, 1.0001},
                 {grid_plan(4096, 14336, 3, 128, 0, true), true, 1.03}, /* zeros take a byte */
                 {grid_plan(4096, 14336, 2, 128, 0, false), true, 1.0001},
                 {grid_plan(4096, 14336, 8, 128, 0, false), true, 1.0001},
                 {grid_plan(4100, 14336, 5, 32, 6, true), true, 1.2}, /* two levels of scales are made one */
                 {lut_plan(4096, 14336, 4, 64, WC_LUT_TENSOR, true), true, 1.0001},
                 {grid_plan(13, 14336, 4, 128, 0, false), true, 1.3},
                 {grid_plan(12, 14336, 4, 128, 0, false), false, 0},
                 {grid_plan(17, 14336, 4, 128, 0, false), false, 0},
                 {grid_plan(4096, 14336, 4, 100, 0, false), false, 0},
                 {lut_plan(4096, 14336, 4, 14336, WC_LUT_ROW, false), true, 1.01},
                 {lut_plan(4096, 14336, 2, 14336, WC_LUT_ROW, false), false, 0},
                 {lut_plan(4096, 14336, 3, 64, WC_LUT_TENSOR, true), false, 0},
                 {lut_plan(4096, 14336, 4, 64, WC_LUT_ROW, true), false, 0},
                 {float_plan(4096, 14336, WC_F16), false, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_ctx ctx;
        wcd_view v[WCD_VIEWS];
        wcd_tiles f;
        uint64_t size;
        uint8_t params[WC_PARAMS_SIZE] = {0};
        size_t rows, cols;
        const wc_encoder *enc = wc_encoder_for(cases[i].p.kind);
        wc_part one = cases[i].p;
        wc_ctx_init(&ctx, 1);
        assert_int_equal(enc->size(&ctx, &cases[i].p, &size), WC_OK);
        wc_part_shape(&cases[i].p, &rows, &cols);
        if (one.kind == WC_PART_GRID) one.grid.rows = 1;
        if (one.kind == WC_PART_LUT) one.lut.rows = 1;
        if (one.kind == WC_PART_FLOAT) one.floats.rows = 1;
        one = leaf_fill(one);
        encoded e = encode(&one);
        memcpy(params, e.params[0], sizeof params);
        free(e.data[0]), wc_part_free(&one);
        assert_int_equal(wcd_view_open((uint16_t)cases[i].p.kind, 1, params, NULL, size, rows, cols, v), WCD_OK);
        if (wcd_tiles_of(v, &f) != cases[i].gains) fail_msg("case %zu", i);
        if (cases[i].gains && (double)f.size > cases[i].most * (double)size)
            fail_msg("case %zu: %.4f of the part's bytes", i, (double)f.size / (double)size);
    }
}

static void misuse(void **state)
{
    char dir[] = "/tmp/wcd_prepare_XXXXXX", path[64];
    size_t size;
    wcd_file f;
    wcd_tensor t;
    wcd_prepared p;
    static float x[2 * 128], y[2 * 130];
    wcd_pool pool = {NULL, 0, run_backwards};
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/w.wcz", dir);
    write_sum(path, (wc_part[]){grid_fill(grid_plan(130, 128, 4, 64, 0, true))}, 1);
    void *image = read_file(path, &size);
    assert_int_equal(wcd_open(&f, image, size), WCD_OK);
    assert_int_equal(wcd_find(&f, "w", &t), WCD_OK);
    uint8_t *memory = aligned(wcd_prepare_size(&t) + 64);
    assert_int_equal(wcd_prepare_size(NULL), 0);
    assert_int_equal(wcd_prepare(NULL, NULL, memory, &p), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepare(&t, NULL, NULL, &p), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepare(&t, NULL, memory + 32, &p), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepare(&t, NULL, memory, NULL), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepare(&t, &pool, memory, &p), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepare(&t, NULL, memory, &p), WCD_OK);
    assert_int_equal(wcd_prepared_matmul(NULL, 0, 0, x, 128, 1, y, 130), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepared_matmul(&p, 0, 131, x, 128, 1, y, 131), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepared_matmul(&p, 131, 0, x, 128, 1, y, 130), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepared_matmul(&p, 1, UINT64_MAX, x, 128, 1, y, SIZE_MAX), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepared_matmul(&p, 0, 130, x, 127, 1, y, 130), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepared_matmul(&p, 0, 130, x, 128, 1, y, 129), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepared_matmul(&p, 0, 130, NULL, 128, 1, y, 130), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepared_matmul(&p, 0, 130, x, 128, 1, NULL, 130), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepared_matmul(&p, 0, 130, NULL, 128, 0, NULL, 130), WCD_OK);
    assert_int_equal(wcd_prepared_matmul_pool(NULL, NULL, x, 128, 1, y, 130), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepared_matmul_pool(&p, &pool, x, 128, 1, y, 130), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepared_matmul_pool(&p, NULL, x, 128, 1, y, 129), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepared_matmul_pool(&p, NULL, x, 128, 1, NULL, 130), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepared_matmul_pool(&p, NULL, NULL, 128, 1, y, 130), WCD_E_ARGUMENT);
    assert_int_equal(wcd_prepared_matmul_pool(&p, NULL, NULL, 128, 0, NULL, 130), WCD_OK);
    pool.threads = 2, pool.run = NULL;
    assert_int_equal(wcd_prepared_matmul_pool(&p, &pool, x, 128, 1, y, 130), WCD_E_ARGUMENT);
    free(memory);
    remove(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grids),
        cmocka_unit_test(luts),
        cmocka_unit_test(luts_of_rows),
        cmocka_unit_test(sums_at_the_limits),
        cmocka_unit_test(inputs_at_the_limits),
        cmocka_unit_test(errors_beside_matvec),
        cmocka_unit_test(files),
        cmocka_unit_test(what_gains),
        cmocka_unit_test(misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
