#include "remodel/step.h"

#include <string.h>

#define WC_REMODEL_PASS(name) extern const wc_remodel_pass wc_remodel_##name;
#include "remodel/remodel.def"
#undef WC_REMODEL_PASS

const wc_remodel_pass *const wc_remodel_passes[] = {
#define WC_REMODEL_PASS(name) &wc_remodel_##name,
#include "remodel/remodel.def"
#undef WC_REMODEL_PASS
    NULL,
};

const wc_remodel_pass *wc_remodel_find(const char *name)
{
    for (const wc_remodel_pass *const *p = wc_remodel_passes; *p; p++)
        if (!strcmp((*p)->face.name, name)) return *p;
    return NULL;
}
