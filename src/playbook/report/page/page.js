// The report's page: draws the charts when they come into view, or all of them for paper, links them, and fills the
// table. No network.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const trials = rowsOf(data.trials);
const byNumber = new Map(trials.map((row) => [row.trial, row]));
const lines = linesOf(data.curves);
const names = new Map(data.shown); // number of a trial whose curves stand out → its name in a legend
const plots = [...document.querySelectorAll(".plot")].sort((one, other) => one.dataset.chart - other.dataset.chart);
const dark = matchMedia("(prefers-color-scheme: dark)");
const touch = matchMedia("(pointer: coarse)").matches;
const ROWS = 50; // of the table at a time
const FAINT = 40; // curves drawn behind the best ones
const PAPER = 700; // pixels of a printed page's width
const GAP = 20; // between its columns
const MOST_LINES = 2000; // trials that are printed as lines, not as an image

const state = { brushes: new Map(), picked: null, chosen: null, sort: 1, ascending: data.ascending, shown: ROWS };
const views = new Map(); // number of a chart → its view

// ---------------------------------------------------------------- data

function rowsOf(columns) {
  const keys = Object.keys(columns.fields);
  return columns.fields.trial.map((_, index) => {
    const row = {};
    for (const key of keys) row[key] = columns.fields[key][index];
    row.arm = data.arms[row.arm];
    row.settings = columns.settings.map((each) => each.values[index]);
    row.setting = columns.settings
      .map((each, place) => [each.key, row.settings[place]])
      .filter(([, value]) => value !== null)
      .map(([key, value]) => `${key}=${shown(value)}`)
      .join(", ");
    const error = row.objective_se == null ? "" : ` ± ${row.objective_se}`;
    const result = row.objective === null ? row.status : `${data.objective} ${brief(row.objective)}${error}`;
    row.tip = `trial ${row.trial}: ${result}${row.cause ? `, ${row.cause}` : ""} · ${row.setting}`;
    row.ended = row.kind === "infeasible" ? row.kind : row.status;
    row.why = row.reason || row.cause || null;
    row.command = columns.commands ? columns.commands.head + columns.commands.tails[index] : null;
    return row;
  });
}

function linesOf(curves) {
  const found = new Map();
  for (const [trial, metric, places, values] of curves.lines) {
    if (!found.has(trial)) found.set(trial, []);
    found.get(trial).push({ metric: curves.metrics[metric], steps: places.map((place) => curves.grid[place]), values });
  }
  return found;
}

/** The rows of a chart of curves: the best, the chosen trial, and behind them some of those picked or of all. */
function curveRows(family) {
  const others = (state.picked ? [...state.picked] : evenly([...lines.keys()], FAINT)).filter((trial) => !names.has(trial));
  const wanted = [...others.slice(0, FAINT), ...names.keys()];
  if (state.chosen !== null) wanted.push(state.chosen);
  const rows = [];
  for (const trial of new Set(wanted)) {
    const who = trial === state.chosen ? "selected" : (names.get(trial) ?? "other trials");
    for (const line of lines.get(trial) || []) {
      if (!(line.metric in family.measured_on)) continue;
      line.values.forEach((value, index) => {
        if (value === null) return;
        rows.push({ trial, who, metric: line.metric, on: family.measured_on[line.metric], step: line.steps[index], value });
      });
    }
  }
  return rows;
}

function evenly(list, count) {
  const stride = Math.max(1, list.length / count);
  return list.filter((_, index) => Math.floor(index / stride) !== Math.floor((index - 1) / stride));
}

// ---------------------------------------------------------------- charts

function datasetOf(name) {
  if (name === "trials") return trials.map((row) => ({ ...row }));
  const family = data.families.find((each) => each.dataset === name);
  return family ? curveRows(family) : data.datasets[name];
}

/** Draws a chart; for `paper` as lines that stay sharp, in black on white, as wide as a column of a printed page. */
async function draw(element, paper = false) {
  const number = Number(element.dataset.chart);
  const chart = data.charts[number];
  const isDark = dark.matches && !paper;
  const text = JSON.stringify(chart.specification).replaceAll("__ink__", isDark ? "#f0f3f6" : "#1c2126");
  const specification = JSON.parse(text);
  specification.width = paper ? (element.closest(".wide") ? PAPER : PAPER / 2) - GAP : element.clientWidth;
  specification.autosize = { type: "fit", contains: "padding" };
  specification.height = chart.height;
  specification.config = isDark ? data.themes.dark : data.themes.light;
  specification.datasets = {};
  for (const name of chart.datasets) specification.datasets[name] = datasetOf(name);
  if (chart.trials_at) withoutLegend(specification); // the page has one for all of them
  if (touch) withoutBrush(specification); // a finger that moves over a chart scrolls the page
  const { view } = await vegaEmbed(element, specification, {
    ast: true, // no code is made from text, so the page's policy can forbid it
    actions: false,
    renderer: paper && trials.length <= MOST_LINES ? "svg" : "canvas",
    scaleFactor: paper ? 2 : 1,
    tooltip: { theme: isDark ? "dark" : "light" },
  });
  views.get(number)?.finalize();
  views.set(number, view);
  view.addEventListener("click", (_, item) => {
    if (item && item.datum && byNumber.has(item.datum.trial)) choose(item.datum.trial);
  });
  if (chart.trials_at) {
    if (!touch) view.addSignalListener("brush", (_, value) => brushed(number, chart.trials_at, value));
    mark(view);
  }
}

function withoutLegend(specification) {
  for (const { encoding } of specification.layer) if (encoding.color && "legend" in encoding.color) encoding.color.legend = null;
}

function withoutBrush(specification) {
  const isBrush = (each) => each.name === "brush";
  for (const part of [specification, ...(specification.layer || [])])
    if (part.params) part.params = part.params.filter((each) => !isBrush(each));
}

/** Tells a chart of trials which are highlighted and which one was clicked. */
function mark(view) {
  const keys = state.picked ? Object.fromEntries([...state.picked].map((trial) => [trial, true])) : false;
  return view.signal("picked", keys).signal("chosen", state.chosen ?? -1).runAsync();
}

function markAll(wanted = () => true) {
  for (const [number, view] of views) if (data.charts[number].trials_at && wanted(number)) mark(view);
}

function isInView(number) {
  const { top, bottom } = plots[number].getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}

let waiting = false;
let later;
function brushed(number, [x, y], value) {
  const ends = value && value[x] && value[y] ? [...sorted(value[x]), ...sorted(value[y])] : null;
  if (ends) state.brushes.set(number, { x, y, ends });
  else state.brushes.delete(number);
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    pick();
    markAll(isInView);
    clearTimeout(later);
    later = setTimeout(() => { // the rest follows when the hand rests
      markAll((place) => !isInView(place));
      refresh();
    }, 120);
  });
}

const sorted = ([one, other]) => (one < other ? [one, other] : [other, one]);

/** Trials within every brush are picked; without a brush none is. */
function pick() {
  const brushes = [...state.brushes.values()];
  const inside = (row) =>
    brushes.every(({ x, y, ends }) => {
      if (row[x] === null || row.kind === "crashed") return false;
      return row[x] >= ends[0] && row[x] <= ends[1] && row.y >= ends[2] && row.y <= ends[3];
    });
  state.picked = brushes.length ? new Set(trials.filter(inside).map((row) => row.trial)) : null;
  state.shown = ROWS;
}

function choose(trial) {
  state.chosen = state.chosen === trial ? null : trial;
  markAll();
  refresh();
}

/** Brings the curves, the table and the line at the foot to what is highlighted and chosen. */
function refresh() {
  for (const [number, view] of views) {
    const family = data.families.find((each) => data.charts[number].datasets.includes(each.dataset));
    if (family) view.data(family.dataset, curveRows(family)).runAsync();
  }
  fillTable();
  showSelection();
}

function showSelection() {
  const bar = document.getElementById("selection");
  const row = state.chosen === null ? null : byNumber.get(state.chosen);
  bar.hidden = !row && !state.picked;
  const said = [];
  if (state.picked) said.push(`${state.picked.size} of ${trials.length} trials highlighted`);
  if (row) said.push(row.tip + (lines.has(row.trial) ? "" : " · no curves"));
  document.getElementById("selected").textContent = said.join(" · ");
  document.getElementById("copy-selected").hidden = !(row && row.command);
}

function clearAll() {
  state.brushes.clear();
  state.picked = null;
  state.chosen = null;
  for (const [number, view] of views)
    if (data.charts[number].trials_at && !touch) view.signal("brush_x", [0, 0]).signal("brush_y", [0, 0]);
  markAll();
  refresh();
}

/** A chart is drawn when it comes near the view; a page of a hundred opens at once. */
const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      draw(target);
    }
  },
  { rootMargin: "400px" },
);
for (const element of plots) {
  element.style.minHeight = `${element.dataset.height}px`;
  near.observe(element);
}

function drawAgain() {
  for (const view of views.values()) view.finalize();
  views.clear();
  state.brushes.clear();
  state.picked = null;
  for (const element of plots) {
    element.replaceChildren();
    near.unobserve(element);
    near.observe(element);
  }
  refresh();
}

// ---------------------------------------------------------------- paper

/** Whatever was closed or not yet drawn is printed too. Drawing waits for nothing, so it is done before the printer asks. */
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.more:not([open]), details.rest:not([open])")];
  for (const each of opened) each.open = true;
  for (const element of plots) {
    near.unobserve(element);
    draw(element, true);
  }
});
addEventListener("afterprint", () => {
  for (const each of opened) each.open = false;
  drawAgain();
});
dark.addEventListener("change", drawAgain);
let width = innerWidth;
let resizing;
addEventListener("resize", () => {
  if (innerWidth === width) return; // a phone's address bar comes and goes
  width = innerWidth;
  clearTimeout(resizing);
  resizing = setTimeout(drawAgain, 200);
});

// ---------------------------------------------------------------- table

/** A number without zeros to count; the settings have been rounded already. */
function shown(value) {
  if (typeof value !== "number") return String(value ?? "");
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e7) ? value.toExponential() : String(value);
}
function brief(value) {
  return typeof value === "number" ? shown(Number(value.toPrecision(4))) : shown(value);
}

const columns = [
  { title: "trial", of: (row) => row.trial },
  { title: data.objective, of: (row) => row.objective, brief: true },
  ...(trials.some((row) => row.objective_se) ? [{ title: "±", of: (row) => row.objective_se, brief: true }] : []),
  { title: "status", of: (row) => row.ended },
  ...(trials.some((row) => row.why) ? [{ title: "reason", of: (row) => row.why }] : []),
  { title: "best step", of: (row) => row.best_step },
  ...(data.arms.length > 1 ? [{ title: "arm", of: (row) => row.arm }] : []),
  ...data.trials.settings.map((each, place) => ({ title: each.key, of: (row) => row.settings[place] })),
];

function fillHead() {
  const row = document.createElement("tr");
  columns.forEach((column, place) => {
    const cell = document.createElement("th");
    const button = document.createElement("button");
    cell.scope = "col";
    button.type = "button";
    button.textContent = column.title;
    button.addEventListener("click", () => {
      state.ascending = state.sort === place ? !state.ascending : true;
      state.sort = place;
      fillTable();
    });
    cell.append(button);
    row.append(cell);
  });
  document.querySelector("#table thead").append(row);
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), undefined, { numeric: true });
}

/** Rows without a value come last in either direction. */
function ordered(rows) {
  const { of } = columns[state.sort];
  const sign = state.ascending ? 1 : -1;
  return [...rows].sort((one, other) => {
    const [a, b] = [of(one), of(other)];
    const missing = (a === null || a === undefined) - (b === null || b === undefined);
    return missing || (a === null ? 0 : sign * compare(a, b)) || one.trial - other.trial;
  });
}

function fillTable() {
  const body = document.querySelector("#table tbody");
  if (!body) return;
  const wanted = document.getElementById("filter").value.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const text = (row) => `trial ${row.trial} ${row.arm} ${row.ended} ${row.why || ""} ${row.setting}`.toLowerCase();
  const kept = trials.filter(
    (row) => (!state.picked || state.picked.has(row.trial)) && (!wanted.length || wanted.every((word) => text(row).includes(word))),
  );
  document.querySelectorAll("#table th").forEach((cell, place) => {
    if (place === state.sort) cell.setAttribute("aria-sort", state.ascending ? "ascending" : "descending");
    else cell.removeAttribute("aria-sort");
  });
  body.replaceChildren(...ordered(kept).slice(0, state.shown).map(tableRow));
  const all = kept.length === trials.length ? `${trials.length} trials` : `${kept.length} of ${trials.length} trials`;
  document.getElementById("count").textContent = all;
  document.getElementById("more").hidden = kept.length <= state.shown;
}

function tableRow(row) {
  const line = document.createElement("tr");
  line.classList.toggle("chosen", row.trial === state.chosen);
  columns.forEach((column, place) => {
    const cell = document.createElement("td");
    const value = (column.brief ? brief : shown)(column.of(row));
    if (place === 0) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "link";
      button.textContent = value;
      button.setAttribute("aria-pressed", String(row.trial === state.chosen));
      button.setAttribute("aria-label", `show the curves of trial ${value}`);
      button.addEventListener("click", () => {
        choose(row.trial);
        document.querySelector("#table tr.chosen button")?.focus();
      });
      cell.append(button);
      if (row.command) {
        const copier = document.createElement("button");
        copier.type = "button";
        copier.textContent = "copy";
        copier.title = row.command;
        copier.setAttribute("aria-label", `copy the command of trial ${value}`);
        copier.addEventListener("click", () => copy(row.command, copier));
        cell.append(" ", copier);
      }
      if (row.kind === "best" || row.kind === "member") {
        const star = document.createElement("span");
        star.className = "star";
        star.textContent = row.kind === "best" ? " ★" : " ☆";
        star.title = row.kind === "best" ? "the best" : "cannot be told from the best";
        cell.append(star);
      }
    } else {
      cell.textContent = value;
      if (value.length > 30) {
        cell.className = "long";
        cell.title = value;
      }
      if (value === "infeasible" || value === "crashed") cell.classList.add("infeasible-text");
    }
    line.append(cell);
  });
  return line;
}

// ---------------------------------------------------------------- buttons

async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea"); // a page opened as a file may have no clipboard
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1200);
}

for (const button of document.querySelectorAll(".shell button"))
  button.addEventListener("click", () => copy(button.parentElement.querySelector("code").textContent, button));
for (const button of document.querySelectorAll("button[data-trial]"))
  button.addEventListener("click", () => choose(Number(button.dataset.trial)));
document.getElementById("clear").addEventListener("click", clearAll);
document.getElementById("copy-selected").addEventListener("click", (event) => copy(byNumber.get(state.chosen).command, event.target));
if (document.getElementById("table")) {
  document.getElementById("filter").addEventListener("input", () => {
    state.shown = ROWS;
    fillTable();
  });
  document.getElementById("more").addEventListener("click", () => {
    state.shown *= 4;
    fillTable();
  });
  fillHead();
  fillTable();
}
