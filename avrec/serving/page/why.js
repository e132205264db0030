"use strict";
// Why an item stands where it stands: the parts of its score as words, as a thin mix and as bars.

const LABELS = { taste: "taste", audio: "sound", video: "picture", text: "text", content: "content", popularity: "popularity" };
const MEANING = {
  taste: "who liked what",
  audio: "how it sounds",
  video: "how it looks",
  text: "what is said of it",
  content: "what it is",
  popularity: "the same for everybody",
};
const COLOURED = new Set(["taste", "audio", "video", "text", "popularity"]);

const label = (name) => LABELS[name] ?? name;
const colour = (name) => `var(--${COLOURED.has(name) ? name : "other"})`;

/** [{name, value, share}] of what counts, in a fixed order; shares are of the sum of all sizes, so they add up to 1. */
function partsOf(why) {
  const content = Object.entries(why.modalities);
  const all = [["taste", why.taste], ...(content.length ? content : [["content", why.content]]), ["popularity", why.popularity]];
  const total = all.reduce((sum, [, value]) => sum + Math.abs(value), 0);
  return all
    .map(([name, value]) => ({ name, value, share: total ? Math.abs(value) / total : 0 }))
    .filter(({ share }) => share >= 0.005);
}

/** The part that speaks most for it. */
function strongest(parts) {
  return parts.filter(({ value }) => value > 0).sort((one, other) => other.share - one.share)[0];
}

function shortWhy(why) {
  const most = strongest(partsOf(why));
  return most ? `${percent(most.share)} ${label(most.name)}` : "";
}

function longWhy(why) {
  const parts = partsOf(why), most = strongest(parts);
  if (!most) return "Nothing speaks for it; the others are worse.";
  const against = parts.filter(({ value }) => value < 0).map(({ name }) => label(name));
  const also = against.length ? ` Against it: ${against.join(", ")}.` : "";
  return `Most of it is ${label(most.name)}${most.name in MEANING ? ` (${MEANING[most.name]})` : ""}.${also}`;
}

/** What speaks for it, as one thin line. */
function mix(why) {
  const parts = partsOf(why).filter(({ value }) => value > 0);
  const words = parts.map(({ name, share }) => `${percent(share)} ${label(name)}`).join(", ");
  const line = make("span.mix", { role: "img", "aria-label": `Why: ${words}` });
  line.append(...parts.map(({ name, share }) => styled(make("i"), { "--part": colour(name), "--size": share })));
  return line;
}

/** Every part with its share; what speaks against the item is hatched and has a minus. */
function bars(parts) {
  return make(
    "div.bars",
    { role: "list" },
    ...parts.map(({ name, value, share }) => {
      const dot = styled(make("i.dot", { "aria-hidden": "true" }), { "--part": colour(name) });
      const fill = styled(make("i"), { "--part": colour(name), "--size": percent(share).replace(" ", "") });
      const track = make("span.track", { "aria-hidden": "true" }, fill);
      const number = make("output", {}, `${value < 0 ? "−" : ""}${percent(share)}`);
      return make(value < 0 ? "div.bar.against" : "div.bar", { role: "listitem" }, make("b", {}, dot, label(name)), track, number);
    })
  );
}

function shareBars(shares) {
  return bars(Object.entries(shares).map(([name, share]) => ({ name, value: share, share })));
}

function legend(names) {
  return make(
    "p.legend",
    {},
    ...names.map((name) => {
      const dot = styled(make("i.dot", { "aria-hidden": "true" }), { "--part": colour(name) });
      return make("span", {}, dot, label(name), name in MEANING ? make("span.meaning", {}, `: ${MEANING[name]}`) : null);
    })
  );
}
