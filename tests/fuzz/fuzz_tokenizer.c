/* fuzz_tokenizer.c - the input is a tokenizer.json; if it opens, it must encode and decode without a fault. */
#include "text/tokenizer.h"

#include <string.h>
#include "fuzz/fuzz.h"

const char *const wc_fuzz_seeds[] = {
    "tests/data/tokenizer/tiny.json",      "tests/data/tokenizer/lowercase.json",
    "tests/data/tokenizer/oniguruma.json", "tests/data/tokenizer/words.json",
    "tests/data/tokenizer/roberta.json",   "tests/data/tokenizer/metaspace_always.json",
    "tests/data/tokenizer/llama3.json",    NULL};
const size_t wc_fuzz_max = 1 << 16;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] =
        "It's  <mask> 1234\r\n \xe2\x96\x81<s>\xe4\xbd\xa0\xc3\xa9 e\xcc\x81 XXX\t\xf0\x9f\x98\x80\xff a\0b ";
    wc_ctx ctx;
    wc_tokenizer *t = NULL;
    wc_ids ids = {0};
    wc_buf out = {0};
    wc_ctx_init(&ctx, 1);
    if (wc_tokenizer_open(&ctx, (const char *)data, size, "fuzz", &t) == WC_OK &&
        wc_tokenizer_encode(&ctx, t, text, sizeof text - 1, WC_ENCODE_TEMPLATE, &ids) == WC_OK)
        wc_tokenizer_decode(&ctx, t, ids.id, ids.n, &out);
    wc_buf_free(&out);
    wc_ids_free(&ids);
    wc_tokenizer_free(&t);
    return 0;
}
