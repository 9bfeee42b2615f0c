"""An engine without a model: the real scheduler and the real cache, with KV that are hashes and tokens that are counts."""

from foreword import SamplingParams
from foreword.engine import EngineRequest
from foreword.testing import fake_engine
from foreword.tokens import pack_tokens

engine = fake_engine()
for question in ([1, 2], [3, 4]):
    prompt = pack_tokens([*range(10, 40), *question])
    asked = engine.add_request(EngineRequest(prompt, SamplingParams(max_tokens=3)))
    while engine.has_unfinished_requests():
        engine.step()
    output = asked.output()
    print(output.outputs[0].token_ids, "cached:", output.account.cached, "of", output.account.prompt_tokens)
