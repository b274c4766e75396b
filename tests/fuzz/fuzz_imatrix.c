/* Any bytes as an importance matrix, in either form. What is accepted lies inside the file; what is refused says why.
 */
#include <stdio.h>
#include <stdlib.h>

#include "io/imatrix.h"
#include "fuzz/fuzz.h"

const char *const wc_fuzz_seeds[] = {"tests/fuzz/seeds/imatrix.gguf", "tests/fuzz/seeds/imatrix.dat", NULL};
const size_t wc_fuzz_max = 8192;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wc_ctx ctx;
    wc_imatrix m;
    wc_ctx_init(&ctx, 1);
    ctx.log = NULL;
    if (wc_imatrix_parse(&ctx, data, size, "x", &m) != WC_OK) {
        require(ctx.error[0], "a refusal has a sentence");
        return 0;
    }
    for (size_t i = 0; i < m.n_entries; i++) {
        const wc_imatrix_entry *e = &m.entry[i];
        require(e->sum2 >= data && 4 * e->n <= (size_t)(data + size - e->sum2), "squares are inside");
        require(!e->sum || 4 * e->n <= (size_t)(data + size - e->sum), "sums are inside");
        require(wc_imatrix_find(&m, e->name) == e, "names are distinct");
        float *square = malloc(4 * e->n + 4), *mean = malloc(4 * e->n + 4);
        wc_clear_error(&ctx);
        require(wc_imatrix_means(&ctx, e, "x", e->n, square, mean) == WC_OK || ctx.error[0], "or a sentence");
        free(square), free(mean);
    }
    wc_imatrix_close(&m);
    return 0;
}
