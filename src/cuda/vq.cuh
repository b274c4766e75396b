/* vq.cuh - products of vectors from codebooks that fit shared memory, as halves, with vectors of 2, 4 or 8 columns.
 *
 * A block of threads reads the codebooks once. Entries of 8 bits are exact in a half, their steps are factors apart:
 *
 *     w[j] = s (sum_m step[m] C[m, q_m, j]),   y = sum over units of s (sum_j w[j] / s x[j])
 *
 * Threads of a warp look up different entries, so that lookups wait for each other's banks: about three times for
 * entries at random places. */
#ifndef WCU_VQ_CUH
#define WCU_VQ_CUH

#include "cuda/grid.cuh"

enum {
    WCU_BOOKS = 8,
    WCU_BOOKS_ROOM = 16 << 10, /* bytes of the codebooks: 13 blocks of threads fit a multiprocessor of 228 KiB */
    WCU_VQ_BLOCKS = 1056,      /* eight for each of 132 multiprocessors: more only read the codebooks more often */
    WCU_VQ_LANES = 32          /* of a row */
};

struct wcu_books {
    uint4 entry[WCU_BOOKS_ROOM / sizeof(uint4)]; /* f16 [books, 2^bits, dim] */
    float step[WCU_BOOKS];
};

/* All threads of the block. */
__device__ __forceinline__ void wcu_load_books(const wcu_part &p, const uint8_t *base, wcu_books *t)
{
    unsigned n = p.u.q.dim * p.u.q.books << p.bits;
    bool small = p.u.q.entry_bits == 8;
    uint16_t *entry = (uint16_t *)t->entry;
    for (unsigned i = threadIdx.x; i < n; i += WCU_THREADS)
        entry[i] = small ? wcu_f32_f16((float)wcu_at<int8_t>(base, p.u.q.entries, i))
                         : wcu_at<uint16_t>(base, p.u.q.entries, i);
    if (threadIdx.x < p.u.q.books) t->step[threadIdx.x] = small ? wcu_f16_at(base, p.u.q.steps, threadIdx.x) : 1;
    __syncthreads();
}

/* word [DIM / 2] = the halves of entry i. */
template <int DIM> __device__ __forceinline__ void wcu_vq_entry(const wcu_books &t, unsigned i, uint32_t *word)
{
    if (DIM == 8) {
        uint4 x = t.entry[i];
        word[0] = x.x, word[DIM / 8] = x.y, word[DIM / 4] = x.z, word[DIM / 2 - 1] = x.w;
    } else if (DIM == 4) {
        uint2 x = ((const uint2 *)t.entry)[i];
        word[0] = x.x, word[DIM / 2 - 1] = x.y;
    } else {
        word[0] = ((const uint32_t *)t.entry)[i];
    }
}

/* w [DIM] = a vector of a row, without its scale; minus: signs from bit 0 up. */
template <int DIM>
__device__ __forceinline__ void wcu_vq_vector(const wcu_product &a, const wcu_books &t, uint64_t row, uint64_t vector,
                                              uint32_t minus, float *w)
{
#pragma unroll
    for (unsigned j = 0; j < DIM; j++)
        w[j] = 0;
    for (unsigned m = 0; m < a.p.u.q.books; m++) {
        uint32_t word[DIM / 2];
        wcu_vq_entry<DIM>(t, (m << a.p.bits) + wcu_vq_code(a.p, a.base, row, m, vector), word);
#pragma unroll
        for (unsigned j = 0; j < DIM; j++)
            w[j] = fmaf(t.step[m], wcu_f16_f32((uint16_t)(word[j / 2] >> j % 2 * 16)), w[j]);
    }
#pragma unroll
    for (unsigned j = 0; j < DIM; j++)
        w[j] = wcu_bits_f32(wcu_f32_bits(w[j]) ^ (minus >> j & 1) << 31);
}

/* dot [rows, N] += the vector w that begins at column c of a unit. */
template <int DIM, int N>
__device__ __forceinline__ void wcu_vq_dots(const float (*w)[DIM], unsigned c, const wcu_vectors<N> &v, uint32_t unit,
                                            float (*dot)[N])
{
#pragma unroll
    for (unsigned t = 0; t < N; t++) {
#pragma unroll
        for (unsigned j = 0; j < DIM; j += 4) {
            const float *from = wcu_panel_of(v.xs, unit) + v.at[t] + (c + j) / 4 * 128 + (c + j) % 4;
            float4 x = {0, 0, 0, 0};
            if (DIM == 2) {
                float2 two = wcu_get((const float2 *)from);
                x.x = two.x, x.y = two.y;
            } else {
                x = wcu_get((const float4 *)from);
            }
            const float four[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
            for (unsigned r = 0; r < WCU_ROWS; r++)
#pragma unroll
                for (unsigned k = 0; k < 4 && j + k < DIM; k++)
                    dot[r][t] = fmaf(w[r][j + k], four[k], dot[r][t]);
        }
    }
}

/* One unit of columns of all rows of a thread. Rows behind the last one repeat it. */
template <int DIM, int N>
__device__ __forceinline__ void wcu_vq_step(const wcu_product &a, const wcu_books &t, uint64_t row0, uint32_t unit,
                                            const wcu_vectors<N> &v, float (&acc)[WCU_ROWS * N])
{
    float dot[WCU_ROWS][N] = {};
    uint32_t minus[WCU_ROWS];
    uint64_t row[WCU_ROWS];
    unsigned columns = wcu_unit_size(a.p, unit);
#pragma unroll
    for (unsigned r = 0; r < WCU_ROWS; r++) {
        row[r] = row0 + r < a.p.rows ? row0 + r : a.p.rows - 1;
        minus[r] = a.p.u.q.has_signs ? wcu_at<uint32_t>(a.base, a.p.u.q.signs, row[r] * a.p.units + unit) : 0;
    }
    for (unsigned c = 0; c < columns; c += DIM) {
        float w[WCU_ROWS][DIM];
#pragma unroll
        for (unsigned r = 0; r < WCU_ROWS; r++)
            wcu_vq_vector<DIM>(a, t, row[r], ((uint64_t)unit * WCU_UNIT + c) / DIM, minus[r] >> c, w[r]);
        wcu_vq_dots<DIM, N>(w, c, v, unit, dot);
    }
#pragma unroll
    for (unsigned r = 0; r < WCU_ROWS; r++) {
        float s = wcu_vq_scale(a.p, a.base, row[r], a.p.groups == 1 ? 0 : unit / (a.p.group / WCU_UNIT));
#pragma unroll
        for (unsigned k = 0; k < N; k++)
            acc[r * N + k] = fmaf(s, dot[r][k], acc[r * N + k]);
    }
}

/* Grid (blocks of rows, batches of N vectors). */
template <int DIM, int N> __global__ void __launch_bounds__(WCU_THREADS) wcu_vq_product(const wcu_product a)
{
    __shared__ float room[WCU_ROWS * N][WCU_THREADS / 32];
    __shared__ wcu_books t;
    unsigned lane = threadIdx.x % a.lanes, first = blockIdx.y * N;
    uint64_t row0 = ((uint64_t)blockIdx.x * (WCU_THREADS / a.lanes) + threadIdx.x / a.lanes) * WCU_ROWS;
    float acc[WCU_ROWS * N] = {};
    const wcu_vectors<N> v = wcu_vectors_of<N>(a, first);
    wcu_load_books(a.p, a.base, &t);
    for (uint32_t unit = lane; unit < a.p.units; unit += a.lanes)
        wcu_vq_step<DIM, N>(a, t, row0, unit, v, acc);
    wcu_end_rows<WCU_ROWS, N>(a, row0, a.p.rows, first, v.n, a.x + first * a.ldx, lane, a.lanes, acc, room);
}

static unsigned wcu_vq_blocks(const wcu_product &a)
{
    uint64_t rows = (uint64_t)WCU_THREADS / a.lanes * WCU_ROWS;
    return (unsigned)((a.p.rows + rows - 1) / rows);
}

template <int N> static void wcu_launch_vq_of(const wcu_product &a, cudaStream_t stream)
{
    dim3 grid(wcu_vq_blocks(a), (a.n + N - 1) / N);
    switch (a.p.u.q.dim) {
    case 2: WCU_LAUNCH((wcu_vq_product<2, N>), grid, WCU_THREADS, stream, a); return;
    case 4: WCU_LAUNCH((wcu_vq_product<4, N>), grid, WCU_THREADS, stream, a); return;
    default: WCU_LAUNCH((wcu_vq_product<8, N>), grid, WCU_THREADS, stream, a);
    }
}

/* One set of codebooks, small enough; units of columns have one scale; no short vectors, what is not used of whose
 * entries need not be finite. */
static bool wcu_vq_fits(const wcu_part &p)
{
    bool one_set = !p.u.q.block_rows && !p.u.q.block_cols, whole = p.groups == 1 || p.group % WCU_UNIT == 0;
    uint64_t bytes = (uint64_t)2 * p.u.q.dim * p.u.q.books << p.bits;
    bool dims = p.u.q.dim == 2 || p.u.q.dim == 4 || p.u.q.dim == 8;
    return one_set && whole && p.units < WCU_MOST_UNITS && bytes <= WCU_BOOKS_ROOM && dims && p.cols % p.u.q.dim == 0;
}

/* False, and nothing is launched: it is not a part of this kind, or does not fit. */
static bool wcu_launch_vq(wcu_product a, cudaStream_t stream)
{
    if (a.p.kind != WCU_VQ || !wcu_vq_fits(a.p)) return false;
    while (a.lanes > WCU_VQ_LANES && wcu_vq_blocks(a) > WCU_VQ_BLOCKS)
        a.lanes /= 2;
    wcu_by_vectors(a.n, [&](auto n) { wcu_launch_vq_of<n.value>(a, stream); });
    return true;
}

#endif
