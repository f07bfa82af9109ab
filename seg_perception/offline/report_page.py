"""The pages of `process` and `compare`, as jinja2 templates."""

STYLE = """
:root { color-scheme: light dark; --fg: #1d2430; --bg: #fff; --soft: #667; --line: #d8dce3; --warn: #9a5b00; }
@media (prefers-color-scheme: dark) { :root { --fg: #e4e8ef; --bg: #14181f; --soft: #99a; --line: #343b47; --warn: #e5a84b; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); max-width: 1180px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: 0 } h2 { font-size: 1.1em; margin: 2em 0 .4em }
p.sub { color: var(--soft); margin-top: .2em } .warn { color: var(--warn) }
video { display: block; min-width: 60%; max-width: 100%; background: #000 }
.tiles { display: flex; flex-wrap: wrap; gap: .6em 2.2em; margin: 1em 0 } .tiles div { min-width: 6em }
.tiles b { display: block; font-size: 1.45em; font-weight: 600 } .tiles span { color: var(--soft); font-size: .9em }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); gap: 0 2em }
svg { width: 100%; height: auto } svg text { font-size: 11px; fill: var(--soft) } svg .grid { stroke: var(--line); stroke-width: .7; stroke-opacity: .7 }
.keys span { margin-right: 1.2em; font-size: .85em; color: var(--soft); white-space: nowrap }
.keys i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border: 1px solid var(--line) }
.frames { display: grid; grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); gap: 1em }
figure { margin: 0 } figure img { width: 49.5% } figcaption { color: var(--soft); font-size: .9em }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .18em 1em .18em 0; border-bottom: 1px solid var(--line); vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums } td code { overflow-wrap: anywhere }
"""

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ title }}</title><style>{{ style | safe }}</style></head><body>
<h1>{{ title }}</h1>
<p class="sub">{{ subtitle }}</p>
"""

REPORT = (
    HEAD
    + """
{% if status != 'complete' %}<p class="warn">This run was {{ status }}: it shows the frames up to there. Go on with <code>--resume</code>.</p>{% endif %}
<div class="tiles">{% for name, value in tiles %}<div><b>{{ value }}</b><span>{{ name }}</span></div>{% endfor %}</div>
{% if problems %}<h2>What could not be used</h2><ul class="warn">{% for p in problems %}<li>{{ p }}</li>{% endfor %}</ul>{% endif %}
{% if video %}<h2>Labels and drivable area</h2>
<video controls muted loop autoplay playsinline src="{{ video | safe }}"></video>
<p class="sub">Camera with the labels' colours{% if with_grid %}; beside it the grid, forward is up: green free, red occupied, grey unknown{% endif %}{% if with_lanes %}. Lane lines: yellow those of the vehicle's lane, light blue others{% endif %}.</p>{% endif %}
<div class="charts">{% for name, chart in charts %}<div><h2>{{ name }}</h2>{{ chart | safe }}</div>{% endfor %}</div>
{% if pictures %}<h2>Least certain frames</h2>
<div class="frames">{% for p in pictures %}<figure><img src="{{ p.overlay | safe }}" alt=""> <img src="{{ p.heat | safe }}" alt="">
<figcaption>{{ p.camera }} at {{ p.time }} s, mean confidence {{ p.confidence }}; right: bright where unsure</figcaption></figure>{% endfor %}</div>{% endif %}
<h2>Model and settings</h2>
<table>{% for name, value in settings %}<tr><th>{{ name }}</th><td><code>{{ value }}</code></td></tr>{% endfor %}</table>
</body></html>
"""
)

COMPARISON = (
    HEAD
    + """
<div class="tiles">{% for name, value in tiles %}<div><b>{{ value }}</b><span>{{ name }}</span></div>{% endfor %}</div>
{% if checks %}<h2>Thresholds</h2><table><tr><th>figure</th><th class="n">found</th><th class="n">allowed</th><th></th></tr>
{% for c in checks %}<tr><td>{{ c.name }}</td><td class="n">{{ c.found }}</td><td class="n">{{ c.limit }}</td><td{% if not c.ok %} class="warn"{% endif %}>{{ c.verdict }}</td></tr>{% endfor %}</table>{% endif %}
{% if problems %}<h2>What could not be compared</h2><ul class="warn">{% for p in problems %}<li>{{ p }}</li>{% endfor %}</ul>{% endif %}
<h2>Classes</h2>
<table><tr><th>class</th><th class="n">share in A</th><th class="n">share in B</th><th class="n">IoU of A and B</th><th class="n">A here, B another</th><th class="n">B here, A another</th></tr>
{% for c in classes %}<tr><td>{{ c.name }}</td><td class="n">{{ c.share_a }}</td><td class="n">{{ c.share_b }}</td><td class="n">{{ c.iou }}</td><td class="n">{{ c.only_a }}</td><td class="n">{{ c.only_b }}</td></tr>{% endfor %}</table>
<div class="charts">{% for name, chart in charts %}<div><h2>{{ name }}</h2>{{ chart | safe }}</div>{% endfor %}</div>
<h2>Runs</h2>
<table><tr><th></th><th>A</th><th>B</th></tr>{% for name, a, b in runs %}<tr><th>{{ name }}</th><td><code>{{ a }}</code></td><td><code>{{ b }}</code></td></tr>{% endfor %}</table>
</body></html>
"""
)
