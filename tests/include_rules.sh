#!/bin/bash
# include_rules.sh - who may include whom, as a table; each line is one case. docs/ARCHITECTURE.md explains it.
set -u
cd "$(dirname "$0")/.."
status=0

# verdict NAME LINES: ok when there are no lines, else FAIL with them.
verdict()
{
    if [ -z "$2" ]; then echo "ok $1"; else echo "FAIL $1" && echo "$2" | sed 's/^/     /' && status=1; fi
}

# edges FILE...: "FILE HEADER" with the header's path from the repository root, for every #include "...".
edges()
{
    grep -o '^ *# *include *"[^"]*"' "$@" /dev/null | sed 's/: *# *include *"/ /; s/"$//' | while read -r from header; do
        for root in "$(dirname "$from")" src include .; do
            path=${root#./}/$header path=${path#./}
            [ -e "$path" ] && break
            path="missing:$header"
        done
        echo "$from $path"
    done
}

# rule NAME 'FILES' 'ALLOWED': the files include nothing but what matches one of the allowed patterns.
rule()
{
    local name=$1 allowed=$3 bad='' from to pattern good
    # shellcheck disable=SC2086
    while read -r from to; do
        good=''
        set -f
        for pattern in $allowed; do
            # shellcheck disable=SC2053
            [[ $to == $pattern ]] && good=1 && break
        done
        set +f
        [ -n "$good" ] || bad="$bad$from includes $to, but $name may only include: $allowed"$'\n'
    done < <(edges $2)
    verdict "include $name" "${bad%$'\n'}"
}

shopt -s nullglob
decode='src/decode/* include/wcdecode.h src/base/dtype.h src/base/half.h src/base/ggml*.h formats/formats.def formats/*/decode.c formats/*/kernel.h'
rule base 'src/base/*.[ch]' 'src/base/*'
rule 'decode library' 'src/decode/*.[ch] formats/*/decode.c formats/*/kernel.h formats/*/*_kernel.c include/wcdecode.h' "$decode"
rule 'CUDA library' 'src/cuda/*.cu src/cuda/*.cuh include/wcdecode_cuda.h' \
    'src/cuda/* include/wcdecode*.h src/decode/decoder.h src/decode/packed.h src/base/half.h formats/*/kernel.h'
rule kernels 'src/kernels/*.[ch]' 'src/base/* src/kernels/*'
rule linalg 'src/linalg/*.[ch]' 'src/base/* src/linalg/*'
rule solve 'src/solve/*.[ch]' 'src/base/* src/kernels/* src/linalg/* src/solve/* src/calib/stats.h'
rule methods 'methods/*.[ch] methods/*.def methods/*/*.[ch]' \
    'src/base/* src/calib/stats.h src/solve/* src/kernels/* src/linalg/* methods/*'
rule encoders 'formats/*.[ch] formats/*.def formats/*/encode.c' 'src/base/* formats/*.h formats/formats.def'
rule io 'src/io/*.[ch]' 'src/base/* src/io/* src/kernels/* src/model/weight.h formats/format.h include/wcdecode.h src/decode/decoder.h'
rule model 'src/model/*.[ch]' 'src/base/* src/model/* src/kernels/* src/linalg/* src/io/json.h src/io/escape.h'
rule remodel 'src/remodel/*.[ch] src/remodel/*.def' 'src/base/* src/remodel/* src/model/* methods/method.h'
rule text 'src/text/*.[ch]' 'src/base/* src/text/* src/io/json.h'
rule calib 'src/calib/*.[ch]' 'src/base/* src/calib/* src/text/* src/model/* src/linalg/*'
rule export 'src/export/*.[ch]' \
    'src/base/* src/io/* src/model/* src/text/* src/export/* src/input.h src/version.h include/wcdecode.h src/decode/decoder.h'
rule 'the example' 'examples/*/*.[ch]' 'examples/*'
rule 'main and commands' 'src/*.[ch] src/*.def' \
    'src/*.h src/commands.def src/*/*.h examples/generate/generate.h methods/method.h methods/*/*.h formats/format.h include/wcdecode.h'

# outside NAME HEADER ALLOWED-FILE-PATTERNS: only these files include the system header.
outside()
{
    local bad='' file pattern good
    while read -r file; do
        good=''
        set -f
        for pattern in $2; do
            # shellcheck disable=SC2053
            [[ $file == $pattern ]] && good=1 && break
        done
        set +f
        [ -n "$good" ] || bad="$bad$file includes <$1>, but only these may: $2"$'\n'
    done < <(grep -lE "^ *# *include *<$1>" -r src methods formats include --include='*.[ch]')
    verdict "<$1>" "${bad%$'\n'}"
}

outside 'cblas.h' 'src/linalg/*'
outside 'lapacke.h' 'src/linalg/*'
outside 'openblas_config.h' 'src/linalg/*'
outside 'zstd.h' 'src/io/* src/bench_lossless.c src/bench_coded.c'
outside 'pcre2.h' 'src/text/*'
outside 'utf8proc.h' 'src/text/* src/io/*'
outside 'xxhash.h' 'src/base/* src/io/* src/text/*'
outside 'jansson.h' 'src/io/json.h src/text/text_internal.h src/report.h src/provenance.c src/replay.c src/bench_rows.h'
outside 'wcompress.h' ''

# exit() ends a library's caller: only main.c may.
verdict 'exit only in main.c' "$(grep -nE '(^|[^_a-zA-Z])(exit|abort|quick_exit) *\(' -r src methods formats --include='*.[ch]' |
    grep -v '^src/main\.c:' | grep -vE '^[^:]*:[0-9]+: *(/\*|\*|//)')"

# Every header compiles by itself; the public one as C99 and as C++ too.
alone=''
said=$(mktemp)
for header in src/*/*.h src/*.h methods/*.h methods/*/*.h formats/*.h; do
    echo "#include \"$header\"" |
        ${CC:-cc} -std=c11 -D_GNU_SOURCE -DWCK_LEVEL=c -I. -Isrc -Iinclude -Wall -Wextra -Wno-unused -Werror -fsyntax-only -x c - 2>"$said" ||
        alone="$alone$header does not compile alone: $(head -n 1 "$said")"$'\n'
done
rm -f "$said"
verdict 'headers compile alone' "${alone%$'\n'}"
verdict 'wcdecode.h is C99' "$(printf '#include "wcdecode.h"\n#include "wcdecode_cuda.h"\n' |
    ${CC:-cc} -std=c99 -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c - 2>&1)"
if command -v c++ >/dev/null; then
    verdict 'wcdecode.h is C++' "$(printf '#include "wcdecode.h"\n#include "wcdecode_cuda.h"\n' |
        c++ -std=c++11 -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c++ - 2>&1)"
else
    echo "skip wcdecode.h is C++: no C++ compiler"
fi
exit $status
