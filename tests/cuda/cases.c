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
#include "decode/decoder.h"
#include "decode/xxh3.h"
#include "wcdecode_cuda.h"

enum {
    MAX_SPECS = 20,
    MAX_BLOB = 1 << 21,
    FLOAT = 1,
    GRID = 2,
    LUT = 3,
    SPARSE = 4,
    LOWRANK = 5,
    SIGNS = 7,
    CODED = 8
};
enum { DIAGONAL = 9, HADAMARD = 10, F32 = 1, F16 = 2, BF16 = 3, I32 = 6 };

double cuda_worst_error;

/* ---- tensors out of nothing ------------------------------------------------------------------------------------- */

typedef struct spec {
    uint16_t kind;
    uint8_t params[WCD_PARAMS];
} spec;

/* A sum, then transforms, then children in the order of their parts. */
typedef struct sample {
    uint64_t rows, cols;
    uint32_t n_parts, n_transforms, n_all;
    spec spec[MAX_SPECS];
    uint8_t *image;
    wcd_file file;
    wcd_tensor t;
} sample;

static uint64_t random_state;

static uint32_t draw(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static spec *add_spec(sample *s, uint16_t kind)
{
    spec *p = &s->spec[s->n_all++];
    memset(p, 0, sizeof *p);
    p->kind = kind;
    return p;
}

/* Strictly ascending columns, ends of rows and masks: nnz values, spread over all rows by chance. */
static void fill_positions(const wcd_positions *p, uint8_t *blob, uint64_t rows)
{
    uint64_t left = p->count, cells = rows * p->units, k = 0;
    if (p->layout == WCD_N_OF_M) return; /* any bytes are patterns */
    for (uint64_t r = 0; r < rows; r++) {
        for (uint64_t b = 0; b < p->row_size; b++)
            blob[p->at + r * p->row_size + b] = 0;
        for (uint64_t u = 0; u < p->units; u++, cells--) {
            if (draw() % cells >= left) continue;
            left--;
            if (p->layout == WCD_MASK)
                blob[p->at + r * p->row_size + u / 8] |= (uint8_t)(1 << u % 8);
            else
                put(blob + p->at + k * (p->layout == WCD_LIST16 ? 2 : 4), u, p->layout == WCD_LIST16 ? 2 : 4);
            k++;
        }
        put(blob + p->ends + r * p->end_size, k, p->end_size);
    }
}

/* Complete codes: of lengths 1, 2 and 4, or 1 to 12. Streams start anywhere, near the end too. finite: exponents of
 * the top plane, rotated as it is, stay below 2^1. */
static void fill_codes(const wcd_view *v, uint8_t *blob, int finite)
{
    static const uint8_t lengths[2][16] = {{0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2}, {0, 1, 1, 0, 4}};
    const wcd_float_view *f = &v->u.f;
    uint64_t chunks = (v->rows * v->cols + 4095) / 4096;
    for (unsigned p = 0; p < f->width; p++) {
        uint64_t bytes = f->mode[p] == 0 ? v->rows * v->cols : f->mode[p] == 2 ? 32 + 256 : 0;
        for (uint64_t i = 0; i < bytes && finite && p + 1u == f->width; i++)
            blob[f->first[p] + i] &= 0x7f;
        if (f->mode[p] != 2) continue;
        for (unsigned len = 0; len < 16; len++)
            put(blob + f->first[p] + 2 * len, lengths[p % 2][len], 2);
        for (uint64_t k = 0; k < (chunks + 63) / 64; k++)
            put(blob + f->bases[p] + 8 * k, draw() % (f->stream_bytes + 9), 8);
        for (uint64_t k = 0; k < chunks; k++) {
            put(blob + f->entries[p] + 10 * k, draw() % (f->stream_bytes + 1), 4);
            for (int i = 0; i < 3; i++)
                put(blob + f->entries[p] + 10 * k + 4 + 2 * i, draw() % 700, 2);
        }
    }
}

/* Random bytes; finite: every f16, bf16 and f32 is below 2 in magnitude, by the bit that they have at the same place.
 */
static void fill_blob(const wcd_view *v, uint8_t *blob, int finite)
{
    for (uint64_t i = 0; i < v->size; i++)
        blob[i] = (uint8_t)(draw() & (finite && i % 2 ? 0xbf : 0xff));
    if (v->d->id == SPARSE) fill_positions(&v->u.s.p, blob, v->rows);
    if (v->d->id == GRID && v->u.g.holes) fill_positions(&v->u.g.p, blob, v->rows);
    if (v->d->id == FLOAT && v->u.f.coded) fill_codes(v, blob, finite);
}

/* The size of blob with which a part opens, found by trying, and what it opens as. */
static uint64_t blob_size(const spec *p, uint64_t rows, uint64_t cols, wcd_view *v)
{
    for (uint64_t size = 0; size < MAX_BLOB; size++)
        if (wcd_view_open(p->kind, 1, p->params, NULL, size, rows, cols, v) == WCD_OK) return size;
    return MAX_BLOB;
}

static uint64_t up64(uint64_t x)
{
    return (x + 63) / 64 * 64;
}

/* Shapes and sizes of all parts, children after their parents. 0: a part does not open with any size. */
static int plan_parts(const sample *s, wcd_view v[MAX_SPECS], uint32_t first_child[MAX_SPECS])
{
    uint32_t own = s->n_parts + s->n_transforms, next = own;
    for (uint32_t i = 0; i < own; i++) {
        if (blob_size(&s->spec[i], i < s->n_parts ? s->rows : 1, s->cols, &v[i]) == MAX_BLOB) return 0;
        first_child[i] = v[i].n_children ? next : 0;
        for (unsigned k = 0; k < v[i].n_children; k++, next++) {
            uint64_t rows, cols;
            v[i].d->child_shape(&v[i], k, &rows, &cols);
            if (next == s->n_all || blob_size(&s->spec[next], rows, cols, &v[next]) == MAX_BLOB) return 0;
            first_child[next] = 0;
        }
    }
    return next == s->n_all;
}

/* The image of a file with this one tensor, "w". 0: it does not open. */
static int build(sample *s, int finite, uint8_t dtype)
{
    wcd_view v[MAX_SPECS];
    uint32_t child[MAX_SPECS];
    if (!plan_parts(s, v, child)) return 0;
    uint64_t index = 32 + 128 + 80 * (uint64_t)s->n_all + 1, end = up64(64 + index), at[MAX_SPECS];
    for (uint32_t i = 0; i < s->n_all; i++) {
        at[i] = end;
        end = up64(end + v[i].size);
    }
    uint8_t *h = s->image = aligned_alloc(64, end), *t = h + 96, *p = t + 128;
    if (!h) return 0;
    memset(h, 0, end);
    for (uint32_t i = 0; i < s->n_all; i++, p += 80) {
        fill_blob(&v[i], h + at[i], finite);
        put(p, s->spec[i].kind, 2), put(p + 2, 1, 2), put(p + 8, at[i], 8), put(p + 16, v[i].size, 8);
        put(p + 24, wcd_xxh3(h + at[i], v[i].size), 8), put(p + 32, child[i], 4), put(p + 36, v[i].n_children, 4);
        memcpy(p + 40, s->spec[i].params, WCD_PARAMS);
    }
    *p = 'w';
    put(t + 4, 1, 4), put(t + 8, 2, 4), put(t + 12, dtype, 4), put(t + 16, s->rows, 8), put(t + 24, s->cols, 8);
    put(t + 84, s->n_parts, 4), put(t + 96, s->n_transforms, 4);
    put(h + 64, 1, 4), put(h + 68, s->n_all, 4), put(h + 76, 1, 4);
    memcpy(h, "\x89WCZ\r\n\x1a\n", 8);
    put(h + 8, 1, 2), put(h + 10, 1, 2), put(h + 16, end, 8), put(h + 24, 64, 8), put(h + 32, index, 8);
    put(h + 40, wcd_xxh3(h + 64, index), 8), put(h + 56, wcd_xxh3(h, 56), 8);
    return wcd_open(&s->file, h, end) == WCD_OK && wcd_at(&s->file, 0, &s->t) == WCD_OK;
}

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
        float v = ((float)(draw() % 2001) - 1000) / 512;
        put(x + i * width(xtype),
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
        if (!build(s, finite, F32))
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

static void grid(sample *s, unsigned bits, unsigned scale_bits, unsigned zero_kind, uint32_t group, unsigned tile)
{
    uint8_t *p = add_spec(s, GRID)->params;
    p[0] = (uint8_t)bits, p[1] = (uint8_t)scale_bits, p[2] = (uint8_t)zero_kind, p[3] = (uint8_t)-3;
    put(p + 4, group, 4), p[28] = (uint8_t)tile, p[29] = zero_kind == 3 ? 3 : 0;
    if (!zero_kind) put(p + 8, wc_f32_bits((float)(1 << bits) / 2 - 0.5f), 4);
}

static void holes(sample *s, unsigned layout, unsigned n, unsigned m, uint32_t block, uint64_t nnz)
{
    uint8_t *p = s->spec[s->n_all - 1].params;
    p[12] = (uint8_t)layout, p[13] = (uint8_t)n, p[14] = (uint8_t)m;
    put(p + 16, nnz, 8), put(p + 24, block, 4);
}

static void lut(sample *s, unsigned bits, unsigned scope, unsigned scaled, uint32_t group)
{
    uint8_t *p = add_spec(s, LUT)->params;
    p[0] = (uint8_t)bits, p[1] = (uint8_t)scope, p[2] = (uint8_t)scaled, p[3] = 2;
    put(p + 4, group, 4);
}

static void sparse(sample *s, unsigned dtype, unsigned layout, unsigned n, unsigned m, uint64_t nnz)
{
    uint8_t *p = add_spec(s, SPARSE)->params;
    p[0] = (uint8_t)dtype, p[1] = (uint8_t)layout, p[2] = (uint8_t)n, p[3] = (uint8_t)m, p[4] = dtype == F16 ? 1 : 0;
    put(p + 8, nnz, 8);
}

static void floats(sample *s, unsigned dtype)
{
    add_spec(s, FLOAT)->params[0] = (uint8_t)dtype;
}

/* modes: a digit per plane, as in the card. */
static void coded_floats(sample *s, unsigned dtype, const char *modes, uint64_t bytes)
{
    uint8_t *p = add_spec(s, FLOAT)->params;
    p[0] = (uint8_t)dtype, p[1] = 1;
    for (unsigned k = 0; modes[k]; k++) {
        p[2 + k] = (uint8_t)(modes[k] - '0');
        if (p[2 + k] == 1) p[10 + k] = 0x7d;
    }
    put(p + 24, bytes, 8);
}

static void lowrank(sample *s, uint32_t rank, unsigned form, uint32_t m2, uint32_t n2)
{
    uint8_t *p = add_spec(s, LOWRANK)->params;
    put(p, rank, 4), p[4] = (uint8_t)form, put(p + 8, m2, 4), put(p + 12, n2, 4);
}

static void signs(sample *s, unsigned form, unsigned levels, uint32_t n, uint32_t subset, const char *which)
{
    uint8_t *p = add_spec(s, SIGNS)->params;
    p[0] = (uint8_t)form, p[1] = (uint8_t)levels, p[3] = (uint8_t)-1;
    put(p + 4, n, 4), put(p + 8, subset, 4);
    for (unsigned l = 0; which[l]; l++)
        p[16 + l] = (uint8_t)(which[l] - '0');
}

static sample sized(uint64_t rows, uint64_t cols, uint32_t n_parts, uint32_t n_transforms)
{
    sample s;
    memset(&s, 0, sizeof s);
    s.rows = rows, s.cols = cols, s.n_parts = n_parts, s.n_transforms = n_transforms;
    return s;
}

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
            sample s = sized(table[i].rows, table[i].cols, 1, 0);
            grid(&s, bits, table[i].scale_bits, table[i].zero_kind, table[i].group, table[i].tile);
            char text[300];
            if (check(&s, text, sizeof text)) FAIL("grid %u of %u bits: %s", i, bits, text);
        }
    return 0;
}

static int grids_with_holes(char *why, unsigned size)
{
    static const struct {
        unsigned layout, n, m;
        uint32_t block;
        uint64_t nnz;
    } table[] = {{2, 0, 0, 0, 401}, {3, 2, 4, 0, 560}, {2, 0, 0, 8, 320}, {3, 5, 8, 2, 700}};
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        sample s = sized(7, 160, 1, 0);
        grid(&s, 2 + i, 0, i % 3, 32, 0);
        holes(&s, table[i].layout, table[i].n, table[i].m, table[i].block, table[i].nnz);
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("holes %u: %s", i, text);
    }
    return 0;
}

static int luts(char *why, unsigned size)
{
    for (unsigned bits = 1; bits <= 8; bits++)
        for (unsigned scope = 0; scope < 3; scope++) {
            sample s = sized(5, 64 * bits + 3, 1, 0);
            lut(&s, bits, scope, (bits + scope) % 2, scope == 2 ? 25 : 96 / (1 + bits % 3));
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
        sample s = sized(table[i].rows, table[i].cols, 1, 0);
        sparse(&s, table[i].dtype, table[i].layout, table[i].n, table[i].m, table[i].nnz);
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
        {3, 65, F32, NULL, 0},      {4, 40, F16, NULL, 0},        {5, 67, BF16, NULL, 0},
        {1, 1, BF16, NULL, 0},      {30, 300, BF16, "02", 7001},  {5, 1024, BF16, "22", 9000},
        {11, 401, F16, "02", 3000}, {2, 5000, F32, "0022", 9000}, {3, 33, F16, "12", 60},
        {3, 9, F32, "0121", 20},    {1, 4096, F16, "21", 1700},   {70, 64, BF16, "02", 5000},
    };
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        sample s = sized(table[i].rows, table[i].cols, 1, 0);
        if (table[i].modes)
            coded_floats(&s, table[i].dtype, table[i].modes, table[i].bytes);
        else
            floats(&s, table[i].dtype);
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("float %u: %s", i, text);
    }
    return 0;
}

static int lowrank_parts(char *why, unsigned size)
{
    for (unsigned i = 0; i < 8; i++) {
        static const unsigned forms[] = {0, 0, 0, 1, 1, 2, 2, 3};
        static const uint32_t ranks[] = {1, 9, 40, 5, 37, 3, 34, 5};
        sample s = sized(36, 70, 1, 0);
        lowrank(&s, ranks[i], forms[i], forms[i] == 3 ? 4 : 0, forms[i] == 3 ? 7 : 0);
        if (i == 1) {
            grid(&s, 4, 0, 1, 3, 0), grid(&s, 8, 0, 0, 32, 0);
        } else if (i == 2) {
            lut(&s, 4, 0, 1, 16), coded_floats(&s, BF16, "02", 500);
        } else {
            floats(&s, i % 2 ? F16 : F32), floats(&s, BF16);
        }
        if (forms[i] == 1) floats(&s, F16);
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("lowrank %u: %s", i, text);
    }
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
        sample s = sized(table[i].rows, table[i].cols, 1, 0);
        signs(&s, table[i].form, table[i].levels, table[i].n, table[i].subset, table[i].which);
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("signs %u: %s", i, text);
    }
    return 0;
}

/* Sums in which the sparse part goes along, and in which it cannot; every kind first and not first. */
static int sums(char *why, unsigned size)
{
    for (unsigned i = 0; i < 7; i++) {
        sample s = sized(13, 160, 2 + (i > 1), 0);
        switch (i) {
        case 0: grid(&s, 4, 0, 1, 32, 0), sparse(&s, F16, 0, 0, 0, 44); break;
        case 1: sparse(&s, F16, 0, 0, 0, 44), grid(&s, 3, 0, 0, 64, 0); break;
        case 2: grid(&s, 4, 0, 0, 160, 0), sparse(&s, F16, 0, 0, 0, 99), lowrank(&s, 4, 0, 0, 0); break;
        case 3: lowrank(&s, 40, 0, 0, 0), sparse(&s, BF16, 2, 0, 0, 99), grid(&s, 2, 3, 0, 32, 0); break;
        case 4: lut(&s, 3, 1, 0, 160), sparse(&s, F32, 0, 0, 0, 9), signs(&s, 0, 2, 3, 0, ""); break;
        case 5: floats(&s, BF16), coded_floats(&s, BF16, "02", 900), sparse(&s, F16, 0, 0, 0, 9); break;
        default: grid(&s, 2, 0, 2, 5, 0), grid(&s, 4, 0, 0, 32, 0), sparse(&s, F16, 0, 0, 0, 200);
        }
        if (i == 2 || i == 3) floats(&s, F16), floats(&s, F16);
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("sum %u: %s", i, text);
    }
    return 0;
}

/* Orders below and above what fits shared memory; two transforms one after the other. */
static int transformed(char *why, unsigned size)
{
    for (unsigned i = 0; i < 4; i++) {
        static const uint64_t cols[] = {48, 130, 4096, 12288};
        sample s = sized(3, cols[i], 1, 1 + (i != 1));
        grid(&s, 4, 0, 0, 32, 0);
        if (i != 0) add_spec(&s, DIAGONAL)->params[0] = 1;
        if (i != 1) add_spec(&s, HADAMARD)->params[0] = (uint8_t)(i == 0 ? 4 : 12);
        if (i == 0) add_spec(&s, DIAGONAL)->params[0] = 1;
        char text[300];
        if (check(&s, text, sizeof text)) FAIL("transforms %u: %s", i, text);
    }
    return 0;
}

/* Real files, whose layouts encoders chose: every tensor that the library takes. */
static int golden_files(char *why, unsigned size)
{
    static const char *const names[] = {"tiny",  "kinds", "parts", "transforms", "grids",
                                        "holes", "forms", "signs", "vectors"};
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
            if (s == WCD_CUDA_E_UNSUPPORTED || s == WCD_CUDA_E_NOT_NUMERIC) continue;
            if (upload(&t, &l, text, sizeof text) || check_all_rows(&t, &l, text, sizeof text))
                FAIL("%s, tensor %u: %s", path, (unsigned)k, text);
            unload(&l);
            taken++;
        }
    }
    if (taken < 20) FAIL("only %u tensors of the golden files were taken", taken);
    return 0;
}

/* Mistakes are answered, and nothing is launched. */
static int misuse(char *why, unsigned size)
{
    uint64_t bytes, room;
    loaded l;
    wcd_cuda_tensor w;
    sample s = sized(4, 64, 1, 0);
    grid(&s, 4, 0, 0, 32, 0);
    if (!build(&s, 1, F32) || upload(&s.t, &l, why, size)) return 1;
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
    s = sized(4, 8, 1, 0);
    floats(&s, I32);
    if (!build(&s, 1, I32) || wcd_cuda_size(&s.t, &bytes) != WCD_CUDA_E_NOT_NUMERIC) FAIL("integers have a size");
    free(s.image);
    s = sized(1, 1, WCD_CUDA_PARTS + 1, 0);
    for (int i = 0; i <= WCD_CUDA_PARTS; i++)
        floats(&s, F16);
    if (!build(&s, 1, F16) || wcd_cuda_size(&s.t, &bytes) != WCD_CUDA_E_UNSUPPORTED) FAIL("too many parts have a size");
    free(s.image);
    return 0;
}

const cuda_case cuda_cases[] = {
    {"grids", grids},
    {"grids with holes", grids_with_holes},
    {"luts", luts},
    {"sparse parts", sparse_parts},
    {"plain and coded floats", plain_and_coded_floats},
    {"low-rank parts", lowrank_parts},
    {"sign parts", sign_parts},
    {"sums", sums},
    {"transforms", transformed},
    {"golden files", golden_files},
    {"misuse", misuse},
};
const unsigned cuda_case_count = sizeof cuda_cases / sizeof *cuda_cases;
