#!/bin/sh
# Builds wheel and sdist into dist/, and tries each extra in an environment of its own, away from the sources.
# usage: deploy/try_packages.sh PYTHON [EXTRA...]
set -eu
python=$(command -v "$1")
case $python in /*) ;; *) python=$PWD/$python ;; esac
cd "$(dirname "$0")/.."
shift
extras=${*:-base audit tiers kv-events plots engine server cluster}
root=$PWD
away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT
rm -rf dist build
"$python" -m venv "$away/build"
"$away/build/bin/pip" -q --disable-pip-version-check install build
"$away/build/bin/python" -m build --outdir dist . > "$away/build.log" || { cat "$away/build.log"; exit 1; }
wheel=$(ls "$root"/dist/*.whl)
cd "$away"
for extra in $extras; do
    "$python" -m venv --clear "$away/try"
    wanted=foreword
    [ "$extra" = base ] || wanted="foreword[$extra]"
    "$away/try/bin/pip" -q --disable-pip-version-check install -c "$root/constraints.txt" "$wanted @ file://$wheel"
    "$away/try/bin/foreword" --version > /dev/null
    case $extra in
        base) "$away/try/bin/python" -c 'import foreword.cache, foreword.prompt, foreword.replay, sys; assert "torch" not in sys.modules' ;;
        audit) "$away/try/bin/foreword" audit --help > /dev/null ;;
        tiers) "$away/try/bin/python" -c 'import foreword.tiers.valkey, foreword.tiers.object_store, foreword.tiers.sealed' ;;
        kv-events) "$away/try/bin/python" -c 'import zmq, msgspec' ;;
        plots)
            for at in 0 1000; do
                echo "{\"timestamp\": $at, \"input_length\": 64, \"output_length\": 4, \"hash_ids\": [1]}"
            done > trace.jsonl
            "$away/try/bin/foreword" replay trace.jsonl --blocks 100 --svg sweep.svg > /dev/null && test -s sweep.svg ;;
        engine) "$away/try/bin/foreword" demo --show 1 > /dev/null ;;
        server) "$away/try/bin/foreword" serve --help > /dev/null && "$away/try/bin/python" -c 'import foreword.server.build' ;;
        cluster) "$away/try/bin/foreword" cluster --help > /dev/null && "$away/try/bin/python" -c 'import foreword.cluster.application' ;;
    esac
    echo "foreword[$extra]: installed from $(basename "$wheel") and tried"
done
