/* generate.h - a text generator on libwcdecode: what to copy when you write a runtime for .wcz files.
 *
 *     gen_file f;           the mapped file and its texts                     file.c
 *     gen_config c;         config.json: sizes, rotary positions              config.c
 *     gen_model *m;         tensors by name, KV cache, the forward pass       model.c, forward.c
 *     gen_tokenizer *t;     tokenizer.json: text to ids and back              tokenizer.c, bpe.c
 *     gen_sampler s;        logits to the next id                             sample.c
 *     gen_run(...)          all of it: from a prompt to text and speed        run.c
 *
 * Everything is allocated when it is opened; gen_forward, gen_sample and gen_token_text allocate nothing. Weights stay
 * compressed in the mapped file: a product decodes them on the way.
 *
 * Functions that can fail return a gen_status and leave one sentence in *e. Results are written on success only, but
 * close and free functions take whatever there is, NULL and zeroed structs too. */
#ifndef GENERATE_H
#define GENERATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <wcdecode.h>

typedef enum gen_status {
    GEN_OK,
    GEN_USAGE,       /* the caller's mistake: a prompt that is too long, an id outside the vocabulary */
    GEN_IO,          /* the file cannot be read */
    GEN_BADFILE,     /* the file contradicts itself */
    GEN_UNSUPPORTED, /* a sound file of something that is not done here */
    GEN_NOMEM,
    GEN_NUMERIC /* the logits have a NaN */
} gen_status;

typedef struct gen_error {
    char text[512];
} gen_error;

/* Formats the sentence and returns s. Bytes that are not printable ASCII become '?': names in it come from files. */
gen_status gen_fail(gen_error *e, gen_status s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define GEN_TRY(call)                                \
    do {                                             \
        gen_status try_status = (call);              \
        if (try_status != GEN_OK) return try_status; \
    } while (0)
/* n elements of zeroed memory, to be freed; GEN_NOMEM names what they were for. */
gen_status gen_alloc(void *out, size_t n, size_t size, const char *what, gen_error *e);

/* ---- file.c ---------------------------------------------------------------------------------------------------------
 */

typedef struct gen_file {
    wcd_file wcd;
    void *map;
    size_t size;
    char name[256]; /* for sentences */
} gen_file;
/* Maps and opens a .wcz. *out must stay where it is: tensors point to it. Checksums are not compared; wcd_verify would.
 */
gen_status gen_file_open(const char *path, gen_file *out, gen_error *e);
void gen_file_close(gen_file *f);
/* A text of the metadata ("config.json"), decompressed, to be freed; *size bytes without a NUL. */
gen_status gen_file_text(const gen_file *f, const char *name, char **text, size_t *size, gen_error *e);

/* ---- config.c -------------------------------------------------------------------------------------------------------
 */

enum { GEN_MAX_LAYERS = 1024, GEN_MAX_HEAD = 1024, GEN_MAX_EOS = 64 };

typedef struct gen_config {
    size_t hidden, inner, layers, heads, kv_heads, head; /* head: entries of one */
    size_t vocab, positions;                             /* positions: that the model was made for */
    float eps;
    bool tied, qkv_bias, o_bias, mlp_bias, qk_norm, sub_norm;
    size_t window; /* keys that a sliding layer sees, itself included */
    bool sliding[GEN_MAX_LAYERS];
    size_t rotated;                    /* entries at the start of a head that turn, even */
    float frequency[GEN_MAX_HEAD / 2]; /* [rotated / 2] angle per position */
    float rotary_scale;                /* of cosines and sines; not 1 with YaRN */
    uint32_t eos[GEN_MAX_EOS];
    size_t n_eos;
} gen_config;
/* Llama, Mistral, Qwen2, Qwen3 and BitNet with SiLU; rotary positions default, linear, llama3, yarn. */
gen_status gen_config_parse(const char *json, size_t size, gen_config *out, gen_error *e);

/* ---- model.c, forward.c ---------------------------------------------------------------------------------------------
 */

enum { GEN_Q, GEN_K, GEN_V, GEN_O, GEN_GATE, GEN_UP, GEN_DOWN, GEN_LINEARS };
enum { GEN_NORM_IN, GEN_NORM_MLP, GEN_NORM_Q, GEN_NORM_K, GEN_NORM_ATTENTION, GEN_NORM_INNER, GEN_NORMS };
enum { GEN_BATCH = 64 }; /* tokens of a prompt that share each decoded weight; the activations below hold as many */

typedef struct gen_linear {
    wcd_tensor w;
    wcd_prepared ready; /* of w, once gen_model_prepare was called */
    const float *bias;  /* [rows] or NULL */
} gen_linear;
typedef struct gen_layer {
    gen_linear linear[GEN_LINEARS];
    const float *norm[GEN_NORMS]; /* NULL: this model has no such norm */
    float *k, *v;                 /* the cache: [kv_heads, context, head] */
} gen_layer;

/* Where time goes. */
typedef enum gen_phase { GEN_TIME_PRODUCTS, GEN_TIME_ATTENTION, GEN_TIME_REST, GEN_PHASES } gen_phase;

typedef struct gen_model {
    gen_config c;
    const gen_file *file;
    int threads;
    size_t context; /* tokens that the cache has room for */
    size_t n;       /* tokens in it */
    gen_layer *layer;
    wcd_tensor embed;
    gen_linear head;
    const float *norm; /* the last one, [hidden] */
    void *arena;       /* all floats above and below */
    void *prepared;    /* NULL, or weights laid out anew */
    size_t room;       /* floats of a thread's share of `score' */
    float *x, *u;      /* [GEN_BATCH, hidden]: the residual stream; a normalised copy */
    float *q, *k, *v;  /* [GEN_BATCH, heads * head], [GEN_BATCH, kv_heads * head] twice */
    float *gate, *up;  /* [GEN_BATCH, inner] */
    float *turn;       /* [GEN_BATCH, rotated]: cosines and sines of the positions */
    float *z;          /* [GEN_BATCH, widest input]: transformed inputs */
    float *score;      /* [threads, room]: scores of one query */
    bool int8;         /* inputs of products in 8 bits: faster, other logits; false, yours to set */
    float *memory;     /* [GEN_BATCH] of them, most8 bytes each at most */
    size_t most8;
    double seconds[GEN_PHASES];
} gen_model;

/* The file and everything it points to must outlive the model. context: tokens of prompt and answer together. threads:
 * 0 for as many as OpenMP has. Every shape is checked here, so that the forward pass has nothing left to check. */
gen_status gen_model_open(const gen_file *f, size_t context, int threads, gen_model **out, gen_error *e);
/* Lays the weights out anew for faster products (wcd_prepare) in memory of its own, *size bytes, about those of the
 * file; 0 when none gains. Logits are other sums then, as exact. Call it before gen_forward, at most once. */
gen_status gen_model_prepare(gen_model *m, size_t *size, gen_error *e);
void gen_model_free(gen_model *m);
/* Feeds n tokens after those in the cache; logits [vocab]: what the last of them predicts. n >= 1; the same bits for
 * any number of threads. GEN_USAGE: no room, an id outside the vocabulary; GEN_NUMERIC. To start anew: m->n = 0. */
gen_status gen_forward(gen_model *m, const uint32_t *ids, size_t n, float *logits, gen_error *e);
double gen_now(void); /* seconds */

/* ---- tokenizer.c, bpe.c ---------------------------------------------------------------------------------------------
 */

typedef struct gen_tokenizer gen_tokenizer;
/* A Hugging Face tokenizer.json of type BPE: byte-level (GPT-2, Llama 3, Qwen) or SentencePiece-like (Llama 2). Added
 * tokens that strip spaces or want whole words, and pre-tokenizers other than Split, ByteLevel, Digits, Metaspace are
 * refused by name. */
gen_status gen_tokenizer_open(const char *json, size_t size, gen_tokenizer **out, gen_error *e);
void gen_tokenizer_free(gen_tokenizer *t);
/* The ids of UTF-8 text, with what the template puts before it (BOS); to be freed. Special tokens in the text are
 * tokens. A stretch without boundaries costs the square of its length: 10^4 characters 0.1 s. */
gen_status gen_encode(gen_tokenizer *t, const char *text, size_t size, uint32_t **ids, size_t *n, gen_error *e);
/* The bytes of a token, *n of them, not always whole characters; none for an id that no token has. */
const char *gen_token_text(const gen_tokenizer *t, uint32_t id, size_t *n);

/* ---- sample.c -------------------------------------------------------------------------------------------------------
 */

typedef struct gen_sampler {
    float temperature; /* 0: the likeliest token, nothing is drawn */
    size_t top_k;      /* 0: all */
    float top_p;       /* 1: all */
    uint64_t state;    /* the seed */
    size_t vocab;
    struct gen_choice *choice; /* [vocab], working memory */
} gen_sampler;
gen_status gen_sampler_open(size_t vocab, gen_sampler *s, gen_error *e); /* fills vocab and choice */
void gen_sampler_close(gen_sampler *s);
uint32_t gen_sample(gen_sampler *s, const float *logits);

/* ---- run.c ----------------------------------------------------------------------------------------------------------
 */

typedef struct gen_options {
    const char *path, *prompt;
    size_t prompt_size;
    size_t n; /* tokens to generate at most; fewer when the model ends its text */
    float temperature;
    size_t top_k;
    float top_p;
    uint64_t seed;
    int threads;     /* 0: all */
    bool ignore_end; /* go on after an end-of-text token */
    bool int8;       /* inputs of products in 8 bits */
    bool prepare;    /* gen_model_prepare; without int8, which does not use that */
    bool echo;       /* the prompt to the sink first, once nothing but the numbers can go wrong */
    /* Gets the bytes of every token as it comes; false stops. */
    bool (*sink)(void *arg, const char *bytes, size_t n);
    void *arg;
} gen_options;

typedef struct gen_result {
    size_t prompt_tokens, tokens; /* tokens: generated and fed back to the model or ended with */
    double open_seconds, prompt_seconds, seconds;
    double prepare_seconds; /* not in open_seconds */
    size_t prepared_bytes;
    double share[GEN_PHASES]; /* of the time of generated tokens, by gen_phase; sums to 1 */
} gen_result;
gen_status gen_run(const gen_options *o, gen_result *out, gen_error *e);

#endif
