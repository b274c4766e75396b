/* Transforms of the inputs: the kinds diagonal, hadamard and permute against their definition in double, whole tensors
 * with transforms, what is refused, the change of basis of weights and statistics, and the driver. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hash.h"
#include "basis.h"
#include "compress.h"
#include "parts_util.h"
#include "recipe.h"
#include "wcz_image.h"

/* ---- the kinds -------------------------------------------------------------------------------------------------- */

typedef struct opened {
    uint8_t *blob, params[WC_PARAMS_SIZE];
    uint64_t size;
    wcd_view view;
} opened;

static opened open_transform(const wc_part *p)
{
    opened o = {0};
    size_t rows, cols;
    const wc_encoder *e = wc_encoder_for(p->kind);
    wc_part_shape(p, &rows, &cols);
    assert_int_equal(rows, 1);
    assert_int_equal(e->size(NULL, p, &o.size), WC_OK);
    o.blob = malloc(o.size);
    assert_non_null(o.blob);
    memset(o.blob, 0xa5, o.size);
    assert_int_equal(e->encode(NULL, p, o.blob, o.params), WC_OK);
    assert_int_equal(wcd_view_open((uint16_t)p->kind, 1, o.params, o.blob, o.size, 1, cols, &o.view), WCD_OK);
    assert_false(o.view.numeric);
    return o;
}

/* row C and C x, and that transforms other than diagonals are orthogonal. Usually 2e-7 of the norm; a wrong sign gives
 * 1e-2. */
static void check_transform(wc_part p)
{
    opened o = open_transform(&p);
    size_t n = o.view.cols;
    float *w = calloc(3 * n, sizeof *w), *row = w + n, *input = row + n;
    double norm = 0;
    assert_non_null(w);
    for (size_t j = 0; j < n; j++) {
        w[j] = row[j] = input[j] = sinf((float)(3 * j + 1)) + 0.25f;
        norm += (double)w[j] * (double)w[j];
    }
    o.view.d->row(&o.view, row);
    o.view.d->input(&o.view, input);
    double most = p.kind == WC_PART_DIAGONAL ? ldexp(1, p.diagonal.scale_exp) : 1;
    for (size_t j = 0; j<n; j += n> 4096 ? 37 : 1) {
        double wc = 0, cx = 0;
        for (size_t i = 0; i < n; i++) {
            wc += (double)w[i] * transform_entry(&p, i, j);
            cx += transform_entry(&p, j, i) * (double)w[i];
        }
        assert_true(fabs(wc - (double)row[j]) <= 3e-6 * most * sqrt(norm));
        assert_true(fabs(cx - (double)input[j]) <= 3e-6 * most * sqrt(norm));
    }
    if (p.kind != WC_PART_DIAGONAL) {
        o.view.d->row(&o.view, input); /* C^T (C x) */
        for (size_t j = 0; j < n; j++)
            assert_true(fabs((double)(input[j] - w[j])) <= 3e-6 * sqrt(norm));
    }
    free(w), free(o.blob);
    wc_part_free(&p);
}

static void kinds_do_what_they_say(void **state)
{
    (void)state;
    for (size_t cols = 1; cols < 40; cols += 7)
        check_transform(diagonal_make(cols, 5 - (int)cols));
    for (size_t order = 2; order <= 8192; order *= 2)
        for (size_t blocks = 1; blocks <= 3; blocks += 2)
            check_transform(hadamard_make(blocks * order, order));
    check_transform(hadamard_make(12, 2));
    for (size_t cols = 1; cols < 40; cols += 6)
        check_transform(permute_make(cols, 1)); /* a cycle */
    check_transform(permute_make(64, 63));      /* pairs */
    check_transform(permute_make(4096, 1337));
    check_transform(permute_make(65536, 4099));
    check_transform(permute_make(65537, 4099)); /* numbers of 32 bits */
}

/* Nothing is rounded on the way, and whatever the numbers are, no value is lost, repeated or read from outside: place j
 * and the one that its number names change places, if there is one. */
static void any_numbers_are_a_permutation(void **state)
{
    enum { N = 300 };
    float x[N], y[N];
    (void)state;
    wc_part p = permute_make(N, 7);
    opened o = open_transform(&p);
    for (unsigned round = 0; round < 50; round++) {
        bool seen[N] = {false};
        unsigned swap[N];
        for (unsigned j = 0; j < N; j++) {
            uint64_t random = XXH3_64bits_withSeed(&j, sizeof j, round);
            swap[j] = random >> 40 & 1 ? (unsigned)(random % 0x10000) : (unsigned)(random % (N + 1));
            o.blob[2 * j] = (uint8_t)swap[j], o.blob[2 * j + 1] = (uint8_t)(swap[j] >> 8);
            x[j] = y[j] = (float)j;
        }
        o.view.d->input(&o.view, x);
        for (unsigned j = 0; j < N; j++) {
            if (swap[j] >= N) continue;
            float moved = y[j];
            y[j] = y[swap[j]], y[swap[j]] = moved;
        }
        assert_memory_equal(x, y, sizeof x);
        for (unsigned j = 0; j < N; j++) {
            assert_true(x[j] >= 0 && x[j] < N && !seen[(unsigned)x[j]]);
            seen[(unsigned)x[j]] = true;
        }
        o.view.d->row(&o.view, x);
        for (unsigned j = 0; j < N; j++)
            assert_true(x[j] == (float)j);
    }
    free(o.blob);
    wc_part_free(&p);
}

typedef struct lie {
    unsigned at, value;
} lie;

static void opens_as(wcd_status want, const opened *o, unsigned at, unsigned value, uint64_t size, uint64_t cols)
{
    uint8_t params[WCD_PARAMS];
    wcd_view v;
    memcpy(params, o->params, sizeof params);
    params[at] = (uint8_t)value;
    wcd_status s = wcd_view_open(o->view.d->id, 1, params, o->blob, size, 1, cols, &v);
    if (s != want) fail_msg("%s: %u at %u, %d", o->view.d->name, value, at, (int)s);
}

static void bad_parameters_are_refused(void **state)
{
    (void)state;
    wc_part d = diagonal_make(24, 3), h = hadamard_make(24, 8), m = permute_make(24, 5);
    opened od = open_transform(&d), oh = open_transform(&h), om = open_transform(&m);
    opens_as(WCD_OK, &od, 0, 126, 48, 24);
    opens_as(WCD_E_CORRUPT, &od, 0, 127, 48, 24);
    opens_as(WCD_E_CORRUPT, &od, 1, 1, 48, 24);
    opens_as(WCD_E_CORRUPT, &od, 31, 1, 48, 24);
    opens_as(WCD_E_CORRUPT, &od, 0, 0, 47, 24);
    opens_as(WCD_E_CORRUPT, &od, 0, 0, 0, 0);
    opens_as(WCD_OK, &oh, 0, 1, 3, 24);
    opens_as(WCD_E_CORRUPT, &oh, 0, 0, 3, 24);
    opens_as(WCD_E_CORRUPT, &oh, 0, 4, 3, 24); /* 16 does not divide 24 */
    opens_as(WCD_E_CORRUPT, &oh, 0, 31, 3, 24);
    opens_as(WCD_E_CORRUPT, &oh, 0, 64, 3, 24);
    opens_as(WCD_E_CORRUPT, &oh, 0, 255, 3, 24);
    opens_as(WCD_E_CORRUPT, &oh, 1, 1, 3, 24);
    opens_as(WCD_E_CORRUPT, &oh, 0, 3, 4, 24);
    opens_as(WCD_E_CORRUPT, &oh, 0, 3, 0, 0);
    opens_as(WCD_OK, &om, 0, 0, 48, 24);
    opens_as(WCD_E_CORRUPT, &om, 0, 1, 48, 24);
    opens_as(WCD_E_CORRUPT, &om, 31, 1, 48, 24);
    opens_as(WCD_E_CORRUPT, &om, 0, 0, 96, 24);
    opens_as(WCD_E_CORRUPT, &om, 0, 0, 0, 0);
    opens_as(WCD_OK, &om, 0, 0, 131072, 65536);
    opens_as(WCD_E_CORRUPT, &om, 0, 0, 131074, 65537);
    opens_as(WCD_OK, &om, 0, 0, 262148, 65537);
    opens_as(WCD_E_CORRUPT, &om, 0, 0, ((uint64_t)4 << 32) + 4, ((uint64_t)1 << 32) + 1);
    free(od.blob), free(oh.blob), free(om.blob);
    wc_part_free(&d), wc_part_free(&h), wc_part_free(&m);
}

static void encoder_refuses(const wc_part *p, const char *why)
{
    wc_ctx ctx;
    uint8_t dst[256], params[WC_PARAMS_SIZE];
    wc_ctx_init(&ctx, 1);
    assert_int_equal(wc_encoder_for(p->kind)->encode(&ctx, p, dst, params), WC_BUG);
    if (!strstr(ctx.error, why)) fail_msg("`%s' does not say `%s'", ctx.error, why);
}

static void encoders_check_every_number(void **state)
{
    static const uint16_t bad[] = {0, 0x8000, 0x7c00, 0xfc00, 0x7e00};
    (void)state;
    wc_part d = diagonal_make(24, 3), h = hadamard_make(24, 8), m = permute_make(24, 5);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        d.diagonal.scale[5] = bad[i];
        encoder_refuses(&d, "of column 5 is not finite, or 0");
    }
    d.diagonal.scale_exp = -127;
    encoder_refuses(&d, "exponent -127");
    h.hadamard.negative[7] = 2;
    encoder_refuses(&h, "position 7 does not fit 1 bits");
    h.hadamard.order = 6;
    encoder_refuses(&h, "order 6 for 24 columns");
    h.hadamard.order = 16;
    encoder_refuses(&h, "order 16 for 24 columns");
    h.hadamard.order = 1;
    encoder_refuses(&h, "order 1 for");
    m.permute.from[20] = 24;
    encoder_refuses(&m, "place 20 takes column 24 of 24");
    m.permute.from[20] = m.permute.from[3];
    encoder_refuses(&m, "place 20 takes column 18 of 24, which is no column or taken");
    wc_part_free(&d), wc_part_free(&h), wc_part_free(&m);
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

/* Rows against the double product of the parts with the transforms from their definition, and y = W x both ways. */
static void check_tensor(const wcd_file *f, const char *name, const wc_part *sum, size_t n_sum, const wc_part *c,
                         size_t n_c)
{
    wcd_tensor t;
    wcd_part_info info;
    float w[512], x[512], z[512], y[8];
    double whole[512], next[512];
    assert_int_equal(wcd_find(f, name, &t), WCD_OK);
    assert_int_equal(t.n_transforms, n_c);
    assert_int_equal(wcd_part(&t, (uint32_t)(n_sum + n_c), &info), WCD_E_ARGUMENT);
    assert_int_equal(wcd_part(&t, (uint32_t)n_sum, &info), n_c ? WCD_OK : WCD_E_ARGUMENT);
    if (n_c) assert_true(info.kind == c[0].kind && info.rows == 1 && info.cols == t.cols && !info.n_children);
    for (size_t j = 0; j < t.cols; j++)
        x[j] = cosf((float)j);
    assert_int_equal(wcd_transform(&t, x, z), WCD_OK);
    assert_int_equal(wcd_matvec_transformed(&t, 0, t.rows, z, y), WCD_OK);
    float untransformed[8];
    assert_int_equal(wcd_matvec(&t, x, untransformed), n_c ? WCD_E_TRANSFORM : WCD_OK);
    if (n_c) assert_int_equal(wcd_raw_rows(&t, 0, 1, w), WCD_E_NOT_NUMERIC); /* the file's own bytes are not there */
    for (size_t r = 0; r < t.rows; r++) {
        double norm = 0, product = 0;
        for (size_t j = 0; j < t.cols; j++) {
            whole[j] = 0;
            for (size_t p = 0; p < n_sum; p++)
                whole[j] += (double)part_value(&sum[p], r, j);
        }
        for (size_t k = n_c; k--; memcpy(whole, next, sizeof next))
            for (size_t j = 0; j < t.cols; j++) {
                next[j] = 0;
                for (size_t i = 0; i < t.cols; i++)
                    next[j] += whole[i] * transform_entry(&c[k], i, j);
            }
        for (size_t j = 0; j < t.cols; j++)
            norm += whole[j] * whole[j], product += whole[j] * (double)x[j];
        assert_int_equal(wcd_rows(&t, r, 1, w, t.cols), WCD_OK);
        /* usually 3e-7; 1e-2 when a transform is missing or on the wrong side */
        for (size_t j = 0; j < t.cols; j++)
            assert_true(fabs((double)w[j] - whole[j]) <= 1e-5 * sqrt(norm));
        assert_true(fabs((double)y[r] - product) <= 1e-5 * sqrt(norm) * sqrt((double)t.cols));
    }
}

static void golden_tensors_are_sums_times_transforms(void **state)
{
    uint64_t size;
    uint8_t *image = load("tests/data/golden/transforms.wcz", &size);
    wcd_file f;
    (void)state;
    assert_int_equal(wcd_open(&f, image, size), WCD_OK);
    wc_part sum[2], c[2];
    sum[0] = grid_fill(grid_plan(6, 24, 3, 8, 0, true));
    c[0] = diagonal_make(24, -3), c[1] = hadamard_make(24, 8);
    check_tensor(&f, "both", sum, 1, c, 2);
    wc_part_free(&sum[0]), wc_part_free(&c[0]), wc_part_free(&c[1]);
    sum[0] = lowrank_fill(lowrank_plan(5, 6, 2, float_plan(5, 2, WC_F16), grid_plan(2, 6, 4, 6, 0, false)));
    sum[0].lowrank.b->grid.zero_fixed = 8;
    sum[1] = sparse_fill(sparse_plan(5, 6, 4, WC_F16), 4);
    c[0] = hadamard_make(6, 2);
    check_tensor(&f, "children", sum, 2, c, 1);
    wc_part_free(&sum[0]), wc_part_free(&sum[1]), wc_part_free(&c[0]);
    sum[0] = float_fill(float_plan(3, 512, WC_F16)), c[0] = hadamard_make(512, 512);
    check_tensor(&f, "hadamard", sum, 1, c, 1);
    wc_part_free(&sum[0]), wc_part_free(&c[0]);
    sum[0] = float_fill(float_plan(4, 7, WC_BF16)), c[0] = diagonal_make(7, 2);
    check_tensor(&f, "diagonal", sum, 1, c, 1);
    wc_part_free(&sum[0]), wc_part_free(&c[0]);
    sum[0] = grid_fill(grid_plan(3, 21, 4, 8, 0, true)), sum[0].grid.scale_exp = 2, c[0] = permute_make(21, 5);
    check_tensor(&f, "permute", sum, 1, c, 1);
    wc_part_free(&sum[0]), wc_part_free(&c[0]);
    sum[0] = float_fill(float_plan(2, 16, WC_F16)), c[0] = permute_make(16, 7), c[1] = diagonal_make(16, 1);
    check_tensor(&f, "permute.diagonal", sum, 1, c, 2);
    wc_part_free(&sum[0]), wc_part_free(&c[0]), wc_part_free(&c[1]);
    sum[0] = float_fill(float_plan(2, 8, WC_F16));
    check_tensor(&f, "plain", sum, 1, NULL, 0);
    wc_part_free(&sum[0]);
    free(image);
}

/* Fields of transforms.wcz: of the tensor record (part -1) or of one of the tensor's part records. */
static void every_lie_about_transforms_is_seen(void **state)
{
    static const struct {
        const char *tensor;
        int part;
        unsigned at;
        uint32_t value;
        wcd_status status;
    } lies[] = {
        {"both", -1, 96, 0, WCD_E_CORRUPT},          /* its transforms belong to nothing */
        {"both", -1, 96, 1, WCD_E_CORRUPT},          /* neither does the second */
        {"both", -1, 96, 3, WCD_E_CORRUPT},          /* it has the first part of the next tensor */
        {"both", -1, 96, UINT32_MAX, WCD_E_CORRUPT}, /* 1 + (2^32 - 1) wraps */
        {"both", -1, 92, 1, WCD_E_VERSION},          /* a left transform */
        {"both", -1, 84, 2, WCD_E_CORRUPT},
        {"both", -1, 84, 0, WCD_E_CORRUPT},
        {"plain", -1, 96, 1, WCD_E_CORRUPT},
        {"plain", 0, 0, 0x10009, WCD_E_CORRUPT}, /* a diagonal in the sum */
        {"plain", 0, 0, 0x1000a, WCD_E_CORRUPT},
        {"plain", 0, 0, 0x1000c, WCD_E_CORRUPT},
        {"plain", 0, 40, WC_I32, WCD_E_CORRUPT},    /* size */
        {"plain", 0, 40, WC_I16, WCD_OK},           /* bytes without values may stand alone, */
        {"diagonal", 0, 40, WC_I16, WCD_E_CORRUPT}, /* but not be transformed */
        {"diagonal", 1, 0, 0x10001, WCD_E_CORRUPT}, /* a float among the transforms */
        {"diagonal", 1, 0, 0x10063, WCD_E_VERSION}, /* an unknown kind */
        {"diagonal", 1, 0, 0x20009, WCD_E_VERSION}, /* an unknown version */
        {"diagonal", 1, 36, 2, WCD_E_VERSION},      /* a transform with children */
        {"hadamard", 1, 40, 10, WCD_E_CORRUPT},     /* order 1024 for 512 columns */
        {"permute", 1, 0, 0x2000c, WCD_E_VERSION},
        {"permute", 1, 40, 1, WCD_E_CORRUPT},
        {"permute", 1, 16, 40, WCD_E_CORRUPT},              /* a number is missing */
        {"permute", 1, 36, 1, WCD_E_VERSION},               /* a permutation with a child */
        {"permute.diagonal", 1, 0, 0x10009, WCD_OK},        /* as many bytes, which are scales then */
        {"permute.diagonal", 2, 0, 0x1000c, WCD_E_CORRUPT}, /* its exponent is none of a permutation's parameters */
        {"children", 0, 32, 2, WCD_E_CORRUPT},              /* the first factor is the transform */
        {"children", 3, 0, 0x10009, WCD_E_CORRUPT},         /* a factor is a diagonal */
        {"children", 3, 0, 0x1000a, WCD_E_CORRUPT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint64_t size;
        uint8_t *image = load("tests/data/golden/transforms.wcz", &size);
        wcd_file f;
        wcd_tensor t;
        assert_int_equal(wcd_open(&f, image, size), WCD_OK);
        assert_int_equal(wcd_find(&f, lies[i].tensor, &t), WCD_OK);
        uint8_t *record = lies[i].part < 0 ? image + (f.tensors - f.data) + 128 * t.index
                                           : image + (f.parts - f.data) + 80 * (t.first_part + (uint32_t)lies[i].part);
        for (int b = 0; b < 4; b++)
            record[lies[i].at + (unsigned)b] = (uint8_t)(lies[i].value >> 8 * b);
        image_rehash(image, size);
        wcd_status s = image_exercise(image, size);
        if (s != lies[i].status)
            fail_msg("lie %zu about `%s': status %d (%s), not %d", i, lies[i].tensor, (int)s,
                     wcd_open_reason(image, size), (int)lies[i].status);
        free(image);
    }
}

static void plans_with_misplaced_transforms_are_refused(void **state)
{
    wc_ctx ctx;
    wc_wcz *z;
    (void)state;
    wc_part parts[3] = {float_plan(4, 8, WC_F16), {.kind = WC_PART_HADAMARD, .hadamard = {.cols = 8, .order = 8}}};
    wc_wcz_tensor t = {"w", WC_F16, 2, {4, 8}, 1, parts, 1};
    wc_ctx_init(&ctx, 1);
    assert_int_equal(wc_wcz_layout(&ctx, &t, 1, NULL, 0, &z), WC_OK);
    assert_int_equal(wc_wcz_n_parts(z, 0), 1);
    wc_wcz_free(&z);
    t.n_parts = 2, t.n_transforms = 0;
    assert_int_equal(wc_wcz_layout(&ctx, &t, 1, NULL, 0, &z), WC_BUG);
    t.n_parts = 1, t.n_transforms = 1, parts[1] = float_plan(1, 8, WC_F16);
    assert_int_equal(wc_wcz_layout(&ctx, &t, 1, NULL, 0, &z), WC_BUG);
    parts[1] = (wc_part){.kind = WC_PART_HADAMARD, .hadamard = {.cols = 4, .order = 4}};
    assert_int_equal(wc_wcz_layout(&ctx, &t, 1, NULL, 0, &z), WC_BUG);
}

/* ---- the change of basis ---------------------------------------------------------------------------------------- */

enum { ROWS = 21, COLS = 48, TOKENS = 100 };

static float number(size_t i)
{
    return sinf((float)(i * i % 1009)) + 0.1f;
}

/* Moments of TOKENS inputs, after the transform when c is given: from the tokens themselves, in double. */
static void sum_up(const wc_part *c, float *h, float *cross, float *r, float *mean, float *abs_mean)
{
    static double x[TOKENS][COLS], d[TOKENS][COLS];
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t j = 0; j < COLS; j++) {
            x[t][j] = d[t][j] = 0;
            for (size_t i = 0; i < COLS; i++) {
                double entry = c ? transform_entry(c, j, i) : i == j;
                x[t][j] += entry * (double)(number(t * COLS + i) * (float)(1 + i % 5));
                d[t][j] += entry * (double)number(7 * t + i * COLS);
            }
        }
    for (size_t i = 0; i < COLS; i++) {
        double sum = 0, magnitude = 0;
        for (size_t t = 0; t < TOKENS; t++)
            sum += x[t][i] / TOKENS, magnitude += fabs(x[t][i]) / TOKENS;
        mean[i] = (float)sum, abs_mean[i] = (float)magnitude;
        for (size_t j = 0; j < COLS; j++) {
            double second = 0, drift = 0, residual = 0;
            for (size_t t = 0; t < TOKENS; t++) {
                second += x[t][i] * x[t][j] / TOKENS, drift += d[t][i] * x[t][j] / TOKENS;
                if (i < ROWS) residual += (double)number(t + i * TOKENS) * x[t][j] / TOKENS;
            }
            h[i * COLS + j] = (float)second, cross[i * COLS + j] = (float)drift;
            if (i < ROWS) r[i * COLS + j] = (float)residual;
        }
    }
}

/* Usually 1e-6 of the largest; 0.1 for moments of the wrong side. */
static void close_to(const float *got, const float *want, size_t n, double tolerance, const char *what)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)want[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= tolerance * most))
            fail_msg("%s %zu: %g, not %g", what, i, (double)got[i], (double)want[i]);
}

typedef struct moments {
    float h[COLS * COLS], c[COLS * COLS], r[ROWS * COLS], mean[COLS], abs_mean[COLS];
} moments;

static void check_basis(wc_part p)
{
    static moments before, after;
    static float w[ROWS * COLS], moved[ROWS * COLS];
    wc_ctx ctx;
    wc_stats out;
    wc_ctx_init(&ctx, 3);
    opened o = open_transform(&p);
    sum_up(NULL, before.h, before.c, before.r, before.mean, before.abs_mean);
    sum_up(&p, after.h, after.c, after.r, after.mean, after.abs_mean);
    wc_stats in = {COLS, TOKENS, before.h, before.c, before.r, before.mean, before.abs_mean};
    assert_int_equal(wc_basis_stats(&ctx, &o.view, &in, ROWS, &out), WC_OK);
    assert_true(out.n == COLS && out.tokens == TOKENS);
    close_to(out.h, after.h, COLS * COLS, 1e-5, "H");
    close_to(out.c, after.c, COLS * COLS, 1e-5, "C");
    close_to(out.r, after.r, ROWS * COLS, 1e-5, "R");
    close_to(out.mean, after.mean, COLS, 1e-5, "mean");
    /* of a Hadamard transform only nearly: usually 0.1; a wrong channel gives 1 */
    close_to(out.abs_mean, after.abs_mean, COLS, p.kind == WC_PART_HADAMARD ? 0.3 : 1e-5, "E|x|");
    for (size_t i = 0; i < COLS; i++)
        for (size_t j = 0; j < i; j++)
            assert_true(out.h[i * COLS + j] == out.h[j * COLS + i]);
    wc_stats_free(&out);

    wc_stats plain = {.n = COLS};
    assert_int_equal(wc_basis_stats(&ctx, &o.view, &plain, ROWS, &out), WC_OK);
    assert_true(!out.h && !out.c && !out.r && !out.mean && !out.abs_mean);

    for (size_t i = 0; i < ROWS * COLS; i++)
        w[i] = moved[i] = number(i);
    assert_int_equal(wc_basis_weights(&ctx, &o.view, moved, ROWS), WC_OK);
    for (size_t r = 0; r < ROWS; r++) {
        o.view.d->row(&o.view, moved + r * COLS);
        close_to(moved + r * COLS, w + r * COLS, COLS, 1e-5, "W");
    }
    free(o.blob);
    wc_part_free(&p);
}

static void weights_and_moments_change_together(void **state)
{
    (void)state;
    check_basis(diagonal_make(COLS, 6));
    check_basis(hadamard_make(COLS, 2));
    check_basis(hadamard_make(COLS, 16));
    check_basis(permute_make(COLS, 5));
    check_basis(permute_make(COLS, COLS - 1));
}

/* ---- the method reorder ------------------------------------------------------------------------------------------ */

/* What the step makes of columns whose weights have these squares, and inputs these in the other order. */
static wc_status reordered(wc_ctx *ctx, const float *square, size_t n, const char *by, int group, wc_part *planned,
                           wc_part *made)
{
    static float h[COLS * COLS], w[ROWS * COLS];
    char text[64];
    wc_recipe recipe;
    for (size_t i = 0; i < n * n; i++)
        h[i] = i % (n + 1) ? 0.5f : square[n - 1 - i / n];
    memset(w, 0, sizeof w);
    for (size_t j = 0; j < n; j++)
        w[j % ROWS * n + j] = j % 2 ? sqrtf(square[j]) : -sqrtf(square[j]);
    snprintf(text, sizeof text, "reorder(by=%s) | rtn(group=%d)", by, group);
    assert_int_equal(wc_recipe_parse(ctx, text, &recipe), WC_OK);
    wc_stats stats = {.n = n, .tokens = TOKENS, .h = h};
    wc_job job = {.ctx = ctx, .tensor = "w", .w = w, .stats = &stats, .at = wc_recipe_place(&recipe, 0, ROWS, n)};
    *planned = *made = (wc_part){0};
    recipe.step[0].method->plan(&job.at, recipe.step[0].opt, planned);
    wc_status status = recipe.step[0].method->run(&job, recipe.step[0].opt, made);
    wc_recipe_free(&recipe);
    return status;
}

/* Place i: so many columns are larger, or equal and further left. */
static void is_ordered(const wc_part *p, const float *square, size_t n, bool turned)
{
    assert_true(p->kind == WC_PART_PERMUTE && p->permute.cols == n);
    for (size_t i = 0; i < n; i++) {
        size_t before = 0, c = p->permute.from[i];
        for (size_t j = 0; j < n; j++) {
            float a = square[turned ? n - 1 - j : j], b = square[turned ? n - 1 - c : c];
            before += a > b || (a == b && j < c);
        }
        assert_int_equal(before, i);
    }
}

static void columns_are_ordered_by_size(void **state)
{
    static const size_t cols[] = {COLS, 9, 33};
    float square[COLS];
    wc_ctx ctx;
    wc_part planned, made;
    (void)state;
    wc_ctx_init(&ctx, 1);
    for (size_t j = 0; j < COLS; j++)
        square[j] = (float)((j * 29 + 7) % 16 * ((j * 29 + 7) % 16)) / 4; /* ties, and columns of zeros */
    for (size_t i = 0; i < 2 * sizeof cols / sizeof *cols; i++) {
        size_t n = cols[i / 2];
        assert_int_equal(reordered(&ctx, square, n, i % 2 ? "inputs" : "weights", 8, &planned, &made), WC_OK);
        assert_true(planned.kind == WC_PART_PERMUTE && planned.permute.cols == n && !planned.permute.from);
        is_ordered(&made, square, n, i % 2);
        wc_part_free(&made);
    }
}

static void nothing_is_moved_where_a_row_is_one_group(void **state)
{
    static const struct {
        size_t cols;
        int group;
    } cases[] = {{COLS, 0}, {COLS, COLS}, {COLS, 4096}, {1, 1}, {1, 32}};
    float square[COLS] = {1, 2, 3};
    wc_ctx ctx;
    wc_part planned, made;
    (void)state;
    wc_ctx_init(&ctx, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(
            reordered(&ctx, square, cases[i].cols, i % 2 ? "inputs" : "weights", cases[i].group, &planned, &made),
            WC_OK);
        assert_true(!planned.kind && !made.kind);
    }
    square[COLS - 3] = NAN;
    assert_int_equal(reordered(&ctx, square, COLS, "inputs", 8, &planned, &made), WC_NUMERIC);
    assert_non_null(strstr(ctx.error, "w: the second moment of input 2 is"));
}

/* ---- the driver ------------------------------------------------------------------------------------------------- */

static void plan_scale(const wc_place *at, const void *opt, wc_part *out)
{
    (void)opt;
    out->kind = WC_PART_DIAGONAL;
    out->diagonal = (wc_diagonal){.cols = at->cols, .scale_exp = 5};
}

static wc_status run_scale(wc_job *job, const void *opt, wc_part *out)
{
    (void)opt;
    *out = diagonal_make(job->at.cols, 5);
    return WC_OK;
}

static void plan_turn(const wc_place *at, const void *opt, wc_part *out)
{
    (void)opt;
    out->kind = WC_PART_HADAMARD;
    out->hadamard = (wc_hadamard){.cols = at->cols, .order = 16};
}

static wc_status run_turn(wc_job *job, const void *opt, wc_part *out)
{
    (void)opt;
    *out = hadamard_make(job->at.cols, 16);
    return WC_OK;
}

static void plan_half(const wc_place *at, const void *opt, wc_part *out)
{
    (void)opt;
    *out = float_plan(at->rows, at->cols, WC_F16);
}

static const float *expected_h; /* of the inputs after both transforms */

/* The target in f16: what is left is rounding, unless the basis was wrong. */
static wc_status run_half(wc_job *job, const void *opt, wc_part *out)
{
    plan_half(&job->at, opt, out);
    WC_TRY(wc_float_alloc(job->ctx, &out->floats));
    for (size_t i = 0; i < job->at.rows * job->at.cols; i++) {
        uint16_t half = wc_f32_f16(job->w[i]);
        out->floats.owned[2 * i] = (uint8_t)half, out->floats.owned[2 * i + 1] = (uint8_t)(half >> 8);
    }
    close_to(job->stats->h, expected_h, COLS * COLS, 1e-5, "H of the last step");
    return WC_OK;
}

static const wc_method scale = {.name = "scale", .role = WC_STEP_TRANSFORM, .plan = plan_scale, .run = run_scale};
static const wc_method turn = {.name = "turn", .role = WC_STEP_TRANSFORM, .plan = plan_turn, .run = run_turn};
static const wc_method half = {.name = "half", .plan = plan_half, .run = run_half};

static wc_status read_weight(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    (void)ctx;
    for (size_t i = 0; i < nr * w->cols; i++)
        dst[i] = number(r0 * w->cols + i);
    return WC_OK;
}

/* H of the inputs behind both transforms, by the one-step oracle above. */
static const float *both_h(wc_ctx *ctx, const moments *m)
{
    static float h[COLS * COLS];
    wc_part c[2] = {diagonal_make(COLS, 5), hadamard_make(COLS, 16)};
    wc_stats now = {.n = COLS, .h = m->h}, next;
    for (int k = 0; k < 2; k++) {
        opened o = open_transform(&c[k]);
        assert_int_equal(wc_basis_stats(ctx, &o.view, &now, ROWS, &next), WC_OK);
        if (k) wc_stats_free(&now);
        now = next;
        free(o.blob), wc_part_free(&c[k]);
    }
    memcpy(h, now.h, sizeof h);
    wc_stats_free(&now);
    return h;
}

static void transforms_go_through_the_driver(void **state)
{
    static moments m;
    static float a[ROWS * COLS], b[ROWS * COLS];
    char path[256], partial[300];
    wc_ctx ctx;
    wc_wcz *z;
    wc_packed packed, again = {.rows = ROWS, .cols = COLS};
    wc_tensor_result result;
    snprintf(path, sizeof path, "%s/t.wcz", (char *)*state);
    snprintf(partial, sizeof partial, "%s.partial", path);
    wc_ctx_init(&ctx, 2);
    sum_up(NULL, m.h, m.c, m.r, m.mean, m.abs_mean);
    expected_h = both_h(&ctx, &m);
    wc_stats stats = {COLS, TOKENS, m.h, m.c, m.r, m.mean, m.abs_mean};
    wc_recipe recipe = {.n = 3, .step = {{.method = &scale}, {.method = &turn}, {.method = &half}}};
    assert_int_equal(wc_recipe_transforms(&recipe), 2);
    wc_place at = {.rows = ROWS, .cols = COLS};
    wc_part plan[3] = {{0}};
    plan_half(&at, NULL, &plan[0]), plan_scale(&at, NULL, &plan[1]), plan_turn(&at, NULL, &plan[2]);
    wc_wcz_tensor t = {"w", WC_F32, 2, {ROWS, COLS}, 1, plan, 2};
    assert_int_equal(wc_wcz_layout(&ctx, &t, 1, NULL, 0, &z), WC_OK);
    assert_int_equal(wc_wcz_create(&ctx, z, partial), WC_OK);
    wc_weight w = {.rows = ROWS, .cols = COLS, .name = "w", .read = read_weight};
    wc_compress_job job = {.weight = &w, .recipe = &recipe, .stats = &stats, .wcz = z};
    if (wc_compress(&ctx, &job, &packed, &result) != WC_OK) fail_msg("%s", ctx.error);
    wc_wcz_free(&z);
    assert_true(packed.n_parts == 1 && packed.n_transforms == 2);
    /* f16 roundings, usually 1e-8; 1 in a wrong basis */
    assert_true(result.error > 0 && result.error < 1e-6);

    /* As after a kill: everything is taken over from its checksums, the part first. */
    assert_int_equal(wc_wcz_layout(&ctx, &t, 1, NULL, 0, &z), WC_OK);
    assert_int_equal(wc_wcz_create(&ctx, z, partial), WC_OK);
    for (size_t p = 0; p < 3; p++) {
        wc_wcz_blob blob;
        const wc_wcz_blob *sealed = p ? &packed.transform_blob[p - 1] : &packed.blob[0];
        assert_int_equal(wc_wcz_get(&ctx, z, 0, p, sealed, &blob), WC_OK);
        assert_int_equal(wc_packed_add(&ctx, &again, &blob), WC_OK);
    }
    wc_wcz_describe(z, 0, result.error, 0);
    assert_int_equal(wc_wcz_finish(&ctx, z, path), WC_OK);
    wc_wcz_free(&z);

    wc_wcz_reader reader;
    wcd_tensor found;
    assert_int_equal(wc_wcz_open(&ctx, path, &reader), WC_OK);
    assert_int_equal(wcd_find(&reader.file, "w", &found), WCD_OK);
    assert_int_equal(wcd_rows(&found, 0, ROWS, b, COLS), WCD_OK);
    const wc_packed *both[] = {&packed, &again};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(wc_packed_rows(&ctx, both[i], 0, ROWS, a), WC_OK);
        assert_memory_equal(a, b, sizeof a);
    }
    read_weight(&ctx, &w, 0, ROWS, b);
    close_to(a, b, ROWS * COLS, 2e-3, "W");
    wc_wcz_close(&reader);
    wc_packed_free(&packed);
    wc_packed_free(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_do_what_they_say),
        cmocka_unit_test(any_numbers_are_a_permutation),
        cmocka_unit_test(bad_parameters_are_refused),
        cmocka_unit_test(encoders_check_every_number),
        cmocka_unit_test(golden_tensors_are_sums_times_transforms),
        cmocka_unit_test(every_lie_about_transforms_is_seen),
        cmocka_unit_test(plans_with_misplaced_transforms_are_refused),
        cmocka_unit_test(weights_and_moments_change_together),
        cmocka_unit_test(columns_are_ordered_by_size),
        cmocka_unit_test(nothing_is_moved_where_a_row_is_one_group),
        cmocka_unit_test_setup_teardown(transforms_go_through_the_driver, make_scratch, remove_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
