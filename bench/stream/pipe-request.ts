/** What the bench asks its own route for. */
export const PIPE_PATH = "/bench/pipe";

export interface PipeRequest {
  readonly nodes: readonly { readonly kind: string; readonly address: string }[];
  /** Number of the node, key, offset, length. */
  readonly reads: readonly (readonly [node: number, key: string, offset: number, length: number])[];
}
