"use strict";
// The shelves of one user, and the start of the page.

const LISTED = 150; // items that the shelves are filled from
const ON_SHELF = 18;
const SENTENCES = {
  time: "The model did not answer in time, so these are popular items. Ask again in a moment.",
  load: "Too many are asking at once, so these are popular items. Ask again in a moment.",
  fault: "The model failed on this question, so these are popular items. The server's log says more.",
};
const FROM = { interests: ", from these interests alone", fields: ", from what was told about them", history: ", from what was liked" };
let about = { modes: [], ways: [], modalities: [], uploads: [], plays: false, num_items: 0 };
let loading = null;

/** What a person must know of an answer. */
function notes(answer) {
  const said = answer.degraded ? [SENTENCES[answer.degraded]] : [];
  for (const name of ["interests", "friends", "fields"]) {
    const unknown = answer[`unknown_${name}`] ?? [];
    if (unknown.length) said.push(`The bundle does not know the ${name} ${unknown.join(", ")}.`);
  }
  if (answer.unknown_items.length) said.push(`The bundle does not know ${answer.unknown_items.join(", ")}.`);
  return said;
}

/** Ask for the user who is chosen, and fill the page. */
async function load() {
  loading?.abort();
  const mine = (loading = new AbortController());
  const shelves = byId("shelves"), asked = question();
  if (asked.user === "") return;
  shelves.setAttribute("aria-busy", "true");
  if (!shelves.children.length) shelves.replaceChildren(ghostShelf(), ghostShelf());
  shelves.classList.add("busy");
  try {
    const [answer, past] = await Promise.all([
      ask("/recommend", { ...asked, k: Math.min(LISTED, about.num_items), explain: true }, mine.signal),
      asked.user === undefined ? null : pastOf(asked.user, mine.signal),
    ]);
    if (answer.bundle !== about.bundle) await meet(); // another bundle was swapped in
    await loadCards([...answer.items.map(({ item }) => item), ...(past?.items ?? [])], mine.signal);
    banners(sentencesOf(answer, past));
    fill(shelves, answer, past);
    say(`${plural(answer.items.length, "recommendation", "recommendations")} for ${asked.user ?? "someone new"}.`);
    await showRanks(asked, mine.signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    shelves.replaceChildren();
    banners([{ text: error.message, bad: true }]);
  } finally {
    if (loading === mine) {
      shelves.removeAttribute("aria-busy");
      shelves.classList.remove("busy");
    }
  }
}

async function pastOf(user, signal) {
  try {
    return await ask(`/history?${new URLSearchParams({ user, limit: 30 })}`, undefined, signal);
  } catch (error) {
    if (error.status === 404) return null; // not known: the answer itself says what it then is
    throw error;
  }
}

function sentencesOf(answer, past) {
  const said = notes(answer).map((text) => ({ text }));
  if (whom() === "known" && past === null) said.push({ text: `Nobody is known by the name “${byId("user").value}”; these are the items that most people met.` });
  else if (answer.answered_by === "popularity" && !answer.degraded && whom() === "known") said.push({ text: "The model knows nothing of this user yet; these are the items that most people met." });
  return said;
}

/** The list, cut into shelves by what speaks for each item; an item stands on one of them. */
function fill(shelves, answer, past) {
  const taken = new Set();
  const entries = answer.items.map(({ item, why }, index) => ({ item, why, badge: String(index + 1) }));
  const pick = (among) => among.filter(({ item }) => !taken.has(item)).slice(0, ON_SHELF).map((entry) => (taken.add(entry.item), entry));
  const by = (value) => entries.filter(({ why }) => why && value(why) > 0).sort((one, other) => value(other.why) - value(one.why));
  const popular = answer.answered_by === "popularity";
  const parts = ["taste", ...about.modalities, "popularity"];
  const made = [];
  const put = (title, help, list) => {
    if (list.length >= Math.min(4, entries.length)) made.push(shelfElement(title, help, list));
  };
  const first = popular ? "What most people met" : "For you";
  put(first, popular ? "The same for everybody of whom nothing is known." : `The best of the whole catalogue, in order${FROM[answer.answered_by] ?? ""}.`, pick(entries));
  if (!popular) {
    made.at(-1)?.querySelector(".shelf-head > div").append(legend(parts));
    put("New here", "When the model was trained nobody had met these; it knows them by what they are.", pick(entries.filter(({ item }) => isNew(cardOf(item)))));
    const modality = (name) => (why) => why.modalities[name] ?? 0;
    if (about.modalities.includes("audio")) put("For how they sound", "Where sound speaks most.", pick(by(modality("audio"))));
    if (about.modalities.includes("video")) put("For how they look", "Where the picture speaks most.", pick(by(modality("video"))));
    put("For your taste", "What people who liked the same things liked.", pick(by((why) => why.taste)));
  }
  if (past?.items.length) made.push(shelfElement("Met lately", `The latest of ${plural(past.num_events, "item", "items")}; they are not recommended again.`, past.items.map((item) => ({ item }))));
  const focus = document.activeElement?.closest("#shelves [data-item], #shelves [data-like]");
  shelves.replaceChildren(...made);
  if (focus) refocus(shelves, focus);
}

/** Who used the keyboard in a shelf goes on where he was, though the shelf is a new one. */
function refocus(shelves, before) {
  const name = before.dataset.item === undefined ? "like" : "item";
  const same = [...shelves.querySelectorAll(`[data-${name}]`)].find((one) => one.dataset[name] === before.dataset[name]);
  (same ?? shelves.querySelector(".tile"))?.focus({ preventScroll: true });
}

/** What the bundle in force holds and can do. */
async function meet() {
  about = await ask("/about");
  if (cardsOf !== about.bundle) cards.clear();
  byId("about").textContent = `${about.data_name} · ${plural(about.num_items, "item", "items")} · ${plural(about.num_users, "user", "users")}`;
  describeUpload();
  await Promise.all([loadInterests(), loadFields()]);
}

async function start() {
  startWho();
  startDetail();
  startUpload();
  byId("shelves").replaceChildren(ghostShelf(), ghostShelf());
  try {
    await meet();
    const { users } = await ask("/users?limit=20");
    const first = users.find(({ num_events }) => num_events > 0);
    if (first) byId("user").value = first.user;
    else document.querySelector("input[value=new]").click();
    if (first) await load();
  } catch (error) {
    byId("shelves").replaceChildren();
    banners([{ text: error.message, bad: true }]);
  }
}

start();
