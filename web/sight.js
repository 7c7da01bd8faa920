// Shows where in a picture the digits were found, and what the net saw of them.

import { isDigitDoubted, numbersIn, textOf } from "./answer.js";
import { decode, paintPicture } from "./picture.js";

const INK_FOR = [60, 140, 255];
const INK_AGAINST = [255, 140, 30];
const OUTLINE = "#1f6bff";
const DOUBTED = "#e06a00";
const HALO = "#fff";
const PAPER = "#fff";
// In pixels of the canvas, which is shown at about half its size; lines around small digits are thinner.
const SMALL_PX = 160;
const LINE_PX = 6;
const HALO_PX = 11;
const MARGIN_PX = 24;
const LABEL_PX = 44;

export class Sight {
  /** Return the sight of a picture file with an explanation; canvases are picture, found and seen. */
  static async load(file, explanation, canvases) {
    const numbers = numbersIn(explanation);
    const digits = numbers ? numbers.flatMap((number) => number.digits) : [explanation];
    const [bitmap, ...masks] = await Promise.all([
      decode(file, explanation.as_stored),
      ...digits.map(({ mask }) => (mask ? decodeMask(mask) : null)),
    ]);
    const found = digits.map((digit, order) => ({ ...digit, mask: masks[order] }));
    return Object.assign(new Sight(), { numbers, bitmap, digits: found, ...canvases });
  }

  /** Show the picture, and what was found in it; return false if this browser cannot show the picture itself. */
  show(chosen) {
    this.scale = paintPicture(this.bitmap, this.picture);
    this.choose(chosen);
    return this.scale !== null;
  }

  /** Outline what was found, the digit of an order in a frame, and show that as the net saw it. */
  choose(chosen) {
    const found = this.digits.map((digit, order) => ({
      ...digit,
      isDoubted: this.numbers !== null && isDigitDoubted(digit),
      isFramed: order === chosen || !digit.mask,
    }));
    if (this.numbers?.length > 1) {
      found.push(...this.numbers.map((each) => ({ box: each.box, label: textOf(each), isDoubted: !each.certain })));
    }
    this.place = paintFound(found, this.found, this.picture, this.scale);
    // Of very many digits not all are explained.
    const { pixels, saliency } = this.digits[chosen];
    this.seen.parentElement.hidden = !pixels;
    if (pixels) paintSeen(pixels, saliency, this.seen);
  }

  /** Return the order of the digit that is nearest to a click or touch on the picture. */
  find({ clientX, clientY }) {
    const { width, height } = this.picture;
    const shown = this.picture.getBoundingClientRect();
    // The picture is in the middle of its element, and keeps its shape.
    const scale = Math.max(width / shown.width, height / shown.height);
    const [across, down] = [clientX - shown.left - shown.width / 2, clientY - shown.top - shown.height / 2];
    const { place } = this;
    const x = (width / 2 + across * scale - place.x) / place.scale;
    const y = (height / 2 + down * scale - place.y) / place.scale;
    const distances = this.digits.map(({ box: [left, top, right, bottom] }) =>
      Math.hypot((left + right) / 2 - x, (top + bottom) / 2 - y),
    );
    return distances.indexOf(Math.min(...distances));
  }
}

/** Return the mask of an explanation as a bitmap. */
function decodeMask(mask) {
  return decode(new Blob([Uint8Array.from(atob(mask), (letter) => letter.charCodeAt(0))]));
}

/** Outline what was found in a picture, which is scaled, on a canvas like that of the picture.
 *
 * Each has a box, the mask of its ink or null, whether it isDoubted, whether its box isFramed, and perhaps a label.
 * Where there is no picture, and scale is null, the ink is painted, in the middle. Return where on the canvas the
 * picture's corner is, and how much it is scaled.
 */
function paintFound(found, canvas, { width, height }, scale) {
  Object.assign(canvas, { width, height });
  const place = scale === null ? middle(found, canvas) : { x: 0, y: 0, scale };
  const things = found.map(({ box: [left, top, right, bottom], ...rest }) => {
    const corner = [place.x + left * place.scale, place.y + top * place.scale];
    return { ...rest, box: [...corner, (right - left) * place.scale, (bottom - top) * place.scale] };
  });
  const thin = Math.min(1, Math.max(0.5, things[0].box[3] / SMALL_PX));
  const ink = paintInk(things, canvas);
  const doubted = paintInk(things.filter((thing) => thing.isDoubted), canvas);
  const context = canvas.getContext("2d");
  if (scale === null) {
    context.fillStyle = PAPER;
    context.fillRect(0, 0, width, height);
  }
  for (const [colour, doubtedColour, thick] of [[HALO, HALO, thin * HALO_PX], [OUTLINE, DOUBTED, thin * LINE_PX]]) {
    if (ink) context.drawImage(widen(ink, colour, thick), 0, 0);
    if (doubted) context.drawImage(widen(doubted, doubtedColour, thick), 0, 0);
    context.lineWidth = thick;
    for (const { box, isDoubted } of things.filter((thing) => thing.isFramed)) {
      context.strokeStyle = isDoubted ? doubtedColour : colour;
      context.beginPath();
      context.roundRect(...around(box, canvas), MARGIN_PX);
      context.stroke();
    }
  }
  if (ink) {
    if (scale !== null) context.globalCompositeOperation = "destination-out";
    context.drawImage(ink, 0, 0);
    context.globalCompositeOperation = "source-over";
  }
  for (const thing of things) if (thing.label) paintLabel(thing, canvas);
  return place;
}

/** Return where a picture is if what was found is in the middle of a canvas, and has half its size. */
function middle(found, canvas) {
  const ends = (side, most) => most(...found.map(({ box }) => box[side]));
  const [left, top, right, bottom] = [ends(0, Math.min), ends(1, Math.min), ends(2, Math.max), ends(3, Math.max)];
  const scale = canvas.width / 2 / Math.max(right - left, bottom - top);
  return { x: (canvas.width - (left + right) * scale) / 2, y: (canvas.height - (top + bottom) * scale) / 2, scale };
}

/** Return a box with a margin, as far as the canvas has room for it. */
function around([x, y, width, height], canvas) {
  const [left, top] = [x, y].map((at) => Math.max(at - MARGIN_PX, HALO_PX));
  const right = Math.min(x + width + MARGIN_PX, canvas.width - HALO_PX);
  const bottom = Math.min(y + height + MARGIN_PX, canvas.height - HALO_PX);
  return [left, top, Math.max(0, right - left), Math.max(0, bottom - top)];
}

/** Write a label above a box, or below it where there is no room. */
function paintLabel({ box: [x, y, width, height], label, isDoubted }, canvas) {
  const context = canvas.getContext("2d");
  const isAbove = y > LABEL_PX + HALO_PX;
  context.font = `600 ${LABEL_PX}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = isAbove ? "bottom" : "top";
  context.lineJoin = "round";
  context.lineWidth = HALO_PX;
  context.strokeStyle = HALO;
  context.fillStyle = isDoubted ? DOUBTED : OUTLINE;
  const half = context.measureText(label).width / 2 + HALO_PX;
  const across = Math.max(half, Math.min(x + width / 2, canvas.width - half));
  const at = isAbove ? y - HALO_PX : y + height + HALO_PX;
  context.strokeText(label, across, at);
  context.fillText(label, across, at);
}

/** Return a canvas like another one with the ink of masks in their boxes, opaque and sharp; null without any. */
function paintInk(things, { width, height }) {
  const inked = things.filter(({ mask }) => mask);
  if (inked.length === 0) return null;
  const ink = Object.assign(document.createElement("canvas"), { width, height });
  const context = ink.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  // Boxes of neighbours may overlap.
  context.globalCompositeOperation = "lighten";
  for (const { mask, box } of inked) context.drawImage(mask, ...box);
  const image = context.getImageData(0, 0, width, height);
  for (let index = 0; index < image.data.length; index += 4) {
    image.data[index + 3] = 6 * (image.data[index] - 100);
    image.data.fill(20, index, index + 3);
  }
  context.putImageData(image, 0, 0);
  return ink;
}

/** Return a canvas with ink widened by thick pixels, in one colour. */
function widen(ink, colour, thick) {
  const wide = Object.assign(document.createElement("canvas"), { width: ink.width, height: ink.height });
  const context = wide.getContext("2d");
  for (let step = 0; step < 16; step++) {
    const angle = (step / 8) * Math.PI;
    context.drawImage(ink, thick * Math.cos(angle), thick * Math.sin(angle));
  }
  context.globalCompositeOperation = "source-in";
  context.fillStyle = colour;
  context.fillRect(0, 0, wide.width, wide.height);
  return wide;
}

/** Paint the pixels of an explanation on a canvas of 28x28, coloured by how much they counted, if it says that. */
function paintSeen(pixels, saliency = [], canvas) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(28, 28);
  const most = Math.max(1e-6, ...saliency.flat().map(Math.abs));
  for (let index = 0; index < 28 * 28; index++) {
    const [y, x] = [Math.floor(index / 28), index % 28];
    const attribution = (saliency[y]?.[x] ?? 0) / most;
    const share = Math.min(1, 2 * Math.abs(attribution));
    (attribution > 0 ? INK_FOR : INK_AGAINST).forEach((level, channel) => {
      image.data[4 * index + channel] = pixels[y][x] * (1 - share) + level * share;
    });
    image.data[4 * index + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}
