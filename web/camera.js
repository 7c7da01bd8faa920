// Takes a picture with the camera.

import { toFile } from "./picture.js";

// The longer side of the picture, at most.
const MAX_SIDE_PX = 1280;

export class Camera {
  /** Show what the camera sees in a video element; of that, the part behind a frame element will be the picture. */
  constructor(video, frame) {
    this.video = video;
    this.frame = frame;
  }

  /** Switch it on. Throws an Error with a sentence for the person in front of it. */
  async start() {
    try {
      const wanted = { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 1280 } };
      const stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
      this.stop();
      this.video.srcObject = stream;
      await this.video.play();
    } catch (cause) {
      this.stop();
      const sentence =
        cause.name === "NotAllowedError"
          ? "The camera is blocked: allow it in the browser, or choose a picture."
          : "The camera does not start: another program may be using it. Choose a picture instead.";
      throw new Error(sentence, { cause });
    }
  }

  stop() {
    for (const track of this.video.srcObject?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
  }

  /** Return what is in the frame as a JPEG file. */
  shoot() {
    const { video, frame } = this;
    const [shown, wanted] = [video.getBoundingClientRect(), frame.getBoundingClientRect()];
    // The video covers its element, and is centred in it.
    const scale = Math.max(shown.width / video.videoWidth, shown.height / video.videoHeight);
    const [width, height] = [wanted.width / scale, wanted.height / scale];
    const reduction = Math.min(1, MAX_SIDE_PX / Math.max(width, height));
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [Math.round(width * reduction), Math.round(height * reduction)];
    const [x, y] = [(video.videoWidth - width) / 2, (video.videoHeight - height) / 2];
    canvas.getContext("2d").drawImage(video, x, y, width, height, 0, 0, canvas.width, canvas.height);
    return toFile(canvas, "image/jpeg");
  }
}
