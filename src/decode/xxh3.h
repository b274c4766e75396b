/* xxh3.h - the XXH3 64-bit hash, seed 0, default secret: the checksum of .wcz files.
 * Source: the XXH3 specification (Y. Collet, xxHash project, "XXH3 algorithm overview", 2023). */
#ifndef WCD_XXH3_H
#define WCD_XXH3_H

#include <stddef.h>
#include <stdint.h>

/* data [size], any alignment; may be NULL when size is 0. */
uint64_t wcd_xxh3(const void *data, size_t size);

#endif
