"use strict";
// The same question asked in three modes, and where each item stands in the other two.

const SHOWN = 10;
const COMPARED = 100;
const MODES = {
  content: ["Content-based", "by sound, picture and text alone"],
  collaborative: ["Collaborative", "by who liked what alone"],
  hybrid: ["Hybrid", "the model's own score, of both"],
};

async function showRanks(question, signal) {
  const place = byId("ranks-columns");
  place.classList.add("busy");
  byId("ranks-summary").textContent = "";
  try {
    const modes = Object.keys(MODES).filter((mode) => about.modes.includes(mode));
    const requests = modes.map((mode) => ({ ...question, mode, k: Math.min(COMPARED, about.num_items), explain: true }));
    const { answers } = await ask("/recommend/batch", { requests }, signal);
    await loadCards(answers.flatMap(({ items }) => items.slice(0, SHOWN).map(({ item }) => item)), signal);
    const places = answers.map(({ items }) => new Map(items.map(({ item }, index) => [item, index + 1])));
    place.replaceChildren(...answers.map((answer, index) => rankElement(modes, index, answer, places)));
    place.querySelectorAll("ol").forEach((list) => roving(list, ".line"));
    byId("ranks-summary").textContent = summary(modes, answers);
  } catch (error) {
    if (error.name !== "AbortError") failed(place, error);
  } finally {
    place.classList.remove("busy");
  }
}

function rankElement(modes, index, answer, places) {
  const [title, meaning] = MODES[modes[index]];
  const lines = answer.items.slice(0, SHOWN).map(({ item, why }, number) => {
    const others = modes.flatMap((mode, other) => (other !== index && places[other].has(item) ? [`${mode} ${places[other].get(item)}`] : []));
    const card = cardOf(item);
    const text = make("span", {}, make("span.name", {}, titleOf(card)), make("span.others", {}, others.join(" · ") || `in no other's first ${COMPARED}`));
    const line = make(
      "button.line",
      { type: "button", "data-item": item, click: () => openDetail(item, { why }) },
      make("span.place", {}, String(number + 1)), screenOf(card), text
    );
    const mark = (on) => markSame(item, on);
    for (const [name, on] of [["pointerenter", true], ["focus", true], ["pointerleave", false], ["blur", false]]) line.addEventListener(name, () => mark(on));
    return make("li", {}, line);
  });
  const popular = answer.answered_by === "popularity";
  const help = popular ? "it knows nothing of this user: what most people met" : meaning;
  return make("section.rank", { "aria-label": title }, make("h3", {}, title), make("p.hint", {}, help), make("ol", { "aria-label": title }, ...lines));
}

/** The same item in the other columns lights up. */
function markSame(item, on) {
  for (const line of byId("ranks-columns").querySelectorAll(".line")) {
    if (line.dataset.item === item) line.classList.toggle("same", on);
  }
}

function summary(modes, answers) {
  const top = answers.map(({ items }) => new Set(items.slice(0, SHOWN).map(({ item }) => item)));
  const hybrid = modes.indexOf("hybrid");
  const shared = modes.flatMap((mode, index) =>
    index === hybrid ? [] : [`${[...top[index]].filter((item) => top[hybrid].has(item)).length} with the ${MODES[mode][0].toLowerCase()} list`]
  );
  return `Of its first ${top[hybrid].size} items the hybrid list shares ${shared.join(" and ")}.`;
}
