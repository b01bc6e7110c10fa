"use strict";
// Everything can be read without this. It opens the numbers of a sign and a figure in full size over the page, and marks the
// heading in the contents that one is reading.
(() => {
  document.documentElement.classList.add("js");
  const panel = document.getElementById("panel"), enlarged = document.getElementById("enlarged");
  const plain = event => !(event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  for (const dialog of [panel, enlarged]) {
    dialog.querySelector("button").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
  }

  const open = sign => {
    const numbers = document.getElementById(sign.hash.slice(1)), claim = numbers.closest("section");
    const parts = [claim.querySelector(".words"), numbers].map(part => part.cloneNode(true));
    parts[1].removeAttribute("id");
    panel.querySelector("h2").textContent = sign.getAttribute("aria-label");
    panel.querySelector(".body").replaceChildren(...parts);
    panel.showModal();
    panel.scrollTop = 0;
  };
  const matrix = document.querySelector(".matrix");
  if (matrix) {
    matrix.addEventListener("click", event => {
      const sign = event.target.closest("a.sign");
      if (sign && plain(event)) { event.preventDefault(); open(sign); }
    });
    // Arrow keys go from sign to sign.
    const rows = [...matrix.querySelectorAll("tr")].filter(row => row.querySelector("a.sign"));
    const steps = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
    matrix.addEventListener("keydown", event => {
      const sign = event.target.closest("a.sign"), step = steps[event.key];
      if (!sign || !step) return;
      const cell = sign.closest("td");
      let row = rows.indexOf(cell.parentNode), column = cell.cellIndex, next = null;
      do {
        row += step[0]; column += step[1];
        next = rows[row] && rows[row].cells[column];
      } while (next && !next.querySelector("a.sign"));
      if (next) { event.preventDefault(); next.querySelector("a.sign").focus(); }
    });
  }

  const enlarge = figure => {
    const image = figure.querySelector("img"), copy = image.cloneNode();
    copy.removeAttribute("id");
    enlarged.querySelector("h2").textContent = figure.dataset.title;
    enlarged.querySelector(".body").replaceChildren(copy);
    enlarged.showModal();
    enlarged.scrollTop = enlarged.scrollLeft = 0;
  };
  for (const figure of document.querySelectorAll("figure")) {
    const button = figure.querySelector("button");
    button.hidden = false;
    for (const part of [button, figure.querySelector("img")]) part.addEventListener("click", () => enlarge(figure));
  }
  enlarged.querySelector(".body").addEventListener("click", () => enlarged.close());

  const contents = document.querySelector(".contents"), list = contents.querySelector("details"), here = contents.querySelector(".here");
  const links = [...contents.querySelectorAll("a")], heads = links.map(link => document.getElementById(link.hash.slice(1)));
  const narrow = window.matchMedia("(max-width: 60rem)");
  const fit = () => { list.open = !narrow.matches; };
  fit();
  narrow.addEventListener("change", fit);
  for (const link of links) link.addEventListener("click", fit);
  let waiting = false;
  const follow = () => {
    waiting = false;
    const bottom = window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 2;
    const passed = heads.filter(head => head.getBoundingClientRect().top <= window.innerHeight / 4).length;
    const now = bottom ? links.length - 1 : Math.max(passed - 1, 0);
    links.forEach((link, i) => i === now ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current"));
    here.textContent = links[now].textContent;
  };
  const later = () => { if (!waiting) { waiting = true; requestAnimationFrame(follow); } };
  window.addEventListener("scroll", later, {passive: true});
  window.addEventListener("resize", later);
  follow();
})();
