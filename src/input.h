/* input.h - a model as the user names it: a safetensors file, an index, a folder, or a .wcz; with its config and
 * tokenizer. */
#ifndef WC_INPUT_H
#define WC_INPUT_H

#include "io/checkpoint.h"
#include "io/wcz.h"
#include "model/config.h"
#include "text/tokenizer.h"

typedef struct wc_input {
    char *path;
    bool has_checkpoint, has_wcz; /* one of the two */
    wc_checkpoint checkpoint;
    wc_wcz_reader wcz;
    wc_weight_source source;
    wc_config config;
    bool has_config;
    char no_config[1024];    /* why not: absent, or an architecture that we do not know */
    wc_tokenizer *tokenizer; /* NULL: no tokenizer.json, or one we cannot read; see no_tokenizer */
    char no_tokenizer[1024];
    uint64_t file_bytes; /* size on disk of the weights */
    uint64_t weights;    /* elements of all tensors */
} wc_input;

/* The text files that belong to a model, config.json first; the last is the index of a sharded checkpoint, which
 * belongs to its files. */
enum { WC_N_COMPANIONS = 11 };
extern const char *const wc_companions[WC_N_COMPANIONS];

/* *out must stay where it is: source points into it. A config.json that is damaged or contradicts the tensors is an
 * error; an absent or unknown one is not: has_config tells. */
wc_status wc_input_open(wc_ctx *ctx, const char *path, wc_input *out);
void wc_input_close(wc_input *in);

/* A text file of the model, from its folder (config.json of a quantized checkpoint as that of the float model), its
 * .wcz or its GGUF's metadata (there only config.json and tokenizer.json), a NUL after its bytes; *found false, and
 * *out untouched, when there is none. */
wc_status wc_input_text(wc_ctx *ctx, const wc_input *in, const char *name, wc_buf *out, bool *found);

/* Whether path is a .wcz (by its first bytes, or its name when it cannot be read that far). WC_IO if there is nothing.
 */
wc_status wc_input_is_wcz(wc_ctx *ctx, const char *path, bool *yes);

/* WC_UNSUPPORTED / WC_BADFILE with the reason when the model cannot be run on text. */
wc_status wc_input_need_forward(wc_ctx *ctx, const wc_input *in);
wc_status wc_input_need_tokenizer(wc_ctx *ctx, const wc_input *in);

/* The window length to use: asked (0: the default, 2048 at most), never above what the model was made for. */
size_t wc_input_seqlen(const wc_input *in, size_t asked);

/* Where a job's results go, as fresh strings: asked or "dir/model<suffix>" for "dir/model.safetensors" or "dir/model/";
 * that with
 * ".partial" while it is incomplete; and asked_work or that with ".work" for what must survive a crash. */
wc_status wc_output_names(wc_ctx *ctx, const char *model, const char *suffix, const char *asked, const char *asked_work,
                          char **output, char **partial, char **work);

/* Whether a result may be put at `output': WC_OPTION when that is a file of the model itself (under whatever name), a
 * folder, or exists and replace is not set. */
wc_status wc_output_check(wc_ctx *ctx, const wc_input *in, const char *output, bool replace);

#endif
