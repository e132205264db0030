"use strict";
// For whom: a known user, or someone new with interests and likes.

const likes = []; // items, oldest first
const chosen = new Set(); // interests
const told = {}; // fields and their values
const OFFERED = 40; // interests at once
const NEVER_MORE_LIKES = 200;

const whom = () => document.querySelector("input[name=whom]:checked").value;
const canLike = () => whom() === "new";
const isLiked = (item) => likes.includes(item);

/** What /recommend is to be asked. */
function question() {
  if (whom() === "known") return { user: byId("user").value };
  const asked = {};
  if (likes.length) asked.history = likes.slice(-NEVER_MORE_LIKES);
  if (chosen.size) asked.interests = [...chosen];
  if (Object.keys(told).length) asked.fields = { ...told };
  return asked;
}

function startWho() {
  for (const radio of document.querySelectorAll("input[name=whom]")) radio.addEventListener("change", showWhom);
  byId("known").addEventListener("submit", (event) => {
    event.preventDefault();
    load();
  });
  let waiting;
  byId("user").addEventListener("focus", suggest);
  byId("user").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(suggest, 150);
  });
  byId("user").addEventListener("change", () => byId("user").value && load());
  byId("any").addEventListener("click", anybody);
  byId("interest-find").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => loadInterests().catch((error) => banners([{ text: error.message, bad: true }])), 150);
  });
}

function showWhom() {
  const isKnown = whom() === "known";
  byId("known").hidden = !isKnown;
  byId("new").hidden = isKnown;
  load();
}

async function suggest() {
  const { users } = await ask(`/users?${new URLSearchParams({ prefix: byId("user").value, limit: 20 })}`).catch(() => ({ users: [] }));
  byId("users").replaceChildren(...users.map(({ user, num_events }) => make("option", { value: user, label: plural(num_events, "item", "items") })));
}

/** One of those whose ids begin like a user's we know: over some clicks, the whole list. */
async function anybody() {
  try {
    const { users } = await ask("/users?limit=100");
    const told = users.filter(({ num_events }) => num_events > 0);
    if (!told.length) return banners([{ text: "This bundle knows no user with a history." }]);
    byId("user").value = told[Math.floor(Math.random() * told.length)].user;
    await load();
  } catch (error) {
    banners([{ text: error.message, bad: true }]);
  }
}

/** Interests are offered only where the bundle has a list of them; of a long one those that begin as was typed. */
async function loadInterests() {
  const prefix = byId("interest-find").value;
  const { interests, total } = await ask(`/interests?${new URLSearchParams({ prefix, limit: OFFERED })}`);
  const names = interests.map(({ name }) => name);
  if (!prefix) {
    byId("interests").hidden = !total;
    byId("interest-search").hidden = total <= OFFERED;
    byId("fresh-help").textContent = total ? "Pick some interests, and like what you like; the shelves follow at once." : "Like what you like; the shelves follow at once.";
    for (const name of [...chosen]) if (!names.includes(name) && total <= OFFERED) chosen.delete(name); // of another bundle
  }
  byId("interest-chips").replaceChildren(
    ...[...new Set([...chosen, ...names])].map((name) => {
      const box = make("input", { type: "checkbox", value: name, checked: chosen.has(name), change: () => choose(name, box.checked) });
      return make("label.chip", {}, box, make("span", {}, name));
    })
  );
}

/** Such as a country or an age: what the bundle tells users without a history apart by. */
async function loadFields() {
  const { fields } = await ask("/fields");
  for (const name of Object.keys(told)) if (!fields.some((field) => field.name === name && takes(field, told[name]))) delete told[name]; // of another bundle
  byId("fields").hidden = !fields.length;
  byId("field-inputs").replaceChildren(...fields.map((field, index) => make("div.field", {}, make("label", { for: `field-${index}` }, field.name), fieldInput(field, `field-${index}`))));
}

function takes(field, value) {
  return field.takes_numbers ? typeof value === "number" : field.groups.some((group) => group.value === value);
}

function fieldInput({ name, takes_numbers: isNumber, groups }, id) {
  const tell = () => {
    if (input.value === "") delete told[name];
    else told[name] = isNumber ? Number(input.value) : input.value;
    load();
  };
  const options = () => [make("option", { value: "" }, "not told"), ...groups.map(({ value }) => make("option", { value, selected: told[name] === value }, value))];
  const input = isNumber ? make("input", { id, type: "number", step: "any", value: told[name] ?? "", change: tell }) : make("select", { id, change: tell }, ...options());
  return input;
}

function choose(name, isChosen) {
  if (isChosen) chosen.add(name);
  else chosen.delete(name);
  load();
}

function like(item) {
  const place = likes.indexOf(item);
  if (place < 0) likes.push(item);
  else likes.splice(place, 1);
  document.querySelectorAll(`[data-like]`).forEach(showLike);
  showLikes();
  say(`${titleOf(cardOf(item))} ${place < 0 ? "liked" : "no longer liked"}. The shelves follow.`);
  load();
}

function showLikes() {
  byId("likes").hidden = !likes.length;
  byId("like-chips").replaceChildren(
    ...likes.map((item) => {
      const title = titleOf(cardOf(item));
      return make("li", {}, make("button", { type: "button", "aria-label": `No longer like ${title}`, click: () => like(item) }, title, icon("close")));
    })
  );
}
