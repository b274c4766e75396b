#include "export/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/gguf.h"
#include "export/hf.h"

void wc_findings_free(wc_findings *f)
{
    if (!f) return;
    free(f->list);
    memset(f, 0, sizeof *f);
}

/* ---- runtimes ------------------------------------------------------------------------------------------------------
 */

#define B(n) (1u << (n))

/* What a runtime takes of integers, in general or in one quant_method. Groups are powers of two, so their sum is a set.
 */
typedef struct limits {
    const char *method;           /* NULL: in general, and of the methods that have no line of their own */
    unsigned sym_bits, asym_bits; /* bit b: b bits */
    unsigned groups;              /* sum of the sizes besides a whole row; 0: any */
    bool one_scheme;              /* exceptions from the bits and groups of most layers are not read */
} limits;

/* The integer kernels of vLLM are Marlin's (4 and 8 bits with the zero in the middle, 4 bits with any; thread tiles of
 * 128 inputs by 64 outputs); of GPTQ it knows no zeros. transformers gives GPTQ and AWQ to GPTQModel, which has lists
 * of groups, through Optimum, which reads no `dynamic'; compressed-tensors it dequantizes in plain operations. */
typedef struct target {
    const char *name;
    bool integers; /* GPTQ, AWQ, compressed-tensors; else GGUF */
    limits of[3];
    size_t k_tile, n_tile;    /* divide inputs and outputs of a shard; 0: what whole words ask for */
    unsigned four_bit_groups; /* what the kernel that is chosen without a GPU takes; 0: there is none */
    bool fuses;               /* q, k, v and gate, up are one layer each */
    bool shards;              /* tensor parallelism as vLLM does it */
    bool g_idx;               /* groups of any columns */
    const char *packed_zeros; /* what to know of compressed-tensors with zero points; NULL: nothing */
} target;

#define ANY_BITS (B(2) | B(3) | B(4) | B(8))
static const target targets[] = {
    {.name = "vllm",
     .integers = true,
     .of = {{NULL, B(4) | B(8), B(4), 32 + 64 + 128, false}, {"gptq", B(4) | B(8), 0, 32 + 64 + 128, false}},
     .k_tile = 128,
     .n_tile = 64,
     .fuses = true,
     .shards = true},
    {.name = "transformers",
     .integers = true,
     .of = {{NULL, ANY_BITS, ANY_BITS, 0, false},
            {"gptq", ANY_BITS, ANY_BITS, 16 + 32 + 64 + 128 + 256 + 512 + 1024, true},
            {"awq", B(4), B(4), 16 + 32 + 64 + 128, true}},
     .four_bit_groups = 32 + 64 + 128 + 256,
     .shards = true,
     .g_idx = true,
     .packed_zeros = "its zero points are packed: transformers 5.20 with compressed-tensors 0.17 reads them, 5.23 with "
                     "0.20 fails on a shape"},
    {.name = "llama.cpp"},
};
enum { N_TARGETS = sizeof targets / sizeof *targets };
const char *const wc_check_targets[] = {"vllm", "transformers", "llama.cpp", NULL};
static const char *const model_types[] = {"llama", "mistral", "qwen2", "qwen3"};

typedef struct job {
    wc_ctx *ctx;
    const wc_input *in;
    const wc_scheme *list;
    size_t n;
    const target *target;
    const wc_hf_format *format; /* NULL: any */
    size_t tp;
    wc_findings *out;
} job;

__attribute__((format(printf, 5, 6))) static wc_status found(job *j, bool fatal, const wc_scheme *s, const char *mend,
                                                             const char *fmt, ...)
{
    wc_findings *f = j->out;
    if (f->n == f->capacity) {
        size_t capacity = f->capacity ? 2 * f->capacity : 16;
        wc_finding *list = realloc(f->list, capacity * sizeof *list);
        if (!list) return wc_fail(j->ctx, WC_NOMEM, "no memory for findings");
        f->list = list, f->capacity = capacity;
    }
    wc_finding *x = &f->list[f->n++];
    memset(x, 0, sizeof *x);
    x->fatal = fatal;
    f->fatal += fatal;
    if (s) memcpy(x->tensor, s->name, sizeof x->tensor);
    snprintf(x->mend, sizeof x->mend, "%s", mend);
    va_list args;
    va_start(args, fmt);
    vsnprintf(x->text, sizeof x->text, fmt, args);
    va_end(args);
    return WC_OK;
}

/* ---- rules for a linear layer that is integers ----------------------------------------------------------------------
 */

static bool integers(const wc_scheme *s)
{
    const char *mend;
    return s->role == WC_ROLE_LINEAR && s->kind == WC_SCHEME_GRID && !wc_scheme_refusal(s, &mend);
}

/* "2, 3, 4, 8" */
static const char *bits_text(unsigned mask, char dst[40])
{
    size_t n = 0;
    dst[0] = 0;
    for (unsigned b = 1; b <= 8; b++)
        if (mask & B(b)) n += (size_t)snprintf(dst + n, 40 - n, "%s%u", n ? ", " : "", b);
    return n ? dst : "none";
}

static wc_status representation(job *j, const wc_scheme *s)
{
    const char *mend, *why = wc_scheme_refusal(s, &mend);
    if (s->kind == WC_SCHEME_FLOAT || !why) return WC_OK;
    return found(j, true, s, mend, "%s (%s)", why, s->what);
}

static const limits *limits_of(const job *j)
{
    const limits *general = &j->target->of[0];
    for (size_t i = 1; j->format && i < sizeof j->target->of / sizeof *j->target->of; i++)
        if (j->target->of[i].method && !strcmp(j->target->of[i].method, j->format->method)) return &j->target->of[i];
    return general;
}

static wc_status bits(job *j, const wc_scheme *s)
{
    bool sym = wc_scheme_symmetric(s), zeros = j->target->of[0].asym_bits & B(s->bits), v1 = false;
    unsigned mask = sym ? limits_of(j)->sym_bits : limits_of(j)->asym_bits;
    char text[40];
    if (j->format) mask &= sym ? j->format->sym_bits : j->format->asym_bits;
    if (mask & B(s->bits)) return WC_OK;
    if (j->format) v1 = !strcmp(j->format->name, "gptq") && limits_of(j)->asym_bits;
    return found(j, true, s,
                 mask    ? "choose such bits"
                 : v1    ? "compress it with sym=yes, or export to gptq_v2"
                 : zeros ? "compress it with sym=yes, or export to awq or compressed-tensors"
                         : "compress it with sym=yes",
                 "has %u bits %s; %s%s%s takes %s", s->bits, sym ? "around the middle code" : "with zeros of their own",
                 j->format ? j->format->name : "", j->format ? " for " : "", j->target->name, bits_text(mask, text));
}

/* "16, 32, 64" */
static const char *groups_text(unsigned groups, char dst[64])
{
    size_t n = 0;
    for (unsigned g = 1; g <= groups; g *= 2)
        if (groups & g) n += (size_t)snprintf(dst + n, 64 - n, "%s%u", n ? ", " : "", g);
    return dst;
}

static bool whole_row(const wc_scheme *s)
{
    return s->group == s->cols;
}

static bool in_groups(unsigned groups, size_t group)
{
    return !(group & (group - 1)) && (groups & group);
}

static wc_status group(job *j, const wc_scheme *s)
{
    unsigned groups = limits_of(j)->groups;
    char text[64];
    if (s->cols % s->group)
        return found(j, true, s, "choose a group that divides it, or group=0",
                     "its %zu columns are no multiple of the group of %zu", s->cols, s->group);
    if (whole_row(s) || !groups || in_groups(groups, s->group)) return WC_OK;
    return found(j, true, s, "compress it with group=128, 64, 32 or 0",
                 "has groups of %zu; %s%s%s takes %s or whole rows", s->group, j->format ? j->format->name : "",
                 j->format ? " for " : "", j->target->name, groups_text(groups, text));
}

/* The first layer that is integers. */
static const wc_scheme *first_integers(const job *j)
{
    for (size_t i = 0; i < j->n; i++)
        if (integers(&j->list[i])) return &j->list[i];
    return NULL;
}

/* Said once: it is chosen for all layers. */
static wc_status four_bit_kernel(job *j, const wc_scheme *s)
{
    unsigned groups = j->target->four_bit_groups;
    char text[64];
    if (!groups || !j->format || !strcmp(j->format->method, "compressed-tensors") || s != first_integers(j))
        return WC_OK;
    if (s->bits != 4 || in_groups(groups, s->group)) return WC_OK;
    bool awq = !strcmp(j->format->method, "awq");
    return found(j, false, s,
                 awq ? "load it there with AwqConfig(bits=4, backend='torch_awq')"
                     : "load it there with GPTQConfig(bits=4, backend='torch')",
                 "has groups of %zu: without a GPU, the kernel that %s chooses takes %s", s->group, j->target->name,
                 groups_text(groups, text));
}

/* Rows of a linear in one shard. Keys and values are repeated when there are more shards than heads. */
static size_t shard_rows(const job *j, const wc_scheme *s)
{
    bool split = s->stage == WC_STAGE_QKV || s->stage == WC_STAGE_GATE_UP;
    size_t heads = j->in->config.kv_heads, parts = s->linear == 1 || s->linear == 2 ? wc_min(j->tp, heads) : j->tp;
    return split ? s->rows / parts : s->rows;
}

static size_t shard_cols(const job *j, const wc_scheme *s)
{
    return s->stage == WC_STAGE_O || s->stage == WC_STAGE_DOWN ? s->cols / j->tp : s->cols;
}

/* Rows of the layer that the runtime makes of those that share an input. */
static size_t fused_rows(const job *j, const wc_scheme *s)
{
    size_t rows = 0;
    if (!j->target->fuses) return shard_rows(j, s);
    for (size_t i = 0; i < j->n; i++)
        if (j->list[i].role == WC_ROLE_LINEAR && j->list[i].layer == s->layer && j->list[i].stage == s->stage)
            rows += shard_rows(j, &j->list[i]);
    return rows;
}

/* vLLM took g_idx out in September 2026 (its pull request 54809): 0.33 refuses desc_act and actorder. */
static wc_status order(job *j, const wc_scheme *s)
{
    if (!s->reordered) return WC_OK;
    if (j->format && !j->format->g_idx)
        return found(j, true, s, "leave out reorder, or export to gptq or compressed-tensors",
                     "has groups of columns that are not neighbours; %s has no g_idx", j->format->name);
    if (!j->target->g_idx)
        return found(j, true, s, "leave out reorder: gptq(order=act) needs no g_idx",
                     "has groups of columns that are not neighbours; %s takes no g_idx since September 2026",
                     j->target->name);
    if (shard_cols(j, s) == s->cols) return WC_OK;
    return found(j, true, s, "leave out reorder for it (--rule), or use one shard",
                 "has groups of columns that are not neighbours: each lies in several of %zu shards", j->tp);
}

static wc_status tile(job *j, const wc_scheme *s)
{
    size_t word = s->bits == 3 ? 32 : 32 / s->bits;
    size_t k = j->target->k_tile ? j->target->k_tile : word, n = j->target->n_tile ? j->target->n_tile : word;
    size_t cols = shard_cols(j, s), rows = fused_rows(j, s);
    if (cols % k || shard_rows(j, s) % word || rows % n)
        return found(j, true, s, "keep it and what it is fused with (--rule 'NAME=keep'), or use fewer shards",
                     "%zu x %zu in each of %zu shards (with what it is fused with): %s takes multiples of %zu x %zu",
                     rows, cols, j->tp, j->target->name, n, k);
    if (cols % s->group && s->group < s->cols)
        return found(j, true, s, "choose a smaller group or fewer shards",
                     "a shard has %zu of its columns, no multiple of the group of %zu", cols, s->group);
    return WC_OK;
}

/* ---- rules for what a runtime fuses ------------------------------------------------------------------------------ */

static bool same_scheme(const wc_scheme *a, const wc_scheme *b)
{
    if (integers(a) != integers(b)) return false;
    return !integers(a) ||
           (a->bits == b->bits && a->group == b->group && wc_scheme_symmetric(a) == wc_scheme_symmetric(b));
}

static void scheme_text(const wc_scheme *s, char dst[64])
{
    if (integers(s))
        snprintf(dst, 64, "%u bits in groups of %zu%s", s->bits, s->group, wc_scheme_symmetric(s) ? "" : " with zeros");
    else
        snprintf(dst, 64, "%s", s->kind == WC_SCHEME_FLOAT ? "floats" : s->what);
}

static wc_status fused(job *j, const wc_scheme *s)
{
    const size_t *index;
    char a[64], b[64];
    (void)wc_stage_linears(s->stage, &index);
    for (size_t i = 0; i < j->n; i++) {
        const wc_scheme *first = &j->list[i];
        if (first->role != WC_ROLE_LINEAR || first->layer != s->layer || first->linear != index[0]) continue;
        if (same_scheme(first, s)) return WC_OK;
        scheme_text(s, a), scheme_text(first, b);
        return found(j, true, s, "give both the same --rule",
                     "is %s, and %s, with which %s makes one layer of it, is %s", a, wc_linear_suffix(index[0]),
                     j->target->name, b);
    }
    return WC_OK;
}

/* One group for all is the group of those that are not whole rows; a row may be just such a group. */
static wc_status one_scheme(job *j, const wc_scheme *s)
{
    const wc_scheme *first = first_integers(j), *grouped = first;
    bool symmetry = j->format && j->format->checkpoint; /* GPTQ has one `sym' */
    char a[64], b[64];
    if (!j->format || (j->format->mixed && !limits_of(j)->one_scheme)) return WC_OK;
    for (size_t i = 0; i < j->n && whole_row(grouped); i++)
        if (integers(&j->list[i]) && !whole_row(&j->list[i])) grouped = &j->list[i];
    bool same = whole_row(grouped) || s->group == grouped->group;
    if (same && first->bits == s->bits && (!symmetry || wc_scheme_symmetric(first) == wc_scheme_symmetric(s)))
        return WC_OK;
    if (!same) first = grouped;
    scheme_text(s, a), scheme_text(first, b);
    return found(j, true, s, "export to compressed-tensors, which takes several",
                 "is %s, and %s is %s; %s%s%s has one for all", a, first->name, b, j->format->name,
                 j->format->mixed ? " for " : "", j->format->mixed ? j->target->name : "");
}

/* ---- rules for llama.cpp ----------------------------------------------------------------------------------------- */

static wc_status blocks(job *j, const wc_scheme *s)
{
    if (s->kind == WC_SCHEME_FLOAT || s->kind == WC_SCHEME_GGML) return WC_OK;
    return found(j, false, s, "quantize --format Q4_K_M keeps its size",
                 "has no type in GGUF (%s): it will be written as floats", s->what);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

enum { INTEGER_RUNTIME = 1, GGUF_RUNTIME = 2, INTEGERS_ONLY = 4, FUSING_ONLY = 8 };

/* A rule, and which runtimes and tensors it is for. */
static const struct {
    wc_status (*look)(job *, const wc_scheme *);
    unsigned when;
} rules[] = {
    {representation, INTEGER_RUNTIME},
    {bits, INTEGER_RUNTIME | INTEGERS_ONLY},
    {group, INTEGER_RUNTIME | INTEGERS_ONLY},
    {order, INTEGER_RUNTIME | INTEGERS_ONLY},
    {tile, INTEGER_RUNTIME | INTEGERS_ONLY},
    {fused, INTEGER_RUNTIME | FUSING_ONLY},
    {one_scheme, INTEGER_RUNTIME | INTEGERS_ONLY},
    {four_bit_kernel, INTEGER_RUNTIME | INTEGERS_ONLY},
    {blocks, GGUF_RUNTIME},
};

static wc_status look_at(job *j, const wc_scheme *s)
{
    unsigned runtime = j->target->integers ? INTEGER_RUNTIME : GGUF_RUNTIME;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (!(rules[i].when & runtime) || (rules[i].when & INTEGERS_ONLY && !integers(s)) ||
            (rules[i].when & FUSING_ONLY && !j->target->fuses))
            continue;
        size_t before = j->out->fatal;
        WC_TRY(rules[i].look(j, s));
        if (j->out->fatal > before) break; /* what follows from it is no news */
    }
    return WC_OK;
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

static wc_status architecture(job *j)
{
    const wc_config *c = &j->in->config;
    for (size_t i = 0; i < sizeof model_types / sizeof *model_types; i++)
        if (!strcmp(model_types[i], c->model_type)) return WC_OK;
    return found(j, true, NULL, "there is no export for it",
                 "models of type %s: %s is not known to run what this program writes of them", c->model_type,
                 j->target->name);
}

static wc_status files(job *j)
{
    bool there;
    wc_buf text = {0};
    WC_TRY(wc_input_text(j->ctx, j->in, "tokenizer.json", &text, &there));
    wc_buf_free(&text);
    if (!there)
        return found(j, false, NULL, "put it beside the weights and compress again",
                     "there is no tokenizer.json, so the runtime needs token ids");
    WC_TRY(wc_input_text(j->ctx, j->in, "tokenizer_config.json", &text, &there));
    wc_buf_free(&text);
    if (!there && j->target->integers)
        return found(j, false, NULL, "put it beside the weights and compress again",
                     "there is no tokenizer_config.json: the runtime guesses the tokenizer's class");
    return WC_OK;
}

static wc_status parallel(job *j)
{
    const wc_config *c = &j->in->config;
    if (c->heads % j->tp)
        WC_TRY(found(j, true, NULL, "choose a divisor for --tp", "%zu attention heads do not split into %zu shards",
                     c->heads, j->tp));
    if (c->kv_heads % j->tp && j->tp % c->kv_heads)
        WC_TRY(found(j, true, NULL, "choose a divisor or a multiple for --tp",
                     "%zu key and value heads do not split into %zu shards", c->kv_heads, j->tp));
    if (c->intermediate % j->tp)
        WC_TRY(found(j, true, NULL, "choose a divisor for --tp",
                     "the width %zu of the MLP does not split into %zu shards", c->intermediate, j->tp));
    return WC_OK;
}

/* Embedding and head are floats to these runtimes. */
static wc_status ends(job *j)
{
    for (size_t i = 0; i < j->n; i++) {
        const wc_scheme *s = &j->list[i];
        if (s->role == WC_ROLE_LINEAR || s->kind == WC_SCHEME_FLOAT || !j->target->integers) continue;
        WC_TRY(found(j, false, s, "--embed-bits 16 --head-bits 16 keeps the original",
                     "will be written as floats of its compressed values%s",
                     j->in->config.tied ? ", for the tied head too" : ""));
    }
    return WC_OK;
}

static wc_status some_integers(job *j)
{
    for (size_t i = 0; i < j->n; i++)
        if (j->list[i].role == WC_ROLE_LINEAR && j->list[i].kind != WC_SCHEME_FLOAT) return WC_OK;
    if (!j->format) return WC_OK;
    return found(j, true, NULL, "quantize it first: gptq(bits=4,group=128,scale_bits=0)",
                 "no linear layer is integers");
}

static wc_status act_order(job *j)
{
    if (!j->format || strcmp(j->format->method, "compressed-tensors")) return WC_OK;
    for (size_t i = 0; i < j->n; i++)
        if (integers(&j->list[i]) && j->list[i].reordered)
            return found(j, false, NULL, "export to gptq, or leave out reorder", "%s", wc_hf_actorder_versions);
    return WC_OK;
}

static wc_status packed_zeros(job *j)
{
    const char *text = j->target->packed_zeros;
    if (!text || !j->format || strcmp(j->format->method, "compressed-tensors")) return WC_OK;
    for (size_t i = 0; i < j->n; i++)
        if (integers(&j->list[i]) && !wc_scheme_symmetric(&j->list[i]))
            return found(j, false, NULL, "load it with CompressedTensorsConfig(dequantize=True), or export to awq",
                         "%s", text);
    return WC_OK;
}

/* What GGUF cannot say is what making its keys refuses. */
static wc_status gguf_keys(job *j)
{
    wc_gguf_options opt = {.type = WC_GGML_F16, .name = "model"};
    wc_gguf_result result;
    wc_status status = wc_export_gguf(j->ctx, j->in, &opt, &result);
    if (status != WC_UNSUPPORTED) return status;
    status = found(j, true, NULL, "there is no export for it", "%s", j->ctx->error);
    wc_clear_error(j->ctx);
    return status;
}

static wc_status look_at_model(job *j)
{
    WC_TRY(architecture(j));
    if (!j->target->integers && !j->out->fatal) WC_TRY(gguf_keys(j));
    WC_TRY(files(j));
    WC_TRY(ends(j));
    WC_TRY(some_integers(j));
    WC_TRY(act_order(j));
    WC_TRY(packed_zeros(j));
    return j->tp > 1 ? parallel(j) : WC_OK;
}

wc_status wc_check(wc_ctx *ctx, const wc_input *in, const wc_scheme *list, size_t n, const wc_check_options *opt,
                   wc_findings *out)
{
    job j = {.ctx = ctx, .in = in, .list = list, .n = n, .tp = opt->tp, .out = out};
    for (size_t i = 0; i < N_TARGETS; i++)
        if (!strcmp(opt->target, targets[i].name)) j.target = &targets[i];
    if (!j.target) return wc_fail(ctx, WC_OPTION, "--target %s: write vllm, transformers or llama.cpp", opt->target);
    if (opt->format) j.format = wc_hf_format_find(opt->format);
    if (opt->format && (!j.format || !j.target->integers))
        return wc_fail(ctx, WC_OPTION, "--to %s: %s does not read that", opt->format, opt->target);
    if (opt->tp < 1 || opt->tp > 1024)
        return wc_fail(ctx, WC_OPTION, "--tp %llu: allowed is 1 to 1024", (unsigned long long)opt->tp);
    if (opt->tp > 1 && !j.target->shards)
        return wc_fail(ctx, WC_OPTION, "--tp: %s splits models as it likes", opt->target);
    if (in->checkpoint.quant && j.target->integers)
        return wc_fail(ctx, WC_UNSUPPORTED, "%s: is quantized already (%s): what its integers are is up to its maker",
                       in->path, wc_quant_method(in->checkpoint.quant));
    WC_TRY(look_at_model(&j));
    if (out->fatal) return WC_OK; /* shards that are none would be divided by */
    for (size_t i = 0; i < n; i++)
        if (list[i].role == WC_ROLE_LINEAR || !j.target->integers) WC_TRY(look_at(&j, &list[i]));
    return WC_OK;
}

wc_status wc_check_failure(wc_ctx *ctx, const wc_input *in, const wc_check_options *opt, const wc_findings *f)
{
    char more[64] = "";
    const wc_finding *first = NULL;
    for (size_t i = f->n; i--;)
        if (f->list[i].fatal) first = &f->list[i];
    if (!first) return WC_OK;
    if (f->fatal > 1)
        snprintf(more, sizeof more, " (and %zu more: wcompress check --target %s)", f->fatal - 1, opt->target);
    return wc_fail(ctx, WC_UNSUPPORTED, "%s: %s%s%s: %s%s", in->path, first->tensor, *first->tensor ? " " : "",
                   first->text, first->mend, more);
}
