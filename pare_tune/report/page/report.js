"use strict";

const figures = JSON.parse(document.getElementById("figures").textContent);
const options = { displayModeBar: false, responsive: true };

// The colours of a light page, and what stands for them on a dark one.
const DARK = {
  "#0072b2": "#4da9e6", "#56b4e9": "#a9d9f5", "#d55e00": "#ff8a3c", "#009e73": "#2fc79b",
  "#1b1f24": "#f0f3f6", "#3d4650": "#b9c2cb", "#e8ebee": "#2a3138", "#c5cbd1": "#4a545e", "#ffffff": "#171b20",
};
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function dressed(value, dark) {
  if (!dark) return value;
  if (typeof value === "string") return DARK[value] ?? value;
  if (Array.isArray(value)) return value.length && typeof value[0] === "number" ? value : value.map((v) => dressed(v, dark));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, dressed(v, dark)]));
}

function paint(dark) {
  for (const [id, figure] of Object.entries(figures)) {
    const copy = structuredClone(figure);
    Plotly.react(id, dressed(copy.data, dark), dressed(copy.layout, dark), options);
  }
}

paint(prefersDark.matches);
prefersDark.addEventListener("change", (event) => paint(event.matches));

// A plot is as wide as the window that it was drawn for; paper is narrower, and white.
const PAPER_WIDTH = 680;
addEventListener("beforeprint", () => {
  paint(false);
  for (const id of Object.keys(figures)) {
    Plotly.relayout(id, { width: Math.min(document.getElementById(id).clientWidth, PAPER_WIDTH) });
  }
});
addEventListener("afterprint", () => {
  paint(prefersDark.matches);
  for (const id of Object.keys(figures)) Plotly.relayout(id, { width: null, autosize: true });
});

function sortBy(table, column, descending) {
  const key = (row) => row.cells[column].dataset.key;
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === "" || y === "") return (x === "") - (y === "");  // what has no value stays at the end
    const [m, n] = [Number(x), Number(y)];
    const order = Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : m - n;
    return descending ? -order : order;
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const descending = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    sortBy(table, column, descending);
  }));
}

for (const form of document.querySelectorAll("form.filter")) {
  const rows = [...document.getElementById(form.dataset.table).tBodies[0].rows];
  const text = form.querySelector("input[type=search]");
  const states = [...form.querySelectorAll("input[type=checkbox]")];
  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    const chosen = new Set(states.filter((box) => box.checked).map((box) => box.value));
    let shown = 0;
    for (const row of rows) {
      row.hidden = !chosen.has(row.dataset.state) || !row.textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    form.querySelector("output").textContent = `${shown} of ${rows.length}`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();  // a browser may bring back what was typed before
}
