// Asks for a new look while somebody sees the page, tells times by the clock of the browser, and moves to the search field at "/".
// All pages work without it.
const INTERVAL_MS = 2000;
const OFTEN = 30; // looks, until a contact is asked for at every FURTHER of them only
const FURTHER = 5;
const LAST = 300; // ten minutes of looking

let looks = 0;
setInterval(() => {
  if (document.visibilityState !== "visible") {
    return;
  }
  looks += 1;
  document.body.dispatchEvent(new CustomEvent("look"));
  const isDue = looks <= OFTEN || (looks <= LAST && looks % FURTHER === 0);
  if (isDue && !isSending()) { // a form under way would be drawn again, ready to be sent twice
    document.body.dispatchEvent(new CustomEvent("follow"));
  }
}, INTERVAL_MS);

// 2026-11-29 22:01:41 GMT+1, in digits as the pages have them.
const clock = new Intl.DateTimeFormat("en-GB", {
  year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
  timeZoneName: "short",
});

function told(moment) {
  const part = Object.fromEntries(clock.formatToParts(moment).map(({ type, value }) => [type, value]));
  return `${part.year}-${part.month}-${part.day} ${part.hour}:${part.minute}:${part.second} ${part.timeZoneName}`;
}

function tell(within) {
  for (const time of within.querySelectorAll("time[datetime]:not([data-told])")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(moment.valueOf())) {
      const inUtc = time.title || time.textContent;
      time.dataset.told = "";
      if (time.classList.contains("moment")) {
        time.textContent = told(moment);
        time.title = inUtc;
      } else {
        time.title = told(moment);
      }
    }
  }
}

tell(document);

// What somebody has opened stays open when it is drawn again.
let open = [];
document.body.addEventListener("htmx:beforeSwap", () => {
  open = [...document.querySelectorAll("details[open][id]")].map((details) => details.id);
});
document.body.addEventListener("htmx:afterSettle", () => {
  for (const id of open) {
    document.getElementById(id)?.setAttribute("open", "");
  }
  tell(document);
});

// A page that no longer gets an answer says so, for it looks as if nothing happened.
document.body.addEventListener("htmx:afterRequest", (event) => {
  const stale = document.getElementById("stale");
  if (stale) {
    stale.hidden = Boolean(event.detail.successful);
  }
});

// A button that was pressed shows it, and a second press in the same moment sends nothing.
const PATIENCE_MS = 15000; // longer than any form takes

function isUnderWay(form) {
  return Date.now() - Number(form.dataset.sent ?? 0) < PATIENCE_MS;
}

function isSending() {
  return [...document.querySelectorAll("form[data-sent]")].some(isUnderWay);
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || form.matches("[role=search]")) { // a search may be sent again at once, with a correction
    return;
  }
  if (isUnderWay(form)) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = String(Date.now());
  event.submitter?.setAttribute("aria-busy", "true");
});

window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    form.querySelector("[aria-busy]")?.removeAttribute("aria-busy");
  }
});

document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof Element && event.target.closest("input, select, textarea");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    document.getElementById("find")?.focus();
  }
});
