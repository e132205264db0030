"use strict";
// Cards that play, in shelves that scroll sideways.

const cards = new Map(); // item -> card, of the bundle in force
let cardsOf = null;
const MAX_ASKED = 200;

/** Fetch the cards that are not here yet. */
async function loadCards(items, signal) {
  const absent = [...new Set(items)].filter((item) => !cards.has(item));
  for (let start = 0; start < absent.length; start += MAX_ASKED) {
    const answer = await ask("/cards", { items: absent.slice(start, start + MAX_ASKED) }, signal);
    if (cardsOf !== answer.bundle) {
      const swapped = cardsOf !== null;
      cards.clear();
      cardsOf = answer.bundle;
      if (swapped) return loadCards(items, signal); // what stood here was of another bundle
    }
    for (const card of answer.cards) cards.set(card.item, card);
  }
}

function cardOf(item) {
  return cards.get(item) ?? { item, title: null, tags: [], num_trained: 0, num_users: 0, shares: {}, plays: [] };
}

const titleOf = (card) => card.title ?? card.item;
const isNew = (card) => card.num_trained === 0;

function metBy(card) {
  return card.num_users ? `Met by ${plural(card.num_users, "user", "users")}` : "Nobody has met it yet";
}

/** A film's address is set only once its screen comes near the window. */
const nearby = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      nearby.unobserve(target);
      target.src = `${target.dataset.url}#t=0.5`;
    }
  },
  { rootMargin: "200px 400px" }
);

/** The picture of an item: its film, or a colour of its own. */
function screenOf(card) {
  const hue = [...card.item].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  const screen = styled(make("span.screen"), { "--hue": hue });
  const film = card.plays.find(({ kind }) => kind === "video");
  if (film) {
    const video = make("video", { muted: true, playsinline: true, preload: "metadata", tabindex: -1, "aria-hidden": "true", "data-url": film.url });
    video.muted = true;
    video.loop = true;
    video.disablePictureInPicture = true;
    video.addEventListener("error", () => video.replaceWith(glyph("play")));
    nearby.observe(video);
    screen.append(video);
  } else {
    screen.append(glyph(card.plays.length ? "sound" : "play"));
  }
  return screen;
}

function glyph(name) {
  return make("span.glyph", {}, icon(name));
}

/** The button of an item; under a pointer or the focus its film moves, silently. */
function tileOf(card, shown, ...below) {
  const screen = screenOf(card);
  if (shown.badge) screen.append(make("span.badge", {}, shown.badge));
  if (isNew(card) && !shown.plain) screen.append(make("span.badge.new", {}, "New"));
  screen.append(make("span.over", { "aria-hidden": "true" }, make("span", {}, icon("play"))));
  const tile = make("button.tile", { type: "button", "data-item": card.item, click: () => openDetail(card.item, shown) }, screen, ...below);
  const film = screen.querySelector("video");
  const move = () => !calm.matches && film?.src && film.play().catch(() => {}); // a film that cannot start stays a picture
  const rest = () => film?.pause();
  for (const [name, act] of [["pointerenter", move], ["focus", move], ["pointerleave", rest], ["blur", rest]]) tile.addEventListener(name, act);
  return tile;
}

/** A card. `shown` says what is known of its place: {badge, why, score, likeness}. */
function cardElement(item, shown) {
  const card = cardOf(item);
  const meta = shown.meta ?? (shown.why ? shortWhy(shown.why) : metBy(card));
  const below = [make("span.name", {}, titleOf(card)), make("span.meta", {}, [meta, ...card.tags.slice(0, 2)].filter(Boolean).join(" · "))];
  if (shown.why) below.push(mix(shown.why));
  const element = make("li.card", {}, tileOf(card, shown, ...below));
  if (canLike()) element.append(likeButton(item));
  return element;
}

function likeButton(item) {
  const button = make("button.like", { type: "button", "data-like": item, click: () => like(item) }, icon("like"), make("span"));
  showLike(button);
  return button;
}

function showLike(button) {
  const liked = isLiked(button.dataset.like);
  button.setAttribute("aria-pressed", liked);
  button.querySelector("span").textContent = liked ? "Liked" : "Like";
  button.setAttribute("aria-label", `${liked ? "Liked" : "Like"}: ${titleOf(cardOf(button.dataset.like))}`);
}

let numShelves = 0;

/** A titled shelf of [{item, ...shown}]. */
function shelfElement(title, help, entries, level = "h2") {
  const id = `shelf-${++numShelves}`;
  const list = make("ul.shelf", { "aria-labelledby": id }, ...entries.map(({ item, ...shown }) => cardElement(item, shown)));
  const step = (way) => list.scrollBy({ left: way * 0.8 * list.clientWidth, behavior: calm.matches ? "auto" : "smooth" });
  const steps = make(
    "div.steps",
    {},
    make("button.round", { type: "button", "aria-label": `Back in: ${title}`, tabindex: -1, click: () => step(-1) }, icon("left")),
    make("button.round", { type: "button", "aria-label": `On in: ${title}`, tabindex: -1, click: () => step(1) }, icon("right"))
  );
  const head = make("div.shelf-head", {}, make("div", {}, make(level, { id }, title), help ? make("p.hint", {}, help) : null), steps);
  roving(list, ".tile");
  return make("section", { "aria-labelledby": id }, head, list);
}

function ghostShelf() {
  const ghosts = Array.from({ length: 6 }, () => make("li", {}, make("div.ghost"), make("br"), make("div.ghost.thin")));
  return make("div", { "aria-hidden": "true" }, make("ul.shelf", {}, ...ghosts));
}
