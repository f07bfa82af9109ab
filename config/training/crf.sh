#!/bin/sh
# What the CRF changes: a checkpoint exported without and with it, at two sizes, measured on 0001TP. Interrupted, the same
# command goes on where it stopped.
#   sh config/training/crf.sh DATA OUT CHECKPOINT
# DATA is that of the training run; OUT gets the models and crf.txt.
set -eu
data=$1 out=$2 checkpoint=$3
mkdir -p "$out"

for size in '512 768' '256 384'; do
  for crf in '' --crf; do
    name=${size% *}${crf:+_crf}
    [ -f "$out/$name.txt" ] && continue
    # shellcheck disable=SC2086
    python -m seg_perception export "$checkpoint" --data "$data" --out "$out/$name" --name "$name" --precision fp32 --size $size $crf
    python -m seg_perception evaluate "$out/$name/$name.onnx" --images "$data/camvid/images" --labels "$data/camvid/labels" \
      --classes "$data/camvid/classes.csv" --match 0001TP > "$out/$name.part"
    mv "$out/$name.part" "$out/$name.txt"
  done
done
tail -n +1 "$out"/*.txt > "$out/crf.txt.part"
mv "$out/crf.txt.part" "$out/crf.txt"
cat "$out/crf.txt"
