/* Every part kind, in tensors made up here: parameters from tables, blobs of random bytes. Dequantized rows have to be
 * the bits that libwcdecode gives, products those of the same rows in f64 within a stated error. A blob needs no
 * encoder: its size is the one that the decoder accepts, and almost any bytes mean something; only positions and prefix
 * codes have to be made well-formed. */
#include "cases.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <cuda_runtime.h>

#include "base/half.h"
#include "decode/bytes.h"
#include "tests/samples.h"
#include "wcdecode_cuda.h"

double cuda_worst_error;

/* ---- comparing -------------------------------------------------------------------------------------------------- */

#define FAIL(...) return snprintf(why, size, __VA_ARGS__), 1

static int same(float a, float b)
{
    return wc_f32_bits(a) == wc_f32_bits(b) || (isnan(a) && isnan(b));
}

static float rounded(float x, int type)
{
    return type == F32 ? x : type == F16 ? wc_f16_f32(wc_f32_f16(x)) : wc_bf16_f32(wc_f32_bf16(x));
}

static float element(const uint8_t *p, int type, uint64_t i)
{
    return type == F32   ? wc_bits_f32(wcd_u32(p + 4 * i))
           : type == F16 ? wc_f16_f32(wcd_u16(p + 2 * i))
                         : wc_bf16_f32(wcd_u16(p + 2 * i));
}

static unsigned width(int type)
{
    return type == F32 ? 4 : 2;
}

/* Memory on both sides, and the tensor on the device. */
typedef struct loaded {
    wcd_cuda_tensor w;
    void *host, *device;
} loaded;

static int upload(const wcd_tensor *t, loaded *l, char *why, unsigned size)
{
    uint64_t bytes;
    memset(l, 0, sizeof *l);
    wcd_cuda_status s = wcd_cuda_size(t, &bytes);
    if (s != WCD_CUDA_OK) FAIL("size: %s", wcd_cuda_status_text(s));
    l->host = malloc(bytes);
    if (!l->host || cudaMalloc(&l->device, bytes) != cudaSuccess) FAIL("no memory");
    s = wcd_cuda_upload(t, l->host, l->device, NULL, &l->w);
    if (s == WCD_CUDA_OK && cudaStreamSynchronize(NULL) != cudaSuccess) s = WCD_CUDA_E_RUNTIME;
    if (s != WCD_CUDA_OK) FAIL("upload: %s", wcd_cuda_status_text(s));
    return 0;
}

static void unload(loaded *l)
{
    free(l->host);
    cudaFree(l->device);
}

/* Rows r0 .. r0 + n in one type, with a gap of two elements behind each that has to stay. */
static int check_rows(const wcd_tensor *t, const loaded *l, uint64_t r0, uint64_t n, int type, char *why, unsigned size)
{
    uint64_t ld = t->cols + (r0 ? 2 : 0), bytes = n * ld * width(type);
    float *want = malloc(n * t->cols * sizeof *want);
    uint8_t *got = malloc(bytes);
    void *device = NULL;
    int bad = 0;
    if (!want || !got || cudaMalloc(&device, bytes) != cudaSuccess) FAIL("no memory");
    if (wcd_rows(t, r0, n, want, t->cols) != WCD_OK) FAIL("wcd_rows fails");
    cudaMemsetAsync(device, 0x5a, bytes, NULL);
    wcd_cuda_status s = wcd_cuda_rows(&l->w, r0, n, device, (wcd_cuda_type)type, ld, NULL);
    cudaMemcpyAsync(got, device, bytes, cudaMemcpyDeviceToHost, NULL);
    if (s != WCD_CUDA_OK || cudaStreamSynchronize(NULL) != cudaSuccess) FAIL("rows: %s", wcd_cuda_status_text(s));
    for (uint64_t i = 0; i < n * ld && !bad; i++) {
        uint64_t r = i / ld, c = i % ld;
        uint32_t gap = type == F32 ? 0x5a5a5a5a : type == F16 ? wc_f32_bits(wc_f16_f32(0x5a5a)) : 0x5a5a0000;
        float expected = c < t->cols ? rounded(want[r * t->cols + c], type) : wc_bits_f32(gap),
              found = element(got, type, i);
        bad = !same(found, expected);
        if (bad)
            snprintf(why, size, "type %d at %llu, %llu: %a, not %a", type, (unsigned long long)(r0 + r),
                     (unsigned long long)c, (double)found, (double)expected);
    }
    free(want), free(got), cudaFree(device);
    return bad;
}

static int check_all_rows(const wcd_tensor *t, const loaded *l, char *why, unsigned size)
{
    int bad = check_rows(t, l, 0, t->rows, F32, why, size) ||
              check_rows(t, l, t->rows / 2, t->rows - t->rows / 2, F32, why, size);
    for (int type = F16; type <= BF16 && !bad && !t->n_transforms; type++)
        bad = check_rows(t, l, 0, t->rows, type, why, size) || check_rows(t, l, t->rows - 1, 1, type, why, size);
    return bad;
}

/* Products add in f32. Terms are up to some hundred, rounded at 2^-24 each: errors below 1e-6 of the sum of their
 * magnitudes are usual. A low-rank part, or a grid whose zero is far from its codes, cancels: then it is the magnitudes
 * of the factors that count, and up to 2e-5 has been seen. A wrong code, scale or column gives 1e-2 and more. */
static const double most_error = 5e-5;

static int check_product(const wcd_tensor *t, const loaded *l, uint32_t n, int xtype, int ytype, char *why,
                         unsigned size)
{
    uint64_t room, xs = n * t->cols, ys = n * t->rows;
    float *w = malloc(t->rows * t->cols * sizeof *w);
    uint8_t *x = malloc(xs * width(xtype)), *y = malloc(ys * width(ytype));
    void *dx = NULL, *dy = NULL, *work = NULL;
    int bad = 0;
    if (wcd_cuda_workspace(&l->w, n, &room) != WCD_CUDA_OK) FAIL("workspace");
    if (!w || !x || !y || cudaMalloc(&dx, xs * width(xtype)) || cudaMalloc(&dy, ys * width(ytype)) ||
        cudaMalloc(&work, room))
        FAIL("no memory");
    for (uint64_t i = 0; i < xs; i++) {
        float v = ((float)(sample_random() % 2001) - 1000) / 512;
        sample_put(x + i * width(xtype),
                   xtype == F32   ? wc_f32_bits(v)
                   : xtype == F16 ? wc_f32_f16(v)
                                  : wc_f32_bf16(v),
                   width(xtype));
    }
    if (wcd_rows(t, 0, t->rows, w, t->cols) != WCD_OK) FAIL("wcd_rows fails");
    cudaMemcpyAsync(dx, x, xs * width(xtype), cudaMemcpyHostToDevice, NULL);
    cudaMemsetAsync(work, 0xff, room, NULL); /* NaN wherever something is not written */
    wcd_cuda_status s = wcd_cuda_matmul(&l->w, dx, (wcd_cuda_type)xtype, dy, (wcd_cuda_type)ytype, n, work, room, NULL);
    cudaMemcpyAsync(y, dy, ys * width(ytype), cudaMemcpyDeviceToHost, NULL);
    if (s != WCD_CUDA_OK || cudaStreamSynchronize(NULL) != cudaSuccess) FAIL("matmul: %s", wcd_cuda_status_text(s));
    double most = 0; /* cancellation in one row must not make its neighbour's tolerance */
    for (uint64_t r = 0; r < t->rows; r++) {
        double sum = 0;
        for (uint64_t c = 0; c < t->cols; c++)
            sum += fabs((double)w[r * t->cols + c]);
        most = sum > most ? sum : most;
    }
    for (uint64_t i = 0; i < ys && !bad; i++) {
        uint64_t k = i / t->rows, r = i % t->rows;
        double want = 0, got = (double)element(y, ytype, i);
        for (uint64_t c = 0; c < t->cols; c++)
            want += (double)w[r * t->cols + c] * (double)element(x, xtype, k * t->cols + c);
        if (ytype == F16 && fabs(want) > 65000) continue; /* infinite, or nearly */
        double output = ytype == F32 ? 0 : fabs(want) / (ytype == F16 ? 2048 : 256) + 0x1p-25;
        double error = (fabs(got - want) - output) / (most + 1e-30);
        if (error > cuda_worst_error) cuda_worst_error = error;
        bad = !(error <= most_error);
        if (bad)
            snprintf(why, size, "vector %u, row %llu: %g, not %g, an error of %.2g", (unsigned)k, (unsigned long long)r,
                     got, want, error);
    }
    free(w), free(x), free(y), cudaFree(dx), cudaFree(dy), cudaFree(work);
    return bad;
}

/* One vector, and in turn one of the other numbers and types. */
static int check_products(const wcd_tensor *t, const loaded *l, char *why, unsigned size)
{
    static const struct {
        uint32_t n;
        int x, y;
    } turns[] = {{11, F16, F32}, {3, BF16, BF16}, {2, F16, F16}, {8, F32, F16}, {2, BF16, F32}};
    static unsigned turn;
    unsigned k = turn++ % (sizeof turns / sizeof *turns);
    return check_product(t, l, 1, F32, F32, why, size) ||
           check_product(t, l, turns[k].n > 2 && t->cols > 4000 ? 2 : turns[k].n, turns[k].x, turns[k].y, why, size);
}

/* One tensor with any bytes: rows; then with finite numbers: rows and products. Frees the image. */
static int check(sample *s, char *why, unsigned size)
{
    for (int finite = 0; finite < 2; finite++) {
        loaded l;
        if (!sample_build(s, finite, F32))
            FAIL("the sample does not open: %s", s->image ? wcd_open_reason(s->image, wcd_u64(s->image + 16)) : "");
        int bad = upload(&s->t, &l, why, size) || check_all_rows(&s->t, &l, why, size);
        if (!bad && finite) bad = check_products(&s->t, &l, why, size);
        unload(&l);
        free(s->image);
        s->image = NULL;
        if (bad) return 1;
    }
    return 0;
}

/* ---- the kinds -------------------------------------------------------------------------------------------------- */

/* Every number of bits, every way of writing scales and zeros, groups that fit units and groups that do not; rows from
 * one column to more than the threads of a block take at once. */
static int grids(char *why, unsigned size)
{
    static const struct {
        uint64_t rows, cols;
        uint32_t group;
        unsigned scale_bits, zero_kind, tile;
    } table[] = {
        {1, 1, 1, 0, 0, 0},     {3, 65, 65, 0, 1, 0},    {5, 130, 32, 0, 2, 0},
        {9, 300, 128, 6, 0, 0}, {2, 96, 7, 4, 1, 0},     {6, 200, 64, 3, 3, 4},
        {4, 33, 32, 5, 2, 3},   {2, 4200, 128, 0, 0, 0}, {7, 1030, 96, 0, 1, 0},
    };
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        for (unsigned bits = 1; bits <= 8; bits++) {
            if (table[i].cols > 1000 && bits != 2 + i % 3) continue;
            sample s = sample_sized(table[i].rows, table[i].cols, 1, 0);
            sample_grid(&s, bits, table[i].scale_bits, table[i].zero_kind, table[i].group, table[i].tile);
            char text[300];
            if (check(&s, text, sizeof text)) FAIL("grid %u of %u bits: %s", i, bits, text);
        }
    return 0;
}

/* Every layout of positions that has codes only where there are values. */
static int parts_with_holes(char *why, unsigned size)
{
    static const struct {
        unsigned layout, n, m;
        uint32_t block;
        uint64_t nnz;
    } table[] = {{2, 0, 0, 0, 401}, {3, 2, 4, 0, 560}, {2, 0, 0, 8, 320},
                 {3, 5, 8, 2, 700}, {2, 0, 0, 0, 333}, {3, 2, 4, 0, 560}};
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        sample s = sample_sized(7, 160, 1, 0);
        if (i < 4)
            sample_grid(&s, 2 + i, 0, i % 3, 32, 0);
        else
            sample_lut(&s, i - 2, i - 3, i % 2, 40);
        sample_holes(&s, table[i].layout, table[i].n, table[i].m, table[i].block, table[i].nnz);
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("holes %u: %s", i, text);
    }
    return 0;
}

static int luts(char *why, unsigned size)
{
    for (unsigned i = 0; i < 4; i++) { /* groups that fit units; rows of more units than a block has threads */
        sample s = sample_sized(i == 3 ? 2 : 9, i == 3 ? 4170 : 70, 1, 0);
        sample_lut(&s, i ? 4 : 2, i % 2, i < 3, i < 2 ? 64 : 25 + 7 * (i == 2));
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("lut of whole units %u: %s", i, text);
    }
    for (unsigned bits = 1; bits <= 8; bits++)
        for (unsigned scope = 0; scope < 3; scope++) {
            sample s = sample_sized(5, 64 * bits + 3, 1, 0);
            sample_lut(&s, bits, scope, (bits + scope) % 2, scope == 2 ? 25 : 96 / (1 + bits % 3));
            char text[300];
            if (check(&s, text, sizeof text)) FAIL("lut of %u bits, scope %u: %s", bits, scope, text);
        }
    return 0;
}

/* All layouts of positions; more than 65536 columns have wide ones on the device. */
static int sparse_parts(char *why, unsigned size)
{
    static const struct {
        uint64_t rows, cols, nnz;
        unsigned dtype, layout, n, m;
    } table[] = {
        {1, 1, 1, F32, 0, 0, 0},       {9, 300, 77, F16, 0, 0, 0}, {9, 300, 77, BF16, 1, 0, 0},
        {9, 300, 1000, F32, 2, 0, 0},  {4, 64, 128, F16, 3, 2, 4}, {3, 48, 54, BF16, 3, 3, 8},
        {2, 70000, 900, F16, 1, 0, 0}, {5, 40, 0, F16, 0, 0, 0},   {40, 70, 2800, F16, 2, 0, 0},
    };
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        sample s = sample_sized(table[i].rows, table[i].cols, 1, 0);
        sample_sparse(&s, table[i].dtype, table[i].layout, table[i].n, table[i].m, table[i].nnz);
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("sparse %u: %s", i, text);
    }
    return 0;
}

static int plain_and_coded_floats(char *why, unsigned size)
{
    static const struct {
        uint64_t rows, cols;
        unsigned dtype;
        const char *modes;
        uint64_t bytes;
    } table[] = {
        {3, 65, F32, NULL, 0},       {4, 40, F16, NULL, 0},        {5, 67, BF16, NULL, 0},
        {1, 1, BF16, NULL, 0},       {30, 300, BF16, "02", 7001},  {5, 1024, BF16, "22", 9000},
        {11, 401, F16, "02", 3000},  {2, 5000, F32, "0022", 9000}, {3, 33, F16, "12", 60},
        {3, 9, F32, "0121", 20},     {1, 4096, F16, "21", 1700},   {70, 64, BF16, "02", 5000},
        {5, 1500, BF16, "02", 3300}, {3, 4096, F16, "02", 5000},   {9, 1024, BF16, "22", 9000},
    };
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        sample s = sample_sized(table[i].rows, table[i].cols, 1, 0);
        if (table[i].modes)
            sample_coded_floats(&s, table[i].dtype, table[i].modes, table[i].bytes);
        else
            sample_floats(&s, table[i].dtype);
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("float %u: %s", i, text);
    }
    /* A stream of ones is codes of 12 bits, one behind the other. */
    enum { BYTES = 9000 };
    sample s = sample_sized(2, 2048, 1, 0);
    wcd_part_info part;
    loaded l;
    sample_coded_floats(&s, BF16, "02", BYTES);
    if (!sample_build(&s, 1, F32) || wcd_part(&s.t, 0, &part) != WCD_OK) FAIL("the sample does not open");
    uint8_t *streams = (uint8_t *)(uintptr_t)part.blob + part.blob_size - BYTES;
    memset(streams, 0xff, BYTES);
    memset(streams - 24, 0, 24); /* all begin at the first */
    if (upload(&s.t, &l, why, size) || check_all_rows(&s.t, &l, why, size)) return 1;
    unload(&l), free(s.image);
    return 0;
}

static int lowrank_parts(char *why, unsigned size)
{
    for (unsigned i = 0; i < 8; i++) {
        static const unsigned forms[] = {0, 0, 0, 1, 1, 2, 2, 3};
        static const uint32_t ranks[] = {1, 9, 40, 5, 37, 3, 34, 5};
        sample s = sample_sized(36, 70, 1, 0);
        sample_lowrank(&s, ranks[i], forms[i], forms[i] == 3 ? 4 : 0, forms[i] == 3 ? 7 : 0);
        if (i == 1) {
            sample_grid(&s, 4, 0, 1, 3, 0), sample_grid(&s, 8, 0, 0, 32, 0);
        } else if (i == 2) {
            sample_lut(&s, 4, 0, 1, 16), sample_coded_floats(&s, BF16, "02", 500);
        } else {
            sample_floats(&s, i % 2 ? F16 : F32), sample_floats(&s, BF16);
        }
        if (forms[i] == 1) sample_floats(&s, F16);
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("lowrank %u: %s", i, text);
    }
    /* Two of them, one after the other, through the same room for B x, and a B that reads x by columns. */
    sample s = sample_sized(36, 70, 2, 0);
    sample_lowrank(&s, 9, 0, 0, 0), sample_lowrank(&s, 9, 0, 0, 0);
    for (unsigned i = 0; i < 2; i++)
        sample_floats(&s, F16), sample_sparse(&s, F16, 0, 0, 0, 99);
    if (check(&s, why, size)) return 1;
    return 0;
}

static int sign_parts(char *why, unsigned size)
{
    static const struct {
        uint64_t rows, cols;
        uint32_t n, subset;
        unsigned form, levels;
        const char *which;
    } table[] = {
        {1, 1, 1, 0, 0, 1, ""},         {3, 65, 2, 0, 0, 4, ""},          {17, 300, 5, 0, 0, 2, ""},
        {1, 1, 1, 0, 1, 1, "0"},        {3, 65, 16, 0, 1, 3, "040"},      {5, 300, 128, 40, 1, 3, "611"},
        {2, 701, 7, 699, 1, 4, "1265"}, {3, 600, 600, 1, 1, 6, "012456"}, {9, 65, 1, 0, 2, 1, ""},
        {11, 300, 16, 0, 2, 1, ""},
    };
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        sample s = sample_sized(table[i].rows, table[i].cols, 1, 0);
        sample_signs(&s, table[i].form, table[i].levels, table[i].n, table[i].subset, table[i].which);
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("signs %u: %s", i, text);
    }
    return 0;
}

/* Every memory, one class and many, whole and ragged blocks, an odd number of them, tiles that rows divide and not;
 * streams that are long enough, and ones that end early. */
static int trellis_parts(char *why, unsigned size)
{
    static const struct {
        uint64_t rows, cols;
        unsigned memory, classes, by_row;
        uint32_t tile;
        uint64_t bytes;
    } table[] = {
        {1, 1, 0, 1, 0, 4096, 64}, {9, 65, 2, 2, 0, 4, 1400}, {13, 300, 3, 16, 1, 5, 9000},  {7, 256, 8, 1, 0, 3, 2501},
        {6, 530, 5, 5, 1, 6, 900}, {3, 17, 6, 3, 1, 2, 30},   {20, 257, 4, 2, 0, 512, 9001}, {5, 90, 7, 9, 1, 1, 82},
    };
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        sample s = sample_sized(table[i].rows, table[i].cols, 1, 0);
        sample_trellis(&s, table[i].memory, table[i].classes, table[i].by_row, table[i].tile, table[i].bytes);
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("coded %u: %s", i, text);
    }
    return 0;
}

/* Every length of vectors and number of bits, both kinds of entries, every kind of scale, groups that fit units and
 * groups that do not, blocks with codebooks of their own, signs, short last vectors; what has a kernel of its own (one
 * set of small codebooks, vectors of 2, 4 and 8 columns) and what has none. */
static int vq_parts(char *why, unsigned size)
{
    static const struct {
        uint64_t rows, cols;
        unsigned dim, books, bits, entry_bits;
        int scale_bits;
        unsigned signs;
        uint32_t group, block_rows, block_cols;
    } table[] = {
        {1, 1, 1, 1, 1, 8, -1, 0, 1, 0, 0},       {5, 70, 1, 2, 3, 16, 0, 1, 25, 0, 0},
        {3, 65, 3, 1, 5, 16, 4, 0, 7, 0, 0},      {9, 130, 5, 3, 2, 8, 0, 1, 65, 4, 0},
        {7, 300, 6, 2, 4, 16, -1, 0, 300, 2, 60}, {4, 97, 7, 8, 1, 8, 8, 1, 32, 0, 0},
        {2, 90, 16, 1, 9, 8, 0, 0, 90, 1, 32},    {6, 129, 11, 2, 6, 16, 2, 1, 129, 5, 0},
        {3, 40, 8, 1, 16, 16, 0, 0, 40, 0, 0},    {11, 64, 2, 1, 13, 8, -1, 0, 64, 0, 0},
        {13, 300, 4, 1, 8, 8, 0, 0, 300, 0, 0},   {9, 70, 2, 1, 6, 16, 0, 1, 32, 0, 0},
        {33, 4200, 8, 2, 8, 8, 3, 0, 96, 0, 0},   {2, 161, 8, 3, 7, 16, -1, 1, 5, 0, 0},
        {5, 100, 4, 2, 11, 16, 0, 0, 64, 0, 0},   {4, 96, 4, 1, 4, 8, 0, 0, 96, 2, 32},
        {6, 75, 4, 2, 9, 8, 0, 1, 24, 0, 0},      {1, 3, 8, 8, 1, 16, 5, 1, 3, 0, 0},
        {5, 96, 4, 1, 6, 16, 0, 0, 24, 0, 0},
    };
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        sample s = sample_sized(table[i].rows, table[i].cols, 1, 0);
        sample_vq(&s, table[i].dim, table[i].books, table[i].bits, table[i].entry_bits, table[i].scale_bits,
                  table[i].signs, table[i].group);
        sample_put(s.spec[0].params + 12, table[i].block_rows, 4);
        sample_put(s.spec[0].params + 16, table[i].block_cols, 4);
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("vq %u: %s", i, text);
    }
    return 0;
}

/* All types: ids of GGUF files; one block, several rows of several, and more units than the threads of a block take. */
static int ggml_parts(char *why, unsigned size)
{
    static const uint8_t types[] = {2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 20, 21, 22, 23, 34, 35};
    static const uint8_t wide[] = {2, 8, 10, 12, 13, 14, 20};
    for (unsigned i = 0; i < 2 * sizeof types + sizeof wide; i++) {
        int many = i >= 2 * sizeof types;
        uint64_t rows = many ? 2 : i % 2 ? 7 : 1, cols = many ? 4352 : i % 2 ? 512 : types[i / 2] < 10 ? 32 : 256;
        sample s = sample_sized(rows, cols, 1, 0);
        sample_part(&s, GGML)->params[0] = many ? wide[i - 2 * sizeof types] : types[i / 2];
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("ggml type %u, %u rows: %s", s.spec[0].params[0], (unsigned)rows, text);
    }
    return 0;
}

/* Both with other parts, as factors, and under transforms. */
static int vq_and_ggml_sums(char *why, unsigned size)
{
    for (unsigned i = 0; i < 6; i++) {
        sample s = sample_sized(11, 256, i < 2 ? 2 : i == 2 || i == 4 ? 3 : 1, i == 5);
        switch (i) {
        case 0: sample_vq(&s, 4, 1, 8, 8, 0, 0, 256), sample_sparse(&s, F16, 0, 0, 0, 99); break;
        case 1: sample_part(&s, GGML)->params[0] = 12, sample_sparse(&s, BF16, 2, 0, 0, 150); break;
        case 2:
            sample_grid(&s, 4, 0, 0, 32, 0), sample_part(&s, GGML)->params[0] = 18, sample_vq(&s, 3, 2, 4, 16, 4, 1, 9);
            break;
        case 3:
            sample_lowrank(&s, 32, 0, 0, 0), sample_part(&s, GGML)->params[0] = 8, sample_vq(&s, 8, 1, 6, 16, 0, 0, 64);
            break;
        case 4:
            sample_trellis(&s, 4, 3, 0, 4, 3000), sample_vq(&s, 2, 1, 6, 8, 0, 0, 256),
                sample_part(&s, GGML)->params[0] = 14;
            break;
        default: sample_part(&s, GGML)->params[0] = 2, sample_part(&s, HADAMARD)->params[0] = 8;
        }
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("vq, ggml and others %u: %s", i, text);
    }
    return 0;
}

/* With other parts, as factors, and under transforms. */
static int trellis_sums(char *why, unsigned size)
{
    for (unsigned i = 0; i < 5; i++) {
        sample s = sample_sized(11, i == 4 ? 512 : 300, i == 3 ? 1 : i == 4 ? 2 : 3, i == 4 ? 2 : 0);
        switch (i) {
        case 0:
            sample_trellis(&s, 4, 3, 0, 4, 3000), sample_sparse(&s, F16, 0, 0, 0, 99), sample_grid(&s, 4, 0, 0, 32, 0);
            break;
        case 1: sample_grid(&s, 3, 0, 1, 64, 0), sample_trellis(&s, 8, 2, 1, 7, 3000), sample_floats(&s, BF16); break;
        case 2:
            sample_trellis(&s, 2, 1, 0, 5, 2000), sample_trellis(&s, 8, 4, 1, 3, 2000), sample_floats(&s, F32);
            break;
        case 3:
            sample_lowrank(&s, 9, 0, 0, 0), sample_trellis(&s, 3, 2, 0, 4, 70), sample_trellis(&s, 8, 2, 0, 4, 2500);
            break;
        default:
            sample_trellis(&s, 8, 3, 0, 6, 4000), sample_sparse(&s, F16, 1, 0, 0, 50);
            sample_part(&s, HADAMARD)->params[0] = 9, sample_part(&s, DIAGONAL)->params[0] = 1;
        }
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("coded and others %u: %s", i, text);
    }
    return 0;
}

/* Sums in which the sparse part goes along, and in which it cannot; every kind first and not first. */
static int sums(char *why, unsigned size)
{
    for (unsigned i = 0; i < 7; i++) {
        sample s = sample_sized(13, 160, 2 + (i > 1), 0);
        switch (i) {
        case 0: sample_grid(&s, 4, 0, 1, 32, 0), sample_sparse(&s, F16, 0, 0, 0, 44); break;
        case 1: sample_sparse(&s, F16, 0, 0, 0, 44), sample_grid(&s, 3, 0, 0, 64, 0); break;
        case 2:
            sample_grid(&s, 4, 0, 0, 160, 0), sample_sparse(&s, F16, 0, 0, 0, 99), sample_lowrank(&s, 4, 0, 0, 0);
            break;
        case 3:
            sample_lowrank(&s, 40, 0, 0, 0), sample_sparse(&s, BF16, 2, 0, 0, 99), sample_grid(&s, 2, 3, 0, 32, 0);
            break;
        case 4:
            sample_lut(&s, 3, 1, 0, 160), sample_sparse(&s, F32, 0, 0, 0, 9), sample_signs(&s, 0, 2, 3, 0, "");
            break;
        case 5:
            sample_floats(&s, BF16), sample_coded_floats(&s, BF16, "02", 900), sample_sparse(&s, F16, 0, 0, 0, 9);
            break;
        default: sample_grid(&s, 2, 0, 2, 5, 0), sample_grid(&s, 4, 0, 0, 32, 0), sample_sparse(&s, F16, 0, 0, 0, 200);
        }
        if (i == 2 || i == 3) sample_floats(&s, F16), sample_floats(&s, F16);
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("sum %u: %s", i, text);
    }
    return 0;
}

/* Orders below and above what fits shared memory; permutations with numbers of 16 and of 32 bits; two transforms one
 * after the other. */
static int transformed(char *why, unsigned size)
{
    for (unsigned i = 0; i < 8; i++) {
        static const uint64_t cols[] = {48, 130, 4096, 12288, 33, 300, 70000, 512};
        sample s = sample_sized(3, cols[i], 1, 1 + (i != 1 && i != 4 && i != 5));
        sample_grid(&s, 4, 0, 0, 32, 0);
        if (i > 3) sample_part(&s, PERMUTE);
        if (i == 6) sample_part(&s, PERMUTE);
        if (i > 0 && i < 4) sample_part(&s, DIAGONAL)->params[0] = 1;
        if (i == 7) sample_part(&s, HADAMARD)->params[0] = 4;
        if (i != 1 && i < 4) sample_part(&s, HADAMARD)->params[0] = (uint8_t)(i == 0 ? 4 : 12);
        if (i == 0) sample_part(&s, DIAGONAL)->params[0] = 1;
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("transforms %u: %s", i, text);
    }
    return 0;
}

/* y [rows] of one vector, by the kernels of a generation (NULL: the device's own). */
static int product_by(const char *generation, const wcd_tensor *t, const float *x, float *y, char *why, unsigned size)
{
    uint64_t room;
    void *dx = NULL, *dy = NULL, *work = NULL;
    loaded l;
    if (generation) setenv("WCD_CUDA_GENERATION", generation, 1);
    int bad = upload(t, &l, why, size);
    unsetenv("WCD_CUDA_GENERATION");
    if (bad) return 1;
    if (wcd_cuda_workspace(&l.w, 1, &room) != WCD_CUDA_OK) FAIL("workspace");
    if (cudaMalloc(&dx, 4 * t->cols) || cudaMalloc(&dy, 4 * t->rows) || cudaMalloc(&work, room)) FAIL("no memory");
    cudaMemcpyAsync(dx, x, 4 * t->cols, cudaMemcpyHostToDevice, NULL);
    cudaMemsetAsync(work, 0xff, room, NULL);
    cudaMemsetAsync(dy, 0xff, 4 * t->rows, NULL);
    wcd_cuda_status s = wcd_cuda_matmul(&l.w, dx, WCD_CUDA_F32, dy, WCD_CUDA_F32, 1, work, room, NULL);
    cudaMemcpyAsync(y, dy, 4 * t->rows, cudaMemcpyDeviceToHost, NULL);
    if (s != WCD_CUDA_OK || cudaStreamSynchronize(NULL) != cudaSuccess) FAIL("matmul: %s", wcd_cuda_status_text(s));
    cudaFree(dx), cudaFree(dy), cudaFree(work), unload(&l);
    return 0;
}

/* Grids whose codes come by the copy engine of newer devices: every number of bits; one stage of columns, two and more
 * than the ring has, the last of a few units; rows in ranges that are no multiples of a stage's; all scales and zeros
 * that come early; outliers and transforms. The kernels of both generations give the same bits, and the right ones. */
static int generations(char *why, unsigned size)
{
    static const uint64_t cols[] = {2176, 4224, 8320, 2560};
    for (unsigned i = 0; i < 16; i++) {
        char text[300];
        float x[8320], y[2][50];
        unsigned bits = 1 + i % 8, rows = i < 8 ? 19 + i : 50 - i, sparse = i % 5 == 4;
        sample s = sample_sized(rows, cols[i % 4], 1 + sparse, i % 7 == 6);
        sample_grid(&s, bits, i % 3 == 1 ? 5 : 0, i % 3, i % 4 == 3 ? 2560 : 32u << i % 3, 0);
        if (sparse) sample_sparse(&s, F16, 0, 0, 0, 99);
        if (i % 7 == 6) sample_part(&s, DIAGONAL)->params[0] = 1;
        if (!sample_build(&s, 1, F32)) FAIL("sample %u does not open", i);
        for (uint64_t c = 0; c < s.t.cols; c++)
            x[c] = ((float)(sample_random() % 2001) - 1000) / 512;
        for (unsigned k = 0; k < 2; k++) {
#ifdef WCU_EMULATED
            emulated_bulk_copies = 0;
#endif
            if (product_by(k ? NULL : "80", &s.t, x, y[k], text, sizeof text)) FAIL("sample %u: %s", i, text);
#ifdef WCU_EMULATED
            if ((emulated_bulk_copies != 0) != k) FAIL("sample %u: not by the kernel that was asked for", i);
#endif
        }
        for (unsigned r = 0; r < rows; r++)
            if (!same(y[0][r], y[1][r]))
                FAIL("%u bits, row %u: %a, and %a by the copy engine", bits, r, (double)y[0][r], (double)y[1][r]);
        loaded l;
        if (upload(&s.t, &l, text, sizeof text) || check_product(&s.t, &l, 1, BF16, F32, text, sizeof text))
            FAIL("sample %u: %s", i, text);
        unload(&l), free(s.image);
    }
    return 0;
}

/* Real files, whose layouts encoders chose: every tensor that the library takes. */
static int golden_files(char *why, unsigned size)
{
    static const char *const names[] = {"tiny",  "kinds", "parts",   "transforms", "grids", "holes",
                                        "forms", "signs", "vectors", "coded",      "ggml"};
    unsigned taken = 0;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        char path[100], text[300];
        static uint64_t image[1 << 15];
        snprintf(path, sizeof path, "tests/data/golden/%s.wcz", names[i]);
        FILE *f = fopen(path, "rb");
        if (!f) FAIL("cannot open %s", path);
        size_t bytes = fread(image, 1, sizeof image, f);
        fclose(f);
        wcd_file file;
        if (wcd_open(&file, image, bytes) != WCD_OK) FAIL("%s does not open", path);
        for (uint32_t k = 0; k < wcd_count(&file); k++) {
            wcd_tensor t;
            uint64_t need;
            loaded l;
            wcd_at(&file, k, &t);
            wcd_cuda_status s = wcd_cuda_size(&t, &need);
            if (s == WCD_CUDA_E_NOT_NUMERIC) continue;
            if (upload(&t, &l, text, sizeof text) || check_all_rows(&t, &l, text, sizeof text))
                FAIL("%s, tensor %u: %s", path, (unsigned)k, text);
            unload(&l);
            taken++;
        }
    }
    if (taken < 83) FAIL("only %u tensors of the golden files were taken", taken);
    return 0;
}

/* Positions, prefix codes, ends of streams and codes out of any bytes: some values, of kinds coded, vq and ggml
 * those of libwcdecode, and no access outside, which sanitizers watch over. */
static int damaged_blobs(char *why, unsigned size)
{
    for (unsigned i = 0; i < 36; i++) {
        loaded l;
        void *dst = NULL;
        sample s = sample_sized(9, 512, 1, 0);
        switch (i % 9) {
        case 0: sample_sparse(&s, F16, 0, 0, 0, 200); break;
        case 1: sample_sparse(&s, F32, 1, 0, 0, 1); break;
        case 2: sample_sparse(&s, BF16, 2, 0, 0, 900); break;
        case 3: sample_grid(&s, 3, 0, 0, 32, 0), sample_holes(&s, 2, 0, 0, 0, 500); break;
        case 4: sample_coded_floats(&s, BF16, "22", 777); break;
        case 5: sample_trellis(&s, i % 2 ? 8 : 3, 1 + i % 16, i % 2, 4, 1001); break;
        case 6: sample_vq(&s, 3 + i / 9, 2, 5 + i / 9, i % 2 ? 8 : 16, 4, 1, 77); break;
        case 7: sample_part(&s, GGML)->params[0] = (uint8_t)(i < 18 ? 16 + i / 9 : 19 + i / 9); break;
        default: sample_coded_floats(&s, F32, "0022", 50);
        }
        if (!sample_build(&s, -1, F32) || upload(&s.t, &l, why, size)) return 1;
        if (cudaMalloc(&dst, 9 * 512 * 4) != cudaSuccess) FAIL("no memory");
        wcd_cuda_status status = wcd_cuda_rows(&l.w, 0, 9, dst, WCD_CUDA_F32, 512, NULL);
        if (status != WCD_CUDA_OK || cudaStreamSynchronize(NULL) != cudaSuccess)
            FAIL("sample %u: %s", i, wcd_cuda_status_text(status));
        if (i % 9 >= 5 && i % 9 < 8 && check_rows(&s.t, &l, 0, 9, F32, why, size)) return 1;
        cudaFree(dst), unload(&l), free(s.image);
    }
    return 0;
}

/* Mistakes are answered, and nothing is launched. */
static int misuse(char *why, unsigned size)
{
    uint64_t bytes, room;
    loaded l;
    wcd_cuda_tensor w;
    sample s = sample_sized(4, 64, 1, 0);
    sample_grid(&s, 4, 0, 0, 32, 0);
    if (!sample_build(&s, 1, F32) || upload(&s.t, &l, why, size)) return 1;
    if (wcd_cuda_workspace(&l.w, 2, &room) != WCD_CUDA_OK) FAIL("workspace");
    const struct {
        const char *what;
        wcd_cuda_status status;
    } calls[] = {
        {"size of NULL", wcd_cuda_size(NULL, &bytes)},
        {"size to NULL", wcd_cuda_size(&s.t, NULL)},
        {"layout to an odd address", wcd_cuda_lay_out(&s.t, (uint8_t *)l.host + 1)},
        {"device memory at an odd address", wcd_cuda_open(&s.t, (uint8_t *)l.device + 8, &w)},
        {"upload from NULL", wcd_cuda_upload(&s.t, NULL, l.device, NULL, &w)},
        {"no rows there", wcd_cuda_rows(&l.w, 4, 1, l.device, WCD_CUDA_F32, 64, NULL)},
        {"rows to NULL", wcd_cuda_rows(&l.w, 0, 1, NULL, WCD_CUDA_F32, 64, NULL)},
        {"rows too close", wcd_cuda_rows(&l.w, 0, 1, l.device, WCD_CUDA_F32, 63, NULL)},
        {"rows of no type", wcd_cuda_rows(&l.w, 0, 1, l.device, (wcd_cuda_type)0, 64, NULL)},
        {"no vectors", wcd_cuda_workspace(&l.w, 0, &bytes)},
        {"too many vectors", wcd_cuda_workspace(&l.w, 65536, &bytes)},
        {"no input", wcd_cuda_matmul(&l.w, NULL, WCD_CUDA_F32, l.device, WCD_CUDA_F32, 1, l.device, room, NULL)},
        {"no workspace", wcd_cuda_matmul(&l.w, l.device, WCD_CUDA_F32, l.device, WCD_CUDA_F32, 1, NULL, room, NULL)},
        {"little room",
         wcd_cuda_matmul(&l.w, l.device, WCD_CUDA_F32, l.device, WCD_CUDA_F32, 2, l.device, room - 1, NULL)},
    };
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
        if (calls[i].status != WCD_CUDA_E_ARGUMENT)
            FAIL("%s: %s", calls[i].what, wcd_cuda_status_text(calls[i].status));
    if (wcd_cuda_rows(&l.w, 4, 0, NULL, WCD_CUDA_F32, 64, NULL) != WCD_CUDA_OK)
        FAIL("no rows at all are not a mistake");
    unload(&l), free(s.image);
    s = sample_sized(4, 8, 1, 0);
    sample_floats(&s, I32);
    if (!sample_build(&s, 1, I32) || wcd_cuda_size(&s.t, &bytes) != WCD_CUDA_E_NOT_NUMERIC)
        FAIL("integers have a size");
    free(s.image);
    s = sample_sized(1, 1, WCD_CUDA_PARTS + 1, 0);
    for (int i = 0; i <= WCD_CUDA_PARTS; i++)
        sample_floats(&s, F16);
    if (!sample_build(&s, 1, F16) || wcd_cuda_size(&s.t, &bytes) != WCD_CUDA_E_UNSUPPORTED)
        FAIL("too many parts have a size");
    free(s.image);
    return 0;
}

const cuda_case cuda_cases[] = {
    {"grids", grids},
    {"parts with holes", parts_with_holes},
    {"luts", luts},
    {"sparse parts", sparse_parts},
    {"plain and coded floats", plain_and_coded_floats},
    {"low-rank parts", lowrank_parts},
    {"sign parts", sign_parts},
    {"coded parts", trellis_parts},
    {"coded parts and others", trellis_sums},
    {"vq parts", vq_parts},
    {"ggml parts", ggml_parts},
    {"vq, ggml and other parts", vq_and_ggml_sums},
    {"sums", sums},
    {"transforms", transformed},
    {"generations of devices", generations},
    {"golden files", golden_files},
    {"damaged blobs", damaged_blobs},
    {"misuse", misuse},
};
const unsigned cuda_case_count = sizeof cuda_cases / sizeof *cuda_cases;
