// Plays the trace of a small convolution: what `stepper.py` lays out, one multiply at a time.
(() => {
  const style = STYLE;
  const PAUSES = { slow: 1400, normal: 600, fast: 120 }; // ms from one move to the next
  const NAMES = { document: "the document's count, as if y were as large as x" };
  const SVG = ["svg", "g", "rect", "text", "path", "circle"];
  const HELP =
    "Arrow keys step, with Shift by a window; Page Up and Down leap further, Home and End go to the ends, Space plays. " +
    "Tab to a panel, and the arrow keys move over its cells and say what they meet; Enter chooses one.";
  const LEGEND = [
    "Pale cells belong to the window; thick frames mark the numbers that are multiplied, and the sum that they go to; hatched cells are padding.",
    "Point at a cell, or choose it: dashed frames with a dot mark what it meets. Underlined variables have just changed.",
    "\u00d72 in the corner of an output: two pixels have landed on it so far.",
    "x[channel, row, column], y[channel, row, column], kernels [output, input, row, column], transposed ones [input, output, \u2026], all from 0; n is the image of a batch.",
    "M output and C input channels, of which each output meets C/g where there are g groups; K\u00b2 or KH\u00b7KW taps; H\u00b7W and OH\u00b7OW pixels of x and y; V taps that land in the image.",
    "Where the loops pad, ih and iw are places in the padded image: iw is where the window begins, and kw is added when it is read.",
  ];

  // Each step is a list; these are its places.
  const [TARGET, VALUE, FACTOR, A, B, LINE, VARIABLES, PASS, WINDOW, PADDED, SETS] = Array(11).keys();

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

  const minus = (text) => text.replaceAll("-", "\u2212");
  // In so many digits, and never fewer than stand before the point.
  const plain = (number, digits) =>
    String(Number(number.toPrecision(Math.max(digits, String(Math.trunc(Math.abs(number))).length))));
  const power = (number, digits) => Number(number.toPrecision(digits)).toExponential().replace("e+", "e");
  const short = (number, room) => {
    const texts = [plain(number, 3), plain(number, 2), power(number, 3), power(number, 2), plain(number, 1), power(number, 1)];
    return minus(texts.find((text) => text.length <= room) ?? texts[5]);
  };
  const long = (number) => minus(plain(number, 4));
  const signed = (number) => (number < 0 ? `(${long(number)})` : long(number));
  const product = (step) => `${signed(step[A])}\u00b7${signed(step[B])}`;
  // A step may end a line of a transform: then it has [what the line makes, which cells it reads].
  const makes = (step) => step[SETS]?.[0] ?? [];
  const targets = (step) => [step[TARGET], ...makes(step).map(([cell]) => cell)];
  const reads = (step) => [step[VALUE], step[FACTOR], ...(step[SETS]?.[1] ?? [])];
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
      this.side = this.numbers().every((number) => Number.isInteger(number) && Math.abs(number) < 1000) ? 32 : 42;
      this.layered = trace.panels.map((panel) => panel.blocks.some((b) => b.cells.some((c) => c[4])));
      this.link();
      this.build();
      this.arrange();
      this.go(0);
    }

    // What its cells hold at first, and more than any of their sums can come to.
    numbers() {
      const sums = {};
      for (const step of this.trace.steps) {
        sums[step[TARGET]] ??= Math.abs(this.trace.starts[step[TARGET]] ?? 0);
        sums[step[TARGET]] += Math.abs(step[A] * step[B]);
      }
      const given = this.cells.map((cell) => cell.value ?? 0);
      return [...given, ...Object.values(sums), ...this.trace.steps.flatMap(makes).map(([, number]) => number)];
    }

    // Which steps made the numbers that a step reads, and so what reaches what.
    link() {
      const { steps } = this.trace;
      const made = new Map();
      this.from = steps.map(() => []);
      this.to = steps.map(() => []);
      steps.forEach((step, i) => {
        for (const cell of reads(step)) this.from[i].push(...(made.get(cell) || []));
        const before = step[TARGET] === step[VALUE] ? [] : made.get(step[TARGET]) || [];
        made.set(step[TARGET], [...before, i]);
        for (const [cell] of makes(step)) made.set(cell, [i]);
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
      const reading = steps.flatMap((step, i) => (reads(step).includes(cell) ? [i] : []));
      const on = this.follow(reading, this.to);
      const direct = reading.map((i) => steps[i]).filter((step) => step[FACTOR] === cell);
      return new Set([
        ...back.flatMap(reads),
        ...on.flatMap(targets),
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
      const title = element("header", {}, element("h4", {}, trace.title),
        trace.options ? ` ${trace.options}` : "", element("p", {}, trace.idea));
      const stage = element("div", { class: "stage" }, panels);
      if (!this.compact) stage.append(this.controls());
      if (this.asks) stage.append(this.asking());
      stage.append(part("sum", "p", { class: "sum" }));
      const body = [title, stage, part("counters", "div", { class: "counters" })];
      if (!this.compact) body.push(this.code(), this.legend());
      body.push(part("live", "p", { class: "live", "aria-live": "polite" }));
      if (!this.compact) body.push(element("p", { class: "live", id: "help" }, HELP));
      const section = element(
        "section",
        { class: trace.panels.length > 6 ? "many" : null, tabindex: this.compact ? null : 0, "aria-label": `${trace.title}, step by step`, "aria-describedby": "help", onkeydown: (e) => this.key(e) },
        ...body
      );
      this.root.replaceChildren(element("style", {}, style), section);
    }

    panel(panel, p) {
      const { side } = this;
      const blocks = panel.blocks.map((block, b) => {
        const cells = this.cells.filter((cell) => cell.block === `${p} ${b}`);
        const rows = 1 + Math.max(...cells.map((cell) => cell.row));
        const columns = 1 + Math.max(...cells.map((cell) => cell.column));
        const svg = element("svg", {
          viewBox: `-2 -2 ${columns * side + 4} ${rows * side + 4}`, width: columns * side + 4, "aria-hidden": "true",
        }, ...cells.map((cell) => this.cell(cell)));
        const points = (panel.points || []).filter(([block]) => block === b);
        for (const [, row, column, place, tap] of points) {
          const [x, y] = [column * side + side / 2, row * side + side / 2];
          svg.append(
            element("g", { class: "point", "data-place": place, "data-tap": tap, hidden: true },
              element("rect", { x: x - side / 2, y: y - side / 2, width: side, height: side }),
              element("path", { d: `M${x - 5} ${y}h10M${x} ${y - 5}v10` }))
          );
        }
        const [row, column] = block.place;
        return element("div", { class: "block", style: `grid-area:${row + 1}/${column + 1}` },
          element("span", {}, block.label || "\u00a0"), svg);
      });
      return element("figure", {
        "data-kind": panel.kind, tabindex: 0, "aria-label": `${panel.title}: arrow keys move over its cells, Enter chooses one`,
        onpointerover: (e) => this.point(e.target.closest("g.cell"), e.pointerType),
        onpointerleave: () => this.light(this.pinned),
        onclick: (e) => this.press(e.target.closest("g.cell")),
        onkeydown: (e) => this.walk(e, p),
        onblur: () => this.light(this.pinned),
      }, element("figcaption", {}, panel.title), element("div", { class: "blocks" }, ...blocks));
    }

    cell(cell) {
      const { side } = this;
      const [x, y] = [cell.column * side, cell.row * side];
      const group = element("g", { class: "cell", transform: `translate(${x} ${y})`, "data-cell": this.cells.indexOf(cell) },
        element("rect", { width: side, height: side }));
      if (cell.name === "padding")
        group.append(element("path", { class: "hatch", d: `M0 ${side / 2}L${side / 2} 0M0 ${side}L${side} 0M${side / 2} ${side}L${side} ${side / 2}` }));
      group.append(
        element("rect", { class: "mark", x: 3, y: 3, width: side - 6, height: side - 6 }),
        element("text", { x: side / 2, y: side / 2 }),
        element("circle", { cx: side - 6, cy: 6, r: 2.5 }),
        element("text", { class: "landed", x: 2, y: 6 })
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
      if (this.trace.passes.length === 1) delete units.pass;
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
        choice("step by", units, this.unit, (unit) => {
          this.unit = unit;
          this.drop();
        }),
        this.trace.order.every((i, n) => i === n) ? "" : choice("order", { output: window, multiply: "as the loops run" }, this.by, (by) => {
          this.by = by;
          this.arrange();
          if (this.asks) Object.assign(this, { reached: 0, right: 0, asked: 0 });
          this.drop();
        }),
        choice("speed", { slow: "slow", normal: "normal", fast: "fast" }, this.pace, (pace) => {
          this.pace = pace;
          if (this.timer) this.play();
        }));
    }

    code() {
      this.lines = this.trace.sources.map(([, lines]) =>
        lines.map((line) => {
          const indent = line.search(/\S|$/);
          const made = element("span", { class: "line", style: `padding-left: calc(2em + ${indent / 2 + 2}ch)` });
          made.innerHTML = line.trim() || " ";
          return made;
        }));
      const pane = (this.parts.pane = element("pre", { tabindex: 0, "aria-label": "the loops", onkeydown: (e) => e.stopPropagation() },
        ...this.lines.map((lines) => element("code", {}, ...lines))));
      this.parts.variables = element("p", { class: "variables" });
      const summary = (this.parts.summary = element("summary", {}));
      return element("details", { class: "code", open: true }, summary, pane, this.parts.variables);
    }

    legend() {
      return element("details", { class: "legend" }, element("summary", {}, "How to read this"),
        element("ul", {}, ...LEGEND.map((line) => element("li", {}, line))));
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
      const [small, large] = this.stops.pass.length > this.stops.output.length ? ["pass", "output"] : ["output", "pass"];
      Object.assign(this, { small, large });
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
      if (way > 0 && this.question) return this.parts.input.focus();
      if (way < 0) this.go(this.stops[unit].filter((stop) => stop < this.at).pop() ?? 0);
      else if (this.asks && this.at === this.reached) this.ask(unit);
      else this.go(Math.min(this.next(unit), this.reach()));
    }

    play() {
      if (this.asks) return;
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
      if (!this.timer) this.say();
    }

    jump(at) {
      this.pause();
      this.go(at);
    }

    // Without the open question, which another order or unit makes stale.
    drop() {
      this.question = null;
      this.go(this.at);
    }

    // The share of the steps that are done, for pages that move several at once.
    share(part) {
      this.go(Math.round(part * this.order.length));
    }

    key(event) {
      if (this.compact || event.ctrlKey || event.metaKey || event.altKey) return;
      const inside = this.root.activeElement;
      if (inside?.tagName === "SELECT" || inside?.type === "text") return;
      if (["BUTTON", "SUMMARY"].includes(inside?.tagName) && event.key === " ") return;
      const unit = event.shiftKey ? this.small : this.unit;
      const keys = {
        ArrowRight: () => this.move(1, unit),
        ArrowLeft: () => this.move(-1, unit),
        PageDown: () => this.move(1, this.large),
        PageUp: () => this.move(-1, this.large),
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
      this.say(this.lit);
    }

    walk(event, panel) {
      const ways = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      const mine = this.cells.filter((cell) => cell.panel === panel && this.shown(cell));
      const here = this.cells[this.lit]?.panel === panel ? this.cells[this.lit] : null;
      if ((event.key === "Enter" || (event.key === " " && this.question)) && here) this.press(here.group);
      else if (event.key in ways && !event.shiftKey) {
        const [down, along] = ways[event.key];
        const there = here && mine.find((cell) => cell.block === here.block && cell.row === here.row + down && cell.column === here.column + along);
        const on = mine[(mine.indexOf(here) + (down + along) + mine.length) % mine.length];
        this.light(this.cells.indexOf(there || (here ? on : mine[0])));
        this.say(this.lit);
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
      this.praise = before;
      if (this.at >= this.order.length) return this.draw();
      const { steps } = this.trace;
      const ahead = (to) => this.order.slice(this.at, to).map((i) => steps[i]);
      const alone = (to) => new Set(ahead(to).map((step) => step[TARGET])).size === 1;
      const kind = ahead(this.at + 1)[0][VALUE] < 0 ? "number" : this.kind;
      const whole = this.next(unit);
      const to = kind === "number" && alone(whole) ? whole : this.at + 1;
      const terms = ahead(to);
      const last = terms[terms.length - 1];
      this.question = { kind, to, unit, last, terms, hidden: this.trace.scattered ? TARGET : VALUE, said: "", tries: 0 };
      this.parts.input.value = "";
      this.draw();
      if (kind === "number") this.parts.input.focus();
    }

    worded() {
      const { kind, last, hidden, said, terms } = this.question;
      const name = (place) => (last[place] < 0 ? long(last[place === VALUE ? A : B]) : this.cells[last[place]].name);
      if (said) return said;
      if (kind === "number")
        return terms.length > 1
          ? `What is ${name(TARGET)} after ${terms.length} more products?`
          : `What is ${name(TARGET)} after ${name(VALUE)} \u00b7 ${name(FACTOR)}?`;
      return hidden === TARGET
        ? `Where does ${name(VALUE)} \u00b7 ${name(FACTOR)} land? Choose the cell.`
        : `${name(TARGET)} is next, with ${name(FACTOR)}: which cell does it multiply? Choose it.`;
    }

    answer(given) {
      const { question } = this;
      if (!question) return this.ask(this.unit);
      const { kind, to, last, hidden, terms } = question;
      const say = (words, wrong = true) => {
        question.said = words;
        question.tries += wrong;
        this.draw();
      };
      if (kind === "place") {
        const { name, panel } = this.cells[given];
        const wanted = this.cells[last[hidden]];
        if (given === last[hidden]) return this.settle(name);
        if (panel !== wanted.panel) return say(`It is a cell of ${this.trace.panels[wanted.panel].title}.`, false);
        return say(`Not ${name}. See where ${this.cells[last[FACTOR]].name} stands in its kernel, and count from the window's first cell.`);
      }
      const written = String(given).trim().replace(",", ".").replace("\u2212", "-");
      const number = Number(written);
      if (written === "" || Number.isNaN(number)) return say("Type a number.", false);
      const value = this.values(to)[last[TARGET]];
      if (Math.abs(number - value) <= 0.005 * Math.max(1, Math.abs(value)))
        return this.settle(`${this.cells[last[TARGET]].name} = ${long(value)}`);
      if (terms.length > 1 && question.tries === 0)
        return say(`${long(number)} is not it. Multiply each marked input by the weight that lies on it, and add them up.`);
      const from = this.values(this.at)[last[TARGET]] ?? this.trace.starts[last[TARGET]] ?? 0;
      say(`${long(number)} is not it: ${[...(from ? [long(from)] : []), ...terms.map(product)].join(" + ")} = ?`);
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
      this.question = null;
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
        for (const [cell, number] of makes(step)) found[cell] = number;
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
      const window = new Set(step && steps.flatMap((other) => (other[WINDOW] === step[WINDOW] ? [...targets(other), ...reads(other)] : [])));
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
        text.textContent = value === undefined ? (next.has(n) ? "?" : "") : short(value, this.side > 40 ? 6 : 4);
        const { length } = text.textContent;
        text.style.fontSize = `${length > 5 ? 10 : length > (this.side > 40 ? 4 : 2) ? 11 : 13}px`;
        cell.group.querySelector(".landed").textContent = landed[n]?.size > 1 ? `\u00d7${landed[n].size}` : "";
      });
      this.marks();
      this.count();
      this.spell(step, values);
      if (this.asks) this.drawQuestion();
      if (!this.compact) this.follows(step);
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
      const row = (label, count, [of, formula]) => {
        const sign = ended ? (count === of ? " \u2713" : " \u2717") : "";
        return element("div", { class: "counter" },
          element("span", {}, label, " ", element("b", {}, counted(count)), ` of ${counted(of)}${sign}`),
          of ? element("progress", { max: of, value: count, "aria-label": label }) : element("i"),
          element("small", {}, of ? formula : ""));
      };
      const rows = [row("multiplies", done.length, [multiplies, passes.length === 1 ? passes[0][2] : "the sum of the passes"])];
      if (passes.length > 1 && !this.compact)
        rows.push(...passes.map(([name, ...of], p) => row(name, done.filter((step) => step[PASS] === p).length, of)));
      rows.push(row("on padding", done.filter((step) => step[PADDED]).length, padding));
      const shown = this.compact ? [] : Object.entries(formulas);
      for (const [name, formula] of shown.slice(0, "options" in this.host.dataset ? undefined : 2))
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
      const point = step[VALUE] < 0 && this.trace.panels[0].points?.find((other) => other[4] === this.cells[target].layer);
      if (point) words.unshift(`(the tap looks at row ${long(point[1] - 1)}, column ${long(point[2] - 1)}) `);
      this.parts.sum.replaceChildren(`${this.cells[target].name} = `, ...words, element("b", {}, product(step)), ` = ${long(values[target])}`);
    }

    follows(step) {
      const { slider, play, pane, variables, first, back, next, last } = this.parts;
      slider.value = this.at;
      slider.setAttribute("aria-valuetext", `${this.at} of ${this.order.length} multiplies`);
      play.textContent = this.timer ? "\u275a\u275a" : "\u25b6";
      play.setAttribute("aria-label", this.timer ? "pause (Space)" : "play (Space)");
      play.title = this.asks ? "first predict what comes" : play.getAttribute("aria-label");
      const off = (button, is) => button.setAttribute("aria-disabled", is); // which keeps the focus
      [first, back].forEach((button) => off(button, this.at === 0));
      off(next, this.at === this.order.length);
      off(last, this.at >= this.reach());
      off(play, this.asks);
      this.parts.summary.textContent = this.order.every((i, n) => i === n)
        ? "The loops that do this, in their order"
        : "The loops that do this; window by window is not their order, but the same multiplies";
      for (const line of this.root.querySelectorAll(".line.now")) line.classList.remove("now");
      if (!step) return variables.replaceChildren("\u00a0");
      const [source, number, names] = this.trace.lines[step[LINE]];
      const line = this.lines[source][number - 1];
      line.classList.add("now");
      const top = line.offsetTop - pane.offsetTop;
      if (top < pane.scrollTop + 20 || top > pane.scrollTop + pane.clientHeight - 40)
        pane.scrollTop = top - pane.clientHeight / 2;
      const earlier = this.step(this.at - 1);
      const before = earlier ? Object.fromEntries(this.trace.lines[earlier[LINE]][2].map((name, n) => [name, earlier[VARIABLES][n]])) : {};
      variables.replaceChildren(...names.flatMap((name, n) => [
        element("span", { class: before[name] === step[VARIABLES][n] ? null : "changed" }, `${name}\u00a0=\u00a0${step[VARIABLES][n]}`), " "]));
    }

    drawQuestion() {
      const { form, question: place } = this.parts;
      const { question } = this;
      const over = this.reached === this.order.length;
      const score = this.asked ? ` ${this.right} of ${this.asked} right at first try.` : "";
      const praise = this.praise || "";
      form.querySelector(".entry").style.display = question?.kind === "number" ? "" : "none";
      form.querySelector(".show").style.display = over ? "none" : "";
      form.querySelector(".show").textContent = question ? "show it" : "ask me";
      place.textContent = question
        ? (question.said || praise + this.worded()) + score
        : over ? `${praise}That is all.${score}` : "Say what comes before it is shown.";
    }

    // The step in words, or what a cell meets.
    say(cell = null) {
      const { steps } = this.trace;
      const step = this.step();
      const values = this.values(this.at);
      const named = (n) => this.cells[n]?.name || "a share";
      let words = "";
      if (cell !== null) {
        const value = values[cell] === undefined ? "not known yet" : long(values[cell]);
        const sum = steps.filter((other) => other[TARGET] === cell);
        const met = [...new Set(sum.length
          ? sum.map((other) => `${named(other[VALUE])} with ${named(other[FACTOR])}`)
          : [...this.meets(cell)].map(named).filter((name) => name !== "padding"))];
        const more = met.length > 12 ? `; and ${met.length - 12} more` : "";
        words = `${named(cell)} is ${value}; meets ${met.slice(0, 12).join("; ") || "nothing"}${more}.`;
      } else if (step && !this.asks) {
        const read = step[PADDED] ? "padding" : named(step[VALUE]);
        words = `${this.at} of ${this.order.length}: ${named(step[TARGET])} plus ${long(step[A])} times ${long(step[B])} is ${long(values[step[TARGET]])}; ${read} times ${named(step[FACTOR])}.`;
      }
      this.parts.live.textContent = words;
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
