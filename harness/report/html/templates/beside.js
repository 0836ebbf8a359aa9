// The same scene and adversary with another system, beside the first at the same moment and under the same camera.
const beside = { now: null, canvas: $("view-beside") };
beside.context = beside.canvas.getContext("2d");

// The row of that system in the scene of a row, against the same adversary, or undefined.
function rowBeside(row, system) {
  return Array.from({ length: COUNT }, (_, other) => other).find((other) =>
    EPISODES.scene[other] === EPISODES.scene[row] && EPISODES.adversary[other] === EPISODES.adversary[row] &&
    EPISODES.sut[other] === system);
}

function openBeside(row) {
  const chosen = $("beside").value;
  let system = chosen === "" ? null : Number(chosen);
  // Whoever chose to see two systems sees both, whichever of the two stands in the list.
  if (system === EPISODES.sut[row]) system = Number(beside.canvas.dataset.first ?? system);
  else if (system !== null) beside.canvas.dataset.first = EPISODES.sut[row];
  const other = system === null || system === EPISODES.sut[row] ? undefined : rowBeside(row, system);
  beside.now = other === undefined ? null : episode(other);
  $("pane-beside").hidden = beside.now === null;
  $("pane-title").hidden = beside.now === null;
  if (beside.now === null) return;
  $("pane-title").textContent = label(row).system;
  $("beside-title").textContent = `${label(other).system} · ${outcomeText(other)}`;
}

function drawBeside(time, layers) {
  if (beside.now === null) return;
  const own = [canvas, context];
  [canvas, context] = [beside.canvas, beside.context];
  draw(beside.now, Math.min(time, beside.now.end), layers, false);
  [canvas, context] = own;
}

// The last step of both.
function lastStep() {
  return Math.max(player.now ? player.now.end : 0, beside.now ? beside.now.end : 0);
}

function startBeside() {
  $("beside-row").hidden = INDEX.systems.length < 2;
  option($("beside"), "", "nobody");
  INDEX.systems.forEach((name, number) => option($("beside"), number, name));
  if (INDEX.beside) $("beside").value = INDEX.systems.length - 1;
  $("beside").addEventListener("change", () => {
    delete beside.canvas.dataset.first;
    if (player.row !== null) choose(player.row, false, false);
  });
  new ResizeObserver(redraw).observe(beside.canvas);
}
