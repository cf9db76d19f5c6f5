// Samples to elements of a tensor, by one table for each channel: whatever a sample becomes, it costs one load.
// Mirrors an image and takes its channels apart on the way.

// The table that `kernels/image.ts` fills: 32 bits each.
const SOURCE: usize = 0;
/** Bytes from a row, pixel and channel of the source to the next; a mirrored image has negative pixel steps. */
const ROW_STEP: usize = 4;
const PIXEL_STEP: usize = 8;
/** Bytes of a sample: 1 or 2. */
const SAMPLE_BYTES: usize = 12;
const WIDTH: usize = 16;
const HEIGHT: usize = 20;
const CHANNELS: usize = 24;
const TABLES: usize = 28;
/** Bytes of one channel's table. */
const TABLE_BYTES: usize = 32;
/** Bytes of an element: 1, 2 or 4. */
const ELEMENT_BYTES: usize = 36;
const DESTINATION: usize = 40;
const ROW_STEP_OUT: usize = 44;
const PIXEL_STEP_OUT: usize = 48;
const CHANNEL_STEP_OUT: usize = 52;

export function lookUp(table: usize): void {
  const width = load<u32>(table, WIDTH);
  const height = load<u32>(table, HEIGHT);
  const channels = load<u32>(table, CHANNELS);
  const step = load<u32>(table, PIXEL_STEP);
  const stepOut = load<u32>(table, PIXEL_STEP_OUT);
  const sampleBytes = load<u32>(table, SAMPLE_BYTES);
  const kind = (load<u32>(table, ELEMENT_BYTES) << 2) | sampleBytes;
  let row = load<u32>(table, SOURCE);
  let rowOut = load<u32>(table, DESTINATION);
  for (let y: u32 = 0; y < height; y++) {
    let from = row;
    let to = rowOut;
    let values = load<u32>(table, TABLES);
    for (let c: u32 = 0; c < channels; c++) {
      if (kind == 5) bytesToBytes(from, step, values, to, stepOut, width);
      else if (kind == 9) bytesToHalves(from, step, values, to, stepOut, width);
      else if (kind == 17) bytesToWords(from, step, values, to, stepOut, width);
      else if (kind == 6) halvesToBytes(from, step, values, to, stepOut, width);
      else if (kind == 10) halvesToHalves(from, step, values, to, stepOut, width);
      else halvesToWords(from, step, values, to, stepOut, width);
      from += sampleBytes;
      to += load<u32>(table, CHANNEL_STEP_OUT);
      values += load<u32>(table, TABLE_BYTES);
    }
    row += load<u32>(table, ROW_STEP);
    rowOut += load<u32>(table, ROW_STEP_OUT);
  }
}

function bytesToBytes(a: usize, b: u32, c: usize, d: usize, e: u32, n: u32): void { each<u8, u8>(a, b, c, d, e, n); }
function bytesToHalves(a: usize, b: u32, c: usize, d: usize, e: u32, n: u32): void { each<u8, u16>(a, b, c, d, e, n); }
function bytesToWords(a: usize, b: u32, c: usize, d: usize, e: u32, n: u32): void { each<u8, u32>(a, b, c, d, e, n); }
function halvesToBytes(a: usize, b: u32, c: usize, d: usize, e: u32, n: u32): void { each<u16, u8>(a, b, c, d, e, n); }
function halvesToHalves(a: usize, b: u32, c: usize, d: usize, e: u32, n: u32): void { each<u16, u16>(a, b, c, d, e, n); }
function halvesToWords(a: usize, b: u32, c: usize, d: usize, e: u32, n: u32): void { each<u16, u32>(a, b, c, d, e, n); }

/** One channel of one row, inlined once for each pair of types. */
// @ts-ignore: decorator
@inline
function each<Sample, Element>(from: usize, step: u32, values: usize, to: usize, stepOut: u32, count: u32): void {
  for (let n = count >> 1; n != 0; n--) {
    const first = load<Sample>(from);
    from += step;
    const second = load<Sample>(from);
    from += step;
    store<Element>(to, load<Element>(values + <usize>first * sizeof<Element>()));
    to += stepOut;
    store<Element>(to, load<Element>(values + <usize>second * sizeof<Element>()));
    to += stepOut;
  }
  if (count & 1) store<Element>(to, load<Element>(values + <usize>load<Sample>(from) * sizeof<Element>()));
}
