#include "io/escape.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

static bool is_printable(utf8proc_int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    default: return true;
    }
}

char *wc_escape_name(char *dst, size_t size, const char *name)
{
    size_t left = strlen(name), used = 0, cut = 0; /* cut: the last character end with room for "..." behind it */
    for (const char *p = name; left;) {
        utf8proc_int32_t c = -1;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)left, &c);
        size_t take = n > 0 ? (size_t)n : 1;
        char piece[20]; /* four bytes of \xNN at most */
        if (n > 0 && c == '\\') {
            strcpy(piece, "\\\\");
        } else if (n > 0 && is_printable(c)) {
            memcpy(piece, p, take);
            piece[take] = 0;
        } else {
            for (size_t i = 0; i < take; i++)
                sprintf(piece + 4 * i, "\\x%02x", (unsigned char)p[i]);
        }
        size_t length = strlen(piece);
        if (used + length >= size) {
            strcpy(dst + cut, "...");
            return dst;
        }
        memcpy(dst + used, piece, length);
        used += length, p += take, left -= take;
        if (used + 4 <= size) cut = used;
    }
    dst[used] = 0;
    return dst;
}
