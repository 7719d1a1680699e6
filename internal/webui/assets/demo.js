// Loads the table without loading the page.

import { ended } from "./live.js";

const $ = (id) => document.getElementById(id);
const form = $("load");
const button = form.querySelector("button");
const number = new Intl.NumberFormat("en");

function row({ id, name, gender, role, salary }) {
  const tr = document.createElement("tr");
  for (const [i, text] of [id, name, gender, role, number.format(salary)].entries()) {
    const cell = document.createElement(i === 1 ? "th" : "td");
    if (i === 1) cell.scope = "row";
    if (i === 0 || i === 4) cell.className = "num";
    cell.textContent = text;
    tr.append(cell);
  }
  return tr;
}

async function load() {
  const answer = await fetch("/demo/employees", { signal: AbortSignal.timeout(10_000) });
  if (answer.status === 401) return ended((await answer.json().catch(() => ({}))).reason);
  if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
  const { employees } = await answer.json();
  $("rows").querySelector("tbody").replaceChildren(...employees.map(row));
  $("rows").hidden = false;
  $("state").textContent = employees.length === 1 ? "1 employee" : `${employees.length} employees`;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (button.disabled) return;
  const label = button.textContent;
  button.disabled = true;
  button.textContent = button.dataset.busy;
  $("state").textContent = "Loading employees…";
  $("trouble").hidden = true;
  try {
    await load();
    button.textContent = "Load again";
  } catch (err) {
    button.textContent = label;
    $("state").textContent = "";
    $("trouble").textContent = `The employees could not be loaded. ${err.message.startsWith("The server") ? err.message : "Is the network down?"}`;
    $("trouble").hidden = false;
  } finally {
    button.disabled = false;
    if (document.activeElement === document.body) button.focus(); // it was lost by disabling
  }
});
