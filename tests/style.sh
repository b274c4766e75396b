#!/bin/bash
# style.sh - layout of the sources: clang-format 14, no stray whitespace, tabs or invisible characters. A line per case.
set -u
cd "$(dirname "$0")/.."
status=0

verdict()
{
    if [ -z "$2" ]; then echo "ok $1"; else echo "FAIL $1" && echo "$2" | head -n 40 | sed 's/^/     /' && status=1; fi
}

if git rev-parse >/dev/null 2>&1; then
    mapfile -t files < <(git ls-files -co --exclude-standard | while read -r f; do [ -f "$f" ] && echo "$f"; done)
else
    mapfile -t files < <(find . -type f -not -path './build/*' | sed 's|^\./||')
fi

# pick PATTERN: the files whose path matches the extended regular expression.
pick()
{
    printf '%s\n' "${files[@]}" | grep -E "$1" | grep -vE '^tests/(data|fuzz/seeds)/|^src/calib/builtin\.txt$|^scripts/builtin_misc\.txt$|^scripts/record_tokenizer_fixtures\.py$'
}

mapfile -t c < <(pick '\.[ch]$')
mapfile -t text < <(pick '(\.(c|h|def|sh|py|md|yml)|Makefile|^\.ci/run|\.clang-format)$')

format=$(command -v clang-format-14 || command -v clang-format)
if [ -n "$format" ] && "$format" --version | grep -q ' 14\.'; then
    verdict 'clang-format' "$("$format" --dry-run --Werror "${c[@]}" 2>&1 | grep 'error:')"
else
    echo "skip clang-format: version 14 is not installed"
fi
verdict 'no space at the end of a line' "$(grep -nE '[[:blank:]]+$' "${text[@]}" /dev/null)"
mapfile -t tabless < <(printf '%s\n' "${text[@]}" | grep -v Makefile)
verdict 'no tabs outside the Makefile' "$(grep -nP '\t' "${tabless[@]}" /dev/null)"
verdict 'no control or invisible characters' \
    "$(LC_ALL=C.UTF-8 grep -nP '[\x00-\x08\x0b-\x1f\x7f]|\x{00a0}|\x{00ad}|[\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2064}\x{feff}]' "${text[@]}" /dev/null)"
verdict 'C sources are ASCII' "$(LC_ALL=C grep -nP '[^\x00-\x7f]' "${c[@]}" /dev/null | cut -c 1-120)"
verdict 'lines of C end within 120 columns, tables in macros apart' \
    "$(LC_ALL=C.UTF-8 grep -nE '^.{121,}$' "${c[@]}" /dev/null | grep -v '\\$' | cut -c 1-100)"
verdict 'files end with a newline' "$(for f in "${text[@]}"; do [ ! -s "$f" ] || [ -z "$(tail -c 1 "$f")" ] || echo "$f"; done)"
verdict 'no unfinished work' "$(grep -nE '\b(TODO|FIXME|HACK)\b' "${text[@]}" /dev/null | grep -v '^tests/style.sh')"
scripts=$(for f in $(pick '(\.sh|^\.ci/run)$'); do [ -x "$f" ] || [ "$f" = tests/cli/lib.sh ] || echo "$f"; done)
verdict 'scripts are executable' "$scripts"
for f in $(pick '\.sh$|^\.ci/run$'); do bash -n "$f" 2>&1; done | verdict 'scripts parse' "$(cat)"
exit $status
