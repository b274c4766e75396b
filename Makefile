# wcompress - the only build file.
#
#   make          build/wcompress and build/libwcdecode.{a,so}
#   make demo     install what is missing, build, compress the model in the tree to 3 bits, show what it cost
#   make check    install what is missing, then every test (V=1 shows commands)
#   make help     the rest
#
# Objects live in a folder named by a hash of compiler and flags, so a changed flag never links stale objects.

VERSION := $(shell sed -n 's/.*WC_VERSION "\(.*\)".*/\1/p' src/version.h)

CC       ?= cc
CFLAGS   ?= -O2 -g
# -ffp-contract=off: decoded values and element-wise kernels must be the same bits at every SIMD level.
# -fno-math-errno, -fno-trapping-math: allow vector code for sqrtf and comparisons; no value changes.
WC_CFLAGS := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla -ffp-contract=off -fno-math-errno \
             -fno-trapping-math -fopenmp -I. -Isrc -Iinclude $(WERROR)
# The decode library is C99, has no OpenMP and hides everything but its public functions.
WCD_CFLAGS := -std=c99 -Wall -Wextra -Wshadow -Wstrict-prototypes -ffp-contract=off -fvisibility=hidden -fPIC -I. -Isrc \
              -Iinclude $(WERROR)
# OpenBLAS before LAPACKE: LAPACKE calls whatever Fortran LAPACK the loader finds first, and the reference one is 6x slower.
LIBS := -lopenblas -llapacke -lzstd -lxxhash -ljansson -lpcre2-8 -lutf8proc -lm

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DATADIR ?= $(PREFIX)/share/wcompress
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
INSTALL ?= install
JOBS ?= $(shell nproc)

FLAGS_HASH := $(shell printf '%s' '$(CC) $(CFLAGS) $(WC_CFLAGS) $(WCD_CFLAGS)' | cksum | cut -d' ' -f1)
O := build/obj-$(FLAGS_HASH)
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' $(1) $(2))

# Kernels compiled once per CPU level from one source: <name>.c -> name_c.o, name_avx2.o, name_avx512.o (src/kernels/kernels.h).
KERNEL_SRC := $(wildcard src/kernels/*_kernel.c)
MACHINE := $(shell $(CC) -dumpmachine)
IS_X86 := $(filter x86_64-%,$(MACHINE))
LEVELS := c $(if $(IS_X86),avx2 avx512)
LEVEL_FLAGS_c :=
LEVEL_FLAGS_avx2 := -mavx2 -mfma -mf16c
LEVEL_FLAGS_avx512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c
KERNEL_OBJ := $(foreach l,$(LEVELS),$(KERNEL_SRC:%.c=$(O)/%_$(l).o))

# The decode library's kernels (src/decode/level.h): one object for each level above c, whose code is in the decoders themselves.
DECODE_KERNEL_SRC := $(wildcard src/decode/*_kernel.c formats/*/*_kernel.c)
# Those that know NEON, too; the portable C of the others serves ARM.
ARM_KERNEL_SRC := src/decode/inner_kernel.c src/decode/fixed_kernel.c formats/coded/coded_kernel.c formats/float/float_kernel.c
IS_ARM := $(filter aarch64-%,$(MACHINE))
DECODE_MACHINE := $(if $(IS_X86),-DWCD_X86,$(if $(IS_ARM),-DWCD_ARM))
DECODE_LEVELS := $(if $(IS_X86),avx2 avx512,$(if $(IS_ARM),neon))
DECODE_FLAGS_avx2 := $(LEVEL_FLAGS_avx2) -mbmi2
DECODE_FLAGS_avx512 := $(LEVEL_FLAGS_avx512) -mbmi2
DECODE_KERNEL_OBJ := $(foreach l,$(DECODE_LEVELS),$(patsubst %.c,$(O)/%_$(l).o,$(if $(IS_ARM),$(ARM_KERNEL_SRC),$(DECODE_KERNEL_SRC))))

DECODE_SRC := $(filter-out $(DECODE_KERNEL_SRC),$(wildcard src/decode/*.c formats/*/decode.c))
# The text generator: a program of its own on the decode library, and the command `run'.
GEN_SRC := $(filter-out %/main.c,$(wildcard examples/generate/*.c))
TOOL_SRC := $(filter-out src/main.c,$(wildcard src/*.c)) $(GEN_SRC) \
            $(wildcard src/base/*.c src/io/*.c src/text/*.c src/model/*.c src/remodel/*.c src/calib/*.c src/linalg/*.c src/solve/*.c \
                       src/export/*.c) \
            $(filter-out $(KERNEL_SRC),$(wildcard src/kernels/*.c)) \
            $(wildcard methods/*.c methods/*/*.c formats/*.c formats/*/encode.c)
TEST_SRC := $(wildcard tests/unit/test_*.c)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)

PORTABLE_OBJ := $(DECODE_SRC:%.c=$(O)/%.o)
DECODE_OBJ := $(PORTABLE_OBJ) $(DECODE_KERNEL_OBJ)
GEN_OBJ := $(GEN_SRC:%.c=$(O)/%.o)
TOOL_OBJ := $(TOOL_SRC:%.c=$(O)/%.o) $(KERNEL_OBJ)
TESTS := $(TEST_SRC:tests/unit/%.c=$(O)/tests/%)
FUZZERS := $(FUZZ_SRC:tests/fuzz/%.c=$(O)/fuzz/%)

.PHONY: all lib program tests fuzzers where demo check aarch64-check unit cli asan fuzz style format format-check install uninstall clean help
.DELETE_ON_ERROR:
.SECONDARY:
all: build/wcompress lib
lib: build/libwcdecode.a build/libwcdecode.so

# What lies in build/ is a copy, compared every time: it may have been made with other flags, or for another machine.
.PHONY: compared
build/wcompress build/generate build/levels build/libwcdecode.a build/libwcdecode.so: build/%: $(O)/% compared
	$(Q)cmp -s $< $@ || cp -f $< $@
$(O)/wcompress: $(O)/src/main.o $(O)/libwc.a $(O)/libwcdecode.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) -fopenmp $(LDFLAGS) -o $@ $^ $(LIBS)
$(O)/libwc.a: $(TOOL_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(O)/libwcdecode.a: $(DECODE_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(O)/generate: $(O)/examples/generate/main.o $(GEN_OBJ) $(O)/libwcdecode.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) -fopenmp $(LDFLAGS) -o $@ $^ -lzstd -ljansson -lpcre2-8 -lutf8proc -lm
$(O)/libwcdecode.so: $(DECODE_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) -shared -Wl,-soname,libwcdecode.so.0 $(LDFLAGS) -o $@ $^

$(PORTABLE_OBJ): $(O)/%.o: %.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(WCD_CFLAGS) $(DECODE_MACHINE) -MMD -MP -c -o $@ $<
define decode_kernel_rule
$(filter %_kernel_$(1).o,$(DECODE_KERNEL_OBJ)): $(O)/%_$(1).o: %.c
	$$(call say,CC,"$$< ($(1))")
	$(Q)mkdir -p $$(@D)
	$(Q)$(CC) $(CFLAGS) $(WCD_CFLAGS) -O3 $(DECODE_FLAGS_$(1)) $(DECODE_MACHINE) -DWCD_LEVEL=$(1) -MMD -MP -c -o $$@ $$<
endef
$(foreach l,$(DECODE_LEVELS),$(eval $(call decode_kernel_rule,$(l))))
$(O)/%.o: %.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(WC_CFLAGS) -MMD -MP -c -o $@ $<
$(O)/src/calib/builtin.o: src/calib/builtin.txt
# -O3 for the vectoriser; WCK_LEVEL names the level, see src/kernels/kernels.h.
define kernel_rule
$(O)/src/kernels/%_kernel_$(1).o: src/kernels/%_kernel.c
	$$(call say,CC,"$$< ($(1))")
	$(Q)mkdir -p $$(@D)
	$(Q)$(CC) $(CFLAGS) $(WC_CFLAGS) -O3 $(LEVEL_FLAGS_$(1)) -DWCK_LEVEL=$(1) -MMD -MP -c -o $$@ $$<
endef
$(foreach l,$(LEVELS),$(eval $(call kernel_rule,$(l))))

# Unit tests: one program per file, linked with everything but main. `make unit' runs them, `make t/NAME' one of them.
$(O)/tests/%: tests/unit/%.c $(O)/libwc.a $(O)/libwcdecode.a
	$(call say,TEST,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(WC_CFLAGS) -MMD -MP -MT $@ -Itests -o $@ $< $(TEST_LDFLAGS) $(O)/libwc.a $(O)/libwcdecode.a -lcmocka $(LIBS)
# Levels of the decode library: the same cases as one of the unit tests, and alone, on libc only, for other machines.
LEVELS_OBJ := $(O)/tests/levels/cases.o $(O)/tests/samples.o
$(O)/tests/test_wcd_levels: $(LEVELS_OBJ)
$(O)/tests/test_wcd_levels: TEST_LDFLAGS := $(LEVELS_OBJ)
$(O)/levels: $(O)/tests/levels/main.o $(O)/tests/levels/time.o $(LEVELS_OBJ) $(O)/libwcdecode.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lm
# This one counts allocations, and makes them fail.
$(O)/tests/test_generate: TEST_LDFLAGS := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
# The CUDA sources as C++, on a CUDA runtime made of fibers; without a C++ compiler their test says that it skips.
CUDA_TEST_SRC := tests/cuda/cases.c tests/samples.c
HAVE_CXX := $(shell command -v $(CXX))
EMULATED_OBJ := $(if $(HAVE_CXX),$(patsubst %,$(O)/emulated/%.o,$(wildcard src/cuda/*.cu tests/cuda/emulated/*.cc)))
EMULATED_FLAGS := -std=c++17 -Wall -Wshadow -Wno-unknown-pragmas -ffp-contract=off -Itests/cuda/emulated -I. -Isrc -Iinclude \
                  $(WERROR)
$(O)/emulated/%.o: %
	$(call say,CXX,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) $(CFLAGS) $(EMULATED_FLAGS) -MMD -MP -x c++ -c -o $@ $<
$(O)/tests/test_cuda: tests/unit/test_cuda.c $(CUDA_TEST_SRC) $(EMULATED_OBJ) $(O)/libwcdecode.a
	$(call say,TEST,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(WC_CFLAGS) $(if $(HAVE_CXX),,-DWC_NO_CXX) -MMD -MP -MT $@ -Itests -Itests/cuda/emulated -o $@ $< \
	    $(if $(HAVE_CXX),$(CUDA_TEST_SRC) $(EMULATED_OBJ) $(O)/libwcdecode.a -lstdc++) -lcmocka -lm
tests: $(TESTS)
t/%: $(O)/tests/test_%
	$(Q)$<
$(O)/fuzz/%: tests/fuzz/%.c tests/fuzz/driver.c $(O)/libwc.a $(O)/libwcdecode.a
	$(call say,FUZZ,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(WC_CFLAGS) -MMD -MP -MT $@ -Itests -o $@ $< tests/fuzz/driver.c $(O)/libwc.a $(O)/libwcdecode.a $(LIBS)
fuzzers: $(FUZZERS)
f/%: $(O)/fuzz/fuzz_%
	$(Q)$<
# For tests/run.sh: the program of these flags, without touching build/wcompress, and the folder it lies in.
program: $(O)/wcompress
where:
	@echo $(O)

# ---- CUDA ---------------------------------------------------------------------------------------------------------------

# Needs nvcc, a C compiler and nothing else; CPU users build none of it. docs/CUDA.md says how to run the test and the benchmark.
NVCC ?= $(shell command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
# Code for Ampere and Hopper; PTX of the second for what comes behind it.
NVCC_ARCH ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90]
# --fmad=false: dequantized values must be the same bits as on the CPU; products say fmaf where they mean it.
NVCC_FLAGS := -std=c++17 -O3 --fmad=false $(NVCC_ARCH) -I. -Isrc -Iinclude -Xcompiler -ffp-contract=off,-fvisibility=hidden,-fPIC
CUDA_OBJ := $(patsubst %.cu,build/cuda/%.o,$(wildcard src/cuda/*.cu))
.PHONY: cuda cuda-check
ifeq ($(NVCC),)
cuda cuda-check:
	@echo 'skip cuda: no nvcc, not on the PATH and not in /usr/local/cuda (NVCC=... names one)'
else
cuda: build/libwcdecode_cuda.a build/libwcdecode_cuda.so build/cuda/test_cuda build/cuda/bench_cuda
# Compiling for every architecture is a check in itself; where there is a device, the test runs on it.
cuda-check: cuda
	$(Q)if nvidia-smi -L 2>/dev/null | grep -q GPU; then build/cuda/test_cuda; else echo 'skip test_cuda: no CUDA device'; fi
endif
build/cuda/%.o: %.cu $(wildcard src/cuda/*.cuh src/decode/*.h formats/*/kernel.h) src/base/half.h include/wcdecode.h \
                include/wcdecode_cuda.h
	$(call say,NVCC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(NVCC) $(NVCC_FLAGS) -c -o $@ $<
build/libwcdecode_cuda.a: $(CUDA_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
# Holds a copy of the decode library for itself, hidden.
build/libwcdecode_cuda.so: $(CUDA_OBJ) $(O)/libwcdecode.a
	$(call say,LINK,$@)
	$(Q)$(NVCC) $(NVCC_ARCH) -shared -Xlinker -soname,libwcdecode_cuda.so.0,--exclude-libs,ALL -o $@ $^
build/cuda/test_cuda: tests/cuda/main.c $(CUDA_TEST_SRC) build/libwcdecode_cuda.a $(O)/libwcdecode.a
	$(call say,NVCC,$<)
	$(Q)$(NVCC) $(NVCC_ARCH) -O1 -I. -Isrc -Iinclude -Itests/cuda -o $@ $^ -lm
build/cuda/bench_cuda: tests/cuda/bench.c tests/samples.c build/libwcdecode_cuda.a $(O)/libwcdecode.a
	$(call say,NVCC,$<)
	$(Q)$(NVCC) $(NVCC_ARCH) -O2 -I. -Isrc -Iinclude -Itests/cuda -o $@ $^ -lcublas -lm

# ---- what a user runs --------------------------------------------------------------------------------------------------

demo:
	$(Q)scripts/setup.sh build
	$(Q)+$(MAKE) --no-print-directory -j$(JOBS) build/wcompress
	$(Q)mkdir -p build/demo
	$(Q)build/wcompress quantize --bits 3 -f -o build/demo/docs4m.wcz --eval tests/data/eval/technical.txt tests/data/docs4m

# Every step builds what it needs; tests/run.sh says what the steps are and counts the cases.
check:
	$(Q)scripts/setup.sh check
	$(Q)tests/run.sh
unit cli asan fuzz style:
	$(Q)tests/run.sh $@
# The decode library alone, for another machine: no part of `check' unless the tools are there.
aarch64-check:
	$(Q)scripts/setup.sh aarch64
	$(Q)MAKE=$(MAKE) tests/cli/aarch64.sh

# The layout is that of clang-format 14, Debian 12's: other versions differ in details.
CLANG_FORMAT ?= $(shell command -v clang-format-14 || echo clang-format)
FORMATTED = $(shell git ls-files -co --exclude-standard '*.c' '*.h')
format:
	$(Q)$(CLANG_FORMAT) -i $(FORMATTED)
format-check:
	$(Q)$(CLANG_FORMAT) --dry-run --Werror $(FORMATTED)

# ---- installation ------------------------------------------------------------------------------------------------------

# The soname changes with the first number, which is that of the ABI.
SONAME := libwcdecode.so.0
# The man page and the completions are printed by the program, from the tables that it parses options with.
MAN = $(MANDIR)/man1/wcompress.1
BASH_COMPLETION = $(PREFIX)/share/bash-completion/completions/wcompress
ZSH_COMPLETION = $(PREFIX)/share/zsh/site-functions/_wcompress
FISH_COMPLETION = $(PREFIX)/share/fish/vendor_completions.d/wcompress.fish
GENERATED = $(MAN) $(BASH_COMPLETION) $(ZSH_COMPLETION) $(FISH_COMPLETION)
define PC_FILE
prefix=$(PREFIX)
libdir=$(LIBDIR)
includedir=$(INCLUDEDIR)

Name: wcdecode
Description: reads the files of wcompress: compressed weights of transformers
Version: $(VERSION)
Libs: -L$${libdir} -lwcdecode
Cflags: -I$${includedir}
endef
export PC_FILE

# Only what `make cuda' has built: installing compiles nothing that needs nvcc.
define INSTALL_CUDA
$(INSTALL) -m 644 build/libwcdecode_cuda.a $(DESTDIR)$(LIBDIR)/libwcdecode_cuda.a
$(INSTALL) -m 755 build/libwcdecode_cuda.so $(DESTDIR)$(LIBDIR)/libwcdecode_cuda.so.$(VERSION)
ln -sf libwcdecode_cuda.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libwcdecode_cuda.so.0
ln -sf libwcdecode_cuda.so.0 $(DESTDIR)$(LIBDIR)/libwcdecode_cuda.so
$(INSTALL) -m 644 include/wcdecode_cuda.h $(DESTDIR)$(INCLUDEDIR)
endef

install: all
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR) $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(PKGCONFIGDIR)
	$(INSTALL) -m 755 build/wcompress $(DESTDIR)$(BINDIR)/wcompress
	$(INSTALL) -m 644 build/libwcdecode.a $(DESTDIR)$(LIBDIR)/libwcdecode.a
	$(INSTALL) -m 755 build/libwcdecode.so $(DESTDIR)$(LIBDIR)/libwcdecode.so.$(VERSION)
	ln -sf libwcdecode.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libwcdecode.so
	$(INSTALL) -m 644 include/wcdecode.h include/wcdecode_openmp.h $(DESTDIR)$(INCLUDEDIR)
	$(if $(wildcard build/libwcdecode_cuda.so),$(INSTALL_CUDA))
	$(INSTALL) -d $(DESTDIR)$(MANDIR)/man3
	$(INSTALL) -m 644 docs/wcdecode.3 $(DESTDIR)$(MANDIR)/man3/wcdecode.3
	$(INSTALL) -d $(DESTDIR)$(DATADIR)/generate
	$(INSTALL) -m 755 scripts/wcdecode.py $(DESTDIR)$(DATADIR)/wcdecode.py
	$(INSTALL) -m 644 $(wildcard examples/generate/*) $(DESTDIR)$(DATADIR)/generate
	@printf '%s\n' "$$PC_FILE" >$(DESTDIR)$(PKGCONFIGDIR)/libwcdecode.pc
	$(INSTALL) -d $(addprefix $(DESTDIR),$(dir $(GENERATED)))
	$(foreach g,man:$(MAN) bash:$(BASH_COMPLETION) zsh:$(ZSH_COMPLETION) fish:$(FISH_COMPLETION), \
	    build/wcompress generate $(subst :, >$(DESTDIR),$g) &&) true
uninstall:
	rm -f $(DESTDIR)$(BINDIR)/wcompress $(addprefix $(DESTDIR)$(INCLUDEDIR)/,wcdecode.h wcdecode_openmp.h wcdecode_cuda.h)
	rm -f $(DESTDIR)$(PKGCONFIGDIR)/libwcdecode.pc $(DESTDIR)$(MANDIR)/man3/wcdecode.3
	rm -f $(foreach l,libwcdecode libwcdecode_cuda,$(addprefix $(DESTDIR)$(LIBDIR)/$l.,a so so.0 so.$(VERSION)))
	rm -f $(addprefix $(DESTDIR),$(GENERATED))
	rm -rf $(DESTDIR)$(DATADIR)

clean:
	rm -rf build

help:
	@printf '%s\n' \
	    'make              build/wcompress and build/libwcdecode.{a,so}' \
	    'make build/generate   the text generator of examples/generate, on libwcdecode alone' \
	    'make demo         install what is missing, build, compress the model in the tree to 3 bits, show what it cost' \
	    'make check        install what is missing, then every test; ends with "N passed, M failed"' \
	    'make unit         the unit tests             make t/NAME   one of them, tests/unit/test_NAME.c' \
	    'make cli          the tests of the commands' \
	    'make asan         both under AddressSanitizer and UndefinedBehaviorSanitizer' \
	    'make fuzz         every fuzzer for WC_FUZZ_SECONDS (default 2), sanitized      make f/NAME   one of them' \
	    'make aarch64-check    the decode library on AArch64, in emulation' \
	    'make build/levels every level of the decode library against portable C; with --time how fast they are' \
	    'make cuda         build/libwcdecode_cuda.{a,so}, its test and its benchmark, where there is an nvcc' \
    'make cuda-check   the same, and runs the test where there is a device' \
    'make style        formatting, include rules, stray characters' \
	    'make bench        speed, as shares of what this machine can do, measured in the same run' \
	    'make bench-rd     bits above the rate-distortion function: rd beside gptq and lut; SIZE=1024 STATES="8 64"' \
    'make format       lay out the sources by .clang-format; make format-check only looks' \
	    'make install      under PREFIX (default /usr/local), DESTDIR before it; make uninstall' \
	    'make clean        remove build/' \
	    'V=1 shows the commands; CC, CFLAGS, LDFLAGS, WERROR=-Werror as usual.'

# Minutes; on a quiet machine. docs/PERFORMANCE.md.
.PHONY: bench
bench: build/wcompress
	$(Q)$< bench --tokenizer tests/data/docs4m/tokenizer.json
# Bits above the rate-distortion function; one core or all, minutes. SIZE and STATES as in methods/rd/README.md.
.PHONY: bench-rd
SIZE ?= 2048
STATES ?= 8 64 256
bench-rd: build/wcompress
	$(Q)$< bench --bound --size $(SIZE) $(STATES:%=--states %)

-include $(shell find $(O) -name '*.d' 2>/dev/null)
