#!/bin/bash
# run.sh [STEP...] - builds and runs tests, shows failures in full and everything else in a line each, counts cases.
#
#   unit    build with -Wall -Wextra -Werror; every cmocka test of every program in tests/unit
#   cli     tests/cli/*.sh: the commands, from outside; each prints `ok NAME', `FAIL NAME' or `skip NAME' per case
#   style   tests/style.sh: formatting, who may include whom, stray characters; the same lines
#   asan    the unit tests and tests/cli/smoke.sh again, under AddressSanitizer and UndefinedBehaviorSanitizer: a program is one case
#   fuzz    every fuzzer for WC_FUZZ_SECONDS (default 2), sanitized: a fuzzer is one case
#
# Without a step: all of them. The last line is `N passed, M failed', with `, K skipped' where something was; the exit code is 1
# when anything failed. WC_SHARED names a folder of further models and texts (default ../shared); tests that need it and do not
# find it are skipped.
set -u
cd "$(dirname "$0")/.."
unset MAKEFLAGS MFLAGS MAKELEVEL
export LC_ALL=C WC_SHARED="${WC_SHARED:-../shared}"
# Threads that wait sleep: on small models they wait most of the time, and spin where others could work (2 to 5 times the time of a
# run on a shared machine).
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
MAKE=${MAKE:-make}
JOBS=$(nproc)
SANITIZE='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer'
passed=0 failed=0 skipped=0
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# note NAME PASSED FAILED SKIPPED SECONDS LOG: counts, one line, and the log when something failed.
note()
{
    local name=$1 ok=$2 bad=$3 skip=$4 seconds=$5 log=$6 line
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
    line=$(printf '  %-28s %3d passed' "$name" "$ok")
    [ "$bad" = 0 ] || line="$line, $bad FAILED"
    [ "$skip" = 0 ] || line="$line, $skip skipped"
    echo "$line  (${seconds}s)"
    if [ "$bad" != 0 ]; then
        sed 's/^/    | /' "$log"
        { echo "$name:"; grep -E -A4 '^FAIL |FAILED|^ERROR|Error |error:' "$log" || tail -n 5 "$log"; } | head -n 40 >>"$logs/failures"
    elif [ "$skip" != 0 ]; then
        grep -i 'skip' "$log" | grep -v '^\[' | head -n 3 | sed 's/^/    | /'
    fi
}

# build WHAT... (make's arguments): a failure counts as one failed case, and nothing of that step can run.
build()
{
    local log=$logs/build
    $MAKE --no-print-directory -j"$JOBS" "$@" >"$log" 2>&1 && return
    note "build $*" 0 1 0 0 "$log"
    return 1
}

# cases LOG CODE: "OK FAILED SKIPPED" of a cmocka program, from the lines before each group's summary. A program that dies or
# fails without naming a test is one failure.
cases()
{
    awk -v code="$2" '
        /^\[==========\] .*Running /   { summary = 0 }
        /^\[==========\] .* run\./     { summary = 1 }
        summary                        { next }
        /\[       OK \]/               { ok++ }
        /\[  FAILED  \]/               { bad++ }
        /\[  SKIPPED \]/               { skip++ }
        END { if (code && !bad) bad++; print ok + 0, bad + 0, skip + 0 }' "$1"
}

# Every test program, its cases counted one by one.
step_unit()
{
    local o name log code t0 counts
    echo "unit tests"
    build WERROR=-Werror all program tests || return
    o=$($MAKE -s WERROR=-Werror where)
    for source in tests/unit/test_*.c; do
        name=$(basename "$source" .c) log=$logs/$name t0=$SECONDS
        "$o/tests/$name" >"$log" 2>&1
        code=$?
        read -ra counts <<<"$(cases "$log" $code)"
        [ "$code" -lt 128 ] || echo "ended by signal $((code - 128))" >>"$log"
        note "$name" "${counts[@]}" $((SECONDS - t0)) "$log"
    done
}

# run_script PATH [LABEL]: a script that prints a line per case; one that fails without a FAIL line is one failure.
run_script()
{
    local name=${2:-$(basename "$1" .sh)} log=$logs/script t0=$SECONDS code ok bad skip
    "$1" >"$log" 2>&1 </dev/null
    code=$?
    ok=$(grep -c '^ok ' "$log") bad=$(grep -c '^FAIL ' "$log") skip=$(grep -c '^skip ' "$log")
    [ "$code" = 0 ] || [ "$bad" != 0 ] || bad=1
    note "$name" "$ok" "$bad" "$skip" $((SECONDS - t0)) "$log"
}

step_cli()
{
    echo "command line"
    build WERROR=-Werror all program || return
    WC_BIN=$($MAKE -s WERROR=-Werror where)/wcompress
    export WC_BIN
    for script in tests/cli/*.sh; do
        [ "$(basename "$script")" = lib.sh ] || run_script "$script"
    done
}

step_style()
{
    echo "style"
    run_script tests/style.sh
    run_script tests/include_rules.sh
}

# LeakSanitizer needs ptrace, which containers often deny: then leaks go unseen, and that is said.
sanitizer_options()
{
    export UBSAN_OPTIONS=print_stacktrace=1
    export LSAN_OPTIONS=suppressions=tests/lsan.supp:print_suppressions=0
    ASAN_OPTIONS=detect_leaks=1 "$1" version >"$logs/lsan" 2>&1
    if [ $? = 0 ]; then
        export ASAN_OPTIONS=detect_leaks=1
    else
        export ASAN_OPTIONS=detect_leaks=0
        echo "  LeakSanitizer does not work here (no ptrace?): leaks are not looked for"
    fi
}

# one_case NAME COMMAND...: a program under sanitizers is one case.
one_case()
{
    local name=$1 log=$logs/case t0=$SECONDS code
    shift
    "$@" >"$log" 2>&1 </dev/null
    code=$?
    if [ "$code" = 0 ]; then note "$name" 1 0 0 $((SECONDS - t0)) "$log"; else note "$name" 0 1 0 $((SECONDS - t0)) "$log"; fi
}

step_asan()
{
    local o name
    echo "address and undefined behaviour sanitizers"
    build CFLAGS="$SANITIZE" program tests || return
    o=$($MAKE -s CFLAGS="$SANITIZE" where)
    sanitizer_options "$o/wcompress"
    for source in tests/unit/test_*.c; do
        name=$(basename "$source" .c)
        one_case "asan $name" "$o/tests/$name"
    done
    WC_BIN=$o/wcompress one_case "asan smoke" tests/cli/smoke.sh
}

step_fuzz()
{
    local o name
    echo "fuzzing"
    build CFLAGS="$SANITIZE" program fuzzers || return
    o=$($MAKE -s CFLAGS="$SANITIZE" where)
    sanitizer_options "$o/wcompress"
    for source in tests/fuzz/fuzz_*.c; do
        name=$(basename "$source" .c)
        WC_FUZZ_CRASH=build/crash-$name one_case "$name" "$o/fuzz/$name"
    done
}

[ $# != 0 ] || set -- style unit cli asan fuzz
for step; do
    case $step in
    unit | cli | style | asan | fuzz) "step_$step" ;;
    *) echo "usage: $0 [unit|cli|style|asan|fuzz]..." >&2 && exit 2 ;;
    esac
done
# Once more at the end, where whoever sees only the last lines of a log finds it.
[ ! -e "$logs/failures" ] || sed 's/^/  failed: /' "$logs/failures"
summary="$passed passed, $failed failed"
[ "$skipped" = 0 ] || summary="$summary, $skipped skipped"
echo "$summary"
[ "$failed" = 0 ]
