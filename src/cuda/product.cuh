/* product.cuh - what all kernels of products share: their arguments, how they are launched, and their end, the sum over
 * threads that is written to y.
 *
 * y = W x: L neighbouring threads of a block of 128, L a power of two, share a few rows, and take every L-th unit of 32
 * columns; their sums are added by shuffles, and then, in order, across warps. */
#ifndef WCU_PRODUCT_CUH
#define WCU_PRODUCT_CUH

#include "cuda/pipe.cuh"

#ifdef WCU_EMULATED
#define WCU_LAUNCH(kernel, grid, block, stream, ...) \
    ((void)(stream), emulated_launch(grid, block, [=] { kernel(__VA_ARGS__); }))
#else
#define WCU_LAUNCH(kernel, grid, block, stream, ...) kernel<<<grid, block, 0, stream>>>(__VA_ARGS__)
#endif

enum {
    WCU_THREADS = 128,       /* of a block of a product: 4 warps, so that 16 blocks fill a multiprocessor */
    WCU_BATCH = 8,           /* vectors at once */
    WCU_PANEL = 1024,        /* values of x that a warp reads together */
    WCU_MOST_UNITS = 1 << 22 /* of a row, so that places in the panels of 8 vectors are u32 */
};

#define WCU_X_UP 0x1p80f /* grid.cuh says why */

/* What a product works on. */
struct wcu_product {
    wcu_part p;
    const uint8_t *base;
    const wcu_part *all;  /* device: the tensor's parts */
    const float *x;       /* [n, ldx] */
    const float *xs, *sx; /* [n, lds] in panels, [n, lds / 32]: see wcu_inputs */
    uint64_t ldx, lds;
    uint32_t n, lanes;     /* vectors; L */
    const float *prev;     /* NULL, or [n, ldy]: is added */
    void *y;               /* [n, ldy] of ytype */
    uint32_t ytype, fused; /* fused: s holds a sparse part that is added, too */
    uint64_t ldy;
    wcu_part s;
};

/* ---- inputs ----------------------------------------------------------------------------------------------------- */

/* Kernels whose threads take units read x in panels of 32 units, in the order in which a warp does: 32 neighbouring
 * threads have 32 neighbouring units, and each wants four columns of its own at a time. Side by side these are 512
 * bytes, which take 4 cycles of the first cache; at their places in x they would be in 32 lines of it, and take 32, and
 * bound a product at half of the memory's speed:
 *
 *     xs[1024 (u / 32) + 128 (c / 4) + 4 (u % 32) + c % 4]        column c of unit u */
struct wcu_input {
    const void *in; /* [n, ld] of `type' */
    uint32_t type, bits;
    uint64_t ld, cols;
    float *x; /* NULL, or [n, ldx]: f32, zeros behind the last column */
    uint64_t ldx;
    float *xs, *sx; /* NULL, or [n, lds] in panels for codes of `bits' bits (0: levels, x as it is), [n, lds / 32] */
    uint64_t lds;
};

/* A thread has a column; the 32 of a warp are a unit. Grid (blocks of 256 of max(ldx, lds) columns, n). */
static __global__ void wcu_inputs(const wcu_input a)
{
    uint64_t j = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x, unit = j / WCU_UNIT;
    float v = j < a.cols ? wcu_load(a.in, a.type, blockIdx.y * a.ld + j) : 0, sum = v;
    wcu_let_next_begin();
    if (a.x && j < a.ldx) a.x[blockIdx.y * a.ldx + j] = v;
    if (!a.xs) return;
    for (int d = 16; d; d /= 2)
        sum += __shfl_xor_sync(0xffffffff, sum, d);
    if (j >= a.lds) return;
    unsigned c = (unsigned)(j % WCU_UNIT), up = a.bits ? wcu_field_of(a.bits, c).up : 0;
    uint64_t at = unit / 32 * WCU_PANEL + c / 4 * 128 + unit % 32 * 4 + c % 4;
    a.xs[blockIdx.y * a.lds + at] = a.bits ? v * WCU_X_UP * wcu_bits_f32((127 - up) << 23) : v;
    if (!c) a.sx[blockIdx.y * (a.lds / WCU_UNIT) + unit] = sum;
}

/* Where the columns 0 .. 3 of a unit are; 4 .. 7 are 128 values behind. */
__device__ __forceinline__ const float *wcu_panel_of(const float *xs, uint64_t unit)
{
    return xs + unit / 32 * WCU_PANEL + unit % 32 * 4;
}

/* Where N vectors of panels are, from the first of them on. Of fewer, the last one is taken again, and its sums are not
 * written: a branch for each would keep loads from being asked for together. */
template <int N> struct wcu_vectors {
    const float *xs, *sx;
    uint32_t at[N], n;
};

template <int N> __device__ __forceinline__ wcu_vectors<N> wcu_vectors_of(const wcu_product &a, unsigned first)
{
    wcu_vectors<N> v = {a.xs + first * a.lds, a.sx + first * (a.lds / WCU_UNIT), {}, 1};
    if (N > 1) v.n = a.n - first < N ? a.n - first : N;
#pragma unroll
    for (unsigned t = 0; t < N; t++)
        v.at[t] = (t < v.n ? t : v.n - 1) * (uint32_t)a.lds;
    return v;
}

/* f with a number that templates take: of the vectors that a kernel has at once, 1, 4, or as many as any does; of bits.
 */
template <int N> struct wcu_number {
    static const int value = N;
};

template <typename F> static void wcu_by_vectors(uint32_t n, F f)
{
    if (n == 1)
        f(wcu_number<1>());
    else if (n <= 4)
        f(wcu_number<4>());
    else
        f(wcu_number<WCU_BATCH>());
}

template <typename F> static void wcu_by_bits(uint32_t bits, F f)
{
    switch (bits) {
    case 1: f(wcu_number<1>()); return;
    case 2: f(wcu_number<2>()); return;
    case 3: f(wcu_number<3>()); return;
    case 4: f(wcu_number<4>()); return;
    case 5: f(wcu_number<5>()); return;
    case 6: f(wcu_number<6>()); return;
    case 7: f(wcu_number<7>()); return;
    default: f(wcu_number<8>());
    }
}

/* ---- the end of a product --------------------------------------------------------------------------------------- */

/* Adds each of v [K] over the L threads of a group; all threads of the block have to call it. The group's first thread
 * gets the sums. */
template <int K>
__device__ __forceinline__ void wcu_group_sums(float (&v)[K], unsigned lanes, float (*room)[WCU_THREADS / 32])
{
    unsigned within = lanes < 32 ? lanes : 32, warp = threadIdx.x / 32;
#pragma unroll
    for (unsigned i = 0; i < K; i++)
        for (unsigned d = within / 2; d; d /= 2)
            v[i] += __shfl_xor_sync(0xffffffff, v[i], (int)d);
    if (lanes <= 32) return;
#pragma unroll
    for (unsigned i = 0; i < K; i++)
        if (threadIdx.x % 32 == 0) room[i][warp] = v[i];
    __syncthreads();
    if (threadIdx.x % lanes == 0)
#pragma unroll
        for (unsigned i = 0; i < K; i++) {
            v[i] = room[i][warp];
            for (unsigned k = 1; k < lanes / 32; k++)
                v[i] += room[i][warp + k];
        }
    __syncthreads();
}

__device__ __forceinline__ void wcu_put(const wcu_product &a, uint64_t row, unsigned t, float v)
{
    uint64_t at = t * a.ldy + row;
    wcu_store(a.y, a.ytype, at, a.prev ? a.prev[at] + v : v);
}

/* The listed values of a row times vector t, thread `lane' of L. */
__device__ __forceinline__ float wcu_sparse_dot(const wcu_part &s, const uint8_t *base, uint64_t row, const float *x,
                                                unsigned lane, unsigned lanes)
{
    uint64_t k = wcu_at<uint64_t>(base, s.u.s.begins, row) + lane, end = wcu_at<uint64_t>(base, s.u.s.begins, row + 1);
    float sum = 0;
    for (; k < end; k += lanes)
        sum = fmaf(wcu_sparse_value(s, base, k), x[wcu_sparse_col(s, base, k)], sum);
    return sum;
}

/* The end for a thread that has the sums acc [R * N] of R rows from row0 on, those from `end' on being none, and of n
 * vectors from `first' on, x the first of them. */
template <int R, int N>
__device__ __forceinline__ void wcu_end_rows(const wcu_product &a, uint64_t row0, uint64_t end, unsigned first,
                                             unsigned n, const float *x, unsigned lane, unsigned lanes,
                                             float (&acc)[R * N], float (*room)[WCU_THREADS / 32])
{
    for (unsigned i = 0; a.fused && i < R * N; i++) { /* one loop over lists, and acc stays in registers */
        if (i % N >= n || row0 + i / N >= end) continue;
        float v = wcu_sparse_dot(a.s, a.base, row0 + i / N, x + i % N * a.ldx, lane, lanes);
#pragma unroll
        for (unsigned k = 0; k < R * N; k++)
            if (k == i) acc[k] += v;
    }
    wcu_group_sums(acc, lanes, room);
    if (lane) return;
#pragma unroll
    for (unsigned r = 0; r < R; r++)
#pragma unroll
        for (unsigned t = 0; t < N; t++)
            if (t < n && row0 + r < end) wcu_put(a, row0 + r, first + t, acc[r * N + t]);
}

#endif
