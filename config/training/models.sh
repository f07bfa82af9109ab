#!/bin/sh
# The shipped models from nothing: four runs, two exports. Interrupted, the same command goes on where it stopped.
#   sh config/training/models.sh DATA OUT [options for every `seg_perception train`]
# DATA holds camvid/, camvid_no_lanes/ and weights/; OUT gets the runs and, in OUT/engines, the models.
set -eu
here=$(dirname "$0")
data=$1
mkdir -p "$2/weights"
out=$(cd "$2" && pwd)
shift 2
camvid='CamVid (Cambridge-driving Labeled Video Database), published for research without a licence text'

# train RUN CONFIG [options]: curves.png is the last thing that a run writes.
train() {
  run=$1 config=$2
  shift 2
  [ -f "$out/$run/curves.png" ] ||
    python -m seg_perception train "$here/$config.yaml" --data "$data" --out "$out/$run" "$@"
  cp "$out/$run/best.pt" "$out/weights/deeplab_$run.pt"
}

train accurate_1 deeplab_accurate "$@"
train accurate_2 deeplab_accurate_2 --set network.start="$out/weights/deeplab_accurate_1.pt" "$@"
train accurate_3 deeplab_accurate_3 --set network.start="$out/weights/deeplab_accurate_2.pt" "$@"
train fast deeplab_fast --set network.start="$out/weights/deeplab_accurate_1.pt" "$@"

python -m seg_perception export "$out/accurate_3/best.pt" --average "$out/weights/deeplab_accurate_2.pt" \
  --data "$data" --out "$out/engines" --name deeplab_accurate \
  --licence "$camvid; backbone weights Apache-2.0"
python -m seg_perception export "$out/fast/best.pt" --exposure 0.4 \
  --data "$data" --out "$out/engines" --name deeplab_fast \
  --licence "$camvid; synthetic scenes of this package; backbone weights Apache-2.0"
