// Reads picture files in the browser.

// Larger photos are reduced before they are sent: the service would do the same.
const LARGE_BYTES = 2 ** 20;
// The service refuses pictures of more than 25 megapixels.
const LARGE_PIXELS = 20e6;
const MAX_SIDE_PX = 1600;
// The longer side of a picture on the stage, whatever its size.
const STAGE_PX = 1120;

/** Return the pixels of a picture file, turned as its EXIF data say or as it is stored; null if this browser cannot. */
export async function decode(picture, isAsStored = false) {
  try {
    return await createImageBitmap(isAsStored ? await hideExif(picture) : picture);
  } catch {
    return null;
  }
}

/** Return a JPEG file whose EXIF data no browser finds: browsers have no way to leave a picture as it is stored. */
async function hideExif(picture) {
  const bytes = new Uint8Array(await picture.arrayBuffer());
  const start = String.fromCharCode(...bytes.subarray(0, 256)).indexOf("Exif\0\0");
  if (start >= 0) bytes[start] = 0;
  return new Blob([bytes], { type: picture.type });
}

/** Return a canvas with a bitmap on it, scaled so that neither side has more than sidePx pixels, and not enlarged. */
export function paint(bitmap, sidePx, canvas = document.createElement("canvas"), mostScale = 1) {
  const scale = Math.min(mostScale, sidePx / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** Paint a bitmap on the canvas of the stage; null, which stands for one that this browser cannot read, clears it.
 *
 * Return how much it is scaled, or null.
 */
export function paintPicture(bitmap, canvas) {
  if (!bitmap) {
    canvas.width = canvas.height = STAGE_PX;
    return null;
  }
  const scale = STAGE_PX / Math.max(bitmap.width, bitmap.height);
  paint(bitmap, STAGE_PX, canvas, scale);
  bitmap.close();
  return scale;
}

/** Return a picture file, reduced if it is a large photo that this browser can read. */
export async function reduce(picture) {
  const bitmap = await decode(picture);
  if (!bitmap) return picture;
  const isLarge = picture.size > LARGE_BYTES || bitmap.width * bitmap.height > LARGE_PIXELS;
  const reduced = isLarge ? await toFile(paint(bitmap, MAX_SIDE_PX), picture.type) : null;
  bitmap.close();
  return reduced ?? picture;
}

/** Return a canvas as a file: of the type JPEG if that is what it was made from, else PNG, which may be transparent. */
export function toFile(canvas, type) {
  return new Promise((resolve) => canvas.toBlob(resolve, type === "image/jpeg" ? type : "image/png", 0.92));
}
