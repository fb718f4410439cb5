"use strict";
/* The page asks /metrics and /api/... every few seconds and draws what comes. Everything that comes
 * is text from strangers (domains, replies): it enters the page as text nodes only. */

const PERIOD_MS = 2000, HISTORY = 90;
const byId = (id) => document.getElementById(id);

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/* ---- asking ---- */

async function ask(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined);
  const query = new URLSearchParams(given).toString();
  const answer = await fetch("/api/" + path + (query ? "?" + query : ""), {cache: "no-store"});
  const data = await answer.json();
  if (data.error && !data.records.length) throw new Error(data.error);
  return data;
}

/* {name: [{labels, value}]} */
async function metrics() {
  const text = await (await fetch("/metrics", {cache: "no-store"})).text();
  const found = {};
  for (const line of text.split("\n")) {
    const match = /^(ringpost_[a-z0-9_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match) (found[match[1]] ||= []).push({labels: match[2] || "", value: Number(match[3])});
  }
  return found;
}

const sum = (found, name) => (found[name] || []).reduce((all, one) => all + one.value, 0);

/* ---- words ---- */

const number = new Intl.NumberFormat("en", {maximumFractionDigits: 1});
const short = new Intl.NumberFormat("en", {notation: "compact", maximumFractionDigits: 1});

function duration(ms) {
  const s = Math.abs(ms) / 1000;
  if (s < 0.1) return number.format(s * 1000) + " ms";
  if (s < 90) return number.format(s) + " s";
  if (s < 5400) return Math.round(s / 60) + " min";
  if (s < 129600) return number.format(s / 3600) + " h";
  return number.format(s / 86400) + " d";
}

function when(ms) {
  if (!ms) return "";
  const distance = ms - Date.now();
  return distance >= 0 ? "in " + duration(distance) : duration(distance) + " ago";
}

/* ---- tables ---- */

/* columns: [title, record => text, number or node, class] */
function fill(table, columns, records, empty) {
  const head = element("tr", {}, ...columns.map(([title, , kind]) =>
    element("th", {textContent: title, className: kind === "number" ? "number" : ""})));
  const rows = records.map((record) => element("tr", {}, ...columns.map(([, value, kind]) => {
    const shown = value(record);
    const style = typeof kind === "function" ? kind(record) : kind || "";
    return element("td", {className: style}, shown === undefined || shown === null ? "" : shown);
  })));
  if (!rows.length)
    rows.push(element("tr", {}, element("td", {className: "none", colSpan: columns.length, textContent: empty})));
  table.replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
}

function link(text, action) {
  const made = element("button", {type: "button", textContent: text || "(none)"});
  made.addEventListener("click", action);
  return made;
}

/* ---- rates ---- */

const history = new Map();

function remember(name, value) {
  const values = history.get(name) || [];
  values.push(value);
  if (values.length > HISTORY) values.shift();
  history.set(name, values);
  return values;
}

function graph(values) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg"), path = document.createElementNS(space, "path");
  const most = Math.max(...values, 1e-9);
  svg.setAttribute("viewBox", `0 0 ${HISTORY - 1} 30`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", values.map((value, at) =>
    `${at ? "L" : "M"}${HISTORY - values.length + at} ${(29 - 28 * value / most).toFixed(2)}`).join(" "));
  svg.append(path);
  return svg;
}

function tile(name, value, text) {
  return element("div", {className: "tile"},
    element("div", {className: "name", textContent: name}),
    element("div", {className: "value", textContent: text}), graph(remember(name, value)));
}

/* The quantile of what came between two looks, from cumulative buckets. */
function quantile(before, now, name, part) {
  const buckets = (now[name + "_bucket"] || []).map((one, at) => ({
    bound: /le="([^"]*)"/.exec(one.labels)[1],
    count: one.value - (before[name + "_bucket"]?.[at]?.value || 0),
  }));
  const all = buckets.length ? buckets[buckets.length - 1].count : 0;
  const found = buckets.find((bucket) => bucket.count >= all * part);
  return all > 0 && found && found.bound !== "+Inf" ? Number(found.bound) * 1000 : 0;
}

let last = null;

function drawRates(now, at) {
  const seconds = last ? (at - last.at) / 1000 : 0;
  const rate = (name) => seconds > 0 ? Math.max(0, sum(now, name) - sum(last.now, name)) / seconds : 0;
  const perSecond = (title, name) => tile(title, rate(name), number.format(rate(name)) + " /s");
  const level = (title, name) => tile(title, sum(now, name), short.format(sum(now, name)));
  const slow = last ? quantile(last.now, now, "ringpost_commit_sync_seconds", .99) : 0;
  const answer = last ? quantile(last.now, now, "ringpost_accept_seconds", .99) : 0;
  byId("rates").replaceChildren(
    perSecond("accepted", "ringpost_messages_accepted_total"),
    perSecond("delivered", "ringpost_recipients_delivered_total"),
    perSecond("deferred", "ringpost_recipients_deferred_total"),
    perSecond("bounced", "ringpost_recipients_bounced_total"),
    level("waiting", "ringpost_queue_rows"),
    level("connections in", "ringpost_connections_in"),
    level("connections out", "ringpost_connections_out"),
    tile("250 after, p99", answer, answer ? "≤ " + duration(answer) : "–"),
    tile("sync of the disk, p99", slow, slow ? "≤ " + duration(slow) : "–"));
  last = {now, at};
}

function drawAlarms(now, status) {
  const alarms = [];
  if (sum(now, "ringpost_disk_full")) alarms.push(["bad", "The disk is full: mail is answered 452, deliveries pause. Make room in data_dir."]);
  if (status.alarm) alarms.push(["bad", status.alarm + ": nothing expires until the clock is confirmed."]);
  if (sum(now, "ringpost_queue_rows_damaged_total")) alarms.push(["bad", "Rows of the queue cannot be read: stop the daemon and run `ringpost queue check`."]);
  if (sum(now, "ringpost_journal_lost_total")) alarms.push(["", "The journal has lost lines since the start: look at the disk."]);
  if (sum(now, "ringpost_queues_uncounted")) alarms.push(["", "Counts are from before a crash and are being made anew."]);
  byId("alarms").replaceChildren(...alarms.map(([kind, text]) => element("li", {className: kind, textContent: text})));
}

/* ---- details ---- */

let detail = null;

function reasons(record) {
  const items = (record.reasons || []).map((reason) => element("li", {}, reason.text || reason.reason,
    element("span", {className: "when", textContent: [
      reason.since_ms ? " since " + when(reason.since_ms) : "",
      reason.until_ms ? " until " + when(reason.until_ms) : "",
      reason.option ? " (" + reason.option + ")" : ""].join("")})));
  return items.length ? element("ol", {}, ...items) : element("p", {className: "none", textContent: "Nothing binds it now."});
}

async function why(path, name) {
  const answer = await ask(path, name);
  return answer.records.map((record) => element("div", {},
    element("h3", {textContent: "Why: " + (record.id || record.queue || record.lane || "") +
      (record.worker !== undefined ? " (worker " + record.worker + ")" : "")}), reasons(record)));
}

async function messages(queue) {
  const answer = await ask("queue/show", {NAME: queue, limit: 50});
  const table = element("table");
  fill(table, [
    ["message", (r) => link(r.id, () => open("Message " + r.id, () => why("message/why", {ID: r.id})))],
    ["state", (r) => r.state], ["attempts", (r) => r.attempts, "number"], ["arrived", (r) => when(r.arrived_ms)],
    ["next", (r) => when(r.due_ms)], ["from", (r) => r.from || "<>", "wide"], ["to", (r) => r.to, "wide"],
    ["last reply", (r) => r.last_reply, "wide"],
  ], answer.records, "None waits.");
  return [element("h3", {textContent: "The first messages"}), element("div", {className: "table"}, table)];
}

function openQueue(name) {
  open("Queue " + name, async () => [...await why("queue/why", {NAME: name}), ...await messages(name)]);
}

function openName(kind, name) {
  open("Queues of " + kind + " " + (name || "(none)"), async () => {
    const answer = await ask("queue/list", {[kind]: name});
    const table = element("table");
    const records = answer.records.sort((a, b) => b.rows - a.rows).slice(0, 200);
    fill(table, [
      ["queue", (r) => link(r.queue, () => openQueue(r.queue))], ["waiting", (r) => number.format(r.rows), "number"],
      ["new", (r) => number.format(r.fresh || 0), "number"], ["next", (r) => when(r.next_due_ms)],
      ["worker", (r) => r.worker, "number"],
    ], records, "No queue.");
    return [element("div", {className: "table"}, table)];
  });
}

async function drawDetail() {
  if (!detail) return;
  const drawing = detail;
  let nodes;
  try {
    nodes = await drawing.make();
  } catch (error) {
    nodes = [element("p", {className: "none", textContent: error.message})];
  }
  if (detail === drawing) byId("detail-body").replaceChildren(...nodes);
}

function open(title, make) {
  detail = {make};
  byId("detail-title").textContent = title;
  byId("detail-body").replaceChildren();
  byId("detail").hidden = false;
  byId("detail").scrollIntoView({block: "nearest"});
  drawDetail();
}

/* ---- the whole ---- */

async function drawWaits() {
  const by = byId("by").value, part = byId("waits-filter").value.toLowerCase();
  const answer = await ask("queue/summary", {by, limit: part ? 10000 : 50});
  const records = answer.records.filter((r) => r.rows && (r.name || "").toLowerCase().includes(part)).slice(0, 50);
  fill(byId("waits"), [
    [by, (r) => link(r.name, () => openName(by, r.name))], ["waiting", (r) => number.format(r.rows), "number"],
    ["new", (r) => number.format(r.fresh || 0), "number"], ["queues", (r) => number.format(r.queues), "number"],
    ["with due mail", (r) => number.format(r.due || 0), "number"], ["next", (r) => when(r.next_due_ms)],
  ], records, "Nothing waits.");
}

async function drawLanes() {
  const part = byId("lanes-filter").value, state = byId("lane-state").value;
  const answer = await ask("lane/list", {site: part});
  const records = answer.records.filter((r) => !state || r.state === state)
    .sort((a, b) => (b.queues || 0) - (a.queues || 0)).slice(0, 100);
  fill(byId("lanes"), [
    ["lane", (r) => link(r.lane, () => open("Lane " + r.lane, () => why("lane/why", {NAME: r.lane})))],
    ["state", (r) => r.state + (r.until_ms ? ", " + when(r.until_ms) : ""), (r) => r.state === "ok" ? "good" : "warn"],
    ["connections", (r) => r.slots + " of " + r.limit, "number"], ["this worker", (r) => r.connections, "number"],
    ["queues", (r) => r.queues, "number"], ["failures", (r) => r.failures, "number"], ["worker", (r) => r.worker, "number"],
  ], records, "No lane is in use.");
}

async function drawSuspensions() {
  const answer = await ask("suspension/list");
  fill(byId("suspensions"), [
    ["what", (r) => r.what], ["name", (r) => r.name, "wide"], ["since", (r) => when(r.since_ms)],
    ["until", (r) => r.until_ms ? when(r.until_ms) : "resumed"], ["by", (r) => r.who], ["reason", (r) => r.reason, "wide"],
  ], answer.records, "Nothing is suspended.");
}

async function draw() {
  try {
    const [now, answer] = await Promise.all([metrics(), ask("status")]);
    const status = answer.records[0];
    byId("state").textContent = status.state;
    byId("state").className = status.state === "running" ? "state" : "state bad";
    byId("about").textContent = `${status.version} · up ${duration(Date.now() - status.started_ms)} · ${status.workers} workers`;
    drawRates(now, performance.now());
    drawAlarms(now, status);
    await Promise.allSettled([drawWaits(), drawLanes(), drawSuspensions()]);
    byId("age").textContent = new Date().toLocaleTimeString();
  } catch (error) {
    byId("state").textContent = "does not answer";
    byId("state").className = "state bad";
  }
  setTimeout(draw, PERIOD_MS);
}

byId("detail-close").addEventListener("click", () => { detail = null; byId("detail").hidden = true; });
for (const id of ["by", "waits-filter"]) byId(id).addEventListener("input", drawWaits);
for (const id of ["lane-state", "lanes-filter"]) byId(id).addEventListener("input", drawLanes);
for (const id of ["waits-form", "lanes-form"]) byId(id).addEventListener("submit", (event) => event.preventDefault());
draw();
