/* The kind signs: encoder -> decoder against values computed one by one, levels alone and in prefixes, hostile bytes,
 * what encoder and decoder refuse, the golden file; and cutting files of stacks. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cut.h"
#include "decode/decoder.h"
#include "parts_util.h"

/* A part as bytes, in a block of exactly its size, and opened. */
typedef struct encoded {
    uint8_t *data, params[WC_PARAMS_SIZE];
    uint64_t size;
    wcd_view view;
} encoded;

static encoded encode(const wc_part *p)
{
    encoded e;
    const wc_encoder *enc = wc_encoder_for(p->kind);
    assert_int_equal(enc->size(NULL, p, &e.size), WC_OK);
    e.data = malloc(e.size);
    assert_non_null(e.data);
    memset(e.data, 0xa5, e.size);
    assert_int_equal(enc->encode(NULL, p, e.data, e.params), WC_OK);
    assert_int_equal(wcd_view_open(7, 1, e.params, e.data, e.size, p->signs.rows, p->signs.cols, &e.view), WCD_OK);
    return e;
}

static float *decode(const wcd_view *v)
{
    float *w = malloc(v->rows * v->cols * sizeof *w);
    assert_non_null(w);
    assert_int_equal(wcd_view_set_rows(v, 0, v->rows, w, v->cols), WCD_OK);
    return w;
}

static const struct {
    size_t rows, cols, n, subset;
    wc_signs_form form;
    unsigned levels;
    const char *which;
} table[] = {
    {1, 1, 1, 0, WC_SIGNS_PRODUCT, 1, ""},
    {3, 65, 2, 0, WC_SIGNS_PRODUCT, 4, ""},
    {17, 300, 5, 0, WC_SIGNS_PRODUCT, 2, ""},
    {9, 520, 9, 0, WC_SIGNS_PRODUCT, 32, ""},
    {1, 1, 1, 0, WC_SIGNS_SCALES, 1, "0"},
    {3, 65, 16, 0, WC_SIGNS_SCALES, 3, "040"},
    {5, 300, 128, 40, WC_SIGNS_SCALES, 3, "611"},
    {2, 701, 7, 699, WC_SIGNS_SCALES, 4, "1265"},
    {3, 600, 600, 1, WC_SIGNS_SCALES, 16, "0124560124560121"},
    {1, 1, 1, 0, WC_SIGNS_EXPERTS, 1, ""},
    {9, 65, 1, 0, WC_SIGNS_EXPERTS, 1, ""},
    {11, 300, 16, 0, WC_SIGNS_EXPERTS, 1, ""},
};
enum { N_TABLE = sizeof table / sizeof *table };

static wc_part part_of(size_t i)
{
    wc_part p = signs_fill(signs_plan(table[i].rows, table[i].cols, table[i].form, table[i].levels, table[i].n,
                                      table[i].subset, table[i].which));
    p.signs.scale_exp = 5 - (int)i;
    return p;
}

static void every_form_decodes_to_the_documented_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TABLE; i++) {
        wc_part p = part_of(i);
        encoded e = encode(&p);
        float *w = decode(&e.view), *x = calloc(p.signs.cols, sizeof *x), *y = calloc(p.signs.rows, sizeof *y);
        for (size_t r = 0; r < p.signs.rows; r++)
            for (size_t c = 0; c < p.signs.cols; c++) {
                float want = signs_value(&p.signs, r, c), got = w[r * p.signs.cols + c];
                if (wc_f32_bits(want) != wc_f32_bits(got))
                    fail_msg("case %zu at %zu, %zu: %a, not %a", i, r, c, (double)got, (double)want);
            }
        for (size_t c = 0; c < p.signs.cols; c++)
            x[c] = (float)(c % 7) - 2.5f;
        wcd_view_product(&e.view, 0, p.signs.rows, x, y, 0);
        for (size_t r = 0; r < p.signs.rows; r++) /* the same sum for a row alone and among eight */
            assert_true(wcd_view_dot(&e.view, r, x) == y[r]);
        free(w), free(x), free(y), free(e.data);
        wc_part_free(&p);
        assert_null(p.signs.sign);
    }
}

/* The first l levels are the part that has only these levels; levels alone add up to it. */
static void a_prefix_of_a_stack_is_a_stack(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TABLE; i++) {
        wc_part p = part_of(i);
        encoded e = encode(&p);
        unsigned levels = wcd_stack_levels(&e.view);
        assert_int_equal(levels, table[i].form == WC_SIGNS_PRODUCT ? table[i].levels : 0);
        float *sum = calloc(p.signs.rows * p.signs.cols, sizeof *sum);
        for (unsigned l = 1; l <= levels; l++) {
            uint8_t params[WCD_PARAMS];
            wcd_view cut, level = wcd_stack_level(&e.view, l - 1);
            memcpy(params, e.params, sizeof params);
            uint64_t size = wcd_stack_cut(&e.view, l, params);
            assert_int_equal(wcd_view_open(7, 1, params, e.data, size, p.signs.rows, p.signs.cols, &cut), WCD_OK);
            p.signs.levels = l;
            float *a = decode(&cut), *b = decode(&level);
            for (size_t k = 0; k < p.signs.rows * p.signs.cols; k++) {
                sum[k] += b[k];
                assert_true(a[k] == signs_value(&p.signs, k / p.signs.cols, k % p.signs.cols) && a[k] == sum[k]);
            }
            encoded small = encode(&p);
            assert_int_equal(small.size, size);
            assert_memory_equal(small.data, e.data, size);
            assert_memory_equal(small.params, params, sizeof params);
            free(a), free(b), free(small.data);
        }
        free(sum), free(e.data);
        wc_part_free(&p);
    }
}

static uint64_t random_state = 20260107;

static uint8_t draw(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint8_t)(random_state >> 56);
}

/* Any blob is decoded without an access outside, and twice to the same bits. */
static void any_bytes_in_the_blob_are_harmless(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TABLE; i++) {
        wc_part p = part_of(i);
        encoded e = encode(&p);
        size_t bytes = p.signs.rows * p.signs.cols * sizeof(float);
        for (int round = 0; round < 20; round++) {
            for (uint64_t k = 0; k < e.size; k++)
                e.data[k] = round == 0 ? 0xff : round == 1 ? 0 : round % 2 || draw() < 20 ? draw() : e.data[k];
            float *a = decode(&e.view), *b = decode(&e.view);
            assert_memory_equal(a, b, bytes);
            free(a), free(b);
        }
        free(e.data);
        wc_part_free(&p);
    }
}

/* A mask that claims more columns than there are: those behind the last get nothing, all others what they had. */
static void a_lying_mask_reads_as_documented(void **state)
{
    (void)state;
    wc_part p = signs_fill(signs_plan(1, 12, WC_SIGNS_SCALES, 1, 4, 3, "1"));
    encoded e = encode(&p);
    float *before = decode(&e.view);
    size_t last = 11;
    while (!p.signs.column[last])
        last--;
    e.data[last / 8] = (uint8_t)(e.data[last / 8] & ~(1u << last % 8)); /* the third column moves to all behind it */
    for (size_t c = last + 1; c < 12; c++)
        e.data[c / 8] |= (uint8_t)(1u << c % 8);
    float *after = decode(&e.view);
    assert_true(last < 11 && after[last] == 0 && after[last + 1] == before[last]);
    for (size_t c = 0; c < 12; c++)
        if (c < last || c > last + 1) assert_true(after[c] == (c < last ? before[c] : 0));
    free(before), free(after), free(e.data);
    wc_part_free(&p);
}

static void bad_parameters_are_refused(void **state)
{
    static const struct {
        size_t part;
        unsigned at, value;
    } lies[] = {
        {1, 0, 1},   {1, 0, 2},  {1, 0, 3},   {1, 1, 0},   {1, 1, 3},  {1, 1, 5},   {1, 1, 33}, {1, 2, 1},  {1, 3, 127},
        {1, 3, 129}, {1, 4, 0},  {1, 4, 1},   {1, 4, 3},   {1, 4, 66}, {1, 7, 1},   {1, 8, 1},  {1, 12, 1}, {1, 16, 4},
        {1, 31, 1},  {6, 0, 0},  {6, 1, 2},   {6, 1, 4},   {6, 1, 17}, {6, 4, 0},   {6, 5, 2},  {6, 8, 0},  {6, 8, 49},
        {6, 9, 2},   {6, 16, 3}, {6, 16, 7},  {6, 16, 8},  {6, 16, 2}, {6, 19, 1},  {6, 31, 4}, {5, 16, 1}, {5, 17, 0},
        {11, 1, 2},  {11, 4, 0}, {11, 4, 15}, {11, 4, 17}, {11, 8, 1}, {11, 16, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        wc_part p = part_of(lies[i].part);
        encoded e = encode(&p);
        wcd_view v;
        e.params[lies[i].at] = (uint8_t)lies[i].value;
        if (wcd_view_open(7, 1, e.params, e.data, e.size, p.signs.rows, p.signs.cols, &v) != WCD_E_CORRUPT)
            fail_msg("part %zu opens with %u at %u", lies[i].part, lies[i].value, lies[i].at);
        free(e.data);
        wc_part_free(&p);
    }
    wc_part p = part_of(1);
    encoded e = encode(&p);
    wcd_view v;
    assert_int_equal(wcd_view_open(7, 2, e.params, e.data, e.size, 3, 65, &v), WCD_E_VERSION);
    assert_int_equal(wcd_view_open(7, 1, e.params, e.data, e.size + 8, 3, 65, &v), WCD_E_CORRUPT);
    assert_int_equal(wcd_view_open(7, 1, e.params, e.data, e.size, 0, 65, &v), WCD_E_CORRUPT);
    /* the largest shape: sizes that do not fit are refused, not wrapped */
    uint8_t wide[WCD_PARAMS] = {1, 16, 0, 0, 1};
    memset(wide + 16, 4, 16);
    assert_int_equal(wcd_view_open(7, 1, wide, NULL, 64, 1, (uint64_t)1 << 56, &v), WCD_E_CORRUPT);
    free(e.data);
    wc_part_free(&p);
}

static void encoder_refuses(const wc_part *p, const char *why)
{
    wc_ctx ctx;
    uint64_t size;
    uint8_t params[WC_PARAMS_SIZE], dst[4096];
    wc_ctx_init(&ctx, 1);
    wc_status s = wc_encoder_for(p->kind)->size(&ctx, p, &size);
    if (s == WC_OK) s = wc_encoder_for(p->kind)->encode(&ctx, p, dst, params);
    assert_int_equal(s, WC_BUG);
    if (!strstr(ctx.error, why)) fail_msg("`%s' does not say `%s'", ctx.error, why);
}

static void encoder_checks_every_number(void **state)
{
    (void)state;
    wc_part p = signs_fill(signs_plan(3, 20, WC_SIGNS_SCALES, 2, 8, 6, "61"));
    p.signs.column[0] ^= 1;
    encoder_refuses(&p, "columns in a subset of 6");
    p.signs.column[0] = 2;
    encoder_refuses(&p, "column 0 is marked with 2");
    p.signs.which[1] = 3;
    encoder_refuses(&p, "plane 1 has columns of kind 3");
    p.signs.which[1] = 1, p.signs.which[5] = 1;
    encoder_refuses(&p, "plane 5");
    p.signs.which[5] = 0, p.signs.subset = 20;
    encoder_refuses(&p, "a subset of 20 of 20 columns");
    p.signs.subset = 0;
    encoder_refuses(&p, "plane 0 has columns of kind 6");
    p.signs.group = 21;
    encoder_refuses(&p, "groups of 21 of 20 columns");
    p.signs.scale_exp = 127;
    encoder_refuses(&p, "exponent 127");
    p.signs.scale_exp = 0, p.signs.levels = 0;
    encoder_refuses(&p, "0 levels");
    wc_part_free(&p);
    encoder_refuses(&(wc_part){.kind = WC_PART_SIGNS, .signs = {.rows = 3, .cols = 20, .levels = 1, .rank = 1}},
                    "no numbers");
    p = signs_plan(3, 20, WC_SIGNS_PRODUCT, 33, 1, 0, "");
    encoder_refuses(&p, "33 levels of rank 1");
    p = signs_plan(3, 20, WC_SIGNS_PRODUCT, 3, 4, 0, "");
    encoder_refuses(&p, "rank 4 in 3 x 20");
    p = signs_plan(3, 20, WC_SIGNS_EXPERTS, 1, 17, 0, "");
    encoder_refuses(&p, "rank 17");
    p = signs_plan(3, 20, WC_SIGNS_EXPERTS, 1, 2, 5, "");
    encoder_refuses(&p, "a subset where");
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static void must(wc_ctx *ctx, wc_status s)
{
    if (s != WC_OK) fail_msg("%s: %s", wc_status_name(s), ctx->error);
}

/* The numbers of make_golden.py's sign_planes(), as a file at path. */
static void write_golden(const char *path)
{
    static const struct {
        const char *name;
        uint64_t rows, cols;
        double error;
    } names[] = {{"experts", 5, 37, 0.5},
                 {"one", 5, 37, 0.5},
                 {"scales", 3, 30, 0.5},
                 {"stack", 9, 41, 0.25},
                 {"sum", 2, 12, 0.125}};
    static const int exps[] = {2, 0, -3, 1, 0};
    wc_part part[6] = {signs_fill(signs_plan(5, 37, WC_SIGNS_EXPERTS, 1, 3, 0, "")),
                       signs_fill(signs_plan(5, 37, WC_SIGNS_EXPERTS, 1, 1, 0, "")),
                       signs_fill(signs_plan(3, 30, WC_SIGNS_SCALES, 4, 8, 9, "6150")),
                       signs_fill(signs_plan(9, 41, WC_SIGNS_PRODUCT, 3, 2, 0, "")),
                       grid_fill(grid_plan(2, 12, 3, 4, 0, false)),
                       signs_fill(signs_plan(2, 12, WC_SIGNS_PRODUCT, 1, 2, 0, ""))};
    wc_wcz_tensor tensor[5];
    wc_ctx ctx;
    wc_wcz *z;
    char partial[300];
    wc_cut_level level[] = {{3, 1, 0.75, 0}, {4, 1, 0.125, 0}, {3, 2, 0.5, 0}, {3, 3, 0.25, 0}};
    uint8_t order[16 + 4 * 16];
    wc_wcz_meta meta = {"cut_order", NULL, sizeof order};
    wc_ctx_init(&ctx, 1);
    for (size_t i = 0; i < 5; i++) {
        part[i].kind == WC_PART_SIGNS ? (void)(part[i].signs.scale_exp = exps[i]) : (void)0;
        tensor[i] = (wc_wcz_tensor){.name = names[i].name,
                                    .source_dtype = WC_F32,
                                    .n_dims = 2,
                                    .dims = {names[i].rows, names[i].cols},
                                    .n_parts = 1 + (i == 4),
                                    .parts = &part[i]};
    }
    snprintf(partial, sizeof partial, "%s.partial", path);
    must(&ctx, wc_wcz_layout(&ctx, tensor, 5, &meta, 1, &z));
    must(&ctx, wc_wcz_create(&ctx, z, partial));
    for (size_t i = 0; i < 6; i++)
        must(&ctx, wc_wcz_put(&ctx, z, wc_min(i, 4), i == 5, &part[i], NULL));
    for (size_t i = 0; i < 5; i++)
        wc_wcz_describe(z, i, names[i].error, 0);
    assert_int_equal(wc_wcz_finish(NULL, z, path), WC_BUG); /* the order is missing */
    wc_cut_order_encode(level, 4, 4, order);
    meta.data = order;
    must(&ctx, wc_wcz_fill_meta(&ctx, z, &meta));
    assert_int_equal(wc_wcz_fill_meta(NULL, z, &meta), WC_BUG); /* only once */
    must(&ctx, wc_wcz_finish(&ctx, z, path));
    wc_wcz_free(&z);
    for (size_t i = 0; i < 6; i++)
        wc_part_free(&part[i]);
}

static void writer_makes_the_golden_bytes(void **state)
{
    char path[256];
    uint64_t size, n;
    snprintf(path, sizeof path, "%s/signs.wcz", (char *)*state);
    write_golden(path);
    uint8_t *made = load(path, &size), *golden = load("tests/data/golden/signs.wcz", &n);
    assert_int_equal(size, n);
    assert_memory_equal(made, golden, n);
    free(made), free(golden);
}

static wc_status cut_to(const char *input, uint64_t size, const char *output, bool dry_run, uint64_t *bytes,
                        char error[1024])
{
    wc_ctx ctx;
    wc_report report;
    wc_ctx_init(&ctx, 1);
    assert_int_equal(wc_report_init(&report, &ctx, "cut"), WC_OK);
    report.json = report.quiet = true;
    wc_cut_options o = {.input = input, .output = output, .size = size, .force = true, .dry_run = dry_run};
    wc_status s = wc_cut(&ctx, &o, &report);
    *bytes = (uint64_t)json_integer_value(json_object_get(json_object_get(report.facts, "result"), "bytes"));
    strcpy(error, ctx.error);
    wc_report_free(&report);
    return s;
}

/* Levels of the stack of tensor i in a good file, whose values are those levels of the golden file's. */
static unsigned levels_of(const wcd_file *f, const wcd_file *golden, uint32_t i, double *error)
{
    wcd_tensor t, g;
    wcd_part_info part, whole;
    assert_int_equal(wcd_at(f, i, &t), WCD_OK);
    assert_int_equal(wcd_at(golden, i, &g), WCD_OK);
    assert_int_equal(t.n_parts, g.n_parts);
    for (uint32_t p = 0; p < t.n_parts; p++) {
        assert_int_equal(wcd_part(&t, p, &part), WCD_OK);
        assert_int_equal(wcd_part(&g, p, &whole), WCD_OK);
        assert_true(part.blob_size <= whole.blob_size);
        assert_memory_equal(part.blob, whole.blob, part.blob_size);
        assert_memory_equal(part.params + 2, whole.params + 2, 30);
    }
    *error = t.error;
    return part.params[1];
}

/* Every size: the largest prefix of the order that fits, verified; a second cut of a cut is the cut of the whole. */
static void every_size_can_be_cut_to(void **state)
{
    static const unsigned levels[] = {0, 0, 1, 2, 3}; /* of `stack', by levels kept of all */
    static const double errors[] = {0, 0, 0.75, 0.5, 0.25};
    const char *golden = "tests/data/golden/signs.wcz";
    char a[256], b[256], error[1024];
    uint64_t size, n, bytes, again, last = 0;
    uint8_t *image = load(golden, &size);
    wcd_file whole, f;
    size_t sizes = 0;
    assert_int_equal(wcd_open(&whole, image, size), WCD_OK);
    snprintf(a, sizeof a, "%s/a.wcz", (char *)*state);
    snprintf(b, sizeof b, "%s/b.wcz", (char *)*state);
    assert_int_equal(cut_to(golden, 1, a, false, &bytes, error), WC_BUDGET);
    uint64_t floor = strtoull(strstr(error, "it has ") + 7, NULL, 10);
    assert_int_equal(cut_to(golden, floor - 1, a, false, &bytes, error), WC_BUDGET);
    assert_int_equal(access(a, F_OK), -1);
    for (uint64_t limit = floor; limit <= size + 64; limit += limit % 64 ? 63 : 1) {
        assert_int_equal(cut_to(golden, limit, a, false, &bytes, error), WC_OK);
        assert_int_equal(cut_to(golden, limit, b, true, &again, error), WC_OK);
        assert_true(bytes <= limit && bytes == again);
        if (bytes == last) continue;
        sizes++;
        last = bytes;
        uint8_t *small = load(a, &n);
        assert_int_equal(n, bytes);
        assert_int_equal(wcd_open(&f, small, n), WCD_OK);
        assert_int_equal(wcd_verify(&f, NULL, NULL), WCD_OK);
        double e, other;
        unsigned l = levels_of(&f, &whole, 3, &e);
        assert_true(l == levels[1 + sizes] && e == errors[1 + sizes]);
        assert_int_equal(levels_of(&f, &whole, 4, &other), 1);
        assert_true(other == 0.125);
        if (limit >= size) assert_memory_equal(small, image, size);
        free(small);
        assert_int_equal(cut_to(a, floor, b, false, &again, error), WC_OK);
        assert_int_equal(again, floor);
    }
    assert_int_equal(sizes, 3);
    assert_int_equal(last, size);
    free(image);
}

/* Nothing is left over or made good that was bad. */
static void files_that_lie_are_not_cut(void **state)
{
    static const struct {
        uint64_t at; /* 0: entries 1 and 2 change places, a second level comes before a first */
        uint32_t value;
        const char *why;
    } lies[] = {{4, 5, "is no list"}, {4, 3, "is no list"}, {8, 1, "is no list"}, {16, 5, "entry 0"},
                {16, 2, "entry 0"},   {20, 2, "entry 0"},   {36, 4, "entry 1"},   {32, 3, "entry 1"},
                {52, 3, "entry 2"},   {52, 1, "entry 2"},   {68, 2, "entry 3"},   {48, 4, "entry 2"},
                {0, 0, "entry 2"}};
    char path[256], out[256], error[1024];
    uint64_t bytes;
    snprintf(path, sizeof path, "%s/lie.wcz", (char *)*state);
    snprintf(out, sizeof out, "%s/lie.out", (char *)*state);
    for (size_t i = 0; i <= sizeof lies / sizeof *lies; i++) {
        uint64_t size;
        uint8_t *image = load("tests/data/golden/signs.wcz", &size);
        wcd_file f;
        wcd_meta m;
        wc_ctx ctx;
        wc_ctx_init(&ctx, 1);
        assert_int_equal(wcd_open(&f, image, size), WCD_OK);
        assert_int_equal(wcd_meta_find(&f, "cut_order", &m), WCD_OK);
        bool damage = i == sizeof lies / sizeof *lies;
        uint8_t *data = image + (m.data - image), *record = image + (f.metas - image);
        if (damage) {
            image[size - 70] ^= 1;
        } else {
            uint8_t first[16];
            memcpy(first, data + 32, 16);
            if (!lies[i].at) memcpy(data + 32, data + 48, 16), memcpy(data + 48, first, 16);
            for (int b = 0; lies[i].at && b < 4; b++)
                data[lies[i].at + (unsigned)b] = (uint8_t)(lies[i].value >> 8 * b);
            uint64_t hash = XXH3_64bits(data, m.size), index = 0, own;
            memcpy(record + 40, &hash, 8);
            memcpy(&index, image + 32, 8);
            hash = XXH3_64bits(image + 64, index);
            memcpy(image + 40, &hash, 8);
            own = XXH3_64bits(image, 56);
            memcpy(image + 56, &own, 8);
        }
        must(&ctx, wc_write_file_atomic(&ctx, path, image, size));
        wc_status s = cut_to(path, size, out, false, &bytes, error);
        if (s != (damage ? WC_VERIFY : WC_BADFILE) || !strstr(error, damage ? "damaged" : lies[i].why))
            fail_msg("lie %zu: %s: %s", i, wc_status_name(s), error);
        assert_int_equal(access(out, F_OK), -1);
        free(image);
    }
    assert_int_equal(cut_to("tests/data/golden/parts.wcz", 1 << 20, out, false, &bytes, error), WC_UNSUPPORTED);
}

/* Ranks of a few levels by hand: by level first, then by fall per byte, then by tensor. */
static void order_is_level_after_level_by_fall_per_byte(void **state)
{
    (void)state;
    wc_ctx ctx;
    wc_cut_level level[] = {{2, 2, 0.1, 10}, {0, 1, 0.5, 100},    {0, 2, 0.3, 100}, {1, 1, 0.9, 10},  {1, 2, 0.75, 10},
                            {2, 1, 0.2, 10}, {3, 1, INFINITY, 5}, {3, 2, NAN, 5},   {0, 3, 0.2, 100}, {1, 3, 0.9, 10}};
    static const uint32_t want[][2] = {{0, 1}, {1, 1}, {2, 1}, {3, 1}, {1, 2}, {2, 2}, {0, 2}, {3, 2}, {0, 3}, {1, 3}};
    wc_ctx_init(&ctx, 1);
    must(&ctx, wc_cut_order_sort(&ctx, level, 10));
    for (size_t i = 0; i < 10; i++)
        if (level[i].tensor != want[i][0] || level[i].levels != want[i][1])
            fail_msg("place %zu: tensor %u, level %u", i, level[i].tensor, level[i].levels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_decodes_to_the_documented_value),
        cmocka_unit_test(a_prefix_of_a_stack_is_a_stack),
        cmocka_unit_test(any_bytes_in_the_blob_are_harmless),
        cmocka_unit_test(a_lying_mask_reads_as_documented),
        cmocka_unit_test(bad_parameters_are_refused),
        cmocka_unit_test(encoder_checks_every_number),
        cmocka_unit_test(writer_makes_the_golden_bytes),
        cmocka_unit_test(every_size_can_be_cut_to),
        cmocka_unit_test(files_that_lie_are_not_cut),
        cmocka_unit_test(order_is_level_after_level_by_fall_per_byte),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
