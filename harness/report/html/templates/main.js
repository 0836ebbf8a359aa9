// Theme, shading of the summary, and the first episode.
function setTheme(name) {
  document.documentElement.dataset.theme = name;
  readColours();
  redraw();
}

function firstRow() {
  const linked = /^#episode-(\d+)$/.exec(location.hash);
  if (linked && Number(linked[1]) < COUNT) return Number(linked[1]);
  const wanted = EPISODES.outcome.indexOf("success");
  return wanted >= 0 ? wanted : 0;
}

for (const cell of document.querySelectorAll("[data-share]")) {
  cell.style.background = `rgba(var(--shade), ${(0.32 * Number(cell.dataset.share)).toFixed(3)})`;
}
const dark = window.matchMedia("(prefers-color-scheme: dark)");
document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
$("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
startPlayer();
startDial();
startBeside();
if ($("plots")) startPlots();
startList();
refilter();
// Only what a reader chose becomes part of the address.
const linked = location.hash.startsWith("#episode-");
if (COUNT) choose(firstRow(), false, linked);
if (linked) $("playback").scrollIntoView();
window.addEventListener("hashchange", () => {
  if (/^#episode-\d+$/.test(location.hash)) choose(firstRow());
});
