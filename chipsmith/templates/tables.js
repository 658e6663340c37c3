// Tables: click a heading to sort, type to filter, save what is shown as CSV.
(function () {
  "use strict";
  const FEW_ROWS = 5;
  const LIMIT = /^(.+?)(<=|>=|<|>|=)(-?\d[\d.e+-]*)$/i;
  const HOLDS = {
    "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b,
  };

  function squeeze(text) { return text.toLowerCase().replace(/\s+/g, ""); }

  function number(cell) { return cell.dataset.v === undefined ? NaN : Number(cell.dataset.v); }

  // Numbers before words before nothing; numbers by size, words by their letters.
  function compare(a, b) {
    const x = number(a), y = number(b);
    if (!isNaN(x) || !isNaN(y)) return isNaN(x) ? 1 : isNaN(y) ? -1 : x - y;
    const s = a.textContent.trim(), t = b.textContent.trim();
    return s === "–" || t === "–" ? (s === "–") - (t === "–") : s.localeCompare(t, "en", { numeric: true });
  }

  function sort(table, at) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    const down = heads[at].getAttribute("aria-sort") === "ascending";
    const rows = [...body.rows];
    const empty = (row) => row.cells[at].textContent.trim() === "–";
    rows.sort((p, q) => empty(p) - empty(q) || (down ? -1 : 1) * compare(p.cells[at], q.cells[at]));
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[at].setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows);
  }

  // One test a word: "area<600" compares numbers of the first column whose name holds "area", else the row holds it.
  function tests(text, names) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return words.map((word) => {
      const found = LIMIT.exec(word);
      const at = found ? names.findIndex((name) => name.includes(found[1])) : -1;
      if (at < 0) return (row, held) => held.includes(word);
      return (row) => HOLDS[found[2]](number(row.cells[at]), Number(found[3]));
    });
  }

  function filter(table, text, names) {
    const wanted = tests(text, names);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const held = row.textContent.toLowerCase();
      row.hidden = !wanted.every((test) => test(row, held));
      shown += row.hidden ? 0 : 1;
    }
    return shown;
  }

  function csv(table) {
    const rows = [...table.rows].filter((row) => !row.hidden);
    const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const text = (cell) => (cell.dataset.v !== undefined ? cell.dataset.v : cell.textContent.trim().replace(/^–$/, ""));
    return rows.map((row) => [...row.cells].map((cell) => quote(text(cell))).join(",")).join("\n") + "\n";
  }

  function save(table, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv(table)], { type: "text/csv" }));
    link.download = `${name.replace(/[^\w-]+/g, "_")}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  function tools(table, title, names) {
    const bar = document.createElement("div"), field = document.createElement("input");
    const count = document.createElement("span"), button = document.createElement("button");
    const all = table.tBodies[0].rows.length;
    const say = (shown) => { count.textContent = `${shown} of ${all} rows`; };
    bar.className = "tools";
    field.type = "search";
    field.placeholder = "filter: words, or a column: area<600";
    field.setAttribute("aria-label", `filter ${title}`);
    count.setAttribute("role", "status");
    button.type = "button";
    button.textContent = "Save as CSV";
    field.addEventListener("input", () => say(filter(table, field.value, names)));
    button.addEventListener("click", () => save(table, title));
    bar.append(field, count, button);
    table.closest(".scroll").before(bar);
    say(all);
  }

  for (const table of document.querySelectorAll("section.table table")) {
    const heads = [...table.tHead.rows[0].cells];
    const names = heads.map((head) => squeeze(head.textContent));
    heads.forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, at));
      head.append(button);
    });
    if (table.tBodies[0].rows.length > FEW_ROWS) {
      tools(table, table.closest("section").querySelector("h2").textContent, names);
    }
  }
})();
