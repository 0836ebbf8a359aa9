// What every other part uses: the index of episodes, elements made without markup, numbers as text.
const $ = (id) => document.getElementById(id);
const INDEX = JSON.parse($("index").textContent);
const EPISODES = INDEX.episodes;
const COUNT = EPISODES.scene.length;
const UNDISTURBED = 0; // the first adversary is "none"
const SCORE_TITLES = new Map(INDEX.titles.map((title) => [title.name, title]));

// Elements are built from text only: names come from strangers and are never parsed as markup.
const SVG = "http://www.w3.org/2000/svg";
function make(parent, tag, attributes, ...children) {
  const svg = parent instanceof SVGElement || tag === "svg";
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const child of children) element.append(child);
  if (parent) parent.append(element);
  return element;
}

function option(select, value, text) {
  make(select, "option", { value }, text);
}

function score(name, row) {
  const column = INDEX.scores[name];
  return column === undefined ? null : column[row];
}

function fixed(value, digits) {
  return value === null || value === undefined || !Number.isFinite(value) ? "–" : value.toFixed(digits);
}

// A score as it stands in the panel: with its unit, yes or no, or words.
function scoreText(name, value) {
  const title = SCORE_TITLES.get(name);
  if (value === null || value === undefined) return "not defined";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string") return value;
  if (!title) return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  return `${fixed(value * title.factor, title.digits)}${title.unit ? " " + title.unit : ""}`;
}

function label(row) {
  return {
    scene: INDEX.scenes[EPISODES.scene[row]],
    system: INDEX.systems[EPISODES.sut[row]],
    adversary: INDEX.adversaries[EPISODES.adversary[row]],
    outcome: EPISODES.outcome[row],
  };
}

function outcomeText(row) {
  const { adversary, outcome } = label(row);
  return adversary === INDEX.adversaries[UNDISTURBED] && outcome === "collision"
    ? "collision without attack"
    : INDEX.outcomes[outcome];
}

function colourOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function adversaryColour(index) {
  return `var(--series-${(index - 1) % 8})`;
}
