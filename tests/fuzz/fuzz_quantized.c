/* Any bytes as a quantized checkpoint: u32 bytes of a config, the config, a safetensors file. Of what is accepted any
 * row can be read; what is refused says why. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/quantized.h"
#include "fuzz/fuzz.h"

#define SEED(name) "tests/fuzz/seeds/quantized_" name ".bin"
const char *const wc_fuzz_seeds[] = {SEED("gptq4_act"), SEED("gptq3"),     SEED("awq"),       SEED("ct4_asym"),
                                     SEED("ct3_old"),   SEED("int8_asym"), SEED("fp8_block"), NULL};
const size_t wc_fuzz_max = 8192;

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const wc_st_tensor *const *)a)->name, (*(const wc_st_tensor *const *)b)->name);
}

static void read_rows(wc_ctx *ctx, const wc_st_tensor *t)
{
    enum { MOST = 1 << 16 };
    if (t->cols > MOST) return;
    float *row = malloc(3 * t->cols * sizeof *row);
    uint64_t n = wc_min(3, t->rows);
    require(row && t->rows && t->cols, "a layer has weights");
    require(wc_quant_rows(ctx, t->packed, 0, n, row) == WC_OK, "the first rows are there");
    require(wc_quant_rows(ctx, t->packed, t->rows - n, n, row) == WC_OK, "the last rows are there");
    free(row);
}

static void open_layers(wc_ctx *ctx, const json_t *config, const wc_safetensors *st)
{
    const wc_st_tensor **list = malloc((st->n + 1) * sizeof *list);
    size_t n = st->n;
    wc_quant *q;
    require(list, "memory");
    for (size_t i = 0; i < n; i++)
        list[i] = &st->tensor[i];
    qsort(list, n, sizeof *list, by_name);
    if (wc_quant_open(ctx, config, "x", st, list, &n, &q) != WC_OK)
        require(ctx->error[0] && !q && n == st->n, "a refusal has a sentence and changes nothing");
    for (size_t i = 0; q && i < n; i++) {
        require(!i || strcmp(list[i - 1]->name, list[i]->name) < 0, "names are distinct and sorted");
        if (list[i]->packed) read_rows(ctx, list[i]);
    }
    wc_quant_close(&q);
    free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wc_ctx ctx;
    wc_safetensors st;
    json_t *config;
    uint32_t n;
    size_t header;
    wc_ctx_init(&ctx, 1);
    ctx.log = NULL;
    if (size < 4) return 0;
    memcpy(&n, data, 4);
    if (n > size - 4) return 0;
    const uint8_t *file = data + 4 + n;
    size_t file_size = size - 4 - n;
    if (wc_json_parse(&ctx, (const char *)data + 4, n, "x", &config) != WC_OK) return 0;
    if (wc_safetensors_header_size(&ctx, file, file_size, file_size, "x", &header) == WC_OK &&
        wc_safetensors_parse(&ctx, file + 8, header, file_size, "x", &st) == WC_OK) {
        st.map = (wc_map){.data = file, .size = file_size};
        wc_clear_error(&ctx);
        open_layers(&ctx, config, &st);
        st.map = (wc_map){0};
        wc_safetensors_close(&st);
    }
    json_decref(config);
    return 0;
}
