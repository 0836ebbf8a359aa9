// Theme, and which scenes are shown.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;
root.dataset.theme = dark.matches ? "dark" : "light";
dark.addEventListener("change", () => { root.dataset.theme = dark.matches ? "dark" : "light"; });
const $ = (id) => document.getElementById(id);
$("theme").addEventListener("click", () => { root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark"; });
const cards = [...document.querySelectorAll(".scenes li")];

function refilter() {
  const name = $("name").value.trim().toLowerCase();
  const split = $("split").value;
  const fit = $("fit").value;
  const tag = $("tag").value;
  let shown = 0;
  for (const card of cards) {
    const { name: own, split: part, fit: attacked, tags } = card.dataset;
    card.hidden = (tag && !tags.split(" ").includes(tag)) || !own.toLowerCase().includes(name) || (split && part !== split) || (fit && attacked !== fit);
    shown += !card.hidden;
  }
  $("count").textContent = `${shown} of ${cards.length} scenes`;
}

for (const id of ["name", "split", "tag", "fit"]) $(id).addEventListener("input", refilter);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
refilter();
