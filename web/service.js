// Asks the inference API.

// What a form has at most beside the picture.
const FORM_BYTES = 1024;
const BUSY = "The service is busy or still starting. Trying again …";

/** Why there is no answer, as a sentence; isPassing if a later try may get one. */
export class ServiceError extends Error {
  constructor(sentence, isPassing) {
    super(sentence);
    this.isPassing = isPassing;
  }
}

let known = null;

/** Return the inference API's address ("" if the page's own), the model's name, the size limit and what is kept.
 *
 * They are fetched once. Throws a ServiceError.
 */
export async function config() {
  if (known === null) {
    const response = await reach("config.json");
    const settings = response.ok ? await response.json().catch(() => null) : null;
    if (settings === null) throw new ServiceError(BUSY, true);
    known = settings;
  }
  return known;
}

/** POST a picture file to "predictions", or to "explanations", and return the answer.
 *
 * Other fields of the form are "mask" for explanations with theirs, "truth" for what a person says that it shows, and
 * "keep", which may be "false". Throws a ServiceError.
 */
export async function ask(what, picture, signal, fields = {}) {
  const { inference, model, max_request_bytes: limit } = await config();
  let body = picture;
  if (Object.keys(fields).length > 0) {
    body = new FormData();
    body.append("picture", picture);
    for (const [name, value] of Object.entries(fields)) body.append(name, value);
  }
  if (picture.size > limit - FORM_BYTES) {
    const megabytes = Math.floor(limit / 2 ** 20);
    throw new ServiceError(`The picture is larger than ${megabytes} MB: choose a smaller one, or reduce it first.`, false);
  }
  // The gateway limits the rate of corrections, and reads no forms.
  const query = "truth" in fields ? `?truth=${fields.truth}` : "";
  const response = await reach(`${inference}/${what}/${model}${query}`, { method: "POST", body, signal });
  const answer = await response.json().catch(() => ({}));
  if (response.status === 503 || response.status === 429) {
    throw new ServiceError(BUSY, true);
  }
  if (!response.ok) {
    const sentence = answer.error ?? answer.message ?? `The service answered with status ${response.status}.`;
    // For whoever reads its logs.
    const id = response.status >= 500 ? response.headers.get("x-request-id") : null;
    throw new ServiceError(id ? `${sentence} The request was ${id}.` : sentence, false);
  }
  return answer;
}

/** Fetch; throws a ServiceError if there is no response, unless it was aborted. */
async function reach(address, options) {
  try {
    return await fetch(address, options);
  } catch (error) {
    if (options?.signal?.aborted) throw error;
    const sentence = navigator.onLine
      ? "The service does not answer. Is scripts/serve running? Trying again …"
      : "This device is offline, and the service does not answer. Trying again …";
    throw new ServiceError(sentence, true);
  }
}
