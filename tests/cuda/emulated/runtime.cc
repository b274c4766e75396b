/* The fibers behind cuda_runtime.h of the tests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <vector>

#include "cuda_runtime.h"

dim3 threadIdx, blockIdx, blockDim, gridDim;
unsigned emulated_bulk_copies;

namespace
{

enum { MOST = 1024, WARP = 32, STACK = 64 << 10 };

struct fiber {
    ucontext_t context;
    emulated_barrier at;
    unsigned shuffles;
    float slot[2]; /* two, for one lane may be at its next shuffle while another still reads from this one */
};

fiber fibers[MOST];
char *stacks;
ucontext_t scheduler;
unsigned current, last; /* thread of the block that runs; one behind the last of its warp */
bool fresh;             /* the threads of the warp begin */
const std::function<void()> *body;

/* The barriers of asynchronous copies of the block that runs. */
struct copy {
    void *dst;
    const void *src;
    unsigned bytes;
};
struct copy_barrier {
    uint64_t *place;
    unsigned phase, expected, coming;
    bool armed;
    std::vector<copy> copies;
};
std::vector<copy_barrier> barriers;

void stop(const char *what)
{
    fprintf(stderr, "block %u, thread %u: %s\n", blockIdx.x, threadIdx.x, what);
    abort();
}

copy_barrier &barrier_at(uint64_t *place)
{
    for (copy_barrier &b : barriers)
        if (b.place == place) return b;
    stop("a barrier that was not made");
    return barriers[0];
}

void begin(unsigned i)
{
    current = i;
    threadIdx = dim3(i);
    fibers[i].shuffles = 0;
}

/* A fiber is a thread's from the first barrier on. One that comes to its end without waiting leaves its stack to the
 * next: most kernels have no barrier, and need one fiber a warp. */
void run_body()
{
    (*body)();
    fibers[current].at = EMULATED_END;
    while (fresh && current + 1 < last) {
        begin(current + 1);
        (*body)();
        fibers[current].at = EMULATED_END;
    }
    swapcontext(&fibers[current].context, &scheduler);
}

void start(unsigned i)
{
    fiber &f = fibers[i];
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = stacks + (size_t)i * STACK;
    f.context.uc_stack.ss_size = STACK;
    f.context.uc_link = NULL;
    makecontext(&f.context, run_body, 0);
    begin(i);
}

/* The threads first .. end of a warp to their next barrier; all have to meet at the same one. */
void run_warp(unsigned first, unsigned end)
{
    last = end;
    for (current = first; current < end; current++) {
        threadIdx = dim3(current);
        if (fresh) start(current);
        swapcontext(&scheduler, &fibers[current].context);
    }
    fresh = false;
    for (unsigned i = first + 1; i < end; i++)
        if (fibers[i].at != fibers[first].at || fibers[i].shuffles != fibers[first].shuffles) {
            fprintf(stderr, "threads %u and %u of block %u wait at different barriers\n", first, i, blockIdx.x);
            abort();
        }
}

/* One block: round after round, in which every warp goes to the next barrier of the block, or to its end. */
void run_block(unsigned n)
{
    bool begins = true;
    barriers.clear();
    do {
        for (unsigned first = 0; first < n; first += WARP) {
            fresh = begins;
            do
                run_warp(first, first + WARP < n ? first + WARP : n);
            while (fibers[first].at != EMULATED_SYNC && fibers[first].at != EMULATED_END);
            if (fibers[first].at != fibers[0].at) {
                fprintf(stderr, "warps 0 and %u of block %u wait at different barriers\n", first / WARP, blockIdx.x);
                abort();
            }
        }
        begins = false;
    } while (fibers[0].at != EMULATED_END);
    for (const copy_barrier &b : barriers)
        if (b.armed) stop("copies that nobody waits for");
}

} // namespace

void emulated_wait(emulated_barrier at)
{
    unsigned me = current;
    fibers[me].at = at;
    swapcontext(&fibers[me].context, &scheduler);
}

float emulated_shuffle(float value, int mask)
{
    fiber &f = fibers[current];
    unsigned other = current ^ (unsigned)mask, which = f.shuffles++ % 2;
    if (other / WARP != current / WARP || other >= blockDim.x) abort();
    f.slot[which] = value;
    emulated_wait(EMULATED_SHUFFLE);
    return fibers[other].slot[which];
}

unsigned emulated_ballot(bool value)
{
    unsigned me = current, first = me / WARP * WARP, all = 0, which = fibers[me].shuffles++ % 2;
    fibers[me].slot[which] = value;
    emulated_wait(EMULATED_SHUFFLE);
    for (unsigned i = 0; i < WARP && first + i < blockDim.x; i++)
        all |= (fibers[first + i].slot[which] != 0 ? 1u : 0u) << i;
    return all;
}

void emulated_barrier_init(uint64_t *place)
{
    barriers.push_back(copy_barrier{place, 0, 0, 0, false, {}});
}

void emulated_expect(uint64_t *place, unsigned bytes)
{
    copy_barrier &b = barrier_at(place);
    if (b.armed) stop("a phase is begun twice");
    b.armed = true, b.expected = bytes;
}

void emulated_bulk_copy(void *dst, const void *src, unsigned bytes, uint64_t *place)
{
    copy_barrier &b = barrier_at(place);
    if ((uintptr_t)dst % 16 || (uintptr_t)src % 16 || bytes % 16 || !bytes) stop("a bulk copy at an odd place");
    memset(dst, 0x5a, bytes);
    b.copies.push_back(copy{dst, src, bytes});
    b.coming += bytes, emulated_bulk_copies++;
}

void emulated_await(uint64_t *place, unsigned parity)
{
    emulated_wait(EMULATED_COPIES); /* the other threads of the warp may be about to ask for some */
    copy_barrier &b = barrier_at(place);
    if (b.phase % 2 != parity) return;
    if (!b.armed || b.coming != b.expected) stop("waits for ever for copies");
    for (const copy &c : b.copies)
        memcpy(c.dst, c.src, c.bytes);
    b.copies.clear();
    b.armed = false, b.coming = 0, b.phase++;
}

void emulated_launch(dim3 grid, dim3 block, const std::function<void()> &kernel)
{
    if (!stacks) stacks = (char *)malloc((size_t)MOST * STACK);
    if (!stacks || block.x > MOST || !block.x || block.y != 1 || !grid.x || !grid.y || grid.x > 0x7fffffff ||
        grid.y > 65535)
        abort();
    gridDim = grid, blockDim = block, body = &kernel;
    for (unsigned y = 0; y < grid.y; y++)
        for (unsigned x = 0; x < grid.x; x++) {
            blockIdx = dim3(x, y);
            run_block(block.x);
        }
}

cudaError_t cudaMalloc(void **p, size_t size)
{
    return posix_memalign(p, 256, size ? size : 1) ? 2 : cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t size, cudaMemcpyKind, cudaStream_t)
{
    memcpy(dst, src, size);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *dst, int value, size_t size, cudaStream_t)
{
    memset(dst, value, size);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr, int)
{
    *value = 1;
    return cudaSuccess;
}
