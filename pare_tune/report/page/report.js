"use strict";

const figures = JSON.parse(document.getElementById("figures").textContent);
const options = { displayModeBar: false, responsive: true };
for (const [id, figure] of Object.entries(figures)) {
  Plotly.newPlot(id, figure.data, figure.layout, options);
}

// A plot is as wide as the window that it was drawn for; paper is narrower.
const PAPER_WIDTH = 680;
function widths(of) {
  for (const id of Object.keys(figures)) Plotly.relayout(id, of(document.getElementById(id)));
}
addEventListener("beforeprint", () => widths((plot) => ({ width: Math.min(plot.clientWidth, PAPER_WIDTH) })));
addEventListener("afterprint", () => widths(() => ({ width: null, autosize: true })));

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
