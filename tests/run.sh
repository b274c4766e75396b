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

# side_by_side RUN REPORT NAME...: RUN NAME for each, as many at once as there are cores; then REPORT NAME CODE SECONDS LOG, in the
# order given and as early as that allows.
side_by_side()
{
    local run=$1 report=$2 running=0 next=0 name
    shift 2
    local names=("$@")
    reported()
    {
        while [ "$next" -lt ${#names[@]} ] && [ -e "$logs/${names[next]}.end" ]; do
            read -ra end <"$logs/${names[next]}.end"
            "$report" "${names[next]}" "${end[@]}" "$logs/${names[next]}"
            next=$((next + 1))
        done
    }
    for name; do
        [ $running -lt "$JOBS" ] || { wait -n && : ; running=$((running - 1)); reported; }
        {
            t0=$SECONDS
            "$run" "$name" >"$logs/$name" 2>&1 </dev/null
            echo "$? $((SECONDS - t0))" >"$logs/$name.now" && mv "$logs/$name.now" "$logs/$name.end"
        } &
        running=$((running + 1))
    done
    wait
    for name; do # what was killed with the shell around it
        [ -e "$logs/$name.end" ] || echo '137 0' >"$logs/$name.end"
    done
    reported
    rm -f "$logs"/*.end
}

# names PATTERN: those of the files, without folder and ending.
names()
{
    for file in $1; do
        file=${file##*/}
        [ "$file" = lib.sh ] || echo "${file%.*}"
    done
}

# Every test program, its cases counted one by one.
run_program() { "$o/tests/$1"; }
report_cases()
{
    local counts
    [ "$2" -lt 128 ] || echo "ended by signal $(($2 - 128))" >>"$4"
    read -ra counts <<<"$(cases "$4" "$2")"
    note "$1" "${counts[@]}" "$3" "$4"
}
step_unit()
{
    local o
    echo "unit tests"
    build WERROR=-Werror all program tests || return
    o=$($MAKE -s WERROR=-Werror where)
    # shellcheck disable=SC2046
    side_by_side run_program report_cases $(names 'tests/unit/test_*.c')
}

# Scripts print a line per case; one that fails without a FAIL line is one failure.
run_script() { "tests/$1.sh"; }
run_command_script() { "tests/cli/$1.sh"; }
report_script()
{
    local ok bad skip
    ok=$(grep -c '^ok ' "$4") bad=$(grep -c '^FAIL ' "$4") skip=$(grep -c '^skip ' "$4")
    [ "$2" = 0 ] || [ "$bad" != 0 ] || bad=1
    note "$1" "$ok" "$bad" "$skip" "$3" "$4"
}

step_cli()
{
    echo "command line"
    build WERROR=-Werror all program || return
    WC_BIN=$($MAKE -s WERROR=-Werror where)/wcompress
    export WC_BIN
    # shellcheck disable=SC2046
    side_by_side run_command_script report_script $(names 'tests/cli/*.sh')
}

step_style()
{
    echo "style"
    side_by_side run_script report_script style include_rules
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

# A program under sanitizers is one case.
report_sanitized()
{
    if [ "$2" = 0 ]; then note "asan $1" 1 0 0 "$3" "$4"; else note "asan $1" 0 1 0 "$3" "$4"; fi
}
run_sanitized() { if [ "$1" = smoke ]; then tests/cli/smoke.sh; else "$o/tests/$1"; fi; }

step_asan()
{
    local o
    echo "address and undefined behaviour sanitizers"
    build CFLAGS="$SANITIZE" program tests || return
    o=$($MAKE -s CFLAGS="$SANITIZE" where)
    sanitizer_options "$o/wcompress"
    export WC_BIN=$o/wcompress
    # shellcheck disable=SC2046
    side_by_side run_sanitized report_sanitized $(names 'tests/unit/test_*.c') smoke
}

run_fuzzer() { WC_FUZZ_CRASH=build/crash-$1 "$o/fuzz/$1"; }
step_fuzz()
{
    local o
    echo "fuzzing"
    build CFLAGS="$SANITIZE" program fuzzers || return
    o=$($MAKE -s CFLAGS="$SANITIZE" where)
    sanitizer_options "$o/wcompress"
    # shellcheck disable=SC2046
    side_by_side run_fuzzer report_sanitized $(names 'tests/fuzz/fuzz_*.c')
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
