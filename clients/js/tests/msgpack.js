// As much MessagePack as the tests need, so that they install nothing: nil, booleans, integers to 2^53, floats, strings,
// arrays, maps. For real use take `@msgpack/msgpack`.
const [toBytes, toText] = [new TextEncoder(), new TextDecoder()];

/** @param {any} value */
export function encode(value) {
  /** @type {number[]} */
  const out = [];
  write(out, value);
  return new Uint8Array(out);
}

/** @param {Uint8Array} bytes */
export function decode(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const reader = { bytes, view, at: 0 };
  const value = read(reader);
  if (reader.at !== bytes.length) throw new Error("bytes behind the value");
  return value;
}

function write(out, value) {
  if (value === null || value === undefined) out.push(0xc0);
  else if (typeof value === "boolean") out.push(value ? 0xc3 : 0xc2);
  else if (typeof value === "number") writeNumber(out, value);
  else if (typeof value === "string") {
    const text = toBytes.encode(value);
    out.push(0xdb, ...big(4, (view) => view.setUint32(0, text.length)), ...text);
  } else if (Array.isArray(value)) {
    out.push(0xdd, ...big(4, (view) => view.setUint32(0, value.length)));
    for (const item of value) write(out, item);
  } else {
    const entries = Object.entries(value);
    out.push(0xdf, ...big(4, (view) => view.setUint32(0, entries.length)));
    for (const [key, item] of entries) {
      write(out, key);
      write(out, item);
    }
  }
}

function writeNumber(out, number) {
  if (Number.isSafeInteger(number)) out.push(0xd3, ...big(8, (view) => view.setBigInt64(0, BigInt(number))));
  else out.push(0xcb, ...big(8, (view) => view.setFloat64(0, number)));
}

function big(length, set) {
  const view = new DataView(new ArrayBuffer(length));
  set(view);
  return new Uint8Array(view.buffer);
}

const FIXED = {
  0xc0: () => null,
  0xc2: () => false,
  0xc3: () => true,
  0xca: (r) => r.view.getFloat32(skip(r, 4)),
  0xcb: (r) => r.view.getFloat64(skip(r, 8)),
  0xcc: (r) => r.view.getUint8(skip(r, 1)),
  0xcd: (r) => r.view.getUint16(skip(r, 2)),
  0xce: (r) => r.view.getUint32(skip(r, 4)),
  0xcf: (r) => Number(r.view.getBigUint64(skip(r, 8))),
  0xd0: (r) => r.view.getInt8(skip(r, 1)),
  0xd1: (r) => r.view.getInt16(skip(r, 2)),
  0xd2: (r) => r.view.getInt32(skip(r, 4)),
  0xd3: (r) => Number(r.view.getBigInt64(skip(r, 8))),
  0xd9: (r) => text(r, r.view.getUint8(skip(r, 1))),
  0xda: (r) => text(r, r.view.getUint16(skip(r, 2))),
  0xdb: (r) => text(r, r.view.getUint32(skip(r, 4))),
  0xdc: (r) => list(r, r.view.getUint16(skip(r, 2))),
  0xdd: (r) => list(r, r.view.getUint32(skip(r, 4))),
  0xde: (r) => map(r, r.view.getUint16(skip(r, 2))),
  0xdf: (r) => map(r, r.view.getUint32(skip(r, 4))),
};

function read(r) {
  const head = r.view.getUint8(skip(r, 1));
  if (head < 0x80) return head;
  if (head < 0x90) return map(r, head & 0x0f);
  if (head < 0xa0) return list(r, head & 0x0f);
  if (head < 0xc0) return text(r, head & 0x1f);
  if (head >= 0xe0) return head - 256;
  const fixed = FIXED[head];
  if (!fixed) throw new Error(`no head of ours: ${head}`);
  return fixed(r);
}

/** Where something of this length begins; the reader is behind it. */
function skip(r, length) {
  r.at += length;
  return r.at - length;
}

function text(r, length) {
  const begin = skip(r, length);
  return toText.decode(r.bytes.subarray(begin, r.at));
}

function list(r, length) {
  return Array.from({ length }, () => read(r));
}

function map(r, length) {
  return Object.fromEntries(Array.from({ length }, () => [read(r), read(r)]));
}
