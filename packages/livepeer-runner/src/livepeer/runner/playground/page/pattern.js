// The test picture: colours, movement, and its number, for eyes and for tests.

const BARS = ["#c8c8c8", "#c8c832", "#32c8c8", "#32c832", "#c832c8", "#c83232", "#3232c8"];

/** What does not move, painted once. */
function background(width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const paint = canvas.getContext("2d", { alpha: false });
  const bar = width / BARS.length;
  BARS.forEach((colour, i) => {
    paint.fillStyle = colour;
    paint.fillRect(Math.floor(i * bar), 0, Math.ceil(bar), height * 0.62);
  });
  const shade = paint.createLinearGradient(0, 0, width, 0);
  shade.addColorStop(0, "#0b0d10");
  shade.addColorStop(1, "#f4f5f6");
  paint.fillStyle = shade;
  paint.fillRect(0, height * 0.62, width, height * 0.38);
  return canvas;
}

/** @param {HTMLCanvasElement} canvas @returns {(number: number) => void} paints the picture of that number */
export function makePattern(canvas) {
  const paint = canvas.getContext("2d", { alpha: false });
  const { width, height } = canvas;
  const still = background(width, height);
  return (number) => {
    paint.drawImage(still, 0, 0);
    drawMoving(paint, width, height, number);
  };
}

function drawMoving(paint, width, height, number) {
  const turn = (number / 90) * 2 * Math.PI;
  const x = width * (0.5 + 0.36 * Math.cos(turn));
  const y = height * (0.4 + 0.24 * Math.sin(2 * turn));
  paint.beginPath();
  paint.arc(x, y, height * 0.11, 0, 2 * Math.PI);
  paint.fillStyle = "#ffffff";
  paint.fill();
  paint.lineWidth = height * 0.012;
  paint.strokeStyle = "#101418";
  paint.stroke();

  paint.font = `600 ${Math.round(height * 0.11)}px ui-monospace, monospace`;
  paint.textBaseline = "middle";
  paint.textAlign = "center";
  paint.fillStyle = "#101418";
  paint.fillRect(width * 0.3, height * 0.73, width * 0.4, height * 0.16);
  paint.fillStyle = "#ffffff";
  const seconds = Math.floor(number / 30);
  paint.fillText(`${String(seconds).padStart(3, "0")}:${String(number % 30).padStart(2, "0")}`, width / 2, height * 0.815);
}
