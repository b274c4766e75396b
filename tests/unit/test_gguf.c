/* GGUF: a file recorded from ggml's own Python package, what the reader refuses, names and rows, and our own writer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "export/gguf_internal.h"
#include "io/checkpoint.h"
#include "io/gguf_model.h"
#include "io_util.h"
#include "model/config.h"
#include "text/tokenizer.h"

#define SMALL "tests/data/ggml/small.gguf"

static uint8_t *load_file(const char *path, size_t *size)
{
    wc_ctx ctx = new_ctx();
    wc_buf b = {0};
    assert_int_equal(wc_read_file(&ctx, path, 1 << 20, &b), WC_OK);
    *size = b.size;
    return b.data;
}

/* ---- the recorded file ----------------------------------------------------------------------------------------------
 */

static void keys_of_every_type_are_read(void **state)
{
    wc_ctx ctx = new_ctx();
    wc_gguf g;
    uint64_t n;
    double x;
    bool flag;
    (void)state;
    assert_int_equal(wc_gguf_open(&ctx, SMALL, &g), WC_OK);
    assert_int_equal(g.version, 3);
    assert_true(wc_gguf_says(&g, "general.architecture", "llama"));
    assert_false(wc_gguf_says(&g, "general.architecture", "llam"));
    assert_int_equal(wc_gguf_u64(&ctx, &g, "test.u8", UINT64_MAX, 0, 255, &n), WC_OK);
    assert_int_equal(n, 200);
    assert_int_equal(wc_gguf_u64(&ctx, &g, "test.u64", UINT64_MAX, 0, UINT64_MAX, &n), WC_OK);
    assert_int_equal(n, (uint64_t)1 << 40);
    assert_int_equal(wc_gguf_real(&ctx, &g, "test.f64", 0, &x), WC_OK);
    assert_true(x == 0.1);
    assert_int_equal(wc_gguf_flag(&ctx, &g, "tokenizer.ggml.add_bos_token", false, &flag), WC_OK);
    assert_true(flag);
    assert_int_equal(wc_gguf_find(&g, "test.list")->count, 2);
    assert_null(wc_gguf_find(&g, "test"));
    assert_int_equal(wc_gguf_u64(&ctx, &g, "test", 7, 0, 9, &n), WC_OK);
    assert_int_equal(n, 7);
    assert_int_equal(wc_gguf_u64(&ctx, &g, "test", UINT64_MAX, 0, 9, &n), WC_BADFILE);
    assert_int_equal(wc_gguf_u64(&ctx, &g, "test.u8", UINT64_MAX, 0, 199, &n), WC_BADFILE);
    assert_int_equal(wc_gguf_u64(&ctx, &g, "test.i16", UINT64_MAX, 0, UINT64_MAX, &n), WC_BADFILE);
    assert_int_equal(wc_gguf_u64(&ctx, &g, "test.f64", UINT64_MAX, 0, 199, &n), WC_BADFILE);
    assert_int_equal(wc_gguf_real(&ctx, &g, "test.u8", 0, &x), WC_BADFILE);
    assert_int_equal(wc_gguf_flag(&ctx, &g, "test.u8", 0, &flag), WC_BADFILE);
    wc_gguf_close(&g);
}

/* Every matrix, q and k with their rows back in order, against the package's own values. */
static void a_recorded_file_is_a_model(void **state)
{
    static const char *const names[] = {"model.embed_tokens.weight",
                                        "model.layers.0.self_attn.q_proj.weight",
                                        "model.layers.0.self_attn.k_proj.weight",
                                        "model.layers.0.self_attn.v_proj.weight",
                                        "model.layers.0.self_attn.o_proj.weight",
                                        "model.layers.0.mlp.gate_proj.weight",
                                        "model.layers.0.mlp.up_proj.weight",
                                        "model.layers.0.mlp.down_proj.weight"};
    wc_ctx ctx = new_ctx();
    wc_checkpoint c;
    size_t size, at = 0;
    uint8_t *want = load_file("tests/data/ggml/small.f32", &size);
    (void)state;
    assert_int_equal(wc_checkpoint_open(&ctx, SMALL, &c), WC_OK);
    assert_int_equal(c.n, 11);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const wc_st_tensor *t = wc_checkpoint_find(&c, names[i]);
        assert_non_null(t);
        size_t bytes = t->rows * t->cols * sizeof(float);
        float *w = malloc(bytes);
        assert_non_null(w);
        assert_int_equal(wc_checkpoint_rows(&ctx, &c, t, 0, t->rows, w), WC_OK);
        assert_true(at + bytes <= size);
        assert_memory_equal(w, want + at, bytes);
        assert_int_equal(wc_checkpoint_rows(&ctx, &c, t, 3, 2, w), WC_OK);
        assert_memory_equal(w, want + at + 3 * t->cols * sizeof(float), 2 * t->cols * sizeof(float));
        assert_int_equal(wc_checkpoint_check_finite(&ctx, &c, t), WC_OK);
        at += bytes;
        free(w);
    }
    assert_int_equal(at, size);
    wc_config config;
    assert_int_equal(wc_config_parse(&ctx, (char *)c.config.data, c.config.size, "config", &config), WC_OK);
    assert_string_equal(config.model_type, "llama");
    assert_int_equal(config.head_dim, 16);
    assert_int_equal(config.kv_heads, 1);
    assert_int_equal(config.vocab, 8);
    assert_true(config.tied && config.norm_eps == 1e-5f);
    wc_tokenizer *t = NULL;
    wc_ids ids = {0};
    static const uint32_t ids_want[] = {6, 4, 5, 3, 2, 6};
    assert_int_equal(wc_tokenizer_open(&ctx, (char *)c.tokenizer.data, c.tokenizer.size, "tokenizer", &t), WC_OK);
    assert_int_equal(wc_tokenizer_encode(&ctx, t, "ab a b<|end|>", 13, WC_ENCODE_TEMPLATE, &ids), WC_OK);
    assert_int_equal(ids.n, 6);
    assert_memory_equal(ids.id, ids_want, sizeof ids_want);
    wc_ids_free(&ids);
    wc_tokenizer_free(&t);
    wc_checkpoint_close(&c);
    free(want);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

/* A file in memory, piece by piece. */
typedef struct file {
    uint8_t data[4096];
    size_t n;
} file;

static void add(file *f, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        f->data[f->n++] = (uint8_t)(value >> 8 * i);
}

static void add_text(file *f, const char *text)
{
    add(f, strlen(text), 8);
    memcpy(f->data + f->n, text, strlen(text));
    f->n += strlen(text);
}

static file header(uint32_t version, uint64_t tensors, uint64_t keys)
{
    file f = {.data = "GGUF", .n = 4};
    add(&f, version, 4), add(&f, tensors, 8), add(&f, keys, 8);
    return f;
}

static void add_tensor(file *f, const char *name, unsigned dims, const uint64_t *dim, uint32_t type, uint64_t offset)
{
    add_text(f, name), add(f, dims, 4);
    for (unsigned i = 0; i < dims; i++)
        add(f, dim[i], 8);
    add(f, type, 4), add(f, offset, 8);
}

static void pad(file *f, size_t bytes)
{
    while (f->n % 32)
        f->data[f->n++] = 0;
    f->n += bytes;
}

static void refused(const file *f, wc_status want, const char *says)
{
    wc_ctx ctx = new_ctx();
    wc_gguf g;
    uint8_t *exact = malloc(f->n ? f->n : 1);
    assert_non_null(exact);
    memcpy(exact, f->data, f->n);
    wc_status s = wc_gguf_parse(&ctx, exact, f->n, "x.gguf", &g);
    if (s != want || !strstr(ctx.error, says)) fail_msg("status %d, `%s' instead of `%s'", (int)s, ctx.error, says);
    assert_null(g.key);
    free(exact);
}

static void headers_that_lie_are_refused(void **state)
{
    file f = {.data = "GGML", .n = 4};
    (void)state;
    refused(&f, WC_BADFILE, "not a GGUF file");
    f = (file){.data = "GGUF", .n = 4};
    refused(&f, WC_BADFILE, "ends inside the header");
    f = header(1, 0, 0);
    refused(&f, WC_UNSUPPORTED, "GGUF version 1");
    f = header(3u << 24, 0, 0);
    refused(&f, WC_UNSUPPORTED, "big-endian");
    f = header(3, UINT64_MAX, 0);
    refused(&f, WC_BADFILE, "do not fit");
    f = header(3, 0, (uint64_t)1 << 60);
    refused(&f, WC_BADFILE, "do not fit");
}

static void keys_that_lie_are_refused(void **state)
{
    static const struct {
        const char *name;
        uint32_t type, element;
        uint64_t count;
        unsigned bytes; /* that follow */
        const char *says;
    } cases[] = {
        {"a", 9, 9, 1, 32, "array of arrays"},
        {"a", 9, 13, 1, 32, "unknown type 13"},
        {"a", 13, 0, 0, 32, "unknown type 13"},
        {"a", 9, 4, (uint64_t)1 << 62, 32, "ends inside a"},
        {"a", 9, 4, 9, 32, "ends inside a"},
        {"a", 9, 8, 5, 32, "ends inside a"},
        {"a", 8, 0, 1000, 32, "ends inside a"},
        {"a", 8, 0, UINT64_MAX, 32, "ends inside a"},
        {"a", 7, 0, 2, 32, "truth value of 2"},
        {"", 4, 0, 0, 32, "has 0 bytes"},
        {"a\xff"
         "b",
         4, 0, 0, 32, "not printable ASCII"},
        {"a b", 4, 0, 0, 32, "not printable ASCII"},
        {"a", 10, 0, 0, 0, "ends inside a"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f = header(3, 0, 1);
        add_text(&f, cases[i].name), add(&f, cases[i].type, 4);
        if (cases[i].type == 9) add(&f, cases[i].element, 4);
        if (cases[i].type == 9 || cases[i].type == 8) add(&f, cases[i].count, 8);
        if (cases[i].type == 7) add(&f, cases[i].count, 1);
        f.n += cases[i].bytes;
        refused(&f, WC_BADFILE, cases[i].says);
    }
    file f = header(3, 0, 2);
    for (int i = 0; i < 2; i++)
        add_text(&f, "twice"), add(&f, WC_GGUF_U8, 4), add(&f, 1, 1);
    refused(&f, WC_BADFILE, "key twice is there twice");
    f = header(3, 0, 1);
    add(&f, 70000, 8);
    f.n += 100;
    refused(&f, WC_BADFILE, "1 to 65535 are allowed");
}

static void tensors_that_lie_are_refused(void **state)
{
    const uint64_t one[4] = {32, 1, 1, 1}, odd[2] = {33, 2}, huge[5] = {1 << 20, 1 << 20, 1 << 20, 32, 1};
    (void)state;
    file f = header(3, 1, 0);
    add_tensor(&f, "t", 1, one, WC_GGML_F32, 0), pad(&f, 127);
    refused(&f, WC_BADFILE, "ends inside the data of tensor t");
    f = header(3, 1, 0);
    add_tensor(&f, "t", 1, one, WC_GGML_F32, 32), pad(&f, 500);
    refused(&f, WC_BADFILE, "it has to be at 0");
    f = header(3, 2, 0);
    add_tensor(&f, "t", 1, one, WC_GGML_F32, 0), add_tensor(&f, "u", 1, one, WC_GGML_F32, 64), pad(&f, 500);
    refused(&f, WC_BADFILE, "u is at 64 of the data, it has to be at 128");
    f = header(3, 2, 0);
    add_tensor(&f, "t", 1, one, WC_GGML_F32, 0), add_tensor(&f, "t", 1, one, WC_GGML_F32, 128), pad(&f, 500);
    refused(&f, WC_BADFILE, "tensor t is there twice");
    f = header(3, 1, 0);
    add_tensor(&f, "t", 4, huge, WC_GGML_F32, 0), pad(&f, 500);
    refused(&f, WC_BADFILE, "impossible shape");
    f = header(3, 1, 0);
    add_tensor(&f, "t", 5, huge, WC_GGML_F32, 0), pad(&f, 500);
    refused(&f, WC_BADFILE, "5 dimensions");
    f = header(3, 1, 0);
    add_tensor(&f, "t", 2, odd, WC_GGML_Q4_0, 0), pad(&f, 500);
    refused(&f, WC_BADFILE, "rows of 33 weights, no whole blocks of Q4_0");
    f = header(3, 1, 0);
    add_tensor(&f, "t", 1, one, 4, 0), pad(&f, 500);
    refused(&f, WC_UNSUPPORTED, "type 4");
    f = header(3, 1, 0);
    add_tensor(&f, "t0123456789012345678901234567890123456789012345678901234567890123", 1, one, 0, 0), pad(&f, 500);
    refused(&f, WC_BADFILE, "has 65 bytes");
    f = header(3, 1, 1);
    add_text(&f, "general.alignment"), add(&f, WC_GGUF_U32, 4), add(&f, 24, 4);
    add_tensor(&f, "t", 1, one, 0, 0), pad(&f, 500);
    refused(&f, WC_BADFILE, "an alignment of 24");
}

/* Cut anywhere, the file is refused; a changed byte never does harm. */
static void truncation_is_refused_and_damage_is_harmless(void **state)
{
    size_t size;
    uint8_t *data = load_file(SMALL, &size);
    wc_ctx ctx = new_ctx();
    wc_gguf g;
    (void)state;
    for (size_t n = 0; n < size; n += n < 2000 ? 1 : 97) {
        uint8_t *exact = malloc(n + 1);
        assert_non_null(exact);
        memcpy(exact, data, n);
        if (wc_gguf_parse(&ctx, exact, n, "x", &g) == WC_OK) fail_msg("%zu bytes are a file", n);
        free(exact);
    }
    for (size_t i = 0; i < 2200; i++) {
        data[i] ^= (uint8_t)(1 + i % 255);
        if (wc_gguf_parse(&ctx, data, size, "x", &g) == WC_OK) wc_gguf_close(&g);
        data[i] ^= (uint8_t)(1 + i % 255);
    }
    free(data);
}

/* ---- names, rows, the writer ------------------------------------------------------------------------------------- */

static void names_go_there_and_back(void **state)
{
    static const char *const pairs[][2] = {
        {"token_embd.weight", "model.embed_tokens.weight"},
        {"output.weight", "lm_head.weight"},
        {"blk.17.attn_q.weight", "model.layers.17.self_attn.q_proj.weight"},
        {"blk.0.attn_q.bias", "model.layers.0.self_attn.q_proj.bias"},
        {"blk.3.attn_q_norm.weight", "model.layers.3.self_attn.q_norm.weight"},
        {"blk.3.ffn_norm.weight", "model.layers.3.post_attention_layernorm.weight"},
    };
    char name[WC_GGUF_NAME_ROOM];
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        wc_gguf_hf_name(pairs[i][0], name);
        assert_string_equal(name, pairs[i][1]);
        assert_true(wc_gguf_name(pairs[i][1], name));
        assert_string_equal(name, pairs[i][0]);
    }
    wc_gguf_hf_name("blk.1.ssm_in.weight", name);
    assert_string_equal(name, "blk.1.ssm_in.weight");
    assert_false(wc_gguf_name("model.layers.1.mlp.experts.2.w1.weight", name));
    for (uint64_t r = 0; r < 24; r++)
        assert_int_equal(wc_gguf_deinterleave(wc_gguf_interleave(r, 24, 3), 24, 3), r);
    assert_int_equal(wc_gguf_interleave(9, 24, 3), 10); /* head 1, entry 1 of the first half: second pair */
    assert_int_equal(wc_gguf_interleave(13, 24, 3), 11);
}

static wc_status bytes_of(wc_ctx *ctx, void *self, size_t i, wc_buf *out)
{
    static const uint8_t data[128];
    (void)self;
    return wc_buf_append(ctx, out, data, i ? 18 : 128);
}

static void what_is_written_is_read(void **state)
{
    wc_ctx ctx = new_ctx();
    wc_gguf_writer w = {0};
    wc_gguf g;
    uint64_t n;
    double x;
    bool flag;
    const char *p;
    size_t size;
    (void)state;
    assert_int_equal(wc_gguf_put_string(&ctx, &w, "general.architecture", "none", 4), WC_OK);
    assert_int_equal(wc_gguf_put_u32(&ctx, &w, "a.u32", 4000000000u), WC_OK);
    assert_int_equal(wc_gguf_put_f32(&ctx, &w, "a.f32", 0.5f), WC_OK);
    assert_int_equal(wc_gguf_put_flag(&ctx, &w, "a.flag", true), WC_OK);
    assert_int_equal(wc_gguf_put_array(&ctx, &w, "a.list", WC_GGUF_STRING, 2), WC_OK);
    assert_int_equal(wc_gguf_put_text(&ctx, &w, "", 0), WC_OK);
    assert_int_equal(wc_gguf_put_text(&ctx, &w, "xy", 2), WC_OK);
    assert_int_equal(wc_gguf_put_tensor(&ctx, &w, "m", WC_GGML_F32, 4, 8), WC_OK);
    assert_int_equal(wc_gguf_put_tensor(&ctx, &w, "v", WC_GGML_Q4_0, 0, 32), WC_OK);
    assert_int_equal(wc_gguf_put_tensor(&ctx, &w, "w", WC_GGML_Q4_0, 2, 31), WC_BUG);
    assert_int_equal(wc_gguf_write(&ctx, &w, in_scratch("w.gguf"), bytes_of, NULL), WC_OK);
    assert_int_equal(wc_gguf_open(&ctx, path_text, &g), WC_OK);
    assert_int_equal(g.map.size, wc_gguf_file_size(&w));
    assert_int_equal(g.n, 2);
    assert_int_equal(g.tensor[0].dims[0], 8);
    assert_int_equal(g.tensor[0].dims[1], 4);
    assert_int_equal(g.tensor[1].n_dims, 1);
    assert_int_equal(g.tensor[1].offset % 32, 0);
    assert_int_equal(wc_gguf_u64(&ctx, &g, "a.u32", 0, 0, UINT32_MAX, &n), WC_OK);
    assert_int_equal(n, 4000000000u);
    assert_int_equal(wc_gguf_real(&ctx, &g, "a.f32", 0, &x), WC_OK);
    assert_true(x == 0.5);
    assert_int_equal(wc_gguf_flag(&ctx, &g, "a.flag", 0, &flag), WC_OK);
    assert_true(flag);
    const uint8_t *at = wc_gguf_find(&g, "a.list")->data;
    wc_gguf_next(&at, &p, &size);
    assert_int_equal(size, 0);
    wc_gguf_next(&at, &p, &size);
    assert_int_equal(size, 2);
    assert_memory_equal(p, "xy", 2);
    wc_gguf_close(&g);
    wc_gguf_writer_free(&w);
}

/* ---- tokenizers: tokenizer.json -> GGUF -> tokenizer.json -------------------------------------------------------- */

/* A model of nothing but a tokenizer. */
static wc_input only_tokenizer(wc_ctx *ctx, const char *name)
{
    wc_input in = {.has_checkpoint = true};
    size_t size;
    char path[160];
    snprintf(path, sizeof path, "tests/data/tokenizer/%s.json", name);
    uint8_t *json = load_file(path, &size);
    put_file(in_scratch("tokenizer.json"), json, size);
    put_file(in_scratch("config.json"), "{}", 2);
    in.path = strdup(name);
    in.checkpoint.dir = strdup(scratch);
    assert_int_equal(wc_tokenizer_open(ctx, (char *)json, size, name, &in.tokenizer), WC_OK);
    in.config.vocab = wc_tokenizer_size(in.tokenizer) + 3; /* padding, as embeddings have it */
    free(json);
    return in;
}

static wc_status through_gguf(wc_ctx *ctx, const wc_input *in, const char *pre, wc_tokenizer **out)
{
    wc_gguf_writer w = {0};
    wc_gguf g = {0};
    wc_buf text = {0};
    json_t *config = json_object();
    wc_status s = wci_gguf_tokenizer(ctx, in, config, pre, &w);
    if (s == WC_OK) s = wc_gguf_write(ctx, &w, in_scratch("t.gguf"), bytes_of, NULL);
    if (s == WC_OK) s = wc_gguf_open(ctx, path_text, &g);
    if (s == WC_OK) s = wc_gguf_tokenizer(ctx, &g, &text);
    if (s == WC_OK) s = wc_tokenizer_open(ctx, (char *)text.data, text.size, "GGUF", out);
    wc_gguf_close(&g);
    wc_gguf_writer_free(&w);
    wc_buf_free(&text);
    json_decref(config);
    return s;
}

static void tokenizers_survive_the_way(void **state)
{
    static const char *const cases[] = {"gpt2", "llama3", "qwen2", "starcoder", "llama2", "llama2_first", "gemma"};
    size_t size;
    uint8_t *text = load_file("tests/data/eval/technical.txt", &size);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_ctx ctx = new_ctx();
        wc_input in = only_tokenizer(&ctx, cases[i]);
        wc_tokenizer *t = NULL;
        wc_ids a = {0}, b = {0};
        wc_status s = through_gguf(&ctx, &in, NULL, &t);
        if (s != WC_OK) fail_msg("%s: %s", cases[i], ctx.error);
        assert_int_equal(wc_tokenizer_encode(&ctx, in.tokenizer, (char *)text, size, WC_ENCODE_TEMPLATE, &a), WC_OK);
        assert_int_equal(wc_tokenizer_encode(&ctx, t, (char *)text, size, WC_ENCODE_TEMPLATE, &b), WC_OK);
        if (a.n != b.n || memcmp(a.id, b.id, a.n * sizeof *a.id))
            for (size_t k = 0;; k++)
                if (a.id[k] != b.id[k])
                    fail_msg("%s: %zu ids, %zu after GGUF; the %zuth was %u, is %u", cases[i], a.n, b.n, k, a.id[k],
                             b.id[k]);
        wc_ids_free(&a), wc_ids_free(&b);
        wc_tokenizer_free(&t);
        wc_input_close(&in);
    }
    free(text);
}

static void other_ways_of_cutting_text_are_refused(void **state)
{
    static const char *const files[] = {"deepseek", "o200k", "roberta"};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        wc_ctx ctx = new_ctx();
        wc_input in = only_tokenizer(&ctx, files[i]);
        wc_tokenizer *t = NULL;
        assert_int_equal(through_gguf(&ctx, &in, NULL, &t), WC_UNSUPPORTED);
        assert_non_null(strstr(ctx.error, "--gguf-pre"));
        if (through_gguf(&ctx, &in, "qwen2", &t) != WC_OK) fail_msg("%s: %s", files[i], ctx.error); /* the user knows */
        wc_tokenizer_free(&t);
        wc_input_close(&in);
    }
    wc_ctx ctx = new_ctx();
    wc_input in = only_tokenizer(&ctx, "words");
    assert_int_equal(through_gguf(&ctx, &in, "qwen2", NULL), WC_UNSUPPORTED);
    assert_non_null(strstr(ctx.error, "neither on bytes"));
    wc_input_close(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_every_type_are_read),  cmocka_unit_test(a_recorded_file_is_a_model),
        cmocka_unit_test(headers_that_lie_are_refused), cmocka_unit_test(keys_that_lie_are_refused),
        cmocka_unit_test(tensors_that_lie_are_refused), cmocka_unit_test(truncation_is_refused_and_damage_is_harmless),
        cmocka_unit_test(names_go_there_and_back),      cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(tokenizers_survive_the_way),   cmocka_unit_test(other_ways_of_cutting_text_are_refused),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
