// What a mark of a figure or a symbol of a formula stands for, beside it: on hover, on touch, and marks with Tab and arrow keys.
document.addEventListener("DOMContentLoaded", () => {
  const note = document.createElement("div");
  note.className = "frl-note";
  note.setAttribute("aria-hidden", "true"); // the mark itself carries the words for a screen reader
  document.body.append(note);
  const markOf = event => event.target.closest?.(".frl-mark, .frl-symbol");

  function show(mark) {
    note.textContent = mark.dataset.means ?? mark.getAttribute("aria-label");
    note.style.display = "block";
    const at = mark.getBoundingClientRect(), box = note.getBoundingClientRect();
    const left = Math.min(Math.max(at.left + at.width / 2 - box.width / 2, 4), innerWidth - box.width - 4);
    const above = at.top - box.height - 6;
    note.style.left = `${left}px`;
    note.style.top = `${above > 0 ? above : at.bottom + 6}px`;
  }
  function hide() {
    note.style.display = "none";
  }
  for (const kind of ["mouseover", "focusin", "click"])
    document.addEventListener(kind, event => { const mark = markOf(event); if (mark) show(mark); });
  for (const kind of ["mouseout", "focusout"])
    document.addEventListener(kind, event => { if (markOf(event)) hide(); });
  document.addEventListener("scroll", hide, { passive: true });

  document.addEventListener("keydown", event => {
    if (event.key === "Escape") return hide();
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key], mark = markOf(event);
    if (!step || !mark) return;
    event.preventDefault();
    const marks = [...mark.closest(".frl-figure").querySelectorAll(".frl-mark")];
    const next = marks[(marks.indexOf(mark) + step + marks.length) % marks.length];
    mark.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
});
