"""The audit itself: read the log until no new fault shows, then once more to measure what mending each of them saves.

A fault may hide behind another: who has a date in the system prompt does not see that the tools change as well. So the
rules that found something mend the requests of the next pass, and the others look at what is left.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from foreword.audit.case import Case, Sighting, part, shared_pieces
from foreword.audit.config import AuditConfig
from foreword.audit.conversations import Conversations, Link
from foreword.audit.findings import BrokenLine, Finding, HeatCell, Report, Totals, bucket_of
from foreword.audit.kept_log import KeptLog
from foreword.audit.measure import Measured, Measuring, Saving
from foreword.audit.provider_cache import CacheModel, Outcome
from foreword.audit.provider_terms import TermsBook
from foreword.audit.readers import BatchAnswers, LogPass
from foreword.audit.recent import KeptRequests
from foreword.audit.redact import redact, redacted_excerpt, redacted_pair
from foreword.audit.repeats import Repeats
from foreword.audit.request import LoggedRequest
from foreword.audit.rules import RULES, Fixer, Rule
from foreword.audit.tokens import Tokenizing
from foreword.errors import ConfigError
from foreword.prompt.prices import PriceTable

Lines = Callable[[str], Iterable[bytes | str]]
"""Opens the log anew and gives its lines; the argument says what this reading is for."""

Progress = Callable[[str, int, int], None]
"""Told in every reading after the first: what it is for, how many requests are done, and of how many."""

PLACES_KEPT = 500
MODELS_KEPT = 100
OTHER_MODELS = "(other models)"
HEAT_PLACES = 200
MODELS_NAMED = 5
VALUES_TOLD = 16
CODES_TOLD = 16
LONGEST_CODE = 40
BETWEEN_TELLING = 100
"""Requests after which progress is told."""


def untold(purpose: str, done: int, requests: int) -> None:
    """Nobody asks for progress."""


def audit(
    lines: Lines,
    tokenizing: Tokenizing,
    prices: PriceTable,
    config: AuditConfig | None = None,
    progress: Progress = untold,
) -> Report:
    """Audit a log. It is read once, and again for every later round of search and of measuring where a temporary file has no
    room for its requests; memory does not grow with it.

    ConfigError for a rule code that no rule begins with.
    """
    config = config or AuditConfig()
    terms, answers = TermsBook(prices), BatchAnswers()
    with KeptLog() as kept:
        search, found = _search(lines, tokenizing, terms, config, answers, kept, progress)
        if answers.late:  # they stand behind their requests, and are known only now
            answers.late = False
            search, found = _search(lines, tokenizing, terms, config, answers, kept, progress)
        measured, unpaid, passes = _measure(lines, search, found, terms)
        return _report(search, measured, unpaid, passes)


def _measure(
    lines: Lines, search: "Search", found: list[list[Rule]], terms: TermsBook
) -> tuple[Measured, dict[tuple[str, str], Saving], int]:
    """What the fixes save that are told, those that do not pay with what they would cost, and the passes in all.

    A fix that does not pay is left out and the others are measured again, so that they add up to what all of them save.
    """
    config, passes = search.config, search.passes
    unpaid: dict[tuple[str, str], Saving] = {}
    while True:
        places = {code: [place for place in known if (code, place) not in unpaid] for code, known in search.places().items()}
        chain = [rule for rules in found for rule in sorted(rules, key=search.weight) if places.get(rule.code)]
        if not chain:
            return Measured(), unpaid, passes
        measuring = Measuring(chain, places, search.tokenizing, terms, config)
        measured = measuring.run(search.requests_again(lines, "measuring the fixes"))
        passes += 1
        told = [(rule, place) for rule in chain for place in places[rule.code] if rule.needs_saving]
        wrong = [(rule, place) for rule, place in told if not _pays(measured.of(rule.code, place), config)]
        if not wrong:
            return measured, unpaid, passes
        for rule, place in wrong:
            unpaid[rule.code, place] = measured.of(rule.code, place)
            rule.forget(place)


def _pays(saving: Saving, config: AuditConfig) -> bool:
    return saving.tokens >= config.min_tokens and (saving.dollars or 0.0) >= 0


def _search(
    lines: Lines,
    tokenizing: Tokenizing,
    terms: TermsBook,
    config: AuditConfig,
    answers: BatchAnswers,
    kept: KeptLog,
    progress: Progress,
) -> tuple["Search", list[list[Rule]]]:
    """The search, and the rules that found something in each of its passes."""
    search = Search([kind() for kind in chosen_rules(config)], tokenizing, terms, config, answers, kept, progress)
    found: list[list[Rule]] = []
    for _ in range(config.rounds):
        mended = [rule for earlier in found for rule in earlier]
        new = [rule for rule in search.run(lines, mended) if rule not in mended]
        if new:
            found.append(new)
        elif not search.withdrew:
            break
    return search, found


def chosen_rules(config: AuditConfig) -> list[type[Rule]]:
    """The rules that ``select`` and ``ignore`` leave."""
    for prefix in (*config.select, *config.ignore):
        if not prefix or not any(rule.code.startswith(prefix) for rule in RULES):
            known = ", ".join(sorted(rule.code for rule in RULES))
            raise ConfigError(f"There is no rule {prefix!r}. Known: {known}; a beginning such as FW3 means all of them.")
    return [
        rule
        for rule in RULES
        if (not config.select or rule.code.startswith(config.select)) and not rule.code.startswith(config.ignore or ("-",))
    ]


@dataclass
class Draft:
    """A finding in the making."""

    rule: Rule
    first: Sighting
    found_in: int
    requests: int = 0
    lost: int = 0
    dollars: float | None = None
    models: list[str] = field(default_factory=list)
    about: set[str] = field(default_factory=set)

    def add(self, seen: Sighting, model: str) -> None:
        """Enter what one more request shows."""
        self.requests += 1
        self.lost += seen.lost
        if seen.dollars is not None:
            self.dollars = (self.dollars or 0.0) + seen.dollars
        if model not in self.models and len(self.models) < MODELS_NAMED:
            self.models.append(model)
        if seen.about and len(self.about) < VALUES_TOLD:
            self.about.add(seen.about)


class Search:
    """The passes that look for faults, and what the first of them says about the log as it is."""

    def __init__(
        self,
        rules: list[Rule],
        tokenizing: Tokenizing,
        terms: TermsBook,
        config: AuditConfig,
        answers: BatchAnswers,
        kept: KeptLog,
        progress: Progress,
    ):
        self.progress = progress
        self.rules = rules
        self.answers = answers
        self.kept = kept
        self.log = LogPass(answers, config.longest_line)
        self.tokenizing = tokenizing
        self.terms = terms
        self.config = config
        self.drafts: dict[tuple[str, str], Draft] = {}
        self.heat: dict[tuple[str, int], HeatCell] = {}
        self.totals = Totals()
        self.models: Counter[str] = Counter()
        self.repeats = Repeats()
        self.unknown_ignores: set[str] = set()
        self.priced: set[str] = set()
        self.withdrew = False
        self.untimed = self.ignored = self.unexplained = self.passes = self.forgotten_tokens = 0

    def run(self, lines: Lines, mended: list[Rule]) -> list[Rule]:
        """One pass over the requests as ``mended`` leaves them; returns the rules that found their first fault in it."""
        before = {code for code, _ in self.drafts}
        first = self.passes == 0
        self.passes += 1
        caches = CacheModel(self.config.tree_tokens, self.config.first_token_seconds)
        recent = KeptRequests(self.config.recent_bytes)
        turns: Conversations[int] = Conversations()
        fixers = [rule.fixer() for rule in mended]
        if first:
            requests = self.kept.keep(self.log.requests(lines("searching")))
        else:
            requests = self.requests_again(lines, f"searching behind {len(mended)} faults")
        for number, request in enumerate(requests):
            fixed = apply(fixers, request)
            tokens = self.tokenizing.encode(fixed)
            terms = self.terms.of(fixed, len(tokens))
            followed = turns.follow(fixed)
            outcome = caches.feed(fixed, tokens, terms, answered=followed is not None and followed.sure)
            link = _with_request(followed, recent)
            case = Case(fixed, tokens, outcome, terms, link, None)
            old = _follows(case, recent.get(outcome.nearest))
            if old is not None:
                case = replace(case, parted=part(old, fixed, tokens, outcome.seen))
            recent.keep(number, fixed, old)
            turns.keep(fixed, number)
            explained = self._examine(case)
            if first:
                self._add_up(request, outcome, terms.price is not None)
                self.repeats.add(request, tokens)
                self._warm(case, explained)
        self.forgotten_tokens = max(self.forgotten_tokens, caches.tree.forgotten_tokens)
        self._withdraw()
        new = {code for code, _ in self.drafts} - before
        return [rule for rule in self.rules if rule.code in new]

    def requests_again(self, lines: Lines, purpose: str) -> Iterator[LoggedRequest]:
        """The requests as the first pass had them."""
        if self.kept.complete:
            return self._followed(self.kept.requests(), purpose)
        return LogPass(self.answers, self.config.longest_line).requests(lines(purpose))

    def _followed(self, requests: Iterable[LoggedRequest], purpose: str) -> Iterator[LoggedRequest]:
        for done, request in enumerate(requests):
            if done % BETWEEN_TELLING == 0:
                self.progress(purpose, done, self.totals.requests)
            yield request

    def places(self) -> dict[str, list[str]]:
        """Where each rule saw its fault, most often first."""
        found: dict[str, list[str]] = {}
        for (code, place), _ in sorted(self.drafts.items(), key=lambda item: -item[1].requests):
            found.setdefault(code, []).append(place)
        return found

    def weight(self, rule: Rule) -> tuple[bool, int]:
        """For the order of fixes: first what prompts say, then how they are cached; the most frequent first."""
        times = sum(draft.requests for (code, _), draft in self.drafts.items() if code == rule.code)
        return not rule.explains_break, -times

    def _examine(self, case: Case) -> bool:
        """Ask the rules; returns whether one of them explains why this prompt parts from the one before."""
        explained = False
        for rule in self.rules:
            if rule.explains_break and (explained or case.parted is None):
                continue
            if case.request.ignored and rule.code.startswith(case.request.ignored):
                self.ignored += 1
                continue
            seen = rule.examine(case)
            if seen is None:
                continue
            explained = explained or rule.explains_break
            if seen.fault:
                self._note(rule, seen, case.request.model)
        return explained

    def _note(self, rule: Rule, seen: Sighting, model: str) -> None:
        """Enter a sighting; places known from an earlier pass were counted there."""
        key = rule.code, seen.place
        if key not in self.drafts and len(self.drafts) < PLACES_KEPT:
            self.drafts[key] = Draft(rule, seen, self.passes)
        draft = self.drafts.get(key)
        if draft is not None and draft.found_in == self.passes:
            draft.add(seen, model)

    def _withdraw(self) -> None:
        """Drop the findings that a rule takes back at the end of a pass."""
        wrong = [key for key, draft in self.drafts.items() if key[1] in draft.rule.withdrawn()]
        self.withdrew = any(self.drafts[key].rule.explains_break for key in wrong)
        for key in wrong:
            del self.drafts[key]

    def _add_up(self, request: LoggedRequest, outcome: Outcome, priced: bool) -> None:
        known, usage = self.totals, request.usage
        for code in request.ignored:
            if len(self.unknown_ignores) < CODES_TOLD and not any(rule.code.startswith(code) for rule in RULES):
                self.unknown_ignores.add(code[:LONGEST_CODE])
        model = request.model if request.model in self.models or len(self.models) < MODELS_KEPT else OTHER_MODELS
        self.models[model] += 1
        self.untimed += request.time is None
        if priced:
            self.priced.add(model)
        self.totals = known.plus(outcome)
        if usage is not None:
            self.totals = replace(
                self.totals,
                reported=known.reported + 1,
                reported_prompt=known.reported_prompt + usage.prompt,
                reported_cached=known.reported_cached + usage.cached,
                reported_written=known.reported_written + usage.written,
                reported_estimate=known.reported_estimate + outcome.prompt,
            )

    def _warm(self, case: Case, explained: bool) -> None:
        """Enter a parting into the heat map."""
        if case.parted is None:
            return
        if not explained and case.shared_behind():
            self.unexplained += 1
        key = case.parted.new_piece.place, bucket_of(case.parted.position)
        cell = self.heat.get(key)
        if cell is None:
            if len(self.heat) >= HEAT_PLACES:
                return
            cell = HeatCell(*key, 0, 0, 0)
        self.heat[key] = HeatCell(
            *key, cell.requests + 1, cell.faults + explained, cell.tokens + case.outcome.prompt - case.parted.position
        )


def _with_request(link: Link[int] | None, recent: KeptRequests) -> Link[LoggedRequest] | None:
    """The link to a turn that is still kept, with the turn itself."""
    turn = None if link is None else recent.get(link.value)
    return None if link is None or turn is None else Link(turn, link.at, link.sure)


def _follows(case: Case, nearest: LoggedRequest | None) -> LoggedRequest | None:
    """The earlier request to compare with: the turn before, unless another request shares more."""
    before: Link[LoggedRequest] | None = case.before
    if before is None:
        return nearest
    if nearest is None or shared_pieces(before.value, case.request) >= shared_pieces(nearest, case.request):
        return before.value
    return nearest


def apply(fixers: list[Fixer], request: LoggedRequest) -> LoggedRequest:
    """A request with several faults mended, one after another."""
    for fix in fixers:
        request = fix(request)
    return request


def _finding(draft: Draft, saving: Saving, config: AuditConfig) -> Finding:
    """A finding of a draft and what mending it saves."""
    first, place = draft.first, draft.first.place
    old_text, new_text = _excerpts(first, config)
    return Finding(
        code=draft.rule.code,
        name=draft.rule.name,
        place=place,
        model=", ".join(draft.models),
        requests=(saving.requests if draft.rule.needs_saving else 0) or draft.requests,
        label=first.label,
        line=first.line,
        position=first.position,
        old_text=old_text,
        new_text=new_text,
        tokens_lost=saving.tokens or draft.lost,
        dollars_lost=draft.dollars if saving.dollars is None else saving.dollars,
        summary=first.summary or draft.rule.summary(),
        advice=first.advice or draft.rule.advice(),
        about=tuple(sorted(draft.about)),
    )


def _excerpts(seen: Sighting, config: AuditConfig) -> tuple[str | None, str]:
    """What stood there before (None: nothing to compare) and what stands there now, as they are shown."""
    if not config.redact:
        return None if seen.old is None else seen.old.text, seen.new.text
    return (None, redacted_excerpt(seen.new)) if seen.old is None else redacted_pair(seen.old, seen.new)


def _report(search: Search, measured: Measured, unpaid: dict[tuple[str, str], Saving], passes: int) -> Report:
    config = search.config
    findings = [_finding(draft, measured.of(*key), config) for key, draft in search.drafts.items() if key not in unpaid]
    seen = [
        _finding(search.drafts[key], saving, config)
        for key, saving in unpaid.items()
        if (saving.dollars or 0.0) < 0 < saving.tokens
    ]
    findings.sort(key=lambda finding: (-(finding.dollars_lost or 0.0), -finding.tokens_lost, finding.code, finding.place))
    log = search.log
    return Report(
        tokens=search.tokenizing.description,
        lines=log.lines,
        kinds={name: (kind.requests, kind.without) for name, kind in log.kinds.items()},
        broken_lines=log.broken_lines,
        broken=tuple(BrokenLine(line, redact(why) if config.redact else why) for line, why in log.broken),
        foreign_lines=log.foreign_lines,
        untimed=search.untimed,
        models={model: (count, model in search.priced) for model, count in search.models.most_common()},
        totals=measured.repair(search.totals),
        findings=tuple(findings),
        not_paying=tuple(seen),
        heat=tuple(search.heat.values()),
        unexplained=search.unexplained,
        repeated=search.repeats.found,
        unknown_ignores=tuple(sorted(search.unknown_ignores)),
        forgotten_tokens=search.forgotten_tokens,
        ignored=search.ignored,
        passes=passes,
    )
