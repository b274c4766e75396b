#include "export/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/json.h"

typedef unsigned long long ull;

wc_status wc_folder_add(wc_ctx *ctx, wc_folder *f, const char *name, const void *data, size_t size)
{
    wc_folder_text *t = &f->text[f->n_texts];
    if (f->n_texts == WC_FOLDER_TEXTS || strlen(name) >= sizeof t->name)
        return wc_fail(ctx, WC_BUG, "%s: no room for the text %s", f->path, name);
    f->n_texts++;
    snprintf(t->name, sizeof t->name, "%s", name);
    return wc_buf_append(ctx, &t->data, data, size);
}

void wc_folder_free(wc_folder *f)
{
    if (!f) return;
    for (size_t i = 0; i < f->n_texts; i++)
        wc_buf_free(&f->text[i].data);
    free(f->shard);
    f->n_texts = f->shards = 0;
    f->shard = NULL;
}

/* ---- plan ---------------------------------------------------------------------------------------------------------
 */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const wc_st_item *)a)->name, ((const wc_st_item *)b)->name);
}

static void shard_name(const wc_folder *f, size_t i, char dst[64])
{
    if (f->shards == 1)
        snprintf(dst, 64, "model.safetensors");
    else
        snprintf(dst, 64, "model-%05zu-of-%05zu.safetensors", i + 1, f->shards);
}

static uint64_t item_size(const wc_st_item *t)
{
    uint64_t size = 0;
    (void)wc_st_size(t->dtype, t->dims, t->n_dims, &size); /* shapes are checked where headers are made */
    return size;
}

static wc_status cut(wc_ctx *ctx, wc_folder *f)
{
    uint64_t filled = 0;
    WC_TRY(WC_ALLOC(ctx, f->shard, f->n + 2, "the list of files"));
    f->shards = 1;
    for (size_t i = 0; i < f->n; i++) {
        uint64_t size = item_size(&f->item[i]);
        if (i > f->shard[f->shards - 1] && filled + size > f->shard_bytes) {
            f->shard[f->shards++] = i;
            filled = 0;
        }
        filled += size;
    }
    f->shard[f->shards] = f->n;
    return WC_OK;
}

static wc_status add_index(wc_ctx *ctx, wc_folder *f)
{
    json_t *map = json_object();
    uint64_t total = 0;
    int bad = !map;
    for (size_t s = 0; s < f->shards; s++)
        for (size_t i = f->shard[s]; !bad && i < f->shard[s + 1]; i++) {
            char name[64];
            shard_name(f, s, name);
            total += item_size(&f->item[i]);
            bad = json_object_set_new(map, f->item[i].name, json_string(name));
        }
    json_t *root =
        bad ? NULL : json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root), json_decref(map);
    if (!text) return wc_fail(ctx, WC_NOMEM, "no memory for the index of tensors");
    wc_status status = wc_folder_add(ctx, f, "model.safetensors.index.json", text, strlen(text));
    free(text);
    return status;
}

wc_status wc_folder_plan(wc_ctx *ctx, wc_folder *f)
{
    if (f->n) qsort(f->item, f->n, sizeof *f->item, by_name);
    WC_TRY(cut(ctx, f));
    if (f->shards > 1) WC_TRY(add_index(ctx, f));
    f->bytes = 0;
    for (size_t s = 0; s < f->shards; s++) {
        uint64_t size;
        WC_TRY(wc_safetensors_size(ctx, f->item + f->shard[s], f->shard[s + 1] - f->shard[s], &size));
        f->bytes += size;
    }
    for (size_t i = 0; i < f->n_texts; i++)
        f->bytes += f->text[i].data.size;
    return WC_OK;
}

/* ---- what is there already -----------------------------------------------------------------------------------------
 */

static char *with(const char *path, const char *suffix)
{
    char *s = malloc(strlen(path) + strlen(suffix) + 1);
    if (s) sprintf(s, "%s%s", path, suffix);
    return s;
}

static bool of_a_model(const char *name)
{
    static const char *const endings[] = {".safetensors", ".safetensors.tmp", ".json", ".json.tmp",
                                          ".txt",         ".model",           ".jinja"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (n > strlen(endings[i]) && !strcmp(name + n - strlen(endings[i]), endings[i])) return true;
    return false;
}

/* Calls `each' for every entry but . and .. until one fails. */
static wc_status entries(wc_ctx *ctx, const char *path, wc_status (*each)(wc_ctx *, const char *path, const char *name))
{
    DIR *d = opendir(path);
    wc_status status = d ? WC_OK : wc_fail(ctx, WC_IO, "%s: %s", path, strerror(errno));
    for (struct dirent *e; status == WC_OK && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) status = each(ctx, path, e->d_name);
    if (d) closedir(d);
    return status;
}

static wc_status must_be_of_a_model(wc_ctx *ctx, const char *path, const char *name)
{
    struct stat st;
    char *file = wc_path_join(path, name);
    bool plain = file && !lstat(file, &st) && S_ISREG(st.st_mode);
    free(file);
    return plain && of_a_model(name)
               ? WC_OK
               : wc_fail(ctx, WC_OPTION,
                         "%s: holds `%s', which is no file of a model: remove it yourself, or give -o another name",
                         path, name);
}

static wc_status remove_one(wc_ctx *ctx, const char *path, const char *name)
{
    char *file = wc_path_join(path, name);
    bool bad = !file || unlink(file);
    free(file);
    return bad ? wc_fail(ctx, WC_IO, "%s/%s: cannot be removed: %s", path, name, strerror(errno)) : WC_OK;
}

/* Removes a folder of files that must_be_of_a_model has passed; absent is fine. */
static wc_status remove_folder(wc_ctx *ctx, const char *path)
{
    if (!wc_is_dir(path)) return WC_OK;
    WC_TRY(entries(ctx, path, must_be_of_a_model));
    WC_TRY(entries(ctx, path, remove_one));
    return rmdir(path) ? wc_fail(ctx, WC_IO, "%s: cannot be removed: %s", path, strerror(errno)) : WC_OK;
}

wc_status wc_folder_check(wc_ctx *ctx, const char *path, bool replace)
{
    char *partial = with(path, ".partial"), *old = with(path, ".old");
    wc_status status = partial && old ? WC_OK : wc_fail(ctx, WC_NOMEM, "no memory for a path");
    if (status == WC_OK && wc_file_exists(path)) {
        if (!wc_is_dir(path))
            status = wc_fail(ctx, WC_OPTION, "%s: is a file; -o takes the name of a folder", path);
        else if (!replace)
            status = wc_fail(ctx, WC_OPTION, "%s: exists; give -f to replace it, or -o another name", path);
        else
            status = entries(ctx, path, must_be_of_a_model);
    }
    if (status == WC_OK && wc_is_dir(partial)) status = entries(ctx, partial, must_be_of_a_model);
    if (status == WC_OK && wc_file_exists(old))
        status = wc_fail(ctx, WC_OPTION, "%s: is in the way: move or remove it", old);
    free(partial), free(old);
    return status;
}

/* ---- writing -------------------------------------------------------------------------------------------------------
 */

static wc_status write_files(wc_ctx *ctx, const wc_folder *f, const char *dir)
{
    wc_status status = WC_OK;
    for (size_t s = 0; status == WC_OK && s < f->shards; s++) {
        char name[64];
        shard_name(f, s, name);
        char *path = wc_path_join(dir, name);
        status = path ? wc_safetensors_write(ctx, path, f->item + f->shard[s], f->shard[s + 1] - f->shard[s], NULL, 0)
                      : wc_fail(ctx, WC_NOMEM, "no memory for a path");
        free(path);
    }
    for (size_t i = 0; status == WC_OK && i < f->n_texts; i++) {
        char *path = wc_path_join(dir, f->text[i].name);
        status = path ? wc_write_file_atomic(ctx, path, f->text[i].data.data, f->text[i].data.size)
                      : wc_fail(ctx, WC_NOMEM, "no memory for a path");
        free(path);
    }
    return status;
}

static void sync_parent(const char *path)
{
    char *dir = wc_path_dir(path);
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) (void)fsync(fd), close(fd);
    free(dir);
}

static wc_status take_place(wc_ctx *ctx, const char *path, const char *partial, const char *old)
{
    if (wc_is_dir(path) && rename(path, old))
        return wc_fail(ctx, WC_IO, "%s: cannot be moved to %s: %s", path, old, strerror(errno));
    if (rename(partial, path))
        return wc_fail(ctx, WC_IO, "%s: cannot be renamed to %s: %s", partial, path, strerror(errno));
    sync_parent(path);
    return remove_folder(ctx, old);
}

wc_status wc_folder_write(wc_ctx *ctx, const wc_folder *f)
{
    char *partial = with(f->path, ".partial"), *old = with(f->path, ".old");
    wc_status status = WC_OK;
    if (!partial || !old) WC_TRY_OUT(wc_fail(ctx, WC_NOMEM, "no memory for a path"));
    WC_TRY_OUT(remove_folder(ctx, partial));
    if (mkdir(partial, 0777)) WC_TRY_OUT(wc_fail(ctx, WC_IO, "%s: cannot be made: %s", partial, strerror(errno)));
    status = write_files(ctx, f, partial);
    if (status == WC_OK) status = take_place(ctx, f->path, partial, old);
    if (status != WC_OK) (void)remove_folder(NULL, partial);
out:
    free(partial), free(old);
    return status;
}
