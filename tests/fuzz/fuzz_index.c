/* Any bytes as the index of a sharded model. An accepted path may only go down from the model's folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint.h"
#include "fuzz/fuzz.h"

#define SEED(name) "tests/fuzz/seeds/index_" name ".json"
const char *const wc_fuzz_seeds[] = {SEED("plain"), SEED("etc"),  SEED("up"),   SEED("pickle"),
                                     SEED("twice"), SEED("long"), SEED("deep"), NULL};
const size_t wc_fuzz_max = 4096;

static void check_path(const char *file)
{
    size_t n = strlen(file);
    char framed[1200];
    require(n > 0 && n < 1100, "a path has a sane length");
    snprintf(framed, sizeof framed, "/%s/", file);
    require(!strstr(framed, "/../") && !strstr(framed, "//") && !strstr(framed, "/./"), "a path goes down only");
    for (size_t i = 0; i < n; i++)
        require((unsigned char)file[i] >= 0x20 && file[i] != 0x7f && file[i] != '\\', "a path is printable");
    require(n > 12 ? !strcmp(file + n - 12, ".safetensors") : !strcmp(file, ".safetensors"),
            "a path is of a safetensors file");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wc_ctx ctx;
    wc_index index;
    wc_ctx_init(&ctx, 1);
    if (wc_index_parse(&ctx, (const char *)data, size, "fuzz", &index) == WC_OK) {
        require(index.n > 0, "an accepted index names something");
        for (size_t i = 0; i < index.n; i++) {
            check_path(index.entry[i].file);
            require(!i || strcmp(index.entry[i - 1].name, index.entry[i].name) < 0, "names are sorted and distinct");
        }
    } else {
        require(ctx.error[0] && !index.entry && !index.root, "a failure has a sentence and leaves nothing");
    }
    wc_index_free(&index);
    return 0;
}
