"""Which form of calls a model writes: what its chat template says, or what somebody named."""

from foreword.serving.tool_forms.base import ToolForm
from foreword.serving.tool_forms.deepseek import DeepSeek
from foreword.serving.tool_forms.deepseek_tags import DeepSeekTags
from foreword.serving.tool_forms.gemma import Gemma
from foreword.serving.tool_forms.glm import Glm
from foreword.serving.tool_forms.harmony import Harmony
from foreword.serving.tool_forms.hermes import Hermes
from foreword.serving.tool_forms.kimi import Kimi
from foreword.serving.tool_forms.llama import Llama
from foreword.serving.tool_forms.minimax import MiniMax
from foreword.serving.tool_forms.mistral import Mistral, MistralJson
from foreword.serving.tool_forms.phi import Phi
from foreword.serving.tool_forms.qwen_xml import QwenXml

FORMS: tuple[type[ToolForm], ...] = (
    Harmony,
    Kimi,
    DeepSeekTags,
    DeepSeek,
    MiniMax,
    Glm,
    QwenXml,
    MistralJson,
    Mistral,
    Hermes,
    Phi,
    Llama,
    Gemma,
)
"""In the order in which they are asked whether a chat template is theirs."""


def form_named(name: str) -> type[ToolForm] | None:
    """The form of a name; None if there is none."""
    return next((form for form in FORMS if form.name == name), None)


def form_of(template: str | None) -> type[ToolForm]:
    """The form in which a chat template writes calls; where it says nothing, or there is none, Hermes."""
    return next((form for form in FORMS if template and form.is_of(template)), Hermes)
