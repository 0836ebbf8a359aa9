// Theme, and the order of the rows.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;
root.dataset.theme = dark.matches ? "dark" : "light";
dark.addEventListener("change", () => { root.dataset.theme = dark.matches ? "dark" : "light"; });
document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
});
const heads = [...document.querySelectorAll(".board thead tr:last-child th")];
const body = document.querySelector(".board tbody");

function compare(one, other, sign) {
  if (one.dataset.number === undefined) return sign * one.dataset.value.localeCompare(other.dataset.value);
  // What was not measured comes last, in either order.
  if (one.dataset.number === "" || other.dataset.number === "") {
    return (one.dataset.number === "") - (other.dataset.number === "");
  }
  return sign * (Number(one.dataset.number) - Number(other.dataset.number));
}

heads.forEach((head, place) => head.querySelector("button").addEventListener("click", () => {
  const falling = head.getAttribute("aria-sort") === "ascending";
  for (const other of heads) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const rows = [...body.rows].sort((one, other) => compare(one.cells[place], other.cells[place], falling ? -1 : 1));
  body.append(...rows);
}));
