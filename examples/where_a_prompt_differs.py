"""Two conversations, rendered by a model's own chat template: where in them is the first token that differs?"""

from pathlib import Path

import foreword
from foreword.prompt import TEMPLATE_FILES, PromptTemplate, segment

directory = Path(foreword.__file__).parent / "weights" / "table_reader"
paths = [directory / name for name in TEMPLATE_FILES]
template = PromptTemplate.from_files({path.name: path.read_text() for path in paths if path.exists()})

old, new = (
    segment(template, [{"role": "system", "content": f"Today is {day}."}, {"role": "user", "content": "Hello"}])
    for day in ("Saturday", "Sunday")
)
pairs = enumerate(zip(old.token_ids, new.token_ids, strict=False))
position = next(at for at, (one, two) in pairs if one != two)
print(f"token {position} of {len(new.token_ids)}, in: {new.label_at(position)}")
