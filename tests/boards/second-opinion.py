"""Decodes every panel and control of a file for Kibana into the types of the package kb-dashboard-core, which follow
Kibana's own: unknown keys, missing keys and wrong types are told. It shares nothing with our own validator.

What the package does not know is taken out first, each with its reason, and counted.
"""
import json
import sys
from collections import Counter

from kb_dashboard_core.controls.view import KbnOptionsListControl
from kb_dashboard_core.panels.charts.datatable.view import KbnDatatableVisualizationState
from kb_dashboard_core.panels.charts.heatmap.view import KbnHeatmapVisualizationState
from kb_dashboard_core.panels.charts.lens.columns.view import KbnLensColumnTypes
from kb_dashboard_core.panels.charts.metric.view import KbnMetricVisualizationState
from kb_dashboard_core.panels.charts.pie.view import KbnPieVisualizationState
from kb_dashboard_core.panels.charts.xy.view import KbnXYVisualizationState
from kb_dashboard_core.panels.drilldowns.view import KbnDrilldownEvent
from kb_dashboard_core.panels.links.view import KbnDashboardLink
from pydantic import TypeAdapter, ValidationError

STATES = {
    "lnsDatatable": KbnDatatableVisualizationState,
    "lnsHeatmap": KbnHeatmapVisualizationState,
    "lnsMetric": KbnMetricVisualizationState,
    "lnsPie": KbnPieVisualizationState,
    "lnsXY": KbnXYVisualizationState,
}

decoded = Counter()
unknown = Counter()
faults = []


def decode(kind, value, what, place):
    decoded[what] += 1
    try:
        TypeAdapter(kind).validate_json(json.dumps(value))
    except ValidationError as error:
        # The union of columns tells every branch; the one that fits best is told shortest.
        told = min((line["msg"] + " at " + ".".join(map(str, line["loc"])) for line in error.errors()), key=len)
        faults.append(f"{place}: {what}: {told}")


def known(column):
    """The column without what the package has no word for: it makes columns, and makes none of these."""
    column = json.loads(json.dumps(column))
    for key in ("timeShift", "timeScale"):  # Lens: shifted by a period; normalised to a unit of time.
        if column.pop(key, None):
            unknown[key] += 1
    if column["operationType"] == "terms":
        if column["dataType"] == "number":  # Top values of a number, such as a port.
            column["dataType"] = "string"
            unknown["terms of numbers"] += 1
        if column["params"]["orderBy"]["type"] == "rare":  # Rare values.
            column["params"]["orderBy"] = {"type": "alphabetical"}
            unknown["rare"] += 1
    return column


def panel(value, place):
    config = value["embeddableConfig"]
    for event in config["enhancements"].get("dynamicActions", {}).get("events", []):
        decode(KbnDrilldownEvent, event, "drill-down", place)
    if value["type"] == "links":
        for link in config["attributes"]["links"]:
            decode(KbnDashboardLink, link, "link", place)
    if value["type"] != "lens":
        return
    attributes = config["attributes"]
    decode(STATES[attributes["visualizationType"]], attributes["state"]["visualization"], "visualization", place)
    for layer in attributes["state"]["datasourceStates"]["formBased"]["layers"].values():
        for column in layer["columns"].values():
            decode(KbnLensColumnTypes, known(column), "column", place)


for path in sys.argv[1:]:
    for line in open(path, encoding="utf-8"):
        board = json.loads(line)
        if board["type"] != "dashboard":
            continue
        for value in json.loads(board["attributes"]["panelsJSON"]):
            panel(value, f'{board["id"]} {value["panelIndex"]}')
        for name, control in json.loads(board["attributes"]["controlGroupInput"]["panelsJSON"]).items():
            # The data view is a reference; the others may be left out in Kibana, and must be named here.
            control["explicitInput"] |= {"dataViewId": "by reference", "singleSelect": None, "runPastTimeout": None}
            decode(KbnOptionsListControl, control, "control", f'{board["id"]} {name}')

print(json.dumps({"decoded": decoded, "not known to the package": unknown, "faults": faults}, indent=1))
sys.exit(1 if faults else 0)
