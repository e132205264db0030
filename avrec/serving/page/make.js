"use strict";
// Elements, texts, numbers. Whatever comes from the server enters the page as text, never as markup.

const byId = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** make("p.hint", {id: "x"}, "text", child ...): an element with classes, attributes, properties on... and children. */
function make(name, given = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  for (const [attribute, value] of Object.entries(given)) {
    if (typeof value === "function") made.addEventListener(attribute, value);
    else if (value === true) made.setAttribute(attribute, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(attribute, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function icon(name) {
  return byId(`icon-${name}`).content.cloneNode(true);
}

function styled(element, properties) {
  for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
  return element;
}

function plural(count, one, many) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

function say(text) {
  byId("status").textContent = text;
}

/** Sentences above the shelves; those of an earlier answer go. */
function banners(sentences) {
  byId("banners").replaceChildren(
    ...sentences.map(({ text, bad }) => make(bad ? "p.banner.error" : "p.banner", bad ? { role: "alert" } : {}, text))
  );
}

function failed(place, error) {
  place.replaceChildren(make("p.banner.error", { role: "alert" }, error instanceof Refused ? error.message : String(error)));
}

/** Arrow keys, Home and End move among the elements of a list; Tab goes on to what follows it. */
function roving(list, selector) {
  const all = () => [...list.querySelectorAll(selector)];
  const current = (chosen) => all().forEach((one) => (one.tabIndex = one === chosen ? 0 : -1));
  current(all()[0]);
  list.addEventListener("focusin", (event) => event.target.matches(selector) && current(event.target));
  list.addEventListener("keydown", (event) => {
    const places = all(), place = places.indexOf(event.target);
    if (place < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const steps = { ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1, Home: 0, End: places.length - 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = places[Math.max(0, Math.min(places.length - 1, steps[event.key]))];
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest", inline: "nearest", behavior: calm.matches ? "auto" : "smooth" });
  });
}
