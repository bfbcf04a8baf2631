#!/bin/sh
# Every mode, control and press at equal budgets on the same prompts, their table and figure:
#
#     sh experiments/004_suite/run.sh [python] [python with kvpress]
#
# Killed, it goes on where it was when it is typed again. Cells take two to three minutes of one core
# each on the bundled model, some sixty of them; experiment=suite says which. Presses are left out
# where kvpress is not installed (src/memollm/kvpress/__init__.py says how).
set -eu
python=${1:-.venv/bin/python}
with_kvpress=${2:-$python}
run="run.py -m experiment=suite tracker=none outputs=outputs/suite"
presses=streaming_llm,snapkv,expected_attention,keydiff,lagkv,knorm,tova,ebbinghaus,random

$python $run
$python $run mode=sparse_attention policy=ebbinghaus strength=learned
$python $run mode=sparse_attention policy=ebbinghaus memory.reinforcement=0 memory.recall_threshold=null
$python $run mode=sparse_attention policy=ebbinghaus retention=power_law
$python $run mode=soft_delete policy=ebbinghaus budget=null
# As a press does it: all of the context is read before anything is forgotten.
$python $run mode=sparse_attention policy=window memory.prefill_chunk=4096 \
    "evaluation=[continuation,needle,key_value,ruler]"
if $with_kvpress -c "import importlib.util as it; raise SystemExit(it.find_spec('kvpress') is None)"; then
    $with_kvpress $run mode=kvpress policy=ebbinghaus mode.press=$presses \
        "evaluation=[continuation,needle,key_value,ruler]"
fi
$python experiments/004_suite/table.py outputs/suite
$python experiments/004_suite/plot.py
