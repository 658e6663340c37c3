// Figures: plotly draws each one when it comes near the window, and all of them before printing.
const chipsmithFigures = (function () {
  "use strict";
  const CONFIG = {
    responsive: true, displaylogo: false, showSendToCloud: false, displayModeBar: "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };
  const waiting = new Map();

  function drawNow(block) {
    const draw = waiting.get(block);
    if (draw === undefined) return;
    waiting.delete(block);
    Promise.resolve(draw()).then(() => { block.dataset.drawn = "yes"; });
  }

  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        near.unobserve(entry.target);
        drawNow(entry.target);
      }
    }
  }, { rootMargin: "300px" });

  function whenNear(block, draw) {
    waiting.set(block, draw);
    near.observe(block);
  }

  function drawAll() { [...waiting.keys()].forEach(drawNow); }

  for (const block of document.querySelectorAll(".plot")) {
    const data = block.closest("section").querySelector("script").textContent;
    whenNear(block, () => {
      const figure = JSON.parse(data);
      return Plotly.newPlot(block, figure.data, figure.layout, CONFIG);
    });
  }
  window.addEventListener("beforeprint", drawAll);
  return { whenNear, drawAll, CONFIG };
})();
