/* A hostile .wcz image in memory, for tests and fuzzers: no cmocka. */
#ifndef WCZ_IMAGE_H
#define WCZ_IMAGE_H

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "wcdecode.h"

static inline void image_put64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static inline uint64_t image_get64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

/* Makes the checksums of index and header right again, as an attacker would. */
static inline void image_rehash(uint8_t *p, uint64_t size)
{
    if (size < 64) return;
    uint64_t index = image_get64(p + 32);
    if (index <= size - 64) image_put64(p + 40, XXH3_64bits(p + 64, index));
    image_put64(p + 56, XXH3_64bits(p, 56));
}

/* The tensor prepared, if it gains and is small. */
static inline double image_prepare_tensor(const wcd_tensor *t, const float *x, size_t n)
{
    double sum = 0;
    wcd_prepared p;
    const uint64_t size = wcd_prepare_size(t);
    if (t->rows > n || size > 1 << 24) return 0;
    void *memory = aligned_alloc(64, (size_t)size + 64);
    float *y = calloc((size_t)t->rows, sizeof *y);
    if (memory && y && wcd_prepare(t, NULL, memory, &p) == WCD_OK) {
        if (wcd_prepared_matmul_pool(&p, NULL, x, (size_t)t->cols, 1, y, (size_t)t->rows) != WCD_OK) abort();
        sum = y[0] + y[t->rows - 1];
    }
    free(memory), free(y);
    return sum;
}

/* Some rows of one tensor, through every function that takes a tensor. Returns something that depends on all of it. */
static inline double image_read_tensor(const wcd_tensor *t)
{
    double sum = 0;
    wcd_part_info part, child;
    for (uint32_t i = 0; i < t->n_parts + t->n_transforms; i++) {
        if (wcd_part(t, i, &part) != WCD_OK) abort();
        if (part.blob_size) sum += part.blob[0] + part.blob[part.blob_size - 1];
        for (uint32_t k = 0; k < part.n_children; k++) {
            if (wcd_part_child(t, &part, k, &child) != WCD_OK) abort();
            if (child.blob_size) sum += child.blob[0] + child.blob[child.blob_size - 1];
        }
    }
    if (!t->rows || !t->cols || t->cols > 1 << 20) return sum; /* empty sparse rows of any length cost no bytes */
    const uint64_t rows[] = {0, t->rows / 2, t->rows - 1};
    float y[2] = {0}, *x = calloc(2 * t->cols, sizeof *x);
    char *memory = calloc(2, (size_t)wcd_int8_size(t) + 1);
    if (!x || !memory) {
        free(x), free(memory);
        return sum;
    }
    for (uint64_t i = 0; i < t->cols; i++)
        x[i] = 1;
    if (wcd_matvec_rows(t, 0, 1, x, y) == WCD_E_TRANSFORM && !t->n_transforms) abort();
    if (wcd_transform(t, x, x) != WCD_OK || wcd_int8_inputs(t, x, memory) != WCD_OK) abort();
    for (int i = 0; i < 3; i++) {
        if (wcd_rows(t, rows[i], 1, x + t->cols, t->cols) == WCD_OK) sum += x[t->cols] + x[2 * t->cols - 1];
        if (wcd_matvec_transformed(t, rows[i], 1, x, y) == WCD_OK) sum += y[0];
        if (wcd_matmul(t, rows[i], 1, x, t->cols, 2, y, 1) == WCD_OK) sum += y[1];
        if (wcd_matmul_int8(t, rows[i], 1, x, t->cols, 2, memory, y, 1) == WCD_OK) sum += y[1];
    }
    sum += image_prepare_tensor(t, x, 1 << 12);
    free(x), free(memory);
    return sum;
}

/* Opens an image and, when that succeeds, uses all of it. */
static inline wcd_status image_exercise(const uint8_t *p, uint64_t size)
{
    wcd_file f;
    wcd_status s = wcd_open(&f, p, size);
    if ((s == WCD_OK) != !*wcd_open_reason(p, size)) abort();
    if (s != WCD_OK) return s;
    volatile double sum = 0;
    for (uint32_t i = 0; i < wcd_count(&f); i++) {
        wcd_tensor t, again;
        if (wcd_at(&f, i, &t) != WCD_OK) abort();
        char *name = calloc(1, (size_t)t.name_size + 1);
        if (!name) continue;
        memcpy(name, t.name, t.name_size);
        if (wcd_find(&f, name, &again) != WCD_OK || again.index != i) abort();
        free(name);
        sum += image_read_tensor(&t);
    }
    for (uint32_t i = 0; i < wcd_meta_count(&f); i++) {
        wcd_meta m;
        if (wcd_meta_at(&f, i, &m) == WCD_OK && m.size) sum += m.data[m.size - 1];
    }
    const char *bad;
    uint32_t bad_size;
    (void)wcd_verify(&f, &bad, &bad_size);
    return WCD_OK;
}

#endif
