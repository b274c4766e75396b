/* The API: which kernels a tensor needs, in which order, and where the workspace is cut. */
#include <stdlib.h>

#include "cuda/ggml.cuh"
#include "cuda/grid.cuh"
#include "cuda/kernels.cuh"
#include "cuda/layout.cuh"
#include "cuda/vq.cuh"

namespace
{

enum { TILE_BYTES = 8 << 20, MOST_GRID_Y = 65535, THREADS = 256, MANY_BLOCKS = 264 };

uint64_t pad(uint64_t columns)
{
    return (columns + WCU_UNIT - 1) / WCU_UNIT * WCU_UNIT;
}

/* Columns of x in whole panels. */
uint64_t in_panels(uint64_t columns)
{
    return (columns + WCU_PANEL - 1) / WCU_PANEL * WCU_PANEL;
}

unsigned blocks_of(uint64_t n, uint64_t each)
{
    return (unsigned)((n + each - 1) / each);
}

/* L: threads that share a row. */
uint32_t lanes_of(uint64_t units)
{
    uint32_t lanes = 1;
    while (lanes < units && lanes < WCU_THREADS)
        lanes *= 2;
    return lanes;
}

const wcu_part *parts_of(const wcd_cuda_tensor *w)
{
    return (const wcu_part *)w->part;
}

/* Parts are kept in the public handle one behind the other. */
static_assert(sizeof(wcu_part) % 8 == 0 && alignof(wcu_part) <= 8, "parts lie in an array of u64");

bool is_type(uint32_t t)
{
    return t == WCD_CUDA_F32 || t == WCD_CUDA_F16 || t == WCD_CUDA_BF16;
}

unsigned width_of(uint32_t type)
{
    return type == WCD_CUDA_F32 ? 4 : 2;
}

wcd_cuda_status launched(void)
{
    return cudaGetLastError() == cudaSuccess ? WCD_CUDA_OK : WCD_CUDA_E_RUNTIME;
}

bool is_coded(const wcu_part &p)
{
    return p.kind == WCU_FLOAT && p.form;
}

/* Its products are made stream by stream; those of others from rows that are decoded before. */
bool by_streams(const wcu_part &p)
{
    return is_coded(p) && width_of(p.dtype) == 2 && p.cols % 4 == 0 && p.cols >= WCU_STREAM;
}

uint64_t streams_of(const wcu_part &p)
{
    return (p.rows * p.cols + WCU_STREAM - 1) / WCU_STREAM;
}

/* Sums of a vector that a product writes to the workspace first. */
uint64_t sums_of(const wcu_part &p)
{
    return p.kind == WCU_TRELLIS ? p.rows * p.u.l.blocks : by_streams(p) ? 2 * streams_of(p) : 0;
}

/* ---- workspace -------------------------------------------------------------------------------------------------- */

struct room {
    float *x, *xs, *sx, *y, *z[2], *others, *partial;
    uint8_t *tile;
};

/* Cuts a workspace for n vectors at `base' (NULL: only *size is wanted). */
room cut_room(const wcd_cuda_tensor *w, uint64_t n, uint8_t *base, uint64_t *size)
{
    const wcu_part *p = parts_of(w);
    uint64_t rank = 0, tile = 0, sums = 0, at = 0, places[9];
    for (uint32_t i = 0; i < w->n_parts; i++) {
        if (p[i].kind == WCU_LOWRANK && p[i].u.r.rank > rank) rank = p[i].u.r.rank;
        if (!is_coded(p[i]) || by_streams(p[i])) continue;
        uint64_t row = p[i].cols * width_of(p[i].dtype), rows = TILE_BYTES / row ? TILE_BYTES / row : 1;
        uint64_t bytes = row * (rows < p[i].rows ? rows : p[i].rows);
        tile = bytes > tile ? bytes : tile;
    }
    for (uint32_t i = 0; i < w->n_all; i++)
        sums = sums_of(p[i]) > sums ? sums_of(p[i]) : sums;
    uint64_t ldx = pad(w->cols), ldz = pad(rank), batch = n < WCU_BATCH ? n : WCU_BATCH;
    const uint64_t lds = in_panels(ldx > ldz ? ldx : ldz);
    const uint64_t floats[8] = {n * ldx, n * lds, n * lds / WCU_UNIT,     n * w->rows,
                                n * ldz, n * ldz, rank ? n * w->rows : 0, batch * sums};
    for (int k = 0; k < 9; k++) {
        places[k] = at;
        at += ((k < 8 ? 4 * floats[k] : tile) + 255) / 256 * 256;
    }
    *size = at;
    float *f[8];
    for (int k = 0; k < 8; k++)
        f[k] = base ? (float *)(base + places[k]) : NULL;
    return room{f[0], f[1], f[2], f[3], {f[4], f[5]}, f[6], f[7], base ? base + places[8] : NULL};
}

/* ---- products --------------------------------------------------------------------------------------------------- */

struct call {
    const wcd_cuda_tensor *w;
    const wcu_part *all; /* on the host */
    uint32_t n;
    room r;
    cudaStream_t stream;
    const float *panels_of; /* the vectors that r.xs and r.sx hold, for codes of panel_bits */
    uint32_t panel_bits;
};

/* Where a product goes: prev + it to y. */
struct target {
    const float *prev;
    void *y;
    uint32_t type;
    uint64_t ld;
};

/* How a part is multiplied. */
enum way { BY_UNITS, BY_COLUMNS, GRID, LUT };

/* Units are whole: no holes, and none straddles groups. */
way way_of(const wcu_part &p)
{
    bool whole = !p.holes && p.group_shift != WCU_NO_SHIFT && p.units < WCU_MOST_UNITS;
    if (p.kind == WCU_TRELLIS || p.kind == WCU_SPARSE || by_streams(p)) return BY_COLUMNS;
    if (p.kind == WCU_GRID && whole) return GRID;
    if (p.kind == WCU_LUT && whole && p.form <= WCU_TABLE_PER_ROW && p.bits >= 2 && p.bits <= 4) return LUT;
    return BY_UNITS;
}

/* The vectors in [n, ld] to x, unless NULL, in f32, and to panels for part p, unless NULL or they are there. */
void put_inputs(call *c, const wcu_part *p, const void *in, uint32_t type, uint64_t cols, uint64_t ld, float *x)
{
    way how = p ? way_of(*p) : BY_COLUMNS;
    uint32_t bits = how == GRID ? p->bits : 0;
    const float *from = x ? x : (const float *)in;
    wcu_input a = {in, type, bits, ld, cols, x, pad(cols), NULL, NULL, in_panels(cols)};
    if (how != BY_COLUMNS && (c->panels_of != from || c->panel_bits != bits)) {
        a.xs = c->r.xs, a.sx = c->r.sx;
        c->panels_of = from, c->panel_bits = bits;
    }
    if (a.xs || x) WCU_LAUNCH(wcu_inputs, dim3(blocks_of(a.xs ? a.lds : a.ldx, THREADS), c->n), THREADS, c->stream, a);
}

wcu_product arguments(const call *c, const wcu_part &p, const float *x, uint64_t ldx, target to)
{
    wcu_product a;
    memset(&a, 0, sizeof a);
    a.p = p, a.base = (const uint8_t *)c->w->device, a.all = (const wcu_part *)c->w->device;
    a.x = x, a.ldx = ldx, a.xs = c->r.xs, a.sx = c->r.sx, a.lds = in_panels(p.cols), a.n = c->n,
    a.lanes = lanes_of(p.units);
    a.prev = to.prev, a.y = to.y, a.ytype = to.type, a.ldy = to.ld;
    return a;
}

template <int N> void launch_grid(const wcu_product &a, cudaStream_t stream)
{
    dim3 grid(blocks_of(a.p.rows, (uint64_t)WCU_THREADS / a.lanes * WCU_ROWS), blocks_of(a.n, N));
    wcu_by_bits(a.p.bits,
                [&](auto bits) { WCU_LAUNCH((wcu_grid_product<bits.value, N>), grid, WCU_THREADS, stream, a); });
}

template <int N> void launch_lut(wcu_product a, cudaStream_t stream)
{
    if (a.lanes < WCU_LUT_LANES) a.lanes = WCU_LUT_LANES;
    dim3 grid(blocks_of(a.p.rows, (uint64_t)WCU_THREADS / a.lanes * WCU_ROWS), blocks_of(a.n, N));
    switch (a.p.bits) {
    case 2: WCU_LAUNCH((wcu_lut_product<2, N>), grid, WCU_THREADS, stream, a); return;
    case 3: WCU_LAUNCH((wcu_lut_product<3, N>), grid, WCU_THREADS, stream, a); return;
    default: WCU_LAUNCH((wcu_lut_product<4, N>), grid, WCU_THREADS, stream, a);
    }
}

/* A grid or lut of whole units, N vectors at once. */
template <int N> void launch_codes(const wcu_product &a, cudaStream_t stream)
{
    if (a.p.kind == WCU_LUT)
        launch_lut<N>(a, stream);
    else
        launch_grid<N>(a, stream);
}

void launch_piped(const wcu_product &a, unsigned processors, cudaStream_t stream)
{
    unsigned most = processors * WCU_RESIDENT, wanted = blocks_of(a.p.rows, wcu_stage_rows(a.p.bits));
    unsigned blocks = wanted < most ? wanted : most;
    wcu_by_bits(a.p.bits,
                [&](auto bits) { wcu_launch_early(wcu_grid_piped<bits.value>, blocks, WCU_THREADS, stream, a); });
}

/* Whether codes come by the copy engine: for one vector, by a device that has one, in multiples of 16 bytes, and to all
 * threads of a block; scales of tiles would not be there in time. */
bool by_copy_engine(const call *c, const wcu_part &p)
{
    return p.kind == WCU_GRID && c->n == 1 && c->w->generation >= 90 && p.units % 4 == 0 && p.units > 64 &&
           p.scale_kind != WCU_TILE_SCALES;
}

void launch_part(const wcu_product &a, cudaStream_t stream)
{
    if (wcu_launch_vq(a, stream) || wcu_launch_ggml(a, stream)) return;
    dim3 grid(blocks_of(a.p.rows, WCU_THREADS / a.lanes), blocks_of(a.n, WCU_BATCH));
    if (a.p.kind == WCU_FLOAT && !a.p.form)
        WCU_LAUNCH(wcu_part_product<WCU_FLOAT>, grid, WCU_THREADS, stream, a);
    else if (a.p.kind == WCU_LUT)
        WCU_LAUNCH(wcu_part_product<WCU_LUT>, grid, WCU_THREADS, stream, a);
    else if (a.p.kind == WCU_VQ)
        WCU_LAUNCH(wcu_part_product<WCU_VQ>, grid, WCU_THREADS, stream, a);
    else if (a.p.kind == WCU_GGML)
        WCU_LAUNCH(wcu_part_product<WCU_GGML>, grid, WCU_THREADS, stream, a);
    else
        WCU_LAUNCH(wcu_part_product<0>, grid, WCU_THREADS, stream, a);
}

/* Warps that read the rows r0 .. r0 + n of kind coded: one for two neighbouring units. */
uint64_t warps_of(const wcu_part &p, uint64_t r0, uint64_t n)
{
    return ((r0 + n - 1) / p.tile - r0 / p.tile + 1) * ((p.u.l.blocks + 1) / 2);
}

/* Threads of a block that reads units of kind coded, half a warp each: few where there are few units, so that all
 * multiprocessors of a large device (132) have two blocks. */
unsigned readers_of(uint64_t warps)
{
    unsigned threads = WCU_READERS;
    while (threads > 64 && warps * 32 / threads < MANY_BLOCKS)
        threads /= 2;
    return threads;
}

/* The vectors of a product from `first' on, as many as are multiplied at once. */
wcu_product batch_of(const wcu_product &all, uint32_t first)
{
    wcu_product a = all;
    a.n = all.n - first < WCU_BATCH ? all.n - first : WCU_BATCH;
    a.x += first * a.ldx;
    a.y = (uint8_t *)a.y + first * a.ldy * width_of(a.ytype);
    if (a.prev) a.prev += first * a.ldy;
    return a;
}

/* Threads that add up n sums of a row. */
uint32_t adders_of(uint64_t n)
{
    return lanes_of(n) < 32 ? lanes_of(n) : 32;
}

/* The product of kind coded: batches of vectors, each read and then added up over the blocks of columns. */
void product_trellis(const call *c, const wcu_product &all, float *partial)
{
    uint64_t warps = warps_of(all.p, 0, all.p.rows);
    unsigned threads = readers_of(warps), blocks = blocks_of(warps * 32, threads);
    for (uint32_t first = 0; first < all.n; first += WCU_BATCH) {
        wcu_product a = batch_of(all, first);
        if (a.n == 1)
            WCU_LAUNCH(wcu_trellis_product<1>, blocks, threads, c->stream, a, partial);
        else
            WCU_LAUNCH(wcu_trellis_product<WCU_BATCH>, blocks, threads, c->stream, a, partial);
        a.lanes = adders_of(a.p.u.l.blocks);
        WCU_LAUNCH(wcu_trellis_sum, dim3(blocks_of(a.p.rows, WCU_THREADS / a.lanes), a.n), WCU_THREADS, c->stream, a,
                   (const float *)partial);
    }
}

/* Blocks that decode streams: as many as a device has at once, for each makes tables first. */
unsigned decoders_of(const wcd_cuda_tensor *w, uint64_t streams)
{
    unsigned wanted = blocks_of(streams, WCU_THREADS), most = w->processors * WCU_DECODERS;
    return most && most < wanted ? most : wanted;
}

/* The product of entropy-coded floats, stream by stream, in the same way. */
void product_streams(const call *c, const wcu_product &all, float *partial)
{
    unsigned blocks = decoders_of(c->w, streams_of(all.p));
    for (uint32_t first = 0; first < all.n; first += WCU_BATCH) {
        wcu_product a = batch_of(all, first);
        if (a.n == 1)
            WCU_LAUNCH(wcu_stream_product<1>, blocks, WCU_THREADS, c->stream, a, partial);
        else
            WCU_LAUNCH(wcu_stream_product<WCU_BATCH>, blocks, WCU_THREADS, c->stream, a, partial);
        a.lanes = adders_of(a.p.cols / WCU_STREAM + 1);
        WCU_LAUNCH(wcu_stream_sum, dim3(blocks_of(a.p.rows, WCU_THREADS / a.lanes), a.n), WCU_THREADS, c->stream, a,
                   (const float *)partial);
    }
}

/* Any part with units, whole; the sparse part s, unless NULL, in the same. */
void launch_product(call *c, const wcu_part &p, const wcu_part *s, const float *x, uint64_t ldx, target to)
{
    wcu_product a = arguments(c, p, x, ldx, to);
    if (s) a.s = *s, a.fused = 1;
    put_inputs(c, &p, x, WCD_CUDA_F32, p.cols, ldx, NULL);
    if (to.y == c->panels_of) c->panels_of = NULL;
    if (p.kind == WCU_TRELLIS) {
        product_trellis(c, a, c->r.partial);
        return;
    }
    if (by_streams(p)) {
        product_streams(c, a, c->r.partial);
        return;
    }
    way how = way_of(p);
    if (how == BY_UNITS || how == BY_COLUMNS)
        launch_part(a, c->stream);
    else if (by_copy_engine(c, p))
        launch_piped(a, c->w->processors, c->stream);
    else
        wcu_by_vectors(c->n, [&](auto n) { launch_codes<n.value>(a, c->stream); });
}

void launch_decode(const wcd_cuda_tensor *w, const wcu_decode &a, cudaStream_t stream)
{
    uint64_t streams = (a.end - 1) / WCU_STREAM - a.first / WCU_STREAM + 1;
    unsigned blocks = decoders_of(w, streams);
    if (width_of(a.p.dtype) == 4)
        WCU_LAUNCH(wcu_decode_streams<4>, blocks, WCU_THREADS, stream, a);
    else
        WCU_LAUNCH(wcu_decode_streams<2>, blocks, WCU_THREADS, stream, a);
}

wcu_decode decode_rows(const wcd_cuda_tensor *w, const wcu_part &p, uint64_t r0, uint64_t n, void *dst, uint32_t type,
                       uint64_t ld)
{
    return wcu_decode{p, (const uint8_t *)w->device, r0 * p.cols, (r0 + n) * p.cols, dst, type, ld};
}

/* Other entropy-coded floats: some rows are decoded as they are stored, small enough to stay in the L2 cache, then
 * multiplied. */
void product_coded(call *c, const wcu_part &p, const float *x, uint64_t ldx, target to)
{
    uint64_t row_bytes = p.cols * width_of(p.dtype), step = TILE_BYTES / row_bytes ? TILE_BYTES / row_bytes : 1;
    wcu_part raw = p;
    raw.form = 0, raw.u.s.values = 0;
    put_inputs(c, &raw, x, WCD_CUDA_F32, p.cols, ldx, NULL);
    for (uint64_t r0 = 0; r0 < p.rows; r0 += step) {
        uint64_t n = p.rows - r0 < step ? p.rows - r0 : step;
        launch_decode(c->w, decode_rows(c->w, p, r0, n, c->r.tile, p.dtype, p.cols), c->stream);
        raw.rows = n;
        target rows = to;
        rows.y = (uint8_t *)to.y + r0 * width_of(to.type);
        if (to.prev) rows.prev += r0;
        wcu_product a = arguments(c, raw, x, ldx, rows);
        a.base = c->r.tile;
        launch_part(a, c->stream);
    }
}

/* y = prev + A (B x), A (U (B x)), or the rows of B x and A (B x) that a map says. */
void product_lowrank(call *c, const wcu_part &p, const float *x, uint64_t ldx, target to)
{
    const wcu_part *child = c->all + p.child;
    uint64_t ldz = pad(p.u.r.rank);
    const float *z = c->r.z[0];
    for (int k = 0; k < (p.form == WCU_CUR ? 2 : 1); k++)
        cudaMemsetAsync(c->r.z[k], 0, c->n * ldz * sizeof(float), c->stream);
    launch_product(c, child[1], NULL, x, ldx, target{NULL, c->r.z[0], WCD_CUDA_F32, ldz});
    if (p.form == WCU_CUR) {
        launch_product(c, child[2], NULL, z, ldz, target{NULL, c->r.z[1], WCD_CUDA_F32, ldz});
        z = c->r.z[1];
    }
    if (p.form != WCU_PIVOT) {
        launch_product(c, child[0], NULL, z, ldz, to);
        return;
    }
    uint64_t ld = child[0].rows;
    launch_product(c, child[0], NULL, z, ldz, target{NULL, c->r.others, WCD_CUDA_F32, ld});
    wcu_product a = arguments(c, p, z, ldz, to);
    WCU_LAUNCH(wcu_pivot_rows, blocks_of(p.rows, THREADS), THREADS, c->stream, a, (const float *)c->r.others, ld);
}

/* The parts one after the other; a sparse part goes along with the one before it where that is possible. The last
 * launch writes y in its own type, those before add up in f32. */
void all_products(call *c, void *y, uint32_t ytype)
{
    const wcd_cuda_tensor *w = c->w;
    const uint64_t ldx = pad(w->cols);
    for (uint32_t i = 0, next; i < w->n_parts; i = next) {
        const wcu_part &p = c->all[i];
        bool tiles = is_coded(p) && !by_streams(p), alone = tiles || (p.kind == WCU_LOWRANK && p.form != WCU_MPO);
        bool fused = !alone && i + 1 < w->n_parts && c->all[i + 1].kind == WCU_SPARSE;
        next = i + 1 + fused;
        target to = {i ? c->r.y : NULL, c->r.y, WCD_CUDA_F32, w->rows};
        if (next == w->n_parts) to.y = y, to.type = ytype;
        if (tiles)
            product_coded(c, p, c->r.x, ldx, to);
        else if (alone)
            product_lowrank(c, p, c->r.x, ldx, to);
        else
            launch_product(c, p, fused ? &c->all[i + 1] : NULL, c->r.x, ldx, to);
    }
}

/* ---- transforms ------------------------------------------------------------------------------------------------- */

/* n rows of x [., ld] in place, n <= MOST_GRID_Y; input: x = C x, else w = w C. */
void transform(const wcd_cuda_tensor *w, const wcu_part &p, float *x, uint64_t ld, unsigned n, int input,
               cudaStream_t stream)
{
    const uint8_t *base = (const uint8_t *)w->device;
    if (p.kind == WCU_DIAGONAL) {
        WCU_LAUNCH(wcu_diagonal, dim3(blocks_of(p.cols, THREADS), n), THREADS, stream, p, base, x, ld);
        return;
    }
    if (p.kind == WCU_PERMUTE) {
        for (int step = 0; step < 2; step++)
            WCU_LAUNCH(wcu_permute_step, dim3(blocks_of(p.cols, THREADS), n), THREADS, stream, p, base, x, ld,
                       step == input);
        return;
    }
    uint64_t order = (uint64_t)1 << p.u.t.log2, segment = order < WCU_SEGMENT ? order : WCU_SEGMENT;
    WCU_LAUNCH(wcu_hadamard_segment, dim3((unsigned)(p.cols / segment), n), THREADS, stream, p, base, x, ld, input);
    for (uint64_t len = segment; len < order; len *= 2)
        WCU_LAUNCH(wcu_hadamard_round, dim3(blocks_of(p.cols / 2, THREADS), n), THREADS, stream, p, base, x, ld, len,
                   input);
}

} // namespace

/* ---- the library ------------------------------------------------------------------------------------------------ */

const char *wcd_cuda_status_text(wcd_cuda_status s)
{
    switch (s) {
    case WCD_CUDA_OK: return "success";
    case WCD_CUDA_E_ARGUMENT: return "wrong argument";
    case WCD_CUDA_E_UNSUPPORTED: return "a part that has no kernels here";
    case WCD_CUDA_E_NOT_NUMERIC: return "not a tensor of f32, f16 or bf16 values";
    case WCD_CUDA_E_RUNTIME: return "the CUDA runtime refused a copy or a launch";
    }
    return "unknown status";
}

wcd_cuda_status wcd_cuda_size(const wcd_tensor *t, uint64_t *bytes)
{
    wcu_part all[WCD_CUDA_PARTS];
    uint32_t n;
    return t && bytes ? wcu_lay_out(t, all, &n, bytes, NULL) : WCD_CUDA_E_ARGUMENT;
}

wcd_cuda_status wcd_cuda_lay_out(const wcd_tensor *t, void *host)
{
    wcu_part all[WCD_CUDA_PARTS];
    uint32_t n;
    uint64_t size;
    if (!t || !host || (uintptr_t)host % 8) return WCD_CUDA_E_ARGUMENT;
    wcd_cuda_status s = wcu_lay_out(t, all, &n, &size, NULL);
    if (s != WCD_CUDA_OK) return s;
    memset(host, 0, size);
    return wcu_lay_out(t, all, &n, &size, (uint8_t *)host);
}

/* What the current device runs: 90 only if the code that it has been given is that of sm_90, with its pipelines; PTX of
 * an older generation that was compiled for a newer device has empty ones. */
static void ask_device(wcd_cuda_tensor *w)
{
    int device, processors;
    cudaFuncAttributes code;
    const char *wish = getenv("WCD_CUDA_GENERATION");
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess ||
        cudaFuncGetAttributes(&code, wcu_grid_piped<4>) != cudaSuccess) {
        (void)cudaGetLastError(); /* products will say it */
        return;
    }
    w->generation = (uint16_t)(wish && atoi(wish) < code.ptxVersion ? atoi(wish) : code.ptxVersion);
    w->processors = (uint16_t)processors;
}

wcd_cuda_status wcd_cuda_open(const wcd_tensor *t, const void *device, wcd_cuda_tensor *out)
{
    wcu_part all[WCD_CUDA_PARTS];
    wcd_cuda_tensor w;
    if (!t || !out || !device || (uintptr_t)device % 256) return WCD_CUDA_E_ARGUMENT;
    memset(&w, 0, sizeof w);
    wcd_cuda_status s = wcu_lay_out(t, all, &w.n_all, &w.size, NULL);
    if (s != WCD_CUDA_OK) return s;
    w.rows = t->rows, w.cols = t->cols, w.device = device, w.n_parts = t->n_parts, w.n_transforms = t->n_transforms;
    memcpy(w.part, all, w.n_all * sizeof *all);
    ask_device(&w);
    *out = w;
    return WCD_CUDA_OK;
}

wcd_cuda_status wcd_cuda_upload(const wcd_tensor *t, void *host, void *device, wcd_cuda_stream stream,
                                wcd_cuda_tensor *out)
{
    wcd_cuda_tensor w;
    if (!host || !out) return WCD_CUDA_E_ARGUMENT;
    wcd_cuda_status s = wcd_cuda_open(t, device, &w);
    if (s == WCD_CUDA_OK) s = wcd_cuda_lay_out(t, host);
    if (s != WCD_CUDA_OK) return s;
    if (cudaMemcpyAsync(device, host, w.size, cudaMemcpyHostToDevice, stream) != cudaSuccess) return WCD_CUDA_E_RUNTIME;
    *out = w;
    return WCD_CUDA_OK;
}

/* The part of a sum that has a kernel by itself, to which the others are added; or the number of parts. */
static uint32_t leader_of(const wcd_cuda_tensor *w)
{
    const wcu_part *p = parts_of(w);
    for (uint32_t i = 0; i < w->n_parts; i++)
        if (p[i].kind == WCU_TRELLIS) return i;
    for (uint32_t i = 0; i < w->n_parts; i++)
        if (is_coded(p[i]) && p[i].dtype != WCD_CUDA_F32 && p[i].cols % WCU_UNIT == 0) return i;
    return w->n_parts;
}

/* false, and nothing is launched: there would be more blocks of threads than a launch can have. */
static bool launch_sum(const wcu_sum &a, cudaStream_t stream)
{
    bool led = a.which < a.n_parts, trellis = a.p.kind == WCU_TRELLIS;
    uint64_t first = a.r0 * a.p.cols, end = first + a.n * a.p.cols, warps = trellis ? warps_of(a.p, a.r0, a.n) : 0;
    uint64_t wanted = !led ? a.n * a.p.units : trellis ? warps * 32 : (end - 1) / WCU_STREAM - first / WCU_STREAM + 1;
    unsigned threads = !led ? THREADS : trellis ? readers_of(warps) : WCU_THREADS;
    if (wanted / threads >= INT32_MAX) return false;
    unsigned blocks = blocks_of(wanted, threads);
    if (!led)
        WCU_LAUNCH(wcu_sum_rows, blocks, threads, stream, a);
    else if (!trellis)
        WCU_LAUNCH(wcu_sum_streams, blocks, threads, stream, a);
    else if (a.n_parts == 1)
        WCU_LAUNCH(wcu_trellis_decode<false>, blocks, threads, stream, a);
    else
        WCU_LAUNCH(wcu_trellis_decode<true>, blocks, threads, stream, a);
    return true;
}

/* Rows of one grid of whole units. false: it is none, or there would be too many blocks. */
static bool launch_grid_rows(const wcu_sum &a, cudaStream_t stream)
{
    if (a.n_parts != 1 || way_of(a.p) != GRID) return false;
    uint64_t all = a.n * blocks_of(a.p.units * 4, WCU_ROW_THREADS);
    if (all > INT32_MAX) return false;
    unsigned blocks = (unsigned)all;
    wcu_by_bits(a.p.bits,
                [&](auto bits) { WCU_LAUNCH(wcu_grid_rows<bits.value>, blocks, WCU_ROW_THREADS, stream, a); });
    return true;
}

wcd_cuda_status wcd_cuda_rows(const wcd_cuda_tensor *w, uint64_t r0, uint64_t n, void *dst, wcd_cuda_type type,
                              uint64_t ld, wcd_cuda_stream stream)
{
    if (!w || r0 > w->rows || n > w->rows - r0 || (!dst && n) || ld < w->cols || !is_type(type))
        return WCD_CUDA_E_ARGUMENT;
    if (w->n_transforms && type != WCD_CUDA_F32) return WCD_CUDA_E_ARGUMENT;
    if (!n) return WCD_CUDA_OK;
    const wcu_part *all = parts_of(w);
    const uint8_t *base = (const uint8_t *)w->device;
    if (w->n_parts == 1 && is_coded(all[0])) {
        launch_decode(w, decode_rows(w, all[0], r0, n, dst, type, ld), stream);
    } else {
        uint32_t which = leader_of(w);
        wcu_sum a = {all[which < w->n_parts ? which : 0],
                     base,
                     (const wcu_part *)base,
                     w->n_parts,
                     which,
                     r0,
                     n,
                     dst,
                     (uint32_t)type,
                     ld};
        if (!launch_grid_rows(a, stream) && !launch_sum(a, stream)) return WCD_CUDA_E_ARGUMENT;
    }
    for (uint32_t k = w->n_transforms; k--;)
        for (uint64_t i = 0; i < n; i += MOST_GRID_Y)
            transform(w, all[w->n_parts + k], (float *)dst + i * ld, ld,
                      (unsigned)(n - i < MOST_GRID_Y ? n - i : MOST_GRID_Y), 0, stream);
    return launched();
}

wcd_cuda_status wcd_cuda_workspace(const wcd_cuda_tensor *w, uint32_t n, uint64_t *bytes)
{
    if (!w || !bytes || !n || n > MOST_GRID_Y) return WCD_CUDA_E_ARGUMENT;
    (void)cut_room(w, n, NULL, bytes);
    return WCD_CUDA_OK;
}

wcd_cuda_status wcd_cuda_matmul(const wcd_cuda_tensor *w, const void *x, wcd_cuda_type xtype, void *y,
                                wcd_cuda_type ytype, uint32_t n, void *workspace, uint64_t room_size,
                                wcd_cuda_stream stream)
{
    uint64_t need;
    if (!x || !y || !is_type(xtype) || !is_type(ytype) || wcd_cuda_workspace(w, n, &need) != WCD_CUDA_OK)
        return WCD_CUDA_E_ARGUMENT;
    if (!workspace || (uintptr_t)workspace % 256 || room_size < need) return WCD_CUDA_E_ARGUMENT;
    call c = {w, parts_of(w), n, cut_room(w, n, (uint8_t *)workspace, &need), stream, NULL, 0};
    uint64_t ldx = pad(w->cols);
    put_inputs(&c, w->n_transforms ? NULL : &c.all[0], x, xtype, w->cols, w->cols, c.r.x);
    for (uint32_t k = 0; k < w->n_transforms; k++)
        transform(w, c.all[w->n_parts + k], c.r.x, ldx, n, 1, stream);
    all_products(&c, y, ytype);
    return launched();
}
