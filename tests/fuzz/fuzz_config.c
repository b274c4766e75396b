/* Hostile config.json: parsed, and when accepted, every size that the forward pass computes from it must be sane. */
#include <math.h>
#include <stdlib.h>

#include "model/model.h"
#include "model/rope.h"
#include "fuzz/fuzz.h"

const char *const wc_fuzz_seeds[] = {"tests/fuzz/seeds/config_llama.json", "tests/fuzz/seeds/config_qwen2.json",
                                     "tests/fuzz/seeds/config_mistral.json", "tests/fuzz/seeds/config_longrope.json",
                                     NULL};
const size_t wc_fuzz_max = 4096;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wc_ctx ctx;
    wc_config c;
    wc_ctx_init(&ctx, 1);
    wc_status status = wc_config_parse(&ctx, (const char *)data, size, "fuzz", &c);
    if (status != WC_OK) {
        if (!ctx.error[0]) abort();
        return 0;
    }
    wc_tensor_spec specs[WC_MAX_SPECS];
    size_t n = wc_block_specs(&c, specs);
    if (n < 9 || n > WC_MAX_SPECS || c.layers > WC_MAX_LAYERS || c.heads % c.kv_heads) abort();
    for (size_t i = 0; i < n; i++)
        if (!specs[i].rows || !specs[i].cols || specs[i].rows > INT32_MAX / 4 || specs[i].cols > INT32_MAX / 4) abort();
    for (size_t l = 0; l < c.layers; l++)
        if (!wc_config_window(&c, l)) abort();
    float f[WC_MAX_HEAD_DIM / 2];
    wc_rope_frequencies(&c.rope, 64, f);
    for (size_t i = 0; i < c.rope.dim / 2; i++)
        if (!isfinite(f[i])) abort();
    return 0;
}
