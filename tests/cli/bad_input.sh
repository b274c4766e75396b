#!/bin/bash
# bad_input.sh - what is wrong with a model, a text, an option or a place is told in one sentence that names the thing, with the
# documented exit code, and nothing that looks finished is left.
. tests/cli/lib.sh
make_small
# shellcheck disable=SC2086
broken() { /usr/bin/python3 tests/cli/make_broken.py "$1" "$tmp/$1"; }

# refuses KIND CODE PATTERN [OPTION...]: quantize of that broken model.
refuses()
{
    local kind=$1 want=$2 pattern=$3
    shift 3
    [ -d "$tmp/$kind" ] || broken "$kind"
    # shellcheck disable=SC2086
    gives "model: $kind $*" "$want" "$pattern" quantize "$tmp/$kind" -o "$tmp/$kind.wcz" $quick "$@"
    absent "model: $kind $* leaves nothing" "$tmp/$kind.wcz" "$tmp/$kind.wcz.partial"
    rm -rf "$tmp/$kind.wcz.work"
}

# ---- models -------------------------------------------------------------------------------------------------------------

refuses truncated 3 'model.safetensors.*[0-9]+.*[0-9]+'
refuses overlap 3 'up_proj|down_proj|offset|overlap'
refuses short_data 3 'layers\.1\.mlp\.up_proj.*[0-9]'
refuses wrong_shape 3 'layers\.0\.self_attn\.q_proj\.weight.*128.*256'
refuses missing_tensor 3 'layers\.1\.mlp\.up_proj\.weight'
refuses missing_shard '[37]' 'model-00002-of-00002'
refuses missing_key 3 'hidden_size'
refuses contradiction 3 'num_key_value_heads|heads'
refuses bad_json 3 'config\.json'
refuses bad_tokenizer 3 'tokenizer\.json'
refuses nan 3 'layers\.1\.mlp\.up_proj\.weight.*(nan|NaN|finite).*5.*7|layers\.1\.mlp\.up_proj\.weight.*5.*7.*(nan|NaN|finite)'
refuses inf 3 'layers\.1\.mlp\.up_proj\.weight.*(inf|Inf|finite).*5.*7|layers\.1\.mlp\.up_proj\.weight.*5.*7.*(inf|Inf|finite)'
refuses nan 3 'layers\.1\.mlp\.up_proj\.weight' -m rtn
refuses large_vocabulary 3 'vocabulary.*1024|1024.*vocabulary'
refuses pickle '[36]' 'pytorch_model\.bin|pickle|safetensors'
refuses unknown_architecture 6 'zebra' -m gptq
refuses no_config 6 'config\.json' -m gptq
refuses no_tokenizer 6 'tokenizer\.json' -m gptq

for kind in unknown_architecture no_config no_tokenizer; do
    gives "data-free: $kind works and says so" 0 'data-free.*(zebra|no config\.json|no tokenizer\.json)' quantize "$tmp/$kind" -o "$tmp/$kind.wcz"
    check "data-free: $kind verifies" "$wc" verify "$tmp/$kind.wcz"
done
broken sharded
# shellcheck disable=SC2086
gives 'model: shards' 0 '' quantize "$tmp/sharded" -o "$tmp/sharded.wcz" $quick
# shellcheck disable=SC2086
gives 'model: shards by their index' 0 '' quantize "$tmp/sharded/model.safetensors.index.json" -o "$tmp/index.wcz" $quick
broken dead_columns
# shellcheck disable=SC2086
gives 'model: dead input channels' 0 '' quantize "$tmp/dead_columns" -o "$tmp/dead.wcz" $quick
check 'model: dead input channels verify' "$wc" verify "$tmp/dead.wcz" --against "$tmp/dead_columns"
broken zero_matrices
# shellcheck disable=SC2086
gives 'model: matrices of zeros' 0 '' compress --recipe 'gptq(bits=3) | eora(rank=2)' "$tmp/zero_matrices" -o "$tmp/zeros.wcz" $quick --json
cp "$tmp/out" "$tmp/zeros.json"
check 'model: matrices of zeros: errors are numbers' \
    [ "$(json "$tmp/zeros.json" '0 < d["result"]["error_mean"] < 0.1, sum(t["error"] == 0 for t in d["tensors"])')" = '(True, 3)' ]
check 'model: matrices of zeros verify' "$wc" verify "$tmp/zeros.wcz" --against "$tmp/zero_matrices"

# ---- texts --------------------------------------------------------------------------------------------------------------

: >"$tmp/empty"
echo 'Too short.' >"$tmp/tiny"
printf '\001\002\003' >"$tmp/odd"
printf '\377\377\000\000%.0s' $(seq 300) >"$tmp/large_ids"
gives 'text: empty' 3 'empty: .*0 tokens.*window' quantize "$small" -o "$tmp/x.wcz" --calib "$tmp/empty"
gives 'text: tiny' 3 'tiny: [0-9]+ tokens.*needs 256.*seqlen' quantize "$small" -o "$tmp/x.wcz" --calib "$tmp/tiny"
gives 'text: absent' 7 'nowhere: ' quantize "$small" -o "$tmp/x.wcz" --calib "$tmp/nowhere"
gives 'text: absent, for --eval' 7 'nowhere: ' quantize "$small" -o "$tmp/x.wcz" --eval "$tmp/nowhere"
gives 'text: a folder' 7 'small' quantize "$small" -o "$tmp/x.wcz" --calib "$small"
gives 'ids: not a multiple of four' 3 'odd: 3 bytes' quantize "$small" -o "$tmp/x.wcz" --calib-ids "$tmp/odd"
gives 'ids: beyond the vocabulary' 3 'id 65535.*4096' quantize "$small" -o "$tmp/x.wcz" --calib-ids "$tmp/large_ids"
gives 'eval: empty text' 3 'empty: ' eval "$small" --text "$tmp/empty"
gives 'eval: ids beyond the vocabulary' 3 'id 65535.*4096' eval "$small" --ids "$tmp/large_ids"
absent 'texts leave nothing' "$tmp/x.wcz" "$tmp/x.wcz.partial" "$tmp/x.wcz.work"

# ---- options ------------------------------------------------------------------------------------------------------------

while IFS='|' read -r want pattern arguments; do
    # shellcheck disable=SC2086
    gives "option: $arguments" "$want" "$pattern" $arguments "$small" -o "$tmp/x.wcz"
done <<'END'
2|--bits 0: .*1 to 8|quantize --bits 0
2|--bits 9: .*1 to 8|quantize --bits 9
2|--bits -1: .*1 to 8|quantize --bits -1
2|--bits nan|quantize --bits nan
2|--bits three: not a number|quantize --bits three
2|bits=2.5 is not an integer|quantize --bits 2.5
2|--embed-bits 9: .*1 to 8|quantize --embed-bits 9
2|--head-bits 12: .*1 to 8|quantize --head-bits 12
2|unknown method .zap.*known are keep, rtn,.* gptq|quantize -m zap
2|no option .zap.*group|quantize --opt zap=1
2|group=-1.*out of range|quantize --opt group=-1
2|matches none of the 20 tensors|quantize --rule *.nothing=keep
2|PATTERN=RECIPE|quantize --rule nothing
2|unknown method .zap|quantize --rule *.up_proj.weight=zap
2|expected .* at|quantize --rule *.up_proj.weight=gptq(bits=3
2|does not apply.*embedding|quantize --rule *embed_tokens.weight=gptq(bits=3)
2|expected|compress --recipe gptq(bits
2|--recipe is missing|compress
2|no block 5 among the 2|quantize --blocks 5
2|no block 9 among the 2|quantize --blocks 1-9
2|--tp needs --target|quantize --tp 2
2|--tp 18446744073709551615: allowed|quantize --target vllm --tp 18446744073709551615
2|leave out --method, --opt and --bits|quantize --format Q4_K_M --bits 4
2|leave out --embed-bits|quantize --format Q4_K_M --embed-bits 4
2|--size and --bits contradict|search --size 2MiB --bits 3
2|--pattern 50: write 50% for a part|prune --pattern 50
2|option .--json. takes no value|quantize --json=yes
2|unknown option .-z|quantize -qz
2|.--cali. could be --calib or --calib-ids|quantize --cali x
2|--blocks 3-1|quantize --blocks 3-1
2|--blocks x|quantize --blocks x
2|--bos maybe|quantize --bos maybe
2|is no size|quantize --memory 8G
2|is no size|quantize --memory lots
2|unknown option .--zap|quantize --zap
2|--threads x|quantize --threads x
2|not a whole number|quantize --seqlen -5
END
gives 'recipe that ends in |' 2 'expected a method name' compress --recipe 'rtn|' "$small" -o "$tmp/x.wcz"
gives 'recipe of nine steps' 2 'more than 8 steps' compress --recipe 'rtn|rtn|rtn|rtn|rtn|rtn|rtn|rtn|rtn' "$small" -o "$tmp/x.wcz"
gives 'option without its value' 2 "needs a value" quantize "$small" -o
gives 'no operand' 2 'MODEL is missing' quantize --bits 3
gives 'one operand too many' 2 'one operand too many' quantize "$small" "$small"
gives 'one operand of two' 2 'A B: only one of them' diff "$small"
gives 'an output without a name' 2 'name of the output is empty' quantize "$small" -o ''
gives 'unknown command' 2 'unknown command .zap' zap
gives 'eval: unknown protocol' 2 'daslab' eval "$small" --protocol zap
gives 'eval: --max-kl alone' 2 'needs --against' eval "$small" --max-kl 1
gives 'eval: --max-kl below 0' 2 'at least 0' eval "$small" --against "$small" --max-kl -1
gives 'methods: unknown' 2 'unknown method .zap' methods zap
run
if [ "$code" = 2 ] && grep -q 'commands:' "$tmp/err"; then ok 'no command at all'; else fail 'no command at all' "code $code"; fi
"$wc" cut --help >"$tmp/help"
gives 'help of a command' 0 '' help cut
check 'help of a command is its --help' cmp "$tmp/out" "$tmp/help"
gives 'help of no command' 2 'unknown command .zap' help zap
absent 'options leave nothing' "$tmp/x.wcz" "$tmp/x.wcz.partial" "$tmp/x.wcz.work"

# ---- places -------------------------------------------------------------------------------------------------------------

gives 'no such model' 7 'nowhere: no such file' quantize "$tmp/nowhere"
mkfifo "$tmp/fifo"
gives 'a FIFO as model' 7 'fifo: .*regular' quantize "$tmp/fifo" -o "$tmp/x.wcz"
gives 'a FIFO as text' 7 'fifo: .*regular' eval "$small" --text "$tmp/fifo"
mkdir "$tmp/folder"
gives 'an empty folder as model' '[37]' 'folder: .*safetensors' quantize "$tmp/folder" -o "$tmp/x.wcz"
gives 'a FIFO as output' 2 'fifo: is no regular file' quantize "$small" -o "$tmp/fifo" -f
check 'a FIFO as output: still one' [ -p "$tmp/fifo" ]
gives 'a folder as output' 2 'folder: is a folder' quantize "$small" -o "$tmp/folder" -f
gives 'an output in no folder' 7 'nowhere/x\.wcz' quantize -m rtn "$small" -o "$tmp/nowhere/x.wcz"
gives 'a text as .wcz' 3 'tiny' inspect "$tmp/tiny"
gives 'a text as .wcz, verified' 3 'tiny' verify "$tmp/tiny"
printf 'PK\003\004pickle' >"$tmp/model.bin"
gives 'a pickle as model' '[36]' 'model\.bin' quantize "$tmp/model.bin"

head -c 4096 /dev/zero >"$tmp/none.wcz"
: >"$tmp/empty.wcz"
gives 'zeros as .wcz' 3 'none.wcz: not a .wcz file' inspect "$tmp/none.wcz"
gives 'an empty .wcz' 3 'not a .wcz file: it is empty' inspect "$tmp/empty.wcz"
gives 'an output' 0 '' quantize -m rtn "$small" -o "$tmp/a.wcz"
cp "$tmp/a.wcz" "$tmp/a.copy"
head -c 300000 "$tmp/a.wcz" >"$tmp/short.wcz"
gives 'a .wcz cut short' 3 "it has 300000 bytes, its header says $(stat -c %s "$tmp/a.wcz")" inspect "$tmp/short.wcz"
gives 'run says nothing before the file is open' 3 'truncated' run "$tmp/short.wcz" -p 'Once upon'
check 'run says nothing on standard output' [ ! -s "$tmp/out" ]
gives 'output exists' 2 'a\.wcz: exists; give -f' quantize -m rtn "$small" -o "$tmp/a.wcz"
check 'output exists: untouched' cmp "$tmp/a.wcz" "$tmp/a.copy"
gives 'output replaced with -f' 0 '' quantize -m rtn --bits 4 "$small" -o "$tmp/a.wcz" -f
gives 'a .wcz as model' 6 'already compressed' quantize "$tmp/a.wcz" -o "$tmp/x.wcz"

cp "$small/model.safetensors" "$tmp/original"
ln -s "$small/model.safetensors" "$tmp/symbolic.wcz"
ln "$small/model.safetensors" "$tmp/hard.wcz"
for output in "$small/model.safetensors" "$small/config.json" "$small/tokenizer.json" "$tmp/symbolic.wcz" "$tmp/hard.wcz" "$small/../small/model.safetensors"; do
    gives "source as output: ${output#"$tmp"/}" 2 'is the source itself' quantize -m rtn "$small" -o "$output" -f
done
check 'source as output: untouched' cmp "$small/model.safetensors" "$tmp/original"
gives 'calibrate: source as output' 2 'is the source itself' calibrate "$small" -o "$tmp/hard.wcz" -f --calib-tokens 256
check 'calibrate: source untouched' cmp "$small/model.safetensors" "$tmp/original"

if [ "$(id -u)" = 0 ]; then
    skip 'unwritable folder' 'root writes everywhere'
else
    mkdir "$tmp/locked" && chmod 555 "$tmp/locked"
    gives 'unwritable folder' 7 'locked' quantize -m rtn "$small" -o "$tmp/locked/x.wcz"
fi
gives 'unwritable place' 7 '/proc/x\.wcz' quantize -m rtn "$small" -o /proc/x.wcz

mkdir "$tmp/disk"
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=700k wcompress-test "$tmp/disk" 2>/dev/null; then
    gives 'full disk' 7 'x\.wcz\.partial: the disk is too full: [0-9]{7} bytes needed, [0-9]+ free' quantize -m rtn "$small" -o "$tmp/disk/x.wcz"
    absent 'full disk: no output' "$tmp/disk/x.wcz"
    # shellcheck disable=SC2086
    gives 'full disk for activations' 7 '[0-9]{6}.*space' quantize "$small" -o "$tmp/x.wcz" --work-dir "$tmp/disk/w" $quick
    gives 'full disk for statistics' 7 '[0-9]{6}.*space' calibrate "$small" -o "$tmp/disk/x.wcstats" --calib-tokens 256
    umount "$tmp/disk"
else
    skip 'full disk' 'needs root and a mount'
fi
cp -r "$small" "$tmp"/$'caf\xe9'
gives 'a name that is not UTF-8' 0 '' quantize -m rtn "$tmp"/$'caf\xe9' --json
cp "$tmp/out" "$tmp/name.json"
check 'a name that is not UTF-8: in JSON' [ "$(json "$tmp/name.json" 'd["result"]["output"].endswith("caf\ufffd.wcz")')" = True ]
gives 'a name that is not UTF-8: inspect' 0 '' inspect "$tmp"/$'caf\xe9.wcz'

(ulimit -f 500 && gives 'a limit on the size of files' 7 'x\.wcz\.partial: .* bytes.*: File too large' quantize -m rtn "$small" -o "$tmp/x.wcz")
absent 'a limit on the size of files: no output' "$tmp/x.wcz"
{ sleep 0.2 && "$wc" methods 2>"$tmp/err"; echo $? >"$tmp/code"; } | :
if [ "$(cat "$tmp/code")" = 141 ] && [ ! -s "$tmp/err" ]; then ok 'a reader that has enough'; else fail 'a reader that has enough' "$(cat "$tmp/err")"; fi
if [ -w /dev/full ]; then
    if "$wc" methods >/dev/full 2>"$tmp/err"; [ $? = 7 ]; then ok 'full standard output'; else fail 'full standard output' "$(cat "$tmp/err")"; fi
fi
finish
