/* The rows of the bench that time the decode library's products, at the CPU level in use (WCD_CPU_LEVEL lowers it). */
#include <stdlib.h>

#include "bench_rows.h"
#include "decode/tiles.h"
#include "formats/format.h"

/* One part, or a sum of two. */
typedef struct product {
    wc_part part[2];
    size_t parts, rows, cols;
    uint8_t *blob[2], params[WC_PARAMS_SIZE];
    uint64_t bytes;
    wcd_view view[2];
    float *x, *y; /* [VECTORS, cols], [VECTORS, rows] */
    unsigned vectors;
    uint8_t *memory; /* NULL, or of the input in 8 bits */
    wcd_tiles tiles;
    uint8_t *tiled; /* NULL, or the first part laid out anew */
} product;

enum { VECTORS = 64 };

static wc_status multiply(wc_ctx *ctx, void *arg)
{
    const product *p = arg;
    const wcd_vectors x = {p->x, p->cols, p->vectors};
    const wcd_int8 x8 = {x, p->memory};
    for (unsigned b = 0; p->memory && b < p->vectors; b++)
        wcd_int8_make(p->cols, p->x + b * p->cols, p->memory + b * wcd_int8_bytes(p->cols));
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (int t = 0; t < ctx->threads; t++) {
        size_t from = p->rows * (size_t)t / (size_t)ctx->threads, to = p->rows * (size_t)(t + 1) / (size_t)ctx->threads;
        for (size_t k = 0; k < p->parts && !p->memory && !p->tiled; k++)
            wcd_view_products(&p->view[k], from, to - from, &x, p->y + from, p->rows, k > 0);
        if (p->memory) p->view[0].d->products8(&p->view[0], from, to - from, &x8, p->y + from, p->rows, 0);
        if (p->tiled) wcd_tiles_product(&p->tiles, &p->view[0], p->tiled, from, to - from, &x, p->y + from, p->rows, 0);
    }
    return WC_OK;
}

static wc_status lay_out(wc_ctx *ctx, void *arg)
{
    product *p = arg;
    const uint64_t tiles = wcd_tiles_count(&p->view[0]), n = (uint64_t)ctx->threads;
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (uint64_t t = 0; t < n; t++)
        wcd_tiles_make(&p->tiles, &p->view[0], tiles * t / n, tiles * (t + 1) / n - tiles * t / n, p->tiled);
    return WC_OK;
}

/* `per_row' values in every row, evenly spread. */
static wc_status fill_sparse(wc_ctx *ctx, wc_sparse *s, size_t per_row)
{
    uint16_t *value;
    WC_TRY(wc_sparse_alloc(ctx, s));
    value = s->value;
    for (size_t r = 0, k = 0; r < s->rows; r++) {
        for (size_t i = 0; i < per_row; i++, k++)
            s->col[k] = (uint32_t)((i * s->cols + (k * 2654435761u >> 7) % s->cols) / per_row), value[k] = 0x3800;
        s->row_start[r + 1] = k;
    }
    return WC_OK;
}

/* Numbers of a grid or lut do not matter here, and their parameters do not depend on them: those of one row, and a blob
 * of small bytes. A sparse part is encoded. */
static wc_status open_part(wc_ctx *ctx, product *p, size_t k, wc_part one_row)
{
    const wc_encoder *e = wc_encoder_for(p->part[k].kind);
    uint8_t *row = NULL;
    uint64_t size, row_size;
    wc_status status = WC_OK;
    WC_TRY_OUT(e->size(ctx, &p->part[k], &size));
    WC_TRY_OUT(WC_ALLOC(ctx, p->blob[k], size, "an encoded part"));
    for (uint64_t i = 0; i < size; i++)
        p->blob[k][i] = (uint8_t)(i * 2654435761u >> 24 & 0x3f);
    if (p->part[k].kind == WC_PART_SPARSE) {
        WC_TRY_OUT(e->encode(ctx, &p->part[k], p->blob[k], p->params));
    } else {
        WC_TRY_OUT(e->size(ctx, &one_row, &row_size));
        WC_TRY_OUT(WC_ALLOC(ctx, row, row_size, "an encoded row"));
        WC_TRY_OUT(one_row.kind == WC_PART_GRID ? wc_grid_alloc(ctx, &one_row.grid) : wc_lut_alloc(ctx, &one_row.lut));
        WC_TRY_OUT(e->encode(ctx, &one_row, row, p->params));
    }
    wcd_status s = wcd_view_open(e->id, e->version, p->params, p->blob[k], size, p->rows, p->cols, &p->view[k]);
    if (s != WCD_OK) status = wc_fail(ctx, WC_BUG, "bench: %s", wcd_status_text(s));
    p->bytes += size;
out:
    free(row);
    if (one_row.kind != WC_PART_SPARSE) wc_part_free(&one_row);
    return status;
}

static wc_part grid_of(size_t rows, size_t cols, unsigned bits)
{
    const float middle = (float)(1u << bits) / 2;
    return (wc_part){.kind = WC_PART_GRID,
                     .grid = {.rows = rows, .cols = cols, .group = 128, .bits = bits, .zero_fixed = middle}};
}

static wc_part lut_of_rows(size_t rows, size_t cols, unsigned bits)
{
    return (wc_part){.kind = WC_PART_LUT,
                     .lut = {.rows = rows, .cols = cols, .group = cols, .bits = bits, .scope = WC_LUT_ROW}};
}

static wc_part lut_of_one_table(size_t rows, size_t cols, unsigned bits)
{
    wc_part p = lut_of_rows(rows, cols, bits);
    p.lut.group = 128, p.lut.scaled = true, p.lut.scope = WC_LUT_TENSOR;
    return p;
}

static const struct row {
    const char *name, *what;
    unsigned bits, per_mille; /* per_mille > 0: and so many of a thousand values in a sparse part */
    wc_part (*of)(size_t rows, size_t cols, unsigned bits);
    unsigned vectors;
    bool int8;           /* the input in 8 bits, made so every time */
    const char *prepare; /* NULL: not prepared; else the name of the row for the time of that, or "" */
} rows[] = {
    {"matvec-grid2", "2 bits, g128: bytes in", 2, 0, grid_of, 1, false, NULL},
    {"matvec-grid3", "3 bits, g128: bytes in", 3, 0, grid_of, 1, false, NULL},
    {"matvec-grid4", "4 bits, g128: bytes in", 4, 0, grid_of, 1, false, NULL},
    {"matvec-grid8", "8 bits, g128: bytes in", 8, 0, grid_of, 1, false, NULL},
    {"matvec-lut4", "4 bits, a table per row: bytes in", 4, 0, lut_of_rows, 1, false, NULL},
    {"matvec-grid2-int8", "2 bits, g128, input in 8 bits: bytes in", 2, 0, grid_of, 1, true, NULL},
    {"matvec-grid3-int8", "3 bits, g128, input in 8 bits: bytes in", 3, 0, grid_of, 1, true, NULL},
    {"matvec-grid4-int8", "4 bits, g128, input in 8 bits: bytes in", 4, 0, grid_of, 1, true, NULL},
    {"matvec-grid8-int8", "8 bits, g128, input in 8 bits: bytes in", 8, 0, grid_of, 1, true, NULL},
    {"matvec-grid4-sparse", "4 bits, g128, and 1 % sparse: bytes in", 4, 10, grid_of, 1, false, NULL},
    {"matmul-grid4-8", "4 bits, g128, times 8 inputs: flops", 4, 0, grid_of, 8, false, NULL},
    {"matmul-grid4-64", "4 bits, g128, times 64 inputs: flops", 4, 0, grid_of, 64, false, NULL},
    {"matmul-grid4-8-int8", "4 bits, g128, times 8 inputs in 8 bits: flops", 4, 0, grid_of, 8, true, NULL},
    {"matmul-grid4-64-int8", "4 bits, g128, times 64 inputs in 8 bits: flops", 4, 0, grid_of, 64, true, NULL},
    {"matvec-prepared-grid2", "2 bits, g128: bytes in", 2, 0, grid_of, 1, false, "prepare-grid2"},
    {"matvec-prepared-grid3", "3 bits, g128: bytes in", 3, 0, grid_of, 1, false, "prepare-grid3"},
    {"matvec-prepared-grid4", "4 bits, g128: bytes in", 4, 0, grid_of, 1, false, "prepare-grid4"},
    {"matvec-prepared-grid8", "8 bits, g128: bytes in", 8, 0, grid_of, 1, false, "prepare-grid8"},
    {"matvec-prepared-lut4", "4 bits, one table, g128: bytes in", 4, 0, lut_of_one_table, 1, false, "prepare-lut4"},
    {"matvec-prepared-lut4-rows", "4 bits, a table per row: bytes in", 4, 0, lut_of_rows, 1, false,
     "prepare-lut4-rows"},
    {"matmul-prepared-grid4-8", "4 bits, g128, times 8 inputs: flops", 4, 0, grid_of, 8, false, ""},
    {"matmul-prepared-grid4-64", "4 bits, g128, times 64 inputs: flops", 4, 0, grid_of, 64, false, ""}};

/* Lays p's part out, timed where that has a name. */
static wc_status bench_prepare(wc_bench_frame *f, const struct row *row, product *p)
{
    char what[96];
    if (!wcd_tiles_of(&p->view[0], &p->tiles)) return wc_fail(f->ctx, WC_BUG, "bench: %s does not gain", row->name);
    WC_TRY(WC_ALLOC_RAW(f->ctx, p->tiled, p->tiles.size, "a prepared part"));
    if (!*row->prepare) return lay_out(f->ctx, p);
    snprintf(what, sizeof what, "into %.3f times the bytes: bytes in, out", (double)p->tiles.size / (double)p->bytes);
    const double bytes = (double)(p->bytes + p->tiles.size);
    return wc_bench_measure(f, &(wc_bench_row){row->prepare, what, bytes, WC_CEILING_COPY, lay_out, NULL, p});
}

static wc_status bench_product(wc_bench_frame *f, const struct row *row, size_t n_rows, size_t cols)
{
    product p = {.parts = row->per_mille ? 2 : 1, .rows = n_rows, .cols = cols, .vectors = row->vectors};
    wc_status status = WC_OK;
    char what[96];
    if (!wc_bench_wants(f, row->name)) return WC_OK;
    p.part[0] = row->of(n_rows, cols, row->bits);
    WC_TRY_OUT(open_part(f->ctx, &p, 0, row->of(1, cols, row->bits)));
    if (row->per_mille) {
        size_t per_row = cols * row->per_mille / 1000;
        p.part[1] = (wc_part){.kind = WC_PART_SPARSE,
                              .sparse = {.rows = n_rows, .cols = cols, .dtype = WC_F16, .nnz = per_row * n_rows}};
        WC_TRY_OUT(fill_sparse(f->ctx, &p.part[1].sparse, per_row));
        WC_TRY_OUT(open_part(f->ctx, &p, 1, p.part[1]));
    }
    WC_TRY_OUT(WC_ALLOC(f->ctx, p.x, VECTORS * cols, "inputs"));
    WC_TRY_OUT(WC_ALLOC(f->ctx, p.y, VECTORS * n_rows, "outputs"));
    if (row->int8) WC_TRY_OUT(WC_ALLOC(f->ctx, p.memory, VECTORS * wcd_int8_bytes(cols), "inputs in 8 bits"));
    wc_bench_random(41, VECTORS * cols, p.x);
    if (row->prepare) WC_TRY_OUT(bench_prepare(f, row, &p));
    snprintf(what, sizeof what, "%s, %s", row->what, wcd_level_name(wcd_cpu_level()));
    const bool one = row->vectors == 1;
    const double flops = 2.0 * (double)n_rows * (double)cols * row->vectors;
    const wc_bench_row timed = {
        row->name, what, one ? (double)p.bytes : flops, one ? WC_CEILING_READ : WC_CEILING_SGEMM, multiply, NULL, &p};
    WC_TRY_OUT(wc_bench_measure(f, &timed));
out:
    wc_part_free(&p.part[1]);
    free(p.blob[0]), free(p.blob[1]), free(p.x), free(p.y), free(p.memory), free(p.tiled);
    return status;
}

wc_status wc_bench_decode(wc_bench_frame *f)
{
    size_t n_rows = f->opt->quick ? 256 : 4096, cols = f->opt->quick ? 512 : 14336;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        WC_TRY(bench_product(f, &rows[i], n_rows, cols));
    return WC_OK;
}
