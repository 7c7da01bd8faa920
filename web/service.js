// Asks the inference API.

// What a form has at most beside the picture.
const FORM_BYTES = 1024;

/** Why there is no answer, as a sentence; isPassing if a later try may get one. */
export class ServiceError extends Error {
  constructor(sentence, isPassing) {
    super(sentence);
    this.isPassing = isPassing;
  }
}

let known = null;

/** Return the inference API's address ("" if the page's own), the model's name and the size limit; fetched once. */
export async function config() {
  if (known === null) {
    const response = await fetch("config.json");
    if (!response.ok) throw new Error(`config.json: status ${response.status}`);
    known = await response.json();
  }
  return known;
}

/** POST a picture file to "predictions", or to "explanations" for those with their mask, and return the answer.
 *
 * Throws a ServiceError.
 */
export async function ask(what, picture, signal) {
  let response;
  try {
    const { inference, model, max_request_bytes: limit } = await config();
    let body = picture;
    if (what === "explanations") {
      body = new FormData();
      body.append("picture", picture);
      body.append("mask", "true");
    }
    if (picture.size > limit - FORM_BYTES) {
      const megabytes = Math.floor(limit / 2 ** 20);
      throw new ServiceError(`The picture is larger than ${megabytes} MB: choose a smaller one, or reduce it first.`, false);
    }
    response = await fetch(`${inference}/${what}/${model}`, { method: "POST", body, signal });
  } catch (error) {
    if (signal?.aborted || error instanceof ServiceError) throw error;
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
    // For whoever reads its logs.
    const id = response.status >= 500 ? response.headers.get("x-request-id") : null;
    throw new ServiceError(id ? `${sentence} The request was ${id}.` : sentence, false);
  }
  return answer;
}
