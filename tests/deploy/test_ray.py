"""The files of deploy/ray are what Ray Serve, KubeRay and Compose read, and name only options that there are."""

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("ray", reason="foreword[cluster] is not installed")

import ray
from ray.serve.schema import ServeDeploySchema

from foreword.cluster.application import read_options

FOLDER = Path(__file__).parents[2] / "deploy" / "ray"


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return found


def serve_configs() -> dict[str, dict[str, Any]]:
    """What Serve is told, by file."""
    within = yaml.safe_load(read("rayservice.yaml")["spec"]["serveConfigV2"])
    return {"serve.yaml": read("serve.yaml"), "rayservice.yaml": within}


@pytest.mark.parametrize("name", serve_configs())
def test_serve_takes_the_config_and_the_builder_its_arguments(name: str) -> None:
    (application,) = ServeDeploySchema.model_validate(serve_configs()[name]).applications
    assert application.import_path == "foreword.cluster:app"
    cluster, engine, _ = read_options(application.args)
    assert (cluster.replicas, engine.model) == (3, "smollm2")


def test_a_node_of_kubernetes_holds_the_replicas_that_are_placed_there() -> None:
    spec = read("rayservice.yaml")["spec"]["rayClusterConfig"]
    assert spec["rayVersion"] == ray.__version__
    (group,) = spec["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    (application,) = ServeDeploySchema.model_validate(serve_configs()["rayservice.yaml"]).applications
    cluster, _, _ = read_options(application.args)
    assert int(container["resources"]["limits"]["cpu"]) >= cluster.replica_cpus
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_compose_names_files_that_there_are() -> None:
    services = read("compose.yaml")["services"]
    for service in (services["head"], services["worker"]):
        context = (FOLDER / service["build"]["context"]).resolve()
        assert (context / service["build"]["dockerfile"]).is_file()
