// A cloud of designs: every point on a canvas under plotly's axes, and parallel coordinates that filter it.
(function () {
  "use strict";
  const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b",
    "#fde725"];
  const INK = "#1a202c", ORANGE = "#d55e00";
  const FAR = 20;  // axes that span more than this factor are logarithmic
  const REACH = 9;  // pixels within which the pointer finds a design
  const LINES = 1200;  // dominated designs drawn as lines; more only make a grey block

  // ---------------------------------------------------------------- data

  function bytes(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  }

  // A column as numbers: measured values, or codes of levels (their numbers where they have any).
  function column(spec) {
    const raw = bytes(spec.data).buffer;
    if (!spec.levels) return { ...spec, values: new Float32Array(raw) };
    const codes = spec.levels.length > 256 ? new Uint16Array(raw) : new Uint8Array(raw);
    const values = new Float32Array(codes.length);
    const numeric = spec.levels.every((level) => typeof level === "number");
    for (let i = 0; i < codes.length; i++) values[i] = numeric ? spec.levels[codes[i]] : codes[i];
    return { ...spec, codes, values, numeric };
  }

  function extent(values) {
    let low = Infinity, high = -Infinity;
    for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
    return [low, high];
  }

  function shown(spec, i) {
    if (spec.levels) return String(spec.levels[spec.codes[i]]);
    const v = spec.values[i], size = Math.abs(v);
    const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? v.toExponential(4) : String(Number(v.toPrecision(5)));
    return spec.unit ? `${text} ${spec.unit}` : text;
  }

  function colours() {
    const rgb = VIRIDIS.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
    return Array.from({ length: 64 }, (_, i) => {
      const place = (i / 63) * (rgb.length - 1), at = Math.min(Math.floor(place), rgb.length - 2), part = place - at;
      return `rgb(${rgb[at].map((low, k) => Math.round(low + part * (rgb[at + 1][k] - low))).join(",")})`;
    });
  }
  const SHADES = colours();

  function scaleOf(values, far = FAR) {
    const [low, high] = extent(values);
    const log = low > 0 && high / low > far;
    const to = log ? Math.log10 : (v) => v;
    return { low, high, log, to, from: to(low), span: to(high) - to(low) || 1 };
  }

  function fit(canvas) {
    const ratio = Math.max(2, window.devicePixelRatio || 1), box = canvas.getBoundingClientRect();
    canvas.width = Math.round(box.width * ratio);
    canvas.height = Math.round(box.height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    return [pen, box.width, box.height];
  }

  function element(tag, name, parent) {
    const made = document.createElement(tag);
    made.className = name;
    parent.append(made);
    return made;
  }

  // ---------------------------------------------------------------- one cloud

  function cloud(root) {
    const data = JSON.parse(root.parentElement.querySelector("script").textContent);
    const columns = data.columns.map(column), count = data.count;
    const numbers = new Int32Array(bytes(data.numbers).buffer);
    const front = new Uint8Array(count);
    for (const at of data.front) front[at] = 1;
    const keep = new Uint8Array(count).fill(1);
    const brushes = new Map();
    const pixels = { x: new Float32Array(count), y: new Float32Array(count), n: 0 };
    const choice = { x: data.x, y: data.y, colour: data.colour, dominated: true };
    const name = (at) => columns[at].label + (columns[at].unit ? ` (${columns[at].unit})` : "");

    const controls = element("div", "controls", root), stage = element("div", "stage", root);
    const canvas = element("canvas", "", stage), axes = element("div", "axes", stage), tip = element("div", "tip", stage);
    const status = element("p", "status", root), parallel = element("div", "parallel", root);
    const lines = element("canvas", "", parallel), picked = element("p", "status", root);
    status.setAttribute("role", "status");
    tip.hidden = true;

    // Scatter

    function layout() {
      const axis = (at) => {
        const scale = scaleOf(columns[at].values), pad = scale.span * 0.03;
        return {
          ...data.axis, title: { text: name(at) }, type: scale.log ? "log" : "linear",
          ...(scale.log ? { dtick: scale.span > 2.5 ? 1 : "D2", tickformat: "~g" } : {}),
          range: [scale.from - pad, scale.from + scale.span + pad],
        };
      };
      return { ...data.layout, xaxis: axis(choice.x), yaxis: axis(choice.y) };
    }

    function bar() {
      const scale = frontScale();
      const steps = VIRIDIS.map((hex, i) => [i / (VIRIDIS.length - 1), hex]);
      const colorbar = { title: { text: name(choice.colour), side: "right" }, thickness: 12, outlinewidth: 0, len: 0.9,
        tickfont: { color: INK } };
      if (scale.log) {
        const ticks = [0, 1, 2, 3, 4].map((i) => scale.from + (scale.span * i) / 4);
        colorbar.tickvals = ticks;
        colorbar.ticktext = ticks.map((t) => Number((10 ** t).toPrecision(3)).toString());
      }
      return [{ x: [null], y: [null], mode: "markers", showlegend: false, hoverinfo: "skip",
        marker: { color: [scale.from], cmin: scale.from, cmax: scale.from + scale.span, colorscale: steps,
          showscale: choice.colour !== null, colorbar } }];
    }

    function frontScale() { return scaleOf(data.front.map((at) => columns[choice.colour].values[at]), 4); }

    function shade(scale, at) {
      const place = (scale.to(columns[choice.colour].values[at]) - scale.from) / scale.span;
      return SHADES[Math.max(0, Math.min(63, Math.round(place * 63)))];
    }

    function place() {
      const full = axes._fullLayout;
      for (const [key, at] of [["x", choice.x], ["y", choice.y]]) {
        const axis = full[`${key}axis`], out = pixels[key], values = columns[at].values;
        const [r0, r1] = axis.range.map(Number), log = axis.type === "log";
        const factor = axis._length / (r1 - r0);
        for (let i = 0; i < count; i++) {
          const v = log ? Math.log10(values[i]) : values[i];
          out[i] = key === "x" ? axis._offset + (v - r0) * factor : axis._offset + axis._length - (v - r0) * factor;
        }
      }
    }

    function scatter() {
      if (!axes._fullLayout) return;
      place();
      const [pen] = fit(canvas), size = axes._fullLayout._size;
      pen.beginPath();
      pen.rect(size.l, size.t, size.w, size.h);
      pen.clip();
      pixels.n = 0;
      if (choice.dominated) {
        dots(pen, 0, "rgba(107,116,128,0.10)");
        dots(pen, 1, "rgba(107,116,128,0.45)");
      }
      stairs(pen);
      marks(pen);
      stage.dataset.marks = String(pixels.n);
      say();
    }

    function dots(pen, wanted, style) {
      pen.fillStyle = style;
      for (let i = 0; i < count; i++) {
        if (front[i] || keep[i] !== wanted) continue;
        pen.fillRect(pixels.x[i] - 1.2, pixels.y[i] - 1.2, 2.4, 2.4);
        pixels.n++;
      }
    }

    function stairs(pen) {
      if (!data.stairs || choice.x !== data.x || choice.y !== data.y) return;
      const order = [...data.front].sort((a, b) => pixels.x[a] - pixels.x[b]);
      pen.strokeStyle = "rgba(26,32,44,0.55)";
      pen.lineWidth = 1;
      pen.beginPath();
      order.forEach((at, i) => {
        if (i) pen.lineTo(pixels.x[at], pixels.y[order[i - 1]]);
        pen.lineTo(pixels.x[at], pixels.y[at]);
      });
      pen.stroke();
    }

    function marks(pen) {
      const scale = frontScale();
      for (const at of data.front) {
        pen.globalAlpha = keep[at] ? 1 : 0.12;
        pen.beginPath();
        pen.arc(pixels.x[at], pixels.y[at], 5, 0, 2 * Math.PI);
        pen.fillStyle = shade(scale, at);
        pen.fill();
        pen.strokeStyle = "#fff";
        pen.lineWidth = 1;
        pen.stroke();
        pixels.n++;
      }
      pen.globalAlpha = 1;
    }

    function say() {
      let kept = 0, best = 0;
      for (let i = 0; i < count; i++) { kept += keep[i]; best += keep[i] && front[i]; }
      const held = brushes.size ? `${kept.toLocaleString("en")} of ` : "";
      const fronts = brushes.size ? `${best} of ${data.front.length}` : `${data.front.length}`;
      status.textContent = `${held}${count.toLocaleString("en")} feasible designs, ${fronts} on the Pareto front`
        + (data.left_out ? `; ${data.left_out.toLocaleString("en")} more dominated designs are not in this file` : "");
    }

    function nearest(event) {
      const box = stage.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
      let best = -1, least = REACH * REACH;
      for (let i = 0; i < count; i++) {
        if (!keep[i] || !(front[i] || choice.dominated)) continue;
        const dx = pixels.x[i] - px, dy = pixels.y[i] - py, far = (dx * dx + dy * dy) * (front[i] ? 0.5 : 1);
        if (far < least) { least = far; best = i; }
      }
      return best;
    }

    function words(at) {
      const wide = Math.max(...columns.map((spec) => spec.label.length));
      const rows = columns.map((spec) => `${spec.label.padEnd(wide)}  ${shown(spec, at)}`);
      return [`design ${numbers[at]}${front[at] ? ", on the Pareto front" : ""}`, ...rows];
    }

    function hover(event) {
      const at = nearest(event);
      tip.hidden = at < 0;
      if (at < 0) return;
      tip.textContent = words(at).join("\n");
      const box = stage.getBoundingClientRect(), right = pixels.x[at] > box.width / 2;
      tip.style.left = right ? "auto" : `${pixels.x[at] + 12}px`;
      tip.style.right = right ? `${box.width - pixels.x[at] + 12}px` : "auto";
      tip.style.top = `${Math.max(0, Math.min(pixels.y[at] - 10, box.height - tip.offsetHeight))}px`;
    }

    function redraw() { return Plotly.react(axes, bar(), layout(), chipsmithFigures.CONFIG); }

    function select(text, key, options) {
      const label = element("label", "", controls), list = document.createElement("select");
      label.append(`${text} `, list);
      for (const at of options) list.append(new Option(name(at), at, false, at === choice[key]));
      list.addEventListener("change", () => { choice[key] = Number(list.value); redraw().then(drawLines); });
    }

    function build() {
      const numeric = columns.map((_, at) => at).filter((at) => !columns[at].levels || columns[at].numeric);
      select("across", "x", numeric);
      select("up", "y", numeric);
      select("colour of the front", "colour", numeric);
      const label = element("label", "", controls), box = document.createElement("input");
      box.type = "checkbox";
      box.checked = true;
      label.append(box, "dominated designs");
      box.addEventListener("change", () => { choice.dominated = box.checked; scatter(); drawLines(); });
      const clear = element("button", "", controls);
      clear.type = "button";
      clear.textContent = "Clear filters";
      clear.addEventListener("click", () => { brushes.clear(); choose(); });
    }

    // Parallel coordinates

    const shownAxes = data.parallel;
    const scales = shownAxes.map((at) => axisScale(columns[at]));

    function axisScale(spec) {
      if (!spec.levels) {
        const scale = scaleOf(spec.values);
        return { place: (i) => (scale.to(spec.values[i]) - scale.from) / scale.span,
          ticks: [0, 0.25, 0.5, 0.75, 1].map((t) => [t, scale.log ? 10 ** (scale.from + t * scale.span)
            : scale.from + t * scale.span]) };
      }
      const last = Math.max(1, spec.levels.length - 1), every = Math.ceil(spec.levels.length / 9);
      return { place: (i) => spec.codes[i] / last,
        ticks: spec.levels.map((level, i) => [i / last, level]).filter((_, i) => i % every === 0) };
    }

    const PAD = { left: 70, right: 70, top: 62, bottom: 16 };
    const acrossAt = (k, wide) => PAD.left + (k / Math.max(1, shownAxes.length - 1)) * (wide - PAD.left - PAD.right);
    const upAt = (t, high) => high - PAD.bottom - t * (high - PAD.top - PAD.bottom);

    function brief(value, label) {
      if (typeof value !== "number") return String(value);
      const size = Math.abs(value);
      if (label.endsWith("bytes") && size >= 1024 && value % 1024 === 0) {
        return value % 1048576 === 0 ? `${value / 1048576} Mi` : `${value / 1024} Ki`;
      }
      if (size >= 1e12) return `${Number((value / 1e12).toPrecision(3))} T`;
      if (size >= 1e9) return `${Number((value / 1e9).toPrecision(3))} G`;
      return size && size < 1e-2 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
    }

    function polyline(pen, at, wide, high) {
      pen.beginPath();
      scales.forEach((scale, k) => pen.lineTo(acrossAt(k, wide), upAt(scale.place(at), high)));
      pen.stroke();
    }

    function drawLines() {
      const [pen, wide, high] = fit(lines);
      const step = Math.max(1, Math.ceil((count - data.front.length) / LINES));
      let drawn = 0;
      pen.lineWidth = 1;
      if (choice.dominated) {
        pen.strokeStyle = "rgba(107,116,128,0.10)";
        for (let i = 0, k = 0; i < count; i++) {
          if (front[i] || k++ % step || !keep[i]) continue;
          polyline(pen, i, wide, high);
          drawn++;
        }
      }
      const scale = frontScale();
      pen.lineWidth = 1.6;
      for (const at of data.front) {
        pen.globalAlpha = keep[at] ? 0.85 : 0.05;
        pen.strokeStyle = shade(scale, at);
        polyline(pen, at, wide, high);
        drawn++;
      }
      pen.globalAlpha = 1;
      drawAxes(pen, wide, high);
      parallel.dataset.marks = String(drawn);
    }

    function drawAxes(pen, wide, high) {
      pen.textAlign = "center";
      shownAxes.forEach((at, k) => {
        const x = acrossAt(k, wide), spec = columns[at];
        pen.strokeStyle = INK;
        pen.lineWidth = 1.2;
        pen.beginPath();
        pen.moveTo(x, upAt(0, high));
        pen.lineTo(x, upAt(1, high));
        pen.stroke();
        pen.fillStyle = INK;
        pen.font = "600 12px system-ui, 'Liberation Sans', Arial, sans-serif";
        pen.fillText(spec.label, x, 16 + (k % 3) * 14, 150);
        scales[k].ticks.forEach(([t, value]) => tick(pen, x, upAt(t, high), brief(value, spec.label)));
        const range = brushes.get(k);
        if (range) {
          pen.fillStyle = "rgba(213,94,0,0.25)";
          pen.strokeStyle = ORANGE;
          const top = upAt(range[1], high), low = upAt(range[0], high);
          pen.fillRect(x - 7, top, 14, low - top);
          pen.strokeRect(x - 7, top, 14, low - top);
        }
      });
    }

    function tick(pen, x, y, text) {
      pen.font = "11px system-ui, 'Liberation Sans', Arial, sans-serif";
      pen.textAlign = "left";
      pen.lineWidth = 3;
      pen.strokeStyle = "rgba(255,255,255,0.85)";
      pen.strokeText(text, x + 5, y + 4);
      pen.fillText(text, x + 5, y + 4);
      pen.textAlign = "center";
    }

    function choose() {
      for (let i = 0; i < count; i++) {
        keep[i] = 1;
        for (const [k, [low, high]] of brushes) {
          const t = scales[k].place(i);
          if (t < low || t > high) { keep[i] = 0; break; }
        }
      }
      scatter();
      drawLines();
    }

    function brushing() {
      let grabbed = null;
      const at = (event) => {
        const box = lines.getBoundingClientRect(), wide = box.width;
        const gap = (wide - PAD.left - PAD.right) / Math.max(1, shownAxes.length - 1);
        const k = Math.max(0, Math.min(shownAxes.length - 1, Math.round((event.clientX - box.left - PAD.left) / gap)));
        const t = (box.height - PAD.bottom - (event.clientY - box.top)) / (box.height - PAD.top - PAD.bottom);
        return [k, Math.max(0, Math.min(1, t))];
      };
      lines.addEventListener("pointerdown", (event) => {
        grabbed = at(event);
        lines.setPointerCapture(event.pointerId);
      });
      lines.addEventListener("pointermove", (event) => {
        if (!grabbed) return;
        const t = at(event)[1];
        brushes.set(grabbed[0], [Math.min(t, grabbed[1]) - 0.015, Math.max(t, grabbed[1]) + 0.015]);
        drawLines();
      });
      lines.addEventListener("pointerup", (event) => {
        if (!grabbed) return;
        if (Math.abs(at(event)[1] - grabbed[1]) < 0.02) brushes.delete(grabbed[0]);
        grabbed = null;
        choose();
      });
    }

    function start() {
      build();
      brushing();
      picked.textContent = "Drag along an axis to keep the designs in a range; click the axis to let go.";
      stage.addEventListener("mousemove", hover);
      stage.addEventListener("mouseleave", () => { tip.hidden = true; });
      window.addEventListener("resize", drawLines);
      return Plotly.newPlot(axes, bar(), layout(), chipsmithFigures.CONFIG).then(() => {
        axes.on("plotly_afterplot", scatter);
        axes.on("plotly_relayouting", scatter);
        scatter();
        drawLines();
      });
    }

    return start;
  }

  for (const root of document.querySelectorAll(".cloud")) {
    chipsmithFigures.whenNear(root, () => cloud(root)());
  }
})();
