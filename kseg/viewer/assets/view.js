// The page's script: fetches what the scene holds, hands it to NiiVue, and answers keys and buttons.
"use strict";

const element = id => document.getElementById(id);
const embedded = element("embedded") ? JSON.parse(element("embedded").textContent) : null;
const DIFFERENCE = "difference";
const NO_MASK = "no mask";
const MISSED = "#D55E00", ADDED = "#56B4E9", EXCHANGED = "#F0E442";
const ALL_CLIPPED = [-0.9, 0, 90]; // a clip plane in front of the whole image: masks alone are seen in 3D
const UNCLIPPED = [2, 0, 0];
const OPACITY_STEP = 10;

let scene = null;
let nv = null;
let order = []; // of the cases
let current = -1; // number of the case, in the scene
let loading = 0; // counts, so that a case that comes late is not shown
let masks = new Map(); // by name: label maps as NiiVue read them
let shown = null; // the name of a mask, or one of the two above
let before = null; // the mask that was shown before there was none
let hidden = new Set(); // structures
let measured = null;
let detailAt = null; // RAS mm, the middle of what is shown voxel by voxel
let automatic = [0, 1]; // the window that NiiVue chose

async function content(address) {
  if (embedded) {
    const bytes = Uint8Array.from(atob(embedded.files[address]), letter => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }
  const response = await fetch(address).catch(() => {
    throw new Error("kseg view was ended: start it again");
  });
  if (!response.ok) throw new Error(await response.text());
  return response.arrayBuffer();
}

async function table(address) {
  return JSON.parse(new TextDecoder().decode(await content(address)));
}

async function volume(address) {
  const part = detailAt ? `?at=${detailAt.join(",")}` : "";
  return niivue.NVImage.loadFromUrl({ url: address, name: "volume.nii", buffer: await content(address + part) });
}

// Places in mm are those of the affine; without the last argument NiiVue's are those of a grid that is not oblique.
const toMm = place => [...nv.frac2mm(place, 0, true)].slice(0, 3);
const toPlace = mm => nv.mm2frac(mm, 0, true);

function tell(line, wrong = false) {
  element("message").textContent = line;
  element("message").classList.toggle("wrong", wrong);
}

function rgb(colour) {
  return [1, 3, 5].map(place => parseInt(colour.slice(place, place + 2), 16));
}

// What the numbers in the drawing stand for, from 1 on.
function meanings() {
  if (shown !== DIFFERENCE) return scene.structures;
  const [first, second] = [...masks.keys()];
  return [
    { name: `only in ${second}`, colour: MISSED },
    { name: `only in ${first}`, colour: ADDED },
    { name: "another structure", colour: EXCHANGED },
  ];
}

function colourDrawing() {
  const all = meanings();
  const colours = all.map(one => rgb(one.colour));
  const seen = all.map(one => (hidden.has(one.name) ? 0 : 255));
  const column = channel => [0, ...colours.map(colour => colour[channel])];
  const labels = ["", ...all.map(one => one.name)];
  nv.setDrawColormap({ R: column(0), G: column(1), B: column(2), A: [0, ...seen], labels });
}

function difference() {
  const [first, second] = [...masks.values()].map(mask => mask.img);
  const found = new Uint8Array(first.length);
  const unlabelled = scene.structures.findIndex(one => one.unlabelled) + 1;
  const counts = value => !unlabelled || value !== unlabelled;
  for (let voxel = 0; voxel < found.length; voxel++)
    if (first[voxel] !== second[voxel] && counts(first[voxel]) && counts(second[voxel]))
      found[voxel] = !first[voxel] ? 1 : !second[voxel] ? 2 : 3;
  return found;
}

function show(name) {
  shown = name;
  const labels = name === DIFFERENCE ? difference() : masks.get(name)?.img;
  nv.closeDrawing();
  if (labels) {
    const { hdr, permRAS } = masks.values().next().value;
    colourDrawing();
    nv.loadDrawing({ hdr, permRAS, img: labels });
  } else {
    nv.drawScene();
  }
  for (const button of element("masks").children)
    button.setAttribute("aria-checked", String(button.textContent === name));
  writeLegend();
  writeMeasures();
  if (nv.volumes.length) nv.createOnLocationChange();
}

function names() {
  const all = [...masks.keys()];
  return all.length > 1 ? [...all, DIFFERENCE, NO_MASK] : all.length ? [...all, NO_MASK] : [];
}

function writeMasks() {
  element("masks").replaceChildren(...names().map(name => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("role", "radio");
    button.textContent = name;
    button.addEventListener("click", () => show(name));
    return button;
  }));
}

function writeLegend() {
  const all = shown === NO_MASK ? [] : meanings();
  element("legend").replaceChildren(...all.map(one => {
    const line = document.createElement("li"), button = document.createElement("button"), swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = one.colour;
    button.type = "button";
    button.title = "Hide, or show again";
    button.append(swatch, one.name);
    button.setAttribute("aria-pressed", String(!hidden.has(one.name)));
    button.addEventListener("click", () => {
      hidden.has(one.name) ? hidden.delete(one.name) : hidden.add(one.name);
      colourDrawing();
      nv.refreshDrawing(true);
      writeLegend();
    });
    line.append(button);
    return line;
  }));
}

function rowsAsTable(headings, rows) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const heading of headings) head.append(Object.assign(document.createElement("th"), { textContent: heading }));
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const cell of row) line.insertCell().append(cell);
  }
  return table;
}

function writeMeasures() {
  const rows = measured?.[shown];
  if (!rows) return element("measures").replaceChildren();
  const heading = Object.assign(document.createElement("h2"), { textContent: `Measures of ${shown}` });
  const cells = rows.map(row => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = row.structure + (row.touches_border ? " *" : "");
    button.title = `Move the cross to its middle. ${row.pieces} ${row.pieces === 1 ? "piece" : "pieces"}`;
    button.addEventListener("click", () => moveTo(row.centroid_ras_mm));
    return [button, row.volume_ml.toFixed(1), row.length_mm.toFixed(1), row.largest_area_mm2.toFixed(0)];
  });
  const parts = [heading, rowsAsTable(["", "volume ml", "length mm", "largest area mm²"], cells)];
  if (rows.some(row => row.touches_border))
    parts.push(Object.assign(document.createElement("p"), { className: "hint", textContent: "* touches the border of the scan: cut off there" }));
  element("measures").replaceChildren(...parts);
}

function writeScores(rows) {
  if (!rows.length) return element("scores").replaceChildren();
  const heading = Object.assign(document.createElement("h2"), { textContent: "Scores" });
  element("scores").replaceChildren(heading, rowsAsTable(rows[0], rows.slice(1)));
}

function moveTo(mm) {
  nv.scene.crosshairPos = toPlace(mm).map(along => Math.min(1, Math.max(0, along)));
  nv.drawScene();
  nv.createOnLocationChange();
}

// The middle of what the drawing marks, or of the volume; NiiVue's drawings and places are in its own order of axes.
function middle() {
  const [, nx, ny, nz] = nv.volumes[0].dimsRAS, labels = nv.drawBitmap;
  const sums = [0, 0, 0];
  let count = 0, voxel = 0;
  for (let z = 0; labels && z < nz; z++)
    for (let y = 0; y < ny; y++)
      for (let x = 0; x < nx; x++)
        if (labels[voxel++]) { sums[0] += x; sums[1] += y; sums[2] += z; count++; }
  return count ? sums.map((sum, axis) => (sum / count + 0.5) / [nx, ny, nz][axis]) : [0.5, 0.5, 0.5];
}

async function load({ stay = false } = {}) {
  const number = ++loading, here = `case/${current}/`, of = scene.cases[current];
  const at = stay && nv.volumes.length ? toMm(nv.scene.crosshairPos) : null;
  const channel = element("channel").value || "0";
  tell(`reading ${of.name} ...`);
  try {
    const image = await volume(`${here}image/${channel}.nii`);
    const found = new Map();
    for (const [index, name] of of.masks.entries()) found.set(name, await volume(`${here}mask/${index}.nii`));
    if (number !== loading) return;
    clear();
    masks = found;
    nv.addVolume(image);
    automatic = [image.cal_min, image.cal_max];
    writeWindow();
    writeMasks();
    show(names().includes(shown) ? shown : names()[0] ?? NO_MASK);
    if (at) moveTo(at);
    else {
      nv.scene.crosshairPos = middle();
      nv.drawScene();
      nv.createOnLocationChange();
    }
    const blocks = image.hdr.description.match(/^blocks of [0-9 x]+ voxels/);
    element("detail").hidden = Boolean(embedded) || !(blocks || detailAt);
    tell(blocks ? `a coarser copy, ${blocks[0]}${embedded ? "" : " (f shows every voxel around the cross)"}` : "");
    document.body.dataset.shown = of.name;
  } catch (error) {
    if (number !== loading) return;
    clear();
    tell(error.message, true);
  }
}

// Nothing of a case may stand under the name of another.
function clear() {
  nv.closeDrawing();
  while (nv.volumes.length) nv.removeVolumeByIndex(0);
  masks = new Map();
  element("masks").replaceChildren();
  element("legend").replaceChildren();
  element("place").textContent = "\u00a0";
  nv.drawScene();
}

async function measure() {
  const of = current;
  measured = null;
  writeMeasures();
  try {
    const found = await table(`case/${of}/measures.json`);
    if (of !== current) return;
    measured = found;
    writeMeasures();
  } catch (error) {
    if (of === current) tell(error.message, true);
  }
}

async function open(number) {
  const of = scene.cases[number];
  delete document.body.dataset.shown;
  current = number;
  detailAt = null;
  element("detail").hidden = true;
  element("detail").setAttribute("aria-pressed", "false");
  element("name").textContent = of.name;
  for (const button of element("list").querySelectorAll("button"))
    button.setAttribute("aria-current", String(Number(button.dataset.case) === number));
  element("channel").replaceChildren(...of.channels.map((name, index) => new Option(name, index)));
  element("channel-label").hidden = of.channels.length < 2;
  writeScores(of.scores);
  measured = null;
  writeMeasures();
  clear();
  await load();
  if (current === number && of.masks.length) await measure();
}

function writeList() {
  const by = element("order").value;
  const last = value => (value === null ? Infinity : value);
  order = scene.cases.map((_, number) => number);
  order.sort((one, other) => by === "name"
    ? scene.cases[one].name.localeCompare(scene.cases[other].name, "en", { numeric: true })
    : last(scene.cases[one][by]) - last(scene.cases[other][by]) || one - other);
  element("list").replaceChildren(...order.map(number => {
    const of = scene.cases[number], line = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.dataset.case = number;
    const value = by === "expected_dice" ? of.expected_dice : of.dice;
    const text = value === null ? "" : value.toFixed(by === "expected_dice" ? 2 : 3);
    button.append(
      Object.assign(document.createElement("span"), { textContent: of.name }),
      Object.assign(document.createElement("span"), { textContent: text }),
    );
    button.setAttribute("aria-current", String(number === current));
    button.addEventListener("click", () => open(number));
    line.append(button);
    return line;
  }));
}

function step(by) {
  const next = order[order.indexOf(current) + by];
  if (next === undefined) return;
  open(next);
  element("list").querySelector(`[data-case="${next}"]`).scrollIntoView({ block: "nearest" });
}

function writeWindow() {
  const [image] = nv.volumes;
  if (!image) return;
  element("low").value = Number(image.cal_min.toPrecision(5));
  element("high").value = Number(image.cal_max.toPrecision(5));
}

function setWindow(low, high) {
  const [image] = nv.volumes;
  if (!image || !(low < high)) return writeWindow();
  image.cal_min = low;
  image.cal_max = high;
  nv.updateGLVolume();
  writeWindow();
}

function setOpacity(percent) {
  element("opacity").value = Math.min(100, Math.max(0, percent));
  nv.setDrawOpacity(element("opacity").value / 100);
}

function press(id, pressed = element(id).getAttribute("aria-pressed") !== "true") {
  element(id).setAttribute("aria-pressed", String(pressed));
  return pressed;
}

const actions = {
  n: () => step(1),
  p: () => step(-1),
  t: () => {
    const all = [...masks.keys()];
    if (all.length) show(all[(all.indexOf(shown) + 1) % all.length]);
  },
  x: () => names().includes(DIFFERENCE) && show(DIFFERENCE),
  m: () => {
    if (shown === NO_MASK) return show(before ?? names()[0] ?? NO_MASK);
    before = shown;
    show(NO_MASK);
  },
  w: () => setWindow(...automatic),
  i: () => nv.setClipPlane(press("image-in-3d") ? UNCLIPPED : ALL_CLIPPED),
  d: () => {
    nv.opts.dragMode = press("distance") ? nv.dragModes.measurement : nv.dragModes.contrast;
    nv.drawScene();
  },
  f: () => {
    if (element("detail").hidden) return;
    detailAt = press("detail") ? toMm(nv.scene.crosshairPos) : null;
    load({ stay: true });
  },
  "[": () => setOpacity(Number(element("opacity").value) - OPACITY_STEP),
  "]": () => setOpacity(Number(element("opacity").value) + OPACITY_STEP),
};

function listen() {
  // Before NiiVue, whose own keys are others.
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input[type=number], select")) return;
    const action = actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    if (nv.volumes.length || "np".includes(event.key.toLowerCase())) action();
  }, { capture: true });
  element("order").addEventListener("change", writeList);
  element("channel").addEventListener("change", () => load({ stay: true }));
  element("opacity").addEventListener("input", event => setOpacity(event.target.value));
  for (const id of ["low", "high"])
    element(id).addEventListener("change", () => setWindow(Number(element("low").value), Number(element("high").value)));
  element("window").addEventListener("click", actions.w);
  element("image-in-3d").addEventListener("click", actions.i);
  element("distance").addEventListener("click", actions.d);
  element("detail").addEventListener("click", actions.f);
}

function tellPlace(location) {
  if (!nv.volumes.length) return;
  const [x, y, z] = location.mm;
  const [vx, vy, vz] = nv.frac2vox(nv.scene.crosshairPos), [, nx, ny] = nv.volumes[0].dimsRAS;
  const label = nv.drawBitmap?.[vx + nx * (vy + ny * vz)];
  const name = label ? `, ${meanings()[label - 1]?.name ?? ""}` : "";
  const value = location.values?.[0]?.value;
  const grey = Number.isFinite(value) ? `; grey value ${Number(value.toPrecision(5))}` : "";
  element("place").textContent = `R ${x.toFixed(1)}, A ${y.toFixed(1)}, S ${z.toFixed(1)} mm${grey}${name}`;
}

async function start() {
  scene = embedded ? embedded.scene : await table("scene.json");
  nv = new niivue.Niivue({
    backColor: [0, 0, 0, 1],
    crosshairColor: [0.9, 0.9, 0.9, 0.7],
    crosshairWidth: 0.6,
    crosshairWidthUnit: "percent", // of the scan: lines of a voxel vanish where pixels are larger
    clipPlaneColor: [0, 0, 0, 0],
    clipPlaneHotKey: "",
    cycleClipPlaneHotKey: "",
    viewModeHotKey: "",
    dragAndDropEnabled: false,
    isRadiologicalConvention: true, // as the pictures of reports, ITK-SNAP and 3D Slicer
    loadingText: "",
    logLevel: "error",
    multiplanarForceRender: true,
    multiplanarShowRender: 1,
    smoothDrawing: 1,
  });
  await nv.attachToCanvas(element("view"));
  nv.setSliceType(nv.sliceTypeMultiplanar);
  nv.setClipPlane(ALL_CLIPPED);
  nv.onLocationChange = tellPlace;
  nv.onIntensityChange = writeWindow;
  setOpacity(element("opacity").value);
  element("cases").hidden = scene.cases.length < 2;
  for (const option of [...element("order").options])
    if (option.value !== "name" && scene.cases.every(one => one[option.value] === null)) option.remove();
  element("notes").replaceChildren(...scene.notes.map(note => Object.assign(document.createElement("li"), { textContent: note })));
  listen();
  writeList();
  await open(order[0]);
}

start().catch(error => tell(error.message, true));
