#include "eval.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "budget.h"
#include "calib/pass.h"
#include "input.h"
#include "logits.h"
#include "base/hash.h"

static const char *const protocol_names[] = {"daslab", "llamacpp"};

const char *wc_protocol_name(wc_protocol p)
{
    return protocol_names[p];
}

/* ---- one position ----------------------------------------------------------------------------------------------- */

/* What is kept of every scored position. */
typedef struct sample {
    float nll_q, nll_p, kl;
    bool agree;
    uint32_t target;
} sample;

static void score_position(const float *zq, const float *zp, size_t vocab, uint32_t target, sample *out)
{
    size_t top_q, top_p;
    double lse_q = wc_log_sum_exp(zq, vocab, &top_q), lse_p;
    *out = (sample){.nll_q = (float)(lse_q - (double)zq[target]), .target = target};
    if (!zp) return;
    lse_p = wc_log_sum_exp(zp, vocab, &top_p);
    out->nll_p = (float)(lse_p - (double)zp[target]);
    out->kl = (float)wc_kl_divergence(zp, lse_p, zq, lse_q, vocab);
    out->agree = top_q == top_p;
}

/* ---- statistics ------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void kl_quantiles(const sample *s, size_t n, wc_score *out)
{
    static const double at[5] = {0.5, 0.9, 0.95, 0.99, 0.999};
    float *kl = malloc(n * sizeof *kl);
    for (size_t i = 0; kl && i < n; i++)
        kl[i] = s[i].kl;
    if (kl) qsort(kl, n, sizeof *kl, by_value);
    for (int k = 0; k < 5; k++)
        out->kl_quantile[k] = kl ? (double)kl[(size_t)(at[k] * (double)(n - 1))] : NAN;
    out->kl_max = kl ? (double)kl[n - 1] : NAN;
    free(kl);
}

/* Standard error of a mean from sums of x and x^2. */
static double standard_error(double sum, double sum_sq, double n)
{
    return n > 1 ? sqrt(fmax(0, sum_sq / n - sum / n * (sum / n)) / (n - 1)) : NAN;
}

static void compare(const sample *s, size_t n, wc_score *out)
{
    double p = 0, d = 0, dd = 0, kl = 0, kl2 = 0, agree = 0, dp2 = 0, count = (double)n;
    for (size_t i = 0; i < n; i++) {
        double diff = (double)s[i].nll_q - (double)s[i].nll_p, dp = exp(-(double)s[i].nll_q) - exp(-(double)s[i].nll_p);
        p += (double)s[i].nll_p;
        d += diff, dd += diff * diff;
        kl += (double)s[i].kl, kl2 += (double)s[i].kl * (double)s[i].kl;
        agree += s[i].agree;
        dp2 += dp * dp;
    }
    out->against_nll = p / count;
    out->log_ratio = d / count;
    out->log_ratio_se = standard_error(d, dd, count); /* of the paired difference: the covariance is in it */
    out->kl = kl / count;
    out->kl_se = standard_error(kl, kl2, count);
    out->agree = agree / count;
    out->agree_se = standard_error(agree, agree, count);
    out->rms_dp = sqrt(dp2 / count);
    kl_quantiles(s, n, out);
}

static double target_bytes(wc_ctx *ctx, const wc_tokenizer *t, const sample *s, size_t n)
{
    wc_buf text = {0};
    for (size_t i = 0; t && i < n; i++)
        if (wc_tokenizer_decode(ctx, t, &s[i].target, 1, &text) != WC_OK) break;
    double bytes = (double)text.size;
    wc_buf_free(&text);
    return bytes;
}

static void summarize(wc_ctx *ctx, const wc_tokenizer *t, const sample *s, size_t n, bool against, wc_score *out)
{
    double sum = 0, sum_sq = 0, bytes = target_bytes(ctx, t, s, n);
    for (size_t i = 0; i < n; i++)
        sum += (double)s[i].nll_q, sum_sq += (double)s[i].nll_q * (double)s[i].nll_q;
    out->tokens = n;
    out->nll = sum / (double)n;
    out->nll_se = standard_error(sum, sum_sq, (double)n);
    out->bits_per_byte = bytes > 0 ? sum / log(2) / bytes : NAN;
    out->against_nll = out->log_ratio = out->log_ratio_se = out->kl = out->kl_se = out->kl_max = out->agree =
        out->agree_se = out->rms_dp = out->against_bits_per_byte = NAN;
    if (!against) return;
    compare(s, n, out);
    out->against_bits_per_byte = bytes > 0 ? out->against_nll * (double)n / log(2) / bytes : NAN;
}

/* ---- running a model -------------------------------------------------------------------------------------------- */

typedef struct eval {
    wc_ctx *ctx;
    const wc_eval_options *opt;
    wc_report *report;
    wc_input in[2]; /* the model, and what it is held against */
    size_t n_models;
    wc_windows windows;
    char *dir;
    bool own_dir;
} eval;

static wc_status run_blocks(eval *e, size_t m, const wc_windows *windows, wc_pass *pass)
{
    const wc_config *config = &e->in[m].config;
    char dir[4096], where[64];
    snprintf(dir, sizeof dir, "%s/model%zu", e->dir, m);
    if (mkdir(dir, 0777) && errno != EEXIST) return wc_fail(e->ctx, WC_IO, "%s: %s", dir, strerror(errno));
    uint64_t limit = e->opt->memory ? e->opt->memory : wc_default_memory();
    wc_pass_cost cost = wc_pass_estimate(e->ctx, config, windows->n, windows->seqlen, 1, 4096);
    bool spill = cost.chunk + 2 * (cost.edges + cost.inner) > limit;
    wc_pass_options o = {.config = config,
                         .windows = windows,
                         .n_streams = 1,
                         .chunk_tokens = 4096,
                         .dir = dir,
                         .edges_in_files = spill,
                         .spill = spill};
    WC_TRY(wc_pass_open(e->ctx, &o, pass));
    WC_TRY(wc_pass_embed(e->ctx, pass, 0, &e->in[m].source));
    for (size_t layer = 0; layer < config->layers; layer++) {
        wc_block block = {0};
        const wc_block *one[] = {&block};
        uint64_t hash[1];
        wc_status status = wc_block_open(e->ctx, config, &e->in[m].source, layer, &block);
        if (status == WC_OK) status = wc_pass_block(e->ctx, pass, one, hash);
        wc_block_close(&block);
        if (e->in[m].source.release) e->in[m].source.release(e->in[m].source.self);
        WC_TRY(status);
        snprintf(where, sizeof where, "%s: block %zu/%zu", m ? "original" : "model", layer + 1, config->layers);
        wc_report_progress(e->report, 1, where);
    }
    return WC_OK;
}

/* ---- scoring ---------------------------------------------------------------------------------------------------- */

enum {
    HEAD_ROWS = 128
}; /* positions whose logits are in memory at once: 2 x 128 x 152k x 4 bytes = 156 MB for the largest heads */

typedef struct scorer {
    wc_head head[2];
    float *x[2], *logits[2];
    sample *sample; /* [windows * (seqlen - 1)] */
} scorer;

static void scorer_free(scorer *s)
{
    for (int m = 0; m < 2; m++) {
        wc_head_close(&s->head[m]);
        free(s->x[m]);
        free(s->logits[m]);
    }
    free(s->sample);
}

static wc_status scorer_open(eval *e, const wc_windows *w, const wc_pass pass[2], scorer *s)
{
    size_t vocab = e->in[0].config.vocab;
    for (size_t m = 0; m < e->n_models; m++) {
        WC_TRY(wc_head_open(e->ctx, &e->in[m].config, &e->in[m].source, &s->head[m]));
        WC_TRY(WC_ALLOC(e->ctx, s->x[m], wc_pass_chunk_rows(&pass[m], 0) * e->in[m].config.hidden,
                        "a chunk of activations"));
        WC_TRY(WC_ALLOC(e->ctx, s->logits[m], HEAD_ROWS * vocab, "logits"));
    }
    return WC_ALLOC(e->ctx, s->sample, w->n * (w->seqlen - 1), "scores");
}

/* Rows r0 .. r0 + n of a chunk whose first window is `window': every row but the last of its window predicts the next
 * token. */
static wc_status score_rows(eval *e, const wc_windows *w, size_t window, size_t r0, size_t n, scorer *s)
{
    size_t vocab = e->in[0].config.vocab;
    for (size_t m = 0; m < e->n_models; m++)
        WC_TRY(wc_head_logits(e->ctx, &s->head[m], s->x[m] + r0 * e->in[m].config.hidden, n, s->logits[m]));
#pragma omp parallel for schedule(static) num_threads(e->ctx->threads)
    for (size_t i = 0; i < n; i++) {
        size_t row = window * w->seqlen + r0 + i, at = row % w->seqlen, win = row / w->seqlen;
        if (at + 1 == w->seqlen) continue;
        score_position(s->logits[0] + i * vocab, e->n_models > 1 ? s->logits[1] + i * vocab : NULL, vocab,
                       w->id[row + 1], &s->sample[win * (w->seqlen - 1) + at]);
    }
    return WC_OK;
}

static wc_status score_chunks(eval *e, const wc_windows *w, const wc_pass pass[2], scorer *s)
{
    for (size_t c = 0; c < pass[0].n_chunks; c++) {
        size_t rows = wc_pass_chunk_rows(&pass[0], c);
        for (size_t m = 0; m < e->n_models; m++)
            WC_TRY(wc_pass_read(e->ctx, &pass[m], 0, c, s->x[m]));
        for (size_t r = 0; r < rows; r += HEAD_ROWS)
            WC_TRY(score_rows(e, w, c * pass[0].chunk_seqs, r, wc_min(HEAD_ROWS, rows - r), s));
        wc_report_progress(e->report, 0, "head");
        if (e->ctx->stop && *e->ctx->stop) return wc_fail(e->ctx, WC_INTERRUPTED, "interrupted");
    }
    return WC_OK;
}

/* The samples that the protocol counts, moved to the front; how many. */
static size_t select_samples(const sample *all, const wc_windows *w, wc_protocol protocol, sample *out)
{
    size_t per = w->seqlen - 1, first = protocol == WC_LLAMACPP ? w->seqlen / 2 : 0, n = 0;
    for (size_t win = 0; win < w->n; win++)
        for (size_t at = first; at < per; at++)
            out[n++] = all[win * per + at];
    return n;
}

static wc_status score_windows(eval *e, const wc_windows *w, const bool want[], wc_score scores[])
{
    wc_pass pass[2] = {{0}};
    scorer s = {0};
    sample *chosen = NULL;
    wc_status status = WC_OK;
    for (size_t m = 0; m < e->n_models; m++)
        WC_TRY_OUT(run_blocks(e, m, w, &pass[m]));
    WC_TRY_OUT(scorer_open(e, w, pass, &s));
    WC_TRY_OUT(score_chunks(e, w, pass, &s));
    WC_TRY_OUT(WC_ALLOC(e->ctx, chosen, w->n * (w->seqlen - 1), "scores"));
    for (int p = 0; p < WC_N_PROTOCOLS; p++) {
        if (!want[p]) continue;
        size_t n = select_samples(s.sample, w, (wc_protocol)p, chosen);
        scores[p] = (wc_score){.windows = w->n, .seqlen = w->seqlen, .bos = w->bos};
        summarize(e->ctx, e->in[0].tokenizer, chosen, n, e->n_models > 1, &scores[p]);
    }
out:
    free(chosen);
    scorer_free(&s);
    for (size_t m = 0; m < e->n_models; m++)
        wc_pass_close(&pass[m], true);
    return status;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static wc_status open_models(eval *e)
{
    const char *paths[] = {e->opt->model, e->opt->against};
    for (; e->n_models < 2 && paths[e->n_models]; e->n_models++) {
        WC_TRY(wc_input_open(e->ctx, paths[e->n_models], &e->in[e->n_models]));
        WC_TRY(wc_input_need_forward(e->ctx, &e->in[e->n_models]));
    }
    if (e->n_models > 1 && e->in[0].config.vocab != e->in[1].config.vocab)
        return wc_fail(e->ctx, WC_BADFILE, "%s has a vocabulary of %zu, %s one of %zu: they cannot be compared",
                       e->opt->model, e->in[0].config.vocab, e->opt->against, e->in[1].config.vocab);
    return WC_OK;
}

static wc_status make_windows(eval *e)
{
    wc_text_options text = e->opt->text;
    text.seqlen = wc_input_seqlen(&e->in[0], text.seqlen);
    if (text.seqlen < 4) return wc_fail(e->ctx, WC_OPTION, "--seqlen %zu: at least 4", text.seqlen);
    const wc_tokenizer *t = e->in[0].tokenizer ? e->in[0].tokenizer : e->in[1].tokenizer;
    if (!text.ids_file && !t) WC_TRY(wc_input_need_tokenizer(e->ctx, &e->in[0]));
    WC_TRY(wc_windows_make(e->ctx, t, e->in[0].config.vocab, &text, &e->windows));
    wc_report_note(e->report, "text", "%s, %zu windows of %zu tokens", e->windows.source, e->windows.n,
                   e->windows.seqlen);
    return WC_OK;
}

static wc_status make_dir(eval *e)
{
    if (e->opt->work_dir) {
        e->dir = strdup(e->opt->work_dir);
        if (e->dir && mkdir(e->dir, 0777) && errno != EEXIST)
            return wc_fail(e->ctx, WC_IO, "%s: %s", e->dir, strerror(errno));
        return e->dir ? WC_OK : wc_fail(e->ctx, WC_NOMEM, "no memory for a path");
    }
    const char *tmp = getenv("TMPDIR");
    e->dir = wc_path_join(tmp ? tmp : "/tmp", "wcompress-XXXXXX");
    if (!e->dir || !mkdtemp(e->dir))
        return wc_fail(e->ctx, WC_IO, "cannot make a work folder below %s: %s", tmp ? tmp : "/tmp", strerror(errno));
    e->own_dir = true;
    return WC_OK;
}

static wc_status score_protocols(eval *e, wc_score scores[])
{
    uint32_t bos;
    bool overwrite =
        e->in[0].tokenizer && e->opt->text.bos != WC_BOS_NEVER && wc_tokenizer_bos(e->in[0].tokenizer, &bos);
    if (!overwrite || !e->opt->want[WC_LLAMACPP]) return score_windows(e, &e->windows, e->opt->want, scores);
    if (e->opt->want[WC_DASLAB]) WC_TRY(score_windows(e, &e->windows, (bool[]){true, false}, scores));
    for (size_t i = 0; i < e->windows.n; i++)
        e->windows.id[i * e->windows.seqlen] = bos;
    e->windows.bos = true;
    return score_windows(e, &e->windows, (bool[]){false, true}, scores);
}

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_string(isnan(x) ? "NaN" : x > 0 ? "Infinity" : "-Infinity");
}

static void print_score(eval *e, wc_protocol p, const wc_score *s)
{
    bool both = e->n_models > 1;
    wc_report *r = e->report;
    wc_report_result(r, "%s  seqlen %zu, %zu windows, %zu tokens scored%s", wc_protocol_name(p), s->seqlen, s->windows,
                     s->tokens, s->bos ? ", BOS in every window" : "");
    if (both) wc_report_result(r, "  perplexity original   %12.5f", exp(s->against_nll));
    wc_report_result(r, "  perplexity            %12.5f +- %.5f", exp(s->nll), exp(s->nll) * s->nll_se);
    if (both) {
        wc_report_result(r, "  ln ratio              %12.6f +- %.6f  (%+.2f %%)", s->log_ratio, s->log_ratio_se,
                         100 * expm1(s->log_ratio));
        wc_report_result(r, "  KL divergence         %12.6f +- %.6f", s->kl, s->kl_se);
        wc_report_result(r, "  KL median 90%% 99%% max %10.6f %.5f %.5f %.4f", s->kl_quantile[0], s->kl_quantile[1],
                         s->kl_quantile[3], s->kl_max);
        wc_report_result(r, "  same top token        %11.3f%% +- %.3f", 100 * s->agree, 100 * s->agree_se);
        wc_report_result(r, "  RMS of dp             %11.3f%%", 100 * s->rms_dp);
    }
    if (isfinite(s->bits_per_byte)) wc_report_result(r, "  bits per byte         %12.5f", s->bits_per_byte);
}

static void record_score(eval *e, wc_protocol p, const wc_score *s)
{
    bool both = e->n_models > 1;
    json_t *o = json_pack("{s:s, s:I, s:I, s:I, s:b}", "protocol", wc_protocol_name(p), "seqlen", (json_int_t)s->seqlen,
                          "windows", (json_int_t)s->windows, "tokens", (json_int_t)s->tokens, "bos_per_window", s->bos);
    const struct {
        const char *key;
        double value;
    } facts[] = {{"ppl", exp(s->nll)},
                 {"nll", s->nll},
                 {"nll_se", s->nll_se},
                 {"ppl_original", exp(s->against_nll)},
                 {"ln_ratio", s->log_ratio},
                 {"ln_ratio_se", s->log_ratio_se},
                 {"kl", s->kl},
                 {"kl_se", s->kl_se},
                 {"kl_median", s->kl_quantile[0]},
                 {"kl_90", s->kl_quantile[1]},
                 {"kl_95", s->kl_quantile[2]},
                 {"kl_99", s->kl_quantile[3]},
                 {"kl_999", s->kl_quantile[4]},
                 {"kl_max", s->kl_max},
                 {"same_top", s->agree},
                 {"same_top_se", s->agree_se},
                 {"rms_dp", s->rms_dp},
                 {"bits_per_byte", s->bits_per_byte},
                 {"bits_per_byte_original", s->against_bits_per_byte}};
    for (size_t i = 0; i < (both ? sizeof facts / sizeof *facts : 3); i++)
        json_object_set_new(o, facts[i].key, number(facts[i].value));
    json_object_set_new(o, "bits_per_byte", number(s->bits_per_byte));
    json_array_append_new(json_object_get(e->report->facts, "scores"), o);
}

static wc_status evaluate(eval *e, wc_score scores[])
{
    char hash[20];
    WC_TRY(open_models(e));
    WC_TRY(make_windows(e));
    WC_TRY(make_dir(e));
    e->report->work = (double)(e->in[0].config.layers + (e->n_models > 1 ? e->in[1].config.layers : 0)) *
                      (e->opt->want[0] && e->opt->want[1] ? 2 : 1);
    WC_TRY(score_protocols(e, scores));
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)e->windows.text_hash);
    json_object_set_new(e->report->facts, "text",
                        json_pack("{s:o, s:I, s:s}", "source", wc_report_text(e->windows.source), "bytes",
                                  (json_int_t)e->windows.text_bytes, "xxh3", hash));
    json_object_set_new(e->report->facts, "model",
                        json_pack("{s:o, s:I, s:I}", "path", wc_report_text(e->opt->model), "bytes",
                                  (json_int_t)e->in[0].file_bytes, "weights", (json_int_t)e->in[0].weights));
    json_object_set_new(e->report->facts, "scores", json_array());
    for (int p = 0; p < WC_N_PROTOCOLS; p++) {
        if (!e->opt->want[p]) continue;
        record_score(e, (wc_protocol)p, &scores[p]);
        if (e->opt->table) print_score(e, (wc_protocol)p, &scores[p]);
    }
    wc_report_note(e->report, "took", "%.1f s", wc_now() - e->report->start);
    int first = e->opt->want[WC_DASLAB] ? WC_DASLAB : WC_LLAMACPP;
    if (e->opt->max_kl > 0 && !(scores[first].kl <= e->opt->max_kl))
        return wc_fail(e->ctx, WC_VERIFY, "%s: KL divergence %g is above --max-kl %g", e->opt->model, scores[first].kl,
                       e->opt->max_kl);
    return WC_OK;
}

wc_status wc_eval(wc_ctx *ctx, const wc_eval_options *opt, wc_report *report, wc_score scores[WC_N_PROTOCOLS])
{
    eval e = {.ctx = ctx, .opt = opt, .report = report};
    wc_score local[WC_N_PROTOCOLS] = {{0}};
    wc_status status = evaluate(&e, scores ? scores : local);
    for (size_t m = 0; m < 2; m++) {
        char dir[4096];
        snprintf(dir, sizeof dir, "%s/model%zu", e.dir ? e.dir : "", m);
        if (e.dir) rmdir(dir);
        wc_input_close(&e.in[m]);
    }
    if (e.own_dir) rmdir(e.dir);
    wc_windows_free(&e.windows);
    free(e.dir);
    return status;
}
