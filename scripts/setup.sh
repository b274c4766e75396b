#!/bin/sh
# setup.sh [build|check|aarch64] - installs the Debian packages that are missing, or says which they are.
#
#   build   what `make' needs: compiler, BLAS, LAPACKE and the small libraries
#   check   also what `make check' needs: cmocka, clang-format, Python with numpy
#   aarch64 also what `make aarch64-check' needs: a cross compiler and an emulator, 46 MB; without it that test skips
#
# Nothing happens, at once, when everything is there. A library counts as present when a program that uses it compiles and
# links: that is what matters, and it accepts other flavours of OpenBLAS and other distributions. With root or a password-less
# sudo the rest is installed by apt-get; otherwise the line to run is printed and the exit code is 1.
set -eu
mode=${1:-build}
CC=${CC:-cc}
case $mode in
build | check | aarch64) ;;
*) echo "usage: $0 [build|check|aarch64]" >&2 && exit 2 ;;
esac

# package, what to include, what to link
libraries="\
libopenblas-openmp-dev cblas.h    -lopenblas
liblapacke-dev         lapacke.h  -llapacke
libzstd-dev            zstd.h     -lzstd
libxxhash-dev          xxhash.h   -lxxhash
libjansson-dev         jansson.h  -ljansson
libpcre2-dev           pcre2.h    -lpcre2-8
libutf8proc-dev        utf8proc.h -lutf8proc"

# links HEADER... -lLIB...: whether a program with these headers links with these libraries.
links()
{
    text='' flags=''
    for word; do
        case $word in
        -*) flags="$flags $word" ;;
        *) text="$text#include <$word>
" ;;
        esac
    done
    # shellcheck disable=SC2086
    printf '#define PCRE2_CODE_UNIT_WIDTH 8\n#include <stddef.h>\n#include <stdarg.h>\n#include <setjmp.h>\n#include <stdint.h>\n%sint main(void) { return 0; }\n' "$text" |
        $CC -x c - -o /dev/null -Wl,--no-as-needed $flags 2>/dev/null
}

missing=''
need()
{
    missing="$missing $1"
}

build_packages()
{
    command -v "${CC%% *}" >/dev/null || need gcc
    command -v make >/dev/null || need make
    [ -e /usr/include/stdio.h ] || need libc6-dev
    # shellcheck disable=SC2046
    links $(echo "$libraries" | sed 's/^[^ ]*//') && return
    [ -n "$missing" ] && missing="$missing $(echo "$libraries" | sed 's/ .*//' | tr '\n' ' ')" && return
    while read -r package header library; do
        links "$header" "$library" || need "$package"
    done <<END
$libraries
END
}

check_packages()
{
    links cmocka.h -lcmocka || need libcmocka-dev
    command -v clang-format-14 >/dev/null || need clang-format-14
    command -v nm >/dev/null || need binutils
    /usr/bin/python3 -c 'import numpy' 2>/dev/null || need python3-numpy
    command -v g++ >/dev/null || command -v c++ >/dev/null || need g++
}

aarch64_packages()
{
    command -v aarch64-linux-gnu-gcc >/dev/null || need gcc-aarch64-linux-gnu
    [ -e /usr/aarch64-linux-gnu/include/stdio.h ] || need libc6-dev-arm64-cross
    command -v qemu-aarch64 >/dev/null || need qemu-user
}

build_packages
if [ "$mode" != build ]; then check_packages; fi
if [ "$mode" = aarch64 ]; then aarch64_packages; fi
missing=$(echo $missing)
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "setup: not a Debian system; install what these Debian packages hold, then try again: $missing" >&2
    exit 1
fi
sudo=''
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo=sudo
    else
        echo "setup: missing packages; run this as root, then try again:" >&2
        echo "apt-get update && apt-get install --no-install-recommends $missing" >&2
        exit 1
    fi
fi
echo "setup: installing $missing" >&2
# shellcheck disable=SC2086
if ! { $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing; } >&2; then
    echo "setup: the installation failed; run this as root: apt-get update && apt-get install --no-install-recommends $missing" >&2
    exit 1
fi
