"""OpenVINO GenAI with weights in int4, for the peers harness, whose own adapter knows float32 and int8.

    PEERS_ENV/venv-openvino/bin/optimum-cli export openvino --model MODEL --task text-generation-with-past \\
        --weight-format int4 MODEL-ov-int4
    PEERS_ENV/venv-openvino/bin/python PEERS/run.py benchmarks/openvino_int4_adapter.py int4 w1 --model MODEL
"""

from adapters.openvino_genai_cb import SETTINGS, Engine  # type: ignore[import-not-found]

SETTINGS["int4"] = ("int4", {})
"""The plugin's defaults, as for int8."""
load = Engine
