#!/bin/bash
# replay.sh - a file's recipes used again (--like): the same bytes, whatever the plan had settled; refusals.
. tests/cli/lib.sh
make_small
gives 'calibrate' 0 '' calibrate "$small" -o "$tmp/s.wcstats" --calib-tokens 512 --seqlen 64

# again NAME ARGUMENTS...: compress, then once more like the result; those behind -- belong to both.
again()
{
    local name=$1 first=()
    shift
    while [ "$1" != -- ]; do first+=("$1") && shift; done
    shift
    gives "$name" 0 '' compress "${first[@]}" "$@" "$small" -o "$tmp/$name.wcz"
    gives "$name: again" 0 '' compress --like "$tmp/$name.wcz" "$@" "$small" -o "$tmp/again.wcz" -f
    check "$name: the same bytes" cmp "$tmp/$name.wcz" "$tmp/again.wcz"
}
again rules --recipe 'outliers(threshold=4,criterion=sensitivity) | gptq(bits=3) | eora(rank=4)' \
    --rule '*k_proj.weight=svd(rank=4) | lut(bits=3)' --rule '*.up_proj.weight=keep' --embed-bits 6 -- --stats "$tmp/s.wcstats"
again folded --recipe 'awq(points=3) | rtn(bits=3)' -- --stats "$tmp/s.wcstats"
again shares --recipe 'svdllm(budget=0.4) | rtn(bits=2)' --rule '*.v_proj.weight=sparsegpt(2:4) | gptq(bits=4) | slim(rank=4)' \
    -- --stats "$tmp/s.wcstats"
again floors --recipe 'magnitude(50%,compare=model) | rtn(bits=4)' --embed-bits 0 --
again rotated --recipe 'rotate(seed=3) | rtn(bits=4)' --
again lossless --recipe lossless --

gives 'like and a rule' 0 '' compress --like "$tmp/floors.wcz" --rule '*.q_proj.weight=rtn(bits=2)' "$small" -o "$tmp/more.wcz"
run inspect "$tmp/more.wcz"
check 'the rule is stronger' grep -q 'q_proj.* grid 2b' "$tmp/out"
gives 'recipe and like' 2 'contradict' compress --like "$tmp/floors.wcz" --recipe rtn "$small" -o "$tmp/no.wcz"
gives 'like what is no .wcz' 3 'not a .wcz file' compress --like "$small/config.json" "$small" -o "$tmp/no.wcz"
gives 'like a file without recipes' 3 'kinds.wcz' compress --like tests/data/golden/kinds.wcz "$small" -o "$tmp/no.wcz"
gives 'like nothing' 7 'nowhere' compress --like "$tmp/nowhere" "$small" -o "$tmp/no.wcz"
gives 'like a larger model' 0 '' compress --recipe 'rtn(bits=3)' "$model" -o "$tmp/whole.wcz"
gives 'like a larger model: refused' 2 'model.layers.2.* matches none of the 20 tensors' \
    compress --like "$tmp/whole.wcz" "$small" -o "$tmp/no.wcz"
absent 'nothing left behind' "$tmp/no.wcz" "$tmp/no.wcz.partial"
finish
