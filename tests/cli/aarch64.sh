#!/bin/bash
# The decode library on AArch64, in emulation: built by a cross compiler, every level against portable C for every kind of
# part, and the same numbers as on this machine. Needs the packages that `scripts/setup.sh aarch64' installs, half a minute
# of CPU time when it builds and ten seconds when not; skips without them.
. "$(dirname "$0")/lib.sh"

name='aarch64 levels'
gcc=aarch64-linux-gnu-gcc emulator=qemu-aarch64
for tool in $gcc $emulator; do
    command -v $tool >/dev/null && continue
    skip "$name" "no $tool (scripts/setup.sh aarch64)"
    exit 0
done
unset WCD_CPU_LEVEL

# levels_of NAME [MAKE-VARIABLE=VALUE]...: builds the program with these variables; its path in the variable NAME.
levels_of()
{
    local -n path=$1
    shift
    path=$("${MAKE:-make}" -s WERROR=-Werror "$@" where)/levels
    "${MAKE:-make}" --no-print-directory WERROR=-Werror "$@" "$path" >"$tmp/build" 2>&1 && return
    fail "$name" "does not build" "$(tail -n 5 "$tmp/build")"
    exit 1
}
levels_of here
levels_of there CC=$gcc AR=aarch64-linux-gnu-ar LDFLAGS=-static

# same_numbers NAME BEST USED CPU [CASE]: every case passes on that CPU with the sums that it has here.
same_numbers()
{
    local what=$1 first="levels: best $2, used $3"
    shift 3
    "$here" "${@:2}" >"$tmp/here" 2>&1
    if ! $emulator -cpu "$1" "$there" "${@:2}" >"$tmp/there" 2>&1; then
        fail "$what" "$(tail -n 4 "$tmp/there")"
    elif [ "$(head -n 1 "$tmp/there")" != "$first" ]; then
        fail "$what" "expected: $first" "$(head -n 1 "$tmp/there")"
    elif diff <(tail -n +2 "$tmp/here") <(tail -n +2 "$tmp/there") >"$tmp/diff"; then
        ok "$what"
    else
        fail "$what" "$(cat "$tmp/diff")"
    fi
}
same_numbers "$name" dotprod dotprod max
same_numbers "$name without dotprod" neon neon cortex-a72 grids
WCD_CPU_LEVEL=neon same_numbers "$name lowered" dotprod neon max golden
WCD_CPU_LEVEL=c same_numbers "$name lowered to C" dotprod c max golden
[ $failures = 0 ]
