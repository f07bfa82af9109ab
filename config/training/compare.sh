#!/bin/sh
# Short runs that differ from compare.yaml in one thing each; interrupted, the same command goes on where it stopped.
#   sh config/training/compare.sh DATA OUT [options for every `seg_perception train`]
# DATA is that of the training; OUT gets a folder for each run and compare.csv, the last row of each run's history.
set -eu
config=$(dirname "$0")/compare.yaml
data=$1 out=$2
shift 2
mkdir -p "$out"
echo 'run,step,loss,score,drivable,lane,obstacle,rate,seconds' > "$out/compare.csv"

sed 's/#.*//; /^ *$/d' <<'RUNS' | while read -r name changes; do
deeplab
seed1         seed=1
unet          network.name=unet
fcn           network.name=fcn
stride8       network.output_stride=8
random        network.weights=
width0.75     network.weights= network.width=0.75
width0.5      network.weights= network.width=0.5
no_dice       loss.dice=0
focal         loss.cross_entropy=0 loss.focal=1
hard          loss.hard_fraction=0.25
given         loss.class_weights=[0.8,1.6,1.2,1.0,1.6,0.6]   # road, lane_marking, pavement, vehicle, person, other
no_dark       augment.dark=0
no_foreign    augment.foreign=0
paste         augment.paste=0.4
source        rare_by=source
RUNS
  sets=$(for change in $changes; do printf -- '--set %s ' "$change"; done)
  # curves.png is the last thing that a run writes.
  # shellcheck disable=SC2086
  [ -f "$out/$name/curves.png" ] ||
    python -m seg_perception train "$config" --data "$data" --out "$out/$name" $sets "$@" < /dev/null
  echo "$name,$(tail -n 1 "$out/$name/history.csv")" >> "$out/compare.csv"
done
