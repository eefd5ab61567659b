const dark = window.matchMedia("(prefers-color-scheme: dark)");
const theme = () => TEMPLATES[dark.matches ? "dark" : "light"];
for (const script of document.querySelectorAll("script[data-figure]")) {
  const figure = JSON.parse(script.textContent);
  const place = document.getElementById(script.dataset.figure);
  script.remove();
  figure.layout.template = theme();
  figure.config = { responsive: true, displaylogo: false };
  Plotly.newPlot(place, figure);
  dark.addEventListener("change", () => Plotly.relayout(place, { template: theme() }));
}
