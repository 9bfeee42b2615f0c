"""Serving can be imported, and a router's process be light, where there is neither torch nor an HTTP framework."""

import subprocess
import sys

BLOCKED = ("torch", "transformers", "safetensors", "fastapi", "starlette", "uvicorn", "llvmlite")
PROGRAM = f"""
import importlib, pkgutil, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import foreword.serving
for module in pkgutil.walk_packages(foreword.serving.__path__, "foreword.serving."):
    importlib.import_module(module.name)
    print(module.name)
"""


def test_every_module_of_serving_is_imported_without_a_model_and_without_http() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert {"foreword.serving.service", "foreword.serving.tool_forms.reader"} <= set(run.stdout.split())
