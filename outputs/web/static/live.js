// What is live on a page that works without it: the banner on each page, and on /now a row for each device that is seen.
(() => {
  "use strict";
  const list = document.querySelector("[data-live]");
  const table = list && list.querySelector("table");
  if (!table || !window.EventSource) return;
  const banner = document.getElementById("banner");
  const [status, count] = ["live", "live-count"].map((id) => document.getElementById(id));
  const filter = list.dataset;
  const LIVE = ["here", "new", "unknown", "all"].includes(filter.state)
    ? "Live: devices are shown as they are seen, before the history has them."
    : "This list is not live: load the page again to see what is new in it.";
  const NOT_LIVE = "Not live: no collector runs, and no events arrive. The list has what was seen before.";
  const MOST = 200;
  const rows = new Map();
  // In the zone of the page; in UTC if this browser does not know it.
  const wanted = document.querySelector("[data-zone]")?.dataset.zone || undefined;
  const isKnown = (zone) => {
    try {
      return Boolean(new Intl.DateTimeFormat("en-GB", { timeZone: zone }));
    } catch {
      return false;
    }
  };
  const [zone, zoneLabel] = isKnown(wanted) ? [wanted, ""] : ["UTC", " UTC"];
  const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", timeZone: zone });
  const day = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeZone: zone });
  const offset = new Intl.DateTimeFormat("en-GB", { timeZone: zone, timeZoneName: "longOffset" });
  // The time of a fault is that of the server, with its offset: 2026-11-20 14:00:00 +00:00.
  const ownTime = (text) => {
    const time = new Date(text.replace(" ", "T").replace(" ", ""));
    if (Number.isNaN(time.getTime())) return text;
    const own = offset.formatToParts(time).find((part) => part.type === "timeZoneName").value.slice(3);
    return `${day.format(time)} ${clock.format(time)} ${own || "+00:00"}`;
  };
  let source, seen = 0, lost = 0, failed = 0, isLive = filter.captured === "true";

  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  // For a screen reader, only what changes the state; the number is for those who look.
  const say = (state) => {
    if (status.textContent !== state) status.textContent = state;
    const missed = lost ? `, and ${lost} not shown: too many at once, or while there was no connection` : "";
    const sightings = seen === 1 ? "1 sighting" : `${seen} sightings`;
    count.textContent = `${sightings} since this page was opened${missed}.`;
    status.parentNode.hidden = false;
  };

  const key = (event) => event.mac + " " + (filter.network ? event.network : "");
  const isPrivate = (mac) => (parseInt(mac.slice(0, 2), 16) & 2) !== 0;
  const admits = (event) =>
    event.mac && event.kind !== "config_change" && !/^0*$/.test(event.mac.replaceAll(":", "")) &&
    (!filter.network || filter.network === event.network) &&
    (!filter.maker || (event.maker || "").toLowerCase().includes(filter.maker.toLowerCase())) &&
    (!filter.private || (filter.private === "true") === isPrivate(event.mac));

  const networkLink = (event) =>
    element("a", event.network_label, { href: "/network?" + event.network });

  // The latest address first, and three at most. Of those that are not shown, some may be seen now: their number is not known then.
  const addAddress = (cell, ip) => {
    const known = cell.textContent.split(" ").filter((word) => /[.:]/.test(word));
    if (!ip || /^(0\.0\.0\.0|::)$/.test(ip) || known.includes(ip)) return;
    const hasMore = cell.textContent.endsWith("more") || known.length > 2;
    const link = (one) => [element("a", one, { href: "/ip/" + encodeURIComponent(one) }), " "];
    cell.replaceChildren(...[ip, ...known].slice(0, 3).flatMap(link), hasMore ? "and more" : "");
  };

  // One row a device: what is known is changed, what is new comes first.
  const show = (event) => {
    if (!admits(event)) return;
    const body = table.tBodies[0];
    let row = rows.get(key(event));
    const isNew = !row;
    if (isNew) {
      const fits = ["here", "all"].includes(filter.state) || (filter.state === "unknown" && !event.name) ||
        (filter.state === "new" && event.new);
      if (!fits || filter.page !== "1") return;
      const link = "/mac/" + encodeURIComponent(event.mac);
      const name = element("th", "", { scope: "row" });
      name.append(element("a", event.name || "unknown", { href: link }));
      const mac = element("td");
      mac.append(element("a", event.mac, { href: link, class: "mac" }));
      const maker = element("td", event.maker || (isPrivate(event.mac) ? "private MAC" : ""));
      const labelled = (label, text) => element("td", text, { "data-label": label });
      const network = labelled("Network");
      network.append(networkLink(event));
      row = element("tr");
      row.append(name, mac, maker, labelled("Addresses"), network, labelled("First seen", "not in the history yet"), labelled("Last seen"));
      rows.set(key(event), row);
      list.hidden = false;
      document.getElementById("none")?.remove();
    }
    const [name, addresses, network, last] = [0, 3, 4, 6].map((at) => row.cells[at]);
    name.querySelector("a").textContent = event.name || "unknown";
    // A device that moved has no address of its last network.
    if (network.querySelector("a").getAttribute("href") !== "/network?" + event.network) {
      network.replaceChildren(networkLink(event));
      addresses.textContent = "";
    }
    addAddress(addresses, event.ip);
    last.replaceChildren(element("b", "live"), " ", element("span", clock.format(new Date(event.time)) + zoneLabel, { class: "dim" }));
    row.classList.add("live");
    if (isNew || filter.sort === "last") body.prepend(row);
    while (body.rows.length > MOST) {
      const end = body.rows[body.rows.length - 1];
      for (const [name, known] of rows) if (known === end) rows.delete(name);
      end.remove();
    }
  };

  const warnings = (health) => {
    isLive = health.live;
    const lines = health.faults.slice(0, 3).map((fault) => {
      const since = fault.since ? ` (since ${ownTime(fault.since)})` : "";
      const line = element("p");
      line.append(element("b", fault.of), `: ${fault.fault}${since}`);
      return line;
    });
    banner.replaceChildren(...lines);
    if (lines.length) banner.append(element("a", "Is it well?", { href: "/health" }));
    banner.hidden = !lines.length;
  };

  const open = () => {
    source = new EventSource("/api/v1/events");
    source.addEventListener("begin", () => {
      failed = 0;
      say(isLive ? LIVE : NOT_LIVE);
    });
    source.addEventListener("sighting", (message) => {
      seen += 1;
      show(JSON.parse(message.data));
    });
    source.addEventListener("lost", (message) => {
      lost += JSON.parse(message.data).lost;
    });
    source.addEventListener("health", (message) => warnings(JSON.parse(message.data)));
    source.addEventListener("error", () => {
      // A stream ends every few minutes, and begins again where it was: only a try that fails is worth a word.
      failed += 1;
      if (source.readyState === EventSource.CLOSED) say("Not live: load this page again.");
      else if (failed > 1) say("Not live at this moment: trying again.");
    });
  };
  const close = () => {
    if (source) source.close();
    source = undefined;
  };

  for (const row of table.tBodies[0].rows) {
    const network = row.cells[4].querySelector("a").getAttribute("href").split("?")[1];
    rows.set(row.cells[1].textContent + " " + (filter.network ? network : ""), row);
  }
  setInterval(() => {
    if (source && source.readyState === EventSource.OPEN) say(isLive ? LIVE : NOT_LIVE);
  }, 1000);
  // A browser has few connections to a server: a page that is not looked at holds none.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : source || open()));
  if (!document.hidden) open();
})();
