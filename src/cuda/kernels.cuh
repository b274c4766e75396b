/* kernels.cuh - the kernels that are not of grids or luts alone: products with any part, transforms, rows,
 * entropy-coded floats, points of a trellis. */
#ifndef WCU_KERNELS_CUH
#define WCU_KERNELS_CUH

#include "cuda/product.cuh"

enum {
    WCU_SEGMENT = 2048, /* values of a Hadamard transform in shared memory */
    WCU_RUN = 32,       /* words of decoded values that a thread keeps: it writes a line of 128 bytes at once */
    WCU_DECODERS = 6,   /* blocks of a multiprocessor that decode streams */
    WCU_READERS = 256   /* most threads of a block that reads units of kind coded: 24 KiB of tables serve all of them */
};

/* ---- any part --------------------------------------------------------------------------------------------------- */

/* acc [WCU_BATCH] += w [n columns] times the vectors, xs the unit's place in the panel of the first. */
__device__ __forceinline__ void wcu_unit_product(const float *w, unsigned columns, const float *xs, uint64_t lds,
                                                 uint32_t n, float *acc)
{
#pragma unroll
    for (unsigned t = 0; t < WCU_BATCH; t++) {
        unsigned c = 0;
        for (; t < n && c + 4 <= columns; c += 4) {
            float4 x = wcu_get((const float4 *)(xs + t * lds + c * 32));
            acc[t] = fmaf(w[c + 3], x.w, fmaf(w[c + 2], x.z, fmaf(w[c + 1], x.y, fmaf(w[c], x.x, acc[t]))));
        }
        for (; t < n && c < columns; c++)
            acc[t] = fmaf(w[c], wcu_get(xs + t * lds + c / 4 * 128 + c % 4), acc[t]);
    }
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
    __shared__ float room[WCU_BATCH][WCU_THREADS / 32];
    unsigned lane = threadIdx.x % a.lanes, first = blockIdx.y * WCU_BATCH, n = a.n - first;
    uint64_t row = (uint64_t)blockIdx.x * (WCU_THREADS / a.lanes) + threadIdx.x / a.lanes;
    const float *x = a.x + first * a.ldx;
    float acc[WCU_BATCH] = {}, w[WCU_UNIT];
    if (n > WCU_BATCH) n = WCU_BATCH;
    for (uint64_t unit = lane; unit < a.p.units && row < a.p.rows && a.p.kind != WCU_SPARSE; unit += a.lanes) {
        wcu_unit_of<KIND>(a, row, unit, w);
        wcu_unit_product(w, wcu_unit_size(a.p, unit), wcu_panel_of(a.xs + first * a.lds, unit), a.lds, n, acc);
    }
#pragma unroll
    for (unsigned t = 0; t < WCU_BATCH; t++)
        if (t < n && a.p.kind == WCU_SPARSE && row < a.p.rows)
            acc[t] += wcu_sparse_dot(a.p, a.base, row, x + t * a.ldx, lane, a.lanes);
    wcu_end_rows<1, WCU_BATCH>(a, row, a.p.rows, first, n, x, lane, a.lanes, acc, room);
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

/* A run of values is kept in words as they are stored: two of 16 bits to a word, or one of 32. The word and bit of byte
 * b of value k: */
template <int WIDTH> WCU_HD constexpr unsigned wcu_word_of(unsigned k)
{
    return k * WIDTH / 4;
}

template <int WIDTH> WCU_HD constexpr unsigned wcu_bit_of(unsigned k, unsigned b)
{
    return 8 * (k * WIDTH % 4 + b);
}

/* Bytes b of the 4 WORDS / WIDTH values that the stream comes to next. */
template <int WIDTH, int WORDS>
__device__ __forceinline__ void wcu_coded_run(const uint16_t *look, unsigned b, wcu_stream *s, uint32_t *x)
{
#pragma unroll
    for (unsigned k = 0; k < WORDS * 4 / WIDTH; k++) {
        if (k % 2 == 0) wcu_refill(s);
        unsigned code = look[s->window >> (64 - WCU_CODE_BITS)];
        wcu_drop(s, code >> 8);
        x[wcu_word_of<WIDTH>(k)] |= (code & 255) << wcu_bit_of<WIDTH>(k, b);
    }
}

/* The same of a raw or constant plane, from entry e on; raw ones have 64 zeros behind them on the device. */
template <int WIDTH, int WORDS>
__device__ __forceinline__ void wcu_raw_run(const wcu_part &p, const uint8_t *base, unsigned b, uint64_t e, uint32_t *x)
{
#pragma unroll
    for (unsigned k = 0; k < WORDS * 4 / WIDTH; k += 16) {
        uint32_t all = p.u.f.constant[b] * 0x01010101u;
        uint4 v = {all, all, all, all};
        if (p.u.f.mode[b] == WCU_RAW) v = wcu_at<uint4>(base, p.u.f.first[b], (e + k) / 16);
        const uint32_t word[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (unsigned i = 0; i < 16 && k + i < WORDS * 4 / WIDTH; i++)
            x[wcu_word_of<WIDTH>(k + i)] |= (word[i / 4] >> i % 4 * 8 & 255) << wcu_bit_of<WIDTH>(k + i, b);
    }
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

/* The values of a word, stored rotated left by one. */
template <int WIDTH> WCU_HD uint32_t wcu_unrotate_word(uint32_t x)
{
    return WIDTH == 4 ? x >> 1 | x << 31 : (x >> 1 & 0x7fff7fff) | (x & 0x00010001) << 15;
}

/* x [WORDS] = the bits of values e .., which the streams s come to next. */
template <int WIDTH, int WORDS>
__device__ __forceinline__ void wcu_next_run(const wcu_part &p, const uint8_t *base, uint64_t e,
                                             const uint16_t (*look)[1 << WCU_CODE_BITS], wcu_stream *s, uint32_t *x)
{
#pragma unroll
    for (unsigned k = 0; k < WORDS; k++)
        x[k] = 0;
#pragma unroll
    for (unsigned b = 0; b < WIDTH; b++)
        if (p.u.f.mode[b] != WCU_CODED) wcu_raw_run<WIDTH, WORDS>(p, base, b, e, x);
#pragma unroll
    for (unsigned b = 0; b < WIDTH; b++)
        if (p.u.f.mode[b] == WCU_CODED) wcu_coded_run<WIDTH, WORDS>(look[b], b, &s[b], x);
#pragma unroll
    for (unsigned k = 0; k < WORDS; k++)
        x[k] = wcu_unrotate_word<WIDTH>(x[k]);
}

struct wcu_decode {
    wcu_part p;
    const uint8_t *base;
    uint64_t first, end; /* the values wanted */
    void *dst;           /* value e goes to row (e - first) / cols of dst [., ld] */
    uint32_t type;
    uint64_t ld;
};

/* Values e .. of a run that is not written as it is: of another type, or in rows that are apart or begin in between. */
template <int WIDTH>
__device__ __forceinline__ void wcu_put_values(const wcu_decode &a, uint64_t e, uint64_t end, const uint32_t *x)
{
    uint32_t run[WCU_RUN];
#pragma unroll
    for (unsigned k = 0; k < WCU_RUN; k++)
        run[k] = x[k];
    for (unsigned k = 0; k < WCU_RUN * 4 / WIDTH; k++) {
        uint32_t v = run[wcu_word_of<WIDTH>(k)] >> wcu_bit_of<WIDTH>(k, 0);
        if (e + k < a.first || e + k >= end) continue;
        uint64_t i = e + k - a.first, at = i / a.p.cols * a.ld + i % a.p.cols;
        if (a.type != a.p.dtype)
            wcu_store(a.dst, a.type, at, wcu_float_of(a.p.dtype, WIDTH == 4 ? v : v & 0xffff));
        else if (WIDTH == 4)
            ((uint32_t *)a.dst)[at] = v;
        else
            ((uint16_t *)a.dst)[at] = (uint16_t)v;
    }
}

/* Threads decode streams of 1024 values, every gridDim-th block of them, for the tables are made once for all. WIDTH:
 * bytes of a value. */
template <int WIDTH> __global__ void __launch_bounds__(WCU_THREADS, WCU_DECODERS) wcu_decode_streams(const wcu_decode a)
{
    __shared__ uint16_t look[WIDTH][1 << WCU_CODE_BITS];
    const bool plain =
        a.ld == a.p.cols && a.type == a.p.dtype && (uint64_t)a.dst % 16 == 0 && a.first * WIDTH % 16 == 0;
    uint64_t stream = a.first / WCU_STREAM + (uint64_t)blockIdx.x * WCU_THREADS + threadIdx.x;
    wcu_build_tables(a.p, a.base, WIDTH, look);
    for (uint64_t e = stream * WCU_STREAM; e < a.end; e += (uint64_t)gridDim.x * WCU_THREADS * WCU_STREAM) {
        uint64_t end = e + WCU_STREAM < a.end ? e + WCU_STREAM : a.end;
        const unsigned run = WCU_RUN * 4 / WIDTH;
        wcu_stream s[WIDTH] = {};
        wcu_open_streams<WIDTH>(a.p, a.base, e, s);
        for (uint64_t i = e; i < end; i += run) {
            uint32_t x[WCU_RUN];
            wcu_next_run<WIDTH, WCU_RUN>(a.p, a.base, i, look, s, x);
            if (!plain || i < a.first || i + run > end) {
                wcu_put_values<WIDTH>(a, i, end, x);
                continue;
            }
            uint4 *out = (uint4 *)((uint8_t *)a.dst + (i - a.first) * WIDTH);
#pragma unroll
            for (unsigned k = 0; k < WCU_RUN; k += 4)
                out[k / 4] = uint4{x[k], x[k + 1], x[k + 2], x[k + 3]};
        }
    }
}

/* Products with streams, of 16-bit values in rows of at least 1024 columns, a multiple of 4: threads decode them as
 * above, and multiply. A stream lies in one row or in two. partial [n, streams, 2] = what it adds to its first row and
 * to the next, n = a.n <= N vectors. */
template <int N>
__global__ void __launch_bounds__(WCU_THREADS, 4) wcu_stream_product(const wcu_product a, float *partial)
{
    __shared__ uint16_t look[2][1 << WCU_CODE_BITS];
    const uint64_t all = a.p.rows * a.p.cols, streams = (all + WCU_STREAM - 1) / WCU_STREAM;
    wcu_build_tables(a.p, a.base, 2, look);
    for (uint64_t k = (uint64_t)blockIdx.x * WCU_THREADS + threadIdx.x; k < streams; k += gridDim.x * WCU_THREADS) {
        uint64_t e = k * WCU_STREAM, end = e + WCU_STREAM < all ? e + WCU_STREAM : all, col = e % a.p.cols;
        unsigned slot = 0;
        float acc[N] = {};
        wcu_stream s[2] = {};
        wcu_open_streams<2>(a.p, a.base, e, s);
        for (; e < end; e += 2 * WCU_RUN) {
            uint32_t w[WCU_RUN];
            wcu_next_run<2, WCU_RUN>(a.p, a.base, e, look, s, w);
#pragma unroll
            for (unsigned c = 0; c < 2 * WCU_RUN; c += 4) {
                if (e + c >= end) continue;
                if (col == a.p.cols) { /* the next row begins */
#pragma unroll
                    for (unsigned t = 0; t < N; t++) {
                        if (t < a.n) partial[(t * streams + k) * 2] = acc[t];
                        acc[t] = 0;
                    }
                    col = 0, slot = 1;
                }
                const float v[4] = {wcu_float_of(a.p.dtype, w[c / 2] & 0xffff), wcu_float_of(a.p.dtype, w[c / 2] >> 16),
                                    wcu_float_of(a.p.dtype, w[c / 2 + 1] & 0xffff),
                                    wcu_float_of(a.p.dtype, w[c / 2 + 1] >> 16)};
#pragma unroll
                for (unsigned t = 0; t < N; t++) {
                    if (t >= a.n) continue;
                    float4 x = wcu_get((const float4 *)(a.x + t * a.ldx + col));
                    acc[t] = fmaf(v[3], x.w, fmaf(v[2], x.z, fmaf(v[1], x.y, fmaf(v[0], x.x, acc[t]))));
                }
                col += 4;
            }
        }
#pragma unroll
        for (unsigned t = 0; t < N; t++)
            if (t < a.n) partial[(t * streams + k) * 2 + slot] = acc[t];
    }
}

/* y = prev + what the streams of a row add, and the sparse part. L <= 32 threads have a row; grid (blocks of rows, n).
 */
static __global__ void __launch_bounds__(WCU_THREADS) wcu_stream_sum(const wcu_product a, const float *partial)
{
    unsigned lane = threadIdx.x % a.lanes, t = blockIdx.y;
    uint64_t row = (uint64_t)blockIdx.x * (WCU_THREADS / a.lanes) + threadIdx.x / a.lanes;
    uint64_t streams = (a.p.rows * a.p.cols + WCU_STREAM - 1) / WCU_STREAM, begin = row * a.p.cols;
    float v[1] = {0};
    for (uint64_t k = begin / WCU_STREAM + lane; row < a.p.rows && k * WCU_STREAM < begin + a.p.cols; k += a.lanes)
        v[0] += partial[(t * streams + k) * 2 + (k * WCU_STREAM < begin)];
    wcu_end_rows<1, 1>(a, row, a.p.rows, t, 1, a.x + t * a.ldx, lane, a.lanes, v, NULL);
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
        uint32_t x[WCU_UNIT / 2];
        float w[WCU_UNIT];
        wcu_next_run<2, WCU_UNIT / 2>(a.p, a.base, e, look, s, x);
        if (e < first) continue;
        for (unsigned c = 0; c < WCU_UNIT; c++)
            w[c] = wcu_float_of(a.p.dtype, x[c / 2] >> c % 2 * 16 & 0xffff);
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
    float v[1] = {0};
    for (uint64_t b = lane; b < a.p.u.l.blocks && row < a.p.rows; b += a.lanes)
        v[0] += partial[(k * a.p.rows + row) * a.p.u.l.blocks + b];
    wcu_end_rows<1, 1>(a, row, a.p.rows, k, 1, a.x + k * a.ldx, lane, a.lanes, v, NULL);
}

#endif
