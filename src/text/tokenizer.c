/* tokenizer.c - opens tokenizer.json and runs the pipeline. */
#include "text/text_internal.h"

#include <stdlib.h>
#include <string.h>

/* What the post-processor puts around the ids of one text. */
typedef struct frame {
    wc_ids before, after;
} frame;

struct wc_tokenizer {
    wci_vocab vocab;
    wci_normalizer normalizer;
    wci_pretokenizer pretokenizer;
    wci_added *added;
    wci_bpe *bpe;
    frame frame;
    bool byte_level;
    wc_buf space_mark; /* what stands for a space in the vocabulary, "" if nothing does */
};

wc_status wc_ids_append(wc_ctx *ctx, wc_ids *ids, const uint32_t *id, size_t n)
{
    if (n > ids->capacity - ids->n) {
        size_t capacity = ids->capacity ? ids->capacity : 256;
        while (capacity - ids->n < n)
            capacity *= 2;
        uint32_t *p = reallocarray(ids->id, capacity, sizeof *p);
        if (!p) return wc_fail(ctx, WC_NOMEM, "no memory for %zu token ids", capacity);
        ids->id = p;
        ids->capacity = capacity;
    }
    if (n) memcpy(ids->id + ids->n, id, n * sizeof *id);
    ids->n += n;
    return WC_OK;
}

void wc_ids_free(wc_ids *ids)
{
    if (!ids) return;
    free(ids->id);
    memset(ids, 0, sizeof *ids);
}

/* ---- post-processors ---- */

/* The ids of {"SpecialToken": {"id": name}}, which the template's special_tokens lists under that name. */
static wc_status add_special(wc_ctx *ctx, wci_where w, const json_t *template, const json_t *special, wc_ids *out)
{
    const char *name = json_string_value(json_object_get(special, "id"));
    const json_t *ids =
        json_object_get(json_object_get(json_object_get(template, "special_tokens"), name ? name : ""), "ids");
    uint32_t id;
    if (!json_is_array(ids))
        return wc_fail(ctx, WC_BADFILE, "%s: %s: the template's token `%.80s' has no ids", w.label, w.part,
                       name ? name : "");
    for (size_t i = 0; i < json_array_size(ids); i++) {
        WC_TRY(wci_json_id(ctx, w, json_array_get(ids, i), &id));
        WC_TRY(wc_ids_append(ctx, out, &id, 1));
    }
    return WC_OK;
}

static wc_status load_template(wc_ctx *ctx, wci_where w, const json_t *object, frame *f)
{
    const json_t *single = json_object_get(object, "single");
    size_t texts = 0;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i), *sequence = json_object_get(item, "Sequence");
        const char *name = json_string_value(json_object_get(sequence, "id"));
        if (!sequence)
            WC_TRY(add_special(ctx, w, object, json_object_get(item, "SpecialToken"), texts ? &f->after : &f->before));
        else if (name && !strcmp(name, "A"))
            texts++;
        else
            return wc_fail(ctx, WC_UNSUPPORTED, "%s: %s: a template for one text that uses another", w.label, w.part);
    }
    if (texts != 1)
        return wc_fail(ctx, WC_UNSUPPORTED, "%s: %s: a template with %zu times the text is not supported", w.label,
                       w.part, texts);
    return WC_OK;
}

/* {"cls": ["[CLS]", 101], "sep": ["[SEP]", 102]} */
static wc_status load_cls_sep(wc_ctx *ctx, wci_where w, const json_t *object, frame *f)
{
    uint32_t id;
    WC_TRY(wci_json_id(ctx, w, json_array_get(json_object_get(object, "cls"), 1), &id));
    WC_TRY(wc_ids_append(ctx, &f->before, &id, 1));
    WC_TRY(wci_json_id(ctx, w, json_array_get(json_object_get(object, "sep"), 1), &id));
    return wc_ids_append(ctx, &f->after, &id, 1);
}

/* A later processor of a Sequence wraps what the earlier ones made. */
static wc_status load_processor(wc_ctx *ctx, wci_where w, const json_t *object, const char *type, void *arg)
{
    frame *f = arg, outer = {{0}, {0}};
    wc_status status;
    if (!strcmp(type, "ByteLevel")) return WC_OK; /* only corrects offsets, which we do not keep */
    if (!strcmp(type, "TemplateProcessing"))
        WC_TRY_OUT(load_template(ctx, w, object, &outer));
    else if (!strcmp(type, "BertProcessing") || !strcmp(type, "RobertaProcessing"))
        WC_TRY_OUT(load_cls_sep(ctx, w, object, &outer));
    else
        WC_TRY_OUT(wc_fail(ctx, WC_UNSUPPORTED, "%s: the post-processor `%s' is not supported", w.label, type));
    WC_TRY_OUT(wc_ids_append(ctx, &outer.before, f->before.id, f->before.n));
    WC_TRY_OUT(wc_ids_append(ctx, &f->after, outer.after.id, outer.after.n));
    wc_ids swap = f->before;
    f->before = outer.before;
    outer.before = swap;
out:
    wc_ids_free(&outer.before);
    wc_ids_free(&outer.after);
    return status;
}

/* ---- opening ---- */

static wc_status check_model_type(wc_ctx *ctx, const char *label, const json_t *model)
{
    const char *type = json_string_value(json_object_get(model, "type"));
    if (!json_is_object(model)) return wc_fail(ctx, WC_BADFILE, "%s: `model' must be an object", label);
    if (!type) { /* files before 2020 have no type */
        bool listed = json_is_array(json_object_get(model, "vocab"));
        type = json_object_get(model, "merges") ? "BPE" : listed ? "Unigram" : "WordPiece";
    }
    if (strcmp(type, "BPE"))
        return wc_fail(ctx, WC_UNSUPPORTED,
                       "%s: %s models are not supported yet, only BPE; give the text as token ids instead", label,
                       type);
    return WC_OK;
}

static wc_status find_space_mark(wc_ctx *ctx, wc_tokenizer *t)
{
    wci_str mark = wci_pretokenizer_space_mark(&t->pretokenizer);
    for (size_t i = 0; i < t->normalizer.n; i++)
        if (t->normalizer.step[i].from_space) mark = wci_slice(&t->normalizer.step[i].content);
    return wc_buf_append(ctx, &t->space_mark, mark.p, mark.n);
}

static wc_status load(wc_ctx *ctx, const char *label, const json_t *root, wc_tokenizer *t)
{
    const json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    if (!json_is_object(root)) return wc_fail(ctx, WC_BADFILE, "%s: a tokenizer must be a JSON object", label);
    WC_TRY(check_model_type(ctx, label, model));
    WC_TRY(wci_vocab_init(ctx, &t->vocab, json_object_size(json_object_get(model, "vocab")) + json_array_size(added)));
    WC_TRY(wci_bpe_load(ctx, label, model, &t->vocab, &t->bpe));
    WC_TRY(wci_normalizer_load(ctx, label, json_object_get(root, "normalizer"), &t->normalizer));
    WC_TRY(wci_pretokenizer_load(ctx, label, json_object_get(root, "pre_tokenizer"), &t->pretokenizer));
    WC_TRY(wci_added_load(ctx, label, added, &t->normalizer, &t->vocab, &t->added));
    WC_TRY(wci_json_steps(ctx, (wci_where){label, "post_processor"}, json_object_get(root, "post_processor"),
                          "processors", load_processor, &t->frame));
    t->byte_level = wci_pretokenizer_is_byte_level(&t->pretokenizer);
    for (size_t i = 0; i < t->normalizer.n; i++)
        t->byte_level |= t->normalizer.step[i].kind == WCI_NORM_BYTES;
    return find_space_mark(ctx, t);
}

wc_status wc_tokenizer_open(wc_ctx *ctx, const char *json, size_t size, const char *label, wc_tokenizer **out)
{
    json_t *root = NULL;
    wc_tokenizer *t = NULL;
    wc_status status;
    *out = NULL;
    WC_TRY_OUT(wci_json_load(ctx, json, size, label, &root));
    WC_TRY_OUT(WC_ALLOC(ctx, t, 1, "a tokenizer"));
    WC_TRY_OUT(load(ctx, label, root, t));
    *out = t;
    t = NULL;
out:
    wc_tokenizer_free(&t);
    json_decref(root);
    return status;
}

void wc_tokenizer_free(wc_tokenizer **t)
{
    if (!t || !*t) return;
    wci_vocab_free(&(*t)->vocab);
    wci_normalizer_free(&(*t)->normalizer);
    wci_pretokenizer_free(&(*t)->pretokenizer);
    wci_added_free(&(*t)->added);
    wci_bpe_free(&(*t)->bpe);
    wc_ids_free(&(*t)->frame.before);
    wc_ids_free(&(*t)->frame.after);
    wc_buf_free(&(*t)->space_mark);
    free(*t);
    *t = NULL;
}

/* ---- encoding ---- */

/* One encode call. */
typedef struct job {
    const wc_tokenizer *t;
    bool plain_special;
    wc_ids *ids;
    wci_matcher *matcher;
    wc_buf text, normal[2];
    wci_pre_scratch pre;
    wci_bpe_scratch *bpe;
} job;

static wc_status encode_piece(wc_ctx *ctx, void *arg, wci_str piece)
{
    job *j = arg;
    return wci_bpe_encode(ctx, j->t->bpe, &j->t->vocab, j->bpe, piece, j->ids);
}

/* Text between the added tokens of the raw text. */
static wc_status encode_stretch(wc_ctx *ctx, job *j, wci_str text, bool at_start)
{
    const wc_tokenizer *t = j->t;
    WC_TRY(wci_normalize(ctx, &t->normalizer, j->matcher, j->normal, j->pre.limit, &text));
    wci_added_scan scan = {.text = text, .trie = WCI_TRIE_NORMALIZED, .plain_special = j->plain_special};
    for (;;) {
        wci_stretch s;
        bool more;
        WC_TRY(wci_added_next(ctx, t->added, j->matcher, &scan, &s, &more));
        if (!more) return WC_OK;
        wci_str part = {text.p + s.start, s.end - s.start};
        if (s.is_token)
            WC_TRY(wc_ids_append(ctx, j->ids, &s.id, 1));
        else
            WC_TRY(wci_pretokenize(ctx, &t->pretokenizer, &j->pre, part, at_start && !s.start, encode_piece, j));
    }
}

static wc_status encode_text(wc_ctx *ctx, job *j, wci_str text)
{
    wci_added_scan scan = {.text = text, .trie = WCI_TRIE_RAW, .plain_special = j->plain_special};
    for (;;) {
        wci_stretch s;
        bool more;
        WC_TRY(wci_added_next(ctx, j->t->added, j->matcher, &scan, &s, &more));
        if (!more) return WC_OK;
        if (s.is_token)
            WC_TRY(wc_ids_append(ctx, j->ids, &s.id, 1));
        else
            WC_TRY(encode_stretch(ctx, j, (wci_str){text.p + s.start, s.end - s.start}, !s.start));
    }
}

static wc_status prepare(wc_ctx *ctx, job *j, wci_str text)
{
    size_t replaced;
    if (text.n > WCI_MAX_TEXT)
        return wc_fail(ctx, WC_UNSUPPORTED, "tokenizer: a text of %zu bytes; the limit is %d", text.n, WCI_MAX_TEXT);
    WC_TRY(wci_utf8_sanitize(ctx, text, &j->text, &replaced));
    if (replaced)
        wc_log(ctx, WC_LOG_WARN,
               "the text is not all UTF-8: %zu sequence(s) replaced by U+FFFD, so ids may differ from training",
               replaced);
    WC_TRY(wci_matcher_new(ctx, &j->matcher));
    j->pre.matcher = j->matcher;
    j->pre.limit =
        32 * text.n + (1 << 20); /* the longest honest growth: NFKC of U+FDFA, 11 times, then to byte letters */
    return wci_bpe_scratch_new(ctx, &j->bpe);
}

wc_status wc_tokenizer_encode(wc_ctx *ctx, const wc_tokenizer *t, const char *text, size_t size, unsigned flags,
                              wc_ids *append_to)
{
    job j = {.t = t, .plain_special = flags & WC_ENCODE_PLAIN_SPECIAL, .ids = append_to};
    bool template = flags & WC_ENCODE_TEMPLATE;
    size_t n = append_to->n;
    wc_status status;
    WC_TRY_OUT(prepare(ctx, &j, (wci_str){text, size}));
    if (template) WC_TRY_OUT(wc_ids_append(ctx, append_to, t->frame.before.id, t->frame.before.n));
    WC_TRY_OUT(encode_text(ctx, &j, wci_slice(&j.text)));
    if (template) WC_TRY_OUT(wc_ids_append(ctx, append_to, t->frame.after.id, t->frame.after.n));
out:
    if (status != WC_OK) append_to->n = n;
    wci_bpe_scratch_free(&j.bpe);
    wci_pre_scratch_free(&j.pre);
    wci_matcher_free(&j.matcher);
    wc_buf_free(&j.normal[0]);
    wc_buf_free(&j.normal[1]);
    wc_buf_free(&j.text);
    return status;
}

/* ---- asking ---- */

uint32_t wc_tokenizer_size(const wc_tokenizer *t)
{
    return t->vocab.size;
}

bool wc_tokenizer_bos(const wc_tokenizer *t, uint32_t *id)
{
    if (!t->frame.before.n) return false;
    *id = t->frame.before.id[0];
    return true;
}

bool wc_tokenizer_token_id(const wc_tokenizer *t, const char *content, uint32_t *id)
{
    const wci_token *token = wci_vocab_find(&t->vocab, (wci_str){content, strlen(content)});
    if (token) *id = token->id;
    return token != NULL;
}

/* ---- decoding ---- */

/* Undoes the byte alphabet; a token with another character in it stands for itself, as in the reference. */
static wc_status decode_byte_level(wc_ctx *ctx, wci_str s, wc_buf *out)
{
    size_t start = out->size;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        uint8_t byte;
        i += wci_utf8_decode(s.p + i, &cp);
        if (!wci_char_byte(cp, &byte)) {
            out->size = start;
            return wc_buf_append(ctx, out, s.p, s.n);
        }
        WC_TRY(wc_buf_append(ctx, out, &byte, 1));
    }
    return WC_OK;
}

static bool fallback_byte(wci_str s, uint8_t *byte)
{
    static const char digits[] = "0123456789ABCDEF";
    if (s.n != 6 || memcmp(s.p, "<0x", 3) || s.p[5] != '>') return false;
    const char *high = memchr(digits, s.p[3], 16), *low = memchr(digits, s.p[4], 16);
    if (!high || !low) return false;
    *byte = (uint8_t)((high - digits) << 4 | (low - digits));
    return true;
}

static wc_status decode_marked(wc_ctx *ctx, wci_str mark, wci_str s, wc_buf *out)
{
    for (const char *found; mark.n && s.n && (found = memmem(s.p, s.n, mark.p, mark.n));) {
        size_t before = (size_t)(found - s.p);
        WC_TRY(wc_buf_append(ctx, out, s.p, before));
        WC_TRY(wc_buf_append(ctx, out, " ", 1));
        s.p += before + mark.n;
        s.n -= before + mark.n;
    }
    return wc_buf_append(ctx, out, s.p, s.n);
}

wc_status wc_tokenizer_decode(wc_ctx *ctx, const wc_tokenizer *t, const uint32_t *ids, size_t n, wc_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        const wci_token *token = wci_vocab_find_id(&t->vocab, ids[i]);
        uint8_t byte;
        if (!token) continue;
        wci_str s = wci_spelling(&t->vocab, token);
        if (token->added)
            WC_TRY(wc_buf_append(ctx, out, s.p, s.n));
        else if (t->byte_level)
            WC_TRY(decode_byte_level(ctx, s, out));
        else if (wci_bpe_byte_fallback(t->bpe) && fallback_byte(s, &byte))
            WC_TRY(wc_buf_append(ctx, out, &byte, 1));
        else
            WC_TRY(decode_marked(ctx, wci_slice(&t->space_mark), s, out));
    }
    return WC_OK;
}
