// What helps on every page, which all work without it: the zone of the viewer's browser, once; and buttons that copy.
(() => {
  "use strict";
  const has = document.cookie.split("; ").some((one) => one.startsWith("aw-zone="));
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!has && /^[A-Za-z0-9_+\/-]{1,64}$/.test(zone || "")) {
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `aw-zone=${zone}; Path=/; Max-Age=31536000; SameSite=Strict${secure}`;
    const shown = document.querySelector("[data-zone]");
    // Not with a zone of the address, and not where the browser keeps no cookies.
    if (shown && shown.dataset.zone !== zone && document.cookie.includes("aw-zone=")) location.reload();
  }

  // A timeline that is wider than the screen of a phone begins at the time that was asked for, or at its newest end.
  for (const wide of document.querySelectorAll(".wide")) {
    const mark = wide.querySelector(".at")?.getBoundingClientRect();
    wide.scrollLeft = mark ? mark.x - wide.getBoundingClientRect().x - wide.clientWidth / 2 : wide.scrollWidth;
  }

  // After a name was saved: for a screen reader, and for a keyboard where it was.
  const field = document.querySelector("form.name input[name=name]");
  if (field && location.hash === "#saved") {
    const saved = document.createElement("p");
    saved.setAttribute("role", "status");
    field.form.after(saved);
    saved.textContent = field.value ? `The name “${field.value}” is saved.` : "The name is forgotten.";
    history.replaceState(null, "", location.pathname + location.search);
    field.focus();
  }

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      return true;
    } catch {
      // Without HTTPS there is no clipboard, but what is selected can be copied.
      getSelection().selectAllChildren(text);
      return document.execCommand("copy");
    }
  };
  for (const text of document.querySelectorAll("pre.evidence")) {
    const button = document.createElement("button");
    const done = document.createElement("span");
    button.type = "button";
    button.textContent = "Copy the evidence";
    button.className = "copy";
    done.setAttribute("role", "status");
    button.addEventListener("click", async () => {
      const box = text.closest("details");
      if (box) box.open = true;
      done.textContent = (await copy(text)) ? "Copied" : "Selected: copy it with your browser";
    });
    const place = document.createElement("p");
    place.append(button, " ", done);
    (text.closest("details") || text).before(place);
  }
})();
