"use strict";
// How the page asks the server: JSON in and out, every refusal one sentence, the key in memory alone.

let key = null;
let keyWanted = null; // one dialog, however many requests wait for it

class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** Ask a path; `message` is sent as JSON, a FormData as it is. Throws Refused with a sentence to show. */
async function ask(path, message, signal) {
  const options = { headers: {}, signal };
  if (message instanceof FormData) {
    Object.assign(options, { method: "POST", body: message });
  } else if (message !== undefined) {
    Object.assign(options, { method: "POST", body: JSON.stringify(message) });
    options.headers["Content-Type"] = "application/json";
  }
  for (;;) {
    const used = key;
    if (used !== null) options.headers["X-API-Key"] = used;
    const reply = await fetch(path, options).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The server cannot be reached. Is it still running?");
    });
    if (reply.status === 401) {
      if (used === key) await askForKey(used !== null);
      continue;
    }
    const answer = await reply.json().catch(() => null);
    if (!reply.ok) throw new Refused(reply.status, sentence(answer?.error ?? `The server answered with ${reply.status}.`));
    return answer;
  }
}

function sentence(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** Opens the dialog; resolves once somebody gave a key. */
function askForKey(wasWrong) {
  keyWanted ??= new Promise((resolve) => {
    const dialog = document.getElementById("key"), field = document.getElementById("key-text");
    document.getElementById("key-error").textContent = wasWrong ? "The server did not take that key." : "";
    dialog.onclose = () => keyWanted && dialog.showModal(); // without a key nothing else can be done here
    document.getElementById("key-form").onsubmit = (event) => {
      event.preventDefault();
      key = field.value.trim();
      field.value = "";
      keyWanted = null;
      dialog.close();
      resolve();
    };
    dialog.showModal();
  });
  return keyWanted;
}
