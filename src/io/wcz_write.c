/* The writer of .wcz files, from docs/FORMAT.md sections 2 to 5. It shares no layout code with the decode library. */
#include "io/wcz.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <zstd.h>

#include "base/half.h"
#include "base/hash.h"

enum {
    HEADER_SIZE = 64,
    INDEX_HEAD = 32,
    TENSOR_SIZE = 128,
    PART_SIZE = 80,
    META_SIZE = 64,
    ALIGN = 64,
    CODEC_RAW = 0,
    CODEC_ZSTD = 1,
    PIECE = 8 << 20, /* of a blob that is not held whole */
    ZSTD_LEVEL = 19  /* metadata is a few MB of JSON, written once and downloaded often */
};

typedef struct part_slot {
    wc_part plan; /* without pointers */
    const wc_encoder *encoder;
    struct part_slot *child; /* [n_children] */
    size_t n_children;
    uint64_t offset, size, xxh3;
    uint8_t params[WC_PARAMS_SIZE];
    bool done;
} part_slot;

typedef struct tensor_slot {
    char *name;
    size_t caller;   /* the caller's number of this tensor */
    wc_wcz_tensor t; /* name and parts are not used */
    part_slot *parts;
    double error;
    uint32_t flags;
} tensor_slot;

typedef struct meta_slot {
    char *name;
    uint8_t *data; /* as stored, [size], allocated to the next multiple of ALIGN with zeros */
    uint32_t codec;
    uint64_t offset, size, raw_size;
    bool missing; /* the bytes come later */
} meta_slot;

struct wc_wcz {
    tensor_slot *tensors; /* [n_tensors] in file order: by name */
    size_t *slot_of;      /* [n_tensors] the caller's number -> position in tensors */
    meta_slot *metas;     /* [n_metas] by name */
    part_slot *parts;     /* [n_parts] in file order */
    size_t n_tensors, n_metas, n_parts;
    uint64_t names_size, index_size, size;
    char *path;
    int fd;
};

static wc_status copy_name(wc_ctx *ctx, wc_wcz *z, const char *what, const char *name, char **out)
{
    size_t n = strlen(name);
    if (!n) return wc_fail(ctx, WC_BADFILE, "a %s has an empty name", what);
    *out = strdup(name);
    if (!*out) return wc_fail(ctx, WC_NOMEM, "no memory for the name of a %s", what);
    z->names_size += n;
    return WC_OK;
}

/* Rows and columns as the format defines them: the last dim, and the product of the others. */
static wc_status matrix_shape(wc_ctx *ctx, const wc_wcz_tensor *t, uint64_t *rows, uint64_t *cols)
{
    uint64_t elements;
    if (t->n_dims > WCD_MAX_DIMS)
        return wc_fail(ctx, WC_UNSUPPORTED, "tensor `%s' has %u dimensions, the limit is %d", t->name, t->n_dims,
                       WCD_MAX_DIMS);
    *rows = 1;
    *cols = t->n_dims ? t->dims[t->n_dims - 1] : 1;
    for (uint32_t d = 0; d + 1 < t->n_dims; d++)
        if (!wc_mul(*rows, t->dims[d], rows) || *rows > (uint64_t)1 << 56)
            return wc_fail(ctx, WC_UNSUPPORTED, "tensor `%s' has more than 2^56 rows", t->name);
    if (*cols > (uint64_t)1 << 56 || !wc_mul(*rows, *cols, &elements) || elements > (uint64_t)1 << 56)
        return wc_fail(ctx, WC_UNSUPPORTED, "tensor `%s' has more than 2^56 elements", t->name);
    return WC_OK;
}

static wc_status plan_slot(wc_ctx *ctx, const wc_part *plan, part_slot *out)
{
    out->plan = *plan;
    out->encoder = wc_encoder_for(plan->kind);
    return out->encoder->size(ctx, plan, &out->size);
}

/* Parts of the sum, and transforms; without their children. */
static size_t own_parts(const wc_wcz_tensor *t)
{
    return t->n_parts + t->n_transforms;
}

static wc_status check_part(wc_ctx *ctx, const wc_wcz_tensor *t, size_t p, uint64_t rows, uint64_t cols)
{
    const wc_part *plan = &t->parts[p];
    bool transform = p >= t->n_parts;
    size_t r, c;
    wc_part_shape(plan, &r, &c);
    if (wc_part_is_transform(plan->kind) != transform)
        return wc_fail(ctx, WC_BUG, "tensor `%s': a part of kind %d cannot be part %zu", t->name, (int)plan->kind, p);
    if (r != (transform ? 1 : rows) || c != cols)
        return wc_fail(ctx, WC_BUG, "tensor `%s' is %llu x %llu, its part %zu x %zu", t->name, (unsigned long long)rows,
                       (unsigned long long)cols, r, c);
    if (own_parts(t) > 1 && plan->kind == WC_PART_FLOAT && !wc_dtype_is_float(plan->floats.dtype))
        return wc_fail(ctx, WC_BUG, "tensor `%s' is a sum with a part of %s", t->name,
                       wc_dtype_name(plan->floats.dtype));
    return WC_OK;
}

/* The slots of a tensor's parts and transforms, then those of their children, from *next on. */
static wc_status plan_parts(wc_ctx *ctx, const wc_wcz_tensor *t, part_slot **next)
{
    part_slot *slot = *next;
    uint64_t rows = 0, cols = 0;
    WC_TRY(matrix_shape(ctx, t, &rows, &cols));
    for (size_t p = 0; p < own_parts(t); p++) {
        WC_TRY(check_part(ctx, t, p, rows, cols));
        WC_TRY(plan_slot(ctx, &t->parts[p], (*next)++));
    }
    for (size_t p = 0; p < own_parts(t); p++) {
        const wc_part *child[WC_PART_CHILDREN];
        slot[p].child = *next;
        slot[p].n_children = wc_part_children(&t->parts[p], child);
        for (size_t k = 0; k < slot[p].n_children; k++)
            WC_TRY(plan_slot(ctx, child[k], (*next)++));
        wc_lowrank *l = &slot[p].plan.lowrank;
        if (slot[p].n_children) l->a = l->b = l->link = NULL; /* the caller's */
    }
    return WC_OK;
}

static int by_tensor_name(const void *a, const void *b)
{
    return strcmp(((const tensor_slot *)a)->name, ((const tensor_slot *)b)->name);
}

static int by_meta_name(const void *a, const void *b)
{
    return strcmp(((const meta_slot *)a)->name, ((const meta_slot *)b)->name);
}

static wc_status add_tensors(wc_ctx *ctx, wc_wcz *z, const wc_wcz_tensor *tensors)
{
    part_slot *next = z->parts;
    for (size_t i = 0; i < z->n_tensors; i++) {
        WC_TRY(copy_name(ctx, z, "tensor", tensors[i].name, &z->tensors[i].name));
        z->tensors[i].caller = i;
        z->tensors[i].t = tensors[i];
        z->tensors[i].error = NAN;
        if (!wc_dtype_bits(tensors[i].source_dtype) || !tensors[i].n_parts)
            return wc_fail(ctx, WC_BUG, "tensor `%s' has no element type or no part", tensors[i].name);
    }
    qsort(z->tensors, z->n_tensors, sizeof *z->tensors, by_tensor_name);
    for (size_t i = 0; i < z->n_tensors; i++) {
        tensor_slot *s = &z->tensors[i];
        if (i && !strcmp(s->name, z->tensors[i - 1].name))
            return wc_fail(ctx, WC_BADFILE, "two tensors are named `%s'", s->name);
        z->slot_of[s->caller] = i;
        s->parts = next;
        WC_TRY(plan_parts(ctx, &s->t, &next));
        s->t.name = NULL, s->t.parts = NULL; /* the caller's; only valid during wc_wcz_layout */
    }
    return WC_OK;
}

static wc_status add_meta(wc_ctx *ctx, wc_wcz *z, const wc_wcz_meta *m, meta_slot *out)
{
    WC_TRY(copy_name(ctx, z, "metadata entry", m->name, &out->name));
    size_t bound = m->data ? ZSTD_compressBound(m->size) : m->size;
    if (ZSTD_isError(bound)) return wc_fail(ctx, WC_UNSUPPORTED, "metadata `%s' is too large", m->name);
    WC_TRY(WC_ALLOC(ctx, out->data, wc_round_up(bound, ALIGN), "metadata"));
    size_t n = m->data ? ZSTD_compress(out->data, bound, m->data, m->size, ZSTD_LEVEL) : m->size;
    if (ZSTD_isError(n)) return wc_fail(ctx, WC_NOMEM, "compressing metadata `%s': %s", m->name, ZSTD_getErrorName(n));
    out->codec = n < m->size ? CODEC_ZSTD : CODEC_RAW;
    out->raw_size = m->size;
    out->missing = !m->data;
    out->size = out->codec == CODEC_ZSTD ? n : m->size;
    if (out->codec == CODEC_RAW && m->size && m->data) memcpy(out->data, m->data, m->size);
    memset(out->data + out->size, 0, wc_round_up(bound, ALIGN) - out->size);
    return WC_OK;
}

static wc_status add_metas(wc_ctx *ctx, wc_wcz *z, const wc_wcz_meta *metas)
{
    for (size_t i = 0; i < z->n_metas; i++)
        WC_TRY(add_meta(ctx, z, &metas[i], &z->metas[i]));
    qsort(z->metas, z->n_metas, sizeof *z->metas, by_meta_name);
    for (size_t i = 1; i < z->n_metas; i++)
        if (!strcmp(z->metas[i].name, z->metas[i - 1].name))
            return wc_fail(ctx, WC_BADFILE, "two metadata entries are named `%s'", z->metas[i].name);
    return WC_OK;
}

/* Offsets of all blobs, one after the other. Sizes are below 2^60 each; the sum is checked. */
static wc_status place_blobs(wc_ctx *ctx, wc_wcz *z)
{
    uint64_t counted = z->n_tensors | z->n_parts | z->n_metas | z->names_size;
    if (counted > UINT32_MAX)
        return wc_fail(ctx, WC_UNSUPPORTED, "too many tensors, parts or bytes of names for one file");
    z->index_size =
        INDEX_HEAD + z->n_tensors * TENSOR_SIZE + z->n_parts * PART_SIZE + z->n_metas * META_SIZE + z->names_size;
    uint64_t end = wc_round_up(HEADER_SIZE + z->index_size, ALIGN);
    for (size_t i = 0; i < z->n_metas; i++) {
        z->metas[i].offset = end;
        end += wc_round_up(z->metas[i].size, ALIGN);
    }
    for (size_t i = 0; i < z->n_parts; i++) {
        z->parts[i].offset = end;
        if (end > INT64_MAX / 2) return wc_fail(ctx, WC_UNSUPPORTED, "the file would be larger than 2^62 bytes");
        end += wc_round_up(z->parts[i].size, ALIGN);
    }
    z->size = end;
    return WC_OK;
}

wc_status wc_wcz_layout(wc_ctx *ctx, const wc_wcz_tensor *tensors, size_t n, const wc_wcz_meta *metas, size_t n_metas,
                        wc_wcz **out)
{
    wc_wcz *z;
    *out = NULL;
    WC_TRY(WC_ALLOC(ctx, z, 1, "the output file's plan"));
    wc_status status;
    z->fd = -1;
    for (size_t i = 0; i < n; i++)
        for (size_t p = 0; p < own_parts(&tensors[i]); p++)
            z->n_parts += 1 + wc_part_children(&tensors[i].parts[p], (const wc_part *[WC_PART_CHILDREN]){NULL});
    WC_TRY_OUT(WC_ALLOC(ctx, z->tensors, n, "the output file's plan"));
    z->n_tensors = n;
    WC_TRY_OUT(WC_ALLOC(ctx, z->metas, n_metas, "the output file's plan"));
    z->n_metas = n_metas;
    WC_TRY_OUT(WC_ALLOC(ctx, z->slot_of, n, "the output file's plan"));
    WC_TRY_OUT(WC_ALLOC(ctx, z->parts, z->n_parts, "the output file's plan"));
    WC_TRY_OUT(add_tensors(ctx, z, tensors));
    WC_TRY_OUT(add_metas(ctx, z, metas));
    WC_TRY_OUT(place_blobs(ctx, z));
    *out = z;
    return WC_OK;
out:
    wc_wcz_free(&z);
    return status;
}

uint64_t wc_wcz_size(const wc_wcz *z)
{
    return z->size;
}

size_t wc_wcz_n_parts(const wc_wcz *z, size_t tensor)
{
    return z->tensors[z->slot_of[tensor]].t.n_parts;
}

/* All bytes are reserved now, so that a full disk is known in the first second and not after hours. File systems
 * without fallocate get the check of free space alone. */
static wc_status reserve(wc_ctx *ctx, const wc_wcz *z, const struct stat *st)
{
    struct statvfs fs;
    if (fstatvfs(z->fd, &fs)) return wc_fail(ctx, WC_IO, "%s: %s", z->path, strerror(errno));
    unsigned long long available = (unsigned long long)fs.f_bavail * fs.f_frsize;
    unsigned long long own = (unsigned long long)st->st_blocks * 512;
    bool full = z->size > own && z->size - own > available;
    if (!full && fallocate(z->fd, 0, 0, (off_t)z->size)) {
        full = errno == ENOSPC || errno == EDQUOT;
        if (!full && errno != EOPNOTSUPP && errno != ENOSYS)
            return wc_fail(ctx, WC_IO, "%s: cannot reserve %llu bytes: %s", z->path, (unsigned long long)z->size,
                           strerror(errno));
    }
    if (full)
        return wc_fail(ctx, WC_IO, "%s: the disk is too full: %llu bytes needed, %llu free", z->path,
                       (unsigned long long)z->size, available + own);
    if (ftruncate(z->fd, (off_t)z->size))
        return wc_fail(ctx, WC_IO, "%s: cannot make the file %llu bytes long: %s", z->path, (unsigned long long)z->size,
                       strerror(errno));
    return WC_OK;
}

wc_status wc_wcz_create(wc_ctx *ctx, wc_wcz *z, const char *path)
{
    assert(z->fd < 0);
    free(z->path);
    z->path = strdup(path);
    if (!z->path) return wc_fail(ctx, WC_NOMEM, "no memory for a file name");
    z->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    if (z->fd < 0) return wc_fail(ctx, WC_IO, "%s: %s", path, strerror(errno));
    struct stat st = {0};
    wc_status status = WC_OK;
    if (fstat(z->fd, &st))
        status = wc_fail(ctx, WC_IO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = wc_fail(ctx, WC_IO, "%s: not a regular file", path);
    else if ((status = reserve(ctx, z, &st)) != WC_OK && st.st_size == 0)
        unlink(path);
    for (size_t i = 0; i < z->n_metas && status == WC_OK; i++)
        status =
            wc_pwrite(ctx, z->fd, path, z->metas[i].data, wc_round_up(z->metas[i].size, ALIGN), z->metas[i].offset);
    if (status != WC_OK) {
        close(z->fd);
        z->fd = -1;
    }
    return status;
}

static bool same_positions(const wc_positions *a, const wc_positions *b)
{
    return a->nnz == b->nnz && a->n == b->n && a->m == b->m && a->block == b->block;
}

static bool same_grid(const wc_grid *g, const wc_grid *h)
{
    return g->group == h->group && g->bits == h->bits && g->scale_bits == h->scale_bits && g->tile == h->tile &&
           g->zero_kind == h->zero_kind && g->zero_bits == h->zero_bits &&
           (g->zero_kind != WC_ZERO_FIXED || g->zero_fixed == h->zero_fixed) && g->holes == h->holes &&
           same_positions(&g->at, &h->at);
}

static bool same_signs(const wc_signs *a, const wc_signs *b)
{
    return a->form == b->form && a->levels == b->levels && a->rank == b->rank && a->group == b->group &&
           a->subset == b->subset && !memcmp(a->which, b->which, sizeof a->which);
}

static bool same_vq(const wc_vq *v, const wc_vq *u)
{
    return v->dim == u->dim && v->books == u->books && v->bits == u->bits && v->block_rows == u->block_rows &&
           v->block_cols == u->block_cols && v->entry_bits == u->entry_bits && v->scaled == u->scaled &&
           v->scale_bits == u->scale_bits && v->group == u->group && v->signs == u->signs;
}

/* All that decides sizes and places; scale_exp does not. */
static bool same_geometry(const wc_part *a, const wc_part *b)
{
    size_t rows, cols, r, c;
    if (a->kind != b->kind) return false;
    wc_part_shape(a, &rows, &cols);
    wc_part_shape(b, &r, &c);
    if (r != rows || c != cols) return false;
    switch (a->kind) {
    case WC_PART_FLOAT: return a->floats.dtype == b->floats.dtype && a->floats.code == b->floats.code;
    case WC_PART_GRID: return same_grid(&a->grid, &b->grid);
    case WC_PART_LUT:
        return a->lut.group == b->lut.group && a->lut.bits == b->lut.bits && a->lut.scope == b->lut.scope &&
               a->lut.scaled == b->lut.scaled && a->lut.holes == b->lut.holes && same_positions(&a->lut.at, &b->lut.at);
    case WC_PART_SPARSE:
        return a->sparse.nnz == b->sparse.nnz && a->sparse.dtype == b->sparse.dtype && a->sparse.n == b->sparse.n &&
               a->sparse.m == b->sparse.m && a->sparse.block == b->sparse.block;
    case WC_PART_LOWRANK:
        return a->lowrank.rank == b->lowrank.rank && a->lowrank.form == b->lowrank.form &&
               a->lowrank.m2 == b->lowrank.m2 && a->lowrank.n2 == b->lowrank.n2;
    case WC_PART_VQ: return same_vq(&a->vq, &b->vq);
    case WC_PART_SIGNS: return same_signs(&a->signs, &b->signs);
    case WC_PART_CODED: return a->coded.bytes == b->coded.bytes;
    case WC_PART_DIAGONAL:
    case WC_PART_PERMUTE: return true;
    case WC_PART_HADAMARD: return a->hadamard.order == b->hadamard.order;
    case WC_PART_GGML: return a->ggml.type == b->ggml.type;
    }
    return false;
}

static bool as_planned(const part_slot *s, const wc_part *numbers)
{
    const wc_part *child[WC_PART_CHILDREN];
    if (!same_geometry(&s->plan, numbers)) return false;
    wc_part_children(numbers, child);
    for (size_t k = 0; k < s->n_children; k++)
        if (!child[k] || !same_geometry(&s->child[k].plan, child[k])) return false;
    return true;
}

static wc_status find_part(wc_ctx *ctx, const wc_wcz *z, size_t tensor, size_t part, part_slot **out, const char **name)
{
    if (z->fd < 0) return wc_fail(ctx, WC_BUG, "the output file is not open");
    if (tensor >= z->n_tensors || part >= own_parts(&z->tensors[z->slot_of[tensor]].t))
        return wc_fail(ctx, WC_BUG, "%s: there is no part %zu of tensor %zu in the plan", z->path, part, tensor);
    *out = &z->tensors[z->slot_of[tensor]].parts[part];
    *name = z->tensors[z->slot_of[tensor]].name;
    return WC_OK;
}

void wc_wcz_blob_free(wc_wcz_blob *b)
{
    if (!b) return;
    for (size_t k = 0; k < b->n_children; k++) /* which have no children */
        free(b->child[k].data);
    free(b->child);
    free(b->data);
    memset(b, 0, sizeof *b);
}

static void seal(part_slot *s, const wc_wcz_blob *b)
{
    memcpy(s->params, b->params, sizeof s->params);
    s->xxh3 = b->xxh3;
    s->done = true;
}

/* The part, with its children, is in its place: hands its bytes to the caller, or frees them. When it is not, frees
 * them. */
static void settle(part_slot *s, wc_status status, wc_wcz_blob *b, wc_wcz_blob *out)
{
    if (status == WC_OK) {
        for (size_t k = 0; k < s->n_children; k++)
            seal(&s->child[k], &b->child[k]);
        seal(s, b);
    }
    if (status == WC_OK && out)
        *out = *b;
    else
        wc_wcz_blob_free(b);
}

/* A blob of the slot's kind and size, without its bytes. */
static wc_wcz_blob describe(const part_slot *s)
{
    return (wc_wcz_blob){.size = s->size, .kind = s->encoder->id, .version = s->encoder->version};
}

/* The same with room for the bytes up to the next multiple of ALIGN, zeroed. */
static wc_status blob_for(wc_ctx *ctx, const part_slot *s, wc_wcz_blob *out)
{
    *out = describe(s);
    return WC_ALLOC(ctx, out->data, wc_round_up(s->size, ALIGN), "an encoded part");
}

/* Room for the blobs of the slot's children. */
static wc_status children_for(wc_ctx *ctx, const part_slot *s, wc_wcz_blob *b)
{
    if (!s->n_children) return WC_OK;
    WC_TRY(WC_ALLOC(ctx, b->child, s->n_children, "encoded factors"));
    b->n_children = s->n_children;
    return WC_OK;
}

/* One blob; *b is the caller's also on failure. */
static wc_status put_slot(wc_ctx *ctx, const wc_wcz *z, const part_slot *s, const wc_part *numbers, wc_wcz_blob *b)
{
    WC_TRY(blob_for(ctx, s, b));
    WC_TRY(s->encoder->encode(ctx, numbers, b->data, b->params));
    b->xxh3 = XXH3_64bits(b->data, b->size);
    return wc_pwrite(ctx, z->fd, z->path, b->data, wc_round_up(b->size, ALIGN), s->offset);
}

wc_status wc_wcz_put(wc_ctx *ctx, wc_wcz *z, size_t tensor, size_t part, const wc_part *numbers, wc_wcz_blob *out)
{
    part_slot *s;
    const char *name;
    const wc_part *child[WC_PART_CHILDREN];
    wc_wcz_blob b = {0};
    WC_TRY(find_part(ctx, z, tensor, part, &s, &name));
    if (!as_planned(s, numbers))
        return wc_fail(ctx, WC_BUG, "tensor `%s': part %zu is not the one that was planned", name, part);
    wc_part_children(numbers, child);
    wc_status status = put_slot(ctx, z, s, numbers, &b);
    if (status == WC_OK) status = children_for(ctx, s, &b);
    for (size_t k = 0; status == WC_OK && k < s->n_children; k++)
        status = put_slot(ctx, z, &s->child[k], child[k], &b.child[k]);
    settle(s, status, &b, out);
    return status;
}

wc_status wc_wcz_copy(wc_ctx *ctx, wc_wcz *z, size_t tensor, size_t part, const wc_map *map, uint64_t offset,
                      wc_wcz_blob *out)
{
    static const uint8_t zeros[ALIGN];
    part_slot *s;
    const char *name;
    WC_TRY(find_part(ctx, z, tensor, part, &s, &name));
    bool raw = (s->plan.kind == WC_PART_FLOAT && !s->plan.floats.code) || s->plan.kind == WC_PART_GGML;
    if (!raw || offset > map->size || s->size > map->size - offset)
        return wc_fail(ctx, WC_BUG, "tensor `%s': part %zu cannot be copied from a file", name, part);
    wc_wcz_blob b = describe(s);
    wc_part none = s->plan; /* no rows: only the parameters */
    if (none.kind == WC_PART_GGML)
        none.ggml.rows = 0;
    else
        none.floats.rows = 0;
    WC_TRY(s->encoder->encode(ctx, &none, NULL, b.params));
    XXH3_state_t xxh;
    XXH3_64bits_reset(&xxh);
    for (uint64_t done = 0; done < s->size; done += PIECE) {
        uint64_t count = s->size - done < PIECE ? s->size - done : PIECE;
        XXH3_64bits_update(&xxh, map->data + offset + done, count);
        WC_TRY(wc_pwrite(ctx, z->fd, z->path, map->data + offset + done, count, s->offset + done));
        wc_map_release(map, offset + done, count);
    }
    WC_TRY(wc_pwrite(ctx, z->fd, z->path, zeros, wc_round_up(s->size, ALIGN) - s->size, s->offset + s->size));
    b.xxh3 = XXH3_64bits_digest(&xxh);
    settle(s, WC_OK, &b, out);
    return WC_OK;
}

/* v [n] becomes n values of dtype, little-endian, in the same place: none is larger than what it was. */
static wc_status round_floats(wc_ctx *ctx, const char *name, wc_dtype dtype, float *v, uint64_t n)
{
    uint8_t *dst = (uint8_t *)v;
    unsigned bytes = wc_dtype_bits(dtype) / 8;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t x = dtype == WC_F32 ? wc_f32_bits(v[i]) : dtype == WC_F16 ? wc_f32_f16(v[i]) : wc_f32_bf16(v[i]);
        if (dtype == WC_F16 && (x & 0x7fff) == 0x7c00)
            return wc_fail(ctx, WC_NUMERIC, "tensor `%s': %g is too large for F16", name, (double)v[i]);
        for (unsigned b = 0; b < bytes; b++)
            dst[i * bytes + b] = (uint8_t)(x >> 8 * b);
    }
    return WC_OK;
}

/* The slot's values from row 0 on, in pieces of `step' rows through v; the padding behind them. */
static wc_status write_rows(wc_ctx *ctx, const wc_wcz *z, const part_slot *s, const wc_weight *w, size_t step, float *v,
                            uint64_t *xxh3)
{
    wc_dtype dtype = s->plan.floats.dtype;
    uint64_t done = 0;
    XXH3_state_t xxh;
    XXH3_64bits_reset(&xxh);
    for (size_t r0 = 0; r0 < w->rows; r0 += step) {
        size_t nr = wc_min(step, w->rows - r0);
        uint64_t count = nr * w->cols * (wc_dtype_bits(dtype) / 8);
        WC_TRY(w->read(ctx, w, r0, nr, v));
        WC_TRY(round_floats(ctx, w->name, dtype, v, nr * w->cols));
        XXH3_64bits_update(&xxh, v, count);
        WC_TRY(wc_pwrite(ctx, z->fd, z->path, v, count, s->offset + done));
        done += count;
    }
    static const uint8_t zeros[ALIGN];
    *xxh3 = XXH3_64bits_digest(&xxh);
    return wc_pwrite(ctx, z->fd, z->path, zeros, wc_round_up(s->size, ALIGN) - s->size, s->offset + s->size);
}

wc_status wc_wcz_copy_weight(wc_ctx *ctx, wc_wcz *z, size_t tensor, size_t part, const wc_weight *w, wc_wcz_blob *out)
{
    part_slot *s;
    const char *name;
    float *v;
    WC_TRY(find_part(ctx, z, tensor, part, &s, &name));
    const wc_float *f = &s->plan.floats;
    if (s->plan.kind != WC_PART_FLOAT || !wc_dtype_is_float(f->dtype) || f->rows != w->rows || f->cols != w->cols)
        return wc_fail(ctx, WC_BUG, "tensor `%s': part %zu cannot be copied from %zu x %zu numbers", name, part,
                       w->rows, w->cols);
    size_t step = wc_min(w->rows, 1 + PIECE / (sizeof *v * (w->cols + 1)));
    WC_TRY(WC_ALLOC(ctx, v, step * w->cols, "a piece of a tensor"));
    wc_wcz_blob b = describe(s);
    wc_part none = s->plan; /* no rows: only the parameters */
    none.floats.rows = 0;
    wc_status status = s->encoder->encode(ctx, &none, NULL, b.params);
    if (status == WC_OK) status = write_rows(ctx, z, s, w, step, v, &b.xxh3);
    free(v);
    settle(s, status, &b, out);
    return status;
}

static bool rest_is_zero(const uint8_t *p, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        if (p[i]) return false;
    return true;
}

/* Reads the slot's bytes, padding included, in one piece into data, or piece by piece into nowhere. *good: they have
 * that checksum, and zeros behind them. */
static wc_status read_back(wc_ctx *ctx, const wc_wcz *z, const part_slot *s, uint64_t xxh3, uint8_t *data, bool *good)
{
    uint64_t padded = wc_round_up(s->size, ALIGN), piece = data || padded < PIECE ? padded : PIECE;
    uint8_t *own = NULL;
    if (!data) WC_TRY(WC_ALLOC(ctx, own, piece, "a piece of an encoded part"));
    uint8_t *p = data ? data : own;
    wc_status status = WC_OK;
    XXH3_state_t xxh;
    XXH3_64bits_reset(&xxh);
    *good = true;
    for (uint64_t done = 0; status == WC_OK && done < padded; done += piece) {
        uint64_t count = padded - done < piece ? padded - done : piece, content = wc_min(count, s->size - done);
        status = wc_pread(ctx, z->fd, z->path, p, count, s->offset + done);
        if (status != WC_OK) break;
        XXH3_64bits_update(&xxh, p, content);
        *good = *good && rest_is_zero(p, content, count);
    }
    *good = *good && XXH3_64bits_digest(&xxh) == xxh3;
    free(own);
    return status;
}

/* One blob, its bytes kept when `keep'; *b is the caller's also on failure. */
static wc_status get_slot(wc_ctx *ctx, const wc_wcz *z, const part_slot *s, const wc_wcz_blob *sealed, bool keep,
                          wc_wcz_blob *b, bool *good)
{
    bool same = false;
    *b = describe(s);
    if (keep) WC_TRY(blob_for(ctx, s, b));
    memcpy(b->params, sealed->params, sizeof b->params);
    b->xxh3 = sealed->xxh3;
    WC_TRY(read_back(ctx, z, s, sealed->xxh3, b->data, &same));
    *good = *good && same;
    return WC_OK;
}

wc_status wc_wcz_get(wc_ctx *ctx, wc_wcz *z, size_t tensor, size_t part, const wc_wcz_blob *sealed, wc_wcz_blob *out)
{
    part_slot *s;
    const char *name;
    wc_wcz_blob b = {0};
    bool good = true;
    WC_TRY(find_part(ctx, z, tensor, part, &s, &name));
    if (sealed->n_children != s->n_children)
        return wc_fail(ctx, WC_BUG, "tensor `%s': part %zu is made of %zu parts", name, part, s->n_children);
    wc_status status = get_slot(ctx, z, s, sealed, out, &b, &good);
    if (status == WC_OK) status = children_for(ctx, s, &b);
    for (size_t k = 0; status == WC_OK && k < s->n_children; k++)
        status = get_slot(ctx, z, &s->child[k], &sealed->child[k], out, &b.child[k], &good);
    if (status == WC_OK && !good)
        status =
            wc_fail(ctx, WC_VERIFY, "%s: tensor `%s': part %zu on disk is not what was written", z->path, name, part);
    settle(s, status, &b, out);
    return status;
}

wc_status wc_wcz_sync(wc_ctx *ctx, const wc_wcz *z)
{
    if (fdatasync(z->fd)) return wc_fail(ctx, WC_IO, "%s: %s", z->path, strerror(errno));
    return WC_OK;
}

void wc_wcz_describe(wc_wcz *z, size_t tensor, double error, uint32_t flags)
{
    assert(tensor < z->n_tensors);
    z->tensors[z->slot_of[tensor]].error = error;
    z->tensors[z->slot_of[tensor]].flags = flags;
}

uint32_t wc_wcz_position(const wc_wcz *z, size_t tensor)
{
    assert(tensor < z->n_tensors);
    return (uint32_t)z->slot_of[tensor];
}

wc_status wc_wcz_fill_meta(wc_ctx *ctx, wc_wcz *z, const wc_wcz_meta *meta)
{
    for (size_t i = 0; i < z->n_metas && z->fd >= 0; i++) {
        meta_slot *m = &z->metas[i];
        if (strcmp(m->name, meta->name) || !m->missing || m->size != meta->size) continue;
        memcpy(m->data, meta->data, meta->size);
        m->missing = false;
        return wc_pwrite(ctx, z->fd, z->path, m->data, m->size, m->offset);
    }
    return wc_fail(ctx, WC_BUG, "no metadata `%s' of %zu bytes is planned", meta->name, meta->size);
}

/* A cursor over zeroed bytes: what is skipped stays zero. */
typedef struct writer {
    uint8_t *p;
} writer;

static void put(writer *w, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *w->p++ = (uint8_t)(value >> 8 * i);
}

static void put_bytes(writer *w, const void *data, size_t size)
{
    memcpy(w->p, data, size);
    w->p += size;
}

static void put_tensor(writer *w, const tensor_slot *s, size_t name_offset, size_t first_part)
{
    /* One NaN for all, so that equal runs give equal files. */
    uint64_t error = 0x7ff8000000000000;
    if (!isnan(s->error)) memcpy(&error, &s->error, sizeof error);
    put(w, name_offset, 4);
    put(w, strlen(s->name), 4);
    put(w, s->t.n_dims, 4);
    put(w, s->t.source_dtype, 4);
    for (uint32_t d = 0; d < WCD_MAX_DIMS; d++)
        put(w, d < s->t.n_dims ? s->t.dims[d] : 0, 8);
    put(w, first_part, 4);
    put(w, s->t.n_parts, 4);
    put(w, s->flags, 4);
    w->p += 4; /* no left transform */
    put(w, s->t.n_transforms, 4);
    w->p += 4;
    put(w, error, 8);
    w->p += 16;
}

static void put_part(writer *w, const wc_wcz *z, const part_slot *s)
{
    put(w, s->encoder->id, 2);
    put(w, s->encoder->version, 2);
    w->p += 4;
    put(w, s->offset, 8);
    put(w, s->size, 8);
    put(w, s->xxh3, 8);
    put(w, s->n_children ? (size_t)(s->child - z->parts) : 0, 4);
    put(w, s->n_children, 4);
    put_bytes(w, s->params, sizeof s->params);
    w->p += 8;
}

static void put_meta(writer *w, const meta_slot *m, size_t name_offset)
{
    put(w, name_offset, 4);
    put(w, strlen(m->name), 4);
    put(w, m->codec, 4);
    w->p += 4;
    put(w, m->offset, 8);
    put(w, m->size, 8);
    put(w, m->raw_size, 8);
    put(w, XXH3_64bits(m->data, m->size), 8);
    w->p += 16;
}

/* dst [HEADER_SIZE + index_size], zeroed. */
static void build_index(const wc_wcz *z, uint8_t *dst)
{
    writer w = {dst + HEADER_SIZE};
    size_t name = 0;
    put(&w, z->n_tensors, 4);
    put(&w, z->n_parts, 4);
    put(&w, z->n_metas, 4);
    put(&w, z->names_size, 4);
    w.p += 16;
    for (size_t i = 0; i < z->n_tensors; i++) {
        put_tensor(&w, &z->tensors[i], name, (size_t)(z->tensors[i].parts - z->parts));
        name += strlen(z->tensors[i].name);
    }
    for (size_t i = 0; i < z->n_parts; i++)
        put_part(&w, z, &z->parts[i]);
    for (size_t i = 0; i < z->n_metas; i++) {
        put_meta(&w, &z->metas[i], name);
        name += strlen(z->metas[i].name);
    }
    for (size_t i = 0; i < z->n_tensors; i++)
        put_bytes(&w, z->tensors[i].name, strlen(z->tensors[i].name));
    for (size_t i = 0; i < z->n_metas; i++)
        put_bytes(&w, z->metas[i].name, strlen(z->metas[i].name));
    assert(w.p == dst + HEADER_SIZE + z->index_size);
}

/* The version of the specification that has all kinds of this file. */
static unsigned minor_version(const wc_wcz *z)
{
    for (size_t i = 0; i < z->n_parts; i++)
        if (z->parts[i].plan.kind > WC_PART_GRID) return 1;
    return 0;
}

static void build_header(const wc_wcz *z, uint8_t *dst)
{
    writer w = {dst};
    put_bytes(&w, "\x89WCZ\r\n\x1a\n", 8);
    put(&w, 1, 2); /* major */
    put(&w, minor_version(z), 2);
    put(&w, 0, 4); /* required features */
    put(&w, z->size, 8);
    put(&w, HEADER_SIZE, 8);
    put(&w, z->index_size, 8);
    put(&w, XXH3_64bits(dst + HEADER_SIZE, z->index_size), 8);
    put(&w, 0, 8);
    put(&w, XXH3_64bits(dst, 56), 8);
}

wc_status wc_wcz_finish(wc_ctx *ctx, wc_wcz *z, const char *final_path)
{
    if (z->fd < 0) return wc_fail(ctx, WC_BUG, "the output file is not open");
    for (size_t i = 0; i < z->n_tensors; i++)
        for (size_t p = 0; p < own_parts(&z->tensors[i].t); p++)
            if (!z->tensors[i].parts[p].done)
                return wc_fail(ctx, WC_BUG, "%s: part %zu of tensor `%s' was never written", z->path, p,
                               z->tensors[i].name);
    for (size_t i = 0; i < z->n_metas; i++)
        if (z->metas[i].missing)
            return wc_fail(ctx, WC_BUG, "%s: metadata `%s' was never written", z->path, z->metas[i].name);
    uint8_t *head;
    uint64_t size = wc_round_up(HEADER_SIZE + z->index_size, ALIGN);
    WC_TRY(WC_ALLOC(ctx, head, size, "the index"));
    build_index(z, head);
    build_header(z, head);
    wc_status status = wc_pwrite(ctx, z->fd, z->path, head, size, 0);
    if (status == WC_OK) status = wc_commit_file(ctx, z->fd, z->path, final_path);
    free(head);
    return status;
}

void wc_wcz_free(wc_wcz **zp)
{
    if (!zp || !*zp) return;
    wc_wcz *z = *zp;
    for (size_t i = 0; i < z->n_tensors; i++)
        free(z->tensors[i].name);
    for (size_t i = 0; i < z->n_metas; i++)
        free(z->metas[i].name), free(z->metas[i].data);
    if (z->fd >= 0) close(z->fd);
    free(z->tensors), free(z->metas), free(z->slot_of), free(z->parts), free(z->path), free(z);
    *zp = NULL;
}
