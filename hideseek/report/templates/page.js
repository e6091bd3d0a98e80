"use strict";
// Without this script the page shows everything; with it tables sort, filters filter, figures grow.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);

  const words = new Intl.Collator("en", { numeric: true });

  function compare(cell, other) {
    if (cell.dataset.value !== undefined && other.dataset.value !== undefined) {
      const [a, b] = [Number(cell.dataset.value), Number(other.dataset.value)];
      return Number(a > b) - Number(a < b); // a difference of two infinities would be no number
    }
    return words.compare(cell.textContent, other.textContent);
  }

  function sort(table, column, direction) {
    const missing = (row) => row.cells[column].classList.contains("none");
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => missing(a) - missing(b) ||
      (missing(a) ? 0 : direction * compare(a.cells[column], b.cells[column])));
    table.tBodies[0].append(...rows);
  }

  for (const table of all(".sheet table")) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const up = heading.getAttribute("aria-sort") !== "ascending";
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", up ? "ascending" : "descending");
        sort(table, column, up ? 1 : -1);
      });
    });
  }

  const form = one("#filters");
  const selects = all("select", form);
  const filtered = all("[data-model], [data-representation]");
  const kinds = [["row", "rows", "tr"], ["figure", "figures", ".plate"], ["card", "cards", ".card"]];

  function matches(item) {
    return selects.every((select) => {
      const own = item.dataset[select.name];
      return select.value === "" || own === undefined || own === select.value;
    });
  }

  function counted([single, several, selector]) {
    const items = filtered.filter((item) => item.matches(selector));
    if (items.length === 0) return [];
    const left = items.filter((item) => !item.hidden).length;
    return [`${left} of ${items.length} ${items.length === 1 ? single : several}`];
  }

  function filter() {
    filtered.forEach((item) => { item.hidden = !matches(item); });
    for (const sheet of all(".sheet")) {
      const rows = all("tbody tr", sheet);
      sheet.toggleAttribute("data-empty", rows.length > 0 && rows.every((row) => row.hidden));
    }
    const active = selects.filter((select) => select.value !== "");
    form.toggleAttribute("data-active", active.length > 0);
    const only = active.map((select) => `${select.name} ${select.value}: `).join("");
    one("#shown").textContent = `${only}${kinds.flatMap(counted).join(", ")} shown`;
  }

  selects.forEach((select) => select.addEventListener("change", filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  if (selects.length > 0) filter();

  const theme = one("#theme");
  const isDark = () => (document.documentElement.dataset.theme ??
    (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const tell = () => theme.setAttribute("aria-pressed", String(isDark()));
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  tell();
  form.hidden = false;

  const dialog = one("#enlarged");
  const large = document.createElement("img");
  large.alt = "";
  let images = [];
  let at = 0;
  let opener = null;

  function show(place) {
    at = (place + images.length) % images.length;
    large.src = images[at].src;
    large.alt = images[at].alt;
    // A tall picture fills the width and is scrolled; whole on the screen it would be too small.
    large.classList.toggle("tall", images[at].naturalHeight > 1.3 * images[at].naturalWidth);
    one("#place").textContent = `${at + 1} of ${images.length}`;
    const legend = one("figcaption", images[at].closest("figure")).cloneNode(true);
    one(".files", legend).remove();
    one("#legend").textContent = legend.textContent.trim();
  }

  for (const image of all(".plate img")) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-haspopup", "dialog");
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => {
      images = all(".plate:not([hidden]) img");
      opener = button;
      if (!large.isConnected) one(".stage", dialog).append(large);
      show(images.indexOf(image));
      dialog.showModal();
    });
  }

  all(".step", dialog).forEach((button) => button.addEventListener("click", () => {
    show(at + Number(button.dataset.step));
  }));
  one(".close", dialog).addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) show(at + step);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  // Safari gives no focus to a button that is clicked, so the browser would not return there.
  dialog.addEventListener("close", () => opener?.focus());
})();
