/* Speed of libwcdecode_cuda on a device, as shares of what that device does in the same run:
 *
 *     bench_cuda [rows cols]            default 8192 28672
 *
 * Every line: bytes of the part as a file has them, time, bytes per second, their share of the measured copy bandwidth
 * (read and written bytes counted), and how many times faster it is than cuBLAS with FP16 weights and the same number
 * of vectors. Weights are random: no kernel's time depends on their values. Every round works on another copy of them,
 * so that no cache holds what it reads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include "tests/samples.h"
#include "wcdecode_cuda.h"

enum { ROUNDS = 40, TURN_OVER = 512 << 20, MOST_VECTORS = 16, MOST_COPIES = 64 };

static uint64_t rows = 8192, cols = 28672;
static double copy_bandwidth, cublas_seconds[MOST_VECTORS + 1];
static cudaStream_t stream;
static cublasHandle_t cublas;
static void *x, *y;

static void stop(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(cudaGetLastError()));
    exit(1);
}

static void *device_memory(uint64_t size)
{
    void *p = NULL;
    if (cudaMalloc(&p, size) != cudaSuccess || cudaMemset(p, 0, size) != cudaSuccess) stop("no device memory");
    return p;
}

/* What is timed: round k of something. */
typedef void (*round_fn)(int k, const void *what);

/* Seconds of one round: the best of five averages over ROUNDS, after one that does not count. */
static double seconds(round_fn f, const void *what)
{
    cudaEvent_t a, b;
    double best = 1e30;
    if (cudaEventCreate(&a) != cudaSuccess || cudaEventCreate(&b) != cudaSuccess) stop("no events");
    for (int turn = 0; turn < 6; turn++) {
        float ms;
        cudaEventRecord(a, stream);
        for (int k = 0; k < ROUNDS; k++)
            f(k, what);
        cudaEventRecord(b, stream);
        if (cudaEventSynchronize(b) != cudaSuccess || cudaEventElapsedTime(&ms, a, b) != cudaSuccess)
            stop("a kernel failed");
        if (turn && (double)ms / 1e3 / ROUNDS < best) best = (double)ms / 1e3 / ROUNDS;
    }
    cudaEventDestroy(a), cudaEventDestroy(b);
    return best;
}

/* ---- ceilings --------------------------------------------------------------------------------------------------- */

typedef struct buffers {
    uint8_t *a, *b;
    uint64_t size;
    uint32_t n;
} buffers;

static void copy_round(int k, const void *what)
{
    const buffers *m = what;
    cudaMemcpyAsync(k % 2 ? m->a : m->b, k % 2 ? m->b : m->a, m->size, cudaMemcpyDeviceToDevice, stream);
}

static void cublas_round(int k, const void *what)
{
    const buffers *m = what;
    const float one = 1, zero = 0;
    (void)k;
    if (cublasGemmEx(cublas, CUBLAS_OP_T, CUBLAS_OP_N, (int)rows, (int)m->n, (int)cols, &one, m->a, CUDA_R_16F,
                     (int)cols, x, CUDA_R_16F, (int)cols, &zero, y, CUDA_R_16F, (int)rows, CUBLAS_COMPUTE_32F,
                     CUBLAS_GEMM_DEFAULT) != CUBLAS_STATUS_SUCCESS)
        stop("cuBLAS");
}

static void measure_ceilings(void)
{
    buffers m = {.size = 1 << 30};
    m.a = device_memory(m.size), m.b = device_memory(m.size);
    copy_bandwidth = 2.0 * (double)m.size / seconds(copy_round, &m);
    printf("copy                                  %28.1f GB/s\n", copy_bandwidth / 1e9);
    cudaFree(m.a), cudaFree(m.b);
    m.a = device_memory(rows * cols * 2);
    for (m.n = 1; m.n <= MOST_VECTORS; m.n *= 2) {
        cublas_seconds[m.n] = seconds(cublas_round, &m);
        printf("cuBLAS FP16, %2u vectors    %8.1f us %28.1f GB/s\n", (unsigned)m.n, 1e6 * cublas_seconds[m.n],
               2.0 * (double)(rows * cols) / cublas_seconds[m.n] / 1e9);
    }
    cudaFree(m.a);
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

typedef struct subject {
    wcd_cuda_tensor copy[MOST_COPIES];
    int copies;
    uint64_t file_bytes, room;
    uint32_t n;
    void *workspace, *dst;
} subject;

static void product_round(int k, const void *what)
{
    const subject *s = what;
    if (wcd_cuda_matmul(&s->copy[k % s->copies], x, WCD_CUDA_F16, y, WCD_CUDA_F16, s->n, s->workspace, s->room,
                        stream) != WCD_CUDA_OK)
        stop("wcd_cuda_matmul");
}

static void rows_round(int k, const void *what)
{
    const subject *s = what;
    if (wcd_cuda_rows(&s->copy[k % s->copies], 0, rows, s->dst, WCD_CUDA_BF16, cols, stream) != WCD_CUDA_OK)
        stop("wcd_cuda_rows");
}

static void load(sample *s, subject *u)
{
    uint64_t size;
    wcd_part_info info;
    memset(u, 0, sizeof *u);
    if (!sample_build(s, 1, BF16) || wcd_cuda_size(&s->t, &size) != WCD_CUDA_OK) stop("the sample does not open");
    for (uint32_t i = 0; i < s->t.n_parts && wcd_part(&s->t, i, &info) == WCD_OK; i++)
        u->file_bytes += info.blob_size;
    u->copies = (int)(TURN_OVER / size) + 1;
    if (u->copies > MOST_COPIES) u->copies = MOST_COPIES;
    void *host = malloc(size);
    if (!host) stop("no memory");
    for (int k = 0; k < u->copies; k++)
        if (wcd_cuda_upload(&s->t, host, device_memory(size), stream, &u->copy[k]) != WCD_CUDA_OK ||
            cudaStreamSynchronize(stream) != cudaSuccess)
            stop("upload");
    free(host), free(s->image);
}

static void unload(subject *u)
{
    for (int k = 0; k < u->copies; k++)
        cudaFree((void *)(uintptr_t)u->copy[k].device);
    cudaFree(u->workspace), cudaFree(u->dst);
}

static void report(const char *name, uint32_t n, double bytes, double t)
{
    printf("%-22s %2u %9.1f us %8.1f MB %9.1f GB/s %5.1f %% of copy", name, (unsigned)n, 1e6 * t, bytes / 1e6,
           bytes / t / 1e9, 100 * bytes / t / copy_bandwidth);
    if (n) printf("  %5.2f x cuBLAS FP16", cublas_seconds[n] / t);
    printf("\n");
    fflush(stdout);
}

static void measure_products(const char *name, sample s, uint32_t most)
{
    subject u;
    load(&s, &u);
    if (wcd_cuda_workspace(&u.copy[0], most, &u.room) != WCD_CUDA_OK) stop("workspace");
    u.workspace = device_memory(u.room);
    for (u.n = 1; u.n <= most; u.n *= 2)
        report(name, u.n, (double)u.file_bytes, seconds(product_round, &u));
    unload(&u);
}

/* Read and written bytes count. */
static void measure_rows(const char *name, sample s)
{
    subject u;
    load(&s, &u);
    u.dst = device_memory(rows * cols * 2);
    report(name, 0, (double)u.file_bytes + 2.0 * (double)(rows * cols), seconds(rows_round, &u));
    unload(&u);
}

/* ---- samples ---------------------------------------------------------------------------------------------------- */

static uint64_t up8(uint64_t x)
{
    return (x + 7) / 8 * 8;
}

static sample grid_of(unsigned bits, uint32_t n_parts)
{
    sample s = sample_sized(rows, cols, n_parts, 0);
    sample_grid(&s, bits, 0, 0, 128, 0);
    s.spec[0].size = up8(rows * ((cols + 7) / 8 * bits)) + 2 * rows * ((cols + 127) / 128);
    return s;
}

static sample grid_and_outliers(void)
{
    uint64_t nnz = rows * cols / 100;
    sample s = grid_of(4, 2);
    sample_sparse(&s, F16, 0, 0, 0, nnz);
    s.spec[1].size = up8(up8(4 * rows) + 2 * nnz) + 2 * nnz;
    return s;
}

static sample lut_of(unsigned bits)
{
    sample s = sample_sized(rows, cols, 1, 0);
    sample_lut(&s, bits, 1, 0, (uint32_t)cols);
    s.spec[0].size = up8(rows * ((cols + 7) / 8 * bits)) + (rows * 2 << bits);
    return s;
}

/* Two bits a weight: one codebook of 256 vectors of four columns, one of 8 bits, as gptvq makes it; or two of eight. */
static sample vectors_of(unsigned dim, unsigned books)
{
    sample s = sample_sized(rows, cols, 1, 0);
    sample_vq(&s, dim, books, 8, 8, 0, 0, (uint32_t)cols);
    s.spec[0].size =
        up8(up8(up8(rows * books * (((cols - 1) / dim + 8) / 8 * 8)) + 256 * dim * books) + 2 * books) + 2 * rows;
    return s;
}

/* A type with blocks of `block' weights in `bytes' bytes. */
static sample blocks_of(uint8_t type, unsigned block, unsigned bytes)
{
    sample s = sample_sized(rows, cols, 1, 0);
    sample_part(&s, GGML)->params[0] = type;
    s.spec[0].size = rows * cols / block * bytes;
    return s;
}

/* Laws of three bits a weight, one class, tiles as the quantizer makes them. */
static sample points(void)
{
    uint64_t units = ((rows - 1) / 512 + 1) * ((cols - 1) / 256 + 1), bytes = rows * cols / 256 * 100 + 64 * units;
    sample s = sample_sized(rows, cols, 1, 0);
    sample_trellis(&s, 8, 1, 0, 512, bytes / 2 * 2);
    s.spec[0].size = up8(up8(16 + up8(cols) + (cols + 1) / 2) + 4 * units) + bytes / 2 * 2;
    return s;
}

/* BF16 whose exponents take 2.875 bits each with the code of samples.c; those of trained weights take about 2.6. */
static sample lossless(void)
{
    uint64_t n = rows * cols, chunks = (n + 4095) / 4096, bytes = n * 23 / 64, end;
    sample s = sample_sized(rows, cols, 1, 0);
    sample_coded_floats(&s, BF16, "02", bytes);
    end = up8(up8(up8(n) + 32 + 256) + (chunks + 63) / 64 * 8);
    s.spec[0].size = up8(end + 10 * chunks) + bytes;
    return s;
}

int main(int argc, char **argv)
{
    struct cudaDeviceProp device;
    if (argc == 3) rows = strtoull(argv[1], NULL, 10), cols = strtoull(argv[2], NULL, 10);
    if ((argc != 1 && argc != 3) || rows < 1 || cols < 1 || cols % 256 || rows * cols > (uint64_t)1 << 31) {
        fprintf(stderr, "usage: %s [rows cols], cols a multiple of 256\n", argv[0]);
        return 2;
    }
    if (cudaGetDeviceProperties(&device, 0) != cudaSuccess) stop("no device");
    if (cudaStreamCreate(&stream) != cudaSuccess || cublasCreate(&cublas) != CUBLAS_STATUS_SUCCESS) stop("no stream");
    cublasSetStream(cublas, stream);
    x = device_memory(cols * 2 * MOST_VECTORS), y = device_memory(rows * 2 * MOST_VECTORS);
    printf("%s, sm_%d%d, %d multiprocessors; %llu x %llu\n", device.name, device.major, device.minor,
           device.multiProcessorCount, (unsigned long long)rows, (unsigned long long)cols);
    measure_ceilings();
    measure_products("grid 4 bits, g128", grid_of(4, 1), MOST_VECTORS);
    measure_products("grid 3 bits, g128", grid_of(3, 1), MOST_VECTORS);
    measure_products("grid 2 bits, g128", grid_of(2, 1), 1);
    measure_products("grid 8 bits, g128", grid_of(8, 1), 1);
    measure_products("grid 4 + 1 % sparse", grid_and_outliers(), 1);
    measure_products("lut 4 bits per row", lut_of(4), 1);
    measure_products("vq 2 bits, 1x8 by 4", vectors_of(4, 1), MOST_VECTORS);
    measure_products("vq 2 bits, 2x8 by 8", vectors_of(8, 2), 1);
    measure_products("ggml Q4_0", blocks_of(2, 32, 18), 1);
    measure_products("ggml Q8_0", blocks_of(8, 32, 34), 1);
    measure_products("ggml Q4_K", blocks_of(12, 256, 144), MOST_VECTORS);
    measure_products("ggml Q6_K", blocks_of(14, 256, 210), 1);
    measure_products("ggml IQ2_XXS", blocks_of(16, 256, 66), 1);
    measure_products("coded, 3 bits", points(), MOST_VECTORS);
    measure_products("lossless bf16", lossless(), 1);
    measure_rows("rows of grid 4 bits", grid_of(4, 1));
    measure_rows("rows of ggml Q4_K", blocks_of(12, 256, 144));
    measure_rows("rows of vq, 1x8 by 4", vectors_of(4, 1));
    measure_rows("rows of coded, 3 bits", points());
    measure_rows("rows of lossless bf16", lossless());
    return 0;
}
