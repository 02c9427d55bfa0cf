"use strict";
// Sorting, filtering, and the charts that Plotly draws over the still ones. Nothing is fetched.
(() => {
  const sortKey = (row, column) => {
    const cell = row.cells[column];
    if (cell === undefined) return null;
    if ("v" in cell.dataset) return cell.dataset.v === "" ? null : Number(cell.dataset.v);
    return cell.textContent.trim().toLowerCase();
  };
  for (const table of document.querySelectorAll("table.sort")) {
    table.tHead.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const head = button.closest("th"), column = head.cellIndex;
      const first = head.dataset.first || "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = Array.from(table.tBodies[0].rows, (row) => [sortKey(row, column), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null); // what is missing stays at the end
        return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
      });
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  }
  for (const input of document.querySelectorAll("input.filter")) {
    const table = document.getElementById(input.dataset.of);
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase().split(/\s+/);
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !wanted.every((word) => text.includes(word));
      }
    });
  }

  const read = (id) => { const holder = document.getElementById(id); return holder ? holder.textContent : null; };
  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    return (value) => {
      if (typeof value === "string") {
        const name = /^var\((--[\w-]+)\)$/.exec(value);
        return name ? style.getPropertyValue(name[1]).trim() : value;
      }
      if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map(colours());
      if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, colours()(v)]));
      return value;
    };
  };
  const draw = (figure) => {
    const paint = colours(), holder = document.getElementById(figure.id + "-live");
    const still = document.getElementById(figure.id + "-still");
    holder.hidden = false;
    const narrow = holder.clientWidth < 520;
    const base = {
      gridcolor: "var(--rule)", linecolor: "var(--rule)", zeroline: false, fixedrange: matchMedia("(pointer: coarse)").matches,
      tickfont: { size: narrow ? 10 : 11, color: "var(--muted)" },
    };
    const axis = (given) => ({ ...base, ...given, title: { ...given.title, font: { size: 12, color: "var(--muted)" } } });
    const notes = figure.notes.map((note) => ({ ...note, font: { ...note.font, size: narrow ? 10 : 11 } }));
    const layout = paint({
      margin: { l: narrow ? 46 : 60, r: 12, t: 10, b: 46 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "var(--ink)" },
      xaxis: axis(figure.x), yaxis: axis(figure.y), annotations: notes, hovermode: "closest", dragmode: base.fixedrange ? false : "zoom",
      hoverlabel: { bgcolor: "var(--card)", bordercolor: "var(--rule)", font: { color: "var(--ink)", size: 12 }, align: "left" },
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", font: { size: narrow ? 10 : 12 } },
    });
    const data = paint(figure.data);
    if (narrow) for (const trace of data) if (trace.marker) trace.marker.size = 8;
    return window.Plotly.react(holder, data, layout, { displayModeBar: false, responsive: true, displaylogo: false })
      .then(() => { still.hidden = true; });
  };
  const start = async () => {
    const script = read("plotly"), figures = JSON.parse(read("figures") || "[]");
    if (!script || !figures.length || typeof DecompressionStream === "undefined") return; // the still pictures stay
    const bytes = Uint8Array.from(atob(script.trim()), (c) => c.charCodeAt(0));
    const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    const element = document.createElement("script");
    element.textContent = text;
    document.head.append(element);
    const all = async () => { for (const figure of figures) await draw(figure); };
    await all();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  };
  start()
    .catch((error) => { // whatever failed, the still pictures are there
      console.error(error);
      for (const still of document.querySelectorAll(".still")) still.hidden = false;
      for (const live of document.querySelectorAll(".live")) live.hidden = true;
    })
    .finally(() => { document.documentElement.dataset.ready = "1"; });
})();
