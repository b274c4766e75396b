#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "model/model.h"

static wc_status parse(const char *json, wc_config *c, wc_ctx *ctx)
{
    wc_ctx_init(ctx, 1);
    return wc_config_parse(ctx, json, strlen(json), "config.json", c);
}

static wc_config parsed(const char *json)
{
    wc_config c;
    wc_ctx ctx;
    if (parse(json, &c, &ctx) != WC_OK) fail_msg("%s\n%s", json, ctx.error);
    return c;
}

/* The defaults of transformers' configuration classes. */
static void class_defaults(void **unused)
{
    (void)unused;
    static const struct {
        const char *type;
        size_t v, h, i, l, a, g, d, positions;
        double eps, theta;
        bool qkv_bias, qk_norm;
        size_t window;
    } want[] = {
        {"llama", 32000, 4096, 11008, 32, 32, 32, 128, 2048, 1e-6, 1e4, false, false, SIZE_MAX},
        {"mistral", 32000, 4096, 14336, 32, 32, 8, 128, 131072, 1e-6, 1e4, false, false, 4096},
        {"qwen2", 151936, 4096, 22016, 32, 32, 32, 128, 32768, 1e-6, 1e4, true, false, SIZE_MAX},
        {"qwen3", 151936, 4096, 22016, 32, 32, 32, 128, 32768, 1e-6, 1e4, false, true, SIZE_MAX},
    };
    for (size_t k = 0; k < sizeof want / sizeof *want; k++) {
        char json[64];
        snprintf(json, sizeof json, "{\"model_type\": \"%s\"}", want[k].type);
        wc_config c = parsed(json);
        assert_string_equal(c.model_type, want[k].type);
        assert_int_equal(c.vocab, want[k].v);
        assert_int_equal(c.hidden, want[k].h);
        assert_int_equal(c.intermediate, want[k].i);
        assert_int_equal(c.layers, want[k].l);
        assert_int_equal(c.heads, want[k].a);
        assert_int_equal(c.kv_heads, want[k].g);
        assert_int_equal(c.head_dim, want[k].d);
        assert_int_equal(c.max_positions, want[k].positions);
        assert_true(c.norm_eps == (float)want[k].eps && c.rope.theta == want[k].theta);
        assert_true(c.qkv_bias == want[k].qkv_bias && c.qk_norm == want[k].qk_norm);
        assert_false(c.o_bias || c.mlp_bias || c.tied || c.sub_norm);
        assert_int_equal(wc_config_window(&c, 31), want[k].window);
        assert_int_equal(c.rope.dim, c.head_dim);
        assert_int_equal(c.n_eos, 0);
    }
    wc_config bitnet = parsed("{\"model_type\": \"bitnet\", \"hidden_act\": \"silu\"}");
    assert_true(bitnet.sub_norm && bitnet.kv_heads == 5 && bitnet.head_dim == 128 && bitnet.rope.theta == 5e5);
}

static void spellings_and_nulls(void **unused)
{
    (void)unused;
    wc_config c =
        parsed("{\"architectures\": [\"LlamaForCausalLM\"], \"num_attention_heads\": 8, \"hidden_size\": 64,"
               "\"head_dim\": null, \"num_key_value_heads\": null, \"rope_scaling\": null, \"dtype\": \"bfloat16\","
               "\"eos_token_id\": [3, 5]}");
    assert_true(c.head_dim == 8 && c.kv_heads == 8 && c.dtype == WC_BF16);
    assert_true(c.n_eos == 2 && c.eos[0] == 3 && c.eos[1] == 5);
    c = parsed(
        "{\"model_type\": \"mistral\", \"num_key_value_heads\": null, \"sliding_window\": null, \"eos_token_id\": 2,"
        "\"torch_dtype\": \"float16\", \"head_dim\": 160}");
    assert_true(c.kv_heads == 32 && c.head_dim == 160 && wc_config_window(&c, 0) == SIZE_MAX);
    assert_true(c.n_eos == 1 && c.eos[0] == 2 && c.dtype == WC_F16);
    assert_int_equal(wc_stage_width(&c, WC_STAGE_O), 32 * 160);

    wc_config old =
        parsed("{\"model_type\": \"llama\", \"rope_theta\": 500000.0, \"rope_scaling\": {\"type\": \"linear\","
               "\"factor\": 2}}");
    wc_config new = parsed("{\"model_type\": \"llama\", \"rope_parameters\": {\"rope_theta\": 500000.0, \"rope_type\": "
                           "\"linear\", \"factor\": 2.0}}");
    assert_memory_equal(&old, &new, sizeof old);
    new = parsed("{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"su\", \"rope_type\": \"default\"}}");
    assert_true(new.rope.type == WC_ROPE_DEFAULT);
    new = parsed("{\"model_type\": \"llama\", \"partial_rotary_factor\": 0.25}");
    assert_true(new.rope.dim == 32 && new.rope.theta == 1e4);
}

static void windows_per_layer(void **unused)
{
    (void)unused;
    wc_config c = parsed("{\"model_type\": \"qwen2\", \"sliding_window\": 100, \"use_sliding_window\": true,"
                         "\"max_window_layers\": 20}");
    assert_true(wc_config_window(&c, 19) == SIZE_MAX && wc_config_window(&c, 20) == 100);
    c = parsed("{\"model_type\": \"qwen2\", \"sliding_window\": 100, \"max_window_layers\": 20}");
    assert_true(wc_config_window(&c, 20) == SIZE_MAX);
    c = parsed(
        "{\"model_type\": \"qwen3\", \"num_hidden_layers\": 3, \"sliding_window\": 7, \"use_sliding_window\": true,"
        "\"layer_types\": [\"full_attention\", \"sliding_attention\", \"full_attention\"]}");
    assert_true(wc_config_window(&c, 0) == SIZE_MAX && wc_config_window(&c, 1) == 7 &&
                wc_config_window(&c, 2) == SIZE_MAX);
    c = parsed("{\"model_type\": \"mistral\", \"num_hidden_layers\": 4096, \"sliding_window\": 9}");
    assert_true(wc_config_window(&c, 4095) == 9);
}

static void rope_parameters(void **unused)
{
    (void)unused;
    wc_config c =
        parsed("{\"model_type\": \"llama\", \"max_position_embeddings\": 4096, \"rope_scaling\": {\"rope_type\":"
               "\"yarn\", \"factor\": null, \"original_max_position_embeddings\": 1024}}");
    assert_true(c.rope.factor == 4 && c.rope.beta_fast == 32 && c.rope.beta_slow == 1 && c.rope.truncate);
    assert_true(c.rope.attention_factor > 1.138 && c.rope.attention_factor < 1.139); /* 0.1 ln 4 + 1 */
    c = parsed("{\"model_type\": \"qwen2\", \"max_position_embeddings\": 32768, \"rope_scaling\": {\"type\": \"yarn\","
               "\"factor\": 4.0, \"original_max_position_embeddings\": 32768}}");
    assert_true(c.rope.factor == 4);
    c = parsed("{\"model_type\": \"llama\", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, "
               "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192}}");
    assert_true(c.rope.type == WC_ROPE_LLAMA3 && c.rope.original_max_positions == 8192 && c.rope.attention_factor == 1);
}

#define LLAMA "{\"model_type\": \"llama\", "

static void refusals_name_the_reason(void **unused)
{
    (void)unused;
    static const struct {
        const char *json;
        wc_status status;
        const char *says;
    } bad[] = {
        {"", WC_BADFILE, "config.json"},
        {"[]", WC_BADFILE, "object"},
        {"{}", WC_BADFILE, "model_type"},
        {"{\"model_type\": \"gpt2\"}", WC_UNSUPPORTED, "`gpt2'; there is one for llama, mistral"},
        {"{\"model_type\": \"a\\u001b[2J\"}", WC_UNSUPPORTED, "a\\x1b[2J"},
        {"{\"model_type\": 7}", WC_BADFILE, "model_type"},
        {LLAMA "\"hidden_act\": \"gelu\"}", WC_UNSUPPORTED, "`gelu' of a llama model"},
        {"{\"model_type\": \"bitnet\"}", WC_UNSUPPORTED, "relu2"},
        {LLAMA "\"quantization_config\": {}}", WC_UNSUPPORTED, "quantized already"},
        {LLAMA "\"text_config\": {}}", WC_UNSUPPORTED, "multimodal"},
        {LLAMA "\"num_attention_heads\": 32, \"num_key_value_heads\": 5}", WC_BADFILE,
         "multiple of num_key_value_heads 5"},
        {LLAMA "\"num_attention_heads\": 33}", WC_BADFILE, "hidden_size 4096 is not a multiple"},
        {LLAMA "\"num_key_value_heads\": 64}", WC_BADFILE, "multiple"},
        {LLAMA "\"num_attention_heads\": 1}", WC_BADFILE, "4096 entries"},
        {LLAMA "\"head_dim\": 7}", WC_BADFILE, "7 of 7 entries"},
        {LLAMA "\"partial_rotary_factor\": 0}", WC_BADFILE, "0 of 128"},
        {LLAMA "\"hidden_size\": 0}", WC_BADFILE, "hidden_size"},
        {LLAMA "\"hidden_size\": -64}", WC_BADFILE, "hidden_size"},
        {LLAMA "\"hidden_size\": \"64\"}", WC_BADFILE, "hidden_size"},
        {LLAMA "\"hidden_size\": 1e300}", WC_BADFILE, "hidden_size"},
        {LLAMA "\"num_hidden_layers\": 4097}", WC_BADFILE, "num_hidden_layers"},
        {LLAMA "\"vocab_size\": 99999999999}", WC_BADFILE, "vocab_size"},
        {LLAMA "\"num_attention_heads\": 16384, \"head_dim\": 1024}", WC_BADFILE, "16384 heads of 1024"},
        {LLAMA "\"rms_norm_eps\": -1}", WC_BADFILE, "rms_norm_eps"},
        {LLAMA "\"rope_theta\": 0}", WC_BADFILE, "rope_theta"},
        {LLAMA "\"rope_scaling\": 3}", WC_BADFILE, "not an object"},
        {LLAMA "\"rope_scaling\": {\"factor\": 2}}", WC_BADFILE, "no rope_type"},
        {LLAMA "\"rope_scaling\": {\"type\": \"linear\"}}", WC_BADFILE, "without a factor"},
        {LLAMA "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0}}", WC_BADFILE, "factor"},
        {LLAMA "\"rope_scaling\": {\"type\": \"mrope\", \"factor\": 1}}", WC_UNSUPPORTED, "`mrope'"},
        {LLAMA "\"head_dim\": 2, \"rope_scaling\": {\"type\": \"ntk\", \"factor\": 2}}", WC_BADFILE, "at least 4"},
        {LLAMA "\"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1], \"long_factor\": [1]}}", WC_BADFILE,
         "short_factor must be a list of 64 numbers, found 1"},
        {LLAMA
         "\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 1,"
         "\"original_max_position_embeddings\": 8192}}",
         WC_BADFILE, "low_freq_factor < high_freq_factor"},
        {LLAMA "\"rope_parameters\": {\"full_attention\": {}}}", WC_UNSUPPORTED, "per attention type"},
        {LLAMA "\"layer_types\": [\"full_attention\"]}", WC_BADFILE, "32 entries"},
        {LLAMA "\"num_hidden_layers\": 1, \"layer_types\": [\"conv\"]}", WC_UNSUPPORTED, "`conv'"},
        {"{\"model_type\": \"qwen2\", \"num_hidden_layers\": 1, \"layer_types\": [\"sliding_attention\"]}", WC_BADFILE,
         "no sliding_window"},
        {"{\"model_type\": \"mistral\", \"num_hidden_layers\": 1, \"layer_types\": [\"full_attention\"]}",
         WC_UNSUPPORTED, "mistral models do not"},
        {LLAMA "\"eos_token_id\": -1}", WC_BADFILE, "eos_token_id"},
        {LLAMA "\"eos_token_id\": [[1]]}", WC_BADFILE, "eos_token_id"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wc_config c, before;
        wc_ctx ctx;
        memset(&c, 0x5a, sizeof c), memset(&before, 0x5a, sizeof before);
        wc_status status = parse(bad[i].json, &c, &ctx);
        if (status != bad[i].status || !strstr(ctx.error, bad[i].says))
            fail_msg("%s\nis %s: %s", bad[i].json, wc_status_name(status), ctx.error);
        assert_memory_equal(&c, &before, sizeof c);
    }
}

static void roles_of_names(void **unused)
{
    (void)unused;
    static const struct {
        const char *name;
        wc_role role;
        size_t layer;
        wc_stage stage;
    } rows[] = {
        {"model.layers.0.self_attn.q_proj.weight", WC_ROLE_LINEAR, 0, WC_STAGE_QKV},
        {"model.layers.10.self_attn.v_proj.weight", WC_ROLE_LINEAR, 10, WC_STAGE_QKV},
        {"model.layers.31.self_attn.o_proj.weight", WC_ROLE_LINEAR, 31, WC_STAGE_O},
        {"model.layers.3.mlp.gate_proj.weight", WC_ROLE_LINEAR, 3, WC_STAGE_GATE_UP},
        {"model.layers.3.mlp.down_proj.weight", WC_ROLE_LINEAR, 3, WC_STAGE_DOWN},
        {"model.layers.3.self_attn.k_proj.bias", WC_ROLE_BIAS, 3, WC_STAGE_QKV},
        {"model.layers.3.self_attn.o_proj.bias", WC_ROLE_OTHER, 3, WC_N_STAGES}, /* qwen2 has none */
        {"model.layers.3.self_attn.q_norm.weight", WC_ROLE_OTHER, 3, WC_N_STAGES},
        {"model.layers.3.input_layernorm.weight", WC_ROLE_NORM, 3, WC_N_STAGES},
        {"model.layers.3.self_attn.rotary_emb.inv_freq", WC_ROLE_OTHER, 3, WC_N_STAGES},
        {"model.layers.32.mlp.down_proj.weight", WC_ROLE_OTHER, SIZE_MAX, WC_N_STAGES},
        {"model.layers.03.mlp.down_proj.weight", WC_ROLE_OTHER, SIZE_MAX, WC_N_STAGES},
        {"model.layers.99999999999999999999999.mlp.down_proj.weight", WC_ROLE_OTHER, SIZE_MAX, WC_N_STAGES},
        {"model.layers..mlp.down_proj.weight", WC_ROLE_OTHER, SIZE_MAX, WC_N_STAGES},
        {"model.layers.3", WC_ROLE_OTHER, SIZE_MAX, WC_N_STAGES},
        {"model.embed_tokens.weight", WC_ROLE_EMBED, SIZE_MAX, WC_N_STAGES},
        {"model.norm.weight", WC_ROLE_NORM, SIZE_MAX, WC_N_STAGES},
        {"lm_head.weight", WC_ROLE_HEAD, SIZE_MAX, WC_N_STAGES},
        {"", WC_ROLE_OTHER, SIZE_MAX, WC_N_STAGES},
    };
    wc_config c = parsed("{\"model_type\": \"qwen2\"}");
    size_t layer;
    wc_stage stage;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        wc_role role = wc_model_role(&c, rows[i].name, &layer, &stage);
        if (role != rows[i].role || layer != rows[i].layer || stage != rows[i].stage)
            fail_msg("`%s': role %d layer %zu stage %d", rows[i].name, role, layer, stage);
    }
    c.tied = true;
    assert_int_equal(wc_model_role(&c, "lm_head.weight", &layer, &stage), WC_ROLE_OTHER);
}

/* Seeds that were refused would fuzz little more than the first check. */
static void seeds_of_the_fuzzer_are_accepted(void **unused)
{
    (void)unused;
    static const struct {
        const char *path;
        wc_rope_type rope;
    } seeds[] = {{"tests/fuzz/seeds/config_llama.json", WC_ROPE_LLAMA3},
                 {"tests/fuzz/seeds/config_qwen2.json", WC_ROPE_YARN},
                 {"tests/fuzz/seeds/config_mistral.json", WC_ROPE_DYNAMIC},
                 {"tests/fuzz/seeds/config_longrope.json", WC_ROPE_LONGROPE}};
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        wc_ctx ctx;
        wc_buf text = {0};
        wc_ctx_init(&ctx, 1);
        assert_int_equal(wc_read_file(&ctx, seeds[i].path, 1 << 20, &text), WC_OK);
        assert_int_equal(parsed((const char *)text.data).rope.type, seeds[i].rope);
        wc_buf_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(class_defaults),
        cmocka_unit_test(spellings_and_nulls),
        cmocka_unit_test(windows_per_layer),
        cmocka_unit_test(rope_parameters),
        cmocka_unit_test(refusals_name_the_reason),
        cmocka_unit_test(roles_of_names),
        cmocka_unit_test(seeds_of_the_fuzzer_are_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
