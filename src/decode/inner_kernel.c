#include "decode/inner.h"

#ifdef WCD_LEVEL

#include "base/half.h"
#include "decode/bytes.h"
#include "decode/fused.h"
#include "decode/vector.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 4")

/* Rows that are multiplied at once: a lane of a row is one chain of dependent additions, so one row alone would wait
 * for each of them. Tiles of rows and vectors in lanes(): as many sums as there are registers for. */
#ifdef __AVX512F__
enum { ROWS = 4, TILE_ROWS = 4, TILE_X = 4, TABLE_BITS = 4 }; /* a register has a table of 16 */
#else
enum { ROWS = 4, TILE_ROWS = 2, TILE_X = 2, TABLE_BITS = 3 }; /* a register has a table of 8 */
#endif

/* ---- codes ----------------------------------------------------------------------------------------------------- */

/* The codes of a block by sixteens, with any bits above them where bits <= 4. Planes of 2 and 4 bits need no shuffle;
 * others are put in order as bytes. bytes: where those go on their way. Where a table has 16 entries, two codes of 2
 * bits make an index, and of quarters 1 and 3 the code is above that of the one before: see meaning. */
INLINE void quarters(const uint8_t *p, unsigned bits, uint8_t bytes[64], idx q[4])
{
    if (bits == 4) {
        q[0] = idx_bytes(p), q[1] = idx_bytes(p + 16);
        q[2] = idx_down(q[0], 4), q[3] = idx_down(q[1], 4);
    } else if (bits == 2) {
        q[0] = idx_bytes(p);
        for (int k = 1; k < 4; k++)
            q[k] = idx_down(q[0], TABLE_BITS == 4 ? k / 2 * 4 : 2 * k);
    } else if (bits == 8) {
        for (int k = 0; k < 4; k++)
            q[k] = idx_bytes(p + 16 * k);
    } else {
        bytes64_store(bytes, codes64(p, bits));
        for (int k = 0; k < 4; k++)
            q[k] = idx_bytes(bytes + 16 * k);
    }
}

/* The weights that codes of one group stand for: 2^bits <= 16 of them in a table, or to be computed. odd: by the upper
 * of two codes of 2 bits. */
typedef struct meaning {
    vec table, odd, s, z;
} meaning;

INLINE meaning of_group(const wcd_codes *c, unsigned bits, int lut, unsigned row, uint64_t g)
{
    meaning m;
    m.s = m.z = m.table = m.odd = vec_all(c->s[row * c->ld + g]);
    if (lut) {
        m.table = vec_mul(m.s, vec_load(c->levels + 16 * row));
    } else {
        m.z = vec_all(c->z[row * c->ld + g]);
        if (bits <= TABLE_BITS) m.table = vec_mul(m.s, vec_sub(idx_vec(idx_low(idx_iota(), bits)), m.z));
    }
    if (bits == 2 && TABLE_BITS == 4) m.odd = tab_at(m.table, idx_down(idx_iota(), 2));
    return m;
}

/* Of quarter k of a block. */
INLINE vec weights(const meaning *m, unsigned bits, int lut, int k, idx q)
{
    if (bits == 2 && TABLE_BITS == 4) return tab_at(k % 2 ? m->odd : m->table, q);
    if (bits <= 3 && (lut || bits <= TABLE_BITS)) return tab_at8(m->table, q);
    if (lut || bits <= TABLE_BITS) return tab_at(m->table, q);
    if (bits <= 4) q = idx_low(q, bits);
    return vec_mul(m->s, vec_sub(idx_vec(q), m->z));
}

/* ROWS rows, groups of whole blocks; bits and lut are constants where it is called. */
INLINE void dot_rows(const wcd_codes *c, unsigned bits, int lut, uint64_t n, const float *x, float *lane)
{
    uint8_t bytes[ROWS][64];
    const uint8_t *p = c->at;
    vec sum[ROWS];
    for (int r = 0; r < ROWS; r++)
        sum[r] = vec_load(lane + 16 * r);
    for (uint64_t g = 0; n; g++) {
        meaning m[ROWS];
        uint64_t blocks = (n < c->group ? n : c->group) / WCD_BLOCK;
        for (unsigned r = 0; r < ROWS; r++)
            m[r] = of_group(c, bits, lut, r, g);
        n -= blocks * WCD_BLOCK;
        for (; blocks; blocks--, p += WCD_BLOCK / 8 * bits, x += WCD_BLOCK) {
            idx q[ROWS][4];
            for (int r = 0; r < ROWS; r++) {
                const uint8_t *at = p + (uint64_t)r * c->stride;
                PREFETCH((uintptr_t)at + ROWS * c->stride);
                quarters(at, bits, bytes[r], q[r]);
            }
            for (int k = 0; k < 4; k++) {
                vec v = vec_load(x + 16 * k);
                for (int r = 0; r < ROWS; r++)
                    sum[r] = vec_fma(weights(&m[r], bits, lut, k, q[r][k]), v, sum[r]);
            }
        }
    }
    for (int r = 0; r < ROWS; r++)
        vec_store(lane + 16 * r, sum[r]);
}

/* One row of any bits and groups: to w, or times x to lane [16]. */
INLINE void any_row(const wcd_codes *c, unsigned row, uint64_t n, float *w, const float *x, float *lane)
{
    uint8_t bytes[64];
    const uint8_t *p = c->at + row * c->stride;
    const int lut = c->levels != NULL;
    vec sum = lane ? vec_load(lane) : vec_all(0);
    meaning m = of_group(c, c->bits, lut, row, 0);
    for (uint64_t col = 0, g = 0, left = c->group; col < n; p += WCD_BLOCK / 8 * c->bits) {
        idx q[4];
        quarters(p, c->bits, bytes, q);
        for (int k = 0; k < 4; k++, col += 16, left -= 16) {
            if (!left) m = of_group(c, c->bits, lut, row, ++g), left = c->group;
            vec v = weights(&m, c->bits, lut, k, q[k]);
            if (lane)
                sum = vec_fma(v, vec_load(x + col), sum);
            else
                vec_store(w + col, v);
        }
    }
    if (lane) vec_store(lane, sum);
}

static void values(const wcd_codes *c, uint64_t n, float *w)
{
    any_row(c, 0, n, w, NULL, NULL);
}

static void dot(const wcd_codes *c, unsigned nr, uint64_t n, const float *x, float *lane)
{
    const unsigned which = c->group % WCD_BLOCK || nr < ROWS ? 0 : c->levels ? 16 + c->bits : c->bits;
    wcd_codes at = *c;
    unsigned done = 0;
    for (; which && done + ROWS <= nr; done += ROWS, lane += 16 * ROWS) {
        switch (which) {
        case 2: dot_rows(&at, 2, 0, n, x, lane); break;
        case 3: dot_rows(&at, 3, 0, n, x, lane); break;
        case 4: dot_rows(&at, 4, 0, n, x, lane); break;
        case 8: dot_rows(&at, 8, 0, n, x, lane); break;
        case 16 + 2: dot_rows(&at, 2, 1, n, x, lane); break;
        case 16 + 3: dot_rows(&at, 3, 1, n, x, lane); break;
        case 16 + 4: dot_rows(&at, 4, 1, n, x, lane); break;
        default:
            for (unsigned r = 0; r < ROWS; r++)
                any_row(&at, r, n, NULL, x, lane + 16 * r);
        }
        at.at += ROWS * at.stride, at.s += ROWS * at.ld;
        if (at.levels)
            at.levels += ROWS * 16;
        else
            at.z += ROWS * at.ld;
    }
    for (unsigned r = 0; done + r < nr; r++)
        any_row(&at, r, n, NULL, x, lane + 16 * r);
}

/* ---- codes times inputs in 8 bits ------------------------------------------------------------------------------- */

/* Columns that are added up as integers. */
INLINE uint64_t dot8_at_once(const wcd_codes *c, uint64_t left)
{
    const uint64_t most = c->group % WCD_SCALED ? WCD_BLOCK : WCD_SCALED;
    return left < most ? left : most;
}

/* ROWS rows times one input, groups of whole blocks; bits and vnni are constants where it is called. */
INLINE void dot8_one(const wcd_codes *c, unsigned bits, int vnni, uint64_t n, const int8_t *x, const float *d,
                     float *lane)
{
    const uint8_t *p = c->at;
    const float *s = c->s, *z = c->z;
    const uint64_t stride = c->stride;
    vec sum[ROWS];
    for (int r = 0; r < ROWS; r++)
        sum[r] = vec_load(lane + 16 * r);
    for (uint64_t col = 0, left = c->group, some; col < n; col += some) {
        idx u = idx_zero(), t[ROWS];
        for (int r = 0; r < ROWS; r++)
            t[r] = idx_zero();
        some = dot8_at_once(c, n - col);
        for (uint64_t k = 0; k < some; k += WCD_BLOCK, p += WCD_BLOCK / 8 * bits, x += WCD_BLOCK) {
            const bytes64 v = bytes64_load(x);
            u = bytes64_fours(u, bytes64_all(1), v, 1, vnni);
            for (unsigned r = 0; r < ROWS; r++) {
                const uint8_t *at = p + r * stride;
                if (bits > 2 || !k) PREFETCH((uintptr_t)at + ROWS * stride);
                t[r] = bytes64_fours(t[r], codes64_placed(at, bits, vnni), v, bits, vnni);
            }
        }
        const vec minus_u = vec_sub(vec_all(0), idx_vec(u)), scale = vec_all(d[col / WCD_SCALED]);
        for (int r = 0; r < ROWS; r++) {
            const vec v = idx_vec(idx_placed(t[r], bits, vnni));
            const vec w = vec_mul(scale, vec_fma(vec_all(z[r * WCD_CODE_GROUPS]), minus_u, v));
            sum[r] = vec_fma(vec_all(s[r * WCD_CODE_GROUPS]), w, sum[r]);
        }
        left -= some;
        if (!left) left = c->group, s++, z++;
    }
    for (int r = 0; r < ROWS; r++)
        vec_store(lane + 16 * r, sum[r]);
}

/* Codes in bytes, rows WCD_SCALED apart, of `some' columns that are added up as integers; their s and z. */
typedef struct unpacked {
    uint8_t q[ROWS * WCD_SCALED];
    vec s[ROWS], z[ROWS];
    uint64_t some;
} unpacked;

/* Rows r0 .. r0 + nr times nx inputs, of which x, d and lane are those of the first; step: lanes from row to row. nr,
 * nx, bits (8, or 7 for fewer) and vnni are constants where it is called. */
INLINE void dot8_tile(const unpacked *w, unsigned r0, unsigned nr, unsigned nx, unsigned bits, int vnni,
                      const int8_t *x, const float *d, uint64_t ld, float *lane, size_t step)
{
    idx t[ROWS][TILE_X], u[TILE_X];
    for (unsigned b = 0; b < nx; b++) {
        u[b] = idx_zero();
        for (unsigned r = 0; r < nr; r++)
            t[r][b] = idx_zero();
    }
    for (uint64_t k = 0; k < w->some; k += WCD_BLOCK) {
        bytes64 q[ROWS];
        UNROLL
        for (unsigned r = 0; r < nr; r++)
            q[r] = bytes64_load((const int8_t *)w->q + (r0 + r) * WCD_SCALED + k);
        UNROLL
        for (unsigned b = 0; b < nx; b++) {
            const bytes64 v = bytes64_load(x + b * ld + k);
            u[b] = bytes64_fours(u[b], bytes64_all(1), v, 1, vnni);
            UNROLL
            for (unsigned r = 0; r < nr; r++)
                t[r][b] = bytes64_fours(t[r][b], q[r], v, bits, vnni);
        }
    }
    UNROLL
    for (unsigned b = 0; b < nx; b++) {
        const vec minus_u = vec_sub(vec_all(0), idx_vec(u[b])), scale = vec_all(d[b * (ld / 4)]);
        UNROLL
        for (unsigned r = 0; r < nr; r++) {
            float *to = lane + r * step + 16 * b;
            const vec v = vec_mul(scale, vec_fma(w->z[r0 + r], minus_u, idx_vec(t[r][b])));
            vec_store(to, vec_fma(w->s[r0 + r], v, vec_load(to)));
        }
    }
}

/* All inputs; nr is a constant, ROWS or 1. */
INLINE void dot8_tiles(const unpacked *w, unsigned nr, unsigned bits, int vnni, const wcd_int8_codes *x, uint64_t col,
                       float *lane)
{
    const size_t step = (size_t)16 * x->n;
    const int8_t *q = x->q + col;
    const float *d = x->d + col / WCD_SCALED;
    unsigned b = 0;
    for (; nr == ROWS && b + TILE_X <= x->n; b += TILE_X)
        for (unsigned r = 0; r < ROWS; r += TILE_ROWS)
            dot8_tile(w, r, TILE_ROWS, TILE_X, bits, vnni, q + b * x->ld, d + b * (x->ld / 4), x->ld,
                      lane + 16 * b + r * step, step);
    for (; b < x->n; b++)
        dot8_tile(w, 0, nr, 1, bits, vnni, q + b * x->ld, d + b * (x->ld / 4), x->ld, lane + 16 * b, step);
}

/* Any bits, groups and inputs: what is unpacked serves all of them. */
INLINE void dot8_many(const wcd_codes *c, unsigned nr, int vnni, uint64_t n, const wcd_int8_codes *x, float *lane)
{
    const unsigned groups = c->group < WCD_BLOCK ? WCD_BLOCK / (unsigned)c->group : 1; /* in a block */
    const float *s = c->s, *z = c->z;
    unpacked w;
    for (uint64_t col = 0, left = c->group * groups; col < n; col += w.some) {
        w.some = dot8_at_once(c, n - col);
        for (unsigned r = 0; r < nr; r++) {
            const uint8_t *p = c->at + r * c->stride + col / 8 * c->bits;
            w.s[r] = vec_spread(s + r * WCD_CODE_GROUPS, groups), w.z[r] = vec_spread(z + r * WCD_CODE_GROUPS, groups);
            PREFETCH((uintptr_t)p + nr * c->stride);
            for (uint64_t k = 0; k < w.some; k += WCD_BLOCK)
                bytes64_store(w.q + r * WCD_SCALED + k, bytes64_low(codes64(p + k / 8 * c->bits, c->bits), c->bits));
        }
        if (vnni || c->bits < 8)
            dot8_tiles(&w, nr, 7, vnni, x, col, lane);
        else
            dot8_tiles(&w, nr, 8, vnni, x, col, lane);
        left -= w.some;
        if (!left) left = c->group * groups, s += groups, z += groups;
    }
}

INLINE void dot8_any(const wcd_codes *c, unsigned nr, int vnni, uint64_t n, const wcd_int8_codes *x, float *lane)
{
    const unsigned which = c->group % WCD_BLOCK || x->n > 1 ? 0 : c->bits;
    wcd_codes at = *c;
    unsigned done = 0;
    for (; done + ROWS <= nr; done += ROWS, lane += 16 * ROWS * x->n) {
        switch (which) {
        case 2: dot8_one(&at, 2, vnni, n, x->q, x->d, lane); break;
        case 3: dot8_one(&at, 3, vnni, n, x->q, x->d, lane); break;
        case 4: dot8_one(&at, 4, vnni, n, x->q, x->d, lane); break;
        case 8: dot8_one(&at, 8, vnni, n, x->q, x->d, lane); break;
        default: dot8_many(&at, ROWS, vnni, n, x, lane);
        }
        at.at += ROWS * at.stride, at.s += ROWS * at.ld, at.z += ROWS * at.ld;
    }
    for (; done < nr; done++, lane += 16 * x->n) {
        dot8_many(&at, 1, vnni, n, x, lane);
        at.at += at.stride, at.s += at.ld, at.z += at.ld;
    }
}

static void dot8(const wcd_codes *c, unsigned nr, uint64_t n, const wcd_int8_codes *x, float *lane)
{
    dot8_any(c, nr, 0, n, x, lane);
}

#ifdef __AVX512F__
static void dot8_vnni(const wcd_codes *c, unsigned nr, uint64_t n, const wcd_int8_codes *x, float *lane)
{
    dot8_any(c, nr, 1, n, x, lane);
}
#endif

static void unpack(const uint8_t *p, unsigned bits, uint64_t blocks, uint8_t *out)
{
    for (; blocks; blocks--, p += WCD_BLOCK / 8 * bits, out += WCD_BLOCK)
        bytes64_store(out, bytes64_low(codes64(p, bits), bits));
}

/* ---- floats ---------------------------------------------------------------------------------------------------- */

/* nr rows times nx vectors of n columns, n a multiple of 16; nr and nx are constants where it is called. step: lanes
 * from row to row. Unrolled by order, so that sums are registers. */
INLINE void tile(const float *w, size_t ldw, unsigned nr, const float *x, size_t ldx, unsigned nx, unsigned n,
                 float *lane, size_t step)
{
    vec sum[TILE_ROWS][TILE_X];
    UNROLL
    for (unsigned r = 0; r < nr; r++)
        UNROLL
    for (unsigned b = 0; b < nx; b++)
        sum[r][b] = vec_load(lane + r * step + 16 * b);
    for (unsigned i = 0; i < n; i += 16) {
        vec a[TILE_ROWS];
        UNROLL
        for (unsigned r = 0; r < nr; r++)
            a[r] = vec_load(w + r * ldw + i);
        UNROLL
        for (unsigned b = 0; b < nx; b++) {
            vec v = vec_load(x + b * ldx + i);
            UNROLL
            for (unsigned r = 0; r < nr; r++)
                sum[r][b] = vec_fma(a[r], v, sum[r][b]);
        }
    }
    UNROLL
    for (unsigned r = 0; r < nr; r++)
        UNROLL
    for (unsigned b = 0; b < nx; b++)
        vec_store(lane + r * step + 16 * b, sum[r][b]);
}

/* The last n < 16 columns. */
static void rest(const float *w, size_t ldw, unsigned nr, const float *x, size_t ldx, unsigned nx, unsigned n,
                 float *lane)
{
    for (unsigned r = 0; r < nr; r++)
        for (unsigned b = 0; b < nx; b++, lane += 16)
            for (unsigned j = 0; j < n; j++)
                lane[j] = wcd_fma(w[r * ldw + j], x[b * ldx + j], lane[j]);
}

/* Inputs outside: a few of them stay in the first cache for all rows, whatever power of two lies between them. */
static void lanes(const float *w, size_t ldw, unsigned nr, const float *x, size_t ldx, unsigned nx, unsigned n,
                  float *lane)
{
    const size_t step = (size_t)16 * nx;
    const unsigned whole = n / 16 * 16;
    for (unsigned b = 0, some; b < nx; b += some) {
        const float *v = x + b * ldx;
        float *sum = lane + 16 * b;
        unsigned r = 0;
        some = nx - b < TILE_X ? 1 : TILE_X;
        for (; r + TILE_ROWS <= nr && some == 1; r += TILE_ROWS)
            tile(w + r * ldw, ldw, TILE_ROWS, v, ldx, 1, whole, sum + r * step, step);
        for (; r + TILE_ROWS <= nr; r += TILE_ROWS)
            tile(w + r * ldw, ldw, TILE_ROWS, v, ldx, TILE_X, whole, sum + r * step, step);
        for (; r < nr && some == 1; r++)
            tile(w + r * ldw, ldw, 1, v, ldx, 1, whole, sum + r * step, step);
        for (; r < nr; r++)
            tile(w + r * ldw, ldw, 1, v, ldx, TILE_X, whole, sum + r * step, step);
    }
    if (whole < n) rest(w + whole, ldw, nr, x + whole, ldx, nx, n - whole, lane);
}

static void halves(const uint8_t *p, uint64_t n, float scale, float *dst)
{
    for (; n >= 16; n -= 16, p += 32, dst += 16)
        vec_store(dst, vec_mul(vec_f16(p), vec_all(scale)));
    for (; n; n--, p += 2)
        *dst++ = wc_f16_f32(wcd_u16(p)) * scale;
}

static void brains(const uint8_t *p, uint64_t n, float *dst)
{
    for (; n >= 16; n -= 16, p += 32, dst += 16)
        vec_store(dst, idx_bits(idx_up(idx_u16(p), 16)));
    for (; n; n--, p += 2)
        *dst++ = wc_bf16_f32(wcd_u16(p));
}

/* x at n <= 16 columns, 0 for columns from cols on and for the rest of 16. */
INLINE vec taken(const float *x, const uint8_t *col, unsigned n, uint64_t cols)
{
    float v[16] = {0};
    for (unsigned k = 0; k < n; k++) {
        unsigned c = wcd_u16(col + 2 * k);
        v[k] = c < cols ? x[c] : 0;
    }
    return vec_load(v);
}

/* The last values are made 16 by those that change no sum: -0 times 0 is -0, and a - 0 = a. */
static void listed(const uint8_t *col, const uint8_t *value, uint64_t n, float scale, const float *x, uint64_t cols,
                   float *lane)
{
    vec sum = vec_load(lane);
    uint8_t last[32];
    for (; n >= 16; n -= 16, col += 32, value += 32) {
        vec v = idx_below(idx_u16(col), (int)cols) ? vec_at16(x, col) : taken(x, col, 16, cols);
        sum = vec_fma(vec_mul(vec_f16(value), vec_all(scale)), v, sum);
    }
    for (unsigned k = 0; k < 16 && n; k++)
        last[2 * k] = k < n ? value[2 * k] : 0, last[2 * k + 1] = k < n ? value[2 * k + 1] : 0x80;
    if (n) sum = vec_fma(vec_mul(vec_f16(last), vec_all(scale)), taken(x, col, (unsigned)n, cols), sum);
    vec_store(lane, sum);
}

static void sums(const float *lane, unsigned n, float *out)
{
    for (; n >= 4; n -= 4, lane += 64, out += 4)
        vec_sums4(lane, out);
    for (; n; n--, lane += 16, out++) {
        float copy[64] = {0}, four[4];
        vec_store(copy, vec_load(lane));
        vec_sums4(copy, four);
        *out = four[0];
    }
}

const wcd_inner WCD_NAME(wcd_inner) = {unpack, values, dot, dot8, lanes, halves, brains, listed, sums};
#ifdef __AVX512F__
extern const wcd_inner wcd_inner_vnni;
const wcd_inner wcd_inner_vnni = {unpack, values, dot, dot8_vnni, lanes, halves, brains, listed, sums};
#endif

#endif
