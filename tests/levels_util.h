/* What the tests of the decode library's CPU levels share: noise, encoded parts, inputs, a file with a sum of parts. */
#ifndef LEVELS_UTIL_H
#define LEVELS_UTIL_H

#include "decode/decoder.h"
#include "io/wcz.h"
#include "parts_util.h"

static uint64_t noise_state;

static inline uint64_t noise(void)
{
    uint64_t z = noise_state += 0x9e3779b97f4a7c15; /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static inline void *read_file(const char *path, size_t *size)
{
    static double image[1 << 15];
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    *size = fread(image, 1, sizeof image, in);
    fclose(in);
    return image;
}

typedef struct encoded {
    uint8_t *data[WCD_VIEWS], params[WCD_VIEWS][WC_PARAMS_SIZE];
    uint64_t size[WCD_VIEWS];
    wcd_view view[WCD_VIEWS];
} encoded;

static inline void encode_one(const wc_part *p, encoded *e, unsigned i)
{
    wc_ctx ctx;
    const wc_encoder *enc = wc_encoder_for(p->kind);
    wc_ctx_init(&ctx, 1);
    assert_int_equal(enc->size(&ctx, p, &e->size[i]), WC_OK);
    e->data[i] = malloc(e->size[i] ? e->size[i] : 1);
    assert_non_null(e->data[i]);
    if (enc->encode(&ctx, p, e->data[i], e->params[i]) != WC_OK) fail_msg("%s", ctx.error);
}

/* Blobs end where the part does, so that sanitizers see a kernel that reads further. */
static inline encoded encode(const wc_part *p)
{
    encoded e = {0};
    const wc_part *child[WC_PART_CHILDREN];
    size_t rows, cols, n = wc_part_children(p, child);
    wc_part_shape(p, &rows, &cols);
    encode_one(p, &e, 0);
    assert_int_equal(wcd_view_open((uint16_t)p->kind, 1, e.params[0], e.data[0], e.size[0], rows, cols, e.view), 0);
    for (unsigned k = 0; k < n; k++) {
        encode_one(child[k], &e, 1 + k);
        assert_int_equal(
            wcd_view_child(e.view, k, (uint16_t)child[k]->kind, 1, e.params[1 + k], e.data[1 + k], e.size[1 + k]), 0);
    }
    return e;
}

/* NaN is NaN, everything else the same bits. */
static inline void same(const float *a, const float *b, size_t n, const char *what, const char *name, wcd_level level)
{
    for (size_t i = 0; i < n; i++)
        if (wc_f32_bits(a[i]) != wc_f32_bits(b[i]) && !(isnan(a[i]) && isnan(b[i])))
            fail_msg("%s: %s at level %s, number %zu: %a, not %a", name, what, wcd_level_name(level), i, (double)b[i],
                     (double)a[i]);
}

static inline float *inputs(size_t n, bool hostile)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)noise();
        x[i] = hostile && i % 11 == 3 ? wc_bits_f32(bits) : (float)(int32_t)bits * 0x1p-31f;
    }
    return x;
}

/* A file of one tensor "w", the sum of these parts, which are freed. */
static inline void write_sum(const char *path, wc_part *part, size_t n)
{
    char partial[96];
    wc_ctx ctx;
    wc_wcz *z;
    wc_wcz_tensor t = {.name = "w", .source_dtype = WC_F16, .n_dims = 2, .n_parts = n, .parts = part};
    wc_part_shape(part, &t.dims[0], &t.dims[1]);
    snprintf(partial, sizeof partial, "%s.partial", path);
    wc_ctx_init(&ctx, 1);
    assert_int_equal(wc_wcz_layout(&ctx, &t, 1, NULL, 0, &z), WC_OK);
    assert_int_equal(wc_wcz_create(&ctx, z, partial), WC_OK);
    for (size_t k = 0; k < n; k++)
        assert_int_equal(wc_wcz_put(&ctx, z, 0, k, &part[k], NULL), WC_OK);
    if (wc_wcz_finish(&ctx, z, path) != WC_OK) fail_msg("%s", ctx.error);
    wc_wcz_free(&z);
    for (size_t k = 0; k < n; k++)
        wc_part_free(&part[k]);
}

/* Backwards, to show that order does not matter. */
static inline void run_backwards(void *self, void (*task)(void *arg, unsigned i), void *arg, unsigned n_tasks)
{
    *(unsigned *)self = n_tasks;
    while (n_tasks--)
        task(arg, n_tasks);
}

#endif
