/* kernels.cuh - the kernels, and how they are launched.
 *
 * Products. y = W x: L neighbouring threads of a block of 128, L a power of two, share a few rows, and take every L-th
 * unit of 32 columns; their sums are added by shuffles, and then, in order, across warps. Inputs are f32 in the
 * workspace, with zeros behind the last column, and are read through L1 many times.
 *
 * A grid spends most of its time on codes, so that has a trick. A code q at bit `up' of a word, everything else masked
 * away, is as a float the subnormal number q 2^(up - 149): there is nothing to convert, and fmaf takes subnormals at
 * full speed. The factor 2^up is taken out of x beforehand, and so that nothing else is subnormal x also gets 2^80:
 *
 *     xs[j] = x[j] 2^(80 - up(j)),   sx[u] = sum of x over unit u                       (wcu_prepare)
 *     dot = sum_j q[j] 2^(up(j) - 149) xs[j] = 2^-69 sum_j q[j] x[j]                    one mask, one fmaf per weight
 *     y   = sum over units of s (2^69 dot - z sx) */
#ifndef WCU_KERNELS_CUH
#define WCU_KERNELS_CUH

#include "cuda/part.cuh"

#ifdef WCU_EMULATED
#define WCU_LAUNCH(kernel, grid, block, stream, ...) \
    ((void)(stream), emulated_launch(grid, block, [=] { kernel(__VA_ARGS__); }))
#else
#define WCU_LAUNCH(kernel, grid, block, stream, ...) kernel<<<grid, block, 0, stream>>>(__VA_ARGS__)
#endif

enum {
    WCU_THREADS = 128,  /* of a block of a product: 4 warps, so that 16 blocks fill a multiprocessor */
    WCU_ROWS = 4,       /* rows of a thread of a grid: 4 loads of codes in flight, and x is read once for all */
    WCU_BATCH = 8,      /* vectors at once */
    WCU_SEGMENT = 2048, /* values of a Hadamard transform in shared memory */
    WCU_RUN = 16,       /* values of a stream that are decoded between two writes: 32 bytes of bf16 */
    WCU_READERS = 256   /* most threads of a block that reads units of kind coded: 24 KiB of tables serve all of them */
};

#define WCU_X_UP     0x1p80f
#define WCU_DOT_DOWN 0x1p69f

/* What a product works on. */
struct wcu_product {
    wcu_part p;
    const uint8_t *base;
    const wcu_part *all;  /* device: the tensor's parts */
    const float *x;       /* [n, ldx] */
    const float *xs, *sx; /* [n, ldx], [n, ldx / 32]: of a grid */
    uint64_t ldx;
    uint32_t n, lanes;     /* vectors; L */
    const float *prev;     /* NULL, or [n, ldy]: is added */
    void *y;               /* [n, ldy] of ytype */
    uint32_t ytype, fused; /* fused: s holds a sparse part that is added, too */
    uint64_t ldy;
    wcu_part s;
};

/* ---- the end of a product --------------------------------------------------------------------------------------- */

/* Adds v over the L threads of a group; all threads of the block have to call it. The group's first thread gets it. */
__device__ __forceinline__ float wcu_group_sum(float v, unsigned lanes, float *room)
{
    unsigned within = lanes < 32 ? lanes : 32, warp = threadIdx.x / 32;
    for (unsigned d = within / 2; d; d /= 2)
        v += __shfl_xor_sync(0xffffffff, v, (int)d);
    if (lanes <= 32) return v;
    if (threadIdx.x % 32 == 0) room[warp] = v;
    __syncthreads();
    v = room[warp];
    for (unsigned k = 1; k < lanes / 32 && warp + k < WCU_THREADS / 32; k++)
        v += room[warp + k];
    __syncthreads();
    return v;
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
        sum = fmaf(wcu_sparse_value(s, base, k), wcu_get(x + wcu_sparse_col(s, base, k)), sum);
    return sum;
}

/* The end for a thread that has several rows of n vectors from `first' on, x the first of them. */
template <int N>
__device__ __forceinline__ void wcu_end_rows(const wcu_product &a, uint64_t row0, unsigned first, unsigned n,
                                             const float *x, unsigned lane, float (*acc)[N], float *room)
{
#pragma unroll
    for (unsigned r = 0; r < WCU_ROWS; r++)
#pragma unroll
        for (unsigned t = 0; t < N; t++) {
            if (t >= n) continue;
            if (a.fused && row0 + r < a.p.rows)
                acc[r][t] += wcu_sparse_dot(a.s, a.base, row0 + r, x + t * a.ldx, lane, a.lanes);
            float v = wcu_group_sum(acc[r][t], a.lanes, room);
            if (!lane && row0 + r < a.p.rows) wcu_put(a, row0 + r, first + t, v);
        }
}

/* ---- grid ------------------------------------------------------------------------------------------------------- */

/* Four codes from c on of all rows, as subnormal floats; LUT: their levels, of [rows, 2^BITS]. */
template <int BITS, bool LUT>
__device__ __forceinline__ void wcu_four(const uint32_t (*w)[BITS], unsigned c, const float *levels, float (*q)[4])
{
#pragma unroll
    for (unsigned r = 0; r < WCU_ROWS; r++)
#pragma unroll
        for (unsigned k = 0; k < 4; k++) {
            uint32_t code = wcu_field_bits<BITS>(w[r], c + k);
            q[r][k] = LUT ? levels[(r << BITS) + (code >> wcu_field_of(BITS, c + k).up)] : wcu_bits_f32(code);
        }
}

/* dot [rows, N] of a unit; vectors behind n are not touched. */
template <int BITS, int N, bool LUT>
__device__ __forceinline__ void wcu_unit_dots(const uint32_t (*w)[BITS], const float *levels, const float *xs,
                                              uint64_t ldx, uint32_t n, float (*dot)[N])
{
#pragma unroll
    for (unsigned c = 0; c < WCU_UNIT; c += 4) {
        float q[WCU_ROWS][4];
        wcu_four<BITS, LUT>(w, c, levels, q);
#pragma unroll
        for (unsigned t = 0; t < N; t++) {
            if (t >= n) continue;
            float4 x = wcu_get((const float4 *)(xs + t * ldx + c));
#pragma unroll
            for (unsigned r = 0; r < WCU_ROWS; r++)
                dot[r][t] = fmaf(q[r][3], x.w, fmaf(q[r][2], x.z, fmaf(q[r][1], x.y, fmaf(q[r][0], x.x, dot[r][t]))));
        }
    }
}

/* One unit of columns of all rows of a thread: acc [rows, N]. Rows behind the last one repeat it. */
template <int BITS, int N>
__device__ __forceinline__ void wcu_grid_step(const wcu_product &a, uint64_t row0, uint64_t unit, const float *xs,
                                              const float *sx, uint32_t n, float (*acc)[N])
{
    uint32_t w[WCU_ROWS][BITS];
    float dot[WCU_ROWS][N] = {}, s[WCU_ROWS], z[WCU_ROWS];
    uint64_t g = a.p.groups == 1 ? 0 : (uint32_t)unit / (a.p.group / WCU_UNIT);
#pragma unroll
    for (unsigned r = 0; r < WCU_ROWS; r++) {
        uint64_t row = row0 + r < a.p.rows ? row0 + r : a.p.rows - 1;
        wcu_load_words<BITS>(a.p, a.base, row * a.p.units + unit, w[r]);
        wcu_grid_stats(a.p, a.base, row, g, &s[r], &z[r]);
    }
    wcu_unit_dots<BITS, N, false>(w, NULL, xs + unit * WCU_UNIT, a.ldx, n, dot);
#pragma unroll
    for (unsigned t = 0; t < N; t++) {
        if (t >= n) continue;
        float sum = wcu_get(sx + t * (a.ldx / WCU_UNIT) + unit);
#pragma unroll
        for (unsigned r = 0; r < WCU_ROWS; r++)
            acc[r][t] = fmaf(s[r], fmaf(-z[r], sum, dot[r][t] * WCU_DOT_DOWN), acc[r][t]);
    }
}

/* Grid (blocks of rows, batches of N vectors). The part has no holes, and groups of a multiple of 32 columns or one. */
template <int BITS, int N> __global__ void __launch_bounds__(WCU_THREADS) wcu_grid_product(const wcu_product a)
{
    __shared__ float room[WCU_THREADS / 32];
    unsigned lane = threadIdx.x % a.lanes, first = blockIdx.y * N, n = a.n - first < N ? a.n - first : N;
    uint64_t row0 = ((uint64_t)blockIdx.x * (WCU_THREADS / a.lanes) + threadIdx.x / a.lanes) * WCU_ROWS;
    const float *x = a.x + first * a.ldx, *xs = a.xs + first * a.ldx, *sx = a.sx + first * (a.ldx / WCU_UNIT);
    float acc[WCU_ROWS][N] = {};
    for (uint64_t unit = lane; unit < a.p.units; unit += a.lanes)
        wcu_grid_step<BITS, N>(a, row0, unit, xs, sx, n, acc);
    wcu_end_rows<N>(a, row0, first, n, x, lane, acc, room);
}

/* ---- lut -------------------------------------------------------------------------------------------------------- */

enum { WCU_LUT_LANES = 16 }; /* least threads of a row: bounds the tables that a block has to keep */

/* One unit of columns of all rows of a thread, whose levels are in shared memory: no bank has two of the 16 at most
 * that threads of one row look up. Every lookup is one value: a table of pairs would be read half as often, but by
 * threads that wait for each other's banks. */
template <int BITS, int N>
__device__ __forceinline__ void wcu_lut_step(const wcu_product &a, uint64_t row0, uint64_t unit, const float *levels,
                                             const float *x, uint32_t n, float (*acc)[N])
{
    uint32_t w[WCU_ROWS][BITS];
    float dot[WCU_ROWS][N] = {}, s[WCU_ROWS];
#pragma unroll
    for (unsigned r = 0; r < WCU_ROWS; r++) {
        uint64_t row = row0 + r < a.p.rows ? row0 + r : a.p.rows - 1;
        wcu_load_words<BITS>(a.p, a.base, row * a.p.units + unit, w[r]);
        uint64_t g = a.p.groups == 1 || !a.p.scale_kind ? 0 : (uint32_t)unit / (a.p.group / WCU_UNIT);
        s[r] = a.p.scale_kind ? wcu_f16_at(a.base, a.p.u.g.scales, row * a.p.groups + g) : 1;
    }
    wcu_unit_dots<BITS, N, true>(w, levels, x, a.ldx, n, dot);
#pragma unroll
    for (unsigned r = 0; r < WCU_ROWS; r++)
#pragma unroll
        for (unsigned t = 0; t < N; t++)
            acc[r][t] = fmaf(s[r], dot[r][t], acc[r][t]);
}

/* Grid (blocks of rows, batches of N vectors), at least WCU_LUT_LANES threads for each row. The part has no holes, one
 * table or one for each row, and groups of a multiple of 32 columns or one. */
template <int BITS, int N> __global__ void __launch_bounds__(WCU_THREADS) wcu_lut_product(const wcu_product a)
{
    __shared__ float room[WCU_THREADS / 32];
    __shared__ float levels[WCU_THREADS / WCU_LUT_LANES * WCU_ROWS << BITS];
    unsigned lane = threadIdx.x % a.lanes, first = blockIdx.y * N, n = a.n - first < N ? a.n - first : N;
    unsigned rows = WCU_THREADS / a.lanes * WCU_ROWS;
    uint64_t block0 = (uint64_t)blockIdx.x * rows, row0 = block0 + threadIdx.x / a.lanes * WCU_ROWS;
    const float *x = a.x + first * a.ldx;
    float acc[WCU_ROWS][N] = {};
    for (unsigned i = threadIdx.x; i < rows << BITS; i += WCU_THREADS) {
        uint64_t row = block0 + (i >> BITS) < a.p.rows ? block0 + (i >> BITS) : a.p.rows - 1;
        uint64_t table = a.p.form == WCU_TABLE_PER_ROW ? row << BITS : 0;
        levels[i] = wcu_f16_at(a.base, a.p.u.g.zeros, table + i % (1 << BITS)) * a.p.exp2;
    }
    __syncthreads();
    for (uint64_t unit = lane; unit < a.p.units; unit += a.lanes)
        wcu_lut_step<BITS, N>(a, row0, unit, levels + (threadIdx.x / a.lanes * WCU_ROWS << BITS), x + unit * WCU_UNIT,
                              n, acc);
    wcu_end_rows<N>(a, row0, first, n, x, lane, acc, room);
}

/* ---- any part --------------------------------------------------------------------------------------------------- */

/* acc [WCU_BATCH] += w [n columns] times the vectors. */
__device__ __forceinline__ void wcu_unit_product(const float *w, unsigned columns, const float *x, uint64_t ldx,
                                                 uint32_t n, float *acc)
{
#pragma unroll
    for (unsigned t = 0; t < WCU_BATCH; t++)
        for (unsigned c = 0; t < n && c < columns; c++)
            acc[t] = fmaf(w[c], wcu_get(x + t * ldx + c), acc[t]);
}

/* A unit of a plain float (KIND WCU_FLOAT), of a lut, of kinds vq and ggml, or of any part (KIND 0). */
template <int KIND>
__device__ __forceinline__ void wcu_unit_of(const wcu_product &a, uint64_t row, uint64_t unit, float *w)
{
    if (KIND == WCU_FLOAT)
        wcu_float_unit(a.p, a.base, row, unit, wcu_unit_size(a.p, unit), w);
    else if (KIND == WCU_LUT)
        wcu_lut_unit(a.p, a.base, row, unit, wcu_unit_size(a.p, unit), w);
    else if (KIND == WCU_VQ)
        wcu_vq_unit(a.p, a.base, row, unit, wcu_unit_size(a.p, unit), w);
    else if (KIND == WCU_GGML)
        wcu_ggml_unit(a.p, a.base, row, unit, w);
    else
        wcu_unit(a.all, a.p, a.base, row, unit, w);
}

/* Grid (blocks of rows, batches of vectors); a thread has one row. */
template <int KIND> __global__ void __launch_bounds__(WCU_THREADS) wcu_part_product(const wcu_product a)
{
    __shared__ float room[WCU_THREADS / 32];
    unsigned lane = threadIdx.x % a.lanes, first = blockIdx.y * WCU_BATCH, n = a.n - first;
    uint64_t row = (uint64_t)blockIdx.x * (WCU_THREADS / a.lanes) + threadIdx.x / a.lanes;
    const float *x = a.x + first * a.ldx;
    float acc[WCU_BATCH] = {}, w[WCU_UNIT];
    if (n > WCU_BATCH) n = WCU_BATCH;
    for (uint64_t unit = lane; unit < a.p.units && row < a.p.rows && a.p.kind != WCU_SPARSE; unit += a.lanes) {
        wcu_unit_of<KIND>(a, row, unit, w);
        wcu_unit_product(w, wcu_unit_size(a.p, unit), x + unit * WCU_UNIT, a.ldx, n, acc);
    }
#pragma unroll
    for (unsigned t = 0; t < WCU_BATCH; t++) {
        if (t >= n) continue;
        if (a.p.kind == WCU_SPARSE && row < a.p.rows)
            acc[t] += wcu_sparse_dot(a.p, a.base, row, x + t * a.ldx, lane, a.lanes);
        if (a.fused && row < a.p.rows) acc[t] += wcu_sparse_dot(a.s, a.base, row, x + t * a.ldx, lane, a.lanes);
        float v = wcu_group_sum(acc[t], a.lanes, room);
        if (!lane && row < a.p.rows) wcu_put(a, row, first + t, v);
    }
}

/* Rows of a low-rank part of form PIVOT: y = prev + (row of others | element of z | 0), others [n, ld], z [n, ldx]. */
static __global__ void wcu_pivot_rows(const wcu_product a, const float *others, uint64_t ld)
{
    uint64_t row = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= a.p.rows) return;
    int32_t from = wcu_at<int32_t>(a.base, a.p.u.r.map, row);
    for (uint32_t t = 0; t < a.n; t++) {
        float v = from == WCU_NOWHERE ? 0 : from < 0 ? a.x[t * a.ldx + (uint64_t)(-1 - from)] : others[t * ld + from];
        wcu_put(a, row, t, v);
    }
}

/* ---- inputs ----------------------------------------------------------------------------------------------------- */

/* x [n, ldx] = the inputs [n, cols] in f32, zeros behind them. Grid (blocks of columns, vectors). */
static __global__ void wcu_inputs(const void *in, uint32_t type, uint64_t cols, float *x, uint64_t ldx)
{
    uint64_t j = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (j < ldx) x[blockIdx.y * ldx + j] = j < cols ? wcu_load(in, type, blockIdx.y * cols + j) : 0;
}

/* xs and sx for codes of `bits' bits. A thread has a column; the 32 of a warp are a unit. Grid as before. */
static __global__ void wcu_prepare(const float *x, uint64_t ldx, uint32_t bits, float *xs, float *sx)
{
    uint64_t j = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * ldx;
    float v = j < ldx ? x[row + j] : 0, sum = v;
    for (int d = 16; d; d /= 2)
        sum += __shfl_xor_sync(0xffffffff, sum, d);
    if (j >= ldx) return;
    unsigned up = wcu_field_of(bits, (unsigned)(j % WCU_UNIT)).up;
    xs[row + j] = v * WCU_X_UP * wcu_bits_f32((127 - up) << 23);
    if (j % WCU_UNIT == 0) sx[(row + j) / WCU_UNIT] = sum;
}

/* ---- transforms ------------------------------------------------------------------------------------------------- */

/* Rows of x [n, ldx] times diag(c). Grid (blocks of columns, rows). */
static __global__ void wcu_diagonal(const wcu_part p, const uint8_t *base, float *x, uint64_t ldx)
{
    uint64_t j = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (j < p.cols) x[blockIdx.y * ldx + j] *= wcu_f16_at(base, p.u.t.values, j) * p.exp2;
}

/* x[j] times `by', negative where the sign of column j is set. */
__device__ __forceinline__ float wcu_signed(const wcu_part &p, const uint8_t *base, uint64_t j, float by)
{
    return wcu_at<uint8_t>(base, p.u.t.values, j / 8) >> j % 8 & 1 ? -by : by;
}

/* The rounds len = 1 .. segment / 2 of Hadamard transforms, segment = min(order, WCU_SEGMENT), of rows of x in place;
 * `before', `after': multiply by signs before, and by `after', with signs or without, behind the last round of all.
 * Grid (segments of a row, rows), WCU_SEGMENT / 8 threads. */
static __global__ void wcu_hadamard_segment(const wcu_part p, const uint8_t *base, float *x, uint64_t ldx, int input)
{
    __shared__ float t[WCU_SEGMENT];
    uint64_t order = (uint64_t)1 << p.u.t.log2;
    unsigned segment = order < WCU_SEGMENT ? (unsigned)order : WCU_SEGMENT;
    uint64_t j0 = (uint64_t)blockIdx.x * segment;
    float *row = x + blockIdx.y * ldx + j0;
    for (unsigned i = threadIdx.x; i < segment; i += blockDim.x)
        t[i] = input ? row[i] * wcu_signed(p, base, j0 + i, 1) : row[i];
    for (unsigned len = 1; len < segment; len *= 2) {
        __syncthreads();
        for (unsigned k = threadIdx.x; k < segment / 2; k += blockDim.x) {
            unsigned i = k / len * 2 * len + k % len;
            float a = t[i], b = t[i + len];
            t[i] = a + b, t[i + len] = a - b;
        }
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < segment; i += blockDim.x)
        row[i] = order > segment ? t[i] : t[i] * (input ? p.exp2 : wcu_signed(p, base, j0 + i, p.exp2));
}

/* One more round; the last one multiplies, too. Grid (blocks of pairs, rows). */
static __global__ void wcu_hadamard_round(const wcu_part p, const uint8_t *base, float *x, uint64_t ldx, uint64_t len,
                                          int input)
{
    uint64_t k = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x, j = k / len * 2 * len + k % len;
    if (k >= p.cols / 2) return;
    float *row = x + blockIdx.y * ldx, a = row[j], b = row[j + len], sum = a + b, difference = a - b;
    int last = len * 2 == (uint64_t)1 << p.u.t.log2;
    row[j] = !last ? sum : sum * (input ? p.exp2 : wcu_signed(p, base, j, p.exp2));
    row[j + len] = !last ? difference : difference * (input ? p.exp2 : wcu_signed(p, base, j + len, p.exp2));
}

/* C x gathers, (C x)[j] = x[from[j]], and a cycle of from is two reflections one after the other: with its places
 * c[0], c[1], .., c[k - 1], from[c[i]] = c[i + 1], turn[c[i]] = c[-i] (indices mod k),
 *
 *     y[j] = x[turn[j]],  z[j] = y[turn[from[j]]]:   z[c[i]] = y[c[-1 - i]] = x[c[i + 1]]
 *
 * A reflection is pairs that change places, so each is done in place by one thread per pair. C x is the first step,
 * then the second; w C, its inverse, the second and then the first. Grid (blocks of columns, rows). */
static __global__ void wcu_permute_step(const wcu_part p, const uint8_t *base, float *x, uint64_t ldx, int second)
{
    uint64_t j = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (j >= p.cols) return;
    uint32_t to = wcu_at<uint32_t>(base, p.u.t.turn, second ? wcu_at<uint32_t>(base, p.u.t.from, j) : j);
    if (to <= j) return;
    float *row = x + blockIdx.y * ldx, moved = row[j];
    row[j] = row[to];
    row[to] = moved;
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

/* Rows r0 .. r0 + n of the sum of the first n_parts parts, of which number `which', p, has a kernel by itself; none has
 * if which is n_parts, and p is the first. */
struct wcu_sum {
    wcu_part p;
    const uint8_t *base;
    const wcu_part *all; /* device */
    uint32_t n_parts, which;
    uint64_t r0, n;
    void *dst;
    uint32_t type;
    uint64_t ld;
};

/* Unit `unit' of a row of the sum to dst; `known' are its values in part `which'. */
__device__ __forceinline__ void wcu_put_sum(const wcu_sum &a, uint64_t row, uint64_t unit, const float *known)
{
    float w[WCU_UNIT], v[WCU_UNIT];
    unsigned columns = wcu_unit_size(a.p, unit);
    for (uint32_t k = 0; k < a.n_parts; k++) {
        const float *add = k == a.which ? known : v;
        if (k != a.which) wcu_unit(a.all, a.all[k], a.base, row, unit, v);
        for (unsigned c = 0; c < columns; c++)
            w[c] = k ? w[c] + add[c] : add[c];
    }
    for (unsigned c = 0; c < columns; c++)
        wcu_store(a.dst, a.type, (row - a.r0) * a.ld + unit * WCU_UNIT + c, w[c]);
}

/* No part has a kernel by itself: a thread has a unit of the sum. */
static __global__ void __launch_bounds__(256, 2) wcu_sum_rows(const wcu_sum a)
{
    uint64_t k = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (k / a.p.units < a.n) wcu_put_sum(a, a.r0 + k / a.p.units, k % a.p.units, NULL);
}

/* ---- entropy-coded floats --------------------------------------------------------------------------------------- */

/* The codes of every coded plane as tables in shared memory: 12 bits to symbol and length. All threads. */
__device__ __forceinline__ void wcu_build_tables(const wcu_part &p, const uint8_t *base, unsigned width,
                                                 uint16_t (*look)[1 << WCU_CODE_BITS])
{
    for (unsigned b = 0; b < width; b++)
        for (unsigned i = threadIdx.x; i < 1 << WCU_CODE_BITS && p.u.f.mode[b] == WCU_CODED; i += blockDim.x)
            look[b][i] = wcu_code_of(base, p.u.f.first[b], i);
    __syncthreads();
}

/* Four bytes of plane b, from entry e on, into bits 8 b of x [4]. */
__device__ __forceinline__ void wcu_plane_four(const wcu_part &p, const uint8_t *base, unsigned b, uint64_t e,
                                               const uint16_t *look, wcu_stream *s, uint32_t *x)
{
    if (p.u.f.mode[b] == WCU_CODED) {
        wcu_refill(s);
#pragma unroll
        for (unsigned k = 0; k < 4; k++) {
            unsigned code = look[s->window >> (64 - WCU_CODE_BITS)];
            s->window <<= code >> 8;
            s->used += code >> 8;
            x[k] |= (code & 255) << 8 * b;
        }
        return;
    }
    /* Entries of a raw plane are padded to a multiple of 4 on the device. */
    uint32_t four =
        p.u.f.mode[b] == WCU_RAW ? wcu_at<uint32_t>(base, p.u.f.first[b], e / 4) : p.u.f.constant[b] * 0x01010101u;
#pragma unroll
    for (unsigned k = 0; k < 4; k++)
        x[k] |= (four >> 8 * k & 255) << 8 * b;
}

/* The streams of all coded planes from entry e on, a multiple of 1024. */
template <int WIDTH>
__device__ __forceinline__ void wcu_open_streams(const wcu_part &p, const uint8_t *base, uint64_t e, wcu_stream *s)
{
#pragma unroll
    for (unsigned b = 0; b < WIDTH; b++)
        if (p.u.f.mode[b] == WCU_CODED)
            s[b] = wcu_stream_open(p, base, b, e / WCU_CHUNK, (unsigned)(e % WCU_CHUNK / WCU_STREAM));
}

/* x [N] = the stored bits of values e .., which the streams s come to next. */
template <int WIDTH, int N>
__device__ __forceinline__ void wcu_next_run(const wcu_part &p, const uint8_t *base, uint64_t e,
                                             const uint16_t (*look)[1 << WCU_CODE_BITS], wcu_stream *s, uint32_t *x)
{
#pragma unroll
    for (unsigned k = 0; k < N; k++)
        x[k] = 0;
#pragma unroll
    for (unsigned k = 0; k < N; k += 4)
#pragma unroll
        for (unsigned b = 0; b < WIDTH; b++)
            wcu_plane_four(p, base, b, e + k, look[b], &s[b], x + k);
#pragma unroll
    for (unsigned k = 0; k < N; k++)
        x[k] = wcu_unrotate(p.dtype, x[k]);
}

/* Sixteen values to dst, whose type is the stored one: their bits. to16: dst + the first is 16-byte aligned, and all
 * sixteen are wanted. */
template <int WIDTH> __device__ __forceinline__ void wcu_put_run(void *dst, uint64_t at, const uint32_t *x)
{
    uint4 *out = (uint4 *)((uint8_t *)dst + at * WIDTH);
#pragma unroll
    for (unsigned k = 0; k < WIDTH; k++) {
        const uint32_t *v = x + k * 16 / WIDTH;
        if (WIDTH == 4)
            out[k] = uint4{v[0], v[1], v[2], v[3]};
        else
            out[k] = uint4{v[0] | v[1] << 16, v[2] | v[3] << 16, v[4] | v[5] << 16, v[6] | v[7] << 16};
    }
}

struct wcu_decode {
    wcu_part p;
    const uint8_t *base;
    uint64_t first, end; /* the values wanted */
    void *dst;           /* value e goes to row (e - first) / cols of dst [., ld] */
    uint32_t type;
    uint64_t ld;
};

/* A thread decodes one stream of 1024 values, sixteen at a time. WIDTH: bytes of a value. */
template <int WIDTH> __global__ void __launch_bounds__(WCU_THREADS) wcu_decode_streams(const wcu_decode a)
{
    __shared__ uint16_t look[WIDTH][1 << WCU_CODE_BITS];
    wcu_build_tables(a.p, a.base, WIDTH, look);
    uint64_t stream = a.first / WCU_STREAM + (uint64_t)blockIdx.x * blockDim.x + threadIdx.x, e = stream * WCU_STREAM;
    uint64_t end = e + WCU_STREAM < a.end ? e + WCU_STREAM : a.end;
    wcu_stream s[WIDTH] = {};
    if (e < end) wcu_open_streams<WIDTH>(a.p, a.base, e, s);
    bool plain = a.ld == a.p.cols && a.type == a.p.dtype && (uint64_t)a.dst % 16 == 0 && a.first * WIDTH % 16 == 0;
    for (; e < end; e += WCU_RUN) {
        uint32_t x[WCU_RUN];
        wcu_next_run<WIDTH, WCU_RUN>(a.p, a.base, e, look, s, x);
        if (plain && e >= a.first && e + WCU_RUN <= end) {
            wcu_put_run<WIDTH>(a.dst, e - a.first, x);
            continue;
        }
#pragma unroll
        for (unsigned k = 0; k < WCU_RUN; k++) {
            if (e + k < a.first || e + k >= end) continue;
            uint64_t i = e + k - a.first, at = i / a.p.cols * a.ld + i % a.p.cols;
            if (a.type != a.p.dtype)
                wcu_store(a.dst, a.type, at, wcu_float_of(a.p.dtype, x[k]));
            else if (WIDTH == 4)
                ((uint32_t *)a.dst)[at] = x[k];
            else
                ((uint16_t *)a.dst)[at] = (uint16_t)x[k];
        }
    }
}

/* Rows of a sum of which one part is an entropy-coded float of two bytes a value, of a multiple of 32 columns: a thread
 * decodes a stream, unit by unit, and adds the other parts to each. */
static __global__ void __launch_bounds__(WCU_THREADS, 4) wcu_sum_streams(const wcu_sum a)
{
    __shared__ uint16_t look[2][1 << WCU_CODE_BITS];
    wcu_build_tables(a.p, a.base, 2, look);
    uint64_t first = a.r0 * a.p.cols, last = first + a.n * a.p.cols;
    uint64_t e = (first / WCU_STREAM + (uint64_t)blockIdx.x * blockDim.x + threadIdx.x) * WCU_STREAM;
    uint64_t end = e + WCU_STREAM < last ? e + WCU_STREAM : last;
    wcu_stream s[2] = {};
    if (e < end) wcu_open_streams<2>(a.p, a.base, e, s);
    for (; e < end; e += WCU_UNIT) {
        uint32_t x[WCU_UNIT];
        float w[WCU_UNIT];
        wcu_next_run<2, WCU_UNIT>(a.p, a.base, e, look, s, x);
        if (e < first) continue;
        for (unsigned c = 0; c < WCU_UNIT; c++)
            w[c] = wcu_float_of(a.p.dtype, x[c]);
        wcu_put_sum(a, e / a.p.cols, e % a.p.cols / WCU_UNIT, w);
    }
}

/* ---- coded: points of a trellis ---------------------------------------------------------------------------------
 *
 * Sixteen threads, half a warp, read a unit: thread l has rANS state l and the columns that it reads. Only the words
 * that states ask for depend on each other; a ballot says which thread gets which. The two halves of a warp are
 * neighbours in the same tile, so that loops are the same for all 32, and every ballot and shuffle has all of them. */

struct wcu_laws {
    uint64_t bucket[WCU_CLASSES * 2 * WCU_SYMBOLS];
    float value[WCU_CLASSES * 2 * WCU_SYMBOLS];
    uint2 law[WCU_CLASSES]; /* shift, shrinks */
};

/* All threads of the block. */
__device__ __forceinline__ void wcu_load_laws(const wcu_part &p, const uint8_t *base, wcu_laws *t)
{
    for (unsigned i = threadIdx.x; i < p.u.l.n_classes * 2u * WCU_SYMBOLS; i += blockDim.x) {
        t->bucket[i] = wcu_at<uint64_t>(base, p.u.l.buckets, i);
        t->value[i] = wcu_at<float>(base, p.u.l.values, i);
    }
    for (unsigned i = threadIdx.x; i < p.u.l.n_classes; i += blockDim.x)
        t->law[i] = wcu_at<uint2>(base, p.u.l.laws, i);
    __syncthreads();
}

/* What a thread knows of the unit that its half of the warp reads. */
struct wcu_half {
    wcu_words words;
    uint32_t x;
    unsigned lane, shift;     /* l; where the half begins in a ballot */
    uint64_t row, block;      /* the tile's first row; block of columns */
    unsigned columns, groups; /* of the unit; of the first unit of the warp, whose last group may be ragged */
    const wcu_laws *t;
    uint8_t *state; /* of the trellis, of the unit's columns */
};

/* The thread's unit, counted from tile `first' on: all its row is before `end'? Then true, in all threads of the warp.
 * The second half of a warp may have none: columns is 0. */
__device__ __forceinline__ bool wcu_open_half(const wcu_part &p, const uint8_t *base, uint64_t first, uint64_t end,
                                              const wcu_laws *t, uint8_t *states, wcu_half *h)
{
    uint64_t warp = ((uint64_t)blockIdx.x * blockDim.x + threadIdx.x) / 32, pairs = (p.u.l.blocks + 1) / 2;
    uint64_t tile = first + warp / pairs, left = p.cols - warp % pairs * 2 * WCU_BLOCK;
    if (tile * p.tile >= end) return false;
    h->lane = threadIdx.x % WCU_STATES, h->shift = threadIdx.x % 32 - h->lane;
    h->row = tile * p.tile, h->block = warp % pairs * 2 + h->shift / WCU_STATES;
    h->groups = left < WCU_BLOCK ? ((unsigned)left + WCU_STATES - 1) / WCU_STATES : WCU_BLOCK / WCU_STATES;
    if (h->shift) left = left < WCU_BLOCK ? 0 : left - WCU_BLOCK;
    h->columns = left < WCU_BLOCK ? (unsigned)left : WCU_BLOCK;
    h->t = t, h->state = states + threadIdx.x / WCU_STATES * WCU_BLOCK;
    h->words = h->columns ? wcu_words_of(p, base, tile, h->block) : wcu_words{0, 0};
    h->x = wcu_first_state(p, base, h->words, h->lane);
    wcu_skip_states(&h->words);
    for (unsigned c = h->lane; c < WCU_BLOCK; c += WCU_STATES)
        h->state[c] = 0;
    return true;
}

/* A word for every thread whose state wants one, in the order of the states. All threads of the warp. */
__device__ __forceinline__ void wcu_take_words(const wcu_part &p, const uint8_t *base, wcu_half *h, bool wants)
{
    uint32_t asked = __ballot_sync(0xffffffff, wants) >> h->shift & 0xffff;
    if (wants) h->x = h->x << 16 | wcu_word(p, base, h->words, (uint32_t)__popc(asked & ((1u << h->lane) - 1)));
    wcu_skip_words(&h->words, (uint32_t)__popc(asked));
}

/* The thread's column of a group of the unit; 0 when it has none. All threads of the warp. */
__device__ __forceinline__ float wcu_half_group(const wcu_part &p, const uint8_t *base, unsigned group, int move,
                                                wcu_half *h)
{
    unsigned c = group * WCU_STATES + h->lane, law = 0, s = 0, table = 0;
    uint32_t symbol = WCU_SYMBOLS / 2;
    bool in = c < h->columns;
    float step = 0;
    if (in) {
        uint64_t col = h->block * WCU_BLOCK + c;
        step = wcu_at<float>(base, p.u.l.steps, col);
        law = wcu_law_of(p, wcu_at<uint8_t>(base, p.u.l.classes, col), move);
        s = h->state[c], table = (2 * law + s % 2) * WCU_SYMBOLS;
        symbol = wcu_pop(h->t->bucket[table + h->x % WCU_SLOTS / WCU_SYMBOLS], &h->x);
    }
    wcu_take_words(p, base, h, in && !(h->x >> 16));
    uint2 of = h->t->law[law];
    float value = h->t->value[table + symbol];
    uint32_t k = symbol, low = __ballot_sync(0xffffffff, in && (!symbol || of.x));
    if (low) {
        bool mine = in && (low >> h->shift & 0xffff);
        if (mine) {
            k = (uint32_t)wcu_low_bits(symbol, of.x, &h->x);
            value = wcu_point_value((int32_t)k, s, of.y);
        }
        wcu_take_words(p, base, h, mine && !(h->x >> 16));
    }
    if (in) h->state[c] = wcu_next_state(p, s, k);
    return step * value;
}

/* Half a warp reads a unit of the tiles that the rows lie in. SUM: a row of the unit goes to shared memory, and eight
 * threads add the other parts to 32 columns each. */
template <bool SUM> __global__ void __launch_bounds__(WCU_READERS, 2) wcu_trellis_decode(const wcu_sum a)
{
    __shared__ wcu_laws t;
    __shared__ uint8_t states[WCU_READERS / WCU_STATES * WCU_BLOCK];
    __shared__ float rows[SUM ? WCU_READERS / WCU_STATES : 1][WCU_BLOCK];
    wcu_half h;
    wcu_load_laws(a.p, a.base, &t);
    if (!wcu_open_half(a.p, a.base, a.r0 / a.p.tile, a.r0 + a.n, &t, states, &h)) return;
    uint64_t tile_end = h.row + a.p.tile, end = tile_end < a.r0 + a.n ? tile_end : a.r0 + a.n;
    float *w = rows[SUM ? threadIdx.x / WCU_STATES : 0];
    for (uint64_t row = h.row; row < end; row++) {
        int move = wcu_row_move(a.p, a.base, row);
        for (unsigned g = 0; g < h.groups; g++) {
            unsigned c = g * WCU_STATES + h.lane;
            float v = wcu_half_group(a.p, a.base, g, move, &h);
            if (SUM)
                w[c] = v;
            else if (c < h.columns && row >= a.r0)
                wcu_store(a.dst, a.type, (row - a.r0) * a.ld + h.block * WCU_BLOCK + c, v);
        }
        if (!SUM || row < a.r0) continue;
        __syncwarp();
        if (h.lane * WCU_UNIT < h.columns)
            wcu_put_sum(a, row, h.block * (WCU_BLOCK / WCU_UNIT) + h.lane, w + h.lane * WCU_UNIT);
        __syncwarp();
    }
}

/* partial [n, rows, blocks] = what each unit of columns adds to a row times vector, n = a.n <= N vectors. The columns
 * of a thread in ascending order, then the sixteen by halves. */
template <int N> __global__ void __launch_bounds__(WCU_READERS) wcu_trellis_product(const wcu_product a, float *partial)
{
    __shared__ wcu_laws t;
    __shared__ uint8_t states[WCU_READERS / WCU_STATES * WCU_BLOCK];
    wcu_half h;
    wcu_load_laws(a.p, a.base, &t);
    if (!wcu_open_half(a.p, a.base, 0, a.p.rows, &t, states, &h)) return;
    uint64_t tile_end = h.row + a.p.tile, end = tile_end < a.p.rows ? tile_end : a.p.rows;
    const float *x = a.x + h.block * WCU_BLOCK;
    for (uint64_t row = h.row; row < end; row++) {
        int move = wcu_row_move(a.p, a.base, row);
        float acc[N] = {};
        for (unsigned g = 0; g < h.groups; g++) {
            unsigned c = g * WCU_STATES + h.lane;
            float w = wcu_half_group(a.p, a.base, g, move, &h);
            if (c >= h.columns) continue;
#pragma unroll
            for (unsigned k = 0; k < N; k++)
                if (k < a.n) acc[k] = fmaf(w, wcu_get(x + k * a.ldx + c), acc[k]);
        }
#pragma unroll
        for (unsigned k = 0; k < N; k++) {
            if (k >= a.n) continue;
            float v = acc[k];
            for (int d = WCU_STATES / 2; d; d /= 2)
                v += __shfl_xor_sync(0xffffffff, v, d);
            if (!h.lane && h.columns) partial[(k * a.p.rows + row) * a.p.u.l.blocks + h.block] = v;
        }
    }
}

/* y = prev + the partial sums of a row, and the sparse part. L <= 32 threads have a row; grid (blocks of rows, n). */
static __global__ void __launch_bounds__(WCU_THREADS) wcu_trellis_sum(const wcu_product a, const float *partial)
{
    unsigned lane = threadIdx.x % a.lanes, k = blockIdx.y;
    uint64_t row = (uint64_t)blockIdx.x * (WCU_THREADS / a.lanes) + threadIdx.x / a.lanes;
    float v = 0;
    for (uint64_t b = lane; b < a.p.u.l.blocks && row < a.p.rows; b += a.lanes)
        v += partial[(k * a.p.rows + row) * a.p.u.l.blocks + b];
    if (a.fused && row < a.p.rows) v += wcu_sparse_dot(a.s, a.base, row, a.x + k * a.ldx, lane, a.lanes);
    v = wcu_group_sum(v, a.lanes, NULL);
    if (!lane && row < a.p.rows) wcu_put(a, row, k, v);
}

#endif
