/* The container: header, index, lookup, checksums. docs/FORMAT.md sections 2 to 5 are this file in words. */
#include "wcdecode.h"

#include <string.h>

#include "decode/bytes.h"
#include "decode/decoder.h"
#include "decode/float_bytes.h"
#include "decode/xxh3.h"

enum {
    HEADER_SIZE = 64,
    INDEX_HEAD = 32,
    TENSOR_SIZE = 128,
    PART_SIZE = 80,
    META_SIZE = 64,
    ALIGN = 64,
    MAJOR = 1,
    /* Offsets inside a tensor record. */
    TENSOR_FIRST_PART = 80,
    TENSOR_LEFT = 92,
    TENSOR_RIGHT = 96,
    /* Offsets inside a part record. */
    PART_OFFSET = 8,
    PART_BLOB_SIZE = 16,
    PART_XXH3 = 24,
    PART_CHILD = 32,
    PART_CHILDREN = 36,
    PART_PARAMS = 40,
    /* Offsets inside a metadata record. */
    META_OFFSET = 16,
    META_BLOB_SIZE = 24,
    META_RAW_SIZE = 32,
    META_XXH3 = 40
};

static const uint8_t magic[8] = {0x89, 'W', 'C', 'Z', '\r', '\n', 0x1a, '\n'};

/* What wcd_open has established so far. Every refusal goes through refuse(), so that it has its clause. */
typedef struct opening {
    wcd_file f;
    uint64_t end;      /* where the next blob has to start */
    uint32_t name_end; /* where the next name has to start */
    uint32_t part_end; /* the part that the next tensor, or the next child, has to start with */
    const char *reason;
} opening;

static wcd_status refuse(opening *o, wcd_status s, const char *reason)
{
    o->reason = reason;
    return s;
}

static int all_zero(const uint8_t *p, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (p[i]) return 0;
    return 1;
}

static const uint8_t *tensor_record(const wcd_file *f, uint32_t i)
{
    return f->tensors + (size_t)i * TENSOR_SIZE;
}

static const uint8_t *part_record(const wcd_file *f, uint32_t i)
{
    return f->parts + (size_t)i * PART_SIZE;
}

static const uint8_t *meta_record(const wcd_file *f, uint32_t i)
{
    return f->metas + (size_t)i * META_SIZE;
}

static uint64_t round_up(uint64_t x)
{
    return (x + ALIGN - 1) / ALIGN * ALIGN;
}

/* Header, and the index as a whole: afterwards f.size is the true size and the index lies inside and is what was
 * written. */
static wcd_status open_header(opening *o, uint64_t *index_size)
{
    const uint8_t *h = o->f.data;
    if (o->f.size < sizeof magic || memcmp(h, magic, sizeof magic))
        return refuse(o, WCD_E_NOT_WCZ, "the first 8 bytes are not those of a .wcz file");
    if (o->f.size < HEADER_SIZE) return refuse(o, WCD_E_TRUNCATED, "the file ends inside its header");
    if (wcd_u16(h + 8) != MAJOR) return refuse(o, WCD_E_VERSION, "unknown major version");
    if (wcd_xxh3(h, 56) != wcd_u64(h + 56)) return refuse(o, WCD_E_CORRUPT, "the header's checksum does not match");
    if (wcd_u32(h + 12)) return refuse(o, WCD_E_VERSION, "the file requires a feature unknown to this version");
    uint64_t size = wcd_u64(h + 16), index = wcd_u64(h + 32);
    if (o->f.size < size) return refuse(o, WCD_E_TRUNCATED, "the file is shorter than its header says");
    if (o->f.size > size) return refuse(o, WCD_E_CORRUPT, "bytes follow the end that the header states");
    if (wcd_u64(h + 24) != HEADER_SIZE || wcd_u64(h + 48) || size % ALIGN)
        return refuse(o, WCD_E_CORRUPT, "a fixed field of the header has another value");
    if (index < INDEX_HEAD || index > size - HEADER_SIZE)
        return refuse(o, WCD_E_CORRUPT, "the index is outside the file");
    if (wcd_xxh3(h + HEADER_SIZE, (size_t)index) != wcd_u64(h + 40))
        return refuse(o, WCD_E_CORRUPT, "the index's checksum does not match");
    *index_size = index;
    return WCD_OK;
}

static wcd_status open_tables(opening *o, uint64_t index_size)
{
    wcd_file *f = &o->f;
    const uint8_t *head = f->data + HEADER_SIZE;
    f->n_tensors = wcd_u32(head);
    f->n_parts = wcd_u32(head + 4);
    f->n_metas = wcd_u32(head + 8);
    f->names_size = wcd_u32(head + 12);
    /* Four 32-bit counts times at most 128: far below 2^64. */
    uint64_t tensors = (uint64_t)f->n_tensors * TENSOR_SIZE, parts = (uint64_t)f->n_parts * PART_SIZE;
    uint64_t metas = (uint64_t)f->n_metas * META_SIZE;
    if (INDEX_HEAD + tensors + parts + metas + f->names_size != index_size || !all_zero(head + 16, 16))
        return refuse(o, WCD_E_CORRUPT, "the counts in the index do not add up to its size");
    f->tensors = head + INDEX_HEAD;
    f->parts = f->tensors + tensors;
    f->metas = f->parts + parts;
    f->names = f->metas + metas;
    o->end = round_up(HEADER_SIZE + index_size);
    return WCD_OK;
}

/* Tensor and metadata records both begin with u32 name offset and u32 name size. */
static int compare_names(const wcd_file *f, const uint8_t *record, const char *name, size_t size)
{
    uint32_t n = wcd_u32(record + 4);
    int c = memcmp(f->names + wcd_u32(record), name, n < size ? n : size);
    return c ? c : n < size ? -1 : n > size;
}

/* The names of one table: one after the other, not empty, without NUL, strictly ascending. */
static wcd_status open_names(opening *o, const uint8_t *records, uint32_t count, size_t stride)
{
    const wcd_file *f = &o->f;
    for (uint32_t i = 0; i < count; i++, records += stride) {
        uint32_t offset = wcd_u32(records), size = wcd_u32(records + 4);
        if (offset != o->name_end || size > f->names_size - offset || !size || memchr(f->names + offset, 0, size))
            return refuse(o, WCD_E_CORRUPT, "a name is empty, has a NUL, or is not where it must be");
        if (i && compare_names(f, records - stride, (const char *)f->names + offset, size) >= 0)
            return refuse(o, WCD_E_CORRUPT, "names are repeated or not in order");
        o->name_end += size;
    }
    return WCD_OK;
}

/* The gap before a blob is less than ALIGN by construction; the end is rounded too, as the file's size is. */
static wcd_status open_blob(opening *o, uint64_t offset, uint64_t size)
{
    if (offset != o->end || size > o->f.size - offset)
        return refuse(o, WCD_E_CORRUPT, "a blob is not where it must be");
    o->end = round_up(offset + size);
    return WCD_OK;
}

static wcd_status open_metas(opening *o)
{
    for (uint32_t i = 0; i < o->f.n_metas; i++) {
        const uint8_t *m = meta_record(&o->f, i);
        uint32_t codec = wcd_u32(m + 8);
        if (codec > 1) return refuse(o, WCD_E_VERSION, "metadata in an unknown encoding");
        uint64_t size = wcd_u64(m + META_BLOB_SIZE);
        if (!all_zero(m + 12, 4) || !all_zero(m + 48, 16) || (codec == 0 && wcd_u64(m + META_RAW_SIZE) != size))
            return refuse(o, WCD_E_CORRUPT, "a metadata entry contradicts itself");
        wcd_status s = open_blob(o, wcd_u64(m + META_OFFSET), size);
        if (s != WCD_OK) return s;
    }
    return WCD_OK;
}

static void read_tensor(const wcd_file *f, uint32_t i, wcd_tensor *out)
{
    const uint8_t *r = tensor_record(f, i);
    wcd_tensor t = {.name = (const char *)f->names + wcd_u32(r),
                    .name_size = wcd_u32(r + 4),
                    .n_dims = wcd_u32(r + 8),
                    .source_dtype = wcd_u32(r + 12),
                    .rows = 1,
                    .cols = 1,
                    .first_part = wcd_u32(r + TENSOR_FIRST_PART),
                    .n_parts = wcd_u32(r + 84),
                    .n_transforms = wcd_u32(r + TENSOR_RIGHT),
                    .flags = wcd_u32(r + 88),
                    .index = i,
                    .file = f};
    uint64_t error = wcd_u64(r + 104);
    memcpy(&t.error, &error, sizeof error);
    for (uint32_t d = 0; d < WCD_MAX_DIMS; d++)
        t.dims[d] = wcd_u64(r + 16 + 8 * d);
    for (uint32_t d = 0; d + 1 < t.n_dims && d < WCD_MAX_DIMS; d++)
        t.rows *= t.dims[d];
    if (t.n_dims >= 1 && t.n_dims <= WCD_MAX_DIMS) t.cols = t.dims[t.n_dims - 1];
    *out = t;
}

/* The product of all dims, and of all but the last, stay below WCD_MAX_ELEMENTS; unused dims are 0. */
static int shape_ok(const wcd_tensor *t)
{
    uint64_t rows = 1, elements;
    if (t->n_dims > WCD_MAX_DIMS) return 0;
    for (uint32_t d = t->n_dims; d < WCD_MAX_DIMS; d++)
        if (t->dims[d]) return 0;
    for (uint32_t d = 0; d + 1 < t->n_dims; d++)
        if (!wcd_mul(rows, t->dims[d], WCD_MAX_ELEMENTS, &rows)) return 0;
    return t->cols <= WCD_MAX_ELEMENTS && wcd_mul(rows, t->cols, WCD_MAX_ELEMENTS, &elements);
}

/* Behind the parts of its sum a tensor has its transforms, which are stored as a row of numbers. */
static uint64_t part_rows(const wcd_tensor *t, uint32_t p)
{
    return p - t->first_part < t->n_parts ? t->rows : 1;
}

/* Part p of a tensor, and its children: their records and the places of their blobs have been checked. */
static wcd_status view_part(const wcd_tensor *t, uint32_t p, wcd_view out[WCD_VIEWS])
{
    const wcd_file *f = t->file;
    const uint8_t *r = part_record(f, p);
    wcd_status s = wcd_view_open(wcd_u16(r), wcd_u16(r + 2), r + PART_PARAMS, f->data + wcd_u64(r + PART_OFFSET),
                                 wcd_u64(r + PART_BLOB_SIZE), part_rows(t, p), t->cols, out);
    for (unsigned k = 0; s == WCD_OK && k < out->n_children; k++) {
        const uint8_t *c = part_record(f, wcd_u32(r + PART_CHILD) + k);
        s = wcd_view_child(out, k, wcd_u16(c), wcd_u16(c + 2), c + PART_PARAMS, f->data + wcd_u64(c + PART_OFFSET),
                           wcd_u64(c + PART_BLOB_SIZE));
    }
    return s;
}

wcd_status wcd_tensor_part(const wcd_tensor *t, uint32_t i, wcd_view out[WCD_VIEWS])
{
    return view_part(t, t->first_part + i, out);
}

/* The record of part p, whose children, if it may have any, have to begin at part_end, which moves behind them. */
static wcd_status open_record(opening *o, uint32_t p, int is_child)
{
    const uint8_t *r = part_record(&o->f, p);
    const wcd_decoder *d = wcd_decoder_for(wcd_u16(r));
    uint32_t child = wcd_u32(r + PART_CHILD), children = wcd_u32(r + PART_CHILDREN);
    if (!all_zero(r + 4, 4) || !all_zero(r + 72, 8))
        return refuse(o, WCD_E_CORRUPT, "reserved bytes of a part are set");
    if (!d) return refuse(o, WCD_E_VERSION, "a part is of a kind or version unknown to this version");
    if (children != (d->children ? d->children(r + PART_PARAMS) : 0) || (child && !children))
        return refuse(o, WCD_E_VERSION, "a part is made of other parts than this version knows");
    if (children && (is_child || child != o->part_end || children > o->f.n_parts - child))
        return refuse(o, WCD_E_CORRUPT, "the parts of a part are not where they must be");
    o->part_end += children;
    return open_blob(o, wcd_u64(r + PART_OFFSET), wcd_u64(r + PART_BLOB_SIZE));
}

/* A tensor's parts and its transforms, then the children of the first of them that has any, of the second, and so on:
 * so every child belongs to one part, and none to itself. */
static wcd_status open_parts(opening *o, const wcd_tensor *t)
{
    wcd_status s = WCD_OK;
    uint32_t own_end = t->first_part + t->n_parts + t->n_transforms;
    o->part_end = own_end;
    for (uint32_t p = t->first_part; s == WCD_OK && p < o->part_end; p++)
        s = open_record(o, p, p >= own_end);
    for (uint32_t p = t->first_part; s == WCD_OK && p < own_end; p++) {
        wcd_view v[WCD_VIEWS];
        s = view_part(t, p, v);
        if (s == WCD_E_VERSION) return refuse(o, s, "a part is of a kind or version unknown to this version");
        if (s != WCD_OK) return refuse(o, s, "a part's parameters or size contradict its tensor's shape");
        int transform = p - t->first_part >= t->n_parts;
        if (transform != (v->d->row != NULL))
            return refuse(o, WCD_E_CORRUPT, "a transform among the parts of a sum, or a part among the transforms");
        if (!transform && t->n_parts + t->n_transforms > 1 && !v->numeric)
            return refuse(o, WCD_E_CORRUPT, "a sum of parts that are not f32, f16 or bf16");
    }
    return s;
}

static wcd_status open_tensors(opening *o)
{
    for (uint32_t i = 0; i < o->f.n_tensors; i++) {
        const uint8_t *r = tensor_record(&o->f, i);
        wcd_tensor t;
        read_tensor(&o->f, i, &t);
        if (!all_zero(r + TENSOR_LEFT, 4))
            return refuse(o, WCD_E_VERSION, "a tensor has a transform unknown to this version");
        if (!all_zero(r + 100, 4) || !all_zero(r + 112, 16))
            return refuse(o, WCD_E_CORRUPT, "reserved bytes of a tensor are set");
        if (!shape_ok(&t)) return refuse(o, WCD_E_CORRUPT, "a tensor has an impossible shape");
        if (!t.source_dtype) return refuse(o, WCD_E_CORRUPT, "a tensor has no element type");
        if (!wcd_dtype_bits(t.source_dtype)) return refuse(o, WCD_E_VERSION, "a tensor has an unknown element type");
        if (t.first_part != o->part_end || !t.n_parts ||
            (uint64_t)t.n_parts + t.n_transforms > o->f.n_parts - t.first_part)
            return refuse(o, WCD_E_CORRUPT, "a tensor's parts are not where they must be");
        wcd_status s = open_parts(o, &t);
        if (s != WCD_OK) return s;
    }
    return WCD_OK;
}

static wcd_status open_all(opening *o, const void *data, uint64_t size)
{
    uint64_t index_size;
    memset(o, 0, sizeof *o);
    o->reason = "";
    o->f.data = data;
    o->f.size = size;
    if (!data && size) return refuse(o, WCD_E_ARGUMENT, "no image");
    if ((uintptr_t)data % 8) return refuse(o, WCD_E_ARGUMENT, "the image is not 8-byte aligned");
    if (size > SIZE_MAX) return refuse(o, WCD_E_ARGUMENT, "the image is larger than the address space");
    wcd_status s = open_header(o, &index_size);
    if (s == WCD_OK) s = open_tables(o, index_size);
    if (s == WCD_OK) s = open_names(o, o->f.tensors, o->f.n_tensors, TENSOR_SIZE);
    if (s == WCD_OK) s = open_names(o, o->f.metas, o->f.n_metas, META_SIZE);
    if (s == WCD_OK) s = open_metas(o);
    if (s == WCD_OK) s = open_tensors(o);
    if (s != WCD_OK) return s;
    if (o->name_end != o->f.names_size || o->part_end != o->f.n_parts || o->end != size)
        return refuse(o, WCD_E_CORRUPT, "names, parts or bytes that belong to nothing");
    return WCD_OK;
}

wcd_status wcd_open(wcd_file *out, const void *data, uint64_t size)
{
    opening o;
    if (!out) return WCD_E_ARGUMENT;
    wcd_status s = open_all(&o, data, size);
    if (s == WCD_OK) *out = o.f;
    return s;
}

const char *wcd_open_reason(const void *data, uint64_t size)
{
    opening o;
    (void)open_all(&o, data, size);
    return o.reason;
}

const char *wcd_status_text(wcd_status s)
{
    static const char *const texts[] = {
        [WCD_OK] = "success",
        [WCD_E_ARGUMENT] = "wrong argument",
        [WCD_E_TRUNCATED] = "truncated file",
        [WCD_E_NOT_WCZ] = "not a .wcz file",
        [WCD_E_VERSION] = "made by a newer version",
        [WCD_E_CORRUPT] = "damaged file",
        [WCD_E_NOT_FOUND] = "no such name",
        [WCD_E_NOT_NUMERIC] = "not a tensor of f32, f16 or bf16 values",
        [WCD_E_TRANSFORM] = "a tensor with a transform of its inputs",
    };
    return (unsigned)s < sizeof texts / sizeof *texts ? texts[s] : "unknown status";
}

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

const char *wcd_version(void)
{
    return TEXT(WCD_VERSION_MAJOR) "." TEXT(WCD_VERSION_MINOR) "." TEXT(WCD_VERSION_PATCH);
}

wcd_status wcd_at(const wcd_file *f, uint32_t i, wcd_tensor *out)
{
    if (!f || !out || i >= f->n_tensors) return WCD_E_ARGUMENT;
    read_tensor(f, i, out);
    return WCD_OK;
}

/* Binary search; count when absent. */
static uint32_t find_name(const wcd_file *f, const uint8_t *records, uint32_t count, size_t stride, const char *name)
{
    uint32_t lo = 0, hi = count;
    size_t size = strlen(name);
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = compare_names(f, records + mid * stride, name, size);
        if (!c) return mid;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return count;
}

wcd_status wcd_find(const wcd_file *f, const char *name, wcd_tensor *out)
{
    if (!f || !name || !out) return WCD_E_ARGUMENT;
    uint32_t i = find_name(f, f->tensors, f->n_tensors, TENSOR_SIZE, name);
    if (i == f->n_tensors) return WCD_E_NOT_FOUND;
    read_tensor(f, i, out);
    return WCD_OK;
}

static void read_part(const wcd_file *f, uint32_t p, uint64_t rows, uint64_t cols, wcd_part_info *out)
{
    const uint8_t *r = part_record(f, p);
    *out = (wcd_part_info){.kind = wcd_u16(r),
                           .version = wcd_u16(r + 2),
                           .kind_name = wcd_decoder_for(wcd_u16(r))->name,
                           .params = r + PART_PARAMS,
                           .blob = f->data + wcd_u64(r + PART_OFFSET),
                           .blob_size = wcd_u64(r + PART_BLOB_SIZE),
                           .xxh3 = wcd_u64(r + PART_XXH3),
                           .rows = rows,
                           .cols = cols,
                           .n_children = wcd_u32(r + PART_CHILDREN),
                           .index = p};
}

wcd_status wcd_part(const wcd_tensor *t, uint32_t i, wcd_part_info *out)
{
    if (!t || !out || (i >= t->n_parts && i - t->n_parts >= t->n_transforms)) return WCD_E_ARGUMENT;
    read_part(t->file, t->first_part + i, part_rows(t, t->first_part + i), t->cols, out);
    return WCD_OK;
}

wcd_status wcd_part_child(const wcd_tensor *t, const wcd_part_info *part, uint32_t k, wcd_part_info *out)
{
    wcd_view v[WCD_VIEWS];
    uint64_t rows, cols;
    if (!t || !part || !out || k >= part->n_children || part->index - t->first_part >= t->n_parts)
        return WCD_E_ARGUMENT;
    wcd_status s = view_part(t, part->index, v);
    if (s != WCD_OK) return s;
    v->d->child_shape(v, k, &rows, &cols);
    read_part(t->file, wcd_u32(part_record(t->file, part->index) + PART_CHILD) + k, rows, cols, out);
    return WCD_OK;
}

wcd_status wcd_rows(const wcd_tensor *t, uint64_t r0, uint64_t n, float *dst, size_t ld)
{
    if (!t || r0 > t->rows || n > t->rows - r0 || ld < t->cols || (!dst && n && t->cols)) return WCD_E_ARGUMENT;
    for (uint32_t p = 0; p < t->n_parts; p++) {
        wcd_view v[WCD_VIEWS];
        wcd_status s = view_part(t, t->first_part + p, v);
        if (s == WCD_OK) s = p ? wcd_view_add_rows(v, r0, n, dst, ld) : wcd_view_set_rows(v, r0, n, dst, ld);
        if (s != WCD_OK) return s;
    }
    for (uint32_t k = t->n_transforms; k--;) {
        wcd_view v[WCD_VIEWS];
        wcd_status s = view_part(t, t->first_part + t->n_parts + k, v);
        if (s != WCD_OK) return s;
        for (uint64_t i = 0; i < n; i++)
            v->d->row(v, dst + i * ld);
    }
    return WCD_OK;
}

wcd_status wcd_raw_rows(const wcd_tensor *t, uint64_t r0, uint64_t n, void *dst)
{
    wcd_view v[WCD_VIEWS];
    if (!t || !t->n_parts || r0 > t->rows || n > t->rows - r0 || (!dst && n && t->cols)) return WCD_E_ARGUMENT;
    wcd_status s = view_part(t, t->first_part, v);
    if (s != WCD_OK) return s;
    if (t->n_parts != 1 || t->n_transforms || v->d->id != 1 || v->u.f.dtype != t->source_dtype)
        return WCD_E_NOT_NUMERIC;
    uint64_t first = r0 * t->cols, end = first + n * t->cols, bits = wcd_dtype_bits(t->source_dtype);
    if (v->u.f.coded)
        wcd_float_bytes(v, first, end, dst);
    else if (first * bits % 8 || end * bits % 8)
        return WCD_E_ARGUMENT;
    else if (end > first)
        memcpy(dst, v->blob + first * bits / 8, (size_t)((end - first) * bits / 8));
    return WCD_OK;
}

wcd_status wcd_transform(const wcd_tensor *t, const float *x, float *z)
{
    if (!t || ((!x || !z) && t->cols)) return WCD_E_ARGUMENT;
    if (t->cols) memmove(z, x, (size_t)t->cols * sizeof *z);
    for (uint32_t k = 0; k < t->n_transforms; k++) {
        wcd_view v[WCD_VIEWS];
        wcd_status s = view_part(t, t->first_part + t->n_parts + k, v);
        if (s != WCD_OK) return s;
        v->d->input(v, z);
    }
    return WCD_OK;
}

/* All parts. x->x.n <= WCD_VECTORS. With inputs in 8 bits the parts that can use them do. */
static wcd_status multiply(const wcd_tensor *t, uint64_t r0, uint64_t n, const wcd_int8 *x, float *y, size_t ldy)
{
    for (uint32_t p = 0; p < t->n_parts; p++) {
        wcd_view v[WCD_VIEWS];
        wcd_status s = view_part(t, t->first_part + p, v);
        if (s != WCD_OK) return s;
        if (!v->numeric) return WCD_E_NOT_NUMERIC;
        if (!n) continue; /* a question: a low-rank part would multiply all the same */
        if (x->memory && v->d->products8)
            v->d->products8(v, r0, n, x, y, ldy, p > 0);
        else
            wcd_view_products(v, r0, n, &x->x, y, ldy, p > 0);
    }
    return WCD_OK;
}

wcd_status wcd_matvec_transformed(const wcd_tensor *t, uint64_t r0, uint64_t n, const float *x, float *y)
{
    if (!t || r0 > t->rows || n > t->rows - r0 || (!x && t->cols) || (!y && n)) return WCD_E_ARGUMENT;
    return multiply(t, r0, n, &(wcd_int8){{x, 0, 1}, NULL}, y, 0);
}

/* wcd_matmul, or with memory wcd_matmul_int8. */
static wcd_status matmul(const wcd_tensor *t, uint64_t r0, uint64_t n, const float *x, size_t ldx, size_t nx,
                         const void *memory, float *y, size_t ldy)
{
    wcd_status s = WCD_OK;
    if (!t || r0 > t->rows || n > t->rows - r0 || ldx < t->cols || ldy < n) return WCD_E_ARGUMENT;
    if (nx && ((!x && t->cols) || (!y && n))) return WCD_E_ARGUMENT;
    for (size_t b = 0, some; s == WCD_OK && b < nx; b += some) {
        some = nx - b < WCD_VECTORS ? nx - b : WCD_VECTORS;
        const uint8_t *at = memory ? (const uint8_t *)memory + b * wcd_int8_bytes(t->cols) : NULL;
        s = multiply(t, r0, n, &(wcd_int8){{x + b * ldx, ldx, (unsigned)some}, at}, y + b * ldy, ldy);
    }
    return s;
}

/* Without a block there is nothing in 8 bits. */
static int fits_int8(const wcd_tensor *t, const void **memory)
{
    if (t && t->cols < WCD_BLOCK) *memory = NULL;
    return t && (uintptr_t)*memory % 4 == 0 && (*memory || t->cols < WCD_BLOCK);
}

wcd_status wcd_matmul(const wcd_tensor *t, uint64_t r0, uint64_t n, const float *x, size_t ldx, size_t nx, float *y,
                      size_t ldy)
{
    return matmul(t, r0, n, x, ldx, nx, NULL, y, ldy);
}

wcd_status wcd_matmul_int8(const wcd_tensor *t, uint64_t r0, uint64_t n, const float *x, size_t ldx, size_t nx,
                           const void *memory, float *y, size_t ldy)
{
    return !nx || fits_int8(t, &memory) ? matmul(t, r0, n, x, ldx, nx, memory, y, ldy) : WCD_E_ARGUMENT;
}

wcd_status wcd_matvec_int8(const wcd_tensor *t, uint64_t r0, uint64_t n, const float *x, const void *memory, float *y)
{
    return t ? wcd_matmul_int8(t, r0, n, x, (size_t)t->cols, 1, memory, y, (size_t)n) : WCD_E_ARGUMENT;
}

typedef struct share {
    const wcd_tensor *t;
    uint64_t rows; /* of every task but the last */
    const float *x;
    size_t ldx, nx;
    const void *memory;
    float *y;
    size_t ldy;
} share;

static void task(void *arg, unsigned i)
{
    const share *a = arg;
    uint64_t r0 = i * a->rows, n = a->t->rows - r0 < a->rows ? a->t->rows - r0 : a->rows;
    matmul(a->t, r0, n, a->x, a->ldx, a->nx, a->memory, a->y + r0, a->ldy); /* what it could refuse was tried before */
}

uint64_t wcd_tensor_grain(const wcd_tensor *t)
{
    enum { LINE = 64 };
    uint64_t rows = LINE;
    for (uint32_t p = 0; p < t->n_parts; p++) {
        wcd_view v[WCD_VIEWS];
        if (view_part(t, t->first_part + p, v) == WCD_OK && v->tile > 1)
            rows = (LINE - 1) / v->tile * v->tile + v->tile;
    }
    return rows;
}

/* matmul of all rows. */
static wcd_status matmul_pool(const wcd_tensor *t, const wcd_pool *pool, const float *x, size_t ldx, size_t nx,
                              const void *memory, float *y, size_t ldy)
{
    if (!t || (pool && (!pool->run || !pool->threads)) || ldy < t->rows) return WCD_E_ARGUMENT;
    const uint64_t step = wcd_tensor_grain(t);
    if (!pool || pool->threads == 1 || t->rows <= step) return matmul(t, 0, t->rows, x, ldx, nx, memory, y, ldy);
    wcd_status s = matmul(t, 0, 0, x, ldx, nx, memory, y, ldy);
    if (s != WCD_OK || !nx) return s;
    share a = {t, (t->rows - 1) / pool->threads + 1, x, ldx, nx, memory, y, ldy};
    a.rows = (a.rows + step - 1) / step * step;
    pool->run(pool->self, task, &a, (unsigned)((t->rows - 1) / a.rows + 1));
    return WCD_OK;
}

wcd_status wcd_matmul_pool(const wcd_tensor *t, const wcd_pool *pool, const float *x, size_t ldx, size_t nx, float *y,
                           size_t ldy)
{
    return matmul_pool(t, pool, x, ldx, nx, NULL, y, ldy);
}

wcd_status wcd_matmul_int8_pool(const wcd_tensor *t, const wcd_pool *pool, const float *x, size_t ldx, size_t nx,
                                const void *memory, float *y, size_t ldy)
{
    return !nx || fits_int8(t, &memory) ? matmul_pool(t, pool, x, ldx, nx, memory, y, ldy) : WCD_E_ARGUMENT;
}

wcd_status wcd_matmul_gemm(const wcd_tensor *t, wcd_gemm *gemm, void *self, float *tile, size_t tile_rows,
                           const float *x, size_t ldx, size_t nx, float *y, size_t ldy)
{
    if (!t || !gemm || !tile || !tile_rows || ldx < t->cols || ldy < t->rows) return WCD_E_ARGUMENT;
    if (nx && ((!x && t->cols) || (!y && t->rows))) return WCD_E_ARGUMENT;
    for (uint64_t r = 0, some; nx && r < t->rows; r += some) {
        some = t->rows - r < tile_rows ? t->rows - r : tile_rows;
        wcd_status s = wcd_rows(t, r, some, tile, (size_t)t->cols);
        if (s != WCD_OK) return s;
        gemm(self, (size_t)some, nx, (size_t)t->cols, tile, x, ldx, y + r, ldy);
    }
    return WCD_OK;
}

wcd_status wcd_widen(uint32_t dtype, const void *src, size_t n, float *dst)
{
    if (n && (!src || !dst)) return WCD_E_ARGUMENT;
    return wcd_floats(dtype, src, n, dst) ? WCD_OK : WCD_E_ARGUMENT;
}

wcd_status wcd_matvec_rows(const wcd_tensor *t, uint64_t r0, uint64_t n, const float *x, float *y)
{
    return t && t->n_transforms ? WCD_E_TRANSFORM : wcd_matvec_transformed(t, r0, n, x, y);
}

wcd_status wcd_matvec(const wcd_tensor *t, const float *x, float *y)
{
    return t ? wcd_matvec_rows(t, 0, t->rows, x, y) : WCD_E_ARGUMENT;
}

uint32_t wcd_meta_count(const wcd_file *f)
{
    return f ? f->n_metas : 0;
}

wcd_status wcd_meta_at(const wcd_file *f, uint32_t i, wcd_meta *out)
{
    if (!f || !out || i >= f->n_metas) return WCD_E_ARGUMENT;
    const uint8_t *r = meta_record(f, i);
    wcd_meta m = {.name = (const char *)f->names + wcd_u32(r),
                  .name_size = wcd_u32(r + 4),
                  .codec = wcd_u32(r + 8),
                  .data = f->data + wcd_u64(r + META_OFFSET),
                  .size = wcd_u64(r + META_BLOB_SIZE),
                  .raw_size = wcd_u64(r + META_RAW_SIZE),
                  .xxh3 = wcd_u64(r + META_XXH3)};
    *out = m;
    return WCD_OK;
}

wcd_status wcd_meta_find(const wcd_file *f, const char *name, wcd_meta *out)
{
    if (!f || !name || !out) return WCD_E_ARGUMENT;
    uint32_t i = find_name(f, f->metas, f->n_metas, META_SIZE, name);
    return i == f->n_metas ? WCD_E_NOT_FOUND : wcd_meta_at(f, i, out);
}

/* A blob and the zeros after it up to the next one. Damage in the zeros belongs to nobody. */
static wcd_status verify_blob(const wcd_file *f, uint64_t offset, uint64_t size, uint64_t xxh3, int *owned)
{
    *owned = 1;
    if (wcd_xxh3(f->data + offset, (size_t)size) != xxh3) return WCD_E_CORRUPT;
    *owned = 0;
    uint64_t end = offset + size;
    return all_zero(f->data + end, round_up(end) - end) ? WCD_OK : WCD_E_CORRUPT;
}

static wcd_status verify_metas(const wcd_file *f, const char **bad, uint32_t *bad_size)
{
    for (uint32_t i = 0; i < f->n_metas; i++) {
        const uint8_t *r = meta_record(f, i);
        int owned;
        wcd_status s =
            verify_blob(f, wcd_u64(r + META_OFFSET), wcd_u64(r + META_BLOB_SIZE), wcd_u64(r + META_XXH3), &owned);
        if (s == WCD_OK) continue;
        if (owned) *bad = (const char *)f->names + wcd_u32(r), *bad_size = wcd_u32(r + 4);
        return s;
    }
    return WCD_OK;
}

static wcd_status verify_tensors(const wcd_file *f, const char **bad, uint32_t *bad_size)
{
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        wcd_tensor t;
        read_tensor(f, i, &t);
        uint32_t end = i + 1 < f->n_tensors ? wcd_u32(tensor_record(f, i + 1) + TENSOR_FIRST_PART) : f->n_parts;
        for (uint32_t p = t.first_part; p < end; p++) {
            const uint8_t *r = part_record(f, p);
            int owned;
            wcd_status s =
                verify_blob(f, wcd_u64(r + PART_OFFSET), wcd_u64(r + PART_BLOB_SIZE), wcd_u64(r + PART_XXH3), &owned);
            if (s == WCD_OK) continue;
            if (owned) *bad = t.name, *bad_size = t.name_size;
            return s;
        }
    }
    return WCD_OK;
}

wcd_status wcd_verify(const wcd_file *f, const char **bad, uint32_t *bad_size)
{
    const char *name = NULL;
    uint32_t name_size = 0;
    wcd_file again;
    if (!f) return WCD_E_ARGUMENT;
    wcd_status s = wcd_open(&again, f->data, f->size);
    if (s == WCD_OK) {
        uint64_t end = (uint64_t)(f->names - f->data) + f->names_size;
        if (!all_zero(f->data + end, round_up(end) - end)) s = WCD_E_CORRUPT;
    }
    if (s == WCD_OK) s = verify_metas(f, &name, &name_size);
    if (s == WCD_OK) s = verify_tensors(f, &name, &name_size);
    if (bad) *bad = name;
    if (bad_size) *bad_size = name_size;
    return s;
}
