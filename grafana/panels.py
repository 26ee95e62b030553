"""How panels look: the JSON of Grafana for each kind of them, and the forms of query that repeat."""

import dataclasses

GOOD, WARN, BAD, ACTIVE = "green", "orange", "red", "blue"

# Every panel asks the data source, the job and the gateways that are chosen at the top.
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
CHOSEN = 'job=~"$job",instance=~"$instance"'
WINDOW = "$__rate_interval"

# What tables call the labels that their lines have.
KEYS = {"model": "Model", "channel": "Channel", "caller": "Client key", "instance": "Gateway", "alertname": "Alert"}


@dataclasses.dataclass
class Query:
    """One query of a panel, with the name that its lines have."""

    expr: str
    legend: str = ""


# Forms of query.

def matcher(label, wanted):
    """`outcome="ok"` for `ok`, `outcome!="ok"` for `!=ok`, and so on with `=~` and `!~`."""
    sign = wanted[:2] if wanted[:2] in ("!=", "=~", "!~") else ""
    return f'{label}{sign or "="}"{wanted[len(sign):]}"'


def select(series, **labels):
    return f"{series}{{{','.join([CHOSEN, *(matcher(*label) for label in labels.items())])}}}"


def rate(series, window=WINDOW, **labels):
    return f"rate({select(series, **labels)}[{window}])"


def increase(series, window="$__range", **labels):
    return f"increase({select(series, **labels)}[{window}])"


def quantile(q, series, by=(), window=WINDOW, **labels):
    return f"histogram_quantile({q}, sum by ({', '.join(('le', *by))}) ({rate(series + '_bucket', window, **labels)}))"


def share(part, whole):
    """Nothing where there is no whole, rather than a share that is no number."""
    return f"{part} / ({whole} > 0)"


def part_of(part, whole):
    """The share of a part that may have no series; then it is 0."""
    return share(f"({part} or 0 * {whole})", whole)


# Panels. Ids and places are given by `board`.

def panel(kind, title, what, queries, field, options, width=12, **more):
    targets = []
    for letter, query in zip("ABCDEFGHIJ", queries):
        targets.append({
            "refId": letter, "datasource": SOURCE, "expr": query.expr, "editorMode": "code", "range": kind == "timeseries",
            "instant": kind != "timeseries", **({"legendFormat": query.legend} if query.legend else {}),
            **({"format": "table"} if kind == "table" else {}),
        })
    return {
        "type": kind, "title": title, **({"description": what} if what else {}), "datasource": SOURCE, "width": width,
        "targets": targets, "fieldConfig": field, "options": options, **more,
    }


def steps(thresholds):
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in thresholds]}


def fixed(matcher, options, properties):
    return {"matcher": {"id": matcher, "options": options}, "properties": properties}


def timeseries(title, what, *queries, unit="short", stack=False, colors=None, dashed=None, step=False, below_zero=False):
    custom = {
        "drawStyle": "line", "lineWidth": 1, "fillOpacity": 25 if stack else 5, "showPoints": "never", "spanNulls": False,
        "lineInterpolation": "stepAfter" if step else "linear",
        "stacking": {"mode": "normal" if stack else "none", "group": "A"},
    }
    overrides = [
        fixed("byName", name, [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}])
        for name, color in (colors or {}).items()
    ]
    if dashed:
        overrides.append(fixed("byRegexp", f"/^{dashed}$/", [
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}}, {"id": "custom.fillOpacity", "value": 0},
        ]))
    field = {
        "defaults": {
            "unit": unit, **({} if below_zero else {"min": 0}), **({"max": 1} if unit == "percentunit" else {}),
            "color": {"mode": "palette-classic"}, "custom": custom,
        },
        "overrides": overrides,
    }
    options = {
        "legend": {"displayMode": "table", "placement": "right", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, what, queries, field, options)


def stat(title, what, query, unit="short", thresholds=((ACTIVE, None),)):
    field = {
        "defaults": {"unit": unit, "noValue": "-", "color": {"mode": "thresholds"}, "thresholds": steps(thresholds)},
        "overrides": [],
    }
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value", "graphMode": "none",
        "textMode": "value", "justifyMode": "auto", "orientation": "auto", "showPercentChange": False,
        "percentChangeColorMode": "standard", "wideLayout": True,
    }
    return panel("stat", title, what, [query], field, options, width=None)


def bars(title, what, query, unit, thresholds):
    field = {
        "defaults": {"unit": unit, "min": 0, "max": 1, "color": {"mode": "thresholds"}, "thresholds": steps(thresholds)},
        "overrides": [],
    }
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "displayMode": "basic",
        "orientation": "horizontal", "showUnfilled": True, "valueMode": "color", "namePlacement": "left", "sizing": "auto",
        "minVizHeight": 16, "minVizWidth": 8, "maxVizHeight": 40,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
    }
    return panel("bargauge", title, what, [query], field, options)


def table(title, what, key, columns, width=12, hide=(), rename=None, warn=()):
    """Rows by `key`; each column has a name, a unit and a query. Labels other than the key are columns too."""
    alone = len(columns) == 1
    names = {f"Value{'' if alone else ' #' + letter}": name for letter, (name, _, _) in zip("ABCDEFGHIJ", columns) if name}
    overrides = []
    for name, unit, _ in columns:
        # Prometheus extrapolates, so that counts have fractions.
        whole = [{"id": "decimals", "value": 0}] if unit == "none" else []
        if name:
            overrides.append(fixed("byName", name, [{"id": "unit", "value": unit}, *whole]))
    for name in warn:
        overrides.append(fixed("byName", name, [
            {"id": "thresholds", "value": steps([("text", None), (WARN, 1)])},
            {"id": "custom.cellOptions", "value": {"type": "color-text"}},
        ]))
    titles = {key: KEYS[key], **(rename or {}), **names}
    transformations = [] if alone else [{"id": "merge", "options": {}}]
    transformations.append({
        "id": "organize",
        "options": {
            "excludeByName": {name: True for name in ("Time", *hide)},
            "indexByName": {name: place for place, name in enumerate(titles)},
            "renameByName": titles,
        },
    })
    field = {"defaults": {"custom": {"align": "auto", "filterable": False, "inspect": False, "cellOptions": {"type": "auto"}}}, "overrides": overrides}
    first = next((name for name, _, _ in columns if name), None)
    options = {
        "showHeader": True, "cellHeight": "sm", "frameIndex": 0,
        **({"sortBy": [{"displayName": first, "desc": True}]} if first else {}),
    }
    return panel("table", title, what, [query for _, _, query in columns], field, options, width, transformations=transformations)


# Rows and dashboards.

def row(title, panels, height=8):
    return title, panels, height


def place(rows):
    """Gives each panel its number and its place: 24 columns, from left to right, then down."""
    placed, number, y = [], 0, 0
    for title, panels, height in rows:
        if title:
            number += 1
            placed.append({
                "id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
                "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
            })
            y += 1
        x = 0
        for index, one in enumerate(panels):
            one = dict(one)
            # Of stats the whole row is filled.
            even, odd = divmod(24, len(panels))
            width = one.pop("width") or even + (index < odd)
            if x + width > 24:
                x, y = 0, y + height
            number += 1
            placed.append({"id": number, **one, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
            x += width
        y += height
    return placed


def variable(name, label, query):
    return {
        "type": "query", "name": name, "label": label, "datasource": SOURCE,
        "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]}, "options": [], "hide": 0,
    }


def board(uid, title, what, rows, variables=()):
    chosen = [
        ("job", "Job", "label_values(uni_api_build_info, job)"),
        ("instance", "Gateway", 'label_values(uni_api_build_info{job=~"$job"}, instance)'),
        *variables,
    ]
    source = {
        "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1, "hide": 0,
        "includeAll": False, "multi": False, "options": [], "regex": "", "current": {"text": "", "value": ""},
    }

    def marks(name, color, expr):
        target = {"refId": "A", "datasource": SOURCE, "expr": expr, "editorMode": "code", "range": True, "instant": False}
        return {"name": name, "datasource": SOURCE, "enable": True, "hide": False, "iconColor": color, "target": target}

    return {
        "uid": uid, "title": title, "description": what, "tags": ["uni-api"], "schemaVersion": 39, "version": 1,
        "editable": True, "graphTooltip": 1, "timezone": "browser", "refresh": "30s", "time": {"from": "now-1h", "to": "now"},
        "links": [{
            "type": "dashboards", "title": "", "icon": "external link", "tooltip": "", "url": "", "tags": ["uni-api"],
            "asDropdown": False, "targetBlank": False, "includeVars": True, "keepTime": True,
        }],
        "templating": {"list": [source, *(variable(*one) for one in chosen)]},
        "annotations": {"list": [
            marks("Start", ACTIVE, f"changes({select('process_start_time_seconds')}[{WINDOW}]) > 0"),
            marks("New configuration", GOOD, f"changes({select('uni_api_config_reload_timestamp_seconds')}[{WINDOW}]) > 0"),
        ]},
        "panels": place(rows),
    }
