/* wcdecode_cuda.h - tensors of .wcz files on a CUDA device: upload, dequantize rows, multiply.
 *
 * libwcdecode_cuda goes on where libwcdecode ends: it takes a wcd_tensor, lays its parts out for the device, and runs
 * kernels on them. It needs the CUDA runtime and libwcdecode, allocates nothing on host or device, creates no streams,
 * never waits for the device, and keeps no state: all memory is the caller's, all work is in the stream that he names,
 * and a handle is plain data. Every function is safe to call from several threads with buffers of their own.
 *
 *     wcd_tensor t;                                      // of an open file, wcdecode.h
 *     uint64_t size, room;
 *     wcd_cuda_size(&t, &size);                          // bytes on the device
 *     void *host = ..., *device = ...;                   // size bytes each; device as from cudaMalloc, host pinned
 *     wcd_cuda_tensor w;
 *     wcd_cuda_upload(&t, host, device, stream, &w);     // host may be used again when the stream has passed this
 * point wcd_cuda_workspace(&w, tokens, &room);             // room for wcd_cuda_matmul of up to `tokens' vectors
 *     wcd_cuda_matmul(&w, x, WCD_CUDA_F16, y, WCD_CUDA_F16, 1, workspace, room, stream);
 *
 * Kinds: all that libwcdecode knows. Dequantized values are the bits that wcd_rows gives (the payload of a NaN apart).
 * Products add in f32 in another order than wcd_matvec does: docs/CUDA.md has the order and the error. */
#ifndef WCDECODE_CUDA_H
#define WCDECODE_CUDA_H

#include "wcdecode.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum wcd_cuda_status {
    WCD_CUDA_OK = 0,
    WCD_CUDA_E_ARGUMENT = 1,    /* the caller's mistake: NULL, rows outside the tensor, too small a workspace */
    WCD_CUDA_E_UNSUPPORTED = 2, /* more than WCD_CUDA_PARTS parts, or 2^31 rows and more: use libwcdecode */
    WCD_CUDA_E_NOT_NUMERIC = 3, /* integers or bytes without an f32 meaning, or a tensor without elements */
    WCD_CUDA_E_RUNTIME = 4      /* the CUDA runtime refused a copy or a launch: cudaGetLastError says why */
} wcd_cuda_status;

WCD_API const char *wcd_cuda_status_text(wcd_cuda_status s);

/* Element types of inputs and outputs. */
typedef enum wcd_cuda_type { WCD_CUDA_F32 = 1, WCD_CUDA_F16 = 2, WCD_CUDA_BF16 = 3 } wcd_cuda_type;

/* Same as cudaStream_t, without its header; NULL is the default stream. */
typedef struct CUstream_st *wcd_cuda_stream;

enum {
    WCD_CUDA_PARTS = 16,     /* parts of a tensor, its transforms and the factors of its parts together */
    WCD_CUDA_PART_SIZE = 256 /* bytes of a part's description */
};

/* A tensor on the device. Plain data, copy it freely; valid as long as the device memory holds what was uploaded. Do
 * not touch the fields behind cols. */
typedef struct wcd_cuda_tensor {
    uint64_t rows, cols;
    const void *device;
    uint64_t size;
    uint32_t n_parts, n_transforms, n_all;
    uint16_t generation, processors; /* of the device: kernels of sm_90 and newer run from 90 on; multiprocessors */
    uint64_t part[WCD_CUDA_PARTS][WCD_CUDA_PART_SIZE / 8];
} wcd_cuda_tensor;

/* *bytes that the tensor takes on the device; reads the index of the file, not the blobs. */
WCD_API wcd_cuda_status wcd_cuda_size(const wcd_tensor *t, uint64_t *bytes);

/* Writes the device's layout of the tensor (docs/CUDA.md) to host [wcd_cuda_size], 8-byte aligned. Runs on the CPU
 * alone. A runtime that keeps the result may copy it to the device itself, and then use wcd_cuda_open. */
WCD_API wcd_cuda_status wcd_cuda_lay_out(const wcd_tensor *t, void *host);

/* *out for device memory that holds, or in its stream's order will hold, that layout. device: 256-byte aligned, as
 * cudaMalloc's is, and of the device that is current (cudaSetDevice), which is asked what it can do. The memory is not
 * touched. The environment variable WCD_CUDA_GENERATION=80 has the kernels of that generation chosen on newer devices,
 * too: they give the same bits. */
WCD_API wcd_cuda_status wcd_cuda_open(const wcd_tensor *t, const void *device, wcd_cuda_tensor *out);

/* wcd_cuda_lay_out to host, a copy of it to device in the stream, and wcd_cuda_open. The copy is asynchronous when host
 * is pinned. */
WCD_API wcd_cuda_status wcd_cuda_upload(const wcd_tensor *t, void *host, void *device, wcd_cuda_stream stream,
                                        wcd_cuda_tensor *out);

/* dst[i * ld .. + cols) = row r0 + i of the tensor, i < n: the sum over its parts, transforms included; ld >= cols, in
 * elements of `type'. f32: the bits of wcd_rows; f16, bf16: those rounded to nearest even. A tensor with transforms has
 * to be asked for in f32: they work on the rows in place. */
WCD_API wcd_cuda_status wcd_cuda_rows(const wcd_cuda_tensor *w, uint64_t r0, uint64_t n, void *dst, wcd_cuda_type type,
                                      uint64_t ld, wcd_cuda_stream stream);

/* *bytes of workspace for wcd_cuda_matmul of 1 to n vectors. */
WCD_API wcd_cuda_status wcd_cuda_workspace(const wcd_cuda_tensor *w, uint32_t n, uint64_t *bytes);

/* y[k][i] = sum_j W[i][j] x[k][j] for k < n: x [n, cols] of xtype, y [n, rows] of ytype, both on the device, not
 * overlapping. Transforms of the inputs are applied to a copy. workspace [room], 256-byte aligned, is scratch: calls
 * that may run at the same time need one each. Sums are f32, whatever the types are. |x| has to be below 2^40, else the
 * result may be infinite. Every call reads the weights once for up to 8 vectors: from about 32 on, wcd_cuda_rows and a
 * library's matrix product are faster. */
WCD_API wcd_cuda_status wcd_cuda_matmul(const wcd_cuda_tensor *w, const void *x, wcd_cuda_type xtype, void *y,
                                        wcd_cuda_type ytype, uint32_t n, void *workspace, uint64_t room,
                                        wcd_cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif
