/* ggml.cuh - products of ggml's types with a code per weight.
 *
 * Whatever the type is, w = S v - M, and v = q + lo or one of 16 levels. With the sums over a run of weights that share
 * S and M, 16 or 32 columns:
 *
 *     sum_j w[j] x[j] = S sum_j q[j] x[j] - (M - S lo) sum_j x[j]
 *
 * so a weight costs one fmaf, and turning q into a float. That needs no conversion: q at bit `up' below the exponent of
 * 2^(23 - up) is the float 2^(23 - up) + q, exactly, and one subtraction away from q. Codes that would reach into the
 * exponent are shifted down first. Levels come from shared memory, where the 16 lie in as many banks. */
#ifndef WCU_GGML_CUH
#define WCU_GGML_CUH

#include "cuda/grid.cuh"

/* Columns that share S and M: the types with codes of 2, 3 and 6 bits have runs of 16, or of all 256. */
WCU_HD constexpr unsigned wcu_ggml_run_of(unsigned bits)
{
    return bits == 2 || bits == 3 || bits == 6 ? 16 : 32;
}

/* Code c of a unit, as a float. */
template <int BITS> __device__ __forceinline__ float wcu_ggml_level_of(const uint32_t *w, unsigned c)
{
    const wcu_field f = wcu_field_of(BITS, c);
    const unsigned up = f.up + BITS > 23 ? 0 : f.up, exponent = (150 - up) << 23;
    return wcu_bits_f32(wcu_field_bits<BITS>(w, c) >> (f.up - up) | exponent) - wcu_bits_f32(exponent);
}

/* Four columns of a unit from c on: dot [rows, N] += of their levels, sum [N] += of the inputs. */
template <int BITS, int N, bool TABLE>
__device__ __forceinline__ void wcu_ggml_four(const uint32_t (*w)[BITS], unsigned c, const float *table,
                                              const wcu_vectors<N> &v, uint32_t unit, float (*dot)[N], float *sum)
{
    float q[WCU_ROWS][4];
#pragma unroll
    for (unsigned r = 0; r < WCU_ROWS; r++)
#pragma unroll
        for (unsigned k = 0; k < 4; k++)
            q[r][k] = TABLE ? table[wcu_field_bits<BITS>(w[r], c + k) >> wcu_field_of(BITS, c + k).up]
                            : wcu_ggml_level_of<BITS>(w[r], c + k);
#pragma unroll
    for (unsigned t = 0; t < N; t++) {
        float4 x = wcu_get((const float4 *)(wcu_panel_of(v.xs, unit) + v.at[t] + c * 32));
        if (wcu_ggml_run_of(BITS) < WCU_UNIT) sum[t] += x.x + x.y + (x.z + x.w);
#pragma unroll
        for (unsigned r = 0; r < WCU_ROWS; r++)
            dot[r][t] = fmaf(q[r][3], x.w, fmaf(q[r][2], x.z, fmaf(q[r][1], x.y, fmaf(q[r][0], x.x, dot[r][t]))));
    }
}

/* One unit of columns of all rows of a thread. Rows behind the last one repeat it. */
template <int BITS, int N, bool TABLE>
__device__ __forceinline__ void wcu_ggml_step(const wcu_product &a, uint64_t row0, uint32_t unit, const float *table,
                                              const wcu_vectors<N> &v, float (&acc)[WCU_ROWS * N])
{
    uint32_t w[WCU_ROWS][BITS];
    uint64_t row[WCU_ROWS];
#pragma unroll
    for (unsigned r = 0; r < WCU_ROWS; r++) {
        row[r] = row0 + r < a.p.rows ? row0 + r : a.p.rows - 1;
        wcu_load_words<BITS>(a.p, a.base, row[r] * a.p.units + unit, w[r]);
    }
#pragma unroll
    for (unsigned first = 0; first < WCU_UNIT; first += wcu_ggml_run_of(BITS)) {
        float dot[WCU_ROWS][N] = {}, sum[N] = {}, s[WCU_ROWS], z[WCU_ROWS];
#pragma unroll
        for (unsigned r = 0; r < WCU_ROWS; r++) {
            wcu_ggml_stats(a.p, a.base, row[r], (uint64_t)unit * WCU_UNIT + first, &s[r], &z[r]);
            z[r] = fmaf(-s[r], (float)a.p.u.b.lo, z[r]);
        }
#pragma unroll
        for (unsigned c = 0; c < wcu_ggml_run_of(BITS); c += 4)
            wcu_ggml_four<BITS, N, TABLE>(w, first + c, table, v, unit, dot, sum);
#pragma unroll
        for (unsigned t = 0; t < N; t++) {
            if (wcu_ggml_run_of(BITS) == WCU_UNIT) sum[t] = wcu_get(v.sx + v.at[t] / WCU_UNIT + unit);
#pragma unroll
            for (unsigned r = 0; r < WCU_ROWS; r++)
                acc[r * N + t] = fmaf(s[r], dot[r][t], fmaf(-z[r], sum[t], acc[r * N + t]));
        }
    }
}

/* Grid (blocks of rows, batches of N vectors). TABLE: of 16 levels, else codes and lo. */
template <int BITS, int N, bool TABLE>
__global__ void __launch_bounds__(WCU_THREADS) wcu_ggml_product(const wcu_product a)
{
    __shared__ float room[WCU_ROWS * N][WCU_THREADS / 32], table[16];
    unsigned lane = threadIdx.x % a.lanes, first = blockIdx.y * N;
    uint64_t row0 = ((uint64_t)blockIdx.x * (WCU_THREADS / a.lanes) + threadIdx.x / a.lanes) * WCU_ROWS;
    const wcu_vectors<N> v = wcu_vectors_of<N>(a, first);
    float acc[WCU_ROWS * N] = {};
    if (TABLE && threadIdx.x < 16) table[threadIdx.x] = wcu_at<int8_t>(a.base, a.p.u.b.levels, threadIdx.x);
    if (TABLE) __syncthreads();
    for (uint32_t unit = lane; unit < a.p.units; unit += a.lanes)
        wcu_ggml_step<BITS, N, TABLE>(a, row0, unit, table, v, acc);
    wcu_end_rows<WCU_ROWS, N>(a, row0, a.p.rows, first, v.n, a.x + first * a.ldx, lane, a.lanes, acc, room);
}

template <int N> static void wcu_launch_ggml_of(const wcu_product &a, cudaStream_t stream)
{
    uint64_t rows = (uint64_t)WCU_THREADS / a.lanes * WCU_ROWS;
    dim3 grid((unsigned)((a.p.rows + rows - 1) / rows), (a.n + N - 1) / N);
    switch (a.p.bits) {
    case 4:
        if (a.p.u.b.table)
            WCU_LAUNCH((wcu_ggml_product<4, N, true>), grid, WCU_THREADS, stream, a);
        else
            WCU_LAUNCH((wcu_ggml_product<4, N, false>), grid, WCU_THREADS, stream, a);
        return;
    case 2: WCU_LAUNCH((wcu_ggml_product<2, N, false>), grid, WCU_THREADS, stream, a); return;
    case 3: WCU_LAUNCH((wcu_ggml_product<3, N, false>), grid, WCU_THREADS, stream, a); return;
    case 5: WCU_LAUNCH((wcu_ggml_product<5, N, false>), grid, WCU_THREADS, stream, a); return;
    case 6: WCU_LAUNCH((wcu_ggml_product<6, N, false>), grid, WCU_THREADS, stream, a); return;
    default: WCU_LAUNCH((wcu_ggml_product<8, N, false>), grid, WCU_THREADS, stream, a);
    }
}

/* False, and nothing is launched: it is not a part of this kind, or has entries of grids. */
static bool wcu_launch_ggml(const wcu_product &a, cudaStream_t stream)
{
    if (a.p.kind != WCU_GGML || a.p.u.b.dim > 1 || a.p.units >= WCU_MOST_UNITS) return false;
    wcu_by_vectors(a.n, [&](auto n) { wcu_launch_ggml_of<n.value>(a, stream); });
    return true;
}

#endif
