// Attacks of one adversary at several intensities (`sage@0`, `sage@0.5`, …): a slider goes from one to the next, and the
// clock stays where it is.
const LEVEL = /^(.+)@(-?\d+(?:\.\d+)?)$/;
const dials = new Map();

INDEX.adversaries.forEach((name, adversary) => {
  const found = LEVEL.exec(name);
  if (!found) return;
  if (!dials.has(found[1])) dials.set(found[1], []);
  dials.get(found[1]).push({ level: Number(found[2]), adversary });
});
for (const levels of dials.values()) levels.sort((a, b) => a.level - b.level);

// The episodes of the same scene and system at all intensities, the gentlest first; none where there is no dial.
function levelsOf(row) {
  const found = LEVEL.exec(label(row).adversary);
  const levels = found ? dials.get(found[1]) : [];
  if (levels.length < 2) return [];
  const rows = Array.from({ length: COUNT }, (_, other) => other)
    .filter((other) => EPISODES.scene[other] === EPISODES.scene[row] && EPISODES.sut[other] === EPISODES.sut[row]);
  return levels
    .map(({ level, adversary }) => ({ level, row: rows.find((other) => EPISODES.adversary[other] === adversary) }))
    .filter((entry) => entry.row !== undefined);
}

function showDial(row) {
  const levels = levelsOf(row);
  $("dial").hidden = levels.length === 0;
  if (levels.length === 0) return;
  const place = levels.findIndex((entry) => entry.row === row);
  $("level").max = levels.length - 1;
  $("level").value = place;
  $("level").setAttribute("aria-valuetext", `intensity ${levels[place].level}`);
  $("level-text").textContent = `λ = ${levels[place].level}`;
}

function setLevel(place) {
  const entry = player.row === null ? undefined : levelsOf(player.row)[place];
  if (entry === undefined || entry.row === player.row) return;
  const { time, playing } = player;
  choose(entry.row);
  seek(time);
  if (playing && player.now && time < lastStep()) setPlaying(true);
}

function startDial() {
  $("level").addEventListener("input", () => setLevel(Number($("level").value)));
  KEYS["["] = () => setLevel(Number($("level").value) - 1);
  KEYS["]"] = () => setLevel(Number($("level").value) + 1);
}
