"""What a base installation can do, and the public names."""

import subprocess
import sys

import pytest

import foreword
from foreword.config import build_config
from foreword.errors import ConfigError
from foreword.sched import SchedulerConfig

WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "safetensors", "tqdm"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import foreword, foreword.cache, foreword.prompt, foreword.sched, foreword.cli.main
from foreword.cache import CacheConfig, PrefixCache
PrefixCache(CacheConfig()).check_integrity()
assert "torch" not in sys.modules
try:
    foreword.LLM
except ImportError as error:
    print(error)
"""


def test_the_base_imports_without_torch_and_says_what_the_engine_needs() -> None:
    result = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "pip install 'foreword[engine]'" in result.stdout


def test_importing_foreword_does_not_import_torch() -> None:
    code = "import sys, foreword, foreword.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_exist() -> None:
    for name in foreword.__all__:
        assert getattr(foreword, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'LMM'"):
        _ = foreword.LMM


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'max_num_seqs'"):
        build_config(SchedulerConfig, {"max_num_seq": 3})
