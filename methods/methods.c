#include "methods/method.h"

#include <string.h>

#define WC_METHOD(name) extern const wc_method wc_method_##name;
#include "methods/methods.def"
#undef WC_METHOD

const wc_method *const wc_methods[] = {
#define WC_METHOD(name) &wc_method_##name,
#include "methods/methods.def"
#undef WC_METHOD
    NULL,
};

const wc_preset wc_presets[] = {
#define WC_PRESET(name, title, method, options) {#name, title, &wc_method_##method, options},
#include "methods/presets.def"
#undef WC_PRESET
    {0},
};

const wc_method *wc_method_find(const char *name)
{
    for (const wc_method *const *m = wc_methods; *m; m++)
        if (!strcmp((*m)->name, name)) return *m;
    return NULL;
}

const wc_preset *wc_preset_find(const char *name)
{
    for (const wc_preset *p = wc_presets; p->name; p++)
        if (!strcmp(p->name, name)) return p;
    return NULL;
}
