/* Any bytes as a .wcz image. The checksums of index and header are made right first: without that, no mutation would
 * get past them. The file size field too, so that truncated and extended images reach the index. */
#include "wcz_image.h"
#include "fuzz/fuzz.h"

const char *const wc_fuzz_seeds[] = {
    "tests/data/golden/tiny.wcz",    "tests/data/golden/kinds.wcz",      "tests/data/golden/parts.wcz",
    "tests/data/golden/grids.wcz",   "tests/data/golden/transforms.wcz", "tests/data/golden/coded.wcz",
    "tests/data/golden/ggml.wcz",    "tests/data/golden/holes.wcz",      "tests/data/golden/forms.wcz",
    "tests/data/golden/vectors.wcz", "tests/data/golden/signs.wcz",      NULL};
const size_t wc_fuzz_max = 16384;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *p = malloc(size ? size : 1); /* a copy of exactly this size: reading past it is seen by the sanitizer */
    if (!p) return 0;
    memcpy(p, data, size);
    (void)image_exercise(p, size);
    if (size >= 64) {
        memcpy(p, "\x89WCZ\r\n\x1a\n\1", 9);
        image_put64(p + 16, size);
        image_rehash(p, size);
        (void)image_exercise(p, size);
    }
    free(p);
    return 0;
}
