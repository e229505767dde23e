"use strict";
// Sorting, filtering and the details of a cell. Without this script the page still holds every number.
document.documentElement.classList.add("script");

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const bodies = [...table.querySelectorAll("tbody.rows")];
  const printed = bodies.map((body) => [...body.rows]);
  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
    const key = (row) => row.cells[column].dataset.sort;
    const numbers = printed.flat().map(key).filter((k) => k !== "").every((k) => Number.isFinite(Number(k)));
    const cycle = numbers ? ["descending", "ascending"] : ["ascending", "descending"];
    const order = cycle[cycle.indexOf(heading.getAttribute("aria-sort")) + 1]; // undefined: as printed
    headings.forEach((h) => h.removeAttribute("aria-sort"));
    if (order) heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    bodies.forEach((body, i) => {
      const rows = [...printed[i]];
      if (order) rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === ""); // what has no number stays below
        return sign * (numbers ? Number(x) - Number(y) : x.localeCompare(y));
      });
      body.append(...rows);
    });
  }));

  // One stop of the Tab key for all cells; the arrow keys go from cell to cell.
  const first = table.querySelector("td[data-tip]");
  if (first) first.tabIndex = 0;
  table.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const cell = event.target.closest("td[data-tip]");
    if (!step || !cell) return;
    const rows = [...table.querySelectorAll("tbody.rows tr:not([hidden])")];
    let [row, column] = [rows.indexOf(cell.parentElement), cell.cellIndex];
    for (;;) {
      [row, column] = [row + step[0], column + step[1]];
      const next = rows[row] && rows[row].cells[column];
      if (!next) return;
      if (next.matches("td[data-tip]")) {
        cell.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
        event.preventDefault();
        return;
      }
    }
  });
}

for (const field of document.querySelectorAll("input[data-filter]")) {
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    for (const row of document.querySelectorAll(`#${field.dataset.filter} tbody.rows tr`))
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}

const tip = document.getElementById("tip");
function show(cell) {
  if (!cell) { tip.hidden = true; return; }
  tip.textContent = cell.dataset.tip;
  tip.hidden = false;
  const at = cell.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const below = at.bottom + own.height + 8 < innerHeight;
  tip.style.top = `${below ? at.bottom + 4 : Math.max(4, at.top - own.height - 4)}px`;
  tip.style.left = `${Math.max(4, Math.min(at.left, innerWidth - own.width - 8))}px`;
}
const detailed = (event) => event.target.closest && event.target.closest("[data-tip]");
document.addEventListener("mouseover", (event) => show(detailed(event)));
document.addEventListener("focusin", (event) => {
  const cell = detailed(event);
  show(cell);
  if (cell) cell.setAttribute("aria-describedby", "tip");
});
document.addEventListener("focusout", () => show(null));
document.addEventListener("scroll", () => show(null), true);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") show(null); });

// A link to what lies inside a closed part opens it.
addEventListener("hashchange", () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target && target.closest("details")) { target.closest("details").open = true; target.scrollIntoView(); }
});
