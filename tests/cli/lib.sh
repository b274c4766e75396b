# lib.sh - what the tests of the commands share; sourced by them, run from the repository root. Every case is one function call
# that ends in `ok NAME', `FAIL NAME' (with the reason below it) or `skip NAME'.
# shellcheck shell=bash disable=SC2034
set -u
wc=${WC_BIN:-build/wcompress}
case $wc in /*) ;; *) wc=$PWD/$wc ;; esac
model=tests/data/docs4m
tmp=$(mktemp -d)
failures=0
trap 'chmod -R u+rwx "$tmp" 2>/dev/null; rm -rf "$tmp"' EXIT

# Small and quick: the first two blocks of docs4m, and a calibration of 2048 tokens.
make_small()
{
    [ -d "$tmp/small" ] || /usr/bin/python3 tests/cli/make_broken.py small "$tmp/small" || exit 1
    small=$tmp/small
}
quick='--calib-tokens 2048 --seqlen 128'

ok() { echo "ok $1"; }
skip() { echo "skip $1: $2"; }
fail()
{
    echo "FAIL $1"
    shift
    printf '     %s\n' "$@"
    failures=$((failures + 1))
}
# check NAME COMMAND...: the case holds when the command succeeds.
check()
{
    local name=$1
    shift
    if "$@" >"$tmp/check.log" 2>&1; then ok "$name"; else fail "$name" "$* -> $?" "$(tail -n 5 "$tmp/check.log")"; fi
}

# run ARGUMENTS...: the program; sets $code, and leaves $tmp/out and $tmp/err.
run()
{
    timeout 120 "$wc" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    code=$?
}
# gives NAME CODE PATTERN ARGUMENTS...: the program ends with that exit code (or one of [37]) and its error sentence matches the pattern (an
# extended regular expression; empty: no sentence wanted). A failure must be told in one sentence: one line "wcompress: ...".
gives()
{
    local name=$1 want=$2 pattern=$3
    shift 3
    run "$@"
    # shellcheck disable=SC2053
    if [[ $code != $want ]]; then
        fail "$name" "wcompress $*" "exit code $code, expected $want" "$(tail -n 3 "$tmp/err")"
    elif [ "$want" != 0 ] && [ "$(grep -c '^wcompress: ' "$tmp/err")" != 1 ]; then
        fail "$name" "wcompress $*" "not one sentence:" "$(cat "$tmp/err")"
    elif [ -n "$pattern" ] && ! grep -qE -e "$pattern" "$tmp/err"; then
        fail "$name" "wcompress $*" "expected /$pattern/ in:" "$(tail -n 3 "$tmp/err")"
    else
        ok "$name"
    fi
}
# json FILE EXPRESSION: prints the value of a Python expression over the parsed object d.
json()
{
    /usr/bin/python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"
}
# list NAME RECIPE: compressed with the statistics of $stats (options); the plan's size
# is the file's, it verifies, also by the second reader; leaves its error in $error.
list()
{
    local file=$tmp/$1.wcz said
    # shellcheck disable=SC2086
    run compress --recipe "$2" "$small" -o "$file" $stats --json
    cp "$tmp/out" "$tmp/$1.json"
    error=$(json "$tmp/$1.json" 'd["result"]["error_mean"]')
    # shellcheck disable=SC2086
    run compress --recipe "$2" "$small" -o "$file" $stats --dry-run --json
    said=$(json "$tmp/out" 'd["plan"]["output_bytes"]')
    if [ "$said" = "$(stat -c %s "$file")" ]; then ok "$1: size"; else fail "$1: size" "planned $said" "$(stat -c %s "$file")"; fi
    gives "$1: verify" 0 '' verify "$file" --against "$small"
    check "$1: the second reader opens it" /usr/bin/python3 scripts/wcz_reader.py "$file" --check
}
# below NAME A B: A < B as numbers.
below() { check "$1" /usr/bin/python3 -c "import sys; sys.exit(not $2 < $3)"; }
# absent NAME PATH...: none of them exists.
absent()
{
    local name=$1 path left=''
    shift
    for path; do [ ! -e "$path" ] || left="$left $path"; done
    if [ -z "$left" ]; then ok "$name"; else fail "$name" "left behind:$left"; fi
}
finish()
{
    [ "$failures" = 0 ]
    exit
}
