"""The figure of Section 3 that a reader can explore in the static page: no network, no kernel, no library.

The numbers are frames computed by `frlcore.theory`; the script in the page only picks a frame and draws it. Without
scripts, and in print, the drawing of the first frame stands.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from IPython.display import HTML

from frlcore.theory.mixture import GaussianMixture, require

EASY, HARD, NATURAL, ROBUST, GREY = "#E69F00", "#0072B2", "#009E73", "#D55E00", "#7F7F7F"  # colours of the chapter
WIDTH, HEIGHT, BASE = 640, 300, 262  # drawing units; BASE is the axis
ALT = (
    "Densities of both classes along the normal of the boundary, with the natural and the robust threshold; "
    "the errors are in the table below."
)

STYLE = """
.frl-explorer{max-width:44rem;margin:0 auto;font-size:1rem}
.frl-explorer label{display:flex;flex-wrap:wrap;align-items:center;gap:.25rem .75rem;margin:.35rem 0}
.frl-explorer label span{flex:1 1 13rem}
.frl-explorer input{flex:2 1 13rem;min-height:1.75rem;accent-color:HARD}
.frl-explorer svg{display:block;width:100%;height:auto}
.frl-explorer svg text{font-size:20px;fill:currentColor}
.frl-explorer .easy{fill:EASY;stroke:EASY}.frl-explorer .hard{fill:HARD;stroke:HARD}
.frl-explorer .curve{fill:none;stroke-width:2.5}.frl-explorer .area{fill-opacity:.45;stroke:none}
.frl-explorer .natural{stroke:NATURAL;stroke-width:3;stroke-dasharray:8 5}
.frl-explorer .robust{stroke:ROBUST;stroke-width:3}.frl-explorer .axis{stroke:currentColor}
.frl-explorer table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;margin-top:.25rem}
.frl-explorer th,.frl-explorer td{padding:.2rem .4rem;text-align:right;font-weight:normal}
.frl-explorer th:first-child{text-align:left;white-space:nowrap}.frl-explorer tbody tr{border-top:1px solid GREY}
@media print{.frl-explorer input{display:none}}
"""
for _name, _colour in {"EASY": EASY, "HARD": HARD, "NATURAL": NATURAL, "ROBUST": ROBUST, "GREY": GREY}.items():
    STYLE = STYLE.replace(_name, _colour)

SCRIPT = """
(function () {
  const root = document.getElementById("frl-explorer");
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const part = (name) => root.querySelector("[data-part='" + name + "']");
  const x = (u) => WIDTH * (u - data.low) / (data.high - data.low);

  function curve(mean, sd, from, to) {
    const points = [];
    for (let i = 0; i <= 160; i++) {
      const u = from + (to - from) * i / 160;
      const height = Math.exp(-0.5 * Math.pow((u - mean) / sd, 2)) / sd * data.sd;
      points.push(x(u).toFixed(1) + " " + (BASE - 225 * height).toFixed(1));
    }
    return points;
  }
  function line(mean, sd) { return "M" + curve(mean, sd, data.low, data.high).join("L"); }
  function area(mean, sd, from, to) {
    return "M" + x(from) + " BASE L" + curve(mean, sd, from, to).join("L") + "L" + x(to) + " BASEZ";
  }
  function move(name, u, side) {
    const at = x(u).toFixed(1), mark = part(name), label = part(name + "-label");
    mark.setAttribute("x1", at); mark.setAttribute("x2", at);
    label.setAttribute("x", (x(u) + side * 6).toFixed(1));
  }

  function draw() {
    const i = Number(part("K").value), j = Number(part("eps").value);
    const natural = data.frames[i][0], robust = data.frames[i][j], K = data.K[i], wide = K * data.sd;
    part("K").setAttribute("aria-valuetext", K.toFixed(1));
    part("eps").setAttribute("aria-valuetext", data.eps[j].toFixed(2));
    part("K-value").textContent = K.toFixed(1);
    part("eps-value").textContent = data.eps[j].toFixed(2);
    part("hard").setAttribute("d", line(data.eta, wide));
    part("hard-area").setAttribute("d", area(data.eta, wide, data.low, robust[0]));
    part("easy-area").setAttribute("d", area(-data.eta, data.sd, robust[0], data.high));
    move("natural", natural[0], -1);
    move("robust", robust[0], 1);
    const shown = [natural[1], robust[1], robust[3], natural[2], robust[2], robust[4]];
    shown.forEach((value, k) => { part("error" + k).textContent = value.toFixed(1) + " %"; });
  }
  part("K").addEventListener("input", draw);
  part("eps").addEventListener("input", draw);
  draw();
})();
"""


def frames(mixture: GaussianMixture, ratios: np.ndarray, radii: np.ndarray) -> list[list[list[float]]]:
    """For every K (rows) and eps (columns): threshold on <1, x> / d, then the errors in percent.

    The errors are those of f_rob: standard of -1, standard of +1, robust of -1, robust of +1.
    """
    wide = GaussianMixture(mixture.d, mixture.eta, mixture.sigma, np.asarray(ratios)[:, None])
    b = wide.b_rob(radii)
    errors = [wide.robust_error(b, radius, y) for radius in (0.0, radii) for y in (-1, 1)]
    stacked = np.stack([-b / wide.d, *(100 * error for error in errors)], axis=-1)
    return np.round(stacked, 4).tolist()


def _range(part: str, text: str, value: str, last: int, start: int) -> str:
    return (
        f'<label><span>{text} = <output data-part="{part}-value">{value}</output></span>'
        f'<input type="range" data-part="{part}" max="{last}" value="{start}" autocomplete="off"></label>'
    )


def explorer(mixture: GaussianMixture, *, ratio: float, eps: float) -> HTML:
    """Sliders over eps and K that move the densities, the two thresholds and the errors; starts near `ratio`, `eps`.

    `mixture` gives d, eta and sigma (numbers, not arrays). Raises UserError when ratio is outside [1, 4] or eps
    outside [0, eta).
    """
    d, eta, sigma = float(mixture.d), float(mixture.eta), float(mixture.sigma)
    require(1 <= ratio <= 4, "ratio must lie in [1, 4]")
    mixture.gap(eps)
    ratios, radii = np.round(np.linspace(1, 4, 31), 1), np.linspace(0, 0.95 * eta, 20)
    i, j = int(np.abs(ratios - ratio).argmin()), int(np.abs(radii - eps).argmin())
    rows, sd = frames(mixture, ratios, radii), sigma / d**0.5
    low, high = -eta - 4.5 * sd, eta + 9 * sd
    data = {"eta": eta, "sd": sd, "low": low, "high": high, "K": ratios.tolist(), "eps": radii.tolist(), "frames": rows}
    natural, robust, wide = rows[i][0], rows[i][j], ratios[i] * sd

    def x(u: Any) -> Any:  # a number, or an array of them
        return WIDTH * (u - low) / (high - low)

    def curve(mean: float, spread: float, start: float, stop: float) -> str:
        u = np.linspace(start, stop, 161)
        height = BASE - 225 * np.exp(-0.5 * ((u - mean) / spread) ** 2) * sd / spread
        return "L".join(f"{a:.1f} {c:.1f}" for a, c in zip(x(u), height, strict=True))

    errors = [natural[1], robust[1], robust[3], natural[2], robust[2], robust[4]]
    cells = [f'<td data-part="error{k}">{value:.1f} %</td>' for k, value in enumerate(errors)]
    lines = "".join(
        f'<line data-part="{key}" class="{key}" x1="{x(u):.1f}" x2="{x(u):.1f}" y1="30" y2="{BASE}"/>'
        f'<text data-part="{key}-label" x="{x(u) + side * 6:.1f}" y="24" text-anchor="{anchor}">{key}</text>'
        for key, u, side, anchor in (("natural", natural[0], -1, "end"), ("robust", robust[0], 1, "start"))
    )
    ticks = "".join(
        f'<text x="{x(u):.1f}" y="{BASE + 24}" text-anchor="middle">{text}</text>'
        for u, text in ((-eta, "class −1"), (eta, "class +1"))
    )
    edge, end = f"{x(robust[0]):.1f} {BASE}", f"{WIDTH} {BASE}"
    heads = "".join(
        f"<th>{kind} error,<br>{training} training</th>"
        for kind, training in (("standard", "natural"), ("standard", "robust"), ("robust", "robust"))
    )
    script = SCRIPT.replace("WIDTH", str(WIDTH)).replace("BASE", str(BASE))
    return HTML(
        f'<div class="frl-explorer" id="frl-explorer"><style>{STYLE}</style>'
        + _range("eps", "Radius ε", f"{radii[j]:.2f}", len(radii) - 1, j)
        + _range("K", "Ratio of the spreads K", f"{ratios[i]:.1f}", len(ratios) - 1, i)
        + f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{ALT}">'
        f'<path class="easy area" data-part="easy-area" d="M{edge}L{curve(-eta, sd, robust[0], high)}L{end}Z"/>'
        f'<path class="hard area" data-part="hard-area" d="M0 {BASE}L{curve(eta, wide, low, robust[0])}L{edge}Z"/>'
        f'<path class="easy curve" d="M{curve(-eta, sd, low, high)}"/>'
        f'<path class="hard curve" data-part="hard" d="M{curve(eta, wide, low, high)}"/>'
        f'<line class="axis" x1="0" x2="{WIDTH}" y1="{BASE}" y2="{BASE}"/>{lines}{ticks}</svg>'
        f"<table><thead><tr><th></th>{heads}</tr></thead><tbody><tr><th>class −1</th>{''.join(cells[:3])}</tr>"
        f"<tr><th>class +1</th>{''.join(cells[3:])}</tr></tbody></table>"
        "<noscript><p>The sliders need JavaScript; the drawing shows one setting.</p></noscript>"
        f'<script type="application/json">{json.dumps(data, separators=(",", ":"))}</script>'
        f"<script>{script}</script></div>"
    )
