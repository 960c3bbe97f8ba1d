//! Pictures of the boards for the documentation, drawn by us from the sample documents: they show what each board holds,
//! not how Kibana draws it.

use std::fmt::Write as _;

use serde_json::Value;
use tidegate::setup::boards::source::{Agg, Board, Bucket, Chart, Common, Format, Metric, Panel, Sources};

use super::answer::{Cell, Table, computed};
use super::built::assert_file;
use super::corpus::{WINDOW, presentable};
use super::kql::{parse, text, values};
use super::question::asked;

/// Pixels of a column and of a row of the grid.
const COLUMN: f64 = 25.0;
const ROW: f64 = 18.0;
const COLOURS: [&str; 8] = ["#2f7d8c", "#d9803b", "#7a5ea8", "#5f9e4c", "#c4566b", "#8a7446", "#4d79c7", "#9aa3ab"];
const ALLOW: &str = "#4c9a6a";
const DENY: &str = "#c8423b";

#[test]
fn boards_are_drawn() {
    let sources = Sources::shipped();
    for board in &sources.boards {
        assert_file(&format!("deploy/docs/boards/{}.svg", board.id), &picture(&sources, board));
    }
}

struct Canvas(String);

/// Where a chart is drawn.
#[derive(Clone, Copy)]
struct Area {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

fn escape(text: &str) -> String {
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    shown.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Cut to what fits, at about `size` × 0.55 pixels a character.
fn cut(text: &str, width: f64, size: f64) -> String {
    let most = (width / (size * 0.55)).max(1.0) as usize;
    if text.chars().count() <= most {
        text.to_owned()
    } else {
        text.chars().take(most.saturating_sub(1)).collect::<String>() + "…"
    }
}

impl Canvas {
    fn rect(&mut self, area: Area, fill: &str) {
        let Area { x, y, w, h } = area;
        let _ = writeln!(self.0, r#"<rect x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" fill="{fill}"/>"#);
    }

    fn text(&mut self, x: f64, y: f64, size: f64, style: &str, text: &str) {
        let _ = writeln!(self.0, r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" {style}>{}</text>"#, escape(text));
    }

    fn line(&mut self, points: &[(f64, f64)], stroke: &str) {
        let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.0,
            r#"<polyline points="{}" fill="none" stroke="{stroke}" stroke-width="2"/>"#,
            points.join(" ")
        );
    }

    fn polygon(&mut self, points: &[(f64, f64)], fill: &str) {
        let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(self.0, r#"<polygon points="{}" fill="{fill}" fill-opacity="0.8"/>"#, points.join(" "));
    }
}

const GREY: &str = r##"fill="#5b6670""##;
const DARK: &str = r##"fill="#1c2328""##;

fn picture(sources: &Sources, board: &Board) -> String {
    let common = &sources.common;
    let bottom = board.panels.iter().map(|panel| panel.at[1] + panel.at[3]).max().unwrap_or(0);
    let (width, height) = (48.0 * COLUMN + 20.0, f64::from(bottom) * ROW + 70.0);
    let mut canvas = Canvas(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"Helvetica,Arial,sans-serif\">\n"
    ));
    canvas.rect(Area { x: 0.0, y: 0.0, w: width, h: height }, "#eef1f4");
    canvas.text(14.0, 26.0, 18.0, &format!("{DARK} font-weight=\"bold\""), &board.title);
    canvas.text(
        width - 14.0,
        26.0,
        11.0,
        &format!("{GREY} text-anchor=\"end\""),
        "drawn by Tidegate from sample data; Kibana looks different",
    );
    let mut x = 14.0;
    for control in &common.controls {
        let w = 116.0;
        canvas.rect(Area { x, y: 38.0, w: w - 6.0, h: 22.0 }, "#ffffff");
        canvas.text(x + 7.0, 53.0, 11.0, GREY, &cut(&control.label, w - 18.0, 11.0));
        x += w + 3.0;
    }
    let mut x = 14.0;
    for other in &sources.boards {
        let here = if other.id == board.id {
            format!("{DARK} font-weight=\"bold\"")
        } else {
            r##"fill="#1f6f9f""##.to_owned()
        };
        canvas.text(x, 70.0 + 2.2 * ROW, 13.0, &here, &other.nav);
        x += other.nav.len() as f64 * 7.5 + 30.0;
    }
    for panel in &board.panels {
        let [x, y, w, h] = panel.at.map(f64::from);
        let area = Area { x: 10.0 + x * COLUMN + 3.0, y: 66.0 + y * ROW + 3.0, w: w * COLUMN - 6.0, h: h * ROW - 6.0 };
        canvas.rect(area, "#ffffff");
        canvas.text(
            area.x + 9.0,
            area.y + 18.0,
            12.5,
            &format!("{DARK} font-weight=\"bold\""),
            &cut(&panel.title, area.w - 18.0, 12.5),
        );
        let inner = Area { x: area.x + 9.0, y: area.y + 28.0, w: area.w - 18.0, h: area.h - 36.0 };
        if panel.chart == Chart::Search {
            search(&mut canvas, inner, common, board, panel);
        } else {
            let mut table = computed(&asked(common, board, panel), WINDOW, presentable());
            unnest(panel, &mut table);
            chart(&mut canvas, inner, common, panel, &table);
        }
    }
    canvas.0 + "</svg>\n"
}

/// Keys in the order of the page, where the first is the axis.
fn unnest(panel: &Panel, table: &mut Table) {
    let places: Vec<usize> = panel.nested().map(|(index, _)| index).collect();
    for row in &mut table.rows {
        let keys = row.clone();
        places.iter().zip(keys).for_each(|(place, key)| row[*place] = key);
    }
}

fn chart(canvas: &mut Canvas, area: Area, common: &Common, panel: &Panel, table: &Table) {
    if table.is_empty() {
        canvas.text(
            area.x + area.w / 2.0,
            area.y + area.h / 2.0,
            12.0,
            &format!("{GREY} text-anchor=\"middle\""),
            "No results",
        );
        return;
    }
    match panel.chart {
        Chart::Metric => metric(canvas, area, common, panel, table),
        Chart::Bar | Chart::Area | Chart::Line => axes(canvas, area, common, panel, table),
        Chart::Donut => donut(canvas, area, panel, table),
        Chart::Treemap => treemap(canvas, area, panel, table),
        Chart::Heatmap => heatmap(canvas, area, common, panel, table),
        Chart::Table | Chart::Search => listing(canvas, area, common, panel, table),
    }
}

fn number(metric: &Metric, cell: &Cell) -> String {
    let value = match cell {
        Cell::Nothing => return "–".to_owned(),
        Cell::Text(text) => return text.clone(),
        Cell::Number(value) | Cell::Between(value, _) => *value,
    };
    if metric.is_date() && matches!(metric.agg, Agg::Max | Agg::Min) {
        return clock(value);
    }
    let scaled = |step: f64, units: &[&str]| {
        let mut value = value;
        let mut unit = 0;
        while value >= step && unit + 1 < units.len() {
            (value, unit) = (value / step, unit + 1);
        }
        let digits = if unit == 0 && value.fract() == 0.0 { 0 } else { 1 };
        format!("{value:.digits$}{}", units[unit])
    };
    match (metric.agg, metric.format) {
        (Agg::Share, _) => format!("{:.1} %", value * 100.0),
        (_, Some(Format::Bytes)) => scaled(1024.0, &[" B", " KB", " MB", " GB", " TB"]),
        _ if (100.0..10_000.0).contains(&value) => format!("{value:.0}"),
        _ if value < 1.0 && value > 0.0 => format!("{value:.2}"),
        _ if value < 100.0 => scaled(f64::INFINITY, &[""]),
        _ => scaled(1000.0, &["", " k", " M", " G"]),
    }
}

fn clock(ms: f64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms as i64).expect("a time").to_string();
    time[11..16].to_owned()
}

fn label(panel: &Panel, index: usize, cell: &Cell) -> String {
    match cell {
        Cell::Number(value) if matches!(panel.by.get(index), Some(Bucket::Time(_))) => clock(*value),
        Cell::Number(value) => format!("{value}"),
        Cell::Text(text) => text.clone(),
        _ => "–".to_owned(),
    }
}

fn metric(canvas: &mut Canvas, area: Area, common: &Common, panel: &Panel, table: &Table) {
    let shown = &panel.show[0];
    let row = &table.rows[0];
    canvas.text(area.x, area.y + 36.0, 30.0, DARK, &number(shown, &row[0]));
    let below = match (&shown.before, row.get(1)) {
        (Some(_), Some(cell)) => format!("{}, a day before {}", shown.label(common), number(shown, cell)),
        _ => shown.label(common),
    };
    canvas.text(area.x, area.y + 58.0, 11.0, GREY, &cut(&below, area.w, 11.0));
}

/// Names of series or values in order of appearance.
fn names(rows: impl Iterator<Item = String>) -> Vec<String> {
    let mut names = Vec::new();
    for name in rows {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn colour(names: &[String], name: &str) -> &'static str {
    match name {
        "allow" => ALLOW,
        "deny" => DENY,
        _ => COLOURS[names.iter().position(|other| other == name).unwrap_or(0) % COLOURS.len()],
    }
}

/// Bars, areas and lines: the first key across, the second (or each number) a series.
fn axes(canvas: &mut Canvas, area: Area, common: &Common, panel: &Panel, table: &Table) {
    let across = names(ordered(table).into_iter().map(|row| label(panel, 0, &row[0])));
    let points: Vec<(String, String, f64)> = table
        .rows
        .iter()
        .flat_map(|row| {
            let x = label(panel, 0, &row[0]);
            let of = |index: usize| {
                if table.keys > 1 { label(panel, 1, &row[1]) } else { panel.show[index].label(common) }
            };
            row[table.keys..]
                .iter()
                .enumerate()
                .map(|(index, cell)| (x.clone(), of(index), cell.number()))
                .collect::<Vec<_>>()
        })
        .collect();
    let series = names(points.iter().map(|(_, name, _)| name.clone()));
    let value = |x: &str, name: &str| points.iter().filter(|p| p.0 == x && p.1 == name).map(|p| p.2).sum::<f64>();
    let stacked = panel.chart != Chart::Line;
    let total = |x: &String| {
        series.iter().map(|name| value(x, name)).fold(0.0, |a, b| if stacked { a + b } else { f64::max(a, b) })
    };
    let most = across.iter().map(total).fold(1e-9, f64::max);
    let legend = 150.0;
    let plot = Area { x: area.x + 58.0, y: area.y + 6.0, w: area.w - 58.0 - legend, h: area.h - 24.0 };
    for part in [0.0, 0.5, 1.0] {
        let y = plot.y + plot.h * (1.0 - part);
        canvas.line(&[(plot.x, y), (plot.x + plot.w, y)], "#e3e7eb");
        canvas.text(
            plot.x - 6.0,
            y + 4.0,
            10.0,
            &format!("{GREY} text-anchor=\"end\""),
            &number(&panel.show[0], &Cell::Number(most * part)),
        );
    }
    let step = plot.w / across.len() as f64;
    let every = (across.len() as f64 * 70.0 / plot.w).ceil().max(1.0) as usize;
    for (index, name) in across.iter().enumerate().step_by(every) {
        let x = plot.x + step * (index as f64 + 0.5);
        canvas.text(
            x,
            plot.y + plot.h + 15.0,
            10.0,
            &format!("{GREY} text-anchor=\"middle\""),
            &cut(name, step.max(70.0), 10.0),
        );
    }
    let mut floor = vec![0.0; across.len()];
    for name in &series {
        let fill = colour(&series, name);
        let tops: Vec<f64> =
            across.iter().zip(&floor).map(|(x, base)| value(x, name) + if stacked { *base } else { 0.0 }).collect();
        let y = |value: f64| plot.y + plot.h * (1.0 - value / most);
        let middle = |index: usize| plot.x + step * (index as f64 + 0.5);
        match panel.chart {
            Chart::Bar => {
                for (index, (top, base)) in tops.iter().zip(&floor).enumerate() {
                    let bar = Area {
                        x: plot.x + step * (index as f64 + 0.12),
                        y: y(*top),
                        w: step * 0.76,
                        h: y(*base) - y(*top),
                    };
                    canvas.rect(bar, fill);
                }
            }
            Chart::Area => {
                let mut outline: Vec<_> =
                    tops.iter().enumerate().map(|(index, top)| (middle(index), y(*top))).collect();
                outline.extend(floor.iter().enumerate().rev().map(|(index, base)| (middle(index), y(*base))));
                canvas.polygon(&outline, fill);
            }
            _ => canvas
                .line(&tops.iter().enumerate().map(|(index, top)| (middle(index), y(*top))).collect::<Vec<_>>(), fill),
        }
        if stacked {
            floor = tops;
        }
    }
    key(canvas, Area { x: area.x + area.w - legend + 12.0, y: area.y, w: legend - 12.0, h: area.h }, &series);
}

/// A time axis runs on; other keys stay in the order of their size.
fn ordered(table: &Table) -> Vec<&Vec<Cell>> {
    let mut rows: Vec<&Vec<Cell>> = table.rows.iter().collect();
    if rows.iter().all(|row| matches!(row[0], Cell::Number(_))) {
        rows.sort_by(|a, b| a[0].number().total_cmp(&b[0].number()));
    }
    rows
}

fn key(canvas: &mut Canvas, area: Area, names: &[String]) {
    let most = (area.h / 17.0) as usize;
    for (index, name) in names.iter().take(most).enumerate() {
        let y = area.y + 6.0 + 17.0 * index as f64;
        canvas.rect(Area { x: area.x, y, w: 10.0, h: 10.0 }, colour(names, name));
        canvas.text(area.x + 16.0, y + 9.0, 10.5, GREY, &cut(name, area.w - 16.0, 10.5));
    }
}

fn donut(canvas: &mut Canvas, area: Area, panel: &Panel, table: &Table) {
    let parts: Vec<(String, f64)> =
        table.rows.iter().map(|row| (label(panel, 0, &row[0]), row[table.keys].number())).collect();
    let names: Vec<String> = parts.iter().map(|(name, _)| name.clone()).collect();
    let total: f64 = parts.iter().map(|(_, value)| value).sum();
    let radius = (area.h / 2.0 - 6.0).min(area.w / 4.0);
    let (cx, cy) = (area.x + radius + 8.0, area.y + area.h / 2.0);
    let mut angle = -std::f64::consts::FRAC_PI_2;
    for (name, value) in &parts {
        let end = angle + value / total * std::f64::consts::TAU;
        let steps = ((end - angle) / 0.1).ceil().max(1.0) as usize;
        let at = |step: usize, radius: f64| {
            let a = angle + (end - angle) * step as f64 / steps as f64;
            (cx + radius * a.cos(), cy + radius * a.sin())
        };
        let mut outline: Vec<_> = (0..=steps).map(|step| at(step, radius)).collect();
        outline.extend((0..=steps).rev().map(|step| at(step, radius * 0.58)));
        canvas.polygon(&outline, colour(&names, name));
        angle = end;
    }
    let shown: Vec<String> =
        parts.iter().map(|(name, value)| format!("{name}  {:.0} %", value / total * 100.0)).collect();
    let x = cx + radius + 16.0;
    for (index, text) in shown.iter().enumerate().take((area.h / 17.0) as usize) {
        let y = area.y + 6.0 + 17.0 * index as f64;
        canvas.rect(Area { x, y, w: 10.0, h: 10.0 }, colour(&names, &names[index]));
        canvas.text(x + 16.0, y + 9.0, 10.5, GREY, &cut(text, area.x + area.w - x - 16.0, 10.5));
    }
}

/// Columns of the first key, each cut by the second.
fn treemap(canvas: &mut Canvas, area: Area, panel: &Panel, table: &Table) {
    let total: f64 = table.rows.iter().map(|row| row[2].number()).sum();
    let columns = names(table.rows.iter().map(|row| label(panel, 0, &row[0])));
    let mut x = area.x;
    for name in &columns {
        let rows: Vec<&Vec<Cell>> = table.rows.iter().filter(|row| label(panel, 0, &row[0]) == *name).collect();
        let sum: f64 = rows.iter().map(|row| row[2].number()).sum();
        let w = area.w * sum / total;
        let mut y = area.y;
        for row in rows {
            let h = area.h * row[2].number() / sum.max(1e-9);
            canvas.rect(
                Area { x: x + 1.0, y: y + 1.0, w: (w - 2.0).max(0.5), h: (h - 2.0).max(0.5) },
                colour(&columns, name),
            );
            if w > 60.0 && h > 16.0 {
                let text = format!("{} · {}", name, label(panel, 1, &row[1]));
                canvas.text(x + 6.0, y + 14.0, 10.5, r##"fill="#ffffff""##, &cut(&text, w - 12.0, 10.5));
            }
            y += h;
        }
        x += w;
    }
}

fn heatmap(canvas: &mut Canvas, area: Area, common: &Common, panel: &Panel, table: &Table) {
    let across = names(ordered(table).into_iter().map(|row| label(panel, 0, &row[0])));
    let down = names(table.rows.iter().map(|row| label(panel, 1, &row[1])));
    let most = table.rows.iter().map(|row| row[2].number()).fold(1e-9, f64::max);
    let plot = Area { x: area.x + 140.0, y: area.y, w: area.w - 140.0, h: area.h - 18.0 };
    let (w, h) = (plot.w / across.len() as f64, plot.h / down.len() as f64);
    let axes = format!("↓ {}  → {}", panel.by[1].label(common), panel.by[0].label(common));
    canvas.text(area.x, area.y + area.h - 3.0, 9.0, GREY, &cut(&axes, 136.0, 9.0));
    let every = (60.0 / w).ceil().max(1.0) as usize;
    for (index, name) in across.iter().enumerate().step_by(every) {
        canvas.text(
            plot.x + w * (index as f64 + 0.5),
            area.y + area.h - 3.0,
            10.0,
            &format!("{GREY} text-anchor=\"middle\""),
            &cut(name, w.max(60.0), 10.0),
        );
    }
    for (index, name) in down.iter().enumerate() {
        let y = plot.y + h * (index as f64 + 0.5) + 4.0;
        canvas.text(plot.x - 6.0, y, 10.0, &format!("{GREY} text-anchor=\"end\""), &cut(name, 130.0, 10.0));
    }
    for (row, column) in (0..down.len()).flat_map(|row| (0..across.len()).map(move |column| (row, column))) {
        let found = table
            .rows
            .iter()
            .find(|cells| label(panel, 0, &cells[0]) == across[column] && label(panel, 1, &cells[1]) == down[row]);
        let cell =
            Area { x: plot.x + w * column as f64 + 1.0, y: plot.y + h * row as f64 + 1.0, w: w - 2.0, h: h - 2.0 };
        let Some(found) = found else {
            canvas.rect(cell, "#f5f7f8");
            continue;
        };
        // By the root, so that small ones can be seen beside large ones.
        let part = (found[2].number() / most).sqrt();
        let shade = |from: f64, to: f64| (from + (to - from) * part) as u8;
        canvas.rect(cell, &format!("#{:02x}{:02x}{:02x}", shade(226.0, 20.0), shade(238.0, 92.0), shade(242.0, 120.0)));
        if w > 44.0 && h > 14.0 {
            let ink = if part > 0.5 { "#ffffff" } else { "#1c2328" };
            let style = format!("fill=\"{ink}\" text-anchor=\"middle\"");
            canvas.text(cell.x + w / 2.0, cell.y + h / 2.0 + 3.0, 10.0, &style, &number(&panel.show[0], &found[2]));
        }
    }
}

fn listing(canvas: &mut Canvas, area: Area, common: &Common, panel: &Panel, table: &Table) {
    let mut heads: Vec<String> = panel.by.iter().map(|bucket| bucket.label(common).to_owned()).collect();
    let mut shown: Vec<&Metric> = Vec::new();
    for metric in &panel.show {
        heads.push(metric.label(common));
        shown.push(metric);
        if let Some(before) = &metric.before {
            heads.push(format!("{before} before"));
            shown.push(metric);
        }
    }
    let mut rows: Vec<&Vec<Cell>> = table.rows.iter().collect();
    // As the table on the board: by its first number.
    let ascending = panel.by.iter().any(|by| match by {
        Bucket::Top(top) => top.ascending,
        Bucket::Rare(_) => true,
        _ => false,
    });
    rows.sort_by(|a, b| b[table.keys].number().total_cmp(&a[table.keys].number()));
    if ascending {
        rows.reverse();
    }
    let cells = rows.into_iter().map(|row| {
        let keys = row[..table.keys].iter().enumerate().map(|(index, cell)| label(panel, index, cell));
        keys.chain(row[table.keys..].iter().zip(&shown).map(|(cell, metric)| number(metric, cell))).collect()
    });
    grid(canvas, area, &heads, cells, table.keys);
}

/// Keys are wider than numbers.
fn grid(canvas: &mut Canvas, area: Area, heads: &[String], rows: impl Iterator<Item = Vec<String>>, wide: usize) {
    let unit = area.w / (wide as f64 * 1.7 + (heads.len() - wide) as f64);
    let width = |index: usize| if index < wide { unit * 1.7 } else { unit };
    let place = |index: usize| area.x + (0..index).map(width).sum::<f64>();
    for (index, head) in heads.iter().enumerate() {
        canvas.text(
            place(index),
            area.y + 8.0,
            10.5,
            &format!("{GREY} font-weight=\"bold\""),
            &cut(head, width(index) - 6.0, 10.5),
        );
    }
    let most = ((area.h - 14.0) / 17.0) as usize;
    for (line, row) in rows.take(most).enumerate() {
        let y = area.y + 26.0 + 17.0 * line as f64;
        canvas.rect(Area { x: area.x, y: y - 12.5, w: area.w, h: 1.0 }, "#e3e7eb");
        for (index, cell) in row.iter().enumerate() {
            canvas.text(place(index), y, 10.5, DARK, &cut(cell, width(index) - 6.0, 10.5));
        }
    }
}

fn search(canvas: &mut Canvas, area: Area, common: &Common, board: &Board, panel: &Panel) {
    let search = common.searches.iter().find(|search| Some(&search.id) == panel.search.as_ref()).expect("the search");
    let filters = [common.kql(&board.filter), common.kql(&search.filter)].map(|text| parse(&text).expect("KQL"));
    let mut found: Vec<&Value> =
        presentable().iter().filter(|document| filters.iter().all(|kql| kql.matches(document))).collect();
    found.sort_by_key(|document| std::cmp::Reverse(super::answer::time(document)));
    let columns: Vec<&String> = search.columns.iter().take(9).collect();
    let heads = columns.iter().map(|column| common.label(column).to_owned());
    let heads: Vec<String> = std::iter::once("Time".to_owned()).chain(heads).collect();
    let cells = found.into_iter().map(|document| {
        let shown =
            columns.iter().map(|column| values(document, column).into_iter().map(text).collect::<Vec<_>>().join(", "));
        let time = super::answer::time(document).map_or_else(String::new, |time| clock(time as f64));
        std::iter::once(time).chain(shown).collect()
    });
    grid(canvas, area, &heads, cells, 0);
}
