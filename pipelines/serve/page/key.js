// The API key: kept for as long as the tab is, so that a closed tab leaves none behind.

import { byId } from "./dom.js";

const NAME = "codecsieve-key";

export function currentKey() {
  return sessionStorage.getItem(NAME) ?? "";
}

export function authorization() {
  const key = currentKey();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

export function askForKey() {
  byId("key").open = true;
}

export function watchKey(changed) {
  const details = byId("key");
  const field = byId("key-field");
  const use = (key) => {
    if (key) sessionStorage.setItem(NAME, key);
    else sessionStorage.removeItem(NAME);
    field.value = "";
    details.open = false;
    tell();
    details.querySelector("summary").focus();
    changed();
  };
  const tell = () => {
    byId("key-set").textContent = currentKey() ? "set" : "";
    byId("key-forget").disabled = !currentKey();
  };
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    use(field.value.trim());
  });
  byId("key-forget").addEventListener("click", () => use(""));
  details.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !details.open) return;
    details.open = false;
    details.querySelector("summary").focus();
  });
  tell();
}
