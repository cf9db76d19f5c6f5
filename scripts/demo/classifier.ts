/** A small neural network: one hidden layer of rectified units, softmax, cross-entropy, momentum. */

interface Layer {
  readonly inputs: number;
  readonly outputs: number;
  readonly weights: Float32Array;
  readonly bias: Float32Array;
  readonly weightVelocity: Float32Array;
  readonly biasVelocity: Float32Array;
}

export interface TrainingOptions {
  readonly learningRate: number;
  readonly momentum: number;
}

export class Classifier {
  readonly #hidden: Layer;
  readonly #output: Layer;

  /** @param seed fixes the first weights, so that a run can be repeated. */
  constructor(inputs: number, hiddenUnits: number, classes: number, seed: number) {
    const random = uniform(seed);
    this.#hidden = layer(inputs, hiddenUnits, random);
    this.#output = layer(hiddenUnits, classes, random);
  }

  /**
   * One step of gradient descent on a batch.
   * @param images N × inputs, values 0 to 1, row-major.
   * @returns the mean loss before the step.
   */
  train(images: Float32Array, labels: Int32Array, options: TrainingOptions): number {
    const count = labels.length;
    const hidden = forward(this.#hidden, images, count);
    for (let i = 0; i < hidden.length; i++) hidden[i] = Math.max(0, hidden[i] as number);
    const probabilities = softmax(forward(this.#output, hidden, count), this.#output.outputs);

    let loss = 0;
    const outputGradient = probabilities;
    for (let n = 0; n < count; n++) {
      const at = n * this.#output.outputs + (labels[n] as number);
      loss -= Math.log(Math.max(probabilities[at] as number, 1e-12));
      outputGradient[at] = (outputGradient[at] as number) - 1;
    }
    const hiddenGradient = backward(this.#output, hidden, outputGradient, count, options);
    for (let i = 0; i < hidden.length; i++) if (hidden[i] === 0) hiddenGradient[i] = 0;
    backward(this.#hidden, images, hiddenGradient, count, options);
    return loss / count;
  }

  /** The most probable class of each image. */
  predict(images: Float32Array, count: number): Int32Array {
    const hidden = forward(this.#hidden, images, count);
    for (let i = 0; i < hidden.length; i++) hidden[i] = Math.max(0, hidden[i] as number);
    const scores = forward(this.#output, hidden, count);
    const classes = this.#output.outputs;
    return Int32Array.from({ length: count }, (_, n) => {
      const row = scores.subarray(n * classes, (n + 1) * classes);
      return row.indexOf(Math.max(...row));
    });
  }
}

function layer(inputs: number, outputs: number, random: () => number): Layer {
  // He et al. 2015, https://arxiv.org/abs/1502.01852: keeps the variance through rectified units.
  const bound = Math.sqrt(6 / inputs);
  return {
    inputs,
    outputs,
    weights: Float32Array.from({ length: inputs * outputs }, () => (random() * 2 - 1) * bound),
    bias: new Float32Array(outputs),
    weightVelocity: new Float32Array(inputs * outputs),
    biasVelocity: new Float32Array(outputs),
  };
}

/** N × outputs, before the activation. */
function forward(
  { inputs, outputs, weights, bias }: Layer,
  input: Float32Array,
  count: number,
): Float32Array {
  const result = new Float32Array(count * outputs);
  for (let n = 0; n < count; n++) {
    for (let o = 0; o < outputs; o++) {
      let sum = bias[o] as number;
      for (let i = 0; i < inputs; i++)
        sum += (input[n * inputs + i] as number) * (weights[o * inputs + i] as number);
      result[n * outputs + o] = sum;
    }
  }
  return result;
}

/** Updates the layer and gives the gradient of its input. */
function backward(
  target: Layer,
  input: Float32Array,
  gradient: Float32Array,
  count: number,
  { learningRate, momentum }: TrainingOptions,
): Float32Array {
  const { inputs, outputs, weights, bias, weightVelocity, biasVelocity } = target;
  const inputGradient = new Float32Array(count * inputs);
  const step = learningRate / count;
  for (let o = 0; o < outputs; o++) {
    let biasGradient = 0;
    const weightGradient = new Float32Array(inputs);
    for (let n = 0; n < count; n++) {
      const g = gradient[n * outputs + o] as number;
      biasGradient += g;
      for (let i = 0; i < inputs; i++) {
        weightGradient[i] = (weightGradient[i] as number) + g * (input[n * inputs + i] as number);
        inputGradient[n * inputs + i] =
          (inputGradient[n * inputs + i] as number) + g * (weights[o * inputs + i] as number);
      }
    }
    biasVelocity[o] = momentum * (biasVelocity[o] as number) - step * biasGradient;
    bias[o] = (bias[o] as number) + (biasVelocity[o] as number);
    for (let i = 0; i < inputs; i++) {
      const at = o * inputs + i;
      weightVelocity[at] = momentum * (weightVelocity[at] as number) - step * (weightGradient[i] as number);
      weights[at] = (weights[at] as number) + weightVelocity[at];
    }
  }
  return inputGradient;
}

function softmax(scores: Float32Array, classes: number): Float32Array {
  for (let start = 0; start < scores.length; start += classes) {
    const row = scores.subarray(start, start + classes);
    const highest = Math.max(...row);
    let sum = 0;
    for (let c = 0; c < classes; c++) sum += row[c] = Math.exp((row[c] as number) - highest);
    for (let c = 0; c < classes; c++) row[c] = (row[c] as number) / sum;
  }
  return scores;
}

/** Mulberry32: a small seeded generator, good enough for first weights. */
function uniform(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
