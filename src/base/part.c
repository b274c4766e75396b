#include "base/part.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    unsigned bits;
} dtypes[] = {
#define X(name, bits, id) [id] = {#name, bits},
    WC_DTYPE_LIST(X)
#undef X
};
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes };

const char *wc_dtype_name(wc_dtype t)
{
    return (unsigned)t < N_DTYPES && dtypes[t].name ? dtypes[t].name : "?";
}

unsigned wc_dtype_bits(wc_dtype t)
{
    return (unsigned)t < N_DTYPES ? dtypes[t].bits : 0;
}

wc_dtype wc_dtype_from_name(const char *name)
{
    for (unsigned i = 1; i < N_DTYPES; i++)
        if (!strcmp(dtypes[i].name, name)) return (wc_dtype)i;
    return WC_DTYPE_NONE;
}

bool wc_dtype_is_float(wc_dtype t)
{
    return t == WC_F32 || t == WC_F16 || t == WC_BF16;
}

static void signs_free(wc_signs *s)
{
    free(s->column), free(s->sign), free(s->choice), free(s->u), free(s->v), free(s->router);
    s->column = s->sign = s->choice = NULL;
    s->u = s->v = s->router = NULL;
}

static void vq_free(wc_vq *v)
{
    free(v->code), free(v->entry), free(v->small_entry), free(v->step), free(v->scale), free(v->scale_code);
    free(v->sign);
    v->code = v->entry = v->step = v->scale = NULL;
    v->small_entry = NULL;
    v->scale_code = v->sign = NULL;
}

static void ggml_free(wc_ggml *g)
{
    free(g->code), free(g->sign), free(g->scale), free(g->min), free(g->d), free(g->m);
    g->code = NULL, g->sign = NULL, g->scale = NULL, g->min = NULL, g->d = NULL, g->m = NULL;
}

static void free_arrays(wc_grid *g)
{
    free(g->code), free(g->scale), free(g->scale_code), free(g->zero), free(g->zero_f16);
    g->code = g->scale_code = g->zero = NULL;
    g->scale = g->zero_f16 = NULL;
}

void wc_float_code_free(wc_float_code *c)
{
    if (!c) return;
    for (unsigned p = 0; p < WC_PLANES; p++)
        free(c->size[p]);
    free(c);
}

void wc_part_free(wc_part *p)
{
    if (!p) return;
    switch (p->kind) {
    case WC_PART_FLOAT: free(p->floats.owned), wc_float_code_free(p->floats.code); break;
    case WC_PART_GRID: free_arrays(&p->grid); break;
    case WC_PART_LUT: free(p->lut.code), free(p->lut.table), free(p->lut.scale); break;
    case WC_PART_VQ: vq_free(&p->vq); break;
    case WC_PART_SPARSE: free(p->sparse.row_start), free(p->sparse.col), free(p->sparse.value); break;
    case WC_PART_CODED:
        free(p->coded.point), free(p->coded.col_step), free(p->coded.col_class), free(p->coded.row_class);
        break;
    case WC_PART_DIAGONAL: free(p->diagonal.scale); break;
    case WC_PART_HADAMARD: free(p->hadamard.negative); break;
    case WC_PART_PERMUTE: free(p->permute.from); break;
    case WC_PART_LOWRANK: /* factors have no factors: the recursion is one deep */
        wc_part_free(p->lowrank.a), wc_part_free(p->lowrank.b), wc_part_free(p->lowrank.link);
        free(p->lowrank.a), free(p->lowrank.b), free(p->lowrank.link), free(p->lowrank.pivot);
        break;
    case WC_PART_SIGNS: signs_free(&p->signs); break;
    case WC_PART_GGML: ggml_free(&p->ggml); break;
    }
    memset(p, 0, sizeof *p);
}

void wc_part_shape(const wc_part *p, size_t *rows, size_t *cols)
{
    *rows = *cols = 0;
    switch (p->kind) {
    case WC_PART_FLOAT: *rows = p->floats.rows, *cols = p->floats.cols; break;
    case WC_PART_GRID: *rows = p->grid.rows, *cols = p->grid.cols; break;
    case WC_PART_LUT: *rows = p->lut.rows, *cols = p->lut.cols; break;
    case WC_PART_VQ: *rows = p->vq.rows, *cols = p->vq.cols; break;
    case WC_PART_SPARSE: *rows = p->sparse.rows, *cols = p->sparse.cols; break;
    case WC_PART_LOWRANK: *rows = p->lowrank.rows, *cols = p->lowrank.cols; break;
    case WC_PART_SIGNS: *rows = p->signs.rows, *cols = p->signs.cols; break;
    case WC_PART_CODED: *rows = p->coded.rows, *cols = p->coded.cols; break;
    case WC_PART_DIAGONAL: *rows = 1, *cols = p->diagonal.cols; break;
    case WC_PART_HADAMARD: *rows = 1, *cols = p->hadamard.cols; break;
    case WC_PART_PERMUTE: *rows = 1, *cols = p->permute.cols; break;
    case WC_PART_GGML: *rows = p->ggml.rows, *cols = p->ggml.cols; break;
    }
}

bool wc_part_is_transform(wc_part_kind kind)
{
    return kind == WC_PART_DIAGONAL || kind == WC_PART_HADAMARD || kind == WC_PART_PERMUTE;
}

size_t wc_part_children(const wc_part *p, const wc_part *child[WC_PART_CHILDREN])
{
    if (p->kind != WC_PART_LOWRANK) return 0;
    child[0] = p->lowrank.a;
    child[1] = p->lowrank.b;
    child[2] = p->lowrank.link;
    return p->lowrank.form == WC_LOWRANK_CUR ? 3 : 2;
}

void wc_lowrank_child_shape(const wc_lowrank *l, size_t k, size_t *rows, size_t *cols)
{
    bool mpo = l->form == WC_LOWRANK_MPO;
    size_t outer = mpo                           ? (l->rows / l->m2) * (l->cols / l->n2)
                   : l->form == WC_LOWRANK_PIVOT ? l->rows - l->rank
                                                 : l->rows;
    *rows = k ? l->rank : outer;
    *cols = k == 1 ? mpo ? l->m2 * l->n2 : l->cols : l->rank;
}

wc_status wc_float_alloc(wc_ctx *ctx, wc_float *f)
{
    size_t bits = wc_dtype_bits(f->dtype);
    f->data = f->owned = NULL;
    if (bits % 8 || !bits)
        return wc_fail(ctx, WC_BUG, "float part: values of %s are not made here", wc_dtype_name(f->dtype));
    WC_TRY(wc_alloc(ctx, f->rows * f->cols, bits / 8, "float values", (void **)&f->owned));
    f->data = f->owned;
    return WC_OK;
}

wc_status wc_grid_alloc(wc_ctx *ctx, wc_grid *g)
{
    size_t all_groups = g->rows * wc_grid_groups(g), zero_f16s = wc_grid_zero_f16s(g);
    wc_status status = WC_OK;
    g->code = g->scale_code = g->zero = NULL;
    g->scale = g->zero_f16 = NULL;
    WC_TRY_OUT(WC_ALLOC(ctx, g->code, g->rows * g->cols, "grid codes"));
    WC_TRY_OUT(WC_ALLOC(ctx, g->scale, wc_grid_scales(g), "grid scales"));
    if (g->scale_bits) WC_TRY_OUT(WC_ALLOC(ctx, g->scale_code, all_groups, "grid scale codes"));
    if (wc_grid_zero_code_bits(g)) WC_TRY_OUT(WC_ALLOC(ctx, g->zero, all_groups, "grid zeros"));
    if (zero_f16s) WC_TRY_OUT(WC_ALLOC(ctx, g->zero_f16, zero_f16s, "grid zeros"));
    return WC_OK;
out:
    free_arrays(g);
    return status;
}

wc_status wc_lut_alloc(wc_ctx *ctx, wc_lut *l)
{
    wc_status status = WC_OK;
    l->code = NULL, l->table = NULL, l->scale = NULL;
    WC_TRY_OUT(WC_ALLOC(ctx, l->code, l->rows * l->cols, "table codes"));
    WC_TRY_OUT(WC_ALLOC(ctx, l->table, wc_lut_tables(l) << l->bits, "tables"));
    if (l->scaled) WC_TRY_OUT(WC_ALLOC(ctx, l->scale, l->rows * wc_lut_groups(l), "table scales"));
    return WC_OK;
out:
    free(l->code), free(l->table), free(l->scale);
    l->code = NULL, l->table = NULL, l->scale = NULL;
    return status;
}

wc_status wc_vq_alloc(wc_ctx *ctx, wc_vq *v)
{
    size_t codebooks = wc_vq_blocks(v) * v->books, entries = (codebooks << v->bits) * v->dim;
    size_t scales = v->rows * wc_vq_groups(v);
    wc_status status = WC_OK;
    v->code = v->entry = v->step = v->scale = NULL;
    v->small_entry = NULL;
    v->scale_code = v->sign = NULL;
    WC_TRY_OUT(WC_ALLOC(ctx, v->code, v->rows * v->books * wc_vq_vectors(v), "vector codes"));
    if (v->entry_bits == 16) WC_TRY_OUT(WC_ALLOC(ctx, v->entry, entries, "codebooks"));
    if (v->entry_bits == 8) WC_TRY_OUT(WC_ALLOC(ctx, v->small_entry, entries, "codebooks"));
    if (v->entry_bits == 8) WC_TRY_OUT(WC_ALLOC(ctx, v->step, codebooks, "steps of codebooks"));
    if (v->scaled) WC_TRY_OUT(WC_ALLOC(ctx, v->scale, v->scale_bits ? v->rows : scales, "vector scales"));
    if (v->scale_bits) WC_TRY_OUT(WC_ALLOC(ctx, v->scale_code, scales, "vector scale codes"));
    if (v->signs) WC_TRY_OUT(WC_ALLOC(ctx, v->sign, v->rows * v->cols, "a sign plane"));
    return WC_OK;
out:
    vq_free(v);
    return status;
}

wc_status wc_sparse_alloc(wc_ctx *ctx, wc_sparse *s)
{
    wc_status status = WC_OK;
    s->row_start = NULL, s->col = NULL, s->value = NULL;
    WC_TRY_OUT(WC_ALLOC(ctx, s->row_start, s->rows + 1, "sparse rows"));
    WC_TRY_OUT(WC_ALLOC(ctx, s->col, s->nnz, "sparse columns"));
    WC_TRY_OUT(wc_alloc(ctx, s->nnz, wc_dtype_bits(s->dtype) / 8, "sparse values", &s->value));
    return WC_OK;
out:
    free(s->row_start), free(s->col), free(s->value);
    s->row_start = NULL, s->col = NULL, s->value = NULL;
    return status;
}

size_t wc_signs_cols(const wc_signs *s, unsigned level)
{
    unsigned which = s->form == WC_SIGNS_SCALES ? s->which[level] & WC_SIGNS_COLUMNS : WC_SIGNS_ALL;
    return which == WC_SIGNS_SUBSET ? s->subset : which == WC_SIGNS_REST ? s->cols - s->subset : s->cols;
}

size_t wc_signs_plane(const wc_signs *s, unsigned level)
{
    return s->rows * wc_ceil_div(wc_signs_cols(s, level), 8);
}

static bool splits(const wc_signs *s, unsigned level)
{
    return s->form == WC_SIGNS_SCALES && s->which[level] & WC_SIGNS_SPLIT;
}

size_t wc_signs_scales(const wc_signs *s, unsigned level)
{
    if (s->form != WC_SIGNS_SCALES) return 0;
    return wc_ceil_div(wc_signs_cols(s, level), s->group) * (splits(s, level) ? 2 : 1);
}

size_t wc_signs_sign_at(const wc_signs *s, unsigned level)
{
    size_t at = 0;
    for (unsigned l = 0; l < level; l++)
        at += wc_signs_plane(s, l);
    return at;
}

size_t wc_signs_choice_at(const wc_signs *s, unsigned level)
{
    size_t at = 0;
    for (unsigned l = 0; l < level; l++)
        if (splits(s, l)) at += wc_signs_plane(s, l);
    return at;
}

size_t wc_signs_scales_at(const wc_signs *s, unsigned level)
{
    size_t at = 0;
    for (unsigned l = 0; l < level; l++)
        at += s->rows * wc_signs_scales(s, l);
    return at;
}

wc_status wc_signs_alloc(wc_ctx *ctx, wc_signs *s)
{
    wc_status status = WC_OK;
    size_t choices = wc_signs_choice_at(s, s->levels), planes = s->form == WC_SIGNS_PRODUCT ? s->levels : 1;
    bool scales = s->form == WC_SIGNS_SCALES;
    s->column = s->sign = s->choice = NULL;
    s->u = s->v = s->router = NULL;
    if (s->subset) WC_TRY_OUT(WC_ALLOC(ctx, s->column, s->cols, "a subset of columns"));
    WC_TRY_OUT(WC_ALLOC(ctx, s->sign, wc_signs_sign_at(s, s->levels), "signs"));
    if (choices) WC_TRY_OUT(WC_ALLOC(ctx, s->choice, choices, "choices of scales"));
    WC_TRY_OUT(WC_ALLOC(ctx, s->u, scales ? wc_signs_scales_at(s, s->levels) : planes * s->rows * s->rank, "scales"));
    if (!scales) WC_TRY_OUT(WC_ALLOC(ctx, s->v, planes * s->cols * s->rank, "scales of columns"));
    if (s->form == WC_SIGNS_EXPERTS && s->rank > 1) WC_TRY_OUT(WC_ALLOC(ctx, s->router, s->cols * s->rank, "a router"));
    return WC_OK;
out:
    signs_free(s);
    return status;
}

wc_status wc_coded_alloc(wc_ctx *ctx, wc_coded *c)
{
    wc_status status = WC_OK;
    c->point = NULL, c->col_step = NULL, c->col_class = NULL, c->row_class = NULL;
    WC_TRY_OUT(WC_ALLOC(ctx, c->point, c->rows * c->cols, "coded points"));
    WC_TRY_OUT(WC_ALLOC(ctx, c->col_step, c->cols, "coded steps"));
    WC_TRY_OUT(WC_ALLOC(ctx, c->col_class, c->cols, "coded classes"));
    WC_TRY_OUT(WC_ALLOC(ctx, c->row_class, c->rows, "coded classes"));
    return WC_OK;
out:
    free(c->point), free(c->col_step), free(c->col_class), free(c->row_class);
    c->point = NULL, c->col_step = NULL, c->col_class = NULL, c->row_class = NULL;
    return status;
}

wc_status wc_ggml_alloc(wc_ctx *ctx, wc_ggml *g)
{
    const wc_ggml_type *t = g->type;
    size_t all = g->rows * g->cols;
    wc_status status = WC_OK;
    g->code = NULL, g->sign = NULL, g->scale = NULL, g->min = NULL, g->d = NULL, g->m = NULL;
    WC_TRY_OUT(WC_ALLOC(ctx, g->code, all / t->dim, "block codes"));
    if (t->sign_bits) WC_TRY_OUT(WC_ALLOC(ctx, g->sign, all / 8, "block signs"));
    if (t->scale_bits) WC_TRY_OUT(WC_ALLOC(ctx, g->scale, all / t->sub, "block scale codes"));
    if (t->min_bits) WC_TRY_OUT(WC_ALLOC(ctx, g->min, all / t->sub, "block min codes"));
    WC_TRY_OUT(WC_ALLOC(ctx, g->d, all / t->block, "block scales"));
    if (t->has_m) WC_TRY_OUT(WC_ALLOC(ctx, g->m, all / t->block, "block minimums"));
    return WC_OK;
out:
    ggml_free(g);
    return status;
}

wc_status wc_diagonal_alloc(wc_ctx *ctx, wc_diagonal *d)
{
    return WC_ALLOC(ctx, d->scale, d->cols, "column scales");
}

wc_status wc_hadamard_alloc(wc_ctx *ctx, wc_hadamard *h)
{
    return WC_ALLOC(ctx, h->negative, h->cols, "signs of a Hadamard transform");
}

wc_status wc_permute_alloc(wc_ctx *ctx, wc_permute *p)
{
    return WC_ALLOC(ctx, p->from, p->cols, "an order of columns");
}

wc_status wc_part_alloc(wc_ctx *ctx, wc_part *p)
{
    switch (p->kind) {
    case WC_PART_FLOAT: return wc_float_alloc(ctx, &p->floats);
    case WC_PART_GRID: return wc_grid_alloc(ctx, &p->grid);
    case WC_PART_LUT: return wc_lut_alloc(ctx, &p->lut);
    case WC_PART_SPARSE: return wc_sparse_alloc(ctx, &p->sparse);
    case WC_PART_VQ: return wc_vq_alloc(ctx, &p->vq);
    case WC_PART_SIGNS: return wc_signs_alloc(ctx, &p->signs);
    case WC_PART_CODED: return wc_coded_alloc(ctx, &p->coded);
    case WC_PART_DIAGONAL: return wc_diagonal_alloc(ctx, &p->diagonal);
    case WC_PART_HADAMARD: return wc_hadamard_alloc(ctx, &p->hadamard);
    case WC_PART_PERMUTE: return wc_permute_alloc(ctx, &p->permute);
    case WC_PART_GGML: return wc_ggml_alloc(ctx, &p->ggml);
    case WC_PART_LOWRANK: break;
    }
    return wc_fail(ctx, WC_BUG, "a part of kind %d cannot be allocated here", (int)p->kind);
}

/* A heap copy of a plan; NULL without memory. */
static wc_part *copy_plan(const wc_part *plan)
{
    wc_part *p = malloc(sizeof *p);
    if (p) *p = *plan;
    return p;
}

void wc_lowrank_plan(wc_lowrank *l, const wc_part *a, const wc_part *b)
{
    l->a = copy_plan(a);
    l->b = copy_plan(b);
}

void wc_lowrank_link(wc_lowrank *l, const wc_part *link)
{
    l->link = copy_plan(link);
}

wc_status wc_lowrank_alloc(wc_ctx *ctx, wc_lowrank *l, const wc_part *a, const wc_part *b)
{
    wc_lowrank_plan(l, a, b);
    wc_status status = l->a && l->b ? wc_part_alloc(ctx, l->a) : wc_fail(ctx, WC_NOMEM, "no memory for two factors");
    if (status == WC_OK) {
        status = wc_part_alloc(ctx, l->b);
        if (status != WC_OK) wc_part_free(l->a);
    }
    if (status == WC_OK) return WC_OK;
    free(l->a), free(l->b);
    l->a = l->b = NULL;
    return status;
}
