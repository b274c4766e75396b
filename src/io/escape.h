/* escape.h - names out of files, made fit for a terminal. */
#ifndef WC_IO_ESCAPE_H
#define WC_IO_ESCAPE_H

#include <stddef.h>

/* Long enough for any sane tensor name, short enough that four of them fit an error sentence. */
#define WC_SHOWN 160

/* Writes name to dst (at most size bytes with the NUL, size >= 8) and returns dst: control and format characters (ANSI
 * escapes, newlines, bidirectional overrides), line separators and bytes that are not UTF-8 become \xNN, a backslash is
 * doubled. What does not fit is cut at a character and ends in "...". */
char *wc_escape_name(char *dst, size_t size, const char *name);

#endif
