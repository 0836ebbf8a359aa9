// Plots as inline SVG: success against realism from the summary, distributions from the episodes.
const SHAPES = ["M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0", "M-4.5-4.5h9v9h-9z", "M0-6L6 5H-6z", "M0-6.5L6 0L0 6.5L-6 0z", "M0 6L6-5H-6z",
  "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z", "M-6-2.5h12v5h-12z", "M-2.5-6h5v12h-5z"];

function niceTicks(low, high, count = 5) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const size = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw) * power;
  const ticks = [];
  for (let tick = Math.ceil(low / size) * size; tick <= high + 1e-9; tick += size) ticks.push(Math.abs(tick) < 1e-12 ? 0 : tick);
  return ticks;
}

const tickText = (value) => String(Number(value.toPrecision(3)));

function axes(svg, area, x, y) {
  for (const tick of x.ticks) {
    make(svg, "line", { class: "tick", x1: x.at(tick), x2: x.at(tick), y1: area.top, y2: area.bottom });
    make(svg, "text", { x: x.at(tick), y: area.bottom + 15, "text-anchor": "middle" }, tickText(tick));
  }
  for (const tick of y ? y.ticks : []) {
    make(svg, "line", { class: "tick", x1: area.left, x2: area.right, y1: y.at(tick), y2: y.at(tick) });
    make(svg, "text", { x: area.left - 6, y: y.at(tick) + 4, "text-anchor": "end" }, tickText(tick));
  }
  make(svg, "path", { class: "axis", d: `M${area.left} ${area.top}V${area.bottom}H${area.right}` });
}

function linear(low, high, from, to, ticks) {
  return { at: (value) => from + ((value - low) / (high - low || 1)) * (to - from), ticks };
}

const REALISM = { behavioural: "behavioural penalty P_beh", kinematic: "kinematic penalty P_kin", reward: "adversarial reward" };

function drawScatter() {
  const metric = $("scatter-metric").value;
  const cells = INDEX.cells.filter((cell) => usable(cell.columns[metric]) && usable(cell.columns.success));
  $("scatter").replaceChildren();
  if (!cells.length) return void make($("scatter"), "p", { class: "note" }, "No attacked episode has this number.");
  const ends = cells.flatMap((cell) => [cell.columns[metric].low, cell.columns[metric].high]);
  const [low, high] = [Math.min(0, ...ends), Math.max(...ends) * 1.04];
  for (const system of INDEX.systems) {
    const own = cells.filter((cell) => cell.sut === system);
    const svg = make($("scatter"), "svg", { viewBox: "0 0 360 290", role: "img",
      "aria-label": `Success rate against ${REALISM[metric]} for ${system}; the table holds the numbers` });
    make(svg, "text", { class: "title", x: 46, y: 16 }, system);
    const area = { left: 46, right: 350, top: 28, bottom: 245 };
    const x = linear(low, high, area.left, area.right, niceTicks(low, high));
    const y = linear(0, 100, area.bottom, area.top, [0, 25, 50, 75, 100]);
    axes(svg, area, x, y);
    make(svg, "text", { x: (area.left + area.right) / 2, y: 280, "text-anchor": "middle" }, REALISM[metric]);
    make(svg, "text", { x: 12, y: 137, "text-anchor": "middle", transform: "rotate(-90 12 137)" }, "success (%)");
    for (const cell of own) scatterPoint(svg, cell, metric, x, y);
  }
}

const usable = (column) => column && column.value !== null && column.low !== null && column.high !== null;

function scatterPoint(svg, cell, metric, x, y) {
  const index = INDEX.adversaries.indexOf(cell.adversary);
  const [across, up] = [cell.columns[metric], cell.columns.success];
  const colour = adversaryColour(index);
  const group = make(svg, "g", {});
  group.style.color = colour;
  make(group, "line", { x1: x.at(across.low), x2: x.at(across.high), y1: y.at(100 * up.value), y2: y.at(100 * up.value), stroke: "currentColor" });
  make(group, "line", { x1: x.at(across.value), x2: x.at(across.value), y1: y.at(100 * up.low), y2: y.at(100 * up.high), stroke: "currentColor" });
  const point = make(group, "path", { d: SHAPES[(index - 1) % 8], fill: "currentColor",
    transform: `translate(${x.at(across.value)} ${y.at(100 * up.value)})` });
  make(point, "title", {}, `${cell.adversary}: success ${fixed(100 * up.value, 1)} % [${fixed(100 * up.low, 1)}, ${fixed(100 * up.high, 1)}], ` +
    `${REALISM[metric]} ${fixed(across.value, 3)} [${fixed(across.low, 3)}, ${fixed(across.high, 3)}], N = ${cell.n}`);
}

function drawLegend() {
  INDEX.adversaries.forEach((name, index) => {
    if (index === UNDISTURBED) return;
    const item = make($("scatter-legend"), "li", {});
    const svg = make(item, "svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true" });
    make(svg, "path", { d: SHAPES[(index - 1) % 8], fill: "currentColor" });
    svg.style.color = adversaryColour(index);
    item.append(name);
  });
}

const SPREADS = [["kinematic", "Kinematic penalty P_kin", ""], ["behavioural", "Behavioural penalty P_beh", ""],
  ["min_ttc", "Smallest time to collision", "s"], ["impact_speed", "Impact speed (relative)", "m/s"]];

// Telling scenes were chosen for what happened in them: distributions are drawn of the others.
const SAMPLE = INDEX.sample ? new Set(INDEX.sample) : null;

function drawSpreads() {
  $("spread").replaceChildren();
  const sut = Number($("spread-system").value);
  for (const [name, title, unit] of SPREADS) if (INDEX.scores[name]) drawSpread(name, title, unit, sut);
}

function drawSpread(name, title, unit, sut) {
  const groups = INDEX.adversaries.map((adversary, index) => {
    const rows = [];
    for (let row = 0; row < COUNT; row++) {
      const value = score(name, row);
      if (SAMPLE && !SAMPLE.has(EPISODES.scene[row])) continue;
      if (EPISODES.sut[row] === sut && EPISODES.adversary[row] === index && typeof value === "number") rows.push([value, row]);
    }
    return { adversary, index, rows: rows.sort((a, b) => a[0] - b[0]) };
  }).filter((group) => group.index !== UNDISTURBED);
  const values = groups.flatMap((group) => group.rows.map((pair) => pair[0])).sort((a, b) => a - b);
  const height = 62 + 30 * groups.length;
  const svg = make($("spread"), "svg", { viewBox: `0 0 460 ${height}`, role: "group", "aria-label": `${title}, by adversary` });
  make(svg, "text", { class: "title", x: 4, y: 16 }, unit ? `${title} (${unit})` : title);
  if (!values.length) return void make(svg, "text", { x: 4, y: 40 }, "undefined in every episode");
  const area = { left: 92, right: 410, top: 26, bottom: height - 28 };
  // A few extremes must not squeeze everything else: they are drawn at the edge and counted there.
  const [top, usual] = [values[values.length - 1], quantile(values, 0.97)];
  const limit = (top > 2 * usual ? 1.15 * usual : 1.03 * top) || 1;
  const x = linear(0, limit, area.left, area.right, niceTicks(0, limit, 4));
  axes(svg, area, x, null);
  groups.forEach((group, place) => spreadRow(svg, group, x, limit, area.top + 30 * place + 17, unit));
}

function quantile(sorted, share) {
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

function spreadRow(svg, group, x, limit, middle, unit) {
  const colour = adversaryColour(group.index);
  make(svg, "text", { class: "name", x: 86, y: middle + 4, "text-anchor": "end" }, shortened(group.adversary, 13));
  const numbers = group.rows.map((pair) => pair[0]);
  const beyond = numbers.filter((value) => value > limit).length;
  make(svg, "text", { x: 416, y: middle + (beyond ? -1 : 4) }, `n = ${numbers.length}`);
  if (beyond) make(svg, "text", { x: 416, y: middle + 11 }, `${beyond} beyond`);
  if (!numbers.length) return;
  const marks = make(svg, "g", {});
  marks.style.color = colour;
  const at = (value) => x.at(Math.min(value, limit));
  for (const [value, row] of group.rows) {
    const dot = make(marks, "circle", { class: "dot", cx: at(value), cy: middle + jitter(row), r: 2.8, fill: "currentColor", "data-row": row });
    make(dot, "title", {}, `scene ${label(row).scene}: ${fixed(value, 2)}${unit ? " " + unit : ""}`);
  }
  const [a, b, c] = [0.25, 0.5, 0.75].map((share) => at(quantile(numbers, share)));
  make(marks, "line", { class: "iqr", x1: a, x2: c, y1: middle, y2: middle, stroke: "currentColor" });
  make(marks, "line", { class: "median", x1: b, x2: b, y1: middle - 9, y2: middle + 9, stroke: "currentColor" });
}

const jitter = (row) => ((row * 7919) % 13) - 6;
const shortened = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

function startPlots() {
  for (const [name, text] of Object.entries(REALISM)) option($("scatter-metric"), name, text);
  INDEX.systems.forEach((name, i) => option($("spread-system"), i, name));
  $("scatter-metric").addEventListener("change", drawScatter);
  $("spread-system").addEventListener("change", drawSpreads);
  $("spread").addEventListener("click", (event) => {
    const row = event.target.dataset && event.target.dataset.row;
    if (row === undefined) return;
    choose(Number(row));
    $("playback").scrollIntoView();
  });
  // Two or four panels stand in pairs, so that none is left alone.
  if ([2, 4].includes(INDEX.systems.length)) $("scatter").dataset.pairs = "";
  drawScatter();
  drawLegend();
  drawSpreads();
}
