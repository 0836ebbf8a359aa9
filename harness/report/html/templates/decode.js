// Packed numbers back to metres and radians; a scene is parsed when it is first looked at, the last few are kept.
function unpack(packed) {
  const text = atob(packed.d);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const view = new DataView(bytes.buffer);
  const wide = packed.t === "i4";
  const size = wide ? 4 : 2;
  const nothing = wide ? -(2 ** 31) : -(2 ** 15);
  const values = new Float64Array(bytes.length / size);
  for (let i = 0; i < values.length; i++) {
    const whole = wide ? view.getInt32(i * size, true) : view.getInt16(i * size, true);
    values[i] = whole === nothing ? NaN : whole;
  }
  return values;
}

// A track: pose(t) at a fractional step, or null where it is absent.
class Track {
  constructor(packed) {
    this.start = packed.s;
    this.values = unpack(packed);
    this.count = this.values.length / 3;
  }

  at(step) {
    const i = step - this.start;
    if (i < 0 || i >= this.count) return null;
    const x = this.values[3 * i];
    return Number.isNaN(x) ? null : { x: x / 100, y: this.values[3 * i + 1] / 100, h: this.values[3 * i + 2] / 10000 };
  }

  pose(time) {
    const low = Math.floor(time);
    const before = this.at(low);
    const share = time - low;
    if (share === 0 || before === null) return before;
    const after = this.at(low + 1);
    if (after === null) return before;
    let turn = after.h - before.h;
    turn -= 2 * Math.PI * Math.round(turn / (2 * Math.PI));
    return {
      x: before.x + share * (after.x - before.x),
      y: before.y + share * (after.y - before.y),
      h: before.h + share * turn,
    };
  }

  // Speed in m/s by central difference of places.
  speed(step, dt) {
    const a = this.at(step - 1) || this.at(step);
    const b = this.at(step + 1) || this.at(step);
    const span = (this.at(step - 1) ? 1 : 0) + (this.at(step + 1) ? 1 : 0);
    return a && b && span ? Math.hypot(b.x - a.x, b.y - a.y) / (span * dt) : null;
  }

  get last() {
    return this.start + this.count - 1;
  }

  // Corners of pieces without gaps, as lists of [x, y].
  lines(from = 0, to = Infinity) {
    const lines = [];
    let line = [];
    for (let step = Math.max(from, this.start); step <= Math.min(to, this.last); step++) {
      const pose = this.at(step);
      if (pose) line.push([pose.x, pose.y]);
      else if (line.length) {
        lines.push(line);
        line = [];
      }
    }
    if (line.length > 1) lines.push(line);
    return lines;
  }
}

const track = (packed) => (packed ? new Track(packed) : null);
const scenes = new Map();

function scene(number) {
  if (scenes.has(number)) {
    const found = scenes.get(number);
    scenes.delete(number);
    scenes.set(number, found);
    return found;
  }
  const raw = JSON.parse($(`scene-${number}`).textContent);
  const found = { ...raw, logs: raw.agents.map((agent) => track(agent.log)), layers: mapPaths(raw.map) };
  scenes.set(number, found);
  if (scenes.size > 6) scenes.delete(scenes.keys().next().value);
  return found;
}

function mapPaths(map) {
  const paths = {};
  for (const [name, layer] of Object.entries(map)) {
    const values = unpack(layer.xy);
    const path = new Path2D();
    let at = 0;
    for (const count of layer.n) {
      for (let i = 0; i < count; i++, at += 2) {
        if (i === 0) path.moveTo(values[at] / 100, values[at + 1] / 100);
        else path.lineTo(values[at] / 100, values[at + 1] / 100);
      }
    }
    paths[name] = path;
  }
  return paths;
}

function episode(row) {
  const place = scene(EPISODES.scene[row]);
  const raw = place.episodes[row];
  if (!raw) return null; // failed: there is nothing to see
  const found = {
    row, scene: place, end: raw.end, size: raw.size, contact: raw.contact, takeover: raw.takeover,
    ego: track(raw.ego), opponent: track(raw.opponent), plan: track(raw.plan),
    candidates: raw.candidates ? candidateLines(raw.candidates) : [],
    moved: new Map(raw.moved.map(([agent, packed]) => [agent, track(packed)])),
    gone: new Set(raw.gone),
    entered: raw.entered.map((agent) => ({ ...agent, track: track(agent.log) })),
  };
  const quiet = undisturbedRow(row);
  const other = quiet === null ? null : place.episodes[quiet];
  found.undisturbed = other ? track(other.ego) : null;
  return found;
}

function candidateLines(packed) {
  const values = unpack(packed);
  const lines = [];
  for (let k = 0; k < packed.k; k++) {
    const line = [];
    for (let i = 0; i < packed.n; i++) {
      const at = 2 * (k * packed.n + i);
      if (!Number.isNaN(values[at])) line.push([values[at] / 100, values[at + 1] / 100]);
    }
    lines.push(line);
  }
  return lines;
}

// The row of the same system in the same scene without attack, or null.
function undisturbedRow(row) {
  for (let other = row; other >= 0 && EPISODES.scene[other] === EPISODES.scene[row]; other--) {
    if (EPISODES.sut[other] === EPISODES.sut[row] && EPISODES.adversary[other] === UNDISTURBED) {
      return other === row ? null : other;
    }
  }
  return null;
}
