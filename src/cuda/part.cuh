/* part.cuh - a part as it lies on the device, and the decoding of its values: 32 columns of a row at a time.
 *
 * All arithmetic of the library that decides a bit of a weight is in this file, in functions for host and device; it is
 * that of formats/<kind>/decode.c, operation by operation. Files that include it are compiled without contraction of
 * products and sums (--fmad=false, -ffp-contract=off): a fused operation is written fmaf. Names begin with wcu_ and are
 * not exported. docs/CUDA.md draws the layouts. */
#ifndef WCU_PART_CUH
#define WCU_PART_CUH

#include <stdint.h>
#include <string.h>

#include <cuda_runtime.h>
#ifdef __CUDACC__
#include <cuda_fp16.h>
#endif

#include "base/half.h"
#include "wcdecode_cuda.h"

#define WCU_HD __host__ __device__ __forceinline__
/* For what is big, called from several places, and not where speed is made. */
#define WCU_HD_CALL static __host__ __device__ __noinline__

enum {
    WCU_UNIT = 32,    /* columns that a thread decodes at once */
    WCU_PLANES = 4,   /* bytes of the widest float */
    WCU_CHUNK = 4096, /* values of an entropy-coded float that share an entry; in four streams */
    WCU_STREAM = 1024,
    WCU_CODE_BITS = 12,
    WCU_BLOCK = 256, /* columns of a unit of kind coded, of its states, and of its laws */
    WCU_STATES = 16,
    WCU_SYMBOLS = 64,
    WCU_SLOTS = 4096,
    WCU_CLASSES = 16
};

enum wcu_kind {
    WCU_FLOAT = 1,
    WCU_GRID = 2,
    WCU_LUT = 3,
    WCU_SPARSE = 4,
    WCU_LOWRANK = 5,
    WCU_VQ = 6,
    WCU_SIGNS = 7,
    WCU_TRELLIS = 8, /* kind coded of the format */
    WCU_DIAGONAL = 9,
    WCU_HADAMARD = 10,
    WCU_GGML = 11,
    WCU_PERMUTE = 12
};

enum { WCU_GROUP_SCALES = 0, WCU_ROW_SCALES = 1, WCU_TILE_SCALES = 2 };
enum { WCU_ZERO_FIXED = 0, WCU_ZERO_INT = 1, WCU_ZERO_F16 = 2, WCU_ZERO_LINE = 3 };
enum { WCU_AB = 0, WCU_CUR = 1, WCU_PIVOT = 2, WCU_MPO = 3 };
enum { WCU_PRODUCTS = 0, WCU_SCALES = 1, WCU_EXPERTS = 2 };
enum { WCU_ONE_TABLE = 0, WCU_TABLE_PER_ROW = 1, WCU_TABLE_PER_GROUP = 2 };
enum { WCU_RAW = 0, WCU_CONSTANT = 1, WCU_CODED = 2 };

/* Places are offsets from the beginning of the tensor's memory; those without a name are in at[]. */
struct wcu_part {
    uint32_t kind, form, bits, dtype;
    uint32_t group, scale_kind, zero_kind, tile;
    float exp2, zero_fixed;
    uint32_t holes, wide, levels, child; /* wide: columns are u32; child: index of the first one among all parts */
    uint32_t group_shift, reserved;      /* grid, lut: a unit is in group unit >> group_shift; or WCU_NO_SHIFT */
    uint64_t rows, cols, units, groups;
    uint64_t codes[3]; /* planes of words, see wcu_load_words */
    union {
        struct {
            uint64_t scales, scale_codes, zeros, zero_codes, mask;
        } g; /* grid; lut: tables in zeros */
        struct {
            uint64_t values, begins, columns;
        } s; /* sparse; float: values */
        struct {
            uint64_t first[WCU_PLANES], bases[WCU_PLANES], entries[WCU_PLANES];
            uint64_t streams, stream_bytes;
            uint8_t mode[WCU_PLANES], constant[WCU_PLANES];
        } f; /* float, entropy-coded: form 1 */
        struct {
            uint64_t rank, m2, n2, map; /* map: PIVOT: i32 [rows] row of A, or -1 - row of B, or WCU_NOWHERE */
        } r;
        struct {
            uint64_t blob, row_size, u, v, stride;
            uint32_t n, subset;
            uint8_t which[16];
        } p; /* signs: the blob as it is in the file */
        struct {
            uint64_t buckets, values, laws, steps, classes, row_classes, ends, streams;
            uint64_t blocks, words;
            uint8_t a, b, n_classes, by_row;
        } l; /* coded */
        struct {
            uint64_t entries, steps, scales, scale_codes, signs;
            uint64_t words, col_blocks; /* words: of the codes of a row and codebook, see wcu_vq_code */
            uint32_t block_rows, block_cols;
            uint8_t dim, books, entry_bits, scaled, two_levels, has_signs;
        } q; /* vq */
        struct {
            uint64_t d, m, scales, mins, signs, words, levels;
            float mul, add;
            int32_t lo;
            uint8_t block, run; /* log2 of the weights of a block, and of those that share a scale code */
            uint8_t dim, has_m, min_bits, table; /* table: codes are numbers of levels */
        } b;                                     /* ggml */
        struct {
            uint64_t values, log2;
            uint64_t from, turn; /* u32 [cols] each, see wcu_permute_step */
        } t;                     /* transforms */
    } u;
};

#define WCU_NOWHERE  INT32_MIN
#define WCU_NO_SHIFT UINT32_MAX

static_assert(sizeof(wcu_part) <= WCD_CUDA_PART_SIZE, "the public handle has room for a part");

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

WCU_HD float wcu_bits_f32(uint32_t x)
{
#ifdef __CUDA_ARCH__
    return __uint_as_float(x);
#else
    return wc_bits_f32(x);
#endif
}

WCU_HD uint32_t wcu_f32_bits(float x)
{
#ifdef __CUDA_ARCH__
    return __float_as_uint(x);
#else
    return wc_f32_bits(x);
#endif
}

/* Exact. */
WCU_HD float wcu_f16_f32(uint16_t h)
{
#ifdef __CUDA_ARCH__
    return __half2float(__ushort_as_half(h));
#else
    return wc_f16_f32(h);
#endif
}

WCU_HD uint16_t wcu_f32_f16(float x)
{
#ifdef __CUDA_ARCH__
    return __half_as_ushort(__float2half_rn(x));
#else
    return wc_f32_f16(x);
#endif
}

WCU_HD uint16_t wcu_f32_bf16(float x)
{
    uint32_t u = wcu_f32_bits(x);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* What no kernel writes while it runs: through the read-only path. */
template <typename T> WCU_HD T wcu_get(const T *p)
{
#ifdef __CUDA_ARCH__
    return __ldg(p);
#else
    return *p;
#endif
}

template <typename T> WCU_HD T wcu_at(const uint8_t *base, uint64_t place, uint64_t i)
{
    return wcu_get((const T *)(base + place) + i);
}

WCU_HD float wcu_f16_at(const uint8_t *base, uint64_t place, uint64_t i)
{
    return wcu_f16_f32(wcu_at<uint16_t>(base, place, i));
}

/* Element i of an array of one of the public types. */
WCU_HD float wcu_load(const void *p, uint32_t type, uint64_t i)
{
    if (type == WCD_CUDA_F32) return wcu_get((const float *)p + i);
    uint16_t h = wcu_get((const uint16_t *)p + i);
    return type == WCD_CUDA_F16 ? wcu_f16_f32(h) : wcu_bits_f32((uint32_t)h << 16);
}

WCU_HD void wcu_store(void *p, uint32_t type, uint64_t i, float x)
{
    if (type == WCD_CUDA_F32)
        ((float *)p)[i] = x;
    else
        ((uint16_t *)p)[i] = type == WCD_CUDA_F16 ? wcu_f32_f16(x) : wcu_f32_bf16(x);
}

/* ---- packed integers -------------------------------------------------------------------------------------------- */

/* Value i of a packed sequence of `count' values as the file has it (docs/FORMAT.md, "Packed integers"), for 1 bit. */
WCU_HD unsigned wcu_packed_bit(const uint8_t *seq, uint64_t count, uint64_t i)
{
    uint64_t block = i / 64, left = count - block * 64;
    unsigned v = (unsigned)(i % 64), n = left >= 64 ? 8 : (unsigned)(left + 7) / 8;
    return wcu_get(seq + block * 8 + v % n) >> v / n & 1;
}

/* Codes of grid and lut on the device: the 32 codes of a unit are a string of 32 * bits bits, code c at bit c * bits,
 * in `bits' words. The words of a row's units lie in planes of 4, 2 and 1 words, as the binary digits of `bits' say (8:
 * two planes of 4), so that one load of 16, 8 or 4 bytes per thread is coalesced, and aligned:
 *
 *     bits 3      plane of 2 words: [rows][units][words 0, 1]       plane of 1 word: [rows][units][word 2] */
template <int BITS> WCU_HD void wcu_load_words(const wcu_part &p, const uint8_t *base, uint64_t at, uint32_t *w)
{
    if (BITS & 12) {
        uint4 x = wcu_at<uint4>(base, p.codes[0], at);
        w[0] = x.x, w[1] = x.y, w[2] = x.z, w[3] = x.w;
    }
    if (BITS & 8) {
        uint4 x = wcu_at<uint4>(base, p.codes[1], at);
        w[4] = x.x, w[5] = x.y, w[6] = x.z, w[7] = x.w;
    }
    if (BITS & 2) {
        uint2 x = wcu_at<uint2>(base, p.codes[1], at);
        w[BITS & 4] = x.x, w[(BITS & 4) + 1] = x.y;
    }
    if (BITS & 1) w[BITS & 6] = wcu_at<uint32_t>(base, p.codes[2], at);
}

/* How code c of a unit is brought into the low 24 bits of a word: the word shifted right by `down', or for a code in
 * two words both; the code then begins at bit `up'. Most codes need no shift at all: that is what the products use. */
struct wcu_field {
    unsigned word, down, up, split;
};

WCU_HD constexpr wcu_field wcu_field_of(unsigned bits, unsigned c)
{
    unsigned word = bits * c / 32, s = bits * c % 32;
    return s + bits <= 24  ? wcu_field{word, 0, s, 0}
           : s + bits > 32 ? wcu_field{word, s, 0, 1}
           : s >= 24       ? wcu_field{word, 24, s - 24, 0}
                           : wcu_field{word, s, 0, 0};
}

/* Code c, times 2^up. */
template <int BITS> WCU_HD uint32_t wcu_field_bits(const uint32_t *w, unsigned c)
{
    const wcu_field f = wcu_field_of(BITS, c);
    uint32_t x = w[f.word] >> f.down;
    if (f.split) x |= w[f.word + 1] << (32 - f.down);
    return x & (((1u << BITS) - 1) << f.up);
}

template <int BITS> WCU_HD void wcu_codes_of(const wcu_part &p, const uint8_t *base, uint64_t at, uint8_t *q)
{
    uint32_t w[BITS];
    wcu_load_words<BITS>(p, base, at, w);
#pragma unroll
    for (unsigned c = 0; c < WCU_UNIT; c++)
        q[c] = (uint8_t)(wcu_field_bits<BITS>(w, c) >> wcu_field_of(BITS, c).up);
}

/* q [32] */
WCU_HD_CALL void wcu_codes(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t unit, uint8_t *q)
{
    uint64_t at = row * p.units + unit;
    switch (p.bits) {
    case 1: wcu_codes_of<1>(p, base, at, q); break;
    case 2: wcu_codes_of<2>(p, base, at, q); break;
    case 3: wcu_codes_of<3>(p, base, at, q); break;
    case 4: wcu_codes_of<4>(p, base, at, q); break;
    case 5: wcu_codes_of<5>(p, base, at, q); break;
    case 6: wcu_codes_of<6>(p, base, at, q); break;
    case 7: wcu_codes_of<7>(p, base, at, q); break;
    default: wcu_codes_of<8>(p, base, at, q); break;
    }
}

/* ---- grid ------------------------------------------------------------------------------------------------------- */

WCU_HD float wcu_on_line(const uint8_t *base, uint64_t lines, uint64_t i, uint8_t code)
{
    float product = wcu_f16_at(base, lines, 2 * i + 1) * (float)code;
    return wcu_f16_at(base, lines, 2 * i) + product;
}

/* s and z of group g of a row. */
WCU_HD void wcu_grid_stats(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t g, float *s, float *z)
{
    uint64_t at = row * p.groups + g, line = p.tile ? row / p.tile * p.groups + g : 0;
    if (p.scale_kind == WCU_GROUP_SCALES) {
        *s = wcu_f16_at(base, p.u.g.scales, at) * p.exp2;
    } else {
        uint8_t code = wcu_at<uint8_t>(base, p.u.g.scale_codes, at);
        *s = p.scale_kind == WCU_TILE_SCALES ? wcu_on_line(base, p.u.g.scales, line, code) * p.exp2
                                             : wcu_f16_at(base, p.u.g.scales, row) * p.exp2 * (float)code;
    }
    switch (p.zero_kind) {
    case WCU_ZERO_INT: *z = (float)wcu_at<uint8_t>(base, p.u.g.zero_codes, at); break;
    case WCU_ZERO_F16: *z = wcu_f16_at(base, p.u.g.zeros, at); break;
    case WCU_ZERO_LINE: *z = wcu_on_line(base, p.u.g.zeros, line, wcu_at<uint8_t>(base, p.u.g.zero_codes, at)); break;
    default: *z = p.zero_fixed;
    }
}

WCU_HD void wcu_grid_unit(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t unit, unsigned n, float *w)
{
    uint8_t q[WCU_UNIT];
    wcu_codes(p, base, row, unit, q);
    uint32_t mask = p.holes ? wcu_at<uint32_t>(base, p.u.g.mask, row * p.units + unit) : 0xffffffff;
    uint64_t col = unit * WCU_UNIT, stop = 0;
    float s = 0, z = 0;
    for (unsigned c = 0; c < n; c++) {
        if (col + c >= stop) {
            uint64_t g = (col + c) / p.group;
            stop = (g + 1) * p.group;
            wcu_grid_stats(p, base, row, g, &s, &z);
        }
        w[c] = mask >> c & 1 ? s * ((float)q[c] - z) : 0;
    }
}

/* ---- lut -------------------------------------------------------------------------------------------------------- */

WCU_HD void wcu_lut_unit(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t unit, unsigned n, float *w)
{
    uint8_t q[WCU_UNIT];
    wcu_codes(p, base, row, unit, q);
    uint32_t mask = p.holes ? wcu_at<uint32_t>(base, p.u.g.mask, row * p.units + unit) : 0xffffffff;
    uint64_t col = unit * WCU_UNIT, stop = 0, table = p.form == WCU_TABLE_PER_ROW ? row << p.bits : 0;
    float s = p.exp2;
    for (unsigned c = 0; c < n; c++) {
        if (col + c >= stop) {
            uint64_t g = (col + c) / p.group, at = row * p.groups + g;
            stop = (g + 1) * p.group;
            if (p.form == WCU_TABLE_PER_GROUP) table = at << p.bits;
            if (p.scale_kind) s = wcu_f16_at(base, p.u.g.scales, at) * p.exp2;
        }
        w[c] = mask >> c & 1 ? s * wcu_f16_at(base, p.u.g.zeros, table + q[c]) : 0;
    }
}

/* ---- sparse ----------------------------------------------------------------------------------------------------- */

WCU_HD uint32_t wcu_sparse_col(const wcu_part &p, const uint8_t *base, uint64_t k)
{
    return p.wide ? wcu_at<uint32_t>(base, p.u.s.columns, k) : wcu_at<uint16_t>(base, p.u.s.columns, k);
}

WCU_HD float wcu_sparse_value(const wcu_part &p, const uint8_t *base, uint64_t k)
{
    float x = wcu_load(base + p.u.s.values, p.dtype, k);
    return p.dtype == WCD_CUDA_F16 ? x * p.exp2 : x;
}

WCU_HD void wcu_sparse_unit(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t unit, unsigned n, float *w)
{
    uint64_t lo = wcu_at<uint64_t>(base, p.u.s.begins, row), end = wcu_at<uint64_t>(base, p.u.s.begins, row + 1);
    uint64_t col = unit * WCU_UNIT, hi = end;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (wcu_sparse_col(p, base, mid) < col)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (unsigned c = 0; c < n; c++) {
        bool has = lo < end && wcu_sparse_col(p, base, lo) == col + c;
        w[c] = has ? wcu_sparse_value(p, base, lo) : 0;
        lo += has;
    }
}

/* ---- float ------------------------------------------------------------------------------------------------------ */

/* A value of `dtype' from its stored bits, rotated left by one in an entropy-coded part. */
WCU_HD uint32_t wcu_unrotate(uint32_t dtype, uint32_t x)
{
    return dtype == WCD_CUDA_F32 ? x >> 1 | x << 31 : x >> 1 | (x & 1) << 15;
}

WCU_HD float wcu_float_of(uint32_t dtype, uint32_t x)
{
    return dtype == WCD_CUDA_F32   ? wcu_bits_f32(x)
           : dtype == WCD_CUDA_F16 ? wcu_f16_f32((uint16_t)x)
                                   : wcu_bits_f32(x << 16);
}

/* What is left of a stream: `have' bits at the top of the window, then words, and zeros from `end' on. */
struct wcu_stream {
    const uint32_t *word, *end;
    uint64_t window;
    unsigned have;
};

WCU_HD uint32_t wcu_big_endian(uint32_t x)
{
#ifdef __CUDA_ARCH__
    return __byte_perm(x, 0, 0x0123);
#else
    return x << 24 | (x & 0xff00) << 8 | (x >> 8 & 0xff00) | x >> 24;
#endif
}

/* At least 32 bits are in the window afterwards: two codes. One in twelve codes or so needs another word, so that few
 * of the threads of a warp, which have streams of their own, go to memory at a time. */
WCU_HD void wcu_refill(wcu_stream *s)
{
    if (s->have >= 32) return;
    s->window |= (uint64_t)wcu_big_endian(wcu_get(s->word)) << (32 - s->have);
    s->have += 32;
    s->word += s->word < s->end;
}

WCU_HD void wcu_drop(wcu_stream *s, unsigned bits)
{
    s->window <<= bits;
    s->have -= bits;
}

WCU_HD wcu_stream wcu_stream_open(const wcu_part &p, const uint8_t *base, unsigned plane, uint64_t chunk, unsigned k)
{
    uint64_t start = wcu_at<uint64_t>(base, p.u.f.bases[plane], chunk / 64);
    uint64_t entry = 5 * chunk; /* ten bytes each, read by twos */
    uint64_t first = wcu_at<uint16_t>(base, p.u.f.entries[plane], entry) |
                     (uint32_t)wcu_at<uint16_t>(base, p.u.f.entries[plane], entry + 1) << 16;
    for (unsigned i = 0; i < k; i++)
        first += wcu_at<uint16_t>(base, p.u.f.entries[plane], entry + 2 + i);
    uint64_t end = p.u.f.stream_bytes;
    uint64_t at = start < end && first < end - start ? start + first : end;
    const uint32_t *words = (const uint32_t *)(base + p.u.f.streams);
    wcu_stream s = {words + at / 4, words + (end + 3) / 4, 0, 0};
    wcu_refill(&s);
    wcu_drop(&s, (unsigned)(at % 4) * 8);
    return s;
}

/* What 12 bits begin with: symbol in the low byte, length above. `table': 16 counts of codes by length, 256 symbols, of
 * a complete code; a damaged one gives some symbol. */
WCU_HD uint16_t wcu_code_of(const uint8_t *base, uint64_t table, uint32_t peek)
{
    uint32_t end = 0, index = 0;
    for (unsigned len = 1; len <= WCU_CODE_BITS; len++) {
        uint32_t count = wcu_at<uint16_t>(base, table, len), begin = end;
        end += count << (WCU_CODE_BITS - len);
        if (peek < end)
            return (
                uint16_t)(wcu_at<uint8_t>(base, table + 32, (index + ((peek - begin) >> (WCU_CODE_BITS - len))) & 255) |
                          len << 8);
        index += count;
    }
    return 1 << 8;
}

/* Entry e of a plane, from the beginning of its stream on: up to 1024 codes. For a part that is one of a sum or a
 * factor; whole tensors are decoded stream by stream (kernels.cu). */
WCU_HD void wcu_plane_unit(const wcu_part &p, const uint8_t *base, unsigned plane, uint64_t e, unsigned n, uint32_t *x)
{
    wcu_stream s = {0, 0, 0, 0};
    uint64_t i = e / WCU_STREAM * WCU_STREAM;
    for (; i < e + n; i++) {
        if (i % WCU_STREAM == 0)
            s = wcu_stream_open(p, base, plane, i / WCU_CHUNK, (unsigned)(i % WCU_CHUNK / WCU_STREAM));
        wcu_refill(&s);
        unsigned code = wcu_code_of(base, p.u.f.first[plane], (uint32_t)(s.window >> (64 - WCU_CODE_BITS)));
        wcu_drop(&s, code >> 8);
        if (i >= e) x[i - e] |= (code & 255) << 8 * plane;
    }
}

WCU_HD void wcu_coded_unit(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t unit, unsigned n, float *w)
{
    uint64_t e = row * p.cols + unit * WCU_UNIT;
    uint32_t x[WCU_UNIT] = {0};
    for (unsigned b = 0; b < (p.dtype == WCD_CUDA_F32 ? 4u : 2u); b++)
        if (p.u.f.mode[b] == WCU_CODED)
            wcu_plane_unit(p, base, b, e, n, x);
        else
            for (unsigned c = 0; c < n; c++)
                x[c] |= (uint32_t)(p.u.f.mode[b] == WCU_RAW ? wcu_at<uint8_t>(base, p.u.f.first[b], e + c)
                                                            : p.u.f.constant[b])
                        << 8 * b;
    for (unsigned c = 0; c < n; c++)
        w[c] = wcu_float_of(p.dtype, wcu_unrotate(p.dtype, x[c]));
}

/* Rows of a multiple of eight halves begin at multiples of 16 bytes: then eight at a time. */
WCU_HD void wcu_float_unit(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t unit, unsigned n, float *w)
{
    uint64_t e = row * p.cols + unit * WCU_UNIT;
    unsigned c = 0;
    if (p.dtype != WCD_CUDA_F32 && p.cols % 8 == 0)
        for (; c < n; c += 8) {
            uint4 x = wcu_at<uint4>(base, p.u.s.values, (e + c) / 8);
            const uint32_t word[4] = {x.x, x.y, x.z, x.w};
            for (unsigned k = 0; k < 4; k++) {
                w[c + 2 * k] = wcu_float_of(p.dtype, word[k] & 0xffff);
                w[c + 2 * k + 1] = wcu_float_of(p.dtype, word[k] >> 16);
            }
        }
    for (; c < n; c++)
        w[c] = wcu_load(base + p.u.s.values, p.dtype, e + c);
}

/* ---- signs ------------------------------------------------------------------------------------------------------ */

WCU_HD void wcu_sign_products(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t col, unsigned n, float *w)
{
    for (unsigned l = 0; l < p.levels; l++) {
        const uint8_t *level = base + p.u.p.blob + l * p.u.p.stride;
        float m[WCU_UNIT];
        for (uint64_t k = 0; k < p.u.p.n; k++) {
            float a = wcu_f16_at(level, p.u.p.u, row * p.u.p.n + k);
            for (unsigned c = 0; c < n; c++) {
                float product = a * wcu_f16_at(level, p.u.p.v, k * p.cols + col + c);
                m[c] = k ? m[c] + product : product;
            }
        }
        for (unsigned c = 0; c < n; c++) {
            float by = m[c] * p.exp2;
            w[c] += wcu_packed_bit(level + row * p.u.p.row_size, p.cols, col + c) ? -by : by;
        }
    }
}

WCU_HD uint64_t wcu_place8(uint64_t *end, uint64_t size)
{
    uint64_t at = (*end + 7) / 8 * 8;
    *end = at + size;
    return at;
}

/* Ones of the subset's mask before column `col'. */
WCU_HD uint64_t wcu_subset_before(const uint8_t *mask, uint64_t col)
{
    uint64_t ones = 0;
    for (uint64_t b = 0; b < col; b += 8) {
        unsigned bits = wcu_get(mask + b / 8) & (col - b < 8 ? (1u << (col - b)) - 1 : 255);
        for (; bits; bits &= bits - 1)
            ones++;
    }
    return ones;
}

WCU_HD void wcu_sign_scales(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t col, unsigned n, float *w)
{
    enum { ALL = 0, SUBSET = 1, COLUMNS = 3, SPLIT = 4 };
    const uint8_t *blob = base + p.u.p.blob;
    uint64_t end = p.u.p.subset ? (p.cols + 7) / 8 : 0, before = p.u.p.subset ? wcu_subset_before(blob, col) : 0;
    for (unsigned l = 0; l < p.levels; l++) {
        unsigned which = p.u.p.which[l] & COLUMNS, split = p.u.p.which[l] & SPLIT ? 2 : 1;
        uint64_t cols = which == ALL ? p.cols : which == SUBSET ? p.u.p.subset : p.cols - p.u.p.subset;
        uint64_t row_size = (cols + 7) / 8, groups = (cols - 1) / p.u.p.n + 1;
        const uint8_t *signs = blob + wcu_place8(&end, p.rows * row_size) + row * row_size;
        const uint8_t *choices = split == 2 ? blob + wcu_place8(&end, p.rows * row_size) + row * row_size : 0;
        uint64_t scales = wcu_place8(&end, 2 * split * p.rows * groups);
        uint64_t k = which == ALL ? col : which == SUBSET ? before : col - before;
        for (unsigned c = 0; c < n; c++) {
            unsigned in = which ? wcu_get(blob + (col + c) / 8) >> (col + c) % 8 & 1 : 0;
            if ((which && in != (which == SUBSET)) || k >= cols) continue;
            uint64_t at = split * (row * groups + k / p.u.p.n);
            if (split == 2) at += wcu_packed_bit(choices, cols, k);
            float m = wcu_f16_at(blob, scales, at) * p.exp2;
            w[c] += wcu_packed_bit(signs, cols, k) ? -m : m;
            k++;
        }
    }
}

/* Mean over the experts of element i of x [experts, stride]. */
WCU_HD float wcu_mean(const uint8_t *base, uint64_t place, uint64_t stride, uint32_t experts, uint64_t i)
{
    float m = wcu_f16_at(base, place, i);
    for (uint64_t e = 1; e < experts; e++)
        m += wcu_f16_at(base, place, e * stride + i);
    return m / (float)experts;
}

WCU_HD void wcu_sign_experts(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t col, unsigned n, float *w)
{
    const uint8_t *blob = base + p.u.p.blob;
    float a = wcu_mean(blob, p.u.p.u, p.rows, p.u.p.n, row);
    for (unsigned c = 0; c < n; c++) {
        float m = a * wcu_mean(blob, p.u.p.v, p.cols, p.u.p.n, col + c) * p.exp2;
        w[c] += wcu_packed_bit(blob + row * p.u.p.row_size, p.cols, col + c) ? -m : m;
    }
}

/* ---- coded: points of a trellis --------------------------------------------------------------------------------- */

/* The words of a unit that are not read yet: at <= end. */
struct wcu_words {
    uint32_t at, end;
};

WCU_HD wcu_words wcu_words_of(const wcu_part &p, const uint8_t *base, uint64_t tile, uint64_t block)
{
    uint64_t i = tile * p.u.l.blocks + block;
    uint32_t at = i ? wcu_at<uint32_t>(base, p.u.l.ends, i - 1) : 0, end = wcu_at<uint32_t>(base, p.u.l.ends, i);
    if (end > p.u.l.words) end = (uint32_t)p.u.l.words;
    return wcu_words{at < end ? at : end, end};
}

/* The word `ahead' of the next one; behind the end there are zeros. */
WCU_HD uint32_t wcu_word(const wcu_part &p, const uint8_t *base, wcu_words s, uint32_t ahead)
{
    return ahead < s.end - s.at ? wcu_at<uint16_t>(base, p.u.l.streams, (uint64_t)s.at + ahead) : 0;
}

WCU_HD void wcu_skip_words(wcu_words *s, uint32_t n)
{
    s->at += n < s->end - s->at ? n : s->end - s->at;
}

/* State l of a unit none of whose words are read: two words, or 0 when both are not there. */
WCU_HD uint32_t wcu_first_state(const wcu_part &p, const uint8_t *base, wcu_words s, uint32_t l)
{
    return 2 * l + 2 <= s.end - s.at ? wcu_word(p, base, s, 2 * l) | wcu_word(p, base, s, 2 * l + 1) << 16 : 0;
}

WCU_HD void wcu_skip_states(wcu_words *s)
{
    uint32_t there = (s->end - s->at) / 2;
    wcu_skip_words(s, 2 * (there < WCU_STATES ? there : WCU_STATES));
}

/* What a row adds to the classes of its columns. */
WCU_HD int wcu_row_move(const wcu_part &p, const uint8_t *base, uint64_t row)
{
    return p.u.l.by_row ? (int)(wcu_at<uint8_t>(base, p.u.l.row_classes, row / 2) >> row % 2 * 4 & 15) - 8 : 0;
}

WCU_HD unsigned wcu_law_of(const wcu_part &p, int column_class, int move)
{
    int law = column_class + move, last = p.u.l.n_classes - 1;
    return (unsigned)(law < 0 ? 0 : law > last ? last : law);
}

/* The symbol of a state in its bucket (formats/coded/kernel.h draws it); the state goes on, and may want a word. */
WCU_HD uint32_t wcu_pop(uint64_t bucket, uint32_t *x)
{
    uint32_t slot = *x % WCU_SLOTS, in = slot % WCU_SYMBOLS, first = (uint32_t)bucket;
    uint32_t second = (uint32_t)(bucket >> 32), half = in < first >> 24 ? first : second;
    *x = (half % WCU_SLOTS) * (*x / WCU_SLOTS) + (slot + (half >> 12)) % WCU_SLOTS;
    return in < first >> 24 ? slot / WCU_SYMBOLS : second >> 24;
}

/* k of a symbol with low bits, which leave the state. */
WCU_HD int32_t wcu_low_bits(uint32_t symbol, uint32_t shift, uint32_t *x)
{
    uint32_t raw = symbol ? shift : 16, low = *x & ((1u << raw) - 1);
    *x >>= raw;
    return symbol ? (int32_t)((symbol - WCU_SYMBOLS / 2) << raw | low) : (int16_t)low;
}

/* 64 j - shrink, j = 2 k + (s odd). */
WCU_HD float wcu_point_value(int32_t k, uint32_t s, uint32_t shrinks)
{
    int32_t j = 2 * k + (int32_t)(s & 1), size = j < 0 ? -j : j;
    int32_t shrink = (int8_t)(shrinks >> (size < 3 ? 8 * size : 24));
    return (float)(64 * j - (j < 0 ? -shrink : shrink));
}

WCU_HD uint8_t wcu_next_state(const wcu_part &p, uint32_t s, uint32_t k)
{
    return (uint8_t)(s >> 1 ^ (s & 1 ? p.u.l.a : 0u) ^ (k & 1 ? p.u.l.b : 0u));
}

/* A unit while one thread reads it. */
struct wcu_trellis_reader {
    wcu_words words;
    uint32_t x[WCU_STATES];
    uint8_t state[WCU_BLOCK];
};

WCU_HD void wcu_take_word(const wcu_part &p, const uint8_t *base, wcu_trellis_reader *u, unsigned l)
{
    if (u->x[l] >> 16) return;
    u->x[l] = u->x[l] << 16 | wcu_word(p, base, u->words, 0);
    wcu_skip_words(&u->words, 1);
}

/* w [n] = columns col .. of a row, n <= 16; their states begin at s. */
WCU_HD void wcu_trellis_group(const wcu_part &p, const uint8_t *base, uint64_t col, unsigned n, int move,
                              wcu_trellis_reader *u, uint8_t *s, float *w)
{
    uint32_t symbol[WCU_STATES], law[WCU_STATES];
    bool any = false;
    for (unsigned l = 0; l < n; l++) {
        law[l] = wcu_law_of(p, wcu_at<uint8_t>(base, p.u.l.classes, col + l), move);
        uint64_t table = (2 * law[l] + s[l] % 2) * WCU_SYMBOLS;
        symbol[l] = wcu_pop(wcu_at<uint64_t>(base, p.u.l.buckets, table + u->x[l] % WCU_SLOTS / WCU_SYMBOLS), &u->x[l]);
        any = any || !symbol[l] || wcu_at<uint2>(base, p.u.l.laws, law[l]).x;
    }
    for (unsigned l = 0; l < n; l++)
        wcu_take_word(p, base, u, l);
    for (unsigned l = 0; l < n; l++) {
        uint2 of = wcu_at<uint2>(base, p.u.l.laws, law[l]); /* shift, shrinks */
        int32_t k = wcu_low_bits(symbol[l], of.x, &u->x[l]);
        if (any) wcu_take_word(p, base, u, l);
        w[l] = wcu_at<float>(base, p.u.l.steps, col + l) * wcu_point_value(k, s[l], of.y);
        s[l] = wcu_next_state(p, s[l], (uint32_t)k);
    }
}

/* One thread reads the tile from its first row on. For a part that is a factor, or the second of its kind in a sum;
 * others are read by the half-warps of kernels.cuh. */
WCU_HD_CALL void wcu_trellis_unit(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t unit, unsigned n,
                                  float *w)
{
    wcu_trellis_reader u;
    float group[WCU_STATES];
    uint64_t block = unit / (WCU_BLOCK / WCU_UNIT), col = unit % (WCU_BLOCK / WCU_UNIT) * WCU_UNIT;
    uint64_t left = p.cols - block * WCU_BLOCK, cols = left < WCU_BLOCK ? left : WCU_BLOCK;
    u.words = wcu_words_of(p, base, row / p.tile, block);
    for (uint32_t l = 0; l < WCU_STATES; l++)
        u.x[l] = wcu_first_state(p, base, u.words, l);
    wcu_skip_states(&u.words);
    memset(u.state, 0, sizeof u.state);
    for (uint64_t r = row - row % p.tile; r <= row; r++) {
        int move = wcu_row_move(p, base, r);
        for (uint64_t c = 0; c < cols; c += WCU_STATES) {
            unsigned most = cols - c < WCU_STATES ? (unsigned)(cols - c) : WCU_STATES;
            wcu_trellis_group(p, base, block * WCU_BLOCK + c, most, move, &u, u.state + c, group);
            for (unsigned l = 0; l < most && r == row; l++)
                if (c + l >= col && c + l < col + n) w[c + l - col] = group[l];
        }
    }
}

/* ---- vq --------------------------------------------------------------------------------------------------------- */

/* The code of a vector in codebook m. The codes of a row and codebook are a string of bits, code i at bit i * bits, in
 * whole words. */
WCU_HD uint32_t wcu_vq_code(const wcu_part &p, const uint8_t *base, uint64_t row, unsigned m, uint64_t vector)
{
    uint64_t bit = vector * p.bits, at = (row * p.u.q.books + m) * p.u.q.words + bit / 32;
    unsigned skip = (unsigned)(bit % 32);
    uint32_t x = wcu_at<uint32_t>(base, p.codes[0], at) >> skip;
    if (skip + p.bits > 32) x |= wcu_at<uint32_t>(base, p.codes[0], at + 1) << (32 - skip);
    return x & ((1u << p.bits) - 1);
}

/* w [n] = or += n values of an entry, whose first one is number `at' of all. */
WCU_HD void wcu_vq_take(const wcu_part &p, const uint8_t *base, uint64_t at, float step, unsigned n, bool add, float *w)
{
    for (unsigned i = 0; i < n; i++) {
        float x = p.u.q.entry_bits == 8 ? step * (float)wcu_at<int8_t>(base, p.u.q.entries, at + i)
                                        : wcu_f16_at(base, p.u.q.entries, at + i);
        w[i] = add ? w[i] + x : x;
    }
}

/* The scale of a group of a row. */
WCU_HD float wcu_vq_scale(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t g)
{
    uint64_t at = row * p.groups + g;
    float s = p.exp2;
    if (p.u.q.scaled) s *= wcu_f16_at(base, p.u.q.scales, p.u.q.two_levels ? row : at);
    if (p.u.q.two_levels) s *= (float)wcu_at<uint8_t>(base, p.u.q.scale_codes, at);
    return s;
}

/* Vector by vector, none of which is in two blocks. */
WCU_HD_CALL void wcu_vq_unit(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t unit, unsigned n, float *w)
{
    uint64_t col = unit * WCU_UNIT, strip = p.u.q.block_rows ? row / p.u.q.block_rows * p.u.q.col_blocks : 0, stop = 0;
    uint32_t minus = p.u.q.has_signs ? wcu_at<uint32_t>(base, p.u.q.signs, row * p.units + unit) : 0;
    uint64_t vector = col / p.u.q.dim;
    unsigned skip = (unsigned)(col % p.u.q.dim);
    float s = 0;
    for (unsigned c = 0, count; c < n; c += count, vector++, skip = 0) {
        uint64_t block = strip + (p.u.q.block_cols ? (col + c) / p.u.q.block_cols : 0);
        count = p.u.q.dim - skip < n - c ? p.u.q.dim - skip : n - c;
        for (unsigned m = 0; m < p.u.q.books; m++) {
            uint64_t book = block * p.u.q.books + m, entry = (book << p.bits) + wcu_vq_code(p, base, row, m, vector);
            float step = p.u.q.entry_bits == 8 ? wcu_f16_at(base, p.u.q.steps, book) : 0;
            wcu_vq_take(p, base, entry * p.u.q.dim + skip, step, count, m > 0, w + c);
        }
    }
    for (unsigned c = 0; c < n; c++) {
        if (col + c >= stop) {
            uint64_t g = (col + c) / p.group;
            stop = (g + 1) * p.group;
            s = wcu_vq_scale(p, base, row, g);
        }
        float v = s * w[c];
        w[c] = minus >> c & 1 ? -v : v;
    }
}

/* ---- ggml ------------------------------------------------------------------------------------------------------- */

/* S and M of the run of weights that a column is in: w = S v - M. Mins of 4 bits lie above their scale's. */
WCU_HD void wcu_ggml_stats(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t col, float *s, float *m)
{
    uint64_t block = row * p.groups + (col >> p.u.b.block), run = (row * p.cols + col) >> p.u.b.run;
    uint8_t code = p.u.b.scales ? wcu_at<uint8_t>(base, p.u.b.scales, run) : 0, min = code >> 4;
    if (p.u.b.min_bits == 4) code &= 15;
    if (p.u.b.min_bits > 4) min = wcu_at<uint8_t>(base, p.u.b.mins, run);
    *s = wcu_f16_at(base, p.u.b.d, block) * (p.u.b.mul * (float)code + p.u.b.add);
    *m = p.u.b.has_m ? wcu_f16_at(base, p.u.b.m, block) : 0;
    if (p.u.b.min_bits) *m *= (float)min;
}

/* w [32] = levels of codes, times 1. */
WCU_HD void wcu_ggml_levels(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t unit, float *w)
{
    uint8_t q[WCU_UNIT];
    wcu_codes(p, base, row, unit, q);
    for (unsigned c = 0; c < WCU_UNIT; c++)
        w[c] = (float)(p.u.b.table ? wcu_at<int8_t>(base, p.u.b.levels, q[c]) : (int)q[c] + p.u.b.lo);
}

/* The same from a grid: low bytes of the codes of a unit in one plane, what is above them, at most 8 bits, in another.
 * A code is below 2^bits, and the grid has that many words. */
WCU_HD void wcu_ggml_entries(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t unit, float *w)
{
    unsigned dim = p.u.b.dim, n = WCU_UNIT / dim, above = p.bits - 8, bits = dim == 8 ? 2 : 3;
    uint64_t at = row * p.units + unit;
    uint32_t high = above ? wcu_at<uint8_t>(base, p.codes[1], at) : 0;
    for (unsigned i = 0; i < n; i++) {
        uint32_t code = wcu_at<uint8_t>(base, p.codes[0], at * n + i) | (high >> above * i & ((1u << above) - 1)) << 8;
        uint32_t word = wcu_at<uint16_t>(base, p.u.b.words, code);
        for (unsigned j = 0; j < dim; j++)
            w[dim * i + j] = (float)wcu_at<int8_t>(base, p.u.b.levels, word >> bits * j & ((1u << bits) - 1));
    }
}

/* Rows are whole blocks, and so whole units. */
WCU_HD_CALL void wcu_ggml_unit(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t unit, float *w)
{
    uint32_t minus = p.u.b.dim > 1 ? wcu_at<uint32_t>(base, p.u.b.signs, row * p.units + unit) : 0;
    float s = 0, m = 0;
    if (p.u.b.dim > 1)
        wcu_ggml_entries(p, base, row, unit, w);
    else
        wcu_ggml_levels(p, base, row, unit, w);
    for (unsigned c = 0; c < WCU_UNIT; c++) {
        if (c % (1u << p.u.b.run) == 0) wcu_ggml_stats(p, base, row, unit * WCU_UNIT + c, &s, &m);
        float v = s * w[c];
        if (p.u.b.has_m) v = v - m;
        w[c] = minus >> c & 1 ? -v : v;
    }
}

/* ---- units ------------------------------------------------------------------------------------------------------ */

/* Columns of a unit that the row has. */
WCU_HD unsigned wcu_unit_size(const wcu_part &p, uint64_t unit)
{
    uint64_t left = p.cols - unit * WCU_UNIT;
    return left < WCU_UNIT ? (unsigned)left : WCU_UNIT;
}

/* w [n] = columns 32 * unit .. of a row, n = wcu_unit_size; of any part but lowrank. */
WCU_HD_CALL void wcu_leaf_unit(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t unit, float *w)
{
    unsigned n = wcu_unit_size(p, unit);
    switch (p.kind) {
    case WCU_GRID: wcu_grid_unit(p, base, row, unit, n, w); return;
    case WCU_LUT: wcu_lut_unit(p, base, row, unit, n, w); return;
    case WCU_SPARSE: wcu_sparse_unit(p, base, row, unit, n, w); return;
    case WCU_TRELLIS: wcu_trellis_unit(p, base, row, unit, n, w); return;
    case WCU_VQ: wcu_vq_unit(p, base, row, unit, n, w); return;
    case WCU_GGML: wcu_ggml_unit(p, base, row, unit, w); return;
    case WCU_SIGNS:
        for (unsigned c = 0; c < n; c++)
            w[c] = 0;
        if (p.form == WCU_PRODUCTS) wcu_sign_products(p, base, row, unit * WCU_UNIT, n, w);
        if (p.form == WCU_SCALES) wcu_sign_scales(p, base, row, unit * WCU_UNIT, n, w);
        if (p.form == WCU_EXPERTS) wcu_sign_experts(p, base, row, unit * WCU_UNIT, n, w);
        return;
    default:
        if (p.form)
            wcu_coded_unit(p, base, row, unit, n, w);
        else
            wcu_float_unit(p, base, row, unit, n, w);
    }
}

/* One element of a leaf: of anything but plain floats, through its unit. */
WCU_HD_CALL float wcu_leaf_value(const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t col)
{
    float w[WCU_UNIT];
    if (p.kind == WCU_FLOAT && !p.form) return wcu_load(base + p.u.s.values, p.dtype, row * p.cols + col);
    wcu_leaf_unit(p, base, row, col / WCU_UNIT, w);
    return w[col % WCU_UNIT];
}

/* A unit of A B, or of (A link) B when link is not NULL: sums over k in order, every product and every sum rounded. */
WCU_HD_CALL void wcu_times_unit(const wcu_part &a, const wcu_part *link, const wcu_part &b, const uint8_t *base,
                                uint64_t row, uint64_t unit, float *w)
{
    const wcu_part &left = link ? *link : a;
    float l[WCU_UNIT], t[WCU_UNIT], r[WCU_UNIT];
    unsigned n = wcu_unit_size(b, unit);
    for (uint64_t first = 0; first < b.rows; first += WCU_UNIT) {
        unsigned count = wcu_unit_size(left, first / WCU_UNIT);
        if (!link) wcu_leaf_unit(a, base, row, first / WCU_UNIT, l);
        for (uint64_t i = 0; link && i < link->rows; i++) {
            float x = wcu_leaf_value(a, base, row, i);
            wcu_leaf_unit(*link, base, i, first / WCU_UNIT, t);
            for (unsigned k = 0; k < count; k++) {
                float product = x * t[k];
                l[k] = i ? l[k] + product : product;
            }
        }
        for (unsigned k = 0; k < count; k++) {
            wcu_leaf_unit(b, base, first + k, unit, r);
            for (unsigned c = 0; c < n; c++) {
                float product = l[k] * r[c];
                w[c] = first + k ? w[c] + product : product;
            }
        }
    }
}

WCU_HD_CALL float wcu_mpo_value(const wcu_part &p, const wcu_part *child, const uint8_t *base, uint64_t row,
                                uint64_t col)
{
    uint64_t m2 = p.u.r.m2, n2 = p.u.r.n2, sum = row / m2 * (p.cols / n2) + col / n2, inner = row % m2 * n2 + col % n2;
    float w = 0;
    for (uint64_t k = 0; k < p.u.r.rank; k++) {
        float product = wcu_leaf_value(child[0], base, sum, k) * wcu_leaf_value(child[1], base, k, inner);
        w = k ? w + product : product;
    }
    return w;
}

WCU_HD_CALL void wcu_lowrank_unit(const wcu_part &p, const wcu_part *child, const uint8_t *base, uint64_t row,
                                  uint64_t unit, float *w)
{
    int32_t from = p.form == WCU_PIVOT ? wcu_at<int32_t>(base, p.u.r.map, row) : 0;
    unsigned n = wcu_unit_size(p, unit);
    if (p.form == WCU_MPO || (p.form == WCU_PIVOT && from == WCU_NOWHERE)) {
        for (unsigned c = 0; c < n; c++)
            w[c] = p.form == WCU_MPO ? wcu_mpo_value(p, child, base, row, unit * WCU_UNIT + c) : 0;
        return;
    }
    if (from < 0)
        wcu_leaf_unit(child[1], base, (uint64_t)(-1 - from), unit, w);
    else
        wcu_times_unit(child[0], p.form == WCU_CUR ? child + 2 : 0, child[1], base, p.form == WCU_PIVOT ? from : row,
                       unit, w);
}

/* Any part; `all': the tensor's parts. */
WCU_HD_CALL void wcu_unit(const wcu_part *all, const wcu_part &p, const uint8_t *base, uint64_t row, uint64_t unit,
                          float *w)
{
    if (p.kind == WCU_LOWRANK)
        wcu_lowrank_unit(p, all + p.child, base, row, unit, w);
    else
        wcu_leaf_unit(p, base, row, unit, w);
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

#endif
