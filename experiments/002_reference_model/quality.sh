#!/bin/sh
# What the bundled model can do when nothing is forgotten, or one of another seed (its folder), and the
# table of it, table.md or one beside the records:
#
#     sh experiments/002_reference_model/quality.sh [python [model records]]
#
# Killed, the evaluations go on where they were when it is typed again; probes that were measured stay
# (delete probes.jsonl beside the records, outputs/reference_quality unless said, to measure them again).
set -eu
if [ $# -eq 2 ]; then
    echo "records of $2 need a folder of their own: sh $0 $1 $2 <folder>" >&2
    exit 2
fi
python=${1:-.venv/bin/python}
model=${2:-}
out=${3:-outputs/reference_quality}
table=${3:-experiments/002_reference_model}/table.md
run="$python run.py -m mode=baseline tracker=none outputs=$out ${model:+model=hf model.name=$model}"
kept="'kept out: vault','kept out: porter','kept out: telephone','kept out: coins','kept out: inn',\
'kept out: hymn','kept out: parcel','kept out: comet','kept out: orchard','kept out: swimmer'"
mkdir -p $out

$run experiment=reference_quality
$run experiment=reference_quality "evaluation.needle.lengths=[8192]" \
    evaluation.needle.samples_per_cell=10 evaluation.ruler.samples_per_cell=50
$run evaluation=needle "evaluation.needle.lengths=[2048],[4096],[8192]" \
    "evaluation.needle.kinds=[multi_query]" evaluation.needle.samples_per_cell=13 \
    "evaluation.needle.depths=[0,0.06,0.13,0.2,0.26,0.33,0.4,0.46,0.53,0.6,0.66,0.73,0.8,0.86,0.93,1]"
$run evaluation=key_value "evaluation.key_value.lengths=[512]" evaluation.key_value.samples_per_cell=40
$run evaluation=ruler "evaluation.ruler.tasks=[vt]" evaluation.ruler.hops=2 \
    evaluation.ruler.example=false "evaluation.ruler.lengths=[512]" \
    evaluation.ruler.samples_per_cell=200 evaluation.ruler.tokens_to_generate=20

probe() { # name, lengths, samples, and what else is measured
    grep -qs "\"of\": \"$1\"" $out/probes.jsonl && return
    $python -m memollm.reference.measure "probes=[$2]" "lengths=[$3]" "samples=$4" "text_windows=$5" \
        "ablate_at=$6" ${model:+"model=$model"} >$out/probe.jsonl
    sed "s/^{/{\"of\": \"$1\", /" $out/probe.jsonl >>$out/probes.jsonl
    rm $out/probe.jsonl
}
probe text '' '' 1 80 0
probe 1024 "'json 8','random keys 4','variable tracking 2',$kept" 1024 200 0 0
probe keys "'json 8','random keys 4'" 2048,4096 100 0 0
probe sixteen "'ruler 16'" 2048,1024,4096 100 0 0
probe wordings "$kept" 2048 50 0 0
probe 'wordings far away' "$kept" 4096 20 0 0
probe layers "" "" 100 0 1024
$python experiments/002_reference_model/table.py $out $table
