/* cuda_runtime.h of the tests - enough of CUDA on the CPU to run the kernels of src/cuda as they are.
 *
 * Device memory is memory, a stream is the order of the calls, and a launch runs its blocks one after the other. The
 * threads of a block are fibers: each runs until it has to wait for the others (__syncthreads; within a warp shuffles,
 * ballots and __syncwarp), and then the next one does. All of a warp, and at __syncthreads all of the block, have to
 * arrive at the same barrier, the same number of times: anything else is a bug in the kernel, and ends the program.
 * Shared memory is static: one block at a time has it. C++ only.
 *
 * It is a device of sm_90: bulk copies to shared memory and their barriers are there, too. */
#ifndef EMULATED_CUDA_RUNTIME_H
#define EMULATED_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#define WCU_EMULATED 1

#ifdef __cplusplus
#include <functional>

#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__    __attribute__((noinline, unused))
#define __shared__      static
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

enum emulated_barrier { EMULATED_END, EMULATED_SYNC, EMULATED_WARP, EMULATED_SHUFFLE, EMULATED_COPIES };
void emulated_wait(emulated_barrier at);
void emulated_launch(dim3 grid, dim3 block, const std::function<void()> &kernel);
float emulated_shuffle(float value, int mask);
unsigned emulated_ballot(bool value);

/* Barriers of asynchronous copies. A copy is made when somebody waits for it, and what it goes to is filled with
 * rubbish before; waiting for what was not asked for, copies that nobody waits for, and copies at odd places end the
 * program. */
void emulated_barrier_init(uint64_t *barrier);
void emulated_expect(uint64_t *barrier, unsigned bytes);
void emulated_bulk_copy(void *dst, const void *src, unsigned bytes, uint64_t *barrier);
void emulated_await(uint64_t *barrier, unsigned parity);

static inline void __syncthreads()
{
    emulated_wait(EMULATED_SYNC);
}
static inline void __syncwarp()
{
    emulated_wait(EMULATED_WARP);
}
static inline unsigned __ballot_sync(unsigned, int value)
{
    return emulated_ballot(value != 0);
}
static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline float __shfl_xor_sync(unsigned, float value, int mask)
{
    return emulated_shuffle(value, mask);
}
extern "C" {
#endif

typedef int cudaError_t;
enum { cudaSuccess = 0 };
typedef struct CUstream_st *cudaStream_t;
typedef enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 } cudaMemcpyKind;

/* "Device" memory is 256-byte aligned and of exactly the size asked for, so that sanitizers see every access outside.
 */
cudaError_t cudaMalloc(void **p, size_t size);
cudaError_t cudaFree(void *p);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t size, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *dst, int value, size_t size, cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaGetLastError(void);

/* A device of sm_90 with one multiprocessor, so that what is shared out among few blocks is seen to be. */
typedef enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 } cudaDeviceAttr;
typedef struct cudaFuncAttributes {
    int ptxVersion;
} cudaFuncAttributes;
cudaError_t cudaGetDevice(int *device);
extern unsigned emulated_bulk_copies; /* made so far */
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr which, int device);

#ifdef __cplusplus
}
template <typename K> static inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *to, K *)
{
    to->ptxVersion = 90;
    return cudaSuccess;
}
#endif

#endif
