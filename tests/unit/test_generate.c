/* test_generate.c - examples/generate against the toolkit: tokenizer against recorded ids, logits against the toolkit's
 * forward pass for every family and kind of part, greedy text, perplexity, sampling; allocations counted and refused;
 * damaged files. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>

#include "eval.h"
#include "examples/generate/generate.h"
#include "input.h"
#include "model_util.h"
#include "run.h"

static gen_error e;

static void gen_must(gen_status s)
{
    if (s != GEN_OK) fail_msg("%d: %s", (int)s, e.text);
}

/* ---- memory: linked with --wrap=malloc,calloc,realloc ---- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static size_t allocations, fail_at = SIZE_MAX;

static bool refused(void)
{
    return allocations++ >= fail_at;
}

void *__wrap_malloc(size_t n)
{
    return refused() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return refused() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return refused() ? NULL : __real_realloc(p, n);
}

/* ---- models ---- */

static void be_quiet(wc_ctx *ctx, wc_report *r) /* which ctx keeps a pointer to */
{
    must(ctx, wc_report_init(r, ctx, "test"));
    r->json = r->quiet = true;
}

/* A kind of part, or a sum, or a transform, for each of the linears of the small model. */
static const wc_plan_rule zoo[] = {
    {"*.0.self_attn.q_proj.weight", "rd(bits=2)"},
    {"*.0.self_attn.k_proj.weight", "bitstack"},
    {"*.0.self_attn.v_proj.weight", "lut(bits=3)"},
    {"*.0.self_attn.o_proj.weight", "ggml(type=Q4_K)"},
    {"*.0.mlp.gate_proj.weight", "hadamard | gptq(bits=3)"},
    {"*.0.mlp.up_proj.weight", "svd(rank=8) | gptq(bits=2)"},
    {"*.0.mlp.down_proj.weight", "outliers(frac=1%) | gptq(bits=3) | eora(rank=8)"},
    {"*.1.self_attn.q_proj.weight", "rd(bits=3,tile=64)"},
    {"*.1.self_attn.k_proj.weight", "wanda(pattern=2:4) | gptq(bits=4)"},
    {"*.1.self_attn.v_proj.weight", "gptvq"},
    {"*.1.self_attn.o_proj.weight", "binary"},
    {"*.1.mlp.gate_proj.weight", "awq | hqq(bits=3)"},
    {"*.1.mlp.up_proj.weight", "lossless"},
    {"*.1.mlp.down_proj.weight", "curing"},
};

/* folder compressed by a recipe (NULL: the rules above) to a fresh file, whose path comes back. */
static const char *compress(const char *folder, const char *recipe)
{
    static size_t count;
    const char *path = text("%s/%zu.wcz", models_dir, count++);
    wc_ctx ctx;
    wc_run_result result = {0};
    wc_ctx_init(&ctx, 1);
    wc_report r;
    be_quiet(&ctx, &r);
    bool exact = recipe && !strcmp(recipe, "lossless");
    const char *others = exact ? recipe : "rtn(bits=8)";
    wc_run_options run = {.model = folder,
                          .output = path,
                          .calib = {.max_tokens = 256, .seqlen = 32},
                          .plan = {.linear = recipe ? recipe : "keep",
                                   .embed = others,
                                   .head = others,
                                   .rest = exact ? recipe : NULL,
                                   .rule = zoo,
                                   .n_rules = recipe ? 0 : sizeof zoo / sizeof *zoo,
                                   .last_block = SIZE_MAX}};
    must(&ctx, wc_run(&ctx, &run, &r, &result));
    wc_run_result_free(&result);
    wc_report_free(&r);
    return path;
}

/* The small model as most tests have it. */
static const char *small(void)
{
    static char path[4096];
    if (!*path) strcpy(path, compress(text("%s/small", models_dir), "hadamard | outliers(frac=1%) | rtn(bits=3)"));
    return path;
}

/* logits [n, vocab] of the toolkit's own forward pass over the compressed file. */
static float *toolkit_logits(const char *path, const uint32_t *ids, size_t n, size_t *vocab)
{
    static wc_input in;
    model m = {.checkpoint = {0}};
    wc_ctx_init(&m.ctx, 1);
    must(&m.ctx, wc_input_open(&m.ctx, path, &in));
    m.source = in.source, m.config = in.config;
    *vocab = in.config.vocab;
    float *logits = model_logits(&m, ids, 1, n);
    wc_input_close(&in);
    return logits;
}

typedef struct runner {
    gen_file file;
    gen_model *model;
    float *logits;
} runner;

static void runner_open(runner *r, const char *path, size_t context, int threads)
{
    gen_must(gen_file_open(path, &r->file, &e));
    gen_must(gen_model_open(&r->file, context, threads, &r->model, &e));
    r->logits = malloc(r->model->c.vocab * sizeof *r->logits);
}

static void runner_close(runner *r)
{
    free(r->logits);
    gen_model_free(r->model);
    gen_file_close(&r->file);
}

/* max |a - b| over max |b|. */
static double distance(const float *a, const float *b, size_t n)
{
    double worst = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        most = fmax(most, fabs((double)b[i]));
    }
    return worst / most;
}

enum { TOKENS = 37, MANY = GEN_BATCH + 5 };

/* Token by token, and in batches of 1, 2, all but 4 and the rest: how far from the toolkit at most. n <= MANY. prepare:
 * with weights laid out anew, of which there have to be some. */
static double distance_to_toolkit(const char *path, size_t n, bool prepare)
{
    uint32_t ids[MANY];
    size_t vocab, prepared = 0;
    runner r;
    double worst = 0;
    runner_open(&r, path, n, 1);
    if (prepare) gen_must(gen_model_prepare(r.model, &prepared, &e));
    assert_int_equal(prepared > 0, prepare);
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)((7 + 13 * i + 5 * i * i) % r.model->c.vocab);
    float *want = toolkit_logits(path, ids, n, &vocab);
    for (size_t i = 0; i < n; i++) {
        gen_must(gen_forward(r.model, ids + i, 1, r.logits, &e));
        worst = fmax(worst, distance(r.logits, want + i * vocab, vocab));
    }
    r.model->n = 0;
    for (size_t i = 0, some, turn = 0; i < n; i += some) {
        some = wc_min((const size_t[]){1, 2, n - 4, n}[turn++], n - i);
        gen_must(gen_forward(r.model, ids + i, some, r.logits, &e));
        worst = fmax(worst, distance(r.logits, want + (i + some - 1) * vocab, vocab));
    }
    free(want);
    runner_close(&r);
    return worst;
}

static int set_up(void **state)
{
    if (models_make(state)) return 1;
    return system(text("/usr/bin/python3 -B tests/cli/make_broken.py small %s/small", models_dir));
}

/* ---- the forward pass ---- */

/* 2e-6 is usual; a wrong detail (a bias, a window off by one, a frequency) gives 1e-2 and more. */
static void every_family_gives_the_toolkits_logits(void **state)
{
    static const char *const names[] = {"llama",
                                        "mistral",
                                        "qwen2",
                                        "qwen2_types",
                                        "qwen3",
                                        "qwen3_bias",
                                        "bitnet",
                                        "rope_linear",
                                        "rope_yarn",
                                        "rope_yarn_options",
                                        "rope_partial",
                                        "rope_llama3",
                                        "rope_yarn_attention"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        double d = distance_to_toolkit(compress(text("%s/%s", models_dir, names[i]), "lossless"), TOKENS, false);
        if (!(d < 2e-5)) fail_msg("%s: %g", names[i], d);
    }
}

static void prepared_weights_give_the_toolkits_logits(void **state)
{
    (void)state;
    double d = distance_to_toolkit(compress(text("%s/llama", models_dir), "rtn(bits=4,group=16)"), TOKENS, true);
    if (!(d < 2e-5)) fail_msg("%g", d); /* usually 2e-6 */
}

static void what_is_not_done_is_refused_by_name(void **state)
{
    static const char *const names[] = {"rope_dynamic", "rope_ntk", "rope_longrope_short"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        gen_file f;
        gen_model *m = NULL;
        gen_must(gen_file_open(compress(text("%s/%s", models_dir, names[i]), "lossless"), &f, &e));
        assert_int_equal(gen_model_open(&f, 8, 1, &m, &e), GEN_UNSUPPORTED);
        assert_non_null(strstr(e.text, "rope_type"));
        assert_null(m);
        gen_file_close(&f);
    }
}

/* Every kind of part, sums of them, transforms. The toolkit multiplies decoded rows; the example multiplies parts. */
static void every_kind_of_part_gives_the_toolkits_logits(void **state)
{
    static const char *const recipes[] = {NULL, "rotate | rtn(bits=3)"};
    (void)state;
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        double d =
            distance_to_toolkit(compress(text("%s/small", models_dir), recipes[i]), recipes[i] ? TOKENS : MANY, false);
        if (!(d < 2e-5)) fail_msg("%s: %g", recipes[i] ? recipes[i] : "zoo", d);
    }
}

static void threads_change_no_bit(void **state)
{
    const char *path = compress(text("%s/small", models_dir), "svd(rank=8) | rtn(bits=3)");
    static const uint32_t ids[] = {5, 17, 900, 4000, 3, 2, 1};
    runner one, three;
    (void)state;
    runner_open(&one, path, 8, 1);
    runner_open(&three, path, 8, 3);
    for (size_t n = 1; n <= 6; n += 5) {
        gen_must(gen_forward(one.model, ids + 6 - n, n, one.logits, &e));
        gen_must(gen_forward(three.model, ids + 6 - n, n, three.logits, &e));
        assert_memory_equal(one.logits, three.logits, one.model->c.vocab * sizeof(float));
    }
    runner_close(&one);
    runner_close(&three);
}

/* Inputs in 8 bits: near, another result, and the same for any batch and number of threads. 0.01 is usual. */
static void inputs_in_8_bits(void **state)
{
    const char *path = compress(text("%s/small", models_dir), "hadamard | rtn(bits=4)");
    uint32_t ids[MANY];
    runner r, other;
    (void)state;
    runner_open(&r, path, MANY, 1);
    runner_open(&other, path, MANY, 3);
    for (size_t i = 0; i < MANY; i++)
        ids[i] = (uint32_t)(7 + 13 * i);
    gen_must(gen_forward(r.model, ids, MANY, r.logits, &e));
    other.model->int8 = true;
    gen_must(gen_forward(other.model, ids, MANY, other.logits, &e));
    double d = distance(other.logits, r.logits, r.model->c.vocab);
    if (!(d > 1e-4 && d < 0.05)) fail_msg("%g", d);
    r.model->n = 0, r.model->int8 = true;
    for (size_t i = 0; i < MANY; i++)
        gen_must(gen_forward(r.model, ids + i, 1, r.logits, &e));
    assert_true(distance(other.logits, r.logits, r.model->c.vocab) == 0);
    runner_close(&r);
    runner_close(&other);
}

static void misuse_is_named(void **state)
{
    const char *path = compress(text("%s/llama", models_dir), "lossless");
    uint32_t ids[5] = {1, 2, 3, 4, 48};
    runner r;
    gen_model *m = NULL;
    (void)state;
    runner_open(&r, path, 4, 1);
    assert_int_equal(gen_forward(r.model, ids, 0, r.logits, &e), GEN_USAGE);
    assert_int_equal(gen_forward(r.model, ids, 5, r.logits, &e), GEN_USAGE);
    assert_int_equal(gen_forward(r.model, ids + 4, 1, r.logits, &e), GEN_USAGE);
    gen_must(gen_forward(r.model, ids, 4, r.logits, &e));
    assert_int_equal(gen_forward(r.model, ids, 1, r.logits, &e), GEN_USAGE);
    assert_int_equal(gen_model_open(&r.file, 0, 1, &m, &e), GEN_USAGE);
    assert_int_equal(gen_model_open(&r.file, SIZE_MAX, 1, &m, &e), GEN_USAGE);
    runner_close(&r);
    gen_model_free(NULL);
    gen_tokenizer_free(NULL);
}

/* ---- text ---- */

/* The recorded ids of tests/data/tokenizer, "TEXT MODE ids..."; mode t: with the template; s: with special tokens as
 * text, which the example does not do. */
static void check_recorded(const char *name, const char *json_path)
{
    json_t *texts = json_load_file("tests/data/tokenizer/texts.json", JSON_ALLOW_NUL, NULL);
    wc_ctx ctx;
    wc_buf json = {0};
    char *line = NULL;
    size_t room = 0, lines = 0;
    gen_tokenizer *t;
    wc_ctx_init(&ctx, 1);
    must(&ctx, wc_read_file(&ctx, json_path, 1 << 28, &json));
    gen_must(gen_tokenizer_open((const char *)json.data, json.size, &t, &e));
    FILE *f = fopen(text("tests/data/tokenizer/%s.ids", name), "r");
    assert_non_null(f);
    while (getline(&line, &room, f) > 0) {
        char *p;
        const json_t *v = json_array_get(texts, strtoul(line, &p, 10));
        uint32_t *ids;
        size_t n, i, before;
        bool with_template = p[1] == 't';
        if (p[1] == 's') continue;
        line[strcspn(line, "\n")] = 0;
        gen_must(gen_encode(t, "", 0, &ids, &before, &e));
        free(ids);
        gen_must(gen_encode(t, json_string_value(v), json_string_length(v), &ids, &n, &e));
        i = with_template ? 0 : before;
        for (p += 2; *p == ' '; i++) {
            uint32_t want = (uint32_t)strtoul(p, &p, 10);
            bool after = with_template && i == n && !strchr(p, ' '); /* an end of text: the example continues it */
            if (!after && (i >= n || ids[i] != want)) fail_msg("%s: id %zu of: %s", name, i, line);
        }
        if (i != n && !(with_template && i == n + 1)) fail_msg("%s: %zu ids, not %zu: %s", name, n, i, line);
        free(ids);
        lines++;
    }
    assert_true(lines > 150);
    free(line);
    fclose(f);
    json_decref(texts);
    gen_tokenizer_free(t);
    wc_buf_free(&json);
}

static void tokenizers_give_the_recorded_ids(void **state)
{
    static const char *const names[] = {"gpt2",     "llama3",    "qwen2",  "o200k",
                                        "deepseek", "starcoder", "llama2", "llama2_first"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_recorded(names[i], text("tests/data/tokenizer/%s.json", names[i]));
    check_recorded("docs4m", "tests/data/docs4m/tokenizer.json");
}

static void other_tokenizers_are_refused_by_name(void **state)
{
    static const struct {
        const char *name, *word;
    } cases[] = {{"gemma", "Split"},   {"roberta", "RobertaProcessing"}, {"metaspace_always", "strips spaces"},
                 {"words", "subword"}, {"lowercase", "Lowercase"},       {"oniguruma", "Split"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_ctx ctx;
        wc_buf json = {0};
        gen_tokenizer *t = NULL;
        wc_ctx_init(&ctx, 1);
        must(&ctx, wc_read_file(&ctx, text("tests/data/tokenizer/%s.json", cases[i].name), 1 << 28, &json));
        gen_status s = gen_tokenizer_open((const char *)json.data, json.size, &t, &e);
        if (s != GEN_UNSUPPORTED || !strstr(e.text, cases[i].word)) fail_msg("%s: %s", cases[i].name, e.text);
        assert_null(t);
        wc_buf_free(&json);
    }
}

/* ---- whole runs ---- */

typedef struct heard {
    char said[4096];
    size_t n, calls, most, before, after; /* allocations before the second token and after the last */
} heard;

static bool hear(void *arg, const char *bytes, size_t n)
{
    heard *h = arg;
    memcpy(h->said + h->n, bytes, n);
    h->n += n;
    if (++h->calls == 1) h->before = allocations;
    h->after = allocations;
    return h->calls != h->most;
}

static gen_options options_of(const char *path, const char *prompt, size_t n, heard *h)
{
    *h = (heard){.n = 0};
    return (gen_options){.path = path,
                         .prompt = prompt,
                         .prompt_size = strlen(prompt),
                         .n = n,
                         .top_p = 1,
                         .threads = 1,
                         .sink = hear,
                         .arg = h};
}

static void check_greedy(const char *path, const char *prompt)
{
    enum { N = 12 };
    static wc_input in;
    wc_ctx ctx;
    wc_ids ids = {0};
    wc_buf want = {0};
    heard h;
    gen_result result;
    wc_ctx_init(&ctx, 1);
    must(&ctx, wc_input_open(&ctx, path, &in));
    must(&ctx, wc_tokenizer_encode(&ctx, in.tokenizer, prompt, strlen(prompt), WC_ENCODE_TEMPLATE, &ids));
    size_t n_prompt = ids.n, vocab;
    for (size_t i = 0; i < N; i++) {
        float *logits = toolkit_logits(path, ids.id, ids.n, &vocab), *last = logits + (ids.n - 1) * vocab;
        uint32_t best = 0;
        for (uint32_t k = 1; k < vocab; k++)
            if (last[k] > last[best]) best = k;
        must(&ctx, wc_ids_append(&ctx, &ids, &best, 1));
        free(logits);
    }
    must(&ctx, wc_tokenizer_decode(&ctx, in.tokenizer, ids.id + n_prompt, N, &want));
    gen_options o = options_of(path, prompt, N, &h);
    o.ignore_end = true;
    gen_must(gen_run(&o, &result, &e));
    assert_int_equal(result.prompt_tokens, n_prompt);
    assert_int_equal(result.tokens, N);
    assert_int_equal(h.n, want.size);
    assert_memory_equal(h.said, want.data, want.size);
    wc_buf_free(&want);
    wc_ids_free(&ids);
    wc_input_close(&in);
}

static void greedy_text_is_the_toolkits(void **state)
{
    static const char *const shared[] = {"stories260k", "aidreams260k", "bitllama-1m"};
    const char *root = getenv("WC_SHARED");
    (void)state;
    check_greedy(small(), "The file is opened");
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        const char *folder = text("%s/models/%s", root ? root : "../shared", shared[i]);
        if (wc_is_dir(folder))
            check_greedy(compress(folder, "rtn(bits=4)"), "One day, a girl");
        else
            print_message("skipped: no %s\n", folder);
    }
}

static void a_token_allocates_nothing(void **state)
{
    heard h;
    gen_result result;
    (void)state;
    gen_options o = options_of(small(), "Nothing", 40, &h);
    o.temperature = 0.9F, o.top_k = 40, o.top_p = 0.95F, o.ignore_end = true;
    for (int prepare = 0; prepare < 2; prepare++) {
        o.prepare = prepare;
        h = (heard){0};
        gen_must(gen_run(&o, &result, &e));
        assert_int_equal(h.calls, 40);
        assert_true(h.before > 10);
        assert_int_equal(h.before, h.after);
        assert_true(fabs(result.share[0] + result.share[1] + result.share[2] - 1) < 1e-9);
    }
}

static void the_listener_can_stop(void **state)
{
    heard h;
    gen_result result;
    (void)state;
    gen_options o = options_of(small(), "Nothing", 40, &h);
    o.ignore_end = true;
    h.most = 3;
    gen_must(gen_run(&o, &result, &e));
    assert_int_equal(result.tokens, 3);
}

/* Every allocation refused once, those of the JSON parser, of which there are many, here and there. */
static void refused_memory_is_an_error(void **state)
{
    const char *path = small();
    size_t step = 1, runs = 0;
    gen_status s = GEN_NOMEM;
    (void)state;
    for (int json = 0; json < 2; json++) {
        json_set_alloc_funcs(json ? __wrap_malloc : __real_malloc, free);
        for (size_t at = 0; s != GEN_OK || !runs; at += step, runs++) {
            heard h;
            gen_result result;
            gen_options o = options_of(path, "Nothing is left", 2, &h);
            allocations = 0;
            fail_at = at;
            memset(&e, 0, sizeof e);
            s = gen_run(&o, &result, &e);
            fail_at = SIZE_MAX;
            if (json && s == GEN_BADFILE)
                s = GEN_NOMEM; /* Jansson's own refusals come as syntax errors */
            else if (s != GEN_OK)
                if (!strstr(e.text, "emory")) fail_msg("allocation %zu: %s", at, e.text);
            if (s != GEN_OK && s != GEN_NOMEM) fail_msg("allocation %zu: %d: %s", at, (int)s, e.text);
            if (json) step = at < 40 ? 1 : 1171;
        }
        assert_true(runs > 10);
        runs = 0;
        s = GEN_NOMEM;
    }
    json_set_alloc_funcs(__real_malloc, free);
}

/* What eval finds for whole windows, from logits of the example: half of each window as one prompt, the rest one by
 * one. 1e-7 nats is usual. */
static void perplexity_is_evals(void **state)
{
    enum { SEQLEN = 64 };
    const char *path = small();
    const char *sample = text("%s/sample.txt", models_dir);
    wc_ctx ctx;
    wc_score scores[WC_N_PROTOCOLS];
    wc_buf words = {0};
    gen_tokenizer *t;
    uint32_t *ids;
    size_t n, size, windows = 0;
    char *json;
    double nll = 0;
    runner r;
    (void)state;
    wc_ctx_init(&ctx, 1);
    assert_int_equal(system(text("head -c 800 tests/data/eval/technical.txt >%s", sample)), 0);
    wc_report report;
    be_quiet(&ctx, &report);
    wc_eval_options opt = {
        .model = path, .text = {.files = &sample, .n_files = 1, .seqlen = SEQLEN}, .want = {true, false}};
    must(&ctx, wc_eval(&ctx, &opt, &report, scores));
    wc_report_free(&report);
    must(&ctx, wc_read_file(&ctx, sample, 1 << 20, &words));
    runner_open(&r, path, SEQLEN, 1);
    gen_must(gen_file_text(&r.file, "tokenizer.json", &json, &size, &e));
    gen_must(gen_tokenizer_open(json, size, &t, &e));
    gen_must(gen_encode(t, (const char *)words.data, words.size, &ids, &n, &e));
    for (; (windows + 1) * SEQLEN <= n; windows++) {
        const uint32_t *w = ids + windows * SEQLEN;
        r.model->n = 0;
        for (size_t i = 0; i + 1 < SEQLEN; i++) {
            double sum = 0;
            gen_must(gen_forward(r.model, w + i, 1, r.logits, &e));
            for (size_t k = 0; k < r.model->c.vocab; k++)
                sum += exp((double)r.logits[k]);
            nll += log(sum) - (double)r.logits[w[i + 1]];
        }
    }
    assert_int_equal(windows, scores[WC_DASLAB].windows);
    assert_true(windows >= 3);
    double got = nll / (double)(windows * (SEQLEN - 1));
    if (!(fabs(got - scores[WC_DASLAB].nll) < 1e-5)) fail_msg("%.9g, eval has %.9g", got, scores[WC_DASLAB].nll);
    free(ids);
    free(json);
    gen_tokenizer_free(t);
    wc_buf_free(&words);
    runner_close(&r);
}

/* ---- sampling ---- */

static void sampling_follows_its_rules(void **state)
{
    /* e^0 : e^-1 : e^-2 : e^-inf, in another order. */
    static const float logits[] = {-1, -INFINITY, 0, -2};
    static const struct {
        float temperature, top_p;
        size_t top_k;
        double want[4];
    } cases[] = {{0, 1, 0, {0, 0, 1, 0}},
                 {1, 1, 0, {0.244728, 0, 0.665241, 0.0900306}},
                 {0.5F, 1, 0, {0.117310, 0, 0.866813, 0.0158762}},
                 {1, 1, 1, {0, 0, 1, 0}},
                 {1, 1, 2, {0.268941, 0, 0.731059, 0}},
                 {1, 0.9F, 0, {0.268941, 0, 0.731059, 0}},
                 {1, 0.7F, 2, {0, 0, 1, 0}},
                 {1, 1e-9F, 0, {0, 0, 1, 0}}};
    enum { N = 20000 };
    gen_sampler s = {.state = 1};
    (void)state;
    gen_must(gen_sampler_open(4, &s, &e));
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        size_t count[4] = {0};
        s.temperature = cases[c].temperature, s.top_p = cases[c].top_p, s.top_k = cases[c].top_k;
        for (size_t i = 0; i < N; i++)
            count[gen_sample(&s, logits)]++;
        for (size_t k = 0; k < 4; k++) { /* standard deviation at most 0.0035; the seed is fixed */
            double share = (double)count[k] / N, off = fabs(share - cases[c].want[k]);
            if (off > 0.012 || (cases[c].want[k] == 0 && count[k])) fail_msg("case %zu, token %zu: %g", c, k, share);
        }
    }
    gen_sampler_close(&s);
}

/* ---- damaged files ---- */

static void one_sentence(gen_status s, const char *what)
{
    if (s == GEN_OK) return;
    size_t n = strlen(e.text);
    if (n < 10) fail_msg("%s: no sentence but `%s'", what, e.text);
    for (size_t i = 0; i < n; i++)
        assert_in_range(e.text[i], ' ', '~');
}

static void damaged_files_end_in_a_sentence(void **state)
{
    const char *good = small(), *path = text("%s/bad.wcz", models_dir);
    wc_ctx ctx;
    wc_buf image = {0};
    uint64_t seed = 7;
    heard h;
    gen_result result;
    char kept[4096];
    (void)state;
    wc_ctx_init(&ctx, 1);
    must(&ctx, wc_read_file(&ctx, good, 1 << 28, &image));
    snprintf(kept, sizeof kept, "%s", path);
    FILE *f = fopen(kept, "wb");
    assert_int_equal(fwrite(image.data, 1, image.size, f), image.size);
    fclose(f);
    gen_options o = options_of(kept, "Nothing", 2, &h);
    gen_must(gen_run(&o, &result, &e));
    int fd = open(kept, O_RDWR);
    for (size_t i = 0; i < 90; i++) { /* one byte: in the index, in the metadata, in the weights */
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        off_t at = (off_t)((seed >> 33) % (i % 3 ? 20000 : image.size));
        uint8_t was = image.data[at], other = (uint8_t)(was ^ (1 + (seed >> 25) % 255));
        assert_int_equal(pwrite(fd, &other, 1, at), 1);
        one_sentence(gen_run(&o, &result, &e), text("byte %lld", (long long)at));
        assert_int_equal(pwrite(fd, &was, 1, at), 1);
        h.n = 0;
    }
    for (size_t i = 0; i < 24; i++) {
        assert_int_equal(ftruncate(fd, (off_t)(image.size * (23 - i) / 24)), 0);
        gen_status s = gen_run(&o, &result, &e);
        assert_int_equal(s, GEN_BADFILE);
        one_sentence(s, "cut");
    }
    close(fd);
    o.path = "/nonexistent/x.wcz";
    assert_int_equal(gen_run(&o, &result, &e), GEN_IO);
    o.path = models_dir;
    assert_int_equal(gen_run(&o, &result, &e), GEN_IO);
    wc_buf_free(&image);
}

static void bad_options_are_named(void **state)
{
    const char *path = small();
    heard h;
    gen_result result;
    (void)state;
    gen_options good = options_of(path, "Nothing", 4, &h), o = good;
    o.temperature = NAN;
    assert_int_equal(gen_run(&o, &result, &e), GEN_USAGE);
    o = good, o.top_p = 0;
    assert_int_equal(gen_run(&o, &result, &e), GEN_USAGE);
    o = good, o.n = 100000;
    assert_int_equal(gen_run(&o, &result, &e), GEN_USAGE);
    o = good, o.n = SIZE_MAX;
    assert_int_equal(gen_run(&o, &result, &e), GEN_USAGE);
    o = good, o.prompt = "\xff", o.prompt_size = 1;
    assert_int_equal(gen_run(&o, &result, &e), GEN_USAGE);
    o = good, o.prompt_size = 0;
    assert_int_equal(gen_run(&o, &result, &e), GEN_USAGE);
    o = good, o.n = 0;
    gen_must(gen_run(&o, &result, &e));
    assert_int_equal(result.tokens, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_gives_the_toolkits_logits),
        cmocka_unit_test(prepared_weights_give_the_toolkits_logits),
        cmocka_unit_test(what_is_not_done_is_refused_by_name),
        cmocka_unit_test(every_kind_of_part_gives_the_toolkits_logits),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(inputs_in_8_bits),
        cmocka_unit_test(misuse_is_named),
        cmocka_unit_test(tokenizers_give_the_recorded_ids),
        cmocka_unit_test(other_tokenizers_are_refused_by_name),
        cmocka_unit_test(greedy_text_is_the_toolkits),
        cmocka_unit_test(a_token_allocates_nothing),
        cmocka_unit_test(the_listener_can_stop),
        cmocka_unit_test(refused_memory_is_an_error),
        cmocka_unit_test(perplexity_is_evals),
        cmocka_unit_test(sampling_follows_its_rules),
        cmocka_unit_test(damaged_files_end_in_a_sentence),
        cmocka_unit_test(bad_options_are_named),
    };
    return cmocka_run_group_tests(tests, set_up, models_remove);
}
