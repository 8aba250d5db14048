// Which view is shown: what stands behind the # of the address.

import * as apidoc from "./apidoc.js";
import * as caches from "./caches.js";
import { byId } from "./dom.js";
import * as jobs from "./jobs.js";
import { watchKey } from "./key.js";
import * as look from "./look.js";

const VIEWS = { look, jobs, caches, api: apidoc };
const TITLES = { look: "Look", jobs: "Jobs", caches: "Caches", api: "API" };

let current = null;

function route() {
  const [wanted, query = ""] = location.hash.slice(1).split(/\?(.*)/s);
  const name = Object.hasOwn(VIEWS, wanted) ? wanted : "look";
  if (name !== current) {
    VIEWS[current]?.hide();
    for (const other of Object.keys(VIEWS)) byId(`view-${other}`).hidden = other !== name;
    for (const link of document.querySelectorAll(".bar nav a")) {
      if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${TITLES[name]} – codecsieve`;
    if (current) scrollTo(0, 0);
    current = name;
  }
  VIEWS[name].show(new URLSearchParams(query));
}

// Its own link would be taken for a view.
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
watchKey(route);
window.addEventListener("hashchange", route);
route();
