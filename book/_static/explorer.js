// The explorer of all runs: filters, average against worst error, two methods class by class, and what a policy did.
// Its data stand in the page as JSON (frlcore/repro/paper/explorer.py); marks speak through frl.js.
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".frl-runs")) explore(box, JSON.parse(box.querySelector("script").textContent));

  function explore(box, data) {
    const FILTERS = [["edition", "Data"], ["model", "Model"], ["label", "Method"], ["tau", "Tolerance τ"], ["seed", "Seed"]];
    const KINDS = ["robust", "standard", "boundary"], COLORS = ["vermillion", "orange", "blue", "sky", "green", "purple", "grey"];
    const FAMILY = { frl: "vermillion", ours: "purple", baseline: "orange", control: "green", successor: "sky" };
    const unique = values => [...new Set(values)].filter(value => value !== null);
    const percent = ([value, low, high]) => `${value.toFixed(1)}% [${low.toFixed(1)}, ${high.toFixed(1)}]`;
    let sorted = "worst", pressed = null;

    box.replaceChildren();
    add(box, "p", { text: box.dataset.about + "." });
    const bar = add(box, "div", { class: "frl-controls" }), choose = {};
    for (const [key, name] of FILTERS) choose[key] = select(bar, name, ["", ...unique(data.runs.map(row => row[key]))], value => value === "" ? "all" : value);
    const rowsOf = edition => data.runs.filter(row => row.edition === edition).length;
    const fullest = Object.keys(data.classes).sort((p, q) => rowsOf(q) - rowsOf(p))[0];
    choose.edition.value = fullest; // one: errors on different data are not to be compared
    choose.kind = select(bar, "Error", KINDS);
    const first = section("Average against worst class"), second = section("Two methods, class by class");
    const third = section("What the policy did");
    const pair = add(second, "div", { class: "frl-controls" }), a = select(pair, "First", []), b = select(pair, "Second", []);
    const course = add(third, "div", { class: "frl-controls" }), who = select(course, "Method", []), what = select(course, "Quantity", []);
    const scatter = add(first, "div"), versus = add(second, "div"), lines = add(third, "div");
    bar.addEventListener("change", draw);
    pair.addEventListener("change", compare);
    course.addEventListener("change", event => { if (event.target === who) quantities(); follow(); });
    draw();

    function draw() {
      const rows = data.runs.filter(row => FILTERS.every(([key]) => choose[key].value === "" || String(row[key]) === choose[key].value));
      showScatter(rows);
      const edition = choose.edition.value || fullest;
      const methods = unique(data.runs.filter(row => row.edition === edition).map(row => row.method));
      fill(a, methods, label, "pgd");
      fill(b, methods, label, "frl-reweight+remargin-0.05");
      fill(who, Object.keys(data.courses[edition] || {}), label, "frl-reweight+remargin-0.05");
      compare();
      quantities();
      follow();
    }
    function label(method) {
      return data.runs.find(row => row.method === method).label;
    }

    // 1. Every row a mark and a line of the table; the front: no other row is better on average and for the worst class.
    function showScatter(rows) {
      scatter.replaceChildren();
      if (!rows.length) return add(scatter, "p", { text: "No run fits these filters." });
      const kind = choose.kind.value, at = row => [row[kind].worst[0], row[kind].average[0]];
      const plot = axes(scatter, rows.flatMap(row => row[kind].worst), rows.flatMap(row => row[kind].average),
        `${kind} error of the worst class, %`, `average ${kind} error, %`, `Average against worst ${kind} error`);
      const front = rows.filter(row => !rows.some(o => at(o)[0] <= at(row)[0] && at(o)[1] <= at(row)[1] && String(at(o)) !== String(at(row))));
      front.sort((p, q) => at(p)[0] - at(q)[0]);
      plot.line(front.map(at), "grey", "4 3");
      for (const row of rows) {
        const [x, y] = at(row), color = FAMILY[row.family] || "blue";
        plot.bar([row[kind].worst[1], y], [row[kind].worst[2], y], color);
        plot.bar([x, row[kind].average[1]], [x, row[kind].average[2]], color);
      }
      for (const row of rows) plot.mark(...at(row), FAMILY[row.family] || "blue", `${row.label}, ${row.edition}, seed ${row.seed}: worst “${row[kind].name}” ${percent(row[kind].worst)}, average ${percent(row[kind].average)}, run ${row.run}`);
      const key = add(scatter, "p", { class: "frl-key" });
      for (const [color, name] of [["vermillion", "FRL"], ["orange", "Baseline Reweight"], ["green", "control"], ["sky", "successors of FRL"], ["purple", "our additions"], ["blue", "others"]])
        entry(key, color, name);
      add(key, "span", { text: "- - Pareto front" });
      const value = row => sorted === "label" ? row.label : row[kind][sorted][0];
      const order = [...rows].sort((p, q) => value(p) < value(q) ? -1 : 1);
      const head = [["label", "Method"], ["average", "Average"], ["worst", "Worst class"], [null, "Data"], [null, "Seed"], [null, "First run"]];
      table(scatter, head, order.map(row => [row.label, percent(row[kind].average), `${percent(row[kind].worst)} “${row[kind].name}”`, row.edition, row.seed, row.run]));
      const again = pressed && scatter.querySelector(`button[data-by=${pressed}]`);
      if (again) again.focus();
      pressed = null;
    }

    // 2. Two methods on the same images.
    function compare() {
      versus.replaceChildren();
      const edition = choose.edition.value || fullest, kind = choose.kind.value;
      if (!a.value || a.value === b.value) return add(versus, "p", { text: "Choose two different methods." });
      const turned = !(`${a.value}|${b.value}` in data.pairs[edition]);
      const tests = data.pairs[edition][turned ? `${b.value}|${a.value}` : `${a.value}|${b.value}`][kind];
      const rows = [a, b].map(s => data.runs.find(row => row.edition === edition && row.method === s.value && row.seed === 0));
      const names = data.classes[edition], plot = axes(versus, [0, 100], [-0.5, names.length - 0.5], `${kind} error, %`, "", `${kind} error of every class under two methods`, names);
      names.forEach((name, c) => plot.bar([rows[0][kind].classes[c][0], c], [rows[1][kind].classes[c][0], c], "bar", 5));
      rows.forEach((row, i) => names.forEach((name, c) => {
        const at = row[kind].classes[c], color = ["blue", "vermillion"][i], y = c + 0.16 * (i - 0.5);
        plot.bar([at[1], y], [at[2], y], color);
        plot.mark(at[0], y, color, `${row.label}, “${name}”: ${percent(at)}, run ${row.run}`);
      }));
      const key = add(versus, "p", { class: "frl-key" });
      rows.forEach((row, i) => entry(key, ["blue", "vermillion"][i], row.label));
      table(versus, ["Class", ...rows.map(row => `Only ${row.label} wrong`), "p (McNemar, Holm)", "Clear"].map(text => [null, text]), names.map((name, c) => {
        const [one, other, p] = tests[c], [mine, theirs] = turned ? [other, one] : [one, other];
        return [name, mine, theirs, p, p < 0.05 ? `${rows[mine < theirs ? 0 : 1].label} is better` : "cannot tell"];
      }));
    }

    // 3. One line per class over the epochs.
    function quantities() {
      const there = data.courses[choose.edition.value || fullest]?.[who.value] || {};
      fill(what, Object.keys(there), key => data.quantities[key], "margin");
    }
    function follow() {
      lines.replaceChildren();
      const edition = choose.edition.value || fullest, values = data.courses[edition]?.[who.value]?.[what.value];
      if (!values) return add(lines, "p", { text: "No policy treated the classes differently here." });
      const known = values.flat().filter(value => value !== null), last = values[0].length - 1, name = data.quantities[what.value];
      const plot = axes(lines, [0, last * 1.12], known, "epoch of fine-tuning", name, `${name} of every class over the epochs`);
      const ends = values.map((line, c) => [line.findLast(value => value !== null), c]).sort((p, q) => p[0] - q[0]);
      const rank = Object.fromEntries(ends.map(([, c], i) => [c, i >= ends.length - 2 ? i - ends.length + 2 : i < 2 ? 3 - i : 6]));
      values.forEach((line, c) => {
        const points = line.map((value, epoch) => [epoch, value]).filter(point => point[1] !== null), color = COLORS[rank[c]];
        plot.line(points, color);
        for (const [epoch, value] of points) plot.mark(epoch, value, color, `“${data.classes[edition][c]}”, epoch ${epoch}: ${value}`, 2.5);
      });
      let above = -Infinity;
      for (const [value, c] of ends) above = plot.label(last, value, data.classes[edition][c], COLORS[rank[c]], above);
    }

    // What all three draw with: plain SVG of 350 x 300 units, a phone's width.
    function axes(parent, xs, ys, xname, yname, alt, names) {
      const W = 350, H = names ? 40 + 20 * names.length : 300, L = names ? 70 : 44, B = 36, figure = add(parent, "div", { class: "frl-figure", role: "group", "aria-label": alt });
      const svg = add(figure, "svg", { class: "frl-panel", viewBox: `0 0 ${W} ${H}`, style: "max-width: 560px", fill: "currentColor" });
      const range = values => { const low = Math.min(...values), high = Math.max(...values), room = names ? 0 : (high - low || 1) * 0.05; return [low - room, high + room]; };
      const [x0, x1] = range(xs), [y0, y1] = range(ys);
      const X = x => L + (x - x0) / (x1 - x0) * (W - L - 8), Y = y => H - B - (y - y0) / (y1 - y0) * (H - B - 8);
      const stroke = (from, to, color, width, dash) => add(svg, "line", { x1: from[0], y1: from[1], x2: to[0], y2: to[1], stroke: color ? `var(--frl-${color})` : "currentColor", "stroke-width": width, "stroke-dasharray": dash || "none" });
      const words = (x, y, text, anchor, more) => add(svg, "text", { x, y, text, "text-anchor": anchor, "font-size": 10, ...more });
      stroke([L, H - B], [W - 8, H - B], "", 0.8);
      for (const tick of ticks(x0, x1)) words(X(tick), H - B + 13, tick, "middle");
      if (names) names.forEach((name, c) => words(L - 6, Y(c) + 3, name, "end"));
      else { stroke([L, 8], [L, H - B], "", 0.8); for (const tick of ticks(y0, y1)) words(L - 5, Y(tick) + 3, tick, "end"); }
      words((L + W) / 2, H - 6, xname, "middle");
      words(11, (H - B) / 2, yname, "middle", { transform: `rotate(-90 11 ${(H - B) / 2})` });
      let stop = 0;
      return {
        bar: (from, to, color, width = 1) => stroke([X(from[0]), Y(from[1])], [X(to[0]), Y(to[1])], color, width),
        line: (points, color, dash) => points.slice(1).forEach((point, i) => stroke([X(points[i][0]), Y(points[i][1])], [X(point[0]), Y(point[1])], color, 1.4, dash)),
        label: (x, y, text, color, above) => { const at = Math.min(Y(y) + 3, above === -Infinity ? Infinity : above - 10); words(X(x) + 6, at, text, "start", { fill: `var(--frl-${color})` }); return at; },
        mark: (x, y, color, text, r = 4) => {
          const g = add(svg, "g", { class: "frl-mark", role: "img", tabindex: stop, "aria-label": text });
          add(g, "circle", { cx: X(x), cy: Y(y), r, fill: `var(--frl-${color})` });
          add(g, "circle", { cx: X(x), cy: Y(y), r: 8, fill: "transparent" });
          stop = -1;
        },
      };
    }
    function ticks(low, high) {
      const raw = (high - low) / 5, ten = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].find(k => k * ten >= raw) * ten;
      return Array.from({ length: 12 }, (_, i) => +((Math.ceil(low / step) + i) * step).toPrecision(6)).filter(tick => tick <= high);
    }
    function table(parent, head, rows) {
      const frame = add(parent, "div", { class: "frl-scroll", tabindex: 0, role: "region", "aria-label": "the numbers" });
      const all = add(frame, "table", { class: "frl-table" }), top = add(add(all, "thead"), "tr"), body = add(all, "tbody");
      for (const [key, text] of head) {
        const cell = add(top, "th", key ? { "aria-sort": sorted === key ? "ascending" : "none" } : { text });
        if (key) add(cell, "button", { text, "data-by": key }).addEventListener("click", () => { sorted = pressed = key; draw(); });
      }
      for (const row of rows) { const line = add(body, "tr"); for (const text of row) add(line, "td", { text }); }
    }
    function entry(key, color, name) {
      const span = add(key, "span");
      add(span, "span", { text: "●", "aria-hidden": true, style: `color: var(--frl-${color})` });
      span.append(` ${name}`);
    }
    function section(title) {
      const part = add(box, "section");
      add(part, "h2", { text: title });
      return part;
    }
    function select(parent, name, values, show = String) {
      const label = add(parent, "label", { text: name + " " });
      const field = add(label, "select", { class: "form-select-sm" });
      fill(field, values, show);
      return field;
    }
    function fill(field, values, show, wanted) {
      const before = field.value;
      field.replaceChildren(...values.map(value => new Option(show(value), value)));
      const kept = [before, wanted].find(value => values.includes(value));
      if (kept !== undefined) field.value = kept;
    }
    function add(parent, tag, { text, ...attributes } = {}) {
      const svg = tag === "svg" || parent.namespaceURI.endsWith("svg");
      const child = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
      for (const [name, value] of Object.entries(attributes)) child.setAttribute(name, value);
      if (text !== undefined) child.textContent = text;
      parent.append(child);
      return child;
    }
  }
});
