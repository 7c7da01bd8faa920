// Reads picture files in the browser.

// Larger photos are reduced before they are sent: the service would do the same.
const LARGE_BYTES = 2 ** 20;
const MAX_SIDE_PX = 1600;

/** Draw a picture file into a canvas of the size that resize returns for its width and height.
 *
 * Return false if this browser cannot read it.
 */
export async function paint(picture, canvas, resize) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(picture);
  } catch {
    return false;
  }
  [canvas.width, canvas.height] = resize(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return true;
}

/** Return a function that scales width and height so that neither has more than sidePx pixels. */
export function within(sidePx) {
  return (width, height) => {
    const scale = Math.min(1, sidePx / Math.max(width, height));
    return [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  };
}

/** Return a picture file, reduced if it is a large photo that this browser can read. */
export async function reduce(picture) {
  if (picture.size <= LARGE_BYTES) return picture;
  const canvas = document.createElement("canvas");
  if (!(await paint(picture, canvas, within(MAX_SIDE_PX)))) return picture;
  return new Promise((resolve) => canvas.toBlob((file) => resolve(file ?? picture), "image/png"));
}
