// What a symbol of a formula stands for, beside it: when it is pointed at or touched. The note itself is frl.js's.
document.addEventListener("DOMContentLoaded", async () => {
  const METHOD = {
    "1D453": "f: the classifier",
    "52": "R: error, as a share: nat on clean images, rob under attack, bndy only under attack",
    "1D716": "ε: radius of the perturbation, a fraction of the pixel range",
    "1D70F": "τ: how far a class’s error may lie above the mean, a fraction",
    "1D719": "φ: multiplier of a class’s constraint; it grows while the class is too far above the mean",
    "1D6FC": "α: step size of the multipliers, or of the radius",
    "1D464": "w: weight of a class’s loss",
    "1D436": "C: number of classes",
    "1D43F": "L: what training makes small: the errors and the multipliers times what is too much",
    "1D456": "i: a class",
    "1D457": "j: a class",
  };
  const THEORY = {
    "1D43E": "K: ratio of the standard deviations, class +1 to class −1, above 1",
    "1D702": "η: mean of every robust coordinate, +η for class +1",
    "1D6FE": "γ: mean of every non-robust coordinate",
    "1D70E": "σ: standard deviation of class −1",
    "1D451": "d: number of (robust) coordinates",
    "1D45A": "m: number of non-robust coordinates",
    "1D716": "ε: l∞ radius of the perturbation, below η",
    "1D703": "θ: the mean of class +1",
    "1D464": "w: weights of the linear classifier",
    "1D44F": "b: intercept of the linear classifier; a larger one answers +1 more often",
    "1D45E": "q(K) = 2 log K / (K² − 1), positive",
    "1D454": "g(t): the best intercept when every coordinate’s mean is t",
    "1D467": "z: where the normal distribution is cut: the error is Φ(z)",
    "1D463": "v: how many times as likely class +1 is",
    "1D456": "i: a coordinate",
    "1D457": "j: a coordinate",
  };
  const page = location.pathname.split("/").pop(); // elsewhere the letters of both stand side by side
  const meanings = /^(03|A2|A3)_/.test(page) ? { ...METHOD, ...THEORY } : /^(0\d_|glossary)/.test(page) ? METHOD : null;
  if (!meanings || !window.MathJax?.startup) return; // the latter: a page without formulas
  await MathJax.startup.promise;
  for (const glyph of document.querySelectorAll("mjx-container svg [data-mml-node=mi]")) {
    const code = [...glyph.querySelectorAll("[data-c]")].map(part => part.dataset.c).join("-");
    if (!meanings[code]) continue;
    glyph.classList.add("frl-symbol");
    glyph.dataset.means = meanings[code];
  }
});
