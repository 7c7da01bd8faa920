// Asks the inference API.

const MAX_UPLOAD_BYTES = 8388608;
// Larger photos are reduced before they are sent: the service would do the same.
const MAX_SIDE_PX = 1600;

/** Why there is no answer; the message is a sentence. It may pass if isPassing. */
export class ServiceError extends Error {
  constructor(sentence, isPassing) {
    super(sentence);
    this.isPassing = isPassing;
  }
}

/** The address of the inference API; without a configuration it is that of the page. */
async function inferenceAddress() {
  const response = await fetch("config.json");
  return response.ok ? (await response.json()).inference : "";
}

/** POST a picture file to "predictions" or "explanations" and return the answer. Throws a ServiceError. */
export async function ask(what, picture, signal) {
  if (picture.size > MAX_UPLOAD_BYTES) {
    throw new ServiceError("The picture is larger than 8 MB: choose a smaller one, or reduce it first.", false);
  }
  let response;
  try {
    const address = await inferenceAddress();
    response = await fetch(`${address}/${what}/mnist`, { method: "POST", body: picture, signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    const sentence = navigator.onLine
      ? "The service does not answer. Is scripts/serve running? Trying again …"
      : "This device is offline, and the service does not answer. Trying again …";
    throw new ServiceError(sentence, true);
  }
  const answer = await response.json().catch(() => ({}));
  if (response.status === 503 || response.status === 429) {
    throw new ServiceError("The service is busy or still starting. Trying again …", true);
  }
  if (!response.ok) {
    const sentence = answer.error ?? answer.message ?? `The service answered with status ${response.status}.`;
    throw new ServiceError(sentence, false);
  }
  return answer;
}

/** Return a picture file, reduced if it is a large photo that this browser can read. */
export async function reduce(picture) {
  if (picture.size <= MAX_UPLOAD_BYTES / 8) return picture;
  let bitmap;
  try {
    bitmap = await createImageBitmap(picture);
  } catch {
    return picture;
  }
  const scale = Math.min(1, MAX_SIDE_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((resolve) => canvas.toBlob((file) => resolve(file ?? picture), "image/png"));
}
