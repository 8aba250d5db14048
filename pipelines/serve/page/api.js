// Requests to the service: with the key where there is one, and every failure as one line for whoever reads the page.

import { askForKey, authorization, currentKey } from "./key.js";

const NO_KEY = "This service wants a key: put yours into Key, at the top of this page. " +
  "Whoever runs the service makes one with `codecsieve serve keys add NAME`.";
const SILENCE = "The service does not answer. Is it still running?";

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function isAborted(error) {
  return error.name === "AbortError";
}

export async function request(path, { method = "GET", json, body, signal } = {}) {
  const headers = authorization();
  if (json !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: json === undefined ? body : JSON.stringify(json), signal });
  } catch (error) {
    throw isAborted(error) ? error : new ApiError(0, SILENCE);
  }
  if (!answer.ok) throw refusal(answer.status, await answer.text());
  return answer;
}

export async function getJson(path, options) {
  return (await request(path, options)).json();
}

export async function getBlob(path, options) {
  return (await request(path, options)).blob();
}

// A video with its name. fetch does not tell how much of a body has gone out, which takes minutes for a large one.
export function sendVideo(path, source, { signal, sent = () => {}, kind = "json" } = {}) {
  if (!source.file) {
    const json = source.url ? { url: source.url } : { path: source.path };
    return kind === "json" ? getJson(path, { method: "POST", json, signal }) : getBlob(path, { method: "POST", json, signal });
  }
  return new Promise((resolve, reject) => {
    const form = new FormData();
    form.append("file", source.file, source.file.name);
    const asked = new XMLHttpRequest();
    asked.open("POST", path);
    asked.responseType = "blob";
    for (const [name, value] of Object.entries(authorization())) asked.setRequestHeader(name, value);
    asked.upload.addEventListener("progress", (event) => event.lengthComputable && sent(event.loaded / event.total));
    asked.addEventListener("error", () => reject(new ApiError(0, SILENCE)));
    asked.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
    asked.addEventListener("load", async () => {
      if (asked.status >= 400) reject(refusal(asked.status, await asked.response.text()));
      else resolve(kind === "json" ? JSON.parse(await asked.response.text()) : asked.response);
    });
    signal?.addEventListener("abort", () => asked.abort());
    asked.send(form);
  });
}

function refusal(status, text) {
  let message = `the service answered ${status}`;
  try {
    message = JSON.parse(text).error ?? message;
  } catch {
    // A proxy in between answers in HTML; its status says enough.
  }
  if (status === 401) {
    askForKey();
    message = currentKey() ? `${message}. Put another into Key, at the top of this page.` : NO_KEY;
  }
  return new ApiError(status, message);
}
