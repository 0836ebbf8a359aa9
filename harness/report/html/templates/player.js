// One episode at a time: clock, buttons, keys, and the numbers beside the picture.
const player = { now: null, row: null, time: 0, playing: false, stamp: 0 };
const layers = { undisturbed: true, logged: true, plan: true, candidates: true, others: true };
const slider = $("time");

function redraw() {
  draw(player.now, player.now ? Math.min(player.time, player.now.end) : 0, layers, $("follow").checked);
  drawBeside(player.time, layers);
}

function showTime() {
  const now = player.now;
  slider.value = Math.round(player.time);
  if (!now) return;
  const step = Math.min(Math.round(player.time), now.end);
  const dt = now.scene.dt;
  const seconds = fixed(player.time * dt, 1);
  slider.setAttribute("aria-valuetext", `${seconds} seconds`);
  const ego = now.ego.pose(Math.min(player.time, now.end));
  const speed = (one) => (one ? fixed(one.speed(step, dt), 1) : "–");
  $("clock").textContent = `${seconds} s of ${fixed(lastStep() * dt, 1)} s · step ${step} · ego ${speed(now.ego)} m/s` +
    (now.opponent ? ` · opponent ${speed(now.opponent)} m/s` : "");
  if (ego) {
    const place = [ego.x + now.scene.origin[0], ego.y + now.scene.origin[1]];
    canvas.dataset.ego = place.map((value) => value.toFixed(2)).join(" ");
    canvas.setAttribute("aria-label", `Scene from above at ${seconds} seconds: ego at ${fixed(place[0], 1)}, ${fixed(place[1], 1)} m`);
  }
}

function seek(time) {
  player.time = Math.min(Math.max(time, 0), lastStep());
  showTime();
  redraw();
}

function setPlaying(on) {
  player.playing = on && player.now !== null;
  $("play").textContent = player.playing ? "Pause" : "Play";
  $("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  if (!player.playing) return seek(Math.round(player.time));
  if (player.time >= lastStep()) player.time = 0;
  player.stamp = performance.now();
  requestAnimationFrame(tick);
}

function tick(stamp) {
  if (!player.playing) return;
  const elapsed = Math.min(Math.max(stamp - player.stamp, 0), 200) / 1000;
  player.stamp = stamp;
  player.time += (elapsed * Number($("speed").value)) / player.now.scene.dt;
  if (player.time >= lastStep()) {
    player.time = lastStep();
    return setPlaying(false);
  }
  showTime();
  redraw();
  requestAnimationFrame(tick);
}

function open(row, keepView = false, link = true) {
  setPlaying(false);
  const same = keepView && player.row !== null && EPISODES.scene[row] === EPISODES.scene[player.row];
  const { scene: name, system, adversary, outcome } = label(row);
  player.row = row;
  player.now = episode(row);
  $("episode-title").textContent = `${adversary === INDEX.adversaries[UNDISTURBED] ? "undisturbed" : adversary} · ${system} · scene ${name}`;
  $("episode-outcome").textContent = outcomeText(row);
  $("episode-outcome").dataset.outcome = outcome;
  const now = player.now;
  openBeside(row);
  slider.max = lastStep();
  slider.disabled = $("play").disabled = !now;
  $("to-contact").disabled = !(now && now.contact);
  $("clock").textContent = now ? "" : "this episode failed: there is nothing to see";
  delete canvas.dataset.ego;
  showMarks(now);
  showDial(row);
  showNumbers(row);
  resize();
  if (now && !same) fit(now);
  if (link) history.replaceState(null, "", `#episode-${row}`);
  seek(0);
}

function showMarks(now) {
  const marks = $("marks");
  marks.replaceChildren();
  if (!now) return;
  const mark = (step, kind) => {
    make(marks, "span", { class: kind }).style.left = `${(100 * step) / Math.max(lastStep(), 1)}%`;
  };
  if (now.plan && now.end > 10) mark(10, "start");
  if (now.takeover !== null) mark(now.takeover, "takeover");
  if (now.contact) mark(now.contact.step, "hit");
}

function showNumbers(row) {
  const box = $("numbers");
  box.replaceChildren();
  const error = INDEX.errors[row];
  if (error) return void make(box, "p", { class: "note" }, `Failed: ${error}`);
  const list = make(box, "div", { class: "columns" });
  const item = (name, value, about) =>
    make(list, "div", { class: "item", title: about }, make(null, "span", {}, name), make(null, "span", {}, value));
  const now = player.now;
  if (now.contact) {
    const known = now.scene.agents;
    const other = known[now.contact.agent] || now.entered[now.contact.agent - known.length];
    const who = now.contact.agent === now.scene.opponent ? "the opponent" : `${other.kind} ${other.id}`;
    item("first contact", `${fixed(now.contact.step * now.scene.dt, 1)} s, with ${who}`);
  }
  if (now.takeover !== null) item("controller takes over", `${fixed(now.takeover * now.scene.dt, 1)} s`);
  const names = Object.keys(INDEX.scores).filter((name) => score(name, row) !== null && name !== "contact_step");
  const order = new Map(INDEX.titles.map((title, place) => [title.name, place]));
  names.sort((a, b) => (order.get(a) ?? 999) - (order.get(b) ?? 999) || (a < b ? -1 : 1));
  for (const name of names) {
    const [title, value] = [SCORE_TITLES.get(name), score(name, row)];
    const timed = name.endsWith("_step") && typeof value === "number";
    const words = (timed ? name.slice(0, -5) + " from" : name).replaceAll("_", " ");
    item(title ? title.title : words, timed ? `${fixed(value * now.scene.dt, 1)} s` : scoreText(name, value), title ? title.about : null);
  }
}

const KEYS = {
  " ": () => setPlaying(!player.playing),
  ArrowLeft: (event) => step(event.shiftKey ? -10 : -1),
  ArrowRight: (event) => step(event.shiftKey ? 10 : 1),
  Home: () => step(-Infinity),
  End: () => step(Infinity),
  n: () => neighbour(1),
  p: () => neighbour(-1),
  "+": () => scaled(1.25),
  "=": () => scaled(1.25),
  "-": () => scaled(0.8),
  0: () => refit(),
  f: () => $("follow").click(),
  c: () => toContact(),
};

function step(count) {
  setPlaying(false);
  seek(Math.round(player.time) + count);
}

function scaled(factor) {
  zoom(factor);
  redraw();
}

function refit() {
  if (player.now) fit(player.now);
  redraw();
}

function toContact() {
  if (!player.now || !player.now.contact) return;
  setPlaying(false);
  seek(player.now.contact.step);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !player.now) return;
  const target = event.target;
  const typing = target.matches("input:not([type=checkbox]):not([type=range]), select, textarea");
  // A focused button or summary takes the space bar itself; elsewhere on the page the keys belong to the player only
  // while it is in sight, so that scrolling the tables works as everywhere.
  const own = event.key === " " && target.matches("button, summary, input, a");
  const inside = $("playback").contains(target) || (target === document.body && inSight());
  if (typing || own || !inside || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key](event);
}

function inSight() {
  const { top, bottom } = canvas.getBoundingClientRect();
  return top < window.innerHeight * 0.8 && bottom > window.innerHeight * 0.2;
}

function startPlayer() {
  readColours();
  slider.addEventListener("input", () => {
    const wanted = Number(slider.value); // stopping moves the slider to where the player stood
    setPlaying(false);
    seek(wanted);
  });
  const click = (id, action) => $(id).addEventListener("click", action);
  click("play", () => setPlaying(!player.playing));
  click("back", () => step(-1));
  click("forward", () => step(1));
  click("to-contact", toContact);
  click("zoom-in", () => scaled(1.25));
  click("zoom-out", () => scaled(0.8));
  click("fit", refit);
  $("follow").addEventListener("change", redraw);
  for (const input of document.querySelectorAll("[data-layer]")) {
    input.addEventListener("change", () => {
      layers[input.dataset.layer] = input.checked;
      redraw();
    });
  }
  document.addEventListener("keydown", onKey);
  new ResizeObserver(redraw).observe(canvas);
  startDragging();
}

function startDragging() {
  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    held = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    camera.x -= (event.clientX - held[0]) / camera.scale;
    camera.y += (event.clientY - held[1]) / camera.scale;
    held = [event.clientX, event.clientY];
    $("follow").checked = false;
    redraw();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (held = null));
  canvas.addEventListener("wheel", (event) => {
    // Plain scrolling moves the page; zooming asks for a key or for the canvas to have been chosen.
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    scaled(Math.exp(-event.deltaY / 400));
  }, { passive: false });
}
