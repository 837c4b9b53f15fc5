"use strict";
const SVG = "http://www.w3.org/2000/svg";
const element = (name, attributes, parent, text) => {
  const made = attributes.svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (key !== "svg") made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
};
const number = (value) => Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 6 });

/* A chart: points are read off with the pointer or the arrows, a part of the axis is chosen by dragging. */
for (const svg of document.querySelectorAll("svg[data-chart]")) {
  const data = JSON.parse(svg.dataset.chart), box = JSON.parse(svg.dataset.box);
  const readout = svg.parentElement.querySelector(".readout");
  const names = Object.keys(data.lines), paths = [...svg.querySelectorAll(".lines path")];
  const labels = [...svg.querySelectorAll(".grid text")];
  const whole = { x: [...data.x], y: [...data.y] };
  const steps = [...new Set(names.flatMap((name) => data.lines[name].map((point) => point[0])))].sort((a, b) => a - b);
  const usual = paths.map((path) => path.getAttribute("d")), texts = labels.map((label) => label.textContent);
  let view = { x: [...whole.x], y: [...whole.y] }, drag = null, at = null;
  const across = (x) => box.left + ((box.right - box.left) * (x - view.x[0])) / (view.x[1] - view.x[0]);
  const down = (y) => box.bottom - (box.bottom - box.top) * Math.min(Math.max((y - view.y[0]) / (view.y[1] - view.y[0]), 0), 1);
  const cursor = element("path", { svg: 1, class: "cursor", visibility: "hidden" }, svg);
  const brush = element("rect", { svg: 1, class: "brush", y: box.top, height: box.bottom - box.top, visibility: "hidden" }, svg);

  const place = (event) => {
    const frame = svg.getBoundingClientRect();
    return Math.min(Math.max(((event.clientX - frame.left) * svg.viewBox.baseVal.width) / frame.width, box.left), box.right);
  };
  const step = (x) => view.x[0] + ((x - box.left) / (box.right - box.left)) * (view.x[1] - view.x[0]);
  const nearest = (points, x) => {
    let low = 0, high = points.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (points[middle][0] < x) low = middle; else high = middle;
    }
    return Math.abs(points[low][0] - x) <= Math.abs(points[high][0] - x) ? points[low] : points[high];
  };
  const read = (x) => {
    at = x;
    cursor.setAttribute("d", `M${across(x)},${box.top}V${box.bottom}`);
    cursor.setAttribute("visibility", "visible");
    const values = names.map((name) => { const point = nearest(data.lines[name], x); return `${name} ${number(point[1])}`; });
    readout.textContent = `${svg.dataset.unit} ${number(Math.round(x))}: ${values.join(", ")}`;
  };
  const draw = () => {
    const all = view.x[0] === whole.x[0] && view.x[1] === whole.x[1];
    if (all) view.y = [...whole.y];
    else {
      const seen = names.flatMap((name) => data.lines[name].filter((p) => p[0] >= view.x[0] && p[0] <= view.x[1]).map((p) => p[1]));
      if (seen.length) {
        const low = seen.reduce((a, b) => Math.min(a, b)), high = seen.reduce((a, b) => Math.max(a, b));
        const room = (high - low || Math.abs(high) || 1) * 0.06;
        view.y = [low - room, high + room];
      }
    }
    paths.forEach((path, k) => {
      if (all) { path.setAttribute("d", usual[k]); return; }
      const points = data.lines[names[k]];
      const first = Math.max(points.findIndex((p) => p[0] >= view.x[0]) - 1, 0);
      const shown = points.slice(first).filter((p, i, rest) => i === 0 || rest[i - 1][0] <= view.x[1]);
      const corners = shown.map((p) => `${Math.min(Math.max(across(p[0]), box.left), box.right).toFixed(1)},${down(p[1]).toFixed(1)}`);
      path.setAttribute("d", corners.length ? `M${corners.join("L")}` : "");
    });
    const rows = svg.querySelectorAll(".grid path").length, columns = labels.length - rows - 1;
    labels.forEach((label, k) => {
      if (all || k === labels.length - 1) { label.textContent = texts[k]; return; }
      if (k < rows) label.textContent = number(view.y[0] + ((box.bottom - (label.y.baseVal[0].value - 5)) / (box.bottom - box.top)) * (view.y[1] - view.y[0]));
      else if (columns) label.textContent = number(Math.round(step(label.x.baseVal[0].value)));
    });
  };
  const zoom = (low, high) => {
    if (high - low < (whole.x[1] - whole.x[0]) / 1e4) return;
    view.x = [Math.max(low, whole.x[0]), Math.min(high, whole.x[1])];
    draw();
    cursor.setAttribute("visibility", "hidden");
  };
  const back = () => zoom(...whole.x);
  svg.addEventListener("pointerdown", (event) => { drag = place(event); svg.setPointerCapture(event.pointerId); });
  svg.addEventListener("pointermove", (event) => {
    const x = place(event);
    read(step(x));
    if (drag === null) return;
    brush.setAttribute("x", Math.min(drag, x));
    brush.setAttribute("width", Math.abs(x - drag));
    brush.setAttribute("visibility", "visible");
  });
  const end = (event) => {
    if (drag === null) return;
    const x = place(event), from = drag;
    drag = null;
    brush.setAttribute("visibility", "hidden");
    if (event.type === "pointerup" && Math.abs(x - from) > 8) zoom(step(Math.min(x, from)), step(Math.max(x, from)));
  };
  svg.addEventListener("pointerup", end);
  svg.addEventListener("pointercancel", end);
  svg.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); });
  svg.addEventListener("dblclick", back);
  svg.addEventListener("keydown", (event) => {
    const inside = steps.filter((x) => x >= view.x[0] && x <= view.x[1]), middle = at ?? (view.x[0] + view.x[1]) / 2;
    const half = (view.x[1] - view.x[0]) / 2;
    if (event.key === "ArrowRight") read(inside.find((x) => x > middle) ?? inside[inside.length - 1]);
    else if (event.key === "ArrowLeft") read([...inside].reverse().find((x) => x < middle) ?? inside[0]);
    else if (event.key === "+") zoom(middle - half / 2, middle + half / 2);
    else if (event.key === "-") zoom(middle - 2 * half, middle + 2 * half);
    else if (event.key === "Escape") back();
    else return;
    event.preventDefault();
  });
}

/* A table whose columns sort. */
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") === "descending";
    heads.forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => { const cell = row.cells[column]; return cell.dataset.value ?? cell.textContent; };
    const order = (a, b) => {
      const one = value(a), other = value(b);
      const numbers = one !== "" && other !== "" && !Number.isNaN(Number(one)) && !Number.isNaN(Number(other));
      return numbers ? Number(one) - Number(other) : one.localeCompare(other, "en", { numeric: true });
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => (up ? order(a, b) : order(b, a))));
  }));
}

/* A cell of the confusion matrix shows some of its examples. */
const stored = document.getElementById("mistakes-data");
if (stored) {
  const mistakes = JSON.parse(stored.textContent), shown = document.getElementById("cell");
  for (const button of document.querySelectorAll(".matrix button")) button.addEventListener("click", () => {
    const [actual, predicted] = [button.dataset.true, button.dataset.predicted];
    const cell = (mistakes.cells ?? []).find((each) => each[0] === actual && each[1] === predicted);
    shown.replaceChildren();
    element("h3", {}, shown, `${actual} taken for ${predicted}: ${cell ? "the most wrong" : "none of these is kept"}`);
    const list = element("ul", { class: "cards" }, shown);
    for (const at of cell ? cell[2] : []) {
      const card = element("li", { class: "card" }, list), row = mistakes.rows[at], uri = mistakes.previews[at];
      if (uri && uri.startsWith("data:image")) element("img", { src: uri, alt: String(row[0]) }, card);
      else if (uri) element("audio", { src: uri, controls: "", preload: "none", "aria-label": String(row[0]) }, card);
      const facts = element("dl", {}, card);
      row.forEach((value, k) => {
        if (value === null || value === "") return;
        const fact = element("div", {}, facts);
        element("dt", {}, fact, mistakes.columns[k]);
        element("dd", {}, fact, typeof value === "number" ? number(value) : String(value));
      });
    }
    shown.scrollIntoView({ block: "nearest" });
  });
}

for (const button of document.querySelectorAll(".copy")) button.addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "copied";
  } catch {
    getSelection().selectAllChildren(button.previousElementSibling);
  }
});
