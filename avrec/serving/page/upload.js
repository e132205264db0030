"use strict";
// A clip of the visitor's own: where it would stand, and what of it the model heard and saw.

const NAMES = { audio: "sound", video: "picture" };

function startUpload() {
  const field = byId("clip"), form = byId("upload-form");
  field.addEventListener("change", showChosen);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.files.length) sendClip(field.files[0]);
  });
  for (const name of ["dragenter", "dragover"]) form.addEventListener(name, (event) => (event.preventDefault(), form.classList.add("over")));
  for (const name of ["dragleave", "drop"]) form.addEventListener(name, () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    if (!event.dataTransfer.files.length) return;
    field.files = event.dataTransfer.files;
    showChosen();
  });
}

function showChosen() {
  const [file] = byId("clip").files;
  byId("clip-name").textContent = file ? `${file.name} (${(file.size / 2 ** 20).toFixed(1)} MB)` : "Choose a film or a sound, or drop it here";
  byId("upload-go").disabled = !file;
}

/** What the bundle can take decides what is offered. */
function describeUpload() {
  const kinds = about.uploads.map((kind) => NAMES[kind] ?? kind);
  byId("upload-form").hidden = !kinds.length;
  byId("upload-help").textContent = kinds.length
    ? `The model takes ${kinds.join(" and ")} of it, finds what it is like, and keeps nothing.`
    : "This bundle takes no files: it was trained on finished features or on ids.";
}

async function sendClip(file) {
  const place = byId("upload-answer"), button = byId("upload-go");
  const form = new FormData();
  form.append("file", file);
  form.append("k", "12");
  form.append("mode", byId("upload-mode").value);
  button.disabled = true;
  place.setAttribute("aria-busy", "true");
  place.replaceChildren(make("p.hint", {}, "Reading the clip: this takes some seconds."), ghostShelf());
  try {
    const answer = await ask("/upload", form);
    await loadCards(answer.items.map(({ item }) => item));
    place.replaceChildren(...landing(file.name, answer));
  } catch (error) {
    failed(place, error);
  } finally {
    place.removeAttribute("aria-busy");
    button.disabled = false;
  }
}

function landing(name, answer) {
  const said = [...notes(answer), ...answer.problems, ...answer.notes].map((text) => make("p.banner", {}, text));
  const shares = make("div", {}, make("h3", {}, "What the model took from it"), shareBars(answer.shares));
  const entries = answer.items.map(({ item, score }, index) => ({ item, badge: score.toFixed(2), meta: index ? "" : "nearest" }));
  const shelf = shelfElement("It lands among these", `The number is how alike ${name} is to each; 1 is the same.`, entries, "h3");
  return [...said, shares, shelf];
}
