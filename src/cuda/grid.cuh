/* grid.cuh - products with grids and luts: their inputs, the loop over codes that all of them share, and two kernels
 * for a grid. wcu_grid_product loads codes into registers and runs everywhere, wcu_grid_piped lets the copy engine of
 * sm_90 and newer bring them, for one vector. Both give the same bits.
 *
 * A grid spends most of its time on codes, so that has a trick. A code q at bit `up' of a word, everything else masked
 * away, is as a float the subnormal number q 2^(up - 149): there is nothing to convert, and fmaf takes subnormals at
 * full speed. The factor 2^up is taken out of x beforehand, and so that nothing else is subnormal x also gets 2^80:
 *
 *     xs[j] = x[j] 2^(80 - up(j))                                                        (wcu_inputs)
 *     dot = sum_j q[j] 2^(up(j) - 149) xs[j] = 2^-69 sum_j q[j] x[j]                    one mask, one fmaf per weight
 *     y   = sum over units of s (2^69 dot - z sx)
 *
 * sx[u] is the sum of x over unit u. Levels of a lut are floats, and so x is taken as it is. */
#ifndef WCU_GRID_CUH
#define WCU_GRID_CUH

#include "cuda/product.cuh"

enum {
    WCU_ROWS = 4,        /* rows of a thread: 4 loads of codes in flight, and x is read once for all */
    WCU_RING = 40 << 10, /* bytes of a block for codes that are on their way */
    WCU_RESIDENT = 4     /* blocks of a multiprocessor that work so: 160 KiB of rings, which leaves x its place */
};

#define WCU_DOT_DOWN 0x1p69f

/* ---- codes ------------------------------------------------------------------------------------------------------ */

/* Where the levels of a thread's rows are: `own' bytes behind the first table of the block. Each row has 4 << BITS
 * bytes. */
struct wcu_levels {
    const float *all;
    uint32_t own;
};

/* Byte i of x in place of the lowest of y. */
__device__ __forceinline__ uint32_t wcu_lowest_byte(uint32_t x, unsigned i, uint32_t y)
{
#ifdef __CUDA_ARCH__
    return __byte_perm(x, y, 0x7650 | i);
#else
    return (x >> 8 * i & 255) | (y & 0xffffff00);
#endif
}

/* The place of the level of code c in the first row's table; the row, and the block, are constants of the load. Of 4
 * bits: 4 WCU_ROWS tables take a multiple of 256 bytes, so that a code times 4 is the lowest byte of the place; two
 * instructions cut out four of these, and one puts each into its place. Of 2 and 3 bits, three for each. */
template <int BITS> __device__ __forceinline__ uint32_t wcu_level_place(const uint32_t *w, unsigned c, uint32_t own)
{
    const unsigned s = BITS * c % 32;
    const uint32_t *word = w + BITS * c / 32;
    if (BITS == 4) return wcu_lowest_byte((s % 8 ? word[0] >> 2 : word[0] << 2) & 0x3c3c3c3c, s / 8, own);
    uint32_t x = s >= 2 ? word[0] >> (s - 2) : word[0] << (2 - s);
    if (s + BITS > 32) x |= word[1] << (34 - s);
    return (x & ((1u << BITS) - 1) << 2) | own;
}

/* Four codes from c on of R rows, as subnormal floats; LUT: their levels. */
template <int BITS, int R, bool LUT>
__device__ __forceinline__ void wcu_four(const uint32_t (*w)[BITS], unsigned c, wcu_levels levels, float (*q)[4])
{
#pragma unroll
    for (unsigned r = 0; r < R; r++)
#pragma unroll
        for (unsigned k = 0; k < 4; k++)
            q[r][k] = !LUT ? wcu_bits_f32(wcu_field_bits<BITS>(w[r], c + k))
                           : *(const float *)((const uint8_t *)levels.all + (4 << BITS) * r +
                                              wcu_level_place<BITS>(w[r], c + k, levels.own));
}

/* dot [R, N] of a unit. */
template <int BITS, int R, int N, bool LUT>
__device__ __forceinline__ void wcu_unit_dots(const uint32_t (*w)[BITS], wcu_levels levels, const wcu_vectors<N> &v,
                                              uint32_t unit, float (*dot)[N])
{
#pragma unroll
    for (unsigned c = 0; c < WCU_UNIT; c += 4) {
        float q[R][4];
        wcu_four<BITS, R, LUT>(w, c, levels, q);
#pragma unroll
        for (unsigned t = 0; t < N; t++) {
            float4 x = *(const float4 *)(wcu_panel_of(v.xs, unit) + v.at[t] + c * 32);
#pragma unroll
            for (unsigned r = 0; r < R; r++)
                dot[r][t] = fmaf(q[r][3], x.w, fmaf(q[r][2], x.z, fmaf(q[r][1], x.y, fmaf(q[r][0], x.x, dot[r][t]))));
        }
    }
}

/* ---- scales and zeros ------------------------------------------------------------------------------------------- */

/* Those of one group of R rows as they are stored, so that they can be loaded long before they are wanted; s: a scale,
 * above it a group's factor of a row's scale. */
template <int R> struct wcu_stored {
    uint32_t s[R], z[R];
};

/* Those of R rows in an array [rows, groups], from `at' on: one place is worked out, and one product away is the next.
 */
template <typename T, int R>
__device__ __forceinline__ void wcu_fetch_column(const uint8_t *base, uint64_t place, uint64_t at, uint32_t groups,
                                                 uint32_t *to)
{
    const uint8_t *p = base + place + at * sizeof(T);
#pragma unroll
    for (unsigned r = 0; r < R; r++)
        to[r] = wcu_get((const T *)(p + (uint64_t)r * (groups * (uint32_t)sizeof(T))));
}

/* Rows behind the last one have some, too (layout.cu). Nothing for scales of tiles. Kinds are asked for outside of
 * loops: the same for all threads, and one branch each. */
template <int R>
__device__ __forceinline__ void wcu_fetch_stats(const wcu_part &p, const uint8_t *base, uint32_t row0, uint32_t unit,
                                                wcu_stored<R> *to)
{
    const uint32_t groups = (uint32_t)p.groups;
    const uint64_t at = (uint64_t)row0 * groups + (unit >> p.group_shift);
    if (p.scale_kind == WCU_GROUP_SCALES) wcu_fetch_column<uint16_t, R>(base, p.u.g.scales, at, groups, to->s);
    if (p.scale_kind == WCU_ROW_SCALES) {
        uint32_t factor[R];
        wcu_fetch_column<uint16_t, R>(base, p.u.g.scales, row0, 1, to->s);
        wcu_fetch_column<uint8_t, R>(base, p.u.g.scale_codes, at, groups, factor);
#pragma unroll
        for (unsigned r = 0; r < R; r++)
            to->s[r] |= factor[r] << 16;
    }
    if (p.zero_kind == WCU_ZERO_INT) wcu_fetch_column<uint8_t, R>(base, p.u.g.zero_codes, at, groups, to->z);
    if (p.zero_kind == WCU_ZERO_F16) wcu_fetch_column<uint16_t, R>(base, p.u.g.zeros, at, groups, to->z);
}

/* s, z [R] as numbers, in the operations of wcu_grid_stats. */
template <int R>
__device__ __forceinline__ void wcu_stats(const wcu_part &p, const wcu_stored<R> &from, float *s, float *z)
{
#pragma unroll
    for (unsigned r = 0; r < R; r++)
        s[r] = wcu_f16_f32((uint16_t)from.s[r]) * p.exp2, z[r] = p.zero_fixed;
    if (p.scale_kind == WCU_ROW_SCALES)
#pragma unroll
        for (unsigned r = 0; r < R; r++)
            s[r] *= (float)(from.s[r] >> 16);
    if (p.zero_kind == WCU_ZERO_INT)
#pragma unroll
        for (unsigned r = 0; r < R; r++)
            z[r] = (float)from.z[r];
    if (p.zero_kind == WCU_ZERO_F16)
#pragma unroll
        for (unsigned r = 0; r < R; r++)
            z[r] = wcu_f16_f32((uint16_t)from.z[r]);
}

/* The same of scales of tiles, at once: loads of codes and lines, and a division. */
template <int R>
__device__ __forceinline__ void wcu_tile_stats(const wcu_part &p, const uint8_t *base, uint32_t row0, uint32_t unit,
                                               float *s, float *z)
{
    uint32_t last = (uint32_t)p.rows - 1;
#pragma unroll
    for (unsigned r = 0; r < R; r++)
        wcu_grid_stats(p, base, row0 + r < last ? row0 + r : last, unit >> p.group_shift, &s[r], &z[r]);
}

/* ---- grid ------------------------------------------------------------------------------------------------------- */

/* acc [R * N] += the rows' unit, of codes w, times the vectors; nothing unless `there'. */
template <int BITS, int R, int N>
__device__ __forceinline__ void wcu_add_unit(uint32_t unit, const uint32_t (*w)[BITS], const float *s, const float *z,
                                             const wcu_vectors<N> &v, bool there, float (&acc)[R * N])
{
    float dot[R][N] = {};
    wcu_unit_dots<BITS, R, N, false>(w, wcu_levels{NULL, 0}, v, unit, dot);
#pragma unroll
    for (unsigned t = 0; t < N; t++) {
        float sum = v.sx[v.at[t] / WCU_UNIT + unit];
#pragma unroll
        for (unsigned r = 0; r < R; r++)
            if (there) acc[r * N + t] = fmaf(s[r], fmaf(-z[r], sum, dot[r][t] * WCU_DOT_DOWN), acc[r * N + t]);
    }
}

/* Grid (blocks of rows, batches of N vectors). The part has no holes, and groups of 32 columns times a power of two, or
 * one. Rows behind the last one repeat it. */
template <int BITS, int N> __global__ void __launch_bounds__(WCU_THREADS) wcu_grid_product(const wcu_product a)
{
    __shared__ float room[WCU_ROWS * N][WCU_THREADS / 32];
    unsigned lane = threadIdx.x % a.lanes, first = blockIdx.y * N;
    uint32_t row0 = (blockIdx.x * (WCU_THREADS / a.lanes) + threadIdx.x / a.lanes) * WCU_ROWS,
             rows = (uint32_t)a.p.rows;
    const wcu_vectors<N> v = wcu_vectors_of<N>(a, first);
    float acc[WCU_ROWS * N] = {};
    for (uint32_t unit = lane; unit < a.p.units; unit += a.lanes) {
        uint32_t w[WCU_ROWS][BITS];
        wcu_stored<WCU_ROWS> stored;
        float s[WCU_ROWS], z[WCU_ROWS];
#pragma unroll
        for (unsigned r = 0; r < WCU_ROWS; r++)
            wcu_load_words<BITS>(a.p, a.base, (uint64_t)(row0 + r < rows ? row0 + r : rows - 1) * a.p.units + unit,
                                 w[r]);
        if (a.p.scale_kind == WCU_TILE_SCALES) {
            wcu_tile_stats<WCU_ROWS>(a.p, a.base, row0, unit, s, z);
        } else {
            wcu_fetch_stats(a.p, a.base, row0, unit, &stored);
            wcu_stats(a.p, stored, s, z);
        }
        wcu_add_unit<BITS, WCU_ROWS, N>(unit, w, s, z, v, true, acc);
    }
    wcu_end_rows<WCU_ROWS, N>(a, row0, rows, first, v.n, a.x + first * a.ldx, lane, a.lanes, acc, room);
}

/* ---- grid, by the copy engine ------------------------------------------------------------------------------------
 *
 * A block stays, and goes through a range of rows, R at a time, 128 units of columns at a time: a stage. The codes of
 * stages to come are on their way to a ring in shared memory, by one bulk copy for each row and plane, while the
 * threads, L = 128, each take their unit of all rows of the oldest one. So what is in flight does not depend on
 * registers or on when threads get to run, and goes on while sums are added up and rows change: 4 blocks have 64 KiB
 * and more on their way, where 20 to 40 KiB for each multiprocessor hide the latency of the memory (3.35 TB/s times 0.7
 * us, by 132). Scales and zeros come a stage before they are wanted, into registers. The first stages are asked for
 * before the inputs are ready: the kernel that prepares these lets this one begin.
 *
 * R is 8 up to 4 bits: a thread reads its 32 values of x, from the first cache, once for 8 rows, half a byte a weight.
 */

WCU_HD constexpr unsigned wcu_stage_rows(unsigned bits)
{
    return bits <= 4 ? 8 : 4;
}

template <int BITS> struct wcu_ring {
    static const unsigned R = wcu_stage_rows(BITS), BYTES = R * WCU_THREADS * BITS * 4, STAGES = WCU_RING / BYTES;
    static const unsigned PLANES = (BITS >> 3 & 1) * 2 + (BITS >> 2 & 1) + (BITS >> 1 & 1) + (BITS & 1);
};

/* Words of plane k < PLANES, and which of the part's codes[] it is: see wcu_load_words. */
template <int BITS> WCU_HD void wcu_plane(int k, unsigned *words, unsigned *which)
{
    const int fours = (BITS >> 3) * 2 + (BITS >> 2 & 1), twos = fours + (BITS >> 1 & 1);
    *words = k < fours ? 4 : k < twos ? 2 : 1;
    *which = k < fours ? (unsigned)k : k < twos ? 1 : 2;
}

/* A stage: R rows from `row' on, 128 units from `unit' on. */
struct wcu_stage {
    uint32_t row, unit;
};

__device__ __forceinline__ void wcu_advance(const wcu_part &p, unsigned rows, wcu_stage *s)
{
    s->unit += WCU_THREADS;
    if (s->unit >= p.units) s->unit = 0, s->row += rows;
}

/* Asks for the codes of a stage, rows before `end'; all threads of the first warp. A slot is [planes][R][128][words].
 */
template <int BITS>
__device__ __forceinline__ void wcu_ask(const wcu_product &a, wcu_stage s, uint32_t end, uint8_t *slot,
                                        wcu_barrier *full)
{
    typedef wcu_ring<BITS> ring;
    uint32_t left = (uint32_t)a.p.units - s.unit, units = left < WCU_THREADS ? left : WCU_THREADS;
    uint32_t rows = end - s.row < ring::R ? end - s.row : ring::R, r = threadIdx.x % ring::R, k = threadIdx.x / ring::R;
    if (!threadIdx.x) wcu_expect(full, rows * units * BITS * 4);
    __syncwarp();
    if (k >= ring::PLANES || r >= rows) return;
    unsigned words, which, at = 0;
    for (int i = 0; i < (int)k; i++)
        wcu_plane<BITS>(i, &words, &which), at += words;
    wcu_plane<BITS>((int)k, &words, &which);
    wcu_bulk_copy(slot + (at * ring::R + r * words) * WCU_THREADS * 4,
                  a.base + a.p.codes[which] + ((uint64_t)(s.row + r) * a.p.units + s.unit) * words * 4,
                  units * words * 4, full);
}

/* w [R]: the thread's unit out of a slot. */
template <int BITS> __device__ __forceinline__ void wcu_take(const uint8_t *slot, uint32_t (*w)[BITS])
{
    typedef wcu_ring<BITS> ring;
#pragma unroll
    for (unsigned r = 0; r < ring::R; r++)
#pragma unroll
        for (unsigned k = 0, at = 0; k < ring::PLANES; k++) {
            unsigned words, which;
            wcu_plane<BITS>((int)k, &words, &which);
            const uint8_t *from = slot + ((at * ring::R + r * words) * WCU_THREADS + threadIdx.x * words) * 4;
            if (words == 4) {
                uint4 x = *(const uint4 *)from;
                w[r][at] = x.x, w[r][at + 1] = x.y, w[r][at + 2] = x.z, w[r][at + 3] = x.w;
            } else if (words == 2) {
                uint2 x = *(const uint2 *)from;
                w[r][at] = x.x, w[r][at + 1] = x.y;
            } else {
                w[r][at] = *(const uint32_t *)from;
            }
            at += words;
        }
}

/* One vector; blocks of 128 threads, as many as there is room for. The part is one for wcu_grid_product, with more than
 * 64 units, a multiple of 4, so that copies are multiples of 16 bytes. */
template <int BITS> __global__ void __launch_bounds__(WCU_THREADS, WCU_RESIDENT) wcu_grid_piped(const wcu_product a)
{
    typedef wcu_ring<BITS> ring;
    alignas(128) __shared__ uint8_t slots[ring::STAGES][ring::BYTES];
    __shared__ wcu_barrier full[ring::STAGES];
    __shared__ float room[ring::R][WCU_THREADS / 32];
    const uint32_t begin = (uint32_t)(a.p.rows * blockIdx.x / gridDim.x), units = (uint32_t)a.p.units;
    const uint32_t end = (uint32_t)(a.p.rows * (blockIdx.x + 1) / gridDim.x), lane = threadIdx.x;
    const wcu_vectors<1> v = wcu_vectors_of<1>(a, 0);
    wcu_stage in = {begin, 0}, out = in, next = in;
    wcu_stored<ring::R> stored;
    float acc[ring::R] = {};
    if (lane < ring::STAGES) wcu_barrier_init(&full[lane]);
    __syncthreads();
    for (unsigned k = 0; k < ring::STAGES && in.row < end; k++, wcu_advance(a.p, ring::R, &in))
        if (lane < 32) wcu_ask<BITS>(a, in, end, slots[k], &full[k]);
    wcu_fetch_stats(a.p, a.base, begin, lane < units ? lane : units - 1, &stored);
    wcu_after_previous();
    for (unsigned slot = 0, parity = 0; out.row < end; out = next) {
        uint32_t unit = out.unit + lane < units ? out.unit + lane : units - 1, w[ring::R][BITS];
        float s[ring::R], z[ring::R];
        wcu_advance(a.p, ring::R, &next);
        wcu_stats(a.p, stored, s, z);
        wcu_fetch_stats(a.p, a.base, next.row < end ? next.row : out.row,
                        next.unit + lane < units ? next.unit + lane : units - 1, &stored);
        wcu_await(&full[slot], parity);
        __syncwarp();
        wcu_take<BITS>(slots[slot], w);
        wcu_add_unit<BITS, ring::R, 1>(unit, w, s, z, v, out.unit + lane < units, acc);
        __syncthreads(); /* every thread has read the slot */
        if (in.row < end) {
            if (lane < 32) wcu_ask<BITS>(a, in, end, slots[slot], &full[slot]);
            wcu_advance(a.p, ring::R, &in);
        }
        if (++slot == ring::STAGES) slot = 0, parity ^= 1;
        if (next.unit) continue;
        wcu_end_rows<ring::R, 1>(a, out.row, end, 0, 1, a.x, lane, WCU_THREADS, acc, room);
#pragma unroll
        for (unsigned r = 0; r < ring::R; r++)
            acc[r] = 0;
    }
}

/* ---- rows of a grid ---------------------------------------------------------------------------------------------
 *
 * Eight columns to a thread: of 16 bits they are 16 bytes, so that a warp writes 512 bytes that lie together. */

enum { WCU_EIGHT = 8, WCU_ROW_THREADS = 256 };

/* The codes of columns 8 j .. 8 j + 7 of a unit, j < 4: as many bits, from the lowest of the result up. */
template <int BITS> __device__ __forceinline__ uint64_t wcu_eight(const uint32_t *w, unsigned j)
{
    uint64_t x = 0;
#pragma unroll
    for (unsigned k = 0; k < 4; k++) { /* places of words are known when it is compiled, and one of four is taken */
        const unsigned at = WCU_EIGHT * BITS * k;
        uint64_t here = w[at / 32] >> at % 32;
        if (at % 32 + WCU_EIGHT * BITS > 32) here |= (uint64_t)w[at / 32 + 1] << (32 - at % 32);
        if (at % 32 + WCU_EIGHT * BITS > 64) here |= (uint64_t)w[at / 32 + 2] << (64 - at % 32);
        if (k == j) x = here;
    }
    return x;
}

/* Eight values to dst + at. */
__device__ __forceinline__ void wcu_put_eight(void *dst, uint32_t type, uint64_t at, const float *v)
{
    uint32_t word[4];
    if (type == WCD_CUDA_F32) {
        *(float4 *)((float *)dst + at) = float4{v[0], v[1], v[2], v[3]};
        *(float4 *)((float *)dst + at + 4) = float4{v[4], v[5], v[6], v[7]};
        return;
    }
#pragma unroll
    for (unsigned k = 0; k < 4; k++)
        word[k] = type == WCD_CUDA_F16 ? wcu_f32_f16(v[2 * k]) | (uint32_t)wcu_f32_f16(v[2 * k + 1]) << 16
                                       : wcu_f32_bf16(v[2 * k]) | (uint32_t)wcu_f32_bf16(v[2 * k + 1]) << 16;
    *(uint4 *)((uint16_t *)dst + at) = uint4{word[0], word[1], word[2], word[3]};
}

/* Rows of a tensor that is one grid of whole units. Grid (rows times blocks of 2048 columns). */
template <int BITS> __global__ void __launch_bounds__(WCU_ROW_THREADS) wcu_grid_rows(const wcu_sum a)
{
    const uint32_t across = ((uint32_t)a.p.units * 4 + WCU_ROW_THREADS - 1) / WCU_ROW_THREADS;
    const uint32_t k = blockIdx.x % across * WCU_ROW_THREADS + threadIdx.x, unit = k / 4, i = blockIdx.x / across;
    const uint32_t row = (uint32_t)a.r0 + i;
    const uint64_t col = (uint64_t)k * WCU_EIGHT, at = i * a.ld + col;
    if (col >= a.p.cols) return;
    uint32_t w[BITS];
    wcu_stored<1> stored = {};
    float s[1], z[1], v[WCU_EIGHT];
    wcu_load_words<BITS>(a.p, a.base, (uint64_t)row * a.p.units + unit, w);
    if (a.p.scale_kind == WCU_TILE_SCALES) {
        wcu_tile_stats<1>(a.p, a.base, row, unit, s, z);
    } else {
        wcu_fetch_stats(a.p, a.base, row, unit, &stored);
        wcu_stats(a.p, stored, s, z);
    }
    uint64_t codes = wcu_eight<BITS>(w, k % 4);
#pragma unroll
    for (unsigned c = 0; c < WCU_EIGHT; c++)
        v[c] = s[0] * ((float)(uint32_t)(codes >> c * BITS & ((1u << BITS) - 1)) - z[0]);
    if (col + WCU_EIGHT <= a.p.cols && a.ld % WCU_EIGHT == 0 && (uint64_t)a.dst % 16 == 0)
        wcu_put_eight(a.dst, a.type, at, v);
    else
#pragma unroll
        for (unsigned c = 0; c < WCU_EIGHT; c++)
            if (col + c < a.p.cols) wcu_store(a.dst, a.type, at + c, v[c]);
}

/* ---- lut -------------------------------------------------------------------------------------------------------- */

enum { WCU_LUT_LANES = 16 }; /* least threads of a row: bounds the tables that a block has to keep */

/* One unit of columns of all rows of a thread, whose levels are in shared memory: no bank has two of the 16 at most
 * that threads of one row look up. Every lookup is one value: a table of pairs would be read half as often, but by
 * threads that wait for each other's banks. */
template <int BITS, int N>
__device__ __forceinline__ void wcu_lut_step(const wcu_product &a, uint32_t row0, uint32_t unit, wcu_levels levels,
                                             const wcu_vectors<N> &v, float (&acc)[WCU_ROWS * N])
{
    uint32_t w[WCU_ROWS][BITS], rows = (uint32_t)a.p.rows, g = a.p.scale_kind ? unit >> a.p.group_shift : 0;
    float dot[WCU_ROWS][N] = {}, s[WCU_ROWS];
#pragma unroll
    for (unsigned r = 0; r < WCU_ROWS; r++) {
        uint64_t row = row0 + r < rows ? row0 + r : rows - 1;
        wcu_load_words<BITS>(a.p, a.base, row * a.p.units + unit, w[r]);
        s[r] = a.p.scale_kind ? wcu_f16_at(a.base, a.p.u.g.scales, row * a.p.groups + g) : 1;
    }
    wcu_unit_dots<BITS, WCU_ROWS, N, true>(w, levels, v, unit, dot);
#pragma unroll
    for (unsigned r = 0; r < WCU_ROWS; r++)
#pragma unroll
        for (unsigned t = 0; t < N; t++)
            acc[r * N + t] = fmaf(s[r], dot[r][t], acc[r * N + t]);
}

/* Grid (blocks of rows, batches of N vectors), at least WCU_LUT_LANES threads for each row. The part has no holes, one
 * table or one for each row, and groups as a grid's. */
template <int BITS, int N> __global__ void __launch_bounds__(WCU_THREADS) wcu_lut_product(const wcu_product a)
{
    __shared__ float room[WCU_ROWS * N][WCU_THREADS / 32];
    alignas(128) __shared__ float levels[WCU_THREADS / WCU_LUT_LANES * WCU_ROWS << BITS];
    const wcu_levels mine = {levels, threadIdx.x / a.lanes * WCU_ROWS * (4u << BITS)};
    unsigned lane = threadIdx.x % a.lanes, first = blockIdx.y * N;
    uint32_t rows = WCU_THREADS / a.lanes * WCU_ROWS, block0 = blockIdx.x * rows;
    uint32_t row0 = block0 + threadIdx.x / a.lanes * WCU_ROWS;
    const wcu_vectors<N> v = wcu_vectors_of<N>(a, first);
    float acc[WCU_ROWS * N] = {};
    for (unsigned i = threadIdx.x; i < rows << BITS; i += WCU_THREADS) {
        uint64_t row = block0 + (i >> BITS) < a.p.rows ? block0 + (i >> BITS) : a.p.rows - 1;
        uint64_t table = a.p.form == WCU_TABLE_PER_ROW ? row << BITS : 0;
        levels[i] = wcu_f16_at(a.base, a.p.u.g.zeros, table + i % (1 << BITS)) * a.p.exp2;
    }
    __syncthreads();
    for (uint32_t unit = lane; unit < a.p.units; unit += a.lanes)
        wcu_lut_step<BITS, N>(a, row0, unit, mine, v, acc);
    wcu_end_rows<WCU_ROWS, N>(a, row0, a.p.rows, first, v.n, a.x + first * a.ldx, lane, a.lanes, acc, room);
}

#endif
