/* pipe.cuh - what sm_90 and newer have for a pipeline of asynchronous copies: bulk copies from global to shared memory
 * by the copy engine (TMA, one dimension), barriers in shared memory that count the bytes that have come, and launches
 * that begin before the kernel in front of them has ended. Elsewhere these are empty: kernels that use them are not
 * launched there (wcdecode_cuda.cu asks which code it has).
 *
 * A barrier has phases, of parities 0, 1, 0, ... A phase ends when wcu_expect has been called once and as many bytes as
 * it said have come. tests/cuda/emulated copies as late as that allows, so that what is read too early is wrong. */
#ifndef WCU_PIPE_CUH
#define WCU_PIPE_CUH

#include "cuda/part.cuh"

typedef uint64_t wcu_barrier; /* in shared memory */

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define WCU_PIPE_ASM(...) asm volatile(__VA_ARGS__)
#else
#define WCU_PIPE_ASM(...) ((void)0)
#endif

__device__ __forceinline__ uint32_t wcu_shared(const void *p)
{
#ifdef __CUDA_ARCH__
    return (uint32_t)__cvta_generic_to_shared(p);
#else
    return (uint32_t)(uintptr_t)p;
#endif
}

/* One thread, and then __syncthreads. */
__device__ __forceinline__ void wcu_barrier_init(wcu_barrier *b)
{
#ifdef WCU_EMULATED
    emulated_barrier_init(b);
#endif
    WCU_PIPE_ASM("mbarrier.init.shared::cta.b64 [%0], 1;\n\t"
                 "fence.proxy.async.shared::cta;" ::"r"(wcu_shared(b))
                 : "memory");
    (void)b;
}

/* One thread, before or while the copies of the phase begin. */
__device__ __forceinline__ void wcu_expect(wcu_barrier *b, uint32_t bytes)
{
#ifdef WCU_EMULATED
    emulated_expect(b, bytes);
#endif
    WCU_PIPE_ASM("{\n\t.reg .b64 state;\n\t"
                 "mbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1;\n\t}" ::"r"(wcu_shared(b)),
                 "r"(bytes)
                 : "memory");
    (void)b, (void)bytes;
}

/* dst (shared), src (global) and bytes are multiples of 16. What was in dst has to have been read, a __syncthreads ago.
 */
__device__ __forceinline__ void wcu_bulk_copy(void *dst, const void *src, uint32_t bytes, wcu_barrier *b)
{
#ifdef WCU_EMULATED
    emulated_bulk_copy(dst, src, bytes, b);
#endif
    WCU_PIPE_ASM("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     wcu_shared(dst)),
                 "l"(__cvta_generic_to_global(src)), "r"(bytes), "r"(wcu_shared(b))
                 : "memory");
    (void)dst, (void)src, (void)bytes, (void)b;
}

/* Until the phase of this parity has ended. All threads that read what came. */
__device__ __forceinline__ void wcu_await(wcu_barrier *b, uint32_t parity)
{
#ifdef WCU_EMULATED
    emulated_await(b, parity);
#endif
    WCU_PIPE_ASM("{\n\t.reg .pred done;\n\t"
                 "again:\n\t"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n\t"
                 "@!done bra again;\n\t}" ::"r"(wcu_shared(b)),
                 "r"(parity)
                 : "memory");
    (void)b, (void)parity;
}

/* The kernel behind this one may begin, if it was launched by wcu_launch_early, when all blocks have come here or
 * ended. */
__device__ __forceinline__ void wcu_let_next_begin(void)
{
    WCU_PIPE_ASM("griddepcontrol.launch_dependents;" ::: "memory");
}

/* Until the kernel in front has ended and all that it wrote is there. Nothing that it writes may be read before, nor
 * through wcu_get, which takes for granted that nobody writes. */
__device__ __forceinline__ void wcu_after_previous(void)
{
    WCU_PIPE_ASM("griddepcontrol.wait;" ::: "memory");
}

/* The kernel may begin before the one in front of it in the stream ends; it calls wcu_after_previous. */
template <typename A>
static void wcu_launch_early(void (*kernel)(const A), unsigned blocks, unsigned threads, cudaStream_t stream,
                             const A &a)
{
#ifdef WCU_EMULATED
    (void)stream;
    emulated_launch(blocks, threads, [=] { kernel(a); });
#else
    cudaLaunchAttribute early;
    cudaLaunchConfig_t c;
    memset(&early, 0, sizeof early);
    memset(&c, 0, sizeof c);
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    c.gridDim = blocks, c.blockDim = threads, c.stream = stream, c.attrs = &early, c.numAttrs = 1;
    (void)cudaLaunchKernelEx(&c, kernel, a); /* its error is seen by cudaGetLastError */
#endif
}

#endif
