// Tables: a click on a head sorts those of results by that column, and on a phone every row is a card with its heads.
// Without scripts they are plain tables that scroll.
"use strict";

const PENDING = "not yet run"; // tables.PENDING

function value(row, column) {
  const text = row.cells[column].textContent.trim().replace(/[−‑]/g, "-");
  const number = parseFloat(text);
  return Number.isNaN(number) ? text : number;
}

function sort(table, column, head) {
  const body = table.tBodies[0];
  const down = head.getAttribute("aria-sort") === "ascending";
  const rows = Array.from(body.rows).sort((a, b) => {
    const [x, y] = [value(a, column), value(b, column)];
    if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1; // words, such as "not yet run", at the end
    const order = typeof x === "number" ? x - y : x.localeCompare(y);
    return down ? -order : order;
  });
  body.append(...rows);
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
}

document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.frl-table, .pst-scrollable-table-container > table")) {
    const heads = Array.from(table.tHead ? table.tHead.rows[0].cells : []);
    for (const row of table.tBodies[0].rows) {
      Array.from(row.cells).forEach((cell, k) => (cell.dataset.head = heads[k] ? heads[k].textContent.trim() : ""));
      const [, first, ...others] = Array.from(row.cells);
      if (others.length && others.every(cell => cell.textContent === first.textContent && cell.textContent === PENDING)) {
        first.dataset.head = "all"; // a phone says it once
        row.classList.add("frl-pending");
      }
    }
    if (heads.length > 2) table.classList.add("frl-cards");
    if (!table.classList.contains("frl-table") || table.tBodies[0].rows.length < 3) continue;
    heads.forEach((head, k) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort by this column";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, k, head));
      head.append(button);
    });
  }
});
