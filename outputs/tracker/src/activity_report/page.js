"use strict";
const body = document.querySelector(".devices tbody");
const rows = [...body.rows];
const tools = document.querySelector(".tools");
const search = tools.querySelector("input");
const shown = tools.querySelector("output");
const filters = [...tools.querySelectorAll("button")];
const heads = [...document.querySelectorAll(".devices th[data-k]")];
const sorting = tools.querySelector("select");

// Search text and sort keys of each row, because reading them from the page for every key press would take too long. They
// are collected while the browser is idle, or when they are needed.
const index = new Map();
let next = 0;
function indexRow(row) {
  const [device, addresses, first, last, , days] = row.cells;
  const ip = addresses.querySelector("bdi")?.textContent ?? "";
  const text = items => [...items].map(item => item.textContent).join(" ").toLowerCase();
  const visible = device.textContent.toLowerCase() + " " + text(addresses.querySelectorAll("td > ul li"));
  index.set(row, {
    visible,
    text: visible + " " + text(addresses.querySelectorAll("details li")),
    fold: addresses.querySelector("details"),
    name: device.firstElementChild.textContent.toLowerCase(),
    address: ip.includes(":") ? "~" + ip : ip.split(".").map(part => part.padStart(3, "0")).join("."),
    first: first.firstElementChild.dateTime,
    last: last.firstElementChild.dateTime,
    days: parseInt(days.textContent, 10) || 0,
  });
}
const indexAll = () => { while (next < rows.length) indexRow(rows[next++]); };
function indexSome(idle) {
  while (next < rows.length && idle.timeRemaining() > 2) indexRow(rows[next++]);
  if (next < rows.length) requestIdleCallback(indexSome);
}
if (window.requestIdleCallback) requestIdleCallback(indexSome);

// Earlier addresses are unfolded while the search finds something in them.
const opened = new Set();
function unfold(row, words) {
  const { fold, visible } = index.get(row);
  if (!fold || fold.open || words.every(word => visible.includes(word))) return;
  fold.open = true;
  opened.add(fold);
}

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = filters.find(button => button.getAttribute("aria-pressed") === "true").value;
  let count = 0;
  for (const fold of opened) fold.open = false;
  opened.clear();
  if (words.length) indexAll();
  for (const row of rows) {
    const show = (!wanted || row.classList.contains(wanted)) && words.every(word => index.get(row).text.includes(word));
    if (row.hidden === show) row.hidden = !show;
    if (show && words.length) unfold(row, words);
    count += show;
  }
  shown.value = `${count} of ${rows.length} devices`;
}

const collator = new Intl.Collator(undefined, { numeric: true });
function sort(key, down) {
  const compare = key === "name" ? collator.compare : (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const sign = down ? -1 : 1;
  indexAll();
  const sorted = [...rows].sort((a, b) => sign * compare(index.get(a)[key], index.get(b)[key]));
  body.append(...sorted);
  for (const head of heads) {
    if (head.dataset.k === key) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  sorting.value = key;
}

// Times and numbers of days are first sorted downwards, names and addresses upwards.
const downwards = key => !["name", "address"].includes(key);
for (const head of heads) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  const key = head.dataset.k;
  button.addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    sort(key, now ? now === "ascending" : downwards(key));
  });
}
sorting.addEventListener("change", () => sort(sorting.value, downwards(sorting.value)));

let due = 0;
search.addEventListener("input", () => {
  cancelAnimationFrame(due);
  due = requestAnimationFrame(filter);
});
for (const button of filters) {
  button.addEventListener("click", () => {
    for (const other of filters) other.setAttribute("aria-pressed", other === button);
    filter();
  });
}
tools.hidden = false;
filter();
