#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/half.h"
#include "io/checkpoint.h"
#include "io/safetensors_write.h"
#include "io_util.h"

/* Empties the scratch folder and makes the named sub-folders. */
static void fresh_folder(const char *sub)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s' && mkdir -p '%s/%s'", scratch, scratch, sub);
    assert_int_equal(system(command), 0);
}

/* A shard with one U8 [2] tensor per letter of names. */
static void put_shard(const char *file, const char *names)
{
    char header[512] = "{";
    size_t n = 1, k = strlen(names);
    for (size_t i = 0; i < k; i++)
        n += (size_t)sprintf(header + n, "%s\"%c\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[%zu,%zu]}",
                             i ? "," : "", names[i], 2 * i, 2 * i + 2);
    strcpy(header + n, "}");
    put_safetensors(in_scratch(file), header, NULL, 2 * k);
}

static void put_text(const char *file, const char *text)
{
    put_file(in_scratch(file), text, strlen(text));
}

/* Opens scratch/name ("" for the folder) and expects success. */
static wc_checkpoint open_good(const char *name)
{
    wc_ctx ctx = new_ctx();
    wc_checkpoint c;
    if (wc_checkpoint_open(&ctx, *name ? in_scratch(name) : scratch, &c) != WC_OK) fail_msg("%s: %s", name, ctx.error);
    return c;
}

static void expect_failure(const char *name, wc_status status, const char *says)
{
    wc_ctx ctx = new_ctx();
    wc_checkpoint c;
    wc_status got = wc_checkpoint_open(&ctx, *name ? in_scratch(name) : scratch, &c);
    if (got != status)
        fail_msg("%s: %s (%s), expected %s", name, wc_status_name(got), ctx.error, wc_status_name(status));
    assert_text_contains(ctx.error, says);
    assert_null(c.shard);
    assert_null(c.path);
}

#define INDEX(map) "{\"metadata\":{\"total_size\":6},\"weight_map\":{" map "}}"
#define S1         "model-00001-of-00002.safetensors"
#define S2         "model-00002-of-00002.safetensors"

static void put_two_shards(void)
{
    fresh_folder("");
    put_shard(S1, "ca");
    put_shard(S2, "b");
    put_text("model.safetensors.index.json", INDEX("\"a\":\"" S1 "\",\"b\":\"" S2 "\",\"c\":\"" S1 "\""));
}

static void a_model_opens_under_every_name_it_goes_by(void **state)
{
    (void)state;
    static const struct {
        const char *path, *logs;
    } cases[] = {{"", ""}, {"model.safetensors.index.json", ""}, {S2, "opening all of it through"}};
    put_two_shards();
    put_text("config.json", "{}");
    for (size_t i = 0; i < 3; i++) {
        wc_checkpoint c = open_good(cases[i].path);
        assert_text_contains(log_text, cases[i].logs);
        assert_int_equal(c.n_shards, 2);
        assert_int_equal(c.n, 3);
        for (size_t k = 0; k < 3; k++) /* sorted by name, whatever the order of shards and data */
            assert_int_equal(c.tensor[k]->name[0], 'a' + (int)k);
        assert_memory_equal(wc_checkpoint_data(&c, wc_checkpoint_find(&c, "a")), "\2\3", 2);
        assert_memory_equal(wc_checkpoint_data(&c, wc_checkpoint_find(&c, "b")), "\0\1", 2);
        assert_null(wc_checkpoint_find(&c, "d"));
        assert_null(wc_checkpoint_find(&c, ""));
        assert_text_contains(c.config_path, "/config.json");
        assert_null(c.tokenizer_path);
        assert_string_equal(c.dir, scratch);
        wc_checkpoint_close(&c);
        wc_checkpoint_close(&c);
    }
    unlink(in_scratch("model.safetensors.index.json"));
    wc_checkpoint c = open_good(S2);
    assert_text_contains(log_text, "WARN");
    assert_text_contains(log_text, "opening this file alone");
    assert_int_equal(c.n, 1);
    wc_checkpoint_close(&c);
}

static void a_folder_is_read_as_transformers_reads_it(void **state)
{
    (void)state;
    put_two_shards();
    put_shard("model.safetensors", "x");
    wc_checkpoint c = open_good("");
    assert_text_contains(log_text, "WARN");
    assert_text_contains(log_text, "both model.safetensors and an index");
    assert_int_equal(c.n, 1);
    assert_int_equal(c.tensor[0]->name[0], 'x');
    wc_checkpoint_close(&c);

    fresh_folder(""); /* another name, if it is the only one */
    put_shard("tiny.safetensors", "y");
    put_shard(".hidden.safetensors", "z");
    put_text("tokenizer.json", "{}");
    c = open_good("");
    assert_int_equal(c.tensor[0]->name[0], 'y');
    assert_non_null(c.tokenizer_path);
    wc_checkpoint_close(&c);
    put_shard("other.safetensors", "z");
    expect_failure("", WC_OPTION, "2 .safetensors files");

    fresh_folder("layers/0");
    put_shard("layers/0/w.safetensors", "a");
    put_text("tiny.safetensors.index.json", "{\"weight_map\":{\"a\":\"layers/0/w.safetensors\"}}");
    c = open_good("");
    assert_int_equal(c.n, 1);
    wc_checkpoint_close(&c);
    char link[1100];
    snprintf(link, sizeof link, "%s/linked", scratch); /* download caches are folders of links */
    assert_int_equal(symlink("layers/0", link), 0);
    put_text("tiny.safetensors.index.json", "{\"weight_map\":{\"a\":\"linked/w.safetensors\"}}");
    c = open_good("");
    assert_int_equal(c.n, 1);
    wc_checkpoint_close(&c);
}

static void disagreement_of_index_and_files_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *index, *says;
        wc_status status;
    } cases[] = {
        {INDEX("\"a\":\"" S1 "\",\"b\":\"" S2 "\",\"c\":\"" S1 "\",\"d\":\"" S2 "\""), "tensor `d' is not in " S2,
         WC_BADFILE},
        {INDEX("\"a\":\"" S1 "\",\"b\":\"" S2 "\""), "tensor `c' of", WC_BADFILE},
        {INDEX("\"a\":\"" S1 "\",\"b\":\"" S1 "\",\"c\":\"" S2 "\""), "tensor `b' is in", WC_BADFILE},
        {INDEX("\"a\":\"" S1 "\",\"b\":\"gone.safetensors\",\"c\":\"lost.safetensors\""),
         "2 of the 3 files that it names are missing: `gone.safetensors', `lost.safetensors'", WC_IO},
        {INDEX("\"a\":\"" S1 "\",\"a\":\"" S1 "\""), "duplicate", WC_BADFILE},
        {INDEX(""), "weight_map is empty", WC_BADFILE},
        {"{\"weight_map\":[]}", "no index of a sharded model", WC_BADFILE},
        {"{\"model_type\":\"llama\"}", "no index of a sharded model", WC_BADFILE},
        {"{", "line 1", WC_BADFILE},
        {INDEX("\"a\":7"), "not a string", WC_BADFILE},
    };
    put_two_shards();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_text("model.safetensors.index.json", cases[i].index);
        expect_failure("", cases[i].status, cases[i].says);
    }
    put_shard(S2, "ba");
    put_text("model.safetensors.index.json", INDEX("\"a\":\"" S1 "\",\"b\":\"" S2 "\",\"c\":\"" S1 "\""));
    expect_failure("", WC_BADFILE, "tensor `a' is both in");
    put_text(S2, "\x40");
    expect_failure("", WC_BADFILE, "too short");
}

static void paths_in_an_index_cannot_leave_the_folder(void **state)
{
    (void)state;
    static const char *const hostile[] = {"/etc/passwd",
                                          "../x.safetensors",
                                          "a/../x.safetensors",
                                          "a/..",
                                          "..",
                                          ".",
                                          "",
                                          "./x.safetensors",
                                          "a//x.safetensors",
                                          "x.safetensors/",
                                          "C:x.safetensors",
                                          "\\\\\\\\host\\\\x.safetensors",
                                          "a\\u0000.safetensors",
                                          "a\\n.safetensors",
                                          "\\u001b[31m.safetensors",
                                          "\\u202e.safetensors",
                                          "model.safetensors.index.json",
                                          "folder"};
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        char text[256];
        wc_ctx ctx = new_ctx();
        wc_index index;
        snprintf(text, sizeof text, INDEX("\"a\":\"%s\""), hostile[i]);
        if (wc_index_parse(&ctx, text, strlen(text), "i.json", &index) != WC_BADFILE)
            fail_msg("accepted: %s", hostile[i]);
        assert_text_contains(ctx.error, "tensor `a' is said to be in");
    }
    wc_index index;
    static const char good[] = INDEX("\"b\":\"x/..y/z.safetensors\",\"a\":\"\\u00fc.safetensors\"");
    assert_int_equal(wc_index_parse(NULL, good, sizeof good - 1, "i.json", &index), WC_OK);
    assert_int_equal(index.n, 2);
    assert_string_equal(index.entry[0].name, "a");
    assert_string_equal(index.entry[1].file, "x/..y/z.safetensors");
    assert_int_equal(index.total_size, 6);
    wc_index_free(&index);
    wc_index_free(&index);
    fresh_folder("d.safetensors"); /* a folder, a FIFO */
    assert_int_equal(mkfifo(in_scratch("f.safetensors"), 0600), 0);
    put_text("model.safetensors.index.json", INDEX("\"a\":\"d.safetensors\""));
    expect_failure("", WC_IO, "not a regular file");
    put_text("model.safetensors.index.json", INDEX("\"a\":\"f.safetensors\""));
    expect_failure("", WC_IO, "not a regular file");
}

static void pickles_and_strangers_are_refused_politely(void **state)
{
    (void)state;
    static const char *const names[] = {"pytorch_model.bin", "model.pt", "consolidated.00.pth"};
    fresh_folder("");
    expect_failure("", WC_IO, "holds no .safetensors file");
    for (size_t i = 0; i < 3; i++) {
        fresh_folder("");
        put_text(names[i], "\x80\x02");
        expect_failure(names[i], WC_UNSUPPORTED, "weights_only=True");
        expect_failure("", WC_UNSUPPORTED, names[i]);
    }
    put_text("m.gguf", "GGUF");
    expect_failure("m.gguf", WC_BADFILE, "ends inside the header");
    put_text("pytorch_model.bin.index.json", "{\"weight_map\":{\"a\":\"pytorch_model-1.bin\"}}");
    expect_failure("pytorch_model.bin.index.json", WC_UNSUPPORTED, "pickle");
    put_text("config.json", "{\"hidden_size\": 1}");
    expect_failure("config.json", WC_BADFILE, "no index of a sharded model");
    expect_failure("absent.safetensors", WC_IO, "No such file");
    expect_failure("absent", WC_IO, "No such file");
}

/* ---- reading ---- */

/* One file with an odd byte before the floats (a header of odd length), all the dtypes that rows() takes and some it
 * does not: w16 and wb [3, 5], w32 [2, 4], v [6], s scalar, x3 [2, 2, 3], e [0, 4], i8 [2]. */
static const float plain[15] = {0, -0.0f, 1, -1, 0.5f, 65504, -2, 3, 4, 5, 6, 7, 8, 9, 10};

static void put_floats(const char *file)
{
    uint8_t data[512];
    size_t n = 0;
    for (size_t i = 0; i < 15; i++, n += 2)
        memcpy(data + n, &(uint16_t){wc_f32_f16(plain[i])}, 2);
    for (size_t i = 0; i < 15; i++, n += 2)
        memcpy(data + n, &(uint16_t){wc_f32_bf16(plain[i])}, 2);
    memcpy(data + n, plain, 32), n += 32;
    memcpy(data + n, plain + 2, 24), n += 24;
    memcpy(data + n, plain + 4, 4), n += 4;
    for (size_t i = 0; i < 12; i++, n += 2)
        memcpy(data + n, &(uint16_t){wc_f32_bf16(plain[i])}, 2);
    memcpy(data + n, "\1\2", 2), n += 2;
    char header[1024] = "{\"w16\":{\"dtype\":\"F16\",\"shape\":[3,5],\"data_offsets\":[0,30]},"
                        "\"wb\":{\"dtype\":\"BF16\",\"shape\":[3,5],\"data_offsets\":[30,60]},"
                        "\"w32\":{\"dtype\":\"F32\",\"shape\":[2,4],\"data_offsets\":[60,92]},"
                        "\"v\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[92,116]},"
                        "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[116,120]},"
                        "\"x3\":{\"dtype\":\"BF16\",\"shape\":[2,2,3],\"data_offsets\":[120,144]},"
                        "\"e\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[144,144]},"
                        "\"i8\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[144,146]}}";
    if (strlen(header) % 2 == 0) strcat(header, " ");
    put_safetensors(in_scratch(file), header, data, n);
}

static void rows_come_exactly_from_any_alignment(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t rows, cols, first; /* its values are plain[first...] */
    } cases[] = {{"w16", 3, 5, 0}, {"wb", 3, 5, 0}, {"w32", 2, 4, 0}, {"v", 1, 6, 2}, {"s", 1, 1, 4}, {"x3", 4, 3, 0}};
    fresh_folder("");
    put_floats("m.safetensors");
    wc_checkpoint c = open_good("m.safetensors");
    wc_ctx ctx = new_ctx();
    for (size_t i = 0; i < 6; i++) {
        const wc_st_tensor *t = wc_checkpoint_find(&c, cases[i].name);
        assert_int_equal(t->offset % 2, 1);
        assert_int_equal(t->rows, cases[i].rows);
        assert_int_equal(t->cols, cases[i].cols);
        for (size_t r0 = 0; r0 <= t->rows; r0++)
            for (size_t nr = 0; r0 + nr <= t->rows; nr++) {
                float dst[16];
                size_t n = nr * t->cols;
                dst[n] = 77;
                assert_int_equal(wc_checkpoint_rows(&ctx, &c, t, r0, nr, dst), WC_OK);
                for (size_t k = 0; k < n; k++) {
                    float want = plain[cases[i].first + r0 * t->cols + k];
                    if (t->dtype == WC_BF16) want = wc_bf16_f32(wc_f32_bf16(want));
                    assert_int_equal(wc_f32_bits(dst[k]), wc_f32_bits(want));
                }
                assert_true(dst[n] == 77);
            }
        float dst[16];
        assert_int_equal(wc_checkpoint_rows(NULL, &c, t, t->rows, 1, dst), WC_BUG);
        assert_int_equal(wc_checkpoint_rows(NULL, &c, t, UINT64_MAX, 2, dst), WC_BUG);
    }
    assert_int_equal(wc_checkpoint_rows(&ctx, &c, wc_checkpoint_find(&c, "e"), 0, 0, NULL), WC_OK);
    assert_int_equal(wc_checkpoint_rows(&ctx, &c, wc_checkpoint_find(&c, "i8"), 0, 1, NULL), WC_UNSUPPORTED);
    assert_text_contains(ctx.error, "tensor `i8' is I8");
    wc_checkpoint_close(&c);
}

/* Large enough for several threads: the same values as one by one. */
static void large_requests_are_split_without_a_seam(void **state)
{
    (void)state;
    enum { ROWS = 777, COLS = 1501 };
    uint16_t *h = malloc(ROWS * COLS * sizeof *h);
    float *dst = malloc(ROWS * COLS * sizeof *dst);
    for (uint32_t i = 0; i < ROWS * COLS; i++)
        h[i] = (uint16_t)(i * 2654435761u >> 16);
    const wc_st_item item = {.name = "w", .dtype = WC_BF16, .n_dims = 2, .dims = {ROWS, COLS}, .data = h};
    wc_ctx ctx = new_ctx();
    assert_int_equal(wc_safetensors_write(&ctx, in_scratch("large.safetensors"), &item, 1, NULL, 0), WC_OK);
    wc_checkpoint c = open_good("large.safetensors");
    for (int threads = 1; threads <= 3; threads++) {
        ctx.threads = threads;
        memset(dst, 0, ROWS * COLS * sizeof *dst);
        assert_int_equal(wc_checkpoint_rows(&ctx, &c, c.tensor[0], 0, ROWS, dst), WC_OK);
        for (uint32_t i = 0; i < ROWS * COLS; i++)
            if (wc_f32_bits(dst[i]) != (uint32_t)h[i] << 16) fail_msg("element %u", i);
    }
    wc_checkpoint_release(&c);
    assert_int_equal(wc_checkpoint_rows(&ctx, &c, c.tensor[0], ROWS - 1, 1, dst), WC_OK); /* pages come back */
    assert_int_equal(wc_f32_bits(dst[COLS - 1]), (uint32_t)h[ROWS * COLS - 1] << 16);
    wc_checkpoint_close(&c);
    free(h);
    free(dst);
}

static void the_first_nonfinite_value_is_named(void **state)
{
    (void)state;
    enum { ROWS = 100, COLS = 97, N = ROWS * COLS };
    static const struct {
        wc_dtype dtype;
        uint64_t finite, bad;
        const char *says;
    } cases[] = {{WC_BF16, 0x7f7f, 0x7f80, "holds inf at [57, 3]"},
                 {WC_F16, 0xfbff, 0xfc00, "holds -inf at [57, 3]"},
                 {WC_F16, 0x7bff, 0x7c01, "nan at [57, 3]"},
                 {WC_F32, 0x7f7fffff, 0xff800000, "holds -inf at [57, 3]"},
                 {WC_F32, 0xff7fffff, 0x7f800001, "nan at [57, 3]"},
                 {WC_F64, 0x7fefffffffffffff, 0x7ff0000000000000, "holds inf at [57, 3]"},
                 {WC_I32, 0x7f7fffff, 0x7f800000, NULL}};
    uint8_t *data = malloc(8 * N);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t bytes = wc_dtype_bits(cases[i].dtype) / 8;
        const wc_st_item item = {
            .name = "w\n", .dtype = cases[i].dtype, .n_dims = 2, .dims = {ROWS, COLS}, .data = data};
        for (size_t bad = 0; bad < 2; bad++) {
            wc_ctx ctx = new_ctx();
            for (size_t k = 0; k < N; k++)
                memcpy(data + k * bytes, bad && (k == 57 * COLS + 3 || k == N - 1) ? &cases[i].bad : &cases[i].finite,
                       bytes);
            assert_int_equal(wc_safetensors_write(&ctx, in_scratch("f.safetensors"), &item, 1, NULL, 0), WC_OK);
            wc_checkpoint c = open_good("f.safetensors");
            wc_status status = wc_checkpoint_check_finite(&ctx, &c, c.tensor[0]);
            assert_int_equal(status, bad && cases[i].says ? WC_BADFILE : WC_OK);
            if (status != WC_OK) {
                assert_text_contains(ctx.error, "f.safetensors: tensor `w\\x0a' ");
                assert_text_contains(ctx.error, cases[i].says);
            }
            wc_checkpoint_close(&c);
        }
    }
    free(data);
}

static uint64_t fingerprint_of(const char *name)
{
    wc_checkpoint c = open_good(name);
    uint64_t h;
    assert_int_equal(wc_checkpoint_fingerprint(NULL, &c, &h), WC_OK);
    wc_checkpoint_close(&c);
    return h;
}

static void the_fingerprint_is_of_the_weights_and_nothing_else(void **state)
{
    (void)state;
    enum { BIG = (16 << 20) + 5000 };
    put_two_shards(); /* c = 0 1, a = 2 3 | b = 0 1 */
    uint64_t sharded = fingerprint_of("");
    wc_ctx ctx = new_ctx();
    wc_st_item item[] = {{.name = "a", .dtype = WC_U8, .n_dims = 1, .dims = {2}, .data = "\2\3"},
                         {.name = "b", .dtype = WC_U8, .n_dims = 1, .dims = {2}, .data = "\0\1"},
                         {.name = "c", .dtype = WC_U8, .n_dims = 1, .dims = {2}, .data = "\0\1"}};
    const wc_st_item original[3] = {item[0], item[1], item[2]};
    for (size_t change = 0; change < 6; change++) {
        memcpy(item, original, sizeof item);
        if (change == 1) item[1].data = "\0\2";
        if (change == 2) item[1].name = "B";
        if (change == 3) item[1].dtype = WC_I8;
        if (change == 4) item[1].n_dims = 2, item[1].dims[1] = 1;
        if (change == 5) item[1].dims[0] = 1, item[2].n_dims = 1, item[2].dims[0] = 2;
        assert_int_equal(wc_safetensors_write(&ctx, in_scratch("one.safetensors"), item, 3, NULL, 0), WC_OK);
        assert_int_equal(fingerprint_of("one.safetensors") == sharded, change == 0);
    }
    /* A large tensor is sampled: first, last and evenly spaced pages count. */
    uint8_t *data = calloc(BIG, 1);
    const size_t step = (BIG - 4096) / 255;
    const size_t places[] = {0, 4095, 7 * step + 2000, BIG - 1, BIG - 4096, 5000};
    uint64_t zero = 0;
    const wc_st_item big = {.name = "big", .dtype = WC_U8, .n_dims = 1, .dims = {BIG}, .data = data};
    for (size_t i = 0; i < 7; i++) {
        if (i) data[places[i - 1]] = 1;
        assert_int_equal(wc_safetensors_write(&ctx, in_scratch("big.safetensors"), &big, 1, NULL, 0), WC_OK);
        uint64_t h = fingerprint_of("big.safetensors");
        if (i) data[places[i - 1]] = 0;
        if (!i) zero = h;
        assert_int_equal(h == zero, i == 0 || i == 6); /* byte 5000 lies between two samples */
    }
    free(data);
}

static void a_source_of_weights_reads_the_same_rows(void **state)
{
    (void)state;
    fresh_folder("");
    put_floats("m.safetensors");
    wc_checkpoint c = open_good("m.safetensors");
    wc_weight_source s = wc_checkpoint_source(&c);
    wc_ctx ctx = new_ctx();
    wc_weight w;
    float dst[5];
    assert_string_equal(s.label, c.path);
    assert_int_equal(s.find(&ctx, s.self, "absent", &w), WC_OK);
    assert_int_equal(w.rows, 0);
    assert_int_equal(s.find(&ctx, s.self, "w16", &w), WC_OK);
    assert_true(w.rows == 3 && w.cols == 5 && !strcmp(w.name, "w16"));
    assert_int_equal(w.read(&ctx, &w, 1, 1, dst), WC_OK);
    assert_memory_equal(dst, plain + 5, sizeof dst);
    assert_int_equal(s.find(&ctx, s.self, "v", &w), WC_OK);
    assert_true(w.rows == 1 && w.cols == 6);
    s.release(s.self);
    wc_checkpoint_close(&c);
}

/* Every tensor of the models beside the tree against numpy, bit for bit. */
static void real_models_read_as_numpy_reads_them(void **state)
{
    (void)state;
    static const char *const models[] = {"docs4m", "stories260k", "bitllama-1m", "tiny-rwkv5-730k"};
    const char *shared = shared_folder();
    if (!shared) skip();
    for (size_t i = 0; i < 4; i++) {
        wc_ctx ctx = new_ctx();
        wc_checkpoint c;
        char path[512], command[1024];
        snprintf(path, sizeof path, "%s/models/%s", shared, models[i]);
        if (wc_checkpoint_open(&ctx, path, &c) != WC_OK) fail_msg("%s", ctx.error);
        assert_non_null(c.config_path);
        assert_non_null(c.tokenizer_path);
        size_t tried = 0;
        for (size_t k = 0; k < c.n; k++) {
            const wc_st_tensor *t = c.tensor[k];
            assert_int_equal(wc_checkpoint_check_finite(&ctx, &c, t), WC_OK);
            float *dst = malloc(t->rows * t->cols * sizeof *dst);
            assert_int_equal(wc_checkpoint_rows(&ctx, &c, t, 0, t->rows, dst), WC_OK);
            if (k % 16 == 5) { /* a process each: not all of them */
                size_t n;
                snprintf(command, sizeof command, "/usr/bin/python3 tests/oracle/read_safetensors.py '%s' '%s'",
                         c.shard[0].path, t->name);
                char *want = output_of(command, &n);
                assert_int_equal(n, t->rows * t->cols * sizeof *dst);
                assert_memory_equal(dst, want, n);
                free(want);
                tried++;
            }
            free(dst);
        }
        assert_true(tried > 0);
        wc_checkpoint_close(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_opens_under_every_name_it_goes_by),
        cmocka_unit_test(a_folder_is_read_as_transformers_reads_it),
        cmocka_unit_test(disagreement_of_index_and_files_is_named),
        cmocka_unit_test(paths_in_an_index_cannot_leave_the_folder),
        cmocka_unit_test(pickles_and_strangers_are_refused_politely),
        cmocka_unit_test(rows_come_exactly_from_any_alignment),
        cmocka_unit_test(large_requests_are_split_without_a_seam),
        cmocka_unit_test(the_first_nonfinite_value_is_named),
        cmocka_unit_test(the_fingerprint_is_of_the_weights_and_nothing_else),
        cmocka_unit_test(a_source_of_weights_reads_the_same_rows),
        cmocka_unit_test(real_models_read_as_numpy_reads_them),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
