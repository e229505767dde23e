"use strict";
// Sorting, filtering, copying and the details of a cell. Without this script the page still holds every number.
document.documentElement.classList.add("script");
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const sortKey = (cell) => cell.dataset.sort ?? cell.textContent.trim();

for (const table of all("table.sortable")) {
  const headings = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const bodies = all("tbody.rows", table);
  const printed = bodies.map((body) => [...body.rows]);
  if (table.classList.contains("stacks")) { // on a narrow screen each cell has its column's name before it
    const names = headings.map((heading) => heading.querySelector("button").textContent);
    for (const row of printed.flat()) [...row.cells].slice(1).forEach((cell, i) => { cell.dataset.label = names[i + 1]; });
  }
  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
    const key = (row) => sortKey(row.cells[column]);
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
  all("td[data-tip]", table).forEach((cell, i) => { cell.tabIndex = i ? -1 : 0; });
  table.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const cell = event.target.closest("td[data-tip]");
    if (!step || !cell) return;
    const rows = all("tbody.rows tr:not([hidden])", table);
    let [row, column] = [rows.indexOf(cell.parentElement), cell.cellIndex];
    for (;;) {
      [row, column] = [row + step[0], column + step[1]];
      const next = rows[row] && rows[row].cells[column];
      if (!next) return;
      if (next.matches("td[data-tip]:not([hidden])")) {
        cell.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
        event.preventDefault();
        return;
      }
    }
  });
}

// What is chosen above all, and the words above one table: a row is shown that fits both.
const said = document.getElementById("said");
const choosers = all("select[data-choose]");
function chosen() {
  const choices = {};
  for (const field of choosers) {
    const { value, dataset } = field.selectedOptions[0];
    if (value) choices[field.dataset.choose] = [value, dataset.title];
  }
  return choices;
}
function fits(row, columns, choices) {
  const keyed = row.querySelector("td[data-key]");
  const [pair, , method] = keyed ? keyed.dataset.key.split("|") : [];
  const own = { pair, method };
  for (const kind of Object.keys(choices)) {
    const at = columns.indexOf(kind);
    const text = own[kind] ?? (at >= 0 ? row.cells[at].textContent.trim() : undefined);
    if (text !== undefined && !choices[kind].includes(text)) return false;
  }
  return true;
}
function choose() {
  const choices = chosen();
  for (const table of all("table.sortable")) {
    const columns = [...table.tHead.rows[table.tHead.rows.length - 1].cells].map((c) => c.textContent.trim().toLowerCase());
    const field = document.querySelector(`input[data-filter="${table.closest("figure").id}"]`);
    const words = field ? field.value.toLowerCase() : "";
    for (const body of all("tbody.rows", table)) {
      for (const row of body.rows) row.hidden = !(fits(row, columns, choices) && row.textContent.toLowerCase().includes(words));
      const heading = body.previousElementSibling;
      if (heading.matches("tbody.heading")) heading.hidden = [...body.rows].every((row) => row.hidden);
    }
    if (table.querySelector("td[data-key]")) chooseColumns(table, choices.task);
  }
  for (const claim of all("tbody.claim")) {
    const involves = (kind) => !choices[kind] || claim.dataset[`${kind}s`].split(" ").includes(choices[kind][0]);
    claim.hidden = !(involves("pair") && involves("method"));
  }
  for (const part of all("details[data-pair]")) part.hidden = !isOf(part, "pair", choices);
  for (const figure of all("figure.drawing")) figure.hidden = !(isOf(figure, "pair", choices) && chooseDrawing(figure.querySelector("svg"), choices));
  for (const section of all("main > section")) {
    const drawings = all("figure.drawing", section);
    if (drawings.length) noteEmpty(section, drawings.every((figure) => figure.hidden));
  }
  const titles = Object.values(choices).map(([, title]) => title);
  said.textContent = titles.length ? `Shown: ${titles.join(", ")}.` : "Everything is shown.";
}
// Columns of the other tasks; what is no task's, such as the average, stays.
function chooseColumns(table, task) {
  const tasks = new Set(all("select[data-choose=task] option").map((o) => o.value));
  const column = (cell) => cell.dataset.key && cell.dataset.key.split("|")[3];
  const rows = all("tbody.rows tr", table);
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const hidden = heads.map((_, i) => {
    const name = rows.map((row) => column(row.cells[i])).find(Boolean);
    return Boolean(task && name && tasks.has(name) && name !== task[0]);
  });
  for (const row of [{ cells: heads }, ...rows]) [...row.cells].forEach((cell, i) => { cell.hidden = hidden[i]; });
  const groups = table.querySelector("tr.groups");
  let at = 1;
  for (const group of groups ? all("th", groups) : []) {
    group.dataset.span ??= group.colSpan;
    const shown = hidden.slice(at, at + Number(group.dataset.span)).filter((h) => !h).length;
    at += Number(group.dataset.span);
    group.hidden = !shown;
    group.colSpan = Math.max(1, shown);
  }
}
// Whether a part of a drawing, tagged with one name or several, is of what is chosen.
function isOf(part, kind, choices) {
  const [name] = choices[kind] ?? [];
  return !name || !part.dataset[kind] || part.dataset[kind].split(" ").includes(name);
}
function noteEmpty(section, empty) {
  const note = section.querySelector("p.empty") ?? document.createElement("p");
  note.className = "empty small";
  note.textContent = "No drawing of this section shows what is chosen above.";
  note.hidden = !empty;
  section.querySelector("h2").after(note);
}
// Marks of other methods are dimmed; panels of other pairs, methods and tasks leave. Says whether anything is left.
function chooseDrawing(svg, choices) {
  const marks = all("[data-method]:not(.panel)", svg);
  for (const mark of marks) mark.classList.toggle("dim", !isOf(mark, "method", choices));
  const left = arrange(svg, choices);
  return left && (!marks.length || marks.some((mark) => !mark.matches(".dim")));
}
const whole = new WeakMap(); // a drawing -> where its panels stand, and its size, before anything was chosen
// The panels that are left take the places of the first ones, and the drawing ends below them.
function arrange(svg, choices) {
  const panels = all("g.panel", svg);
  if (!panels.length) return true;
  if (!whole.has(svg)) whole.set(svg, [panels.map((panel) => panel.getBBox()), svg.viewBox.baseVal.width, svg.viewBox.baseVal.height]);
  const [places, width, height] = whole.get(svg);
  const ofVariant = (panel) => choices.method && (panel.dataset.method ?? "").split(" ").some((m) => choices.method[0].startsWith(`${m}.`));
  const groups = new Map(); // panels that differ in nothing but their task
  panels.forEach((panel, i) => {
    const key = `${panel.dataset.pair}|${panel.dataset.method}`;
    groups.set(key, [...(groups.get(key) ?? []), i]);
  });
  const group = [...groups.values()];
  const chosenTask = (i) => isOf(panels[i], "task", choices);
  const kept = group.filter((own) => {
    const panel = panels[own[0]];
    return isOf(panel, "pair", choices) && (isOf(panel, "method", choices) || ofVariant(panel)) && own.some(chosenTask);
  });
  const ends = places.map((place) => place.y + place.height), sides = places.map((place) => [place.x, place.x + place.width]).flat();
  const middle = (xs) => (Math.min(...xs) + Math.max(...xs)) / 2;
  const bottom = [], across = []; // of the panels that are left
  for (const own of group) {
    const slots = group[kept.indexOf(own)];
    const shown = own.filter(chosenTask);
    const labelled = own.some((i) => panels[i].querySelector(".row")); // the label to the left stays where it is
    own.forEach((i, j) => {
      const panel = panels[i], at = shown.indexOf(i);
      panel.toggleAttribute("hidden", !slots);
      panel.classList.toggle("off", at < 0);
      if (!slots) return;
      const from = places[i], to = places[slots[at < 0 ? j : at] ?? i];
      const aside = to.x - from.x + (labelled ? to.width - from.width : 0);
      panel.setAttribute("transform", `translate(${aside} ${to.y - from.y})`);
      if (at < 0) return;
      bottom.push(to.y + from.height);
      across.push(from.x + aside, from.x + aside + from.width);
    });
  }
  if (!kept.length) return false;
  const cut = svg.querySelector("g.scale") ? 0 : Math.max(...ends) - Math.max(...bottom); // a colour bar keeps its length
  svg.setAttribute("viewBox", `0 0 ${width} ${height - cut}`);
  svg.style.aspectRatio = `${width}/${height - cut}`;
  all("g.below", svg).forEach((part) => part.setAttribute("transform", `translate(${middle(across) - middle(sides)} ${-cut})`));
  all("g.beside", svg).forEach((part) => part.setAttribute("transform", `translate(0 ${-cut / 2})`));
  return true;
}
choosers.forEach((field) => field.addEventListener("change", choose));
addEventListener("pageshow", () => { if (Object.keys(chosen()).length) choose(); }); // what a reload kept chosen
all("input[data-filter]").forEach((field) => field.addEventListener("input", choose));
all("form.filters").forEach((form) => form.addEventListener("reset", () => setTimeout(choose)));

// A table as it is shown, filtered and sorted, for a paper or an issue.
const escapes = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}",
  "±": "$\\pm$", "×": "$\\times$", "→": "$\\to$", "−": "$-$", "–": "--", "†": "$^{\\dagger}$", "‡": "$^{\\ddagger}$", "“": "``", "”": "''", "\u00a0": "~" };
const writers = {
  markdown: {
    plain: (text) => text.replace(/[\\`*_[\]|~$#<>&]/g, "\\$&"),
    bold: (text) => `**${text}**`,
    raised: (text) => `<sup>${text}</sup>`,
    whole: (head, rows, sides) => [head, sides.map((s) => (s === "l" ? ":--" : "--:")), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n"),
  },
  latex: {
    plain: (text) => text.replace(/[&%$#_{}]/g, "\\$&").replace(/\\(?![&%$#_{}])|[~^<>|±×→−–†‡“”\u00a0]/g, (c) => escapes[c]),
    bold: (text) => `\\textbf{${text}}`,
    raised: (text) => `$^{${text}}$`,
    whole: (head, rows, sides) => [`\\begin{tabular}{${sides.join("")}}`, "\\toprule", `${head.join(" & ")} \\\\`, "\\midrule",
      ...rows.map((row) => `${row.join(" & ")} \\\\`), "\\bottomrule", "\\end{tabular}"].join("\n"),
  },
};
function written(node, writer) {
  if (node.nodeType === Node.TEXT_NODE) return writer.plain(node.data.replace(/[ \n]+/g, " "));
  if (node.nodeType !== Node.ELEMENT_NODE || node.matches("svg, .anchor, .paper-word")) return "";
  const inside = [...node.childNodes].map((child) => written(child, writer)).join("");
  if (node.matches("sup")) return writer.raised(inside);
  return node.matches("b") ? writer.bold(inside) : inside;
}
function copied(table, kind) {
  const writer = writers[kind];
  const cells = (row) => [...row.cells].filter((c) => !c.hidden && !c.matches(".axis, .axis-head")).map((c) => written(c, writer).trim());
  const head = table.tHead.rows[table.tHead.rows.length - 1];
  const shown = all("tbody.rows:not([hidden]) > tr:not([hidden]):not(.why), tbody.heading:not([hidden]) > tr", table);
  const columns = [...head.cells].filter((c) => !c.hidden && !c.matches(".axis-head"));
  const heading = (row) => [writer.bold(written(row.cells[0], writer).trim()), ...columns.slice(1).map(() => "")];
  const rows = shown.map((row) => (row.parentElement.matches(".heading") ? heading(row) : cells(row)));
  return writer.whole(cells(head), rows, columns.map((c, i) => (i === 0 || c.matches(".words") ? "l" : "r")));
}
async function keep(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a page from disk may not write there in every browser
    const field = document.body.appendChild(document.createElement("textarea"));
    field.value = text;
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}
all("button[data-copy]").forEach((button) => button.addEventListener("click", async () => {
  const words = button.textContent;
  await keep(copied(button.closest("figure, div.table").querySelector("table"), button.dataset.copy));
  button.textContent = "Copied";
  said.textContent = `${button.getAttribute("aria-label").replace("Copy", "Copied")}.`;
  setTimeout(() => { button.textContent = words; }, 1500);
}));

// What is wider than its place says so, and is a stop of the Tab key; what is not, is none.
const measured = new ResizeObserver((entries) => entries.forEach(({ target }) => {
  const wide = target.scrollWidth > target.clientWidth + 1;
  target.tabIndex = wide ? 0 : -1;
  const sign = target.parentElement.querySelector(".swipe");
  if (sign) sign.hidden = !wide;
}));
all(".scroll").forEach((part) => measured.observe(part));

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
document.addEventListener("click", (event) => { if (detailed(event)) show(detailed(event)); });
document.addEventListener("focusin", (event) => {
  const cell = detailed(event);
  show(cell);
  if (cell) cell.setAttribute("aria-describedby", "tip");
});
document.addEventListener("focusout", () => show(null));
document.addEventListener("scroll", () => show(null), true);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") show(null); });

// A link to what lies inside a closed part opens it.
function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const closed = target && target.closest("details:not([open])");
  if (closed) { closed.open = true; target.scrollIntoView(); }
}
addEventListener("hashchange", open);
open();
