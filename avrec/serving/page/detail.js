"use strict";
// One item in full: it plays, says why it is here, and leads to what is like it.

const BY_MODE = [["content", "Content"], ["collaborative", "Taste"], ["hybrid", "Both"]];
const BY_WAY = [["sound", "Sound", ["audio"]], ["picture", "Picture", ["video", "visual", "image"]], ["time", "Hours", []]];
let trail = []; // what was opened before, within the dialog
let asking = null;

function openDetail(item, shown) {
  const dialog = byId("detail");
  if (dialog.open) trail.push(dialog.shownItem);
  else trail = [];
  showDetail(item, shown);
  if (!dialog.open) dialog.showModal();
  byId("detail-title").focus();
  if (!calm.matches) dialog.querySelector(".player video, .player audio")?.play().catch(() => {}); // it stays still then, with its controls
}

function showDetail(item, shown) {
  const dialog = byId("detail"), card = cardOf(item);
  stopPlaying();
  dialog.shownItem = { item, shown };
  byId("detail-back").hidden = !trail.length;
  byId("detail-title").textContent = titleOf(card);
  const facts = make("div.facts", {}, make("p.hint", {}, `${metBy(card)}.${isNew(card) ? " It is new to the model, which knows it by what it is." : ""}`));
  if (card.tags.length) facts.append(make("ul.tags", { "aria-label": "Tags" }, ...card.tags.map((tag) => make("li", {}, tag))));
  if (canLike()) facts.append(likeButton(item));
  facts.append(...reasons(card, shown));
  const more = make("div", { id: "more" });
  byId("detail-body").replaceChildren(make("div.detail-top", {}, playerOf(card), facts), more);
  byId("detail-body").scrollTop = 0;
  moreLikeThis(card, more, firstWay(card));
}

/** Players with controls; an item without files says so. */
function playerOf(card) {
  const players = card.plays.map(({ kind, url }) => {
    const given = { controls: true, playsinline: true, preload: "metadata", src: url, "aria-label": `${kind === "video" ? "Film" : "Sound"} of ${titleOf(card)}` };
    const player = make(kind, given);
    player.addEventListener("error", () => player.replaceWith(make("p.hint", {}, "It cannot be played here. Load the page again if it could before.")));
    return player;
  });
  if (!players.length) players.push(screenOf(card), make("p.hint", {}, about.plays ? "It has no file that browsers play." : "This server plays nothing: its setting media_root names no folder."));
  else if (card.plays[0].kind === "audio") players.unshift(screenOf(card));
  return make("div.player", {}, ...players);
}

/** The parts of its score, or else what its content is made of. */
function reasons(card, shown) {
  if (shown.why) {
    const title = shown.likeness ? "What makes them alike" : "Why it is here";
    return [make("h3", {}, title), make("p.hint", {}, longWhy(shown.why)), bars(partsOf(shown.why))];
  }
  const shares = Object.entries(card.shares).filter(([, share]) => share > 0);
  return shares.length ? [make("h3", {}, "What its content is made of"), shareBars(Object.fromEntries(shares))] : [];
}

/** Names, labels and what each adds to the question: the modes, which can say why, and the ways, which cannot. */
function waysOf(card) {
  const modes = BY_MODE.filter(([mode]) => about.modes.includes(mode) && !(mode === "collaborative" && isNew(card)));
  const lacks = (modalities) => modalities.length ? !modalities.some((name) => card.shares[name] > 0) : isNew(card);
  const ways = BY_WAY.filter(([by, , modalities]) => about.ways.includes(by) && !lacks(modalities));
  return [...modes.map(([mode, text]) => [mode, text, { mode, explain: true }]), ...ways.map(([by, text]) => [by, text, { by }])];
}

function firstWay(card) {
  return waysOf(card)[0]?.[0];
}

async function moreLikeThis(card, place, way) {
  asking?.abort();
  asking = new AbortController();
  const ways = waysOf(card);
  const buttons = ways.map(([name, text]) => {
    const radio = make("input", { type: "radio", name: "way", value: name, checked: name === way, change: () => moreLikeThis(card, place, name) });
    return make("label", {}, radio, make("span", {}, text));
  });
  const head = make("div.more-head", {}, make("h3", { id: "more-title" }, "More like this"), make("div.switch", { role: "radiogroup", "aria-label": "Alike by" }, ...buttons));
  const list = make("div", {}, ghostShelf());
  const hadFocus = place.contains(document.activeElement);
  place.replaceChildren(head, list);
  if (hadFocus) place.querySelector("input:checked")?.focus();
  try {
    const asked = ways.find(([name]) => name === way)?.[2];
    const answer = await ask("/similar", { item: card.item, k: 12, ...asked }, asking.signal);
    await loadCards(answer.items.map(({ item }) => item), asking.signal);
    const entries = answer.items.map(({ item, score, why }) => ({ item, why, likeness: true, badge: score.toFixed(2), meta: why ? shortWhy(why) : "" }));
    const shelf = make("ul.shelf", { "aria-labelledby": "more-title" }, ...entries.map(({ item, ...shown }) => cardElement(item, shown)));
    roving(shelf, ".tile");
    list.replaceChildren(...notes(answer).map((text) => make("p.banner", {}, text)), shelf, make("p.hint", {}, "The number is how alike they are; 1 is the same."));
  } catch (error) {
    if (error.name !== "AbortError") failed(list, error);
  }
}

function stopPlaying() {
  for (const player of byId("detail-body").querySelectorAll("video, audio")) player.pause();
}

function startDetail() {
  const dialog = byId("detail");
  byId("detail-close").addEventListener("click", () => dialog.close());
  byId("detail-back").addEventListener("click", () => {
    const { item, shown } = trail.pop();
    showDetail(item, shown);
    byId("detail-title").focus();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
  dialog.addEventListener("close", () => {
    asking?.abort();
    stopPlaying();
    byId("detail-body").replaceChildren();
  });
}
