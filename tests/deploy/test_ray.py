"""The files of deploy/ray are what Ray Serve, KubeRay and Compose read, and name only options that there are."""

import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

pytest.importorskip("ray", reason="foreword[cluster] is not installed")

import ray
from ray.scripts.scripts import cli as ray_cli
from ray.serve.schema import ServeDeploySchema
from ray.serve.scripts import cli as serve_cli
from starlette.datastructures import Headers

from foreword.cluster.application import app, autoscaling, read_options
from foreword.cluster.config import ClusterConfig
from foreword.errors import ConfigError
from foreword.server.hosts import Hosts

FOLDER = Path(__file__).parents[2] / "deploy" / "ray"


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return found


def serve_configs() -> dict[str, dict[str, Any]]:
    """What Serve is told, by file."""
    within = yaml.safe_load(read("rayservice.yaml")["spec"]["serveConfigV2"])
    return {**{name: read(name) for name in ("serve.yaml", "serve-compose.yaml")}, "rayservice.yaml": within}


@pytest.mark.parametrize("name", serve_configs())
def test_serve_takes_the_config_and_the_builder_its_arguments(name: str) -> None:
    (application,) = ServeDeploySchema.model_validate(serve_configs()[name]).applications
    assert application.import_path == "foreword.cluster:app"
    cluster, engine, server = read_options(application.args)
    assert (cluster.replicas, engine.model) == (2 if name == "serve-compose.yaml" else 3, "smollm2")
    for host in ("10.0.0.5:8000", "foreword-serve-svc.default.svc.cluster.local:8000", "127.0.0.1:8000"):
        Hosts(server, keys=False).check(Headers({"host": host}))


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


def test_compose_runs_commands_that_ray_and_serve_have_on_files_and_services_that_there_are() -> None:
    services = read("compose.yaml")["services"]
    mounted = {}
    for each in services["head"]["volumes"]:
        source, target, _ = each.split(":")
        mounted[target] = FOLDER / source
    commands = {"ray": ray_cli, "serve": serve_cli}
    parsed = {}
    for service in ("head", "worker"):
        words = shlex.split(services[service]["command"])
        told = shlex.split(words[2]) if words[:2] == ["bash", "-c"] else words
        for line in " ".join(told).split("&&"):
            program, *rest = line.split()
            if program in commands:
                command = commands[program].commands[rest[0]]
                with command.make_context(rest[0], [str(mounted.get(word, word)) for word in rest[1:]]) as context:
                    parsed[f"{service} {program} {rest[0]}"] = context.params
    assert set(parsed) == {"head ray start", "head serve deploy", "worker ray start"}
    assert parsed["worker ray start"]["address"] == f"head:{parsed['head ray start']['port']}"
    assert Path(parsed["head serve deploy"]["config_or_import_path"]).is_file()
    (application,) = ServeDeploySchema.model_validate(read("serve-compose.yaml")).applications
    _, engine, _ = read_options(application.args)
    assert urlsplit(engine.shared_store or "").hostname in services
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)


def test_serve_is_told_when_a_replica_is_one_too_many() -> None:
    assert autoscaling(ClusterConfig()) is None
    scaled = autoscaling(ClusterConfig(replicas=2, max_replicas=5, requests_per_replica=4.0, idle_seconds=20.0))
    assert scaled is not None
    assert (scaled.min_replicas, scaled.max_replicas, scaled.target_ongoing_requests) == (2, 5, 4.0)
    assert scaled.downscale_delay_s == 20.0


def test_what_a_server_over_a_fleet_cannot_honour_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"kv_events is 'tcp:.*a fleet's caches are those of its replicas"):
        app({"kv_events": "tcp://127.0.0.1:5557"})
