// The scene from above. The camera maps metres (y up) to pixels (y down).
// Both are exchanged while another canvas is drawn on.
let canvas = $("view");
let context = canvas.getContext("2d");
const camera = { x: 0, y: 0, scale: 4 };
const COLOURS = {};

function readColours() {
  for (const name of ["ground", "lane", "lane-centre", "bike", "mark", "edge", "median", "area", "ego", "opponent", "vehicle",
    "pedestrian", "cyclist", "object", "candidate", "contact", "halo", "ink"]) COLOURS[name] = colourOf(name);
}

function resize() {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth, clientHeight } = canvas;
  if (canvas.width !== Math.round(clientWidth * ratio) || canvas.height !== Math.round(clientHeight * ratio)) {
    canvas.width = Math.round(clientWidth * ratio);
    canvas.height = Math.round(clientHeight * ratio);
  }
  return ratio;
}

// Show everything that ego and opponent do, and the plan, with some road around.
function fit(now) {
  const points = [];
  for (const one of [now.ego, now.opponent, now.undisturbed]) {
    if (one) for (const line of one.lines(0, now.end)) points.push(...line);
  }
  if (now.contact) points.push([now.contact.x, now.contact.y]);
  if (!points.length) return;
  const xs = points.map((point) => point[0]);
  const ys = points.map((point) => point[1]);
  // An opponent far away may not make the ego a dot: at most 260 m are shown.
  const width = Math.min(Math.max(...xs) - Math.min(...xs) + 24, 260);
  const height = Math.min(Math.max(...ys) - Math.min(...ys) + 24, 260);
  camera.x = (Math.max(...xs) + Math.min(...xs)) / 2;
  camera.y = (Math.max(...ys) + Math.min(...ys)) / 2;
  camera.scale = Math.min(canvas.clientWidth / width, canvas.clientHeight / height, 24);
}

function zoom(factor) {
  camera.scale = Math.min(Math.max(camera.scale * factor, 0.5), 80);
}

function draw(now, time, layers, follow) {
  const ratio = resize();
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = COLOURS.ground;
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (!now) return;
  const ego = now.ego.pose(time);
  if (follow && ego) [camera.x, camera.y] = [ego.x, ego.y];
  const scale = camera.scale * ratio;
  context.setTransform(scale, 0, 0, -scale, canvas.width / 2 - camera.x * scale, canvas.height / 2 + camera.y * scale);
  const pixel = ratio / scale;
  drawMap(now.scene.layers, pixel);
  drawPaths(now, layers, pixel);
  if (layers.others) drawOthers(now, time, pixel);
  drawMain(now, time, layers, pixel);
  drawContact(now, time, pixel);
  drawScaleBar(ratio);
}

function drawMap(paths, pixel) {
  const stroke = (name, colour, width, dash) => {
    if (!paths[name]) return;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.setLineDash(dash || []);
    context.stroke(paths[name]);
  };
  context.lineCap = "butt";
  context.lineJoin = "round";
  stroke("lane", COLOURS.lane, 3.4);
  stroke("bike", COLOURS.bike, 1.2);
  if (paths.area) {
    context.fillStyle = COLOURS.area;
    context.fill(paths.area);
  }
  if (camera.scale > 2) stroke("lane", COLOURS["lane-centre"], pixel, [1.5, 2.5]);
  stroke("line", COLOURS.mark, Math.max(0.12, pixel));
  stroke("median", COLOURS.median, Math.max(0.2, 1.2 * pixel));
  stroke("edge", COLOURS.edge, Math.max(0.22, 1.4 * pixel));
  context.setLineDash([]);
}

function polyline(lines, colour, width, dash, alpha) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.setLineDash(dash || []);
  context.globalAlpha = alpha ?? 1;
  context.lineCap = dash ? "butt" : "round";
  for (const line of lines) {
    context.beginPath();
    line.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.stroke();
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
}

function drawPaths(now, layers, pixel) {
  if (layers.candidates) polyline(now.candidates, COLOURS.candidate, Math.max(0.1, pixel), null, 0.5);
  const log = now.scene.opponent === null ? null : now.scene.logs[now.scene.opponent];
  if (layers.logged && log) polyline(log.lines(), COLOURS.opponent, Math.max(0.18, 1.3 * pixel), [2 * pixel, 4 * pixel], 0.8);
  if (now.opponent) polyline(now.opponent.lines(0, now.end), COLOURS.opponent, Math.max(0.15, pixel), null, 0.5);
  if (layers.plan && now.plan) polyline(now.plan.lines(10), COLOURS.opponent, Math.max(0.3, 2.2 * pixel), null, 0.75);
  if (layers.undisturbed && now.undisturbed) {
    polyline(now.undisturbed.lines(), COLOURS.ego, Math.max(0.18, 1.3 * pixel), [5 * pixel, 4 * pixel], 0.9);
  }
  polyline(now.ego.lines(0, now.end), COLOURS.ego, Math.max(0.25, 1.8 * pixel), null, 0.55);
}

function box(pose, [length, width], fill, outline, pixel, dash) {
  context.save();
  context.translate(pose.x, pose.y);
  context.rotate(pose.h);
  context.beginPath();
  context.rect(-length / 2, -width / 2, length, width);
  if (fill) {
    context.fillStyle = fill;
    context.fill();
  }
  if (outline) {
    context.setLineDash(dash || []);
    context.strokeStyle = outline;
    context.lineWidth = 1.4 * pixel;
    context.stroke();
    context.setLineDash([]);
  }
  if (fill && length > 2) {
    // A notch at the front shows the heading.
    context.beginPath();
    context.moveTo(length * 0.42, 0);
    context.lineTo(length * 0.18, width * 0.3);
    context.lineTo(length * 0.18, -width * 0.3);
    context.closePath();
    context.fillStyle = COLOURS.halo;
    context.globalAlpha = 0.75;
    context.fill();
    context.globalAlpha = 1;
  }
  context.restore();
}

function drawOthers(now, time, pixel) {
  now.scene.agents.forEach((agent, row) => {
    if (row === now.scene.ego || row === now.scene.opponent || now.gone.has(row)) return;
    const own = now.moved.get(row) || now.scene.logs[row];
    const pose = own && own.pose(time);
    if (pose) box(pose, agent.size, COLOURS[agent.kind] || COLOURS.object, COLOURS.halo, 0.5 * pixel);
  });
  now.entered.forEach((agent) => {
    const pose = agent.track && agent.track.pose(time);
    if (pose) box(pose, agent.size, COLOURS[agent.kind] || COLOURS.object, COLOURS.halo, 0.5 * pixel);
  });
}

function drawMain(now, time, layers, pixel) {
  const opponent = now.scene.opponent;
  const log = opponent === null ? null : now.scene.logs[opponent];
  const place = { ghost: layers.undisturbed && now.undisturbed && now.undisturbed.pose(time), logged: layers.logged && log && log.pose(time),
    opponent: now.opponent && now.opponent.pose(time), ego: now.ego.pose(time) };
  if (place.logged) box(place.logged, now.scene.agents[opponent].size, null, COLOURS.opponent, pixel, [2 * pixel, 3 * pixel]);
  if (place.ghost) box(place.ghost, now.size, null, COLOURS.ego, pixel, [5 * pixel, 3 * pixel]);
  if (place.opponent) box(place.opponent, now.scene.agents[opponent].size, COLOURS.opponent, COLOURS.halo, pixel);
  if (place.ego) box(place.ego, now.size, COLOURS.ego, COLOURS.halo, pixel);
}

function drawContact(now, time, pixel) {
  if (!now.contact) return;
  const { x, y, step } = now.contact;
  const happened = time >= step;
  context.globalAlpha = happened ? 1 : 0.45;
  for (const [colour, width] of [[COLOURS.halo, 5], [COLOURS.contact, 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = width * pixel;
    context.beginPath();
    context.arc(x, y, (happened ? 11 : 7) * pixel, 0, 2 * Math.PI);
    for (const [a, b] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) {
      context.moveTo(x + a * 4 * pixel, y + b * 4 * pixel);
      context.lineTo(x + a * 16 * pixel, y + b * 16 * pixel);
    }
    context.stroke();
  }
  context.globalAlpha = 1;
}

function drawScaleBar(ratio) {
  const lengths = [1, 2, 5, 10, 20, 50, 100, 200];
  const metres = lengths.find((length) => length * camera.scale >= 60) || 200;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const [x, y] = [14, canvas.clientHeight - 14];
  context.strokeStyle = context.fillStyle = COLOURS.ink;
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(x, y - 4);
  context.lineTo(x, y);
  context.lineTo(x + metres * camera.scale, y);
  context.lineTo(x + metres * camera.scale, y - 4);
  context.stroke();
  context.font = "12px system-ui, sans-serif";
  context.fillText(`${metres} m`, x + 5, y - 6);
}
