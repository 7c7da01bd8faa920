// Shows where in a picture the digit was found, and what the net saw of it.

import { decode } from "./picture.js";

const INK_FOR = [60, 140, 255];
const INK_AGAINST = [255, 140, 30];
const OUTLINE = "#1f6bff";
const HALO = "#fff";
const PAPER = "#fff";
// In pixels of the canvas, which is shown at about half its size.
const LINE_PX = 6;
const HALO_PX = 11;
const MARGIN_PX = 24;

/** Paint a bitmap into the middle of a square canvas; null, which stands for one that the browser cannot read, clears it.
 *
 * Return where it is: the place of its corner, and how much it is scaled.
 */
export function paintPicture(bitmap, canvas) {
  clear(canvas);
  if (!bitmap) return null;
  const context = canvas.getContext("2d");
  const scale = canvas.width / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  const place = { x: (canvas.width - width) / 2, y: (canvas.height - height) / 2, scale };
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, place.x, place.y, width, height);
  bitmap.close();
  return place;
}

export function clear(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

/** Return the mask of an explanation as a bitmap. */
export function decodeMask(mask) {
  return decode(new Blob([Uint8Array.from(atob(mask), (letter) => letter.charCodeAt(0))]));
}

/** Outline box and ink on a canvas; where there is no picture with a place behind it, paint the ink in the middle. */
export function paintFound([left, top, right, bottom], mask, canvas, place) {
  const { x, y, scale } = place ?? middle(left, top, right, bottom, canvas);
  const box = [x + left * scale, y + top * scale, (right - left) * scale, (bottom - top) * scale];
  const ink = paintInk(mask, box, canvas);
  const context = canvas.getContext("2d");
  clear(canvas);
  if (!place) {
    context.fillStyle = PAPER;
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  for (const [colour, thick] of [[HALO, HALO_PX], [OUTLINE, LINE_PX]]) {
    context.drawImage(widen(ink, colour, thick), 0, 0);
    context.strokeStyle = colour;
    context.lineWidth = thick;
    context.beginPath();
    context.roundRect(...around(box, canvas), MARGIN_PX);
    context.stroke();
  }
  if (place) context.globalCompositeOperation = "destination-out";
  context.drawImage(ink, 0, 0);
  context.globalCompositeOperation = "source-over";
}

/** Return where a picture is whose box is in the middle of a canvas, and has half its size. */
function middle(left, top, right, bottom, canvas) {
  const scale = canvas.width / 2 / Math.max(right - left, bottom - top);
  return { x: (canvas.width - (left + right) * scale) / 2, y: (canvas.height - (top + bottom) * scale) / 2, scale };
}

/** Return a box with a margin, as far as the canvas has room for it. */
function around([x, y, width, height], canvas) {
  const edge = (at) => Math.min(Math.max(at, HALO_PX), canvas.width - HALO_PX);
  const [left, top] = [edge(x - MARGIN_PX), edge(y - MARGIN_PX)];
  return [left, top, edge(x + width + MARGIN_PX) - left, edge(y + height + MARGIN_PX) - top];
}

/** Return a canvas like another one with the ink of a mask in a box, opaque with a sharp edge. */
function paintInk(mask, box, { width, height }) {
  const ink = Object.assign(document.createElement("canvas"), { width, height });
  const context = ink.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(mask, ...box);
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

/** Paint the pixels of an explanation on a canvas of 28x28, coloured by how much they counted. */
export function paintSeen({ pixels, saliency }, canvas) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(28, 28);
  const most = Math.max(1e-6, ...saliency.flat().map(Math.abs));
  for (let index = 0; index < 28 * 28; index++) {
    const [y, x] = [Math.floor(index / 28), index % 28];
    const attribution = saliency[y][x] / most;
    const share = Math.min(1, 2 * Math.abs(attribution));
    (attribution > 0 ? INK_FOR : INK_AGAINST).forEach((level, channel) => {
      image.data[4 * index + channel] = pixels[y][x] * (1 - share) + level * share;
    });
    image.data[4 * index + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}
