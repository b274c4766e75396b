#include "replay.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "io/wcz.h"

static wc_status read_facts(wc_ctx *ctx, const char *path, json_t **facts)
{
    wc_wcz_reader reader;
    wc_buf text = {0};
    WC_TRY(wc_wcz_open(ctx, path, &reader));
    wc_status status = wc_wcz_meta_read(ctx, &reader, "provenance.json", &text);
    if (status == WC_OK) *facts = json_loadb((char *)text.data, text.size, JSON_REJECT_DUPLICATES, NULL);
    wc_buf_free(&text);
    wc_wcz_close(&reader);
    return status;
}

/* A tensor's name is a rule's pattern: what a pattern would take for more than itself is refused. */
static wc_status take_rules(wc_ctx *ctx, const char *path, json_t *recipes, json_t *tensors, wc_replay *r)
{
    const char *name;
    json_t *index;
    WC_TRY(WC_ALLOC(ctx, r->rule, json_object_size(tensors), "rules"));
    json_object_foreach(tensors, name, index)
    {
        json_int_t i = json_is_integer(index) ? json_integer_value(index) : -1;
        const char *recipe = i < 0 ? NULL : json_string_value(json_array_get(recipes, (size_t)i));
        if (!recipe || strpbrk(name, "*?[\\"))
            return wc_fail(ctx, WC_BADFILE,
                           "%s: its provenance has no recipe that could be used for one of its tensors", path);
        r->rule[r->n++] = (wc_plan_rule){name, recipe};
    }
    return WC_OK;
}

wc_status wc_replay_read(wc_ctx *ctx, const char *path, wc_replay *out)
{
    json_t *facts = NULL;
    *out = (wc_replay){0};
    WC_TRY(read_facts(ctx, path, &facts));
    out->facts = facts;
    json_t *recipes = json_object_get(facts, "recipes"), *tensors = json_object_get(facts, "tensors");
    const char *passes = json_string_value(json_object_get(facts, "passes"));
    if (!json_is_array(recipes) || !json_is_object(tensors))
        return wc_fail(ctx, WC_BADFILE, "%s: its provenance tells no recipes", path);
    WC_TRY(wc_buf_printf(ctx, &out->recipe, "%s%skeep", passes ? passes : "", passes ? " | " : ""));
    return take_rules(ctx, path, recipes, tensors, out);
}

void wc_replay_free(wc_replay *r)
{
    if (!r) return;
    wc_buf_free(&r->recipe);
    free(r->rule);
    json_decref(r->facts);
    *r = (wc_replay){0};
}
