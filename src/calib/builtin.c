/* builtin.c - the calibration text that is compiled into the program, from src/calib/builtin.txt. */
#include "calib/tokens.h"

__asm__(".section .rodata\n"
        ".global wc_builtin_text\n"
        "wc_builtin_text:\n"
        ".incbin \"src/calib/builtin.txt\"\n"
        ".global wc_builtin_text_end\n"
        "wc_builtin_text_end:\n"
        ".byte 0\n"
        ".previous\n");

extern const char wc_builtin_text_end[];

size_t wc_builtin_text_size(void)
{
    return (size_t)(wc_builtin_text_end - wc_builtin_text);
}
