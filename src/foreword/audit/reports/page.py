"""The page of the HTML report, as a Jinja template."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Prompt cache audit of {{ log }}</title>
<style>
:root { color-scheme: light dark; --line: #8885; --soft: #8882; --hot: 210, 60, 20; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin-bottom: .2rem; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
th { text-align: left; font-weight: 600; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } .heat td { text-align: right; border: 1px solid var(--line); min-width: 4.5rem; }
{% for i in range(10) %}
.h{{ i }} { background: rgba(var(--hot), {{ (0.06 + i * 0.08) | round(2) }}); }
{% endfor %}
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft); padding: .5rem .7rem; margin: .2rem 0; }
mark { background: rgba(var(--hot), .45); color: inherit; } .quiet { opacity: .75; } article { margin-bottom: 2rem; }
.tag { border: 1px solid var(--line); border-radius: .4rem; padding: 0 .4rem; font-size: .85rem; }
</style>
</head>
<body>
<h1>Prompt cache audit of {{ log }}</h1>
<p>{{ "{:,}".format(totals.requests) }} requests, {{ "{:,}".format(totals.prompt) }} prompt tokens.
Tokens counted {{ report.tokens }}.</p>
<div class="scroll"><table>
<tr><th>Prompt tokens read from a cache</th>
<th class="n">tokens</th><th class="n">share</th><th class="n">US dollars</th></tr>
{% macro share(part, whole) %}{{ "%.1f %%" | format(100 * part / whole if whole else 0) }}{% endmacro %}
{% macro money(amount) %}{{ "no price" if amount is none else "%.4f" | format(amount) }}{% endmacro %}
{% if totals.reported %}
<tr><td>as the provider reported ({{ "{:,}".format(totals.reported) }} requests with usage)</td>
<td class="n">{{ "{:,}".format(totals.reported_cached) }}</td>
<td class="n">{{ share(totals.reported_cached, totals.reported_prompt) }}</td><td class="n"></td></tr>
{% endif %}
<tr><td>as the provider's rules allow, replayed</td><td class="n">{{ "{:,}".format(totals.cached) }}</td>
<td class="n">{{ share(totals.cached, totals.prompt) }}</td><td class="n">{{ money(totals.dollars) }}</td></tr>
<tr><td>the same with all fixes applied, replayed</td><td class="n">{{ "{:,}".format(totals.repaired) }}</td>
<td class="n">{{ share(totals.repaired, totals.repaired_prompt) }}</td>
<td class="n">{{ money(totals.repaired_dollars) }}</td></tr>
<tr><td>by a perfect cache</td><td class="n">{{ "{:,}".format(totals.seen) }}</td>
<td class="n">{{ share(totals.seen, totals.prompt) }}</td><td class="n"></td></tr>
<tr><td>by a perfect cache, with all fixes applied</td><td class="n">{{ "{:,}".format(totals.repaired_seen) }}</td>
<td class="n">{{ share(totals.repaired_seen, totals.repaired_prompt) }}</td><td class="n"></td></tr>
</table></div>

<h2>Where prefixes break</h2>
<p class="quiet">Prompts that parted from an earlier one, by place and by tokens from the beginning of the prompt. A cell
shows how many, and in brackets how many of them by a fault below; its colour, the tokens that stood behind.</p>
<div class="scroll"><table class="heat">
<tr><th>place</th>{% for name in columns %}<th class="n">{{ name }}</th>{% endfor %}</tr>
{% for place, cells in rows %}
<tr><th scope="row">{{ place }}</th>{% for cell in cells %}
{% if cell is none %}<td></td>{% else %}
<td class="h{{ cell.heat }}" title="{{ '{:,}'.format(cell.tokens) }} tokens behind">{{ "{:,}".format(cell.requests) }}
{% if cell.faults %}({{ "{:,}".format(cell.faults) }}){% endif %}</td>
{% endif %}{% endfor %}</tr>
{% endfor %}
</table></div>

<h2>Findings</h2>
{% for finding in report.findings %}
<article>
<h3>{{ finding.code }} {{ finding.name }} · {{ finding.place }}
{% if finding.fingerprint not in new %}<span class="tag">known</span>{% endif %}</h3>
<p>{{ finding.summary }} Affects {{ "{:,}".format(finding.requests) }} requests with
{{ finding.model or "an unnamed model" }}; first in line
{{ "{:,}".format(finding.line) }}, {{ finding.label }}, token {{ "{:,}".format(finding.position) }}.</p>
<p><strong>Lost: {{ "{:,}".format(finding.tokens_lost) }} tokens{% if finding.dollars_lost is not none %},
${{ money(finding.dollars_lost) }}{% endif %}</strong>, measured by replaying the log with the fix.</p>
{% if finding.old_text is not none %}
<div class="quiet">before</div>
<pre>{% for differs, words in finding.old_text | marked(finding.new_text) %}
{%- if differs %}<mark>{{ words }}</mark>{% else %}{{ words }}{% endif %}{% endfor %}</pre>
<div class="quiet">now</div>
{% endif %}
<pre>{% for differs, words in finding.new_text | marked(finding.old_text) %}
{%- if differs %}<mark>{{ words }}</mark>{% else %}{{ words }}{% endif %}{% endfor %}</pre>
<p>{{ finding.advice }}</p>
</article>
{% else %}
<p>None.</p>
{% endfor %}

<h2>The log</h2>
<ul>{% for note in notes %}<li>{{ note }}</li>
{% endfor %}</ul>
<table>
<tr><td>lines</td><td class="n">{{ "{:,}".format(report.lines) }}</td></tr>
<tr><td>lines without a request, skipped</td><td class="n">{{ "{:,}".format(report.broken_lines) }}</td></tr>
<tr><td>lines that are not UTF-8</td><td class="n">{{ "{:,}".format(report.foreign_lines) }}</td></tr>
<tr><td>requests without a time</td><td class="n">{{ "{:,}".format(report.untimed) }}</td></tr>
<tr><td>breaks with shared text behind them that no rule explains</td>
<td class="n">{{ "{:,}".format(report.unexplained) }}</td>
</tr>
{% for model, known in report.models.items() %}
<tr><td>model {{ model or "without a name" }}{{ "" if known[1] else " (no known price)" }}</td>
<td class="n">{{ "{:,}".format(known[0]) }}</td></tr>
{% endfor %}
</table>
{% if report.broken %}
<h3>The first skipped lines</h3>
<table>{% for line in report.broken %}
<tr><td class="n">{{ line.line }}</td><td>{{ line.reason }}</td></tr>
{% endfor %}</table>
{% endif %}
</body>
</html>
"""
