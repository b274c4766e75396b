/* test_check.c - what runtimes load: one table of models with one thing wrong each, and what is said about it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/check.h"

enum { LAYERS = 2, MOST = LAYERS * WC_N_LINEARS + 2 };

/* A sound model of 8 query and 4 key heads of 64, 512 wide, all linears 4 bits in groups of 128. */
typedef struct model {
    wc_input in;
    wc_scheme list[MOST];
    size_t n;
} model;

static wc_ctx ctx;

static wc_scheme grid(wc_scheme s)
{
    s.kind = WC_SCHEME_GRID;
    s.bits = 4, s.group = 128, s.zero_fixed = 8;
    strcpy(s.what, "grid");
    return s;
}

static void sound(model *m)
{
    memset(m, 0, sizeof *m);
    m->in.path = "m.wcz";
    m->in.has_checkpoint = m->in.has_config = true;
    m->in.checkpoint.dir = "tests/data/docs4m"; /* its tokenizer is there */
    m->in.config = (wc_config){.model_type = "llama",
                               .hidden = 512,
                               .intermediate = 1536,
                               .layers = LAYERS,
                               .heads = 8,
                               .kv_heads = 4,
                               .head_dim = 64,
                               .vocab = 1000,
                               .tied = true};
    m->list[m->n++] = wc_scheme_named(&m->in.config, "model.embed_tokens.weight", 1000, 512);
    for (size_t layer = 0; layer < LAYERS; layer++) {
        wc_tensor_spec spec[WC_MAX_SPECS];
        size_t n = wc_block_specs(&m->in.config, spec);
        for (size_t i = 0; i < n; i++) {
            char name[WC_NAME_SIZE];
            if (spec[i].role != WC_ROLE_LINEAR) continue;
            wc_spec_name(&spec[i], layer, name);
            m->list[m->n++] = grid(wc_scheme_named(&m->in.config, name, spec[i].rows, spec[i].cols));
        }
    }
}

static wc_scheme *linear(model *m, size_t layer, size_t i)
{
    return &m->list[1 + layer * WC_N_LINEARS + i];
}

/* ---- what is wrong ------------------------------------------------------------------------------------------------
 */

static void nothing(model *m)
{
    (void)m;
}
static void all_bits(model *m, unsigned bits, float zero)
{
    for (size_t i = 1; i < m->n; i++)
        m->list[i].bits = bits, m->list[i].zero_fixed = zero;
}
static void three_bits(model *m)
{
    all_bits(m, 3, 4);
}
static void eight_bits(model *m)
{
    all_bits(m, 8, 128);
}
static void zeros(model *m)
{
    for (size_t i = 1; i < m->n; i++)
        m->list[i].zero_kind = WC_ZERO_INT;
}
static void half_zero(model *m)
{
    linear(m, 1, 3)->zero_fixed = 7.5f;
}
static void two_levels(model *m)
{
    linear(m, 0, 6)->scale_bits = 4;
}
static void real_zeros(model *m)
{
    linear(m, 0, 6)->zero_kind = WC_ZERO_F16;
}
static void tiles(model *m)
{
    linear(m, 0, 6)->scale_bits = 3, linear(m, 0, 6)->tile = 16;
}
static void lut(model *m)
{
    linear(m, 1, 0)->kind = WC_SCHEME_OTHER;
    strcpy(linear(m, 1, 0)->what, "lut");
}
static void short_group(model *m)
{
    linear(m, 0, 3)->group = 96;
}
static void odd_group(model *m)
{
    for (size_t i = 1; i < m->n; i++)
        m->list[i].group = 16;
}
static void tiny_group(model *m)
{
    for (size_t i = 1; i < m->n; i++)
        m->list[i].group = 8;
}
static void wide_group(model *m)
{
    for (size_t i = 1; i < m->n; i++)
        m->list[i].group = 512; /* whole rows of all but down_proj */
}
static void one_whole_row(model *m)
{
    linear(m, 0, 1)->group = 512;
}
static void whole_rows(model *m)
{
    for (size_t i = 1; i < m->n; i++)
        m->list[i].group = m->list[i].cols;
}
static void mixed_in_qkv(model *m)
{
    linear(m, 1, 2)->bits = 8, linear(m, 1, 2)->zero_fixed = 128;
}
static void kept_gate(model *m)
{
    linear(m, 0, 4)->kind = WC_SCHEME_FLOAT;
}
static void mixed_layers(model *m)
{
    linear(m, 1, 6)->bits = 8, linear(m, 1, 6)->zero_fixed = 128;
}
static void kept_down(model *m)
{
    linear(m, 1, 6)->kind = WC_SCHEME_FLOAT;
}
static void narrow(model *m)
{
    linear(m, 0, 3)->rows = 480;
}
static void reordered(model *m)
{
    for (size_t i = 1; i < m->n; i++)
        m->list[i].reordered = true;
}
static void asymmetric_v(model *m)
{
    linear(m, 1, 2)->zero_kind = WC_ZERO_INT;
}
static void finer_down(model *m)
{
    linear(m, 1, 6)->group = 64;
}
/* Of two shards gate and up have 752 rows: together no multiple of 64, which all 3008 are. */
static void odd_mlp(model *m)
{
    m->in.config.intermediate = 1504;
    for (size_t layer = 0; layer < LAYERS; layer++)
        linear(m, layer, 4)->rows = linear(m, layer, 5)->rows = linear(m, layer, 6)->cols = 1504;
}
static void all_floats(model *m)
{
    for (size_t i = 1; i < m->n; i++)
        m->list[i].kind = WC_SCHEME_FLOAT;
}
static void bitnet(model *m)
{
    m->in.config.model_type = "bitnet";
}
static void small_embedding(model *m)
{
    m->list[0] = grid(m->list[0]);
}
static void no_tokenizer(model *m)
{
    m->in.checkpoint.dir = "tests/data/eval";
}

/* A case: fatal -1: nothing at all is found; 0: a note; 1: it will not load. */
static const struct {
    void (*make)(model *);
    const char *target, *format;
    unsigned tp;
    int fatal;
    const char *tensor, *text, *mend;
} cases[] = {
    {nothing, "vllm", NULL, 1, -1, "", "", ""},
    {nothing, "vllm", "gptq", 4, -1, "", "", ""},
    {nothing, "vllm", "awq", 1, -1, "", "", ""},
    {nothing, "transformers", "compressed-tensors", 1, -1, "", "", ""},
    {eight_bits, "vllm", "gptq", 1, -1, "", "", ""},
    {eight_bits, "vllm", "awq", 1, 1, "0.self_attn.q_proj", "8 bits around the middle code; awq for vllm takes 4",
     "bits"},
    {three_bits, "vllm", NULL, 1, 1, "0.self_attn.q_proj", "3 bits", "such bits"},
    {three_bits, "transformers", "gptq", 1, -1, "", "", ""},
    {three_bits, "transformers", "compressed-tensors", 1, 1, "q_proj", "takes 4, 8", "such bits"},
    {zeros, "vllm", "awq", 1, -1, "", "", ""},
    {zeros, "vllm", "compressed-tensors", 1, -1, "", "", ""},
    {zeros, "transformers", "compressed-tensors", 1, 0, "", "5.23 with 0.20 fails", "dequantize=True"},
    {zeros, "vllm", "gptq_v2", 1, 1, "q_proj", "with zeros of their own; gptq_v2 for vllm takes none",
     "sym=yes, or export to awq or compressed-tensors"},
    {zeros, "vllm", "gptq", 1, 1, "q_proj", "with zeros of their own; gptq for vllm takes none", "or export to awq"},
    {zeros, "transformers", "gptq_v2", 1, -1, "", "", ""},
    {zeros, "transformers", "gptq", 1, 1, "q_proj", "with zeros of their own; gptq for transformers takes none",
     "gptq_v2"},
    {half_zero, "vllm", NULL, 1, 1, "1.self_attn.o_proj", "zero between two codes", "sym=no"},
    {two_levels, "vllm", NULL, 1, 1, "0.mlp.down_proj", "integer scales", "scale_bits=0"},
    {real_zeros, "transformers", NULL, 1, 1, "0.mlp.down_proj", "no integers", "zero_bits=0"},
    {tiles, "transformers", NULL, 1, 1, "0.mlp.down_proj", "lines", "tile=0"},
    {lut, "transformers", NULL, 1, 1, "1.self_attn.q_proj", "no single uniform grid (lut)", "gptq(bits=4"},
    {short_group, "transformers", NULL, 1, 1, "0.self_attn.o_proj", "512 columns are no multiple of the group of 96",
     "divides"},
    {odd_group, "vllm", NULL, 1, 1, "q_proj", "groups of 16; vllm takes 32, 64, 128", "group=128"},
    {odd_group, "transformers", "gptq", 1, 0, "0.self_attn.q_proj",
     "groups of 16: without a GPU, the kernel that transformers chooses takes 32, 64, 128, 256",
     "GPTQConfig(bits=4, backend='torch')"},
    {odd_group, "transformers", "compressed-tensors", 1, -1, "", "", ""},
    {tiny_group, "transformers", "gptq", 1, 1, "q_proj",
     "groups of 8; gptq for transformers takes 16, 32, 64, 128, 256, 512, 1024 or whole rows", "group=128"},
    {tiny_group, "transformers", "awq", 1, 1, "q_proj", "awq for transformers takes 16, 32, 64, 128 or", "group=128"},
    {tiny_group, "transformers", "compressed-tensors", 1, -1, "", "", ""},
    {wide_group, "transformers", "gptq", 1, 0, "q_proj", "groups of 512: without a GPU", "backend"},
    {one_whole_row, "vllm", "awq", 1, 1, "0.self_attn.k_proj", "512, and self_attn.q_proj", "same --rule"},
    {one_whole_row, "transformers", "awq", 1, 1, "0.self_attn.k_proj", "awq has one for all", "compressed-tensors"},
    {one_whole_row, "transformers", "gptq", 1, 1, "0.self_attn.k_proj", "gptq for transformers has one for all",
     "compressed-tensors"},
    {whole_rows, "vllm", "gptq", 4, -1, "", "", ""},
    {whole_rows, "transformers", "awq", 1, 0, "0.self_attn.q_proj", "without a GPU",
     "AwqConfig(bits=4, backend='torch_awq')"},
    {whole_rows, "transformers", NULL, 1, -1, "", "", ""},
    {mixed_in_qkv, "vllm", NULL, 1, 1, "1.self_attn.v_proj", "is 8 bits in groups of 128, and self_attn.q_proj",
     "same --rule"},
    {mixed_in_qkv, "transformers", "gptq", 1, 1, "1.self_attn.v_proj", "is 8 bits in groups of 128, and model.layers.0",
     "compressed-tensors"},
    {mixed_in_qkv, "transformers", "compressed-tensors", 1, -1, "", "", ""},
    {asymmetric_v, "transformers", "gptq_v2", 1, 1, "1.self_attn.v_proj", "gptq_v2 for transformers has one for all",
     "compressed-tensors"},
    {asymmetric_v, "transformers", "awq", 1, -1, "", "", ""},
    {kept_down, "transformers", "gptq", 1, -1, "", "", ""},
    {kept_gate, "vllm", NULL, 1, 1, "0.mlp.up_proj", "mlp.gate_proj, with which vllm makes one layer of it, is floats",
     "rule"},
    {mixed_layers, "vllm", "gptq", 1, -1, "", "", ""},
    {mixed_layers, "transformers", "awq", 1, 1, "1.mlp.down_proj", "8 bits", "such bits"},
    {kept_down, "vllm", "awq", 1, -1, "", "", ""},
    {narrow, "vllm", NULL, 1, 1, "0.self_attn.o_proj", "480 x 512 in each of 1 shards", "keep"},
    {nothing, "vllm", NULL, 8, 1, "0.self_attn.o_proj", "512 x 64 in each of 8 shards", "fewer shards"},
    {nothing, "transformers", NULL, 8, 1, "0.self_attn.o_proj",
     "a shard has 64 of its columns, no multiple of the group of 128", "fewer shards"},
    {odd_mlp, "vllm", NULL, 2, 1, "0.mlp.gate_proj", "1504 x 512 in each of 2 shards", "fewer shards"},
    {reordered, "transformers", "gptq", 1, -1, "", "", ""},
    {reordered, "transformers", "gptq_v2", 1, -1, "", "", ""},
    {reordered, "transformers", "compressed-tensors", 1, 0, "", "compressed-tensors 0.17 reads", "export to gptq"},
    {reordered, "transformers", "awq", 1, 1, "0.self_attn.q_proj", "awq has no g_idx",
     "leave out reorder, or export to"},
    {reordered, "vllm", "gptq", 1, 1, "0.self_attn.q_proj", "vllm takes no g_idx", "order=act"},
    {reordered, "transformers", "gptq", 2, 1, "0.self_attn.o_proj", "each lies in several of 2 shards", "one shard"},
    {asymmetric_v, "vllm", NULL, 1, 1, "1.self_attn.v_proj", "is 4 bits in groups of 128 with zeros, and",
     "same --rule"},
    {finer_down, "transformers", "awq", 1, 1, "1.mlp.down_proj", "awq has one for all", "compressed-tensors"},
    {finer_down, "transformers", "compressed-tensors", 1, -1, "", "", ""},
    {nothing, "vllm", NULL, 3, 1, "", "8 attention heads do not split into 3", "divisor"},
    {all_floats, "vllm", NULL, 1, -1, "", "", ""},
    {all_floats, "vllm", "gptq", 1, 1, "", "no linear layer is integers", "gptq(bits=4,group=128,scale_bits=0)"},
    {bitnet, "vllm", NULL, 1, 1, "", "models of type bitnet", ""},
    {small_embedding, "vllm", NULL, 1, 0, "embed_tokens", "for the tied head too", "--embed-bits 16"},
    {no_tokenizer, "transformers", NULL, 1, 0, "", "no tokenizer.json", "beside the weights"},
};

static void what_is_wrong_is_named_with_the_mend(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model m;
        wc_findings f = {0};
        sound(&m);
        cases[i].make(&m);
        wc_check_options opt = {cases[i].target, cases[i].format, cases[i].tp};
        if (wc_check(&ctx, &m.in, m.list, m.n, &opt, &f) != WC_OK) fail_msg("case %zu: %s", i, ctx.error);
        if (cases[i].fatal < 0) {
            if (f.n) fail_msg("case %zu: %s: %s", i, f.list[0].tensor, f.list[0].text);
            continue;
        }
        if (!f.n) fail_msg("case %zu: nothing found", i);
        const wc_finding *x = &f.list[0];
        if (x->fatal != cases[i].fatal || !strstr(x->tensor, cases[i].tensor) || !strstr(x->text, cases[i].text) ||
            !strstr(x->mend, cases[i].mend))
            fail_msg("case %zu: %s: %s; %s", i, x->tensor, x->text, x->mend);
        wc_status status = wc_check_failure(&ctx, &m.in, &opt, &f);
        assert_int_equal(status, f.fatal ? WC_UNSUPPORTED : WC_OK);
        wc_clear_error(&ctx);
        wc_findings_free(&f);
    }
}

/* Of what a permutation changes, groups are all that runtimes see. */
static void a_permuted_grid_is_a_grid(void **state)
{
    static const struct {
        size_t n_parts, n_transforms, group;
        wc_part_kind part, transform;
        wc_scheme_kind kind;
        bool reordered;
    } list[] = {
        {1, 0, 128, WC_PART_GRID, WC_PART_GRID, WC_SCHEME_GRID, false},
        {1, 1, 128, WC_PART_GRID, WC_PART_PERMUTE, WC_SCHEME_GRID, true},
        {1, 1, 512, WC_PART_GRID, WC_PART_PERMUTE, WC_SCHEME_GRID, false}, /* a row is one group */
        {1, 1, 128, WC_PART_GRID, WC_PART_DIAGONAL, WC_SCHEME_OTHER, false},
        {1, 1, 128, WC_PART_GRID, WC_PART_HADAMARD, WC_SCHEME_OTHER, false},
        {1, 2, 128, WC_PART_GRID, WC_PART_PERMUTE, WC_SCHEME_OTHER, false},
        {2, 1, 128, WC_PART_GRID, WC_PART_PERMUTE, WC_SCHEME_OTHER, false},
        {1, 1, 128, WC_PART_LUT, WC_PART_PERMUTE, WC_SCHEME_OTHER, false},
        {1, 1, 128, WC_PART_FLOAT, WC_PART_PERMUTE, WC_SCHEME_OTHER, false},
        {1, 1, 128, WC_PART_GGML, WC_PART_PERMUTE, WC_SCHEME_OTHER, false},
    };
    model m;
    (void)state;
    sound(&m);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        wc_part part[4] = {{.kind = list[i].part}, {.kind = WC_PART_SPARSE}};
        wc_scheme s = wc_scheme_named(&m.in.config, "model.layers.0.self_attn.q_proj.weight", 512, 512);
        if (list[i].part == WC_PART_GRID) part[0].grid.group = list[i].group, part[0].grid.bits = 4;
        for (size_t k = 0; k < list[i].n_transforms; k++)
            part[list[i].n_parts + k].kind = list[i].transform;
        wc_scheme_of_parts(&s, part, list[i].n_parts, list[i].n_transforms);
        if (s.kind != list[i].kind || s.reordered != list[i].reordered) fail_msg("case %zu: %s", i, s.what);
    }
}

/* One per tensor and no more: what follows from it is not told again. */
static void findings_are_counted(void **state)
{
    model m;
    wc_findings f = {0};
    (void)state;
    sound(&m);
    three_bits(&m);
    wc_check_options opt = {"vllm", NULL, 1};
    assert_int_equal(wc_check(&ctx, &m.in, m.list, m.n, &opt, &f), WC_OK);
    assert_int_equal(f.n, LAYERS * WC_N_LINEARS);
    assert_int_equal(f.fatal, f.n);
    assert_int_equal(wc_check_failure(&ctx, &m.in, &opt, &f), WC_UNSUPPORTED);
    assert_non_null(strstr(ctx.error, "and 13 more"));
    wc_clear_error(&ctx);
    wc_findings_free(&f);
}

static void wrong_questions_are_refused(void **state)
{
    static const wc_check_options wrong[] = {{"tensorrt", NULL, 1},
                                             {"vllm", "exl3", 1},
                                             {"llama.cpp", "gptq", 1},
                                             {"llama.cpp", NULL, 2},
                                             {"vllm", NULL, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        model m;
        wc_findings f = {0};
        sound(&m);
        assert_int_equal(wc_check(&ctx, &m.in, m.list, m.n, &wrong[i], &f), WC_OPTION);
        wc_clear_error(&ctx);
        wc_findings_free(&f);
    }
}

static int fresh_ctx(void **state)
{
    (void)state;
    wc_ctx_init(&ctx, 1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_wrong_is_named_with_the_mend, fresh_ctx),
        cmocka_unit_test(a_permuted_grid_is_a_grid),
        cmocka_unit_test_setup(findings_are_counted, fresh_ctx),
        cmocka_unit_test_setup(wrong_questions_are_refused, fresh_ctx),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
