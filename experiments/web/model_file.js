// The model file that dbn_jax.model_file.save writes, as it is: a zip of NumPy arrays, and a
// description of the classes that hold them. Weights in bfloat16 are two planes of bytes.

/** Throws unless the bytes have this SHA-256, in hexadecimal digits; false if none can be made. */
export async function verify(bytes, sha256) {
  if (!globalThis.crypto?.subtle) return false; // of a page from http://, but for localhost
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== sha256) {
    throw new Error(
      `The model in this page has the SHA-256 ${found}, but should have ${sha256}: the page is ` +
      "damaged. Get it anew.");
  }
  return true;
}

/** The model of a file: its classes as objects, its arrays as matrices or Float32Array. */
export async function read(bytes) {
  try {
    const members = await unzip(bytes);
    const description = members.get("description.npy");
    const text = new TextDecoder().decode(parseArray(description).data);
    return build(JSON.parse(text), (name) => parseArray(members.get(`${name}.npy`)));
  } catch (error) {
    throw new Error(`The model in this page is damaged, or of an unknown kind (${error.message}).`);
  }
}

/** What a deflate stream holds; `format` is "deflate-raw", or "deflate" for one of zlib. */
export async function inflate(bytes, format) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const MEMBER = 0x02014b50; // how an entry of the directory at a zip's end begins
const END = 0x06054b50;

/** The members of a zip by name. */
async function unzip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22; // the file has no comment
  if (end < 0 || view.getUint32(end, true) !== END) throw new Error("it is no zip file");
  const members = new Map();
  let place = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (view.getUint32(place, true) !== MEMBER) throw new Error("its directory is damaged");
    const method = view.getUint16(place + 10, true);
    const length = view.getUint32(place + 20, true);
    const nameLength = view.getUint16(place + 28, true);
    const local = view.getUint32(place + 42, true);
    const name = new TextDecoder().decode(bytes.subarray(place + 46, place + 46 + nameLength));
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const packed = bytes.subarray(start, start + length);
    members.set(name, method === 8 ? await inflate(packed, "deflate-raw") : packed.slice());
    place += 46 + nameLength + view.getUint16(place + 30, true) + view.getUint16(place + 32, true);
  }
  return members;
}

/** The array of a .npy file: {shape, data}. */
function parseArray(bytes) {
  if (!bytes) throw new Error("an array is missing");
  const start = 10 + new DataView(bytes.buffer).getUint16(8, true);
  const header = new TextDecoder().decode(bytes.subarray(10, start));
  const [, type] = header.match(/'descr': '([^']*)'/);
  const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(",").filter((n) => n.trim()).map(Number);
  const body = bytes.slice(start);
  const kinds = { "|u1": Uint8Array, "<f4": Float32Array };
  if (!kinds[type]) throw new Error(`an array is of ${type}`);
  const data = new kinds[type](body.buffer);
  if (data.length !== shape.reduce((a, b) => a * b, 1)) throw new Error("an array is cut off");
  return { shape, data };
}

/** What a part of the description stands for. */
function build(part, arrayOf) {
  if ("class" in part) {
    const fields = Object.entries(part.fields);
    const built = fields.map(([name, field]) => [name, build(field, arrayOf)]);
    return { class: part.class, ...Object.fromEntries(built) };
  }
  if ("tuple" in part) return part.tuple.map((item) => build(item, arrayOf));
  if ("array" in part) return asMatrix(arrayOf(part.array));
  if (part.dtype === "bfloat16") return asMatrix(joinPlanes(arrayOf(part.planes)));
  if ("value" in part) return part.value;
  throw new Error(`a part is of ${JSON.stringify(part).slice(0, 60)}`);
}

/** bfloat16 numbers, the upper half of a float32 each, of the plane of their upper bytes and that
 * of their lower ones. */
function joinPlanes({ shape: [, ...shape], data }) {
  const count = data.length / 2;
  const words = new Uint32Array(count);
  for (let i = 0; i < count; i++) words[i] = (data[i] << 24) | (data[count + i] << 16);
  return { shape, data: new Float32Array(words.buffer) };
}

const asMatrix = ({ shape, data }) =>
  shape.length === 1 ? data : { rows: shape[0], columns: shape[1], data };
