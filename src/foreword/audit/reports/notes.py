"""What a report says beside its findings, the same in every form."""

from foreword.audit.findings import Report

LARGE_GAP = 0.05
"""Share of the prompts' tokens between what is shared and what is cached from which it is worth a sentence."""


def _what_was_read(report: Report) -> str:
    """The kinds of log that were read, and how much of each."""
    said = []
    for kind, (requests, without) in report.kinds.items():
        rest = f", {without:,} record{'s' if without > 1 else ''} without a request" if without else ""
        said.append(f"{kind}, {requests:,} request{'s' if requests != 1 else ''}{rest}")
    return f"Read: {'; '.join(said)}."


def notes(report: Report) -> list[str]:
    """What is to be said beside the findings, a sentence or two each, in the order of its weight."""
    hidden = _hidden(report)
    return [*([] if hidden is None else [hidden]), _what_was_read(report), *_of_the_log(report), *_of_the_sums(report)]


def _of_the_log(report: Report) -> list[str]:
    notes = []
    for broken in report.broken[:5]:
        where = f" of {broken.log}" if broken.log else ""
        notes.append(f"Line {broken.line}{where} skipped: {broken.reason}")
    if report.broken_lines:
        notes.append(f"{report.broken_lines:,} of {report.lines:,} lines held no request and were skipped.")
    if report.foreign_lines:
        notes.append(f"{report.foreign_lines:,} lines are not UTF-8 and were read as Windows-1252.")
    for code in report.unknown_ignores:
        notes.append(f"foreword_ignore names {code!r}, with which no rule begins: nothing is left out for it.")
    if report.ignored:
        notes.append(f"{report.ignored:,} checks were left out where a request asked for it.")
    again, more, most = report.repeated
    if again:
        if again == 1:
            said = f"The same request was sent {most} times"
        elif more == again * (most - 1):
            said = f"{again:,} requests were each sent {most} times"
        else:
            said = f"{again:,} requests were sent up to {most} times"
        notes.append(f"{said}, word for word (retries?).")
    return notes


def _of_the_sums(report: Report) -> list[str]:
    totals, notes = report.totals, []
    unpriced = [model or "(no name)" for model, (_, priced) in report.models.items() if not priced]
    if unpriced:
        notes.append(f"No price is known for {', '.join(unpriced[:10])}: nothing is priced there.")
    if report.untimed:
        have = "request has no time: for it" if report.untimed == 1 else "requests have no time: for them"
        notes.append(f"{report.untimed:,} {have} nothing expires and nothing is in flight.")
    if totals.reported and totals.reported_estimate:
        off = totals.reported_estimate / totals.reported_prompt - 1 if totals.reported_prompt else 0.0
        notes.append(f"Tokens counted here are {off:+.1%} against those that the provider reported.")
    explained = totals.seen * totals.reported_prompt // max(1, totals.reported_estimate)  # in the provider's own tokens
    if totals.reported_cached > explained:
        notes.append(
            f"The provider reports {totals.reported_cached:,} cached tokens, more than the {explained:,} that this log "
            "explains: what it read from its cache is not all in the log (system prompt, tools, or earlier requests)."
        )
    for finding in report.not_paying:
        cost = "" if finding.dollars_lost is None else f" and cost ${-finding.dollars_lost:,.4f} more"
        notes.append(
            f"Seen, not told: {finding.code} {finding.name} at {finding.place}, {finding.requests:,} times from line "
            f"{finding.line:,} on. Mending it would read {finding.tokens_lost:,} tokens more from the cache{cost}."
        )
    if report.unexplained:
        part = "prompt parts" if report.unexplained == 1 else "prompts part"
        notes.append(f"{report.unexplained:,} {part} with shared text behind, and no rule says why.")
    if report.forgotten_tokens:
        notes.append(f"To bound memory, {report.forgotten_tokens:,} tokens unused for longest were forgotten.")
    return notes


def _hidden(report: Report) -> str | None:
    """What no finding says: that the provider's rules keep a prefix from being cached that many prompts share."""
    totals = report.totals
    if report.findings or not totals.prompt or (totals.seen - totals.cached) / totals.prompt < LARGE_GAP:
        return None
    if totals.reported_cached * totals.prompt > totals.cached * totals.reported_prompt:
        return None  # the provider itself says that it reads more
    shared, cached = (100 * part / totals.prompt for part in (totals.seen, totals.cached))
    return (
        f"No rule finds a fault in how these prompts are written, but of the {shared:.1f} % that prompts share "
        f"the provider's own rules let only {cached:.1f} % be read from its cache: not a shared beginning below its minimum "
        f"length, one that is used again after its lifetime, or one that is sent again before its first answer began. A "
        f"longer shared beginning, or a cache without a minimum, would have it."
    )
