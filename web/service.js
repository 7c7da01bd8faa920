// Asks the inference API.

export const MAX_UPLOAD_BYTES = 8388608;

/** Why there is no answer; the message is a sentence. It may pass if isPassing. */
export class ServiceError extends Error {
  constructor(sentence, isPassing) {
    super(sentence);
    this.isPassing = isPassing;
  }
}

let known = null;

/** The address of the inference API, asked for once; without a configuration it is that of the page. */
async function inferenceAddress() {
  if (known === null) {
    const response = await fetch("config.json");
    known = response.ok ? (await response.json()).inference : "";
  }
  return known;
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
