#!/bin/sh
# The decode library stands alone: it builds with a plain C99 compiler from its own files, needs nothing but memory and
# string functions and getenv, exports nothing but its public functions, which its man page has, and its headers serve C
# and C++. Also: the listing in
# docs/FORMAT.md is the golden file. Run from the repository root after `make'.
set -eu
CC=${CC:-cc}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail()
{
    echo "FAIL decode library: $*"
    exit 1
}

sources="src/decode/*.c formats/*/decode.c"
flags="-std=c99 -pedantic -Wall -Wextra -Werror -Iinclude -I. -Isrc"
# shellcheck disable=SC2086
$CC $flags -O2 -fvisibility=hidden -fPIC -shared -o "$dir/libwcdecode.so" $sources || fail "does not build alone"

for lib in "$dir/libwcdecode.so" build/libwcdecode.so; do
    [ -e "$lib" ] || continue
    # _FORTIFY_SOURCE, stack protector and sanitizer runtimes are the builder's choice.
    nm -D --undefined-only "$lib" | sed 's/@.*//; s/.* //' |
        grep -v -x -e memcpy -e memmove -e memset -e memcmp -e memchr -e strlen -e strcmp -e getenv -e '_ITM_.*' -e '__.*' >"$dir/undefined" || true
    [ ! -s "$dir/undefined" ] || fail "$lib needs $(tr '\n' ' ' <"$dir/undefined")"
    nm -D --defined-only "$lib" | sed 's/.* //' | sort >"$dir/exported"
    sed -n 's/.*WCD_API .*[ *]\(wcd_[a-z0-9_]*\)(.*/\1/p' include/wcdecode.h | sort >"$dir/declared"
    diff "$dir/declared" "$dir/exported" >&2 || fail "$lib exports other names than include/wcdecode.h declares"
done

# The same values and products from the sources alone, which have portable C only, and from the library at every level.
cat >"$dir/values.c" <<'END'
#include <stdio.h>
#include <stdlib.h>

#include "wcdecode.h"

int main(int argc, char **argv)
{
    for (int a = 1; a < argc; a++) {
        static double image[1 << 16];
        FILE *in = fopen(argv[a], "rb");
        size_t size = in ? fread(image, 1, sizeof image, in) : 0;
        wcd_file f;
        wcd_tensor t;
        if (!in || wcd_open(&f, image, size) != WCD_OK) return 1;
        fclose(in);
        for (uint32_t i = 0; i < wcd_count(&f); i++) {
            if (wcd_at(&f, i, &t) != WCD_OK) return 1;
            float *w = calloc((t.rows + 3) * (t.cols + 3), sizeof *w), *x = w + t.rows * t.cols, *y = x + t.cols;
            for (uint64_t j = 0; j < t.cols; j++)
                x[j] = (float)(j % 7) - 2.75f;
            printf("%.*s %d", (int)t.name_size, t.name, (int)wcd_rows(&t, 0, t.rows, w, t.cols));
            printf(" %d", (int)wcd_matvec(&t, x, y));
            float *y8 = y + t.rows, *prepared = y8 + t.rows;
            void *memory = malloc(wcd_int8_size(&t) + 1);
            printf(" %d", (int)wcd_int8_inputs(&t, x, memory));
            printf(" %d", (int)wcd_matvec_int8(&t, 0, t.rows, x, memory, y8));
            free(memory);
            wcd_prepared p;
            memory = aligned_alloc(64, wcd_prepare_size(&t) + 64);
            printf(" %d %d", (int)(wcd_prepare_size(&t) > 0), (int)wcd_prepare(&t, NULL, memory, &p));
            if (wcd_prepare(&t, NULL, memory, &p) == WCD_OK)
                printf(" %d", (int)wcd_prepared_matmul(&p, 0, t.rows, x, t.cols, 1, prepared, t.rows));
            free(memory);
            for (uint64_t j = 0; j < t.rows * t.cols + t.cols + 3 * t.rows; j++)
                printf(" %a", w[j]);
            printf("\n");
            free(w);
        }
    }
    return 0;
}
END
golden="tests/data/golden/kinds.wcz tests/data/golden/parts.wcz tests/data/golden/transforms.wcz"
for lib in "$dir/libwcdecode.so" build/libwcdecode.so; do
    [ -e "$lib" ] || continue
    cp "$lib" "$dir/libwcdecode.so.0"
    $CC -std=c11 -Wall -Wextra -Werror -Iinclude -o "$dir/values" "$dir/values.c" "$dir/libwcdecode.so.0" -Wl,-rpath,"$dir"
    for level in c avx2 avx512 vnni; do
        # shellcheck disable=SC2086
        WCD_CPU_LEVEL=$level "$dir/values" $golden >"$dir/values.now" || fail "$lib does not read the golden files"
        [ -e "$dir/values.first" ] || mv "$dir/values.now" "$dir/values.first"
        [ ! -e "$dir/values.now" ] || cmp "$dir/values.first" "$dir/values.now" || fail "$lib: other values at level $level"
    done
done

echo '#include "wcdecode.h"' >"$dir/alone.c"
cp "$dir/alone.c" "$dir/alone.cc"
$CC -std=c99 -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only "$dir/alone.c" ||
    fail "wcdecode.h does not stand alone"
if command -v c++ >/dev/null; then
    c++ -std=c++11 -Wall -Wextra -Werror -Iinclude -fsyntax-only "$dir/alone.cc" || fail "wcdecode.h is not C++"
fi
echo '#include "wcdecode_openmp.h"' >"$dir/alone.c"
for openmp in -fopenmp -fno-openmp; do
    $CC -std=c99 -pedantic -Wall -Wextra -Wno-unused -Werror -Iinclude $openmp -fsyntax-only "$dir/alone.c" ||
        fail "wcdecode_openmp.h does not stand alone ($openmp)"
done
while read -r function; do
    grep -q "$function" docs/wcdecode.3 || fail "docs/wcdecode.3 does not mention $function"
done <"$dir/declared"

sed -n 's/^    \([0-9]\{4\}\): \(\([0-9a-f][0-9a-f] \)\{15\}[0-9a-f][0-9a-f]\).*/\1 \2/p' docs/FORMAT.md >"$dir/listing"
od -A d -t x1 -v tests/data/golden/tiny.wcz | sed -n 's/^000\([0-9]\{4\} .*\)/\1/p' >"$dir/file"
diff "$dir/listing" "$dir/file" >&2 || fail "docs/FORMAT.md section 16 is not tests/data/golden/tiny.wcz"
/usr/bin/python3 tests/data/golden/make_golden.py "$dir"
for f in tiny kinds parts transforms; do
    cmp "$dir/$f.wcz" "tests/data/golden/$f.wcz" || fail "make_golden.py no longer makes $f.wcz"
done
echo "ok decode library stands alone; its golden files"
