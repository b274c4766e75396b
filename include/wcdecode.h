/* wcdecode.h - read .wcz files: find a tensor, dequantize rows, multiply by vectors.
 *
 * A small C99 library for other people's runtimes. It needs memory and string functions of libc and getenv and nothing
 * else (Linux on ARM: getauxval), allocates nothing, never writes to the file image, and has no global state but the
 * CPU level that it finds: AVX2 or AVX-512 on x86-64, NEON on AArch64 (the environment variable
 * WCD_CPU_LEVEL=c|avx2|avx512|vnni or c|neon|dotprod lowers that, for tests), with the same results to the bit. All
 * functions are safe to call from several threads on the same file, as long as each thread has its own output buffers.
 *
 *     wcd_file f;                             // the caller maps or reads the file; 8-byte aligned, see wcd_open
 *     if (wcd_open(&f, data, size) != WCD_OK) ...
 *     wcd_tensor t;
 *     if (wcd_find(&f, "model.layers.0.mlp.up_proj.weight", &t) != WCD_OK) ...
 *     wcd_matvec(&t, x, y);                   // y [t.rows] = W x, x [t.cols]
 *
 * wcd_open checks every count, offset, size and parameter in the index once; afterwards no call can read outside the
 * image, whatever the bytes are. It does not read the blobs: wcd_verify does, against their checksums. Decoded values
 * are the same bits on every machine. docs/FORMAT.md specifies every byte. */
#ifndef WCDECODE_H
#define WCDECODE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WCD_VERSION_MAJOR 0
#define WCD_VERSION_MINOR 1
#define WCD_VERSION_PATCH 0

#if defined(__GNUC__)
#define WCD_API __attribute__((visibility("default")))
#else
#define WCD_API
#endif

typedef enum wcd_status {
    WCD_OK = 0,
    WCD_E_ARGUMENT = 1,    /* the caller's mistake: NULL, row range outside the tensor, image not 8-byte aligned */
    WCD_E_TRUNCATED = 2,   /* the image is shorter than its header says */
    WCD_E_NOT_WCZ = 3,     /* magic bytes missing */
    WCD_E_VERSION = 4,     /* valid, but made by a newer version: unknown major version, feature or part kind */
    WCD_E_CORRUPT = 5,     /* an index entry contradicts itself, or a checksum does not match */
    WCD_E_NOT_FOUND = 6,   /* no tensor or metadata of that name */
    WCD_E_NOT_NUMERIC = 7, /* the tensor holds integers or bytes that have no f32 meaning here: use its raw bytes */
    WCD_E_TRANSFORM = 8    /* wcd_matvec of a tensor that transforms its inputs first: see wcd_transform */
} wcd_status;

WCD_API const char *wcd_status_text(wcd_status s);
WCD_API const char *wcd_version(void); /* "0.1.0" */

/* An opened image. Plain data: copy it freely, nothing to close; valid as long as the image is mapped. Do not touch the
 * fields (they are here so that you can place it where you like). */
typedef struct wcd_file {
    const uint8_t *data;
    uint64_t size;
    const uint8_t *tensors, *parts, *metas, *names;
    uint32_t n_tensors, n_parts, n_metas, names_size;
} wcd_file;

/* data must be 8-byte aligned (any mmap or malloc is) and stay unchanged while in use. O(index size). */
WCD_API wcd_status wcd_open(wcd_file *out, const void *data, uint64_t size);

/* Why wcd_open refuses this image: a short English clause ("a blob is not where it must be"), "" if it does not. The
 * text is constant; the image is read again. */
WCD_API const char *wcd_open_reason(const void *data, uint64_t size);

enum { WCD_MAX_DIMS = 8 };

typedef struct wcd_tensor {
    const char *name; /* not NUL-terminated */
    uint32_t name_size;
    uint32_t n_dims;
    uint64_t dims[WCD_MAX_DIMS]; /* the shape in the original checkpoint */
    uint64_t rows, cols;         /* as a matrix: cols = last dim, rows = product of the others; scalars are 1 x 1 */
    uint32_t source_dtype;       /* element type in the original checkpoint, see docs/FORMAT.md section "dtypes" */
    uint32_t n_parts;
    uint32_t n_transforms; /* of the inputs: see wcd_transform */
    double error;          /* relative layer error tr(D H D^T)/tr(W H W^T) when compressed; NaN: not measured */
    uint32_t flags;        /* WCD_TENSOR_* */
    uint32_t index;        /* wcd_at(file, index) is this tensor */
    const wcd_file *file;  /* must stay where it is while the tensor is in use */
    uint32_t first_part;   /* index of its first part record */
} wcd_tensor;

enum {
    WCD_TENSOR_FALLBACK = 1,   /* the method that was asked for failed and its fallback was used */
    WCD_TENSOR_ERROR_PLAIN = 2 /* error is |D|^2 / |W|^2: there were no calibration statistics (H = I) */
};

static inline uint32_t wcd_count(const wcd_file *f)
{
    return f->n_tensors;
}
WCD_API wcd_status wcd_at(const wcd_file *f, uint32_t i, wcd_tensor *out);         /* i-th tensor, file order */
WCD_API wcd_status wcd_find(const wcd_file *f, const char *name, wcd_tensor *out); /* binary search by name */

/* dst[i*ld .. +cols) = row r0+i of the tensor in f32, i < n: the sum over all its parts, transforms included. ld >=
 * cols. WCD_E_NOT_NUMERIC: see there; WCD_E_ARGUMENT: rows outside the tensor. Blobs are not checked here, so values of
 * a damaged file may be anything, NaN included. */
WCD_API wcd_status wcd_rows(const wcd_tensor *t, uint64_t r0, uint64_t n, float *dst, size_t ld);

/* dst = the bytes of rows r0 .. r0+n as the original checkpoint had them (source_dtype, little-endian), whatever their
 * dtype, NaN payloads included: for tensors that were kept or compressed without loss. WCD_E_NOT_NUMERIC: the tensor
 * was compressed with loss, or into another type. WCD_E_ARGUMENT: rows outside the tensor, or not of whole bytes. */
WCD_API wcd_status wcd_raw_rows(const wcd_tensor *t, uint64_t r0, uint64_t n, void *dst);

/* y[i] = sum_j W[r0+i, j] x[j] for i < n. wcd_matvec is all rows. x [cols], y [n]. Sums are f32 in 16 lanes (column mod
 * 16), one fused multiply-add per weight, that are then added pairwise, part by part: the same bits on every machine
 * and for every range of rows. In a sparse part only stored values take part, the k-th of a row in lane k mod 16. A
 * low-rank part is multiplied as A (B x): every call costs B x once, so ask for many rows at a time. A coded part adds
 * up 256 columns at a time in this way, and every call decodes whole tiles of rows: ask for all rows. WCD_E_TRANSFORM
 * when t->n_transforms is not 0: the transformed x needs room, and this library allocates nothing. */
WCD_API wcd_status wcd_matvec_rows(const wcd_tensor *t, uint64_t r0, uint64_t n, const float *x, float *y);
WCD_API wcd_status wcd_matvec(const wcd_tensor *t, const float *x, float *y);

/* Tensors with transforms are W = (sum of parts) C, C [cols, cols] a product of diagonals, Hadamard transforms and
 * permutations:
 *
 *     wcd_transform(&t, x, z);                          // z = C x, once per input: cols log(order) additions
 *     wcd_matvec_transformed(&t, 0, t.rows, z, y);      // y = (sum of parts) z
 *
 * This works for every tensor; without transforms C is the identity. x [cols], z [cols] may be the same. */
WCD_API wcd_status wcd_transform(const wcd_tensor *t, const float *x, float *z);
WCD_API wcd_status wcd_matvec_transformed(const wcd_tensor *t, uint64_t r0, uint64_t n, const float *z, float *y);

/* ---- many inputs, many threads ---------------------------------------------------------------------------------- */

/* y[b * ldy + i] = sum_j W[r0+i, j] x[b * ldx + j] for i < n, b < nx: the same bits as nx calls of
 * wcd_matvec_transformed; weights are decoded once for up to 64 inputs, factors of more than 64 columns for fewer, at
 * least 16. Inputs are as wcd_transform leaves them (without transforms: as they are). ldx >= cols, ldy >= n. At most
 * 96 KiB of stack, 160 KiB for parts and factors of lossless planes. */
WCD_API wcd_status wcd_matmul(const wcd_tensor *t, uint64_t r0, uint64_t n, const float *x, size_t ldx, size_t nx,
                              float *y, size_t ldy);

/* The caller's threads. run calls task(arg, i) once for every i < n_tasks, on whatever threads, in any order, and
 * returns when all are done; self is the caller's. wcdecode_openmp.h has one. */
typedef struct wcd_pool {
    void *self;
    unsigned threads; /* how many tasks make sense, at least 1 */
    void (*run)(void *self, void (*task)(void *arg, unsigned i), void *arg, unsigned n_tasks);
} wcd_pool;

/* wcd_matmul of all rows, cut into pool->threads ranges of neighbouring rows (fewer for few rows; between the tiles of
 * a coded part): always the same ones, so memory that a thread touches first stays near it; results do not depend on
 * their number. pool NULL: the calling thread. */
WCD_API wcd_status wcd_matmul_pool(const wcd_tensor *t, const wcd_pool *pool, const float *x, size_t ldx, size_t nx,
                                   float *y, size_t ldy);

/* Whole prompts with the caller's BLAS: decodes tile_rows rows at a time into tile [tile_rows, cols], transforms
 * included, and calls gemm(self, m, nx, cols, tile, x, ldx, y + first row, ldy) for y[b * ldy + i] = sum_k tile[i *
 * cols
 * + k] x[b * ldx + k], i < m: cblas_sgemm(ColMajor, Trans, NoTrans, m, nx, cols, 1, tile, cols, x, ldx, 0, y, ldy).
 * Inputs are not transformed. Bits are those of that BLAS. */
typedef void wcd_gemm(void *self, size_t m, size_t nx, size_t cols, const float *tile, const float *x, size_t ldx,
                      float *y, size_t ldy);
WCD_API wcd_status wcd_matmul_gemm(const wcd_tensor *t, wcd_gemm *gemm, void *self, float *tile, size_t tile_rows,
                                   const float *x, size_t ldx, size_t nx, float *y, size_t ldy);

/* dst [n] = src [n] of type F32, F16 or BF16 (1, 2, 3: docs/FORMAT.md, "dtypes") in f32, exactly: inputs that are not
 * f32. WCD_E_ARGUMENT: another type. */
WCD_API wcd_status wcd_widen(uint32_t dtype, const void *src, size_t n, float *dst);

/* ---- inputs in 8 bits: faster and less exact, an explicit choice ------------------------------------------------- */

/* The product of a `grid' part with inputs that are rounded to 8 bits first, 128 columns at a time: x = d q, d = max
 * |x| / 127 of these columns, q an integer.
 *
 *     void *memory = malloc(wcd_int8_size(&t));         // any multiple of 4 bytes; 1.03 bytes per column
 *     wcd_int8_inputs(&t, x, memory);                   // once per input (as wcd_transform leaves it)
 *     wcd_matvec_int8(&t, 0, t.rows, x, memory, y);     // any rows, from any threads
 *
 * Sums of products of bytes are exact, and are added up in f32 in one order (docs/RUNTIME.md): the same bits on every
 * machine. What rounding does: |error of y[i]| <= sum_j |W[i, j]| d(j) / 2, d(j) being that of column j, besides the
 * rounding of f32 sums. Usually, for Gaussian inputs, 0.63 % of |y|, as the root of mean squares over rows; more when a
 * few inputs are far larger than their neighbours. An input that is no finite number makes y NaN; 128 columns in which
 * all are below 2^-100 are zero.
 *
 * The last cols mod 64 columns are multiplied in f32, and so are parts of other kinds and grids with holes or with
 * groups that are not of 16, 32 or a multiple of 64 columns: there this is wcd_matvec_transformed. Memory depends on
 * cols and x alone: tensors of the same inputs can share it. */
WCD_API uint64_t wcd_int8_size(const wcd_tensor *t); /* 0 for NULL */
WCD_API wcd_status wcd_int8_inputs(const wcd_tensor *t, const float *x, void *memory);
WCD_API wcd_status wcd_matvec_int8(const wcd_tensor *t, uint64_t r0, uint64_t n, const float *x, const void *memory,
                                   float *y);

/* The same for nx inputs, as wcd_matmul and wcd_matmul_pool: the bits of nx calls of wcd_matvec_int8. Input b was
 * written to memory + b * wcd_int8_size(t). */
WCD_API wcd_status wcd_matmul_int8(const wcd_tensor *t, uint64_t r0, uint64_t n, const float *x, size_t ldx, size_t nx,
                                   const void *memory, float *y, size_t ldy);
WCD_API wcd_status wcd_matmul_int8_pool(const wcd_tensor *t, const wcd_pool *pool, const float *x, size_t ldx,
                                        size_t nx, const void *memory, float *y, size_t ldy);

/* ---- prepared tensors: faster, and a sum in another order -------------------------------------------------------- */

/* Lays parts of kind `grid' and `lut' out anew in the caller's memory, for products of 16 rows at once with what is
 * made of x once for all of them: a run-time step, files stay as they are.
 *
 *     void *memory = aligned_alloc(64, wcd_prepare_size(&t));     // about the bytes of the parts; 0: nothing gains
 *     wcd_prepared p;
 *     wcd_prepare(&t, pool, memory, &p);                          // once; pool as for wcd_matmul_pool, or NULL
 *     wcd_prepared_matmul_pool(&p, pool, z, ldx, nx, y, ldy);     // inputs as wcd_transform leaves them
 *
 * What gains: parts without holes, of at least 13 rows (and so many that rounding up to a multiple of 16 adds at most a
 * quarter). Grids, and luts of 1, 2 and 4 bits whose table is the tensor's, with groups of a multiple of 16 or of 128
 * and more columns; luts of 4 bits with a table per row and without scales. Other parts of the sum are multiplied as
 * before, from the file; a tensor without any that gains has size 0, and its products are wcd_matmul's. The blobs of
 * parts laid out anew are not read again, so their pages may go; the index must stay.
 *
 * With a table per row the sum is wcd_matvec's. Otherwise it is another, and as exact (docs/RUNTIME.md has both
 * errors). Every row begins with y = 0, every group with acc = 0 and X = 0, and ends with
 *
 *     acc   = (z0 - z) X + acc, fused, unless z is z0 in the whole part
 *     y     = s acc + y, fused
 *
 * Grids of up to 7 bits take x in fixed point, z0 = 2^bits / 2. Of every 128 columns of a group (at its end of fewer)
 * let k <= 126 be the largest number with all |x| 2^k < 8355584, and
 *
 *     n     = round(x 2^k), halves to even: 65536 n2 + 256 n1 + n0 with all three in -128 .. 127
 *     D_j   = sum of (q - z0) n_j;  N = sum of n, rounded to f32. Integers: in no order
 *     acc   = 2^-k (65536 D2 + (256 D1 + D0)) + acc, three times fused
 *     X     = 2^-k N + X, fused
 *
 * With an x that is no number, or infinite, among the 128, acc and X are NaN, and all rows that have codes there.
 *
 * Grids of 8 bits have z0 = 128, and X is the sum of the group's x, as 16 lanes of additions, column of the group mod
 * 16, that are added in halves. acc = acc + u for every 8 columns: u = (q - 128) x of the first, then plus (q - 128) x
 * of the others, fused.
 *
 * Of luts f = 4 / bits columns are a nibble, and 8 nibbles a chunk, counted from a group's first column; groups of a
 * lut without scales are 256 columns, and there is no zero:
 *
 *     u_i   = level x of the first column of nibble i, then plus level x of the others, fused; 0 where there are none
 *     acc   = acc + (((u_0 + u_1) + (u_2 + u_3)) + ((u_4 + u_5) + (u_6 + u_7))), chunk by chunk
 *
 * That order is part of the interface: the same bits on every machine, for every range of rows, any number of inputs
 * and of threads. */
typedef struct wcd_prepared {
    wcd_tensor t;
    const uint8_t *memory;
} wcd_prepared;

WCD_API uint64_t wcd_prepare_size(const wcd_tensor *t); /* in bytes; 0 for NULL */
/* WCD_E_ARGUMENT: memory is NULL or not 64-byte aligned where size is not 0; WCD_E_NOT_NUMERIC. */
WCD_API wcd_status wcd_prepare(const wcd_tensor *t, const wcd_pool *pool, void *memory, wcd_prepared *out);

/* y[b * ldy + i] = sum_j W[r0+i, j] x[b * ldx + j] for i < n, b < nx, in the order above; wcd_matmul has the limits.
 * Tiles of 128 rows are computed as a whole, so ask for multiples of that. About 56 KiB of stack. */
WCD_API wcd_status wcd_prepared_matmul(const wcd_prepared *p, uint64_t r0, uint64_t n, const float *x, size_t ldx,
                                       size_t nx, float *y, size_t ldy);
/* The same of all rows, on the caller's threads. */
WCD_API wcd_status wcd_prepared_matmul_pool(const wcd_prepared *p, const wcd_pool *pool, const float *x, size_t ldx,
                                            size_t nx, float *y, size_t ldy);

/* A part as stored: for tools and for runtimes with kernels of their own. Behind the n_parts of the sum come the
 * n_transforms, in the order in which an input passes through them. */
typedef struct wcd_part_info {
    uint16_t kind, version;
    const char *kind_name; /* "grid" */
    const uint8_t *params; /* 32 bytes, see the card of the kind in docs/FORMAT.md */
    const uint8_t *blob;   /* 64-byte aligned relative to the image */
    uint64_t blob_size;
    uint64_t xxh3;
    uint64_t rows, cols; /* the tensor's, or those of a factor; a transform has one row */
    uint32_t n_children; /* parts that this one is made of: a low-rank part has A and B, and in one form a link */
    uint32_t index;      /* in the file's table of parts */
} wcd_part_info;
WCD_API wcd_status wcd_part(const wcd_tensor *t, uint32_t i, wcd_part_info *out);
WCD_API wcd_status wcd_part_child(const wcd_tensor *t, const wcd_part_info *part, uint32_t k, wcd_part_info *out);

/* Reads every byte and compares all checksums. On WCD_E_CORRUPT, *bad (may be NULL) is the name of the damaged tensor
 * or metadata entry with its length in *bad_size; the "name" is NULL when the damage is in padding or the header. */
WCD_API wcd_status wcd_verify(const wcd_file *f, const char **bad, uint32_t *bad_size);

/* Metadata: config.json, tokenizer.json, recipe, provenance. Stored bytes as they are; codec 0 raw, 1 zstd (the library
 * does not decompress). raw_size is the size after decompression as claimed by the file: bound it before you allocate.
 */
typedef struct wcd_meta {
    const char *name; /* not NUL-terminated */
    uint32_t name_size;
    uint32_t codec;
    const uint8_t *data;
    uint64_t size, raw_size;
    uint64_t xxh3; /* of the stored bytes */
} wcd_meta;
WCD_API uint32_t wcd_meta_count(const wcd_file *f);
WCD_API wcd_status wcd_meta_at(const wcd_file *f, uint32_t i, wcd_meta *out);
WCD_API wcd_status wcd_meta_find(const wcd_file *f, const char *name, wcd_meta *out);

#ifdef __cplusplus
}
#endif

#endif
