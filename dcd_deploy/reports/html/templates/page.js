"use strict";
// Draws the figures of the page's JSON, and again when the colours change. Nothing is fetched, nothing is evaluated.
const figures = JSON.parse(document.getElementById("figures").textContent);
const options = { displayModeBar: false, responsive: true, showTips: false };

/** Replace the colours' names ("@static") by what page.css says they are; other texts may begin with an @ of their own. */
function painted(value, key, style) {
  if (Array.isArray(value)) return value.map((item) => painted(item, key, style));
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, painted(item, name, style)]));
  const isColour = typeof value === "string" && value.startsWith("@") && /color$/.test(key);
  return isColour ? style.getPropertyValue("--" + value.slice(1)).trim() : value;
}

function draw() {
  const style = getComputedStyle(document.documentElement);
  figures.forEach((figure, i) => {
    const { data, layout } = painted(figure, "", style);
    Plotly.react(document.getElementById("plot-" + i), data, layout, options);
  });
}

draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
