"use strict";
// The page says all without this; it sorts the table, and hides rows that are not asked for.
(() => {
  const table = document.getElementById("cells");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];

  const key = (row, column) => row.cells[column].dataset.key;
  const compare = (column, sign) => (a, b) => {
    const one = key(a, column), other = key(b, column);
    if (one === "" || other === "") return (one === "") - (other === ""); // the missing come last
    const x = Number(one), y = Number(other);
    const order = Number.isNaN(x) || Number.isNaN(y) ? one.localeCompare(other) : x - y;
    return sign * order || Number(key(a, 0)) - Number(key(b, 0));
  };
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((it) => it.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      body.append(...rows.slice().sort(compare(column, descending ? -1 : 1)));
    });
  });

  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const texts = rows.map((row) => [...row.cells].map((it) => it.textContent).join(" ").toLowerCase());
  const count = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let visible = 0;
    rows.forEach((row, index) => {
      row.hidden = !words.every((word) => texts[index].includes(word));
      visible += !row.hidden;
    });
    shown.textContent = words.length ? `${visible} of ${rows.length} rows` : "";
  };
  filter.addEventListener("input", count);
  filter.closest("p").hidden = false;
})();
