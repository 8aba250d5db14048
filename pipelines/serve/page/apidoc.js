// The view of the API: openapi.json, made readable.

import { getJson } from "./api.js";
import { build, byId, count } from "./dom.js";

let shown = false;

export async function show() {
  if (shown) return;
  byId("api-alert").textContent = "";
  try {
    const api = await getJson("/openapi.json");
    byId("api-list").replaceChildren(...groups(api).flatMap(([tag, operations]) =>
      [build("h2", { textContent: tag }), ...operations.map((operation) => describe(operation, api))]));
    shown = true;
  } catch (error) {
    byId("api-alert").textContent = error.message;
  }
}

export function hide() {}

function groups(api) {
  const byTag = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, told] of Object.entries(methods)) {
      const tag = told.tags?.[0] ?? "other";
      byTag.set(tag, [...(byTag.get(tag) ?? []), { path, method, ...told }]);
    }
  }
  return [...byTag];
}

function describe(operation, api) {
  const { path, method, description, summary, parameters = [], requestBody } = operation;
  const title = build("h3", {}, build("span", { className: "method", textContent: method.toUpperCase() }),
    build("span", { textContent: path }));
  const parts = [title, build("p", { textContent: description || summary })];
  for (const [place, noun] of [["path", "path field"], ["query", "query field"]]) {
    const fields = parameters.filter((field) => field.in === place);
    if (fields.length) parts.push(more(count(fields.length, noun), fields));
  }
  for (const [kind, { schema }] of Object.entries(requestBody?.content ?? {})) {
    const whole = resolve(schema, api);
    const fields = Object.entries(whole.properties ?? {}).map(([name, of]) =>
      ({ name, schema: of, required: whole.required?.includes(name) }));
    if (fields.length) parts.push(more(`Body: ${kind}`, fields));
    else parts.push(build("p", { className: "hint", textContent: `Body: ${kind}` }));
  }
  return build("article", { className: "operation" }, ...parts);
}

function more(title, fields) {
  const list = build("dl", { className: "fields" }, ...fields.flatMap((field) => [
    build("dt", {}, build("code", { textContent: field.name }), build("span", { textContent: kindOf(field) })),
    build("dd", { textContent: field.description ?? field.schema.description ?? "" }),
  ]));
  return build("details", {}, build("summary", { textContent: title }), list);
}

function kindOf({ schema, required }) {
  const kinds = (schema.anyOf ?? [schema]).filter((one) => one.type !== "null")
    .map((one) => one.enum?.join(" | ") ?? (one.format === "binary" ? "file" : one.type) ?? "any");
  const parts = [kinds.join(" or ")];
  if (required) parts.push("required");
  if (schema.default !== undefined && schema.default !== null && JSON.stringify(schema.default).length > 2) {
    parts.push(`default ${JSON.stringify(schema.default)}`);
  }
  return parts.join(", ");
}

function resolve(schema, api) {
  const name = schema.$ref?.split("/").at(-1);
  return name ? api.components.schemas[name] : schema;
}
