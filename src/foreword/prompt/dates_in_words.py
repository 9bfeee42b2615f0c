"""Dates in words of other languages than English: German, French, Spanish, Italian, Portuguese, Dutch, Polish, Russian,
Chinese, Japanese, Korean. Each is found from its first digit; a weekday before it, or a time behind it, belongs to it.
"""

import re
from typing import Literal

DateKind = Literal["datetime", "date"]
Found = tuple[DateKind, int, int]
"""What it is, and the characters from which and to which it goes."""

MONTHS = (
    r"(?:januar|jänner|februar|märz|april|mai|juni|juli|august|september|oktober|november|dezember"
    r"|janvier|février|mars|avril|juin|juillet|août|septembre|octobre|novembre|décembre"
    r"|enero|febrero|marzo|abril|mayo|junio|julio|agosto|sep?tiembre|octubre|noviembre|diciembre"
    r"|gennaio|febbraio|aprile|maggio|giugno|luglio|settembre|ottobre|dicembre"
    r"|janeiro|fevereiro|março|maio|junho|julho|setembro|outubro|novembro|dezembro"
    r"|januari|februari|maart|mei|augustus|december"
    r"|stycznia|lutego|marca|kwietnia|maja|czerwca|lipca|sierpnia|września|października|listopada|grudnia"
    r"|января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря"
    r"|(?:jan|janv|feb|febr|fév|févr|mär|mrz|mrt|mar|apr|avr|abr|mag|jun|giu|jul|juil|lug|aug|ago|sep|sept|set|okt|oct|ott|out"
    r"|nov|dez|déc|dic|dec|ene|gen|fev)\.?)"
)
WEEKDAYS = (
    r"(?:(?:mon|diens|donners|frei|sams|sonn)tag|mittwoch|sonnabend|lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche"
    r"|lunes|martes|miércoles|jueves|viernes|sábado|domingo|(?:lune|marte|mercole|giove|vener)dì|sabato|domenica"
    r"|(?:segunda|terça|quarta|quinta|sexta)-feira|(?:maan|dins|woens|donder|vrij|zater|zon)dag"
    r"|poniedziałek|wtorek|środa|czwartek|piątek|sobota|niedziela"
    r"|понедельник|вторник|среда|четверг|пятница|суббота|воскресенье)"
)
CJK_WEEKDAYS = r"(?:(?:星期|礼拜|禮拜|周|週)[一二三四五六日天]|[月火水木金土日]曜日?|[월화수목금토일]요일)"
_CLOCK = r"(?:,? (?:um|à|alle(?: ore)?|a las|às|om|o|в) |,? |T)(?P<clock>\d{1,2}[:h.]\d{2}(?::\d{2})?(?: ?Uhr)?)(?!\w)"
_CJK_CLOCK = (
    r"(?P<clock>\d{1,2}[:：]\d{2}(?:[:：]\d{2})?"
    r"|(?:上午|下午|午前|午後|오전|오후)?\s?\d{1,2}\s?[時时点點시]\s?(?:\d{1,2}\s?[分분])?)"
)

FIRST_DIGIT = re.compile(r"[0-9](?<![\w./-][0-9])(?=\d?(?:\.º|[.º°]|er)? (?:d[ei] )?[^\W\d_]{3})")
CJK_FIRST_DIGIT = re.compile(r"[0-9](?<![0-9][0-9])(?=\d{0,3}\s?[年년月월])")
TODAY = re.compile(r"[HhAaNnOoVvDdС今本오](?:eute|ujourd|ous somm|oy|ggi|oje|andaag|zi[sś]|егодня|天|日|늘)")

_DATE = re.compile(
    rf"(?i)\d{{1,2}}(?:\.º|[.º°]|er)? (?:d[ei] )?{MONTHS}(?!\w)(?P<year>,?(?: del?)? \d{{4}}(?!\w))?(?: r\.)?(?:{_CLOCK})?"
)
_BEFORE = re.compile(rf"(?i)(?<!\w){WEEKDAYS},?(?: (?:der|den|dem|le|el|dia))? \Z")
_REACH = 24
_CJK = re.compile(
    rf"(?P<year>\d{{4}}\s?[年년]\s?)?\d{{1,2}}\s?[月월]\s?\d{{1,2}}\s?[日号號일]"
    rf"(?P<weekday>\s?,?[(（]?(?:{CJK_WEEKDAYS}|[月火水木金土日월화수목금토일](?=[)）]))[)）]?)?(?:\s?{_CJK_CLOCK})?"
)
_WEEKDAY_TODAY = re.compile(
    rf"(?i)(?:heute(?: ist)?|aujourd['’]hui,?(?: (?:c'est|nous sommes|est))?"
    rf"|nous sommes|hoy(?: es)?|oggi(?: è)?"
    rf"|hoje(?: é)?|vandaag(?: is(?: het)?)?|dzi[sś](?:iaj)?(?: jest)?|сегодня) ?[:=,]? ?"
    rf"(?:(?:le|el|der) )?(?P<date>{WEEKDAYS})(?!\w)"
    rf"|(?:今天是?|今日[はは]?|本日[はは]?|오늘은?)\s?[:：]?\s?(?P<cjk>{CJK_WEEKDAYS})"
)

NOW_WORDS = (
    r"heute|heutige\w*|jetzt|aktuelle[rsn]?|datum|uhrzeit|stand:|aujourd['’]hui|maintenant|actuelle|nous sommes|heure"
    r"|hoy|ahora|fecha|oggi|adesso|data (?:di oggi|odierna|attuale|de hoje|atual|dzisiejsza|aktualna)|hoje|agora|vandaag"
    r"|huidige|dzi[sś]|dzisiaj|teraz|aktualna|сегодня|сейчас|дата|текущ\w+"
)
CJK_NOW_WORDS = r"今天|今日|本日|现在|現在|当前|當前|目前|日期|日付|時刻|时间|오늘|현재|지금|날짜|일시"
THEN_WORDS = (
    r"geboren|geburtsdatum|gegründet|seit|bis|vor dem|nach dem|gültig|veröffentlicht|beispiele?|naissance|née?|fondée?"
    r"|depuis|jusqu\w+|avant|après|publiée?|exemple|nacid[oa]|nacimiento|fundad[oa]|desde|hasta|antes|después|ejemplo"
    r"|nat[oa]|nascita|fondat[oa]|dal|fino|prima|dopo|esempio|nascid[oa]|nascimento|até|depois|exemplo|geboorte\w*"
    r"|opgericht|sinds|voorbeeld|urodz\w+|założon\w+|przed|przykład|родил\w+|основан\w*|выпущен\w*|например"
)
CJK_THEN_WORDS = (
    r"出生|生于|生まれ|成立|创立|創立|設立|発売|发布|公開|截至|截止|以来|以前|以后|まで|から|例|태어|출생|설립|출시|마감|까지"
    r"|부터|예를"
)


def date_at(text: str, at: int) -> Found | None:
    """The date whose day stands at a place: with its year, or with a weekday before it."""
    found = _DATE.match(text, at)
    if found is None:
        return None
    weekday = _BEFORE.search(text, max(0, at - _REACH), at)
    if weekday is None and found["year"] is None:
        return None
    return "datetime" if found["clock"] else "date", at if weekday is None else weekday.start(), found.end()


def cjk_date_at(text: str, at: int) -> Found | None:
    """The Chinese, Japanese or Korean date that begins at a place: with its year, or with a weekday behind it."""
    found = _CJK.match(text, at)
    if found is None or (found["year"] is None and found["weekday"] is None):
        return None
    return "datetime" if found["clock"] else "date", at, found.end()


def weekday_of_today(text: str, at: int) -> Found | None:
    """The weekday right behind the word for today, which stands at a place."""
    found = _WEEKDAY_TODAY.match(text, at)
    if found is None or (at and text[at - 1].isalnum() and found["date"] is not None):
        return None
    return "date", *found.span("date" if found["date"] is not None else "cjk")
