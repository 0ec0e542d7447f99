// Plays the trace of a small convolution: what `stepper.py` lays out, one multiply at a time.
(() => {
  const style = STYLE;
  const SIDE = 32; // of a cell
  const PAUSES = { slow: 1400, normal: 600, fast: 120 }; // ms from one move to the next
  const NAMES = { document: "the document, over H\u00b7W" };
  const SVG = ["svg", "g", "rect", "text", "path", "circle"];
  const HELP =
    "Arrow keys step, with Shift by an output, Page Up and Down by a pass, Home and End, Space plays." +
    " Tab to a panel, and the arrow keys move over its cells and light what they meet.";

  // Each step is a list; these are its places.
  const [TARGET, VALUE, FACTOR, A, B, LINE, VARIABLES, PASS, WINDOW, PADDED] = Array(10).keys();

  function element(tag, attributes = {}, ...children) {
    const made = SVG.includes(tag)
      ? document.createElementNS("http://www.w3.org/2000/svg", tag)
      : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value === true) made.setAttribute(name, "");
      else if (value !== false && value != null) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  const minus = (text) => text.replace("-", "\u2212");
  const short = (number) => {
    const text = String(Number(number.toPrecision(3)));
    return minus(text.length < 6 ? text : String(Number(number.toPrecision(1))));
  };
  const long = (number) => minus(String(Number(number.toPrecision(4))));
  const signed = (number) => (number < 0 ? `(${long(number)})` : long(number));
  const product = (step) => `${signed(step[A])}\u00b7${signed(step[B])}`;
  const counted = (number) => number.toLocaleString("en");

  class Stepper {
    constructor(host) {
      this.host = host;
      this.asks = "ask" in host.dataset;
      this.compact = "compact" in host.dataset;
      this.by = host.dataset.by || "output";
      this.root = host.attachShadow({ mode: "open" });
      if (host.dataset.trace) this.load(JSON.parse(host.dataset.trace));
      if ("play" in host.dataset && !matchMedia("(prefers-reduced-motion: reduce)").matches)
        this.play();
    }

    load(trace) {
      this.pause();
      Object.assign(this, { trace, at: 0, reached: 0, lit: null, pinned: null, question: null });
      Object.assign(this, { right: 0, asked: 0, unit: this.unit || "multiply" });
      this.cells = trace.panels.flatMap((panel, p) =>
        panel.blocks.flatMap((block, b) =>
          block.cells.map(([row, column, value, name, layer]) => ({
            row, column, value, name, layer, panel: p, block: `${p} ${b}`,
          }))
        )
      );
      this.layered = trace.panels.map((panel) => panel.blocks.some((b) => b.cells.some((c) => c[4])));
      this.link();
      this.build();
      this.arrange();
      this.go(0);
    }

    // Which steps made the numbers that a step reads, and so what reaches what.
    link() {
      const { steps } = this.trace;
      const made = new Map();
      this.from = steps.map(() => []);
      this.to = steps.map(() => []);
      steps.forEach((step, i) => {
        for (const cell of [step[VALUE], step[FACTOR]]) this.from[i].push(...(made.get(cell) || []));
        const before = step[TARGET] === step[VALUE] ? [] : made.get(step[TARGET]) || [];
        made.set(step[TARGET], [...before, i]);
      });
      this.from.forEach((sources, i) => sources.forEach((j) => this.to[j].push(i)));
      this.made = made;
    }

    // The steps that lead to some steps, or on from them.
    follow(first, links) {
      const found = new Set(first);
      for (const i of found) for (const j of links[i]) found.add(j);
      return [...found].map((i) => this.trace.steps[i]);
    }

    // The cells that one meets: an output its inputs and weights, an input its outputs.
    meets(cell) {
      const { steps } = this.trace;
      const back = this.follow(this.made.get(cell) || [], this.from);
      const reads = steps.flatMap((step, i) => (step[VALUE] === cell || step[FACTOR] === cell ? [i] : []));
      const on = this.follow(reads, this.to);
      const direct = reads.map((i) => steps[i]).filter((step) => step[FACTOR] === cell);
      return new Set([
        ...back.flatMap((step) => [step[VALUE], step[FACTOR]]),
        ...on.map((step) => step[TARGET]),
        ...direct.map((step) => step[VALUE]),
      ].filter((other) => other >= 0 && other !== cell));
    }

    // --- the page -----------------------------------------------------------------------------

    build() {
      const { trace } = this;
      this.parts = {};
      const part = (name, tag, attributes, ...children) =>
        (this.parts[name] = element(tag, attributes, ...children));
      const panels = element("div", { class: "panels" }, ...trace.panels.map((panel, p) => this.panel(panel, p)));
      const counters = part("counters", "div", { class: "counters" });
      const stage = element("div", { class: "stage" }, panels, part("sum", "p", { class: "sum" }));
      if (this.asks) stage.append(this.asking());
      if (!this.compact) stage.append(this.controls());
      const body = [element("header", {}, element("h4", {}, trace.title), counters), stage];
      if (!this.compact) body.push(this.code());
      body.push(part("live", "p", { class: "live", "aria-live": "polite" }));
      if (!this.compact) body.push(element("p", { class: "live", id: "help" }, HELP));
      const section = element(
        "section",
        { tabindex: this.compact ? null : 0, "aria-label": `${trace.title}, step by step`, "aria-describedby": "help", onkeydown: (e) => this.key(e) },
        ...body
      );
      this.root.replaceChildren(element("style", {}, style), section);
    }

    panel(panel, p) {
      const blocks = panel.blocks.map((block, b) => {
        const cells = this.cells.filter((cell) => cell.block === `${p} ${b}`);
        const rows = 1 + Math.max(...cells.map((cell) => cell.row));
        const columns = 1 + Math.max(...cells.map((cell) => cell.column));
        const svg = element("svg", {
          viewBox: `-2 -2 ${columns * SIDE + 4} ${rows * SIDE + 4}`, width: columns * SIDE + 4, "aria-hidden": "true",
        }, ...cells.map((cell) => this.cell(cell)));
        const points = (panel.points || []).filter(([block]) => block === b);
        for (const [, row, column, place, tap] of points) {
          const [x, y] = [column * SIDE + SIDE / 2, row * SIDE + SIDE / 2];
          svg.append(
            element("g", { class: "point", "data-place": place, "data-tap": tap, hidden: true },
              element("rect", { x: x - SIDE / 2, y: y - SIDE / 2, width: SIDE, height: SIDE }),
              element("path", { d: `M${x - 5} ${y}h10M${x} ${y - 5}v10` }))
          );
        }
        const [row, column] = block.place;
        return element("div", { class: "block", style: `grid-area:${row + 1}/${column + 1}` },
          element("span", {}, block.label || "\u00a0"), svg);
      });
      return element("figure", {
        "data-kind": panel.kind, tabindex: 0, "aria-label": `${panel.title}: arrow keys move over its cells`,
        onpointerover: (e) => this.point(e.target.closest("g.cell"), e.pointerType),
        onpointerleave: () => this.light(this.pinned),
        onclick: (e) => this.press(e.target.closest("g.cell")),
        onkeydown: (e) => this.walk(e, p),
        onblur: () => this.light(this.pinned),
      }, element("figcaption", {}, panel.title), element("div", { class: "blocks" }, ...blocks));
    }

    cell(cell) {
      const [x, y] = [cell.column * SIDE, cell.row * SIDE];
      const group = element("g", { class: "cell", transform: `translate(${x} ${y})`, "data-cell": this.cells.indexOf(cell) },
        element("rect", { width: SIDE, height: SIDE }));
      if (cell.name === "padding")
        group.append(element("path", { class: "hatch", d: `M0 ${SIDE / 2}L${SIDE / 2} 0M0 ${SIDE}L${SIDE} 0M${SIDE / 2} ${SIDE}L${SIDE} ${SIDE / 2}` }));
      group.append(
        element("rect", { class: "mark", x: 3, y: 3, width: SIDE - 6, height: SIDE - 6 }),
        element("text", { x: SIDE / 2, y: SIDE / 2 }),
        element("circle", { cx: SIDE - 6, cy: 6, r: 2.5 }),
        element("text", { class: "landed", x: SIDE - 5, y: 7 })
      );
      return Object.assign(cell, { group }).group;
    }

    controls() {
      const button = (name, sign, label, action) =>
        (this.parts[name] = element("button", { type: "button", title: label, "aria-label": label, onclick: action }, sign));
      const choice = (label, options, chosen, action) =>
        element("label", {}, `${label} `, element("select", { onchange: (e) => action(e.target.value) },
          ...Object.entries(options).map(([value, word]) => element("option", { value, selected: value === chosen }, word))));
      this.pace = this.pace || "normal";
      const window = this.trace.scattered ? "pixel by pixel" : "window by window";
      const units = { multiply: "multiply", output: this.trace.scattered ? "pixel" : "output", pass: "pass" };
      const slider = (this.parts.slider = element("input", {
        type: "range", min: 0, max: this.trace.steps.length, value: 0, "aria-label": "position",
        oninput: (e) => this.jump(Number(e.target.value)),
      }));
      return element("div", { class: "controls" },
        element("div", { role: "group", "aria-label": "moves" },
          button("first", "|\u25c2", "to the beginning (Home)", () => this.jump(0)),
          button("back", "\u25c2", "back (left arrow)", () => this.move(-1)),
          button("play", "", "play", () => (this.timer ? this.pause() : this.play())),
          button("next", "\u25b8", "on (right arrow)", () => this.move(1)),
          button("last", "\u25b8|", "to the end (End)", () => this.jump(this.reach()))),
        slider,
        choice("step by", units, this.unit, (unit) => (this.unit = unit)),
        choice("order", { output: window, multiply: "as the loops run" }, this.by, (by) => {
          this.by = by;
          this.arrange();
          this.go(this.at);
        }),
        choice("speed", { slow: "slow", normal: "normal", fast: "fast" }, this.pace, (pace) => {
          this.pace = pace;
          if (this.timer) this.play();
        }));
    }

    code() {
      this.lines = this.trace.sources.map(([, lines]) =>
        lines.map((line) => {
          const made = element("span", { class: "line" });
          made.innerHTML = line || " ";
          return made;
        }));
      const pane = (this.parts.pane = element("pre", { tabindex: 0, "aria-label": "the loops", onkeydown: (e) => e.stopPropagation() },
        ...this.lines.map((lines) => element("code", {}, ...lines))));
      this.parts.variables = element("p", { class: "variables" });
      return element("details", { open: true }, element("summary", {}, "The loops that do this"), pane, this.parts.variables);
    }

    // --- moving -------------------------------------------------------------------------------

    arrange() {
      const { steps, order } = this.trace;
      this.order = this.by === "output" ? order : steps.map((_, i) => i);
      const last = new Map();
      this.order.forEach((i, n) => {
        if (!this.layered[this.cells[steps[i][TARGET]].panel]) last.set(steps[i][TARGET], n);
      });
      const ends = (n, place) => steps[this.order[n]][place] !== steps[this.order[n + 1]]?.[place];
      const all = this.order.map((_, n) => n + 1);
      this.stops = {
        multiply: all,
        output: all.filter((at) => (this.by === "output" ? ends(at - 1, WINDOW) : last.get(steps[this.order[at - 1]][TARGET]) === at - 1)),
        pass: all.filter((at) => ends(at - 1, PASS)),
      };
    }

    step(at = this.at) {
      return at > 0 ? this.trace.steps[this.order[at - 1]] : null;
    }

    reach() {
      return this.asks ? this.reached : this.order.length;
    }

    next(unit) {
      return this.stops[unit].find((stop) => stop > this.at) ?? this.order.length;
    }

    move(way, unit = this.unit) {
      this.pause();
      if (way < 0) this.go(this.stops[unit].filter((stop) => stop < this.at).pop() ?? 0);
      else if (this.asks && this.at === this.reached) this.ask(unit);
      else this.go(Math.min(this.next(unit), this.reach()));
    }

    play() {
      clearInterval(this.timer);
      if (this.at >= this.reach()) this.go(0);
      this.timer = setInterval(() => {
        this.go(Math.min(this.next(this.unit), this.reach()));
        if (this.at >= this.reach() || !this.host.isConnected) this.pause();
      }, PAUSES[this.pace || "normal"]);
      this.draw();
    }

    pause() {
      clearInterval(this.timer);
      this.timer = null;
      if (this.parts) this.draw();
    }

    go(at) {
      this.at = Math.max(0, Math.min(at, this.reach()));
      if (this.at !== this.reached) this.question = null;
      this.draw();
      this.host.dispatchEvent(new CustomEvent("step", { detail: this.at }));
    }

    jump(at) {
      this.pause();
      this.go(at);
    }

    // The share of the steps that are done, for pages that move several at once.
    share(part) {
      this.go(Math.round(part * this.order.length));
    }

    key(event) {
      if (this.compact || event.ctrlKey || event.metaKey || event.altKey) return;
      const inside = this.root.activeElement?.tagName;
      if (inside === "SELECT" || inside === "INPUT" || (inside === "BUTTON" && event.key === " ")) return;
      const unit = event.shiftKey ? "output" : this.unit;
      const keys = {
        ArrowRight: () => this.move(1, unit),
        ArrowLeft: () => this.move(-1, unit),
        PageDown: () => this.move(1, "pass"),
        PageUp: () => this.move(-1, "pass"),
        Home: () => this.jump(0),
        End: () => this.jump(this.reach()),
        " ": () => (this.timer ? this.pause() : this.play()),
        Escape: () => this.light((this.pinned = null)),
      };
      if (!(event.key in keys)) return;
      event.preventDefault();
      keys[event.key]();
    }

    // --- pointing -----------------------------------------------------------------------------

    light(cell) {
      this.lit = cell;
      this.draw();
    }

    point(group, pointer) {
      if (group && pointer !== "touch") this.light(Number(group.dataset.cell));
    }

    press(group) {
      if (!group) return;
      const cell = Number(group.dataset.cell);
      if (this.question?.kind === "place") return this.answer(cell);
      this.pinned = this.pinned === cell ? null : cell;
      this.light(this.pinned);
      this.say();
    }

    walk(event, panel) {
      const ways = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      const mine = this.cells.filter((cell) => cell.panel === panel && this.shown(cell));
      const here = this.cells[this.lit]?.panel === panel ? this.cells[this.lit] : null;
      if (event.key === "Enter" && here) this.press(here.group);
      else if (event.key in ways && !event.shiftKey) {
        const [down, along] = ways[event.key];
        const there = here && mine.find((cell) => cell.block === here.block && cell.row === here.row + down && cell.column === here.column + along);
        const on = mine[(mine.indexOf(here) + (down + along) + mine.length) % mine.length];
        this.light(this.cells.indexOf(there || (here ? on : mine[0])));
        this.say();
      } else return;
      event.preventDefault();
      event.stopPropagation();
    }

    // --- predicting ---------------------------------------------------------------------------

    asking() {
      const check = () => this.answer(input.value); // no form: JupyterLab lets none be submitted
      const input = element("input", {
        type: "text", inputmode: "decimal", size: 8, "aria-label": "your number", onkeydown: (e) => e.key === "Enter" && check(),
      });
      const form = element("div", { class: "ask" },
        element("label", {}, "Predict ", element("select", { onchange: (e) => ((this.kind = e.target.value), (this.question = null), this.draw()) },
          element("option", { value: "number" }, "the number"), element("option", { value: "place" }, "the place"))),
        (this.parts.question = element("span", { role: "status" })),
        element("span", { class: "entry" }, input, element("button", { type: "button", onclick: check }, "check")),
        element("button", { type: "button", class: "show", onclick: () => this.reveal() }, "show it"));
      this.kind = "number";
      return Object.assign(this.parts, { form, input }).form;
    }

    ask(unit, before = "") {
      if (this.at >= this.order.length) return;
      const kind = this.kind;
      const to = kind === "place" ? this.at + 1 : this.next(unit);
      const last = this.trace.steps[this.order[to - 1]];
      const steps = this.order.slice(this.at, to).map((i) => this.trace.steps[i]);
      const hidden = this.trace.scattered || last[VALUE] < 0 ? TARGET : VALUE;
      this.question = { kind, to, unit, last, hidden, before, said: "", tries: 0,
        terms: steps.filter((step) => step[TARGET] === last[TARGET]) };
      this.parts.input.value = "";
      this.draw();
      if (kind === "number") this.parts.input.focus();
    }

    worded() {
      const { kind, last, hidden, before, said, terms } = this.question;
      const name = (place) => (last[place] < 0 ? long(last[place === VALUE ? A : B]) : this.cells[last[place]].name);
      if (said) return said;
      if (kind === "number") {
        const what = terms.length > 1 ? `after ${terms.length} more products` : `after ${name(VALUE)} \u00b7 ${name(FACTOR)}`;
        return `${before}What is ${name(TARGET)} ${what}?`;
      }
      return hidden === TARGET
        ? `${before}Where does ${name(VALUE)} \u00b7 ${name(FACTOR)} land? Choose the cell.`
        : `${before}${name(TARGET)} is next, with ${name(FACTOR)}: which cell does it multiply? Choose it.`;
    }

    answer(given) {
      const { question } = this;
      if (!question) return this.ask(this.unit);
      const { kind, to, last, hidden, terms } = question;
      if (kind === "place") {
        if (given === last[hidden]) return this.settle(this.cells[given].name);
        question.said = `Not ${this.cells[given].name}. Look where ${this.cells[last[FACTOR]]?.name || "the factor"} stands in its kernel, and try again.`;
      } else {
        const value = this.values(to)[last[TARGET]];
        const number = Number(String(given).replace(",", ".").replace("\u2212", "-"));
        if (String(given).trim() !== "" && Math.abs(number - value) <= 0.005 * Math.max(1, Math.abs(value)))
          return this.settle(`${this.cells[last[TARGET]].name} = ${long(value)}`);
        const from = this.values(this.at)[last[TARGET]] ?? this.trace.starts[last[TARGET]] ?? 0;
        question.said = `Not yet: ${[long(from), ...terms.map(product)].join(" + ")} = ?`;
      }
      question.tries += 1;
      this.draw();
    }

    settle(found) {
      this.asked += 1;
      this.right += this.question.tries === 0;
      this.advance(`Right: ${found}. `);
    }

    reveal() {
      if (!this.question) return this.ask(this.unit);
      const { to, last, kind, hidden } = this.question;
      this.asked += 1;
      this.advance(kind === "place"
        ? `It is ${this.cells[last[hidden]].name}. `
        : `${this.cells[last[TARGET]].name} = ${long(this.values(to)[last[TARGET]])}. `);
    }

    advance(before) {
      const { to, unit } = this.question;
      this.reached = to;
      this.go(to);
      this.ask(unit, before);
    }

    // --- drawing ------------------------------------------------------------------------------

    // Every cell's number after so many steps; undefined where there is none yet.
    values(at) {
      const found = this.cells.map((cell) => cell.value ?? undefined);
      for (let n = 0; n < at; n++) {
        const step = this.trace.steps[this.order[n]];
        const target = step[TARGET];
        const sum = target === step[VALUE] ? 0 : found[target] ?? this.trace.starts[target] ?? 0;
        found[target] = sum + step[A] * step[B];
      }
      return found;
    }

    // How many pixels have landed on an output so far, where they land.
    landed() {
      const found = {};
      for (let at = 1; this.trace.scattered && at <= this.at; at++) {
        const step = this.step(at);
        (found[step[TARGET]] ??= new Set()).add(step[VALUE]);
      }
      return found;
    }

    shown(cell) {
      return !this.layered[cell.panel] || cell.layer === this.layers[cell.panel];
    }

    draw() {
      if (!this.order) return;
      const { steps, panels } = this.trace;
      const step = this.step();
      const values = this.values(this.at);
      const { question } = this;
      const landed = this.landed();
      const met = this.lit === null ? new Set() : this.meets(this.lit);
      const window = new Set(step && steps.flatMap((other) => (other[WINDOW] === step[WINDOW] ? [other[TARGET], other[VALUE], other[FACTOR]] : [])));
      const now = new Set(step ? [step[TARGET], step[VALUE], step[FACTOR]] : []);
      const next = new Set();
      if (question) {
        for (const place of [TARGET, VALUE, FACTOR])
          if (question.kind === "number" || place !== question.hidden)
            question.terms.forEach((term) => next.add(term[place]));
      }
      this.layers = panels.map((_, p) => {
        const wanted = [...met].map((c) => this.cells[c]).find((cell) => cell.panel === p);
        for (let at = this.at; at > 0 && !wanted; at--)
          for (const place of [TARGET, VALUE, FACTOR]) {
            const cell = this.cells[this.step(at)[place]];
            if (cell?.panel === p) return cell.layer;
          }
        return wanted ? wanted.layer : 0;
      });
      this.cells.forEach((cell, n) => {
        const value = values[n];
        const classes = { empty: value === undefined, padding: cell.name === "padding", window: window.has(n),
          now: now.has(n) && !question, next: next.has(n), lit: met.has(n), here: n === this.lit };
        cell.group.setAttribute("class", ["cell", ...Object.keys(classes).filter((name) => classes[name])].join(" "));
        cell.group.style.display = this.shown(cell) ? "" : "none";
        const text = cell.group.querySelector("text");
        text.textContent = value === undefined ? (next.has(n) ? "?" : "") : short(value);
        text.classList.toggle("tight", text.textContent.length > 4);
        cell.group.querySelector(".landed").textContent = landed[n]?.size > 1 ? landed[n].size : "";
      });
      this.marks();
      this.count();
      this.spell(step, values);
      if (this.asks) this.drawQuestion();
      if (!this.compact) this.follows(step);
      if (!this.timer) this.say();
    }

    marks() {
      const p = this.layered.indexOf(true); // the corners of a tap; the samples of a place follow
      for (const point of this.root.querySelectorAll(".point")) {
        const { place, tap } = point.dataset;
        point.style.display = this.at && Number(place) === this.layers[p + 1] ? "" : "none";
        point.classList.toggle("now", Number(tap) === this.layers[p]);
      }
    }

    count() {
      const { passes, multiplies, padding, formulas, steps } = this.trace;
      const done = this.order.slice(0, this.at).map((i) => steps[i]);
      const ended = this.at === this.order.length;
      const row = (label, count, of, formula) => {
        const sign = ended ? (count === of ? " \u2713" : " \u2717") : "";
        return element("div", {},
          element("span", {}, label, " ", element("b", {}, counted(count)), ` of ${counted(of)}${sign}`),
          element("progress", { max: Math.max(1, of), value: of ? count : 1, "aria-label": label }),
          formula ? element("small", {}, formula) : "");
      };
      const rows = [row("multiplies", done.length, multiplies, passes.length === 1 ? passes[0][2] : "the sum of the passes")];
      if (passes.length > 1 && !this.compact)
        rows.push(...passes.map(([name, of, formula], p) => row(name, done.filter((step) => step[PASS] === p).length, of, formula)));
      rows.push(row("on padding", done.filter((step) => step[PADDED]).length, padding, ""));
      const shown = this.compact ? [] : Object.entries(formulas);
      for (const [name, formula] of shown.slice(0, "options" in this.host.dataset ? undefined : 1))
        rows.push(element("div", {}, element("small", {}, `${NAMES[name] || name}: ${formula}`)));
      this.parts.counters.replaceChildren(...rows);
    }

    spell(step, values) {
      if (!step) return this.parts.sum.replaceChildren("Nothing is multiplied yet.");
      const target = step[TARGET];
      const terms = [];
      for (let n = this.at - 1; n >= 0; n--) {
        const other = this.trace.steps[this.order[n]];
        if (other[TARGET] === target) terms.unshift(other);
        if (other[TARGET] === target && other[VALUE] === target) break;
      }
      const start = this.trace.starts[target];
      const words = start && terms.length ? [`${long(start)} + `] : [];
      if (terms.length > 24) words.push("\u2026 + ");
      for (const term of terms.slice(-24, -1)) words.push(`${product(term)} + `);
      this.parts.sum.replaceChildren(`${this.cells[target].name} = `, ...words, element("b", {}, product(step)), ` = ${long(values[target])}`);
    }

    follows(step) {
      const { slider, play, pane, variables, first, back, next, last } = this.parts;
      slider.value = this.at;
      slider.setAttribute("aria-valuetext", `${this.at} of ${this.order.length} multiplies`);
      play.textContent = this.timer ? "\u275a\u275a" : "\u25b6";
      play.setAttribute("aria-label", this.timer ? "pause (Space)" : "play (Space)");
      first.disabled = back.disabled = this.at === 0;
      next.disabled = this.at === this.order.length;
      last.disabled = this.at >= this.reach();
      for (const line of this.root.querySelectorAll(".line.now")) line.classList.remove("now");
      if (!step) return variables.replaceChildren("\u00a0");
      const [source, number, names] = this.trace.lines[step[LINE]];
      const line = this.lines[source][number - 1];
      line.classList.add("now");
      const top = line.offsetTop - pane.offsetTop;
      if (top < pane.scrollTop + 20 || top > pane.scrollTop + pane.clientHeight - 40)
        pane.scrollTop = top - pane.clientHeight / 2;
      const indent = line.textContent.search(/\S/) * 7.5; // px, of so many letters
      if (pane.scrollWidth > pane.clientWidth)
        pane.scrollLeft = indent - 30;
      const earlier = this.step(this.at - 1);
      const before = earlier ? Object.fromEntries(this.trace.lines[earlier[LINE]][2].map((name, n) => [name, earlier[VARIABLES][n]])) : {};
      variables.replaceChildren(...names.flatMap((name, n) => [
        element("span", { class: before[name] === step[VARIABLES][n] ? null : "changed" }, `${name}\u00a0=\u00a0${step[VARIABLES][n]}`), " "]));
    }

    drawQuestion() {
      const { form, question: place } = this.parts;
      const { question } = this;
      const over = this.reached === this.order.length;
      const score = this.asked ? ` ${this.right} of ${this.asked} right at once.` : "";
      form.querySelector(".entry").style.display = question?.kind === "number" ? "" : "none";
      form.querySelector(".show").style.display = over ? "none" : "";
      form.querySelector(".show").textContent = question ? "show it" : "ask me";
      place.textContent = question ? this.worded() + score : over ? `That is all.${score}` : "Say what comes before it is shown.";
    }

    say() {
      const step = this.step();
      const name = (place) => this.cells[step[place]]?.name;
      const words = [];
      if (this.lit !== null) {
        const met = [...this.meets(this.lit)].map((n) => this.cells[n].name).filter((word) => word !== "padding");
        words.push(`${this.cells[this.lit].name} meets ${met.slice(0, 12).join("; ") || "nothing"}${met.length > 12 ? `; and ${met.length - 12} more` : ""}.`);
      } else if (step) {
        const read = step[PADDED] ? "padding" : name(VALUE) || "a share";
        words.push(`${this.at} of ${this.order.length}: ${name(TARGET)} plus ${long(step[A])} times ${long(step[B])}, ${read} times ${name(FACTOR) || "a share"}.`);
      }
      this.parts.live.textContent = words.join(" ");
    }
  }

  // All steppers of a family move together, each by the same share of its steps.
  class Family {
    constructor(host) {
      this.steppers = [...host.querySelectorAll(".jitconv-stepper")].map((child) => child.stepper);
      this.slider = element("input", { type: "range", min: 0, max: 1000, value: 0, "aria-label": "share of the steps", oninput: () => this.go() });
      this.button = element("button", { type: "button", "aria-label": "play", onclick: () => this.play(!this.timer) }, "\u25b6");
      const controls = element("div", { class: "controls sticky" }, this.button, this.slider);
      host.attachShadow({ mode: "open" }).append(element("style", {}, style),
        element("section", { class: "family" }, controls, element("div", { class: "members" }, element("slot"))));
      this.go();
    }

    go() {
      for (const stepper of this.steppers) stepper.share(this.slider.value / 1000);
    }

    play(on) {
      clearInterval(this.timer);
      this.timer = null;
      this.button.textContent = on ? "\u275a\u275a" : "\u25b6";
      this.button.setAttribute("aria-label", on ? "pause" : "play");
      if (!on) return;
      if (this.slider.value >= 1000) this.slider.value = 0;
      this.timer = setInterval(() => {
        this.slider.value = Number(this.slider.value) + 20;
        this.go();
        if (this.slider.value >= 1000) this.play(false);
      }, PAUSES.normal);
    }
  }

  // A convolution whose options are chosen, each choice traced beforehand.
  class Options {
    constructor(host) {
      const { choices, begin, traces } = JSON.parse(host.dataset.trace);
      const child = host.querySelector(".jitconv-stepper");
      const said = element("p", { role: "status", class: "refused" });
      const chosen = Object.keys(choices).map((name, n) =>
        element("select", { "aria-label": name, onchange: () => show() },
          ...choices[name].map((value) => element("option", { value, selected: value === begin[n] }, value))));
      const show = () => {
        const found = traces[chosen.map((select) => select.value).join(" ")];
        const refused = typeof found === "string";
        said.textContent = refused ? found : "";
        child.style.display = refused ? "none" : "";
        if (!refused) child.stepper.load(found);
      };
      host.attachShadow({ mode: "open" }).append(element("style", {}, style),
        element("section", { class: "family" },
          element("div", { class: "controls" },
            ...chosen.map((select) => element("label", {}, `${select.getAttribute("aria-label")} `, select))),
          said, element("slot")));
      show();
    }
  }

  for (const [name, Kind] of Object.entries({ stepper: Stepper, family: Family, options: Options }))
    for (const host of document.querySelectorAll(`.jitconv-${name}`))
      if (!host.shadowRoot) host[name] = new Kind(host);
})();
