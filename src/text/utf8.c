/* utf8.c - characters and their classes. */
#include "text/text_internal.h"

#include <string.h>
#include <utf8proc.h>

/* Table 3-7 of the Unicode standard: the lead byte fixes the length and the range of the second byte. */
size_t wci_utf8_check(const char *s, size_t n, size_t *bad)
{
    const unsigned char *u = (const unsigned char *)s;
    *bad = 1;
    if (u[0] < 0x80) return 1;
    if (u[0] < 0xc2 || u[0] > 0xf4) return 0;
    size_t length = wci_utf8_length(u[0]);
    unsigned low = u[0] == 0xe0 ? 0xa0 : u[0] == 0xf0 ? 0x90 : 0x80;
    unsigned high = u[0] == 0xed ? 0x9f : u[0] == 0xf4 ? 0x8f : 0xbf;
    for (size_t i = 1; i < length; i++) {
        if (i == n || u[i] < low || u[i] > high) {
            *bad = i;
            return 0;
        }
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

wc_status wci_utf8_sanitize(wc_ctx *ctx, wci_str text, wc_buf *out, size_t *replaced)
{
    size_t run = 0, i = 0, bad;
    *replaced = 0;
    while (i < text.n) {
        size_t length = wci_utf8_check(text.p + i, text.n - i, &bad);
        if (length) {
            i += length;
            continue;
        }
        WC_TRY(wc_buf_append(ctx, out, text.p + run, i - run));
        WC_TRY(wc_buf_append(ctx, out, "\xef\xbf\xbd", 3));
        i += bad;
        run = i;
        ++*replaced;
    }
    return wc_buf_append(ctx, out, text.p + run, i - run);
}

size_t wci_utf8_decode(const char *s, uint32_t *cp)
{
    const unsigned char *u = (const unsigned char *)s;
    switch (wci_utf8_length(u[0])) {
    case 1: *cp = u[0]; return 1;
    case 2: *cp = (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu); return 2;
    case 3: *cp = (u[0] & 0x0fu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu); return 3;
    default: *cp = (u[0] & 7u) << 18 | (u[1] & 0x3fu) << 12 | (u[2] & 0x3fu) << 6 | (u[3] & 0x3fu); return 4;
    }
}

size_t wci_utf8_encode(uint32_t cp, char s[4])
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)cp, (utf8proc_uint8_t *)s);
}

bool wci_is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == 0x20 || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
           cp == 0x3000;
}

bool wci_is_numeric(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

bool wci_is_punct(uint32_t cp)
{
    if (cp < 0x80)
        return cp > 0x20 && cp < 0x7f && !strchr("0123456789", (int)cp) && ((cp | 0x20) < 'a' || (cp | 0x20) > 'z');
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}
