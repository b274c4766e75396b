/* method.h - what a compression method is.
 *
 * A method decides numbers: it looks at what is still unexplained of one weight matrix, at the calibration statistics
 * and at its options, and appends one part. It knows no bytes, no files, no other method. Adding one is a folder and a
 * line in methods.def. All method files read in the same order: options, helper mathematics, applies, plan, run, the
 * const object.
 *
 * Life of a call, driven by src/compress.c:
 *     options parsed and range-checked from the table -> applies -> plan -> run
 *     -> the driver encodes the part, decodes it again, subtracts it from job->w, and measures the layer error from
 * bytes.
 */
#ifndef WC_METHOD_H
#define WC_METHOD_H

#include "base/part.h"
#include "calib/stats.h"

/* What a step is planned for: the matrix, and what the other steps of its recipe make of it. Known before any number,
 * so it determines sizes; wc_recipe_place fills it. */
typedef struct wc_place {
    size_t rows, cols;  /* y = W x, W [rows, cols] */
    bool masked;        /* an earlier step narrows the target to a mask: what this step stores is 0 elsewhere */
    uint64_t kept;      /* positions of that mask; rows * cols without one */
    unsigned n, m;      /* the mask keeps n in every m consecutive places of a row; 0, 0: no such structure */
    size_t block;       /* a place is this many consecutive columns, kept or pruned together; 0: single columns */
    bool values_follow; /* for a pruner: a later step stores the values, so it appends no part itself */
} wc_place;

/* Everything a method may see, and the two things it may change: it may move the target (drift correction) and narrow
 * it (pruning: the mask). */
typedef struct wc_job {
    wc_ctx *ctx;
    const char *tensor; /* name, for messages */
    wc_place at;        /* shape and place in the recipe */
    size_t stage;       /* number of the step in the recipe, from 0 */
    uint8_t *mask;      /* [rows, cols] 1: kept, 0: pruned; NULL: all kept. Made by a pruner (wc_job_mask), freed by the
                         * driver. at.masked says whether an earlier step made one */
    float *survivors;   /* [rows, cols] with a mask: what to aim at in w's place where values are stored, since it makes
                         * up for what is pruned; 0 in holes. NULL: w. Made by a pruner, freed by the driver */
    float *w;           /* [rows, cols] the target still to be explained; a method may move it, see `target_moved' */
    const float *whole; /* [rows, cols] the untouched W, once parts have been taken from w; NULL: w still is whole.
                         * After transforms C both are W C^-1, and stats those of C x */
    bool target_moved;  /* w already holds the drift-corrected target (done once per tensor, by the first that wants it)
                         */
    const wc_stats *stats; /* NULL unless calibrated; NULL is guaranteed only for methods that do not need statistics */
    double damping_used;   /* out: the relative damping that succeeded; 0 if none was needed */
    int escalations;       /* out: how often damping had to be raised */
    bool fell_back;        /* out: a method took a simpler way of its own, and said so in a warning */
} wc_job;

/* What a pruner leaves: 2:4, n of every m consecutive places of a row are kept; or 50%, m = 0, that part is pruned. */
typedef struct wc_pattern {
    double frac; /* with m = 0 */
    int n, m;
} wc_pattern;

typedef enum wc_opt_type { WC_OPT_INT, WC_OPT_REAL, WC_OPT_BOOL, WC_OPT_WORD, WC_OPT_PATTERN } wc_opt_type;

/* One option of a method: gptq(bits=3, group=128). The table gives parsing, range check, help, printing and docs. A
 * PATTERN that comes first needs no name: wanda(2:4). */
typedef struct wc_opt {
    const char *name;
    wc_opt_type type;
    size_t offset;      /* of the field in the method's option struct: int, double, bool, int (index into words) or
                         * wc_pattern */
    double def, lo, hi; /* default and inclusive range; WORD: def is an index; PATTERN: of frac */
    const char *words;  /* WORD: "mse|hessian|minmax" */
    const char *help;   /* one line */
} wc_opt;

enum { WC_NEEDS_HESSIAN = 1 }; /* wc_method.needs */

/* One of the matrices that have the same recipe, while they are planned: what a method may look at to share something
 * out among all of them (wc_method.allot). */
typedef struct wc_member {
    const char *tensor;
    wc_place at;
    bool first; /* no other step comes before: what the step will see is W itself */
    void *opt;  /* this matrix's own options, to be settled */
    /* dst [nr, cols] = rows r0 .. of W, as stored. */
    wc_status (*rows)(wc_ctx *ctx, const struct wc_member *m, size_t r0, size_t nr, float *dst);
    /* NULL: nothing is known of the inputs as long as they are planned; else *out is to be freed (wc_stats_free). */
    wc_status (*stats)(wc_ctx *ctx, const struct wc_member *m, wc_stats *out);
    const void *source; /* what both read from */
} wc_member;

/* A diagonal C of the inputs that need not be stored, because what is in front of a linear, a norm or the rows of
 * another one, can be multiplied by it. All linears with these inputs then have the same one, so its candidates are
 * judged by the sum of their errors. The driver does the rest (src/fold.h); run() and plan() make no part. */
typedef struct wc_folding {
    /* How many candidates there are, numbered from 0; 0: the options ask for a transform of the matrix's own. */
    size_t (*choices)(const void *opt);
    void (*refuse)(void *opt); /* makes choices() 0: the driver cannot fold here */
    /* cost [choices] += the error of job->w under each. */
    wc_status (*cost)(const wc_job *job, const void *opt, double *cost);
    /* c [cols] > 0 of candidate k. The same for all linears with the same inputs: of the job, only its statistics and
     * its number of columns may be looked at. Inputs with the same abs_mean have the same c. */
    wc_status (*diagonal)(const wc_job *job, const void *opt, size_t k, float *c);
} wc_folding;

/* What a step is in a recipe; the table in src/recipe.c says which may follow which, and why others may not. */
typedef enum wc_method_role {
    WC_STEP_BASE,      /* stores a value for every position: quantizers */
    WC_STEP_PEEL,      /* stores a few single values: outliers */
    WC_STEP_PRODUCT,   /* stores a product of thin factors */
    WC_STEP_PRUNE,     /* narrows the target to a mask; stores its values only when no later step does */
    WC_STEP_TRANSFORM, /* changes the basis of the inputs for all later steps, which see W C^-1 and the moments of C x
                        * (src/basis.h): plan and run emit C, a part of kind diagonal, hadamard or permute */
    WC_STEP_COPY,      /* stores the checkpoint's own bytes in another writing: lossless */
    WC_N_METHOD_ROLES
} wc_method_role;

typedef struct wc_method {
    const char *name;     /* the word in recipes, docs, tests and results */
    const char *summary;  /* one line for `wcompress methods' */
    const char *fallback; /* method tried, with the options of the same names, when run() says WC_NUMERIC; or NULL */
    unsigned needs;       /* WC_NEEDS_* */
    wc_method_role role;
    bool follows;    /* options that a recipe leaves out are those of the same names of the next BASE */
    bool keeps_mask; /* WC_STEP_BASE: at the positions of a mask it stores values, elsewhere nothing */
    size_t opt_size;
    const wc_opt *opts; /* ended by name == NULL */

    /* NULL; or this is a name for a list of steps: writes the recipe that it stands for, and all functions below are
     * NULL. Recipes are kept and printed as that list. */
    void (*expand)(const void *opt, char *recipe, size_t size);

    /* NULL, or the reason why this method cannot do this matrix: an answer, not an error. Must not depend on values. */
    const char *(*applies)(const wc_place *at, const void *opt);
    /* Geometry of the part that run() will emit, without numbers: gives the exact size before any work. *out is zero on
     * entry and stays so when there will be no part. */
    void (*plan)(const wc_place *at, const void *opt, wc_part *out);
    /* WC_STEP_COPY, else NULL; such a method has no plan and no run. Looks at the stored values, [rows, cols] of dtype
     * at data, and makes the plan of the part that the driver then writes from them; its size depends on the values. */
    wc_status (*survey)(wc_ctx *ctx, const wc_place *at, wc_dtype dtype, const uint8_t *data, const void *opt,
                        wc_part *out);
    /* NULL, or shares out something among all matrices of a run that have this recipe, before any is planned: settles
     * member[i].opt, which are equal on entry, for each. Later calls and the file see settled options only. Does
     * nothing, and reads nothing, where the options do not ask for it. */
    wc_status (*allot)(wc_ctx *ctx, const wc_member *member, size_t n);
    const wc_folding *folding; /* WC_STEP_TRANSFORM, or NULL */
    /* WC_STEP_PRUNE, else NULL: what the mask makes of the place of all later steps (masked, kept, n, m). */
    void (*narrow)(wc_place *at, const void *opt);
    /* Fills *out (allocates its arrays; same geometry as plan, except scale_exp). Deterministic for any thread count.
     */
    wc_status (*run)(wc_job *job, const void *opt, wc_part *out);
    /* NULL (nothing worth counting), or about how many floating point operations run() takes, a multiply-add being two:
     * for the bench and for estimates of time, which count the change of basis after a transform themselves. drift: the
     * statistics have cross moments. */
    double (*flops)(const wc_place *at, const void *opt, bool drift);
    /* NULL (wc_compress_scratch allows for it), or how many bytes of memory run() takes at most beside job->w. */
    uint64_t (*scratch)(const wc_place *at, const void *opt);
} wc_method;

/* methods.def expanded: all methods, ended by NULL. */
extern const wc_method *const wc_methods[];
const wc_method *wc_method_find(const char *name);

/* A published name for a method with certain options. */
typedef struct wc_preset {
    const char *name;  /* the word in recipes */
    const char *title; /* as it was published */
    const wc_method *method;
    const char *options; /* "drift=1,residual=0", or "" */
} wc_preset;

/* presets.def expanded, ended by a NULL name. */
extern const wc_preset wc_presets[];
const wc_preset *wc_preset_find(const char *name);

#endif
