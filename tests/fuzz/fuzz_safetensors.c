/* Any bytes as a safetensors file. What is accepted must tile the data exactly; what is refused must say why. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"
#include "fuzz/fuzz.h"

#define SEED(name) "tests/fuzz/seeds/st_" name ".safetensors"
const char *const wc_fuzz_seeds[] = {SEED("empty"),
                                     SEED("one"),
                                     SEED("two"),
                                     SEED("zero"),
                                     SEED("bits"),
                                     SEED("escapes"),
                                     SEED("unknown"),
                                     SEED("overlap"),
                                     SEED("hole"),
                                     SEED("twice"),
                                     SEED("overflow"),
                                     SEED("deep"),
                                     SEED("ninedims"),
                                     SEED("truncated"),
                                     SEED("nullmeta"),
                                     "tests/data/safetensors/reference.safetensors",
                                     NULL};
const size_t wc_fuzz_max = 4096;

static void check_accepted(const wc_safetensors *st, uint64_t data_begin, uint64_t file_size)
{
    uint64_t at = data_begin;
    char shown[WC_SHOWN], shape[64];
    for (size_t i = 0; i < st->n; i++) {
        const wc_st_tensor *t = &st->tensor[i];
        uint64_t size;
        require(t->offset == at, "tensors follow one another");
        require(wc_st_size(t->dtype, t->dims, t->n_dims, &size) && size == t->size, "size is that of the shape");
        require(t->size == 0 || t->rows * t->cols * wc_dtype_bits(t->dtype) == 8 * t->size, "rows times cols");
        for (size_t k = 0; k < i && i < 100; k++)
            require(strcmp(t->name, st->tensor[k].name), "names are distinct");
        wc_escape_name(shown, sizeof shown, t->name);
        wc_st_shape(shape, sizeof shape, t);
        at += t->size;
    }
    require(at == file_size, "the last tensor ends the file");
    for (size_t i = 0; i < st->n_meta; i++)
        require(strlen(st->meta[i].key) + strlen(st->meta[i].value) < data_begin, "metadata is text of the header");
}

/* Parses `header' as that of a file with `rest' bytes behind it. */
static void try_header(const uint8_t *header, size_t n, uint64_t rest)
{
    wc_ctx ctx;
    wc_safetensors st;
    wc_ctx_init(&ctx, 1);
    if (wc_safetensors_parse(&ctx, header, n, 8 + n + rest, "fuzz", &st) == WC_OK)
        check_accepted(&st, 8 + n, 8 + n + rest);
    else
        require(ctx.error[0] && !st.tensor && !st.text, "a failure has a sentence and leaves nothing");
    wc_safetensors_close(&st);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t n;
    if (wc_safetensors_header_size(NULL, data, size, size, "fuzz", &n) == WC_OK) try_header(data + 8, n, size - 8 - n);
    /* And with the length taken for granted: a mutated length would hide the parser behind a failing first check. */
    for (uint64_t rest = 0; size >= 8 && rest < 8; rest++)
        try_header(data + 8, size - 8, rest);
    return 0;
}
