// A click on a heading sorts its table: numbers by size, texts by letters; what is not known stays below.
"use strict";
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    if (!cell || cell.textContent === "–" || cell.colSpan > 1) return null;
    const text = cell.dataset.key ?? cell.textContent.trim(), number = Number(text);
    return text === "" || Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    // Numbers begin with the largest one.
    const numbers = [...body.rows].some(row => typeof keyOf(row, column) === "number");
    const turn = head.ariaSort ? head.ariaSort === "ascending" ? -1 : 1 : numbers ? -1 : 1;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
    const rows = [...body.rows].map(row => [keyOf(row, column), row]);
    rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : turn * compare(a, b));
    body.append(...rows.map(([, row]) => row));
  }));
}
