// From a drawing to an image as in MNIST: 28 x 28, the digit fitted into 20 x 20, its centre of mass in the middle.

export const SIDE = 28;
const FITTED = 20;
const STROKE = 2.4; // pixels of the image: that of a pen in MNIST
const SMALLEST = 0.25; // share of the pad: what is smaller is not enlarged to full size

/** The image, in [0, 1], of strokes: lists of points [x, y] in [0, 1]. */
export function imageOf(strokes) {
  const points = strokes.flat();
  const [left, right] = extent(points.map(([x]) => x));
  const [top, bottom] = extent(points.map(([, y]) => y));
  const scale = (FITTED - STROKE) / Math.max(right - left, bottom - top, SMALLEST);
  const draw = (dx, dy) => {
    const place = ([x, y]) => [(x - (left + right) / 2) * scale + SIDE / 2 + dx, (y - (top + bottom) / 2) * scale + SIDE / 2 + dy];
    return drawn(strokes.map((stroke) => stroke.map(place)));
  };
  const image = draw(0, 0);
  let [mass, x, y] = [0, 0, 0];
  image.forEach((value, i) => {
    mass += value;
    x += value * ((i % SIDE) + 0.5);
    y += value * (Math.floor(i / SIDE) + 0.5);
  });
  return draw(SIDE / 2 - x / mass, SIDE / 2 - y / mass);
}

function extent(values) {
  return [Math.min(...values), Math.max(...values)];
}

function drawn(strokes) {
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillRect(0, 0, SIDE, SIDE);
  trace(context, strokes, STROKE, "white");
  const { data } = context.getImageData(0, 0, SIDE, SIDE);
  return Float32Array.from({ length: SIDE * SIDE }, (_, i) => data[4 * i] / 255);
}

/** Draws strokes, in the pixels of the canvas. */
export function trace(context, strokes, width, colour) {
  Object.assign(context, { lineWidth: width, lineCap: "round", lineJoin: "round", strokeStyle: colour });
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(...stroke[0]);
    for (const point of stroke.length > 1 ? stroke.slice(1) : stroke) context.lineTo(...point);
    context.stroke();
  }
}

/** Draws an image of values in [0, 1] over the whole canvas. */
export function show(canvas, image) {
  const small = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
  const pixels = new ImageData(SIDE, SIDE);
  image.forEach((value, i) => pixels.data.set([245, 248, 250, 255 * value], 4 * i));
  small.getContext("2d").putImageData(pixels, 0, 0);
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}
