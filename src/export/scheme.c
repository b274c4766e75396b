#include "export/scheme.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"

static const char transformed[] = "a transform and ";

wc_scheme wc_scheme_named(const wc_config *c, const char *name, size_t rows, size_t cols)
{
    wc_scheme s = {.rows = rows, .cols = cols, .linear = SIZE_MAX};
    const size_t *index;
    snprintf(s.name, sizeof s.name, "%s", name);
    s.role = wc_model_role(c, name, &s.layer, &s.stage);
    if (s.role != WC_ROLE_LINEAR) return s;
    size_t n = wc_stage_linears(s.stage, &index);
    for (size_t i = 0; i < n; i++)
        if (strstr(name, wc_linear_suffix(index[i]))) s.linear = index[i];
    return s;
}

static void set_grid(wc_scheme *s, const wc_grid *g)
{
    s->kind = WC_SCHEME_GRID;
    s->bits = g->bits;
    s->scale_bits = g->scale_bits;
    s->group = g->group;
    s->tile = g->tile;
    s->zero_kind = g->zero_kind;
    s->zero_fixed = g->zero_fixed;
    s->reordered = s->reordered && s->group < s->cols; /* one group is the same in any order */
}

static wc_scheme_kind kind_of(wc_part_kind kind)
{
    return kind == WC_PART_FLOAT  ? WC_SCHEME_FLOAT
           : kind == WC_PART_GRID ? WC_SCHEME_GRID
           : kind == WC_PART_GGML ? WC_SCHEME_GGML
                                  : WC_SCHEME_OTHER;
}

/* What a tensor is made of. */
typedef struct made {
    size_t n_parts, n_transforms;
    wc_part_kind part, transform; /* the first of each */
    char kinds[32];               /* names of all parts */
} made;

/* One part and no transform keeps its kind, and a grid behind a permutation too: its groups are of any columns. */
static void set_kind(wc_scheme *s, const made *m)
{
    wc_scheme_kind kind = m->n_parts == 1 ? kind_of(m->part) : WC_SCHEME_OTHER;
    s->reordered = kind == WC_SCHEME_GRID && m->n_transforms == 1 && m->transform == WC_PART_PERMUTE;
    s->kind = s->reordered || !m->n_transforms ? kind : WC_SCHEME_OTHER;
    snprintf(s->what, sizeof s->what, "%s%s", m->n_transforms ? transformed : "", m->kinds);
}

static void add_kind(char kinds[32], const char *name)
{
    size_t n = strlen(kinds);
    snprintf(kinds + n, 32 - n, "%s%s", n ? " + " : "", name);
}

void wc_scheme_of_parts(wc_scheme *s, const wc_part *part, size_t n_parts, size_t n_transforms)
{
    static const char *const names[] = {"?",     "float", "grid",     "lut",      "sparse", "lowrank", "vq",
                                        "signs", "coded", "diagonal", "hadamard", "ggml",   "permute"};
    made m = {.n_parts = n_parts, .n_transforms = n_transforms, .part = part[0].kind};
    if (n_transforms) m.transform = part[n_parts].kind;
    for (size_t i = 0; i < n_parts; i++)
        add_kind(m.kinds, (size_t)part[i].kind < sizeof names / sizeof *names ? names[part[i].kind] : names[0]);
    set_kind(s, &m);
    if (s->kind == WC_SCHEME_GRID) set_grid(s, &part[0].grid);
}

static uint32_t u32_at(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void scheme_of_tensor(wc_scheme *s, const wcd_tensor *t)
{
    wcd_part_info p = {0}, first = {0};
    made m = {.n_parts = t->n_parts, .n_transforms = t->n_transforms};
    for (uint32_t i = 0; i < t->n_parts; i++) {
        if (wcd_part(t, i, &p) != WCD_OK) continue;
        if (!i) first = p;
        add_kind(m.kinds, p.kind_name);
    }
    m.part = (wc_part_kind)first.kind;
    if (t->n_transforms && wcd_part(t, t->n_parts, &p) == WCD_OK) m.transform = (wc_part_kind)p.kind;
    set_kind(s, &m);
    if (s->kind != WC_SCHEME_GRID) return;
    set_grid(s, &(wc_grid){.bits = first.params[0], /* the card of grid, docs/FORMAT.md */
                           .scale_bits = first.params[1],
                           .zero_kind = (wc_zero_kind)first.params[2],
                           .group = u32_at(first.params + 4),
                           .zero_fixed = wc_bits_f32(u32_at(first.params + 8)),
                           .tile = first.params[28]});
}

bool wc_scheme_symmetric(const wc_scheme *s)
{
    return s->zero_kind == WC_ZERO_FIXED && s->zero_fixed == (float)(1u << s->bits) / 2;
}

const char *wc_scheme_refusal(const wc_scheme *s, const char **mend)
{
    *mend = "compress it with gptq(bits=4,group=128,scale_bits=0)";
    if (s->kind == WC_SCHEME_OTHER && !strncmp(s->what, transformed, sizeof transformed - 1))
        *mend = "leave out hadamard and awq, and write rotate(down=no)";
    if (s->kind != WC_SCHEME_GRID) return "is no single uniform grid";
    *mend = "compress it with tile=0,scale_bits=0";
    if (s->tile) return "has scales on lines over several rows";
    *mend = "compress it with scale_bits=0";
    if (s->scale_bits) return "has integer scales under one f16 per row";
    *mend = "compress it with zero_bits=0";
    if (s->zero_kind == WC_ZERO_F16 || s->zero_kind == WC_ZERO_LINE) return "has zeros that are no integers";
    *mend = "compress it with sym=no";
    if (s->zero_kind == WC_ZERO_FIXED && s->zero_fixed != (float)(int)s->zero_fixed)
        return "has its zero between two codes";
    return NULL;
}

static int by_place(const void *a, const void *b)
{
    const wc_scheme *x = a, *y = b;
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    if (x->linear != y->linear) return x->linear < y->linear ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void add(const wc_config *c, wc_scheme *list, size_t *n, const char *name, size_t rows, size_t cols, bool ggml,
                const wcd_tensor *t)
{
    wc_scheme s = wc_scheme_named(c, name, rows, cols);
    if (s.role != WC_ROLE_LINEAR && s.role != WC_ROLE_EMBED && s.role != WC_ROLE_HEAD) return;
    if (t) scheme_of_tensor(&s, t);
    if (ggml) s.kind = WC_SCHEME_GGML;
    list[(*n)++] = s;
}

wc_status wc_schemes(wc_ctx *ctx, const wc_input *in, wc_scheme **list, size_t *n)
{
    size_t all = in->has_wcz ? wcd_count(&in->wcz.file) : in->checkpoint.n;
    *n = 0;
    WC_TRY(WC_ALLOC(ctx, *list, all, "the tensors' schemes"));
    for (size_t i = 0; i < all; i++) {
        wcd_tensor t;
        const wc_st_tensor *s = in->has_wcz ? NULL : in->checkpoint.tensor[i];
        if (s)
            add(&in->config, *list, n, s->name, s->rows, s->cols, s->ggml != 0, NULL);
        else if (wcd_at(&in->wcz.file, (uint32_t)i, &t) == WCD_OK)
            add(&in->config, *list, n, wc_wcz_name(&in->wcz, &t), t.rows, t.cols, false, &t);
    }
    qsort(*list, *n, sizeof **list, by_place);
    return WC_OK;
}
