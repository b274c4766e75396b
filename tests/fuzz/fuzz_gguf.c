/* Any bytes as a GGUF file: the container, and what makes config and tokenizer of it. What is accepted lies inside the
 * file; what is refused says why. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/gguf_model.h"
#include "fuzz/fuzz.h"

const char *const wc_fuzz_seeds[] = {"tests/data/ggml/small.gguf", "tests/fuzz/seeds/gguf_spm.gguf", NULL};
const size_t wc_fuzz_max = 20000;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wc_ctx ctx;
    wc_gguf g;
    wc_buf text = {0};
    uint32_t heads;
    char name[WC_GGUF_NAME_ROOM];
    wc_ctx_init(&ctx, 1);
    ctx.log = NULL;
    if (wc_gguf_parse(&ctx, data, size, "x", &g) != WC_OK) {
        require(ctx.error[0], "a refusal has a sentence");
        return 0;
    }
    for (size_t i = 0; i < g.n_keys; i++)
        require(g.key[i].data >= data && g.key[i].size <= (size_t)(data + size - g.key[i].data), "keys are inside");
    for (size_t i = 0; i < g.n; i++) {
        require(g.tensor[i].offset <= size && g.tensor[i].size <= size - g.tensor[i].offset, "tensors are inside");
        wc_gguf_hf_name(g.tensor[i].name, name);
        (void)wc_gguf_interleaved(&ctx, &g, g.tensor[i].name, &heads);
    }
    (void)wc_gguf_config(&ctx, &g, &text);
    text.size = 0;
    (void)wc_gguf_tokenizer(&ctx, &g, &text);
    wc_buf_free(&text);
    wc_gguf_close(&g);
    return 0;
}
