/* folder.h - a model folder in the making: tensors in one or several safetensors files with their index, and texts. It
 * appears under its name when it is complete. */
#ifndef WC_EXPORT_FOLDER_H
#define WC_EXPORT_FOLDER_H

#include "io/safetensors_write.h"

enum { WC_FOLDER_TEXTS = 24 };

typedef struct wc_folder_text {
    char name[64];
    wc_buf data; /* owned */
} wc_folder_text;

/* Zero-initialise, fill path, item, n, shard_bytes and texts; free with wc_folder_free. */
typedef struct wc_folder {
    const char *path; /* borrowed, as the items are */
    wc_st_item *item; /* [n] sorted by name by wc_folder_plan */
    size_t n;
    uint64_t shard_bytes; /* of tensors in a file at most; one that is larger has a file of its own */
    wc_folder_text text[WC_FOLDER_TEXTS];
    size_t n_texts;
    /* Set by wc_folder_plan: */
    size_t *shard; /* [shards + 1] the first item of each, then n */
    size_t shards;
    uint64_t bytes; /* of all files */
} wc_folder;

/* Adds a text of the given bytes. WC_BUG: too many. */
wc_status wc_folder_add(wc_ctx *ctx, wc_folder *f, const char *name, const void *data, size_t size);

/* Cuts the tensors into files, adds the index when there are several, and knows the exact size of it all. */
wc_status wc_folder_plan(wc_ctx *ctx, wc_folder *f);

/* WC_OPTION when the folder exists and replace is not set, or when something in it, or in the folder of an earlier
 * attempt, is no file of a model: nothing else is ever removed. */
wc_status wc_folder_check(wc_ctx *ctx, const char *path, bool replace);

/* Writes path.partial and renames it to path. An existing folder, which wc_folder_check has passed, is moved aside and
 * removed after that. */
wc_status wc_folder_write(wc_ctx *ctx, const wc_folder *f);

void wc_folder_free(wc_folder *f); /* texts and what the plan made; NULL is fine */

#endif
