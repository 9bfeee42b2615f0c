"""Answers that have a form: a choice, an expression, a schema. Run it with the package's own model: no download."""

from foreword import LLM, SamplingParams, StructuredOutputs

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
FORMS = {
    "choice": StructuredOutputs(choice=["yes", "no"]),
    "regex": StructuredOutputs(regex="[A-Z][a-z]{2,8}"),
    "json": StructuredOutputs(json=PERSON, disable_any_whitespace=True),
    "grammar": StructuredOutputs(grammar='start: "age " /[1-9][0-9]?/'),
}


def main() -> None:
    """Print an answer of each form."""
    with LLM(self_test=False) as llm:
        for name, form in FORMS.items():
            params = SamplingParams(max_tokens=200, temperature=0.8, seed=1, structured_outputs=form)
            (output,) = llm.generate(["Tell me about Ada."], params, use_tqdm=False)
            print(f"{name}: {output.outputs[0].text} ({output.outputs[0].finish_reason})")


if __name__ == "__main__":
    main()
