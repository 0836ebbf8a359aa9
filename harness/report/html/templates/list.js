// The list of episodes, its filters and its order.
const PAGE = 200;
const finder = { rows: [], shown: 0 };

function matches(row) {
  const { scene: name } = label(row);
  const [outcome, adversary, sut] = ["outcome", "adversary", "sut"].map((key) => $(`filter-${key}`).value);
  const part = $("filter-scene").value.trim().toLowerCase();
  return (outcome === "" || EPISODES.outcome[row] === outcome) &&
    (adversary === "" || EPISODES.adversary[row] === Number(adversary)) &&
    (sut === "" || EPISODES.sut[row] === Number(sut)) &&
    judged(row) &&
    (part === "" || name.toLowerCase().includes(part));
}

// What was judged of a contact: score, value, and what that is called.
const VERDICTS = [["avoidable", true, "avoidable"], ["avoidable", false, "unavoidable"],
  ["cc_prevented", true, "CC driver prevents it"], ["cc_prevented", false, "CC driver does not"],
  ["fsm_prevented", true, "FSM prevents it"], ["fsm_prevented", false, "FSM does not"],
  ["fault", "ego", "fault of the ego"], ["fault", "opponent", "fault of the opponent"], ["fault", "both", "fault of both"],
  ["fault", "none", "fault of nobody"]];

function judged(row) {
  const chosen = $("filter-verdict").value;
  if (chosen === "") return true;
  const [name, value] = VERDICTS[Number(chosen)];
  return score(name, row) === value;
}

function ordered(rows) {
  const [name, direction] = $("order").value.split(":");
  if (!name) return rows;
  const sign = direction === "down" ? -1 : 1;
  const key = (row) => {
    const value = score(name, row);
    return typeof value === "number" ? sign * value : Infinity;
  };
  return rows.sort((a, b) => key(a) - key(b) || a - b);
}

function refilter() {
  finder.rows = ordered(Array.from({ length: COUNT }, (_, row) => row).filter(matches));
  finder.shown = 0;
  $("episodes").replaceChildren();
  $("count").textContent = `${finder.rows.length.toLocaleString("en")} of ${COUNT.toLocaleString("en")} episodes`;
  $("count").dataset.count = finder.rows.length;
  showMore();
}

function showMore() {
  const until = Math.min(finder.shown + PAGE, finder.rows.length);
  for (; finder.shown < until; finder.shown++) listEntry(finder.rows[finder.shown]);
  $("more").hidden = finder.shown >= finder.rows.length;
  $("more").textContent = `Show more (${finder.rows.length - finder.shown} left)`;
}

function listEntry(row) {
  const { scene: name, system, adversary, outcome } = label(row);
  const [sorted] = $("order").value.split(":");
  const title = SCORE_TITLES.get(sorted);
  const extra = title ? ` · ${scoreText(sorted, score(sorted, row))}` : "";
  const button = make(make($("episodes"), "li", {}), "button", { type: "button", "data-row": row },
    make(null, "i", { "data-outcome": outcome }),
    make(null, "span", { class: "who" }, `${adversary} · ${system}`),
    make(null, "span", { class: "where" }, `scene ${name} · ${outcomeText(row)}${extra}`));
  button.setAttribute("aria-current", row === player.row);
}

function choose(row, focus = false, link = true) {
  open(row, true, link);
  for (const button of $("episodes").querySelectorAll("button")) {
    const current = Number(button.dataset.row) === row;
    button.setAttribute("aria-current", current);
    if (!current) continue;
    const box = $("episodes");
    const [top, bottom] = [button.offsetTop - box.offsetTop, button.offsetTop - box.offsetTop + button.offsetHeight];
    if (top < box.scrollTop || bottom > box.scrollTop + box.clientHeight) box.scrollTop = top - box.clientHeight / 3;
    if (focus) button.focus({ preventScroll: true });
  }
}

function neighbour(direction) {
  const place = finder.rows.indexOf(player.row);
  const next = finder.rows[place < 0 ? 0 : place + direction];
  if (next === undefined) return;
  while (finder.rows.indexOf(next) >= finder.shown) showMore();
  choose(next, $("episodes").contains(document.activeElement));
}

function startList() {
  const fill = (id, all, entries) => {
    option($(id), "", all);
    for (const [value, text] of entries) option($(id), value, text);
  };
  const counted = (key, value) => EPISODES[key].filter((found) => found === value).length;
  fill("filter-outcome", "any", Object.entries(INDEX.outcomes).map(([key, text]) => [key, `${text} (${counted("outcome", key)})`]));
  fill("filter-adversary", "any", INDEX.adversaries.map((name, i) => [i, i === UNDISTURBED ? "none (undisturbed)" : name]));
  fill("filter-sut", "any", INDEX.systems.map((name, i) => [i, name]));
  const given = VERDICTS.map(([name, value, text], i) => [i, text, (INDEX.scores[name] || []).filter((found) => found === value).length]);
  fill("filter-verdict", "any", given.filter((entry) => entry[2]).map(([i, text, count]) => [i, `${text} (${count})`]));
  option($("order"), "", "scene");
  for (const [name, direction, text] of [["impact_speed", "down", "hardest impact"], ["min_ttc", "up", "smallest time to collision"],
    ["min_distance", "up", "smallest distance"], ["behavioural", "up", "most natural (P_beh)"], ["kinematic", "up", "gentlest (P_kin)"],
    ["kinematic", "down", "least plausible (P_kin)"]]) {
    if (INDEX.scores[name]) option($("order"), `${name}:${direction}`, text);
  }
  for (const id of ["filter-outcome", "filter-adversary", "filter-sut", "filter-verdict", "order"]) $(id).addEventListener("change", refilter);
  $("filter-scene").addEventListener("input", refilter);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("more").addEventListener("click", showMore);
  $("episodes").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) choose(Number(button.dataset.row));
  });
  $("episodes").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    neighbour(event.key === "ArrowDown" ? 1 : -1);
  });
}
